//! The same ladder made by a pool of workers and by `ffmpeg`, side by side; latency, restarts and many sessions of the
//! pool alone. What is measured and how is told in `docs/performance.md`.
mod clip;
mod ffmpeg;
mod pool;
mod process;
mod quality;
mod restart;
mod sessions;
mod spread;
mod ts;

use std::{io, path::PathBuf, time::Duration};

use bytes::Bytes;
use streamflow_types::{Gop, H264Profile, Profile, ProfileError};

pub use self::{
    clip::{Clip, ClipSegment},
    ffmpeg::Ffmpeg,
    pool::run_pool,
    process::{cpu_time, resident},
    quality::{RenditionQuality, measure_quality},
    restart::measure_restart,
    sessions::{Pacing, SessionsRun, run_sessions},
    spread::Spread,
};
use crate::{PoolError, TranscodeSettings};

/// Distance of key frames of [`benchmark_rung`], in milliseconds.
const GOP_MS: u32 = 2000;

/// The ladder that figures are given for: 720p, 480p and 360p.
pub fn benchmark_ladder() -> Vec<Profile> {
    [("720p", 1280, 720, 3_000_000), ("480p", 854, 480, 1_500_000), ("360p", 640, 360, 900_000)]
        .into_iter()
        .filter_map(|(name, width, height, bitrate)| benchmark_rung(name, width, height, bitrate).ok())
        .collect()
}

/// A rung of such a ladder: high profile, a key frame every two seconds, the frame rate of the source.
///
/// # Errors
/// It cannot be encoded.
pub fn benchmark_rung(name: &str, width: u32, height: u32, bitrate: u32) -> Result<Profile, ProfileError> {
    let profile = Profile::new(name, width, height, bitrate)?;
    Ok(Profile { gop: Gop::Millis(GOP_MS), h264_profile: H264Profile::High, ..profile })
}

/// What is made of each segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// One rendition each.
    pub profiles: Vec<Profile>,
    /// How to encode.
    pub settings: TranscodeSettings,
}

/// What making a ladder of a clip took, and what came of it.
#[derive(Clone, Debug, Default)]
pub struct LadderRun {
    /// Frames of the source.
    pub source_frames: u64,
    /// From the first byte in to the last rendition out.
    pub wall: Duration,
    /// CPU time of the processes that did it.
    pub cpu: Duration,
    /// The most memory of them in RAM, in bytes; of processes that follow each other, the largest.
    pub peak_memory: u64,
    /// From handing a segment over to the last byte of its last rendition, for each segment; of a clip made in one piece,
    /// nothing.
    pub latencies: Vec<Duration>,
    /// For each profile, its segments; one for a clip made in one piece.
    pub renditions: Vec<Vec<Bytes>>,
}

impl LadderRun {
    /// Source frames per second of wall time.
    pub fn frames_per_second(&self) -> f64 {
        self.source_frames as f64 / self.wall.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Frames in all renditions, counted in what came out.
    pub fn encoded_frames(&self) -> u64 {
        self.renditions.iter().flatten().map(|segment| ts::pictures(segment).count() as u64).sum()
    }

    /// Bytes of each rendition.
    pub fn rendition_bytes(&self) -> Vec<u64> {
        self.renditions.iter().map(|segments| segments.iter().map(|segment| segment.len() as u64).sum()).collect()
    }
}

/// Why something cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchmarkError {
    /// The pool failed.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A task was cut off by a panic or the end of the runtime.
    #[error("benchmark task was cut off")]
    Task(#[from] tokio::task::JoinError),
    /// The pool ended a job without a result, or without a picture.
    #[error("the pool ended a segment without a picture: see the log")]
    CutOff,
    /// Pictures are only found in transport streams.
    #[error(
        "segment {index} is {container}, not an mpeg transport stream: `ffmpeg -i FILE -c copy -f mpegts FILE.ts` makes it one"
    )]
    NotTransportStream {
        /// Counts from 0.
        index: usize,
        /// libav's name of what it is.
        container: String,
    },
    /// The program is not installed or cannot be started.
    #[error("cannot run {}: `apt-get install ffmpeg` or script/setup installs it", program.display())]
    Ffmpeg {
        /// As it was called.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program failed.
    #[error("ffmpeg failed: {stderr}")]
    FfmpegFailed {
        /// The end of what it said.
        stderr: String,
    },
    /// Files for the program cannot be written or read.
    #[error("cannot use a temporary directory")]
    Files(#[source] io::Error),
    /// The system does not tell what a process uses.
    #[error("cannot measure a process")]
    Process(#[source] io::Error),
    /// A worker was replaced while it was measured.
    #[error("worker {pid} ended during a measurement: run again, and see the log for why it ended")]
    WorkerReplaced {
        /// Process id of the one that ended.
        pid: u32,
    },
}
