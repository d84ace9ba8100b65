//! Counters of the pool.
use std::time::Duration;

use metrics::{counter, histogram};

use crate::{PoolError, TranscodeReport};

pub(crate) fn job(kind: &'static str, error: Option<&PoolError>, wall: Duration) {
    let outcome = error.map_or("done", PoolError::outcome);
    counter!("streamflow_media_jobs_total", "kind" => kind, "outcome" => outcome).increment(1);
    histogram!("streamflow_media_job_duration_seconds", "kind" => kind).record(wall.as_secs_f64());
}

pub(crate) fn transcoded(made: &TranscodeReport) {
    let (frames, pixels) = made.renditions.iter().fold((0, 0), |(f, p), r| (f + r.frames, p + r.pixels));
    counter!("streamflow_media_encoded_frames_total").increment(frames);
    counter!("streamflow_media_encoded_pixels_total").increment(pixels);
}

/// A job is given to another worker.
pub(crate) fn retried() {
    counter!("streamflow_media_retried_jobs_total").increment(1);
}

pub(crate) fn worker_restarted() {
    counter!("streamflow_media_worker_restarts_total").increment(1);
}
