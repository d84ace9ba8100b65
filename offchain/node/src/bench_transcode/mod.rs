//! `bench transcode`: what the media workers make of a machine, beside `ffmpeg` with the same encoder settings in the
//! same run. `docs/performance.md` says what is measured, and how.
mod csv;
mod figures;
mod input;
mod latency;
mod machine;
mod report;
mod sessions;
mod soak;
mod versus;

use std::path::Path;

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
    exit::Usage,
    roles::{start_transcoding_workers, start_workers},
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
    /// Segments of a stream that are in the pool at a time, if it is told.
    in_flight: Option<usize>,
    rounds: u32,
    /// Every single measurement.
    rows: Vec<Row>,
}

/// Runs the comparison, the sessions, the soak, or more than one of them.
///
/// # Errors
/// The clip cannot be read, ffmpeg is not installed, or a segment is refused.
pub async fn run(context: &Context, args: &BenchTranscodeArgs) -> anyhow::Result<()> {
    let more = args.sessions.is_some() || args.soak.is_some();
    let compares = args.versus.map_or(!more, |versus| versus == Versus::Ffmpeg);
    if cfg!(debug_assertions) {
        context.output.note("this is a debug build: the figures are not those of a release");
    }
    let ffmpeg = if compares { Some(Ffmpeg::version(Path::new(PEER)).await?) } else { None };
    let csv = args.csv.as_deref().map(csv::create).transpose()?;
    let ladder = args.ladder()?;
    let input = input::path(args)?;
    let mut bench = Bench::prepare(context, args, &input, ladder).await?;
    let mut report = TranscodeReport::new(&bench, Machine::here(ffmpeg), &input);
    let presets = |unless_asked: &[&str]| match &args.presets[..] {
        [] => unless_asked.iter().map(|preset| (*preset).to_owned()).collect(),
        asked => asked.to_vec(),
    };
    if compares {
        for preset in presets(&PRESETS) {
            report.presets.push(bench.versus(&preset).await?);
        }
        let latency = bench.latency().await?;
        report.figures = Figures::worst(&report.presets, &latency);
        report.latency = Some(latency);
    }
    let configured = &context.config.transcoding.encode.preset;
    // One session is what there is to look at if nothing else was asked for.
    if let Some(most) = args.sessions.or((!compares && !more).then_some(1)) {
        for preset in presets(&[configured]) {
            report.sessions.push(bench.sessions(&preset, most, args.pacing).await?);
        }
    }
    if let Some(segments) = args.soak {
        for preset in presets(&[configured]) {
            report.soaks.push(bench.soak(&input, &preset, segments).await?);
        }
    }
    if let Some(file) = csv {
        csv::write(file, &bench.rows)?;
    }
    context.output.result(&report)?;
    Ok(())
}

impl<'a> Bench<'a> {
    async fn prepare(
        context: &'a Context,
        args: &BenchTranscodeArgs,
        input: &Path,
        ladder: Vec<Profile>,
    ) -> anyhow::Result<Self> {
        let config = &context.config.transcoding;
        let (in_flight, room) = (args.in_flight, config.workers + config.queue);
        if let Some(told) = in_flight.filter(|told| *told > room) {
            let settings = "transcoding.workers and transcoding.queue together";
            return Err(Usage(format!("--in-flight {told}: there is room for {room}, {settings}")).into());
        }
        context.output.note(format_args!("preparing {} s of {}", args.duration.as_secs(), input.display()));
        let pool = start_workers(config).await?;
        let clip = input::clip(&pool, input, args.duration).await;
        pool.shutdown().await;
        Ok(Self { context, clip: clip?, ladder, in_flight, rounds: args.rounds, rows: Vec::new() })
    }

    /// The configured settings with another preset.
    fn settings(&self, preset: &str) -> TranscodeSettings {
        TranscodeSettings { preset: preset.to_owned(), ..self.context.config.transcoding.encode.clone() }
    }

    fn work(&self, settings: TranscodeSettings) -> Work {
        Work { profiles: self.ladder.clone(), settings }
    }

    /// Segments of a stream that so many workers have at a time: one more, so that one begins while another ends.
    fn in_flight(&self, workers: usize) -> usize {
        self.in_flight.unwrap_or(workers + 1)
    }

    /// New workers, which remember nothing of what was done before.
    async fn workers(&self) -> anyhow::Result<WorkerPool> {
        start_transcoding_workers(&self.context.config.transcoding).await
    }

    /// A worker that is alone.
    async fn one_worker(&self) -> anyhow::Result<WorkerPool> {
        start_transcoding_workers(&TranscodingConfig { workers: 1, ..self.context.config.transcoding.clone() }).await
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
