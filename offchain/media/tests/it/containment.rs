//! Workers that abort, hang, spin and eat memory, and what others notice of it: nothing.
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use streamflow_media::{
    Made, MadeStream, PoolConfig, PoolError, QuarantineConfig, TranscodeJob, TranscodeSettings, Transcoded, WorkerPool,
    transcode,
};
use streamflow_types::Profile;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{clip, pool, stream};

/// What a worker may use here; these jobs need a small part of it, on a slow machine too.
const MEMORY: u64 = 256 << 20;
const CPU: Duration = Duration::from_secs(3);
/// Number of the signal of a process that aborts.
const ABORTED: i32 = 6;

fn config(workers: usize) -> PoolConfig {
    let program = pool::program("hostile_worker");
    PoolConfig { workers, worker_memory: MEMORY, job_cpu: CPU, ..PoolConfig::new(program, [] as [&str; 0]) }
}

fn settings() -> TranscodeSettings {
    TranscodeSettings { preset: "ultrafast".into(), encoder_threads: 1, ..TranscodeSettings::default() }
}

fn profiles() -> Vec<Profile> {
    vec![Profile::new("a", 320, 180, 300_000).unwrap()]
}

fn job(segment: Bytes) -> TranscodeJob {
    TranscodeJob { segment, profiles: profiles(), settings: settings(), deadline: None }
}

/// A segment that asks the worker for a deed, in a transport packet that no decoder looks at; `number` makes it unlike others.
fn hostile(deed: &str, number: usize) -> Bytes {
    let mut packet = [0xff_u8; 188];
    packet[..4].copy_from_slice(&[0x47, 0x1f, 0xff, 0x10]);
    let text = format!("hostile:{deed};{number};");
    packet[4..4 + text.len()].copy_from_slice(text.as_bytes());
    let segment = clip::segment(4);
    // Not in front: what a stream is comes first.
    let (head, rest) = segment.split_at(10 * 188);
    [head, &packet, rest].concat().into()
}

/// What happened to the job on its two workers.
fn twice(refused: PoolError) -> [PoolError; 2] {
    match refused {
        PoolError::Quarantined { first, second } => [*first, *second],
        other => panic!("{other}"),
    }
}

/// The workers that were seen at a job while `work` ran.
async fn busy_during<T>(pool: &WorkerPool, work: impl Future<Output = T>) -> (T, BTreeSet<u32>) {
    let mut seen = BTreeSet::new();
    tokio::pin!(work);
    loop {
        tokio::select! { biased;
            done = &mut work => return (done, seen),
            () = sleep(Duration::from_millis(5)) => {
                seen.extend(pool.workers().iter().filter(|worker| worker.busy).map(|worker| worker.pid));
            }
        }
    }
}

/// A session that has segment after segment made, by turns whole and streamed, and compares each with what it is alone.
async fn session(pool: WorkerPool, alone: Arc<Vec<Transcoded>>, rounds: usize) {
    for round in 0..rounds {
        for (segment, alone) in clip::segments().iter().zip(&*alone) {
            let segment = segment.bytes.clone();
            if round % 2 == 0 {
                assert_eq!(&pool.transcode(job(segment)).await.unwrap().output, alone);
                continue;
            }
            let (feed, made) = pool.transcode_stream(profiles(), settings(), None).unwrap();
            let feeding = tokio::spawn(stream::feed(feed, segment, 20_000));
            stream::assert_same(stream::collect(made, profiles().len()).await.unwrap(), alone);
            assert!(feeding.await.unwrap());
        }
    }
}

/// Whether a deed ends like this.
fn is_end_of(deed: &str, error: &PoolError) -> bool {
    match error {
        PoolError::WorkerDied { signal: Some(ABORTED), stderr, .. } if deed == "eat" => {
            stderr.iter().any(|line| line.contains("memory allocation of"))
        }
        PoolError::WorkerDied { signal: Some(ABORTED), .. } => deed == "abort",
        PoolError::WorkerCpu { limit } => deed == "spin" && *limit == CPU,
        // On a busy machine anything may take too long.
        PoolError::WorkerHung { .. } => true,
        _ => false,
    }
}

/// Asks for a segment for as long as it is not refused for good, as a sender that never learns.
async fn until_refused(pool: &WorkerPool, deed: &str, segment: &Bytes) -> [PoolError; 2] {
    // What hangs takes all of its time.
    let within = if deed == "hang" { 2 * CPU } else { 5 * CPU };
    loop {
        let deadline = Some(Instant::now() + within);
        match pool.transcode(TranscodeJob { deadline, ..job(segment.clone()) }).await.unwrap_err() {
            refused @ PoolError::Quarantined { .. } => return twice(refused),
            PoolError::Late { .. } => {}
            // The first failure, with no time left for a second worker.
            failed => assert!(is_end_of(deed, &failed), "{deed}: {failed:?}"),
        }
    }
}

#[tokio::test]
async fn four_sessions_lose_nothing_while_a_fifth_breaks_its_workers() {
    let alone: Vec<Transcoded> =
        clip::segments().iter().map(|segment| transcode(&segment.bytes, &profiles(), &settings()).unwrap()).collect();
    let alone = Arc::new(alone);
    let directory = tempfile::tempdir().unwrap();
    let quarantine = QuarantineConfig { directory: directory.path().join("bad"), max_files: 100, max_bytes: 1 << 30 };
    let pool = WorkerPool::start(PoolConfig { quarantine: Some(quarantine), ..config(2) }).await.unwrap();

    let ended = Arc::new(AtomicBool::new(false));
    let fifth = tokio::spawn({
        let (pool, ended) = (pool.clone(), ended.clone());
        async move {
            let mut refused = Vec::new();
            for number in 0.. {
                for deed in ["abort", "eat", "hang", "spin"] {
                    if number > 0 && ended.load(Ordering::Relaxed) {
                        return refused;
                    }
                    let segment = hostile(deed, number);
                    let [first, second] = until_refused(&pool, deed, &segment).await;
                    refused.push((deed, segment, first, second));
                }
            }
            refused
        }
    });
    let mut four = JoinSet::new();
    for _ in 0..4 {
        four.spawn(session(pool.clone(), alone.clone(), 4));
    }
    while let Some(done) = four.join_next().await {
        done.unwrap();
    }
    ended.store(true, Ordering::Relaxed);
    let refused = fifth.await.unwrap();
    assert!(refused.len() >= 4);

    let mut kept: BTreeSet<_> =
        fs::read_dir(directory.path().join("bad")).unwrap().map(|file| file.unwrap().path()).collect();
    for (deed, segment, first, second) in refused {
        assert!(is_end_of(deed, &first) && is_end_of(deed, &second), "{deed}: {first:?}; {second:?}");
        let file = kept.iter().find(|file| fs::read(file).unwrap() == segment).cloned();
        let file = file.unwrap_or_else(|| panic!("the segment that asked for {deed} is not kept"));
        kept.remove(&file);
        let again = pool.transcode(job(segment)).await.unwrap_err().to_string();
        assert_eq!(again, format!("refused, as two media workers failed on it: {first}; {second}"));
    }
    assert!(kept.is_empty(), "{kept:?}");
    pool.shutdown().await;
}

/// A worker has the next segment before it is done with one: who is innocent of its end loses nothing.
#[tokio::test]
async fn segments_before_and_after_one_that_ends_its_worker_are_made() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    let alone = transcode(&clip::segment(4), &profiles(), &settings()).unwrap();
    for deed in ["abort", "abort-last"] {
        let good = || async { pool.transcode(job(clip::segment(4))).await };
        let bad = pool.transcode(job(hostile(deed, 0)));
        let (before, bad, after, last) = tokio::join!(good(), bad, good(), good());
        twice(bad.unwrap_err());
        for made in [before, after, last] {
            assert_eq!(made.unwrap().output, alone);
        }
    }
    pool.shutdown().await;
}

/// It has said that it is ending, so that the next segment is with its worker.
#[tokio::test]
async fn a_segment_whose_worker_hangs_at_its_end_takes_no_other_with_it() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    let alone = transcode(&clip::segment(4), &profiles(), &settings()).unwrap();
    let good = || pool.transcode(job(clip::segment(4)));
    let bad = TranscodeJob { deadline: Some(Instant::now() + CPU), ..job(hostile("hang-last", 0)) };
    // Due first, it goes first.
    let (bad, after, last) = tokio::join!(pool.transcode(bad), good(), good());
    assert!(matches!(bad, Err(PoolError::WorkerHung { .. })), "{bad:?}");
    for made in [after, last] {
        assert_eq!(made.unwrap().output, alone);
    }
    // What followed is not remembered for it.
    assert_eq!(good().await.unwrap().output, alone);
    pool.shutdown().await;
}

#[tokio::test]
async fn a_segment_behind_one_that_is_late_is_made() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    let alone = transcode(&clip::segment(4), &profiles(), &settings()).unwrap();
    let now = Instant::now();
    let by = |time, segment| pool.transcode(TranscodeJob { deadline: Some(now + time), ..job(segment) });
    let good = || pool.transcode(job(clip::segment(4)));
    // The second gets its worker when the first has hung for most of its time.
    let (hung, late, after) =
        tokio::join!(by(CPU, hostile("hang", 0)), by(2 * CPU - CPU / 6, hostile("hang-last", 1)), good());
    assert!(matches!(hung, Err(PoolError::WorkerHung { .. })), "{hung:?}");
    assert!(matches!(late, Err(PoolError::Late { .. })), "{late:?}");
    assert_eq!(after.unwrap().output, alone);
    pool.shutdown().await;
}

/// An answer that nobody asked for is not the end of a job, nor left to the next.
#[tokio::test]
async fn a_worker_that_answers_out_of_turn_is_ended_and_others_lose_nothing() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    let alone = transcode(&clip::segment(4), &profiles(), &settings()).unwrap();
    for deed in ["ending-twice", "played"] {
        let good = || pool.transcode(job(clip::segment(4)));
        let bad = pool.transcode(job(hostile(deed, 0)));
        let (before, bad, after) = tokio::join!(good(), bad, good());
        for error in twice(bad.unwrap_err()) {
            assert!(matches!(error, PoolError::WorkerGarbage { .. }), "{deed}: {error:?}");
        }
        for made in [before, after] {
            assert_eq!(made.unwrap().output, alone, "{deed}");
        }
    }
    pool.shutdown().await;
}

/// The one in front hangs for as long as it may.
#[tokio::test]
async fn a_segment_behind_one_that_does_not_end_is_made_on_the_next_worker_that_is_free() {
    let pool = WorkerPool::start(config(2)).await.unwrap();
    let alone = transcode(&clip::segment(4), &profiles(), &settings()).unwrap();
    let hanging = tokio::spawn({
        let pool = pool.clone();
        async move { pool.transcode(job(hostile("hang-last", 0))).await }
    });
    pool::busy_worker(&pool).await;
    let started = Instant::now();
    let good = || pool.transcode(job(clip::segment(4)));
    for (one, other) in [tokio::join!(good(), good()), tokio::join!(good(), good())] {
        assert_eq!(one.unwrap().output, alone);
        assert_eq!(other.unwrap().output, alone);
    }
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert!(!hanging.is_finished());
    hanging.abort();
    pool.shutdown().await;
}

#[tokio::test]
async fn a_worker_whose_thread_panics_ends_at_once() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    for error in twice(pool.transcode(job(hostile("panic", 0))).await.unwrap_err()) {
        match error {
            PoolError::WorkerDied { exit: Some(1), stderr, .. } => {
                assert!(stderr.iter().any(|line| line.contains("as asked")), "{stderr:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    pool.shutdown().await;
}

/// It gave its turn to another when it was ending, and gets no second one in time.
#[tokio::test]
async fn a_segment_that_waits_in_vain_for_a_second_worker_is_remembered() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    let bad = hostile("abort-last", 0);
    let failing = tokio::spawn({
        let job = TranscodeJob { deadline: Some(Instant::now() + 2 * CPU), ..job(bad.clone()) };
        let pool = pool.clone();
        async move { pool.transcode(job).await }
    });
    pool::busy_worker(&pool).await;
    let hanging = tokio::spawn({
        let pool = pool.clone();
        async move { pool.transcode(job(hostile("hang", 1))).await }
    });
    let failed = failing.await.unwrap().unwrap_err();
    assert!(matches!(failed, PoolError::WorkerDied { signal: Some(ABORTED), .. }), "{failed:?}");
    hanging.abort();
    let (refused, used) = busy_during(&pool, pool.transcode(job(bad))).await;
    twice(refused.unwrap_err());
    assert_eq!(used.len(), 1);
    pool.shutdown().await;
}

/// No worker starts any more when the first has failed.
#[tokio::test]
async fn a_streamed_segment_that_finds_no_second_worker_is_remembered() {
    let directory = tempfile::tempdir().unwrap();
    let gone = directory.path().join("gone");
    let start = "[ -e \"$0\" ] && exit 7; exec \"$1\"";
    let args = ["-c".as_ref(), start.as_ref(), gone.as_os_str(), pool::program("hostile_worker").as_os_str()]
        .map(OsString::from);
    let pool =
        WorkerPool::start(PoolConfig { args: args.into(), program: "/bin/sh".into(), ..config(1) }).await.unwrap();
    let streamed = || async {
        let (feed, made) = pool.transcode_stream(profiles(), settings(), None).unwrap();
        let feeding = tokio::spawn(stream::feed(feed, hostile("abort", 0), 10_000));
        let collected = stream::collect(made, 1).await;
        feeding.await.unwrap();
        collected.unwrap_err()
    };
    fs::write(&gone, "").unwrap();
    let failed = streamed().await;
    assert!(matches!(failed, PoolError::WorkerDied { signal: Some(ABORTED), .. }), "{failed:?}");
    fs::remove_file(&gone).unwrap();
    let (refused, used) = busy_during(&pool, streamed()).await;
    twice(refused);
    assert_eq!(used.len(), 1);
    pool.shutdown().await;
}

#[tokio::test]
async fn segments_that_follow_each_other_in_a_worker_are_what_they_are_alone() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    let segments = clip::segments();
    let together: Vec<_> = segments
        .iter()
        .map(|segment| {
            tokio::spawn({
                let (pool, segment) = (pool.clone(), segment.bytes.clone());
                async move { pool.transcode(job(segment)).await }
            })
        })
        .collect();
    for (segment, made) in segments.iter().zip(together) {
        let alone = transcode(&segment.bytes, &profiles(), &settings()).unwrap();
        assert_eq!(made.await.unwrap().unwrap().output, alone);
    }
    assert_eq!(pool.workers().len(), 1);
    pool.shutdown().await;
}

/// Who is gone before its turn takes nothing with it.
#[tokio::test]
async fn a_job_that_is_given_up_behind_another_costs_nobody_anything() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    let alone = transcode(&clip::segment(4), &profiles(), &settings()).unwrap();
    for milliseconds in [0, 50, 100, 150, 200, 300] {
        let first = tokio::spawn({
            let pool = pool.clone();
            async move { pool.transcode(job(clip::segment(4))).await }
        });
        let given_up = pool.transcode(job(clip::segment(3)));
        let _ = tokio::time::timeout(Duration::from_millis(milliseconds), given_up).await;
        assert_eq!(first.await.unwrap().unwrap().output, alone);
        assert_eq!(pool.transcode(job(clip::segment(4))).await.unwrap().output, alone);
    }
    pool.shutdown().await;
}

#[tokio::test]
async fn a_job_takes_two_workers_and_never_a_third() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    let (refused, used) = busy_during(&pool, pool.transcode(job(hostile("abort", 0)))).await;
    twice(refused.unwrap_err());
    assert_eq!(used.len(), 2);
    let (refused, used) = busy_during(&pool, pool.transcode(job(hostile("abort", 0)))).await;
    twice(refused.unwrap_err());
    assert!(used.is_empty(), "a known job takes a worker again");
    // The same segment in a stream: it is known when it is whole.
    let streamed = async {
        let (feed, made) = pool.transcode_stream(profiles(), settings(), None).unwrap();
        let feeding = tokio::spawn(stream::feed(feed, hostile("abort", 0), 10_000));
        let collected = stream::collect(made, 1).await;
        feeding.await.unwrap();
        collected
    };
    let (refused, used) = busy_during(&pool, streamed).await;
    twice(refused.unwrap_err());
    assert!(used.is_empty(), "a known stream takes a worker again");
    // Another job with the same segment is another job.
    let other =
        TranscodeJob { profiles: vec![Profile::new("b", 160, 90, 100_000).unwrap()], ..job(hostile("none", 0)) };
    pool.transcode(other).await.unwrap();
    pool.shutdown().await;
}

/// What a stream said, without the bytes.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Pieces,
    Again,
    Done,
}

async fn said_by(mut made: MadeStream) -> (Vec<Said>, Option<PoolError>) {
    let mut said = Vec::new();
    while let Some(next) = made.next().await {
        said.push(match next {
            Ok(Made::Piece(_)) => Said::Pieces,
            Ok(Made::Again) => Said::Again,
            Ok(Made::Done(_)) => Said::Done,
            Err(error) => return (said, Some(error)),
        });
        said.dedup();
    }
    (said, None)
}

#[tokio::test]
async fn a_stream_whose_worker_dies_begins_anew_on_another() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    let segment = clip::segment(4);
    let whole = transcode(&segment, &profiles(), &settings()).unwrap();
    let most = segment.len() - 188;
    for wait_for_a_piece in [false, true] {
        let (feed, mut made) = pool.transcode_stream(profiles(), settings(), None).unwrap();
        assert!(feed.send(segment.slice(..most)).await);
        let worker = pool::busy_worker(&pool).await;
        let (mut bytes, mut began_anew) = (Vec::new(), false);
        if wait_for_a_piece {
            let Some(Ok(Made::Piece(first))) = made.next().await else { panic!("no piece comes") };
            bytes.extend_from_slice(&first.bytes);
        }
        pool::signal(worker, "-KILL");
        let feeding = tokio::spawn(stream::feed(feed, segment.slice(most..), 10_000));
        loop {
            match made.next().await.unwrap().unwrap() {
                Made::Piece(piece) => bytes.extend_from_slice(&piece.bytes),
                Made::Again => (began_anew, bytes) = (true, Vec::new()),
                Made::Done(_) => break,
            }
        }
        assert!(bytes == whole.renditions[0].bytes && (began_anew || !wait_for_a_piece));
        assert!(feeding.await.unwrap());
        assert!(pool.workers().iter().all(|other| other.pid != worker));
    }
    pool.shutdown().await;
}

#[tokio::test]
async fn a_stream_that_breaks_its_worker_late_says_that_it_begins_anew() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    let segment = hostile("abort-last", 0);
    let (feed, made) = pool.transcode_stream(profiles(), settings(), None).unwrap();
    let feeding = tokio::spawn(stream::feed(feed, segment.clone(), 10_000));
    let ((said, refused), used) = busy_during(&pool, said_by(made)).await;
    assert_eq!(said, [Said::Pieces, Said::Again, Said::Pieces]);
    for error in twice(refused.unwrap()) {
        assert!(matches!(error, PoolError::WorkerDied { signal: Some(ABORTED), .. }), "{error}");
    }
    assert_eq!(used.len(), 2);
    assert!(feeding.await.unwrap());
    let (refused, used) = busy_during(&pool, pool.transcode(job(segment))).await;
    twice(refused.unwrap_err());
    assert!(used.is_empty(), "what a stream did is known of the whole segment");
    pool.shutdown().await;
}

#[tokio::test]
async fn a_stream_that_breaks_two_workers_is_refused_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    let quarantine = QuarantineConfig { directory: directory.path().into(), max_files: 10, max_bytes: 1 << 30 };
    let pool = WorkerPool::start(PoolConfig { quarantine: Some(quarantine), ..config(1) }).await.unwrap();
    let segment = hostile("abort", 0);
    let (feed, made) = pool.transcode_stream(profiles(), settings(), None).unwrap();
    let feeding = tokio::spawn(stream::feed(feed, segment.clone(), 10_000));
    twice(stream::collect(made, 1).await.unwrap_err());
    feeding.await.unwrap();
    let files: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    assert_eq!(fs::read(&files[0]).unwrap(), segment);
    assert!(files[0].to_str().unwrap().ends_with("-transcode_stream-died-died.segment"), "{files:?}");
    pool.shutdown().await;
}

#[tokio::test]
async fn jobs_that_are_due_first_are_done_first() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    let mut jobs = JoinSet::new();
    for seconds in [90, 500, 400, 300, 200] {
        let pool = pool.clone();
        let deadline = Some(Instant::now() + Duration::from_secs(seconds));
        jobs.spawn(async move {
            pool.transcode(TranscodeJob { deadline, ..job(clip::segment(4)) }).await.unwrap();
            seconds
        });
        tokio::task::yield_now().await;
    }
    let mut order = Vec::new();
    while let Some(seconds) = jobs.join_next().await {
        order.push(seconds.unwrap());
    }
    assert_eq!(order, [90, 200, 300, 400, 500]);
    pool.shutdown().await;
}

#[tokio::test]
async fn a_job_that_is_not_done_in_time_is_late_or_its_worker_hung() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    let within = |time| Some(Instant::now() + time);
    // A worker must get half of it, after it has been started too.
    let limit = Duration::from_secs(6);
    let (hang, good) = (job(hostile("hang", 0)), job(clip::segment(4)));
    let hanging = tokio::spawn({
        let (pool, hang) = (pool.clone(), TranscodeJob { deadline: within(limit), ..hang.clone() });
        async move { pool.transcode(hang).await }
    });
    pool::busy_worker(&pool).await;
    let short = Duration::from_millis(300);
    let late = pool.transcode(TranscodeJob { deadline: within(short), ..good }).await.unwrap_err();
    assert!(matches!(late, PoolError::Late { limit } if limit <= short), "{late}");
    let hung = hanging.await.unwrap().unwrap_err();
    assert!(matches!(hung, PoolError::WorkerHung { deadline } if deadline <= limit), "{hung}");
    // The second time there is nothing to wait for either, and it is the last.
    let again = TranscodeJob { deadline: within(limit), ..hang };
    let [_, second] = twice(pool.transcode(again).await.unwrap_err());
    assert!(matches!(second, PoolError::WorkerHung { .. }), "{second}");
    pool.shutdown().await;
}

#[tokio::test]
async fn workers_are_bounded_by_the_kernel_and_small_while_they_wait() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    pool.transcode(job(clip::segment(4))).await.unwrap();
    let of = |pid: u32, file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let pid = pool.workers()[0].pid;
    let limits = of(pid, "limits");
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(limit("Max data size"), MEMORY.to_string());
    assert_eq!(limit("Max core file size"), "0");
    // What it used before, and begun seconds.
    let (least, cpu) = (CPU.as_secs(), limit("Max cpu time").parse::<u64>().unwrap());
    assert!((least + 1..=least + 2).contains(&cpu), "{limits}");
    assert!(
        of(pid, "oom_score_adj").trim().parse::<i32>().unwrap() > 0,
        "the kernel ends the node rather than a worker"
    );
    pool.shutdown().await;

    let pool = WorkerPool::start(config(1)).await.unwrap();
    let pid = pool.workers()[0].pid;
    let resident_kib = || {
        let status = of(pid, "status");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        resident.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    pool::until("giving back what loading took", || resident_kib() < 12 * 1024).await;
    pool.shutdown().await;
}

#[tokio::test]
async fn a_worker_ends_with_the_process_that_started_it() {
    // Its standard input stays open, as it does where a job keeps the worker from seeing its end.
    let mut parent = Command::new("sh")
        .args(["-c", "exec 3<&0; \"$0\" <&3 & echo $!; wait"])
        .arg(pool::program("media_worker"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let open = parent.stdin.take();
    let mut pid = String::new();
    BufReader::new(parent.stdout.as_mut().unwrap()).read_line(&mut pid).unwrap();
    let worker = format!("/proc/{}", pid.trim());
    // Its threads are there: one reads orders, one looks for the parent.
    let threads = || fs::read_dir(format!("{worker}/task")).map_or(0, Iterator::count);
    pool::until("the start of the worker", || threads() == 3).await;
    parent.kill().unwrap();
    parent.wait().unwrap();
    pool::until("the end of the worker", || !Path::new(&worker).exists()).await;
    drop(open);
}
