//! Segments that are cut here, pushed side by side into one stream.
use std::sync::Arc;

use futures::FutureExt as _;
use streamflow_media::SourceSegment;
use streamflow_types::with_causes;
use tokio::{
    sync::OwnedSemaphorePermit,
    task::{JoinError, JoinSet},
    time::{Duration, sleep},
};

use crate::{
    admission::Admission,
    broadcaster::Core,
    error::{Refusal, SegmentError},
    metrics,
    push::take,
    segment::Pushed,
};

/// How often it is looked whether segments are taken yet.
pub(crate) const POLL: Duration = Duration::from_millis(200);

/// Pushes of one stream that are under way. A segment that is not taken is said where it is lost, and the stream goes on.
#[derive(Debug)]
pub(crate) struct Pushes {
    core: Arc<Core>,
    admission: Arc<Admission>,
    under_way: JoinSet<Result<(), SegmentError>>,
}

impl Pushes {
    pub(crate) fn new(core: Arc<Core>, admission: Arc<Admission>) -> Self {
        Self { core, admission, under_way: JoinSet::new() }
    }

    /// Pushes a segment of a live encoder, which waits for nobody. Where memory is full it is lost, as an upload would be.
    pub(crate) fn start(&mut self, segment: SourceSegment) {
        match take(&self.core.memory, segment.bytes.len()) {
            Ok(memory) => self.push(segment, memory),
            Err(_) => self.lose(&segment),
        }
    }

    /// Pushes a segment of what can wait, once fewer are under way than the stream may have, segments are taken, and there is
    /// memory for it. Does not stand in line for memory: what is free goes to those who cannot wait.
    pub(crate) async fn start_in_turn(&mut self, segment: SourceSegment) {
        let bytes = segment.bytes.len();
        if bytes > self.core.config.max_upload_bytes || u32::try_from(bytes).is_err() {
            return self.lose(&segment);
        }
        let mut told = false;
        loop {
            if self.under_way.len() < self.core.config.max_segments_in_flight {
                match self.core.check_ready() {
                    Ok(()) => {
                        if let Ok(memory) = take(&self.core.memory, bytes) {
                            return self.push(segment, memory);
                        }
                    }
                    Err(Refusal::Stopping) => return self.report(Ok(Err(Refusal::Stopping.into()))),
                    Err(refusal) if !told => {
                        told = true;
                        tracing::warn!(stream = %self.admission.name, seq = segment.seq, %refusal, "segment waits");
                    }
                    Err(_) => {}
                }
            }
            let done = tokio::select! { biased;
                Some(done) = self.under_way.join_next(), if !self.under_way.is_empty() => Some(done),
                () = sleep(POLL) => None,
            };
            if let Some(done) = done {
                self.report(done);
            }
        }
    }

    fn push(&mut self, segment: SourceSegment, memory: OwnedSemaphorePermit) {
        let pushed = Pushed {
            seq: segment.seq,
            media: segment.bytes,
            duration: Some(segment.duration),
            resolution: None,
            memory,
            admission: self.admission.clone(),
            ahead: None,
        };
        let (core, name) = (self.core.clone(), self.admission.name.clone());
        self.under_way.spawn(async move { core.push(name, pushed).await.map(drop) });
        while let Some(done) = self.under_way.join_next().now_or_never().flatten() {
            self.report(done);
        }
    }

    fn lose(&self, segment: &SourceSegment) {
        metrics::received();
        metrics::failed();
        self.core.count(|totals| {
            totals.received += 1;
            totals.failed += 1;
        });
        let (bytes, max) = (segment.bytes.len(), self.core.config.max_upload_bytes);
        tracing::error!(
            stream = %self.admission.name, seq = segment.seq, bytes, free = self.core.memory.available_permits(), max,
            "segment was not taken: too much media is held in memory (setting broadcaster.max_upload_bytes)"
        );
    }

    /// Waits for all of them.
    pub(crate) async fn finish(mut self) {
        while let Some(done) = self.under_way.join_next().await {
            self.report(done);
        }
    }

    fn report(&self, done: Result<Result<(), SegmentError>, JoinError>) {
        let stream = &self.admission.name;
        match done {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%stream, error = with_causes(&error), "segment was not taken"),
            Err(error) => tracing::error!(%stream, %error, "segment was abandoned"),
        }
    }
}
