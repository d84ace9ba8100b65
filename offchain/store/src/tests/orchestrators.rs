//! What was learnt of orchestrators outlives the process.

use alloy_primitives::{Address, U256};
use streamflow_testkit::{Database, on_both_engines};
use streamflow_types::Price;

use super::open;
use crate::KnownOrchestrator;

fn known(n: u64, seen_at: u64) -> KnownOrchestrator {
    KnownOrchestrator {
        url: format!("https://o{n}.example:8935/"),
        account: Some(Address::with_last_byte(n as u8)),
        stake: Some(U256::MAX - U256::from(n)),
        price: Price::new(n, 1000).ok(),
        latency_ppm: Some((300_000 + n, 20_000)),
        served: n,
        failed: 2 * n,
        seen_at,
    }
}

async fn what_was_learnt_is_there_after_a_restart_newest_first(database: Database) {
    let store = open(&database).await;
    let nothing = KnownOrchestrator { account: None, stake: None, price: None, latency_ppm: None, ..known(3, 30) };
    let all = [known(1, 10), known(2, 20), nothing];
    store.remember_orchestrators(&all, 0).await.unwrap();
    store.close().await;
    let again = open(&database).await;
    let [one, two, three] = all;
    assert_eq!(again.known_orchestrators(9).await.unwrap(), [three.clone(), two, one]);
    assert_eq!(again.known_orchestrators(1).await.unwrap(), [three]);
}

async fn the_newest_word_on_an_orchestrator_counts(database: Database) {
    let store = open(&database).await;
    store.remember_orchestrators(&[known(1, 10)], 0).await.unwrap();
    let dearer = KnownOrchestrator { price: Price::new(7, 1).ok(), ..known(1, 11) };
    store.remember_orchestrators(std::slice::from_ref(&dearer), 0).await.unwrap();
    assert_eq!(store.known_orchestrators(9).await.unwrap(), [dearer]);
}

async fn those_long_gone_are_forgotten(database: Database) {
    let store = open(&database).await;
    store.remember_orchestrators(&[known(1, 10), known(2, 20)], 20).await.unwrap();
    assert_eq!(store.known_orchestrators(9).await.unwrap(), [known(2, 20)]);
}

on_both_engines! {
    what_was_learnt_is_there_after_a_restart_newest_first,
    the_newest_word_on_an_orchestrator_counts,
    those_long_gone_are_forgotten,
}
