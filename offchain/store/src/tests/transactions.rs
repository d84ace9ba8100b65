use alloy_primitives::{Address, B256, Bytes, U256};
use streamflow_testkit::{Database, on_both_engines};

use super::{hash, open, waiting, winner};
use crate::{AttemptRow, Store, StoreError, TransactionRow, sql::query};

const SENDER: Address = Address::repeat_byte(0x5e);

fn attempt(n: u8) -> AttemptRow {
    AttemptRow {
        hash: B256::repeat_byte(n),
        raw: Bytes::from(vec![n; 3]),
        max_fee: u128::MAX - u128::from(n),
        tip: n.into(),
        signed_at: 100 + u64::from(n),
    }
}

fn row(intent: &str, nonce: u64) -> TransactionRow {
    TransactionRow {
        chain_id: 31_337,
        sender: SENDER,
        intent: intent.to_owned(),
        label: "redeem".to_owned(),
        nonce,
        recipient: Address::repeat_byte(1),
        data: Bytes::from_static(&[1, 2, 3]),
        value: U256::from(9),
        gas_limit: 500_000,
        max_fee: None,
        open: true,
        state: "\"open\"".to_owned(),
        attempts: vec![attempt(1)],
    }
}

async fn a_transaction_comes_back_as_it_was_put(database: Database) {
    let store = open(&database).await;
    let mut put = row("a", 7);
    store.put_transaction(&put).await.unwrap();
    put.attempts.push(attempt(2));
    put.gas_limit += 1;
    put.max_fee = Some(u128::MAX - 1);
    store.put_transaction(&put).await.unwrap();
    assert_eq!(store.transaction(31_337, SENDER, "a").await.unwrap(), Some(put));
    assert_eq!(store.transaction(1, SENDER, "a").await.unwrap(), None);
}

#[tokio::test]
async fn a_transaction_of_a_database_from_before_fee_caps_is_read_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.sqlite");
    let store = Store::open(&path).await.unwrap();
    store.put_transaction(&row("a", 7)).await.unwrap();
    let mut tx = store.write().await.unwrap();
    for undo in ["ALTER TABLE transactions DROP COLUMN max_fee", "DELETE FROM _sqlx_migrations WHERE version = 4"] {
        query(undo).execute(&mut tx).await.unwrap();
    }
    tx.commit().await.unwrap();
    store.close().await;
    let store = Store::open(&path).await.unwrap();
    assert_eq!(store.open_transactions(31_337, SENDER).await.unwrap(), [row("a", 7)]);
    let capped = TransactionRow { max_fee: Some(8), ..row("a", 7) };
    store.put_transaction(&capped).await.unwrap();
    assert_eq!(store.transaction(31_337, SENDER, "a").await.unwrap(), Some(capped));
}

async fn open_transactions_come_in_order_of_nonce(database: Database) {
    let store = open(&database).await;
    for (intent, nonce) in [("c", 9), ("a", 7), ("b", 8)] {
        store.put_transaction(&row(intent, nonce)).await.unwrap();
    }
    store.put_transaction(&TransactionRow { open: false, ..row("b", 8) }).await.unwrap();
    let found = store.open_transactions(31_337, SENDER).await.unwrap();
    assert_eq!(found.iter().map(|t| t.nonce).collect::<Vec<_>>(), [7, 9]);
    assert_eq!(store.open_transactions(31_337, Address::ZERO).await.unwrap(), []);
}

async fn two_open_transactions_never_share_a_nonce(database: Database) {
    let store = open(&database).await;
    store.put_transaction(&row("a", 7)).await.unwrap();
    let refused = store.put_transaction(&row("b", 7)).await.unwrap_err();
    assert!(matches!(refused, StoreError::NonceTaken { sender: SENDER, nonce: 7 }));
    assert_eq!(store.transaction(31_337, SENDER, "b").await.unwrap(), None);
    store.put_transaction(&TransactionRow { open: false, ..row("a", 7) }).await.unwrap();
    store.put_transaction(&row("b", 7)).await.unwrap();
}

async fn closed_transactions_are_forgotten_unless_a_ticket_waits_for_them(database: Database) {
    let store = open(&database).await;
    for (intent, nonce) in [("done", 1), ("waited for", 2)] {
        store.put_transaction(&TransactionRow { open: false, ..row(intent, nonce) }).await.unwrap(); // signed at 101
    }
    store.put_transaction(&row("open", 3)).await.unwrap();
    store.insert_winners(&[winner(1)]).await.unwrap();
    store.submit("waited for", &[hash(&winner(1))], 110).await.unwrap();
    assert_eq!(store.prune_transactions(101).await.unwrap(), 0);
    assert_eq!(store.prune_transactions(102).await.unwrap(), 1);
    store.settle(&[(hash(&winner(1)), waiting(0))], None, 120).await.unwrap();
    assert_eq!(store.prune_transactions(102).await.unwrap(), 1);
    assert_eq!(store.open_transactions(31_337, SENDER).await.unwrap().len(), 1);
}

async fn who_else_has_signed_an_intent_is_known_on_each_chain(database: Database) {
    let store = open(&database).await;
    let other = Address::repeat_byte(0x0e);
    store.put_transaction(&row("a", 7)).await.unwrap();
    store.put_transaction(&TransactionRow { sender: other, open: false, ..row("a", 1) }).await.unwrap();
    store.put_transaction(&row("b", 8)).await.unwrap();
    assert_eq!(store.other_senders(31_337, SENDER, "a").await.unwrap(), [other]);
    assert_eq!(store.other_senders(31_337, other, "b").await.unwrap(), [SENDER]);
    assert!(store.other_senders(31_337, SENDER, "b").await.unwrap().is_empty());
    assert!(store.other_senders(1, SENDER, "a").await.unwrap().is_empty());
}

on_both_engines! {
    a_transaction_comes_back_as_it_was_put,
    who_else_has_signed_an_intent_is_known_on_each_chain,
    open_transactions_come_in_order_of_nonce,
    two_open_transactions_never_share_a_nonce,
    closed_transactions_are_forgotten_unless_a_ticket_waits_for_them,
}
