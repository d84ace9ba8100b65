//! The network: chain, roles, payers, and the blows that fall on them.
use std::{path::Path, sync::Arc, time::Duration};

use alloy::hex;
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;
use streamflow_store::{Store, TicketStatus};
use tokio::time::{Instant, sleep};

use crate::{
    audit::{Report, audit},
    network::{
        audit::unpaid,
        chain::{Chain, Plan},
        role::{Role, free_port, write_secret},
    },
    payer::Payers,
    schedule::{Blow, Moment, Victim, Weather},
};

/// Time between two blocks.
const BLOCK_TIME: Duration = Duration::from_millis(80);
/// How long a blow waits for its moment before it falls anyway.
const MOMENT_LIMIT: Duration = Duration::from_secs(6);
/// How long the last ticket may take once nothing disturbs any more.
const PATIENCE: Duration = Duration::from_secs(120);
/// Blocks before a payout is looked up once more: one more than a reorganisation here takes back.
const FINALITY: u64 = 3;

/// Who reads which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    Shared,
    Redeemer,
}

pub(crate) struct Net {
    chain: Arc<Chain>,
    orchestrator: Role,
    keeper: Role,
    desk_store: Store,
    keeper_store: Store,
    payers: Payers,
    rng: ChaCha12Rng,
    _dir: tempfile::TempDir,
}

impl Net {
    pub(crate) async fn start(topology: Topology, seed: u64) -> Self {
        let chain = Arc::new(Chain::start(plan()).await);
        let dir = tempfile::tempdir().unwrap();
        let desk_dir = dir.path().join("orchestrator");
        let keeper_dir = match topology {
            Topology::Shared => desk_dir.clone(),
            Topology::Redeemer => dir.path().join("keeper"),
        };
        let (port, redeemer_port) = (free_port(), free_port());
        let token = dir.path().join("token");
        write_secret(&token, "swordfish");
        let key = hex::encode(chain.orchestrators[0].to_bytes());
        let (desk, service) = match topology {
            Topology::Shared => (String::new(), String::new()),
            Topology::Redeemer => (
                format!("redeemer = \"https://127.0.0.1:{redeemer_port}\"\nredeemer_token_file = {token:?}\n"),
                format!("[keeper.redeemer]\nlisten = \"127.0.0.1:{redeemer_port}\"\ntoken_file = {token:?}\n"),
            ),
        };
        let orchestrator = orchestrator_config(&chain, &desk_dir, port, &desk);
        let mut orchestrator = Role::new(&desk_dir, "orchestrator", &orchestrator, &key);
        let mut keeper = Role::new(&keeper_dir, "keeper", &keeper_config(&chain, &keeper_dir, &service), &key);
        orchestrator.start();
        keeper.start();
        let open = |dir: &Path| Store::open(dir.join("streamflow.sqlite3"));
        let (desk_store, keeper_store) = (open(&desk_dir).await.unwrap(), open(&keeper_dir).await.unwrap());
        let payers = Payers::start(&chain, port, seed);
        let rng = ChaCha12Rng::seed_from_u64(seed);
        Self { chain, orchestrator, keeper, desk_store, keeper_store, payers, rng, _dir: dir }
    }

    /// Deals `kills` blows, one after the other.
    pub(crate) async fn suffer(&mut self, kills: usize) {
        for number in 1..=kills {
            let blow = Blow::draw(&mut self.rng);
            let met = self.wait_for(blow.moment).await;
            sleep(blow.delay).await;
            if blow.weather == Weather::Halted {
                self.chain.pause(true);
            }
            if blow.victim != Victim::Keeper {
                self.orchestrator.kill();
            }
            if blow.victim != Victim::Orchestrator {
                self.keeper.kill();
            }
            match blow.weather {
                Weather::Calm | Weather::Halted => {}
                Weather::Reorganised(depth) => self.chain.reorganise(depth).await,
                Weather::PoolLost => self.chain.forget_pool().await,
            }
            let acknowledged = self.payers.acknowledged();
            eprintln!("faults: blow {number}, acknowledged {acknowledged}, moment met {met}: {blow:?}");
            sleep(blow.down).await;
            if blow.victim != Victim::Keeper {
                self.orchestrator.start();
            }
            if blow.victim != Victim::Orchestrator {
                self.keeper.start();
            }
            sleep(blow.down).await;
            self.chain.pause(false);
        }
    }

    /// Ends the payments, lets everything be paid, and looks into all books.
    pub(crate) async fn settle(mut self) -> Report {
        self.payers.stop().await;
        let end = Instant::now() + PATIENCE;
        while !self.is_settled().await {
            assert!(Instant::now() < end, "tickets are not settled: {:?}", unpaid(&self.keeper_store).await);
            sleep(Duration::from_millis(100)).await;
        }
        // What was paid is looked up once more, and must still be there.
        self.chain.blocks(2 * FINALITY + 4).await;
        assert!(self.is_settled().await, "a payout was taken back though the chain was calm");
        let owed = self.payers.owed.lock().unwrap().clone();
        let report = audit(&self.chain, &self.desk_store, &self.keeper_store, &owed).await;
        self.orchestrator.kill();
        self.keeper.kill();
        report
    }

    async fn is_settled(&self) -> bool {
        let mut waiting = 0;
        for store in [&self.desk_store, &self.keeper_store] {
            for status in [TicketStatus::Pending, TicketStatus::Submitted] {
                waiting += store.ticket_total(status).await.unwrap().count;
            }
        }
        waiting == 0
    }

    /// Whether the moment came.
    async fn wait_for(&self, moment: Moment) -> bool {
        let before = self.now().await;
        let end = Instant::now() + MOMENT_LIMIT;
        while Instant::now() < end {
            let now = self.now().await;
            let met = match moment {
                Moment::Any => true,
                Moment::WinnerStored => now.desk > before.desk,
                Moment::WinnerTaken => now.taken > before.taken,
                Moment::Bound => now.submitted > 0,
                Moment::Journalled => now.open > 0,
                Moment::Mined => now.submitted > 0 && now.mined > before.mined,
                Moment::Settled => now.redeemed > before.redeemed,
            };
            if met {
                return true;
            }
            sleep(Duration::from_millis(5)).await;
        }
        false
    }

    async fn now(&self) -> Now {
        let count = async |store: &Store, status| store.ticket_total(status).await.unwrap().count;
        let (pending, submitted) = (
            count(&self.keeper_store, TicketStatus::Pending).await,
            count(&self.keeper_store, TicketStatus::Submitted).await,
        );
        let redeemed = count(&self.keeper_store, TicketStatus::Redeemed).await;
        let account = self.chain.orchestrators[0].address();
        let desk = [TicketStatus::Pending, TicketStatus::Submitted, TicketStatus::Redeemed];
        let mut stored = 0;
        for status in desk {
            stored += count(&self.desk_store, status).await;
        }
        Now {
            desk: stored,
            taken: pending + submitted + redeemed,
            submitted,
            redeemed,
            open: self.keeper_store.open_transactions(31_337, account).await.unwrap().len(),
            mined: self.chain.mined(account).await,
        }
    }
}

/// Counts that moments are told by.
#[derive(Clone, Copy, Debug)]
struct Now {
    desk: u64,
    taken: u64,
    submitted: u64,
    redeemed: u64,
    open: usize,
    mined: u64,
}

fn plan() -> Plan {
    let service_uris = vec!["https://127.0.0.1:8935".to_owned()];
    Plan { service_uris, senders: 3, block_time: BLOCK_TIME, base_fee: None }
}

fn chain_section(chain: &Chain, dir: &Path) -> String {
    format!(
        "[chain]\nrpc_url = \"{}\"\ncontroller = \"{}\"\npoll_interval = \"50ms\"\n[data]\ndir = {dir:?}\n",
        chain.deployment.anvil.url(),
        chain.deployment.contracts.controller
    )
}

/// Every ticket wins, but for one in 10^16: what is acknowledged is owed. The keeper's margin is wide, since the machine may be
/// slow: a desk that lags by more than that credits winners which are lost.
fn orchestrator_config(chain: &Chain, dir: &Path, port: u16, redeemer: &str) -> String {
    let chain = chain_section(chain, dir);
    format!(
        r#"{chain}
[transcoding]
transcoders = "remote"
[orchestrator]
listen = "127.0.0.1:{port}"
{redeemer}
[orchestrator.tickets]
ev = 9999999999999999
max_face_value = 10000000000000000
params_life_blocks = 10
[keeper]
expiry_margin_blocks = 25
"#
    )
}

fn keeper_config(chain: &Chain, dir: &Path, service: &str) -> String {
    let chain = chain_section(chain, dir);
    format!(
        r#"{chain}
[keeper]
sweep_interval = "200ms"
retry_interval = "200ms"
lease = "1s"
gather_blocks = 2
expiry_margin_blocks = 25
retry_blocks = 1
finality_blocks = {FINALITY}
initialize_rounds = false
reward = false
{service}"#
    )
}
