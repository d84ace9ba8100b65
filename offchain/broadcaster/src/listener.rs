//! The HTTP port, with bounds on what a peer may hold open: connections, their number of headers, the time for them.
use std::{net::SocketAddr, pin::pin, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::BroadcasterConfig,
    connections::{Connections, MostConnections},
};

/// Bytes of all headers of a request, and of what is read ahead of a body. More than 100 headers are refused besides.
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// Pause after the system refused a connection, for want of file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers connections until `close`; then lets requests under way finish.
pub(crate) async fn serve(listener: TcpListener, router: Router, config: &BroadcasterConfig, close: CancellationToken) {
    let most = MostConnections { all: config.max_connections, of_one_address: config.max_connections_per_address };
    let (open, tracker) = (Connections::default(), TaskTracker::new());
    loop {
        let accepted = tokio::select! { biased;
            () = close.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = open.admit(peer.ip(), most) else {
            tracing::info!(%peer, max = most.all, max_per_address = most.of_one_address, "connection refused: too many");
            continue;
        };
        let (router, close, header_timeout) = (router.clone(), close.clone(), config.header_timeout);
        tracker.spawn(async move {
            connection(socket, peer, router, header_timeout, close).await;
            drop(place);
        });
    }
    drop(listener);
    tracker.close();
    tracker.wait().await;
}

async fn connection(
    socket: TcpStream,
    peer: SocketAddr,
    router: Router,
    header_timeout: Duration,
    close: CancellationToken,
) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%peer, %error, "connection ended");
        return;
    }
    // One version: guessing it from the first bytes would wait for them without a limit.
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout).max_buf_size(MAX_HEADER_BYTES);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), TowerToHyperService::new(router)));
    let ended = tokio::select! { biased;
        () = close.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        ended = connection.as_mut() => ended,
    };
    // Ends with an error whenever a peer goes away; nobody has to act on it.
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}
