//! Segments that are cut here, pushed side by side into one stream.
use std::sync::Arc;

use futures::FutureExt as _;
use streamflow_media::SourceSegment;
use streamflow_types::with_causes;
use tokio::{
    sync::OwnedSemaphorePermit,
    task::{JoinError, JoinSet},
};

use crate::{admission::Admission, broadcaster::Core, error::SegmentError, push::take, segment::Pushed};

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

    /// Pushes a segment of what can wait, once fewer are under way than the stream may have and there is memory for it.
    pub(crate) async fn start_in_turn(&mut self, segment: SourceSegment) {
        while self.under_way.len() >= self.core.config.max_segments_in_flight
            && let Some(done) = self.under_way.join_next().await
        {
            self.report(done);
        }
        let bytes = u32::try_from(segment.bytes.len()).ok();
        let bytes = bytes.filter(|_| segment.bytes.len() <= self.core.config.max_upload_bytes);
        let Some(bytes) = bytes else { return self.lose(&segment) };
        match self.core.memory.clone().acquire_many_owned(bytes).await {
            Ok(memory) => self.push(segment, memory),
            Err(_) => self.lose(&segment),
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
        };
        let (core, name) = (self.core.clone(), self.admission.name.clone());
        self.under_way.spawn(async move { core.push(name, pushed).await.map(drop) });
        while let Some(done) = self.under_way.join_next().now_or_never().flatten() {
            self.report(done);
        }
    }

    fn lose(&self, segment: &SourceSegment) {
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
