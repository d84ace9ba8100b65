//! Logs and receipts, held against what the header of their block commits to.
use std::sync::atomic::{AtomicBool, Ordering};

use alloy::{
    consensus::{Eip658Value, Receipt, ReceiptWithBloom, proofs::ordered_trie_root_with_encoder},
    primitives::{B256, Bloom, BloomInput, U8, U64},
    rlp::Encodable,
    rpc::types::{Filter, Log, TransactionReceipt},
};
use serde::Deserialize;

use super::header::Commitment;

/// The last type of transaction that Ethereum has.
const LAST_ETHEREUM_TYPE: u8 = 4;

/// A receipt of any type of transaction.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AnyReceipt {
    transaction_hash: B256,
    #[serde(default, rename = "type")]
    kind: U8,
    #[serde(default)]
    status: Option<U64>,
    #[serde(default)]
    root: Option<B256>,
    cumulative_gas_used: U64,
    logs: Vec<Log>,
}

impl AnyReceipt {
    fn encode(&self, out: &mut dyn alloy::rlp::BufMut) {
        let logs: Vec<_> = self.logs.iter().map(|log| log.inner.clone()).collect();
        let mut logs_bloom = Bloom::default();
        logs_bloom.accrue_logs(&logs);
        let status = match (self.status, self.root) {
            (None, Some(root)) => Eip658Value::PostState(root),
            (status, _) => Eip658Value::Eip658(status.is_some_and(|status| !status.is_zero())),
        };
        let receipt = Receipt { status, cumulative_gas_used: self.cumulative_gas_used.to(), logs };
        if !self.kind.is_zero() {
            out.put_u8(self.kind.to());
        }
        ReceiptWithBloom { receipt, logs_bloom }.encode(out);
    }

    /// Whether `told` is this receipt, in all that the block commits to and we read.
    pub(crate) fn is(&self, told: &TransactionReceipt) -> bool {
        self.transaction_hash == told.transaction_hash
            && self.status.is_some_and(|status| !status.is_zero()) == told.status()
            && same_logs(&self.logs, told.logs())
    }

    pub(crate) const fn transaction(&self) -> B256 {
        self.transaction_hash
    }
}

/// Whether receipts are those of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    True,
    False,
    /// Some are of a type that only this chain has, and none such has ever given a root: it may be hashed in another way.
    Unknown,
}

/// Holds all receipts of a block against its root. `learned` tells, and remembers, that receipts of the chain's own types are
/// hashed as we do it.
pub(crate) fn judge(receipts: &[AnyReceipt], block: &Commitment, learned: &AtomicBool) -> Verdict {
    let has_own_types = receipts.iter().any(|receipt| receipt.kind.to::<u8>() > LAST_ETHEREUM_TYPE);
    let root = ordered_trie_root_with_encoder(receipts, |receipt: &AnyReceipt, out| receipt.encode(out));
    if root == block.receipts_root {
        learned.fetch_or(has_own_types, Ordering::Relaxed);
        return Verdict::True;
    }
    if has_own_types && !learned.load(Ordering::Relaxed) { Verdict::Unknown } else { Verdict::False }
}

/// Logs of the block that `filter` asks for. `receipts` are all of its receipts.
pub(crate) fn logs_of(receipts: Vec<AnyReceipt>, filter: &Filter) -> Vec<Log> {
    receipts.into_iter().flat_map(|receipt| receipt.logs).filter(|log| matches(filter, log)).collect()
}

/// Whether the logs are such as `filter` asks for, and such as the block may have.
pub(crate) fn may_be_of_block(logs: &[Log], filter: &Filter, block: &Commitment) -> bool {
    logs.iter().all(|log| {
        let topics = log.topics();
        log.block_hash == Some(block.hash)
            && matches(filter, log)
            && block.logs_bloom.contains_raw_log(log.address(), topics)
    })
}

/// Whether the block may have logs that `filter` asks for from an address that `logs` have none of.
pub(crate) fn may_miss_some(logs: &[Log], filter: &Filter, block: &Commitment) -> bool {
    let has = |bytes: &[u8]| block.logs_bloom.contains_input(BloomInput::Raw(bytes));
    let wanted =
        filter.topics.iter().all(|topics| topics.is_empty() || topics.iter().any(|topic| has(topic.as_slice())));
    wanted
        && (filter.address.iter())
            .any(|address| has(address.as_slice()) && !logs.iter().any(|log| log.address() == *address))
}

/// Whether both are the same logs in the same order, as far as a block commits to them.
pub(crate) fn same_logs(left: &[Log], right: &[Log]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(left, right)| left.inner == right.inner)
}

fn matches(filter: &Filter, log: &Log) -> bool {
    let topic = |(index, wanted): (usize, &alloy::rpc::types::FilterSet<B256>)| {
        wanted.is_empty() || log.topics().get(index).is_some_and(|topic| wanted.contains(topic))
    };
    (filter.address.is_empty() || filter.address.contains(&log.address()))
        && filter.topics.iter().enumerate().all(topic)
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, Bytes, LogData};

    use super::*;

    const OURS: Address = Address::repeat_byte(1);
    const BLOCK: B256 = B256::repeat_byte(9);

    fn log(address: Address, topic: u8, data: &'static [u8]) -> Log {
        let data = LogData::new_unchecked(vec![B256::repeat_byte(topic)], Bytes::from_static(data));
        let inner = alloy::primitives::Log { address, data };
        Log { inner, block_hash: Some(BLOCK), ..Log::default() }
    }

    fn receipt(transaction: u8, kind: u8, logs: Vec<Log>) -> AnyReceipt {
        AnyReceipt {
            transaction_hash: B256::repeat_byte(transaction),
            kind: U8::from(kind),
            status: Some(U64::from(1)),
            root: None,
            cumulative_gas_used: U64::from(21_000),
            logs,
        }
    }

    fn block(receipts: &[AnyReceipt]) -> Commitment {
        let mut logs_bloom = Bloom::default();
        for log in receipts.iter().flat_map(|receipt| &receipt.logs) {
            logs_bloom.accrue_log(&log.inner);
        }
        let receipts_root = ordered_trie_root_with_encoder(receipts, |receipt: &AnyReceipt, out| receipt.encode(out));
        Commitment { number: 1, hash: BLOCK, logs_bloom, receipts_root }
    }

    fn receipts() -> Vec<AnyReceipt> {
        vec![receipt(1, 0, vec![log(OURS, 5, b"a")]), receipt(2, 2, vec![log(Address::repeat_byte(2), 6, b"b")])]
    }

    #[test]
    fn receipts_of_another_block_do_not_give_its_root() {
        let block = block(&receipts());
        let judged = |receipts: &[AnyReceipt]| judge(receipts, &block, &AtomicBool::new(false));
        assert_eq!(judged(&receipts()), Verdict::True);
        assert_eq!(judged(&receipts()[..1]), Verdict::False, "one is left out");
        let mut failed = receipts();
        failed[1].status = Some(U64::ZERO);
        assert_eq!(judged(&failed), Verdict::False);
        let mut forged = receipts();
        forged[0].logs = vec![log(OURS, 5, b"z")];
        assert_eq!(judged(&forged), Verdict::False);
    }

    #[test]
    fn receipts_of_a_chain_s_own_types_prove_a_lie_once_one_gave_a_root() {
        let own = |data| vec![receipt(1, 0x6a, Vec::new()), receipt(2, 2, vec![log(OURS, 5, data)])];
        let (block, learned) = (block(&own(b"a")), AtomicBool::new(false));
        assert_eq!(judge(&own(b"z"), &block, &learned), Verdict::Unknown);
        assert_eq!(judge(&own(b"a"), &block, &learned), Verdict::True);
        assert_eq!(judge(&own(b"z"), &block, &learned), Verdict::False);
    }

    #[test]
    fn bloom_tells_logs_that_cannot_be_and_logs_that_may_be_missing() {
        let block = block(&receipts());
        let filter = Filter::new().address(vec![OURS]);
        assert!(may_be_of_block(&[log(OURS, 5, b"a")], &filter, &block));
        assert!(!may_be_of_block(&[log(OURS, 7, b"a")], &filter, &block), "a topic that the block does not have");
        assert!(!may_be_of_block(&[log(Address::repeat_byte(2), 6, b"b")], &filter, &block), "not asked for");
        let elsewhere = Log { block_hash: Some(B256::ZERO), ..log(OURS, 5, b"a") };
        assert!(!may_be_of_block(&[elsewhere], &filter, &block));
        assert!(may_miss_some(&[], &filter, &block));
        assert!(!may_miss_some(&[log(OURS, 5, b"a")], &filter, &block));
        assert!(!may_miss_some(&[], &Filter::new().address(vec![Address::repeat_byte(3)]), &block));
        assert!(!may_miss_some(&[], &filter.clone().event_signature(B256::repeat_byte(8)), &block));
        assert!(same_logs(&logs_of(receipts(), &filter), &[log(OURS, 5, b"a")]));
    }
}
