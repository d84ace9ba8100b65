//! How many attempts may be started beside slow ones.
use std::sync::{Mutex, PoisonError};

use super::FailoverConfig;

/// Parts of one hedge.
const WHOLE: u64 = 100;

/// A bucket that each segment adds a part of a hedge to. It begins full.
#[derive(Debug)]
pub(crate) struct HedgeBudget {
    parts: Mutex<u64>,
    per_segment: u64,
    most: u64,
}

impl HedgeBudget {
    pub(crate) fn new(config: &FailoverConfig) -> Self {
        let most = if config.hedge_percent == 0 { 0 } else { u64::from(config.hedge_burst) * WHOLE };
        Self { parts: Mutex::new(most), per_segment: u64::from(config.hedge_percent), most }
    }

    fn change<T>(&self, change: impl FnOnce(&mut u64) -> T) -> T {
        change(&mut self.parts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a segment.
    pub(crate) fn segment(&self) {
        self.change(|parts| *parts = (*parts + self.per_segment).min(self.most));
    }

    /// Whether there is one, which is then taken.
    pub(crate) fn take(&self) -> bool {
        self.change(|parts| {
            let left = parts.checked_sub(WHOLE);
            *parts = left.unwrap_or(*parts);
            left.is_some()
        })
    }

    /// Gives back one that nobody could be found for.
    pub(crate) fn put_back(&self) {
        self.change(|parts| *parts = (*parts + WHOLE).min(self.most));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(percent: u32, burst: u32, segments: usize) -> usize {
        let budget =
            HedgeBudget::new(&FailoverConfig { hedge_percent: percent, hedge_burst: burst, ..Default::default() });
        let wanted = (0..segments).filter(|_| {
            budget.segment();
            budget.take()
        });
        wanted.count()
    }

    #[test]
    fn in_the_long_run_hedges_keep_to_their_share_of_the_segments() {
        assert_eq!(taken(20, 5, 1000), 204, "200, and the burst that it began with, less what it could not hold");
        assert_eq!(taken(20, 5, 5), 5);
        assert_eq!(taken(100, 1, 1000), 1000);
        assert_eq!(taken(0, 5, 1000), 0);
    }

    #[test]
    fn what_is_put_back_may_be_taken_again_and_no_more() {
        let budget = HedgeBudget::new(&FailoverConfig { hedge_burst: 1, ..Default::default() });
        assert!(budget.take() && !budget.take());
        budget.put_back();
        budget.put_back();
        assert!(budget.take() && !budget.take());
    }
}
