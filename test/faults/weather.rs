//! What befalls the chain, and what is seen of it.
use std::sync::atomic::Ordering;

use alloy::{
    primitives::{Address, B256},
    providers::{Provider, ext::AnvilApi},
};
use streamflow_bindings::RoundsManager;
use streamflow_types::{ChainView, Round};

use crate::network::chain::Chain;

impl Chain {
    /// What a broadcaster sees; nothing while blocks are being taken back.
    pub(crate) async fn view(&self) -> Option<ChainView> {
        let rounds = self.deployment.contracts.rounds_manager;
        let round: u64 = self.deployment.view(rounds, RoundsManager::lastInitializedRoundCall {}).await.ok()?.to();
        Some(ChainView {
            block: self.deployment.anvil.block_number().await.ok()?,
            round: Round(round),
            round_block_hash: B256::ZERO,
            round_initialized: true,
            pool_size: 1,
            base_fee: 0,
        })
    }

    /// Transactions of the keeper in the chain.
    pub(crate) async fn mined(&self, account: Address) -> u64 {
        self.deployment.anvil.provider().get_transaction_count(account).await.unwrap_or_default()
    }

    /// Takes the newest blocks back, with what was in them.
    pub(crate) async fn reorganise(&self, depth: u64) {
        let _pen = self.mining.pen.lock().await;
        self.deployment.anvil.reorg(depth, Vec::new()).await.unwrap();
    }

    /// Forgets what was sent but not mined.
    pub(crate) async fn forget_pool(&self) {
        let _pen = self.mining.pen.lock().await;
        self.deployment.anvil.provider().anvil_drop_all_transactions().await.unwrap();
    }

    /// Whether blocks come.
    pub(crate) fn pause(&self, paused: bool) {
        self.mining.paused.store(paused, Ordering::SeqCst);
    }
}
