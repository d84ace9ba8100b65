//! What stake would bring with another orchestrator.
//!
//! The past is taken for the future: fees as in the last rounds whatever is staked, commissions as announced, inflation as
//! now. Fees are shared by more stake when one's own joins; rewards grow with an orchestrator's stake, so only the stake of all
//! dilutes them.
use alloy::primitives::{Address, U256};
use serde::{Serialize, Serializer};
use streamflow_bindings::{BondingManager, Minter};
use streamflow_types::Round;

use super::{
    FeeRatio, FeeRatioQuery, OnProgress, OrchestratorRatios, Pending, Rate, Terms, decimal, fee_ratio,
    optional_decimal, views::Views,
};
use crate::{Chain, ChainError};

/// The move in question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WhatIfQuery {
    /// Stake that moves, LPT wei.
    pub stake: U256,
    /// Where it is now; `None` for stake from a wallet.
    pub from: Option<Address>,
    /// Where it would go.
    pub to: Address,
    /// Finished rounds to learn from.
    pub rounds: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WhatIfError {
    /// Nothing can be said about no stake.
    #[error("the stake must be more than nothing")]
    NoStake,
    /// Both ends are one.
    #[error("{0} is where the stake is already")]
    SameOrchestrator(Address),
    /// It cannot leave from where it is not.
    #[error("{orchestrator} has {has} LPT wei delegated to it, less than the {stake} that would leave")]
    TooMuch { orchestrator: Address, has: U256, stake: U256 },
    /// The chain cannot be read.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

/// The answer, as of one block. Amounts are expectations per round, rounded down.
#[derive(Clone, Debug, Serialize)]
pub struct WhatIf {
    /// The newest block when it was asked.
    pub block: u64,
    /// The round of that block.
    pub round: Round,
    /// Stake that moves, LPT wei.
    #[serde(serialize_with = "decimal")]
    pub stake: U256,
    /// If it stays; `None` for stake from a wallet.
    pub from: Option<Side>,
    /// If it goes.
    pub to: Side,
    /// How it gets there.
    #[serde(rename = "move")]
    pub way: Move,
    /// When the fees missed on the way are made up for.
    pub fees_break_even: BreakEven,
    /// When the rewards missed on the way are made up for.
    pub rewards_break_even: BreakEven,
    /// Where one of fees and rewards rises and the other falls: wei per LPT at which both weigh the same.
    #[serde(serialize_with = "floor")]
    pub neutral_wei_per_lpt: Option<Rate>,
}

/// Whole wei, as decimal text.
fn floor<S: Serializer>(rate: &Option<Rate>, serializer: S) -> Result<S::Ok, S::Error> {
    optional_decimal(&rate.as_ref().map(Rate::floor), serializer)
}

/// Expectations with one orchestrator.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    /// Its account.
    pub orchestrator: Address,
    /// Whether it is in the active set of the next round, as things stand; if not, nothing is earned.
    pub active_next_round: bool,
    /// Delegated to it now, LPT wei.
    #[serde(serialize_with = "decimal")]
    pub stake_now: U256,
    /// All stake that shares its fees, the moved stake included, LPT wei.
    #[serde(serialize_with = "decimal")]
    pub stake_then: U256,
    /// Commissions counted with: those announced, if a change waits.
    #[serde(flatten)]
    pub terms: Terms,
    /// What will change.
    pub pending: Pending,
    /// Finished rounds learnt from: those in which it was active.
    pub rounds: usize,
    /// Tickets paid in them.
    pub winners: u64,
    /// Rounds of them without a reward.
    pub missed_rewards: usize,
    /// Wei per round; `None` without a round to learn from.
    #[serde(serialize_with = "floor")]
    pub fees: Option<Rate>,
    /// Wei per round if one's own stake did not change the pool; the difference to `fees` is dilution.
    #[serde(serialize_with = "floor")]
    pub fees_undiluted: Option<Rate>,
    /// LPT wei per round.
    #[serde(serialize_with = "floor")]
    pub rewards: Option<Rate>,
}

/// Rounds on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Move {
    /// Whether the stake has to be unbonded first, and stays without earnings until it may be bonded again.
    pub needs_unbonding: bool,
    /// Rounds without earnings.
    pub idle_rounds: u64,
    /// First round that earns at the other end, if it is begun in this one.
    pub first_round: Round,
    /// Rounds from unbonding until LPT are back in a wallet.
    pub unbonding_rounds: u64,
}

/// When a move has brought as much as staying would have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "when", content = "rounds")]
pub enum BreakEven {
    /// Nothing is missed on the way, and not less is earned then.
    AtOnce,
    /// So many rounds after the move was begun.
    After(#[serde(serialize_with = "decimal")] U256),
    /// It brings less.
    Never,
    /// There is no round to learn from.
    Unknown,
}

/// What the stake would bring there, and here.
///
/// # Errors
///
/// The move makes no sense, or the chain cannot be read.
pub async fn what_if(chain: &Chain, query: &WhatIfQuery, progress: OnProgress<'_>) -> Result<WhatIf, WhatIfError> {
    let WhatIfQuery { stake, from, to, rounds } = *query;
    if stake.is_zero() {
        return Err(WhatIfError::NoStake);
    }
    if from == Some(to) {
        return Err(WhatIfError::SameOrchestrator(to));
    }
    let orchestrators = from.into_iter().chain([to]).collect();
    let ratios = fee_ratio(chain, &FeeRatioQuery { rounds, orchestrators }, progress).await?;
    let find = |wanted: Address| ratios.orchestrators.iter().find(|found| found.orchestrator == wanted);
    let (from, to) = (from.and_then(find), find(to).ok_or(ChainError::OutOfRange { what: "the answer" })?);
    if let Some(from) = from.filter(|from| from.stake < stake) {
        return Err(WhatIfError::TooMuch { orchestrator: from.orchestrator, has: from.stake, stake });
    }
    let issuance = issuance(chain, ratios.block).await?;
    let leaves_total = if from.is_some_and(|from| from.active_next_round) { stake } else { U256::ZERO };
    let total_then = issuance.total.saturating_sub(leaves_total).saturating_add(stake);
    let staying = from.map(|from| side(from, stake, U256::ZERO, issuance.rewards(stake, issuance.total)));
    let moving = side(to, stake, stake, issuance.rewards(stake, total_then));
    let way = way(chain, ratios.block, ratios.round, from.is_some()).await?;
    let (here, there) = (staying.as_ref(), &moving);
    let break_even = |of: fn(&Side) -> &Option<Rate>| match (here.map(of), of(there)) {
        (None, Some(_)) => BreakEven::AtOnce,
        (Some(Some(here)), Some(there)) => break_even(here, there, way.idle_rounds),
        _ => BreakEven::Unknown,
    };
    Ok(WhatIf {
        block: ratios.block,
        round: ratios.round,
        stake,
        fees_break_even: break_even(|side| &side.fees),
        rewards_break_even: break_even(|side| &side.rewards),
        neutral_wei_per_lpt: here.and_then(|here| neutral_price(here, there)),
        from: staying,
        to: moving,
        way,
    })
}

/// Rewards of a round for all stake.
#[derive(Clone, Debug)]
struct Issuance {
    /// LPT wei that may be minted, a treasury's part not counted.
    mintable: Rate,
    /// Stake of the next round's active set, LPT wei.
    total: U256,
}

impl Issuance {
    /// Part of `stake` in the rewards of a round, before an orchestrator's cut.
    fn rewards(&self, stake: U256, total: U256) -> Option<Rate> {
        Some(self.mintable.times_rate(&Rate::new(stake, total)?))
    }
}

async fn issuance(chain: &Chain, block: u64) -> Result<Issuance, ChainError> {
    let views = Views { chain, at: block.into() };
    let (mintable, total, treasury) = tokio::try_join!(
        chain.rpc.view(chain.contracts.minter, Minter::currentMintableTokensCall {}, views.at),
        views.staking(BondingManager::nextRoundTotalActiveStakeCall {}),
        views.treasury_cut(),
    )?;
    let whole = U256::from(10).pow(U256::from(27));
    let kept = Rate::new(whole.saturating_sub(treasury), whole).ok_or(ChainError::OutOfRange { what: "one" })?;
    Ok(Issuance { mintable: kept.times(mintable), total })
}

/// `joins` is what comes on top of the orchestrator's stake; `rewards` what the moved stake's part is before the cut.
fn side(ratios: &OrchestratorRatios, stake: U256, joins: U256, rewards: Option<Rate>) -> Side {
    let terms = ratios.pending.announced().map_or(ratios.terms, |change| change.terms);
    let rows: Vec<&FeeRatio> = ratios.rounds.iter().filter(|row| row.active && !row.running).collect();
    let fees: Vec<Rate> = rows.iter().map(|row| Rate::whole(row.fees)).collect();
    let missed_rewards = rows.iter().filter(|row| row.reward.is_none()).count();
    let stake_then = ratios.stake.saturating_add(joins);
    let delegators_fees = Rate::mean(&fees).map(|mean| mean.share(terms.fee_share));
    let part = |of: U256| Some(delegators_fees.as_ref()?.times_rate(&Rate::new(stake, of)?));
    let called = Rate::new(U256::from(rows.len() - missed_rewards), U256::from(rows.len()));
    let delegators_share = |rewards: Rate| rewards.less(&rewards.share(terms.reward_cut));
    let nothing = || Some(Rate::whole(U256::ZERO));
    let (fees, fees_undiluted, rewards) = if ratios.active_next_round {
        let rewards = rewards.and_then(delegators_share);
        (part(stake_then), part(ratios.stake), rewards.zip(called).map(|(rewards, called)| rewards.times_rate(&called)))
    } else {
        (nothing(), nothing(), nothing())
    };
    Side {
        orchestrator: ratios.orchestrator,
        active_next_round: ratios.active_next_round,
        stake_now: ratios.stake,
        stake_then,
        terms,
        pending: ratios.pending,
        rounds: rows.len(),
        winners: rows.iter().map(|row| row.winners).sum(),
        missed_rewards,
        fees,
        fees_undiluted,
        rewards,
    }
}

/// Stake from a wallet, and stake that may move at once, counts from the next round on. Where a Verifier can slash, stake goes
/// elsewhere only through a lock that lasts as long as a fault may be reported.
async fn way(chain: &Chain, block: u64, round: Round, is_staked: bool) -> Result<Move, ChainError> {
    let views = Views { chain, at: block.into() };
    let (window, unbonding_rounds) =
        tokio::try_join!(views.challenge_window(), views.staking(BondingManager::unbondingPeriodCall {}))?;
    let idle = window.filter(|_| is_staked);
    let idle_rounds = idle.unwrap_or(0);
    let first_round = Round(round.0.saturating_add(idle_rounds).saturating_add(1));
    Ok(Move { needs_unbonding: idle.is_some(), idle_rounds, first_round, unbonding_rounds })
}

/// `here · n <= there · (n - idle)`, solved for the least n.
fn break_even(here: &Rate, there: &Rate, idle: u64) -> BreakEven {
    let missed = here.times(U256::from(idle));
    match there.less(here) {
        None => BreakEven::Never,
        Some(_) if missed == Rate::whole(U256::ZERO) => BreakEven::AtOnce,
        Some(gain) => match there.times(U256::from(idle)).over(&gain) {
            Some(rounds) => BreakEven::After(rounds.ceil()),
            None => BreakEven::Never,
        },
    }
}

/// Wei of fees for each LPT of rewards, where more of one is less of the other.
fn neutral_price(here: &Side, there: &Side) -> Option<Rate> {
    let lpt = U256::from(10).pow(U256::from(18));
    let (fees, rewards) =
        ((here.fees.as_ref()?, there.fees.as_ref()?), (here.rewards.as_ref()?, there.rewards.as_ref()?));
    let won = fees.1.less(fees.0).zip(rewards.0.less(rewards.1));
    let lost = || fees.0.less(fees.1).zip(rewards.1.less(rewards.0));
    let (fees, rewards) = won.or_else(lost)?;
    Some(fees.over(&rewards)?.times(lpt)).filter(|_| fees != Rate::whole(U256::ZERO))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(numerator: u64, denominator: u64) -> Rate {
        Rate::new(U256::from(numerator), U256::from(denominator)).unwrap()
    }

    #[test]
    fn what_is_missed_on_the_way_has_to_be_earned_first() {
        // 7 rounds without 2 a round; then 3 a round instead of 2: even after 21 rounds, 14 of which earn 3.
        assert_eq!(break_even(&rate(2, 1), &rate(3, 1), 7), BreakEven::After(U256::from(21)));
        assert_eq!(break_even(&rate(2, 1), &rate(3, 1), 0), BreakEven::AtOnce);
        assert_eq!(break_even(&rate(2, 1), &rate(2, 1), 0), BreakEven::AtOnce);
        assert_eq!(break_even(&rate(2, 1), &rate(2, 1), 1), BreakEven::Never);
        assert_eq!(break_even(&rate(3, 1), &rate(2, 1), 0), BreakEven::Never);
        assert_eq!(break_even(&rate(0, 1), &rate(2, 1), 9), BreakEven::AtOnce, "nothing is missed");
    }

    proptest! {
        #[test]
        fn break_even_is_the_first_round_that_is_not_behind(here in 1u32.., there in 1u32.., idle in 1u64..100) {
            let (here, there) = (u128::from(here), u128::from(there));
            let found = break_even(&Rate::whole(U256::from(here)), &Rate::whole(U256::from(there)), idle);
            let BreakEven::After(rounds) = found else {
                prop_assert_eq!(found, BreakEven::Never);
                prop_assert!(there <= here);
                return Ok(());
            };
            let rounds: u128 = rounds.to();
            let behind = |rounds: u128| there * (rounds - u128::from(idle)) < here * rounds;
            prop_assert!(!behind(rounds));
            prop_assert!(rounds - 1 < u128::from(idle) || behind(rounds - 1));
        }
    }
}
