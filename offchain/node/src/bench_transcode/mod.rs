//! `bench transcode`: what the media workers make of a machine, beside `ffmpeg` with the same encoder settings in the same
//! run. `docs/performance.md` says what is measured, and how.
mod csv;
mod figures;
mod input;
mod latency;
mod machine;
mod report;
mod sessions;
mod versus;

use std::{fs::File, path::Path};

use anyhow::Context as _;
use streamflow_media::{
    TranscodeSettings, WorkerPool,
    benchmark::{Clip, Ffmpeg, Work},
};
use streamflow_types::Profile;

use self::{csv::Row, figures::Figures, machine::Machine, report::TranscodeReport};
use crate::{
    cli::{BenchTranscodeArgs, Versus},
    commands::Context,
    config::TranscodingConfig,
    roles::start_workers,
};

/// Program that is the yardstick.
const PEER: &str = "ffmpeg";
/// Presets of libx264 that are compared unless others are asked for.
const PRESETS: [&str; 2] = ["medium", "veryfast"];

/// What is measured, and with what.
struct Bench<'a> {
    context: &'a Context,
    clip: Clip,
    ladder: Vec<Profile>,
    /// Segments of a stream that are in the pool at a time.
    in_flight: usize,
    rounds: u32,
    /// Every single measurement.
    rows: Vec<Row>,
}

/// Runs the comparison, the sessions, or both.
///
/// # Errors
/// The clip cannot be read, ffmpeg is not installed, or a segment is refused.
pub async fn run(context: &Context, args: &BenchTranscodeArgs) -> anyhow::Result<()> {
    let compares = match args.versus {
        Some(versus) => versus == Versus::Ffmpeg,
        None => args.sessions.is_none(),
    };
    if cfg!(debug_assertions) {
        context.output.note("this is a debug build: the figures are not those of a release");
    }
    let ffmpeg = if compares { Some(Ffmpeg::version(Path::new(PEER)).await?) } else { None };
    let csv = args.csv.as_deref().map(csv::create).transpose()?;
    let ladder = args.ladder()?;
    let input = input::path(args)?;
    context.output.note(format_args!("preparing {} s of {}", args.duration.as_secs(), input.display()));
    let pool = start_workers(&context.config.transcoding).await?;
    let clip = input::clip(&pool, &input, args.duration).await;
    pool.shutdown().await;
    let in_flight = args.in_flight.unwrap_or(context.config.transcoding.workers);
    let mut bench = Bench { context, clip: clip?, ladder, in_flight, rounds: args.rounds, rows: Vec::new() };
    let mut report = TranscodeReport::new(&bench, Machine::here(ffmpeg), input);
    if compares {
        let presets: Vec<String> = match &args.presets[..] {
            [] => PRESETS.map(str::to_owned).to_vec(),
            asked => asked.to_vec(),
        };
        for preset in presets {
            report.presets.push(bench.versus(&preset).await?);
        }
        let latency = bench.latency().await?;
        report.figures = Figures::worst(&report.presets, &latency);
        report.latency = Some(latency);
    }
    // With neither, one session is what is left to look at.
    let most = args.sessions.or((!compares).then_some(1));
    if let Some(most) = most {
        let presets = match &args.presets[..] {
            [] => vec![context.config.transcoding.encode.preset.clone()],
            asked => asked.to_vec(),
        };
        for preset in presets {
            report.sessions.push(bench.sessions(&preset, most, args.flat_out).await?);
        }
    }
    if let Some(file) = csv {
        csv::write(file, &bench.rows)?;
    }
    context.output.result(&report)?;
    Ok(())
}

impl Bench<'_> {
    /// The configured settings with another preset.
    fn settings(&self, preset: &str) -> TranscodeSettings {
        TranscodeSettings { preset: preset.to_owned(), ..self.context.config.transcoding.encode.clone() }
    }

    fn work(&self, settings: TranscodeSettings) -> Work {
        Work { profiles: self.ladder.clone(), settings }
    }

    /// New workers, which remember nothing of what was done before.
    async fn workers(&self) -> anyhow::Result<WorkerPool> {
        start_workers(&self.context.config.transcoding).await
    }

    /// A worker that is alone.
    async fn one_worker(&self) -> anyhow::Result<WorkerPool> {
        start_workers(&TranscodingConfig { workers: 1, ..self.context.config.transcoding.clone() }).await
    }
}

/// The middle one; of an even number, the higher of the two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn millis(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
