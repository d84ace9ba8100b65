//! `kill -9` of the orchestrator's end, again and again.
use std::{
    process::{Command, Stdio},
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use streamflow_store::Store;
use streamflow_testkit::{Database, on_both_engines};

use crate::fixture::{Desk, World, hash, link, winner};

const WINNERS: u32 = 120;
const KILLS: usize = 12;
/// Database of the outbox for a test that runs as another process, and where its redeemer is.
const CHILD_OUTBOX: &str = "STREAMFLOW_REDEEMER_TEST_OUTBOX";
const CHILD_REDEEMER: &str = "STREAMFLOW_REDEEMER_TEST_ADDRESS";

/// Not a test by itself: the process that is killed.
#[tokio::test]
async fn child_hands_over_winners() {
    let Ok(outbox) = std::env::var(CHILD_OUTBOX) else { return };
    let address = std::env::var(CHILD_REDEEMER).unwrap().parse().unwrap();
    let _desk = Desk::start(&outbox, link(address, None)).await;
    std::future::pending::<()>().await;
}

async fn no_kill_loses_a_winner(database: Database) {
    let world = World::beside(&database).await;
    let service = world.start().await;
    let outbox = Store::open_url(database.url()).await.unwrap();
    let mut random = StdRng::seed_from_u64(7);
    for round in 0..KILLS as u32 {
        let some = WINNERS / KILLS as u32;
        let winners: Vec<_> = (round * some..(round + 1) * some).map(winner).collect();
        outbox.insert_winners(&winners).await.unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::child_hands_over_winners"])
            .env(CHILD_OUTBOX, database.url())
            .env(CHILD_REDEEMER, service.address.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let before = world.count().await;
        // Somewhere between the start and the last of the batch.
        let wanted = before + random.random_range(0..winners.len());
        let end = tokio::time::Instant::now() + Duration::from_secs(10);
        while world.count().await < wanted && tokio::time::Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_micros(random.random_range(0..8_000))).await;
        child.kill().unwrap();
        child.wait().unwrap();
        for n in 0..(round + 1) * some {
            let (here, there) = (outbox.ticket(hash(&winner(n))).await, world.store.ticket(hash(&winner(n))).await);
            assert!(here.unwrap().is_some() || there.unwrap().is_some(), "winner {n} is lost after kill {round}");
        }
    }
    let desk = Desk::start(database.url(), link(service.address, None)).await;
    crate::fixture::eventually("the outbox is empty", || async { desk.left().await == 0 }).await;
    assert_eq!(world.count().await, WINNERS as usize);
    desk.stopped().await;
}

on_both_engines! { no_kill_loses_a_winner }
