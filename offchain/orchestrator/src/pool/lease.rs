//! One segment until somebody has done it: leases, a second transcoder beside one that seems late, the next one after one
//! that failed.
use std::{collections::HashSet, sync::Arc, time::Duration};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use streamflow_wire::{TranscodeError, capability, proto::Capabilities};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

use super::{AttemptResult, MemberId, TaskId, TranscoderPool, registry::Purpose};
use crate::{
    admission::Demand,
    metrics,
    transcode::{Rendition, TranscodeJob, check_renditions},
};

/// A segment that transcoders report as unusable is given to so many of them.
const MAX_SEGMENT_FAILURES: u32 = 2;
/// A lease is this many times what the transcoder is expected to take: then it is thought to hang.
const LEASE_TIMES: u32 = 3;
/// A second transcoder is not asked sooner than after this part of the segment's duration.
const LEAST_HEDGE_PART: u32 = 4;

/// A segment that its sender calls shorter is taken to be as long.
const LEAST_DURATION: Duration = Duration::from_millis(500);

/// When an attempt is late, and when it is given up. Both follow from what the transcoder was measured to take, and from the
/// segment's duration: one that is there within it is in time for the viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) hedge_after: Duration,
    pub(super) lease: Duration,
}

impl Terms {
    pub(super) fn of(expected: Option<Duration>, duration: Duration, deadline: Duration) -> Self {
        let duration = duration.max(LEAST_DURATION);
        let expected = expected.unwrap_or(duration);
        let hedge_after = expected.clamp(duration / LEAST_HEDGE_PART, duration).min(deadline / 2);
        let lease = expected.max(duration).saturating_mul(LEASE_TIMES).min(deadline / 2).max(hedge_after);
        Self { hedge_after, lease }
    }
}

/// A segment in a transcoder's hands. Dropping it gives the attempt up.
#[derive(Debug)]
struct Lease {
    pool: TranscoderPool,
    task: TaskId,
    member: MemberId,
    hedge_at: Instant,
    expires: Instant,
    length: Duration,
    /// Whether a second transcoder was looked for.
    hedged: bool,
    expired: bool,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.lock().forget(self.task);
    }
}

/// All attempts at one segment.
pub(super) struct Attempts {
    pool: TranscoderPool,
    job: Arc<TranscodeJob>,
    demand: Demand,
    needed: Capabilities,
    end: Instant,
    deadline: Duration,
    leases: Vec<Lease>,
    results: FuturesUnordered<BoxFuture<'static, (TaskId, Result<AttemptResult, oneshot::error::RecvError>)>>,
    tried: HashSet<MemberId>,
    segment_failures: u32,
    last_error: Option<TranscodeError>,
}

impl Attempts {
    pub(super) fn new(pool: &TranscoderPool, job: TranscodeJob) -> Self {
        let deadline = (pool.deadline)(job.duration);
        Self {
            pool: pool.clone(),
            demand: Demand::of(&job.profiles, job.duration),
            needed: capability::job(job.source, &job.profiles, false),
            job: Arc::new(job),
            end: Instant::now() + deadline,
            deadline,
            leases: Vec::new(),
            results: FuturesUnordered::new(),
            tried: HashSet::new(),
            segment_failures: 0,
            last_error: None,
        }
    }

    /// The first good result.
    pub(super) async fn run(mut self) -> AttemptResult {
        loop {
            if self.leases.iter().all(|lease| lease.expired)
                && let Err(error) = self.give(Purpose::Own)
                && self.leases.is_empty()
            {
                return Err(self.last_error.unwrap_or(error));
            }
            let wake = self.next_wake();
            tokio::select! { biased;
                Some((task, result)) = self.results.next() => {
                    if let Some(renditions) = self.ended(task, result) {
                        return Ok(renditions);
                    }
                    if self.segment_failures >= MAX_SEGMENT_FAILURES {
                        return Err(self.last_error.unwrap_or(TranscodeError::TranscoderUnavailable));
                    }
                }
                () = sleep_until(wake) => {
                    let now = Instant::now();
                    if now >= self.end {
                        self.expire(now);
                        return Err(self.last_error.unwrap_or(TranscodeError::TranscoderTimeout));
                    }
                    self.hedge(now);
                    self.expire(now);
                }
            }
        }
    }

    fn next_wake(&self) -> Instant {
        let due = |lease: &Lease| match lease {
            Lease { expired: true, .. } => None,
            Lease { hedged: false, hedge_at, .. } => Some(*hedge_at),
            Lease { expires, .. } => Some(*expires),
        };
        self.leases.iter().filter_map(due).min().map_or(self.end, |due| due.min(self.end))
    }

    /// Gives the segment to one more transcoder.
    fn give(&mut self, purpose: Purpose) -> Result<(), TranscodeError> {
        let (reply, result) = oneshot::channel();
        let assigned = self.pool.lock().assign(&self.job, self.demand, &self.needed, purpose, &self.tried, reply)?;
        if !self.tried.is_empty() {
            metrics::segment_reassigned();
        }
        let (task, member, now) = (assigned.task, assigned.member, Instant::now());
        let terms = Terms::of(assigned.expected, self.job.duration, self.deadline);
        self.tried.insert(member);
        self.leases.push(Lease {
            pool: self.pool.clone(),
            task,
            member,
            hedge_at: now + terms.hedge_after,
            expires: now + terms.lease,
            length: terms.lease,
            hedged: false,
            expired: false,
        });
        self.results.push(Box::pin(async move { (task, result.await) }));
        Ok(())
    }

    /// Asks a second transcoder where one seems late.
    fn hedge(&mut self, now: Instant) {
        let mut late = 0;
        for lease in self.leases.iter_mut().filter(|lease| !lease.hedged && lease.hedge_at <= now) {
            lease.hedged = true;
            late += 1;
        }
        for _ in 0..late {
            if self.give(Purpose::Hedge).is_ok() {
                metrics::segment_hedged();
                let (session, seq) = (&self.job.session_id, self.job.seq);
                tracing::debug!(session, seq, "segment seems late: a second transcoder does it too");
            }
        }
    }

    /// A transcoder that lets its lease run out is passed over from then on; what it brings still counts.
    fn expire(&mut self, now: Instant) {
        let end = self.end;
        for lease in self.leases.iter_mut().filter(|lease| !lease.expired && lease.expires.min(end) <= now) {
            lease.expired = true;
            self.last_error = Some(TranscodeError::TranscoderTimeout);
            self.pool.lock().suspend(lease.member, lease.length, now);
        }
    }

    /// The renditions, if they are good; otherwise `self` knows why not.
    fn ended(
        &mut self,
        task: TaskId,
        result: Result<AttemptResult, oneshot::error::RecvError>,
    ) -> Option<Vec<Rendition>> {
        let position = self.leases.iter().position(|lease| lease.task == task);
        let member = position.map(|position| self.leases.swap_remove(position).member);
        match result {
            Ok(Ok(renditions)) => match check_renditions(&renditions, self.job.profiles.len()) {
                Ok(()) => {
                    // Who was better this time has the session from now on.
                    member.inspect(|member| self.pool.lock().keep_with(&self.job.session_id, *member, self.demand));
                    return Some(renditions);
                }
                Err(error) => self.segment_failure(error),
            },
            Ok(Err(error)) if is_about_the_transcoder(&error) => self.last_error = Some(error),
            Ok(Err(error)) => self.segment_failure(error),
            // It left.
            Err(_) => self.last_error = Some(TranscodeError::TranscoderUnavailable),
        }
        None
    }

    fn segment_failure(&mut self, error: TranscodeError) {
        self.segment_failures += 1;
        self.last_error = Some(error);
    }
}

/// A transcoder that has no room or is leaving says nothing about the segment.
fn is_about_the_transcoder(error: &TranscodeError) -> bool {
    matches!(error, TranscodeError::TranscoderBusy | TranscodeError::TranscoderStopped)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn terms_follow_from_what_was_measured_and_the_duration() {
        let terms = |expected: Option<Duration>| Terms::of(expected, ms(2000), ms(8000));
        assert_eq!(terms(None), Terms { hedge_after: ms(2000), lease: ms(4000) });
        assert_eq!(terms(Some(ms(600))), Terms { hedge_after: ms(600), lease: ms(4000) });
        assert_eq!(terms(Some(ms(1))).hedge_after, ms(500));
        assert_eq!(terms(Some(ms(9000))), Terms { hedge_after: ms(2000), lease: ms(4000) });
        let long = Terms::of(Some(ms(1000)), ms(500), ms(8000));
        assert_eq!(long, Terms { hedge_after: ms(500), lease: ms(3000) });
        assert_eq!(Terms::of(None, Duration::ZERO, ms(8000)), Terms::of(None, ms(500), ms(8000)));
    }
}
