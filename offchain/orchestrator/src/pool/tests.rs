use streamflow_types::Profile;

use super::*;

fn able() -> Capabilities {
    capability::describe(&capability::OFFERED, 1, "0.1.0")
}

fn pool() -> TranscoderPool {
    TranscoderPool::new(8)
}

/// Gives a segment 400 ms.
fn impatient_pool() -> TranscoderPool {
    TranscoderPool { deadline: |_| Duration::from_millis(400), ..pool() }
}

fn job(session_id: &str) -> TranscodeJob {
    TranscodeJob {
        manifest_id: "clip".parse().unwrap(),
        session_id: session_id.into(),
        seq: 3,
        duration: Duration::from_secs(2),
        input: Bytes::from_static(b"input"),
        profiles: vec![Profile::preset("P240p30fps16x9").unwrap()],
    }
}

fn no_video() -> TranscodeError {
    TranscodeError::Other("no video".into())
}

fn renditions() -> Vec<Rendition> {
    vec![Rendition { data: vec![1; 100].into(), pixels: 42 }]
}

async fn segment(member: &mut Membership) -> TaskId {
    loop {
        if let Notice::Segment(task, _) = member.inbox.recv().await.unwrap() {
            return task;
        }
    }
}

fn start(pool: &TranscoderPool, session_id: &str) -> tokio::task::JoinHandle<Result<Vec<Rendition>, TranscodeError>> {
    let (pool, job) = (pool.clone(), job(session_id));
    tokio::spawn(async move { pool.transcode(job).await })
}

#[tokio::test]
async fn result_reaches_the_one_who_waits() {
    let pool = pool();
    let mut member = pool.join(1, able()).unwrap();
    let waiting = start(&pool, "a");
    let task = segment(&mut member).await;
    assert_eq!(pool.input("a", 3), Some(Bytes::from_static(b"input")));
    assert_eq!(pool.expected_renditions(task), Some(1));
    assert!(pool.complete(task, Ok(renditions())));
    assert_eq!(waiting.await.unwrap(), Ok(renditions()));
    assert!(!pool.complete(task, Ok(renditions())), "a second result is late");
    assert_eq!(pool.input("a", 3), None);
}

#[tokio::test]
async fn nobody_or_nobody_able_is_told_apart() {
    let pool = pool();
    assert_eq!(pool.transcode(job("a")).await, Err(TranscodeError::NoTranscoders));
    let _member = pool.join(1, Capabilities::default()).unwrap();
    assert_eq!(pool.transcode(job("a")).await, Err(TranscodeError::NoCapableTranscoder));
    assert_eq!(pool.join(0, able()).unwrap_err(), JoinError::ZeroCapacity);
    assert_eq!(pool.join(-1, able()).unwrap_err().to_string(), "zero capacity");
}

#[tokio::test]
async fn segment_of_a_dying_transcoder_goes_to_another() {
    let pool = pool();
    let mut first = pool.join(1, able()).unwrap();
    let waiting = start(&pool, "a");
    segment(&mut first).await;
    let mut second = pool.join(1, able()).unwrap();
    drop(first);
    let task = segment(&mut second).await;
    pool.complete(task, Ok(renditions()));
    assert_eq!(waiting.await.unwrap(), Ok(renditions()));
    assert_eq!(pool.connected(), 1);
}

#[tokio::test]
async fn stalled_transcoder_is_dropped_and_its_segment_finished_in_time() {
    let pool = impatient_pool();
    let mut stalled = pool.join(1, able()).unwrap();
    let mut other = pool.join(1, able()).unwrap();
    let before = Instant::now();
    let waiting = start(&pool, "a");
    let late = segment(&mut stalled).await;
    let task = segment(&mut other).await;
    assert!(stalled.gone.is_cancelled());
    assert!(!pool.complete(late, Ok(renditions())), "its result is late");
    pool.complete(task, Ok(renditions()));
    assert_eq!(waiting.await.unwrap(), Ok(renditions()));
    assert!(before.elapsed() < Duration::from_millis(400));
}

#[tokio::test]
async fn lone_stalled_transcoder_gets_the_whole_deadline() {
    let pool = impatient_pool();
    let _stalled = pool.join(1, able()).unwrap();
    let before = Instant::now();
    assert_eq!(pool.transcode(job("a")).await, Err(TranscodeError::TranscoderTimeout));
    assert!(before.elapsed() >= Duration::from_millis(400));
    assert_eq!(pool.connected(), 0);
}

#[tokio::test]
async fn session_stays_and_new_ones_go_to_the_least_loaded() {
    let pool = pool();
    let mut small = pool.join(1, able()).unwrap();
    let mut large = pool.join(4, able()).unwrap();
    let run = async |session: &str, member: &mut Membership| {
        let waiting = start(&pool, session);
        let task = segment(member).await;
        pool.complete(task, Ok(renditions()));
        waiting.await.unwrap().unwrap();
    };
    run("a", &mut small).await;
    run("b", &mut large).await;
    run("c", &mut large).await;
    run("a", &mut small).await;
    pool.end_session("a");
    assert!(matches!(small.inbox.recv().await, Some(Notice::EndSession(session)) if session == "a"));
    run("d", &mut small).await;
}

#[tokio::test]
async fn full_transcoders_take_no_more_sessions() {
    let pool = pool();
    let mut member = pool.join(1, able()).unwrap();
    let _first = start(&pool, "a");
    segment(&mut member).await;
    assert_eq!(pool.transcode(job("b")).await, Err(TranscodeError::NoTranscoders));
}

#[tokio::test]
async fn bad_segment_is_tried_twice_and_no_more() {
    let pool = pool();
    let mut members: Vec<_> = (0..3).map(|_| pool.join(1, able()).unwrap()).collect();
    let waiting = start(&pool, "a");
    for member in &mut members[..2] {
        let task = segment(member).await;
        pool.complete(task, Err(no_video()));
    }
    assert_eq!(waiting.await.unwrap(), Err(no_video()));
    assert_eq!(pool.connected(), 3, "a transcoder that reports a bad segment stays");
}

#[tokio::test]
async fn busy_transcoder_is_passed_over() {
    let pool = pool();
    let mut members: Vec<_> = (0..3).map(|_| pool.join(1, able()).unwrap()).collect();
    let waiting = start(&pool, "a");
    for member in &mut members[..2] {
        let task = segment(member).await;
        pool.complete(task, Err(TranscodeError::TranscoderBusy));
    }
    let task = segment(&mut members[2]).await;
    pool.complete(task, Ok(renditions()));
    assert!(waiting.await.unwrap().is_ok());
}

#[tokio::test]
async fn segment_that_is_given_up_is_forgotten() {
    let pool = pool();
    let mut member = pool.join(1, able()).unwrap();
    let waiting = start(&pool, "a");
    let task = segment(&mut member).await;
    waiting.abort();
    drop(waiting.await);
    assert_eq!(pool.expected_renditions(task), None);
}

#[tokio::test]
async fn places_are_bounded() {
    let pool = TranscoderPool::new(1);
    let _first = pool.join(1, able()).unwrap();
    assert_eq!(pool.join(1, able()).unwrap_err(), JoinError::Full);
}
