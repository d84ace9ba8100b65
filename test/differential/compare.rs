//! Every view against the model.
use alloy::primitives::{Address, U256};
use anyhow::{Context, Result, ensure};
use num_traits::ToPrimitive;
use streamflow_bindings::{BondingManager, LivepeerToken, Minter, TicketBroker};

use crate::{
    action::ACCOUNTS,
    exact::{Bounded, Rational, whole},
    market::{Market, to_u128},
    model::Who,
};

/// Largest distances met, and the largest that was allowed, in thousandths of a wei.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gaps {
    pub(crate) stake: u128,
    pub(crate) fees: u128,
    pub(crate) allowed: u128,
}

impl Gaps {
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            stake: self.stake.max(other.stake),
            fees: self.fees.max(other.fees),
            allowed: self.allowed.max(other.allowed),
        }
    }
}

impl Market {
    /// Equal where the model has whole numbers; elsewhere the contracts have no more, and not less than the bound allows.
    pub(crate) fn compare(&mut self) -> Result<Gaps> {
        let mut gaps = Gaps::default();
        let (mut stakes, mut fees) = ([0_u128; ACCOUNTS], 0);
        for who in 0..ACCOUNTS {
            let seen = self.seen(who)?;
            let (stake, allowed) = below("pendingStake", who, seen.stake, &self.model.pending_stake(who))?;
            gaps = gaps.max(Gaps { stake, fees: 0, allowed });
            let (fee, allowed) = below("pendingFees", who, seen.fees, &self.model.pending_fees(who))?;
            gaps = gaps.max(Gaps { stake: 0, fees: fee, allowed });
            if let Some(delegate) = self.model.accounts[who].delegate {
                stakes[delegate] += seen.stake;
            }
            fees += seen.fees;
            self.compare_delegator(who)?;
            fees += self.compare_orchestrator(who)?;
        }
        for (who, stake) in stakes.into_iter().enumerate() {
            let total = self.model.orchestrators[who].delegated;
            ensure!(stake <= total, "delegators of {who} have {stake} of {total}");
        }
        ensure!(fees <= self.model.fees_held, "{fees} wei are owed of {}", self.model.fees_held);
        self.check_model()?;
        self.compare_totals()?;
        Ok(gaps)
    }

    fn compare_delegator(&mut self, who: Who) -> Result<()> {
        let call = BondingManager::getDelegatorCall { delegator: self.accounts[who] };
        let got = self.chain.view(self.contracts.bonding_manager, call)?;
        let account = &self.model.accounts[who];
        let delegate = account.delegate.map_or(Address::ZERO, |delegate| self.accounts[delegate]);
        ensure!(got.delegateAddress == delegate, "delegate of {who} is {}", got.delegateAddress);
        for (what, got, expected) in [
            ("bondedAmount", got.bondedAmount, account.booked_stake),
            ("fees", got.fees, account.booked_fees),
            ("delegatedAmount", got.delegatedAmount, self.model.orchestrators[who].delegated),
            ("startRound", got.startRound, account.start_round.into()),
            ("lastClaimRound", got.lastClaimRound, account.last_claim_round.into()),
            ("nextUnbondingLockId", got.nextUnbondingLockId, account.next_lock.into()),
        ] {
            equal(what, Some(who), got, expected)?;
        }
        let token = LivepeerToken::balanceOfCall { account: self.accounts[who] };
        let tokens = self.chain.view(self.contracts.livepeer_token, token)?;
        equal("tokens", Some(who), tokens, self.model.accounts[who].tokens)?;
        let ids: Vec<u64> = self.model.accounts[who].locks.keys().copied().collect();
        for id in ids {
            let value = self.lock_value(who, id)?;
            below("unbonding lock", who, value, &self.model.accounts[who].locks[&id].amount)?;
        }
        Ok(())
    }

    /// Returns the fees that nobody can claim at present.
    fn compare_orchestrator(&mut self, who: Who) -> Result<u128> {
        let transcoder_ = self.accounts[who];
        let staking = self.contracts.bonding_manager;
        let got = self.chain.view(staking, BondingManager::getTranscoderCall { transcoder_ })?;
        let waiting = self.chain.view(staking, BondingManager::getPendingCommissionsCall { transcoder_ })?;
        let slashed = self.chain.view(staking, BondingManager::getSlashStateCall { transcoder_ })?;
        let total = self.total_stake_of(who)?;
        let o = &self.model.orchestrators[who];
        let deactivation = if o.is_member() { U256::MAX } else { U256::from(o.deactivation) };
        ensure!(got.deactivationRound == deactivation, "deactivationRound of {who} is {}", got.deactivationRound);
        ensure!(slashed.jailed == o.jailed, "{who} is jailed: {}", slashed.jailed);
        ensure!(total == o.delegated, "transcoderTotalStake of {who}: contracts {total}, model {}", o.delegated);
        let expected = o.commissions.waiting.map_or((0, 0, 0), |w| (w.reward_cut, w.fee_share, w.from.into()));
        for (what, got, expected) in [
            ("lastRewardRound", got.lastRewardRound, o.last_reward_round.into()),
            ("rewardCut", got.rewardCut, o.commissions.reward_cut),
            ("feeShare", got.feeShare, o.commissions.fee_share),
            (
                "lastActiveStakeUpdateRound",
                got.lastActiveStakeUpdateRound,
                if o.stake_round > 0 { u128::from(o.stake_round) + 1 } else { 0 },
            ),
            ("activationRound", got.activationRound, o.activation.into()),
            ("lastFeeRound", got.lastFeeRound, o.last_fee_round.into()),
            ("slashRound", slashed.slashRound, o.slash_round.into()),
            ("waiting rewardCut", waiting.rewardCut, expected.0),
            ("waiting feeShare", waiting.feeShare, expected.1),
            ("effectiveRound", waiting.effectiveRound, expected.2),
        ] {
            equal(what, Some(who), got, expected)?;
        }
        below("cumulativeRewards", who, to_u128(got.cumulativeRewards)?, &o.commission)?;
        below("activeCumulativeRewards", who, to_u128(got.activeCumulativeRewards)?, &o.commission_before)?;
        let fees = to_u128(got.cumulativeFees)?;
        below("cumulativeFees", who, fees, &o.commission_fees)?;
        Ok(if self.model.accounts[who].delegate == Some(who) { 0 } else { fees })
    }

    fn compare_totals(&mut self) -> Result<()> {
        let (contracts, model) = (self.contracts, &self.model);
        let locked = model.orchestrators.iter().flat_map(|o| o.locked.values()).map(|locked| locked.amount);
        let held = model.orchestrators.iter().map(|o| o.delegated).chain(locked).sum::<u128>();
        let vault = LivepeerToken::balanceOfCall { account: contracts.minter };
        let staking = contracts.bonding_manager;
        let chain = &mut self.chain;
        for (what, got, expected) in [
            (
                "currentRoundTotalActiveStake",
                chain.view(staking, BondingManager::currentRoundTotalActiveStakeCall {})?,
                model.total_stake,
            ),
            ("getTotalBonded", chain.view(staking, BondingManager::getTotalBondedCall {})?, model.total_stake),
            (
                "nextRoundTotalActiveStake",
                chain.view(staking, BondingManager::nextRoundTotalActiveStakeCall {})?,
                model.next_total_stake,
            ),
            (
                "currentRoundPoolSize",
                chain.view(staking, BondingManager::currentRoundPoolSizeCall {})?,
                model.pool_size as u128,
            ),
            ("totalSupply", chain.view(contracts.livepeer_token, LivepeerToken::totalSupplyCall {})?, model.supply),
            ("tokens staked and locked", chain.view(contracts.livepeer_token, vault)?, held),
            ("inflation", chain.view(contracts.minter, Minter::inflationCall {})?, model.inflation),
            (
                "currentMintableTokens",
                chain.view(contracts.minter, Minter::currentMintableTokensCall {})?,
                model.mintable,
            ),
            ("currentMintedTokens", chain.view(contracts.minter, Minter::currentMintedTokensCall {})?, model.minted),
            (
                "unclaimedFees",
                chain.view(contracts.ticket_broker, TicketBroker::unclaimedFeesCall {})?,
                model.fees_held,
            ),
        ] {
            equal(what, None, got, expected)?;
        }
        Ok(())
    }

    /// The exact claims do not exceed what there is either, or the definition itself would be wrong.
    fn check_model(&self) -> Result<()> {
        let mut fees = Rational::from_integer(0.into());
        let mut stakes = vec![Rational::from_integer(0.into()); ACCOUNTS];
        for who in 0..ACCOUNTS {
            let (stranded_stake, stranded_fees) = self.model.stranded(who);
            stakes[who] += stranded_stake;
            fees += stranded_fees + self.model.pending_fees(who).exact;
            if let Some(delegate) = self.model.accounts[who].delegate {
                stakes[delegate] += self.model.pending_stake(who).exact;
            }
        }
        for (who, stake) in stakes.iter().enumerate() {
            let total = self.model.orchestrators[who].delegated;
            ensure!(*stake <= whole(total), "exact stakes with {who} are {} of {total}", decimal(stake));
        }
        ensure!(fees <= whole(self.model.fees_held), "exact fees are {}", decimal(&fees));
        Ok(())
    }
}

fn equal(what: &str, who: Option<Who>, got: U256, expected: u128) -> Result<()> {
    let of = who.map(|who| format!(" of {who}")).unwrap_or_default();
    ensure!(got == U256::from(expected), "{what}{of}: contracts {got}, model {expected}");
    Ok(())
}

/// Never above, and below within the bound. Returns distance and bound in thousandths.
fn below(what: &str, who: Who, got: u128, model: &Bounded) -> Result<(u128, u128)> {
    let gap = &model.exact - whole(got);
    ensure!(
        gap >= whole(0) && &gap <= model.slack(),
        "{what} of {who}: contracts {got}, exact {}; {} below, where 0 to {} are allowed",
        decimal(&model.exact),
        decimal(&gap),
        decimal(model.slack()),
    );
    Ok((thousandths(&gap)?, thousandths(model.slack())?))
}

fn thousandths(number: &Rational) -> Result<u128> {
    (number * whole(1000)).ceil().to_integer().to_u128().context("a gap of more than 128 bits")
}

/// With nine decimals.
fn decimal(number: &Rational) -> String {
    let scaled = (number * whole(1_000_000_000)).round().to_integer();
    let sign = if scaled < 0.into() { "-" } else { "" };
    let digits = format!("{:010}", scaled.magnitude());
    let (wei, fraction) = digits.split_at(digits.len() - 9);
    format!("{sign}{wei}.{fraction}")
}
