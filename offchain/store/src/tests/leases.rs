//! One keeper leads, and one that led writes nothing more.

use std::time::Duration;

use alloy_primitives::{Address, U256};
use streamflow_testkit::{Database, on_both_engines};
use streamflow_types::Round;

use super::{dead, hash, open, paid, winner};
use crate::{
    Claim, KeeperLease, RewardRecord, Store, StoreError, TicketStatus, TransactionRow,
    sql::{Transaction, query},
};

const CHAIN: u64 = 31_337;
const ACCOUNT: Address = Address::repeat_byte(0x6e);
const LONG: Duration = Duration::from_secs(600);

async fn claim(store: &Store, holder: &str, length: Duration) -> Claim {
    store.claim_lead(CHAIN, ACCOUNT, holder, length).await.unwrap()
}

async fn lead(store: &Store, holder: &str, length: Duration) -> KeeperLease {
    match claim(store, holder, length).await {
        Claim::Leads(lease) => lease,
        Claim::Follows { holder, .. } => panic!("{holder} leads"),
    }
}

/// Two keepers of one account, the second of which has taken over from the first.
async fn taken_over(database: &Database) -> (Store, KeeperLease, Store, KeeperLease) {
    let (one, two) = (open(database).await, open(database).await);
    let first = lead(&one, "one", Duration::ZERO).await;
    let second = lead(&two, "two", LONG).await;
    (one, first, two, second)
}

fn is_fenced<T>(written: Result<T, StoreError>) -> bool {
    matches!(written, Err(StoreError::Fenced { account: ACCOUNT, token: 1, current: 2 }))
}

async fn a_second_keeper_follows_until_the_lease_is_over(database: Database) {
    let (one, two) = (open(&database).await, open(&database).await);
    let length = Duration::from_millis(1_500);
    let first = lead(&one, "one", length).await;
    let Claim::Follows { holder, remaining } = claim(&two, "two", LONG).await else { panic!("two lead") };
    assert_eq!(holder, "one");
    assert!(!remaining.is_zero() && remaining <= length, "{remaining:?}");
    one.renew_lead(&first, length).await.unwrap();
    tokio::time::sleep(length).await;
    let second = lead(&two, "two", LONG).await;
    assert_eq!((first.token(), second.token()), (1, 2));
    assert!(is_fenced(one.renew_lead(&first, LONG).await));
    assert!(is_fenced(one.release_lead(&first).await));
    two.renew_lead(&second, LONG).await.unwrap();
}

async fn a_lease_that_nobody_took_can_be_renewed_after_its_end(database: Database) {
    let (one, two) = (open(&database).await, open(&database).await);
    let lease = lead(&one, "one", Duration::ZERO).await;
    one.renew_lead(&lease, LONG).await.unwrap();
    assert!(matches!(claim(&two, "two", LONG).await, Claim::Follows { .. }));
}

async fn a_released_lease_is_taken_at_once_under_a_higher_token(database: Database) {
    let store = open(&database).await;
    for token in 1..4 {
        let lease = lead(&store, "one", LONG).await;
        assert_eq!(lease.token(), token);
        store.release_lead(&lease).await.unwrap();
    }
}

async fn accounts_and_chains_have_leaders_of_their_own(database: Database) {
    let store = open(&database).await;
    lead(&store, "one", LONG).await;
    for (chain, account) in [(1, ACCOUNT), (CHAIN, Address::ZERO)] {
        let claimed = store.claim_lead(chain, account, "two", LONG).await.unwrap();
        assert!(matches!(claimed, Claim::Leads(lease) if lease.token() == 1));
    }
}

async fn a_lease_from_a_clock_that_was_set_back_does_not_last(database: Database) {
    let store = open(&database).await;
    lead(&store, "one", LONG).await;
    let mut tx = store.write().await.unwrap();
    query("UPDATE keeper_leases SET expires_at = expires_at + 86400000").execute(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(lead(&store, "two", LONG).await.token(), 2);
}

async fn a_keeper_that_lost_the_lead_writes_nothing(database: Database) {
    let (one, first, two, second) = taken_over(&database).await;
    two.insert_winners(&[winner(0), winner(1), winner(2)]).await.unwrap();
    let [a, b, c] = [0, 1, 2].map(|n| hash(&winner(n)));
    let led = two.fenced(second);
    led.submit("batch", &[a], 110).await.unwrap();
    led.settle(&[(b, paid(5))], None, 120).await.unwrap();

    let stale = one.fenced(first);
    let reward = RewardRecord { orchestrator: ACCOUNT, round: Round(1), amount: U256::from(1), tx_hash: a, block: 1 };
    let sent = TransactionRow {
        chain_id: CHAIN,
        sender: ACCOUNT,
        intent: "batch".to_owned(),
        label: "redeem".to_owned(),
        nonce: 7,
        recipient: ACCOUNT,
        data: Default::default(),
        value: U256::ZERO,
        gas_limit: 1,
        max_fee: None,
        open: true,
        state: "\"open\"".to_owned(),
        attempts: Vec::new(),
    };
    assert!(is_fenced(stale.submit("mine", &[c], 130).await));
    assert!(is_fenced(stale.settle(&[(a, dead())], None, 130).await));
    assert!(is_fenced(stale.put_transaction(&sent).await));
    assert!(is_fenced(stale.expire_before(Round(99), 130).await));
    assert!(is_fenced(stale.confirm_payouts(&[b]).await));
    assert!(is_fenced(stale.revoke_payouts(&[b]).await));
    assert!(is_fenced(stale.prune_transactions(130).await));
    assert!(is_fenced(stale.record_reward(&reward).await));

    let status = async |hash| two.ticket(hash).await.unwrap().unwrap().state.status();
    assert_eq!(status(a).await, TicketStatus::Submitted);
    assert_eq!((status(b).await, status(c).await), (TicketStatus::Redeemed, TicketStatus::Pending));
    assert_eq!(two.transaction(CHAIN, ACCOUNT, "batch").await.unwrap(), None);
    assert_eq!(two.rewards(ACCOUNT, 9).await.unwrap(), []);
    led.put_transaction(&sent).await.unwrap();
}

/// A leader that is paused inside a transaction holds up the one that takes over, and nothing else. It must not go on with
/// what it had read before.
async fn nobody_takes_over_in_the_middle_of_a_write(database: Database) {
    let (one, two) = (open(&database).await, open(&database).await);
    let first = lead(&one, "one", Duration::ZERO).await;
    one.insert_winners(&[winner(0)]).await.unwrap();
    let writing = one.fenced(first).write().await.unwrap();
    let taking = tokio::spawn(async move { lead(&two, "two", LONG).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!taking.is_finished(), "the lead changed hands while its holder wrote");
    writing.commit().await.unwrap();
    assert_eq!(taking.await.unwrap().token(), 2);
    assert!(is_fenced(one.fenced(first).write().await.map(|_: Transaction| ())));
}

async fn of_many_that_start_together_one_leads(database: Database) {
    let mut starting = Vec::new();
    for n in 0..6 {
        let store = open(&database).await;
        starting.push(tokio::spawn(async move { claim(&store, &n.to_string(), LONG).await }));
    }
    let mut leaders = 0;
    for started in starting {
        leaders += u32::from(matches!(started.await.unwrap(), Claim::Leads(_)));
    }
    assert_eq!(leaders, 1);
}

on_both_engines! {
    a_second_keeper_follows_until_the_lease_is_over,
    a_lease_that_nobody_took_can_be_renewed_after_its_end,
    a_released_lease_is_taken_at_once_under_a_higher_token,
    accounts_and_chains_have_leaders_of_their_own,
    a_lease_from_a_clock_that_was_set_back_does_not_last,
    a_keeper_that_lost_the_lead_writes_nothing,
    nobody_takes_over_in_the_middle_of_a_write,
    of_many_that_start_together_one_leads,
}
