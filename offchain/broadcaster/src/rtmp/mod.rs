//! RTMP in (node.md §4.2): encoders such as OBS and ffmpeg publish, and the source can be played at the same address.
mod chunks;
mod flv;
mod live;
mod publish;
mod session;
mod target;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub(crate) use chunks::ChunkError;
pub use flv::TagError;
pub(crate) use live::Live;
pub use publish::IngestError;
pub use session::RtmpError;
use streamflow_types::ManifestId;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
#[cfg(test)]
pub(crate) use {
    chunks::Messages,
    flv::{Kind, Tag, file_tag},
    target::{Target, full_url},
};

use crate::{
    admission::AdmitError,
    broadcaster::Core,
    config::RtmpConfig,
    connections::{Connections, MostConnections},
    status::RtmpStatus,
};

/// Streams that are published over RTMP now, and the connections there are.
#[derive(Debug, Default)]
pub(crate) struct Rtmp {
    streams: Mutex<HashMap<ManifestId, Arc<Live>>>,
    connections: Connections,
    refusals: Mutex<(u64, Option<String>)>,
}

/// A place among the published streams; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    core: Arc<Core>,
    pub(crate) live: Arc<Live>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.core.rtmp.streams().remove(&self.live.name);
    }
}

impl Rtmp {
    fn streams(&self) -> MutexGuard<'_, HashMap<ManifestId, Arc<Live>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_published(&self, name: &ManifestId) -> bool {
        self.streams().contains_key(name)
    }

    fn note_refusal(&self, told: String) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        *refusals = (refusals.0 + 1, Some(told));
    }

    /// What `/status` shows.
    pub(crate) fn status(&self) -> RtmpStatus {
        let (refused, last_refusal) = self.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (connections, published) = (self.connections.count(), self.streams().len());
        RtmpStatus { connections, published, refused, last_refusal }
    }

    fn find(&self, name: &ManifestId) -> Option<Arc<Live>> {
        self.streams().get(name).cloned()
    }
}

impl Core {
    /// Takes a place for a stream that begins.
    fn place(self: &Arc<Self>, live: Live, max: usize) -> Result<Place, AdmitError> {
        let pushed = self.find_stream(live.name.as_str()).is_some_and(|stream| stream.is_open());
        let mut streams = self.rtmp.streams();
        if pushed || streams.contains_key(&live.name) {
            return Err(AdmitError::Live(live.name));
        }
        if streams.len() >= max {
            return Err(AdmitError::TooMany { live: streams.len(), max, setting: "rtmp.max_streams" });
        }
        let live = Arc::new(live);
        streams.insert(live.name.clone(), live.clone());
        Ok(Place { core: self.clone(), live })
    }
}

/// Accepts connections until `stop`; each then ends by itself.
pub(crate) async fn listen(core: Arc<Core>, config: RtmpConfig, listener: TcpListener, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! { biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => accept(&core, &config, socket, peer),
            Err(error) => {
                tracing::warn!(%error, "RTMP connection cannot be accepted");
                // Most likely there are too many open files.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

fn accept(core: &Arc<Core>, config: &RtmpConfig, socket: TcpStream, peer: SocketAddr) {
    let most = MostConnections { all: config.max_connections, of_one_address: config.max_connections_per_address };
    let Some(place) = core.rtmp.connections.admit(peer.ip(), most) else {
        let (all, each) = (most.all, most.of_one_address);
        tracing::info!(%peer, max = all, max_per_address = each, "RTMP connection refused: too many");
        return;
    };
    let (task_core, log_core, config) = (core.clone(), core.clone(), config.clone());
    let serve = async move {
        if let Err(error) = session::serve(task_core, config, socket).await {
            tracing::info!(error = error.told(&log_core.config), "RTMP connection ended");
        }
        drop(place);
    };
    core.tracker.spawn(serve.instrument(tracing::info_span!("rtmp", %peer)));
}
