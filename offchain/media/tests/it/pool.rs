use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use streamflow_media::{
    Encoder, MediaError, PoolConfig, PoolError, SourceSettings, TranscodeJob, TranscodeSettings, WorkerPool,
    devnet_ladder, transcode,
};
use streamflow_types::Profile;

use crate::clip;

/// An example of this crate, built by `cargo test` beside the tests.
pub(crate) fn program(example: &str) -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(example)
}

pub(crate) fn config(workers: usize) -> PoolConfig {
    PoolConfig { workers, ..PoolConfig::new(program("media_worker"), [] as [&str; 0]) }
}

fn job() -> TranscodeJob {
    let settings = TranscodeSettings { preset: "ultrafast".into(), encoder_threads: 1, ..TranscodeSettings::default() };
    let profiles = vec![Profile::new("a", 320, 180, 300_000).unwrap()];
    TranscodeJob { segment: clip::segment(4), profiles, settings, deadline: None }
}

/// A job that takes a few seconds.
fn long_job() -> TranscodeJob {
    let settings = TranscodeSettings { preset: "veryslow".into(), ..TranscodeSettings::default() };
    TranscodeJob { segment: clip::segment(0), profiles: devnet_ladder(), settings, deadline: None }
}

pub(crate) fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

fn is_gone(pid: u32) -> bool {
    !std::path::Path::new(&format!("/proc/{pid}")).exists()
}

/// Waits for long, as machines may be slow; what is waited for happens or not.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn busy_worker(pool: &WorkerPool) -> u32 {
    let busy = || pool.workers().into_iter().find(|worker| worker.busy).map(|worker| worker.pid);
    until("a busy worker", || busy().is_some()).await;
    busy().unwrap()
}

#[tokio::test]
async fn worker_makes_what_this_process_makes() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    let TranscodeJob { segment, profiles, settings, .. } = job();
    let done = pool.transcode(job()).await.unwrap();
    assert_eq!(done.output, transcode(&segment, &profiles, &settings).unwrap());
    assert!(done.report.cpu > Duration::ZERO && done.report.wall > Duration::ZERO);
    assert_eq!(pool.probe(segment.clone()).await.unwrap().frames, 25);
    assert_eq!(pool.inspect(segment).await.unwrap().pixels, 25 * 1280 * 720);
    pool.shutdown().await;
}

#[tokio::test]
async fn bad_segment_costs_no_worker() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    let before = pool.workers();
    let refused = pool.transcode(TranscodeJob { segment: vec![0; 1000].into(), ..job() }).await.unwrap_err();
    assert!(matches!(refused, PoolError::Media(MediaError::NotTransportStream)));
    pool.transcode(job()).await.unwrap();
    assert_eq!(pool.workers(), before);
    pool.shutdown().await;
}

#[tokio::test]
async fn job_of_a_killed_worker_is_done_by_another() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    let settings = TranscodeSettings { preset: "medium".into(), ..TranscodeSettings::default() };
    let running = tokio::spawn({
        let pool = pool.clone();
        async move { pool.transcode(TranscodeJob { segment: clip::segment(0), settings, ..job() }).await }
    });
    let pid = busy_worker(&pool).await;
    signal(pid, "-KILL");
    assert_eq!(running.await.unwrap().unwrap().output.source.frames, 50);
    assert!(pool.workers().iter().all(|worker| worker.pid != pid));
    pool.shutdown().await;
}

#[tokio::test]
async fn worker_killed_between_jobs_costs_nothing() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    let pid = pool.workers()[0].pid;
    signal(pid, "-KILL");
    // The process is reaped by the pool, so it stays as a zombie until then.
    tokio::time::sleep(Duration::from_millis(100)).await;
    pool.transcode(job()).await.unwrap();
    pool.shutdown().await;
}

#[tokio::test]
async fn stopped_worker_is_killed_at_the_deadline_and_its_job_done_by_another() {
    // The other has as long.
    let deadline = Duration::from_secs(5);
    let pool = WorkerPool::start(PoolConfig { job_deadline: deadline, ..config(1) }).await.unwrap();
    let pid = pool.workers()[0].pid;
    signal(pid, "-STOP");
    let started = Instant::now();
    pool.transcode(job()).await.unwrap();
    assert!(started.elapsed() >= deadline && is_gone(pid));
    pool.shutdown().await;
}

#[tokio::test]
async fn program_that_is_no_worker_is_found_at_the_start() {
    let start = |program: &str| WorkerPool::start(PoolConfig::new(program, [] as [&str; 0]));
    assert!(matches!(start("/nonexistent").await, Err(PoolError::Spawn(_))));
    assert!(matches!(start("/bin/false").await, Err(PoolError::WorkerDied { exit: Some(1), .. })));
    // Echoes the order, which is well framed but no answer.
    assert!(matches!(start("/bin/cat").await, Err(PoolError::WorkerGarbage { .. })));
    let words = WorkerPool::start(PoolConfig::new("/bin/sh", ["-c", "echo out of order >&2; exit 3"])).await;
    match words {
        Err(PoolError::WorkerDied { exit: Some(3), stderr, .. }) => assert_eq!(stderr, ["out of order"]),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn jobs_beyond_the_queue_are_refused() {
    let pool = WorkerPool::start(PoolConfig { queue: 1, ..config(1) }).await.unwrap();
    let mut refused = 0;
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let pool = pool.clone();
        running.spawn(async move { pool.transcode(job()).await });
    }
    while let Some(done) = running.join_next().await {
        match done.unwrap() {
            Ok(_) => {}
            Err(PoolError::QueueFull { limit: 2 }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(refused, 1);
    pool.shutdown().await;
}

#[tokio::test]
async fn abandoned_job_frees_its_worker() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    let pid = pool.workers()[0].pid;
    let abandoned = tokio::time::timeout(Duration::from_millis(300), pool.transcode(long_job())).await;
    assert!(abandoned.is_err());
    // It would live on if the job were waited for, to the end of it or of its time.
    let started = Instant::now();
    until("the end of the worker", || is_gone(pid)).await;
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    pool.transcode(job()).await.unwrap();
    pool.shutdown().await;
}

#[tokio::test]
async fn shutdown_lets_jobs_finish_and_leaves_no_process() {
    let pool = WorkerPool::start(config(2)).await.unwrap();
    let pids: Vec<_> = pool.workers().into_iter().map(|worker| worker.pid).collect();
    let running = tokio::spawn({
        let pool = pool.clone();
        async move { pool.transcode(job()).await }
    });
    busy_worker(&pool).await;
    pool.shutdown().await;
    running.await.unwrap().unwrap();
    assert!(matches!(pool.probe(clip::segment(0)).await, Err(PoolError::Closed)));
    assert!(pids.into_iter().all(is_gone));
    assert!(pool.workers().is_empty());
}

#[tokio::test]
async fn interrupt_of_the_terminal_does_not_reach_workers() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    let pid = pool.workers()[0].pid;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let group: u32 = stat.rsplit(") ").next().unwrap().split(' ').nth(2).unwrap().parse().unwrap();
    assert_eq!(group, pid);
    pool.shutdown().await;
}

#[tokio::test]
async fn worker_ends_when_its_pool_dies_in_mid_job() {
    use std::io::Write;
    // A worker with a long job and then a closed pipe, as a killed node leaves it.
    let mut child = Command::new(program("media_worker"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let settings = SourceSettings::new(clip::path(), Duration::from_secs(3600));
    let order = format!(
        r#"{{"blobs":[],"body":{{"job":1,"request":{{"Play":{}}}}}}}"#,
        serde_json::to_string(&settings).unwrap()
    );
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&(order.len() as u32).to_be_bytes()).unwrap();
    stdin.write_all(order.as_bytes()).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(child.try_wait().unwrap().is_none());
    drop(stdin);
    until("the end of the worker", || child.try_wait().unwrap().is_some()).await;
}

#[tokio::test]
async fn source_streams_segments_as_they_are_taken() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    let mut source = pool.source(SourceSettings::new(clip::path(), Duration::from_secs(9))).unwrap();
    let mut taken = Vec::new();
    while let Some(segment) = source.next().await {
        taken.push(segment.unwrap());
    }
    assert_eq!(taken, clip::segments());
    let mut missing = pool.source(SourceSettings::new("/nonexistent", Duration::from_secs(9))).unwrap();
    assert!(matches!(missing.next().await, Some(Err(PoolError::Media(MediaError::Source { .. })))));
    assert!(missing.next().await.is_none());
    pool.shutdown().await;
}

#[tokio::test]
async fn dropped_source_ends_its_worker() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    let mut source = pool.source(SourceSettings::new(clip::path(), Duration::from_secs(3600))).unwrap();
    source.next().await.unwrap().unwrap();
    assert_eq!(pool.workers().len(), 2);
    drop(source);
    until("the end of the source", || pool.workers().len() == 1).await;
    pool.shutdown().await;
}

#[tokio::test]
async fn nvenc_without_a_device_says_what_is_missing() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    let settings = TranscodeSettings { encoder: Encoder::Nvenc, ..TranscodeSettings::default() };
    match pool.probe_encoder(&settings).await {
        Ok(()) => {
            let done = pool.transcode(TranscodeJob { settings, ..job() }).await.unwrap();
            assert_eq!(done.output.renditions[0].frames, 25);
        }
        Err(error @ PoolError::Media(MediaError::EncoderUnavailable { encoder: Encoder::Nvenc, .. })) => {
            let said = error.to_string();
            eprintln!("skipped the encode on a device: {said}");
            assert!(said.starts_with("h264_nvenc: "), "{said}");
            assert!(said.len() > "h264_nvenc: Operation not permitted".len(), "{said}");
        }
        Err(error) => panic!("{error}"),
    }
    pool.probe_encoder(&TranscodeSettings::default()).await.unwrap();
    pool.shutdown().await;
}
