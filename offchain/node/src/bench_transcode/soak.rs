//! Whether workers keep their memory flat.
use std::{path::Path, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use serde::Serialize;
use streamflow_media::{
    SourceSettings, TranscodeJob, WorkerPool,
    benchmark::{Work, benchmark_rung, run_soak},
};

use super::{Bench, mib};
use crate::exit::Usage;

/// Segments of five frames at 25 a second, and so on up to 50.
const FRAMES: std::ops::RangeInclusive<u32> = 5..=50;
const FRAME: Duration = Duration::from_millis(40);
/// Of the pictures that go in.
const SIZE: (u32, u32, u32) = (320, 180, 400_000);
/// What is made of them, bits per second.
const LADDER: [(&str, u32, u32, u32); 2] = [("180p", 320, 180, 300_000), ("90p", 160, 90, 100_000)];
/// How often the run says how far it is.
const TOLD: u64 = 20;

/// Memory of all workers together, between segments.
#[derive(Debug, Serialize)]
pub(super) struct SoakReport {
    pub(super) preset: String,
    pub(super) segments: u64,
    pub(super) wall_s: f64,
    /// The most in the second tenth of the run.
    pub(super) early_mib: f64,
    /// The most in the last tenth.
    pub(super) late_mib: f64,
    /// The latter over the former.
    pub(super) rss_ratio: f64,
}

impl Bench<'_> {
    /// Segments of 320x180 with 5 to 50 frames, by turns.
    pub(super) async fn soak(&self, input: &Path, preset: &str, segments: u64) -> anyhow::Result<SoakReport> {
        let output = self.context.output;
        let pool = self.workers().await?;
        output.note(format_args!("preparing segments of {} to {} frames", FRAMES.start(), FRAMES.end()));
        let sources = sources(&pool, input).await?;
        pool.shutdown().await;
        let rungs = LADDER.map(|(name, width, height, bitrate)| benchmark_rung(name, width, height, bitrate));
        let profiles = rungs.into_iter().collect::<Result<_, _>>()?;
        let (work, pool) = (Work { profiles, settings: self.settings(preset) }, self.workers().await?);
        let told = (segments / TOLD).max(1);
        let progress = |done: u64| {
            if done.is_multiple_of(told) {
                output.note(format_args!("{preset}: {done} of {segments} segments"));
            }
        };
        let in_flight = self.in_flight(self.context.config.transcoding.workers);
        let run = run_soak(&pool, &sources, &work, segments, in_flight, progress).await?;
        pool.shutdown().await;
        Ok(SoakReport {
            preset: preset.to_owned(),
            segments: run.segments,
            wall_s: run.wall.as_secs_f64(),
            early_mib: mib(run.early),
            late_mib: mib(run.late),
            rss_ratio: run.late as f64 / run.early as f64,
        })
    }
}

/// One of each length, made small by the workers themselves.
async fn sources(pool: &WorkerPool, input: &Path) -> anyhow::Result<Vec<Bytes>> {
    if input.is_dir() {
        return Err(Usage("--soak cuts its segments from a clip: give --input FILE".into()).into());
    }
    let (width, height, bitrate) = SIZE;
    let small =
        Work { profiles: vec![benchmark_rung("source", width, height, bitrate)?], settings: Default::default() };
    let mut sources = Vec::new();
    for frames in FRAMES {
        let length = FRAME * frames;
        let cut = SourceSettings { segment: length, ..SourceSettings::new(input, length) };
        let segment = pool.source(cut)?.next().await.with_context(|| format!("cannot play {}", input.display()))??;
        let Work { profiles, settings } = small.clone();
        let job = TranscodeJob { segment: segment.bytes, profiles, settings, deadline: None };
        sources.extend(pool.transcode(job).await?.output.renditions.into_iter().map(|made| made.bytes));
    }
    Ok(sources)
}
