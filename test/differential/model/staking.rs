//! The calls of delegators and orchestrators. Each first decides whether it is refused, then takes effect.
use alloy::sol_types::SolError;
use streamflow_bindings::BondingManager;

use super::{Bounded, Lock, LockedStake, Model, ONE_E27, Refused, Seen, Who, whole};
use crate::exact::inverse_or_one;

/// Below this the contracts' factor takes no new stake, 1e27 = 1.
const LEAST_FACTOR: u128 = 10_u128.pow(18);

impl Model {
    pub(crate) fn bond(&mut self, who: Who, to: Who, amount: u128, seen: Seen) -> Result<(), Refused> {
        self.require_round()?;
        let bonded = self.stake_after_claim(who, seen);
        let old = self.accounts[who].delegate;
        let moves = bonded > 0 && old != Some(to);
        if moves && old == Some(who) {
            return Err(BondingManager::RegisteredTranscoderCannotDelegate::SELECTOR);
        }
        if moves && self.verifier {
            return Err(BondingManager::RedelegationNeedsUnbonding::SELECTOR);
        }
        if amount == 0 && !moves {
            return Err(BondingManager::ZeroDelegation::SELECTOR);
        }
        self.require_joinable(to, seen)?;
        self.claim(who, seen)?;
        let mut joining = amount;
        if let (true, Some(old)) = (moves, old) {
            joining += bonded;
            self.leave_nothing(who);
            self.change_total_stake(old, self.orchestrators[old].delegated - bonded);
        }
        self.accounts[who].tokens -= amount;
        self.join(who, to, joining);
        Ok(())
    }

    pub(crate) fn unbond(&mut self, who: Who, amount: u128, seen: Seen) -> Result<(), Refused> {
        self.require_round()?;
        let bonded = self.stake_after_claim(who, seen);
        let account = &self.accounts[who];
        let (Some(delegate), true) = (account.delegate, bonded > 0 && account.start_round <= self.round) else {
            return Err(BondingManager::CallerNotBonded::SELECTOR);
        };
        if amount == 0 || amount > bonded {
            return Err(BondingManager::InvalidUnbondAmount::SELECTOR);
        }
        self.claim(who, seen)?;
        let (round, terms) = (self.round, self.terms);
        let account = &mut self.accounts[who];
        // What does not earn yet leaves first. Where the contracts have less of it, they take the rest of what earns.
        let wanted = whole(amount);
        if wanted > account.fresh.least() {
            let slack = account.fresh.slack().clone();
            account.earning.loosen(&slack);
        }
        let rest = &wanted - account.fresh.take(&wanted);
        account.earning.take(&rest);
        account.booked_stake -= amount;
        let id = account.next_lock;
        account.next_lock += 1;
        if amount == bonded {
            // What the contracts had lost to rounding is given up.
            self.leave(who);
        }
        let locked = self.orchestrators[delegate]
            .locked
            .entry(round)
            .or_insert_with(|| LockedStake { amount: 0, factor: Bounded::whole(ONE_E27) });
        locked.amount += amount;
        let units = whole(amount) * whole(ONE_E27) * inverse_or_one(&locked.factor.least());
        let mut worth = Bounded::whole(amount);
        // Cut off when counted in units, and when counted back.
        worth.loosen(&whole(2));
        let lock = Lock { amount: worth, delegate, round, withdraw_round: round + terms.unbonding_period, units };
        self.accounts[who].locks.insert(id, lock);
        self.change_total_stake(delegate, self.orchestrators[delegate].delegated - amount);
        Ok(())
    }

    /// Gives a lock worth `value` back to the present delegate.
    pub(crate) fn rebond(&mut self, who: Who, id: u64, value: u128, seen: Seen) -> Result<(), Refused> {
        self.require_round()?;
        let bonded = self.stake_after_claim(who, seen);
        let (Some(delegate), true) = (self.accounts[who].delegate, bonded > 0) else {
            return Err(BondingManager::CallerUnbonded::SELECTOR);
        };
        self.return_lock(who, delegate, id, value, seen)
    }

    /// Gives a lock worth `value` to any delegate, with no other stake.
    pub(crate) fn rebond_from_unbonded(
        &mut self,
        who: Who,
        to: Who,
        id: u64,
        value: u128,
        seen: Seen,
    ) -> Result<(), Refused> {
        self.require_round()?;
        if self.stake_after_claim(who, seen) > 0 {
            return Err(BondingManager::CallerNotUnbonded::SELECTOR);
        }
        self.return_lock(who, to, id, value, seen)
    }

    pub(crate) fn withdraw_stake(&mut self, who: Who, id: u64, value: u128) -> Result<(), Refused> {
        let Some(lock) = self.accounts[who].locks.get(&id) else {
            return Err(BondingManager::InvalidUnbondingLock::SELECTOR);
        };
        if lock.withdraw_round > self.round {
            return Err(BondingManager::StakeLocked::SELECTOR);
        }
        self.close_lock(who, id, value);
        self.accounts[who].tokens += value;
        Ok(())
    }

    pub(crate) fn withdraw_fees(&mut self, who: Who, amount: u128, seen: Seen) -> Result<(), Refused> {
        self.require_round()?;
        let fees = if self.accounts[who].delegate.is_some() { seen.fees } else { self.accounts[who].booked_fees };
        if amount > fees {
            return Err(BondingManager::InsufficientFees::SELECTOR);
        }
        self.claim(who, seen)?;
        let account = &mut self.accounts[who];
        account.fees.take(&whole(amount));
        account.booked_fees -= amount;
        self.fees_held -= amount;
        Ok(())
    }

    /// An orchestrator collects its commissions. For everybody else nothing happens, but that the contracts round.
    pub(crate) fn claim(&mut self, who: Who, seen: Seen) -> Result<(), Refused> {
        self.require_round()?;
        if self.accounts[who].delegate.is_some() {
            self.book(who, seen);
        } else {
            self.accounts[who].last_claim_round = self.round;
        }
        Ok(())
    }

    pub(crate) fn reward(&mut self, who: Who, minted: u128) -> Result<(), Refused> {
        self.require_round()?;
        let o = &self.orchestrators[who];
        if !o.is_active(self.round) {
            return Err(BondingManager::TranscoderNotActive::SELECTOR);
        }
        if o.last_reward_round == self.round {
            return Err(BondingManager::RewardAlreadyCalled::SELECTOR);
        }
        self.hand_out_reward(who, minted);
        self.supply += minted;
        self.minted += minted;
        self.change_total_stake(who, self.orchestrators[who].delegated + minted);
        Ok(())
    }

    pub(crate) fn set_commissions(&mut self, who: Who, reward_cut: u128, fee_share: u128) -> Result<(), Refused> {
        self.require_round()?;
        if self.locked_for_commissions {
            return Err(BondingManager::RoundLocked::SELECTOR);
        }
        if !self.is_registered(who) {
            return Err(BondingManager::TranscoderNotRegistered::SELECTOR);
        }
        let (round, terms) = (self.round, self.terms);
        let o = &mut self.orchestrators[who];
        if o.is_active(round) && o.last_reward_round != round {
            return Err(BondingManager::RewardNotYetCalled::SELECTOR);
        }
        let is_first = !o.commissions.ever_set && (o.activation == 0 || o.activation > round);
        o.commissions.announce(reward_cut, fee_share, is_first, round + terms.notice);
        if round >= o.slash_round + terms.slash_cooldown {
            o.jailed = false;
        }
        if !o.is_member() {
            self.change_total_stake(who, self.orchestrators[who].delegated);
        }
        Ok(())
    }

    /// A winning ticket of `wei`, made in round `created`.
    pub(crate) fn ticket(&mut self, who: Who, wei: u128, created: u64) -> Result<(), Refused> {
        self.require_round()?;
        if !self.orchestrators[who].is_active(self.round) {
            return Err(BondingManager::TranscoderNotActive::SELECTOR);
        }
        self.fees_held += wei;
        self.hand_out_fees(who, wei, created);
        Ok(())
    }

    /// Writes down what the contracts keep after a claim; all of a claim that is an event.
    pub(super) fn book(&mut self, who: Who, seen: Seen) {
        let slack = self.claim_slack(who);
        let o = &mut self.orchestrators[who];
        let account = &mut self.accounts[who];
        account.earning.loosen(&slack);
        account.fees.loosen(&slack);
        if account.delegate == Some(who) {
            let commission = std::mem::replace(&mut o.commission, Bounded::zero());
            let fees = std::mem::replace(&mut o.commission_fees, Bounded::zero());
            // Commission of this round's reward was no stake when the round began.
            let is_fresh = o.last_reward_round == self.round && o.slash_round != self.round;
            let stake = if is_fresh { &mut account.fresh } else { &mut account.earning };
            stake.add(&commission);
            account.fees.add(&fees);
        }
        account.booked_stake = seen.stake;
        account.booked_fees = seen.fees;
        account.last_claim_round = self.round;
    }

    /// Ends a delegation.
    pub(super) fn leave(&mut self, who: Who) {
        self.leave_nothing(who);
        let account = &mut self.accounts[who];
        (account.delegate, account.start_round) = (None, 0);
    }

    fn leave_nothing(&mut self, who: Who) {
        let account = &mut self.accounts[who];
        (account.earning, account.fresh) = (Bounded::zero(), Bounded::zero());
        account.booked_stake = 0;
    }

    fn stake_after_claim(&self, who: Who, seen: Seen) -> u128 {
        if self.accounts[who].delegate.is_some() { seen.stake } else { 0 }
    }

    fn require_round(&self) -> Result<(), Refused> {
        if self.initialized { Ok(()) } else { Err(BondingManager::RoundNotInitialized::SELECTOR) }
    }

    /// Nobody joins in the round of a slash, nor where next to nothing was left.
    fn require_joinable(&self, to: Who, seen: Seen) -> Result<(), Refused> {
        let o = &self.orchestrators[to];
        let is_fine = o.factor.least() >= whole(LEAST_FACTOR);
        let is_too_coarse = o.factor.exact < whole(LEAST_FACTOR);
        let joins = o.slash_round != self.round && !is_too_coarse && (is_fine || seen.accepted);
        if joins { Ok(()) } else { Err(BondingManager::DelegateSlashed::SELECTOR) }
    }

    fn join(&mut self, who: Who, to: Who, amount: u128) {
        if self.accounts[who].booked_stake == 0 {
            self.leave_nothing(who);
            let account = &mut self.accounts[who];
            (account.delegate, account.start_round) = (Some(to), self.round + 1);
        }
        let account = &mut self.accounts[who];
        account.fresh.add_whole(amount);
        account.booked_stake += amount;
        self.change_total_stake(to, self.orchestrators[to].delegated + amount);
    }

    fn return_lock(&mut self, who: Who, to: Who, id: u64, value: u128, seen: Seen) -> Result<(), Refused> {
        let Some(lock) = self.accounts[who].locks.get(&id) else {
            return Err(BondingManager::InvalidUnbondingLock::SELECTOR);
        };
        if lock.delegate != to && self.round < lock.round + self.terms.challenge_window && self.verifier {
            return Err(BondingManager::RedelegationNeedsUnbonding::SELECTOR);
        }
        self.require_joinable(to, seen)?;
        self.claim(who, seen)?;
        self.close_lock(who, id, value);
        self.join(who, to, value);
        Ok(())
    }

    fn close_lock(&mut self, who: Who, id: u64, value: u128) {
        if let Some(lock) = self.accounts[who].locks.remove(&id)
            && let Some(locked) = self.orchestrators[lock.delegate].locked.get_mut(&lock.round)
        {
            locked.amount -= value;
        }
    }
}
