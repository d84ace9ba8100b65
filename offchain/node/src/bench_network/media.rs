//! Source segments and their renditions.
use std::path::Path;

use alloy::primitives::{B256, keccak256};
use anyhow::Context as _;
use bytes::Bytes;
use streamflow_media::{Reported, SourceSettings, TranscodeJob, WorkerPool, worker};
use streamflow_types::Profile;
use tempfile::TempDir;
use tokio::time::Duration;

use crate::{commands::Context, roles::start_workers};

/// Length of every segment.
pub(super) const SEGMENT: Duration = Duration::from_secs(2);
/// Source segments of a set; streams go round them.
const SEGMENTS: u32 = 4;

/// What one kind of stream is made of.
#[derive(Debug)]
pub(super) struct Set {
    /// Source segments with their hashes.
    pub(super) segments: Vec<(Bytes, B256)>,
    pub(super) profiles: Vec<Profile>,
    /// Where its renditions are.
    pub(super) stored: TempDir,
}

/// What is sent, and what comes back.
#[derive(Debug)]
pub(super) struct Media {
    /// 720p, in the three renditions of devnet.
    pub(super) full: Set,
    /// 240p in one rendition: many of them at a time are a test of the control plane, not of memory bandwidth.
    pub(super) small: Set,
}

impl Media {
    pub(super) async fn prepare(context: &Context, project: &Path) -> anyhow::Result<Self> {
        let pool = start_workers(&context.config.transcoding).await?;
        let clip = project.join("test/fixtures/bbb-720p25-5s.mp4");
        let mut source = pool.source(SourceSettings::new(&clip, SEGMENT * SEGMENTS))?;
        let mut segments = Vec::new();
        while let Some(segment) = source.next().await {
            segments.push(segment.with_context(|| format!("cannot play {}", clip.display()))?.bytes);
        }
        let full = Set::prepare(context, &pool, segments.clone(), streamflow_media::devnet_ladder()).await?;
        let low = Profile::new("240p", 426, 240, 150_000).context("the profile of small sources")?;
        let mut small = Vec::new();
        for segment in segments {
            let made = transcode(context, &pool, segment, vec![low.clone()]).await?;
            small.push(made.renditions.into_iter().next().context("a source without a rendition")?.bytes);
        }
        let tiny = Profile::new("144p", 256, 144, 80_000).context("the profile of small renditions")?;
        let small = Set::prepare(context, &pool, small, vec![tiny]).await?;
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
        worker::store(stored.path(), made)?;
        let segments = segments.into_iter().map(|segment| (segment.clone(), keccak256(&segment))).collect();
        Ok(Self { segments, profiles, stored })
    }

    /// Source segment number `seq`, and its hash.
    pub(super) fn segment(&self, seq: u64) -> (Bytes, B256) {
        self.segments[(seq % self.segments.len().max(1) as u64) as usize].clone()
    }
}

async fn transcode(
    context: &Context,
    pool: &WorkerPool,
    segment: Bytes,
    profiles: Vec<Profile>,
) -> anyhow::Result<streamflow_media::Transcoded> {
    let settings = context.config.transcoding.encode.clone();
    let Reported { output, .. } = pool.transcode(TranscodeJob { segment, profiles, settings }).await?;
    Ok(output)
}
