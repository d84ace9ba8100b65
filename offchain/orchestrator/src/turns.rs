//! One payment of a sender at a time: what it owes is read, its tickets are drawn and the winners stored before the next
//! one is looked at. So tickets that come side by side are never covered by the same money.
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use alloy_primitives::Address;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Senders whose payments are under way.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<Address, Arc<AsyncMutex<()>>>>);

impl Turns {
    /// Waits until no other payment of the sender is under way.
    pub(crate) async fn of(&self, sender: Address) -> OwnedMutexGuard<()> {
        let turn = Arc::clone(self.waiting().entry(sender).or_default());
        turn.lock_owned().await
    }

    /// Forgets senders without payments under way.
    pub(crate) fn prune(&self) {
        self.waiting().retain(|_, turn| Arc::strong_count(turn) > 1);
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Address, Arc<AsyncMutex<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn payments_of_one_sender_take_turns_and_others_do_not_wait() {
        let (turns, alice, bob) = (Turns::default(), Address::repeat_byte(1), Address::repeat_byte(2));
        let first = turns.of(alice).await;
        turns.of(bob).await;
        let second = turns.of(alice);
        futures::pin_mut!(second);
        assert!(futures::poll!(second.as_mut()).is_pending());
        turns.prune();
        drop(first);
        assert!(futures::poll!(second.as_mut()).is_ready());
    }

    #[tokio::test]
    async fn who_has_been_served_is_forgotten() {
        let turns = Turns::default();
        drop(turns.of(Address::ZERO).await);
        turns.prune();
        assert!(turns.waiting().is_empty());
    }
}
