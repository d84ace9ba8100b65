//! The signer as a whole: what it is built of, how it starts and how it stops.
use std::{
    collections::HashMap,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use alloy_primitives::{Address, B256};
use serde::Serialize;
use streamflow_pm::{SenderLimits, SignError, TicketSigner};
use streamflow_types::{ChainView, SenderFunds};
use streamflow_wire::sign_request;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    auth::Webhook,
    budget::Budget,
    config::{FenceKind, SignerConfig, SignerConfigError},
    desk::{Desk, SenderTerms},
    discovery::Discovery,
    fence::{Fence, MemoryFence},
    server::{self, Service},
};

/// Time that open connections get when the signer stops.
const DRAIN: Duration = Duration::from_secs(5);

/// Reads the time since 1970.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// What the signer gets from the node.
pub struct Deps {
    /// Signs tickets, segments, states and requests for quotes.
    pub signer: Arc<dyn TicketSigner>,
    /// The chain; `None` until it is known.
    pub chain: watch::Receiver<Option<ChainView>>,
    /// The signer's funds in TicketBroker; `None` until they are known.
    pub funds: watch::Receiver<Option<SenderFunds>>,
    /// Orchestrators on chain; `None` until they are known.
    pub roster: watch::Receiver<Option<Arc<Roster>>>,
    /// Tag that tickets are bound to where an orchestrator takes such; none if the contract does not.
    pub deployment: Option<B256>,
    /// A fence that other signers share, in place of the configured one.
    pub fence: Option<Arc<dyn Fence>>,
    /// Reads the time.
    pub clock: Clock,
}

impl fmt::Debug for Deps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deps").field("sender", &self.signer.address()).finish_non_exhaustive()
    }
}

/// The orchestrators on chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster(HashMap<Address, Registered>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Where it listens, if that can be dialled.
    pub service_uri: Option<Url>,
    /// Whether it is in the active set of this round: a ticket for anybody else is not paid.
    pub active: bool,
}

impl Roster {
    /// Whether tickets for `orchestrator` are paid in this round.
    pub fn is_active(&self, orchestrator: Address) -> bool {
        self.0.get(&orchestrator).is_some_and(|known| known.active)
    }

    /// Where the active ones listen.
    pub fn service_uris(&self) -> impl Iterator<Item = &Url> {
        self.0.values().filter(|known| known.active).filter_map(|known| known.service_uri.as_ref())
    }
}

impl FromIterator<(Address, Registered)> for Roster {
    fn from_iter<I: IntoIterator<Item = (Address, Registered)>>(registered: I) -> Self {
        Self(registered.into_iter().collect())
    }
}

/// Why the signer does not start or run.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// Settings that cannot be used.
    #[error(transparent)]
    Config(#[from] SignerConfigError),
    /// The address is taken or not ours.
    #[error("cannot listen on {address} (setting signer.listen)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The request for quotes is signed once, at the start.
    #[error("cannot sign requests for quotes")]
    Sign(#[from] SignError),
    /// No TLS for the webhook or for discovery.
    #[error("cannot set up the http client")]
    Http(#[source] reqwest::Error),
    /// The listener broke.
    #[error("http server failed")]
    Serve(#[source] io::Error),
}

/// A signer that listens.
#[derive(Debug)]
pub struct Signer {
    service: Arc<Service>,
    listener: TcpListener,
    address: SocketAddr,
}

/// Looks at a running signer.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Service>);

/// What `/status` answers.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Version of the program.
    pub version: &'static str,
    /// Account that pays.
    pub sender: Address,
    /// Why nothing can be signed now.
    pub refusing: Option<String>,
    /// Payments since the start.
    pub payments: u64,
    /// Requests under way.
    pub requests: usize,
    /// Active orchestrators.
    pub orchestrators: usize,
    /// Whether a webhook is asked.
    pub authenticated: bool,
}

impl Signer {
    /// Checks the settings and takes the port.
    ///
    /// # Errors
    /// Names what is wrong with the settings, or with the port.
    pub async fn bind(config: SignerConfig, deps: Deps) -> Result<Self, SignerError> {
        config.validate()?;
        if config.auth.webhook.is_none() {
            tracing::warn!("signer.auth.webhook is not set: whoever reaches the signer spends the deposit");
        }
        let identity = sign_request(&*deps.signer, None)?;
        let webhook = config.auth.webhook.clone().map(|url| Webhook::new(url, &config.auth)).transpose();
        let fence = match (deps.fence, config.fence) {
            (Some(shared), _) => Some(shared),
            (None, FenceKind::Memory) => Some(Arc::new(MemoryFence::new(config.fence_sessions)) as Arc<dyn Fence>),
            (None, FenceKind::Off) => None,
        };
        let limits = SenderLimits {
            max_ticket_ev: config.tickets.max_ticket_ev,
            max_total_ev: config.tickets.max_total_ev,
            deposit_multiplier: config.tickets.deposit_multiplier,
            ..SenderLimits::default()
        };
        let no_port = |source| SignerError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(no_port)?;
        let address = listener.local_addr().map_err(no_port)?;
        let discovery = config.discovery.enabled.then(|| Discovery::new(&config.discovery, deps.roster.clone()));
        let service = Service {
            discovery: discovery.transpose().map_err(SignerError::Http)?,
            identity: server::identity(&identity, deps.signer.address()),
            requests: Semaphore::new(config.max_requests),
            payments: Default::default(),
            desk: Desk {
                signer: deps.signer,
                chain: deps.chain,
                funds: deps.funds,
                roster: deps.roster,
                sender: SenderTerms { limits, deployment: deps.deployment },
                webhook: webhook.map_err(SignerError::Http)?,
                budget: Budget::new(config.budget.clone()),
                fence,
                clock: deps.clock,
                prices: RwLock::new(config.price.clone()),
                config,
            },
        };
        Ok(Self { service: Arc::new(service), listener, address })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Looks at it while it runs.
    pub fn handle(&self) -> Handle {
        Handle(self.service.clone())
    }

    /// Serves until `stop`; what was begun is answered.
    ///
    /// # Errors
    /// The listener broke.
    pub async fn run(self, stop: CancellationToken) -> Result<(), SignerError> {
        tracing::info!(address = %self.address, sender = %self.service.desk.signer.address(), "signer listens");
        let graceful = stop.clone();
        let server = axum::serve(self.listener, server::router(self.service.clone()))
            .with_graceful_shutdown(async move { graceful.cancelled().await });
        let mut server = tokio::spawn(server.into_future());
        let served = tokio::select! { biased;
            () = stop.cancelled() => None,
            () = refresh(&self.service, &stop) => None,
            ended = &mut server => Some(ended),
        };
        let ended = match served {
            Some(ended) => ended,
            None => match timeout(DRAIN, &mut server).await {
                Ok(ended) => ended,
                Err(_) => {
                    server.abort();
                    return Ok(());
                }
            },
        };
        match ended {
            Ok(result) => result.map_err(SignerError::Serve),
            Err(panic) => Err(SignerError::Serve(io::Error::other(panic))),
        }
    }
}

/// Keeps the list of orchestrators fresh; ends with `stop` alone.
async fn refresh(service: &Service, stop: &CancellationToken) {
    match &service.discovery {
        Some(discovery) => discovery.run(stop).await,
        None => stop.cancelled().await,
    }
}

impl Handle {
    /// Takes over prices and budgets of new settings; the rest stays as it was at the start. They must have been validated.
    pub fn reconfigure(&self, config: &SignerConfig) {
        let desk = &self.0.desk;
        desk.budget.set_limits(config.budget.clone());
        *desk.prices.write().unwrap_or_else(PoisonError::into_inner) = config.price.clone();
    }

    /// What `/status` answers.
    pub fn status(&self) -> Status {
        let Service { desk, requests, .. } = &*self.0;
        let roster = desk.roster.borrow();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            sender: desk.signer.address(),
            refusing: desk.refusing(),
            payments: self.0.payments.load(std::sync::atomic::Ordering::Relaxed),
            requests: desk.config.max_requests.saturating_sub(requests.available_permits()),
            orchestrators: roster.as_ref().map_or(0, |roster| roster.0.values().filter(|o| o.active).count()),
            authenticated: desk.webhook.is_some(),
        }
    }
}
