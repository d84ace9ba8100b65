//! Source segments and their renditions.
use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use alloy::primitives::{B256, keccak256};
use anyhow::{Context as _, ensure};
use bytes::Bytes;
use streamflow_media::{Reported, SourceSettings, TranscodeJob, WorkerPool, worker};
use streamflow_types::Profile;
use tempfile::TempDir;
use tokio::{process::Command, time::Duration};

use crate::{commands::Context, roles::start_workers};

/// Length of every segment.
pub(super) const SEGMENT: Duration = Duration::from_secs(2);
/// Source segments of a set; streams go round them.
const SEGMENTS: u32 = 4;
/// Bits per second of the picture of small streams.
const SMALL_BITRATE: u32 = 150_000;

/// What one kind of stream is made of.
#[derive(Debug)]
pub(super) struct Set {
    /// Source segments with their hashes.
    pub(super) segments: Vec<(Bytes, B256)>,
    pub(super) profiles: Vec<Profile>,
    /// Bytes of the renditions of the first segment.
    pub(super) rendition_bytes: usize,
    /// Where its renditions are.
    pub(super) stored: TempDir,
}

/// What is sent, and what comes back.
#[derive(Debug)]
pub(super) struct Media {
    /// 720p, in the three renditions of devnet.
    pub(super) full: Set,
    /// 240p in one rendition: many of them at a time are a test of the control plane, not of the ciphers.
    pub(super) small: Set,
}

impl Media {
    pub(super) async fn prepare(context: &Context, project: &Path) -> anyhow::Result<Self> {
        let pool = start_workers(&context.config.transcoding).await?;
        let clip = project.join("test/fixtures/bbb-720p25-5s.mp4");
        let segments = cut(&pool, SourceSettings::new(&clip, SEGMENT * SEGMENTS)).await?;
        let full = Set::prepare(context, &pool, segments, streamflow_media::devnet_ladder()).await?;
        let directory = tempfile::tempdir()?;
        let small = shrink(&clip, directory.path()).await?;
        let thin = SourceSettings { bitrate: SMALL_BITRATE, ..SourceSettings::new(small, SEGMENT * SEGMENTS) };
        let segments = cut(&pool, thin).await?;
        let tiny = Profile::new("144p", 256, 144, 80_000).context("the profile of small renditions")?;
        let small = Set::prepare(context, &pool, segments, vec![tiny]).await?;
        pool.shutdown().await;
        Ok(Self { full, small })
    }
}

impl Set {
    async fn prepare(
        context: &Context,
        pool: &WorkerPool,
        segments: Vec<Bytes>,
        profiles: Vec<Profile>,
    ) -> anyhow::Result<Self> {
        let stored = tempfile::tempdir()?;
        let mut made = Vec::new();
        for segment in &segments {
            made.push((segment.clone(), transcode(context, pool, segment.clone(), profiles.clone()).await?));
        }
        let first = made.first().map(|(_, transcoded)| &transcoded.renditions);
        let rendition_bytes = first.map_or(0, |renditions| renditions.iter().map(|made| made.bytes.len()).sum());
        worker::store(stored.path(), made)?;
        let segments = segments.into_iter().map(|segment| (segment.clone(), keccak256(&segment))).collect();
        Ok(Self { segments, profiles, rendition_bytes, stored })
    }

    /// Source segment number `seq`, and its hash.
    pub(super) fn segment(&self, seq: u64) -> (Bytes, B256) {
        self.segments[(seq % self.segments.len().max(1) as u64) as usize].clone()
    }
}

/// A clip as a live encoder would send it.
async fn cut(pool: &WorkerPool, settings: SourceSettings) -> anyhow::Result<Vec<Bytes>> {
    let clip = settings.path.clone();
    let mut source = pool.source(settings)?;
    let mut segments = Vec::new();
    while let Some(segment) = source.next().await {
        segments.push(segment.with_context(|| format!("cannot play {}", clip.display()))?.bytes);
    }
    Ok(segments)
}

/// The clip as a phone on a thin line would send it: 240p and stereo. [`SMALL_BITRATE`] is set where it is cut.
async fn shrink(clip: &Path, directory: &Path) -> anyhow::Result<PathBuf> {
    let small = directory.join("small.mp4");
    let video = ["-vf", "scale=426:240", "-c:v", "libx264", "-preset", "veryfast"];
    let sound = ["-c:a", "aac", "-ac", "2", "-b:a", "64k"];
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-i"])
        .arg(clip)
        .args(video)
        .args(sound)
        .arg(&small)
        .stdin(Stdio::null())
        .output()
        .await
        .context("cannot run ffmpeg, which makes the small stream: `apt-get install ffmpeg` installs it")?;
    ensure!(made.status.success(), "ffmpeg failed: {}", String::from_utf8_lossy(&made.stderr).trim());
    Ok(small)
}

async fn transcode(
    context: &Context,
    pool: &WorkerPool,
    segment: Bytes,
    profiles: Vec<Profile>,
) -> anyhow::Result<streamflow_media::Transcoded> {
    let settings = context.config.transcoding.encode.clone();
    let Reported { output, .. } = pool.transcode(TranscodeJob { segment, profiles, settings, deadline: None }).await?;
    Ok(output)
}
