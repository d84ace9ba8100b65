//! `bench`: the project's own figures, beside the named peer in the same run. A ratio says more than a time: it holds on
//! another machine.
use std::{path::PathBuf, process::Stdio};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use serde::Serialize;
use streamflow_media::{
    SourceSettings, TranscodeSettings, WorkerPool,
    benchmark::{LadderRun, run_ffmpeg, run_pool},
    devnet_ladder,
};
use tokio::process::Command;

use crate::{
    cli::BenchTranscodeArgs,
    commands::{Context, deploy::find_project},
    exit::Usage,
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
    /// One process with the same encoder settings, whose encoders choose their own threads: the most it makes of the
    /// machine.
    ffmpeg: Figures,
    /// Frames per second of streamflow over those of ffmpeg; above 1 is faster.
    ratio: f64,
    /// CPU seconds of ffmpeg over those of streamflow; above 1 is leaner.
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
        None => find_project(None)
            .map_err(|_| Usage("the clip of the project is not here: give --input FILE, or run in the project".into()))?
            .join("test/fixtures/bbb-720p25-5s.mp4"),
    };
    require_peer().await?;
    let settings = context.config.transcoding.encode.clone();
    let ladder = devnet_ladder();
    let pool = start_workers(&context.config.transcoding).await?;
    context.output.note(format_args!("preparing {} s of {}", args.duration.as_secs(), input.display()));
    let segments = segments(&pool, args, &input).await?;
    let workers = context.config.transcoding.workers;
    let ours = || run_pool(&pool, &segments, &ladder, &settings, workers);
    let peer = || run_ffmpeg(&pool, PEER.as_ref(), &segments, &ladder, &settings);
    // Once for nothing: workers that live take their memory and code pages once.
    ours().await?;
    let (mut streamflow, mut ffmpeg) = (Vec::new(), Vec::new());
    for run in 1..=args.runs {
        context.output.note(format_args!("run {run} of {}", args.runs));
        streamflow.push(ours().await?);
        ffmpeg.push(peer().await?);
    }
    pool.shutdown().await;
    let (streamflow, ffmpeg) = (median(streamflow)?, median(ffmpeg)?);
    if streamflow.encoded_frames != ffmpeg.encoded_frames {
        bail!("streamflow encoded {} frames, ffmpeg {}", streamflow.encoded_frames, ffmpeg.encoded_frames);
    }
    let report = TranscodeReport {
        cores: std::thread::available_parallelism().map_or(1, Into::into),
        input,
        seconds: args.duration.as_secs(),
        renditions: ladder.iter().map(ToString::to_string).collect(),
        ratio: streamflow.frames_per_second / ffmpeg.frames_per_second,
        cpu_ratio: ffmpeg.cpu_seconds / streamflow.cpu_seconds,
        settings: settings.clone(),
        streamflow,
        ffmpeg,
    };
    context.output.result(&report)?;
    Ok(())
}

/// Known at once, not after a run.
async fn require_peer() -> anyhow::Result<()> {
    let ran =
        Command::new(PEER).arg("-version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    ran.await.map(drop).with_context(|| {
        format!("cannot run {PEER}, the yardstick: `apt-get install {PEER}` or script/setup installs it")
    })
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
        let rows = [("streamflow", self.streamflow), ("one ffmpeg process", self.ffmpeg)];
        for (name, figures) in rows {
            table.row([
                name.to_owned(),
                format!("{:.1}", figures.frames_per_second),
                format!("{:.2}", figures.wall_seconds),
                format!("{:.2}", figures.cpu_seconds),
            ]);
        }
        format!(
            "{} s of {} on {} cores: {}\n\n{table}\n\n{:.2} x its frames per second, {:.2} x its CPU economy",
            self.seconds,
            self.input.display(),
            self.cores,
            self.renditions.join(", "),
            self.ratio,
            self.cpu_ratio,
        )
    }
}
