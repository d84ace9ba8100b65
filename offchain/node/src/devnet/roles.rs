//! The roles of the network: where each listens, what its configuration says, how to ask it.
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use alloy::primitives::Address;
use anyhow::{Context as _, bail};
use rand::Rng as _;
use serde::Deserialize;
use tokio::process::Command;
use url::Url;

use super::{
    accounts::{Account, Accounts},
    directory::Directory,
    processes::Processes,
};
use crate::{cli::DevnetArgs, exit::Usage};

/// Name of the broadcaster's configuration and log.
const BROADCASTER: &str = "broadcaster";
/// Name of the delegator's configuration.
pub(super) const DELEGATOR: &str = "delegator";
/// Name of the stream.
pub(super) const STREAM: &str = "demo";
/// Wei per pixel: a segment of two seconds in three renditions costs about fourteen tickets.
const PRICE: u64 = 20_000_000;
/// Gas of one redemption that the face value reckons with.
const REDEEM_GAS: u64 = 350_000;
/// The face value reckons with at least this, wei per gas: it must not fall with the base fee of idle blocks.
const MIN_GAS_PRICE: u64 = 10_000_000;
/// Face value over the cost of one redemption.
const TX_COST_MULTIPLIER: u64 = 100;
/// A quarter of the face value: one ticket in four wins.
const TICKET_EV: u64 = REDEEM_GAS * MIN_GAS_PRICE * TX_COST_MULTIPLIER / 4;
/// Blocks for which quoted terms stay valid.
const PARAMS_LIFE_BLOCKS: u64 = 8;
/// Blocks come every second here: time for a busy orchestrator to see that a quote has expired.
const EXPIRY_MARGIN_BLOCKS: u64 = 6;
/// Blocks that the keeper gathers tickets at most: a network that ends with the clip cannot wait for hours.
const GATHER_BLOCKS: u64 = 10;
/// Patience of the broadcaster, as a factor on its deadlines.
const TIMEOUT_MULTIPLIER: u64 = 4;
/// How long a request to a role may take.
const REQUEST: Duration = Duration::from_secs(5);

/// Everything that is decided before anything runs.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) project: PathBuf,
    pub(super) input: PathBuf,
    pub(super) duration: Duration,
    pub(super) rpc_url: Url,
    /// The broadcaster's page.
    pub(super) page_url: Url,
    /// Of the orchestrators, in order.
    pub(super) service_uris: Vec<Url>,
    /// In the order in which they start.
    pub(super) roles: Vec<Role>,
    ports: Ports,
}

/// One process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Role {
    /// Name of its configuration and log.
    pub(super) name: &'static str,
    command: &'static str,
    admin_port: u16,
    key: Key,
}

#[derive(Clone, Copy, Debug)]
enum Key {
    None,
    Broadcaster,
    Orchestrator(usize),
    Keeper,
}

/// Ports of the design, moved by the offset.
#[derive(Clone, Copy, Debug)]
struct Ports {
    broadcaster: u16,
    rtmp: u16,
    orchestrators: [u16; 2],
}

impl Role {
    /// URL on its admin server.
    pub(super) fn admin_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.admin_port)
    }

    /// The account it signs with.
    pub(super) fn account<'a>(&self, accounts: &'a Accounts) -> Option<&'a Account> {
        match self.key {
            Key::None => None,
            Key::Broadcaster => Some(&accounts.broadcaster),
            Key::Orchestrator(index) => accounts.orchestrators.get(index),
            Key::Keeper => Some(&accounts.keeper),
        }
    }
}

impl Plan {
    pub(super) fn new(project: &Path, args: &DevnetArgs, port_offset: u16) -> anyhow::Result<Self> {
        let port = |port: u16| {
            port.checked_add(port_offset)
                .ok_or_else(|| Usage(format!("--port-offset {port_offset} moves port {port} beyond 65535")))
        };
        let url = |scheme: &str, port: u16| Url::parse(&format!("{scheme}://127.0.0.1:{port}"));
        let input = args.input.clone().unwrap_or_else(|| project.join("test/fixtures/bbb-720p25-5s.mp4"));
        let input = std::path::absolute(&input)?;
        if !input.is_file() {
            return Err(Usage(format!("--input {} is not a file", input.display())).into());
        }
        let ports = Ports { broadcaster: port(9935)?, rtmp: port(1935)?, orchestrators: [port(8935)?, port(8936)?] };
        let role =
            |name, command, admin_port, key| Ok::<_, Usage>(Role { name, command, admin_port: port(admin_port)?, key });
        Ok(Self {
            project: project.to_owned(),
            input,
            duration: args.duration,
            rpc_url: url("http", port(8545)?)?,
            page_url: url("http", ports.broadcaster)?,
            service_uris: ports.orchestrators.into_iter().map(|port| url("https", port)).collect::<Result<_, _>>()?,
            roles: vec![
                role("orchestrator-1", "orchestrator", 7935, Key::Orchestrator(0))?,
                role("orchestrator-2", "orchestrator", 7936, Key::Orchestrator(1))?,
                role("transcoder", "transcoder", 6935, Key::None)?,
                role("keeper", "keeper", 4935, Key::Keeper)?,
                role(BROADCASTER, "broadcaster", 5935, Key::Broadcaster)?,
            ],
            ports,
        })
    }

    /// Looks before anything is started or emptied, so that a second network does not fail half-way.
    ///
    /// # Errors
    /// When something listens on one of the ports.
    pub(super) fn require_free_ports(&self) -> anyhow::Result<()> {
        let listeners = [
            ("chain", self.rpc_url.port().unwrap_or_default()),
            ("broadcaster", self.ports.broadcaster),
            ("rtmp", self.ports.rtmp),
        ];
        let orchestrators = ["orchestrator-1", "orchestrator-2"].into_iter().zip(self.ports.orchestrators);
        let admins = self.roles.iter().map(|role| (role.name, role.admin_port));
        for (name, port) in listeners.into_iter().chain(orchestrators).chain(admins) {
            if let Err(error) = TcpListener::bind(("127.0.0.1", port)) {
                bail!("port {port} ({name}) is taken: stop the other process, or use --port-offset N: {error}");
            }
        }
        Ok(())
    }

    /// The broadcaster's own status document.
    fn status_url(&self) -> String {
        format!("{}status", self.page_url)
    }
}

/// Writes the configurations and starts the roles. The first orchestrator works through the transcoder process alone, the
/// second through its own workers.
pub(super) fn start(
    plan: &Plan,
    directory: &Directory,
    accounts: &Accounts,
    controller: Address,
    processes: &mut Processes,
) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    let secret = hex::encode(rand::rng().random::<[u8; 16]>());
    for role in &plan.roles {
        let mut config = common(plan, directory, accounts, controller, role);
        if matches!(role.key, Key::Orchestrator(_) | Key::Keeper) {
            let margin = number(EXPIRY_MARGIN_BLOCKS);
            let gather = number(GATHER_BLOCKS);
            config.insert("keeper".into(), table([("expiry_margin_blocks", margin), ("gather_blocks", gather)]));
        }
        match role.key {
            Key::Orchestrator(index) => {
                let transcoders = if index == 0 { "remote" } else { "local" };
                config.insert("transcoding".into(), table([("transcoders", transcoders.into())]));
                config.insert("orchestrator".into(), orchestrator(plan, index, &secret));
            }
            Key::None => {
                let orchestrator = text(&plan.service_uris[0]);
                let section = table([("orchestrator", orchestrator), ("secret", secret.clone().into())]);
                config.insert("transcoder".into(), section);
            }
            // The orchestrators named it their reward caller and redeemer on chain: it needs no list.
            Key::Keeper => {}
            Key::Broadcaster => {
                config.insert("broadcaster".into(), broadcaster(plan, directory));
            }
        }
        let file = write(directory, role.name, &config)?;
        let mut command = Command::new(&program);
        command.arg("--config").arg(&file).arg(role.command);
        processes.start_role(role.name, command)?;
    }
    // No process: for commands in the name of who staked to the first orchestrator.
    let mut config = toml::Table::from_iter([("data".to_owned(), table([("dir", path(&directory.own(DELEGATOR)))]))]);
    sign_as(&accounts.delegator, plan, controller, &mut config);
    write(directory, DELEGATOR, &config)?;
    Ok(())
}

/// Takes the clip out of the broadcaster's configuration, so that one that is started again does not play and pay anew.
pub(super) fn played(directory: &Directory) -> anyhow::Result<()> {
    let file = directory.config(BROADCASTER);
    let mut config: toml::Table = toml::from_str(&fs::read_to_string(&file)?)?;
    if let Some(section) = config.get_mut("broadcaster").and_then(toml::Value::as_table_mut) {
        section.remove("input");
    }
    write(directory, BROADCASTER, &config)?;
    Ok(())
}

fn write(directory: &Directory, name: &str, config: &toml::Table) -> anyhow::Result<PathBuf> {
    let file = directory.config(name);
    fs::write(&file, toml::to_string_pretty(config)?).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

fn sign_as(account: &Account, plan: &Plan, controller: Address, config: &mut toml::Table) {
    let chain = [("rpc_url", text(&plan.rpc_url)), ("controller", text(controller)), ("poll_interval", "250ms".into())];
    config.insert("keys".into(), table([("key_file", path(&account.file))]));
    config.insert("chain".into(), table(chain));
}

fn common(plan: &Plan, directory: &Directory, accounts: &Accounts, controller: Address, role: &Role) -> toml::Table {
    let data = match role.key {
        Key::Orchestrator(_) | Key::Keeper => directory.operator(),
        Key::None | Key::Broadcaster => directory.own(role.name),
    };
    let admin = format!("127.0.0.1:{}", role.admin_port);
    let mut config = toml::Table::from_iter([
        ("data".to_owned(), table([("dir", path(&data))])),
        ("admin".to_owned(), table([("listen", admin.into())])),
    ]);
    if let Some(account) = role.account(accounts) {
        sign_as(account, plan, controller, &mut config);
    }
    config
}

fn orchestrator(plan: &Plan, index: usize, secret: &str) -> toml::Value {
    table([
        ("listen", format!("127.0.0.1:{}", plan.ports.orchestrators[index]).into()),
        ("service_uri", text(&plan.service_uris[index])),
        ("transcoder_secret", if index == 0 { secret } else { "" }.into()),
        ("price", table([("wei_per_unit", number(PRICE)), ("pixels_per_unit", number(1))])),
        (
            "tickets",
            table([
                ("ev", text(TICKET_EV)),
                ("redeem_gas", number(REDEEM_GAS)),
                ("tx_cost_multiplier", number(TX_COST_MULTIPLIER)),
                ("min_gas_price", number(MIN_GAS_PRICE)),
                ("params_life_blocks", number(PARAMS_LIFE_BLOCKS)),
            ]),
        ),
    ])
}

fn broadcaster(plan: &Plan, directory: &Directory) -> toml::Value {
    table([
        ("listen", format!("127.0.0.1:{}", plan.ports.broadcaster).into()),
        ("data_dir", path(&directory.own("streams"))),
        ("rtmp", table([("listen", format!("127.0.0.1:{}", plan.ports.rtmp).into())])),
        // Every role shares this machine's cores, so a busy moment must not look like a dead orchestrator.
        ("timeout_multiplier", number(TIMEOUT_MULTIPLIER)),
        (
            "input",
            table([
                ("stream", STREAM.into()),
                ("path", path(&plan.input)),
                ("duration", format!("{}ms", plan.duration.as_millis()).into()),
            ]),
        ),
        (
            "payment",
            table([
                ("max_ticket_ev", text(u128::from(TICKET_EV) * 10)),
                ("max_total_ev", text(u128::from(TICKET_EV) * 1000)),
            ]),
        ),
    ])
}

fn table<const N: usize>(entries: [(&str, toml::Value); N]) -> toml::Value {
    toml::Value::Table(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn text(value: impl ToString) -> toml::Value {
    toml::Value::String(value.to_string())
}

fn path(path: &Path) -> toml::Value {
    text(path.display())
}

/// TOML has 64-bit signed numbers; the constants above are far below.
fn number(value: u64) -> toml::Value {
    toml::Value::Integer(value.try_into().unwrap_or(i64::MAX))
}

/// What devnet reads of the broadcaster's status.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct BroadcasterStatus {
    pub(super) input_error: Option<String>,
    pub(super) tickets: Tickets,
    pub(super) streams: Vec<Stream>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Tickets {
    pub(super) sent: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Stream {
    pub(super) live: bool,
    pub(super) segments: Segments,
    pub(super) renditions: Vec<Rendition>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Segments {
    pub(super) received: u64,
    pub(super) transcoded: u64,
    pub(super) failed: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Rendition {
    pub(super) name: String,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) segments: u64,
    pub(super) pixels: u64,
}

pub(super) async fn broadcaster_status(plan: &Plan) -> anyhow::Result<BroadcasterStatus> {
    let text = get(&plan.status_url()).await?;
    serde_json::from_str(&text).context("the broadcaster's status is not what this version expects")
}

/// GETs `url`; an answer that is not a success is an error that carries its text.
pub(super) async fn get(url: &str) -> anyhow::Result<String> {
    let client = reqwest::Client::builder().timeout(REQUEST).build()?;
    let response = client.get(url).send().await?;
    let status = response.status();
    let text = response.text().await?;
    anyhow::ensure!(status.is_success(), "{url} answers {status}: {}", text.trim());
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clip_that_was_played_is_not_played_again() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::prepare(Some(&root.path().join("net")), 0).unwrap();
        let input = table([("path", "a.mp4".into())]);
        let section = table([("listen", "127.0.0.1:0".into()), ("input", input)]);
        write(&directory, BROADCASTER, &toml::Table::from_iter([("broadcaster".to_owned(), section)])).unwrap();
        played(&directory).unwrap();
        let left = fs::read_to_string(directory.config(BROADCASTER)).unwrap();
        assert!(left.contains("listen") && !left.contains("a.mp4"), "{left}");
    }
}
