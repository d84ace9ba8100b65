//! One orchestrator with its transcoder and its keeper. The first two may live in a namespace; the keeper, on the same database,
//! never does: what was won is redeemed whatever befalls who won it.
use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
};

use alloy::{hex, primitives::Address};
use serde_json::Value;
use streamflow_store::Store;
use url::Url;

use crate::{
    namespace::{Gate, Namespace},
    network::{
        chain::Chain,
        role::{Role, free_port},
    },
    schedule::Kind,
    status,
};

/// Each session costs about three tickets a segment, and balances are fractions of wei.
const PRICE: (u64, u64) = (1_000_000_007, 11);
const REDEEM_GAS: u64 = 350_000;
/// Of the chain, and the least that face values reckon with, wei per gas.
pub(crate) const GAS_PRICE: u64 = 10_000_000;
const TX_COST_MULTIPLIER: u64 = 100;
/// A quarter of the face value: one ticket in four wins.
pub(crate) const TICKET_EV: u64 = REDEEM_GAS * GAS_PRICE * TX_COST_MULTIPLIER / 4;
/// Blocks before a payout is looked up once more.
pub(crate) const FINALITY: u64 = 3;
/// Blocks after the expiry of params before their winners are redeemed: more than an orchestrator's view lags after a stall.
const EXPIRY_MARGIN: u64 = 12;

/// Where an orchestrator will be. Known before the chain is, which lists it.
#[derive(Debug)]
pub(crate) struct Place {
    namespace: Option<Namespace>,
    /// Of the orchestrator, as everybody calls it.
    service: SocketAddr,
    /// In the namespace.
    admin: SocketAddr,
}

impl Place {
    pub(crate) fn new(namespace: Option<Namespace>) -> Self {
        let host = namespace.as_ref().map_or(Ipv4Addr::LOCALHOST, |namespace| namespace.inside);
        let (service, admin) = ((host, free_port()).into(), (Ipv4Addr::LOCALHOST, free_port()).into());
        Self { namespace, service, admin }
    }

    pub(crate) fn service_uri(&self) -> String {
        format!("https://{}", self.service)
    }

    fn wrapper(&self) -> Vec<String> {
        self.namespace.iter().flat_map(|namespace| namespace.wrapper().map(str::to_owned)).collect()
    }
}

#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) account: Address,
    pub(crate) store: Store,
    orchestrator: Role,
    transcoder: Role,
    keeper: Role,
    /// That it had done when it was last looked at.
    pub(crate) segments: u64,
    /// Sessions whose balance it had when it was killed.
    pub(crate) forgotten: BTreeSet<String>,
    _gate: Option<Gate>,
    place: Place,
}

impl Site {
    pub(crate) async fn start(chain: &Chain, index: usize, place: Place, dir: &Path) -> Self {
        let signer = &chain.orchestrators[index];
        let key = hex::encode(signer.to_bytes());
        let dir = dir.join(format!("site-{index}"));
        let rpc = chain.deployment.anvil.url();
        let gate = match &place.namespace {
            Some(namespace) => Some(Gate::open(namespace.outside, rpc.port().unwrap()).await),
            None => None,
        };
        let inner_rpc = gate.as_ref().map_or(rpc.clone(), |gate| format!("http://{}", gate.address).parse().unwrap());
        let wrapper = place.wrapper();
        let behind = |mut role: Role| {
            role.command.splice(..0, wrapper.iter().map(Into::into));
            role
        };
        let config = orchestrator_config(chain, &inner_rpc, &dir, &place);
        let mut orchestrator = behind(Role::new(&dir, "orchestrator", &config, &key));
        let config = transcoder_config(&dir.join("transcoder"), &place);
        let mut transcoder = behind(Role::new(&dir, "transcoder", &config, ""));
        let mut keeper = Role::new(&dir, "keeper", &keeper_config(chain, &rpc, &dir), &key);
        orchestrator.start();
        transcoder.start();
        keeper.start();
        let store = Store::open(dir.join("streamflow.sqlite3")).await.unwrap();
        let (account, forgotten) = (signer.address(), BTreeSet::new());
        Self { account, store, orchestrator, transcoder, keeper, segments: 0, forgotten, _gate: gate, place }
    }

    pub(crate) async fn status(&self) -> Option<Value> {
        status::document(&self.place.wrapper(), format!("http://{}/status", self.place.admin)).await
    }

    /// Whether its transcoder has work to wait for.
    pub(crate) async fn is_up(&self) -> bool {
        self.status().await.is_some_and(|status| status["active"] == true && status["transcoders"] == 1)
    }

    pub(crate) async fn strike(&mut self, kind: Kind) {
        if matches!(kind, Kind::KillOrchestrator | Kind::KillBoth) {
            let held = self.status().await.map(|status| status["balances"].clone());
            let held = held.iter().filter_map(Value::as_array).flatten();
            self.forgotten.extend(held.map(|held| held["session"].as_str().unwrap().to_owned()));
            self.orchestrator.kill();
        }
        match kind {
            Kind::KillOrchestrator => {}
            Kind::KillTranscoder | Kind::KillBoth => self.transcoder.kill(),
            Kind::StallOrchestrator => signal(&self.orchestrator, "-STOP"),
            Kind::StallTranscoder => signal(&self.transcoder, "-STOP"),
            Kind::Partition => self.set_connected(false),
        }
    }

    pub(crate) fn mend(&mut self, kind: Kind) {
        if matches!(kind, Kind::KillOrchestrator | Kind::KillBoth) {
            self.orchestrator.start();
        }
        match kind {
            Kind::KillOrchestrator => {}
            Kind::KillTranscoder | Kind::KillBoth => self.transcoder.start(),
            Kind::StallOrchestrator => signal(&self.orchestrator, "-CONT"),
            Kind::StallTranscoder => signal(&self.transcoder, "-CONT"),
            Kind::Partition => self.set_connected(true),
        }
    }

    fn set_connected(&self, connected: bool) {
        self.place.namespace.as_ref().unwrap().set_connected(connected);
    }

    /// For a failure's message.
    pub(crate) fn log(&self) -> String {
        format!("{}\n{}", self.orchestrator.log(), self.keeper.log())
    }
}

fn signal(role: &Role, signal: &str) {
    let pid = role.child.as_ref().unwrap().id().to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
}

pub(crate) fn chain_section(chain: &Chain, rpc: &Url, dir: &Path) -> String {
    let controller = chain.deployment.contracts.controller;
    format!(
        "[chain]\nrpc_url = \"{rpc}\"\ncontroller = \"{controller}\"\npoll_interval = \"250ms\"\n[data]\ndir = {dir:?}\n"
    )
}

fn orchestrator_config(chain: &Chain, rpc: &Url, dir: &Path, place: &Place) -> String {
    let chain = chain_section(chain, rpc, dir);
    let (service, uri, admin) = (place.service, place.service_uri(), place.admin);
    let (wei, pixels) = PRICE;
    format!(
        r#"{chain}
[admin]
listen = "{admin}"
[transcoding]
transcoders = "remote"
[orchestrator]
listen = "{service}"
service_uri = "{uri}"
transcoder_secret = "swordfish"
price = {{ wei_per_unit = {wei}, pixels_per_unit = {pixels} }}
[orchestrator.tickets]
ev = "{TICKET_EV}"
redeem_gas = {REDEEM_GAS}
tx_cost_multiplier = {TX_COST_MULTIPLIER}
min_gas_price = {GAS_PRICE}
params_life_blocks = 24
[keeper]
expiry_margin_blocks = {EXPIRY_MARGIN}
"#
    )
}

/// It comes back as soon as its orchestrator does.
fn transcoder_config(dir: &Path, place: &Place) -> String {
    let uri = place.service_uri();
    format!(
        "[data]\ndir = {dir:?}\n[transcoder]\norchestrator = \"{uri}\"\nsecret = \"swordfish\"\nmax_backoff = \"1s\"\n"
    )
}

fn keeper_config(chain: &Chain, rpc: &Url, dir: &Path) -> String {
    let chain = chain_section(chain, rpc, dir);
    format!(
        r#"{chain}
[keeper]
sweep_interval = "1s"
retry_interval = "500ms"
lease = "2s"
gather_blocks = 2
expiry_margin_blocks = {EXPIRY_MARGIN}
retry_blocks = 1
finality_blocks = {FINALITY}
initialize_rounds = false
reward = false
"#
    )
}
