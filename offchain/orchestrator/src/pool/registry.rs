//! The pool's bookkeeping: members, sticky sessions, and attempts that somebody waits for.
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use streamflow_wire::{TranscodeError, capability::is_compatible, proto::Capabilities};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{AttemptResult, MemberId, Notice, TaskId};
use crate::{metrics, transcode::TranscodeJob};

#[derive(Debug)]
pub(super) struct Registry {
    members: BTreeMap<MemberId, Member>,
    /// Which transcoder a session stays with.
    sessions: HashMap<String, MemberId>,
    tasks: HashMap<TaskId, Task>,
    next_member: u64,
    next_task: i64,
}

#[derive(Debug)]
struct Member {
    notices: Notices,
    /// Sessions it may have.
    capacity: usize,
    /// Sessions it has.
    load: usize,
    capabilities: Capabilities,
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
    reply: oneshot::Sender<AttemptResult>,
}

/// Who got an attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Assigned {
    pub(super) task: TaskId,
    pub(super) member: MemberId,
}

impl Member {
    fn has_room(&self) -> bool {
        self.load < self.capacity
    }

    /// Orders by load over capacity, exactly.
    fn is_less_loaded_than(&self, other: &Self) -> bool {
        (self.load as u128) * (other.capacity as u128) < (other.load as u128) * (self.capacity as u128)
    }
}

impl Registry {
    pub(super) fn new() -> Self {
        Self {
            members: BTreeMap::new(),
            sessions: HashMap::new(),
            tasks: HashMap::new(),
            next_member: 0,
            // Unlike the ids of an earlier run of this node, whose late results must not be taken for ours.
            next_task: i64::from(rand::random::<u32>()) << 24,
        }
    }

    pub(super) fn connected(&self) -> usize {
        self.members.len()
    }

    pub(super) fn add(&mut self, notices: Notices, capacity: usize, capabilities: Capabilities) -> MemberId {
        let id = MemberId(self.next_member);
        self.next_member += 1;
        self.members.insert(id, Member { notices, capacity, load: 0, capabilities });
        metrics::transcoders(self.members.len());
        id
    }

    /// Drops a member; everybody who waits for it hears of that.
    pub(super) fn remove(&mut self, id: MemberId) {
        let Some(member) = self.members.remove(&id) else { return };
        member.notices.gone.cancel();
        self.sessions.retain(|_, member| *member != id);
        self.tasks.retain(|_, task| task.member != id);
        metrics::transcoders(self.members.len());
    }

    pub(super) fn close(&mut self) {
        while let Some((&id, _)) = self.members.first_key_value() {
            self.remove(id);
        }
    }

    /// Gives a segment to the session's transcoder, or else to the least loaded one that can do it.
    pub(super) fn assign(
        &mut self,
        job: &Arc<TranscodeJob>,
        needed: &Capabilities,
        tried: &HashSet<MemberId>,
        reply: oneshot::Sender<AttemptResult>,
    ) -> Result<Assigned, TranscodeError> {
        let mut refusing = HashSet::new();
        loop {
            let member = self.choose(&job.session_id, needed, |id| tried.contains(&id) || refusing.contains(&id))?;
            self.stick(&job.session_id, member);
            let task = TaskId(self.next_task);
            self.next_task = self.next_task.wrapping_add(1);
            if self.notify(member, Notice::Segment(task, Arc::clone(job))) {
                self.tasks.insert(task, Task { member, job: Arc::clone(job), reply });
                return Ok(Assigned { task, member });
            }
            refusing.insert(member);
        }
    }

    fn choose(
        &self,
        session_id: &str,
        needed: &Capabilities,
        excluded: impl Fn(MemberId) -> bool,
    ) -> Result<MemberId, TranscodeError> {
        if let Some(member) = self.sessions.get(session_id).filter(|id| !excluded(**id)) {
            return Ok(*member);
        }
        let open: Vec<_> = self.members.iter().filter(|(id, m)| m.has_room() && !excluded(**id)).collect();
        if open.is_empty() {
            return Err(TranscodeError::NoTranscoders);
        }
        let able = open.into_iter().filter(|(_, member)| is_compatible(&member.capabilities, needed));
        let least = able.reduce(|best, other| if other.1.is_less_loaded_than(best.1) { other } else { best });
        least.map(|(id, _)| *id).ok_or(TranscodeError::NoCapableTranscoder)
    }

    fn stick(&mut self, session_id: &str, member: MemberId) {
        if self.sessions.get(session_id) == Some(&member) {
            return;
        }
        self.end_session(session_id);
        self.sessions.insert(session_id.to_owned(), member);
        if let Some(member) = self.members.get_mut(&member) {
            member.load += 1;
        }
    }

    /// Frees the session's place at its transcoder and tells that one.
    pub(super) fn end_session(&mut self, session_id: &str) {
        let Some(id) = self.sessions.remove(session_id) else { return };
        if let Some(member) = self.members.get_mut(&id) {
            member.load -= 1;
            self.notify(id, Notice::EndSession(session_id.to_owned()));
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

    pub(super) fn has_others_than(&self, assigned: MemberId, tried: &HashSet<MemberId>) -> bool {
        self.members.iter().any(|(id, member)| *id != assigned && !tried.contains(id) && member.has_room())
    }

    pub(super) fn input(&self, session_id: &str, seq: u64) -> Option<Bytes> {
        let is_it = |task: &&Task| task.job.session_id == session_id && task.job.seq == seq;
        self.tasks.values().find(is_it).map(|task| task.job.input.clone())
    }

    pub(super) fn expected_renditions(&self, task: TaskId) -> Option<usize> {
        self.tasks.get(&task).map(|task| task.job.profiles.len())
    }

    pub(super) fn complete(&mut self, task: TaskId, result: AttemptResult) -> bool {
        self.tasks.remove(&task).is_some_and(|task| task.reply.send(result).is_ok())
    }

    pub(super) fn forget(&mut self, task: TaskId) {
        self.tasks.remove(&task);
    }
}
