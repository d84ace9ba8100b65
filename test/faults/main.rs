//! Faults: the real roles as processes, killed without warning while money moves, on a chain that takes blocks back.
//!
//! A seed decides who is killed, at which event, and what happens to the chain meanwhile; how threads and processes interleave is
//! up to the machine. At the end the books must be exact: every ticket whose payment was acknowledged is paid once, and the
//! contract has moved the sum of their face values and not a wei more.
//!
//! `STREAMFLOW_FAULTS_KILLS` sets how often each network loses a process, `STREAMFLOW_FAULTS_SEED` the seed.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod audit;
mod net;
#[path = "../network/mod.rs"]
mod network;
mod payer;
mod schedule;
mod weather;

use net::{Net, Topology};

/// Of a short run.
const KILLS: usize = 10;
const SEED: u64 = 1;

fn from_env<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

async fn run(topology: Topology) {
    let seed = from_env("STREAMFLOW_FAULTS_SEED", SEED);
    let kills = from_env("STREAMFLOW_FAULTS_KILLS", KILLS);
    // Told before anything can fail.
    eprintln!("faults: {topology:?}, STREAMFLOW_FAULTS_SEED={seed} STREAMFLOW_FAULTS_KILLS={kills}");
    let mut net = Net::start(topology, seed).await;
    net.suffer(kills).await;
    let report = net.settle().await;
    eprintln!("faults: {topology:?}, seed {seed}: {report}");
}

/// Orchestrator and keeper on one database; tickets are redeemed in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a20_kills_and_reorganisations_lose_no_ticket_of_a_shared_database() {
    run(Topology::Shared).await;
}

/// The keeper elsewhere, reached through its redeemer service.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a20_kills_and_reorganisations_lose_no_ticket_on_the_way_to_a_redeemer() {
    run(Topology::Redeemer).await;
}
