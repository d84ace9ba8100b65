//! What a broadcaster has paid ahead, by (orchestrator, session) (payments.md §1.9).
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use alloy_primitives::Address;
use streamflow_types::Price;

use crate::{AccountLimits, Balance, MAX_TICKETS, SessionBalance, TicketEv, accounts::Accounts, is_credible_bill};

/// A broadcaster's credit with orchestrators.
#[derive(Debug)]
pub struct Spending {
    accounts: Mutex<Accounts>,
}

/// A segment about to be paid for. The session's credit was taken out of the book and comes back with
/// [`Spending::complete`]; what is dropped instead is lost.
#[must_use = "credit that is not completed is lost"]
#[derive(Debug)]
pub struct Stage {
    recipient: Address,
    session: String,
    price: Price,
    pixels: u64,
    existing: Balance,
    ev: TicketEv,
    tickets: usize,
}

impl Stage {
    /// Tickets to send.
    pub fn tickets(&self) -> usize {
        self.tickets
    }
}

/// What became of a staged segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No ticket left this process: the old credit is still there.
    NotSent,
    /// The orchestrator answered, but not with a result: tickets and credit are gone.
    Lost,
    /// A result of so many pixels: the change is kept, or owed. A bill far above what was staged is not: it counts as
    /// [`Outcome::Lost`], or an orchestrator could make a debt out of nothing.
    Served {
        /// Encoded pixels of all renditions, as billed.
        pixels: u64,
    },
}

/// One payment cannot carry so many tickets: the work is too large for the expected value that was quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{needed} tickets needed, more than {max} in one payment", max = MAX_TICKETS)]
pub struct TooManyTicketsNeeded {
    /// Tickets needed.
    pub needed: u64,
}

impl Spending {
    /// An empty book.
    pub fn new(limits: AccountLimits) -> Self {
        Self { accounts: Mutex::new(Accounts::new(limits)) }
    }

    /// Takes the session's credit and says how many tickets of `ev` each must be added, so that the orchestrator holds at
    /// least one ticket's worth and the cost of `pixels`.
    pub fn stage(
        &self,
        recipient: Address,
        session: &str,
        price: Price,
        pixels: u64,
        ev: TicketEv,
    ) -> Result<Stage, TooManyTicketsNeeded> {
        let mut accounts = self.accounts();
        let held = accounts.get(recipient, session).map(|account| account.balance);
        let existing = held.unwrap_or_else(|| Balance::zero(price)).repriced(price);
        let needed = existing.missing_tickets(ev, price, pixels);
        let tickets =
            usize::try_from(needed).ok().filter(|n| *n <= MAX_TICKETS).ok_or(TooManyTicketsNeeded { needed })?;
        accounts.remove(recipient, session);
        Ok(Stage { recipient, session: session.to_owned(), price, pixels, existing, ev, tickets })
    }

    /// Closes a staged segment.
    pub fn complete(&self, stage: Stage, outcome: Outcome, now: Instant) {
        let mut balance = stage.existing;
        match outcome {
            Outcome::NotSent => {}
            Outcome::Lost => return,
            Outcome::Served { pixels } if !is_credible_bill(stage.pixels, pixels) => return,
            Outcome::Served { pixels } => {
                balance.credit(stage.ev.times(stage.tickets));
                balance.debit(stage.price, pixels);
            }
        }
        // Without room the credit is forgotten: it is at most a few tickets.
        if let Some(account) = self.accounts().open(stage.recipient, &stage.session, stage.price, now) {
            account.price = stage.price;
            account.balance = account.balance.repriced(stage.price);
            account.balance.add(balance);
        }
    }

    /// Credit with an orchestrator; none if nothing was ever paid, or while a segment is staged.
    pub fn balance(&self, recipient: Address, session: &str) -> Option<Balance> {
        self.accounts().get(recipient, session).map(|account| account.balance)
    }

    /// Credit with orchestrators by session, that used last first, at most `max`. A session whose segment is staged is
    /// missing.
    pub fn balances(&self, max: usize) -> Vec<SessionBalance> {
        self.accounts().newest(max)
    }

    /// Forgets a session that is over, with what it had left.
    pub fn end_session(&self, recipient: Address, session: &str) {
        self.accounts().remove(recipient, session);
    }

    /// Forgets sessions that are idle.
    pub fn prune(&self, now: Instant) {
        self.accounts().prune(now);
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use alloy_primitives::{Sign, U256};

    use super::*;

    const O: Address = Address::repeat_byte(7);

    fn price(wei: u64, pixels: u64) -> Price {
        Price::new(wei, pixels).unwrap()
    }

    fn wei(amount: u64) -> TicketEv {
        TicketEv::from_wei(U256::from(amount))
    }

    fn held(spending: &Spending) -> Option<(Sign, U256)> {
        spending.balance(O, "s").map(|b| b.floor_wei())
    }

    #[test]
    fn change_pays_for_the_next_segment() {
        let (spending, now) = (Spending::new(AccountLimits::default()), Instant::now());
        let stage = spending.stage(O, "s", price(1, 10), 95, wei(4)).unwrap();
        assert_eq!(stage.tickets(), 3); // 9.5 wei
        spending.complete(stage, Outcome::Served { pixels: 40 }, now);
        assert_eq!(held(&spending), Some((Sign::Positive, U256::from(8))));
        let stage = spending.stage(O, "s", price(1, 10), 95, wei(4)).unwrap();
        assert_eq!(stage.tickets(), 1);
        spending.complete(stage, Outcome::Served { pixels: 190 }, now);
        assert_eq!(held(&spending), Some((Sign::Negative, U256::from(7))));
    }

    #[test]
    fn a_bill_for_far_more_than_was_asked_makes_no_debt() {
        let (spending, now) = (Spending::new(AccountLimits::default()), Instant::now());
        for pixels in [191, u64::MAX] {
            let stage = spending.stage(O, "s", price(1, 10), 95, wei(4)).unwrap();
            assert_eq!(stage.tickets(), 3);
            spending.complete(stage, Outcome::Served { pixels }, now);
            assert_eq!(held(&spending), None);
        }
    }

    #[test]
    fn unsent_credit_comes_back_and_lost_credit_does_not() {
        let (spending, now) = (Spending::new(AccountLimits::default()), Instant::now());
        let paid = spending.stage(O, "s", price(1, 1), 5, wei(10)).unwrap();
        spending.complete(paid, Outcome::Served { pixels: 3 }, now);
        let unsent = spending.stage(O, "s", price(1, 1), 5, wei(10)).unwrap();
        assert_eq!(held(&spending), None);
        spending.complete(unsent, Outcome::NotSent, now);
        assert_eq!(held(&spending), Some((Sign::Positive, U256::from(7))));
        let lost = spending.stage(O, "s", price(1, 1), 5, wei(10)).unwrap();
        spending.complete(lost, Outcome::Lost, now);
        assert_eq!(held(&spending), None);
    }

    #[test]
    fn a_changed_price_keeps_the_credit() {
        let (spending, now) = (Spending::new(AccountLimits::default()), Instant::now());
        let stage = spending.stage(O, "s", price(1, 3), 1, wei(1)).unwrap();
        spending.complete(stage, Outcome::Served { pixels: 0 }, now);
        let stage = spending.stage(O, "s", price(1, 7), 7, wei(1)).unwrap();
        assert_eq!(stage.tickets(), 0);
        spending.complete(stage, Outcome::Served { pixels: 7 }, now);
        assert_eq!(held(&spending), Some((Sign::Positive, U256::ZERO)));
    }

    #[test]
    fn too_many_tickets_leave_the_credit_where_it_is() {
        let (spending, now) = (Spending::new(AccountLimits::default()), Instant::now());
        let stage = spending.stage(O, "s", price(1, 1), 600, wei(1)).unwrap();
        assert_eq!(stage.tickets(), 600);
        spending.complete(stage, Outcome::Served { pixels: 599 }, now);
        let error = spending.stage(O, "s", price(1, 1), 602, wei(1)).unwrap_err();
        assert_eq!(error, TooManyTicketsNeeded { needed: 601 });
        assert_eq!(held(&spending), Some((Sign::Positive, U256::ONE)));
    }

    #[test]
    fn a_session_is_listed_until_it_is_over() {
        let (spending, now) = (Spending::new(AccountLimits::default()), Instant::now());
        let stage = spending.stage(O, "s", price(1, 3), 1, wei(1)).unwrap();
        assert_eq!(spending.balances(9), []);
        spending.complete(stage, Outcome::Served { pixels: 1 }, now);
        let [held] = spending.balances(9).try_into().unwrap();
        assert_eq!((held.account, held.session.as_str(), held.balance.to_ratio().as_str()), (O, "s", "2/3"));
        spending.end_session(O, "s");
        assert_eq!(spending.balances(9), []);
    }

    #[test]
    fn idle_credit_is_forgotten() {
        let (spending, now) = (Spending::new(AccountLimits::default()), Instant::now());
        let stage = spending.stage(O, "s", price(1, 1), 1, wei(1)).unwrap();
        spending.complete(stage, Outcome::Served { pixels: 0 }, now);
        spending.prune(now + Duration::from_secs(600));
        assert!(held(&spending).is_some());
        spending.prune(now + Duration::from_secs(601));
        assert!(held(&spending).is_none());
    }
}
