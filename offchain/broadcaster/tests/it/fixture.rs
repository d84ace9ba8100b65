//! A running broadcaster.
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::{Address, B256, U256};
use reqwest::{Response, StatusCode};
use streamflow_broadcaster::{
    Broadcaster, BroadcasterConfig, BroadcasterError, BroadcasterHandle, Candidate, Deps, FailoverConfig, Funding,
    OrchestratorCache, Payments, RemoteSigner,
};
use streamflow_media::{PoolConfig, WorkerPool};
use streamflow_pm::{KeySigner, ReceiptDomain};
use streamflow_store::Store;
use streamflow_types::{ChainView, Round, SenderFunds};
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::clip;

pub(crate) const VIEW: ChainView = ChainView {
    block: 100,
    round: Round(7),
    round_block_hash: B256::repeat_byte(3),
    round_initialized: true,
    pool_size: 2,
    base_fee: 1,
};

/// Tag of the contract that tickets are for.
pub(crate) const DEPLOYMENT: B256 = B256::repeat_byte(0xd0);

/// Where receipts count.
pub(crate) const RECEIPTS: ReceiptDomain = ReceiptDomain { chain_id: 31337, contract: Address::repeat_byte(0x5a) };

pub(crate) fn funds() -> SenderFunds {
    let wei = U256::from(1_000_000_000_u64);
    SenderFunds { deposit: wei, reserve: wei, pool_size: 2, ..SenderFunds::default() }
}

/// What a broadcaster is started with.
pub(crate) struct Setup {
    pub(crate) config: BroadcasterConfig,
    pub(crate) paid: bool,
    pub(crate) chain: Option<ChainView>,
    pub(crate) funds: Option<SenderFunds>,
    pub(crate) store: Option<Store>,
    pub(crate) candidates: Vec<Candidate>,
    /// Where what is learnt of orchestrators is kept.
    pub(crate) cache: Option<Store>,
    /// Unix seconds, for the cache.
    pub(crate) now: u64,
    /// Pays in place of a key.
    pub(crate) signer: Option<RemoteSigner>,
}

impl Setup {
    /// Paying, with small renditions.
    pub(crate) fn new(orchestrators: &[Url]) -> Self {
        let config = BroadcasterConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            profiles: clip::profiles(),
            orchestrators: orchestrators.to_vec(),
            // Who gets what must not hang on how busy this machine is.
            failover: FailoverConfig { hedge_percent: 0, ..FailoverConfig::default() },
            ..BroadcasterConfig::default()
        };
        let (chain, funds) = (Some(VIEW), Some(funds()));
        Self {
            config,
            paid: true,
            chain,
            funds,
            store: None,
            candidates: Vec::new(),
            cache: None,
            now: 0,
            signer: None,
        }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(crate) async fn start(mut self) -> Running {
        let dir = tempfile::tempdir().unwrap();
        self.config.data_dir = dir.path().join("streams");
        let store = match self.store {
            Some(store) => store,
            None => Store::in_memory().await.unwrap(),
        };
        let (chain, chain_view) = watch::channel(self.chain);
        let (funds, funds_view) = watch::channel(self.funds);
        let (candidates, candidates_view) = watch::channel(self.candidates);
        let signer = Arc::new(KeySigner::from_bytes([0x11; 32]).unwrap());
        let payments = match (self.signer, self.paid) {
            (Some(signer), _) => Payments::Remote(signer),
            (None, true) => Payments::OnChain(Funding {
                signer,
                chain: chain_view,
                funds: funds_view,
                store,
                deployment: Some(DEPLOYMENT),
                receipts: Some(RECEIPTS),
                clock: Arc::new(|| 0),
                top_up: None,
            }),
            (None, false) => Payments::OffChain,
        };
        let media = workers().await;
        let now = self.now;
        let cache = self.cache.map(|store| OrchestratorCache { store, clock: Arc::new(move || now) });
        let deps = Deps { payments, candidates: candidates_view, cache, media: media.clone() };
        let broadcaster = Broadcaster::bind(self.config, deps).await.unwrap();
        let (address, handle, rtmp) = (broadcaster.local_addr(), broadcaster.handle(), broadcaster.rtmp_addr());
        let stop = CancellationToken::new();
        let task = tokio::spawn(broadcaster.run(stop.clone()));
        Running { address, rtmp, handle, dir, chain, funds, _candidates: candidates, media, stop, task }
    }
}

pub(crate) async fn workers() -> WorkerPool {
    let exe = std::env::current_exe().unwrap();
    let program = exe.parent().and_then(|deps| deps.parent()).unwrap().join("examples/broadcaster_worker");
    WorkerPool::start(PoolConfig { workers: 1, ..PoolConfig::new(program, [] as [&str; 0]) }).await.unwrap()
}

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) rtmp: Option<SocketAddr>,
    pub(crate) handle: BroadcasterHandle,
    pub(crate) dir: TempDir,
    pub(crate) chain: watch::Sender<Option<ChainView>>,
    pub(crate) funds: watch::Sender<Option<SenderFunds>>,
    _candidates: watch::Sender<Vec<Candidate>>,
    pub(crate) media: WorkerPool,
    pub(crate) stop: CancellationToken,
    task: JoinHandle<Result<(), BroadcasterError>>,
}

impl Running {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        client().get(self.url(path)).send().await.unwrap()
    }

    pub(crate) async fn text(&self, path: &str) -> String {
        self.get(path).await.text().await.unwrap()
    }

    /// Pushes a segment and asks for its renditions.
    pub(crate) async fn push(&self, path: &str, body: impl Into<reqwest::Body>) -> Response {
        client().post(self.url(path)).header("Accept", "multipart/mixed").body(body).send().await.unwrap()
    }

    /// Pushes a segment of the clip; it must be taken.
    pub(crate) async fn push_clip(&self, stream: &str, seq: usize) {
        let reply = self.push(&format!("/live/{stream}/{seq}.ts"), clip::segment(seq)).await;
        let status = reply.status();
        assert_eq!(status, StatusCode::OK, "{}", reply.text().await.unwrap());
    }

    /// File of a stream.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.dir.path().join("streams").join(path)
    }

    /// Stops it as the node does, and returns its files.
    pub(crate) async fn stop(self) -> TempDir {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(30), self.task).await.unwrap().unwrap().unwrap();
        self.media.shutdown().await;
        self.dir
    }
}

pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Waits until something holds: for long, as machines may be slow; what is waited for comes or not.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(120), "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
