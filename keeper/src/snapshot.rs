//! One block as one endpoint shows it.

use alloy::{eips::BlockId, primitives::Address, sol_types::SolCall};
use streamflow_chain::{BlockHeader, Chain, ChainError, Rpc};

/// What is read through it belongs together. An endpoint that vanishes meanwhile ends the pass; the next one goes through
/// another.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) rpc: Rpc,
    pub(crate) head: BlockHeader,
}

impl Snapshot {
    /// The newest block of the endpoint that leads now.
    pub(crate) async fn newest(chain: &Chain) -> Result<Self, ChainError> {
        let rpc = chain.rpc.pinned();
        let head = rpc.head().await?;
        Ok(Self { rpc, head })
    }

    pub(crate) fn at(&self) -> BlockId {
        BlockId::from(self.head.hash)
    }

    /// Calls a view of the contract at `to` in the state after the block.
    pub(crate) async fn view<C: SolCall>(&self, to: Address, call: C) -> Result<C::Return, ChainError> {
        self.rpc.view(to, call, self.at()).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use streamflow_bindings::RoundsManager;
    use streamflow_chain::ChainConfig;
    use streamflow_testkit::{Chaos, ChaosProxy, Deployment};

    use super::*;

    #[tokio::test]
    async fn an_endpoint_that_vanishes_ends_a_snapshot_and_not_the_next_one() {
        let deployment = Deployment::start().await.unwrap();
        let node = || deployment.anvil.url();
        let nodes = [ChaosProxy::start(node()).await.unwrap(), ChaosProxy::start(node()).await.unwrap()];
        let config = ChainConfig {
            rpc_url: nodes[0].url(),
            rpc_urls: vec![nodes[1].url()],
            controller: Some(deployment.contracts.controller),
            request_timeout: Duration::from_secs(1),
            ..ChainConfig::default()
        };
        let chain = streamflow_chain::connect(&config).await.unwrap();
        let rounds = chain.contracts.rounds_manager;
        let snapshot = Snapshot::newest(&chain).await.unwrap();
        nodes[0].set(Chaos::Stall).await.unwrap();
        assert!(snapshot.view(rounds, RoundsManager::currentRoundCall {}).await.is_err());
        // As the follower does all the time.
        chain.rpc.head().await.unwrap();
        let next = Snapshot::newest(&chain).await.unwrap();
        assert_eq!(next.head, snapshot.head);
        assert!(next.view(rounds, RoundsManager::currentRoundCall {}).await.is_ok());
    }
}
