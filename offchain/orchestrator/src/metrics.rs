//! What the orchestrator counts.
use std::time::Duration;

use metrics::{counter, gauge, histogram};

/// Connections that are open now.
pub(crate) fn open_connections(open: usize) {
    gauge!("streamflow_orchestrator_connections").set(open as f64);
}

/// A connection over the limit.
pub(crate) fn connection_refused() {
    counter!("streamflow_orchestrator_refused_connections_total").increment(1);
}

/// Renditions kept for download.
pub(crate) fn cached_bytes(bytes: u64) {
    gauge!("streamflow_orchestrator_cached_bytes").set(bytes as f64);
}

/// Transcode sessions that are open now.
pub(crate) fn open_sessions(open: usize) {
    gauge!("streamflow_orchestrator_sessions").set(open as f64);
}

/// Remote transcoders that are connected now.
pub(crate) fn transcoders(connected: usize) {
    gauge!("streamflow_orchestrator_transcoders").set(connected as f64);
}

/// A remote transcoder gave up a segment, or was given up; another one may finish it.
pub(crate) fn segment_reassigned() {
    counter!("streamflow_orchestrator_reassigned_segments_total").increment(1);
}

/// A segment seemed late, and a second transcoder was given it too.
pub(crate) fn segment_hedged() {
    counter!("streamflow_orchestrator_hedged_segments_total").increment(1);
}

/// A remote transcoder let a segment's lease run out.
pub(crate) fn transcoder_suspended() {
    counter!("streamflow_orchestrator_suspended_transcoders_total").increment(1);
}

/// A transcoder's result came when nobody waited for it any more.
pub(crate) fn late_result() {
    counter!("streamflow_orchestrator_late_results_total").increment(1);
}

/// A segment left, transcoded or failed, after this time since its upload.
pub(crate) fn segment_done(ok: bool, took: Duration) {
    let result = if ok { "ok" } else { "failed" };
    counter!("streamflow_orchestrator_segments_total", "result" => result).increment(1);
    histogram!("streamflow_orchestrator_segment_seconds").record(took.as_secs_f64());
}

/// A request was refused; `reason` is the name of a variant.
pub(crate) fn refused(reason: &'static str) {
    counter!("streamflow_orchestrator_refused_requests_total", "reason" => reason).increment(1);
}

/// Tickets that were taken, and how many of them won.
pub(crate) fn tickets(taken: u64, won: u64) {
    counter!("streamflow_orchestrator_tickets_total").increment(taken);
    counter!("streamflow_orchestrator_winning_tickets_total").increment(won);
}

/// Terms were offered, with a place in the order of redemption or without.
pub(crate) fn quoted(ordered: bool) {
    let order = if ordered { "ordered" } else { "unordered" };
    counter!("streamflow_orchestrator_quotes_total", "order" => order).increment(1);
}

/// Gas that a redemption is reckoned with in quotes.
pub(crate) fn redeem_gas(gas: u64) {
    gauge!("streamflow_orchestrator_redeem_gas").set(gas as f64);
}

/// Pixels that were encoded and charged for.
pub(crate) fn encoded_pixels(pixels: u64) {
    counter!("streamflow_orchestrator_encoded_pixels_total").increment(pixels);
}
