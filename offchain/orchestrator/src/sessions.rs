//! Open transcode sessions: who has a place, and the order of segments within each.
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use streamflow_types::{ManifestId, Profile};
use streamflow_wire::{TranscodeError, capability::Capability};
use tokio::{
    sync::{
        mpsc::{
            self,
            error::{TryRecvError, TrySendError},
        },
        oneshot,
    },
    time::{Instant, timeout},
};
use tokio_util::task::TaskTracker;

use crate::{
    admission::{Demand, Overload},
    config::MaxSessions,
    intake::BudgetShare,
    live::Live,
    metrics,
    quotas::Sender,
    transcode::{Rendition, TranscodeJob, deadline, live_deadline},
    workers::Workers,
};

/// How old the hint in an offer may be.
const HINT_AGE: Duration = Duration::from_millis(250);
/// Queues that are kept, with work or without. One more takes the place of the one without that has been quiet for the longest.
const MAX_OPEN: usize = 16_384;

/// What a transcoder gets beyond its deadline before it is given up.
const GRACE: Duration = Duration::from_secs(2);

/// Queues of segments by name. A queue has one place and one task, which has its segments transcoded one at a time, in order. It is
/// named after the session that opened it; at a full node later sessions of the same sender and stream go on with it.
///
/// While its segments come and are done, a queue has its place. What has no queue has none, or keeps one for a few seconds while
/// its first segment comes.
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    workers: Workers,
    limits: SessionLimits,
    by_name: Arc<Mutex<Open>>,
    hint: Arc<Mutex<Option<(Instant, usize)>>>,
    tasks: TaskTracker,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionLimits {
    /// With work at a time.
    pub(crate) sessions: MaxSessions,
    /// Segments waiting in one session.
    pub(crate) queue: usize,
    pub(crate) idle: Duration,
}

#[derive(Debug, Default)]
struct Open {
    stopping: bool,
    queues: HashMap<String, Queue>,
}

#[derive(Debug)]
struct Queue {
    work: mpsc::Sender<Work>,
    /// That sent last. No other ends the queue.
    session: String,
    owner: Sender,
    stream: ManifestId,
    /// When its last segment came.
    used: Instant,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is in it.
    Idle,
    /// Something waits or is done.
    Busy,
    /// The same, and after that it ends.
    Ending,
}

impl Queue {
    /// Whether something is in it. A task that is gone does nothing.
    fn is_at_work(&self) -> bool {
        self.state != State::Idle && !self.work.is_closed()
    }
}

impl Open {
    /// The queue of another session that this one goes on with: renewed terms name another session for the same stream. It keeps
    /// its one place, whoever sends.
    fn of_stream(&self, claim: Claim<'_>) -> Option<&str> {
        let is_of_stream = |queue: &Queue| queue.owner == claim.owner && queue.stream.as_str() == claim.stream;
        let same = self.queues.iter().filter(|(_, queue)| is_of_stream(queue));
        same.max_by_key(|(_, queue)| queue.used).map(|(name, _)| name.as_str())
    }

    /// The queue that this session sent to last.
    fn sent_to(&self, session: &str) -> Option<String> {
        let sent = |queue: &Queue| queue.session == session;
        match self.queues.get(session) {
            Some(queue) => sent(queue).then(|| session.to_owned()),
            None => self.queues.iter().find(|(_, queue)| sent(queue)).map(|(name, _)| name.clone()),
        }
    }
}

/// Where a session's segment goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    /// Into this queue.
    Queue(String),
    /// Into a new one, for which there is a place.
    New,
}

#[derive(Debug)]
struct Work {
    job: TranscodeJob,
    order: Order,
}

/// How a segment comes, and who waits for it. A closed reply means that nobody does: what was made is dropped.
#[derive(Debug)]
enum Order {
    Whole {
        /// Accounts for the job's bytes until it is done.
        _share: BudgetShare,
        reply: oneshot::Sender<Outcome>,
    },
    Live {
        live: Live,
        reply: oneshot::Sender<LiveOutcome>,
    },
}

/// A session that asks for room, and what it is a session of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) session: &'a str,
    pub(crate) owner: Sender,
    /// As its owner calls it.
    pub(crate) stream: &'a str,
}

/// What became of a segment.
pub(crate) type Outcome = Result<Vec<Rendition>, TranscodeError>;

/// The same of one whose renditions have left while they were made: their pixels.
pub(crate) type LiveOutcome = Result<Vec<u64>, TranscodeError>;

impl Sessions {
    pub(crate) fn new(workers: Workers, limits: SessionLimits) -> Self {
        Self { workers, limits, by_name: Arc::default(), hint: Arc::default(), tasks: TaskTracker::new() }
    }

    /// Sessions that are open.
    pub(crate) fn open(&self) -> usize {
        self.lock().queues.len()
    }

    /// Whether a worker can do this one of [`CODECS`](streamflow_wire::capability::CODECS).
    pub(crate) fn offers(&self, codec: Capability) -> bool {
        self.workers.offers(codec)
    }

    /// Sessions that have work.
    pub(crate) fn active(&self) -> usize {
        self.workers.active()
    }

    /// About how many more sessions may be opened.
    pub(crate) fn spare(&self) -> usize {
        let spare = self.workers.spare();
        self.limits.sessions.bound().map_or(spare, |max| spare.min(max.saturating_sub(self.active())))
    }

    /// The same as it was a moment ago: every offer tells it, and it goes through all sessions.
    pub(crate) fn spare_hint(&self) -> usize {
        let mut hint = self.hint.lock().unwrap_or_else(PoisonError::into_inner);
        match *hint {
            Some((at, spare)) if at.elapsed() < HINT_AGE => spare,
            _ => {
                let spare = self.spare();
                *hint = Some((Instant::now(), spare));
                spare
            }
        }
    }

    /// Takes sessions up to another load from now on.
    pub(crate) fn set_max_ratio(&self, max_ratio: f64) {
        self.workers.set_max_ratio(max_ratio);
    }

    /// Whether another session of this demand may be opened.
    pub(crate) fn room(&self, demand: Demand) -> Result<(), Overload> {
        if let Some(max) = self.limits.sessions.bound() {
            let sessions = self.active();
            if sessions >= max {
                return Err(Overload::Sessions { sessions, max });
            }
        }
        self.workers.room(demand)
    }

    /// Whether this session goes on with a queue that is open.
    pub(crate) fn is_open(&self, claim: Claim<'_>) -> bool {
        let open = self.lock();
        open.queues.contains_key(claim.session) || open.of_stream(claim).is_some()
    }

    /// Whether somebody has a session here that has work.
    pub(crate) fn serves(&self, owner: Sender) -> bool {
        let open = self.lock();
        let mut theirs = open.queues.iter().filter(|(_, queue)| queue.owner == owner);
        theirs.any(|(name, _)| self.workers.holds(name, Demand::NONE))
    }

    /// Whether a segment of this session may be taken: an open session always has a place, and so has the one that goes on
    /// with its stream.
    pub(crate) fn admits(&self, claim: Claim<'_>, demand: Demand) -> Result<(), Overload> {
        self.way(&self.lock(), claim, demand).map(drop)
    }

    /// Keeps a place for a session while its first segment comes, for a few seconds from the first time on.
    pub(crate) fn hold(&self, claim: Claim<'_>, demand: Demand, profiles: &[Profile]) -> Result<(), Overload> {
        // Under the lock no two sessions take the last place.
        let open = self.lock();
        if self.way(&open, claim, demand)? == Way::New {
            self.workers.hold(claim.session, demand, profiles);
        }
        Ok(())
    }

    fn way(&self, open: &Open, claim: Claim<'_>, demand: Demand) -> Result<Way, Overload> {
        if open.queues.contains_key(claim.session) {
            return Ok(Way::Queue(claim.session.to_owned()));
        }
        if self.workers.holds(claim.session, demand) {
            return Ok(Way::New);
        }
        match self.room(demand) {
            Ok(()) => Ok(Way::New),
            Err(full) => open.of_stream(claim).map(|name| Way::Queue(name.to_owned())).ok_or(full),
        }
    }

    /// Queues a segment, opening a queue if need be and if there is a place.
    pub(crate) fn submit(
        &self,
        job: TranscodeJob,
        owner: Sender,
        share: BudgetShare,
    ) -> Result<oneshot::Receiver<Outcome>, TranscodeError> {
        let (reply, outcome) = oneshot::channel();
        self.queue(job, owner, Order::Whole { _share: share, reply })?;
        Ok(outcome)
    }

    /// The same for a segment that still comes in.
    pub(crate) fn submit_live(
        &self,
        job: TranscodeJob,
        owner: Sender,
        live: Live,
    ) -> Result<oneshot::Receiver<LiveOutcome>, TranscodeError> {
        let (reply, outcome) = oneshot::channel();
        self.queue(job, owner, Order::Live { live, reply })?;
        Ok(outcome)
    }

    fn queue(&self, mut job: TranscodeJob, owner: Sender, order: Order) -> Result<(), TranscodeError> {
        let mut open = self.lock();
        if open.stopping {
            return Err(TranscodeError::TranscoderStopped);
        }
        let demand = Demand::of(&job.profiles, job.duration);
        let claim = Claim { session: &job.session_id, owner, stream: job.manifest_id.as_str() };
        let way = self.way(&open, claim, demand).map_err(|overload| {
            tracing::info!(session = job.session_id, %overload, "the place is gone that the segment had when it began to come");
            TranscodeError::Capped
        })?;
        let name = match way {
            Way::Queue(name) => name,
            Way::New => {
                self.make_way(&mut open)?;
                // Until its task begins.
                self.workers.place(&job.session_id, demand, &job.profiles);
                let queue = Queue {
                    work: self.serving(&job.session_id),
                    session: job.session_id.clone(),
                    owner,
                    stream: job.manifest_id.clone(),
                    used: Instant::now(),
                    state: State::Idle,
                };
                open.queues.insert(job.session_id.clone(), queue);
                metrics::open_sessions(open.queues.len());
                job.session_id.clone()
            }
        };
        let queue = open.queues.get_mut(&name).ok_or(TranscodeError::TranscoderStopped)?;
        if queue.work.is_closed() {
            queue.work = self.serving(&name);
        }
        // To transcoders the queue is the session.
        let session = std::mem::replace(&mut job.session_id, name);
        match queue.work.try_send(Work { job, order }) {
            Ok(()) => {
                (queue.session, queue.used, queue.state) = (session, Instant::now(), State::Busy);
                Ok(())
            }
            Err(TrySendError::Full(_)) => Err(TranscodeError::Busy),
            Err(TrySendError::Closed(_)) => Err(TranscodeError::TranscoderStopped),
        }
    }

    /// Closes the queue that has been quiet for the longest, if there are as many as may be.
    fn make_way(&self, open: &mut Open) -> Result<(), TranscodeError> {
        if open.queues.len() < MAX_OPEN {
            return Ok(());
        }
        let idle = open.queues.iter().filter(|(_, queue)| !queue.is_at_work());
        let quietest = idle.min_by_key(|(_, queue)| queue.used).map(|(name, _)| name.clone());
        self.close(open, &quietest.ok_or(TranscodeError::Busy)?);
        Ok(())
    }

    /// A task for a queue of this name.
    fn serving(&self, name: &str) -> mpsc::Sender<Work> {
        let (work, inbox) = mpsc::channel(self.limits.queue);
        self.tasks.spawn(self.clone().serve(name.to_owned(), inbox));
        work
    }

    /// Nothing is done in the queue any more, and its place is free.
    fn close(&self, open: &mut Open, name: &str) {
        open.queues.remove(name);
        metrics::open_sessions(open.queues.len());
        self.workers.end_session(name);
    }

    /// Frees the session's place as soon as the segments are done that it has sent.
    pub(crate) fn end(&self, session: &str) {
        let mut open = self.lock();
        let Some(name) = open.sent_to(session) else {
            // Its first segment has not come yet; or another session of its stream goes on.
            if !open.queues.contains_key(session) {
                self.workers.end_session(session);
            }
            return;
        };
        match open.queues.get_mut(&name) {
            Some(queue) if queue.is_at_work() => queue.state = State::Ending,
            _ => self.close(&mut open, &name),
        }
    }

    /// Takes no more segments, and returns when those taken are done.
    pub(crate) async fn drain(&self) {
        let queues = {
            let mut open = self.lock();
            open.stopping = true;
            std::mem::take(&mut open.queues)
        };
        let names: Vec<_> = queues.into_keys().collect();
        self.tasks.close();
        self.tasks.wait().await;
        names.iter().for_each(|name| self.workers.end_session(name));
    }

    async fn serve(self, name: String, mut inbox: mpsc::Receiver<Work>) {
        while let Some(work) = self.next(&name, &mut inbox).await {
            let job = work.job;
            match work.order {
                Order::Whole { _share, reply } => {
                    let limit = deadline(job.duration) + GRACE;
                    let outcome = timeout(limit, self.workers.transcode(job)).await;
                    drop(reply.send(outcome.unwrap_or(Err(TranscodeError::TranscoderTimeout))));
                }
                Order::Live { live, reply } => {
                    let limit = live_deadline(job.duration) + GRACE;
                    let outcome = timeout(limit, self.workers.transcode_live(job, live)).await;
                    drop(reply.send(outcome.unwrap_or(Err(TranscodeError::TranscoderTimeout))));
                }
            }
        }
    }

    /// The next segment; none when the queue was ended, or was idle for too long.
    async fn next(&self, name: &str, inbox: &mut mpsc::Receiver<Work>) -> Option<Work> {
        {
            // Under the lock nobody can queue another one between the look and what follows from it.
            let mut open = self.lock();
            match inbox.try_recv() {
                Ok(work) => return Some(work),
                // Taken off the list: another one of this name is none of this task's business.
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => {}
            }
            match open.queues.get_mut(name) {
                Some(queue) if queue.state != State::Ending => queue.state = State::Idle,
                _ => {
                    self.close(&mut open, name);
                    return None;
                }
            }
        }
        if let Ok(work) = timeout(self.limits.idle, inbox.recv()).await {
            return work;
        }
        let mut open = self.lock();
        match inbox.try_recv() {
            Ok(late) => Some(late),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) => {
                self.close(&mut open, name);
                None
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // No code panics half-way through a change.
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::Address;
    use bytes::Bytes;
    use streamflow_types::VideoCodec;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::{
        intake::ByteBudget,
        transcode::{Transcode, TranscodeFuture},
        workers::LocalDevice,
    };

    const ALICE: Sender = Sender::Account(Address::repeat_byte(1));
    const BOB: Sender = Sender::Account(Address::repeat_byte(2));
    const SECOND: Duration = Duration::from_secs(1);

    /// Works on what it is given for as long as it is let, and knows by which names.
    #[derive(Debug)]
    struct Hands {
        done: Semaphore,
        busy: Mutex<Vec<String>>,
        ended: Mutex<Vec<String>>,
    }

    impl Hands {
        fn busy(&self) -> Vec<String> {
            self.busy.lock().unwrap().clone()
        }

        /// One segment is done.
        async fn finish(&self) {
            self.done.add_permits(1);
            settle().await;
        }
    }

    impl Transcode for Hands {
        fn transcode(&self, job: TranscodeJob) -> TranscodeFuture<'_> {
            Box::pin(async move {
                self.busy.lock().unwrap().push(job.session_id.clone());
                self.done.acquire().await.unwrap().forget();
                self.busy.lock().unwrap().retain(|name| *name != job.session_id);
                Ok(Vec::new())
            })
        }

        fn end_session(&self, session_id: &str) {
            self.ended.lock().unwrap().push(session_id.to_owned());
        }

        fn lanes(&self) -> usize {
            16
        }
    }

    /// A node with this many places.
    fn node(places: usize) -> (Sessions, Arc<Hands>) {
        let hands = Arc::new(Hands { done: Semaphore::new(0), busy: Mutex::default(), ended: Mutex::default() });
        let workers = Workers::Local(LocalDevice::new(Arc::clone(&hands) as Arc<dyn Transcode>, 0.8));
        let limits = SessionLimits { sessions: MaxSessions::AtMost(places), queue: 4, idle: 70 * SECOND };
        (Sessions::new(workers, limits), hands)
    }

    /// Lets the tasks go as far as they get.
    async fn settle() {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    fn profiles(name: &str) -> Vec<Profile> {
        vec![Profile::preset(name).unwrap()]
    }

    fn small() -> Demand {
        Demand::of(&profiles("P144p30fps16x9"), 2 * SECOND)
    }

    fn claim(session: &str, owner: Sender) -> Claim<'_> {
        Claim { session, owner, stream: "live" }
    }

    impl Sessions {
        fn head(&self, session: &str, owner: Sender) -> Result<(), Overload> {
            self.admits(claim(session, owner), small())?;
            self.hold(claim(session, owner), small(), &profiles("P144p30fps16x9"))
        }

        fn body(&self, session: &str, owner: Sender) -> Result<oneshot::Receiver<Outcome>, TranscodeError> {
            let job = TranscodeJob {
                manifest_id: "live".parse().unwrap(),
                session_id: session.into(),
                seq: 0,
                duration: 2 * SECOND,
                source: VideoCodec::H264,
                input: Bytes::new(),
                profiles: profiles("P144p30fps16x9"),
            };
            self.submit(job, owner, ByteBudget::new(1).share())
        }

        /// A whole segment.
        fn send(&self, session: &str, owner: Sender) -> oneshot::Receiver<Outcome> {
            self.head(session, owner).unwrap();
            self.body(session, owner).unwrap()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_without_a_segment_lasts_for_seconds_however_often_it_is_asked_for() {
        let (sessions, _hands) = node(1);
        // What its sender calls the longest of segments.
        let long = Demand { segment: 300 * SECOND, ..small() };
        let hold = |demand| sessions.hold(claim("a", ALICE), demand, &profiles("P144p30fps16x9"));
        assert_eq!(hold(long), Ok(()));
        tokio::time::advance(7 * SECOND).await;
        assert_eq!((sessions.admits(claim("a", ALICE), long), hold(long)), (Ok(()), Ok(())), "it is still its own");
        assert!(sessions.head("b", BOB).is_err());
        tokio::time::advance(SECOND).await;
        assert_eq!(sessions.head("b", BOB), Ok(()));
        assert!(hold(long).is_err() && sessions.body("a", ALICE).is_err(), "the place is another's");
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_for_a_small_stream_is_none_for_a_large_one() {
        let (sessions, _hands) = node(1);
        assert_eq!(sessions.head("a", ALICE), Ok(()));
        let large = Demand::of(&profiles("P720p60fps16x9"), 2 * SECOND);
        let hold = |demand| sessions.hold(claim("a", ALICE), demand, &profiles("P720p60fps16x9"));
        assert!(sessions.admits(claim("a", ALICE), large).is_err() && hold(large).is_err());
        assert_eq!(hold(small()), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_of_one_stream_have_one_place_and_one_segment_at_work_on_a_full_node() {
        let (sessions, hands) = node(1);
        let mut sent = Vec::new();
        for session in ["a", "b", "c", "a", "b"] {
            sent.push(sessions.send(session, ALICE));
            settle().await;
            assert_eq!((sessions.active(), hands.busy()), (1, vec!["a".to_owned()]), "at {session}");
        }
        assert_eq!(sessions.body("d", ALICE).unwrap_err(), TranscodeError::Busy, "four wait");
        for mut outcome in sent {
            assert!(outcome.try_recv().is_err());
            hands.finish().await;
            assert_eq!(outcome.try_recv(), Ok(Ok(Vec::new())), "none is lost");
            assert_eq!(sessions.active(), 1);
        }
        assert!(sessions.head("b", BOB).is_err(), "the stream goes on");
        assert_eq!(sessions.open(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_under_renewed_terms_that_stalls_costs_the_stream_nothing() {
        let (sessions, hands) = node(1);
        let first = sessions.send("a", ALICE);
        hands.finish().await;
        assert_eq!(first.await, Ok(Ok(Vec::new())));
        assert_eq!(sessions.head("b", ALICE), Ok(()));
        assert!(sessions.is_open(claim("a", ALICE)), "its body has not come");
        let again = sessions.send("a", ALICE);
        hands.finish().await;
        assert_eq!(again.await, Ok(Ok(Vec::new())));
        let renewed = sessions.send("b", ALICE);
        hands.finish().await;
        assert_eq!(renewed.await, Ok(Ok(Vec::new())));
        assert!(hands.ended.lock().unwrap().is_empty(), "and no transcoder forgets the stream");
    }

    #[tokio::test(start_paused = true)]
    async fn an_ended_session_has_its_place_until_its_segments_are_done_and_gets_it_back_by_admission_alone() {
        let (sessions, hands) = node(1);
        let sent = [sessions.send("a", ALICE), sessions.send("a", ALICE)];
        settle().await;
        sessions.end("a");
        hands.finish().await;
        assert_eq!(sessions.active(), 1);
        assert!(sessions.head("b", BOB).is_err(), "another one is at work");
        hands.finish().await;
        for outcome in sent {
            assert_eq!(outcome.await, Ok(Ok(Vec::new())));
        }
        assert_eq!((sessions.active(), sessions.open()), (0, 0));
        assert_eq!(*hands.ended.lock().unwrap(), ["a"]);
        let _other = sessions.send("b", BOB);
        settle().await;
        assert!(sessions.head("a", ALICE).is_err() && sessions.body("a", ALICE).is_err());
        assert_eq!((sessions.active(), hands.busy()), (1, vec!["b".to_owned()]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_the_stream_has_left_behind_does_not_end_it() {
        let (sessions, hands) = node(1);
        for session in ["a", "b"] {
            let sent = sessions.send(session, ALICE);
            hands.finish().await;
            assert_eq!(sent.await, Ok(Ok(Vec::new())));
        }
        sessions.end("a");
        assert_eq!((sessions.open(), sessions.active()), (1, 1));
        sessions.end("b");
        assert_eq!((sessions.open(), sessions.active()), (0, 0));
        // Where no segment has come yet there is a place to free too.
        assert_eq!(sessions.head("c", BOB), Ok(()));
        sessions.end("c");
        assert_eq!(sessions.head("a", ALICE), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn publishers_behind_one_address_do_not_end_each_other() {
        let (sessions, hands) = node(1);
        let behind = Sender::Peer([10, 0, 0, 1].into());
        let sent = [sessions.send("a", behind), sessions.send("b", behind), sessions.send("a", behind)];
        settle().await;
        for outcome in sent {
            hands.finish().await;
            assert_eq!(outcome.await, Ok(Ok(Vec::new())));
        }
        assert!(hands.ended.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_goes_on_after_a_pause_is_served_and_an_idle_one_is_closed() {
        let (sessions, hands) = node(1);
        drop(sessions.send("a", ALICE));
        hands.finish().await;
        tokio::time::sleep(5 * SECOND).await;
        let _other = sessions.send("b", BOB);
        drop(sessions.send("a", ALICE));
        settle().await;
        assert_eq!((sessions.active(), sessions.open()), (2, 2));
        sessions.end("b");
        hands.finish().await;
        hands.finish().await;
        tokio::time::sleep(71 * SECOND).await;
        assert_eq!((sessions.active(), sessions.open()), (0, 0));
        let _last = sessions.send("b", BOB);
        settle().await;
        hands.finish().await;
        sessions.drain().await;
        assert_eq!(sessions.body("b", BOB).unwrap_err(), TranscodeError::TranscoderStopped);
    }
}
