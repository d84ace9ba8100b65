//! Binding the port, running, stopping.
use std::{collections::BTreeMap, fmt, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use alloy_primitives::{Address, B256, U256};
use streamflow_pm::SessionBalance;
use streamflow_types::{Price, Secret};
use streamflow_wire::AuthTokens;
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

use crate::{
    ChainDeps, Clock, ConfigError, OrchestratorConfig, TlsError, Transcode,
    gatekeeper::Gatekeeper,
    grpc, http,
    intake::Intake,
    jobs::{self, JobSource, Jobs},
    listener::{Listener, Routes},
    payments::Payments,
    pool::{NatsLink, TranscoderPool},
    quotas::{QuotaConfig, Quotas},
    service::{Parts, Service, token_key},
    sessions::{SessionLimits, Sessions},
    storage::RenditionCache,
    tls,
    workers::{LocalDevice, Workers},
};

/// Time to reach the host of a segment that is sent as a URL.
const FETCH_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Time that broadcasters get to fetch the last renditions when the node stops.
const FETCH_GRACE: Duration = Duration::from_secs(4);
const FETCH_POLL: Duration = Duration::from_millis(20);

/// What an orchestrator is given.
#[derive(Clone)]
pub struct Deps {
    /// None runs without a chain: work is free, nothing is signed, peers are not identified.
    pub chain: Option<ChainDeps>,
    /// Transcodes in this process. None leaves it to remote transcoders.
    pub local: Option<Arc<dyn Transcode>>,
    /// 32 random bytes that session tokens are bound to. Keep them across restarts, or tokens lose validity.
    pub secret: [u8; 32],
    /// Where the certificate is kept.
    pub data_dir: PathBuf,
    /// Reads the time.
    pub clock: Clock,
}

impl fmt::Debug for Deps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deps")
            .field("chain", &self.chain)
            .field("local", &self.local)
            .field("data_dir", &self.data_dir)
            .finish_non_exhaustive()
    }
}

/// Why an orchestrator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting cannot be used.
    #[error("configuration")]
    Config(#[from] ConfigError),
    /// The secret's file cannot be read.
    #[error("cannot read transcoder_secret_file {}", path.display())]
    SecretFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The port is taken, as a rule.
    #[error("cannot listen on {address} (setting `listen`)")]
    Bind {
        /// From the configuration.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The bound address does not make a URL.
    #[error("cannot make a service URI of {0}")]
    ServiceUri(SocketAddr),
    /// Jobs are checked against the chain, and there is none.
    #[error("jobs_2018.enabled needs a chain (setting `chain.controller`)")]
    JobsWithoutChain,
    /// The pool's NATS server cannot be used.
    #[error(transparent)]
    Nats(#[from] streamflow_nats::ConnectError),
    /// The HTTP client cannot be set up.
    #[error("cannot set up the HTTP client")]
    Client(#[from] reqwest::Error),
}

/// An orchestrator whose port is open.
pub struct Orchestrator {
    local_addr: SocketAddr,
    service_uri: Url,
    service: Service,
    listener: Listener,
    session_key: B256,
    jobs: Option<Jobs>,
    nats: Option<streamflow_nats::Client>,
}

impl fmt::Debug for Orchestrator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Orchestrator").field("local_addr", &self.local_addr).finish_non_exhaustive()
    }
}

/// Looks into a running orchestrator. Clones see the same one.
#[derive(Clone, Debug)]
pub struct Handle {
    service: Service,
}

impl Handle {
    /// Transcode sessions that are open.
    pub fn open_sessions(&self) -> usize {
        self.service.sessions().open()
    }

    /// Sessions that have work.
    pub fn active_sessions(&self) -> usize {
        self.service.sessions().active()
    }

    /// About how many more sessions would find room.
    pub fn spare_sessions(&self) -> usize {
        self.service.sessions().spare()
    }

    /// Remote transcoders that are given work: neither leaving, nor silent, nor passed over for a while.
    pub fn sound_transcoders(&self) -> usize {
        self.service.pool().sound()
    }

    /// Remote transcoders that are connected.
    pub fn transcoders(&self) -> usize {
        self.service.pool().connected()
    }

    /// What senders have left by session, those used last first, a bounded list; none without a chain.
    pub fn balances(&self) -> Option<Vec<SessionBalance>> {
        self.service.payments().map(Payments::balances)
    }

    /// Changes the largest face value that is quoted, wei; 0 sets no limit.
    pub fn set_max_face_value(&self, wei: U256) {
        if let Some(payments) = self.service.payments() {
            payments.set_max_face_value(wei);
        }
    }

    /// Changes what sessions of single accounts are asked that begin from now on.
    pub fn set_prices(&self, prices: BTreeMap<Address, Price>) {
        if let Some(payments) = self.service.payments() {
            payments.set_prices(prices);
        }
    }

    /// Changes what one sender may ask of this node; what was used before counts.
    pub fn set_quotas(&self, quotas: QuotaConfig) {
        self.service.quotas().set(quotas);
    }

    /// Changes the load up to which devices take sessions. Sessions that have room keep it.
    pub fn set_max_ratio(&self, max_ratio: f64) {
        self.service.sessions().set_max_ratio(max_ratio);
    }

    /// Changes what sessions that begin from now on are asked. Those that have begun keep their price.
    pub fn set_price(&self, price: Price) {
        if let Some(payments) = self.service.payments() {
            payments.set_price(price);
        }
    }
}

impl Orchestrator {
    /// Checks the settings and opens the port. Connections wait until [`Self::run`].
    pub async fn bind(config: OrchestratorConfig, deps: Deps) -> Result<Self, StartError> {
        config.validate()?;
        let transcoder_secret = transcoder_secret(&config).await?;
        let address = config.listen;
        let bound = TcpListener::bind(address).await.and_then(|tcp| Ok((tcp.local_addr()?, tcp)));
        let (local_addr, tcp) = bound.map_err(|source| StartError::Bind { address, source })?;
        let service_uri = match &config.service_uri {
            Some(uri) => uri.clone(),
            None => Url::parse(&format!("https://{local_addr}")).map_err(|_| StartError::ServiceUri(local_addr))?,
        };
        let host = service_uri.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let tls = tls::server_config(&deps.data_dir, host).await?;
        let limits = config.limits;
        let nats = match &config.nats.url {
            Some(url) => Some(streamflow_nats::connect(&config.nats, url, "streamflow orchestrator").await?),
            None => None,
        };
        let session_key = jobs::session_key(&deps.secret);
        let service = service(config, deps, transcoder_secret, &service_uri)?;
        let listener = Listener { tcp, tls: TlsAcceptor::from(tls), limits };
        Ok(Self { local_addr, service_uri, service, listener, session_key, jobs: None, nats })
    }

    /// Answers the protocol of 2018 too, for the broadcasters of `jobs_2018`, whose jobs `source` knows.
    pub fn with_jobs(mut self, source: Arc<dyn JobSource>) -> Result<Self, StartError> {
        let jobs = Jobs::new(self.service.clone(), source, self.session_key).ok_or(StartError::JobsWithoutChain)?;
        self.jobs = Some(jobs);
        Ok(self)
    }

    /// The bound address.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where peers are told to reach this node.
    pub fn service_uri(&self) -> &Url {
        &self.service_uri
    }

    /// For looking in while it runs.
    pub fn handle(&self) -> Handle {
        Handle { service: self.service.clone() }
    }

    /// Serves until `stop`. Then new work is refused, segments in hand are finished, their results delivered and their
    /// renditions fetched, and the port closes.
    pub async fn run(self, stop: CancellationToken) {
        let Self { service, listener, jobs, nats, .. } = self;
        let (close, background) = (CancellationToken::new(), CancellationToken::new());
        let grpc_timeout = service.config().limits.body_idle_timeout;
        let mut routes =
            Routes { grpc: grpc::router(service.clone()), http: http::router(service.clone()), grpc_timeout };
        if let Some(jobs) = jobs {
            routes = jobs.add_to(routes);
        }
        // Aborted if this future is dropped.
        let mut tasks = JoinSet::new();
        tasks.spawn(listener.serve(routes, close.clone()));
        if let Some(payments) = service.payments().cloned() {
            let background = background.clone();
            tasks.spawn(async move { payments.run(background).await });
        }
        if let Some(client) = nats {
            let link = NatsLink::new(service.clone(), client, &service.config().nats);
            let background = background.clone();
            tasks.spawn(async move { link.run(background).await });
        }
        let (pool, watched) = (service.pool().clone(), background.clone());
        let patience = service.config().limits.keep_alive.saturating_mul(2);
        tasks.spawn(async move { pool.watch(patience, watched).await });
        stop.cancelled().await;
        tracing::info!(sessions = service.sessions().open(), "no more segments are taken");
        drain(&service).await;
        service.pool().close();
        background.cancel();
        close.cancel();
        while tasks.join_next().await.is_some() {}
    }
}

/// Transcoders still fetch inputs and post results meanwhile.
async fn drain(service: &Service) {
    service.intake_closed().cancel();
    service.deliveries().close();
    let finish = async {
        service.deliveries().wait().await;
        service.sessions().drain().await;
    };
    if timeout(service.config().limits.drain_timeout, finish).await.is_err() {
        tracing::warn!(segments = service.deliveries().len(), "segments are given up");
    }
    if let Some(payments) = service.payments() {
        payments.drain().await;
    }
    // A segment is served when its renditions were fetched, not when they were announced.
    let fetched = async {
        while service.cache().has_unfetched(FETCH_GRACE) {
            sleep(FETCH_POLL).await;
        }
    };
    drop(timeout(FETCH_GRACE, fetched).await);
}

async fn transcoder_secret(config: &OrchestratorConfig) -> Result<Secret, StartError> {
    let Some(path) = &config.transcoder_secret_file else { return Ok(config.transcoder_secret.clone()) };
    let text = tokio::fs::read_to_string(path).await;
    let text = text.map_err(|source| StartError::SecretFile { path: path.clone(), source })?;
    Ok(Secret::new(text.trim()))
}

pub(crate) fn service(
    config: OrchestratorConfig,
    deps: Deps,
    transcoder_secret: Secret,
    service_uri: &Url,
) -> Result<Service, StartError> {
    let max_ratio = config.admission.max_ratio;
    let pool = TranscoderPool::new(config.max_transcoders, max_ratio);
    let workers = match deps.local {
        Some(local) => Workers::Local(LocalDevice::new(local, max_ratio)),
        None => Workers::Remote(pool.clone()),
    };
    let limits =
        SessionLimits { sessions: config.max_sessions, queue: config.session_queue, idle: config.session_idle };
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(FETCH_CONNECT_TIMEOUT)
        .build()?;
    let gatekeeper = Arc::new(Gatekeeper::new(config.auth_webhook.clone())?);
    Ok(Service::new(Parts {
        service_uri: service_uri.as_str().trim_end_matches('/').to_owned(),
        payments: deps.chain.as_ref().map(|chain| Payments::new(chain, &config, Arc::clone(&gatekeeper))),
        gatekeeper,
        tokens: AuthTokens::new(token_key(&deps.secret)),
        clock: deps.clock,
        sessions: Sessions::new(workers, limits),
        pool,
        cache: RenditionCache::new(config.storage),
        intake: Intake::new(config.limits),
        quotas: Quotas::new(config.quotas),
        transcoder_secret,
        http,
        intake_closed: CancellationToken::new(),
        deliveries: TaskTracker::new(),
        config,
    }))
}
