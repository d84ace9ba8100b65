//! Workers that may use little: they make all of a segment, or say that they have no memory for it.
use streamflow_media::{MediaError, PoolConfig, PoolError, TranscodeJob, TranscodeSettings, Transcoded, WorkerPool};
use streamflow_types::Profile;

use crate::{
    made::{H264, made},
    pool,
};

/// Pictures of [`large`].
const FRAMES: u64 = 12;
const MIB: u64 = 1 << 20;

/// Each picture takes 12 MiB, so that decoder, scaler and encoders all may be the first to lack memory.
fn large() -> TranscodeJob {
    job("3840x2160:rate=25:duration=0.48", &[(1280, 720), (640, 360)])
}

/// One whose pictures have other lengths, many of which are kept.
fn small() -> TranscodeJob {
    job("1366x768:rate=25:duration=3", &[(1366, 768), (1024, 576), (854, 480)])
}

fn job(size: &str, ladder: &[(u32, u32)]) -> TranscodeJob {
    let source = format!("testsrc2=size={size}");
    let segment = made(&["-f lavfi -i", &source, H264], "source.ts");
    let profile = |(width, height)| Profile::new(format!("{height}p"), width, height, 900_000).unwrap();
    let settings = TranscodeSettings { preset: "veryfast".into(), encoder_threads: 2, ..TranscodeSettings::default() };
    TranscodeJob { segment, profiles: ladder.iter().copied().map(profile).collect(), settings, deadline: None }
}

async fn pool(memory: u64) -> WorkerPool {
    WorkerPool::start(PoolConfig { worker_memory: memory, ..pool::config(1) }).await.unwrap()
}

fn is_whole(made: &Transcoded) -> bool {
    let source = &made.source;
    (source.frames, source.decode_errors) == (FRAMES, 0) && made.renditions.iter().all(|made| made.frames == FRAMES)
}

fn lacks_memory(error: &PoolError) -> bool {
    match error {
        PoolError::Media(MediaError::OutOfMemory { limit, .. }) => limit.is_some(),
        PoolError::WorkerDied { stderr, .. } => stderr.iter().any(|line| line.contains("memory allocation of")),
        PoolError::Quarantined { first, second } => lacks_memory(first) && lacks_memory(second),
        _ => false,
    }
}

/// Whether it was made; if so, it is whole, and if not, it was for memory.
async fn is_made(pool: &WorkerPool, job: &TranscodeJob) -> bool {
    let made = pool.transcode(job.clone()).await;
    match &made {
        Ok(made) => assert!(is_whole(&made.output), "{:?}", made.output.source),
        Err(error) => assert!(lacks_memory(error), "{error:?}"),
    }
    made.is_ok()
}

#[tokio::test]
async fn at_its_limit_a_worker_makes_every_frame_or_says_that_it_has_no_memory() {
    let job = large();
    let mut made = Vec::new();
    for memory in (130..=450).step_by(16) {
        let pool = pool(memory * MIB).await;
        made.push(is_made(&pool, &job).await);
        pool.shutdown().await;
    }
    assert!(made.contains(&true) && made.contains(&false), "{made:?}");
}

/// Pieces that are kept count as used, and are of no use where lengths are others.
#[tokio::test]
async fn what_is_kept_of_one_segment_is_no_fault_of_the_next() {
    let (large, small) = (large(), small());
    for memory in (200..=330).step_by(16) {
        let pool = pool(memory * MIB).await;
        for _ in 0..2 {
            // It may not fit itself: then another worker has kept nothing.
            let _ = pool.transcode(small.clone()).await;
        }
        is_made(&pool, &large).await;
        pool.shutdown().await;
    }
}
