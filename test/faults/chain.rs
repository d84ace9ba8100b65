//! The chain: blocks in quick succession, some of which are taken back.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use alloy::{
    primitives::{Address, B256, U256},
    providers::{Provider, ext::AnvilApi},
    rpc::types::{Filter, TransactionRequest},
    signers::local::PrivateKeySigner,
    sol_types::{SolCall, SolEvent},
};
use streamflow_bindings::{Controller, RoundsManager, TicketBroker};
use streamflow_testkit::{DeployOptions, Deployment, key};
use streamflow_types::{ChainView, Round};
use tokio::{sync::Mutex, task::JoinHandle, time::sleep};

/// Time between two blocks.
pub(crate) const BLOCK_TIME: Duration = Duration::from_millis(80);
/// Until the orchestrator is active.
const FIRST_ROUND_LENGTH: u64 = 50;
/// After that. No round ends while a test runs, so no ticket expires. (To mine that many blocks would take minutes.)
const ROUND_LENGTH: u64 = 1_000_000;

pub(crate) fn ether(n: u64) -> U256 {
    U256::from(n) * U256::from(1_000_000_000_000_000_000_u64)
}

/// A deployment with one active orchestrator and funded senders.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) deployment: Arc<Deployment>,
    pub(crate) orchestrator: PrivateKeySigner,
    pub(crate) senders: Vec<PrivateKeySigner>,
    funds_at_first: U256,
    /// Mining and reorganising exclude each other.
    pen: Arc<Mutex<()>>,
    paused: Arc<AtomicBool>,
    miner: JoinHandle<()>,
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.miner.abort();
    }
}

impl Chain {
    pub(crate) async fn start() -> Self {
        let options = DeployOptions { round_length: FIRST_ROUND_LENGTH, ..DeployOptions::default() };
        let deployment = Arc::new(Deployment::start_with(options).await.unwrap());
        let orchestrator = key(1).unwrap();
        let senders: Vec<_> = (2..5).map(|index| key(index).unwrap()).collect();
        deployment.initialize_round().await.unwrap();
        deployment.register(&orchestrator, ether(1_000), "https://127.0.0.1:8935").await.unwrap();
        for sender in &senders {
            deployment.fund_sender(sender, ether(1_000), ether(1_000)).await.unwrap();
        }
        deployment.next_round().await.unwrap();
        lengthen_rounds(&deployment).await;
        deployment.anvil.set_automine(false).await.unwrap();
        let (pen, paused) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let miner = tokio::spawn(mine(Arc::clone(&deployment), Arc::clone(&pen), Arc::clone(&paused)));
        let mut chain = Self { deployment, orchestrator, senders, funds_at_first: U256::ZERO, pen, paused, miner };
        chain.funds_at_first = chain.funds().await;
        chain
    }

    /// What is still in the senders' deposits and reserves, wei.
    async fn funds(&self) -> U256 {
        let mut sum = U256::ZERO;
        for sender in &self.senders {
            let call = TicketBroker::getSenderInfoCall { addr: sender.address() };
            let info = self.deployment.view(self.deployment.contracts.ticket_broker, call).await.unwrap();
            sum += info.sender.deposit + info.reserve.fundsRemaining;
        }
        sum
    }

    /// What has left them since the start.
    pub(crate) async fn spent(&self) -> U256 {
        self.funds_at_first - self.funds().await
    }

    /// What `WinningTicketTransfer`s of the chain as it stands say that the orchestrator got.
    pub(crate) async fn transferred(&self) -> U256 {
        let filter = Filter::new()
            .address(self.deployment.contracts.ticket_broker)
            .event_signature(TicketBroker::WinningTicketTransfer::SIGNATURE_HASH)
            .from_block(0);
        let logs = self.deployment.anvil.provider().get_logs(&filter).await.unwrap();
        let transfers =
            logs.iter().map(|log| TicketBroker::WinningTicketTransfer::decode_log(&log.inner).unwrap().data);
        transfers.filter(|t| t.recipient == self.orchestrator.address()).map(|t| t.amount).sum()
    }

    pub(crate) async fn block(&self) -> u64 {
        self.deployment.anvil.block_number().await.unwrap()
    }

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
        let _pen = self.pen.lock().await;
        self.deployment.anvil.reorg(depth, Vec::new()).await.unwrap();
    }

    /// Forgets what was sent but not mined.
    pub(crate) async fn forget_pool(&self) {
        let _pen = self.pen.lock().await;
        self.deployment.anvil.provider().anvil_drop_all_transactions().await.unwrap();
    }

    /// Whether blocks come.
    pub(crate) fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::SeqCst);
    }

    /// Waits for this many more blocks.
    pub(crate) async fn blocks(&self, count: u64) {
        let end = self.block().await + count;
        while self.block().await < end {
            sleep(BLOCK_TIME).await;
        }
    }
}

/// As the owner, which is a timelock.
async fn lengthen_rounds(deployment: &Deployment) {
    let rounds = deployment.contracts.rounds_manager;
    let owner = deployment.view(deployment.contracts.controller, Controller::ownerCall {}).await.unwrap();
    let provider = deployment.anvil.provider();
    deployment.anvil.set_balance(owner, ether(1)).await.unwrap();
    provider.anvil_impersonate_account(owner).await.unwrap();
    let call = RoundsManager::setRoundLengthCall { roundLength_: U256::from(ROUND_LENGTH) };
    let request = TransactionRequest::default().from(owner).to(rounds).input(call.abi_encode().into());
    provider.send_transaction(request).await.unwrap().get_receipt().await.unwrap();
    let length = deployment.view(rounds, RoundsManager::roundLengthCall {}).await.unwrap();
    assert_eq!(length, U256::from(ROUND_LENGTH));
}

async fn mine(deployment: Arc<Deployment>, pen: Arc<Mutex<()>>, paused: Arc<AtomicBool>) {
    loop {
        sleep(BLOCK_TIME).await;
        if !paused.load(Ordering::SeqCst) {
            let _pen = pen.lock().await;
            deployment.anvil.mine(1).await.unwrap();
        }
    }
}
