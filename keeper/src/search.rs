//! Searching logs backwards.

/// Blocks in one search for logs; nodes refuse more than some 10,000 results.
const LOG_RANGE: u64 = 5_000;

/// The newest `lookback` blocks and the head, newest first, in pieces that a node answers for.
pub(crate) fn ranges(head: u64, lookback: u64) -> impl Iterator<Item = (u64, u64)> {
    let oldest = head.saturating_sub(lookback);
    std::iter::successors(Some(head), move |to| to.checked_sub(LOG_RANGE).filter(|next| *next >= oldest))
        .map(move |to| ((to + 1).saturating_sub(LOG_RANGE).max(oldest), to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_is_searched_once_newest_first() {
        let all = |head, lookback| ranges(head, lookback).collect::<Vec<_>>();
        assert_eq!(all(12_000, 12_000), [(7_001, 12_000), (2_001, 7_000), (0, 2_000)]);
        assert_eq!(all(12_000, 5_000), [(7_001, 12_000), (7_000, 7_000)]);
        assert_eq!(all(12_000, 4_999), [(7_001, 12_000)]);
        assert_eq!(all(3, 50_000), [(0, 3)]);
        assert_eq!(all(0, 1), [(0, 0)]);
    }
}
