//! Keeping the deposit above a mark. Off unless it is set; never more than is set for a day, never twice for one need.
use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use alloy_primitives::{Address, U256};
use streamflow_store::{Store, StoreError};
use streamflow_types::with_causes;
use tokio_util::sync::CancellationToken;

use crate::{budget::Clock, config::TopUpConfig};

const DAY_SECONDS: u64 = 24 * 3600;
/// Time between two looks at the deposit.
const LOOK: Duration = Duration::from_secs(30);
/// Day, wei sent in it, top-ups so far, wei of the one under way.
const STORED: usize = 8 + 32 + 8 + 32;

/// What [`DepositTopUp`] returns.
pub type TopUpFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, TopUpError>> + Send + 'a>>;

/// Moves money into the deposit. The node does it; the broadcaster knows no chain.
pub trait DepositTopUp: Send + Sync + fmt::Debug {
    /// The deposit, read now: with every top-up in it that [`DepositTopUp::send`] has reported done.
    fn deposit(&self) -> TopUpFuture<'_, U256>;

    /// Adds `wei` to the deposit and waits until it is there. At most once for an `id`, however often it is called.
    fn send(&self, id: String, wei: U256) -> TopUpFuture<'_, ()>;
}

/// Why the deposit was not topped up.
#[derive(Debug, thiserror::Error)]
pub enum TopUpError {
    /// It may still be, or was: ask again under the same id.
    #[error("top-up is not done yet")]
    Pending(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It never will be under this id; nothing was moved.
    #[error("top-up failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Tops the deposit of one account up.
#[derive(Debug)]
pub(crate) struct TopUp {
    hook: Arc<dyn DepositTopUp>,
    config: TopUpConfig,
    store: Store,
    account: Address,
}

/// The books, on the disk before any money moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ledger {
    day: u64,
    sent: U256,
    count: u64,
    /// Zero when none is under way.
    under_way: U256,
}

/// What came of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Looked {
    Enough,
    ToppedUp,
    /// The day's cap would be passed.
    Capped,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookError {
    #[error(transparent)]
    TopUp(#[from] TopUpError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl TopUp {
    pub(crate) fn new(hook: Arc<dyn DepositTopUp>, config: TopUpConfig, store: Store, account: Address) -> Self {
        Self { hook, config, store, account }
    }

    /// Looks at the deposit now and then, until `stop`. A top-up under way is finished after the next start.
    pub(crate) async fn run(self, clock: Clock, stop: CancellationToken) {
        let mut told = None;
        loop {
            let looked = tokio::select! { biased;
                () = stop.cancelled() => return,
                looked = self.look(clock() / DAY_SECONDS) => looked,
            };
            match looked {
                Ok(Looked::ToppedUp) => tracing::info!(wei = %self.config.amount, "deposit topped up"),
                Ok(Looked::Capped) if told != Some(Looked::Capped) => tracing::warn!(
                    below = %self.config.below, max_per_day = %self.config.max_per_day,
                    "deposit is low, and broadcaster.top_up.max_per_day is used up"
                ),
                Ok(_) => {}
                Err(ref error) => tracing::warn!(error = with_causes(error), "deposit is not topped up"),
            }
            told = looked.ok();
            tokio::select! { biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    async fn look(&self, day: u64) -> Result<Looked, LookError> {
        let mut ledger = self.load().await?;
        if day > ledger.day {
            ledger = Ledger { day, sent: ledger.under_way, ..ledger };
        }
        if ledger.under_way.is_zero() {
            if self.hook.deposit().await? >= self.config.below {
                return Ok(Looked::Enough);
            }
            let sent = ledger.sent.saturating_add(self.config.amount);
            if sent > self.config.max_per_day {
                return Ok(Looked::Capped);
            }
            ledger = Ledger { sent, count: ledger.count + 1, under_way: self.config.amount, ..ledger };
            self.keep(&ledger).await?;
        }
        let id = format!("top-up/{:x}/{}", self.account, ledger.count);
        match self.hook.send(id, ledger.under_way).await {
            Ok(()) => {
                self.keep(&Ledger { under_way: U256::ZERO, ..ledger }).await?;
                Ok(Looked::ToppedUp)
            }
            Err(error @ TopUpError::Pending(_)) => Err(error.into()),
            Err(error @ TopUpError::Failed(_)) => {
                let sent = ledger.sent.saturating_sub(ledger.under_way);
                self.keep(&Ledger { sent, under_way: U256::ZERO, ..ledger }).await?;
                Err(error.into())
            }
        }
    }

    fn name(&self) -> String {
        format!("broadcaster-top-up/{:x}", self.account)
    }

    async fn load(&self) -> Result<Ledger, StoreError> {
        let stored = self.store.setting(&self.name()).await?;
        Ok(stored.and_then(|bytes| Some(Ledger::from_bytes(bytes.first_chunk()?))).unwrap_or_default())
    }

    async fn keep(&self, ledger: &Ledger) -> Result<(), StoreError> {
        self.store.set_setting(&self.name(), &ledger.to_bytes()).await
    }
}

impl Ledger {
    fn to_bytes(self) -> [u8; STORED] {
        let mut bytes = [0; STORED];
        bytes[..8].copy_from_slice(&self.day.to_be_bytes());
        bytes[8..40].copy_from_slice(&self.sent.to_be_bytes::<32>());
        bytes[40..48].copy_from_slice(&self.count.to_be_bytes());
        bytes[48..].copy_from_slice(&self.under_way.to_be_bytes::<32>());
        bytes
    }

    fn from_bytes(bytes: &[u8; STORED]) -> Self {
        let number = |bytes: &[u8]| U256::from_be_slice(bytes);
        Self {
            day: number(&bytes[..8]).saturating_to(),
            sent: number(&bytes[8..40]),
            count: number(&bytes[40..48]).saturating_to(),
            under_way: number(&bytes[48..]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{Mutex, PoisonError},
    };

    use super::*;

    /// A chain that may lose an answer, as a chain does.
    #[derive(Debug, Default)]
    struct Chain {
        deposit: Mutex<u64>,
        done: Mutex<BTreeMap<String, u64>>,
        answers: Mutex<Vec<Option<bool>>>,
    }

    impl Chain {
        fn set(&self, deposit: u64) {
            *self.deposit.lock().unwrap() = deposit;
        }

        /// `None` loses the answer of a top-up that went through, `Some(false)` fails it for good.
        fn answer(&self, answer: Option<bool>) {
            self.answers.lock().unwrap().push(answer);
        }

        fn sent(&self) -> usize {
            self.done.lock().unwrap().len()
        }
    }

    impl DepositTopUp for Chain {
        fn deposit(&self) -> TopUpFuture<'_, U256> {
            let deposit = *self.deposit.lock().unwrap_or_else(PoisonError::into_inner);
            Box::pin(async move { Ok(U256::from(deposit)) })
        }

        fn send(&self, id: String, wei: U256) -> TopUpFuture<'_, ()> {
            let answer = self.answers.lock().unwrap().pop().unwrap_or(Some(true));
            if answer == Some(false) {
                return Box::pin(async { Err(TopUpError::Failed("reverted".into())) });
            }
            let known = self.done.lock().unwrap().insert(id, wei.to());
            if known.is_none() {
                *self.deposit.lock().unwrap() += wei.to::<u64>();
            }
            Box::pin(async move { answer.map(drop).ok_or_else(|| TopUpError::Pending("no answer".into())) })
        }
    }

    struct Case {
        chain: Arc<Chain>,
        store: Store,
    }

    impl Case {
        async fn new() -> Self {
            Self { chain: Arc::default(), store: Store::in_memory().await.unwrap() }
        }

        /// By a process that has just started.
        async fn look(&self, day: u64) -> Result<Looked, LookError> {
            let wei = |amount: u64| U256::from(amount);
            let config = TopUpConfig { below: wei(100), amount: wei(60), max_per_day: wei(150) };
            TopUp::new(self.chain.clone(), config, self.store.clone(), Address::repeat_byte(1)).look(day).await
        }
    }

    #[tokio::test]
    async fn a_low_deposit_is_topped_up_once() {
        let case = Case::new().await;
        case.chain.set(50);
        assert_eq!(case.look(1).await.unwrap(), Looked::ToppedUp);
        assert_eq!(case.look(1).await.unwrap(), Looked::Enough);
        assert_eq!((*case.chain.deposit.lock().unwrap(), case.chain.sent()), (110, 1));
    }

    #[tokio::test]
    async fn no_day_costs_more_than_its_cap() {
        let case = Case::new().await;
        for looked in [Looked::ToppedUp, Looked::ToppedUp, Looked::Capped, Looked::Capped] {
            case.chain.set(0);
            assert_eq!(case.look(1).await.unwrap(), looked);
        }
        assert_eq!(case.look(2).await.unwrap(), Looked::ToppedUp);
        assert_eq!(case.chain.sent(), 3);
    }

    #[tokio::test]
    async fn a_lost_answer_is_asked_for_again_and_pays_nothing_twice() {
        let case = Case::new().await;
        case.chain.set(0);
        case.chain.answer(None);
        assert!(matches!(case.look(1).await, Err(LookError::TopUp(TopUpError::Pending(_)))));
        // Also after a restart, on another day, and with a deposit that is high enough by then.
        assert_eq!(case.look(2).await.unwrap(), Looked::ToppedUp);
        assert_eq!((*case.chain.deposit.lock().unwrap(), case.chain.sent()), (60, 1));
    }

    #[tokio::test]
    async fn what_failed_for_good_is_tried_under_a_new_id_and_does_not_count() {
        let case = Case::new().await;
        case.chain.set(0);
        for _ in 0..5 {
            case.chain.answer(Some(false));
            assert!(matches!(case.look(1).await, Err(LookError::TopUp(TopUpError::Failed(_)))));
        }
        assert_eq!(case.look(1).await.unwrap(), Looked::ToppedUp);
        assert_eq!(case.chain.done.lock().unwrap().keys().next().unwrap().rsplit('/').next(), Some("6"));
    }
}
