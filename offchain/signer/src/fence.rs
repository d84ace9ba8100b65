//! Keeps a state from being paid on twice (payments.md §2.8). Off by default: with it, signers that share a key must share
//! its memory.
use std::{
    collections::HashMap,
    fmt,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A session that was silent for longer may be forgotten: its params and its token have expired by then.
const IDLE: Duration = Duration::from_secs(3600);

/// One payment of a session: (StateID, SequenceNumber).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The session.
    pub session: String,
    /// Number of the payment in it.
    pub sequence: u64,
    /// Time since 1970.
    pub at: Duration,
}

/// Whether a claim was the first, in time.
pub type FenceFuture<'a> = Pin<Box<dyn Future<Output = Result<bool, FenceUnavailable>> + Send + 'a>>;

/// Lets each number of a session pass once, and none below one that has passed.
pub trait Fence: Send + Sync + fmt::Debug {
    /// Takes a number; false if it, or a later one, was taken before.
    fn claim(&self, claim: Claim) -> FenceFuture<'_>;

    /// Gives a number back that was not used after all; true if it was the last one taken.
    fn release(&self, claim: Claim) -> FenceFuture<'_>;
}

/// The memory is full or cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error("fence cannot take the payment")]
pub struct FenceUnavailable(#[source] pub Option<Box<dyn std::error::Error + Send + Sync>>);

/// A fence in this process's memory.
pub struct MemoryFence {
    max: usize,
    /// The last number taken, and when.
    taken: Mutex<HashMap<String, (u64, Duration)>>,
}

impl fmt::Debug for MemoryFence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryFence").field("max", &self.max).finish_non_exhaustive()
    }
}

impl MemoryFence {
    /// Remembers at most `max` sessions.
    pub fn new(max: usize) -> Self {
        Self { max, taken: Mutex::default() }
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<String, (u64, Duration)>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fence for MemoryFence {
    fn claim(&self, claim: Claim) -> FenceFuture<'_> {
        Box::pin(async move {
            let mut taken = self.taken();
            if let Some((last, at)) = taken.get_mut(&claim.session) {
                let first = claim.sequence > *last;
                if first {
                    (*last, *at) = (claim.sequence, claim.at);
                }
                return Ok(first);
            }
            if taken.len() >= self.max {
                taken.retain(|_, (_, at)| claim.at.saturating_sub(*at) <= IDLE);
            }
            if taken.len() >= self.max {
                return Err(FenceUnavailable(None));
            }
            taken.insert(claim.session, (claim.sequence, claim.at));
            Ok(true)
        })
    }

    fn release(&self, claim: Claim) -> FenceFuture<'_> {
        Box::pin(async move {
            let mut taken = self.taken();
            let Some((last, _)) = taken.get_mut(&claim.session).filter(|(last, _)| *last == claim.sequence) else {
                return Ok(false);
            };
            match claim.sequence.checked_sub(1) {
                Some(before) => *last = before,
                None => drop(taken.remove(&claim.session)),
            }
            Ok(true)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(session: &str, sequence: u64, secs: u64) -> Claim {
        Claim { session: session.into(), sequence, at: Duration::from_secs(secs) }
    }

    #[tokio::test]
    async fn each_number_passes_once_and_none_below() {
        let fence = MemoryFence::new(9);
        assert!(fence.claim(claim("a", 0, 0)).await.unwrap());
        assert!(!fence.claim(claim("a", 0, 0)).await.unwrap());
        assert!(fence.claim(claim("a", 2, 0)).await.unwrap());
        assert!(!fence.claim(claim("a", 1, 0)).await.unwrap());
        assert!(fence.claim(claim("b", 0, 0)).await.unwrap());
    }

    #[tokio::test]
    async fn what_was_not_used_can_be_taken_again() {
        let fence = MemoryFence::new(9);
        for sequence in [0, 1] {
            assert!(fence.claim(claim("a", sequence, 0)).await.unwrap());
            assert!(fence.release(claim("a", sequence, 0)).await.unwrap());
            assert!(fence.claim(claim("a", sequence, 0)).await.unwrap());
        }
        assert!(!fence.release(claim("a", 0, 0)).await.unwrap());
        assert!(!fence.claim(claim("a", 1, 0)).await.unwrap());
    }

    #[tokio::test]
    async fn a_full_memory_forgets_silent_sessions_only() {
        let fence = MemoryFence::new(2);
        fence.claim(claim("a", 0, 0)).await.unwrap();
        fence.claim(claim("b", 0, 3000)).await.unwrap();
        assert!(fence.claim(claim("c", 0, 3600)).await.is_err());
        assert!(fence.claim(claim("c", 0, 3601)).await.unwrap());
        assert!(!fence.claim(claim("b", 0, 3601)).await.unwrap());
    }
}
