//! What is known of one endpoint. No I/O.
use std::time::{Duration, Instant};

use alloy::{primitives::B256, rpc::types::Filter};

use super::Fault;
use crate::retry::Backoff;

/// How long an endpoint must have been used without fault before its next fault counts as the first.
const CALM: Duration = Duration::from_secs(60);
/// Longest pause that an endpoint may ask for itself.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// What must be right before an endpoint that was caught is used again.
#[derive(Clone, Debug)]
pub(crate) enum Recheck {
    /// The logs that this filter asks for.
    Logs(Box<Filter>),
    /// The receipt of this transaction, as long as its block is in the chain.
    Receipt { transaction: B256, block: u64, block_hash: B256 },
}

#[derive(Clone, Debug)]
pub(crate) struct Left {
    pub(crate) fault: Fault,
    pub(crate) recheck: Option<Recheck>,
    until: Instant,
}

#[derive(Debug)]
pub(crate) struct Health {
    /// Moving average of the time to an answer.
    latency: Option<Duration>,
    left: Option<Left>,
    backoff: Backoff,
    used_since: Instant,
    /// The chain it serves is the right one.
    pub(crate) chain_checked: bool,
    /// Height of its newest block at the last look.
    pub(crate) head: Option<u64>,
}

impl Health {
    pub(crate) fn new(first_pause: Duration, longest_pause: Duration, now: Instant) -> Self {
        Self {
            latency: None,
            left: None,
            backoff: Backoff::new(first_pause, longest_pause),
            used_since: now,
            chain_checked: false,
            head: None,
        }
    }

    /// An answer took this long.
    pub(crate) fn answered(&mut self, took: Duration) {
        self.latency = Some(self.latency.map_or(took, |latency| (latency * 7 + took) / 8));
    }

    pub(crate) fn latency(&self) -> Duration {
        self.latency.unwrap_or(Duration::MAX)
    }

    pub(crate) const fn left(&self) -> Option<&Left> {
        self.left.as_ref()
    }

    /// Leaves it; true if it was in use, or was left for something else.
    pub(crate) fn leave(&mut self, fault: Fault, recheck: Option<Recheck>, now: Instant) -> bool {
        if self.left.is_none() && now.saturating_duration_since(self.used_since) > CALM {
            self.backoff.reset();
        }
        let pause = match &fault {
            Fault::Limited { retry_after: Some(pause) } => (*pause).min(LONGEST_RETRY_AFTER),
            _ => self.backoff.next_pause(),
        };
        let was = self.left.take();
        // A lie that can be looked up again stays the reason, whatever else goes wrong meanwhile.
        let (fault, recheck, is_new) = match was {
            Some(Left { fault: old, recheck: Some(check), .. }) if recheck.is_none() => (old, Some(check), false),
            Some(Left { fault: old, .. }) => {
                let is_new = std::mem::discriminant(&old) != std::mem::discriminant(&fault);
                (fault, recheck, is_new)
            }
            None => (fault, recheck, true),
        };
        if fault.is_untrue() {
            self.chain_checked = false;
        }
        self.left = Some(Left { fault, recheck, until: now + pause });
        is_new
    }

    /// Whether it may be looked at again.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.left.as_ref().is_none_or(|left| left.until <= now)
    }

    /// Time until it may be looked at again.
    pub(crate) fn due_in(&self, now: Instant) -> Duration {
        self.left.as_ref().map_or(Duration::ZERO, |left| left.until.saturating_duration_since(now))
    }

    /// Puts the next look off, while one is under way.
    pub(crate) fn looking(&mut self, now: Instant, patience: Duration) {
        if let Some(left) = &mut self.left {
            left.until = now + patience;
        }
    }

    /// Uses it again; true if it was left.
    pub(crate) fn back(&mut self, now: Instant) -> bool {
        let was_left = self.left.take().is_some();
        if was_left {
            self.used_since = now;
        }
        was_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn silent() -> Fault {
        Fault::Silent { reason: "time-out".into() }
    }

    #[test]
    fn pauses_grow_while_faults_come_back_and_start_over_after_a_calm_time() {
        let start = Instant::now();
        let mut health = Health::new(SECOND, 8 * SECOND, start);
        let mut now = start;
        for longest in [1, 2, 4, 8, 8] {
            assert!(health.leave(silent(), None, now));
            let pause = health.due_in(now);
            assert!(pause <= longest * SECOND && pause * 4 >= longest * SECOND * 3, "{pause:?}");
            assert!(!health.is_due(now) && health.is_due(now + pause));
            now += pause;
            assert!(health.back(now) && !health.back(now));
        }
        now += CALM + SECOND;
        health.leave(silent(), None, now);
        assert!(health.due_in(now) <= SECOND);
    }

    #[test]
    fn a_limit_says_itself_when_to_come_back_within_reason() {
        let now = Instant::now();
        let mut health = Health::new(SECOND, SECOND, now);
        health.leave(Fault::Limited { retry_after: Some(20 * SECOND) }, None, now);
        assert_eq!(health.due_in(now), 20 * SECOND);
        health.leave(Fault::Limited { retry_after: Some(Duration::MAX) }, None, now);
        assert_eq!(health.due_in(now), LONGEST_RETRY_AFTER);
    }

    #[test]
    fn a_lie_stays_the_reason_until_it_is_checked() {
        let now = Instant::now();
        let mut health = Health::new(SECOND, SECOND, now);
        let lie = Fault::FalseLogs { block: B256::ZERO };
        assert!(health.leave(lie.clone(), Some(Recheck::Logs(Box::default())), now));
        assert!(!health.leave(silent(), None, now));
        assert_eq!(health.left().map(|left| &left.fault), Some(&lie));
        assert!(health.left().is_some_and(|left| left.recheck.is_some()));
    }

    #[test]
    fn latency_follows_slowly() {
        let mut health = Health::new(SECOND, SECOND, Instant::now());
        assert_eq!(health.latency(), Duration::MAX, "an endpoint that never answered comes last");
        health.answered(SECOND);
        health.answered(9 * SECOND);
        assert_eq!(health.latency(), 2 * SECOND);
    }
}
