//! The broadcaster as a whole: what it is built of, how it starts and how it stops.
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use alloy_primitives::Address;
use bytes::Bytes;
use futures::{Stream, future::join_all};
use streamflow_media::{PoolError, WorkerPool};
use streamflow_types::{ManifestId, VideoCodec, with_causes};
use streamflow_wire::{capability, proto::OrchestratorRequest, sign_request};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    time::{Instant, MissedTickBehavior, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admission::{Admission, Admissions},
    client::OrchestratorClient,
    config::{BroadcasterConfig, FileInput},
    discovery::{self, Candidate, Filter, OrchestratorCache},
    error::{BroadcasterError, PaymentError, PlayError, Refusal, SegmentError},
    listener,
    live::LiveConfig,
    numbering::GIVE_UP_AFTER,
    orchestrators::{Orchestrators, Rules},
    output::Store,
    payment::{Payer, Payments},
    remote::RemotePayer,
    rtmp::{self, Rtmp},
    serve,
    session::{Purse, Session},
    status::{BalanceStatus, FundsStatus, PaymentMode, SegmentStatus, Status, TicketStatus},
    stream::LiveStream,
    verification::Trust,
    verify::Checker,
    webhook::{self, Webhook},
};

/// Ended streams that can still be watched.
const ENDED_KEPT: usize = 32;
/// How often idle streams and unused sessions are looked after.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// How often old nonces and credits are forgotten.
const PRUNING: Duration = Duration::from_secs(60);
/// Time that open connections get once everything else has stopped.
const SERVER_GRACE: Duration = Duration::from_secs(5);

/// What the broadcaster gets from the node.
#[derive(Debug)]
pub struct Deps {
    /// How orchestrators are paid.
    pub payments: Payments,
    /// Orchestrators found on chain. Not used when the configuration names some, unless it wants the market too.
    pub candidates: watch::Receiver<Vec<Candidate>>,
    /// Where what is learnt of orchestrators is kept for the next start; without it, it is forgotten.
    pub cache: Option<OrchestratorCache>,
    /// Worker processes that probe and check segments.
    pub media: WorkerPool,
}

/// A broadcaster that listens.
#[derive(Debug)]
pub struct Broadcaster {
    core: Arc<Core>,
    candidates: watch::Receiver<Vec<Candidate>>,
    listener: TcpListener,
    address: SocketAddr,
    rtmp: Option<TcpListener>,
}

/// Looks at a running broadcaster, and plays files through it.
#[derive(Clone, Debug)]
pub struct BroadcasterHandle(Arc<Core>);

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: BroadcasterConfig,
    pub(crate) live: LiveConfig,
    pub(crate) cache: Option<OrchestratorCache>,
    pub(crate) payer: Option<Payer>,
    pub(crate) remote: Option<RemotePayer>,
    pub(crate) client: OrchestratorClient,
    pub(crate) orchestrators: Orchestrators,
    pub(crate) media: WorkerPool,
    pub(crate) checker: Checker,
    pub(crate) trust: Trust,
    /// Signed request for a quote, without capabilities; not signed with a remote signer, which has one of its own.
    request: OrchestratorRequest,
    /// Bytes of uploads that may still come in.
    pub(crate) memory: Arc<Semaphore>,
    pub(crate) webhook: Option<Webhook>,
    pub(crate) admissions: Admissions,
    pub(crate) rtmp: Rtmp,
    pub(crate) tracker: TaskTracker,
    pub(crate) stopping: CancellationToken,
    streams: Mutex<Vec<Arc<LiveStream>>>,
    /// Held while a stream is made, so that two first segments do not make two.
    opening: tokio::sync::Mutex<()>,
    totals: Mutex<SegmentStatus>,
    input_error: Mutex<Option<String>>,
    /// Segments that are coming in.
    announced: Mutex<Vec<(ManifestId, u64)>>,
}

/// A segment that is coming in.
#[derive(Debug)]
pub(crate) struct Announced {
    core: Arc<Core>,
    number: (ManifestId, u64),
}

impl Drop for Announced {
    fn drop(&mut self) {
        let mut announced = self.core.announced();
        if let Some(index) = announced.iter().position(|number| *number == self.number) {
            announced.swap_remove(index);
        }
    }
}

impl Broadcaster {
    /// Checks the settings, prepares the data directory and takes the port.
    pub async fn bind(config: BroadcasterConfig, deps: Deps) -> Result<Self, BroadcasterError> {
        config.validate()?;
        let Deps { payments, candidates, cache, media } = deps;
        let unusable = |source| BroadcasterError::DataDir { path: config.data_dir.clone(), source };
        tokio::fs::create_dir_all(&config.data_dir).await.map_err(unusable)?;
        let (payer, remote) = match payments {
            Payments::OffChain => (None, None),
            Payments::OnChain(funding) => (Some(Payer::new(funding, &config.payment, &config.budget)), None),
            Payments::Remote(signer) => (None, Some(RemotePayer::new(signer)?)),
        };
        let request = match &payer {
            Some(payer) => sign_request(payer.signer(), None)?,
            None => OrchestratorRequest { address: Address::ZERO.to_vec(), ..OrchestratorRequest::default() },
        };
        let client = OrchestratorClient::new()?;
        let no_port = |source| BroadcasterError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(no_port)?;
        let address = listener.local_addr().map_err(no_port)?;
        for (setting, address) in [("object_store", &config.object_store), ("record_store", &config.record_store)] {
            if let Some(address) = address {
                Store::open(address).map_err(|source| BroadcasterError::Store { setting, source })?;
            }
        }
        let rtmp = match &config.rtmp {
            Some(rtmp) => Some(
                TcpListener::bind(rtmp.listen)
                    .await
                    .map_err(|source| BroadcasterError::ListenRtmp { address: rtmp.listen, source })?,
            ),
            None => None,
        };
        let webhook = config.auth_webhook_url.as_ref().and_then(webhook::address).map(Webhook::new).transpose();
        let webhook = webhook.map_err(BroadcasterError::Webhook)?;
        let orchestrators = Orchestrators::new(rules(&config));
        if let Some(cache) = &cache {
            discovery::recall(cache, &orchestrators, &config).await;
        }
        if !config.orchestrators.is_empty() {
            orchestrators.update(&discovery::named(&config), Instant::now());
        }
        let core = Core {
            memory: Arc::new(Semaphore::new(config.max_upload_bytes.min(Semaphore::MAX_PERMITS))),
            checker: Checker::new(media.clone()),
            live: LiveConfig::new(config.clone()),
            trust: Trust::new(),
            config,
            cache,
            payer,
            remote,
            client,
            orchestrators,
            media,
            request,
            webhook,
            admissions: Admissions::default(),
            rtmp: Rtmp::default(),
            tracker: TaskTracker::new(),
            stopping: CancellationToken::new(),
            streams: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            totals: Mutex::default(),
            input_error: Mutex::default(),
            announced: Mutex::default(),
        };
        Ok(Self { core: Arc::new(core), candidates, listener, address, rtmp })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for RTMP, if it does.
    pub fn rtmp_addr(&self) -> Option<SocketAddr> {
        self.rtmp.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Looks at it while it runs.
    pub fn handle(&self) -> BroadcasterHandle {
        BroadcasterHandle(self.core.clone())
    }

    /// Serves until `stop`. Then takes no more segments, lets those under way finish, ends playlists and sessions, and
    /// closes.
    pub async fn run(self, stop: CancellationToken) -> Result<(), BroadcasterError> {
        let Self { core, candidates, listener, address, rtmp } = self;
        tracing::info!(%address, "broadcaster listens");
        let closing = CancellationToken::new();
        let (served_core, graceful) = (core.clone(), closing.clone());
        let mut server = tokio::spawn(async move {
            listener::serve(listener, serve::router(served_core.clone()), &served_core.config, graceful).await;
        });
        let background = CancellationToken::new();
        let follower = tokio::spawn(discovery::discover(core.clone(), candidates, background.clone()));
        let prober = tokio::spawn(discovery::keep_warm(core.clone(), background.clone()));
        let cache = tokio::spawn(discovery::keep(core.clone(), background.clone()));
        let keeper = tokio::spawn(keep_house(core.clone(), background.clone()));
        let top_up = tokio::spawn(top_up(core.clone(), background.clone()));
        if let (Some(listener), Some(config)) = (rtmp, core.config.rtmp.clone()) {
            core.tracker.spawn(rtmp::listen(core.clone(), config, listener, core.stopping.clone()));
        }
        if let Some(input) = core.config.input.clone() {
            core.tracker.spawn(play_input(core.clone(), input));
        }

        let served = tokio::select! { biased;
            () = stop.cancelled() => None,
            ended = &mut server => Some(ended),
        };
        core.stop().await;
        background.cancel();
        let _ = tokio::join!(follower, prober, cache, keeper, top_up);
        closing.cancel();
        let ended = match served {
            Some(ended) => ended,
            None => match timeout(SERVER_GRACE, &mut server).await {
                Ok(ended) => ended,
                Err(_) => {
                    server.abort();
                    return Ok(());
                }
            },
        };
        match ended {
            Ok(()) => Ok(()),
            Err(panic) => Err(BroadcasterError::Serve(std::io::Error::other(panic))),
        }
    }
}

impl BroadcasterHandle {
    /// Plays what a pipe brings as a live stream, until it ends or `length` is full; see [`FileInput`] for what it may bring.
    pub async fn play_pipe(
        &self,
        stream: ManifestId,
        pipe: impl Stream<Item = Bytes> + Send + Unpin + 'static,
        length: Duration,
    ) -> Result<(), PoolError> {
        let played = self.0.play_pipe(stream.clone(), pipe, length).await;
        if let Some(stream) = self.0.find_stream(stream.as_str()) {
            stream.close(&self.0).await;
        }
        played
    }

    /// What `/status` answers.
    pub fn status(&self) -> Status {
        self.0.status()
    }

    /// Takes over those of new settings that can change while it runs: renditions and budget of streams that begin, limits on
    /// payments, the budget of the day, the number of streams. They must have been validated.
    pub fn reconfigure(&self, config: &BroadcasterConfig) {
        self.0.reconfigure(config);
    }

    /// Plays a file as a live stream, in real time, once an orchestrator is ready. Returns at the end of the stream.
    pub async fn play(&self, input: FileInput) -> Result<(), PlayError> {
        self.0.play(&input).await
    }
}

impl Core {
    /// Why no segment can be taken now.
    pub(crate) fn check_ready(&self) -> Result<(), Refusal> {
        if self.stopping.is_cancelled() {
            return Err(Refusal::Stopping);
        }
        match self.purse() {
            Purse::Empty => {}
            Purse::Own(payer) => payer.check()?,
            Purse::Remote(signer) => signer.check()?,
        }
        self.orchestrators.refusal(Instant::now()).map_or(Ok(()), Err)
    }

    /// Who pays.
    pub(crate) fn purse(&self) -> Purse<'_> {
        match (&self.payer, &self.remote) {
            (Some(payer), _) => Purse::Own(payer),
            (None, Some(signer)) => Purse::Remote(signer),
            (None, None) => Purse::Empty,
        }
    }

    /// What orchestrators are asked for terms with.
    pub(crate) async fn quote_request(&self) -> Result<OrchestratorRequest, PaymentError> {
        match &self.remote {
            Some(signer) => Ok(signer.request().await?),
            None => Ok(self.request.clone()),
        }
    }

    /// The same for our jobs, so that the price is that of our jobs too.
    pub(crate) async fn job_request(&self) -> Result<OrchestratorRequest, PaymentError> {
        let job = capability::job(VideoCodec::H264, &self.config.profiles, false);
        Ok(OrchestratorRequest { capabilities: Some(job), ..self.quote_request().await? })
    }

    fn streams(&self) -> MutexGuard<'_, Vec<Arc<LiveStream>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn find_stream(&self, name: &str) -> Option<Arc<LiveStream>> {
        self.streams().iter().find(|stream| stream.name().as_str() == name).cloned()
    }

    pub(crate) fn newest_live(&self) -> Option<Arc<LiveStream>> {
        self.streams().iter().rev().find(|stream| stream.is_open()).cloned()
    }

    /// Says that a segment is coming in, until the guard is dropped. Segments may overtake each other on their way: a
    /// stream begins at the lowest number that is coming.
    pub(crate) fn announce(self: &Arc<Self>, name: &ManifestId, seq: u64) -> Announced {
        let number = (name.clone(), seq);
        self.announced().push(number.clone());
        Announced { core: self.clone(), number }
    }

    fn announced(&self) -> MutexGuard<'_, Vec<(ManifestId, u64)>> {
        self.announced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn first_number(&self, name: &ManifestId, seq: u64) -> u64 {
        let announced = self.announced();
        let near = announced.iter().filter(|(other, number)| other == name && number.abs_diff(seq) <= GIVE_UP_AFTER);
        near.map(|(_, number)| *number).fold(seq, u64::min)
    }

    /// The stream of that name; a new one if there is none or it has ended.
    pub(crate) async fn open_stream(
        &self,
        admission: &Arc<Admission>,
        seq: u64,
        duration: Duration,
    ) -> Result<Arc<LiveStream>, SegmentError> {
        let name = &admission.name;
        let ending = self.find_stream(name.as_str()).filter(|stream| !stream.is_open());
        if let Some(stream) = ending {
            stream.ended().await;
        }
        let _one_at_a_time = self.opening.lock().await;
        if let Some(stream) = self.find_stream(name.as_str()).filter(|stream| !stream.has_ended()) {
            return Ok(stream);
        }
        let live = self.streams().iter().filter(|stream| !stream.has_ended()).count();
        let settings = self.settings();
        if live >= settings.max_streams {
            return Err(Refusal::TooManyStreams(live).into());
        }
        set_aside(&self.config.data_dir, name).await.map_err(SegmentError::Directory)?;
        let stream = Arc::new(LiveStream::create(admission, &settings, self.first_number(name, seq), duration).await?);
        let mut streams = self.streams();
        streams.retain(|known| known.name() != name);
        streams.push(stream.clone());
        let ended = streams.iter().filter(|stream| stream.has_ended()).count();
        let mut surplus = ended.saturating_sub(ENDED_KEPT);
        streams.retain(|stream| {
            let drop = surplus > 0 && stream.has_ended();
            surplus -= usize::from(drop);
            !drop
        });
        tracing::info!(stream = %name, "stream begins");
        Ok(stream)
    }

    pub(crate) fn input_error(&self) -> MutexGuard<'_, Option<String>> {
        self.input_error.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut SegmentStatus)) {
        change(&mut self.totals.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Frees a session at the orchestrator. It frees itself there after a while, so that a failure is no matter.
    pub(crate) async fn end_session(&self, session: &Session) {
        if let Some(payer) = &self.payer {
            session.write_off(payer);
        }
        let ended = self.client.end_session(&session.url, session.token.clone(), self.config.quote_timeout).await;
        if let Err(error) = ended {
            tracing::debug!(url = %session.url, error = with_causes(&error), "session was not ended");
        }
    }

    async fn stop(self: &Arc<Self>) {
        self.stopping.cancel();
        let streams = self.streams().clone();
        join_all(streams.iter().map(|stream| stream.close(self))).await;
        self.tracker.close();
        if timeout(self.config.drain_timeout, self.tracker.wait()).await.is_err() {
            tracing::warn!(tasks = self.tracker.len(), "tasks did not end in time");
        }
    }

    pub(crate) fn status(&self) -> Status {
        let now = Instant::now();
        let payer = self.payer.as_ref();
        let chain = payer.and_then(|payer| payer.chain().ok());
        let sent = match self.purse() {
            Purse::Empty => Default::default(),
            Purse::Own(payer) => payer.total_sent(),
            Purse::Remote(signer) => signer.total_sent(),
        };
        let own = payer.map(|payer| payer.signer().address());
        let funds = payer.and_then(|payer| payer.funds().ok()).map(|funds| FundsStatus {
            deposit: funds.deposit.to_string(),
            reserve: funds.reserve.to_string(),
            withdraw_round: funds.withdraw_round.0,
        });
        Status {
            version: env!("CARGO_PKG_VERSION"),
            payments: match self.purse() {
                Purse::Empty => PaymentMode::OffChain,
                Purse::Own(_) | Purse::Remote(_) => PaymentMode::OnChain,
            },
            refusing: self.check_ready().err().map(|refusal| refusal.to_string()),
            input_error: self.input_error().clone(),
            sender: own.or_else(|| self.remote.as_ref().and_then(RemotePayer::sender)),
            funds,
            budget: payer.map(|payer| payer.budget_status(&self.settings().budget, Instant::now().into_std())),
            block: chain.map(|chain| chain.block),
            round: chain.map(|chain| chain.round.0),
            segments: *self.totals.lock().unwrap_or_else(PoisonError::into_inner),
            tickets: TicketStatus { sent: sent.tickets, value: sent.value.to_string() },
            streams: self.streams().iter().rev().map(|stream| stream.status(&self.orchestrators, now)).collect(),
            rtmp: self.config.rtmp.as_ref().map(|_| self.rtmp.status()),
            sessions: self.orchestrators.status(now),
            balances: payer.map(|payer| payer.balances().into_iter().map(BalanceStatus::new).collect()),
            pool: self.orchestrators.pool(now),
        }
    }
}

/// Moves an earlier recording of the same name aside, so that it is neither mixed with the new one nor lost.
async fn set_aside(data_dir: &Path, name: &ManifestId) -> std::io::Result<()> {
    let directory = data_dir.join(name.as_str());
    if !tokio::fs::try_exists(&directory).await? {
        return Ok(());
    }
    // No stream has a name with a tilde.
    let numbered = |number: u32| -> PathBuf { data_dir.join(format!("{name}~{number}")) };
    let mut number = 1;
    while tokio::fs::try_exists(numbered(number)).await? {
        number += 1;
    }
    tokio::fs::rename(&directory, numbered(number)).await
}

/// What decides whether and in which order orchestrators are used, by the settings.
fn rules(config: &BroadcasterConfig) -> Rules {
    Rules {
        filter: Filter::new(&config.discovery),
        selection: config.selection.clone(),
        max_price: config.payment.max_price,
        min_version: config.discovery.min_version.clone(),
        job: capability::job(VideoCodec::H264, &config.profiles, false),
        shortlist: config.discovery.shortlist,
        probe_interval: config.discovery.probe_interval,
        extra_nodes: config.discovery.extra_nodes,
    }
}

async fn keep_house(core: Arc<Core>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(HOUSEKEEPING);
    let mut prune = tokio::time::interval(PRUNING);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    prune.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! { biased;
            () = stop.cancelled() => return,
            _ = prune.tick() => {
                if let Some(payer) = &core.payer
                    && let Err(error) = payer.prune(Instant::now().into_std()).await
                {
                    tracing::warn!(error = with_causes(&error), "old nonces are not forgotten");
                }
                core.prune_receipts().await;
            }
            _ = tick.tick() => {
                let now = Instant::now();
                let streams = core.streams().clone();
                for stream in streams {
                    for session in stream.take_unused() {
                        let core = core.clone();
                        core.clone().tracker.spawn(async move { core.end_session(&session).await });
                    }
                    if stream.is_idle(core.config.stream_idle, now) {
                        let core = core.clone();
                        core.clone().tracker.spawn(async move { stream.close(&core).await });
                    }
                }
            }
        }
    }
}

async fn top_up(core: Arc<Core>, stop: CancellationToken) {
    if let Some((top_up, clock)) = core.payer.as_ref().and_then(|payer| payer.top_up(&core.config)) {
        top_up.run(clock, stop).await;
    }
}

async fn play_input(core: Arc<Core>, input: FileInput) {
    match core.play(&input).await {
        Ok(()) => {}
        Err(error @ PlayError::Stopped) => tracing::info!(%error, "input is not played on"),
        Err(error) => tracing::error!(error = with_causes(&error), "input is not played"),
    }
}
