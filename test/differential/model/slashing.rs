//! The loss after a proven fault: the same part of every stake, and of every lock of the challenge window.
use alloy::sol_types::SolError;
use num_traits::{One, Signed};
use streamflow_bindings::BondingManager;

use super::{
    Model, ONE_E27, Refused, Seen, Who,
    commission::{PPM, part},
};
use crate::exact::{Bounded, Rational, inverse_or_one, ratio, whole};

impl Model {
    /// Takes `ppm` of all stake of an orchestrator; `finder_ppm` of it goes to `finder`, the rest is burned.
    pub(crate) fn slash(
        &mut self,
        who: Who,
        finder: Who,
        ppm: u128,
        finder_ppm: u128,
        of_orchestrator: Seen,
    ) -> Result<(), Refused> {
        if !self.verifier {
            return Err(BondingManager::CallerNotTrusted::SELECTOR);
        }
        let penalty = self.slash_stake(who, ppm) + self.slash_locks(who, ppm);
        if self.accounts[who].delegate == Some(who) {
            self.book(who, of_orchestrator);
            if self.accounts[who].booked_stake == 0 {
                self.leave(who);
            }
        }
        let found = part(penalty, finder_ppm);
        self.accounts[finder].tokens += found;
        self.supply -= penalty - found;
        Ok(())
    }

    fn slash_stake(&mut self, who: Who, ppm: u128) -> u128 {
        let (round, kept) = (self.round, ratio(PPM - ppm, PPM));
        let o = &mut self.orchestrators[who];
        let penalty = part(o.delegated, ppm);
        if o.is_member() {
            self.next_total_stake -= o.delegated;
        }
        o.deactivation = o.deactivation.min(round);
        o.delegated -= penalty;
        (o.stake_round, o.slash_round, o.jailed) = (round, round, true);
        for commission in [&mut o.commission, &mut o.commission_before] {
            commission.scale(&kept);
            commission.loosen(&Rational::one());
        }
        let unit = inverse_or_one(&o.factor.least());
        o.factor.scale(&kept);
        o.factor.loosen(&Rational::one());
        let is_ruined = o.factor.least() <= Rational::one();
        for account in self.accounts.iter_mut().filter(|account| account.delegate == Some(who)) {
            // Nothing is earned in the rest of this round, and nobody joins: all stake counts the same.
            let fresh = std::mem::replace(&mut account.fresh, Bounded::zero());
            account.earning.add(&fresh);
            lose(&mut account.earning, &kept, &unit, is_ruined);
        }
        penalty
    }

    fn slash_locks(&mut self, who: Who, ppm: u128) -> u128 {
        let kept = ratio(PPM - ppm, PPM);
        let window = self.terms.challenge_window;
        let round = self.round;
        let mut penalty = 0;
        for (opened, locked) in &mut self.orchestrators[who].locked {
            if opened + window <= round || locked.amount == 0 {
                continue;
            }
            let lost = part(locked.amount, ppm);
            locked.amount -= lost;
            penalty += lost;
            locked.factor.scale(&kept);
            locked.factor.loosen(&Rational::one());
            let is_ruined = locked.factor.least() <= Rational::one();
            let locks = self.accounts.iter_mut().flat_map(|account| account.locks.values_mut());
            for lock in locks.filter(|lock| lock.delegate == who && lock.round == *opened) {
                lock.amount.scale(&kept);
                let lost = &lock.units * ratio(1, ONE_E27) + whole(1);
                lock.amount.loosen(&lost);
                if is_ruined {
                    lock.amount.loosen_all();
                }
            }
        }
        penalty
    }
}

/// `unit`: what one unit of the orchestrator's factor is of a stake.
fn lose(stake: &mut Bounded, kept: &Rational, unit: &Rational, is_ruined: bool) {
    let lost = &stake.exact * unit;
    stake.scale(kept);
    if kept.is_positive() {
        stake.loosen(&lost);
    }
    if is_ruined {
        stake.loosen_all();
    }
}
