//! Arguments of the commands that bring everything with them.
use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use super::BenchTranscodeArgs;

/// A whole network on this machine.
#[derive(Clone, Debug, Args)]
pub struct DevnetArgs {
    /// End after the clip is through and its winning tickets are redeemed
    #[arg(long)]
    pub once: bool,
    /// Clip to play, looped; without it, the one that comes with the project
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// How long to play
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = duration)]
    pub duration: Duration,
    /// Keys, configurations, logs and streams; emptied at the start. Without it, below the data directory
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Project with foundry.toml and the deploy script; without it, searched from the working directory upwards
    #[arg(long, value_name = "DIR", env = "STREAMFLOW_PROJECT_DIR")]
    pub project_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Speed, CPU time, memory, latency and quality beside ffmpeg with the same encoder settings; how many live sessions fit
    Transcode(BenchTranscodeArgs),
    /// Receiving and making tickets on one core, beside bare libsecp256k1
    Tickets(BenchTicketsArgs),
    /// Planning and restart time of the keeper with many winners, and its gas per ticket on a chain of its own
    Redeem(BenchRedeemArgs),
    /// Control plane with many sessions, latency of a hop, failover when orchestrators stall, memory of idle sessions
    Network(BenchNetworkArgs),
    /// Work as a transcoder that answers with stored renditions; started by `bench network`
    #[command(hide = true)]
    StoredTranscoder(StoredTranscoderArgs),
    /// One worker of it
    #[command(hide = true)]
    StoredWorker(StoredWorkerArgs),
}

#[derive(Clone, Debug, Args)]
pub struct BenchNetworkArgs {
    /// Sessions at a time
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = sessions)]
    pub sessions: usize,
    /// How long the sessions run, and the stream over orchestrators that stall
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub duration: Duration,
    /// Decides which orchestrator stalls when, and for how long
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Project with foundry.toml and the deploy script; without it, searched from the working directory upwards
    #[arg(long, value_name = "DIR", env = "STREAMFLOW_PROJECT_DIR")]
    pub project_dir: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct StoredTranscoderArgs {
    /// Directory of the renditions
    pub stored: PathBuf,
    /// Milliseconds that each segment takes
    #[arg(long)]
    pub encode_ms: u64,
}

#[derive(Clone, Debug, Args)]
pub struct StoredWorkerArgs {
    /// Directory of the renditions
    pub stored: PathBuf,
    /// Milliseconds that each segment takes
    #[arg(long)]
    pub encode_ms: u64,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct BenchTicketsArgs {
    /// Rounds of 60 tickets each; medians count
    #[arg(long, value_name = "N", default_value_t = 501, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub rounds: u16,
}

#[derive(Clone, Debug, Args)]
pub struct BenchRedeemArgs {
    /// Project with foundry.toml and the deploy script; without it, searched from the working directory upwards
    #[arg(long, value_name = "DIR", env = "STREAMFLOW_PROJECT_DIR")]
    pub project_dir: Option<PathBuf>,
}

fn sessions(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| (1..=8_000).contains(count)).ok_or_else(|| "1 to 8000 are possible".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    duration_within(text, Duration::from_secs(3600))
}

/// At least one segment.
pub(super) fn duration_within(text: &str, longest: Duration) -> Result<Duration, String> {
    let time = text.parse::<humantime_serde::re::humantime::Duration>().map_err(|error| error.to_string())?;
    let shortest = Duration::from_secs(2);
    if (shortest..=longest).contains(&*time) {
        return Ok(*time);
    }
    let shown = humantime_serde::re::humantime::format_duration;
    Err(format!("{} to {} are possible", shown(shortest), shown(longest)))
}
