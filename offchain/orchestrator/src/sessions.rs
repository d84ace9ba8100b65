//! Open transcode sessions: their number, and the order of segments within each.
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use streamflow_wire::TranscodeError;
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    time::timeout,
};
use tokio_util::task::TaskTracker;

use crate::{
    intake::BudgetShare,
    metrics,
    transcode::{Rendition, Transcode, TranscodeJob, deadline},
};

/// What a transcoder gets beyond its deadline before it is given up.
const GRACE: Duration = Duration::from_secs(2);

/// Sessions by id. A session has one task, which transcodes its segments one at a time, in order.
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    transcode: Arc<dyn Transcode>,
    limits: SessionLimits,
    by_id: Arc<Mutex<Open>>,
    tasks: TaskTracker,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionLimits {
    pub(crate) sessions: usize,
    /// Segments waiting in one session.
    pub(crate) queue: usize,
    pub(crate) idle: Duration,
}

#[derive(Debug, Default)]
struct Open {
    stopping: bool,
    queues: HashMap<String, mpsc::Sender<Work>>,
}

#[derive(Debug)]
struct Work {
    job: TranscodeJob,
    /// Accounts for the job's bytes until it is done.
    _share: BudgetShare,
    reply: oneshot::Sender<Outcome>,
}

/// What became of a segment.
pub(crate) type Outcome = Result<Vec<Rendition>, TranscodeError>;

impl Sessions {
    pub(crate) fn new(transcode: Arc<dyn Transcode>, limits: SessionLimits) -> Self {
        Self { transcode, limits, by_id: Arc::default(), tasks: TaskTracker::new() }
    }

    /// Sessions that are open.
    pub(crate) fn open(&self) -> usize {
        self.lock().queues.len()
    }

    /// Whether another session may be opened.
    pub(crate) fn has_room(&self) -> bool {
        self.lock().queues.len() < self.limits.sessions
    }

    /// Whether a segment of this session may be taken: an open session always has a place.
    pub(crate) fn admits(&self, session_id: &str) -> bool {
        let open = self.lock();
        open.queues.contains_key(session_id) || open.queues.len() < self.limits.sessions
    }

    /// Queues a segment, opening its session if need be.
    pub(crate) fn submit(
        &self,
        job: TranscodeJob,
        share: BudgetShare,
    ) -> Result<oneshot::Receiver<Outcome>, TranscodeError> {
        let mut open = self.lock();
        if open.stopping {
            return Err(TranscodeError::TranscoderStopped);
        }
        let queue = match open.queues.get(&job.session_id) {
            Some(queue) if !queue.is_closed() => queue.clone(),
            _ => self.open_session(&mut open, &job.session_id)?,
        };
        let (reply, outcome) = oneshot::channel();
        match queue.try_send(Work { job, _share: share, reply }) {
            Ok(()) => Ok(outcome),
            Err(TrySendError::Full(_)) => Err(TranscodeError::Busy),
            Err(TrySendError::Closed(_)) => Err(TranscodeError::TranscoderStopped),
        }
    }

    fn open_session(&self, open: &mut Open, session_id: &str) -> Result<mpsc::Sender<Work>, TranscodeError> {
        if !open.queues.contains_key(session_id) && open.queues.len() >= self.limits.sessions {
            return Err(TranscodeError::Capped);
        }
        let (queue, inbox) = mpsc::channel(self.limits.queue);
        open.queues.insert(session_id.to_owned(), queue.clone());
        metrics::open_sessions(open.queues.len());
        self.tasks.spawn(self.clone().serve(session_id.to_owned(), inbox));
        Ok(queue)
    }

    /// Frees the session's place. Segments that wait in it are still done.
    pub(crate) fn end(&self, session_id: &str) {
        let mut open = self.lock();
        open.queues.remove(session_id);
        metrics::open_sessions(open.queues.len());
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
            let outcome = timeout(limit, self.transcode.transcode(work.job)).await;
            // A closed reply means that nobody waits: the renditions are dropped.
            drop(work.reply.send(outcome.unwrap_or(Err(TranscodeError::TranscoderTimeout))));
        }
        self.transcode.end_session(&session_id);
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
