//! Growing pauses.
use std::time::Duration;

use rand::Rng;

/// Pauses that double from `first` to `longest`, each shortened by up to a quarter so that nodes do not wait in step.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// Whether no pause was taken since the last success.
    pub(crate) fn is_fresh(&self) -> bool {
        self.next == self.first
    }

    pub(crate) fn next_pause(&mut self) -> Duration {
        let pause = self.next.min(self.longest.max(self.first));
        self.next = self.next.saturating_mul(2).min(self.longest.max(self.first.saturating_mul(2)));
        pause.mul_f64(rand::rng().random_range(0.75..=1.0))
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(4));
        let pauses: Vec<_> = (0..5).map(|_| backoff.next_pause()).collect();
        for (pause, top) in pauses.iter().zip([1, 2, 4, 4, 4]) {
            assert!(*pause <= Duration::from_secs(top) && *pause >= Duration::from_secs(top) * 3 / 4, "{pauses:?}");
        }
        assert!(!backoff.is_fresh());
        backoff.reset();
        assert!(backoff.is_fresh());
    }
}
