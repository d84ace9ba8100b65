//! Balances by (account, session): bounded in number, dropped when idle (payments.md §1.8).
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use alloy_primitives::Address;
use streamflow_types::Price;

use crate::Balance;

/// How many sessions are kept, and for how long without use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountLimits {
    /// Most sessions at a time; one account gets at most a quarter.
    pub max_sessions: usize,
    /// A session idle for longer is dropped with its balance.
    pub idle: Duration,
}

impl Default for AccountLimits {
    fn default() -> Self {
        Self { max_sessions: 65_536, idle: Duration::from_secs(600) }
    }
}

/// One session's balance and the price that it is reckoned at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    pub(crate) price: Price,
    pub(crate) balance: Balance,
    /// Pixels of work under way, which the balance has to pay for.
    pub(crate) held: u64,
    touched: Instant,
}

impl Account {
    /// The balance without what work under way will cost.
    pub(crate) fn available(&self) -> Balance {
        let mut available = self.balance;
        available.debit(self.price, self.held);
        available
    }
}

/// What one session holds, as the books have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionBalance {
    /// The other side: who pays, or who is paid.
    pub account: Address,
    /// Name of the session.
    pub session: String,
    /// Credit, or a debt.
    pub balance: Balance,
}

#[derive(Debug)]
pub(crate) struct Accounts {
    limits: AccountLimits,
    accounts: HashMap<Address, HashMap<String, Account>>,
    count: usize,
}

impl Accounts {
    pub(crate) fn new(limits: AccountLimits) -> Self {
        Self { limits, accounts: HashMap::new(), count: 0 }
    }

    pub(crate) fn get(&self, owner: Address, session: &str) -> Option<&Account> {
        self.accounts.get(&owner)?.get(session)
    }

    pub(crate) fn get_mut(&mut self, owner: Address, session: &str) -> Option<&mut Account> {
        self.accounts.get_mut(&owner)?.get_mut(session)
    }

    pub(crate) fn touch(&mut self, owner: Address, session: &str, now: Instant) -> Option<&mut Account> {
        let account = self.get_mut(owner, session)?;
        account.touched = now;
        Some(account)
    }

    /// The session's account, opened at `price` if it is new; none when no idle one can make room.
    pub(crate) fn open(&mut self, owner: Address, session: &str, price: Price, now: Instant) -> Option<&mut Account> {
        if self.get(owner, session).is_none() {
            if self.is_full_for(owner) {
                self.prune(now);
            }
            if self.is_full_for(owner) {
                return None;
            }
            let account = Account { price, balance: Balance::zero(price), held: 0, touched: now };
            self.accounts.entry(owner).or_default().insert(session.to_owned(), account);
            self.count += 1;
        }
        self.touch(owner, session, now)
    }

    fn is_full_for(&self, owner: Address) -> bool {
        let of_owner = self.accounts.get(&owner).map_or(0, HashMap::len);
        self.count >= self.limits.max_sessions || of_owner >= self.limits.max_sessions.div_ceil(4)
    }

    pub(crate) fn remove(&mut self, owner: Address, session: &str) -> Option<Account> {
        let sessions = self.accounts.get_mut(&owner)?;
        let account = sessions.remove(session)?;
        if sessions.is_empty() {
            self.accounts.remove(&owner);
        }
        self.count -= 1;
        Some(account)
    }

    pub(crate) fn prune(&mut self, now: Instant) {
        let idle = self.limits.idle;
        self.accounts.retain(|_, sessions| {
            sessions.retain(|_, account| account.held > 0 || now.saturating_duration_since(account.touched) <= idle);
            !sessions.is_empty()
        });
        self.count = self.accounts.values().map(HashMap::len).sum();
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// What sessions hold, those used last first, at most `max`.
    pub(crate) fn newest(&self, max: usize) -> Vec<SessionBalance> {
        let mut all: Vec<_> = self
            .accounts
            .iter()
            .flat_map(|(owner, sessions)| sessions.iter().map(|(session, account)| (*owner, session, account)))
            .collect();
        all.sort_by_key(|(_, _, account)| std::cmp::Reverse(account.touched));
        let newest = all.into_iter().take(max);
        newest
            .map(|(account, session, held)| SessionBalance { account, session: session.clone(), balance: held.balance })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Address = Address::repeat_byte(1);

    #[test]
    fn only_idle_sessions_make_room() {
        let start = Instant::now();
        let mut accounts = Accounts::new(AccountLimits { max_sessions: 8, idle: Duration::from_secs(10) });
        assert!(accounts.open(ALICE, "a", Price::FREE, start).is_some());
        assert!(accounts.open(ALICE, "b", Price::FREE, start + Duration::from_secs(5)).is_some());
        assert!(accounts.open(ALICE, "c", Price::FREE, start + Duration::from_secs(10)).is_none());
        assert!(accounts.open(ALICE, "c", Price::FREE, start + Duration::from_secs(11)).is_some());
        assert!(accounts.get(ALICE, "a").is_none());
        assert!(accounts.get(ALICE, "b").is_some());
        assert_eq!(accounts.len(), 2);
    }

    #[test]
    fn one_account_cannot_take_all_the_room() {
        let (bob, now) = (Address::repeat_byte(2), Instant::now());
        let mut accounts = Accounts::new(AccountLimits { max_sessions: 5, idle: Duration::from_secs(10) });
        assert!(accounts.open(ALICE, "a", Price::FREE, now).is_some());
        assert!(accounts.open(ALICE, "b", Price::FREE, now).is_some());
        assert!(accounts.open(ALICE, "c", Price::FREE, now).is_none());
        assert!(accounts.open(bob, "c", Price::FREE, now).is_some());
    }

    #[test]
    fn a_session_with_work_under_way_is_not_idle() {
        let start = Instant::now();
        let mut accounts = Accounts::new(AccountLimits { max_sessions: 8, idle: Duration::from_secs(10) });
        accounts.open(ALICE, "a", Price::FREE, start).unwrap().held = 1;
        accounts.open(ALICE, "b", Price::FREE, start).unwrap();
        accounts.prune(start + Duration::from_secs(11));
        assert!(accounts.get(ALICE, "a").is_some());
        assert!(accounts.get(ALICE, "b").is_none());
    }

    #[test]
    fn the_sessions_used_last_are_listed() {
        let start = Instant::now();
        let mut accounts = Accounts::new(AccountLimits::default());
        for (seconds, session) in ["a", "b", "c"].into_iter().enumerate() {
            accounts.open(ALICE, session, Price::FREE, start + Duration::from_secs(seconds as u64));
        }
        accounts.touch(ALICE, "a", start + Duration::from_secs(9));
        let listed = |max| accounts.newest(max).into_iter().map(|held| held.session).collect::<Vec<_>>();
        assert_eq!(listed(2), ["a", "c"]);
        assert_eq!(listed(9), ["a", "c", "b"]);
    }

    #[test]
    fn an_ended_session_leaves_nothing() {
        let mut accounts = Accounts::new(AccountLimits::default());
        accounts.open(ALICE, "a", Price::FREE, Instant::now());
        assert!(accounts.remove(ALICE, "a").is_some());
        assert!(accounts.remove(ALICE, "a").is_none());
        assert_eq!((accounts.len(), accounts.accounts.len()), (0, 0));
    }
}
