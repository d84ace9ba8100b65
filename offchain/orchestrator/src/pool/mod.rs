//! Remote transcoders: who is connected, who gets which segment, and what happens when one fails (node.md §3).
//!
//! A session stays with one transcoder. A transcoder that closes its stream, or that lets a segment wait for too long,
//! is dropped, and its segments go to another one.
use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use streamflow_types::VideoCodec;
use streamflow_wire::{TranscodeError, capability, proto::Capabilities};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    metrics,
    transcode::{Rendition, Transcode, TranscodeFuture, TranscodeJob, check_renditions, deadline},
};

mod registry;

use registry::{Notices, Registry};

/// Notices waiting for one transcoder; more means that it does not read its stream.
const NOTICE_QUEUE: usize = 64;
/// A segment that transcoders report as unusable is given to so many of them.
const MAX_SEGMENT_FAILURES: u32 = 2;

/// Name of one registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct MemberId(u64);

/// Names one attempt at a segment on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TaskId(pub(crate) i64);

/// What is pushed to a transcoder.
#[derive(Debug)]
pub(crate) enum Notice {
    /// Fetch and transcode this.
    Segment(TaskId, Arc<TranscodeJob>),
    /// Drop what is kept for this session.
    EndSession(String),
}

/// Remote transcoders. Clones share them.
#[derive(Clone)]
pub(crate) struct TranscoderPool {
    registry: Arc<Mutex<Registry>>,
    max_members: usize,
    /// Time for a segment of this duration.
    deadline: fn(Duration) -> Duration,
}

impl fmt::Debug for TranscoderPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TranscoderPool").field("connected", &self.lock().connected()).finish_non_exhaustive()
    }
}

/// Why a transcoder may not join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JoinError {
    /// The wording makes the transcoder give up.
    #[error("zero capacity")]
    ZeroCapacity,
    #[error("too many transcoders are connected")]
    Full,
}

/// How one attempt ended.
type AttemptResult = Result<Vec<Rendition>, TranscodeError>;

impl TranscoderPool {
    /// An empty pool.
    pub(crate) fn new(max_members: usize) -> Self {
        Self { registry: Arc::new(Mutex::new(Registry::new())), max_members, deadline }
    }

    /// Transcoders that are connected.
    pub(crate) fn connected(&self) -> usize {
        self.lock().connected()
    }

    /// Adds a transcoder that takes `capacity` sessions. It leaves when the membership is dropped.
    pub(crate) fn join(&self, capacity: i64, capabilities: Capabilities) -> Result<Membership, JoinError> {
        let capacity = usize::try_from(capacity).ok().filter(|c| *c > 0).ok_or(JoinError::ZeroCapacity)?;
        let (notices, inbox) = mpsc::channel(NOTICE_QUEUE);
        let gone = CancellationToken::new();
        let mut registry = self.lock();
        if registry.connected() >= self.max_members {
            return Err(JoinError::Full);
        }
        let id = registry.add(Notices { queue: notices, gone: gone.clone() }, capacity, capabilities);
        Ok(Membership { inbox, gone, leave: Leave { pool: self.clone(), id } })
    }

    /// Bytes of a segment that some transcoder is working on.
    pub(crate) fn input(&self, session_id: &str, seq: u64) -> Option<Bytes> {
        self.lock().input(session_id, seq)
    }

    /// How many renditions an attempt has to bring; none if nobody waits for it.
    pub(crate) fn expected_renditions(&self, task: TaskId) -> Option<usize> {
        self.lock().expected_renditions(task)
    }

    /// Ends an attempt with its renditions, or with the transcoder's reason. Returns false if nobody waits for it.
    pub(crate) fn complete(&self, task: TaskId, result: AttemptResult) -> bool {
        self.lock().complete(task, result)
    }

    /// Asks every transcoder's stream to end.
    pub(crate) fn close(&self) {
        self.lock().close();
    }

    async fn run(&self, job: TranscodeJob) -> Result<Vec<Rendition>, TranscodeError> {
        let deadline = (self.deadline)(job.duration);
        let end = Instant::now() + deadline;
        // A segment twice as slow as half its deadline allows would come too late for the viewer: better try another.
        let patience = deadline / 2;
        let job = Arc::new(job);
        let mut attempts = Attempts::default();
        while Instant::now() < end {
            let attempt = match self.assign(&job, &attempts.tried) {
                Ok(attempt) => attempt,
                Err(error) => return Err(attempts.last_error.unwrap_or(error)),
            };
            let until = if attempt.has_alternative { end.min(Instant::now() + patience) } else { end };
            if let Some(renditions) = self.attempt(attempt, &job, until, &mut attempts).await {
                return Ok(renditions);
            }
            metrics::segment_reassigned();
            if attempts.segment_failures >= MAX_SEGMENT_FAILURES {
                break;
            }
        }
        Err(attempts.last_error.unwrap_or(TranscodeError::TranscoderTimeout))
    }

    /// One attempt; none when it failed, and then `attempts` says why.
    async fn attempt(
        &self,
        mut attempt: Attempt,
        job: &TranscodeJob,
        until: Instant,
        attempts: &mut Attempts,
    ) -> Option<Vec<Rendition>> {
        let member = attempt.member;
        let ended = timeout_at(until, &mut attempt.result).await;
        drop(attempt);
        attempts.tried.insert(member);
        match ended {
            Ok(Ok(Ok(renditions))) => match check_renditions(&renditions, job.profiles.len()) {
                Ok(()) => return Some(renditions),
                Err(error) => attempts.segment_failure(error),
            },
            Ok(Ok(Err(error))) if is_about_the_transcoder(&error) => attempts.last_error = Some(error),
            Ok(Ok(Err(error))) => attempts.segment_failure(error),
            // It left.
            Ok(Err(_)) => attempts.last_error = Some(TranscodeError::TranscoderUnavailable),
            Err(_) => {
                tracing::warn!(member = member.0, session = %job.session_id, seq = job.seq, "transcoder took too long");
                self.lock().remove(member);
                attempts.last_error = Some(TranscodeError::TranscoderTimeout);
            }
        }
        None
    }

    fn assign(&self, job: &Arc<TranscodeJob>, tried: &HashSet<MemberId>) -> Result<Attempt, TranscodeError> {
        let needed = capability::job(VideoCodec::H264, &job.profiles, false);
        let (reply, result) = oneshot::channel();
        let mut registry = self.lock();
        let assigned = registry.assign(job, &needed, tried, reply)?;
        Ok(Attempt {
            pool: self.clone(),
            task: assigned.task,
            member: assigned.member,
            has_alternative: registry.has_others_than(assigned.member, tried),
            result,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        // No code panics half-way through a change.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transcode for TranscoderPool {
    fn transcode(&self, job: TranscodeJob) -> TranscodeFuture<'_> {
        Box::pin(self.run(job))
    }

    fn end_session(&self, session_id: &str) {
        self.lock().end_session(session_id);
    }
}

/// What was tried for one segment.
#[derive(Debug, Default)]
struct Attempts {
    tried: HashSet<MemberId>,
    segment_failures: u32,
    last_error: Option<TranscodeError>,
}

impl Attempts {
    fn segment_failure(&mut self, error: TranscodeError) {
        self.segment_failures += 1;
        self.last_error = Some(error);
    }
}

/// A transcoder that has no room or is leaving says nothing about the segment.
fn is_about_the_transcoder(error: &TranscodeError) -> bool {
    matches!(error, TranscodeError::TranscoderBusy | TranscodeError::TranscoderStopped)
}

/// A segment in a transcoder's hands. Dropping it gives the attempt up.
#[derive(Debug)]
struct Attempt {
    pool: TranscoderPool,
    task: TaskId,
    member: MemberId,
    /// Whether another transcoder could take over.
    has_alternative: bool,
    result: oneshot::Receiver<AttemptResult>,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.pool.lock().forget(self.task);
    }
}

/// A connected transcoder's side of the pool.
#[derive(Debug)]
pub(crate) struct Membership {
    /// What to push to it.
    pub(crate) inbox: mpsc::Receiver<Notice>,
    /// Cancelled when the pool gave it up.
    pub(crate) gone: CancellationToken,
    /// Keep it for as long as the transcoder is connected.
    pub(crate) leave: Leave,
}

/// Removes a transcoder when dropped.
#[derive(Debug)]
pub(crate) struct Leave {
    pool: TranscoderPool,
    id: MemberId,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.pool.lock().remove(self.id);
    }
}

#[cfg(test)]
mod tests;
