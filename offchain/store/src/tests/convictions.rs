//! Who was caught is still known after a restart.

use streamflow_testkit::{Database, on_both_engines};

use super::open;
use crate::KnownConviction;

fn known(n: u32, ends_at: u64) -> KnownConviction {
    KnownConviction {
        url: format!("https://o{n}.example:8935/"),
        verdict: "black_frames".into(),
        why: "black frames: 50 of 50 moments, 0 in honest work".into(),
        ends_at,
        relapses: n,
    }
}

async fn a_conviction_is_there_after_a_restart_until_it_ends(database: Database) {
    let store = open(&database).await;
    store.keep_convictions(&[known(1, 100), known(2, 200)], 9).await.unwrap();
    store.close().await;
    let again = open(&database).await;
    assert_eq!(again.convictions(99, 9).await.unwrap(), [known(2, 200), known(1, 100)]);
    assert_eq!(again.convictions(100, 9).await.unwrap(), [known(2, 200)]);
    assert_eq!(again.convictions(0, 1).await.unwrap(), [known(2, 200)], "the longest first");
    assert_eq!(again.convictions(200, 9).await.unwrap(), []);
}

async fn the_newest_conviction_of_an_orchestrator_counts(database: Database) {
    let store = open(&database).await;
    store.keep_convictions(&[known(1, 100)], 9).await.unwrap();
    let again = KnownConviction { verdict: "unsigned".into(), relapses: 2, ..known(1, 300) };
    store.keep_convictions(std::slice::from_ref(&again), 9).await.unwrap();
    assert_eq!(store.convictions(0, 9).await.unwrap(), std::slice::from_ref(&again));
    // Another node that catches it at less, or suspends for a shorter time.
    store.keep_convictions(&[KnownConviction { verdict: "wrong_size".into(), ..known(1, 299) }], 9).await.unwrap();
    assert_eq!(store.convictions(0, 9).await.unwrap(), [again], "the longer one stays");
    let same_end = KnownConviction { verdict: "wrong_size".into(), ..known(1, 300) };
    store.keep_convictions(std::slice::from_ref(&same_end), 9).await.unwrap();
    assert_eq!(store.convictions(0, 9).await.unwrap(), [same_end]);
}

async fn of_too_many_those_that_end_first_are_forgotten(database: Database) {
    let store = open(&database).await;
    store.keep_convictions(&[known(1, 100), known(2, 200)], 2).await.unwrap();
    store.keep_convictions(&[known(3, 150)], 2).await.unwrap();
    assert_eq!(store.convictions(0, 9).await.unwrap(), [known(2, 200), known(3, 150)]);
}

on_both_engines! {
    a_conviction_is_there_after_a_restart_until_it_ends,
    the_newest_conviction_of_an_orchestrator_counts,
    of_too_many_those_that_end_first_are_forgotten,
}
