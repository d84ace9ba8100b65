//! Headers as nodes tell them, and whether their fields give their hash.
use alloy::{
    consensus::Header,
    primitives::{B256, Bloom, U64, U128},
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Fault;
use crate::{BlockHeader, profile::ContractNumber};

/// Fields that a block has besides those of the header that its hash is made of.
const BESIDES: [&str; 11] = [
    "hash",
    "size",
    "totalDifficulty",
    "transactions",
    "uncles",
    "withdrawals",
    "l1BlockNumber",
    "sendCount",
    "sendRoot",
    "author",
    "sealFields",
];
/// The fields that the hash is made of, as far as we know.
const HASHED: [&str; 23] = [
    "parentHash",
    "sha3Uncles",
    "miner",
    "stateRoot",
    "transactionsRoot",
    "receiptsRoot",
    "logsBloom",
    "difficulty",
    "number",
    "gasLimit",
    "gasUsed",
    "timestamp",
    "extraData",
    "mixHash",
    "nonce",
    "baseFeePerGas",
    "withdrawalsRoot",
    "blobGasUsed",
    "excessBlobGas",
    "parentBeaconBlockRoot",
    "requestsHash",
    "blockAccessListHash",
    "slotNumber",
];

/// The fields we read. Own type because L2 nodes add fields that we need and transactions that alloy does not know.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    number: U64,
    hash: B256,
    parent_hash: B256,
    timestamp: U64,
    #[serde(default)]
    base_fee_per_gas: Option<U128>,
    #[serde(default)]
    l1_block_number: Option<U64>,
}

/// What a header commits to, once its hash is known to be right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Commitment {
    pub(crate) number: u64,
    pub(crate) hash: B256,
    pub(crate) logs_bloom: Bloom,
    pub(crate) receipts_root: B256,
}

/// A header that may be used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checked {
    pub(crate) header: BlockHeader,
    /// `None` if the fields could not be held against the hash: the chain has fields that we do not know.
    pub(crate) commitment: Option<Commitment>,
}

/// Reads a block as a node tells it; `None` if the node has no such block.
///
/// # Errors
///
/// Fields that do not give the hash, or that are missing.
pub(crate) fn read(block: &str, contract_number: ContractNumber, verify: bool) -> Result<Option<Checked>, Fault> {
    let fields: Option<Map<String, Value>> = serde_json::from_str(block).map_err(|_| Fault::Unreadable)?;
    let Some(fields) = fields else { return Ok(None) };
    let is_known = fields.keys().all(|name| BESIDES.contains(&name.as_str()) || HASHED.contains(&name.as_str()));
    let fields = Value::Object(fields);
    let told = Told::deserialize(&fields).map_err(|_| Fault::Unreadable)?;
    let number = told.number.to();
    let contract_number = match (contract_number, told.l1_block_number) {
        (ContractNumber::L1, None) => return Err(Fault::NoL1Block),
        (ContractNumber::L1 | ContractNumber::L1IfTold, Some(l1)) => l1.to(),
        (ContractNumber::Own, _) | (ContractNumber::L1IfTold, None) => number,
    };
    let hashed = if verify && is_known { Header::deserialize(&fields).ok() } else { None };
    let commitment = match hashed {
        Some(header) if header.hash_slow() == told.hash => Some(Commitment {
            number,
            hash: told.hash,
            logs_bloom: header.logs_bloom,
            receipts_root: header.receipts_root,
        }),
        Some(_) => return Err(Fault::FalseHeader { number }),
        None => None,
    };
    let header = BlockHeader {
        number,
        hash: told.hash,
        parent_hash: told.parent_hash,
        timestamp: told.timestamp.to(),
        base_fee: told.base_fee_per_gas.map_or(0, |fee| fee.to()),
        contract_number,
    };
    Ok(Some(Checked { header, commitment }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> Value {
        let header = Header { number: 7, timestamp: 9, base_fee_per_gas: Some(5), ..Header::default() };
        let mut block = serde_json::to_value(&header).unwrap();
        block["hash"] = serde_json::to_value(header.hash_slow()).unwrap();
        block["size"] = "0x1".into();
        block["transactions"] = Value::Array(Vec::new());
        block
    }

    fn checked(block: &Value, contract_number: ContractNumber) -> Result<Option<Checked>, Fault> {
        read(&block.to_string(), contract_number, true)
    }

    #[test]
    fn header_is_held_against_its_hash() {
        let block = block();
        let good = checked(&block, ContractNumber::L1IfTold).unwrap().unwrap();
        assert_eq!((good.header.number, good.header.contract_number, good.header.base_fee), (7, 7, 5));
        assert!(good.commitment.is_some());
        for field in ["timestamp", "baseFeePerGas", "number"] {
            let mut forged = block.clone();
            forged[field] = "0xff".into();
            assert!(matches!(checked(&forged, ContractNumber::L1IfTold), Err(Fault::FalseHeader { .. })), "{field}");
            assert!(read(&forged.to_string(), ContractNumber::Own, false).is_ok(), "checking is switched off");
        }
        assert!(checked(&Value::Null, ContractNumber::Own).unwrap().is_none());
    }

    #[test]
    fn header_of_a_later_fork_is_used_but_proves_nothing() {
        let mut block = block();
        block["fieldOfTheFuture"] = "0x1".into();
        let unknown = checked(&block, ContractNumber::Own).unwrap().unwrap();
        assert!(unknown.commitment.is_none());
    }

    #[test]
    fn contracts_of_arbitrum_see_the_block_number_of_l1() {
        let mut block = block();
        assert_eq!(checked(&block, ContractNumber::L1).err(), Some(Fault::NoL1Block));
        block["l1BlockNumber"] = "0x64".into();
        for (source, number) in [(ContractNumber::L1, 100), (ContractNumber::L1IfTold, 100), (ContractNumber::Own, 7)] {
            let header = checked(&block, source).unwrap().unwrap().header;
            assert_eq!((header.number, header.contract_number), (7, number));
        }
    }
}
