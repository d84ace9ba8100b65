//! `doctor`: can this machine and this account do the work; if not, what to do.
mod devices;

use std::{net::SocketAddr, path::Path, time::Instant};

use alloy::{eips::BlockId, primitives::Address, sol_types::SolCall};
use anyhow::bail;
use serde::Serialize;
use streamflow_bindings::{Controller, RoundsManager, TicketBroker};
use streamflow_chain::{Chain, ChainError, Rpc};
use streamflow_media::{Encoder, TranscodeSettings, WorkerPool};

use super::{
    Context,
    chain_status::{AccountStatus, read_account},
};
use crate::{
    clock,
    config::{Config, Role},
    data_dir::DataDir,
    database,
    exit::Reported,
    health,
    output::{Report, Table},
    roles,
};

/// Largest difference between our clock and the newest block that is not told, in seconds.
const CLOCK_TOLERANCE: u64 = 120;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// Works, or matters to some roles only.
    Warn,
    Fail,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    /// What was found, and unless it is ok, what to do.
    found: String,
}

/// Checks everything, prints one line each.
///
/// # Errors
/// [`Reported`] when a check failed.
pub async fn run(context: &Context, port_offset: u16) -> anyhow::Result<()> {
    let mut diagnosis = Diagnosis::default();
    let account = diagnosis.key(&context.config);
    diagnosis.data(&context.config).await;
    diagnosis.chain(&context.config, account).await;
    diagnosis.encoders(&context.config).await;
    diagnosis.ports(&context.config, port_offset);
    context.output.result(&diagnosis)?;
    if diagnosis.checks.iter().any(|check| check.state == State::Fail) {
        bail!(Reported);
    }
    Ok(())
}

#[derive(Debug, Default, Serialize)]
struct Diagnosis {
    checks: Vec<Check>,
}

impl Diagnosis {
    fn add(&mut self, name: &'static str, state: State, found: impl ToString) {
        self.checks.push(Check { name, state, found: found.to_string() });
    }

    fn key(&mut self, config: &Config) -> Option<Address> {
        if let Ok(None) = config.keys.source() {
            self.add("key", State::Warn, "none: enough for a transcoder; else set keys.key_file or keystore_file");
            return None;
        }
        match config.keys.load() {
            Ok(key) => {
                self.add("key", State::Ok, key.address());
                Some(key.address())
            }
            Err(e) => {
                self.add("key", State::Fail, e);
                None
            }
        }
    }

    async fn data(&mut self, config: &Config) {
        let data = match DataDir::open(&config.data) {
            Ok(data) => data,
            Err(e) => return self.add("data directory", State::Fail, format!("{:#}", anyhow::Error::new(e))),
        };
        self.add("data directory", State::Ok, data.path().display());
        self.free_space(config, data.path());
        match database::open(&config.data, &data).await {
            Ok(store) => {
                store.close().await;
                self.add("database", State::Ok, "opens, schema is current");
            }
            Err(e) => self.add("database", State::Fail, format!("{:#}", anyhow::Error::new(e))),
        }
    }

    fn free_space(&mut self, config: &Config, directory: &Path) {
        let wanted = config.data.min_free_bytes;
        match health::free_space(directory) {
            Ok(free) if free >= wanted => self.add("free space", State::Ok, format!("{free} bytes")),
            Ok(free) => self.add(
                "free space",
                State::Fail,
                format!("{free} bytes, {wanted} are wanted (data.min_free_bytes): free space, or move data.dir"),
            ),
            Err(e) => self.add("free space", State::Warn, format!("cannot be told: {e}")),
        }
    }

    async fn chain(&mut self, config: &Config, account: Option<Address>) {
        let rpc = match Rpc::new(&config.chain) {
            Ok(rpc) => rpc,
            Err(e) => return self.add("RPC", State::Fail, e),
        };
        let asked = Instant::now();
        match rpc.chain_id(config.chain.chain_id).await {
            Ok(id) => {
                let millis = asked.elapsed().as_millis();
                self.add("RPC", State::Ok, format!("chain {id} at {}, answers in {millis} ms", rpc.host()));
            }
            // No chain is configured, so only the default URL was tried.
            Err(e) if config.chain.controller.is_none() => {
                return self.add(
                    "RPC",
                    State::Warn,
                    format!("{e}; a transcoder needs none, other roles work for free"),
                );
            }
            Err(e) => return self.add("RPC", State::Fail, e),
        }
        self.clock(&rpc).await;
        if config.chain.controller.is_none() {
            return self.add(
                "contracts",
                State::Warn,
                "chain.controller is not set: roles work for free, without chain",
            );
        }
        match streamflow_chain::connect(&config.chain).await {
            Ok(chain) => {
                self.add("contracts", State::Ok, format!("Controller {}", chain.contracts.controller));
                self.protocol(&chain).await;
                if let Some(account) = account {
                    self.account(config, &chain, account).await;
                }
            }
            Err(e) => self.add("contracts", State::Fail, e),
        }
    }

    async fn clock(&mut self, rpc: &Rpc) {
        let now = clock::unix_seconds();
        match rpc.head().await {
            Ok(head) if head.timestamp.abs_diff(now) <= CLOCK_TOLERANCE => {
                self.add(
                    "clock",
                    State::Ok,
                    format!("block {} is {} s old", head.number, now.abs_diff(head.timestamp)),
                );
            }
            Ok(head) => {
                let seconds = now.abs_diff(head.timestamp);
                let advice = "is the clock right, and the node in sync?";
                self.add(
                    "clock",
                    State::Warn,
                    format!("block {} is {seconds} s away from our clock: {advice}", head.number),
                );
            }
            Err(e) => self.add("clock", State::Fail, e),
        }
    }

    async fn protocol(&mut self, chain: &Chain) {
        let latest = BlockId::latest();
        match chain.rpc.view(chain.contracts.controller, Controller::pausedCall {}, latest).await {
            Ok(false) => self.add("protocol", State::Ok, "running"),
            Ok(true) => self.add("protocol", State::Warn, "paused by its owner: nothing can be redeemed or staked"),
            Err(e) => self.add("protocol", State::Fail, e),
        }
        let call = RoundsManager::currentRoundInitializedCall {};
        match chain.rpc.view(chain.contracts.rounds_manager, call, latest).await {
            Ok(true) => self.add("round", State::Ok, "initialised"),
            Ok(false) => {
                self.add("round", State::Warn, "not initialised: a keeper does that; until then, no redemption")
            }
            Err(e) => self.add("round", State::Fail, e),
        }
        self.simulation(chain).await;
    }

    /// A keeper simulates ordered batches as a whole; nodes of before 2024 cannot.
    async fn simulation(&mut self, chain: &Chain) {
        let head = match chain.rpc.head().await {
            Ok(head) => head,
            Err(e) => return self.add("simulation", State::Fail, e),
        };
        let call = RoundsManager::currentRoundCall {}.abi_encode().into();
        let at = BlockId::from(head.hash);
        match chain.rpc.simulate(Address::ZERO, chain.contracts.rounds_manager, call, at).await {
            Ok(_) => self.add("simulation", State::Ok, "the node knows eth_simulateV1"),
            Err(e) => {
                let advice = "a keeper needs eth_simulateV1 to redeem in order: use another node";
                self.add("simulation", State::Warn, format!("{e}; {advice}"));
            }
        }
    }

    /// Tickets that go in order are redeemed by the orchestrator's own key or by the one account that it named.
    async fn redeemer(&mut self, chain: &Chain, address: Address) {
        let call = TicketBroker::redeemerOfCall { recipient: address };
        match chain.rpc.view(chain.contracts.ticket_broker, call, BlockId::latest()).await {
            Ok(named) if named.is_zero() => {
                let advice = "a keeper with another key needs `streamflow chain set-redeemer`";
                self.add("redeemer", State::Ok, format!("this key alone; {advice}"));
            }
            Ok(named) => self.add("redeemer", State::Ok, format!("this key and {named}")),
            Err(ChainError::Reverted { .. } | ChainError::BadContract { .. }) => {
                self.add("redeemer", State::Ok, "anyone: these contracts have no ordered batch");
            }
            Err(e) => self.add("redeemer", State::Fail, e),
        }
    }

    async fn account(&mut self, config: &Config, chain: &Chain, address: Address) {
        let account = match read_account(chain, address).await {
            Ok(account) => account,
            Err(e) => return self.add("account", State::Fail, format!("{e:#}")),
        };
        if account.eth.0.is_zero() {
            self.add("gas money", State::Warn, format!("0 ETH: send some to {address} before it can transact"));
        } else {
            self.add("gas money", State::Ok, account.eth);
        }
        self.deposit(&account);
        self.registration(config, &account);
        if account.registered {
            self.redeemer(chain, address).await;
        }
    }

    fn deposit(&mut self, account: &AccountStatus) {
        let funds = format!("{}, reserve {}, committed {}", account.deposit, account.reserve, account.committed);
        let reserve = account.reserve.0.saturating_add(account.committed.0);
        if account.withdraw_round != 0 {
            let round = account.withdraw_round;
            self.add(
                "deposit",
                State::Warn,
                format!("{funds}, unlocking for round {round}: orchestrators refuse; fund again"),
            );
        } else if account.deposit.0.is_zero() || reserve.is_zero() {
            self.add("deposit", State::Warn, format!("{funds}; a broadcaster needs both: `streamflow fund`"));
        } else {
            self.add("deposit", State::Ok, funds);
        }
    }

    fn registration(&mut self, config: &Config, account: &AccountStatus) {
        if !account.registered {
            let advice = "an orchestrator needs stake: `streamflow register`";
            return self.add("stake", State::Warn, format!("not registered; {advice}"));
        }
        let stake = account.total_stake;
        match account.active {
            true => self.add("stake", State::Ok, format!("{stake}, active")),
            false => {
                self.add("stake", State::Warn, format!("{stake}, not active: wait for the next round, or stake more"))
            }
        }
        let published = account.service_uri.trim_end_matches('/');
        match config.orchestrator.service_uri.as_ref().map(|uri| uri.as_str().trim_end_matches('/').to_owned()) {
            Some(uri) if uri != published => {
                let found =
                    format!("{published:?} is registered, orchestrator.service_uri is {uri:?}: make them equal");
                self.add("service URI", State::Warn, found);
            }
            _ => self.add("service URI", State::Ok, published),
        }
    }

    async fn encoders(&mut self, config: &Config) {
        let pool = match roles::start_workers(&config.transcoding).await {
            Ok(pool) => pool,
            Err(e) => return self.add("media workers", State::Fail, format!("{e:#}")),
        };
        self.add("media workers", State::Ok, format!("{} start", config.transcoding.workers));
        self.encoder(&pool, config).await;
        self.filters(&pool).await;
        self.devices(&pool, config).await;
        pool.shutdown().await;
    }

    /// The encoder on the CPU, which is needed unless devices do all the work.
    async fn encoder(&mut self, pool: &WorkerPool, config: &Config) {
        let settings = TranscodeSettings { encoder: Encoder::X264, ..config.transcoding.encode.clone() };
        let name = settings.encoder.libav_name();
        match (pool.probe_encoder(&settings).await, roles::needs_cpu_encoder(&config.transcoding)) {
            (Ok(()), _) => self.add(name, State::Ok, "encodes"),
            (Err(e), true) => self.add(name, State::Fail, e),
            (Err(e), false) => self.add(name, State::Warn, format!("{e}; not configured, so not needed")),
        }
    }

    /// The one library that no worker has before a segment needs it.
    async fn filters(&mut self, pool: &WorkerPool) {
        match pool.probe_filters().await {
            Ok(()) => self.add("filters", State::Ok, "libavfilter loads"),
            Err(e) => {
                let advice = "interlaced and turned sources are refused: install libavfilter";
                self.add("filters", State::Fail, format!("{e}; {advice}"));
            }
        }
    }

    fn ports(&mut self, config: &Config, offset: u16) {
        // One that is set belongs to the one role that the file is for.
        let one_admin = config.admin.listen.is_some();
        for (index, role) in [Role::Broadcaster, Role::Orchestrator, Role::Transcoder, Role::Keeper, Role::Signer]
            .into_iter()
            .enumerate()
        {
            let mut config = config.clone();
            if let Err(e) = config.offset_ports(role, offset) {
                return self.add("ports", State::Fail, e);
            }
            match (one_admin, index) {
                (true, 0) => self.port("admin.listen", config.admin_listen(role)),
                (true, _) => {}
                (false, _) => self.port(admin_name(role), config.admin_listen(role)),
            }
            match role {
                Role::Broadcaster => self.port("broadcaster.listen", config.broadcaster.listen),
                Role::Orchestrator => self.port("orchestrator.listen", config.orchestrator.listen),
                Role::Signer => self.port("signer.listen", config.signer.listen),
                Role::Transcoder | Role::Keeper => {}
            }
        }
    }

    fn port(&mut self, name: &'static str, address: SocketAddr) {
        match std::net::TcpListener::bind(address) {
            Ok(_) => self.add(name, State::Ok, format!("{address} is free")),
            Err(e) => self.add(name, State::Warn, format!("{address}: {e}; fine if the role itself runs already")),
        }
    }
}

const fn admin_name(role: Role) -> &'static str {
    match role {
        Role::Broadcaster => "broadcaster admin",
        Role::Orchestrator => "orchestrator admin",
        Role::Transcoder => "transcoder admin",
        Role::Keeper => "keeper admin",
        Role::Signer => "signer admin",
    }
}

impl Report for Diagnosis {
    fn text(&self) -> String {
        let mut table = Table::facts();
        for check in &self.checks {
            let state = match check.state {
                State::Ok => "ok",
                State::Warn => "warn",
                State::Fail => "FAIL",
            };
            table.row([state.to_owned(), check.name.to_owned(), check.found.clone()]);
        }
        table.to_string()
    }
}
