//! Leases of serials (docs/designs/007-serials.md): all quotes of a lease say the same round and expiration block, and
//! neither is lower in any later lease. So the order of serials is the order in which quotes die.
use std::ops::RangeInclusive;

use streamflow_types::{ChainView, Round};

use crate::TicketPolicy;

/// Place of one quote in the order. Not to be copied: a serial is used once.
#[derive(Debug, PartialEq, Eq)]
pub struct Slot {
    pub(crate) serial: u64,
    pub(crate) round: Round,
    pub(crate) expiration_block: u64,
}

impl Slot {
    /// Never zero.
    pub fn serial(&self) -> u64 {
        self.serial
    }
}

/// Serials that belong to one process alone.
#[derive(Debug, PartialEq, Eq)]
pub struct SerialLease {
    left: RangeInclusive<u64>,
    round: Round,
    expiration_block: u64,
}

/// What a replica asks of its lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseTerms {
    /// Round that the quotes are to say.
    pub round: Round,
    /// Lowest and highest expiration block that would do.
    pub expiration_block: RangeInclusive<u64>,
}

impl SerialLease {
    /// The serials of `range`, for quotes that say this round and this expiration block. Serials count from 1.
    pub fn new(range: RangeInclusive<u64>, round: Round, expiration_block: u64) -> Self {
        let left = (*range.start()).max(1)..=*range.end();
        Self { left, round, expiration_block }
    }

    /// Round that its quotes say.
    pub fn round(&self) -> Round {
        self.round
    }

    /// Expiration block that its quotes say.
    pub fn expiration_block(&self) -> u64 {
        self.expiration_block
    }

    /// Lowest serial that is left.
    pub fn first(&self) -> u64 {
        *self.left.start()
    }

    /// Highest serial.
    pub fn last(&self) -> u64 {
        *self.left.end()
    }

    /// The next place, if quotes made at `chain` may still say what those of this lease must.
    pub fn draw(&mut self, policy: &TicketPolicy, chain: &ChainView) -> Option<Slot> {
        let newest = chain.block.saturating_add(policy.params_life_blocks);
        let lowest = newest.saturating_sub(policy.params_life_blocks / 4);
        let highest = newest.saturating_add(policy.params_life_blocks);
        if self.round != chain.round || !(lowest..=highest).contains(&self.expiration_block) {
            return None;
        }
        let serial = self.left.next()?;
        Some(Slot { serial, round: self.round, expiration_block: self.expiration_block })
    }
}

impl TicketPolicy {
    /// What to lease at `chain`. Quotes live for three quarters of the policy's blocks at least, so that a lease serves
    /// for the fourth quarter. They may live for twice as many when another replica's view is ahead; beyond that the order
    /// is not worth the wait.
    pub fn lease_terms(&self, chain: &ChainView) -> LeaseTerms {
        let newest = chain.block.saturating_add(self.params_life_blocks);
        let highest = newest.saturating_add(self.params_life_blocks);
        LeaseTerms { round: chain.round, expiration_block: newest..=highest }
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::B256;

    use super::*;

    fn chain(block: u64, round: u64) -> ChainView {
        ChainView {
            block,
            round: Round(round),
            round_block_hash: B256::repeat_byte(1),
            round_initialized: true,
            pool_size: 1,
            base_fee: 0,
        }
    }

    fn policy() -> TicketPolicy {
        TicketPolicy { params_life_blocks: 40, ..TicketPolicy::default() }
    }

    fn lease() -> SerialLease {
        SerialLease::new(5..=6, Round(7), 140)
    }

    #[test]
    fn every_serial_is_drawn_once() {
        let mut lease = lease();
        let drawn: Vec<_> = std::iter::from_fn(|| lease.draw(&policy(), &chain(100, 7))).collect();
        let slot = |serial| Slot { serial, round: Round(7), expiration_block: 140 };
        assert_eq!(drawn, [slot(5), slot(6)]);
    }

    #[test]
    fn a_lease_serves_its_round_and_a_quarter_of_the_life_of_a_quote() {
        let serves = |block, round| lease().draw(&policy(), &chain(block, round)).is_some();
        assert!(serves(100, 7) && serves(110, 7));
        assert!(!serves(111, 7));
        assert!(!serves(100, 6) && !serves(100, 8));
        // The chain went back, or another replica was ahead.
        assert!(serves(60, 7));
        assert!(!serves(59, 7));
    }

    #[test]
    fn what_is_asked_for_serves_at_once() {
        let (policy, chain) = (policy(), chain(100, 7));
        let terms = policy.lease_terms(&chain);
        assert_eq!((terms.round, terms.expiration_block.clone()), (Round(7), 140..=180));
        for expiration_block in terms.expiration_block {
            assert!(SerialLease::new(1..=1, terms.round, expiration_block).draw(&policy, &chain).is_some());
        }
    }

    #[test]
    fn zero_is_no_serial() {
        let slot = SerialLease::new(0..=1, Round(7), 140).draw(&policy(), &chain(100, 7)).unwrap();
        assert_eq!(slot.serial(), 1);
    }
}
