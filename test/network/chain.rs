//! The chain: blocks in quick succession, orchestrators with stake, senders with funds.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use alloy::{
    primitives::{Address, U256},
    providers::{Provider, ext::AnvilApi},
    rpc::types::{Filter, TransactionRequest},
    signers::local::PrivateKeySigner,
    sol_types::{SolCall, SolEvent},
};
use streamflow_bindings::{Controller, RoundsManager, TicketBroker};
use streamflow_testkit::{AnvilOptions, DeployOptions, Deployment, key};
use tokio::{sync::Mutex, task::JoinHandle, time::sleep};

/// Until the orchestrator is active.
const FIRST_ROUND_LENGTH: u64 = 50;
/// After that. No round ends while a test runs, so no ticket expires. (To mine that many blocks would take minutes.)
const ROUND_LENGTH: u64 = 1_000_000;

pub(crate) fn ether(n: u64) -> U256 {
    U256::from(n) * U256::from(1_000_000_000_000_000_000_u64)
}

/// Who is on the chain, and how fast it goes.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Where each orchestrator says that it listens.
    pub(crate) service_uris: Vec<String>,
    /// How many pay.
    pub(crate) senders: usize,
    /// Time between two blocks.
    pub(crate) block_time: Duration,
    /// Of the first block, wei per gas; none takes the node's own.
    pub(crate) base_fee: Option<u128>,
}

/// How blocks come.
#[derive(Debug, Default)]
pub(crate) struct Mining {
    /// Mining and reorganising exclude each other.
    pub(crate) pen: Mutex<()>,
    pub(crate) paused: AtomicBool,
}

/// A deployment with active orchestrators and funded senders.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) deployment: Arc<Deployment>,
    pub(crate) orchestrators: Vec<PrivateKeySigner>,
    pub(crate) senders: Vec<PrivateKeySigner>,
    block_time: Duration,
    funds_at_first: U256,
    pub(crate) mining: Arc<Mining>,
    miner: JoinHandle<()>,
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.miner.abort();
    }
}

impl Chain {
    pub(crate) async fn start(plan: Plan) -> Self {
        let Plan { service_uris, senders, block_time, base_fee } = plan;
        let anvil = AnvilOptions { base_fee, ..AnvilOptions::default() };
        let options = DeployOptions { anvil, round_length: FIRST_ROUND_LENGTH, ..DeployOptions::default() };
        let deployment = Arc::new(Deployment::start_with(options).await.unwrap());
        let keys =
            |from: usize, count: usize| (from..from + count).map(|index| key(index).unwrap()).collect::<Vec<_>>();
        let orchestrators = keys(1, service_uris.len());
        let senders = keys(1 + service_uris.len(), senders);
        deployment.initialize_round().await.unwrap();
        for (orchestrator, uri) in orchestrators.iter().zip(&service_uris) {
            deployment.register(orchestrator, ether(1_000), uri).await.unwrap();
        }
        for sender in &senders {
            deployment.fund_sender(sender, ether(1_000), ether(1_000)).await.unwrap();
        }
        deployment.next_round().await.unwrap();
        lengthen_rounds(&deployment).await;
        deployment.anvil.set_automine(false).await.unwrap();
        let mining = Arc::<Mining>::default();
        let miner = tokio::spawn(mine(Arc::clone(&deployment), Arc::clone(&mining), block_time));
        let funds_at_first = U256::ZERO;
        let mut chain = Self { deployment, orchestrators, senders, block_time, funds_at_first, mining, miner };
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

    /// What `WinningTicketTransfer`s of the chain as it stands say that an orchestrator got.
    pub(crate) async fn transferred(&self, orchestrator: Address) -> U256 {
        let filter = Filter::new()
            .address(self.deployment.contracts.ticket_broker)
            .event_signature(TicketBroker::WinningTicketTransfer::SIGNATURE_HASH)
            .from_block(0);
        let logs = self.deployment.anvil.provider().get_logs(&filter).await.unwrap();
        let transfers =
            logs.iter().map(|log| TicketBroker::WinningTicketTransfer::decode_log(&log.inner).unwrap().data);
        transfers.filter(|t| t.recipient == orchestrator).map(|t| t.amount).sum()
    }

    pub(crate) async fn block(&self) -> u64 {
        self.deployment.anvil.block_number().await.unwrap()
    }

    /// Waits for this many more blocks.
    pub(crate) async fn blocks(&self, count: u64) {
        assert!(!self.mining.paused.load(Ordering::SeqCst), "no blocks come");
        let end = self.block().await + count;
        while self.block().await < end {
            sleep(self.block_time).await;
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

async fn mine(deployment: Arc<Deployment>, mining: Arc<Mining>, block_time: Duration) {
    loop {
        sleep(block_time).await;
        if !mining.paused.load(Ordering::SeqCst) {
            let _pen = mining.pen.lock().await;
            deployment.anvil.mine(1).await.unwrap();
        }
    }
}
