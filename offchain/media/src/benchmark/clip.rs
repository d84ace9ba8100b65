//! What is transcoded.
use std::time::Duration;

use bytes::Bytes;

use super::BenchmarkError;
use crate::{FrameRate, WorkerPool};

/// libav's name of a transport stream.
const TRANSPORT_STREAM: &str = "mpegts";

/// Segments that follow each other, as a live encoder sends them.
#[derive(Clone, Debug)]
pub struct Clip {
    segments: Vec<ClipSegment>,
    fps: FrameRate,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct ClipSegment {
    /// Transport stream.
    pub bytes: Bytes,
    /// Video frames.
    pub frames: u64,
    /// From the first frame shown to the end of the last.
    pub duration: Duration,
}

impl Clip {
    /// Reads the headers of every segment.
    ///
    /// # Errors
    /// There is no segment, or one is no transport stream with video.
    pub async fn read(pool: &WorkerPool, segments: Vec<Bytes>) -> Result<Self, BenchmarkError> {
        let mut read = Vec::with_capacity(segments.len());
        let mut rate = None;
        for (index, bytes) in segments.into_iter().enumerate() {
            let info = pool.probe(bytes.clone()).await?;
            if info.container != TRANSPORT_STREAM {
                return Err(BenchmarkError::NotTransportStream { index, container: info.container });
            }
            rate.get_or_insert(info.fps);
            read.push(ClipSegment { bytes, frames: info.frames, duration: info.duration });
        }
        Ok(Self { segments: read, fps: rate.ok_or(BenchmarkError::NoSegments)? })
    }

    /// In their order; at least one.
    pub fn segments(&self) -> &[ClipSegment] {
        &self.segments
    }

    /// Frame rate of the first segment.
    pub fn fps(&self) -> FrameRate {
        self.fps
    }

    /// All segments together.
    pub fn frames(&self) -> u64 {
        self.segments.iter().map(|segment| segment.frames).sum()
    }

    /// All segments together.
    pub fn duration(&self) -> Duration {
        self.segments.iter().map(|segment| segment.duration).sum()
    }
}
