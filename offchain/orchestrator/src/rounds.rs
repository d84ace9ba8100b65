//! The round that quotes name: a new one only once its block is deep enough (docs/designs/024-cover.md).
//!
//! Tickets name the hash of a block that the contract stored when the round began. If a reorganisation replaces that block,
//! the contract stores another hash, and every winner of the round is worthless.
use alloy_primitives::B256;
use streamflow_types::{ChainView, Expiration};

/// A round, when it is first seen with this hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundFacts {
    /// The round and its hash.
    pub current: Expiration,
    /// The round before it; without a hash if its tickets are worth nothing while the current one lasts.
    pub previous: Expiration,
    /// First block of the round after it, if the chain keeps to its schedule.
    pub end_block: u64,
    /// From this block on the hash is deep enough.
    pub deep_from: u64,
}

impl RoundFacts {
    /// Whether the view shows this round, and with this hash.
    pub fn are_of(&self, view: &ChainView) -> bool {
        let shown = Expiration { creation_round: view.round, creation_round_block_hash: view.round_block_hash };
        self.current == shown
    }

    /// The view that quotes are made at. Until the round is deep enough it shows the one before; and none to commit tickets
    /// to, which is a round without a hash, if fewer than `needed` blocks are left in which those can be redeemed.
    pub fn quotable(&self, view: ChainView, needed: u64) -> ChainView {
        if view.block >= self.deep_from {
            return view;
        }
        let lasts = view.round_initialized && view.block.saturating_add(needed) <= self.end_block;
        if !lasts || self.previous.creation_round_block_hash.is_zero() {
            return unquotable(view);
        }
        let Expiration { creation_round, creation_round_block_hash } = self.previous;
        ChainView { round: creation_round, round_block_hash: creation_round_block_hash, ..view }
    }
}

/// The view without a hash to commit tickets to.
pub fn unquotable(view: ChainView) -> ChainView {
    ChainView { round_block_hash: B256::ZERO, ..view }
}

#[cfg(test)]
mod tests {
    use streamflow_types::Round;

    use super::*;

    fn round(round: u64, hash: u8) -> Expiration {
        Expiration { creation_round: Round(round), creation_round_block_hash: B256::repeat_byte(hash) }
    }

    fn facts() -> RoundFacts {
        RoundFacts { current: round(8, 8), previous: round(7, 7), end_block: 1_000, deep_from: 108 }
    }

    fn view(block: u64) -> ChainView {
        ChainView {
            block,
            round: Round(8),
            round_block_hash: B256::repeat_byte(8),
            round_initialized: true,
            pool_size: 3,
            base_fee: 5,
        }
    }

    /// Round and hash that quotes name, with 190 blocks needed.
    fn named(facts: &RoundFacts, view: ChainView) -> Expiration {
        let shown = facts.quotable(view, 190);
        assert_eq!((shown.block, shown.pool_size, shown.base_fee), (view.block, 3, 5));
        Expiration { creation_round: shown.round, creation_round_block_hash: shown.round_block_hash }
    }

    #[test]
    fn quotes_name_the_round_before_until_the_new_one_is_deep() {
        for (block, expected) in [(100, round(7, 7)), (107, round(7, 7)), (108, round(8, 8)), (999, round(8, 8))] {
            assert_eq!(named(&facts(), view(block)), expected, "{block}");
        }
    }

    #[test]
    fn nothing_is_quoted_on_a_round_whose_winners_could_not_be_redeemed() {
        // The round came so late that its predecessor's tickets die too soon.
        let late = RoundFacts { end_block: 296, ..facts() };
        assert_eq!(named(&late, view(106)), round(7, 7));
        assert_eq!(named(&late, view(107)), round(8, 0));
        assert_eq!(named(&late, view(108)), round(8, 8));
        // The next round has begun: round 7 is over.
        let over = ChainView { round_initialized: false, ..view(100) };
        assert_eq!(named(&facts(), over), round(8, 0));
        let first = RoundFacts { previous: round(7, 0), ..facts() };
        assert_eq!(named(&first, view(100)), round(8, 0));
    }

    #[test]
    fn another_hash_of_the_same_round_is_another_round() {
        assert!(facts().are_of(&view(100)));
        assert!(!facts().are_of(&ChainView { round_block_hash: B256::repeat_byte(9), ..view(100) }));
        assert!(!facts().are_of(&ChainView { round: Round(9), ..view(100) }));
    }
}
