//! Telling the keeper which params are closed: it passes a ticket only when no other can come below it
//! (docs/designs/023-closing.md).
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use alloy_primitives::Address;
use streamflow_pm::QuoteDomain;
use streamflow_store::{DESK_TIMEOUT, DeskId, Store, StoreError};
use tokio::time::Instant;

/// A desk that the store has not heard of for this time takes no tickets for credit: the keeper is about to forget it.
const UNHEARD_AFTER: Duration = Duration::from_secs(DESK_TIMEOUT.as_secs() * 3 / 4);
/// Longest time between two words to the store while no block comes.
const REPEAT: Duration = Duration::from_secs(10);

/// What this process has closed.
#[derive(Debug)]
pub(crate) struct Closing {
    store: Store,
    domain: QuoteDomain,
    recipient: Address,
    desk: DeskId,
    told: Mutex<Option<Told>>,
    under_way: Arc<Mutex<BTreeMap<u64, usize>>>,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    block: u64,
    /// Before the store was asked, so that it heard no earlier.
    at: Instant,
}

/// A payment under way. What it wins is stored when this is dropped, or counted as unsaved.
#[derive(Debug)]
pub(crate) struct UnderWay {
    block: u64,
    all: Arc<Mutex<BTreeMap<u64, usize>>>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut all = lock(&self.all);
        if let Some(count) = all.get_mut(&self.block) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.block);
            }
        }
    }
}

impl Closing {
    pub(crate) fn new(store: Store, domain: QuoteDomain, recipient: Address) -> Self {
        let (told, under_way) = Default::default();
        Self { store, domain, recipient, desk: DeskId(rand::random()), told, under_way }
    }

    /// To be called before a payment is looked at on the state of `block`.
    pub(crate) fn begin(&self, block: u64) -> UnderWay {
        *lock(&self.under_way).entry(block).or_default() += 1;
        UnderWay { block, all: Arc::clone(&self.under_way) }
    }

    /// Time since the store last took notice, if that is too long to take tickets; `None` if it is not.
    pub(crate) fn unheard_for(&self) -> Option<Duration> {
        match *lock(&self.told) {
            Some(told) => Some(told.at.elapsed()).filter(|silence| *silence >= UNHEARD_AFTER),
            None => Some(Duration::ZERO),
        }
    }

    /// Tells the store, if there is news, that params that expired by `block` are closed here: no payment that begins from
    /// now on may earn credit on them. Those under way may have, and so may winners that are not stored yet, of which
    /// `first_unsaved` is the earliest expiry.
    pub(crate) async fn tell(&self, block: u64, first_unsaved: Option<u64>) -> Result<(), StoreError> {
        let oldest = lock(&self.under_way).first_key_value().map(|(block, _)| *block);
        let open = [oldest, first_unsaved.map(|expiry| expiry.saturating_sub(1))];
        let block = open.into_iter().flatten().fold(block, u64::min);
        let at = Instant::now();
        let is_news = |told: Told| told.block < block || told.at.elapsed() >= REPEAT;
        if !lock(&self.told).is_none_or(is_news) {
            return Ok(());
        }
        self.store.close_params(&self.domain, self.recipient, self.desk, block).await?;
        *lock(&self.told) = Some(Told { block, at });
        Ok(())
    }

    /// The process ends and has stored everything.
    pub(crate) async fn leave(&self) -> Result<(), StoreError> {
        self.store.leave_desk(&self.domain, self.recipient, self.desk).await
    }
}

/// Nothing panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAIN: QuoteDomain = QuoteDomain { chain_id: 31337, broker: Address::repeat_byte(0xbb) };
    const RECIPIENT: Address = Address::repeat_byte(0xaa);

    async fn closing() -> (Store, Closing) {
        let store = Store::in_memory().await.unwrap();
        (store.clone(), Closing::new(store, DOMAIN, RECIPIENT))
    }

    #[tokio::test]
    async fn what_a_payment_under_way_may_win_stays_open() {
        let (store, closing) = closing().await;
        let closed = async || store.closed_through(&DOMAIN, RECIPIENT).await.unwrap();
        let payment = closing.begin(100);
        closing.tell(105, None).await.unwrap();
        assert_eq!(closed().await, Some(100));
        drop(payment);
        closing.tell(105, None).await.unwrap();
        assert_eq!(closed().await, Some(105));
    }

    #[tokio::test]
    async fn what_is_not_stored_yet_stays_open() {
        let (store, closing) = closing().await;
        closing.tell(105, Some(103)).await.unwrap();
        assert_eq!(store.closed_through(&DOMAIN, RECIPIENT).await.unwrap(), Some(102));
        closing.leave().await.unwrap();
        assert_eq!(store.closed_through(&DOMAIN, RECIPIENT).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_desk_that_the_store_does_not_hear_knows_it() {
        let (_, closing) = closing().await;
        assert!(closing.unheard_for().is_some());
        closing.tell(1, None).await.unwrap();
        assert_eq!(closing.unheard_for(), None);
        let long_ago = Instant::now().checked_sub(UNHEARD_AFTER).unwrap();
        *lock(&closing.told) = Some(Told { block: 1, at: long_ago });
        assert!(closing.unheard_for().is_some_and(|silence| silence >= UNHEARD_AFTER));
    }
}
