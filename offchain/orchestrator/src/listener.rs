//! One TLS port for gRPC and HTTP, with bounds on what a peer may hold open.
use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::server::TcpConnectInfo;
use tower::ServiceExt;

use crate::{config::LimitsConfig, metrics};

/// `Livepeer-Payment` may carry 600 tickets of about 100 bytes each, in base64.
const MAX_HEADER_BYTES: u32 = 256 * 1024;
/// Fields of a head. Those of a segment are fewer than ten.
const MAX_HEADERS: usize = 100;
const MAX_STREAMS: u32 = 128;
/// A probe may go unanswered for so many times `keep_alive`: a connection that is dropped takes the work in hand with it. That a
/// busy peer gets no new work meanwhile is for the pool to see, which hears of it again as soon as it has its breath back.
const PROBE_PATIENCE: u32 = 4;
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Pause after the system refused a connection, for want of file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time for connections to end after the last segment is done.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// gRPC and HTTP routes that share a port.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    pub(crate) grpc: Router,
    pub(crate) http: Router,
    /// Time for a call until its answer begins.
    pub(crate) grpc_timeout: Duration,
}

impl Routes {
    /// gRPC is told by its content type (node.md §2.1).
    async fn answer(self, request: Request<Incoming>, peer: SocketAddr) -> Result<Response, Infallible> {
        let content_type = request.headers().get(CONTENT_TYPE);
        let is_grpc = content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        let headers = request.headers().len();
        if headers > MAX_HEADERS {
            let told = format!("{headers} headers, at most {MAX_HEADERS} are read");
            return Ok((StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, told).into_response());
        }
        let request = sent_by(peer, request.map(Body::new));
        if !is_grpc {
            return self.http.oneshot(request).await;
        }
        // A call whose message never ends would be kept for ever; a stream has begun by then.
        match timeout(self.grpc_timeout, self.grpc.oneshot(request)).await {
            Ok(answered) => answered,
            Err(_) => Ok(tonic::Status::deadline_exceeded("the call took too long").into_http()),
        }
    }
}

/// Puts `peer` where tonic looks for it.
fn sent_by<B>(peer: SocketAddr, mut request: Request<B>) -> Request<B> {
    request.extensions_mut().insert(TcpConnectInfo { local_addr: None, remote_addr: Some(peer) });
    request
}

/// A bound port.
pub(crate) struct Listener {
    pub(crate) tcp: TcpListener,
    pub(crate) tls: TlsAcceptor,
    pub(crate) limits: LimitsConfig,
}

impl Listener {
    /// Answers connections until `close`; then lets open ones finish, for a short time.
    pub(crate) async fn serve(self, routes: Routes, close: CancellationToken) {
        let tracker = TaskTracker::new();
        let open = OpenConnections::new(&self.limits);
        let server = Arc::new(Server { tls: self.tls, limits: self.limits, routes, close: close.clone() });
        loop {
            let accepted = tokio::select! { biased;
                () = close.cancelled() => break,
                accepted = self.tcp.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => match open.admit(peer) {
                    Some(guard) => drop(tracker.spawn(Arc::clone(&server).connection(stream, guard))),
                    None => metrics::connection_refused(),
                },
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.tcp);
        tracker.close();
        tracker.wait().await;
    }
}

struct Server {
    tls: TlsAcceptor,
    limits: LimitsConfig,
    routes: Routes,
    close: CancellationToken,
}

impl Server {
    async fn connection(self: Arc<Self>, stream: TcpStream, guard: OpenConnection) {
        let peer = guard.peer;
        // Ends with an error whenever a peer goes away; nobody has to act on it.
        if let Err(error) = self.serve(stream, peer).await {
            tracing::debug!(%peer, %error, "connection ended");
        }
        drop(guard);
    }

    async fn serve(&self, stream: TcpStream, peer: SocketAddr) -> Result<(), ConnectionError> {
        stream.set_nodelay(true)?;
        let handshake = timeout(self.limits.header_timeout, self.tls.accept(stream));
        let stream = tokio::select! { biased;
            () = self.close.cancelled() => return Ok(()),
            stream = handshake => stream.map_err(|_| ConnectionError::Handshake)??,
        };
        let builder = self.builder(&stream);
        let service = service_fn(|request| self.routes.clone().answer(request, peer));
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! { biased;
            () = self.close.cancelled() => connection.as_mut().graceful_shutdown(),
            ended = connection.as_mut() => return ended.map_err(ConnectionError::Http),
        }
        timeout(CLOSE_TIMEOUT, connection).await.map_err(|_| ConnectionError::Close)?.map_err(ConnectionError::Http)
    }

    /// The version is fixed by ALPN: guessing it from the first bytes would wait for them without a limit.
    fn builder(&self, stream: &TlsStream<TcpStream>) -> Builder<TokioExecutor> {
        let builder = Builder::new(TokioExecutor::new());
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let mut builder = if is_h2 { builder.http2_only() } else { builder.http1_only() };
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_timeout)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEADER_BYTES as usize);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(self.limits.keep_alive)
            .keep_alive_timeout(self.limits.keep_alive.saturating_mul(PROBE_PATIENCE))
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADER_BYTES);
        builder
    }
}

#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("connection failed")]
    Io(#[from] io::Error),
    #[error("handshake took too long")]
    Handshake,
    #[error("{0}")]
    Http(Box<dyn std::error::Error + Send + Sync>),
    #[error("did not end in time")]
    Close,
}

/// Counts open connections, in all and by address.
#[derive(Clone, Debug)]
struct OpenConnections {
    max: usize,
    max_per_ip: usize,
    by_ip: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl OpenConnections {
    fn new(limits: &LimitsConfig) -> Self {
        Self { max: limits.max_connections, max_per_ip: limits.max_connections_per_ip, by_ip: Arc::default() }
    }

    fn admit(&self, peer: SocketAddr) -> Option<OpenConnection> {
        let mut by_ip = self.by_ip.lock().unwrap_or_else(PoisonError::into_inner);
        let open: usize = by_ip.values().sum();
        let from_peer = by_ip.get(&peer.ip()).copied().unwrap_or(0);
        if open >= self.max || from_peer >= self.max_per_ip {
            return None;
        }
        by_ip.insert(peer.ip(), from_peer + 1);
        metrics::open_connections(open + 1);
        Some(OpenConnection { peer, by_ip: Arc::clone(&self.by_ip) })
    }
}

/// Frees its place when dropped.
#[derive(Debug)]
struct OpenConnection {
    peer: SocketAddr,
    by_ip: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let mut by_ip = self.by_ip.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = by_ip.get_mut(&self.peer.ip()) {
            *open -= 1;
            if *open == 0 {
                by_ip.remove(&self.peer.ip());
            }
        }
        metrics::open_connections(by_ip.values().sum());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_knows_the_address_of_its_peer() {
        let peer = SocketAddr::from(([10, 0, 0, 1], 7));
        let request = tonic::Request::new(());
        assert_eq!(request.remote_addr(), None);
        let (parts, ()) = sent_by(peer, Request::new(())).into_parts();
        let request = tonic::Request::from_parts(request.metadata().clone(), parts.extensions, ());
        assert_eq!(request.remote_addr(), Some(peer));
    }

    #[test]
    fn connections_are_bounded_in_all_and_by_address() {
        let limits = LimitsConfig { max_connections: 3, max_connections_per_ip: 2, ..Default::default() };
        let open = OpenConnections::new(&limits);
        let peer = |ip: [u8; 4]| SocketAddr::from((ip, 1));
        let first = open.admit(peer([10, 0, 0, 1])).unwrap();
        let _second = open.admit(peer([10, 0, 0, 1])).unwrap();
        assert!(open.admit(peer([10, 0, 0, 1])).is_none());
        let _third = open.admit(peer([10, 0, 0, 2])).unwrap();
        assert!(open.admit(peer([10, 0, 0, 3])).is_none());
        drop(first);
        assert!(open.admit(peer([10, 0, 0, 1])).is_some());
    }
}
