//! How long an orchestrator takes, by our own measurements, and how long it will take.
use std::time::Duration;

use tokio::time::Instant;

use super::config::counted_length;

/// Share of the newest measurement.
const NEWEST: f64 = 0.25;
/// What is older says nothing about now: the orchestrator counts as unknown, and may be tried again.
const LIFE: Duration = Duration::from_secs(60);
/// One measurement alone predicts nothing: the first segment of a session is slow everywhere.
const FEWEST: u32 = 2;

/// Moving mean and variance of the time for a segment, over its length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    mean: f64,
    variance: f64,
    /// Mean and variance before the newest measurement.
    before: (f64, f64),
    samples: u32,
    /// Whether the newest measurement was far beyond those before.
    was_outlier: bool,
    at: Instant,
}

impl Latency {
    pub(crate) fn first(took: Duration, segment: Duration, now: Instant) -> Self {
        let mean = ratio(took, segment);
        Self::known(mean, mean / 4.0, 1, now)
    }

    /// From what was remembered.
    pub(crate) fn known(mean: f64, deviation: f64, samples: u32, now: Instant) -> Self {
        let variance = deviation * deviation;
        Self { mean, variance, before: (mean, variance), samples, was_outlier: false, at: now }
    }

    /// Takes a measurement in. A single outlier counts as no more than three deviations, or half as much again; the next one
    /// in a row is believed.
    pub(crate) fn add(&mut self, took: Duration, segment: Duration, now: Instant) {
        if now.saturating_duration_since(self.at) >= LIFE {
            *self = Self::first(took, segment, now);
            return;
        }
        let furthest = self.mean + (3.0 * self.deviation()).max(self.mean / 2.0);
        let measured = ratio(took, segment);
        let is_outlier = measured > furthest;
        let counted = if is_outlier && !self.was_outlier { furthest } else { measured };
        let distance = counted - self.mean;
        self.was_outlier = is_outlier;
        self.before = (self.mean, self.variance);
        self.mean += NEWEST * distance;
        self.variance = (1.0 - NEWEST) * (self.variance + NEWEST * distance * distance);
        self.samples = self.samples.saturating_add(1);
        self.at = now;
    }

    /// Time for a segment with `ahead` others before it in the same session; `None` while not enough is known. The newest
    /// measurement alone makes no prediction worse.
    pub(crate) fn predict(&self, segment: Duration, ahead: u32, sigmas: u32, now: Instant) -> Option<Duration> {
        if self.samples < FEWEST || now.saturating_duration_since(self.at) >= LIFE {
            return None;
        }
        let estimate = |(mean, variance): (f64, f64)| mean + f64::from(sigmas) * variance.sqrt();
        let own = estimate((self.mean, self.variance)).min(estimate(self.before));
        let ratio = own + f64::from(ahead) * self.mean;
        Some(Duration::try_from_secs_f64(ratio * counted_length(segment).as_secs_f64()).unwrap_or(Duration::MAX))
    }

    pub(crate) fn mean(&self) -> f64 {
        self.mean
    }

    pub(crate) fn deviation(&self) -> f64 {
        self.variance.sqrt()
    }

    #[cfg(test)]
    fn samples(&self) -> u32 {
        self.samples
    }
}

fn ratio(took: Duration, segment: Duration) -> f64 {
    took.as_secs_f64() / counted_length(segment).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: Duration = Duration::from_secs(2);

    fn after(millis: &[u64], now: Instant) -> Latency {
        let mut measured = millis.iter().map(|millis| Duration::from_millis(*millis));
        let mut latency = Latency::first(measured.next().unwrap(), SEGMENT, now);
        measured.for_each(|took| latency.add(took, SEGMENT, now));
        latency
    }

    fn is_late(latency: &Latency, now: Instant) -> bool {
        latency.predict(SEGMENT, 0, 2, now).is_some_and(|predicted| predicted > SEGMENT)
    }

    #[test]
    fn one_slow_segment_predicts_nothing() {
        let now = Instant::now();
        assert!(!is_late(&after(&[9000], now), now), "the first one");
        for usual in [200, 800, 1200] {
            let mut steady = vec![usual; 12];
            steady.push(60_000);
            assert!(!is_late(&after(&steady, now), now), "{usual} ms");
            steady.push(usual);
            assert!(!is_late(&after(&steady, now), now), "{usual} ms, and back to it");
        }
    }

    #[test]
    fn several_slow_segments_predict_a_missed_deadline() {
        let now = Instant::now();
        let mut steady = vec![500; 12];
        steady.extend([4000; 5]);
        assert!(is_late(&after(&steady, now), now));
    }

    #[test]
    fn wide_variance_is_late_although_the_mean_is_not() {
        let now = Instant::now();
        let wild: Vec<u64> = (0..20).map(|n| if n % 2 == 0 { 400 } else { 2600 }).collect();
        let latency = after(&wild, now);
        assert!(latency.mean() < 1.0 && is_late(&latency, now), "{latency:?}");
    }

    #[test]
    fn segments_ahead_are_waited_for() {
        let now = Instant::now();
        let latency = after(&[900; 8], now);
        assert!(!is_late(&latency, now));
        assert!(latency.predict(SEGMENT, 2, 2, now).unwrap() > SEGMENT);
    }

    #[test]
    fn what_is_old_says_nothing_any_more() {
        let now = Instant::now();
        let mut latency = after(&[9000; 5], now);
        assert!(is_late(&latency, now));
        assert_eq!(latency.predict(SEGMENT, 0, 2, now + LIFE), None);
        latency.add(Duration::from_millis(100), SEGMENT, now + LIFE);
        assert_eq!(latency.samples(), 1, "it begins anew");
    }
}
