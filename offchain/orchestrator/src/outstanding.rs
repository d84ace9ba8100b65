//! What senders owe in winners that are not paid yet, read from the store once in a while instead of three times a segment.
//!
//! What this process adds is seen at once. What others do is seen a moment later: a winner of another desk of the same
//! recipient is counted late, as it is if it is stored a moment later, and one that was paid is counted for too long, which
//! only holds credit back.
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use alloy_primitives::{Address, U256};
use streamflow_store::{Store, StoreError};
use tokio::time::Instant;

/// Age from which a sum is read again.
const LIFE: Duration = Duration::from_millis(500);
/// Senders whose sums are kept; those of one moment more are read every time.
const MOST: usize = 4096;

#[derive(Debug)]
pub(crate) struct Outstanding {
    store: Store,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Grows with every change: a sum that was read before the newest is not kept.
    changes: u64,
    sums: HashMap<Address, (Instant, U256)>,
}

impl Outstanding {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, known: Mutex::default() }
    }

    /// Σ face value of the sender's unpaid winners, wei.
    pub(crate) async fn of(&self, sender: Address) -> Result<U256, StoreError> {
        let now = Instant::now();
        let changes = {
            let known = self.known();
            match known.sums.get(&sender) {
                Some((read, sum)) if now.duration_since(*read) < LIFE => return Ok(*sum),
                _ => known.changes,
            }
        };
        let sum = self.store.outstanding(sender).await?;
        let mut known = self.known();
        if known.sums.len() >= MOST {
            known.sums.retain(|_, (read, _)| now.duration_since(*read) < LIFE);
        }
        if known.changes == changes && known.sums.len() < MOST {
            known.sums.insert(sender, (now, sum));
        }
        Ok(sum)
    }

    /// Winners of these senders were stored.
    pub(crate) fn changed(&self, senders: impl IntoIterator<Item = Address>) {
        let mut known = self.known();
        known.changes += 1;
        for sender in senders {
            known.sums.remove(&sender);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::B256;
    use streamflow_types::{Round, Signature65, SignedTicket, Ticket, WinProb, WinningTicket};

    use super::*;

    const SENDER: Address = Address::repeat_byte(1);

    fn winner(nonce: u32) -> WinningTicket {
        let ticket = Ticket {
            recipient: Address::repeat_byte(2),
            sender: SENDER,
            face_value: U256::from(100),
            win_prob: WinProb::MAX,
            sender_nonce: nonce,
            recipient_rand_hash: B256::repeat_byte(3),
            creation_round: Round(1),
            creation_round_block_hash: B256::repeat_byte(4),
            deployment: None,
        };
        let signed = SignedTicket { ticket, sig: Signature65::new([27; 65]) };
        WinningTicket { signed, recipient_rand: U256::from(nonce), params_expiration_block: 10 }
    }

    #[tokio::test]
    async fn own_winners_count_at_once_and_those_of_others_soon() {
        let store = Store::in_memory().await.unwrap();
        let outstanding = Outstanding::new(store.clone());
        assert_eq!(outstanding.of(SENDER).await.unwrap(), U256::ZERO);
        store.insert_winners(&[winner(1)]).await.unwrap();
        outstanding.changed([SENDER]);
        assert_eq!(outstanding.of(SENDER).await.unwrap(), U256::from(100));
        store.insert_winners(&[winner(2)]).await.unwrap();
        tokio::time::sleep(LIFE).await;
        assert_eq!(outstanding.of(SENDER).await.unwrap(), U256::from(200));
    }
}
