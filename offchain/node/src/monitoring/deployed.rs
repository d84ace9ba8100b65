//! Our figures under the names that dashboards of the deployed network ask for (`livepeer_…`), where they mean the same.
use std::fmt::Write;

/// One figure under its other name.
struct Twin {
    name: &'static str,
    ours: &'static str,
    /// Only samples with this label and value; the label is dropped.
    only: Option<(&'static str, &'static str)>,
    /// Our unit over theirs.
    divisor: u64,
}

const fn twin(name: &'static str, ours: &'static str) -> Twin {
    Twin { name, ours, only: None, divisor: 1 }
}

const fn part(name: &'static str, ours: &'static str, label: &'static str, value: &'static str) -> Twin {
    Twin { name, ours, only: Some((label, value)), divisor: 1 }
}

/// Figures that mean the same on both sides; amounts are gwei there too.
const TWINS: &[Twin] = &[
    twin("livepeer_segment_source_appeared_total", "streamflow_broadcaster_received_segments_total"),
    twin("livepeer_segment_source_emerged_total", "streamflow_broadcaster_received_segments_total"),
    twin("livepeer_segment_transcoded_all_appeared_total", "streamflow_broadcaster_transcoded_segments_total"),
    twin("livepeer_segment_transcode_failed_total", "streamflow_broadcaster_failed_segments_total"),
    twin("livepeer_transcode_overall_latency_seconds", "streamflow_broadcaster_transcode_seconds"),
    twin("livepeer_current_sessions_total", "streamflow_broadcaster_live_streams"),
    twin("livepeer_tickets_sent", "streamflow_broadcaster_sent_tickets_total"),
    twin("livepeer_gateway_deposit", "streamflow_broadcaster_deposit_gwei"),
    twin("livepeer_gateway_reserve", "streamflow_broadcaster_reserve_gwei"),
    twin("livepeer_current_sessions_total", "streamflow_orchestrator_sessions"),
    twin("livepeer_transcoders_number", "streamflow_orchestrator_transcoders"),
    twin("livepeer_transcode_time_seconds", "streamflow_orchestrator_segment_seconds"),
    part("livepeer_segment_transcoded_total", "streamflow_orchestrator_segments_total", "result", "ok"),
    part("livepeer_segment_transcode_failed_total", "streamflow_orchestrator_segments_total", "result", "failed"),
    twin("livepeer_tickets_recv", "streamflow_orchestrator_tickets_total"),
    twin("livepeer_winning_tickets_recv", "streamflow_orchestrator_winning_tickets_total"),
    Twin {
        name: "livepeer_mil_pixels_processed",
        ours: "streamflow_orchestrator_encoded_pixels_total",
        only: None,
        divisor: 1_000_000,
    },
    part("livepeer_segment_transcoded_total", "streamflow_transcoder_segments_total", "result", "ok"),
    twin("livepeer_transcode_time_seconds", "streamflow_transcoder_segment_seconds"),
    twin("livepeer_value_redeemed", "streamflow_keeper_payout_gwei_total"),
    part("livepeer_reward_call_errors", "streamflow_keeper_failures_total", "duty", "reward"),
    part("livepeer_ticket_redemption_errors", "streamflow_keeper_failures_total", "duty", "redeem"),
    twin("livepeer_versions", "streamflow_node_info"),
];

/// Samples of `exposition` once more, under the other names and with the label `node_type`.
pub fn under_deployed_names(exposition: &str, node_type: &str) -> String {
    let mut text = String::new();
    for twin in TWINS {
        let mut samples = exposition.lines().filter_map(|line| twin.rename(line, node_type)).peekable();
        if samples.peek().is_none() {
            continue;
        }
        let kind = exposition.lines().find_map(|line| line.strip_prefix("# TYPE ")?.strip_prefix(twin.ours));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP {} {} under another name.", twin.name, twin.ours);
        let _ = writeln!(text, "# TYPE {}{}", twin.name, kind.unwrap_or(" untyped"));
        for sample in samples {
            let _ = writeln!(text, "{sample}");
        }
    }
    text
}

impl Twin {
    /// A sample of ours, as one of theirs.
    fn rename(&self, line: &str, node_type: &str) -> Option<String> {
        let rest = line.strip_prefix(self.ours)?;
        let end = rest.find(['{', ' '])?;
        let (part, rest) = rest.split_at(end);
        if !matches!(part, "" | "_bucket" | "_sum" | "_count") {
            return None;
        }
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.rsplit_once("} ")?,
            None => ("", rest.trim_start()),
        };
        let labels = match self.only {
            // A label of ours has a plain value: no commas or quotes in it.
            Some((label, value)) => {
                let wanted = format!("{label}=\"{value}\"");
                let mut pairs: Vec<&str> = labels.split(',').collect();
                let at = pairs.iter().position(|pair| *pair == wanted)?;
                pairs.remove(at);
                pairs.join(",")
            }
            None => labels.to_owned(),
        };
        let value = match self.divisor {
            1 => value.to_owned(),
            divisor => (value.parse::<u64>().ok()? / divisor).to_string(),
        };
        let comma = if labels.is_empty() { "" } else { "," };
        Some(format!("{}{part}{{node_type=\"{node_type}\"{comma}{labels}}} {value}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitoring::ALL;

    #[test]
    fn samples_come_again_under_the_other_name() {
        let ours = "# HELP streamflow_orchestrator_segments_total Segments.\n\
            # TYPE streamflow_orchestrator_segments_total counter\n\
            streamflow_orchestrator_segments_total{result=\"ok\"} 7\n\
            streamflow_orchestrator_segments_total{result=\"failed\"} 2\n\
            # TYPE streamflow_orchestrator_encoded_pixels_total counter\n\
            streamflow_orchestrator_encoded_pixels_total 5999999\n\
            # TYPE streamflow_orchestrator_segment_seconds histogram\n\
            streamflow_orchestrator_segment_seconds_bucket{le=\"0.5\"} 3\n\
            streamflow_orchestrator_segment_seconds_count 3\n";
        let text = under_deployed_names(ours, "orch");
        for line in [
            "# TYPE livepeer_segment_transcoded_total counter",
            "livepeer_segment_transcoded_total{node_type=\"orch\"} 7",
            "livepeer_segment_transcode_failed_total{node_type=\"orch\"} 2",
            "livepeer_mil_pixels_processed{node_type=\"orch\"} 5",
            "# TYPE livepeer_transcode_time_seconds histogram",
            "livepeer_transcode_time_seconds_bucket{node_type=\"orch\",le=\"0.5\"} 3",
            "livepeer_transcode_time_seconds_count{node_type=\"orch\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("livepeer_tickets_recv"), "nothing is made up:\n{text}");
    }

    #[test]
    fn every_figure_is_one_of_ours() {
        for twin in TWINS {
            let ours = ALL.iter().find(|metric| metric.name == twin.ours);
            let ours = ours.unwrap_or_else(|| panic!("{} does not exist", twin.ours));
            if let Some((label, _)) = twin.only {
                assert!(ours.labels.contains(&label), "{} has no label {label}", twin.ours);
            }
        }
    }
}
