//! Keys are passed only when every desk has closed them, and take nothing more then.

use alloy_primitives::{Address, U256};
use streamflow_pm::{QuoteDomain, ordered};
use streamflow_types::{Round, WinningTicket};

use super::{hash, winner, winner_of_round};
use crate::{Delivered, DeskId, OrderedBatch, Passing, Store, StoreError, TicketRecord, TicketStatus};

const DOMAIN: QuoteDomain = QuoteDomain { chain_id: 31337, broker: Address::repeat_byte(0xdd) };
const RECIPIENT: Address = Address::repeat_byte(0xaa);
const SENDER: Address = Address::repeat_byte(0xbb);
const ONE: DeskId = DeskId([1; 16]);
const TWO: DeskId = DeskId([2; 16]);

/// The winner with this serial, whose params expire at block 100 + serial.
fn marked(serial: u32) -> WinningTicket {
    let recipient_rand = ordered::numbered(serial.into(), U256::from(serial));
    WinningTicket { recipient_rand, ..winner(serial) }
}

async fn closed(store: &Store) -> Option<u64> {
    store.closed_through(&DOMAIN, RECIPIENT).await.unwrap()
}

async fn deliver(store: &Store, winners: &[WinningTicket]) -> Delivered {
    store.deliver(&DOMAIN, winners).await.unwrap()
}

async fn pass(store: &Store, serials: &[u32], urgent: Option<Round>) -> Result<(), StoreError> {
    let mut tickets: Vec<TicketRecord> = Vec::new();
    for serial in serials {
        tickets.push(store.ticket(hash(&marked(*serial))).await.unwrap().unwrap());
    }
    let groups = [Passing { sender: SENDER, mark: U256::ZERO, tickets: &tickets }];
    let batch = OrderedBatch {
        intent: "batch",
        domain: &DOMAIN,
        recipient: RECIPIENT,
        groups: &groups,
        oldest: Round(7),
        urgent,
        block: 200,
    };
    store.submit_in_order(&batch).await
}

async fn submitted(store: &Store) -> u64 {
    store.ticket_total(TicketStatus::Submitted).await.unwrap().count
}

#[tokio::test]
async fn the_slowest_desk_decides_and_nothing_is_taken_back() {
    let store = Store::in_memory().await.unwrap();
    assert_eq!(closed(&store).await, None);
    store.close_params(&DOMAIN, RECIPIENT, ONE, 105).await.unwrap();
    store.close_params(&DOMAIN, RECIPIENT, TWO, 103).await.unwrap();
    assert_eq!(closed(&store).await, Some(103));
    store.close_params(&DOMAIN, RECIPIENT, TWO, 101).await.unwrap();
    assert_eq!(closed(&store).await, Some(103));
    let other = Address::repeat_byte(0xa1);
    assert_eq!(store.closed_through(&DOMAIN, other).await.unwrap(), None, "desks of others do not matter");
    store.leave_desk(&DOMAIN, RECIPIENT, TWO).await.unwrap();
    assert_eq!(closed(&store).await, Some(105));
}

#[tokio::test]
async fn a_desk_that_is_silent_for_long_is_dead() {
    let store = Store::in_memory().await.unwrap();
    store.close_params(&DOMAIN, RECIPIENT, ONE, 105).await.unwrap();
    let age = async |seconds: i64| {
        let mut tx = store.write().await.unwrap();
        sqlx::query("UPDATE desks SET seen_at = unixepoch() - ?1").bind(seconds).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    };
    age(55).await;
    assert_eq!(closed(&store).await, Some(105));
    age(65).await;
    assert_eq!(closed(&store).await, None);
}

#[tokio::test]
async fn nothing_is_passed_while_a_desk_may_take_tickets_below_it() {
    let store = Store::in_memory().await.unwrap();
    deliver(&store, &[marked(3), marked(5)]).await;
    store.close_params(&DOMAIN, RECIPIENT, ONE, 104).await.unwrap();
    let refused = pass(&store, &[3, 5], None).await.unwrap_err();
    assert!(matches!(refused, StoreError::ParamsOpen { expiration_block: 105, closed_block: 104 }), "{refused}");
    assert_eq!(submitted(&store).await, 0);
    pass(&store, &[3, 5], Some(Round(7))).await.unwrap();
    assert_eq!(submitted(&store).await, 2, "what would expire does not wait");
}

#[tokio::test]
async fn a_winner_that_the_plan_does_not_know_stops_the_batch() {
    let store = Store::in_memory().await.unwrap();
    deliver(&store, &[marked(3), marked(5)]).await;
    deliver(&store, &[marked(4)]).await;
    let refused = pass(&store, &[3, 5], None).await.unwrap_err();
    assert!(matches!(refused, StoreError::PassesWinner { hash } if hash == super::hash(&marked(4))), "{refused}");
    assert_eq!(submitted(&store).await, 0);
    pass(&store, &[3, 4], None).await.unwrap();
}

#[tokio::test]
async fn what_can_never_be_paid_stops_no_batch() {
    let store = Store::in_memory().await.unwrap();
    let old = WinningTicket { recipient_rand: ordered::numbered(2, U256::ONE), ..winner_of_round(2, Round(6)) };
    let unmarked = winner(1);
    let same_key = {
        let mut twin = marked(3);
        twin.signed.ticket.face_value += U256::ONE;
        twin
    };
    deliver(&store, &[old, unmarked, same_key, marked(3)]).await;
    pass(&store, &[3], None).await.unwrap();
}

#[tokio::test]
async fn a_winner_for_a_passed_key_is_refused_and_a_known_one_is_no_news() {
    let store = Store::in_memory().await.unwrap();
    deliver(&store, &[marked(3), marked(5)]).await;
    pass(&store, &[3, 5], None).await.unwrap();
    let delivered = deliver(&store, &[marked(4), marked(5), marked(6), winner(2)]).await;
    assert_eq!(delivered, Delivered { new: 2, late: vec![hash(&marked(4))] });
    assert!(store.ticket(hash(&marked(4))).await.unwrap().is_none());
    let elsewhere = QuoteDomain { chain_id: 1, ..DOMAIN };
    assert_eq!(store.deliver(&elsewhere, &[marked(4)]).await.unwrap().new, 1);
}

#[tokio::test]
async fn closed_keys_never_open_again() {
    let store = Store::in_memory().await.unwrap();
    deliver(&store, &[marked(3), marked(9)]).await;
    pass(&store, &[3, 9], None).await.unwrap();
    let outcomes = [3, 9].map(|serial| (hash(&marked(serial)), super::waiting(0)));
    store.settle(&outcomes, None, 201).await.unwrap();
    pass(&store, &[3], None).await.unwrap();
    assert_eq!(deliver(&store, &[marked(8)]).await.late.len(), 1);
}
