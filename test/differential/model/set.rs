//! Who is registered, who is a member, who is active.
use super::{Model, Who};

impl Model {
    pub(crate) fn is_registered(&self, who: Who) -> bool {
        let account = &self.accounts[who];
        account.delegate == Some(who) && account.booked_stake > 0
    }

    /// Books a change of the stake that is delegated to an orchestrator: it may gain or lose its seat.
    pub(super) fn change_total_stake(&mut self, who: Who, new: u128) {
        let registered = self.is_registered(who);
        let members = self.orchestrators.iter().filter(|o| o.is_member()).count();
        let (round, terms) = (self.round, self.terms);
        let o = &mut self.orchestrators[who];
        let (old, was_member) = (o.delegated, o.is_member());
        o.stake_round = round;
        o.delegated = new;
        let keeps = was_member && new >= old;
        let may_sit = new >= terms.minimum_stake && registered;
        let finds_seat = was_member || (!o.jailed && members < terms.seats);
        let is_member = keeps || (may_sit && finds_seat);
        if is_member && !was_member {
            if !o.is_active(round) {
                o.activation = round + 1;
            }
            o.deactivation = u64::MAX;
        }
        if was_member && !is_member {
            o.deactivation = round + 1;
        }
        self.next_total_stake -= if was_member { old } else { 0 };
        self.next_total_stake += if is_member { new } else { 0 };
    }
}
