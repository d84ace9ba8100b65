//! The pool's bookkeeping: members, sticky sessions, and attempts that somebody waits for.
use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use streamflow_wire::{
    TranscodeError,
    capability::{has_bit, is_compatible},
    proto::Capabilities,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{AttemptResult, Awaited, Completed, MemberId, MemberToken, Notice, State, TaskId};
use crate::{
    admission::{Demand, Device, Ended, Overload, Started},
    metrics,
    transcode::TranscodeJob,
};

/// Tasks that ended of which a late result is still known to be one.
const MAX_ENDED: usize = 4096;
/// Results that are read for one task: the transcoder sends again when a connection breaks.
const MAX_POSTS: u8 = 4;
/// A transcoder that let a lease run out gets no work for so many of that lease; twice as many the next time, and so on.
const PROBATION_LEASES: u32 = 2;
const MAX_PROBATION_DOUBLINGS: u32 = 5;
/// Words of a transcoder that may be missing in a row.
const PATIENCE_BEATS: u32 = 4;
/// Loads that differ by less are the same: then sessions are counted.
const LOAD_STEP: f64 = 0.05;

#[derive(Debug)]
pub(super) struct Registry {
    members: BTreeMap<MemberId, Member>,
    /// Which transcoder a session stays with.
    sessions: HashMap<String, MemberId>,
    tasks: HashMap<TaskId, Task>,
    /// Tasks under way of each session.
    by_session: HashMap<String, Vec<TaskId>>,
    ended: EndedTasks,
    next_member: u64,
    /// Share of the time that a device may be busy.
    max_ratio: f64,
}

#[derive(Debug)]
struct Member {
    notices: Notices,
    token: MemberToken,
    /// Sessions it may have.
    capacity: usize,
    capabilities: Capabilities,
    device: Device,
    /// Segments that it does for other orchestrators.
    elsewhere: usize,
    /// It takes no more work.
    leaving: bool,
    /// When it was heard of, if it tells.
    heard: Option<Instant>,
    /// How often it tells, if it says so.
    tells_every: Duration,
    /// Whether it is too long since it was heard of.
    silent: bool,
    probation: Option<Instant>,
    /// Leases in a row that it let run out.
    strikes: u32,
}

/// Where a member hears of its work, and of its end.
#[derive(Debug)]
pub(super) struct Notices {
    pub(super) queue: mpsc::Sender<Notice>,
    pub(super) gone: CancellationToken,
}

#[derive(Debug)]
struct Task {
    member: MemberId,
    job: Arc<TranscodeJob>,
    demand: Demand,
    started: Started,
    posts: u8,
    reply: oneshot::Sender<AttemptResult>,
}

/// Tasks that ended, the oldest first, and whose they were.
#[derive(Debug, Default)]
struct EndedTasks {
    order: VecDeque<TaskId>,
    tokens: HashMap<TaskId, MemberToken>,
}

impl EndedTasks {
    fn note(&mut self, task: TaskId, token: MemberToken) {
        if self.tokens.insert(task, token).is_none() {
            self.order.push_back(task);
        }
        while self.order.len() > MAX_ENDED {
            let oldest = self.order.pop_front();
            oldest.map(|oldest| self.tokens.remove(&oldest));
        }
    }
}

/// Who got an attempt, and what it is expected to take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Assigned {
    pub(super) task: TaskId,
    pub(super) member: MemberId,
    pub(super) expected: Option<Duration>,
}

/// What an attempt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The session's transcoder does it, or becomes that.
    Own,
    /// Beside another attempt that seems late: only who has nothing else to do.
    Hedge,
}

impl Member {
    fn has_place(&mut self, session: &str, now: Instant) -> bool {
        self.device.holds(session, now) || self.device.active(now) + self.elsewhere < self.capacity
    }

    /// Whether it is expected to do what it is given.
    fn is_sound(&self, now: Instant) -> bool {
        !self.silent && self.probation.is_none_or(|until| until <= now)
    }

    /// Whether a segment would begin at once.
    fn has_idle_lane(&self) -> bool {
        self.device.running() + self.elsewhere < self.capacity
    }

    fn owns(&self, token: Option<MemberToken>) -> bool {
        token.is_none_or(|token| token == self.token)
    }
}

/// How well a member would do: less is better.
#[derive(Clone, Copy, Debug)]
struct Rank {
    unsound: bool,
    load: f64,
    sessions: f64,
}

impl Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |rank: &Self| (rank.load / LOAD_STEP).floor();
        self.unsound
            .cmp(&other.unsound)
            .then(key(self).total_cmp(&key(other)))
            .then(self.sessions.total_cmp(&other.sessions))
    }
}

impl Registry {
    pub(super) fn new(max_ratio: f64) -> Self {
        Self {
            members: BTreeMap::new(),
            sessions: HashMap::new(),
            tasks: HashMap::new(),
            by_session: HashMap::new(),
            ended: EndedTasks::default(),
            next_member: 0,
            max_ratio,
        }
    }

    pub(super) fn set_max_ratio(&mut self, max_ratio: f64) {
        self.max_ratio = max_ratio;
    }

    pub(super) fn connected(&self) -> usize {
        self.members.len()
    }

    /// Members that are given work.
    pub(super) fn sound(&self, now: Instant) -> usize {
        self.members.values().filter(|member| !member.leaving && member.is_sound(now)).count()
    }

    /// Whether a member that is given work can do what this bit says.
    pub(super) fn offers(&self, bit: u32) -> bool {
        self.members.values().any(|member| !member.leaving && has_bit(&member.capabilities.bitstring, bit))
    }

    pub(super) fn add(
        &mut self,
        notices: Notices,
        token: MemberToken,
        capacity: usize,
        capabilities: Capabilities,
        now: Instant,
    ) -> MemberId {
        let id = MemberId(self.next_member);
        self.next_member += 1;
        let device = Device::new(capacity, now);
        let member = Member {
            notices,
            token,
            capacity,
            capabilities,
            device,
            elsewhere: 0,
            leaving: false,
            heard: None,
            tells_every: Duration::ZERO,
            silent: false,
            probation: None,
            strikes: 0,
        };
        self.members.insert(id, member);
        metrics::transcoders(self.members.len());
        id
    }

    /// Drops a member; everybody who waits for it hears of that.
    pub(super) fn remove(&mut self, id: MemberId) {
        let Some(member) = self.members.remove(&id) else { return };
        member.notices.gone.cancel();
        self.sessions.retain(|_, member| *member != id);
        let lost: Vec<_> = self.tasks.iter().filter(|(_, task)| task.member == id).map(|(task, _)| *task).collect();
        for task in lost {
            self.ended.note(task, member.token);
            self.take(task);
        }
        metrics::transcoders(self.members.len());
    }

    pub(super) fn close(&mut self) {
        while let Some((&id, _)) = self.members.first_key_value() {
            self.remove(id);
        }
    }

    /// Notes what a member says of itself. Returns false if there is none of that name.
    pub(super) fn hear(&mut self, token: MemberToken, state: State, now: Instant) -> bool {
        let Some((id, member)) = self.members.iter_mut().find(|(_, member)| member.token == token) else {
            return false;
        };
        member.heard = Some(now);
        member.silent = false;
        if state == State::Leaving && !member.leaving {
            member.leaving = true;
            tracing::info!(member = id.0, "transcoder leaves: it gets no more work");
        }
        true
    }

    /// Notes how many segments a member works on, whoever asked, and how often it tells.
    pub(super) fn hear_load(&mut self, token: MemberToken, running: usize, tells_every: Duration) {
        let Some((id, member)) = self.members.iter_mut().find(|(_, member)| member.token == token) else { return };
        let ours = self.tasks.values().filter(|task| task.member == *id).count();
        member.elsewhere = running.saturating_sub(ours);
        member.tells_every = tells_every;
    }

    /// Members that tell of themselves and have not for `patience` get no work until they do. Who tells less often by its own word is
    /// waited for as long by that measure.
    pub(super) fn sweep(&mut self, patience: Duration, now: Instant) {
        for (id, member) in &mut self.members {
            let patience = patience.max(member.tells_every.saturating_mul(PATIENCE_BEATS));
            let late = member.heard.is_some_and(|heard| now.duration_since(heard) > patience);
            if late && !member.silent {
                tracing::warn!(member = id.0, "transcoder is silent: it gets no work until it is heard of");
                member.silent = true;
            }
        }
    }

    /// The member let a lease of this length run out: it is not chosen for a while, unless there is no other.
    pub(super) fn suspend(&mut self, id: MemberId, lease: Duration, now: Instant) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let doublings = member.strikes.min(MAX_PROBATION_DOUBLINGS);
        let pause = lease.saturating_mul(PROBATION_LEASES << doublings);
        member.strikes = member.strikes.saturating_add(1);
        member.probation = Some(now + pause);
        tracing::warn!(member = id.0, ?lease, ?pause, "transcoder took too long and is passed over for a while");
        metrics::transcoder_suspended();
    }

    /// Sessions that have work, of all members. One that a second member helps with is one.
    pub(super) fn active(&self, now: Instant) -> usize {
        let is_at = |id: &MemberId, session: &str| self.sessions.get(session).is_none_or(|home| home == id);
        let at = |(id, member): (&MemberId, &Member)| member.device.held(now).filter(|held| is_at(id, held)).count();
        self.members.iter().map(at).sum()
    }

    /// About how many more sessions would fit.
    pub(super) fn spare(&mut self, now: Instant) -> usize {
        let limit = self.max_ratio;
        let working = self.members.values_mut().filter(|member| !member.leaving && member.is_sound(now));
        working
            .map(|member| {
                let places = member.capacity.saturating_sub(member.device.active(now) + member.elsewhere);
                places.min(member.device.spare(limit, now))
            })
            .sum()
    }

    /// Whether a session of this demand would find room. Where nobody is connected its segments will tell so.
    pub(super) fn room(&mut self, demand: Demand, now: Instant) -> Result<(), Overload> {
        let limit = self.max_ratio;
        let (mut devices, mut sessions, mut capacity) = (0, 0, 0);
        let mut predicted = f64::INFINITY;
        for member in self.members.values_mut().filter(|member| !member.leaving) {
            let active = member.device.active(now);
            devices += 1;
            sessions += active;
            capacity += member.capacity;
            if active + member.elsewhere >= member.capacity {
                continue;
            }
            let forecast = member.device.forecast(None, demand, now);
            if forecast.fits(limit) {
                return Ok(());
            }
            predicted = predicted.min(forecast.ratio);
        }
        match devices {
            0 => Ok(()),
            _ if predicted.is_finite() => Err(Overload::Ratio { predicted, limit, devices }),
            _ => Err(Overload::Places { sessions, capacity, devices }),
        }
    }

    /// Gives a session room while its first segment comes, with its transcoder or the one that is best off. Only a segment makes it
    /// stay there: nobody tells of the end of a session that never sent one.
    pub(super) fn reserve(&mut self, session: &str, demand: Demand, needed: &Capabilities, now: Instant) {
        if let Some(member) = self.home(session, demand, needed, now) {
            member.device.reserve(session, demand, now);
        }
    }

    /// Gives a session room until its next segment may have come, in the same way.
    pub(super) fn hold(&mut self, session: &str, demand: Demand, needed: &Capabilities, now: Instant) {
        if let Some(member) = self.home(session, demand, needed, now) {
            member.device.hold(session, demand, now + demand.hold());
        }
    }

    fn home(&mut self, session: &str, demand: Demand, needed: &Capabilities, now: Instant) -> Option<&mut Member> {
        let id = self.choose(session, demand, needed, Purpose::Own, &HashSet::new(), now).ok()?;
        self.members.get_mut(&id)
    }

    /// Whether a session has room for so much work with some transcoder.
    pub(super) fn holds(&self, session: &str, demand: Demand, now: Instant) -> bool {
        self.members.values().any(|member| member.device.has_room_for(session, demand, now))
    }

    /// Gives a segment to the session's transcoder, or else to the one that is best off among those that can do it.
    pub(super) fn assign(
        &mut self,
        job: &Arc<TranscodeJob>,
        demand: Demand,
        needed: &Capabilities,
        purpose: Purpose,
        tried: &HashSet<MemberId>,
        reply: oneshot::Sender<AttemptResult>,
    ) -> Result<Assigned, TranscodeError> {
        let now = Instant::now();
        let mut excluded = tried.clone();
        loop {
            let id = self.choose(&job.session_id, demand, needed, purpose, &excluded, now)?;
            if purpose == Purpose::Own {
                self.stick(&job.session_id, id);
            }
            let task = self.unused_id();
            if self.notify(id, Notice::Segment(task, Arc::clone(job)))
                && let Some(member) = self.members.get_mut(&id)
            {
                let expected = member.device.expected(demand);
                // Until it is done, however long that takes.
                let until = now + crate::transcode::deadline(job.duration);
                member.device.hold(&job.session_id, demand, until);
                let started = member.device.start(now);
                self.tasks.insert(task, Task { member: id, job: Arc::clone(job), demand, started, posts: 0, reply });
                self.by_session.entry(job.session_id.clone()).or_default().push(task);
                return Ok(Assigned { task, member: id, expected });
            }
            excluded.insert(id);
        }
    }

    /// Nobody can guess it who was not told, so that nobody answers for another; and no late result of an earlier run of this
    /// node is taken for one of ours.
    fn unused_id(&self) -> TaskId {
        loop {
            let id = TaskId((rand::random::<u64>() >> 1) as i64);
            if !self.tasks.contains_key(&id) && !self.ended.tokens.contains_key(&id) {
                return id;
            }
        }
    }

    fn choose(
        &mut self,
        session: &str,
        demand: Demand,
        needed: &Capabilities,
        purpose: Purpose,
        excluded: &HashSet<MemberId>,
        now: Instant,
    ) -> Result<MemberId, TranscodeError> {
        let usable = |id: &MemberId, member: &Member| !excluded.contains(id) && !member.leaving;
        if purpose == Purpose::Own {
            let is_fit = |id: &MemberId, member: &Member| {
                usable(id, member) && member.is_sound(now) && is_compatible(&member.capabilities, needed)
            };
            let stuck = self.sessions.get(session).filter(|id| self.members.get(id).is_some_and(|m| is_fit(id, m)));
            // Before its first segment it has room with one, and stays with none.
            let held = || {
                let mut holding = self.members.iter().filter(|(_, member)| member.device.holds(session, now));
                holding.find(|(id, member)| is_fit(id, member)).map(|(id, _)| id)
            };
            if let Some(id) = stuck.or_else(held) {
                return Ok(*id);
            }
        }
        let (mut open, mut best) = (0, None::<(Rank, MemberId)>);
        for (id, member) in &mut self.members {
            if !usable(id, member) || !member.has_place(session, now) {
                continue;
            }
            open += 1;
            let idles = purpose == Purpose::Own || (member.has_idle_lane() && member.is_sound(now));
            if !idles || !is_compatible(&member.capabilities, needed) {
                continue;
            }
            let forecast = member.device.forecast(Some(session), demand, now);
            let sessions = (forecast.sessions + member.elsewhere) as f64 / member.capacity as f64;
            let rank = Rank { unsound: !member.is_sound(now), load: forecast.ratio, sessions };
            if best.is_none_or(|(other, _)| rank.cmp(&other) == Ordering::Less) {
                best = Some((rank, *id));
            }
        }
        match best {
            Some((_, id)) => Ok(id),
            None if open == 0 => Err(TranscodeError::NoTranscoders),
            None => Err(TranscodeError::NoCapableTranscoder),
        }
    }

    /// From here on the session is with this transcoder.
    pub(super) fn stick(&mut self, session: &str, id: MemberId) {
        if self.sessions.get(session) == Some(&id) {
            return;
        }
        self.end_session(session);
        self.sessions.insert(session.to_owned(), id);
    }

    /// The session goes on where its last segment was done.
    pub(super) fn keep_with(&mut self, session: &str, id: MemberId, demand: Demand) {
        if self.members.get(&id).is_none_or(|member| member.leaving) {
            return;
        }
        self.stick(session, id);
        if let Some(member) = self.members.get_mut(&id) {
            member.device.hold(session, demand, Instant::now() + demand.hold());
        }
    }

    /// Frees the session's room and tells its transcoder.
    pub(super) fn end_session(&mut self, session: &str) {
        self.members.values_mut().for_each(|member| member.device.release(session));
        if let Some(id) = self.sessions.remove(session) {
            self.notify(id, Notice::EndSession(session.to_owned()));
        }
    }

    /// Returns false, and drops the member, when it does not read its notices.
    fn notify(&mut self, id: MemberId, notice: Notice) -> bool {
        let Some(member) = self.members.get(&id) else { return false };
        let sent = member.notices.queue.try_send(notice).is_ok();
        if !sent {
            self.remove(id);
        }
        sent
    }

    /// Sessions that stay with a transcoder.
    #[cfg(test)]
    pub(super) fn stuck(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn input(&self, session: &str, seq: u64) -> Option<Bytes> {
        let tasks = self.by_session.get(session)?.iter().filter_map(|task| self.tasks.get(task));
        tasks.map(|task| &task.job).find(|job| job.seq == seq).map(|job| job.input.clone())
    }

    /// Whether somebody waits for the task's result, and asks for one more of it.
    pub(super) fn awaited(&mut self, id: TaskId, token: Option<MemberToken>) -> Awaited {
        let Some(task) = self.tasks.get_mut(&id) else { return self.is_late(id, token) };
        let Some(member) = self.members.get_mut(&task.member).filter(|member| member.owns(token)) else {
            return Awaited::Unknown;
        };
        // A result is a sign of life as good as any.
        if member.heard.is_some() {
            (member.heard, member.silent) = (Some(Instant::now()), false);
        }
        task.posts = task.posts.saturating_add(1);
        if task.posts > MAX_POSTS { Awaited::Late } else { Awaited::Renditions(task.job.profiles.len()) }
    }

    fn is_late(&self, id: TaskId, token: Option<MemberToken>) -> Awaited {
        match self.ended.tokens.get(&id) {
            Some(owner) if token.is_none_or(|token| token == *owner) => Awaited::Late,
            _ => Awaited::Unknown,
        }
    }

    pub(super) fn complete(&mut self, id: TaskId, result: AttemptResult) -> Completed {
        if !self.tasks.contains_key(&id) {
            return if self.ended.tokens.contains_key(&id) { Completed::Late } else { Completed::Unknown };
        }
        let Some(task) = self.end(id, if result.is_ok() { Ended::Done } else { Ended::Failed }) else {
            return Completed::Unknown;
        };
        match task.reply.send(result) {
            Ok(()) => Completed::Taken,
            Err(_) => Completed::Late,
        }
    }

    /// Nobody waits for it any more.
    pub(super) fn forget(&mut self, id: TaskId) {
        self.end(id, Ended::GivenUp);
    }

    fn end(&mut self, id: TaskId, ended: Ended) -> Option<Task> {
        let task = self.take(id)?;
        if let Some(member) = self.members.get_mut(&task.member) {
            let now = Instant::now();
            member.device.finish(task.started, task.demand, ended, now);
            let session = &task.job.session_id;
            if self.sessions.get(session) != Some(&task.member) {
                // It was a help.
                member.device.release(session);
            } else if member.device.holds(session, now) {
                member.device.hold(session, task.demand, now + task.demand.hold());
            }
            if ended == Ended::Done {
                (member.strikes, member.probation) = (0, None);
            }
            self.ended.note(id, member.token);
        }
        Some(task)
    }

    fn take(&mut self, id: TaskId) -> Option<Task> {
        let task = self.tasks.remove(&id)?;
        if let Some(tasks) = self.by_session.get_mut(&task.job.session_id) {
            tasks.retain(|other| *other != id);
            if tasks.is_empty() {
                self.by_session.remove(&task.job.session_id);
            }
        }
        Some(task)
    }
}
