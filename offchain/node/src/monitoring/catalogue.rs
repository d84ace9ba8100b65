//! Every metric of every role. A test holds this list against the sources, the dashboard and the alerts.

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only up.
    Counter,
    /// Up and down.
    Gauge,
    /// Times, in seconds.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// `streamflow_<crate>_<what>_<unit>`; a counter ends in `_total`.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// Labels; each takes few values, all known when the program is written.
    pub labels: &'static [&'static str],
    /// What it counts, for whoever reads a graph.
    pub help: &'static str,
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help }
}

const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, labels, help }
}

/// By crate, then by name.
pub const ALL: &[Metric] = &[
    counter("streamflow_broadcaster_compared_results_total", &[], "Results compared with their source."),
    histogram("streamflow_broadcaster_comparison_cpu_seconds", &[], "Processor time of one comparison."),
    counter("streamflow_broadcaster_convictions_total", &["verdict"], "Orchestrators suspended for cheating, by how."),
    gauge("streamflow_broadcaster_deposit_gwei", &[], "Deposit in TicketBroker, in gwei, rounded down."),
    counter("streamflow_broadcaster_failed_attempts_total", &["cause"], "Attempts at a segment that failed."),
    counter("streamflow_broadcaster_failed_segments_total", &[], "Segments that nobody transcoded."),
    counter("streamflow_broadcaster_kept_receipts_total", &[], "Signed receipts kept as evidence."),
    gauge("streamflow_broadcaster_live_streams", &[], "Streams that are live now."),
    counter("streamflow_broadcaster_orchestrator_swaps_total", &[], "Streams that went on with another orchestrator."),
    counter(
        "streamflow_broadcaster_overtaken_attempts_total",
        &[],
        "Attempts that another one overtook; paid in vain.",
    ),
    counter(
        "streamflow_broadcaster_redundant_results_total",
        &[],
        "Results compared with those of others for the same segment.",
    ),
    counter("streamflow_broadcaster_refused_hedges_total", &[], "Second attempts that the budget did not allow."),
    counter("streamflow_broadcaster_started_hedges_total", &[], "Second attempts beside one that was slow."),
    counter("streamflow_broadcaster_won_hedges_total", &[], "Second attempts that came first."),
    counter("streamflow_broadcaster_received_segments_total", &[], "Segments taken from publishers."),
    counter("streamflow_broadcaster_refused_receipts_total", &["cause"], "Receipts that prove nothing, by why."),
    counter("streamflow_broadcaster_refused_terms_total", &["remedy"], "Terms that were not accepted, by what helps."),
    gauge("streamflow_broadcaster_reserve_gwei", &[], "Reserve in TicketBroker, in gwei, rounded down."),
    gauge("streamflow_broadcaster_runway_hours", &[], "Hours that the deposit lasts at the present rate."),
    counter(
        "streamflow_broadcaster_sent_ahead_in_vain_total",
        &[],
        "Of those sent while they were pushed, broken off.",
    ),
    counter("streamflow_broadcaster_sent_ahead_segments_total", &[], "Segments sent on while they were pushed."),
    counter("streamflow_broadcaster_sent_tickets_total", &[], "Tickets sent to orchestrators."),
    counter(
        "streamflow_broadcaster_suspected_results_total",
        &["doubt"],
        "Results that were looked at more closely, by why.",
    ),
    histogram("streamflow_broadcaster_transcode_seconds", &[], "From a segment's upload to its verified renditions."),
    counter("streamflow_broadcaster_transcoded_segments_total", &[], "Segments whose renditions were published."),
    counter("streamflow_chain_endpoints_left_total", &["fault"], "RPC endpoints left, by what was wrong."),
    gauge("streamflow_chain_endpoints_usable", &[], "RPC endpoints in order."),
    gauge("streamflow_chain_head_age_seconds", &[], "Age of the newest block."),
    gauge("streamflow_chain_head_block", &[], "Number of the newest block."),
    gauge("streamflow_chain_open_transactions", &[], "Transactions that wait for inclusion."),
    counter("streamflow_chain_reorganised_blocks_total", &[], "Blocks that were taken back."),
    counter("streamflow_chain_rpc_failures_total", &[], "Looks at the head that failed."),
    counter("streamflow_chain_transactions_closed_total", &["outcome"], "Transactions that came to an end."),
    counter("streamflow_chain_transactions_raised_total", &[], "Transactions sent again with higher fees."),
    counter("streamflow_chain_transactions_replaced_total", &[], "Transactions replaced by others."),
    counter("streamflow_chain_transactions_sent_total", &[], "Transactions sent for the first time."),
    counter("streamflow_keeper_ceilings_raised_total", &[], "Fee ceilings raised for transactions under way."),
    counter("streamflow_keeper_decisions_undecided_total", &[], "Decisions put off because endpoints disagree."),
    counter("streamflow_keeper_failures_total", &["duty"], "Failures, by what was to be done."),
    counter("streamflow_keeper_payout_gwei_total", &[], "Paid out by redemptions, in gwei, each rounded down."),
    counter("streamflow_keeper_payouts_revoked_total", &[], "Payouts that a reorganisation took back."),
    gauge("streamflow_keeper_ready_tickets", &[], "Winning tickets that could be redeemed now."),
    counter("streamflow_keeper_redemption_cost_gwei_total", &[], "Gas money spent on redemptions, in gwei."),
    counter("streamflow_keeper_redemption_gas_total", &[], "Gas used by redemptions."),
    counter("streamflow_keeper_redemption_transactions_total", &[], "Redemptions that were mined."),
    counter("streamflow_keeper_rewards_total", &[], "Reward calls that were mined."),
    counter("streamflow_keeper_rounds_initialized_total", &[], "Rounds that this keeper initialised."),
    counter("streamflow_keeper_tickets_dead_total", &[], "Winning tickets given up."),
    counter("streamflow_keeper_tickets_postponed_total", &[], "Winning tickets left for later in one look."),
    counter("streamflow_keeper_tickets_redeemed_total", &[], "Winning tickets paid."),
    counter("streamflow_keeper_tickets_unbalanced_total", &[], "Tickets of batches whose logs contradict their calls."),
    counter("streamflow_media_cpu_fallbacks_total", &[], "Segments transcoded on the CPU because no device took them."),
    counter("streamflow_media_device_faults_total", &["cause"], "Faults of devices, by how they showed."),
    gauge("streamflow_media_device_sessions", &[], "Encoders that running segments have open on devices."),
    gauge("streamflow_media_devices", &[], "Devices in use."),
    gauge("streamflow_media_devices_broken", &[], "Devices that get no work after faults."),
    counter("streamflow_media_encoded_frames_total", &[], "Frames encoded."),
    counter("streamflow_media_encoded_pixels_total", &[], "Pixels encoded."),
    histogram("streamflow_media_job_duration_seconds", &["kind"], "Time of one job of a media worker."),
    counter("streamflow_media_jobs_total", &["kind", "outcome"], "Jobs of media workers, by how they ended."),
    counter("streamflow_media_retried_jobs_total", &[], "Jobs given to a second media worker."),
    counter("streamflow_media_worker_restarts_total", &[], "Media workers started anew."),
    gauge("streamflow_node_disk_free_bytes", &[], "Free space below the data directory, the least of its disks."),
    gauge("streamflow_node_info", &["role", "version"], "Always 1; the labels say what runs."),
    gauge("streamflow_node_need_met", &["need"], "Whether something that the role needs is there, as in /readyz."),
    gauge("streamflow_node_ready", &[], "Whether the role can work, as in /readyz."),
    gauge("streamflow_orchestrator_cached_bytes", &[], "Renditions kept for download."),
    gauge("streamflow_orchestrator_connections", &[], "Open connections."),
    counter("streamflow_orchestrator_encoded_pixels_total", &[], "Pixels encoded and charged for."),
    counter("streamflow_orchestrator_hedged_segments_total", &[], "Segments given to a second transcoder as well."),
    counter("streamflow_orchestrator_late_results_total", &[], "Results that nobody waited for any more."),
    counter("streamflow_orchestrator_quotes_total", &["order"], "Terms offered."),
    counter("streamflow_orchestrator_reassigned_segments_total", &[], "Segments given to another transcoder."),
    gauge("streamflow_orchestrator_redeem_gas", &[], "Gas that quotes reckon with for one redemption."),
    counter("streamflow_orchestrator_refused_connections_total", &[], "Connections over a limit."),
    counter("streamflow_orchestrator_refused_requests_total", &["reason"], "Requests refused, by why."),
    histogram("streamflow_orchestrator_segment_seconds", &[], "From a segment's upload to its result."),
    counter("streamflow_orchestrator_segments_total", &["result"], "Segments that left, transcoded or failed."),
    gauge("streamflow_orchestrator_sessions", &[], "Transcode sessions that are open."),
    counter(
        "streamflow_orchestrator_suspended_transcoders_total",
        &[],
        "Times that a hanging transcoder was passed over.",
    ),
    counter("streamflow_orchestrator_tickets_total", &[], "Tickets taken."),
    gauge("streamflow_orchestrator_transcoders", &[], "Remote transcoders that are connected."),
    counter("streamflow_orchestrator_winning_tickets_total", &[], "Tickets that won."),
    counter("streamflow_redeemer_idle_subscribers_total", &[], "Streams of floats closed because nobody read."),
    counter("streamflow_redeemer_outbox_delivered_total", &[], "Winners handed to the redeemer."),
    counter("streamflow_redeemer_outbox_put_off_total", &[], "Winners that the redeemer did not take this time."),
    gauge("streamflow_redeemer_outbox_waiting", &[], "Winners that wait to be handed over."),
    counter("streamflow_redeemer_refused_connections_total", &[], "Connections over a limit."),
    gauge("streamflow_redeemer_subscribers", &[], "Streams of floats that are open."),
    counter("streamflow_redeemer_tickets_total", &["result"], "Tickets handed in by orchestrators."),
    counter("streamflow_redeemer_unauthenticated_total", &[], "Callers without the token."),
    counter("streamflow_signer_answered_requests_total", &["status"], "Requests answered, by HTTP status."),
    counter("streamflow_signer_diverged_prices_total", &[], "Prices that differ from what a session is billed at."),
    counter("streamflow_signer_signed_tickets_total", &[], "Tickets signed."),
    counter("streamflow_transcoder_encoded_pixels_total", &[], "Pixels encoded and delivered."),
    counter("streamflow_transcoder_lost_connections_total", &[], "Connections to the orchestrator that ended."),
    histogram("streamflow_transcoder_segment_seconds", &[], "From a segment's notice to its delivery."),
    counter("streamflow_transcoder_segments_total", &["result"], "Segments delivered or failed."),
];
