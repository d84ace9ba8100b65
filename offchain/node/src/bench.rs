//! `bench`: the project's own figures, beside the named peer in the same run. A ratio says more than a time: it holds on
//! another machine.
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use serde::Serialize;
use streamflow_media::{
    SourceSettings, TranscodeSettings, WorkerPool,
    benchmark::{LadderRun, run_ffmpeg, run_pool},
    devnet_ladder,
};

use crate::{
    cli::BenchTranscodeArgs,
    commands::{Context, deploy::find_project},
    output::{Report, Table},
    roles::start_workers,
};

/// Program that is the yardstick.
const PEER: &str = "ffmpeg";

#[derive(Debug, Serialize)]
struct TranscodeReport {
    cores: usize,
    input: PathBuf,
    seconds: u64,
    renditions: Vec<String>,
    settings: TranscodeSettings,
    streamflow: Figures,
    /// One process with the same encoder settings.
    ffmpeg: Figures,
    /// One process whose encoders choose their threads: the most it can make of the machine.
    ffmpeg_auto_threads: Figures,
    /// Frames per second of streamflow over those of the faster ffmpeg run; above 1 is faster.
    ratio: f64,
    /// CPU seconds of the leaner ffmpeg run over those of streamflow; above 1 is leaner.
    cpu_ratio: f64,
}

/// Medians over all runs.
#[derive(Clone, Copy, Debug, Serialize)]
struct Figures {
    source_frames: u64,
    encoded_frames: u64,
    frames_per_second: f64,
    wall_seconds: f64,
    cpu_seconds: f64,
}

/// Transcodes a clip with the pool and with ffmpeg, in turns, so that both meet the same disturbances.
///
/// # Errors
/// When the clip cannot be read, or ffmpeg is not installed.
pub async fn transcode(context: &Context, args: &BenchTranscodeArgs) -> anyhow::Result<()> {
    let input = match &args.input {
        Some(input) => input.clone(),
        None => find_project(None)?.join("test/fixtures/bbb-720p25-5s.mp4"),
    };
    let settings = context.config.transcoding.encode.clone();
    let auto = TranscodeSettings { encoder_threads: 0, ..settings.clone() };
    let ladder = devnet_ladder();
    let pool = start_workers(&context.config.transcoding).await?;
    context.output.note(format_args!("preparing {} s of {}", args.duration.as_secs(), input.display()));
    let segments = segments(&pool, args, &input).await?;
    let workers = context.config.transcoding.workers;
    let (mut ours, mut same, mut best) = (Vec::new(), Vec::new(), Vec::new());
    for run in 1..=args.runs {
        context.output.note(format_args!("run {run} of {}", args.runs));
        ours.push(run_pool(&pool, &segments, &ladder, &settings, workers).await?);
        same.push(run_ffmpeg(&pool, PEER.as_ref(), &segments, &ladder, &settings).await?);
        best.push(run_ffmpeg(&pool, PEER.as_ref(), &segments, &ladder, &auto).await?);
    }
    pool.shutdown().await;
    let (streamflow, ffmpeg, ffmpeg_auto_threads) = (median(ours)?, median(same)?, median(best)?);
    if streamflow.encoded_frames != ffmpeg.encoded_frames {
        bail!("streamflow encoded {} frames, ffmpeg {}", streamflow.encoded_frames, ffmpeg.encoded_frames);
    }
    let fastest = ffmpeg.frames_per_second.max(ffmpeg_auto_threads.frames_per_second);
    let leanest = ffmpeg.cpu_seconds.min(ffmpeg_auto_threads.cpu_seconds);
    let report = TranscodeReport {
        cores: std::thread::available_parallelism().map_or(1, Into::into),
        input,
        seconds: args.duration.as_secs(),
        renditions: ladder.iter().map(ToString::to_string).collect(),
        settings,
        ratio: streamflow.frames_per_second / fastest,
        cpu_ratio: leanest / streamflow.cpu_seconds,
        streamflow,
        ffmpeg,
        ffmpeg_auto_threads,
    };
    context.output.result(&report)?;
    Ok(())
}

/// The clip as a live encoder would send it.
async fn segments(pool: &WorkerPool, args: &BenchTranscodeArgs, input: &std::path::Path) -> anyhow::Result<Vec<Bytes>> {
    let mut source = pool.source(SourceSettings::new(input, args.duration))?;
    let mut segments = Vec::new();
    while let Some(segment) = source.next().await {
        segments.push(segment.with_context(|| format!("cannot play {}", input.display()))?.bytes);
    }
    Ok(segments)
}

fn median(mut runs: Vec<LadderRun>) -> anyhow::Result<Figures> {
    runs.sort_by_key(|run| run.wall);
    let run = runs.get(runs.len() / 2).context("--runs must be at least 1")?;
    let mut cpu: Vec<_> = runs.iter().map(|run| run.cpu).collect();
    cpu.sort();
    Ok(Figures {
        source_frames: run.source_frames,
        encoded_frames: run.encoded_frames,
        frames_per_second: run.frames_per_second(),
        wall_seconds: run.wall.as_secs_f64(),
        cpu_seconds: cpu[cpu.len() / 2].as_secs_f64(),
    })
}

impl Report for TranscodeReport {
    fn text(&self) -> String {
        let mut table = Table::new(["", "frames/s", "wall s", "CPU s"]);
        let rows = [
            ("streamflow", self.streamflow),
            ("ffmpeg, same settings", self.ffmpeg),
            ("ffmpeg, threads by itself", self.ffmpeg_auto_threads),
        ];
        for (name, figures) in rows {
            table.row([
                name.to_owned(),
                format!("{:.1}", figures.frames_per_second),
                format!("{:.2}", figures.wall_seconds),
                format!("{:.2}", figures.cpu_seconds),
            ]);
        }
        format!(
            "{} s of {} on {} cores: {}\n\n{table}\n\n{:.2} x the frames per second of the faster ffmpeg, {:.2} x its CPU economy",
            self.seconds,
            self.input.display(),
            self.cores,
            self.renditions.join(", "),
            self.ratio,
            self.cpu_ratio,
        )
    }
}
