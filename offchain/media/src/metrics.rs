//! Counters of the pool.
use std::time::Duration;

use metrics::{counter, gauge, histogram};

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

/// A device failed; `cause` is how.
pub(crate) fn device_fault(cause: &'static str) {
    counter!("streamflow_media_device_faults_total", "cause" => cause).increment(1);
}

/// Devices in use, those of them that are kept from work, and encoders open on all of them for running jobs.
#[allow(clippy::cast_precision_loss)] // counts of devices and encoders
pub(crate) fn devices(all: usize, broken: usize, sessions: u64) {
    gauge!("streamflow_media_devices").set(all as f64);
    gauge!("streamflow_media_devices_broken").set(broken as f64);
    gauge!("streamflow_media_device_sessions").set(sessions as f64);
}

pub(crate) fn fell_back_to_cpu() {
    counter!("streamflow_media_cpu_fallbacks_total").increment(1);
}
