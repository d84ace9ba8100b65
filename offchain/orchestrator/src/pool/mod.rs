//! Remote transcoders: who is connected, who gets which segment, and what happens when one fails (node.md §3).
//!
//! A session stays with one transcoder. Each segment is a lease: who seems late is overtaken by a second transcoder, who lets
//! the lease run out is passed over for a while, who closes its stream is gone; the first good result is taken.
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use streamflow_types::{Profile, VideoCodec};
use streamflow_wire::{
    TranscodeError,
    capability::{self, Capability},
    proto::Capabilities,
};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    admission::{Demand, Overload},
    transcode::{Rendition, Transcode, TranscodeFuture, TranscodeJob, deadline},
};

mod lease;
mod nats;
mod registry;

use lease::Attempts;
pub(crate) use nats::NatsLink;
use registry::{Notices, Registry};

/// Notices waiting for one transcoder; more means that it does not read its stream.
const NOTICE_QUEUE: usize = 64;

/// Sessions that one transcoder is believed to take, whatever it says: sums of capacities stay numbers.
const MOST_SESSIONS: i64 = u16::MAX as i64;

/// Name of one registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct MemberId(u64);

/// Name of one registration that only the transcoder knows besides us.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemberToken(u128);

impl fmt::Debug for MemberToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemberToken")
    }
}

impl MemberToken {
    pub(crate) fn to_text(self) -> String {
        format!("{:032x}", self.0)
    }

    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let is_whole = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        u128::from_str_radix(text, 16).ok().filter(|_| is_whole).map(Self)
    }
}

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

/// What a transcoder says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It is there.
    Alive,
    /// It finishes what it has and takes no more.
    Leaving,
}

/// Whether a result is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// So many renditions.
    Renditions(usize),
    /// Not any more: another transcoder was quicker, or it came already.
    Late,
    /// The task is not this transcoder's, or not one of ours.
    Unknown,
}

/// What became of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Completed {
    /// It reached whoever waits.
    Taken,
    /// Nobody waits any more.
    Late,
    /// There was no such task.
    Unknown,
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
    #[error("{max} transcoders are connected and orchestrator.max_transcoders is {max}")]
    Full { max: usize },
}

/// How one attempt ended.
type AttemptResult = Result<Vec<Rendition>, TranscodeError>;

impl TranscoderPool {
    /// An empty pool whose devices may be busy for this share of the time.
    pub(crate) fn new(max_members: usize, max_ratio: f64) -> Self {
        Self { registry: Arc::new(Mutex::new(Registry::new(max_ratio))), max_members, deadline }
    }

    /// Takes sessions up to another load from now on.
    pub(crate) fn set_max_ratio(&self, max_ratio: f64) {
        self.lock().set_max_ratio(max_ratio);
    }

    /// Transcoders that are connected.
    pub(crate) fn connected(&self) -> usize {
        self.lock().connected()
    }

    /// Transcoders that are given work: neither leaving, nor silent, nor passed over for a while.
    pub(crate) fn sound(&self) -> usize {
        self.lock().sound(Instant::now())
    }

    /// Adds a transcoder that takes `capacity` sessions. It leaves when the membership is dropped.
    pub(crate) fn join(&self, capacity: i64, capabilities: Capabilities) -> Result<Membership, JoinError> {
        let believed = usize::try_from(capacity.min(MOST_SESSIONS));
        let capacity = believed.ok().filter(|c| *c > 0).ok_or(JoinError::ZeroCapacity)?;
        let (notices, inbox) = mpsc::channel(NOTICE_QUEUE);
        let gone = CancellationToken::new();
        let token = MemberToken(rand::random());
        let mut registry = self.lock();
        if registry.connected() >= self.max_members {
            return Err(JoinError::Full { max: self.max_members });
        }
        let notices = Notices { queue: notices, gone: gone.clone() };
        let id = registry.add(notices, token, capacity, capabilities, Instant::now());
        Ok(Membership { inbox, gone, token, leave: Leave { pool: self.clone(), id } })
    }

    /// Notes what a transcoder says of itself. Returns false if it is not connected.
    pub(crate) fn hear(&self, token: MemberToken, state: State) -> bool {
        self.lock().hear(token, state, Instant::now())
    }

    /// Notes how many segments a transcoder works on, whoever asked, and how often it tells.
    pub(crate) fn hear_load(&self, token: MemberToken, running: usize, tells_every: Duration) {
        self.lock().hear_load(token, running, tells_every);
    }

    /// Looks for transcoders that were not heard of for `patience`, until `stop`.
    pub(crate) async fn watch(&self, patience: Duration, stop: CancellationToken) {
        let period = patience / 4;
        let mut tick = interval(period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looked = Instant::now();
        loop {
            tokio::select! { biased;
                () = stop.cancelled() => return,
                _ = tick.tick() => {
                    let now = Instant::now();
                    // What this process was held up by, it did not hear either.
                    let late = now.duration_since(looked).saturating_sub(period);
                    self.lock().sweep(patience + late, now);
                    looked = now;
                }
            }
        }
    }

    /// Sessions that have work.
    pub(crate) fn active(&self) -> usize {
        self.lock().active(Instant::now())
    }

    /// About how many more sessions would fit.
    pub(crate) fn spare(&self) -> usize {
        self.lock().spare(Instant::now())
    }

    /// Whether a session of this demand would find room.
    pub(crate) fn room(&self, demand: Demand) -> Result<(), Overload> {
        self.lock().room(demand, Instant::now())
    }

    /// Gives a session room for a few seconds from the first time on, whether or not there is any.
    pub(crate) fn hold(&self, session: &str, demand: Demand, profiles: &[Profile]) {
        self.lock().reserve(session, demand, &capability::job(VideoCodec::H264, profiles, false), Instant::now());
    }

    /// Gives a session room for as long as its next segment may take to come, whether or not there is any.
    pub(crate) fn place(&self, session: &str, demand: Demand, profiles: &[Profile]) {
        self.lock().hold(session, demand, &capability::job(VideoCodec::H264, profiles, false), Instant::now());
    }

    /// Whether a session has room for so much work.
    pub(crate) fn holds(&self, session: &str, demand: Demand) -> bool {
        self.lock().holds(session, demand, Instant::now())
    }

    /// Bytes of a segment that some transcoder is working on.
    pub(crate) fn input(&self, session_id: &str, seq: u64) -> Option<Bytes> {
        self.lock().input(session_id, seq)
    }

    /// Whether a result of this task is waited for. A transcoder that names itself answers for its own tasks only.
    pub(crate) fn awaited(&self, task: TaskId, token: Option<MemberToken>) -> Awaited {
        self.lock().awaited(task, token)
    }

    /// Ends an attempt with its renditions, or with the transcoder's reason.
    pub(crate) fn complete(&self, task: TaskId, result: AttemptResult) -> Completed {
        self.lock().complete(task, result)
    }

    /// Asks every transcoder's stream to end.
    pub(crate) fn close(&self) {
        self.lock().close();
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        // No code panics half-way through a change.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transcode for TranscoderPool {
    fn transcode(&self, job: TranscodeJob) -> TranscodeFuture<'_> {
        Box::pin(Attempts::new(self, job).run())
    }

    fn offers(&self, codec: Capability) -> bool {
        self.lock().offers(codec.bit())
    }

    fn end_session(&self, session_id: &str) {
        self.lock().end_session(session_id);
    }
}

/// A connected transcoder's side of the pool.
#[derive(Debug)]
pub(crate) struct Membership {
    /// What to push to it.
    pub(crate) inbox: mpsc::Receiver<Notice>,
    /// Cancelled when the pool gave it up.
    pub(crate) gone: CancellationToken,
    /// By which it names itself.
    pub(crate) token: MemberToken,
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
