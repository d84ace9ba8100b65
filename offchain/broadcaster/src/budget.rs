//! What may be spent, and how long the deposit lasts. Amounts are expected values of tickets in wei, rounded up.
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use alloy_primitives::{Address, U256};
use streamflow_pm::{Allowance, OverBudget, SpendRate};
use streamflow_store::{Store, StoreError};

use crate::{config::BudgetConfig, error::PaymentError, status::BudgetStatus};

/// Reads the time, in Unix seconds.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

const DAY_SECONDS: u64 = 24 * 3600;
/// Day, and wei spent in it.
const STORED: usize = 8 + 32;

/// Which budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// Of this stream, until it ends.
    #[error("the budget of the stream is used up (setting broadcaster.budget.per_stream): {0}")]
    Stream(OverBudget),
    /// Of all streams, until the next day begins (UTC).
    #[error("the budget of the day is used up (setting broadcaster.budget.per_day): {0}")]
    Day(OverBudget),
}

/// What one stream may spend. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamBudget(Arc<Mutex<Allowance>>);

impl StreamBudget {
    pub(crate) fn new(config: &BudgetConfig) -> Self {
        Self(Arc::new(Mutex::new(Allowance::new(config.per_stream, U256::ZERO))))
    }

    pub(crate) fn spent(&self) -> U256 {
        self.allowance().spent()
    }

    fn allowance(&self) -> MutexGuard<'_, Allowance> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the account may spend in a day. The sum is on the disk before the tickets leave, so that neither a restart nor
/// another process of the account makes a day's budget twice.
pub(crate) struct DayBudget {
    store: Store,
    name: String,
    limit: Mutex<Option<U256>>,
    clock: Clock,
    /// As this process knows it; with a limit, what is stored counts.
    today: tokio::sync::Mutex<Today>,
    /// For those who only look.
    spent: Mutex<U256>,
    rate: Mutex<SpendRate>,
}

#[derive(Clone, Copy, Default)]
struct Today {
    day: u64,
    spent: U256,
    /// Without a limit nothing is stored.
    unstored: bool,
}

/// Money taken for one payment, to be given back if the payment does not leave.
#[derive(Debug)]
pub(crate) struct Taken {
    stream: StreamBudget,
    day: u64,
    wei: U256,
}

impl fmt::Debug for DayBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DayBudget").field("limit", &self.limit()).finish_non_exhaustive()
    }
}

impl DayBudget {
    pub(crate) fn new(config: &BudgetConfig, account: Address, store: Store, clock: Clock) -> Self {
        let (today, spent, rate) = Default::default();
        let (name, limit) = (format!("broadcaster-spent/{account:x}"), Mutex::new(config.per_day));
        Self { store, name, limit, clock, today, spent, rate }
    }

    /// Changes the limit of the day. What this process spent today without a limit counts; what others did does not.
    pub(crate) fn set_limit(&self, per_day: Option<U256>) {
        *self.limit.lock().unwrap_or_else(PoisonError::into_inner) = per_day;
    }

    fn limit(&self) -> Option<U256> {
        *self.limit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `wei` off the budgets of the stream and of the day.
    pub(crate) async fn take(&self, stream: &StreamBudget, wei: U256) -> Result<Taken, PaymentError> {
        stream.allowance().take(wei).map_err(BudgetError::Stream)?;
        let taken = self.take_today(wei).await;
        if taken.is_err() {
            stream.allowance().give_back(wei);
        }
        taken.map(|day| Taken { stream: stream.clone(), day, wei })
    }

    async fn take_today(&self, wei: U256) -> Result<u64, PaymentError> {
        let day = (self.clock)() / DAY_SECONDS;
        let take = |today: Today| {
            // A clock that is put back begins no new day.
            let today = if day > today.day { Today { day, ..Today::default() } } else { today };
            let mut allowance = Allowance::new(self.limit(), today.spent);
            allowance.take(wei).map_err(BudgetError::Day)?;
            Ok::<_, PaymentError>(Today { spent: allowance.spent(), ..today })
        };
        if wei.is_zero() {
            return Ok(day);
        }
        Ok(self.change(take).await?.day)
    }

    /// The payment did not leave. If that cannot be stored, its money stays spent.
    pub(crate) async fn give_back(&self, taken: Taken) {
        taken.stream.allowance().give_back(taken.wei);
        let give_back = |today: Today| {
            let wei = if today.day == taken.day { taken.wei } else { U256::ZERO };
            Ok::<_, StoreError>(Today { spent: today.spent.saturating_sub(wei), ..today })
        };
        if taken.wei.is_zero() {
            return;
        }
        if let Err(err) = self.change(give_back).await {
            tracing::warn!(%err, wei = %taken.wei, "money that was not spent stays off the budget of the day");
        }
    }

    /// Changes what is spent today; with a limit from what is stored, and as often as another process changes that meanwhile.
    async fn change<E: From<StoreError>>(&self, change: impl Fn(Today) -> Result<Today, E>) -> Result<Today, E> {
        let mut today = self.today.lock().await;
        let limited = self.limit().is_some();
        loop {
            let stored = match limited {
                true => self.store.setting(&self.name).await?,
                false => None,
            };
            let known = today.or_stored(stored.as_deref().and_then(Today::from_bytes));
            let changed = Today { unstored: !limited, ..change(known)? };
            let swapped = match limited {
                true => self.store.swap_setting(&self.name, stored.as_deref(), &changed.to_bytes()).await?,
                false => true,
            };
            if swapped {
                *today = changed;
                self.note_spent(changed.spent);
                return Ok(changed);
            }
        }
    }

    /// Notes what has left.
    pub(crate) fn left(&self, wei: U256, now: Instant) {
        self.rate.lock().unwrap_or_else(PoisonError::into_inner).spent(wei, now);
    }

    fn note_spent(&self, wei: U256) {
        *self.spent.lock().unwrap_or_else(PoisonError::into_inner) = wei;
    }

    /// What is spent, and how long `deposit` lasts at this rate.
    pub(crate) fn status(&self, config: &BudgetConfig, deposit: Option<U256>, now: Instant) -> BudgetStatus {
        let rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        BudgetStatus {
            per_stream: config.per_stream.map(|wei| wei.to_string()),
            per_day: config.per_day.map(|wei| wei.to_string()),
            spent_today: self.spent.lock().unwrap_or_else(PoisonError::into_inner).to_string(),
            wei_per_hour: rate.per_hour(now).to_string(),
            runway_hours: deposit.and_then(|deposit| rate.runway_hours(deposit, now)),
        }
    }
}

impl Today {
    /// What is stored counts, unless more was spent here while there was no limit.
    fn or_stored(self, stored: Option<Self>) -> Self {
        match stored {
            Some(stored) if !self.unstored || (stored.day, stored.spent) >= (self.day, self.spent) => stored,
            _ => self,
        }
    }

    fn to_bytes(self) -> [u8; STORED] {
        let mut bytes = [0; STORED];
        bytes[..8].copy_from_slice(&self.day.to_be_bytes());
        bytes[8..].copy_from_slice(&self.spent.to_be_bytes::<32>());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (day, spent) = bytes.first_chunk::<STORED>()?.split_at(8);
        let day = U256::from_be_slice(day).saturating_to();
        Some(Self { day, spent: U256::from_be_slice(spent), unstored: false })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn config(per_stream: u64, per_day: u64) -> BudgetConfig {
        BudgetConfig { per_stream: Some(U256::from(per_stream)), per_day: Some(U256::from(per_day)) }
    }

    fn budget(store: &Store, time: &Arc<AtomicU64>) -> DayBudget {
        let time = Arc::clone(time);
        let clock: Clock = Arc::new(move || time.load(Ordering::SeqCst));
        DayBudget::new(&config(100, 150), Address::repeat_byte(1), store.clone(), clock)
    }

    async fn take(budget: &DayBudget, stream: &StreamBudget, wei: u64) -> Result<Taken, PaymentError> {
        budget.take(stream, U256::from(wei)).await
    }

    #[tokio::test]
    async fn a_stream_spends_its_budget_and_no_more() {
        let (store, time) = (Store::in_memory().await.unwrap(), Arc::new(AtomicU64::new(DAY_SECONDS)));
        let (budget, stream) = (budget(&store, &time), StreamBudget::new(&config(100, 150)));
        let taken = take(&budget, &stream, 100).await.unwrap();
        let refused = take(&budget, &stream, 1).await.unwrap_err();
        assert!(matches!(refused, PaymentError::Budget(BudgetError::Stream(_))));
        assert_eq!(
            refused.to_string(),
            "the budget of the stream is used up (setting broadcaster.budget.per_stream): 100 of 100 wei are spent, \
             1 wei are wanted"
        );
        budget.give_back(taken).await;
        assert_eq!(stream.spent(), U256::ZERO);
        assert!(take(&budget, &stream, 100).await.is_ok());
    }

    #[tokio::test]
    async fn the_budget_of_a_day_outlives_a_restart_and_ends_with_the_day() {
        let (store, time) = (Store::in_memory().await.unwrap(), Arc::new(AtomicU64::new(5 * DAY_SECONDS)));
        let streams = [(); 3].map(|()| StreamBudget::new(&config(100, 150)));
        take(&budget(&store, &time), &streams[0], 100).await.unwrap();
        let restarted = budget(&store, &time);
        let refused = take(&restarted, &streams[1], 51).await.unwrap_err();
        assert!(matches!(refused, PaymentError::Budget(BudgetError::Day(over)) if over.spent == U256::from(100)));
        assert_eq!(streams[1].spent(), U256::ZERO, "a refused payment costs the stream nothing");
        take(&restarted, &streams[1], 50).await.unwrap();
        time.store(5 * DAY_SECONDS - 1, Ordering::SeqCst);
        assert!(take(&budget(&store, &time), &streams[2], 1).await.is_err(), "a clock put back begins no day");
        time.store(6 * DAY_SECONDS, Ordering::SeqCst);
        assert!(take(&restarted, &streams[2], 100).await.is_ok());
    }

    #[tokio::test]
    async fn a_limit_that_comes_later_counts_what_was_spent_without_one() {
        let (store, time) = (Store::in_memory().await.unwrap(), Arc::new(AtomicU64::new(DAY_SECONDS)));
        let (budget, stream) = (budget(&store, &time), StreamBudget::new(&BudgetConfig::default()));
        budget.set_limit(None);
        take(&budget, &stream, 140).await.unwrap();
        budget.set_limit(Some(U256::from(150)));
        let refused = take(&budget, &stream, 11).await.unwrap_err();
        assert!(matches!(refused, PaymentError::Budget(BudgetError::Day(over)) if over.spent == U256::from(140)));
        take(&budget, &stream, 10).await.unwrap();
        budget.set_limit(Some(U256::from(160)));
        take(&budget, &stream, 10).await.unwrap();
    }

    #[tokio::test]
    async fn processes_of_one_account_share_the_budget_of_the_day() {
        let (store, time) = (Store::in_memory().await.unwrap(), Arc::new(AtomicU64::new(DAY_SECONDS)));
        let (here, there) = (budget(&store, &time), budget(&store, &time));
        let streams = [(); 3].map(|()| StreamBudget::new(&config(100, 150)));
        let first = take(&here, &streams[0], 60).await.unwrap();
        take(&there, &streams[1], 60).await.unwrap();
        for budget in [&here, &there] {
            let refused = take(budget, &streams[2], 31).await.unwrap_err();
            assert!(matches!(refused, PaymentError::Budget(BudgetError::Day(over)) if over.spent == U256::from(120)));
        }
        here.give_back(first).await;
        take(&there, &streams[2], 90).await.unwrap();
        assert!(take(&here, &streams[0], 1).await.is_err());
        assert_eq!(there.status(&config(100, 150), None, Instant::now()).spent_today, "150");
    }

    #[tokio::test]
    async fn what_processes_take_side_by_side_adds_up() {
        let (store, time) = (Store::in_memory().await.unwrap(), Arc::new(AtomicU64::new(DAY_SECONDS)));
        let budgets = [(); 8].map(|()| (budget(&store, &time), StreamBudget::new(&config(100, 150))));
        let takes = budgets.iter().map(|(budget, stream)| async move {
            let mut taken = 0;
            for _ in 0..5 {
                taken += u32::from(take(budget, stream, 10).await.is_ok());
            }
            taken
        });
        assert_eq!(futures::future::join_all(takes).await.iter().sum::<u32>(), 15);
    }

    #[tokio::test]
    async fn runway_is_the_deposit_over_the_rate() {
        let (store, time) = (Store::in_memory().await.unwrap(), Arc::new(AtomicU64::new(0)));
        let (budget, now) = (budget(&store, &time), Instant::now());
        let status = |deposit: u64| budget.status(&config(1, 2), Some(U256::from(deposit)), now);
        assert_eq!(status(1000).runway_hours, None);
        budget.left(U256::from(2), now);
        assert_eq!((status(1200).wei_per_hour.as_str(), status(1200).runway_hours), ("120", Some(10)));
    }
}
