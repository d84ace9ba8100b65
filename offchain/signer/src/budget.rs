//! What one client may spend, by its auth id (payments.md §2.8). Kept in memory: a restart opens a new window.
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use alloy_primitives::U256;

use crate::config::BudgetConfig;

const MINUTE: Duration = Duration::from_secs(60);

/// Why a client may not spend now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BudgetError {
    #[error("spend budget of {max} wei is used up: {spent} wei spent, {wanted} wei wanted")]
    Spent { spent: U256, wanted: U256, max: U256 },
    #[error("more than {0} payments in a minute")]
    Rate(u32),
    #[error("too many clients")]
    TooManyClients,
}

impl BudgetError {
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Spent { .. } => 403,
            Self::Rate(_) => 429,
            Self::TooManyClients => 503,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Budget {
    config: RwLock<BudgetConfig>,
    clients: Mutex<HashMap<String, Client>>,
}

#[derive(Clone, Copy, Debug)]
struct Client {
    window: Duration,
    spent: U256,
    minute: Duration,
    payments: u32,
}

impl Budget {
    pub(crate) fn new(config: BudgetConfig) -> Self {
        Self { config: RwLock::new(config), clients: Mutex::default() }
    }

    /// Changes the limits; what was spent in the open windows counts under the new ones.
    pub(crate) fn set_limits(&self, config: BudgetConfig) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// Counts `wei` as spent at `now`, time since 1970.
    pub(crate) fn charge(&self, auth_id: &str, wei: U256, now: Duration) -> Result<(), BudgetError> {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner).clone();
        if config.max_spend.is_zero() && config.max_payments_per_minute == 0 {
            return Ok(());
        }
        let mut clients = self.clients();
        if !clients.contains_key(auth_id) && clients.len() >= config.max_clients {
            let (window, spendless) = (config.window, config.max_spend.is_zero());
            let is_new = |start: Duration, length: Duration| now.saturating_sub(start) < length;
            clients.retain(|_, client| is_new(client.minute, MINUTE) || (!spendless && is_new(client.window, window)));
            if clients.len() >= config.max_clients {
                return Err(BudgetError::TooManyClients);
            }
        }
        let fresh = Client { window: now, spent: U256::ZERO, minute: now, payments: 0 };
        let client = clients.entry(auth_id.to_owned()).or_insert(fresh);
        if now.saturating_sub(client.window) >= config.window {
            (client.window, client.spent) = (now, U256::ZERO);
        }
        if now.saturating_sub(client.minute) >= MINUTE {
            (client.minute, client.payments) = (now, 0);
        }
        let (max, rate) = (config.max_spend, config.max_payments_per_minute);
        let spent = client.spent.saturating_add(wei);
        if !max.is_zero() && spent > max {
            return Err(BudgetError::Spent { spent: client.spent, wanted: wei, max });
        }
        if rate > 0 && client.payments >= rate {
            return Err(BudgetError::Rate(rate));
        }
        client.spent = spent;
        client.payments += 1;
        Ok(())
    }

    /// Takes back a charge for tickets that were not made.
    pub(crate) fn refund(&self, auth_id: &str, wei: U256) {
        if let Some(client) = self.clients().get_mut(auth_id) {
            client.spent = client.spent.saturating_sub(wei);
            client.payments = client.payments.saturating_sub(1);
        }
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<String, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wei(amount: u64) -> U256 {
        U256::from(amount)
    }

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn budget(max_spend: u64, rate: u32) -> Budget {
        let window = Duration::from_secs(600);
        Budget::new(BudgetConfig { max_spend: wei(max_spend), max_payments_per_minute: rate, window, max_clients: 2 })
    }

    #[test]
    fn new_limits_count_what_was_spent_under_the_old_ones() {
        let budget = budget(0, 5);
        assert_eq!(budget.charge("a", wei(60), at(0)), Ok(()));
        let config = BudgetConfig { max_spend: wei(100), ..BudgetConfig::default() };
        budget.set_limits(config);
        assert!(
            matches!(budget.charge("a", wei(41), at(1)), Err(BudgetError::Spent { spent, .. }) if spent == wei(60))
        );
        assert_eq!(budget.charge("a", wei(40), at(1)), Ok(()));
    }

    #[test]
    fn each_client_has_its_own_budget_and_gets_it_back_with_time() {
        let budget = budget(100, 0);
        assert_eq!(budget.charge("a", wei(100), at(0)), Ok(()));
        assert!(matches!(budget.charge("a", wei(1), at(599)), Err(BudgetError::Spent { .. })));
        assert_eq!(budget.charge("b", wei(100), at(599)), Ok(()));
        assert_eq!(budget.charge("a", wei(1), at(600)), Ok(()));
        assert!(matches!(budget.charge("a", U256::MAX, at(600)), Err(BudgetError::Spent { .. })));
    }

    #[test]
    fn what_was_not_signed_is_not_spent() {
        let budget = budget(100, 0);
        budget.charge("a", wei(100), at(0)).unwrap();
        budget.refund("a", wei(100));
        assert_eq!(budget.charge("a", wei(100), at(0)), Ok(()));
    }

    #[test]
    fn payments_are_counted_by_the_minute() {
        let budget = budget(0, 2);
        assert_eq!([0, 1].map(|secs| budget.charge("a", U256::MAX, at(secs))), [Ok(()), Ok(())]);
        assert_eq!(budget.charge("a", wei(1), at(59)), Err(BudgetError::Rate(2)));
        assert_eq!(budget.charge("a", wei(1), at(60)), Ok(()));
    }

    #[test]
    fn strangers_cannot_fill_the_memory_nor_push_anybody_out() {
        let budget = budget(100, 0);
        budget.charge("a", wei(100), at(0)).unwrap();
        budget.charge("b", wei(1), at(0)).unwrap();
        assert_eq!(budget.charge("c", wei(1), at(599)), Err(BudgetError::TooManyClients));
        assert!(budget.charge("a", wei(1), at(599)).is_err());
        assert_eq!(budget.charge("c", wei(1), at(600)), Ok(()));
    }
}
