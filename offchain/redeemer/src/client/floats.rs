//! What senders are good for, as the redeemer sees it: it alone knows which winners still wait there.
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use alloy_primitives::{Address, U256};
use streamflow_pm::reserve_alloc;
use streamflow_types::SenderFunds;
use streamflow_wire::{PaymentError, max_float_from_proto, proto::MaxFloatReq};
use tokio::time::{Instant, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::Status;

use super::RedeemerLink;

/// Time for one question; a broadcaster waits 2.5 s for a quote.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// A float that old says nothing any more, and a sender that nobody asked for in this time is forgotten.
const LIFE: Duration = Duration::from_secs(300);
/// Longest silence of a stream. Redeemers of our own repeat themselves more often.
const SILENCE: Duration = Duration::from_secs(90);
const MAX_SENDERS: usize = 1_024;
/// Streams at a time; of further senders the redeemer is asked each time.
const MAX_STREAMS: usize = 256;

/// The redeemer did not tell, and what it told before is too old.
#[derive(Debug, thiserror::Error)]
pub enum FloatUnknown {
    /// It refused, or was not reached.
    #[error("the redeemer does not say what sender {sender} is good for")]
    Refused {
        /// Whose.
        sender: Address,
        /// What it said.
        #[source]
        status: Box<Status>,
    },
    /// It took too long.
    #[error("the redeemer does not say in time what sender {0} is good for")]
    Late(Address),
    /// Its answer is no number.
    #[error("the redeemer's answer cannot be read")]
    Answer(#[from] PaymentError),
}

/// Floats by sender: asked for once, then followed. Clones share them.
#[derive(Clone, Debug)]
pub struct Floats(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    link: RedeemerLink,
    known: Mutex<HashMap<Address, Known>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    float: U256,
    told: Instant,
    asked: Instant,
    /// Whether a stream brings what changes.
    followed: bool,
}

impl Floats {
    /// Nothing is asked yet. Streams end with `stop`.
    pub fn new(link: RedeemerLink, stop: CancellationToken) -> Self {
        Self(Arc::new(Inner { link, known: Mutex::default(), stop, tasks: TaskTracker::new() }))
    }

    /// Largest face value of the sender's next winner that is sure to be paid, wei, without what waits in the outbox here.
    /// While the redeemer is away, what it said last holds for five minutes: nothing is handed over meanwhile, so the outbox
    /// counts what is new.
    ///
    /// # Errors
    /// [`FloatUnknown`].
    pub async fn of(&self, sender: Address) -> Result<U256, FloatUnknown> {
        let now = Instant::now();
        if let Some(known) = self.known().get_mut(&sender)
            && known.followed
        {
            known.asked = now;
            return Ok(known.float);
        }
        match self.ask(sender).await {
            Ok(float) => {
                self.learn(sender, float);
                Ok(float)
            }
            Err(error) => {
                let known = self.known().get(&sender).copied();
                known.filter(|known| known.told.elapsed() < LIFE).map(|known| known.float).ok_or(error)
            }
        }
    }

    /// A winner of this face value is about to be the redeemer's to count. Until it tells, it is counted here.
    pub(crate) fn lower(&self, sender: Address, face_value: U256) {
        if let Some(known) = self.known().get_mut(&sender) {
            known.float = known.float.saturating_sub(face_value);
        }
    }

    /// Returns when every stream has ended; call it after `stop`.
    pub async fn drain(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    async fn ask(&self, sender: Address) -> Result<U256, FloatUnknown> {
        let mut client = self.0.link.client();
        let answer = timeout(ASK_TIMEOUT, client.max_float(MaxFloatReq { sender: sender.to_vec() })).await;
        let answer = answer.map_err(|_| FloatUnknown::Late(sender))?;
        let update = answer.map_err(|status| FloatUnknown::Refused { sender, status: Box::new(status) })?;
        Ok(max_float_from_proto(update.get_ref())?)
    }

    fn learn(&self, sender: Address, float: U256) {
        let now = Instant::now();
        let mut known = self.known();
        if known.len() >= MAX_SENDERS && !known.contains_key(&sender) {
            let oldest = known.iter().min_by_key(|(_, known)| known.asked).map(|(sender, _)| *sender);
            oldest.map(|oldest| known.remove(&oldest));
        }
        let followed = known.get(&sender).is_some_and(|known| known.followed);
        let follow = !followed && self.0.tasks.len() < MAX_STREAMS;
        known.insert(sender, Known { float, told: now, asked: now, followed: followed || follow });
        drop(known);
        if follow {
            self.0.tasks.spawn(self.clone().follow(sender));
        }
    }

    async fn follow(self, sender: Address) {
        let ended = tokio::select! { biased;
            () = self.0.stop.cancelled() => return,
            ended = self.read(sender) => ended,
        };
        if let Err(status) = ended {
            tracing::debug!(%sender, %status, "the redeemer tells no more");
        }
        if let Some(known) = self.known().get_mut(&sender) {
            known.followed = false;
        }
    }

    /// Reads updates until the stream ends or nobody asks any more.
    async fn read(&self, sender: Address) -> Result<(), Status> {
        let request = MaxFloatReq { sender: sender.to_vec() };
        let mut updates = self.0.link.client().monitor_max_float(request).await?.into_inner();
        loop {
            let update = timeout(SILENCE, updates.message()).await;
            let update = update.map_err(|_| Status::deadline_exceeded("the stream is silent"))??;
            let Some(update) = update else { return Ok(()) };
            let float = max_float_from_proto(&update).map_err(|e| Status::internal(e.to_string()))?;
            let mut known = self.known();
            match known.get_mut(&sender) {
                Some(entry) if entry.asked.elapsed() < LIFE => {
                    (entry.float, entry.told) = (float, Instant::now());
                }
                _ => {
                    known.remove(&sender);
                    return Ok(());
                }
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Address, Known>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The funds as an orchestrator with a redeemer has to count them: its share of the reserve is what the redeemer says is left of
/// it, and no more than the chain shows. The deposit stays.
pub fn covered_by(funds: &SenderFunds, float: U256) -> SenderFunds {
    let alloc = U256::try_from(reserve_alloc(funds)).unwrap_or(U256::ZERO);
    SenderFunds {
        reserve: U256::ZERO,
        claimed_in_current_round: U256::ZERO,
        claimed_by_recipient: U256::ZERO,
        committed: float.min(alloc),
        ..*funds
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::I256;
    use proptest::prelude::*;
    use streamflow_pm::max_float;

    use super::*;

    proptest! {
        /// With nothing in the outbox the float is the redeemer's, and never above what the chain shows or below zero.
        #[test]
        fn the_float_is_what_the_redeemer_says(
            deposit: u64, reserve: u64, claimed: u64, committed: u64, pool_size in 0..100_u64, float: u64, pending: u64,
        ) {
            let funds = SenderFunds {
                deposit: U256::from(deposit),
                reserve: U256::from(reserve),
                claimed_by_recipient: U256::from(claimed),
                committed: U256::from(committed),
                pool_size,
                ..SenderFunds::default()
            };
            let covered = covered_by(&funds, U256::from(float));
            let alloc = reserve_alloc(&funds).max(I256::ZERO);
            let told = I256::try_from(float).unwrap();
            prop_assert_eq!(max_float(&covered, U256::ZERO), alloc.min(told));
            prop_assert_eq!(covered.deposit, funds.deposit);
            prop_assert!(max_float(&covered, U256::from(pending)) <= alloc.min(told));
        }
    }
}
