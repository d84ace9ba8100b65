//! `bench network`: what the roles cost around the encoder. The orchestrators and the broadcaster are processes of this
//! program on a chain of their own; encoders are replaced by workers that answer, after a known time, with renditions that
//! were made before, so that what is measured is everything else.
mod hop;
mod load;
mod media;
mod memory;
mod sessions;
mod site;
mod stall;
mod stored;

use std::time::Duration;

use serde::Serialize;

use self::{media::Media, site::Network};
use crate::{
    cli::BenchNetworkArgs,
    commands::{Context, deploy::find_project},
    output::{Report, Table},
};

pub use stored::{transcoder, worker};

/// Orchestrators on the chain: one for each site that is measured.
const SITES: usize = 6;

/// Times are of this machine; its cores are named beside them.
#[derive(Debug, Serialize)]
struct NetworkReport {
    cores: usize,
    /// From the start of a broadcaster to its first candidate, with 10,000 orchestrators in the registry, in seconds.
    cold_start_s: f64,
    /// Segments of all concurrent sessions that were not back within their own duration.
    sessions_1000_missed: u64,
    /// Of how many.
    sessions_1000_segments: u64,
    /// Sessions at a time.
    sessions: usize,
    /// CPU time of the orchestrator over wall time, percent of one core.
    sessions_1000_cpu_pct: f64,
    /// Segment sent to renditions here, without the time of the encoder, in milliseconds.
    hop_p50_ms: f64,
    hop_p99_ms: f64,
    /// Segments of the stream that were never published while one of three orchestrators stalled at random.
    stall_lost: u64,
    /// Percent published later than the duration of a segment after they were complete.
    stall_late_pct: f64,
    /// Of how many.
    stall_segments: u64,
    /// Times that an orchestrator was stopped.
    stalls: u64,
    /// Memory of the orchestrator for one idle session that paid and was served, with its open connection, without the
    /// renditions that are kept for download.
    idle_session_kib: f64,
}

/// Runs all of it.
///
/// # Errors
/// The chain or a role cannot be started, or a segment is refused.
pub async fn run(context: &Context, args: &BenchNetworkArgs) -> anyhow::Result<()> {
    let project = find_project(args.project_dir.as_deref())?;
    context.output.note("making the renditions that the workers answer with");
    let media = Media::prepare(context, &project).await?;
    context.output.note("starting a chain with the contracts, orchestrators and funded senders");
    let mut network = Network::start(&project, SITES).await?;
    let measured = measure(context, args, &media, &mut network).await;
    network.stop().await;
    context.output.result(&measured?)?;
    Ok(())
}

async fn measure(
    context: &Context,
    args: &BenchNetworkArgs,
    media: &Media,
    network: &mut Network,
) -> anyhow::Result<NetworkReport> {
    let seconds = |duration: Duration| duration.as_secs();
    context.output.note("a broadcaster that knows nobody, and a registry of 10,000");
    let cold_start = network.cold_start().await?;
    context.output.note("one session, for the latency of a hop");
    let hop = hop::measure(network, media).await?;
    context.output.note(format_args!("{} idle sessions", memory::SESSIONS));
    let idle_session_kib = memory::measure(network, media).await?;
    context.output.note(format_args!("{} sessions for {} s", args.sessions, seconds(args.duration)));
    let sessions = sessions::measure(network, media, args.sessions, args.duration).await?;
    context.output.note(format_args!("a stream over three orchestrators that stall, for {} s", seconds(args.duration)));
    let stall = stall::measure(network, media, args.duration, args.seed).await?;
    Ok(NetworkReport {
        cores: std::thread::available_parallelism().map_or(1, Into::into),
        cold_start_s: cold_start.as_secs_f64(),
        sessions_1000_missed: sessions.missed,
        sessions_1000_segments: sessions.segments,
        sessions: args.sessions,
        sessions_1000_cpu_pct: sessions.cpu_pct,
        hop_p50_ms: hop.p50.as_secs_f64() * 1e3,
        hop_p99_ms: hop.p99.as_secs_f64() * 1e3,
        stall_lost: stall.lost,
        stall_late_pct: stall.late as f64 * 100.0 / (stall.segments.max(1)) as f64,
        stall_segments: stall.segments,
        stalls: stall.stalls,
        idle_session_kib,
    })
}

impl Report for NetworkReport {
    fn text(&self) -> String {
        let mut table = Table::facts();
        table
            .fact("cold start to the first of 10,000 orchestrators", format_args!("{:.2} s", self.cold_start_s))
            .fact(
                &format!("{} sessions", self.sessions),
                format_args!(
                    "{} of {} segments late; {:.1} % of one core",
                    self.sessions_1000_missed, self.sessions_1000_segments, self.sessions_1000_cpu_pct
                ),
            )
            .fact("a hop, p50 / p99", format_args!("{:.1} / {:.1} ms", self.hop_p50_ms, self.hop_p99_ms))
            .fact(
                "one of three orchestrators stalls",
                format_args!(
                    "{} of {} segments lost, {:.2} % late; {} stalls",
                    self.stall_lost, self.stall_segments, self.stall_late_pct, self.stalls
                ),
            )
            .fact("an idle session", format_args!("{:.1} KiB", self.idle_session_kib))
            .fact("cores", self.cores);
        table.to_string()
    }
}
