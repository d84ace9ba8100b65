//! Names and units of what this crate measures.
use metrics::{counter, gauge};

pub(crate) fn head(number: u64) {
    gauge!("streamflow_chain_head_block").set(number as f64);
}

pub(crate) fn reorganised(blocks: usize) {
    counter!("streamflow_chain_reorganised_blocks_total").increment(blocks as u64);
}

pub(crate) fn rpc_failed() {
    counter!("streamflow_chain_rpc_failures_total").increment(1);
}

pub(crate) fn endpoint_left(fault: &'static str) {
    counter!("streamflow_chain_endpoints_left_total", "fault" => fault).increment(1);
}

pub(crate) fn endpoints_usable(endpoints: usize) {
    gauge!("streamflow_chain_endpoints_usable").set(endpoints as f64);
}

pub(crate) fn tx_open(transactions: usize) {
    gauge!("streamflow_chain_open_transactions").set(transactions as f64);
}

pub(crate) fn tx_sent() {
    counter!("streamflow_chain_transactions_sent_total").increment(1);
}

pub(crate) fn tx_raised() {
    counter!("streamflow_chain_transactions_raised_total").increment(1);
}

pub(crate) fn tx_replaced() {
    counter!("streamflow_chain_transactions_replaced_total").increment(1);
}

pub(crate) fn tx_closed(outcome: &'static str) {
    counter!("streamflow_chain_transactions_closed_total", "outcome" => outcome).increment(1);
}
