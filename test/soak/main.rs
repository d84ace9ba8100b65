//! Soak: a live stream over RTMP through a paid network whose orchestrators and transcoders are killed, stalled, partitioned and
//! restarted on a seeded schedule. Meanwhile viewers must not see a gap, and at the end the books of both sides must agree to the
//! wei.
//!
//! `STREAMFLOW_SOAK_SECONDS` says how long the blows fall, `STREAMFLOW_SOAK_SEED` which. Each orchestrator and its transcoder
//! live in a network namespace of their own; where the machine does not permit that, nothing is partitioned, and stderr says so.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod balances;
mod namespace;
mod net;
#[path = "../network/mod.rs"]
mod network;
mod publisher;
mod recording;
mod schedule;
mod site;
mod status;

use std::time::Duration;

use net::Net;

/// Of a short run.
const SECONDS: u64 = 20;
const SEED: u64 = 1;

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_stream_has_no_gap_and_the_books_agree_whoever_is_struck() {
    let seed = from_env("STREAMFLOW_SOAK_SEED", SEED);
    let seconds = from_env("STREAMFLOW_SOAK_SECONDS", SECONDS);
    // Told before anything can fail.
    eprintln!("soak: STREAMFLOW_SOAK_SEED={seed} STREAMFLOW_SOAK_SECONDS={seconds}");
    let mut net = Net::start().await;
    let blows = net.suffer(seed, Duration::from_secs(seconds)).await;
    eprintln!("soak: seed {seed}: {blows} blows");
    eprintln!("soak: seed {seed}: {}", net.compare_balances().await);
    eprintln!("soak: seed {seed}: {}", net.end_stream().await);
    eprintln!("soak: seed {seed}: {}", net.settle().await);
}
