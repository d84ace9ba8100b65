use alloy_primitives::{Address, B256, U256};
use streamflow_pm::{Inserted, TicketStore};
use streamflow_testkit::{Database, on_both_engines};
use streamflow_types::Round;

use super::{dead, hash, open, paid, waiting, winner, winner_of_round};
use crate::{
    RedemptionReceipt, RewardRecord, Store, StoreError, TicketOutcome, TicketState, TicketStatus, TicketTotal,
};

async fn store_with(database: &Database, count: u32) -> Store {
    let store = open(database).await;
    let winners: Vec<_> = (0..count).map(winner).collect();
    assert_eq!(store.insert_winners(&winners).await.unwrap(), u64::from(count));
    store
}

fn receipt(n: u8, tickets: u32) -> RedemptionReceipt {
    RedemptionReceipt {
        tx_hash: B256::repeat_byte(n),
        intent: format!("redeem-{n}"),
        block: 120,
        success: true,
        tickets,
        gas_used: 100_000,
        effective_gas_price: 10,
    }
}

async fn a_stored_winner_comes_back_whole(database: Database) {
    let store = store_with(&database, 3).await;
    let record = store.ticket(hash(&winner(2))).await.unwrap().unwrap();
    assert_eq!(record.ticket, winner(2));
    assert_eq!(record.state, TicketState::Pending { not_before: 0, reason: None });
    assert_eq!(store.ticket(B256::ZERO).await.unwrap(), None);
}

async fn a_bound_winner_comes_back_bound(database: Database) {
    let store = store_with(&database, 1).await;
    let mut bound = winner(0);
    bound.signed.ticket.deployment = Some(B256::repeat_byte(0xd0));
    assert_eq!(store.insert_winners(&[bound]).await.unwrap(), 1);
    for winner in [winner(0), bound] {
        assert_eq!(store.ticket(hash(&winner)).await.unwrap().unwrap().ticket, winner);
    }
}

async fn the_same_winner_again_changes_nothing(database: Database) {
    let store = store_with(&database, 1).await;
    store.submit("batch", &[hash(&winner(0))], 110).await.unwrap();
    assert_eq!(store.insert_winners(&[winner(0), winner(1)]).await.unwrap(), 1);
    let record = store.ticket(hash(&winner(0))).await.unwrap().unwrap();
    assert_eq!(record.state, TicketState::Submitted { intent: "batch".to_owned() });
}

async fn tickets_are_offered_only_after_their_params_expired(database: Database) {
    let store = store_with(&database, 3).await; // params expire at 100, 101, 102
    let at = async |block| store.redeemable(block, Round(7), 10).await.unwrap().len();
    assert_eq!((at(99).await, at(100).await, at(101).await, at(102).await), (0, 1, 2, 3));
    assert_eq!(store.redeemable(102, Round(8), 10).await.unwrap(), []);
}

async fn the_oldest_round_and_then_the_highest_value_comes_first(database: Database) {
    let store = open(&database).await;
    let winners = [winner_of_round(1, Round(8)), winner_of_round(2, Round(8)), winner_of_round(0, Round(7))];
    store.insert_winners(&winners).await.unwrap();
    let order: Vec<u32> =
        store.redeemable(200, Round(7), 2).await.unwrap().iter().map(|r| r.ticket.signed.ticket.sender_nonce).collect();
    assert_eq!(order, [0, 2]);
}

async fn a_waiting_ticket_is_not_offered_before_its_block(database: Database) {
    let store = store_with(&database, 1).await;
    let h = hash(&winner(0));
    store.submit("batch", &[h], 110).await.unwrap();
    store.settle(&[(h, waiting(130))], None, 111).await.unwrap();
    assert_eq!(store.redeemable(129, Round(7), 10).await.unwrap(), []);
    let offered = store.redeemable(130, Round(7), 10).await.unwrap();
    assert_eq!((offered[0].hash, offered[0].attempts), (h, 1));
}

async fn a_batch_is_submitted_whole_or_not_at_all(database: Database) {
    let store = store_with(&database, 2).await;
    let (a, b) = (hash(&winner(0)), hash(&winner(1)));
    store.submit("first", &[b], 110).await.unwrap();
    let refused = store.submit("second", &[a, b], 111).await.unwrap_err();
    assert!(matches!(refused, StoreError::IllegalTransition { hash, from: TicketStatus::Submitted, .. } if hash == b));
    assert_eq!(store.ticket(a).await.unwrap().unwrap().state.status(), TicketStatus::Pending);
    assert!(matches!(store.submit("third", &[B256::ZERO], 1).await, Err(StoreError::UnknownTicket(_))));
}

async fn outcome_and_receipt_are_recorded_together_or_not_at_all(database: Database) {
    let store = store_with(&database, 2).await;
    let (a, b) = (hash(&winner(0)), hash(&winner(1)));
    store.settle(&[(b, dead())], None, 110).await.unwrap();
    let refused = store.settle(&[(a, paid(5)), (b, paid(5))], Some(&receipt(5, 2)), 120).await.unwrap_err();
    assert!(matches!(refused, StoreError::IllegalTransition { from: TicketStatus::Dead, .. }));
    assert_eq!(store.ticket(a).await.unwrap().unwrap().state.status(), TicketStatus::Pending);
    assert_eq!(store.redemption_summary().await.unwrap().transactions, 0);
}

async fn a_receipt_processed_twice_counts_once(database: Database) {
    let store = store_with(&database, 1).await;
    let h = hash(&winner(0));
    store.submit("redeem-5", &[h], 110).await.unwrap();
    for _ in 0..2 {
        store.settle(&[(h, paid(5))], Some(&receipt(5, 1)), 120).await.unwrap();
    }
    let sum = store.redemption_summary().await.unwrap();
    assert_eq!((sum.transactions, sum.redeemed, sum.gas_used), (1, 1, 100_000));
    assert_eq!((sum.gas_cost, sum.payout), (U256::from(1_000_000), U256::from(5)));
}

async fn a_redeemed_ticket_stays_redeemed(database: Database) {
    let store = store_with(&database, 1).await;
    let h = hash(&winner(0));
    store.settle(&[(h, paid(5))], None, 120).await.unwrap();
    for outcome in [paid(6), waiting(1), dead()] {
        let refused = store.settle(&[(h, outcome)], None, 121).await.unwrap_err();
        assert!(matches!(refused, StoreError::IllegalTransition { from: TicketStatus::Redeemed, .. }));
    }
    assert!(store.submit("again", &[h], 121).await.is_err());
}

async fn a_payout_that_left_the_chain_can_be_won_again_and_a_final_one_is_left_alone(database: Database) {
    let store = store_with(&database, 3).await;
    let [a, b, c] = [0, 1, 2].map(|n| hash(&winner(n)));
    store.submit("batch", &[a, b], 110).await.unwrap();
    store.settle(&[(a, paid(5)), (b, paid(5))], Some(&receipt(5, 2)), 120).await.unwrap();
    let TicketState::Redeemed(payout) = store.ticket(a).await.unwrap().unwrap().state else { panic!("not redeemed") };
    let unconfirmed = |block| {
        let store = store.clone();
        async move { store.unconfirmed_payouts(block, 9).await.unwrap().len() }
    };
    assert_eq!((unconfirmed(payout.block - 1).await, unconfirmed(payout.block).await), (0, 2));
    store.confirm_payouts(&[a]).await.unwrap();
    assert_eq!(unconfirmed(payout.block).await, 1);

    assert!(store.revoke_payouts(&[b, c]).await.is_err());
    assert_eq!(store.ticket(b).await.unwrap().unwrap().state.status(), TicketStatus::Redeemed);
    store.revoke_payouts(&[b]).await.unwrap();
    let again = store.ticket(b).await.unwrap().unwrap();
    let reason = Some("its redemption left the chain".to_owned());
    assert_eq!((again.state, again.attempts), (TicketState::Pending { not_before: 0, reason }, 1));
    let sum = store.redemption_summary().await.unwrap();
    assert_eq!((sum.transactions, sum.redeemed, sum.payout), (0, 1, U256::from(5)));
    assert_eq!(unconfirmed(payout.block).await, 0);
    store.submit("again", &[b], 130).await.unwrap();
}

async fn expired_tickets_die_unless_they_are_on_their_way(database: Database) {
    let store = store_with(&database, 2).await;
    let (a, b) = (hash(&winner(0)), hash(&winner(1)));
    store.submit("batch", &[b], 110).await.unwrap();
    assert_eq!(store.expire_before(Round(7), 120).await.unwrap(), [] as [B256; 0]);
    assert_eq!(store.expire_before(Round(8), 120).await.unwrap(), [a]);
    let state = store.ticket(a).await.unwrap().unwrap().state;
    assert_eq!(state, TicketState::Dead { reason: "ticket is expired".to_owned() });
    assert_eq!(store.ticket(b).await.unwrap().unwrap().state.status(), TicketStatus::Submitted);
}

async fn submitted_batches_are_found_again_with_their_tickets(database: Database) {
    let store = store_with(&database, 3).await;
    let hashes: Vec<_> = (0..3).map(|n| hash(&winner(n))).collect();
    store.submit("one", &hashes[..2], 110).await.unwrap();
    store.submit("two", &hashes[2..], 110).await.unwrap();
    let batches = store.submitted_batches().await.unwrap();
    assert_eq!(
        batches.iter().map(|b| (b.intent.as_str(), b.tickets.len())).collect::<Vec<_>>(),
        [("one", 2), ("two", 1)]
    );
}

async fn totals_and_outstanding_follow_the_states(database: Database) {
    let store = store_with(&database, 2).await;
    let sender = Address::repeat_byte(0xbb);
    let face = |n| winner(n).signed.ticket.face_value;
    assert_eq!(store.outstanding(sender).await.unwrap(), face(0) + face(1));
    store.settle(&[(hash(&winner(0)), paid(9))], None, 120).await.unwrap();
    assert_eq!(store.outstanding(sender).await.unwrap(), face(1));
    let total = store.ticket_total(TicketStatus::Redeemed).await.unwrap();
    assert_eq!(total, TicketTotal { count: 1, face_value: face(0), payout: U256::from(9) });
    assert_eq!(store.tickets(Some(TicketStatus::Redeemed), 10).await.unwrap().len(), 1);
    assert_eq!(store.tickets(None, 10).await.unwrap().len(), 2);
}

async fn a_reason_survives_until_the_next_outcome(database: Database) {
    let store = store_with(&database, 1).await;
    let h = hash(&winner(0));
    store.settle(&[(h, waiting(105))], None, 101).await.unwrap();
    let TicketState::Pending { not_before, reason } = store.ticket(h).await.unwrap().unwrap().state else { panic!() };
    assert_eq!((not_before, reason.as_deref()), (105, Some("sender is underfunded")));
    store.settle(&[(h, TicketOutcome::Dead { reason: "bad".to_owned() })], None, 106).await.unwrap();
    assert_eq!(store.ticket(h).await.unwrap().unwrap().state, TicketState::Dead { reason: "bad".to_owned() });
}

async fn nonces_never_go_backwards_and_expired_ones_are_forgotten(database: Database) {
    let store = open(&database).await;
    let rand_hash = B256::repeat_byte(1);
    assert_eq!(store.last_nonce(rand_hash).await.unwrap(), None);
    for last in [3, 7, 5] {
        store.record_nonce(rand_hash, 40, last).await.unwrap();
    }
    assert_eq!(store.last_nonce(rand_hash).await.unwrap(), Some(7));
    assert_eq!(store.prune_nonces(39).await.unwrap(), 0);
    assert_eq!(store.prune_nonces(40).await.unwrap(), 1);
    assert_eq!(store.last_nonce(rand_hash).await.unwrap(), None);
}

async fn pm_sees_new_winners_duplicates_and_what_is_pending(database: Database) {
    let store = open(&database).await;
    assert_eq!(store.insert_winning(&winner(1)).await.unwrap(), Inserted::New);
    assert_eq!(store.insert_winning(&winner(1)).await.unwrap(), Inserted::Duplicate);
    let ticket = winner(1).signed.ticket;
    assert_eq!(store.pending_face_value(ticket.sender).await.unwrap(), ticket.face_value);
    assert_eq!(store.pending_face_value(Address::ZERO).await.unwrap(), U256::ZERO);
}

async fn the_first_value_of_a_setting_wins(database: Database) {
    let store = open(&database).await;
    assert_eq!(store.setting("secret").await.unwrap(), None);
    assert_eq!(store.setting_or("secret", b"one").await.unwrap(), b"one");
    assert_eq!(store.setting_or("secret", b"two").await.unwrap(), b"one");
    store.set_setting("secret", b"three").await.unwrap();
    assert_eq!(store.setting("secret").await.unwrap().as_deref(), Some(b"three".as_slice()));
}

async fn a_setting_is_swapped_by_one_of_those_who_saw_it(database: Database) {
    let (store, other) = (open(&database).await, open(&database).await);
    assert!(store.swap_setting("sum", None, b"one").await.unwrap());
    assert!(!other.swap_setting("sum", None, b"two").await.unwrap());
    assert!(!other.swap_setting("sum", Some(b"two"), b"three").await.unwrap());
    assert_eq!(store.setting("sum").await.unwrap().as_deref(), Some(b"one".as_slice()));
    let swaps = tokio::join!(
        store.swap_setting("sum", Some(b"one"), b"four"),
        other.swap_setting("sum", Some(b"one"), b"five"),
    );
    assert_eq!([swaps.0.unwrap(), swaps.1.unwrap()].iter().filter(|swapped| **swapped).count(), 1);
    assert!(!store.swap_setting("absent", Some(b"one"), b"two").await.unwrap());
    assert_eq!(store.setting("absent").await.unwrap(), None);
}

async fn a_reward_is_recorded_once_per_round(database: Database) {
    let store = open(&database).await;
    let reward = RewardRecord {
        orchestrator: Address::repeat_byte(3),
        round: Round(9),
        amount: U256::from(77),
        tx_hash: B256::repeat_byte(4),
        block: 90,
    };
    store.record_reward(&reward).await.unwrap();
    store.record_reward(&RewardRecord { amount: U256::ZERO, ..reward }).await.unwrap();
    assert_eq!(store.rewards(reward.orchestrator, 10).await.unwrap(), [reward]);
}

async fn a_block_number_beyond_the_column_is_refused(database: Database) {
    let store = open(&database).await;
    let mut late = winner(1);
    late.params_expiration_block = u64::MAX;
    assert!(matches!(store.insert_winners(&[winner(0), late]).await, Err(StoreError::OutOfRange { .. })));
    assert_eq!(store.tickets(None, 10).await.unwrap(), []);
}

on_both_engines! {
    a_stored_winner_comes_back_whole,
    a_bound_winner_comes_back_bound,
    the_same_winner_again_changes_nothing,
    tickets_are_offered_only_after_their_params_expired,
    the_oldest_round_and_then_the_highest_value_comes_first,
    a_waiting_ticket_is_not_offered_before_its_block,
    a_batch_is_submitted_whole_or_not_at_all,
    outcome_and_receipt_are_recorded_together_or_not_at_all,
    a_receipt_processed_twice_counts_once,
    a_redeemed_ticket_stays_redeemed,
    a_payout_that_left_the_chain_can_be_won_again_and_a_final_one_is_left_alone,
    expired_tickets_die_unless_they_are_on_their_way,
    submitted_batches_are_found_again_with_their_tickets,
    totals_and_outstanding_follow_the_states,
    a_reason_survives_until_the_next_outcome,
    nonces_never_go_backwards_and_expired_ones_are_forgotten,
    pm_sees_new_winners_duplicates_and_what_is_pending,
    the_first_value_of_a_setting_wins,
    a_setting_is_swapped_by_one_of_those_who_saw_it,
    a_reward_is_recorded_once_per_round,
    a_block_number_beyond_the_column_is_refused,
}
