//! The server: a port, who may use it, and how it ends.
mod connections;
mod service;

use std::{fmt, future::Future, io, net::SocketAddr, path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use alloy_primitives::Address;
use streamflow_store::Store;
use streamflow_types::{ChainView, Secret, SenderFunds};
use streamflow_wire::proto::ticket_redeemer_server::TicketRedeemerServer;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status,
    metadata::MetadataMap,
    service::interceptor::InterceptedService,
    transport::{Identity, Server, ServerTlsConfig},
};

use self::service::Service;
use crate::{RedeemerConfig, Terms, TlsError, config::ConfigError, metrics, tls};

/// A ticket takes some 400 bytes.
const MAX_MESSAGE_BYTES: usize = 4 * 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for one answer, the wait for a place included. Peers wait 8 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(7);
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Calls that one connection may have open beside its subscriptions: those must not keep tickets waiting.
const CALLS_PER_CONNECTION: u32 = 64;
/// Bytes that a caller may send before they are read.
const WINDOW: u32 = 64 * 1024;
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// Time for callers to go once the service stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What [`FundsSource::funds`] returns.
pub type FundsFuture<'a> = Pin<Box<dyn Future<Output = Result<SenderFunds, FundsUnavailable>> + Send + 'a>>;

/// Knows what senders have in TicketBroker.
pub trait FundsSource: Send + Sync + fmt::Debug {
    /// The funds of `sender` as the recipient sees them. An unknown sender has none, which is no error.
    fn funds(&self, sender: Address) -> FundsFuture<'_>;
}

/// The chain did not tell.
#[derive(Debug, thiserror::Error)]
#[error("funds of the sender cannot be read")]
pub struct FundsUnavailable(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// What the service needs.
#[derive(Clone, Debug)]
pub struct RedeemerDeps {
    /// Newest state of the chain; `None` until it is known.
    pub view: watch::Receiver<Option<ChainView>>,
    /// Deposits and reserves.
    pub funds: Arc<dyn FundsSource>,
    /// What tickets have to be for.
    pub terms: Terms,
    /// Where winners go, and where the keeper finds them.
    pub store: Store,
    /// What callers must present. Empty: nothing, which only a service on loopback may allow.
    pub token: Secret,
    /// Where the certificate is kept.
    pub data_dir: PathBuf,
}

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No address to listen at.
    #[error("keeper.redeemer.listen is not set")]
    NoAddress,
    /// Anybody could use it.
    #[error("the service listens at {0}, which is not loopback, but its token is empty")]
    NoToken(SocketAddr),
    /// The port is taken or not ours.
    #[error("cannot listen at {address}")]
    Bind {
        /// From the settings.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The certificate cannot be used.
    #[error("the service cannot be served")]
    Transport(#[from] tonic::transport::Error),
}

/// The service, bound to its port.
#[derive(Debug)]
pub struct Redeemer {
    listener: TcpListener,
    address: SocketAddr,
    identity: Identity,
    config: RedeemerConfig,
    deps: RedeemerDeps,
}

impl Redeemer {
    /// Takes the port and gets the certificate. Nobody is answered before [`Redeemer::run`].
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn bind(config: RedeemerConfig, deps: RedeemerDeps) -> Result<Self, StartError> {
        config.validate()?;
        let address = config.listen.ok_or(StartError::NoAddress)?;
        if deps.token.is_empty() && !address.ip().is_loopback() {
            return Err(StartError::NoToken(address));
        }
        let identity = tls::identity(&deps.data_dir, &address.ip().to_string()).await?;
        let bound = async {
            let listener = TcpListener::bind(address).await?;
            Ok((listener.local_addr()?, listener))
        };
        let (address, listener) = bound.await.map_err(|source| StartError::Bind { address, source })?;
        Ok(Self { listener, address, identity, config, deps })
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`; then takes nothing more, ends the streams, and lets what is being stored be stored.
    ///
    /// # Errors
    /// [`StartError::Transport`] when the certificate cannot be used.
    pub async fn run(self, stop: CancellationToken) -> Result<(), StartError> {
        let guard = Guard { token: self.deps.token.clone() };
        let max_connections = self.config.max_connections;
        let max_streams = u32::try_from(self.config.max_subscribers).unwrap_or(u32::MAX);
        let service = Service::new(self.config, self.deps, stop.clone());
        let server = TicketRedeemerServer::new(service.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let tls = ServerTlsConfig::new().identity(self.identity).timeout(HANDSHAKE_TIMEOUT);
        let serving = Server::builder()
            .tls_config(tls)?
            .timeout(ANSWER_TIMEOUT)
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .http2_keepalive_timeout(Some(KEEP_ALIVE))
            .max_concurrent_streams(max_streams.saturating_add(CALLS_PER_CONNECTION))
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .http2_max_header_list_size(MAX_HEADER_BYTES)
            .add_service(InterceptedService::new(server, guard))
            .serve_with_incoming_shutdown(
                connections::accept(self.listener, max_connections),
                stop.clone().cancelled_owned(),
            );
        let served = tokio::select! { biased;
            served = serving => served.map_err(StartError::from),
            () = overdue(&stop) => Ok(()),
        };
        service.drain().await;
        served
    }
}

/// A while after `stop`: a caller that does not close its connection is not waited for.
async fn overdue(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(CLOSE_TIMEOUT).await;
}

/// Lets in who presents the token, before a message is read.
#[derive(Clone, Debug)]
struct Guard {
    token: Secret,
}

impl Guard {
    fn admits(&self, metadata: &MetadataMap) -> bool {
        if self.token.is_empty() {
            return true;
        }
        let presented = metadata.get("authorization").map(|value| value.as_bytes());
        presented.and_then(|value| value.strip_prefix(b"Bearer ")).is_some_and(|token| self.token.matches(token))
    }
}

impl tonic::service::Interceptor for Guard {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        if self.admits(request.metadata()) {
            return Ok(request);
        }
        metrics::unauthenticated();
        Err(Status::unauthenticated("a bearer token is required"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn metadata(value: &str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", value.parse().unwrap());
        metadata
    }

    #[test]
    fn only_the_whole_token_is_let_in() {
        let guard = Guard { token: Secret::new("swordfish") };
        assert!(guard.admits(&metadata("Bearer swordfish")));
        for wrong in ["Bearer swordfis", "Bearer swordfishes", "Bearer ", "swordfish", "bearer swordfish", ""] {
            assert!(!guard.admits(&metadata(wrong)), "{wrong}");
        }
        assert!(!guard.admits(&MetadataMap::new()));
        assert!(Guard { token: Secret::default() }.admits(&MetadataMap::new()));
    }

    proptest! {
        #[test]
        fn no_header_but_the_right_one_is_let_in(value in "[ -~]{0,40}") {
            let guard = Guard { token: Secret::new("swordfish") };
            prop_assert_eq!(guard.admits(&metadata(&value)), value == "Bearer swordfish");
        }
    }
}
