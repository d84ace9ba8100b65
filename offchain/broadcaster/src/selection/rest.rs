//! Rests: after a failure a suspension, after "busy" a short back-off.
//!
//! A rest ends by the clock and by nothing else, so that it neither ends early nor lasts for ever, however many rests there
//! were before (node.md §5.3 tells of a counter that lets later failures go unpunished).
use std::time::Duration;

use tokio::time::Instant;

const FIRST_SUSPENSION: Duration = Duration::from_secs(2);
const LONGEST_SUSPENSION: Duration = Duration::from_secs(60);
const FIRST_BACK_OFF: Duration = Duration::from_millis(500);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(8);
/// After so long without a failure the next one counts as the first.
const FORGIVEN: Duration = Duration::from_secs(600);

/// Why it rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RestKind {
    /// It has no room now; no fault.
    Busy,
    /// It failed.
    Suspended,
    /// It was caught. Good work does not end that.
    Convicted,
}

/// When an orchestrator may be asked again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rest {
    until: Option<Instant>,
    kind: Option<RestKind>,
    failures_in_row: u32,
    busy_in_row: u32,
}

impl Rest {
    /// It failed: rests twice as long as the last time.
    pub(crate) fn suspend(&mut self, now: Instant) {
        self.forgive(now);
        let pause = doubled(FIRST_SUSPENSION, self.failures_in_row, LONGEST_SUSPENSION);
        self.failures_in_row = self.failures_in_row.saturating_add(1);
        self.rest(RestKind::Suspended, now + pause, now);
    }

    /// It has no room: asked again soon.
    pub(crate) fn back_off(&mut self, now: Instant) {
        self.forgive(now);
        let pause = doubled(FIRST_BACK_OFF, self.busy_in_row, LONGEST_BACK_OFF);
        self.busy_in_row = self.busy_in_row.saturating_add(1);
        self.rest(RestKind::Busy, now + pause, now);
    }

    /// It was caught.
    pub(crate) fn convict(&mut self, until: Instant, now: Instant) {
        self.rest(RestKind::Convicted, until, now);
    }

    /// It was not up yet when it was asked before. Only a verdict stays.
    pub(crate) fn begin(&mut self) {
        if self.kind != Some(RestKind::Convicted) {
            *self = Self::default();
        }
    }

    /// It works.
    pub(crate) fn end(&mut self) {
        let kind = self.kind.filter(|kind| *kind == RestKind::Convicted);
        *self = Self { until: self.until.take(), kind, ..Self::default() };
    }

    /// A shorter rest does not cut a longer one.
    fn rest(&mut self, kind: RestKind, until: Instant, now: Instant) {
        if self.left(now).is_some_and(|(_, left)| now + left > until) {
            return;
        }
        (self.kind, self.until) = (Some(kind), Some(until));
    }

    fn forgive(&mut self, now: Instant) {
        if self.until.is_none_or(|until| now.saturating_duration_since(until) >= FORGIVEN) {
            (self.failures_in_row, self.busy_in_row) = (0, 0);
        }
    }

    /// How it rests, and for how much longer; `None` once it may be asked again.
    pub(crate) fn left(&self, now: Instant) -> Option<(RestKind, Duration)> {
        let left = self.until?.saturating_duration_since(now);
        self.kind.filter(|_| !left.is_zero()).map(|kind| (kind, left))
    }

    /// Whether it has not rested for at least `span`.
    pub(crate) fn calm_for(&self, span: Duration, now: Instant) -> bool {
        self.until.is_none_or(|until| until + span <= now)
    }

    #[cfg(test)]
    fn failures_in_row(&self) -> u32 {
        self.failures_in_row
    }
}

/// A pause that doubles each time, up to the longest.
pub(crate) fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(rest: &Rest, now: Instant) -> u128 {
        rest.left(now).map_or(0, |(_, left)| left.as_millis())
    }

    #[test]
    fn a_failing_one_rests_longer_each_time_and_not_forever() {
        let (mut rest, mut now) = (Rest::default(), Instant::now());
        let mut rests = Vec::new();
        for _ in 0..8 {
            rest.suspend(now);
            rests.push(millis(&rest, now));
            now += rest.left(now).unwrap().1;
            assert_eq!(rest.left(now), None, "it ends by the clock alone");
        }
        assert_eq!(rests, [2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
    }

    /// The hazard of node.md §5.3: there, the more refreshes, the less a failure suspends.
    #[test]
    fn a_failure_suspends_however_many_were_before_it() {
        let (mut rest, mut now) = (Rest::default(), Instant::now());
        for _ in 0..1000 {
            rest.suspend(now);
            assert!(millis(&rest, now) >= 2000);
            now += LONGEST_SUSPENSION;
            rest.end();
            assert_eq!(rest.left(now), None);
        }
        rest.suspend(now);
        assert_eq!(millis(&rest, now), 2000, "as the first time, because it worked in between");
    }

    #[test]
    fn busy_is_a_short_back_off_and_no_failure() {
        let (mut rest, now) = (Rest::default(), Instant::now());
        let rests: Vec<u128> = (0..6).map(|_| (rest.back_off(now), millis(&rest, now)).1).collect();
        assert_eq!(rests, [500, 1000, 2000, 4000, 8000, 8000]);
        assert_eq!((rest.failures_in_row(), rest.left(now).unwrap().0), (0, RestKind::Busy));
        rest.suspend(now);
        assert_eq!(millis(&rest, now), 8000, "the longer of the two");
    }

    #[test]
    fn good_work_does_not_end_a_verdict() {
        let (mut rest, now) = (Rest::default(), Instant::now());
        rest.convict(now + Duration::from_secs(3600), now);
        rest.end();
        rest.suspend(now);
        assert_eq!(rest.left(now), Some((RestKind::Convicted, Duration::from_secs(3600))));
    }

    #[test]
    fn an_old_failure_is_forgiven() {
        let (mut rest, now) = (Rest::default(), Instant::now());
        rest.suspend(now);
        rest.suspend(now);
        let later = now + LONGEST_SUSPENSION + FORGIVEN;
        rest.suspend(later);
        assert_eq!(millis(&rest, later), 2000);
    }
}
