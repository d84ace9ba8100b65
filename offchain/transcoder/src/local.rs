//! Transcoding in worker processes of this node.
use std::time::Duration;

use bytes::Bytes;
use streamflow_media::{MediaError, PoolError, TranscodeJob, TranscodeSettings, Transcoded, WorkerPool, gpu::NoDevice};
use streamflow_types::{Profile, VideoCodec};
use streamflow_wire::capability::Capability;
use tokio::time::Instant;

/// Makes renditions in this node's own worker processes. Clones share the workers.
#[derive(Clone, Debug)]
pub struct LocalTranscoder {
    pool: WorkerPool,
    settings: TranscodeSettings,
}

/// Why a segment was not transcoded. The wording of the first two is matched by peers.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// No worker is free.
    #[error("TranscoderBusy")]
    Busy,
    /// The workers are being shut down.
    #[error("TranscoderStopped")]
    Stopped,
    /// The deadline passed.
    #[error("transcoder took more than {limit:?}")]
    TimedOut {
        /// Time it had.
        limit: Duration,
    },
    /// No device of this machine takes the segment, and its CPU may not.
    #[error(transparent)]
    NoDevice(NoDevice),
    /// The segment was to come in, and broke off.
    #[error("the segment broke off while it came in")]
    BrokenOff,
    /// Whoever wanted the renditions wants them no more.
    #[error("the segment was given up")]
    GivenUp,
    /// The segment or a profile cannot be transcoded, here or elsewhere.
    #[error(transparent)]
    Media(MediaError),
    /// Two workers failed on it, or none can be started here; another node may succeed.
    #[error(transparent)]
    Worker(PoolError),
}

impl From<PoolError> for LocalError {
    fn from(error: PoolError) -> Self {
        match error {
            // the device's fault, not the segment's
            fault @ PoolError::Media(MediaError::Gpu { .. }) => Self::Worker(fault),
            PoolError::Media(media) => Self::Media(media),
            PoolError::QueueFull { .. } | PoolError::NoDevice(NoDevice::Full { .. }) => Self::Busy,
            PoolError::NoDevice(broken) => Self::NoDevice(broken),
            PoolError::Closed => Self::Stopped,
            PoolError::FeedAborted => Self::BrokenOff,
            PoolError::Late { limit } | PoolError::FeedLate { limit } | PoolError::WorkerHung { deadline: limit } => {
                Self::TimedOut { limit }
            }
            other => Self::Worker(other),
        }
    }
}

impl LocalTranscoder {
    /// Uses the workers of `pool` with these encoder settings.
    pub fn new(pool: WorkerPool, settings: TranscodeSettings) -> Self {
        Self { pool, settings }
    }

    pub(crate) fn pool(&self) -> &WorkerPool {
        &self.pool
    }

    /// Whether the workers can do this one of [`CODECS`](streamflow_wire::capability::CODECS).
    pub fn offers(&self, codec: Capability) -> bool {
        let encodes = |codec| streamflow_media::encodes(codec, self.settings.encoder);
        match codec {
            // Every libavcodec has the decoders.
            Capability::HevcDecode | Capability::Vp9Decode => true,
            Capability::HevcEncode => encodes(VideoCodec::H265),
            Capability::Vp9Encode => encodes(VideoCodec::Vp9),
            _ => false,
        }
    }

    pub(crate) fn settings(&self) -> &TranscodeSettings {
        &self.settings
    }

    /// Makes one rendition per profile, in their order, within `limit`. A worker that fails does not cost the segment:
    /// another one gets it, once.
    pub async fn transcode(
        &self,
        segment: Bytes,
        profiles: Vec<Profile>,
        limit: Duration,
    ) -> Result<Transcoded, LocalError> {
        let (settings, deadline) = (self.settings.clone(), Instant::now().checked_add(limit));
        Ok(self.pool.transcode(TranscodeJob { segment, profiles, settings, deadline }).await?.output)
    }

    /// Lets running jobs finish and ends the workers.
    pub async fn shutdown(&self) {
        self.pool.shutdown().await;
    }
}
