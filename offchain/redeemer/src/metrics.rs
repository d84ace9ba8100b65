//! What the service and the outbox count.
use metrics::{counter, gauge};

/// A ticket was handed over: `new`, `known`, or `refused`.
pub(crate) fn ticket(result: &'static str) {
    counter!("streamflow_redeemer_tickets_total", "result" => result).increment(1);
}

/// A caller without the token.
pub(crate) fn unauthenticated() {
    counter!("streamflow_redeemer_unauthenticated_total").increment(1);
}

/// Streams of floats that are open now.
pub(crate) fn subscribers(open: usize) {
    gauge!("streamflow_redeemer_subscribers").set(open as f64);
}

/// A stream was closed because its reader took nothing.
pub(crate) fn idle_subscriber() {
    counter!("streamflow_redeemer_idle_subscribers_total").increment(1);
}

/// A connection over the limit.
pub(crate) fn connection_refused() {
    counter!("streamflow_redeemer_refused_connections_total").increment(1);
}

/// The redeemer has a winner, which was removed here.
pub(crate) fn delivered() {
    counter!("streamflow_redeemer_outbox_delivered_total").increment(1);
}

/// The redeemer did not take a winner this time.
pub(crate) fn put_off() {
    counter!("streamflow_redeemer_outbox_put_off_total").increment(1);
}

/// Winners that were found waiting; stops at the size of one look.
pub(crate) fn waiting(count: usize) {
    gauge!("streamflow_redeemer_outbox_waiting").set(count as f64);
}
