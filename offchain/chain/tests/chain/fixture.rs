//! What the tests share: a running follower, and waiting with a limit.
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use streamflow_chain::{BlockFeed, BlockFollower, Chain, ChainConfig, Rpc, connect};
use streamflow_testkit::{Anvil, Deployment};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

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

/// Stands before a node and answers to transactions with an error of its own.
#[derive(Clone, Debug)]
pub(crate) struct Garbler {
    pub(crate) node: Url,
    /// Whether the node gets the transaction all the same.
    pub(crate) passes_on: bool,
    pub(crate) message: &'static str,
    /// How many transactions are answered like this.
    pub(crate) times: Arc<AtomicUsize>,
}

impl Garbler {
    /// Listens until the returned task ends.
    pub(crate) async fn listen(self) -> Result<(Url, JoinHandle<()>)> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?).parse()?;
        let router = axum::Router::new().fallback(move |body: String| {
            let garbler = self.clone();
            async move { garbler.answer(body).await.map_err(|_| axum::http::StatusCode::BAD_GATEWAY) }
        });
        let serve = async {
            let _ = axum::serve(listener, router).await;
        };
        Ok((url, tokio::spawn(serve)))
    }

    async fn answer(&self, body: String) -> Result<String> {
        let request: serde_json::Value = serde_json::from_str(&body)?;
        let left = |times: usize| times.checked_sub(1);
        let garble = request["method"] == "eth_sendRawTransaction"
            && self.times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok();
        if self.passes_on || !garble {
            let answer = reqwest::Client::new().post(self.node.clone()).header("content-type", "application/json");
            let answer = answer.body(body).send().await?.text().await?;
            if !garble {
                return Ok(answer);
            }
        }
        let error = serde_json::json!({ "code": -32000, "message": self.message });
        Ok(serde_json::json!({ "jsonrpc": "2.0", "id": request["id"], "error": error }).to_string())
    }
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
