//! The chain and the roles of the measurements, as processes.
use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use alloy::{providers::ext::AnvilApi as _, signers::local::PrivateKeySigner};
use anyhow::{Context as _, bail};
use streamflow_chain::{BlockFollower, RoundFollower};
use streamflow_evm::list_crowd;
use streamflow_types::ChainView;
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::Command,
    sync::watch,
    task::JoinSet,
    time::{Duration, Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::load::Caller;
use crate::{
    bench_market::{BenchMarket, ETHER},
    devnet::processes::Processes,
};

/// Orchestrators in the registry.
const REGISTERED: u64 = 10_000;
/// Accounts that pay.
const SENDERS: usize = 20;
/// What transcoders present.
const SECRET: &str = "bench";
/// How long a role may take to be ready.
const READY: Duration = Duration::from_secs(30);
/// Names of the processes of each site.
const NAMES: [(&str, &str); super::SITES] = [
    ("orchestrator-1", "transcoder-1"),
    ("orchestrator-2", "transcoder-2"),
    ("orchestrator-3", "transcoder-3"),
    ("orchestrator-4", "transcoder-4"),
    ("orchestrator-5", "transcoder-5"),
    ("orchestrator-6", "transcoder-6"),
];

/// A market with the roles that were started on it.
pub(super) struct Network {
    market: BenchMarket,
    directory: TempDir,
    processes: Processes,
    /// Of the orchestrators; nothing listens there before its site is opened.
    uris: Vec<Url>,
    opened: usize,
    view: watch::Receiver<Option<ChainView>>,
    followers: JoinSet<()>,
}

/// An orchestrator with one transcoder.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) url: Url,
    /// The orchestrator.
    pub(super) pid: u32,
}

/// What a site is measured with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Workers<'a> {
    pub(super) stored: &'a Path,
    pub(super) encode: Duration,
    pub(super) count: usize,
}

impl Network {
    pub(super) async fn start(project: &Path, sites: usize) -> anyhow::Result<Self> {
        let uris: Vec<Url> = (0..sites)
            .map(|_| Ok(Url::parse(&format!("https://127.0.0.1:{}", free_port()?))?))
            .collect::<anyhow::Result<_>>()?;
        let market = BenchMarket::start(project, &uris, SENDERS).await?;
        let contracts = market.chain.contracts;
        list_crowd(
            &market.provider,
            contracts.service_registry,
            contracts.bonding_manager,
            REGISTERED - sites as u64,
            // Nobody is there: a crowd that answered would be measured too.
            |n| format!("https://127.0.0.1:{}/{n}", 1 + n % 1000),
            |n| ETHER + u128::from(n),
        )
        .await?;
        market.provider.anvil_set_interval_mining(1).await?;
        let directory = tempfile::tempdir()?;
        let logs = directory.path().join("logs");
        fs::create_dir(&logs)?;
        let (follower, feed) = BlockFollower::new(&market.chain, &market.config);
        let (rounds, mut view) = RoundFollower::new(&market.chain, &market.config, &feed);
        let mut followers = JoinSet::new();
        followers.spawn(follower.run(CancellationToken::new()));
        followers.spawn(rounds.run(CancellationToken::new()));
        timeout(READY, view.wait_for(Option::is_some)).await.context("the chain is not followed")??;
        Ok(Self { market, directory, processes: Processes::new(logs), uris, opened: 0, view, followers })
    }

    pub(super) async fn stop(&mut self) {
        self.followers.abort_all();
        self.processes.stop().await;
    }

    /// Accounts with funds, each with connections of its own.
    pub(super) fn callers(&self) -> anyhow::Result<Vec<Caller>> {
        let senders = self.market.senders.iter().take(SENDERS - 1);
        senders.map(|sender| Caller::new(sender.to_bytes().0, self.view.clone())).collect()
    }

    /// Starts the next orchestrator, with a transcoder.
    pub(super) async fn open(&mut self, workers: Workers<'_>) -> anyhow::Result<Site> {
        let index = self.opened;
        let (Some((orchestrator, transcoder)), Some(url)) = (NAMES.get(index), self.uris.get(index).cloned()) else {
            bail!("all {} sites are open", NAMES.len());
        };
        self.opened += 1;
        let admin = free_port()?;
        let key = self.market.orchestrators.get(index).context("no such orchestrator")?.clone();
        let listen = format!("127.0.0.1:{}", url.port().unwrap_or_default());
        let config = format!(
            "{common}
            [transcoding]
            transcoders = \"remote\"
            [orchestrator]
            listen = \"{listen}\"
            service_uri = \"{uri}\"
            transcoder_secret = \"{SECRET}\"
            max_sessions = 8192
            price = {{ wei_per_unit = 1, pixels_per_unit = 1 }}
            [orchestrator.limits]
            max_connections = 8192
            max_connections_per_ip = 8192
            ",
            common = self.common(orchestrator, admin, Some(&key))?,
            uri = url.as_str().trim_end_matches('/'),
        );
        let file = self.write(orchestrator, &config)?;
        self.processes.start_tool(orchestrator, role(&file, &["orchestrator"])?)?;
        let config = format!(
            "{common}
            [transcoding]
            workers = {count}
            queue = 4096
            [transcoder]
            orchestrator = \"{url}\"
            secret = \"{SECRET}\"
            capacity = 8192
            ",
            common = self.common(transcoder, free_port()?, None)?,
            count = workers.count,
        );
        let file = self.write(transcoder, &config)?;
        let stored = workers.stored.to_str().context("the temporary directory is not UTF-8")?;
        let encode = workers.encode.as_millis().to_string();
        let arguments = ["bench", "stored-transcoder", "--encode-ms", &encode, stored];
        self.processes.start_tool(transcoder, role(&file, &arguments)?)?;
        self.ready(orchestrator, &url, admin).await?;
        let pid = self.processes.pid(orchestrator).context("the orchestrator has no process")?;
        Ok(Site { url, pid })
    }

    /// Starts a broadcaster that uses these sites. Returns where it takes segments.
    pub(super) async fn broadcaster(&mut self, sites: &[Site], profiles: &str) -> anyhow::Result<Url> {
        let (port, admin) = (free_port()?, free_port()?);
        let key = self.market.senders.last().context("no sender is left")?.clone();
        let urls: Vec<String> = sites.iter().map(|site| format!("\"{}\"", site.url)).collect();
        let config = format!(
            "{common}
            [broadcaster]
            listen = \"127.0.0.1:{port}\"
            data_dir = \"{streams}\"
            orchestrators = [{urls}]
            {profiles}
            ",
            common = self.common("broadcaster", admin, Some(&key))?,
            streams = self.directory.path().join("streams").display(),
            urls = urls.join(", "),
        );
        let file = self.write("broadcaster", &config)?;
        self.processes.start_tool("broadcaster", role(&file, &["broadcaster"])?)?;
        let url = Url::parse(&format!("http://127.0.0.1:{port}"))?;
        self.ready("broadcaster", &url, admin).await?;
        Ok(url)
    }

    /// From the start of a broadcaster that knows nobody to its first candidate of the registry.
    pub(super) async fn cold_start(&mut self) -> anyhow::Result<Duration> {
        let (port, admin) = (free_port()?, free_port()?);
        let key = self.market.senders.last().context("no sender is left")?.clone();
        let config = format!(
            "{common}
            [broadcaster]
            listen = \"127.0.0.1:{port}\"
            data_dir = \"{streams}\"
            ",
            common = self.common("cold", admin, Some(&key))?,
            streams = self.directory.path().join("cold-streams").display(),
        );
        let file = self.write("cold", &config)?;
        let status = format!("http://127.0.0.1:{admin}/status");
        let started = Instant::now();
        let mut process = role(&file, &["broadcaster"])?
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        while started.elapsed() < READY {
            if let Ok(answer) = reqwest::get(&status).await
                && let Ok(document) = answer.json::<serde_json::Value>().await
                && document["pool"]["listed"].as_u64().is_some_and(|listed| listed > 0)
            {
                let took = started.elapsed();
                process.kill().await?;
                return Ok(took);
            }
            sleep(Duration::from_millis(5)).await;
        }
        bail!("the broadcaster found no orchestrator in {READY:?}")
    }

    /// Waits until a role listens and has all that it needs.
    async fn ready(&self, name: &str, at: &Url, admin: u16) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY;
        let url = format!("http://127.0.0.1:{admin}/readyz");
        loop {
            self.processes.check()?;
            let listens = TcpStream::connect((Ipv4Addr::LOCALHOST, at.port().unwrap_or_default())).await.is_ok();
            let why = match reqwest::get(&url).await {
                Ok(answer) if answer.status().is_success() && listens => return Ok(()),
                Ok(answer) => answer.text().await.unwrap_or_default(),
                Err(error) => error.to_string(),
            };
            if Instant::now() >= deadline {
                let log = self.directory.path().join("logs").join(format!("{name}.log"));
                let said = fs::read_to_string(log).unwrap_or_default();
                bail!("{name} is not ready after {READY:?}: {why}\n{said}");
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn common(&self, name: &str, admin: u16, key: Option<&PrivateKeySigner>) -> anyhow::Result<String> {
        let directory = self.directory.path();
        let mut config = format!(
            "[data]
            dir = \"{}\"
            [admin]
            listen = \"127.0.0.1:{admin}\"
            ",
            directory.join(name).display()
        );
        if let Some(key) = key {
            let file = directory.join(format!("{name}.key"));
            let mut options = fs::OpenOptions::new();
            let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&file)?;
            std::io::Write::write_all(&mut &opened, hex::encode(key.to_bytes()).as_bytes())?;
            let chain = &self.market.config;
            config += &format!(
                "[keys]
                key_file = \"{}\"
                [chain]
                rpc_url = \"{}\"
                controller = \"{}\"
                poll_interval = \"250ms\"
                ",
                file.display(),
                chain.rpc_url,
                chain.controller.unwrap_or_default(),
            );
        }
        Ok(config)
    }

    fn write(&self, name: &str, config: &str) -> anyhow::Result<PathBuf> {
        let file = self.directory.path().join(format!("{name}.toml"));
        fs::write(&file, config)?;
        Ok(file)
    }
}

fn role(config: &Path, arguments: &[&str]) -> anyhow::Result<Command> {
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    let mut command = Command::new(program);
    command.arg("--config").arg(config).args(arguments);
    Ok(command)
}

/// A port that was free a moment ago.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
