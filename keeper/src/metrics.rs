//! Metrics of the keeper.

use alloy::primitives::U256;
use metrics::{counter, gauge};

use crate::duty::Duty;

/// Wei in one gwei: counters are 64 bits wide.
const GWEI: u64 = 1_000_000_000;

fn gwei(wei: U256) -> u64 {
    (wei / U256::from(GWEI)).saturating_to()
}

pub(crate) fn redeemed(payout: U256) {
    counter!("streamflow_keeper_tickets_redeemed_total").increment(1);
    counter!("streamflow_keeper_payout_gwei_total").increment(gwei(payout));
}

/// Payouts that a reorganisation took back.
pub(crate) fn revoked(tickets: u64) {
    counter!("streamflow_keeper_payouts_revoked_total").increment(tickets);
}

/// Decisions that wait because the endpoints do not agree.
pub(crate) fn undecided() {
    counter!("streamflow_keeper_decisions_undecided_total").increment(1);
}

/// Transactions under way whose fee ceiling was raised.
pub(crate) fn raised() {
    counter!("streamflow_keeper_ceilings_raised_total").increment(1);
}

/// Tickets of batches whose logs contradict their calls.
pub(crate) fn unbalanced() {
    counter!("streamflow_keeper_tickets_unbalanced_total").increment(1);
}

pub(crate) fn waiting() {
    counter!("streamflow_keeper_tickets_postponed_total").increment(1);
}

pub(crate) fn dead(tickets: u64) {
    counter!("streamflow_keeper_tickets_dead_total").increment(tickets);
}

pub(crate) fn transaction(gas_used: u64, cost: U256) {
    counter!("streamflow_keeper_redemption_transactions_total").increment(1);
    counter!("streamflow_keeper_redemption_gas_total").increment(gas_used);
    counter!("streamflow_keeper_redemption_cost_gwei_total").increment(gwei(cost));
}

/// Tickets that could be sent now.
pub(crate) fn ready(tickets: usize) {
    gauge!("streamflow_keeper_ready_tickets").set(tickets as f64);
}

pub(crate) fn rewarded() {
    counter!("streamflow_keeper_rewards_total").increment(1);
}

pub(crate) fn round_initialized() {
    counter!("streamflow_keeper_rounds_initialized_total").increment(1);
}

pub(crate) fn failed(duty: Duty) {
    counter!("streamflow_keeper_failures_total", "duty" => duty.as_str()).increment(1);
}
