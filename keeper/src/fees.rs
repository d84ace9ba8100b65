//! What gas has cost in the recent blocks: read again from the node after a start, grown by the heads seen since.

use std::collections::BTreeMap;

use alloy::{eips::BlockNumberOrTag, providers::Provider};
use streamflow_chain::{BlockHeader, Chain};

/// Blocks that a node tells in one answer; others cut what is above it.
const PIECE: u64 = 1_024;
/// Blocks of which the price is remembered at most; of a longer time, every second, third … block.
const SAMPLES: u64 = 8_192;

/// Base fees by block.
#[derive(Debug, Default)]
pub(crate) struct FeeHistory {
    by_block: BTreeMap<u64, u128>,
    /// Whether the node has been asked for the time before the first head.
    asked: bool,
}

impl FeeHistory {
    /// Learns the fee of this head, and what is missing of the `window` blocks before it. A node that cannot tell leaves
    /// what the heads have told.
    pub(crate) async fn follow(&mut self, chain: &Chain, head: &BlockHeader, window: u64) {
        let known = self.by_block.last_key_value().map(|(block, _)| *block);
        // A reorganisation changes the fees of a few blocks, which a median does not notice.
        let missing = match known {
            Some(known) => head.number.saturating_sub(known).saturating_sub(1).min(window),
            None if self.asked => 0,
            None => window.min(head.number),
        };
        if missing > 0 {
            self.read(chain, head.number.saturating_sub(1), missing).await;
        }
        self.asked = true;
        self.record(head.number, head.base_fee, window);
    }

    /// Reads `count` blocks up to `newest`, in pieces, newest first.
    async fn read(&mut self, chain: &Chain, newest: u64, count: u64) {
        let mut newest = newest;
        let mut left = count.min(SAMPLES);
        while left > 0 {
            let piece = left.min(PIECE);
            let answer = chain.rpc.provider().get_fee_history(piece, BlockNumberOrTag::Number(newest), &[]).await;
            let fees = match answer {
                Ok(answer) => answer.base_fee_per_gas,
                Err(err) => {
                    tracing::debug!(%err, newest, "the node tells no older gas prices");
                    return;
                }
            };
            // One more than asked for: the next block's.
            let told = fees.len().saturating_sub(1).min(usize::try_from(piece).unwrap_or(usize::MAX));
            let oldest = (newest + 1).saturating_sub(told as u64);
            self.by_block.extend((oldest..).zip(fees.into_iter().take(told)));
            if told == 0 || oldest == 0 {
                return;
            }
            newest = oldest - 1;
            left = left.saturating_sub(told as u64);
        }
    }

    fn record(&mut self, block: u64, fee: u128, window: u64) {
        let stride = window.div_ceil(SAMPLES).max(1);
        let newest = self.by_block.last_key_value().map(|(block, _)| *block);
        if newest.is_none_or(|newest| block < newest || block - newest >= stride) {
            // A head below the newest: the chain went back.
            self.by_block.split_off(&block);
            self.by_block.insert(block, fee);
        }
        self.by_block = self.by_block.split_off(&block.saturating_sub(window));
    }

    /// Median wei per gas; the lower of the two in the middle. `None` until `least` blocks are known.
    pub(crate) fn median(&self, least: usize) -> Option<u128> {
        let mut fees: Vec<u128> = self.by_block.values().copied().collect();
        if fees.len() < least.max(1) {
            return None;
        }
        let middle = (fees.len() - 1) / 2;
        Some(*fees.select_nth_unstable(middle).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(fees: &[u128], window: u64) -> FeeHistory {
        let mut history = FeeHistory::default();
        for (block, fee) in (1..).zip(fees) {
            history.record(block, *fee, window);
        }
        history
    }

    #[test]
    fn the_median_is_that_of_the_window() {
        assert_eq!(history(&[9, 1, 5], 100).median(1), Some(5));
        assert_eq!(history(&[9, 1, 5, 7], 100).median(1), Some(5), "the lower of two");
        assert_eq!(history(&[90, 90, 90, 1, 2, 3], 2).median(1), Some(2));
        assert_eq!(history(&[1, 2], 100).median(3), None);
        assert_eq!(history(&[], 100).median(0), None);
    }

    #[test]
    fn a_chain_that_went_back_is_followed() {
        let mut history = history(&[9, 9, 9, 9], 100);
        history.record(2, 1, 100);
        assert_eq!(history.by_block.values().copied().collect::<Vec<_>>(), [9, 1]);
    }

    #[test]
    fn a_long_window_is_sampled() {
        let mut history = FeeHistory::default();
        for block in 0..SAMPLES * 3 {
            history.record(block, 1, SAMPLES * 3);
        }
        assert!(history.by_block.len() as u64 <= SAMPLES + 1);
    }
}
