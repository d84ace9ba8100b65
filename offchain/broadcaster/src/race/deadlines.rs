//! Deadlines of an attempt: multiples of what was measured on its way, within multiples of the segment's length
//! (node.md §2.5, §10 row 13).
use std::time::Duration;

use super::Link;
use crate::selection::counted_length;

/// What is measured may take so many times as long.
const SLACK: u32 = 4;

/// What an attempt has to move and do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Length of the segment.
    pub(crate) segment: Duration,
    /// Time that it may take by the settings.
    pub(crate) deadline: Duration,
    /// Bytes of the segment.
    pub(crate) up: u64,
    /// Bytes of the renditions, as asked for.
    pub(crate) down: u64,
}

/// How long parts of an attempt may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadlines {
    /// From the start to the status line. Then another one is asked, and this one goes on.
    pub(crate) upload: Duration,
    /// From the start to the end. Then another one is asked, and this one goes on.
    pub(crate) whole: Duration,
    /// From the result to the last rendition.
    pub(crate) fetch: Duration,
    /// Until when an answer is waited for at all: it is still good for the books.
    pub(crate) last: Duration,
}

impl Deadlines {
    /// For a way that was measured, or not, and a predicted time, if there is one.
    pub(crate) fn new(load: Load, link: &Link, predicted: Option<Duration>, multiplier: u32) -> Self {
        let unit = counted_length(load.segment);
        let within = |known: Option<Duration>, least: Duration, most: Duration, unknown: Duration| {
            known.map_or(unknown, |known| known.saturating_mul(SLACK).clamp(least, most)).saturating_mul(multiplier)
        };
        let upload = within(link.upload(load.up), unit / 4, unit * 2, unit);
        let longest = unit.max(load.deadline).saturating_mul(SLACK);
        let whole = within(predicted, load.deadline, longest, longest).max(upload);
        let fetch = within(link.download(load.down), unit / 2, unit * 4, unit * 2);
        let last = longest.saturating_mul(multiplier).max(whole);
        Self { upload, whole, fetch, last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEGABYTE: u64 = 1_000_000;

    fn load(seconds: u64) -> Load {
        let segment = Duration::from_secs(seconds);
        Load { segment, deadline: segment, up: MEGABYTE, down: MEGABYTE }
    }

    fn millis(deadlines: Deadlines) -> [u128; 4] {
        let Deadlines { upload, whole, fetch, last } = deadlines;
        [upload, whole, fetch, last].map(|part| part.as_millis())
    }

    #[test]
    fn where_nothing_is_measured_they_are_multiples_of_the_length() {
        let unknown = |seconds, multiplier| millis(Deadlines::new(load(seconds), &Link::default(), None, multiplier));
        assert_eq!(unknown(2, 1), [2000, 8000, 4000, 8000]);
        assert_eq!(unknown(10, 1), [10_000, 40_000, 20_000, 40_000]);
        assert_eq!(unknown(2, 3), [6000, 24_000, 12_000, 24_000]);
    }

    #[test]
    fn they_follow_the_measured_bandwidth_and_the_predicted_time() {
        let mut link = Link::default();
        link.uploaded(MEGABYTE, Duration::from_millis(300));
        link.downloaded(MEGABYTE, Duration::from_millis(500));
        let known = |link: &Link, predicted| millis(Deadlines::new(load(2), link, Some(predicted), 1));
        assert_eq!(known(&link, Duration::from_millis(700)), [1200, 2800, 2000, 8000]);
        let mut slow = Link::default();
        slow.uploaded(MEGABYTE, Duration::from_secs(9));
        slow.downloaded(MEGABYTE, Duration::from_secs(9));
        assert_eq!(known(&slow, Duration::from_secs(9)), [4000, 8000, 8000, 8000], "never without end");
        let mut fast = Link::default();
        fast.uploaded(MEGABYTE, Duration::from_millis(1));
        fast.downloaded(MEGABYTE, Duration::from_millis(1));
        assert_eq!(known(&fast, Duration::from_millis(1)), [500, 2000, 1000, 8000], "a hiccup is no failure");
    }
}
