//! An orchestrator of ours on a real port.
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use alloy_primitives::{Address, U256};
use streamflow_orchestrator::{
    ChainDeps, Deps as OrchestratorDeps, FundsFuture, Handle, Live, LiveFuture, Orchestrator, OrchestratorConfig,
    Rendition, SenderFundsSource, TicketConfig, Transcode, TranscodeFuture, TranscodeJob,
};
use streamflow_pm::{KeySigner, QuoteDomain, QuoteSecret};
use streamflow_store::Store;
use streamflow_types::{ChainView, Price, SenderFunds};
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    clip,
    fixture::{DEPLOYMENT, VIEW},
};

/// Unix seconds.
pub(crate) const NOW: u64 = 1_700_000_000;

pub(crate) fn ether() -> SenderFunds {
    let wei = U256::from(1_000_000_000_000_000_000_u64);
    SenderFunds { deposit: wei, reserve: wei, pool_size: 2, ..SenderFunds::default() }
}

#[derive(Debug)]
struct AnybodysFunds;

impl SenderFundsSource for AnybodysFunds {
    fn funds(&self, _sender: Address) -> FundsFuture<'_> {
        Box::pin(async { Ok(ether()) })
    }
}

/// Counts the segments that came as streams.
#[derive(Debug)]
struct InProcess(Arc<AtomicUsize>);

impl Transcode for InProcess {
    fn transcode(&self, job: TranscodeJob) -> TranscodeFuture<'_> {
        Box::pin(async move {
            let make = move || clip::renditions(&job.input, &job.profiles);
            let made = tokio::task::spawn_blocking(make).await.unwrap();
            Ok(made.into_iter().map(|made| Rendition { data: made.bytes, pixels: made.pixels }).collect())
        })
    }

    fn transcode_live(&self, job: TranscodeJob, live: Live) -> LiveFuture<'_> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let input = live.input.whole().await?;
            let made = self.transcode(TranscodeJob { input, ..job }).await?;
            for (index, rendition) in made.iter().enumerate() {
                live.output.put(index, &rendition.data, rendition.pixels)?;
            }
            Ok(made.into_iter().map(|rendition| rendition.pixels).collect())
        })
    }

    fn end_session(&self, _session_id: &str) {}
}

/// An orchestrator of ours; its files and winners outlive its runs.
pub(crate) struct Ours {
    dir: TempDir,
    pub(crate) store: Store,
    listen: SocketAddr,
    /// Wei for a pixel.
    price: u64,
    /// Segments that came as streams.
    pub(crate) streamed: Arc<AtomicUsize>,
    local: Arc<dyn Transcode>,
    run: Option<Run>,
}

struct Run {
    handle: Handle,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    /// The chain as it knows it ends with these.
    _chain: (watch::Sender<Option<ChainView>>, watch::Sender<bool>),
}

impl Ours {
    pub(crate) fn key() -> KeySigner {
        KeySigner::from_bytes([0x0a; 32]).unwrap()
    }

    pub(crate) async fn start(price: u64) -> Self {
        let streamed = Arc::<AtomicUsize>::default();
        let local = Arc::new(InProcess(streamed.clone()));
        Self { streamed, ..Self::with(price, local).await }
    }

    /// With another transcoder.
    pub(crate) async fn with(price: u64, local: Arc<dyn Transcode>) -> Self {
        let (dir, store) = (tempfile::tempdir().unwrap(), Store::in_memory().await.unwrap());
        let (listen, streamed) = ("127.0.0.1:0".parse().unwrap(), Arc::default());
        let mut ours = Self { dir, store, listen, price, streamed, local, run: None };
        ours.begin().await;
        ours
    }

    /// What it holds for whom, by session, as exact wei.
    pub(crate) fn balances(&self) -> Vec<(String, String)> {
        let balances = self.run.as_ref().unwrap().handle.balances().unwrap();
        balances.into_iter().map(|held| (held.session, held.balance.to_ratio())).collect()
    }

    pub(crate) async fn begin(&mut self) {
        let (chain, view) = watch::channel(Some(ChainView { base_fee: 10_000_000, ..VIEW }));
        let (active, is_active) = watch::channel(true);
        let deps = OrchestratorDeps {
            chain: Some(ChainDeps {
                view,
                active: is_active,
                funds: Arc::new(AnybodysFunds),
                signer: Arc::new(Self::key()),
                domain: QuoteDomain { chain_id: 31337, broker: Address::repeat_byte(0xbb) },
                secrets: watch::Sender::new(QuoteSecret::new([7; 32]).into()).subscribe(),
                deployment: Some(DEPLOYMENT),
                late_blocks: 10,
                receipts: None,
                store: self.store.clone(),
                rpc: "none".into(),
            }),
            local: Some(self.local.clone()),
            secret: [7; 32],
            data_dir: self.dir.path().to_owned(),
            clock: Arc::new(|| NOW),
        };
        // Nine of ten tickets win.
        let config = OrchestratorConfig {
            listen: self.listen,
            price: Price::new(self.price, 1).unwrap(),
            tickets: TicketConfig { ev: U256::from(315_000_000_000_000_u64), ..TicketConfig::default() },
            ..OrchestratorConfig::default()
        };
        let orchestrator = Orchestrator::bind(config, deps).await.unwrap();
        self.listen = orchestrator.local_addr();
        let handle = orchestrator.handle();
        let stop = CancellationToken::new();
        let serving = orchestrator.run(stop.clone());
        let serving = tokio::spawn(async move {
            serving.await;
        });
        self.run = Some(Run { handle, stop, serving, _chain: (chain, active) });
    }

    pub(crate) async fn end(&mut self) {
        let run = self.run.take().unwrap();
        run.stop.cancel();
        run.serving.await.unwrap();
    }

    pub(crate) fn url(&self) -> Url {
        format!("https://{}", self.listen).parse().unwrap()
    }
}
