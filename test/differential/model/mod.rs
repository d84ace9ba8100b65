//! Staking by definition, in exact numbers.
//!
//! The model has no factors and remembers no rounds. A reward or a fee is handed out at once, to everybody whose stake
//! takes part, in proportion; a slash takes the same part of everybody's stake. So a delegator's claim is no event here
//! at all, while the contracts compute everything at claims, from two running factors. What the model takes over as the
//! contracts have it are whole numbers of wei: arguments, the reward that was minted, and the whole stake that leaves.
mod commission;
mod set;
mod slashing;
mod staking;

use std::collections::BTreeMap;

use alloy::sol_types::SolError;
pub(crate) use commission::Commissions;
use num_traits::{One, Zero};
use streamflow_bindings::RoundsManager;

use crate::exact::{Bounded, Rational, inverse_or_one, ratio, whole};

/// First four bytes of the error that refuses a call.
pub(crate) type Refused = [u8; 4];

/// Place in [`Model::accounts`].
pub(crate) type Who = usize;

/// Factors have 27 decimals.
const ONE_E27: u128 = 10_u128.pow(27);
/// Rates have nine.
const RATE_ONE: u128 = 1_000_000_000;

/// Parameters of the deployment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) unbonding_period: u64,
    pub(crate) notice: u64,
    pub(crate) challenge_window: u64,
    pub(crate) slash_cooldown: u64,
    pub(crate) minimum_stake: u128,
    pub(crate) seats: usize,
    pub(crate) inflation_change: u128,
    pub(crate) target_bonding_rate: u128,
}

/// What the contracts said before a call, and what became of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// `pendingStake` of the caller.
    pub(crate) stake: u128,
    /// `pendingFees` of the caller.
    pub(crate) fees: u128,
    /// Whether the call went through; asked only where the bound leaves both open.
    pub(crate) accepted: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) delegate: Option<Who>,
    /// Stake that takes part in this round's earnings.
    pub(crate) earning: Bounded,
    /// Stake that joined in this round.
    pub(crate) fresh: Bounded,
    pub(crate) fees: Bounded,
    pub(crate) start_round: u64,
    pub(crate) last_claim_round: u64,
    /// As of the last claim, and whole: what the contracts keep.
    pub(crate) booked_stake: u128,
    pub(crate) booked_fees: u128,
    pub(crate) locks: BTreeMap<u64, Lock>,
    pub(crate) next_lock: u64,
    /// Tokens outside of staking.
    pub(crate) tokens: u128,
}

#[derive(Clone, Debug)]
pub(crate) struct Lock {
    pub(crate) amount: Bounded,
    pub(crate) delegate: Who,
    pub(crate) round: u64,
    pub(crate) withdraw_round: u64,
    /// No fewer units than the contracts count the lock in.
    units: Rational,
}

/// Stake of one orchestrator that was unbonded in one round.
#[derive(Clone, Debug)]
pub(crate) struct LockedStake {
    pub(crate) amount: u128,
    /// What slashes left of a unit, 1e27 = 1.
    factor: Bounded,
}

/// What an account is as an orchestrator.
#[derive(Clone, Debug)]
pub(crate) struct Orchestrator {
    pub(crate) delegated: u128,
    pub(crate) round_stake: u128,
    pub(crate) stake_round: u64,
    pub(crate) activation: u64,
    /// `u64::MAX` for a member of the next round's set.
    pub(crate) deactivation: u64,
    pub(crate) last_reward_round: u64,
    pub(crate) last_fee_round: u64,
    pub(crate) slash_round: u64,
    pub(crate) jailed: bool,
    pub(crate) commissions: Commissions,
    /// Unclaimed commission on rewards.
    pub(crate) commission: Bounded,
    /// What it was before the latest reward.
    pub(crate) commission_before: Bounded,
    /// Unclaimed commission on fees, and fees on unclaimed commission.
    pub(crate) commission_fees: Bounded,
    pub(crate) locked: BTreeMap<u64, LockedStake>,
    /// Growth of a stake by this round's reward.
    growth: Rational,
    /// What one unit staked since the beginning is now, 1e27 = 1. Only says how coarse the contracts' factor is.
    factor: Bounded,
    /// The same before this round's reward.
    factor_before: Bounded,
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) terms: Terms,
    pub(crate) accounts: Vec<Account>,
    pub(crate) orchestrators: Vec<Orchestrator>,
    pub(crate) round: u64,
    pub(crate) initialized: bool,
    pub(crate) locked_for_commissions: bool,
    pub(crate) verifier: bool,
    pub(crate) total_stake: u128,
    pub(crate) next_total_stake: u128,
    pub(crate) pool_size: usize,
    pub(crate) supply: u128,
    pub(crate) inflation: u128,
    pub(crate) mintable: u128,
    pub(crate) minted: u128,
    /// Fees paid in and not withdrawn, wei.
    pub(crate) fees_held: u128,
}

impl Account {
    pub(crate) fn with_tokens(tokens: u128) -> Self {
        Self {
            delegate: None,
            earning: Bounded::zero(),
            fresh: Bounded::zero(),
            fees: Bounded::zero(),
            start_round: 0,
            last_claim_round: 0,
            booked_stake: 0,
            booked_fees: 0,
            locks: BTreeMap::new(),
            next_lock: 0,
            tokens,
        }
    }
}

impl Orchestrator {
    pub(crate) fn new() -> Self {
        Self {
            delegated: 0,
            round_stake: 0,
            stake_round: 0,
            activation: 0,
            deactivation: 0,
            last_reward_round: 0,
            last_fee_round: 0,
            slash_round: 0,
            jailed: false,
            commissions: Commissions::default(),
            commission: Bounded::zero(),
            commission_before: Bounded::zero(),
            commission_fees: Bounded::zero(),
            locked: BTreeMap::new(),
            growth: Rational::one(),
            factor: Bounded::whole(ONE_E27),
            factor_before: Bounded::whole(ONE_E27),
        }
    }

    pub(crate) const fn is_member(&self) -> bool {
        self.deactivation == u64::MAX
    }

    pub(crate) const fn is_active(&self, round: u64) -> bool {
        self.activation <= round && round < self.deactivation
    }
}

impl Model {
    /// Goes on to a later round, in which fresh stake earns.
    pub(crate) fn advance(&mut self, rounds: u64) {
        if rounds == 0 {
            return;
        }
        self.round += rounds;
        self.initialized = false;
        for account in &mut self.accounts {
            let fresh = std::mem::replace(&mut account.fresh, Bounded::zero());
            account.earning.add(&fresh);
        }
        for o in &mut self.orchestrators {
            o.round_stake = o.delegated;
            o.growth = Rational::one();
            o.factor_before = o.factor.clone();
            o.commissions.settle(self.round);
        }
    }

    /// Fixes the round's totals and what may be minted in it.
    pub(crate) fn initialize(&mut self) -> Result<(), Refused> {
        if self.initialized {
            return Err(RoundsManager::RoundAlreadyInitialized::SELECTOR);
        }
        self.initialized = true;
        self.total_stake = self.next_total_stake;
        self.pool_size = self.orchestrators.iter().filter(|o| o.is_member()).count();
        let bonding_rate = (self.total_stake * RATE_ONE).checked_div(self.supply).unwrap_or(0);
        let step = self.terms.inflation_change;
        if bonding_rate < self.terms.target_bonding_rate {
            self.inflation = RATE_ONE.min(self.inflation + step);
        } else if bonding_rate > self.terms.target_bonding_rate {
            self.inflation = self.inflation.saturating_sub(step);
        }
        self.mintable = self.supply * self.inflation / RATE_ONE;
        self.minted = 0;
        Ok(())
    }

    /// An orchestrator's part of what may be minted in the round.
    pub(crate) fn exact_reward(&self, who: Who) -> Rational {
        ratio(self.mintable, 1) * ratio(self.orchestrators[who].round_stake, self.total_stake)
    }

    /// Most that the contracts lose of a reward: a share has nine decimals.
    pub(crate) fn reward_slack(&self) -> Rational {
        ratio(self.mintable, RATE_ONE) + whole(1)
    }

    /// Hands out a reward of which `minted` arrived: the orchestrator's cut to itself, as stake of the next round, and the
    /// rest to all stake of this round that is still there.
    fn hand_out_reward(&mut self, who: Who, minted: u128) {
        let o = &mut self.orchestrators[who];
        let cut = commission::part(minted, o.commissions.reward_cut);
        let share = ratio(minted - cut, o.round_stake);
        let growth = Rational::one() + &share;
        let coarse = coarseness(&o.factor);
        o.commission_before = o.commission.clone();
        o.commission.scale(&growth);
        // The product of a ratio with 27 decimals, cut off.
        o.commission.loosen(&(ratio(minted - cut, ONE_E27) + whole(1)));
        o.commission.add_whole(cut);
        o.factor.scale(&growth);
        let lost = &o.factor.exact * ratio(1, ONE_E27) + whole(1);
        o.factor.loosen(&lost);
        o.growth = growth.clone();
        o.last_reward_round = self.round;
        for account in self.accounts.iter_mut().filter(|account| account.delegate == Some(who)) {
            account.earning.scale(&growth);
            let lost = &account.earning.exact * &coarse;
            account.earning.loosen(&lost);
        }
    }

    /// Hands out fees: the delegators' share to all stake of this round that is still there, as much as each was at the
    /// round's start, unclaimed commission included; the rest to the orchestrator.
    fn hand_out_fees(&mut self, who: Who, wei: u128, created: u64) {
        let o = &mut self.orchestrators[who];
        let shared = commission::part(wei, o.commissions.fee_share_since(created));
        let per_unit = ratio(shared, o.round_stake);
        let is_rewarded = o.last_reward_round == self.round;
        let mut on_commission = if is_rewarded { o.commission_before.clone() } else { o.commission.clone() };
        on_commission.scale(&per_unit);
        on_commission.loosen(&(ratio(shared, ONE_E27) + whole(1)));
        o.commission_fees.add(&on_commission);
        o.commission_fees.add_whole(wei - shared);
        o.last_fee_round = self.round;
        let coarse = coarseness(&o.factor_before);
        let to_start = o.growth.recip();
        for account in self.accounts.iter_mut().filter(|account| account.delegate == Some(who)) {
            let mut earned = account.earning.clone();
            earned.scale(&to_start);
            let lost = &earned.exact * &coarse;
            earned.scale(&per_unit);
            earned.loosen(&lost);
            account.fees.add(&earned);
        }
    }

    /// Everything that belongs to an account as stake, and the slack of asking for it.
    pub(crate) fn pending_stake(&self, who: Who) -> Bounded {
        let account = &self.accounts[who];
        let mut stake = account.earning.clone();
        stake.add(&account.fresh);
        if account.delegate == Some(who) {
            stake.add(&self.orchestrators[who].commission);
        }
        stake.loosen(&self.claim_slack(who));
        stake
    }

    /// Everything that belongs to an account as fees, and the slack of asking for it.
    pub(crate) fn pending_fees(&self, who: Who) -> Bounded {
        let account = &self.accounts[who];
        let mut fees = account.fees.clone();
        if account.delegate == Some(who) {
            fees.add(&self.orchestrators[who].commission_fees);
        }
        fees.loosen(&self.claim_slack(who));
        fees
    }

    /// Two positions are rounded in a claim, one of old and one of fresh stake: each by a ratio with 27 decimals, cut off,
    /// times less stake than there are tokens, cut off.
    fn claim_slack(&self, who: Who) -> Rational {
        match self.accounts[who].delegate {
            Some(_) => (ratio(self.supply, ONE_E27) + whole(1)) * whole(2),
            None => Rational::zero(),
        }
    }

    /// Stake and fees that nobody can claim at present: commissions of an orchestrator that delegates elsewhere.
    pub(crate) fn stranded(&self, who: Who) -> (Rational, Rational) {
        let o = &self.orchestrators[who];
        match self.accounts[who].delegate {
            Some(delegate) if delegate == who => (Rational::zero(), Rational::zero()),
            _ => (o.commission.exact.clone(), o.commission_fees.exact.clone()),
        }
    }
}

/// Part of a stake that one step of a factor may lose: a ratio with 27 decimals, cut off, and one unit of the factor.
fn coarseness(factor: &Bounded) -> Rational {
    ratio(1, ONE_E27) + inverse_or_one(&factor.least())
}
