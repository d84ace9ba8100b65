//! The outbox gives winners out in their order, puts off those that wait, and forgets those that arrived.

use alloy_primitives::U256;
use streamflow_pm::ordered;
use streamflow_testkit::{Database, on_both_engines};
use streamflow_types::{Round, WinningTicket};

use super::{dead, hash, open, paid, waiting, winner, winner_of_round};
use crate::{Store, StoreError, TicketStatus};

/// The `n`th winner, with this round and serial.
fn marked(n: u32, round: u64, serial: u64) -> WinningTicket {
    let recipient_rand = ordered::numbered(serial, U256::from(n));
    WinningTicket { recipient_rand, ..winner_of_round(n, Round(round)) }
}

async fn undelivered(store: &Store, block: u64, limit: u32) -> Vec<u32> {
    let records = store.undelivered(block, limit).await.unwrap();
    records.iter().map(|record| record.ticket.signed.ticket.sender_nonce).collect()
}

/// A keeper may pass what lies below a key that it has seen: the lowest must leave first, whatever its bytes look like.
async fn winners_leave_in_the_order_of_round_serial_and_nonce(database: Database) {
    let store = open(&database).await;
    let far = 1 << 63;
    let order = [(9, 7, 5), (3, 7, 6), (4, 7, 6), (1, 7, far), (8, 8, 2), (2, 9, 1)];
    let mut winners = order.map(|(n, round, serial)| marked(n, round, serial));
    winners.reverse();
    store.insert_winners(&winners).await.unwrap();
    assert_eq!(undelivered(&store, 0, 9).await, order.map(|(n, ..)| n));
    assert_eq!(undelivered(&store, 0, 2).await, [9, 3], "the lowest first");
}

async fn what_waits_is_given_out_when_its_block_comes(database: Database) {
    let store = open(&database).await;
    let winners = [winner(1), winner(2)];
    store.insert_winners(&winners).await.unwrap();
    store.settle(&[(hash(&winners[0]), waiting(300))], None, 200).await.unwrap();
    assert_eq!(undelivered(&store, 299, 9).await, [2]);
    assert_eq!(undelivered(&store, 300, 9).await, [1, 2]);
}

async fn only_what_is_pending_is_given_out(database: Database) {
    let store = open(&database).await;
    let winners = [winner(1), winner(2), winner(3), winner(4)];
    store.insert_winners(&winners).await.unwrap();
    store.submit("batch", &[hash(&winners[1]), hash(&winners[2])], 150).await.unwrap();
    store.settle(&[(hash(&winners[2]), paid(3)), (hash(&winners[3]), dead())], None, 160).await.unwrap();
    assert_eq!(undelivered(&store, 1_000, 9).await, [1]);
}

async fn what_was_delivered_is_forgotten_once_and_for_good(database: Database) {
    let store = open(&database).await;
    let winners = [winner(1), winner(2)];
    store.insert_winners(&winners).await.unwrap();
    assert!(store.delivered(hash(&winners[0])).await.unwrap());
    assert!(!store.delivered(hash(&winners[0])).await.unwrap(), "it is not there any more");
    assert_eq!(store.ticket(hash(&winners[0])).await.unwrap(), None);
    store.close().await;
    let again = open(&database).await;
    assert_eq!(undelivered(&again, 0, 9).await, [2], "on the disk");
    assert!(!again.delivered(hash(&winner(7))).await.unwrap(), "nothing is known of it");
}

/// The answer of a redeemer that comes late must not take a ticket from a keeper of this database.
async fn what_a_keeper_has_taken_up_is_not_forgotten(database: Database) {
    let store = open(&database).await;
    let winners = [winner(1), winner(2), winner(3)];
    store.insert_winners(&winners).await.unwrap();
    store.submit("batch", &[hash(&winners[0]), hash(&winners[1])], 150).await.unwrap();
    store.settle(&[(hash(&winners[1]), paid(2)), (hash(&winners[2]), dead())], None, 160).await.unwrap();
    for winner in &winners {
        assert!(!store.delivered(hash(winner)).await.unwrap());
    }
    let count = async |status| store.ticket_total(status).await.unwrap().count;
    let counts = [TicketStatus::Submitted, TicketStatus::Redeemed, TicketStatus::Dead].map(count);
    for count in counts {
        assert_eq!(count.await, 1);
    }
}

/// Two tasks of one process: each answer counts once.
async fn answers_side_by_side_count_once(database: Database) {
    let (store, other) = (open(&database).await, open(&database).await);
    store.insert_winners(&[winner(1)]).await.unwrap();
    let ticket = hash(&winner(1));
    let (first, second) = tokio::join!(store.delivered(ticket), other.delivered(ticket));
    assert_eq!(usize::from(first.unwrap()) + usize::from(second.unwrap()), 1);
    assert_eq!(undelivered(&other, 0, 9).await, [0; 0]);
}

async fn a_block_beyond_what_is_stored_is_refused(database: Database) {
    let store = open(&database).await;
    assert!(matches!(store.undelivered(u64::MAX, 9).await, Err(StoreError::OutOfRange { .. })));
}

on_both_engines! {
    winners_leave_in_the_order_of_round_serial_and_nonce,
    what_waits_is_given_out_when_its_block_comes,
    only_what_is_pending_is_given_out,
    what_was_delivered_is_forgotten_once_and_for_good,
    what_a_keeper_has_taken_up_is_not_forgotten,
    answers_side_by_side_count_once,
    a_block_beyond_what_is_stored_is_refused,
}
