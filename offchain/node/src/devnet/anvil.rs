//! The chain of the network.
use std::time::Duration;

use alloy::{
    primitives::{Address, U256},
    providers::{DynProvider, Provider as _, ProviderBuilder, ext::AnvilApi as _},
};
use anyhow::{Context as _, bail};
use tokio::{
    process::Command,
    time::{Instant, sleep},
};
use url::Url;

use super::{processes::Processes, roles::Plan};
use crate::commands::deploy::foundry;

/// How long anvil may take to answer.
const START: Duration = Duration::from_secs(20);

/// A running anvil.
#[derive(Debug)]
pub(super) struct Anvil {
    pub(super) url: Url,
    provider: DynProvider,
}

impl Anvil {
    /// Starts it and waits until it answers.
    pub(super) async fn start(plan: &Plan, processes: &mut Processes) -> anyhow::Result<Self> {
        let url = plan.rpc_url.clone();
        let port = url.port_or_known_default().context("the chain's URL has no port")?;
        let mut command = Command::new(foundry(&plan.project, "anvil")?);
        command.args(["--host", "127.0.0.1", "--port", &port.to_string()]).args([
            "--block-time",
            "1",
            "--base-fee",
            "10000000",
            "--slots-in-an-epoch",
            "1",
            // An anvil that is killed leaves its old states in the home directory for ever.
            "--max-persisted-states",
            "0",
        ]);
        processes.start_tool("anvil", command)?;
        let provider = ProviderBuilder::new().connect_http(url.clone()).erased();
        let deadline = Instant::now() + START;
        while let Err(error) = provider.get_chain_id().await {
            processes.check()?;
            if Instant::now() >= deadline {
                bail!("anvil does not answer at {url} after {START:?}: {error}");
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(Self { url, provider })
    }

    /// Gives `account` so many wei.
    pub(super) async fn set_balance(&self, account: Address, wei: U256) -> anyhow::Result<()> {
        self.provider.anvil_set_balance(account, wei).await.context("anvil_setBalance failed")
    }

    /// Mines `blocks` at once.
    pub(super) async fn mine(&self, blocks: u64) -> anyhow::Result<()> {
        self.provider.anvil_mine(Some(blocks), None).await.context("anvil_mine failed")
    }

    /// Mines a block every `period` until dropped, so that set-up need not wait for real block times.
    pub(super) fn hurry(&self, period: Duration) -> tokio_util::task::AbortOnDropHandle<()> {
        let provider = self.provider.clone();
        tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                sleep(period).await;
                if let Err(error) = provider.anvil_mine(Some(1), None).await {
                    tracing::debug!(%error, "cannot mine ahead");
                }
            }
        }))
    }
}
