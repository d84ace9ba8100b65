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
