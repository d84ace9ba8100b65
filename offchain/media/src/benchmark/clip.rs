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
    /// A clip of one segment.
    ///
    /// # Errors
    /// It is no transport stream with video.
    pub async fn start(pool: &WorkerPool, first: Bytes) -> Result<Self, BenchmarkError> {
        let (segment, fps) = read(pool, first, 0).await?;
        Ok(Self { segments: vec![segment], fps })
    }

    /// Adds the next segment.
    ///
    /// # Errors
    /// It is no transport stream with video.
    pub async fn push(&mut self, pool: &WorkerPool, next: Bytes) -> Result<(), BenchmarkError> {
        let (segment, _) = read(pool, next, self.segments.len()).await?;
        self.segments.push(segment);
        Ok(())
    }

    /// The first segments that last no longer than `duration`, but at least one.
    #[must_use]
    pub fn within(&self, duration: Duration) -> Self {
        let mut end = Duration::ZERO;
        let fit = self.segments.iter().take_while(|segment| {
            end += segment.duration;
            end <= duration
        });
        let count = fit.count().max(1);
        Self { segments: self.segments.iter().take(count).cloned().collect(), fps: self.fps }
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

async fn read(pool: &WorkerPool, bytes: Bytes, index: usize) -> Result<(ClipSegment, FrameRate), BenchmarkError> {
    let info = pool.probe(bytes.clone()).await?;
    if info.container != TRANSPORT_STREAM {
        return Err(BenchmarkError::NotTransportStream { index, container: info.container });
    }
    Ok((ClipSegment { bytes, frames: info.frames, duration: info.duration }, info.fps))
}
