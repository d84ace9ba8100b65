//! One sequence for all who quote for a recipient.

use std::ops::RangeInclusive;

use alloy_primitives::Address;
use streamflow_pm::{LeaseTerms, QuoteDomain, SerialLease};
use streamflow_testkit::{Database, on_both_engines};
use streamflow_types::Round;

use super::open;
use crate::{Leased, Store, StoreError};

const DOMAIN: QuoteDomain = QuoteDomain { chain_id: 31337, broker: Address::repeat_byte(0xbb) };
const RECIPIENT: Address = Address::repeat_byte(0xaa);

fn terms(round: u64, expiration_block: RangeInclusive<u64>) -> LeaseTerms {
    LeaseTerms { round: Round(round), expiration_block }
}

async fn lease(store: &Store, terms: &LeaseTerms) -> Leased {
    store.lease_serials(&DOMAIN, RECIPIENT, terms, 10).await.unwrap()
}

fn expected(serials: RangeInclusive<u64>, round: u64, expiration_block: u64) -> Leased {
    Leased::Lease(SerialLease::new(serials, Round(round), expiration_block))
}

async fn two_stores_on_one_database_share_the_sequence(database: Database) {
    let (one, two) = (open(&database).await, open(&database).await);
    let first = 140 << 24;
    let terms = terms(7, 140..=180);
    assert_eq!(lease(&one, &terms).await, expected(first..=first + 9, 7, 140));
    assert_eq!(lease(&two, &terms).await, expected(first + 10..=first + 19, 7, 140));
    assert_eq!(lease(&one, &terms).await, expected(first + 20..=first + 29, 7, 140));
}

async fn the_expiration_block_is_lifted_to_that_of_the_last_lease(database: Database) {
    let store = open(&database).await;
    let first = 145 << 24;
    assert_eq!(lease(&store, &terms(7, 145..=185)).await, expected(first..=first + 9, 7, 145));
    assert_eq!(lease(&store, &terms(7, 140..=145)).await, expected(first + 10..=first + 19, 7, 145));
}

async fn nobody_leases_for_an_earlier_round_or_an_earlier_end(database: Database) {
    let store = open(&database).await;
    lease(&store, &terms(8, 145..=185)).await;
    let behind = Leased::Behind { round: Round(8), expiration_block: 145 };
    assert_eq!(lease(&store, &terms(7, 150..=190)).await, behind);
    assert_eq!(lease(&store, &terms(8, 104..=144)).await, behind);
    assert_eq!(lease(&store, &terms(9, 104..=144)).await, behind);
    // Those that were refused left no trace.
    let first = (145 << 24) + 10;
    assert_eq!(lease(&store, &terms(8, 145..=185)).await, expected(first..=first + 9, 8, 145));
}

async fn a_lost_database_does_not_number_tickets_below_the_old_ones(database: Database) {
    let old = Store::in_memory().await.unwrap();
    let Leased::Lease(before) = lease(&old, &terms(7, 140..=180)).await else { panic!("no lease") };
    let new = open(&database).await;
    let Leased::Lease(after) = lease(&new, &terms(7, 141..=181)).await else { panic!("no lease") };
    assert!(after.last() > before.last() && after.first() > before.last());
}

async fn recipients_and_contracts_have_sequences_of_their_own(database: Database) {
    let store = open(&database).await;
    lease(&store, &terms(9, 200..=240)).await;
    let first = 100 << 24;
    let of = async |domain: QuoteDomain, recipient| {
        store.lease_serials(&domain, recipient, &terms(1, 100..=140), 10).await.unwrap()
    };
    for (domain, recipient) in [
        (QuoteDomain { chain_id: 1, ..DOMAIN }, RECIPIENT),
        (QuoteDomain { broker: RECIPIENT, ..DOMAIN }, RECIPIENT),
        (DOMAIN, Address::repeat_byte(0xab)),
    ] {
        assert_eq!(of(domain, recipient).await, expected(first..=first + 9, 1, 100));
    }
}

async fn a_sequence_that_is_used_up_is_an_error(database: Database) {
    let store = open(&database).await;
    for block in [1 << 38, (1 << 39) - 1, 1 << 39, 1 << 40, u64::MAX] {
        let leased = store.lease_serials(&DOMAIN, RECIPIENT, &terms(1, block..=block), 1 << 24).await;
        match block < 1 << 39 {
            true => assert!(matches!(leased, Ok(Leased::Lease(_)))),
            false => assert!(matches!(leased, Err(StoreError::OutOfRange { column: "last_serial" }))),
        }
    }
}

on_both_engines! {
    two_stores_on_one_database_share_the_sequence,
    the_expiration_block_is_lifted_to_that_of_the_last_lease,
    nobody_leases_for_an_earlier_round_or_an_earlier_end,
    a_lost_database_does_not_number_tickets_below_the_old_ones,
    recipients_and_contracts_have_sequences_of_their_own,
    a_sequence_that_is_used_up_is_an_error,
}
