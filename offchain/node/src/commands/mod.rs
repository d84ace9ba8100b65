//! Commands that do one thing and end.
pub mod chain_status;
pub mod completions;
pub mod config_file;
pub mod delegator;
pub mod deploy;
pub mod doctor;
pub mod explain;
pub mod funds;
pub mod keeper_plan;
pub mod man;
pub mod operation;
pub mod receipts;
pub mod registration;
pub mod simulate;
pub mod stake;
pub mod tickets;

use streamflow_chain::Chain;

use crate::{config::Config, exit::Usage, output::Output};

/// What every command gets.
#[derive(Debug)]
pub struct Context {
    pub config: Config,
    pub output: Output,
}

impl Context {
    /// Connects to the configured deployment, once: a command fails at once when the node is away.
    pub(crate) async fn connect(&self) -> anyhow::Result<Chain> {
        if self.config.chain.controller.is_none() {
            return Err(Usage("chain.controller is not set, the address of the Controller to work with: name a file that sets it, --config FILE".into()).into());
        }
        Ok(streamflow_chain::connect(&self.config.chain).await?)
    }
}
