//! The books at the end, against each other and against the chain.
use std::{collections::BTreeMap, fmt};

use alloy::primitives::{B256, U256};
use streamflow_store::Store;

use crate::network::{
    audit::{PaidInFull, paid_in_full},
    chain::Chain,
};

const ALL: u32 = 1_000_000;

/// What was found to be right.
#[derive(Debug)]
pub(crate) struct Report {
    acknowledged: usize,
    paid: usize,
    wei: U256,
    transactions: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, paid, wei, transactions } = self;
        write!(
            f,
            "{acknowledged} tickets acknowledged, {paid} stored and paid, {wei} wei in {transactions} transactions"
        )
    }
}

/// Every acknowledged ticket is stored; every stored one is paid in full; and the contract has moved their sum. Since each was
/// paid at least once, and the sum is exact, none was paid twice.
pub(crate) async fn audit(chain: &Chain, desk: &Store, keeper: &Store, owed: &BTreeMap<B256, U256>) -> Report {
    let PaidInFull { tickets: stored, wei, transactions } = paid_in_full(keeper).await;
    for (hash, face_value) in owed {
        let record = stored.iter().find(|record| record.hash == *hash);
        let record = record.unwrap_or_else(|| panic!("ticket {hash} was acknowledged and is lost"));
        assert_eq!(record.ticket.signed.ticket.face_value, *face_value);
    }
    assert_eq!(chain.transferred(chain.orchestrators[0].address()).await, wei, "the transfers on chain");
    assert_eq!(chain.spent().await, wei, "what left the senders' deposits and reserves");
    let left = desk.tickets(None, ALL).await.unwrap();
    assert!(left.iter().all(|record| stored.iter().any(|other| other.hash == record.hash)), "the outbox holds others");
    assert!(!owed.is_empty(), "nothing was paid for: the test tested nothing");
    Report { acknowledged: owed.len(), paid: stored.len(), wei, transactions }
}
