//! Settings of the selection.
use std::time::Duration;

use serde::{Deserialize, Serialize};
use streamflow_types::Price;

/// How an orchestrator is chosen among those that may be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SelectionConfig {
    /// What counts how much where several of the market could do the work.
    pub weights: Weights,
    /// Price at which the weight of the price has fallen to 37 percent of that of a free one.
    pub price_scale: Price,
    /// Time that a segment may take, in percent of its length. A stream leaves an orchestrator that is predicted to need more.
    pub deadline_percent: u32,
    /// Standard deviations that a prediction adds to the mean.
    pub sigmas: u32,
}

/// Percent; together 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Weights {
    /// Cheaper is better.
    pub price: u32,
    /// Faster is better, by our own measurements.
    pub latency: u32,
    /// More stake is better.
    pub stake: u32,
    /// Fewer failures are better.
    pub history: u32,
    /// The same for everybody, so that newcomers are tried.
    pub random: u32,
}

/// Why settings of the selection cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// The weights are shares of a whole.
    #[error(
        "broadcaster.selection.weights add up to {0}, not to 100: price, latency, stake, history and random are percent"
    )]
    Weights(u64),
    /// Nothing would ever be done in time.
    #[error("broadcaster.selection.deadline_percent is {0}: a segment needs some time, 100 is its own length")]
    Deadline(u32),
    /// A division by it.
    #[error("broadcaster.selection.price_scale must not be free")]
    PriceScale,
}

/// A shorter segment has the deadline of one of this length (node.md §5.3).
const SHORTEST: Duration = Duration::from_millis(1500);

impl Default for SelectionConfig {
    fn default() -> Self {
        Self {
            weights: Weights::default(),
            price_scale: Price::new(100, 1).unwrap_or(Price::FREE),
            deadline_percent: 100,
            sigmas: 2,
        }
    }
}

impl Default for Weights {
    fn default() -> Self {
        Self { price: 25, latency: 25, stake: 25, history: 10, random: 15 }
    }
}

impl SelectionConfig {
    /// Checks what the types cannot.
    pub(crate) fn validate(&self) -> Result<(), SelectionError> {
        let Weights { price, latency, stake, history, random } = self.weights;
        let sum = [price, latency, stake, history, random].into_iter().map(u64::from).sum();
        if sum != 100 {
            return Err(SelectionError::Weights(sum));
        }
        if self.deadline_percent == 0 {
            return Err(SelectionError::Deadline(self.deadline_percent));
        }
        if self.price_scale.is_free() { Err(SelectionError::PriceScale) } else { Ok(()) }
    }

    /// When a segment of this length should be done.
    pub(crate) fn deadline(&self, segment: Duration) -> Duration {
        counted_length(segment).saturating_mul(self.deadline_percent) / 100
    }
}

/// The length that latencies are measured against.
pub(crate) fn counted_length(segment: Duration) -> Duration {
    segment.max(SHORTEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_that_are_no_whole_are_refused_with_their_sum() {
        let weights = Weights { random: 16, ..Weights::default() };
        let refused = SelectionConfig { weights, ..Default::default() }.validate().unwrap_err();
        assert!(refused.to_string().contains("add up to 101, not to 100"), "{refused}");
        assert_eq!(SelectionConfig::default().validate(), Ok(()));
    }

    #[test]
    fn a_deadline_of_nothing_is_refused() {
        let refused = SelectionConfig { deadline_percent: 0, ..Default::default() }.validate();
        assert_eq!(refused, Err(SelectionError::Deadline(0)));
        let free = SelectionConfig { price_scale: Price::FREE, ..Default::default() }.validate();
        assert_eq!(free, Err(SelectionError::PriceScale));
    }

    #[test]
    fn the_deadline_is_the_length_of_the_segment_with_a_floor() {
        let config = SelectionConfig::default();
        assert_eq!(config.deadline(Duration::from_secs(2)), Duration::from_secs(2));
        assert_eq!(config.deadline(Duration::from_millis(200)), SHORTEST);
    }
}
