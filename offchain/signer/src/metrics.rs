//! Counters of the signer.
use metrics::counter;

pub(crate) fn answered(status: u16) {
    counter!("streamflow_signer_answered_requests_total", "status" => status.to_string()).increment(1);
}

pub(crate) fn tickets_signed(count: u64) {
    counter!("streamflow_signer_signed_tickets_total").increment(count);
}

/// The orchestrator's present price is not the one that its session is billed at.
pub(crate) fn price_diverged() {
    counter!("streamflow_signer_diverged_prices_total").increment(1);
}
