//! What happened, in one hash.
use alloy::primitives::{Address, B256, Log, U256, keccak256};

/// keccak256 over all transactions so far, in their order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trace {
    hash: B256,
    transactions: u64,
}

/// What came of a transaction.
pub(crate) enum Outcome<'a> {
    Done { gas: u64, logs: &'a [Log] },
    Refused(&'a [u8]),
}

impl Trace {
    pub(crate) fn hash(&self) -> B256 {
        self.hash
    }

    pub(crate) fn transactions(&self) -> u64 {
        self.transactions
    }

    /// Every field has a fixed width or its length before it, so that no two traces have the same bytes.
    pub(crate) fn record(
        &mut self,
        block: u64,
        [caller, to]: [Address; 2],
        call: &[u8],
        wei: U256,
        outcome: &Outcome<'_>,
    ) {
        let mut bytes = self.hash.to_vec();
        bytes.extend(block.to_be_bytes());
        bytes.extend(caller);
        bytes.extend(to);
        bytes.extend(wei.to_be_bytes::<32>());
        bytes.extend(keccak256(call));
        match outcome {
            Outcome::Refused(reason) => {
                bytes.push(0);
                bytes.extend(keccak256(reason));
            }
            Outcome::Done { gas, logs } => {
                bytes.push(1);
                bytes.extend(gas.to_be_bytes());
                for log in *logs {
                    bytes.extend(log.address);
                    bytes.push(log.topics().len() as u8);
                    log.topics().iter().for_each(|topic| bytes.extend(topic));
                    bytes.extend(keccak256(&log.data.data));
                }
            }
        }
        self.hash = keccak256(bytes);
        self.transactions += 1;
    }

    /// What happened on a fork of this chain.
    pub(crate) fn absorb(&mut self, fork: Self) {
        self.hash = keccak256([self.hash, fork.hash].concat());
        self.transactions += fork.transactions;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: [Address; 2] = [Address::ZERO; 2];

    #[test]
    fn order_and_outcome_count() {
        let trace = |calls: &[(&[u8], u64)]| {
            let mut trace = Trace::default();
            for (call, gas) in calls {
                trace.record(1, ANY, call, U256::ZERO, &Outcome::Done { gas: *gas, logs: &[] });
            }
            trace.hash()
        };
        let hash = trace(&[(b"a", 1), (b"b", 1)]);
        assert_eq!(hash, trace(&[(b"a", 1), (b"b", 1)]));
        assert_ne!(hash, trace(&[(b"b", 1), (b"a", 1)]));
        assert_ne!(hash, trace(&[(b"a", 1), (b"b", 2)]));
        let mut refused = Trace::default();
        refused.record(1, ANY, b"a", U256::ZERO, &Outcome::Refused(&[]));
        assert_ne!(refused.hash(), trace(&[(b"a", 0)]));
        assert_eq!(refused.transactions(), 1);
    }
}
