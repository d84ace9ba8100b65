//! The same ladder made by a pool of workers and by one `ffmpeg` process, side by side.
use std::{io, path::Path, process::Stdio, time::Duration};

use bytes::Bytes;
use streamflow_types::Profile;
use tokio::{process::Command, task::JoinSet, time::Instant};

use crate::{
    FrameRate, PoolError, TranscodeJob, TranscodeSettings, WorkerPool, ffmpeg_args,
    pool::{JobReport, Reported},
};

/// What making a ladder of a clip took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LadderRun {
    /// Frames of the source.
    pub source_frames: u64,
    /// Frames encoded, all renditions together.
    pub encoded_frames: u64,
    /// From the first segment in to the last rendition out.
    pub wall: Duration,
    /// CPU time of the processes that did it.
    pub cpu: Duration,
}

impl LadderRun {
    /// Source frames per second of wall time.
    pub fn frames_per_second(&self) -> f64 {
        self.source_frames as f64 / self.wall.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Why a run cannot be reported.
#[derive(Debug, thiserror::Error)]
pub enum BenchmarkError {
    /// The pool failed.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A job was cut off by a panic or the end of the runtime.
    #[error("benchmark job was cut off")]
    Job(#[from] tokio::task::JoinError),
    /// The program is not installed or cannot be started.
    #[error("cannot run ffmpeg")]
    Ffmpeg(#[source] io::Error),
    /// The program failed.
    #[error("ffmpeg failed: {stderr}")]
    FfmpegFailed {
        /// The end of what it said.
        stderr: String,
    },
    /// Files for the program cannot be written or read.
    #[error("cannot use a temporary directory")]
    Files(#[source] io::Error),
}

/// Makes the ladder of every segment in a pool, `in_flight` segments at a time.
pub async fn run_pool(
    pool: &WorkerPool,
    segments: &[Bytes],
    profiles: &[Profile],
    settings: &TranscodeSettings,
    in_flight: usize,
) -> Result<LadderRun, BenchmarkError> {
    let started = Instant::now();
    let mut run = LadderRun::default();
    let mut jobs = JoinSet::new();
    let mut waiting = segments.iter();
    loop {
        while jobs.len() < in_flight.max(1) {
            let Some(segment) = waiting.next() else { break };
            let job = TranscodeJob { segment: segment.clone(), profiles: profiles.into(), settings: settings.clone() };
            let pool = pool.clone();
            jobs.spawn(async move { pool.transcode(job).await });
        }
        let Some(done) = jobs.join_next().await else { break };
        let Reported { output, report: JobReport { cpu, .. } } = done??;
        run.source_frames += output.source.frames;
        run.encoded_frames += output.renditions.iter().map(|rendition| rendition.frames).sum::<u64>();
        run.cpu += cpu;
    }
    Ok(LadderRun { wall: started.elapsed(), ..run })
}

/// Makes the same ladder with one `ffmpeg` process; wall and CPU time are those it reports of itself, so starting it
/// does not count. The pool counts the frames.
pub async fn run_ffmpeg(
    pool: &WorkerPool,
    program: &Path,
    segments: &[Bytes],
    profiles: &[Profile],
    settings: &TranscodeSettings,
) -> Result<LadderRun, BenchmarkError> {
    let dir = tempfile::tempdir().map_err(BenchmarkError::Files)?;
    let input = dir.path().join("source.ts");
    tokio::fs::write(&input, segments.concat()).await.map_err(BenchmarkError::Files)?;
    let mut source_frames = 0;
    let mut fps = FrameRate::new(25, 1);
    for segment in segments {
        let info = pool.probe(segment.clone()).await?;
        (source_frames, fps) = (source_frames + info.frames, info.fps);
    }
    let output = Command::new(program)
        .args(ffmpeg_args(settings, profiles, fps, &input, dir.path()))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(BenchmarkError::Ffmpeg)?;
    let said = String::from_utf8_lossy(&output.stderr);
    let times = bench_times(&said).filter(|_| output.status.success());
    let (wall, cpu) = times.ok_or_else(|| BenchmarkError::FfmpegFailed {
        stderr: said.lines().rev().take(5).collect::<Vec<_>>().join(" | "),
    })?;
    let mut encoded_frames = 0;
    for profile in profiles {
        let made = tokio::fs::read(dir.path().join(format!("{}.ts", profile.name))).await;
        encoded_frames += pool.probe(made.map_err(BenchmarkError::Files)?.into()).await?.frames;
    }
    Ok(LadderRun { source_frames, encoded_frames, wall, cpu })
}

/// Wall and CPU time in `bench: utime=1.234s stime=0.056s rtime=0.789s`.
fn bench_times(said: &str) -> Option<(Duration, Duration)> {
    let line = said.lines().rev().find(|line| line.contains("utime="))?;
    let time = |key: &str| -> Option<Duration> {
        let (_, rest) = line.split_once(key)?;
        Duration::try_from_secs_f64(rest.split('s').next()?.parse().ok()?).ok()
    };
    Some((time("rtime=")?, time("utime=")? + time("stime=")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_times_of_ffmpeg_are_read() {
        let said = "frame=1\nbench: utime=1.500s stime=0.250s rtime=0.800s\nbench: maxrss=1kB\n";
        assert_eq!(bench_times(said), Some((Duration::from_millis(800), Duration::from_millis(1750))));
        assert_eq!(bench_times("no such line"), None);
    }
}
