//! A chain with the contracts, an active orchestrator, a funded sender, and a keeper that can be started and stopped.

use std::{path::PathBuf, time::Duration};

use alloy::{
    primitives::{Address, B256, U256, keccak256},
    providers::Provider,
    signers::local::PrivateKeySigner,
};
use streamflow_bindings::{RoundsManager, TicketBroker};
use streamflow_chain::{BlockFollower, ChainConfig, RoundFollower, TxManager};
use streamflow_keeper::{DryRun, Journal, Keeper, KeeperChain, KeeperConfig, Rewarder};
use streamflow_pm::{KeySigner, commitment, ordered, sign_ticket, ticket_hash};
use streamflow_store::{Store, TicketRecord};
use streamflow_testkit::{DeployOptions, Deployment, key};
use streamflow_types::{Round, Ticket, WinProb, WinningTicket};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

pub(crate) const ROUND_LENGTH: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(40);

/// 10^16 wei: some thousand times the gas of a redemption.
pub(crate) fn face_value() -> U256 {
    U256::from(10_000_000_000_000_000_u64)
}

pub(crate) fn ether(n: u64) -> U256 {
    U256::from(n) * U256::from(1_000_000_000_000_000_000_u64)
}

pub(crate) struct World {
    pub(crate) deployment: Deployment,
    pub(crate) orchestrator: PrivateKeySigner,
    pub(crate) sender: PrivateKeySigner,
    pub(crate) keeper_key: PrivateKeySigner,
    pub(crate) store: Store,
    path: PathBuf,
    dir: TempDir,
}

/// A keeper that runs, with the tasks it depends on.
pub(crate) struct Running {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    store: Store,
}

impl World {
    /// Round initialised, orchestrator active in it, sender funded with one ether of deposit and one of reserve.
    pub(crate) async fn new() -> Self {
        let options = DeployOptions { round_length: ROUND_LENGTH, ..DeployOptions::default() };
        let deployment = Deployment::start_with(options).await.unwrap();
        let (orchestrator, sender, keeper_key) = (key(1).unwrap(), key(2).unwrap(), key(3).unwrap());
        deployment.initialize_round().await.unwrap();
        deployment.register(&orchestrator, ether(1_000), "https://127.0.0.1:8935").await.unwrap();
        deployment.fund_sender(&sender, ether(1), ether(1)).await.unwrap();
        deployment.next_round().await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.sqlite");
        let store = Store::open(&path).await.unwrap();
        Self { deployment, orchestrator, sender, keeper_key, store, path, dir }
    }

    pub(crate) fn config() -> KeeperConfig {
        KeeperConfig {
            sweep_interval: Duration::from_millis(200),
            retry_interval: Duration::from_millis(300),
            gather_blocks: 0,
            expiry_margin_blocks: 1,
            retry_blocks: 1,
            initialize_slot_blocks: 0,
            reward: false,
            ..KeeperConfig::default()
        }
    }

    /// Starts a keeper as a process would: with connections, follower and transaction manager of its own.
    pub(crate) async fn start(&self, config: KeeperConfig) -> Running {
        self.start_at(config, self.deployment.anvil.url()).await
    }

    pub(crate) fn chain_config(&self) -> ChainConfig {
        let mut config = ChainConfig {
            rpc_url: self.deployment.anvil.url(),
            controller: Some(self.deployment.contracts.controller),
            poll_interval: Duration::from_millis(50),
            ..ChainConfig::default()
        };
        config.tx.bump_after_blocks = 0;
        config
    }

    /// What a keeper would do now, by a keeper that is not started.
    pub(crate) async fn dry_run(&self, config: KeeperConfig) -> DryRun {
        let chain_config = self.chain_config();
        let chain = streamflow_chain::connect(&chain_config).await.unwrap();
        let (_follower, feed) = BlockFollower::new(&chain, &chain_config);
        let (_rounds, view) = RoundFollower::new(&chain, &chain_config, &feed);
        let journal = Journal::new(self.store.clone());
        let (_manager, tx) = TxManager::new(&chain, &chain_config, self.keeper_key.clone(), journal, &feed);
        let chain = KeeperChain { chain, view, tx, rewarders: Vec::new(), priority_fee: 0 };
        Keeper::new(config, self.store.clone(), chain).dry_run(100).await.unwrap()
    }

    /// The same with a node at another address.
    pub(crate) async fn start_at(&self, config: KeeperConfig, rpc_url: Url) -> Running {
        let store = Store::open(&self.path).await.unwrap();
        let stop = CancellationToken::new();
        let chain_config = ChainConfig { rpc_url, ..self.chain_config() };
        let chain = streamflow_chain::connect(&chain_config).await.unwrap();
        let (follower, feed) = BlockFollower::new(&chain, &chain_config);
        let (rounds, view) = RoundFollower::new(&chain, &chain_config, &feed);
        let journal = Journal::new(store.clone());
        let (own, tx) = TxManager::new(&chain, &chain_config, self.keeper_key.clone(), journal.clone(), &feed);
        let (orchestrators, reward_tx) =
            TxManager::new(&chain, &chain_config, self.orchestrator.clone(), journal, &feed);
        let chain = KeeperChain { chain, view, tx, rewarders: vec![Rewarder::own(reward_tx)], priority_fee: 0 };
        let keeper = Keeper::new(config, store.clone(), chain);
        let token = || stop.clone();
        let (s1, s2, s3, s4, s5) = (token(), token(), token(), token(), token());
        let tasks = vec![
            tokio::spawn(async move { follower.run(s1).await }),
            tokio::spawn(async move { rounds.run(s2).await }),
            tokio::spawn(async move { own.run(s3).await.unwrap() }),
            tokio::spawn(async move { orchestrators.run(s4).await.unwrap() }),
            tokio::spawn(async move { keeper.run(s5).await.unwrap() }),
        ];
        Running { stop, tasks, store }
    }

    pub(crate) async fn block(&self) -> u64 {
        self.deployment.anvil.block_number().await.unwrap()
    }

    /// A ticket of `sender` that always wins, made in the current round; its params expire at `expiration_block`.
    pub(crate) async fn winner(&self, sender: &PrivateKeySigner, nonce: u32, expiration_block: u64) -> WinningTicket {
        let recipient_rand = U256::from_be_bytes(keccak256([nonce as u8, 7]).0);
        self.drawn(sender, (nonce, recipient_rand), face_value(), expiration_block).await
    }

    /// The same, with a secret number that is marked and has this serial.
    pub(crate) async fn marked(
        &self,
        sender: &PrivateKeySigner,
        (serial, nonce): (u64, u32),
        face_value: U256,
        expiration_block: u64,
    ) -> WinningTicket {
        let secret = U256::from_be_bytes(keccak256(serial.to_be_bytes()).0);
        self.drawn(sender, (nonce, ordered::numbered(serial, secret)), face_value, expiration_block).await
    }

    /// The same, with this secret number.
    pub(crate) async fn drawn(
        &self,
        sender: &PrivateKeySigner,
        (nonce, recipient_rand): (u32, U256),
        face_value: U256,
        expiration_block: u64,
    ) -> WinningTicket {
        let rounds = self.deployment.contracts.rounds_manager;
        let round = self.deployment.view(rounds, RoundsManager::lastInitializedRoundCall {}).await.unwrap();
        let block_hash = self.deployment.view(rounds, RoundsManager::blockHashForRoundCall { round }).await.unwrap();
        let ticket = Ticket {
            recipient: self.orchestrator.address(),
            sender: sender.address(),
            face_value,
            win_prob: WinProb::MAX,
            sender_nonce: nonce,
            recipient_rand_hash: commitment(recipient_rand),
            creation_round: Round(round.to()),
            creation_round_block_hash: block_hash,
            deployment: None,
        };
        let signer = KeySigner::from_bytes(sender.to_bytes().0).unwrap();
        let signed = sign_ticket(ticket, &signer).unwrap();
        WinningTicket { signed, recipient_rand, params_expiration_block: expiration_block }
    }

    /// The winner with another ticket, signed anew.
    pub(crate) fn signed_anew(
        &self,
        sender: &PrivateKeySigner,
        winner: WinningTicket,
        ticket: Ticket,
    ) -> WinningTicket {
        let signer = KeySigner::from_bytes(sender.to_bytes().0).unwrap();
        WinningTicket { signed: sign_ticket(ticket, &signer).unwrap(), ..winner }
    }

    /// Makes the keeper's account the orchestrator's redeemer.
    pub(crate) async fn name_redeemer(&self) {
        let call = TicketBroker::setRedeemerCall { redeemer: self.keeper_key.address() };
        let broker = self.deployment.contracts.ticket_broker;
        self.deployment.call(&self.orchestrator, broker, call, U256::ZERO).await.unwrap();
    }

    /// The chain's mark for the orchestrator and `sender`.
    pub(crate) async fn mark(&self, sender: &PrivateKeySigner) -> U256 {
        let call =
            TicketBroker::redemptionMarkCall { recipient: self.orchestrator.address(), sender: sender.address() };
        self.deployment.view(self.deployment.contracts.ticket_broker, call).await.unwrap()
    }

    pub(crate) async fn record(&self, hash: B256) -> TicketRecord {
        self.store.ticket(hash).await.unwrap().unwrap()
    }

    pub(crate) async fn deposit(&self, sender: Address) -> U256 {
        let call = TicketBroker::getSenderInfoCall { addr: sender };
        self.deployment.view(self.deployment.contracts.ticket_broker, call).await.unwrap().sender.deposit
    }

    /// How many transactions the account has in the chain.
    pub(crate) async fn nonce(&self, account: &PrivateKeySigner) -> u64 {
        self.deployment.anvil.provider().get_transaction_count(account.address()).await.unwrap()
    }

    /// Ends the fixture; the directory lives until here.
    pub(crate) async fn close(self) {
        self.store.close().await;
        drop(self.dir);
    }
}

impl Running {
    /// Stops the tasks in order and lets go of the database.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap();
        }
        self.store.close().await;
    }

    /// Ends every task where it stands, as a kill would.
    pub(crate) async fn kill(self) {
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            let _ = task.await;
        }
    }
}

pub(crate) fn hash(winner: &WinningTicket) -> B256 {
    ticket_hash(&winner.signed.ticket)
}

/// Waits until `done`, at most for [`PATIENCE`].
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !done().await {
        assert!(tokio::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
