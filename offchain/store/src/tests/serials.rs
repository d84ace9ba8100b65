//! One sequence for all who quote for a recipient.

use std::ops::RangeInclusive;

use alloy_primitives::Address;
use streamflow_pm::{LeaseTerms, QuoteDomain, SerialLease};
use streamflow_types::Round;

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

#[tokio::test]
async fn two_stores_on_one_file_share_the_sequence() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.sqlite");
    let (one, two) = (Store::open(&path).await.unwrap(), Store::open(&path).await.unwrap());
    let first = 140 << 24;
    let terms = terms(7, 140..=180);
    assert_eq!(lease(&one, &terms).await, expected(first..=first + 9, 7, 140));
    assert_eq!(lease(&two, &terms).await, expected(first + 10..=first + 19, 7, 140));
    assert_eq!(lease(&one, &terms).await, expected(first + 20..=first + 29, 7, 140));
}

#[tokio::test]
async fn the_expiration_block_is_lifted_to_that_of_the_last_lease() {
    let store = Store::in_memory().await.unwrap();
    let first = 145 << 24;
    assert_eq!(lease(&store, &terms(7, 145..=185)).await, expected(first..=first + 9, 7, 145));
    assert_eq!(lease(&store, &terms(7, 140..=145)).await, expected(first + 10..=first + 19, 7, 145));
}

#[tokio::test]
async fn nobody_leases_for_an_earlier_round_or_an_earlier_end() {
    let store = Store::in_memory().await.unwrap();
    lease(&store, &terms(8, 145..=185)).await;
    let behind = Leased::Behind { round: Round(8), expiration_block: 145 };
    assert_eq!(lease(&store, &terms(7, 150..=190)).await, behind);
    assert_eq!(lease(&store, &terms(8, 104..=144)).await, behind);
    assert_eq!(lease(&store, &terms(9, 104..=144)).await, behind);
    // Those that were refused left no trace.
    let first = (145 << 24) + 10;
    assert_eq!(lease(&store, &terms(8, 145..=185)).await, expected(first..=first + 9, 8, 145));
}

#[tokio::test]
async fn a_lost_database_does_not_number_tickets_below_the_old_ones() {
    let old = Store::in_memory().await.unwrap();
    let Leased::Lease(before) = lease(&old, &terms(7, 140..=180)).await else { panic!("no lease") };
    let new = Store::in_memory().await.unwrap();
    let Leased::Lease(after) = lease(&new, &terms(7, 141..=181)).await else { panic!("no lease") };
    assert!(after.last() > before.last() && after.first() > before.last());
}

#[tokio::test]
async fn recipients_and_contracts_have_sequences_of_their_own() {
    let store = Store::in_memory().await.unwrap();
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

#[tokio::test]
async fn a_sequence_that_is_used_up_is_an_error() {
    let store = Store::in_memory().await.unwrap();
    for block in [1 << 38, (1 << 39) - 1, 1 << 39, 1 << 40, u64::MAX] {
        let leased = store.lease_serials(&DOMAIN, RECIPIENT, &terms(1, block..=block), 1 << 24).await;
        match block < 1 << 39 {
            true => assert!(matches!(leased, Ok(Leased::Lease(_)))),
            false => assert!(matches!(leased, Err(StoreError::OutOfRange { column: "last_serial" }))),
        }
    }
}
