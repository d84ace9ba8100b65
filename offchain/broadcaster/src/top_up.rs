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
/// Day, wei sent in it, top-ups so far, wei of the last one, how that stands.
const STORED: usize = 8 + 32 + 8 + 32 + 1;

/// What [`DepositTopUp`] returns.
pub type TopUpFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, TopUpError>> + Send + 'a>>;

/// Moves money into the deposit. The node does it; the broadcaster knows no chain.
pub trait DepositTopUp: Send + Sync + fmt::Debug {
    /// The deposit, read now: with every top-up in it that [`DepositTopUp::send`] has reported done.
    fn deposit(&self) -> TopUpFuture<'_, U256>;

    /// Adds `wei` to the deposit and waits until it is there. At most once for an `id`, however often it is called: if a
    /// reorganisation took it back, the same one is waited for again.
    fn send(&self, id: String, wei: U256) -> TopUpFuture<'_, ()>;
}

/// Why the deposit was not topped up.
#[derive(Debug, thiserror::Error)]
pub enum TopUpError {
    /// It may still be, or was: ask again under the same id.
    #[error("top-up is not done yet")]
    Pending(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It was tried, and nothing was moved; only a reorganisation can change that.
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
    /// Wei of the last top-up; zero when there was none.
    last: U256,
    standing: Standing,
}

/// How the last top-up stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    #[default]
    UnderWay,
    Done,
    /// It moved nothing, and is not among what was sent.
    Failed,
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
            let sent = if ledger.is_under_way() { ledger.last } else { U256::ZERO };
            ledger = Ledger { day, sent, ..ledger };
        }
        if !ledger.is_under_way() {
            if self.is_enough().await? {
                return Ok(Looked::Enough);
            }
            // Its block may be gone and the transaction still be mined: a second one would be one too many.
            if !ledger.last.is_zero() {
                ledger = self.ask_again(ledger).await?;
                if self.is_enough().await? {
                    return Ok(Looked::Enough);
                }
            }
            let sent = ledger.sent.saturating_add(self.config.amount);
            if sent > self.config.max_per_day {
                return Ok(Looked::Capped);
            }
            let (count, last) = (ledger.count + 1, self.config.amount);
            ledger = Ledger { sent, count, last, standing: Standing::UnderWay, ..ledger };
            self.keep(&ledger).await?;
        }
        match self.send(&ledger).await {
            Ok(()) => {
                self.keep(&Ledger { standing: Standing::Done, ..ledger }).await?;
                Ok(Looked::ToppedUp)
            }
            Err(error @ TopUpError::Pending(_)) => Err(error.into()),
            Err(error @ TopUpError::Failed(_)) => {
                let sent = ledger.sent.saturating_sub(ledger.last);
                self.keep(&Ledger { sent, standing: Standing::Failed, ..ledger }).await?;
                Err(error.into())
            }
        }
    }

    async fn is_enough(&self) -> Result<bool, TopUpError> {
        Ok(self.hook.deposit().await? >= self.config.below)
    }

    /// What has become of the last top-up by now. One that failed and went through after all counts as sent today; one that
    /// went through and failed after all stays counted.
    async fn ask_again(&self, ledger: Ledger) -> Result<Ledger, LookError> {
        let standing = match self.send(&ledger).await {
            Ok(()) => Standing::Done,
            Err(TopUpError::Failed(_)) => Standing::Failed,
            Err(error @ TopUpError::Pending(_)) => return Err(error.into()),
        };
        let revived = ledger.standing == Standing::Failed && standing == Standing::Done;
        let sent = if revived { ledger.sent.saturating_add(ledger.last) } else { ledger.sent };
        let asked = Ledger { sent, standing, ..ledger };
        if asked != ledger {
            self.keep(&asked).await?;
        }
        Ok(asked)
    }

    /// Sends the last top-up of the books, or waits for it.
    async fn send(&self, ledger: &Ledger) -> Result<(), TopUpError> {
        self.hook.send(format!("top-up/{:x}/{}", self.account, ledger.count), ledger.last).await
    }

    fn name(&self) -> String {
        format!("broadcaster-top-up/{:x}", self.account)
    }

    async fn load(&self) -> Result<Ledger, StoreError> {
        let stored = self.store.setting(&self.name()).await?;
        Ok(stored.and_then(|bytes| Ledger::from_bytes(&bytes)).unwrap_or_default())
    }

    async fn keep(&self, ledger: &Ledger) -> Result<(), StoreError> {
        self.store.set_setting(&self.name(), &ledger.to_bytes()).await
    }
}

impl Ledger {
    fn is_under_way(&self) -> bool {
        self.standing == Standing::UnderWay && !self.last.is_zero()
    }

    fn to_bytes(self) -> [u8; STORED] {
        let mut bytes = [0; STORED];
        bytes[..8].copy_from_slice(&self.day.to_be_bytes());
        bytes[8..40].copy_from_slice(&self.sent.to_be_bytes::<32>());
        bytes[40..48].copy_from_slice(&self.count.to_be_bytes());
        bytes[48..80].copy_from_slice(&self.last.to_be_bytes::<32>());
        bytes[80] = match self.standing {
            Standing::UnderWay => 0,
            Standing::Done => 1,
            Standing::Failed => 2,
        };
        bytes
    }

    /// Earlier programs kept the last top-up only while it was under way, and not how it stands.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let number = |bytes: &[u8]| U256::from_be_slice(bytes);
        let (known, standing) = bytes.split_at_checked(STORED - 1)?;
        Some(Self {
            day: number(&known[..8]).saturating_to(),
            sent: number(&known[8..40]),
            count: number(&known[40..48]).saturating_to(),
            last: number(&known[48..]),
            standing: match standing.first() {
                Some(1) => Standing::Done,
                Some(2) => Standing::Failed,
                _ => Standing::UnderWay,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{Mutex, PoisonError},
    };

    use super::*;

    /// A chain that may lose an answer, fail what is sent, and take back what it mined.
    #[derive(Debug, Default)]
    struct Chain {
        deposit: Mutex<u64>,
        /// Wei and standing of each id.
        known: Mutex<BTreeMap<String, (u64, Standing)>>,
        /// What becomes of those sent next; without one they go through.
        next: Mutex<Vec<Next>>,
        /// Numbers of the ids asked for.
        asked: Mutex<Vec<u64>>,
    }

    #[derive(Debug)]
    enum Next {
        /// It goes through, but the answer is lost.
        Lost,
        /// It reverts.
        Reverts,
    }

    impl Chain {
        fn set(&self, deposit: u64) {
            *self.deposit.lock().unwrap() = deposit;
        }

        fn next(&self, next: Next) {
            self.next.lock().unwrap().push(next);
        }

        fn sent(&self) -> usize {
            self.known.lock().unwrap().len()
        }

        /// A reorganisation takes the last one back: it waits to be mined again.
        fn take_back(&self) {
            let mut known = self.known.lock().unwrap();
            let (wei, standing) = known.values_mut().next_back().unwrap();
            if std::mem::replace(standing, Standing::UnderWay) == Standing::Done {
                *self.deposit.lock().unwrap() -= *wei;
            }
        }

        /// The last one is mined.
        fn mine(&self) {
            let mut known = self.known.lock().unwrap();
            let (wei, standing) = known.values_mut().next_back().unwrap();
            *standing = Standing::Done;
            *self.deposit.lock().unwrap() += *wei;
        }
    }

    impl DepositTopUp for Chain {
        fn deposit(&self) -> TopUpFuture<'_, U256> {
            let deposit = *self.deposit.lock().unwrap_or_else(PoisonError::into_inner);
            Box::pin(async move { Ok(U256::from(deposit)) })
        }

        fn send(&self, id: String, wei: U256) -> TopUpFuture<'_, ()> {
            self.asked.lock().unwrap().push(id.rsplit('/').next().unwrap().parse().unwrap());
            let known = self.known.lock().unwrap().get(&id).map(|(_, standing)| *standing);
            let (standing, lost) = match (known, self.next.lock().unwrap().pop_if(|_| known.is_none())) {
                (Some(standing), _) => (standing, false),
                (None, next) => {
                    let reverts = matches!(next, Some(Next::Reverts));
                    let standing = if reverts { Standing::Failed } else { Standing::Done };
                    self.known.lock().unwrap().insert(id, (wei.to(), standing));
                    *self.deposit.lock().unwrap() += if reverts { 0 } else { wei.to::<u64>() };
                    (standing, matches!(next, Some(Next::Lost)))
                }
            };
            Box::pin(async move {
                match standing {
                    _ if lost => Err(TopUpError::Pending("no answer".into())),
                    Standing::UnderWay => Err(TopUpError::Pending("not mined yet".into())),
                    Standing::Done => Ok(()),
                    Standing::Failed => Err(TopUpError::Failed("reverted".into())),
                }
            })
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
        case.chain.next(Next::Lost);
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
            case.chain.next(Next::Reverts);
            assert!(matches!(case.look(1).await, Err(LookError::TopUp(TopUpError::Failed(_)))));
        }
        assert_eq!(case.look(1).await.unwrap(), Looked::ToppedUp);
        assert_eq!((case.chain.asked.lock().unwrap().last(), *case.chain.deposit.lock().unwrap()), (Some(&6), 60));
    }

    #[tokio::test]
    async fn what_a_reorganisation_took_back_is_waited_for_and_not_sent_twice() {
        let case = Case::new().await;
        case.chain.set(50);
        assert_eq!(case.look(1).await.unwrap(), Looked::ToppedUp);
        case.chain.take_back();
        for _ in 0..2 {
            assert!(matches!(case.look(1).await, Err(LookError::TopUp(TopUpError::Pending(_)))));
        }
        assert_eq!(*case.chain.asked.lock().unwrap(), [1, 1, 1]);
        case.chain.mine();
        assert_eq!(case.look(1).await.unwrap(), Looked::Enough);
        assert_eq!((*case.chain.deposit.lock().unwrap(), case.chain.sent()), (110, 1));
        // One whose block stands keeps nothing up.
        case.chain.set(0);
        assert_eq!(case.look(1).await.unwrap(), Looked::ToppedUp);
        assert_eq!(*case.chain.asked.lock().unwrap(), [1, 1, 1, 1, 2]);
    }

    #[tokio::test]
    async fn what_failed_and_went_through_after_a_reorganisation_counts() {
        let case = Case::new().await;
        case.chain.set(50);
        case.chain.next(Next::Reverts);
        assert!(matches!(case.look(1).await, Err(LookError::TopUp(TopUpError::Failed(_)))));
        case.chain.take_back();
        assert!(matches!(case.look(1).await, Err(LookError::TopUp(TopUpError::Pending(_)))));
        assert_eq!(case.chain.sent(), 1);
        case.chain.mine();
        for (looked, sent) in [(Looked::ToppedUp, 2), (Looked::Capped, 2)] {
            case.chain.set(0);
            assert_eq!((case.look(1).await.unwrap(), case.chain.sent()), (looked, sent));
        }
    }

    #[test]
    fn books_of_earlier_programs_are_read() {
        let ledger = Ledger { day: 3, sent: U256::from(60), count: 2, last: U256::from(60), ..Ledger::default() };
        assert_eq!(Ledger::from_bytes(&ledger.to_bytes()[..80]), Some(ledger));
        assert!(ledger.is_under_way() && !Ledger { last: U256::ZERO, ..ledger }.is_under_way());
        let done = Ledger { standing: Standing::Done, ..ledger };
        assert_eq!(Ledger::from_bytes(&done.to_bytes()), Some(done));
        assert_eq!(Ledger::from_bytes(&[0; 79]), None);
    }
}
