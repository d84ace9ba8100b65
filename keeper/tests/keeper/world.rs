//! A chain with the contracts, an active orchestrator, a funded sender, and a keeper that can be started and stopped.

use std::time::Duration;

use alloy::{
    primitives::{Address, B256, U256, keccak256},
    providers::Provider,
    signers::local::PrivateKeySigner,
};
use streamflow_bindings::{RoundsManager, TicketBroker};
use streamflow_chain::{BlockFollower, ChainConfig, RoundFollower, TxManager};
use streamflow_keeper::{Candidate, DryRun, Journal, Keeper, KeeperChain, KeeperConfig, Rewarder, Standing};
use streamflow_pm::{KeySigner, commitment, ordered, sign_ticket, ticket_hash};
use streamflow_store::{Store, TicketRecord};
use streamflow_testkit::{AnvilOptions, Database, DeployOptions, Deployment, key};
use streamflow_types::{Round, Ticket, WinProb, WinningTicket};
use tokio::{sync::watch, task::JoinHandle};
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
    database: Database,
}

/// What a keeper is told, here or in a process of its own.
#[derive(Clone)]
pub(crate) struct Order {
    pub(crate) rpc_url: Url,
    pub(crate) controller: Address,
    pub(crate) database: String,
    /// Its name as a holder of leases.
    pub(crate) name: String,
}

impl Order {
    pub(crate) fn chain_config(&self) -> ChainConfig {
        let mut config = ChainConfig {
            rpc_url: self.rpc_url.clone(),
            controller: Some(self.controller),
            poll_interval: Duration::from_millis(50),
            ..ChainConfig::default()
        };
        config.tx.bump_after_blocks = 0;
        config
    }
}

/// A keeper that runs, with the tasks it depends on.
pub(crate) struct Running {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    store: Store,
    pub(crate) standing: watch::Receiver<Standing>,
}

impl World {
    /// Round initialised, orchestrator active in it, sender funded with one ether of deposit and one of reserve.
    pub(crate) async fn new() -> Self {
        Self::on(Database::sqlite().unwrap()).await
    }

    /// The same, with its winners in this database.
    pub(crate) async fn on(database: Database) -> Self {
        Self::on_chain(database, AnvilOptions::default()).await
    }

    /// The same on such a chain.
    pub(crate) async fn on_chain(database: Database, anvil: AnvilOptions) -> Self {
        let options = DeployOptions { anvil, round_length: ROUND_LENGTH, ..DeployOptions::default() };
        let deployment = Deployment::start_with(options).await.unwrap();
        let (orchestrator, sender, keeper_key) = (key(1).unwrap(), key(2).unwrap(), key(3).unwrap());
        deployment.initialize_round().await.unwrap();
        deployment.register(&orchestrator, ether(1_000), "https://127.0.0.1:8935").await.unwrap();
        deployment.fund_sender(&sender, ether(1), ether(1)).await.unwrap();
        deployment.next_round().await.unwrap();
        let store = Store::open_url(database.url()).await.unwrap();
        Self { deployment, orchestrator, sender, keeper_key, store, database }
    }

    /// The same accounts with an empty database on a chain that has the contracts and their past.
    pub(crate) async fn at(deployment: Deployment) -> Self {
        let database = Database::sqlite().unwrap();
        let store = Store::open_url(database.url()).await.unwrap();
        let [orchestrator, sender, keeper_key] = [1, 2, 3].map(|index| key(index).unwrap());
        Self { deployment, orchestrator, sender, keeper_key, store, database }
    }

    pub(crate) fn config() -> KeeperConfig {
        KeeperConfig {
            sweep_interval: Duration::from_millis(200),
            retry_interval: Duration::from_millis(300),
            gather_blocks: 0,
            expiry_margin_blocks: 1,
            retry_blocks: 1,
            lease: Duration::from_secs(1),
            initialize_slot_blocks: 0,
            reward: false,
            ..KeeperConfig::default()
        }
    }

    /// Starts a keeper as a process would: with connections, follower and transaction manager of its own.
    pub(crate) async fn start(&self, config: KeeperConfig) -> Running {
        self.start_through(config, |_| {}).await
    }

    /// The same, with other settings of the chain.
    pub(crate) async fn start_through(&self, config: KeeperConfig, change: impl FnOnce(&mut ChainConfig)) -> Running {
        let order = self.order("keeper");
        let mut chain_config = order.chain_config();
        change(&mut chain_config);
        Running::start_on(order, config, chain_config).await
    }

    /// What a keeper of this name is told.
    pub(crate) fn order(&self, name: &str) -> Order {
        Order {
            rpc_url: self.deployment.anvil.url(),
            controller: self.deployment.contracts.controller,
            database: self.database.url().to_owned(),
            name: name.to_owned(),
        }
    }

    pub(crate) fn chain_config(&self) -> ChainConfig {
        self.order("keeper").chain_config()
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
        drop(self.database);
    }
}

impl Running {
    pub(crate) async fn start(order: Order, config: KeeperConfig) -> Self {
        let chain_config = order.chain_config();
        Self::start_on(order, config, chain_config).await
    }

    async fn start_on(order: Order, config: KeeperConfig, chain_config: ChainConfig) -> Self {
        let store = Store::open_url(&order.database).await.unwrap();
        let stop = CancellationToken::new();
        let chain = streamflow_chain::connect(&chain_config).await.unwrap();
        let (follower, feed) = BlockFollower::new(&chain, &chain_config);
        let (rounds, view) = RoundFollower::new(&chain, &chain_config, &feed);
        let account = key(3).unwrap().address();
        let candidate = Candidate::new(store.clone(), chain.chain_id, account, order.name, config.lease);
        let standing = candidate.standing();
        let token = || stop.clone();
        let (s1, s2, s3, end) = (token(), token(), token(), token());
        let work = move |store: Store| {
            let journal = Journal::new(store.clone());
            let manager = |account| TxManager::new(&chain, &chain_config, account, journal.clone(), &feed);
            let (own, tx) = manager(key(3).unwrap());
            let (orchestrators, reward_tx) = manager(key(1).unwrap());
            let rewarders = vec![Rewarder::own(reward_tx)];
            let chain = KeeperChain { chain: chain.clone(), view: view.clone(), tx, rewarders, priority_fee: 0 };
            Keeper::new(config.clone(), store, chain).run_with([own, orchestrators], end.clone())
        };
        let tasks = vec![
            tokio::spawn(async move { follower.run(s1).await }),
            tokio::spawn(async move { rounds.run(s2).await }),
            tokio::spawn(async move { candidate.run(s3, work).await.unwrap() }),
        ];
        Self { stop, tasks, store, standing }
    }

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
