//! Calls as they would run, and transactions as they ran.
use alloy::{
    eips::BlockId,
    primitives::{Address, B256, Bytes, LogData, U256},
    providers::Provider,
    rpc::types::{Log, TransactionRequest},
};
use serde::Deserialize;

use crate::{ChainError, Revert, Rpc};

/// What a call would do.
#[derive(Clone, Debug)]
pub struct Simulated {
    /// Logs in order; none if it reverts.
    pub logs: Vec<Log>,
    /// Why it would revert.
    pub refusal: Option<Revert>,
}

/// A transaction of the chain that succeeded, and what it did.
#[derive(Clone, Debug)]
pub struct MinedCall {
    /// Block that includes it.
    pub block: u64,
    /// Contract or account called; `None` created a contract.
    pub to: Option<Address>,
    /// Call data.
    pub data: Bytes,
    /// Logs in order.
    pub logs: Vec<Log>,
}

impl Rpc {
    /// Runs a call of `from` on the state after `block`, and tells which logs it would leave.
    ///
    /// # Errors
    ///
    /// The node cannot be asked, or does not support `eth_simulateV1`.
    pub async fn simulate(
        &self,
        from: Address,
        to: Address,
        data: Bytes,
        block: BlockId,
    ) -> Result<Simulated, ChainError> {
        let name = "eth_simulateV1";
        let call = TransactionRequest::default().from(from).to(to).input(data.into());
        let calls = SimulatedCalls { block_state_calls: [CallsOfBlock { calls: [call] }] };
        let at = match block {
            BlockId::Hash(hash) => format!("{:#x}", hash.block_hash),
            BlockId::Number(number) => number.to_string(),
        };
        let blocks: Vec<BlockAnswer> = self.ask(name, self.provider().raw_request(name.into(), (calls, at))).await?;
        let answer = blocks.into_iter().flat_map(|block| block.calls).next();
        answer.map(Simulated::from).ok_or(ChainError::OutOfRange { what: "the number of simulated calls" })
    }

    /// The transaction `hash`, if it is in the chain as this node sees it, and succeeded.
    ///
    /// # Errors
    ///
    /// The node cannot be asked.
    pub async fn mined_call(&self, hash: B256) -> Result<Option<MinedCall>, ChainError> {
        let name = "eth_getTransactionByHash";
        let request = self.provider().raw_request::<_, Option<TransactionAnswer>>(name.into(), (hash,));
        let (sent, receipt) = tokio::try_join!(self.ask(name, request), self.receipt(hash))?;
        let (Some(sent), Some(receipt)) = (sent, receipt.filter(|receipt| receipt.status())) else { return Ok(None) };
        Ok(receipt.block_number.map(|block| MinedCall {
            block,
            to: sent.to,
            data: sent.input,
            logs: receipt.logs().to_vec(),
        }))
    }

    /// Most gas that fits into a block like this one.
    ///
    /// # Errors
    ///
    /// The node cannot be asked or does not know the block.
    pub async fn block_gas_limit(&self, hash: B256) -> Result<u64, ChainError> {
        let name = "eth_getBlockByHash";
        let request = self.provider().raw_request::<_, Option<LimitAnswer>>(name.into(), (hash, false));
        match self.ask(name, request).await? {
            Some(answer) => Ok(answer.gas_limit.saturating_to()),
            None => Err(ChainError::UnknownBlock { host: self.host().to_owned(), hash }),
        }
    }
}

#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct SimulatedCalls {
    block_state_calls: [CallsOfBlock; 1],
}

#[derive(Clone, Debug, serde::Serialize)]
struct CallsOfBlock {
    calls: [TransactionRequest; 1],
}

/// The part of an `eth_simulateV1` answer that is read; nodes of different chains differ in the rest.
#[derive(Debug, Deserialize)]
struct BlockAnswer {
    calls: Vec<CallAnswer>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CallAnswer {
    #[serde(default)]
    return_data: Bytes,
    #[serde(default)]
    logs: Vec<LogAnswer>,
    status: U256,
    error: Option<ErrorAnswer>,
}

#[derive(Debug, Deserialize)]
struct LogAnswer {
    address: Address,
    topics: Vec<B256>,
    data: Bytes,
}

#[derive(Debug, Deserialize)]
struct ErrorAnswer {
    data: Option<Bytes>,
}

impl From<CallAnswer> for Simulated {
    fn from(answer: CallAnswer) -> Self {
        if answer.status.is_zero() {
            // Nodes put the revert data in either of two places.
            let data = answer.error.and_then(|error| error.data).filter(|data| !data.is_empty());
            let reason = Revert::new(data.unwrap_or(answer.return_data));
            return Self { logs: Vec::new(), refusal: Some(reason) };
        }
        let log = |log: LogAnswer| Log {
            inner: alloy::primitives::Log { address: log.address, data: LogData::new_unchecked(log.topics, log.data) },
            ..Log::default()
        };
        Self { logs: answer.logs.into_iter().map(log).collect(), refusal: None }
    }
}

/// Own type because L2 nodes have transactions that alloy does not know.
#[derive(Debug, Deserialize)]
struct TransactionAnswer {
    to: Option<Address>,
    input: Bytes,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LimitAnswer {
    gas_limit: U256,
}

#[cfg(test)]
mod tests {
    use alloy::sol_types::{Revert as RevertString, SolError};

    use super::*;

    fn simulated(answer: serde_json::Value) -> Simulated {
        serde_json::from_value::<CallAnswer>(answer).unwrap().into()
    }

    #[test]
    fn a_call_that_succeeds_tells_its_logs_in_order() {
        let log = |topic: u8| {
            serde_json::json!({ "address": Address::repeat_byte(1), "topics": [B256::repeat_byte(topic)], "data": "0x0102",
                "logIndex": "0x0", "removed": false })
        };
        let answer = serde_json::json!({ "status": "0x1", "gasUsed": "0x5208", "returnData": "0x",
            "logs": [log(7), log(8)] });
        let Simulated { logs, refusal } = simulated(answer);
        assert_eq!((logs.len(), refusal), (2, None));
        assert_eq!((logs[0].topic0(), logs[1].topic0()), (Some(&B256::repeat_byte(7)), Some(&B256::repeat_byte(8))));
        assert_eq!((logs[0].address(), &logs[0].inner.data.data[..]), (Address::repeat_byte(1), &[1, 2][..]));
    }

    #[test]
    fn a_call_that_reverts_tells_why_wherever_the_node_puts_it() {
        let reason = Bytes::from(RevertString::from("not now").abi_encode());
        for answer in [
            serde_json::json!({ "status": "0x0", "returnData": reason, "error": { "code": 3 } }),
            serde_json::json!({ "status": "0x0", "returnData": "0x", "error": { "code": 3, "data": reason } }),
        ] {
            let Simulated { logs, refusal } = simulated(answer);
            assert_eq!((logs.len(), refusal.unwrap().to_string()), (0, "not now".to_owned()));
        }
    }
}
