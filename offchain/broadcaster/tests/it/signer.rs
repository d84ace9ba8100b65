//! A broadcaster that holds no key: a signer pays.
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use alloy_primitives::{Address, U256};
use streamflow_broadcaster::{PaymentMode, RemoteSigner};
use streamflow_orchestrator::{
    ChainDeps, Deps as OrchestratorDeps, FundsFuture, Live, LiveFuture, Orchestrator, OrchestratorConfig, Rendition,
    SenderFundsSource, TicketConfig, Transcode, TranscodeFuture, TranscodeJob,
};
use streamflow_pm::{KeySigner, QuoteDomain, QuoteSecret, TicketSigner};
use streamflow_signer::{Deps, Handle, Registered, Roster, Signer, SignerConfig};
use streamflow_store::{Store, TicketStatus};
use streamflow_types::{ChainView, Price, SenderFunds};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

use crate::{
    clip,
    fixture::{DEPLOYMENT, Setup, VIEW, until},
    orchestrator::{Conduct, FakeOrchestrator},
};

/// Unix seconds.
const NOW: u64 = 1_700_000_000;

fn ether() -> SenderFunds {
    let wei = U256::from(1_000_000_000_000_000_000_u64);
    SenderFunds { deposit: wei, reserve: wei, pool_size: 2, ..SenderFunds::default() }
}

/// A running signer; stops when dropped.
struct RunningSigner {
    url: Url,
    handle: Handle,
    stop: CancellationToken,
    /// The chain as it knows it ends with these.
    _chain: (watch::Sender<Option<ChainView>>, watch::Sender<Option<SenderFunds>>),
    _roster: watch::Sender<Option<Arc<Roster>>>,
    tasks: TaskTracker,
}

impl Drop for RunningSigner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl RunningSigner {
    async fn start(orchestrator: Address, change: impl FnOnce(&mut SignerConfig)) -> Self {
        let mut config = SignerConfig { listen: "127.0.0.1:0".parse().unwrap(), ..SignerConfig::default() };
        change(&mut config);
        let (chain, chain_view) = watch::channel(Some(VIEW));
        let (funds, funds_view) = watch::channel(Some(ether()));
        let registered = Registered { service_uri: None, active: true };
        let (roster, roster_view) = watch::channel(Some(Arc::new(Roster::from_iter([(orchestrator, registered)]))));
        let deps = Deps {
            signer: Arc::new(KeySigner::from_bytes([0x22; 32]).unwrap()),
            chain: chain_view,
            funds: funds_view,
            roster: roster_view,
            deployment: Some(DEPLOYMENT),
            fence: None,
            clock: Arc::new(|| Duration::from_secs(NOW)),
        };
        let signer = Signer::bind(config, deps).await.unwrap();
        let (url, handle) = (format!("http://{}", signer.local_addr()).parse().unwrap(), signer.handle());
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(signer.run(stop.clone()));
        Self { url, handle, stop, _chain: (chain, funds), _roster: roster, tasks }
    }

    fn remote(&self) -> RemoteSigner {
        RemoteSigner { url: self.url.clone(), headers: Default::default() }
    }

    async fn stopped(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn keyless(orchestrator: Url, signer: &RunningSigner) -> Setup {
    Setup::new(&[orchestrator]).with(|setup| {
        setup.signer = Some(signer.remote());
        (setup.chain, setup.funds) = (None, None);
        // No attempt fails because the machine is busy.
        setup.config.timeout_multiplier = 5;
    })
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
struct Ours {
    dir: TempDir,
    store: Store,
    listen: SocketAddr,
    /// Wei for a pixel.
    price: u64,
    /// Segments that came as streams.
    streamed: Arc<AtomicUsize>,
    run: Option<Run>,
}

struct Run {
    stop: CancellationToken,
    serving: JoinHandle<()>,
    /// The chain as it knows it ends with these.
    _chain: (watch::Sender<Option<ChainView>>, watch::Sender<bool>),
}

impl Ours {
    fn key() -> KeySigner {
        KeySigner::from_bytes([0x0a; 32]).unwrap()
    }

    /// A signer that pays it.
    async fn signer() -> RunningSigner {
        RunningSigner::start(Self::key().address(), |config| {
            config.tickets.max_ticket_ev = U256::from(1_000_000_000_000_000_u64);
            config.tickets.max_total_ev = U256::from(100_000_000_000_000_000_u64);
        })
        .await
    }

    async fn start(price: u64) -> Self {
        let (dir, store) = (tempfile::tempdir().unwrap(), Store::in_memory().await.unwrap());
        let (listen, streamed) = ("127.0.0.1:0".parse().unwrap(), Arc::default());
        let mut ours = Self { dir, store, listen, price, streamed, run: None };
        ours.begin().await;
        ours
    }

    async fn begin(&mut self) {
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
            local: Some(Arc::new(InProcess(self.streamed.clone()))),
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
        let stop = CancellationToken::new();
        let serving = orchestrator.run(stop.clone());
        let serving = tokio::spawn(async move {
            serving.await;
        });
        self.run = Some(Run { stop, serving, _chain: (chain, active) });
    }

    async fn end(&mut self) {
        let run = self.run.take().unwrap();
        run.stop.cancel();
        run.serving.await.unwrap();
    }

    fn url(&self) -> Url {
        format!("https://{}", self.listen).parse().unwrap()
    }
}

#[tokio::test]
async fn an_orchestrator_of_ours_takes_what_the_signer_pays() {
    // A segment costs about four tickets.
    let (signer, mut ours) = (Ours::signer().await, Ours::start(140_000_000).await);
    let running = keyless(ours.url(), &signer).start().await;
    until("the signer's address", || running.handle.status().refusing.is_none()).await;
    for seq in 0..3 {
        running.push_clip("movie", seq).await;
    }
    let status = running.handle.status();
    assert_eq!((status.segments.transcoded, status.segments.failed, status.segments.retried), (3, 0, 0));
    assert_eq!((status.payments, status.sender), (PaymentMode::OnChain, Some(signer.handle.status().sender)));
    let won = ours.store.ticket_total(TicketStatus::Pending).await.unwrap().count;
    assert!(won > 0 && won <= status.tickets.sent, "{won} of {}", status.tickets.sent);
    let ticket = ours.store.tickets(None, 1).await.unwrap().remove(0).ticket.signed.ticket;
    assert_eq!((ticket.sender, ticket.deployment), (signer.handle.status().sender, Some(DEPLOYMENT)));
    assert_eq!(ours.streamed.load(Ordering::SeqCst), 0, "a signer signs for whole segments alone");
    running.stop().await;
    ours.end().await;
}

#[tokio::test]
async fn an_orchestrator_of_ours_is_streamed_to_by_who_has_a_key() {
    let mut ours = Ours::start(140_000_000).await;
    let setup = Setup::new(&[ours.url()]).with(|setup| {
        setup.funds = Some(ether());
        (setup.config.payment.max_ticket_ev, setup.config.payment.max_total_ev) = (U256::MAX, U256::MAX);
        setup.config.timeout_multiplier = 5;
    });
    let running = setup.start().await;
    for seq in 0..3 {
        running.push_clip("movie", seq).await;
    }
    let status = running.handle.status();
    assert_eq!((status.segments.transcoded, status.segments.failed, status.segments.retried), (3, 0, 0));
    assert_eq!(ours.streamed.load(Ordering::SeqCst), 3);
    let won = ours.store.ticket_total(TicketStatus::Pending).await.unwrap().count;
    assert!(won > 0 && won <= status.tickets.sent, "{won} of {}", status.tickets.sent);
    running.stop().await;
    ours.end().await;
}

/// It has forgotten our balance, so change that the signer counts on must not be counted on any more.
#[tokio::test]
async fn a_restarted_orchestrator_is_paid_from_nothing_at_once() {
    // A segment costs a part of a ticket: the signer finds that the change of two pays for the third.
    let (signer, mut ours) = (Ours::signer().await, Ours::start(10_000_000).await);
    let running = keyless(ours.url(), &signer).start().await;
    until("the signer's address", || running.handle.status().refusing.is_none()).await;
    running.push_clip("movie", 0).await;
    ours.end().await;
    ours.begin().await;
    running.push_clip("movie", 1).await;
    running.push_clip("movie", 2).await;
    let status = running.handle.status();
    assert_eq!((status.segments.transcoded, status.segments.retried), (3, 0));
    let session = &status.sessions[0];
    assert_eq!((session.failures, session.suspended_ms, session.last_error.as_deref()), (0, 0, None));
    running.stop().await;
    ours.end().await;
}

/// What a segment cost less than its estimate pays for the next one, as with a key.
#[tokio::test]
async fn change_is_not_paid_again() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let signer = RunningSigner::start(orchestrator.account(), |_| ()).await;
    let running = keyless(orchestrator.url(), &signer).start().await;
    until("the signer's address", || running.handle.status().refusing.is_none()).await;
    for seq in 0..3 {
        running.push_clip("movie", seq).await;
    }
    let seen = orchestrator.seen();
    assert_eq!(seen.payments.len(), 3);
    assert!(seen.payments[0] > 1 && seen.payments[1] < seen.payments[0], "{:?}", seen.payments);
    assert_eq!(seen.tickets.iter().collect::<BTreeSet<_>>().len(), seen.tickets.len());
    assert_eq!(running.handle.status().tickets.sent, seen.tickets.len() as u64);
    running.stop().await;
}

#[tokio::test]
async fn concurrent_segments_of_one_session_share_no_number() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let fence = |config: &mut SignerConfig| config.fence = streamflow_signer::FenceKind::Memory;
    let signer = RunningSigner::start(orchestrator.account(), fence).await;
    let running = keyless(orchestrator.url(), &signer).start().await;
    until("the signer's address", || running.handle.status().refusing.is_none()).await;
    running.push_clip("movie", 0).await;
    futures::future::join_all((1..3).map(|seq| running.push_clip("movie", seq))).await;
    let seen = orchestrator.seen();
    assert_eq!(seen.tickets.iter().collect::<BTreeSet<_>>().len(), seen.tickets.len());
    assert_eq!(running.handle.status().segments.failed, 0);
    running.stop().await;
}

#[tokio::test]
async fn too_high_a_price_is_not_paid_by_the_signer() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let low = |config: &mut SignerConfig| config.price.max = Some(Price::new(1, 1001).unwrap());
    let signer = RunningSigner::start(orchestrator.account(), low).await;
    let running = keyless(orchestrator.url(), &signer).start().await;
    until("the signer's address", || running.handle.status().refusing.is_none()).await;
    let reply = running.push("/live/movie/0.ts", clip::segment(0)).await;
    let text = reply.text().await.unwrap();
    assert!(text.contains("signer answered 481") && text.contains("exceeds configured ceiling"), "{text}");
    assert!(orchestrator.seen().payments.is_empty());
    running.stop().await;
}

#[tokio::test]
async fn a_signer_that_is_away_is_named_and_waited_for() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let signer = RemoteSigner { url: format!("http://{free}").parse().unwrap(), headers: Default::default() };
    let running = Setup::new(&[orchestrator.url()]).with(|setup| setup.signer = Some(signer)).start().await;
    let names_it = || running.handle.status().refusing.is_some_and(|why| why.contains("signer does not answer"));
    until("the reason", names_it).await;
    assert_eq!(running.push("/live/movie/0.ts", clip::segment(0)).await.status(), 503);
    let back = RunningSigner::start(orchestrator.account(), |config| config.listen = free).await;
    until("the signer", || running.handle.status().refusing.is_none()).await;
    running.push_clip("movie", 0).await;

    back.stopped().await;
    let reply = running.push("/live/movie/1.ts", clip::segment(1)).await;
    assert!(reply.text().await.unwrap().contains("remote signer"));
    running.stop().await;
}
