//! What the transcoder counts.
use std::time::Duration;

use metrics::{counter, histogram};

/// The orchestrator closed the connection, or could not be reached.
pub(crate) fn connection_lost() {
    counter!("streamflow_transcoder_lost_connections_total").increment(1);
}

/// A segment was delivered, or reported as failed.
pub(crate) fn segment_done(ok: bool, took: Duration) {
    let result = if ok { "ok" } else { "failed" };
    counter!("streamflow_transcoder_segments_total", "result" => result).increment(1);
    histogram!("streamflow_transcoder_segment_seconds").record(took.as_secs_f64());
}

/// Pixels that were encoded and delivered.
pub(crate) fn encoded_pixels(pixels: u64) {
    counter!("streamflow_transcoder_encoded_pixels_total").increment(pixels);
}
