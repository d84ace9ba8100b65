//! Settings of the race for a segment.
use serde::{Deserialize, Serialize};

/// What happens when an orchestrator is slow or fails at a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FailoverConfig {
    /// Segments for which a second orchestrator may be asked while the first is only slow, in percent of a stream's segments.
    /// Each costs its tickets. 0: none. One that failed is always followed by another.
    pub hedge_percent: u32,
    /// Of these, how many may come in a row.
    pub hedge_burst: u32,
    /// How long others are tried for a segment since it came, in percent of its length.
    pub patience_percent: u32,
}

/// Work that several orchestrators do, so that they can be told apart. The first good result is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedundancyConfig {
    /// How many get a segment at once; each is paid, and each result is compared with the source. 1: none does it twice.
    pub orchestrators: u32,
    /// One segment in so many, by chance; 1: each.
    pub every: u32,
}

/// More results of one segment say nothing more.
const MOST: u32 = 8;

impl Default for FailoverConfig {
    fn default() -> Self {
        Self { hedge_percent: 20, hedge_burst: 5, patience_percent: 1000 }
    }
}

impl Default for RedundancyConfig {
    fn default() -> Self {
        Self { orchestrators: 1, every: 1 }
    }
}

impl FailoverConfig {
    /// The first setting that makes no sense, its value, and what would do.
    pub(crate) fn unusable(&self) -> Option<(&'static str, u32, &'static str)> {
        if self.hedge_percent > 100 {
            return Some(("failover.hedge_percent", self.hedge_percent, "0 to 100"));
        }
        if self.hedge_burst == 0 {
            return Some(("failover.hedge_burst", self.hedge_burst, "1 or more; hedge_percent 0 switches hedging off"));
        }
        (self.patience_percent < 100).then_some(("failover.patience_percent", self.patience_percent, "100 or more"))
    }
}

impl RedundancyConfig {
    /// The first setting that makes no sense, its value, and what would do.
    pub(crate) fn unusable(&self) -> Option<(&'static str, u32, &'static str)> {
        if self.orchestrators == 0 || self.orchestrators > MOST {
            return Some(("redundancy.orchestrators", self.orchestrators, "1 to 8"));
        }
        (self.every == 0).then_some(("redundancy.every", self.every, "1 or more"))
    }

    /// How many get the next segment.
    pub(super) fn draw(&self) -> usize {
        let several = self.orchestrators > 1 && rand::random_range(0..self.every.max(1)) == 0;
        if several { self.orchestrators as usize } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_segment_in_so_many_is_done_by_several() {
        let draws = |orchestrators, every| {
            let config = RedundancyConfig { orchestrators, every };
            (0..4000).filter(|_| config.draw() == orchestrators as usize).count()
        };
        assert_eq!(draws(3, 1), 4000);
        assert!((800..1200).contains(&draws(2, 4)), "{}", draws(2, 4));
        assert_eq!(RedundancyConfig::default().draw(), 1);
    }
}
