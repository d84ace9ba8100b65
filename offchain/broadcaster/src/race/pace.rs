//! How long segments took of late, exactly, and when another is started beside a slow one.
use std::{collections::VecDeque, time::Duration};

use crate::selection::counted_length;

/// Measurements kept; older ones tell of another time.
const KEPT: usize = 128;
/// With fewer, a quantile says nothing.
const FEWEST: usize = 8;
/// One in twenty is slower: it is not waited for any longer.
const SLOW: usize = 95;
/// Below this, another one would double the work for nothing.
const USUAL: usize = 75;

/// The newest measurements: time for a segment over its length.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace(VecDeque<f64>);

impl Pace {
    pub(crate) fn add(&mut self, took: Duration, segment: Duration) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(took.as_secs_f64() / counted_length(segment).as_secs_f64());
    }

    /// The smallest measurement that at least `percent` of all do not exceed, for a segment of this length.
    fn quantile(&self, percent: usize, segment: Duration) -> Option<Duration> {
        if self.0.len() < FEWEST {
            return None;
        }
        let mut sorted: Vec<f64> = self.0.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() * percent).div_ceil(100).clamp(1, sorted.len());
        let seconds = sorted[rank - 1] * counted_length(segment).as_secs_f64();
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }
}

/// What decides when another is started beside an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HedgePoint {
    /// Nineteen in twenty are done by then.
    learned: Duration,
    /// Three in four are: it is not started before.
    usual: Duration,
    /// Time that the other one is given.
    alternative: Duration,
}

impl HedgePoint {
    /// From what one orchestrator took, or all; half the deadline where nothing is known. `alternative` is what the fastest
    /// other one is predicted to need; it is given twice that.
    pub(crate) fn new(
        own: &Pace,
        all: &Pace,
        alternative: Option<Duration>,
        segment: Duration,
        deadline: Duration,
    ) -> Self {
        let known = |percent| own.quantile(percent, segment).or_else(|| all.quantile(percent, segment));
        let learned = known(SLOW).unwrap_or(deadline / 2);
        let usual = known(USUAL).unwrap_or(deadline / 8).min(learned);
        let alternative = alternative.or_else(|| all.quantile(USUAL, segment));
        let alternative = alternative.map_or(deadline / 2, |known| known.saturating_mul(2));
        Self { learned, usual, alternative }
    }

    /// Time from the start of an attempt that has `left` until its deadline: the learned one, but early enough that the
    /// other can still keep the deadline.
    pub(crate) fn after(&self, left: Duration) -> Duration {
        self.learned.min(left.saturating_sub(self.alternative)).max(self.usual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: Duration = Duration::from_secs(2);

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn pace(measured: impl IntoIterator<Item = u64>) -> Pace {
        let mut pace = Pace::default();
        measured.into_iter().for_each(|took| pace.add(millis(took), SEGMENT));
        pace
    }

    fn rounded(duration: Option<Duration>) -> Option<u128> {
        duration.map(|duration| (duration + Duration::from_micros(1)).as_millis())
    }

    #[test]
    fn the_quantile_is_a_measurement_and_exact() {
        let hundred = pace((1..=100).rev());
        for (percent, expected) in [(50, 50), (95, 95), (96, 96), (100, 100), (1, 1)] {
            assert_eq!(rounded(hundred.quantile(percent, SEGMENT)), Some(expected));
        }
        assert_eq!(rounded(pace(1..=20).quantile(95, SEGMENT)), Some(19));
        assert_eq!(rounded(pace(1..=8).quantile(95, SEGMENT)), Some(8));
        assert_eq!(
            rounded(hundred.quantile(95, SEGMENT * 2)),
            Some(190),
            "a segment twice as long takes twice as long"
        );
    }

    #[test]
    fn few_measurements_say_nothing_and_old_ones_are_forgotten() {
        assert_eq!(pace(1..=7).quantile(95, SEGMENT), None);
        let mut pace = pace([9000; KEPT]);
        (0..KEPT).for_each(|_| pace.add(millis(100), SEGMENT));
        assert_eq!((pace.0.len(), rounded(pace.quantile(100, SEGMENT))), (KEPT, Some(100)));
    }

    #[test]
    fn another_is_started_after_the_learned_time_of_the_one_or_of_all() {
        let (unknown, quick, slow) = (Pace::default(), pace([200; 20]), pace([600; 20]));
        let after = |own: &Pace, all: &Pace| HedgePoint::new(own, all, None, SEGMENT, SEGMENT).after(SEGMENT);
        assert_eq!(rounded(Some(after(&quick, &slow))), Some(200));
        assert_eq!(rounded(Some(after(&unknown, &slow))), Some(600));
        assert_eq!(after(&unknown, &unknown), SEGMENT / 2, "a share of the segment");
    }

    #[test]
    fn another_is_started_while_it_can_keep_the_deadline_but_not_before_the_usual_time() {
        let stalled = pace((0..20).map(|n| if n < 17 { 200 } else { 8000 }));
        let point = HedgePoint::new(&stalled, &stalled, Some(millis(300)), SEGMENT, SEGMENT);
        assert_eq!(point.after(SEGMENT), millis(1400), "twice its 300 ms before the deadline");
        assert_eq!(rounded(Some(point.after(millis(500)))), Some(200), "too late already");
    }
}
