//! Segments that are cut here, pushed side by side into one stream.
use std::sync::Arc;

use futures::FutureExt as _;
use streamflow_media::SourceSegment;
use streamflow_types::with_causes;
use tokio::task::{JoinError, JoinSet};

use crate::{admission::Admission, broadcaster::Core, error::SegmentError, segment::Pushed};

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

    /// Pushes a segment, whatever else is under way.
    pub(crate) fn start(&mut self, segment: SourceSegment) {
        let pushed = Pushed {
            seq: segment.seq,
            media: segment.bytes,
            duration: Some(segment.duration),
            resolution: None,
            memory: None,
            admission: self.admission.clone(),
        };
        let (core, name) = (self.core.clone(), self.admission.name.clone());
        self.under_way.spawn(async move { core.push(name, pushed).await.map(drop) });
        while let Some(done) = self.under_way.join_next().now_or_never().flatten() {
            self.report(done);
        }
    }

    /// Waits until fewer are under way than the stream may have: what can wait loses no segment.
    pub(crate) async fn turn(&mut self) {
        while self.under_way.len() >= self.core.config.max_segments_in_flight
            && let Some(done) = self.under_way.join_next().await
        {
            self.report(done);
        }
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
