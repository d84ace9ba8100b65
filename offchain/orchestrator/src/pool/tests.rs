use streamflow_types::Profile;

use super::*;

fn able() -> Capabilities {
    capability::describe(&capability::OFFERED, 1, "0.1.0")
}

fn pool() -> TranscoderPool {
    TranscoderPool::new(8, 0.8)
}

fn job(session_id: &str) -> TranscodeJob {
    TranscodeJob {
        manifest_id: "clip".parse().unwrap(),
        session_id: session_id.into(),
        seq: 3,
        duration: Duration::from_secs(2),
        source: VideoCodec::H264,
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
    assert_eq!(pool.awaited(task, None), Awaited::Renditions(1));
    assert_eq!(pool.complete(task, Ok(renditions())), Completed::Taken);
    assert_eq!(waiting.await.unwrap(), Ok(renditions()));
    assert_eq!(pool.complete(task, Ok(renditions())), Completed::Late, "a second time");
    assert_eq!(pool.awaited(task, None), Awaited::Late);
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

#[tokio::test(start_paused = true)]
async fn segment_that_seems_late_is_done_by_a_second_transcoder_too() {
    let pool = pool();
    let mut slow = pool.join(1, able()).unwrap();
    let mut other = pool.join(1, able()).unwrap();
    let before = Instant::now();
    let waiting = start(&pool, "a");
    let late = segment(&mut slow).await;
    let task = segment(&mut other).await;
    assert_eq!(before.elapsed(), Duration::from_secs(2), "nothing was measured: after the segment's duration");
    assert_eq!(pool.complete(task, Ok(renditions())), Completed::Taken);
    assert_eq!(waiting.await.unwrap(), Ok(renditions()));
    assert_eq!(pool.awaited(late, None), Awaited::Late);
    assert_eq!(pool.complete(late, Ok(renditions())), Completed::Late);
    assert_eq!((pool.connected(), pool.sound()), (2, 2), "slow once is no reason to pass it over");
    // The session goes on with the quicker one.
    let next = start(&pool, "a");
    pool.complete(segment(&mut other).await, Ok(renditions()));
    assert!(next.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn first_good_answer_wins_whoever_it_is_from() {
    let pool = pool();
    let mut slow = pool.join(1, able()).unwrap();
    let mut other = pool.join(1, able()).unwrap();
    let waiting = start(&pool, "a");
    let late = segment(&mut slow).await;
    let task = segment(&mut other).await;
    assert_eq!(pool.complete(task, Err(no_video())), Completed::Taken);
    assert_eq!(pool.complete(late, Ok(renditions())), Completed::Taken, "a failure does not end the wait");
    assert_eq!(waiting.await.unwrap(), Ok(renditions()));
}

#[tokio::test(start_paused = true)]
async fn measured_transcoders_are_overtaken_sooner() {
    let pool = pool();
    let mut first = pool.join(1, able()).unwrap();
    for _ in 0..8 {
        let waiting = start(&pool, "a");
        let task = segment(&mut first).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        pool.complete(task, Ok(renditions()));
        waiting.await.unwrap().unwrap();
    }
    let mut other = pool.join(1, able()).unwrap();
    let before = Instant::now();
    let _waiting = start(&pool, "a");
    segment(&mut first).await;
    segment(&mut other).await;
    assert_eq!(before.elapsed(), Duration::from_millis(500), "a quarter of the duration at the least");
}

#[tokio::test(start_paused = true)]
async fn hanging_transcoder_is_passed_over_and_comes_back() {
    let pool = pool();
    let mut hanging = pool.join(1, able()).unwrap();
    let mut other = pool.join(2, able()).unwrap();
    let waiting = start(&pool, "a");
    segment(&mut hanging).await;
    let task = segment(&mut other).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(pool.sound(), 1, "its lease ran out");
    pool.complete(task, Ok(renditions()));
    waiting.await.unwrap().unwrap();
    let next = start(&pool, "b");
    pool.complete(segment(&mut other).await, Ok(renditions()));
    next.await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!((pool.connected(), pool.sound()), (2, 2));
    let (_c, _d, _e) = (start(&pool, "c"), start(&pool, "d"), start(&pool, "e"));
    segment(&mut hanging).await;
}

#[tokio::test(start_paused = true)]
async fn lone_hanging_transcoder_gets_the_whole_deadline_and_stays() {
    let pool = pool();
    let mut hanging = pool.join(1, able()).unwrap();
    let before = Instant::now();
    assert_eq!(pool.transcode(job("a")).await, Err(TranscodeError::TranscoderTimeout));
    assert_eq!(before.elapsed(), deadline(Duration::from_secs(2)));
    assert_eq!((pool.connected(), pool.sound()), (1, 0));
    segment(&mut hanging).await;
    // There is nobody else.
    let waiting = start(&pool, "a");
    let task = segment(&mut hanging).await;
    pool.complete(task, Ok(renditions()));
    assert!(waiting.await.unwrap().is_ok());
    assert_eq!(pool.sound(), 1, "it works again");
}

#[tokio::test(start_paused = true)]
async fn no_transcoder_answers_for_another() {
    let pool = pool();
    let mut first = pool.join(1, able()).unwrap();
    let second = pool.join(1, able()).unwrap();
    let waiting = start(&pool, "a");
    let task = segment(&mut first).await;
    assert_eq!(pool.awaited(task, Some(second.token)), Awaited::Unknown);
    assert_eq!(pool.awaited(TaskId(task.0.wrapping_add(1)), Some(first.token)), Awaited::Unknown);
    assert_eq!(pool.awaited(task, Some(first.token)), Awaited::Renditions(1));
    pool.complete(task, Ok(renditions()));
    assert!(waiting.await.unwrap().is_ok());
    assert_eq!(pool.awaited(task, Some(second.token)), Awaited::Unknown);
    assert_eq!(pool.awaited(task, Some(first.token)), Awaited::Late);
}

#[tokio::test(start_paused = true)]
async fn leaving_and_silent_transcoders_get_no_more_work() {
    let pool = pool();
    let mut leaving = pool.join(1, able()).unwrap();
    let mut silent = pool.join(1, able()).unwrap();
    let mut other = pool.join(4, able()).unwrap();
    let waiting = start(&pool, "a");
    let task = segment(&mut leaving).await;
    assert!(pool.hear(leaving.token, State::Leaving) && pool.hear(silent.token, State::Alive));
    let stop = CancellationToken::new();
    let watch = tokio::spawn({
        let (pool, stop) = (pool.clone(), stop.clone());
        async move { pool.watch(Duration::from_secs(1), stop).await }
    });
    tokio::time::sleep(Duration::from_millis(1400)).await;
    assert_eq!((pool.connected(), pool.sound()), (3, 1));
    assert_eq!(pool.complete(task, Ok(renditions())), Completed::Taken, "what it has it may finish");
    waiting.await.unwrap().unwrap();
    for session in ["a", "b"] {
        let waiting = start(&pool, session);
        pool.complete(segment(&mut other).await, Ok(renditions()));
        waiting.await.unwrap().unwrap();
    }
    assert!(pool.hear(silent.token, State::Alive));
    assert_eq!(pool.sound(), 2);
    let waiting = start(&pool, "c");
    pool.complete(segment(&mut silent).await, Ok(renditions()));
    waiting.await.unwrap().unwrap();
    stop.cancel();
    watch.await.unwrap();
}

/// A pool that looks for silent transcoders, and one that told of itself once.
fn watched() -> (TranscoderPool, Membership) {
    let pool = pool();
    let member = pool.join(4, able()).unwrap();
    assert!(pool.hear(member.token, State::Alive));
    let watch = pool.clone();
    tokio::spawn(async move { watch.watch(Duration::from_secs(1), CancellationToken::new()).await });
    (pool, member)
}

#[tokio::test(start_paused = true)]
async fn results_are_a_sign_of_life() {
    let (pool, mut member) = watched();
    let _waiting = start(&pool, "a");
    let task = segment(&mut member).await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(pool.awaited(task, Some(member.token)), Awaited::Renditions(1));
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(pool.sound(), 1);
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(pool.sound(), 0);
    assert_eq!(pool.awaited(task, Some(member.token)), Awaited::Renditions(1));
    assert_eq!(pool.sound(), 1, "it is there again");
}

#[tokio::test(start_paused = true)]
async fn who_tells_seldom_by_its_own_word_is_not_taken_for_silent() {
    let (pool, member) = watched();
    pool.hear_load(member.token, 0, Duration::from_secs(5));
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(pool.sound(), 1);
        pool.hear(member.token, State::Alive);
    }
    tokio::time::sleep(Duration::from_secs(21)).await;
    assert_eq!(pool.sound(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_orchestrator_that_was_held_up_takes_nobody_for_silent() {
    let (pool, member) = watched();
    tokio::time::sleep(Duration::from_millis(900)).await;
    // Nothing runs here meanwhile, whatever came over the network.
    tokio::time::advance(Duration::from_secs(10)).await;
    tokio::task::yield_now().await;
    assert_eq!(pool.sound(), 1);
    assert!(pool.hear(member.token, State::Alive));
    tokio::time::sleep(Duration::from_millis(1400)).await;
    assert_eq!(pool.sound(), 0, "from then on it was silent itself");
}

#[tokio::test(start_paused = true)]
async fn sessions_without_work_do_not_keep_others_out() {
    let pool = pool();
    let mut member = pool.join(1, able()).unwrap();
    let demand = Demand::of(&job("a").profiles, Duration::from_secs(2));
    let waiting = start(&pool, "a");
    let task = segment(&mut member).await;
    let refused = pool.room(demand).unwrap_err();
    assert_eq!(refused, Overload::Places { sessions: 1, capacity: 1, devices: 1 });
    pool.complete(task, Ok(renditions()));
    waiting.await.unwrap().unwrap();
    assert!(pool.room(demand).is_err(), "its next segment is about to come");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((pool.room(demand), pool.active(), pool.spare()), (Ok(()), 0, 1));
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
async fn sources_go_to_who_names_their_codec() {
    let hevc = |session: &str| TranscodeJob { source: VideoCodec::H265, ..job(session) };
    let pool = pool();
    let mut plain = pool.join(4, able()).unwrap();
    assert!(!pool.offers(Capability::HevcDecode));
    assert_eq!(pool.transcode(hevc("a")).await, Err(TranscodeError::NoCapableTranscoder));
    let all = capability::describe(&capability::offered(|codec| codec == Capability::HevcDecode), 1, "0.1.0");
    let mut able = pool.join(1, all).unwrap();
    assert!(pool.offers(Capability::HevcDecode) && !pool.offers(Capability::HevcEncode));
    let run = async |job: TranscodeJob, member: &mut Membership| {
        let waiting = tokio::spawn({
            let pool = pool.clone();
            async move { pool.transcode(job).await }
        });
        pool.complete(segment(member).await, Ok(renditions()));
        waiting.await.unwrap().unwrap();
    };
    run(job("a"), &mut plain).await;
    // A stream whose codec changes goes over.
    run(hevc("a"), &mut able).await;
    run(job("a"), &mut able).await;
    drop(able);
    assert!(!pool.offers(Capability::HevcDecode));
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
    assert_eq!(pool.awaited(task, None), Awaited::Late);
    assert_eq!(pool.input("a", 3), None);
}

#[tokio::test]
async fn places_are_bounded() {
    let pool = TranscoderPool::new(1, 0.8);
    let _first = pool.join(1, able()).unwrap();
    assert_eq!(pool.join(1, able()).unwrap_err(), JoinError::Full { max: 1 });
}

#[tokio::test(start_paused = true)]
async fn a_second_attempt_makes_no_second_session_and_leaves_no_place_behind() {
    let pool = pool();
    let mut slow = pool.join(1, able()).unwrap();
    let mut other = pool.join(1, able()).unwrap();
    let waiting = start(&pool, "a");
    let late = segment(&mut slow).await;
    let hedged = segment(&mut other).await;
    assert_eq!(pool.active(), 1, "while both are at it");
    let demand = Demand::of(&job("b").profiles, Duration::from_secs(2));
    assert!(pool.room(demand).is_err(), "neither has a free lane");
    pool.complete(late, Ok(renditions()));
    waiting.await.unwrap().unwrap();
    assert_eq!((pool.active(), pool.complete(hedged, Ok(renditions()))), (1, Completed::Late));
    assert_eq!(pool.room(demand), Ok(()), "the second one has a place");
    // Where the second is the quicker one, the place goes over.
    let waiting = start(&pool, "a");
    segment(&mut slow).await;
    pool.complete(segment(&mut other).await, Ok(renditions()));
    waiting.await.unwrap().unwrap();
    assert_eq!(pool.active(), 1);
}

#[tokio::test(start_paused = true)]
async fn sessions_whose_first_segment_never_comes_leave_nothing_behind() {
    let pool = pool();
    let mut member = pool.join(4, able()).unwrap();
    let other = pool.join(4, able()).unwrap();
    let demand = Demand::of(&job("a").profiles, Duration::from_secs(2));
    for number in 0..1000 {
        let session = number.to_string();
        pool.hold(&session, demand, &job("a").profiles);
        assert!(pool.holds(&session, demand));
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert!(!pool.holds(&session, demand));
    }
    assert_eq!((pool.active(), pool.lock().stuck()), (0, 0));
    // One that comes goes where its room is.
    pool.hold("a", demand, &job("a").profiles);
    let before = pool.active();
    let waiting = start(&pool, "a");
    pool.complete(segment(&mut member).await, Ok(renditions()));
    waiting.await.unwrap().unwrap();
    assert_eq!((before, pool.active(), pool.lock().stuck()), (1, 1, 1));
    drop(other);
}
