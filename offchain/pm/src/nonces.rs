//! Numbers already seen under each quote, so that a ticket earns credit once (payments.md §1.7).
use std::collections::{BTreeMap, BTreeSet, HashMap};

use alloy_primitives::{Address, B256};

/// Numbers remembered for one quote; also the most tickets of one payment and of one quote.
pub const MAX_NONCES: usize = 600;

/// Bounded memory of (quote, number) pairs. A quote is forgotten once its params have expired.
#[derive(Debug)]
pub(crate) struct NonceMemory {
    quotes: HashMap<B256, Seen>,
    by_expiration: BTreeMap<u64, Vec<B256>>,
    by_sender: HashMap<Address, usize>,
    max_quotes: usize,
    newest_block: u64,
}

#[derive(Debug)]
struct Seen {
    sender: Address,
    nonces: BTreeSet<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Seen,
    Full,
}

impl NonceMemory {
    pub(crate) fn new(max_quotes: usize) -> Self {
        let (quotes, by_expiration, by_sender) = Default::default();
        Self { quotes, by_expiration, by_sender, max_quotes, newest_block: 0 }
    }

    /// Remembers a number, unless it is known or there is no room. One sender gets at most a quarter of all quotes.
    pub(crate) fn insert(
        &mut self,
        quote: B256,
        sender: Address,
        expiration_block: u64,
        nonce: u32,
    ) -> Result<(), Refusal> {
        if let Some(seen) = self.quotes.get_mut(&quote) {
            if seen.nonces.contains(&nonce) {
                return Err(Refusal::Seen);
            }
            if seen.nonces.len() >= MAX_NONCES {
                return Err(Refusal::Full);
            }
            seen.nonces.insert(nonce);
            return Ok(());
        }
        let of_sender = self.by_sender.get(&sender).copied().unwrap_or(0);
        if self.quotes.len() >= self.max_quotes || of_sender >= self.max_quotes.div_ceil(4) {
            return Err(Refusal::Full);
        }
        self.by_sender.insert(sender, of_sender + 1);
        self.by_expiration.entry(expiration_block).or_default().push(quote);
        self.quotes.insert(quote, Seen { sender, nonces: BTreeSet::from([nonce]) });
        Ok(())
    }

    pub(crate) fn contains(&self, quote: B256, nonce: u32) -> bool {
        self.quotes.get(&quote).is_some_and(|seen| seen.nonces.contains(&nonce))
    }

    /// Forgets quotes that expired at or before `block` and returns the newest block ever given. Expiry must be judged by
    /// that one: when a reorg takes the chain back, forgotten quotes stay expired.
    pub(crate) fn prune(&mut self, block: u64) -> u64 {
        self.newest_block = self.newest_block.max(block);
        let live = self.by_expiration.split_off(&self.newest_block.saturating_add(1));
        for quote in std::mem::replace(&mut self.by_expiration, live).into_values().flatten() {
            let Some(seen) = self.quotes.remove(&quote) else { continue };
            if let Some(count) = self.by_sender.get_mut(&seen.sender) {
                *count -= 1;
                if *count == 0 {
                    self.by_sender.remove(&seen.sender);
                }
            }
        }
        self.newest_block
    }

    pub(crate) fn len(&self) -> usize {
        self.quotes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Address = Address::repeat_byte(1);
    const BOB: Address = Address::repeat_byte(2);

    fn quote(n: u8) -> B256 {
        B256::repeat_byte(n)
    }

    #[test]
    fn six_hundred_numbers_fit_and_no_more() {
        let mut memory = NonceMemory::new(8);
        for nonce in 1..=600 {
            assert_eq!(memory.insert(quote(1), ALICE, 10, nonce), Ok(()));
        }
        assert_eq!(memory.insert(quote(1), ALICE, 10, 601), Err(Refusal::Full));
        assert_eq!(memory.insert(quote(1), ALICE, 10, 600), Err(Refusal::Seen));
        assert_eq!(memory.insert(quote(2), ALICE, 10, 601), Ok(()));
    }

    #[test]
    fn one_sender_cannot_take_all_the_room() {
        let mut memory = NonceMemory::new(8);
        assert_eq!(memory.insert(quote(1), ALICE, 10, 1), Ok(()));
        assert_eq!(memory.insert(quote(2), ALICE, 10, 1), Ok(()));
        assert_eq!(memory.insert(quote(3), ALICE, 10, 1), Err(Refusal::Full));
        assert_eq!(memory.insert(quote(3), BOB, 10, 1), Ok(()));
    }

    #[test]
    fn expired_quotes_make_room() {
        let mut memory = NonceMemory::new(2);
        memory.insert(quote(1), ALICE, 10, 1).unwrap();
        memory.insert(quote(2), BOB, 11, 1).unwrap();
        assert_eq!(memory.insert(quote(3), Address::ZERO, 12, 1), Err(Refusal::Full));
        assert_eq!(memory.prune(10), 10);
        assert_eq!(memory.prune(9), 10);
        assert_eq!(memory.len(), 1);
        assert!(memory.contains(quote(2), 1));
        assert_eq!(memory.insert(quote(3), ALICE, 12, 1), Ok(()));
        memory.prune(u64::MAX);
        assert_eq!((memory.len(), memory.by_sender.len(), memory.by_expiration.len()), (0, 0, 0));
    }
}
