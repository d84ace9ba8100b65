//! Counters of the broadcaster.
use std::time::Duration;

use metrics::{counter, histogram};
use streamflow_pm::Remedy;

use crate::{error::AttemptError, verification::Verdict};

pub(crate) fn received() {
    counter!("streamflow_broadcaster_received_segments_total").increment(1);
}

pub(crate) fn transcoded(took: Duration) {
    counter!("streamflow_broadcaster_transcoded_segments_total").increment(1);
    histogram!("streamflow_broadcaster_transcode_seconds").record(took);
}

pub(crate) fn failed() {
    counter!("streamflow_broadcaster_failed_segments_total").increment(1);
}

pub(crate) fn attempt_failed(error: &AttemptError) {
    let cause = match error {
        AttemptError::Call(_) => "call",
        AttemptError::Quote(_) => "quote",
        AttemptError::Payment(_) => "payment",
        AttemptError::Orchestrator(_) | AttemptError::Coded { .. } => "orchestrator",
        AttemptError::Verify(_) => "verify",
        AttemptError::Abandoned(_) => "internal",
    };
    counter!("streamflow_broadcaster_failed_attempts_total", "cause" => cause).increment(1);
}

/// A result was compared with its source.
pub(crate) fn compared() {
    counter!("streamflow_broadcaster_compared_results_total").increment(1);
}

/// A result looked odd.
pub(crate) fn suspected(doubt: &'static str) {
    counter!("streamflow_broadcaster_suspected_results_total", "doubt" => doubt).increment(1);
}

pub(crate) fn convicted(verdict: Verdict) {
    counter!("streamflow_broadcaster_convictions_total", "verdict" => verdict.label()).increment(1);
}

/// A receipt that counts as none: it was not there, or does not state what we hold.
pub(crate) fn receipt_refused(missing: bool) {
    let cause = if missing { "missing" } else { "false" };
    counter!("streamflow_broadcaster_refused_receipts_total", "cause" => cause).increment(1);
}

pub(crate) fn receipt_kept() {
    counter!("streamflow_broadcaster_kept_receipts_total").increment(1);
}

/// CPU time of a worker for one comparison.
pub(crate) fn comparison(cpu: Duration) {
    histogram!("streamflow_broadcaster_comparison_cpu_seconds").record(cpu);
}

/// Terms that were not accepted, by what would help.
pub(crate) fn refused_terms(remedy: Remedy) {
    let remedy = match remedy {
        Remedy::Refresh => "refresh",
        Remedy::Fund => "fund",
        Remedy::Leave => "leave",
    };
    counter!("streamflow_broadcaster_refused_terms_total", "remedy" => remedy).increment(1);
}

pub(crate) fn tickets_sent(count: u64) {
    counter!("streamflow_broadcaster_sent_tickets_total").increment(count);
}

/// A second orchestrator was asked, because the first was slow.
pub(crate) fn hedge_started() {
    counter!("streamflow_broadcaster_started_hedges_total").increment(1);
}

/// It was first.
pub(crate) fn hedge_won() {
    counter!("streamflow_broadcaster_won_hedges_total").increment(1);
}

/// It was not asked, because the budget is used up.
pub(crate) fn hedge_refused() {
    counter!("streamflow_broadcaster_refused_hedges_total").increment(1);
}

/// A paid result came too late to be of use.
pub(crate) fn overtaken() {
    counter!("streamflow_broadcaster_overtaken_attempts_total").increment(1);
}

/// A result of a segment that several do was compared and is good.
pub(crate) fn redundant_result() {
    counter!("streamflow_broadcaster_redundant_results_total").increment(1);
}

/// A segment was sent while it came in.
pub(crate) fn sent_ahead() {
    counter!("streamflow_broadcaster_sent_ahead_segments_total").increment(1);
}

/// It broke off, or was another than expected.
pub(crate) fn sent_ahead_in_vain() {
    counter!("streamflow_broadcaster_sent_ahead_in_vain_total").increment(1);
}

/// A stream changed its orchestrator.
pub(crate) fn orchestrator_swapped() {
    counter!("streamflow_broadcaster_orchestrator_swaps_total").increment(1);
}
