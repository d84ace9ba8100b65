use std::{num::NonZero, path::Path, thread};

use streamflow_media::{
    TranscodeSettings, WorkerPool,
    benchmark::{run_ffmpeg, run_pool},
    devnet_ladder,
};

use crate::{clip, pool::config};

#[tokio::test]
async fn pool_and_ffmpeg_make_the_same_frames() {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let pool = WorkerPool::start(config(cores)).await.unwrap();
    let segments: Vec<_> = clip::segments().iter().map(|segment| segment.bytes.clone()).collect();
    let settings = TranscodeSettings::default();
    let ours = run_pool(&pool, &segments, &devnet_ladder(), &settings, cores).await.unwrap();
    let theirs = run_ffmpeg(&pool, Path::new("ffmpeg"), &segments, &devnet_ladder(), &settings).await.unwrap();
    eprintln!("pool {ours:?}\nffmpeg {theirs:?}");
    assert_eq!((ours.source_frames, ours.encoded_frames), (225, 675));
    assert_eq!((theirs.source_frames, theirs.encoded_frames), (225, 675));
    pool.shutdown().await;
}
