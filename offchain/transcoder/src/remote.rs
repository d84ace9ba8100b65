//! Working for a remote orchestrator: register, take segments, post results (node.md §3).
use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use futures::{Stream, StreamExt, stream::FuturesUnordered};
use streamflow_types::{Secret, with_causes};
use streamflow_wire::{
    AnyCertificate, TranscoderTask, capability, header,
    proto::{Capabilities, NotifySegment, RegisterRequest, transcoder_client::TranscoderClient},
};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{
    Status,
    metadata::MetadataMap,
    transport::{ClientTlsConfig, Endpoint},
};
use url::Url;

use crate::{
    ConfigError, LocalTranscoder, TranscoderConfig, TranscoderError,
    backoff::Backoff,
    error::{Lost, TaskError},
    metrics,
    shared::Shared,
    task::{Task, TaskClient},
};

/// A connection that lasted so long was a good one: the next pause is the shortest again.
const GOOD_CONNECTION: Duration = Duration::from_secs(30);
/// Time for the orchestrator to take or refuse a registration.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(8);
/// A probe may go unanswered for so many times `keep_alive`: with the connection goes the work in hand.
const PROBE_PATIENCE: u32 = 4;
/// A beat may take so many times what lies between two, and the next ones go out beside it. It must not end with the next one: who
/// drops a connection because it comes about slowly has to begin again, and on a busy machine no beat would ever arrive.
const BEAT_PATIENCE: u32 = 4;
/// Bounds on how often the orchestrator hears of this transcoder.
pub(crate) const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(100);
pub(crate) const LONGEST_HEARTBEAT: Duration = Duration::from_secs(60);
/// Refusals that no waiting changes (node.md §3).
const FATAL: [&str; 3] = ["invalid secret", "zero capacity", "execution interrupted"];

/// A transcoder that works for a remote orchestrator.
#[derive(Clone, Debug)]
pub struct RemoteTranscoder {
    config: Arc<TranscoderConfig>,
    orchestrator: Url,
    secret: Secret,
    client: TaskClient,
    local: LocalTranscoder,
    places: Arc<Semaphore>,
    standing: watch::Sender<Standing>,
}

/// Whether the orchestrator has taken this transcoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Segments may come.
    Registered,
    /// Why none can come, with the setting to look at.
    Away(String),
}

impl RemoteTranscoder {
    /// Checks the settings and reads the secret. Nothing is sent yet.
    pub async fn new(config: TranscoderConfig, local: LocalTranscoder) -> Result<Self, TranscoderError> {
        config.validate()?;
        // Over NATS each order says where its results go.
        let orchestrator = config.orchestrator.clone().or_else(|| config.nats.url.clone());
        let orchestrator = orchestrator.ok_or(ConfigError::NoOrchestrator)?;
        let secret = match &config.secret_file {
            None => config.secret.clone(),
            Some(path) => {
                let read = tokio::fs::read_to_string(path).await;
                let text = read.map_err(|source| TranscoderError::SecretFile { path: path.clone(), source })?;
                Secret::new(text.trim())
            }
        };
        if secret.is_empty() {
            return Err(ConfigError::NoSecret.into());
        }
        let client = TaskClient::new(&config, &orchestrator, secret.clone())?;
        let places = Arc::new(Semaphore::new(config.capacity));
        let (standing, _) = watch::channel(Standing::Away("not registered yet".to_owned()));
        Ok(Self { config: Arc::new(config), orchestrator, secret, client, local, places, standing })
    }

    /// Whether it is registered; changes while it runs.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Works until `stop`; then takes no more segments, and returns when those in hand are delivered. A lost connection
    /// is made again, forever.
    ///
    /// # Errors
    /// [`TranscoderError::Refused`] when the orchestrator will never take this transcoder.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), TranscoderError> {
        if let Some(url) = &self.config.nats.url {
            let client = streamflow_nats::connect(&self.config.nats, url, "streamflow transcoder").await?;
            return Shared::new(self, client, self.config.nats.subject.clone()).run(stop).await;
        }
        let mut backoff = Backoff::new(self.config.min_backoff, self.config.max_backoff);
        while !stop.is_cancelled() {
            let started = Instant::now();
            let Some(lost) = self.serve(&stop).await? else { return Ok(()) };
            if started.elapsed() >= GOOD_CONNECTION {
                backoff.reset();
            }
            let pause = backoff.pause(rand::random());
            let (error, pause_ms) = (with_causes(&lost), pause.as_millis());
            tracing::warn!(orchestrator = %self.orchestrator, error, pause_ms, "not registered, trying again");
            let away = format!("not registered with {} (transcoder.orchestrator): {error}", self.orchestrator);
            self.standing.send_replace(Standing::Away(away));
            metrics::connection_lost();
            tokio::select! { biased;
                () = stop.cancelled() => {}
                () = sleep(pause) => {}
            }
        }
        Ok(())
    }

    pub(crate) fn config(&self) -> &TranscoderConfig {
        &self.config
    }

    /// Tells whoever looks, if it is news.
    pub(crate) fn stands(&self, now: Standing) {
        self.standing.send_if_modified(|standing| {
            let is_news = *standing != now;
            *standing = now;
            is_news
        });
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    pub(crate) fn client(&self) -> &TaskClient {
        &self.client
    }

    pub(crate) fn local(&self) -> &LocalTranscoder {
        &self.local
    }

    /// One for each segment that may be in hand.
    pub(crate) fn places(&self) -> &Arc<Semaphore> {
        &self.places
    }

    /// One registration; none when it ended because of `stop`.
    async fn serve(&self, stop: &CancellationToken) -> Result<Option<Lost>, TranscoderError> {
        let registered = tokio::select! { biased;
            () = stop.cancelled() => return Ok(None),
            registered = self.register() => registered,
        };
        let (notices, membership) = match registered {
            Ok(registered) => registered,
            Err(Lost::Status { text, .. }) if is_fatal(&text) => return Err(TranscoderError::Refused { reason: text }),
            Err(lost) => return Ok(Some(lost)),
        };
        tracing::info!(orchestrator = %self.orchestrator, capacity = self.config.capacity, "registered");
        self.standing.send_replace(Standing::Registered);
        let registration = Registration::new(self, membership);
        let lost = registration.follow(notices, stop).await;
        match lost {
            Some(Lost::Status { text, .. }) if is_fatal(&text) => Err(TranscoderError::Refused { reason: text }),
            lost => Ok(lost),
        }
    }

    async fn register(
        &self,
    ) -> Result<(impl Stream<Item = Result<NotifySegment, Status>> + use<>, Option<Membership>), Lost> {
        let endpoint = Endpoint::from_shared(self.orchestrator.to_string())?
            .tls_config_with_verifier(ClientTlsConfig::new(), Arc::new(AnyCertificate::default()))?
            .connect_timeout(self.config.connect_timeout)
            .http2_keep_alive_interval(self.config.keep_alive)
            .keep_alive_timeout(self.config.keep_alive.saturating_mul(PROBE_PATIENCE))
            .keep_alive_while_idle(true);
        let request = RegisterRequest {
            secret: self.secret.expose().to_owned(),
            capacity: i64::try_from(self.config.capacity).unwrap_or(i64::MAX),
            capabilities: Some(capabilities(self.config.capacity, &self.local)),
        };
        let mut client = TranscoderClient::new(endpoint.connect().await?);
        let stream = timeout(REGISTER_TIMEOUT, client.register_transcoder(request)).await;
        let answer = stream.map_err(|_| Lost::NoAnswer)?.map_err(lost)?;
        let membership = Membership::from_metadata(answer.metadata());
        Ok((answer.into_inner(), membership))
    }
}

/// How the orchestrator wants to hear of this transcoder; deployed ones do not.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    name: String,
    pub(crate) every: Duration,
}

impl Membership {
    pub(crate) fn from_metadata(metadata: &MetadataMap) -> Option<Self> {
        let text = |key: &str| metadata.get(key.to_ascii_lowercase())?.to_str().ok();
        let every = text(header::HEARTBEAT_MS)?.parse().ok().map(Duration::from_millis)?;
        Some(Self { name: text(header::MEMBER)?.to_owned(), every: every.clamp(SHORTEST_HEARTBEAT, LONGEST_HEARTBEAT) })
    }
}

fn lost(status: Status) -> Lost {
    Lost::Status { code: status.code(), text: status.message().to_owned() }
}

fn is_fatal(text: &str) -> bool {
    FATAL.iter().any(|fatal| text.contains(fatal))
}

/// What our workers can do.
pub(crate) fn capabilities(capacity: usize, local: &LocalTranscoder) -> Capabilities {
    let offered = capability::offered(|codec| local.offers(codec));
    capability::describe(&offered, u32::try_from(capacity).unwrap_or(u32::MAX), env!("CARGO_PKG_VERSION"))
}

/// One registration with the orchestrator, and the segments that came of it.
struct Registration<'a> {
    transcoder: &'a RemoteTranscoder,
    client: TaskClient,
    /// How often the orchestrator wants to hear of us.
    every: Option<Duration>,
    tasks: TaskTracker,
    /// Cancelled when the orchestrator no longer waits for results.
    abandoned: CancellationToken,
}

impl<'a> Registration<'a> {
    fn new(transcoder: &'a RemoteTranscoder, membership: Option<Membership>) -> Self {
        let (name, every) = membership.map(|member| (member.name, member.every)).unzip();
        let client = transcoder.client.of(name);
        Self { transcoder, client, every, tasks: TaskTracker::new(), abandoned: CancellationToken::new() }
    }

    /// Tells the orchestrator how we are, again and again.
    async fn heartbeat(&self, state: &'static str) {
        let Some(every) = self.every else { return std::future::pending().await };
        let mut tick = interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // No more of them than may be late.
        let mut beats = FuturesUnordered::new();
        loop {
            tokio::select! { biased;
                Some(()) = beats.next() => {}
                _ = tick.tick() => beats.push(self.client.tell(state, every.saturating_mul(BEAT_PATIENCE))),
            }
        }
    }

    /// Takes segments until the stream ends, or until `stop` and the segments in hand are delivered.
    async fn follow(
        &self,
        notices: impl Stream<Item = Result<NotifySegment, Status>>,
        stop: &CancellationToken,
    ) -> Option<Lost> {
        let mut notices = pin!(notices);
        let mut heartbeat = pin!(self.heartbeat(header::STATE_ALIVE));
        let lost = loop {
            let notice = tokio::select! { biased;
                () = stop.cancelled() => break None,
                notice = notices.next() => notice,
                () = &mut heartbeat => continue,
            };
            match notice {
                Some(Ok(notice)) => self.take(notice),
                Some(Err(status)) => break Some(lost(status)),
                None => break Some(Lost::Closed),
            }
        };
        self.tasks.close();
        match lost {
            // The stream stays open meanwhile: closing it would hand the segments to another transcoder.
            None => self.drain(notices).await,
            Some(_) => self.abandoned.cancel(),
        }
        self.tasks.wait().await;
        lost
    }

    /// Finishes what is in hand and turns away what still comes.
    async fn drain(&self, mut notices: Pin<&mut impl Stream<Item = Result<NotifySegment, Status>>>) {
        let turn_away = async {
            while let Some(Ok(notice)) = notices.next().await {
                if !notice.url.is_empty() {
                    self.client.report(notice.task_id, &TaskError::Stopped).await;
                }
            }
        };
        let finish = async {
            // No more work comes then; what was on its way is turned away and goes to another.
            if let Some(every) = self.every {
                self.client.tell(header::STATE_LEAVING, every.saturating_mul(BEAT_PATIENCE)).await;
            }
            self.tasks.wait().await;
        };
        tokio::select! { biased;
            () = finish => {}
            () = turn_away => {}
            () = self.heartbeat(header::STATE_LEAVING) => {}
            () = sleep(self.transcoder.config.drain_timeout) => {}
        }
        if !self.tasks.is_empty() {
            tracing::warn!(segments = self.tasks.len(), "segments are given up");
            self.abandoned.cancel();
        }
    }

    fn take(&self, notice: NotifySegment) {
        let task_id = notice.task_id;
        let (transcoder, client) = (self.transcoder.clone(), self.client.clone());
        let place = Arc::clone(&transcoder.places).try_acquire_owned();
        let work = async move {
            match (TranscoderTask::from_proto(notice), place) {
                // Nothing is kept between segments, so there is nothing to free.
                (Ok(TranscoderTask::EndSession { .. }), _) => {}
                (Ok(TranscoderTask::Transcode { url, segment, .. }), Ok(_place)) => {
                    Task { task_id, url, segment: *segment, local: &transcoder.local, client: &client }.run().await;
                }
                (Ok(TranscoderTask::Transcode { .. }), Err(_)) => {
                    client.report(task_id, &TaskError::Busy).await;
                }
                (Err(malformed), _) => client.report(task_id, &malformed.into()).await,
            }
        };
        let abandoned = self.abandoned.clone();
        self.tasks.spawn(async move {
            tokio::select! { biased;
                () = abandoned.cancelled() => tracing::debug!(task_id, "segment abandoned"),
                () = work => {}
            }
        });
    }
}
