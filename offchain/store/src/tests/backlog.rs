use alloy_primitives::{Address, U256};
use streamflow_pm::ordered;
use streamflow_testkit::{Database, on_both_engines};
use streamflow_types::{Round, WinningTicket};

use super::{dead, hash, open, paid, waiting, winner_of_round};
use crate::{Finality, TicketRecord};

fn marked(n: u32, sender: u8, round: u64, serial: u64) -> WinningTicket {
    let mut winner = winner_of_round(n, Round(round));
    winner.signed.ticket.sender = Address::repeat_byte(sender);
    winner.recipient_rand = ordered::numbered(serial, U256::from(n) << 64);
    winner
}

fn nonces(records: &[TicketRecord]) -> Vec<u32> {
    records.iter().map(|record| record.ticket.signed.ticket.sender_nonce).collect()
}

async fn a_sender_with_many_tickets_does_not_hide_another(database: Database) {
    let store = open(&database).await;
    let mut winners: Vec<_> = (1..=50).map(|n| marked(n, 1, 7, n.into())).collect();
    winners.extend([marked(60, 2, 8, 60), marked(61, 2, 8, 61)]);
    store.insert_winners(&winners).await.unwrap();
    let ready = store.redeemable_of_each(1_000, Round(7), 3, 4).await.unwrap();
    assert_eq!(nonces(&ready), [2, 1, 61, 60], "the two lowest keys of each, the dearest of a round first");
    let more = store.redeemable_of_each(1_000, Round(7), 3, 99).await.unwrap();
    assert_eq!(nonces(&more), [3, 2, 1, 61, 60]);
    assert_eq!(store.redeemable_of_each(1_000, Round(8), 3, 99).await.unwrap().len(), 2);
    assert_eq!(nonces(&store.redeemable_of_each(101, Round(7), 3, 99).await.unwrap()), [1], "the others' params live");
}

async fn a_ticket_that_waits_is_not_offered_and_those_above_it_are(database: Database) {
    let store = open(&database).await;
    let winners = [marked(1, 1, 7, 1), marked(2, 1, 7, 2)];
    store.insert_winners(&winners).await.unwrap();
    store.settle(&[(hash(&winners[0]), waiting(1_001))], None, 1).await.unwrap();
    assert_eq!(nonces(&store.redeemable_of_each(1_000, Round(7), 1, 9).await.unwrap()), [2]);
}

async fn pending_tickets_come_from_the_lowest_key_above_the_mark_without_a_gap(database: Database) {
    let store = open(&database).await;
    // Serials with the highest bit set and nonces that disagree with insertion order.
    let far = 1 << 63;
    let order = [(9, 7, 5), (3, 7, 6), (4, 7, 6), (1, 7, far), (8, 8, 2), (2, 9, 1)];
    let mut winners: Vec<_> = order.iter().map(|(n, round, serial)| marked(*n, 1, *round, *serial)).collect();
    winners.push(marked(20, 2, 7, 1));
    winners.push(winner_of_round(30, Round(7)));
    winners.reverse();
    store.insert_winners(&winners).await.unwrap();
    let (recipient, sender) = (Address::repeat_byte(0xaa), Address::repeat_byte(1));
    let above = async |round, serial, nonce, oldest, limit| {
        let mark = ordered::key(Round(round), serial, nonce);
        nonces(&store.pending_above(recipient, sender, mark, Round(oldest), limit).await.unwrap())
    };
    assert_eq!(above(0, 0, 0, 7, 9).await, [9, 3, 4, 1, 8, 2]);
    assert_eq!(above(0, 0, 0, 7, 2).await, [9, 3]);
    assert_eq!(above(7, 6, 3, 7, 9).await, [4, 1, 8, 2]);
    assert_eq!(above(7, 6, 9, 7, 9).await, [1, 8, 2]);
    assert_eq!(above(7, far, 1, 8, 9).await, [8, 2]);
    assert_eq!(above(0, 0, 0, 9, 9).await, [2]);
    assert_eq!(above(u64::MAX, u64::MAX, 1, 0, 9).await, [0_u32; 0]);
}

async fn what_a_round_won_is_the_sum_of_what_is_not_dead(database: Database) {
    let store = open(&database).await;
    let winners: Vec<_> = (1..=4).map(|n| marked(n, 1, 7, 1)).collect();
    store.insert_winners(&winners).await.unwrap();
    store.insert_winners(&[marked(5, 1, 8, 1)]).await.unwrap();
    store.settle(&[(hash(&winners[0]), dead()), (hash(&winners[1]), paid(1))], None, 1).await.unwrap();
    let worth = |n: u64| U256::from(1_000 + n) << 128;
    assert_eq!(store.won_in(Round(7), 9).await.unwrap(), worth(2) + worth(3) + worth(4));
    assert_eq!(store.won_in(Round(7), 1).await.unwrap(), worth(2) + worth(4), "the dearest of each state");
    assert_eq!(store.won_in(Round(9), 9).await.unwrap(), U256::ZERO);
    assert_eq!(store.unpaid().await.unwrap(), 3);
}

async fn a_payout_is_included_then_safe_then_finalized_and_starts_again_when_it_left_the_chain(database: Database) {
    let store = open(&database).await;
    let winners: Vec<_> = (1..=3).map(|n| marked(n, 1, 7, 1)).collect();
    store.insert_winners(&winners).await.unwrap();
    let hashes: Vec<_> = winners.iter().map(hash).collect();
    assert_eq!(store.payout_finality(hashes[0]).await.unwrap(), None);
    store.settle(&[(hashes[0], paid(1)), (hashes[1], paid(2))], None, 1).await.unwrap();
    assert_eq!(store.payout_finality(hashes[0]).await.unwrap(), Some(Finality::Included));
    assert_eq!(store.unsafe_payouts(119, 9).await.unwrap().len(), 0, "paid in block 120");
    assert_eq!(store.unsafe_payouts(120, 9).await.unwrap().len(), 2);

    store.secure_payouts(&hashes[..1]).await.unwrap();
    assert_eq!(store.payout_finality(hashes[0]).await.unwrap(), Some(Finality::Safe));
    assert_eq!(store.unsafe_payouts(120, 9).await.unwrap().len(), 1);
    assert_eq!(store.unconfirmed_payouts(120, 9).await.unwrap().len(), 2, "safe is not final");
    store.confirm_payouts(&hashes[1..2]).await.unwrap();
    let totals = store.payout_totals().await.unwrap();
    let summary: Vec<_> = totals.iter().map(|(finality, total)| (finality.as_str(), total.count)).collect();
    assert_eq!(summary, [("included", 0), ("safe", 1), ("finalized", 1)]);
    assert_eq!(totals[2].1.amount, U256::from(2));

    store.revoke_payouts(&hashes[..1]).await.unwrap();
    store.settle(&[(hashes[0], paid(3))], None, 1).await.unwrap();
    assert_eq!(store.payout_finality(hashes[0]).await.unwrap(), Some(Finality::Included), "of its new payout");
    assert!(store.secure_payouts(&hashes[2..]).await.is_err());
}

on_both_engines! {
    a_sender_with_many_tickets_does_not_hide_another,
    a_ticket_that_waits_is_not_offered_and_those_above_it_are,
    pending_tickets_come_from_the_lowest_key_above_the_mark_without_a_gap,
    what_a_round_won_is_the_sum_of_what_is_not_dead,
    a_payout_is_included_then_safe_then_finalized_and_starts_again_when_it_left_the_chain,
}
