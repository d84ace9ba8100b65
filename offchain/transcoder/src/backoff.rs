//! Pauses between attempts to connect.
use std::time::Duration;

/// Doubles from the shortest pause to the longest, until reset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    /// The pause to make now. `jitter` of 0 to 255 spreads peers that lost the same orchestrator over half of it.
    pub(crate) fn pause(&mut self, jitter: u8) -> Duration {
        let pause = self.next;
        self.next = (self.next * 2).min(self.max);
        pause / 2 + pause / 2 * u32::from(jitter) / 255
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        let pauses: Vec<_> = (0..4).map(|_| backoff.pause(255).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 5]);
        backoff.reset();
        assert_eq!(backoff.pause(255), Duration::from_secs(1));
    }

    #[test]
    fn jitter_takes_at_most_half() {
        let pause = |jitter| Backoff::new(Duration::from_secs(2), Duration::from_secs(2)).pause(jitter);
        assert_eq!(pause(0), Duration::from_secs(1));
        assert!(pause(1) > pause(0) && pause(255) == Duration::from_secs(2));
    }
}
