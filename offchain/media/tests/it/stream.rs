//! Segments that are fed to a worker of the pool while renditions leave it.
use std::time::Duration;

use bytes::Bytes;
use streamflow_media::{
    Feed, MAX_RENDITIONS, MAX_SEGMENT_BYTES, Made, MadeStream, MediaError, PoolConfig, PoolError, TranscodeJob,
    TranscodeReport, TranscodeSettings, Transcoded, WorkerPool, transcode,
};
use streamflow_types::{Container, Profile};

use crate::{clip, pool};

fn settings() -> TranscodeSettings {
    TranscodeSettings { preset: "ultrafast".into(), encoder_threads: 1, ..TranscodeSettings::default() }
}

fn profiles() -> Vec<Profile> {
    vec![Profile::new("a", 320, 180, 300_000).unwrap(), Profile::new("b", 160, 90, 100_000).unwrap()]
}

fn start(pool: &WorkerPool) -> (Feed, MadeStream) {
    pool.transcode_stream(profiles(), settings(), None).unwrap()
}

/// Feeds pieces of `size` bytes.
pub(crate) async fn feed(feed: Feed, segment: Bytes, size: usize) -> bool {
    for start in (0..segment.len()).step_by(size) {
        if !feed.send(segment.slice(start..segment.len().min(start + size))).await {
            return false;
        }
    }
    feed.finish().await
}

/// All that comes, joined.
pub(crate) async fn collect(mut made: MadeStream, count: usize) -> Result<(Vec<Vec<u8>>, TranscodeReport), PoolError> {
    let mut renditions = vec![Vec::new(); count];
    while let Some(next) = made.next().await {
        match next? {
            Made::Piece(piece) => {
                assert!(!piece.bytes.is_empty());
                renditions[piece.rendition].extend_from_slice(&piece.bytes);
            }
            Made::Again => renditions.iter_mut().for_each(Vec::clear),
            Made::Done(done) => {
                assert!(done.report.cpu > Duration::ZERO && done.report.wall > Duration::ZERO);
                assert!(made.next().await.is_none(), "something came after the report");
                return Ok((renditions, done.output));
            }
        }
    }
    panic!("the stream ended without a report or an error");
}

async fn whole_by_stream(
    pool: &WorkerPool,
    segment: Bytes,
    size: usize,
) -> Result<(Vec<Vec<u8>>, TranscodeReport), PoolError> {
    let (sink, made) = start(pool);
    let feeding = tokio::spawn(feed(sink, segment, size));
    let collected = collect(made, profiles().len()).await;
    feeding.await.unwrap();
    collected
}

pub(crate) fn assert_same((renditions, report): (Vec<Vec<u8>>, TranscodeReport), whole: &Transcoded) {
    assert_eq!(report.source, whole.source);
    assert_eq!(report.renditions.len(), whole.renditions.len());
    for ((bytes, report), rendition) in renditions.iter().zip(&report.renditions).zip(&whole.renditions) {
        assert_eq!((&report.name, report.frames, report.pixels), (&rendition.name, rendition.frames, rendition.pixels));
        assert_eq!(report.codecs, rendition.codecs);
        assert_eq!(bytes, &rendition.bytes, "{}", report.name);
    }
}

#[tokio::test]
async fn streamed_renditions_are_those_of_the_whole_segment_wherever_it_is_cut() {
    let pool = WorkerPool::start(pool::config(1)).await.unwrap();
    let worker = pool.workers()[0].pid;
    let segment = clip::segment(4);
    let whole = transcode(&segment, &profiles(), &settings()).unwrap();
    for size in [1, 187, 188, 1000, 65_537, 1 << 30].map(|size| size.max(segment.len() / 5000)) {
        assert_same(whole_by_stream(&pool, segment.clone(), size).await.unwrap(), &whole);
    }
    assert_eq!(pool.workers().iter().map(|worker| worker.pid).collect::<Vec<_>>(), [worker]);
    pool.shutdown().await;
}

#[tokio::test]
async fn jobs_that_fail_in_mid_feed_leave_a_clean_worker() {
    let pool = WorkerPool::start(pool::config(1)).await.unwrap();
    let worker = pool.workers()[0].pid;
    let segment = clip::segment(4);
    let whole = transcode(&segment, &profiles(), &settings()).unwrap();
    for _ in 0..3 {
        let garbage = whole_by_stream(&pool, vec![7; 3_000_000].into(), 10_000).await;
        assert!(matches!(garbage, Err(PoolError::Media(MediaError::NotTransportStream))), "{garbage:?}");
        let nothing = whole_by_stream(&pool, Bytes::new(), 1).await;
        assert!(matches!(nothing, Err(PoolError::Media(MediaError::SegmentSize { len: 0, .. }))), "{nothing:?}");
        assert_same(whole_by_stream(&pool, segment.clone(), 5000).await.unwrap(), &whole);
    }
    assert_eq!(pool.workers()[0].pid, worker);
    pool.shutdown().await;
}

#[tokio::test]
async fn a_feed_that_is_dropped_aborts_its_job_and_keeps_the_worker() {
    let pool = WorkerPool::start(pool::config(1)).await.unwrap();
    let worker = pool.workers()[0].pid;
    let segment = clip::segment(4);
    for fed in [0, 188, segment.len() - 188, segment.len()] {
        let (feed, made) = start(&pool);
        let collecting = tokio::spawn(collect(made, profiles().len()));
        assert!(feed.send(segment.slice(..fed)).await);
        drop(feed);
        let aborted = collecting.await.unwrap();
        assert!(matches!(aborted, Err(PoolError::FeedAborted)), "{aborted:?}");
    }
    let whole = transcode(&segment, &profiles(), &settings()).unwrap();
    assert_same(whole_by_stream(&pool, segment, 5000).await.unwrap(), &whole);
    assert_eq!(pool.workers()[0].pid, worker);
    pool.shutdown().await;
}

#[tokio::test]
async fn a_feed_that_never_ends_is_cut_at_the_deadline() {
    let deadline = Duration::from_secs(2);
    let pool = WorkerPool::start(PoolConfig { job_deadline: deadline, ..pool::config(1) }).await.unwrap();
    let worker = pool.workers()[0].pid;
    let (feed, mut made) = start(&pool);
    assert!(feed.send(clip::segment(4).slice(..1000)).await);
    let late = made.next().await.unwrap();
    assert!(matches!(late, Err(PoolError::FeedLate { limit }) if limit == deadline), "{late:?}");
    assert!(!feed.send(Bytes::from_static(b"more")).await);
    assert_eq!(pool.workers()[0].pid, worker, "the worker is not to blame");
    pool.shutdown().await;
}

#[tokio::test]
async fn more_than_a_segment_may_have_is_refused() {
    let pool = WorkerPool::start(pool::config(1)).await.unwrap();
    // A transport stream as far as anyone can see.
    let mut packet = [0xff; 188];
    packet[..4].copy_from_slice(&[0x47, 0x1f, 0xff, 0x10]);
    let packets = Bytes::from(packet.repeat(5000));
    let (feed, made) = start(&pool);
    let collecting = tokio::spawn(collect(made, profiles().len()));
    let mut fed = 0;
    while fed <= MAX_SEGMENT_BYTES && feed.send(packets.clone()).await {
        fed += packets.len();
    }
    let refused = collecting.await.unwrap();
    let max = MAX_SEGMENT_BYTES;
    assert!(
        matches!(refused, Err(PoolError::Media(MediaError::SegmentSize { len, max: m })) if len > max && m == max),
        "{refused:?}"
    );
    pool.probe(clip::segment(4)).await.unwrap();
    pool.shutdown().await;
}

#[tokio::test]
async fn renditions_that_nobody_takes_free_the_worker_at_the_deadline() {
    let deadline = Duration::from_secs(4);
    let pool = WorkerPool::start(PoolConfig { job_deadline: deadline, ..pool::config(1) }).await.unwrap();
    let worker = pool.workers()[0].pid;
    // One piece each is already more than waits between worker and taker.
    let (sink, mut made) = pool.transcode_stream(vec![profiles().remove(1); MAX_RENDITIONS], settings(), None).unwrap();
    let _ = feed(sink, clip::segment(4), 50_000).await;
    pool::until("the end of the worker", || pool.workers().iter().all(|other| other.pid != worker)).await;
    let mut last = None;
    while let Some(next) = made.next().await {
        last = Some(next);
    }
    assert!(matches!(last, Some(Err(PoolError::NotTaken { deadline: d })) if d == deadline), "{last:?}");
    pool.probe(clip::segment(4)).await.unwrap();
    pool.shutdown().await;
}

#[tokio::test]
async fn a_dropped_stream_frees_its_worker() {
    let pool = WorkerPool::start(pool::config(1)).await.unwrap();
    let (feed, made) = start(&pool);
    assert!(feed.send(clip::segment(4).slice(..100_000)).await);
    let worker = pool::busy_worker(&pool).await;
    drop(made);
    let _ = feed.finish().await;
    pool.probe(clip::segment(4)).await.unwrap();
    assert!(pool.workers().iter().all(|other| other.pid != worker));
    pool.shutdown().await;
}

fn whole_job(segment: usize) -> TranscodeJob {
    TranscodeJob { segment: clip::segment(segment), profiles: profiles(), settings: settings(), deadline: None }
}

#[tokio::test]
async fn a_segment_that_has_hardly_begun_has_no_worker() {
    let pool = WorkerPool::start(pool::config(1)).await.unwrap();
    let segment = clip::segment(4);
    let (sink, made) = start(&pool);
    assert!(sink.send(segment.slice(..1000)).await);
    let collecting = tokio::spawn(collect(made, profiles().len()));
    pool.transcode(whole_job(3)).await.unwrap();
    feed(sink, segment.slice(1000..), 5000).await;
    let whole = transcode(&segment, &profiles(), &settings()).unwrap();
    assert_same(collecting.await.unwrap().unwrap(), &whole);
    pool.shutdown().await;
}

#[tokio::test]
async fn a_segment_that_comes_slowly_leaves_its_worker_to_others_once() {
    let pool = WorkerPool::start(pool::config(1)).await.unwrap();
    let worker = pool.workers()[0].pid;
    let segment = clip::segment(4);
    let (sink, mut made) = start(&pool);
    assert!(sink.send(segment.slice(..segment.len() - 188)).await);
    let Some(Ok(Made::Piece(_))) = made.next().await else { panic!("no piece comes") };
    let collecting = tokio::spawn(async move {
        let mut anew = 0;
        let mut renditions = vec![Vec::new(); profiles().len()];
        loop {
            match made.next().await.unwrap().unwrap() {
                Made::Piece(piece) => renditions[piece.rendition].extend_from_slice(&piece.bytes),
                Made::Again => {
                    anew += 1;
                    renditions.iter_mut().for_each(Vec::clear);
                }
                Made::Done(done) => return (anew, (renditions, done.output)),
            }
        }
    });
    for _ in 0..2 {
        pool.transcode(whole_job(3)).await.unwrap();
    }
    feed(sink, segment.slice(segment.len() - 188..), 188).await;
    let (anew, streamed) = collecting.await.unwrap();
    assert_eq!(anew, 1);
    assert_same(streamed, &transcode(&segment, &profiles(), &settings()).unwrap());
    assert_eq!(pool.workers()[0].pid, worker, "the worker is not to blame");
    pool.shutdown().await;
}

#[tokio::test]
async fn pixels_of_the_pieces_are_those_of_the_report() {
    let pool = WorkerPool::start(pool::config(1)).await.unwrap();
    let mp4 = Profile { format: Container::Mp4, ..profiles().remove(1) };
    let asked = vec![profiles().remove(0), mp4];
    let (sink, mut made) = pool.transcode_stream(asked, settings(), None).unwrap();
    let feeding = tokio::spawn(feed(sink, clip::segment(4), 50_000));
    let mut pixels = [0, 0];
    let report = loop {
        match made.next().await.unwrap().unwrap() {
            Made::Piece(piece) => pixels[piece.rendition] += piece.pixels,
            Made::Again => pixels = [0, 0],
            Made::Done(done) => break done.output,
        }
    };
    assert!(feeding.await.unwrap());
    assert_eq!(report.renditions.iter().map(|made| made.pixels).collect::<Vec<_>>(), pixels);
    pool.shutdown().await;
}
