//! A chain with many registered orchestrators, for measurements by hand: `crowd 10000`. Prints where it is and how long the
//! list took to make, and stays until its input ends. Orchestrator `n` says that it listens on a port of this machine.
use std::{io::Read, time::Instant};

use alloy::primitives::U256;
use anyhow::{Context, Result};
use streamflow_testkit::{Deployment, key};

const LPT: u128 = 1_000_000_000_000_000_000;

#[tokio::main]
async fn main() -> Result<()> {
    let count = std::env::args().nth(1).context("usage: crowd COUNT")?.parse()?;
    let deployment = Deployment::start().await?;
    deployment.initialize_round().await?;
    let ether = U256::from(LPT);
    deployment.fund_sender(&key(1)?, ether, ether).await?;
    let start = Instant::now();
    deployment
        .list_crowd(count, |n| format!("https://127.0.0.1:{}/{n}", 20_000 + n % 40_000), |n| LPT * (1 + u128::from(n)))
        .await?;
    let took = start.elapsed();
    println!(
        "rpc_url = \"{}\"\ncontroller = \"{}\"\n# {count} orchestrators in {took:.1?}",
        deployment.anvil.url(),
        deployment.contracts.controller
    );
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}
