//! An orchestrator's shares and their notice, with their whole history.

/// One millionth is the unit of shares.
pub(crate) const PPM: u128 = 1_000_000;

/// Part of an amount, in whole wei, rounded down: the split is part of the rule, not of its rounding.
pub(crate) const fn part(amount: u128, ppm: u128) -> u128 {
    amount * ppm / PPM
}

/// Shares in force, and what waits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Commissions {
    pub(crate) reward_cut: u128,
    pub(crate) fee_share: u128,
    pub(crate) waiting: Option<Waiting>,
    pub(crate) ever_set: bool,
    /// Fee shares that a change ended, and the first round without each.
    ended: Vec<(u64, u128)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) reward_cut: u128,
    pub(crate) fee_share: u128,
    pub(crate) from: u64,
}

impl Commissions {
    /// Lets what was announced for `round` or earlier come into force.
    pub(crate) fn settle(&mut self, round: u64) {
        if let Some(waiting) = self.waiting.take_if(|waiting| waiting.from <= round) {
            self.ended.push((waiting.from, self.fee_share));
            (self.reward_cut, self.fee_share) = (waiting.reward_cut, waiting.fee_share);
        }
    }

    /// The better is in force at once and the worse waits. `at_once`: nobody staked on the old terms.
    pub(crate) fn announce(&mut self, reward_cut: u128, fee_share: u128, at_once: bool, from: u64) {
        let milder = self.waiting.filter(|waiting| reward_cut <= waiting.reward_cut && fee_share >= waiting.fee_share);
        if at_once || reward_cut <= self.reward_cut {
            self.reward_cut = reward_cut;
        }
        if at_once || fee_share >= self.fee_share {
            self.fee_share = fee_share;
        }
        let reached = (self.reward_cut, self.fee_share) == (reward_cut, fee_share);
        let from = milder.map_or(from, |waiting| waiting.from);
        self.waiting = (!reached).then_some(Waiting { reward_cut, fee_share, from });
        self.ever_set = true;
    }

    /// Delegators' share of fees from a ticket of round `created`: the best since then.
    pub(crate) fn fee_share_since(&self, created: u64) -> u128 {
        let ended = self.ended.iter().filter(|(end, _)| *end > created).map(|(_, share)| *share);
        ended.fold(self.fee_share, u128::max)
    }
}
