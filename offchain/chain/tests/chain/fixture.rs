//! What the tests share: a running follower, and waiting with a limit.
use std::{future::Future, time::Duration};

use anyhow::{Context, Result};
use streamflow_chain::{BlockFeed, BlockFollower, Chain, ChainConfig, Rpc, connect};
use streamflow_testkit::{Anvil, Deployment};
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Ends its tasks when dropped.
pub(crate) struct Following {
    pub(crate) feed: BlockFeed,
    pub(crate) stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

pub(crate) fn config(anvil: &Anvil) -> ChainConfig {
    ChainConfig {
        rpc_url: anvil.url(),
        poll_interval: Duration::from_millis(40),
        max_backoff: Duration::from_millis(200),
        ..ChainConfig::default()
    }
}

pub(crate) async fn chain(deployment: &Deployment) -> Result<(Chain, ChainConfig)> {
    let config = ChainConfig { controller: Some(deployment.contracts.controller), ..config(&deployment.anvil) };
    Ok((connect(&config).await?, config))
}

pub(crate) fn follow(chain: &Chain, config: &ChainConfig) -> Following {
    run(BlockFollower::new(chain, config))
}

pub(crate) fn follow_blocks(config: &ChainConfig) -> Result<Following> {
    Ok(run(BlockFollower::with_addresses(Rpc::new(config)?, Vec::new(), config)))
}

fn run((follower, feed): (BlockFollower, BlockFeed)) -> Following {
    let stop = CancellationToken::new();
    tokio::spawn(follower.run(stop.clone()));
    Following { feed, stop: stop.clone(), _stop_on_drop: stop.drop_guard() }
}

/// Waits for `done`, at most [`PATIENCE`].
pub(crate) async fn within<T>(what: &str, done: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(PATIENCE, done).await.with_context(|| format!("waited too long for {what}"))
}

/// Asks until the answer is yes, at most [`PATIENCE`].
pub(crate) async fn eventually<F>(what: &str, mut ask: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = Result<bool>>,
{
    let asked = async {
        while !ask().await? {
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        Ok(())
    };
    within(what, asked).await?
}
