use std::{path::Path, time::Duration};

use bytes::Bytes;
use streamflow_media::{
    PoolConfig, TranscodeSettings, WorkerPool,
    benchmark::{
        Clip, Ffmpeg, Pacing, Work, benchmark_ladder, measure_quality, measure_restart, run_pool, run_sessions,
    },
};
use streamflow_types::Profile;

use crate::{clip, pool::config};

/// Of a segment.
const FRAMES: u64 = 50;

/// Two segments of two seconds.
async fn short_clip(pool: &WorkerPool) -> Clip {
    let mut clip = Clip::start(pool, clip::segment(0)).await.unwrap();
    clip.push(pool, clip::segment(1)).await.unwrap();
    clip
}

fn settings() -> TranscodeSettings {
    TranscodeSettings { preset: "ultrafast".into(), ..TranscodeSettings::default() }
}

fn small() -> Work {
    Work { profiles: vec![Profile::new("a", 320, 180, 300_000).unwrap()], settings: settings() }
}

/// Numbers of the key frames of a transport stream.
fn key_frames(stream: &Bytes) -> Vec<usize> {
    let rows = clip::probe_rows(stream, "v", &["-show_entries", "packet=flags"]);
    rows.iter().enumerate().filter(|(_, flags)| flags.starts_with('K')).map(|(index, _)| index).collect()
}

#[tokio::test]
async fn the_pool_and_both_ways_of_ffmpeg_make_the_same_frames() {
    let pool = WorkerPool::start(config(2)).await.unwrap();
    let clip = short_clip(&pool).await;
    assert_eq!((clip.frames(), clip.duration()), (2 * FRAMES, Duration::from_secs(4)));
    let work = Work { profiles: benchmark_ladder(), settings: settings() };
    assert_eq!(
        [5, 3, 1].map(|seconds| clip.within(Duration::from_secs(seconds)).frames()),
        [2, 1, 1].map(|n| n * FRAMES)
    );
    let ffmpeg = Ffmpeg::prepare(Path::new("ffmpeg"), &clip).unwrap();
    let ours = run_pool(&pool, &clip, &work, 2).await.unwrap();
    let segments = ffmpeg.run_segments(&work).await.unwrap();
    let stream = ffmpeg.run_stream(&work).await.unwrap();
    for run in [&ours, &segments, &stream] {
        assert_eq!((run.source_frames, run.encoded_frames()), (2 * FRAMES, 6 * FRAMES));
        assert!(run.wall > Duration::ZERO && run.cpu > Duration::ZERO && run.frames_per_second() > 0.0);
        // Three encoders of this ladder need more than 20 MiB, and a sum that was taken twice would be more than a GiB.
        assert!((20 << 20..1 << 30).contains(&run.peak_memory), "{} bytes", run.peak_memory);
        assert!(run.rendition_bytes().into_iter().all(|bytes| bytes > 10_000), "{:?}", run.rendition_bytes());
    }
    assert_eq!((ours.latencies.len(), segments.latencies.len(), stream.latencies.len()), (2, 2, 0));
    for rendition in &stream.renditions {
        let keys = key_frames(&rendition[0]);
        assert!(keys.starts_with(&[0]) && keys.contains(&(FRAMES as usize)), "a segment begins at {keys:?}");
    }
    let quality = measure_quality(&pool, &clip, &ours.renditions, 2).await.unwrap();
    assert_eq!(quality.len(), 3);
    assert!(quality.iter().all(|found| found.psnr.is_finite() && (0.8..1.0).contains(&found.ssim)), "{quality:?}");
    pool.shutdown().await;
}

#[tokio::test]
async fn live_sessions_take_their_time_and_flat_out_ones_do_not() {
    let pool = WorkerPool::start(config(2)).await.unwrap();
    let clip = short_clip(&pool).await;
    let live = run_sessions(&pool, &clip, &small(), 2, Pacing::Live).await.unwrap();
    assert_eq!((live.ladder.source_frames, live.refused), (4 * FRAMES, 0));
    // One second out of step, and the last picture comes 40 ms before the end.
    assert!(live.ladder.wall >= Duration::from_millis(4950), "{:?}", live.ladder.wall);
    assert_eq!((live.first_bytes.len(), live.ladder.latencies.len()), (4, 4));
    assert!(live.first_bytes.iter().chain(&live.ladder.latencies).all(|time| *time > Duration::ZERO));
    assert_eq!(live.ladder.encoded_frames(), 2 * FRAMES, "renditions of the first session alone");
    let flat_out = run_sessions(&pool, &clip, &small(), 2, Pacing::FlatOut).await.unwrap();
    assert_eq!(flat_out.ladder.source_frames, 4 * FRAMES);
    assert!(!flat_out.real_time, "nothing was to be in real time");
    pool.shutdown().await;
}

#[tokio::test]
async fn sessions_that_a_pool_has_no_room_for_are_not_real_time() {
    let pool = WorkerPool::start(PoolConfig { queue: 0, ..config(1) }).await.unwrap();
    let clip = short_clip(&pool).await;
    let run = run_sessions(&pool, &clip, &small(), 3, Pacing::Live).await.unwrap();
    assert!(run.refused > 0 && !run.real_time);
    pool.shutdown().await;
}

#[tokio::test]
async fn a_worker_killed_in_a_segment_is_replaced_and_encodes() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    let clip = short_clip(&pool).await;
    let before = pool.workers()[0].pid;
    let took = measure_restart(&pool, &clip, &small()).await.unwrap();
    assert!(took > Duration::ZERO);
    assert!(pool.workers().iter().all(|worker| worker.pid != before));
    pool.shutdown().await;
}

#[tokio::test]
async fn what_is_no_clip_is_refused_with_what_to_do() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    let mp4 = std::fs::read(clip::path()).unwrap();
    let refused = short_clip(&pool).await.push(&pool, mp4.into()).await.unwrap_err();
    assert!(refused.to_string().starts_with("segment 2 is mp4, not an mpeg transport stream: `ffmpeg"), "{refused}");
    let missing = Ffmpeg::version(Path::new("/nonexistent/ffmpeg")).await.unwrap_err();
    assert!(missing.to_string().contains("apt-get install ffmpeg"), "{missing}");
    pool.shutdown().await;
}
