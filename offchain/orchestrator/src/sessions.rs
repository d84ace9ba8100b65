//! Open transcode sessions: their number, and the order of segments within each.
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use streamflow_types::{ManifestId, Profile};
use streamflow_wire::TranscodeError;
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    time::{Instant, timeout},
};
use tokio_util::task::TaskTracker;

use crate::{
    admission::{Demand, Overload},
    config::MaxSessions,
    intake::BudgetShare,
    metrics,
    quotas::Sender,
    transcode::{Rendition, TranscodeJob, deadline},
    workers::Workers,
};

/// How old the hint in an offer may be.
const HINT_AGE: Duration = Duration::from_millis(250);
/// Sessions that are kept, with work or without. One more takes the place of the one that has been quiet for the longest.
const MAX_OPEN: usize = 16_384;

/// What a transcoder gets beyond its deadline before it is given up.
const GRACE: Duration = Duration::from_secs(2);

/// Sessions by id. A session has one task, which transcodes its segments one at a time, in order.
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    workers: Workers,
    limits: SessionLimits,
    by_id: Arc<Mutex<Open>>,
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
    owner: Sender,
    stream: ManifestId,
    /// When its last segment came.
    used: Instant,
}

#[derive(Debug)]
struct Work {
    job: TranscodeJob,
    /// Accounts for the job's bytes until it is done.
    _share: BudgetShare,
    reply: oneshot::Sender<Outcome>,
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

impl Sessions {
    pub(crate) fn new(workers: Workers, limits: SessionLimits) -> Self {
        Self { workers, limits, by_id: Arc::default(), hint: Arc::default(), tasks: TaskTracker::new() }
    }

    /// Sessions that are open.
    pub(crate) fn open(&self) -> usize {
        self.lock().queues.len()
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

    /// Whether this session is open.
    pub(crate) fn is_open(&self, session_id: &str) -> bool {
        self.lock().queues.contains_key(session_id)
    }

    /// Whether somebody has a session here that has work.
    pub(crate) fn serves(&self, owner: Sender) -> bool {
        let open = self.lock();
        let mut theirs = open.queues.iter().filter(|(_, queue)| queue.owner == owner);
        theirs.any(|(id, _)| self.workers.holds(id))
    }

    /// Whether a segment of this session may be taken: an open session always has a place, and so has the one that goes on
    /// with its stream.
    pub(crate) fn admits(&self, claim: Claim<'_>, demand: Demand) -> Result<(), Overload> {
        let open = self.lock();
        match open.queues.contains_key(claim.session) || self.workers.holds(claim.session) {
            true => Ok(()),
            false => self.room(demand).or_else(|full| self.predecessor(&open, claim).map(drop).ok_or(full)),
        }
    }

    /// Keeps a place for a session while its first segment comes.
    pub(crate) fn hold(&self, claim: Claim<'_>, demand: Demand, profiles: &[Profile]) -> Result<(), Overload> {
        // Under the lock no two sessions take the last place.
        let mut open = self.lock();
        if open.queues.contains_key(claim.session) {
            return Ok(());
        }
        // Its first segment was begun and did not come whole: the place is still its own.
        if self.workers.holds(claim.session) {
            self.workers.place(claim.session, demand, profiles);
            return Ok(());
        }
        let held = self.room(demand).and_then(|()| self.workers.hold(claim.session, demand, profiles));
        held.or_else(|full| {
            let before = self.predecessor(&open, claim).ok_or(full)?;
            open.queues.remove(&before);
            metrics::open_sessions(open.queues.len());
            self.workers.end_session(&before);
            self.workers.place(claim.session, demand, profiles);
            Ok(())
        })
    }

    /// The session with work that this one goes on with: renewed terms name another session for the same stream. One place is
    /// never that of two.
    fn predecessor(&self, open: &Open, claim: Claim<'_>) -> Option<String> {
        let is_of_stream = |queue: &Queue| queue.owner == claim.owner && queue.stream.as_str() == claim.stream;
        let mut same = open.queues.iter().filter(|(_, queue)| is_of_stream(queue)).map(|(id, _)| id);
        same.find(|id| self.workers.holds(id)).cloned()
    }

    /// Queues a segment, opening its session if need be.
    pub(crate) fn submit(
        &self,
        job: TranscodeJob,
        owner: Sender,
        share: BudgetShare,
    ) -> Result<oneshot::Receiver<Outcome>, TranscodeError> {
        let mut open = self.lock();
        if open.stopping {
            return Err(TranscodeError::TranscoderStopped);
        }
        let queue = match open.queues.get(&job.session_id) {
            Some(queue) if !queue.work.is_closed() => queue.work.clone(),
            _ => self.open_session(&mut open, &job, owner),
        };
        if let Some(queue) = open.queues.get_mut(&job.session_id) {
            queue.used = Instant::now();
        }
        let (reply, outcome) = oneshot::channel();
        match queue.try_send(Work { job, _share: share, reply }) {
            Ok(()) => Ok(outcome),
            Err(TrySendError::Full(_)) => Err(TranscodeError::Busy),
            Err(TrySendError::Closed(_)) => Err(TranscodeError::TranscoderStopped),
        }
    }

    fn open_session(&self, open: &mut Open, job: &TranscodeJob, owner: Sender) -> mpsc::Sender<Work> {
        if open.queues.len() >= MAX_OPEN {
            let quietest = open.queues.iter().min_by_key(|(_, queue)| queue.used).map(|(id, _)| id.clone());
            quietest.map(|id| open.queues.remove(&id));
        }
        let (work, inbox) = mpsc::channel(self.limits.queue);
        let queue = Queue { work: work.clone(), owner, stream: job.manifest_id.clone(), used: Instant::now() };
        open.queues.insert(job.session_id.clone(), queue);
        metrics::open_sessions(open.queues.len());
        self.tasks.spawn(self.clone().serve(job.session_id.clone(), inbox));
        work
    }

    /// Frees the session's place. Segments that wait in it are still done.
    pub(crate) fn end(&self, session_id: &str) {
        let mut open = self.lock();
        open.queues.remove(session_id);
        metrics::open_sessions(open.queues.len());
        drop(open);
        // Its room is free at once, whatever is still done of it.
        self.workers.end_session(session_id);
    }

    /// Takes no more segments, and returns when those taken are done.
    pub(crate) async fn drain(&self) {
        {
            let mut open = self.lock();
            open.stopping = true;
            open.queues.clear();
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn serve(self, session_id: String, mut inbox: mpsc::Receiver<Work>) {
        while let Some(work) = self.next(&session_id, &mut inbox).await {
            let limit = deadline(work.job.duration) + GRACE;
            let outcome = timeout(limit, self.workers.transcode(work.job)).await;
            // A closed reply means that nobody waits: the renditions are dropped.
            drop(work.reply.send(outcome.unwrap_or(Err(TranscodeError::TranscoderTimeout))));
        }
        self.workers.end_session(&session_id);
    }

    /// The next segment; none when the session was ended, or was idle for too long.
    async fn next(&self, session_id: &str, inbox: &mut mpsc::Receiver<Work>) -> Option<Work> {
        if let Ok(work) = timeout(self.limits.idle, inbox.recv()).await {
            return work;
        }
        // Under the lock nobody can queue another one between the look and the removal.
        let mut open = self.lock();
        let late = inbox.try_recv().ok();
        if late.is_none() {
            open.queues.remove(session_id);
            metrics::open_sessions(open.queues.len());
        }
        late
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // No code panics half-way through a change.
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
