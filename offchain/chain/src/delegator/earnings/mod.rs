//! What the contract owes a delegator, to the wei, and in which rounds it was earned.
mod from_factors;

use alloy::{
    eips::BlockId,
    primitives::{Address, U256},
};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use streamflow_bindings::{BondingManager, RoundsManager};
use streamflow_types::Round;

use self::from_factors::ends_from_factors;
use super::{
    OnProgress, Progress, REQUESTS, decimal,
    record::{Record, StartedRound, rounds_since},
    views::Views,
};
use crate::{Chain, ChainError, number::to_u64};

/// Unbonding locks read at most; more are left out, oldest first.
const LOCK_LIMIT: u64 = 100;

/// Stake and fees of a delegator at one block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Earnings {
    /// The account.
    pub delegator: Address,
    /// The newest block when it was asked.
    pub block: u64,
    /// The round of that block.
    pub round: Round,
    /// Whom it delegates to; nobody if nothing is staked.
    pub delegate: Option<Address>,
    /// First round in which the delegation counts.
    pub start_round: Round,
    /// Round up to which earnings are booked.
    pub last_claim_round: Round,
    /// Stake as booked then, LPT wei.
    #[serde(serialize_with = "decimal")]
    pub claimed_stake: U256,
    /// Fees as booked then and not withdrawn, wei.
    #[serde(serialize_with = "decimal")]
    pub claimed_fees: U256,
    /// Stake with all rewards, LPT wei: what it could unbond.
    #[serde(serialize_with = "decimal")]
    pub stake: U256,
    /// All fees, wei: what it could withdraw.
    #[serde(serialize_with = "decimal")]
    pub fees: U256,
    /// Since the last claim, oldest first; they add up to the difference of stake and fees to what is booked.
    pub rounds: Vec<EarningsOfRounds>,
    /// Where `rounds` come from.
    pub rounds_basis: RoundsBasis,
    /// Stake on its way out.
    pub locks: Vec<Lock>,
}

/// What some rounds brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct EarningsOfRounds {
    /// First of them.
    pub first: Round,
    /// Last of them; the same for all rows but one that sums up what is older than asked.
    pub last: Round,
    /// Whether the last one still runs.
    pub running: bool,
    /// LPT wei gained.
    #[serde(serialize_with = "decimal")]
    pub rewards: U256,
    /// LPT wei lost by a slash, rewards set against it.
    #[serde(serialize_with = "decimal")]
    pub slashed: U256,
    /// Wei.
    #[serde(serialize_with = "decimal")]
    pub fees: U256,
}

/// What earnings by round are computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RoundsBasis {
    /// What the contract said when each round ended: every row is exact.
    State,
    /// The orchestrator's factors, because the node keeps no old state: rows are some wei off, their sum is exact.
    Factors,
    /// Neither: the node keeps no old state, and the orchestrator was slashed, is the account itself, or earned nothing for long.
    Unknown,
}

/// Stake that is being unbonded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Lock {
    /// Its number.
    pub id: u64,
    /// What slashes left of it, LPT wei.
    #[serde(serialize_with = "decimal")]
    pub amount: U256,
    /// First round in which it can be withdrawn.
    pub withdraw_round: Round,
}

/// What `delegator` has earned. The last `rounds` rounds get rows of their own, older ones one row together.
///
/// # Errors
///
/// The chain cannot be read.
pub async fn earnings(
    chain: &Chain,
    delegator: Address,
    rounds: usize,
    progress: OnProgress<'_>,
) -> Result<Earnings, ChainError> {
    let head = chain.rpc.head().await?;
    let at = BlockId::from(head.hash);
    let views = Views { chain, at };
    let round = chain.rpc.view(chain.contracts.rounds_manager, RoundsManager::currentRoundCall {}, at).await?;
    let round = to_u64(round, "the round")?;
    let (info, (stake, fees)) = tokio::try_join!(
        views.staking(BondingManager::getDelegatorCall { delegator }),
        pending(chain, delegator, at),
    )?;
    let last_claim_round = to_u64(info.lastClaimRound, "the round of the last claim")?;
    let mut earnings = Earnings {
        delegator,
        block: head.number,
        round: Round(round),
        delegate: Some(info.delegateAddress).filter(|delegate| !delegate.is_zero()),
        start_round: Round(to_u64(info.startRound, "the first round of the delegation")?),
        last_claim_round: Round(last_claim_round),
        claimed_stake: info.bondedAmount,
        claimed_fees: info.fees,
        stake,
        fees,
        rounds: Vec::new(),
        rounds_basis: RoundsBasis::State,
        locks: locks(&views, delegator, to_u64(info.nextUnbondingLockId, "the number of locks")?).await?,
    };
    if earnings.delegate.is_some() {
        let record = rounds_since(chain, head.number, last_claim_round, rounds.saturating_add(1), progress).await?;
        (earnings.rounds, earnings.rounds_basis) = by_round(views, &earnings, &record, rounds, progress).await?;
    }
    Ok(earnings)
}

async fn by_round(
    views: Views<'_>,
    total: &Earnings,
    record: &Record,
    rounds: usize,
    progress: OnProgress<'_>,
) -> Result<(Vec<EarningsOfRounds>, RoundsBasis), ChainError> {
    // Of rounds before the oldest one asked for only the end of the last is needed.
    let oldest = record.rounds.len().saturating_sub(rounds.max(1)).saturating_sub(1);
    match ends_from_state(views.chain, total, &record.rounds, oldest, progress).await {
        Ok(ends) => Ok((rows(total, &record.rounds, oldest, &ends), RoundsBasis::State)),
        Err(err) if is_about_old_state(&err) => match ends_from_factors(views, total, record, oldest).await? {
            Some(ends) => Ok((rows(total, &record.rounds, oldest, &ends), RoundsBasis::Factors)),
            None => Ok((Vec::new(), RoundsBasis::Unknown)),
        },
        Err(err) => Err(err),
    }
}

/// Stake and fees.
type Position = (U256, U256);

/// At the end of each round from `oldest` on: the block before the next round's first one, for the last one now.
async fn ends_from_state(
    chain: &Chain,
    total: &Earnings,
    started: &[StartedRound],
    oldest: usize,
    progress: OnProgress<'_>,
) -> Result<Vec<Position>, ChainError> {
    let nexts = started.iter().skip(oldest + 1);
    let of = nexts.len();
    let mut asked = stream::iter(nexts)
        .map(|next| pending(chain, total.delegator, BlockId::number(next.block.saturating_sub(1))))
        .buffered(REQUESTS);
    let mut ends = Vec::new();
    while let Some(end) = asked.try_next().await? {
        ends.push(end);
        progress(Progress::Views { done: ends.len(), of });
    }
    ends.push((total.stake, total.fees));
    Ok(ends)
}

/// The differences from one end to the next.
fn rows(total: &Earnings, started: &[StartedRound], oldest: usize, ends: &[Position]) -> Vec<EarningsOfRounds> {
    let mut first = total.last_claim_round;
    let mut before = (total.claimed_stake, total.claimed_fees);
    let mut rows = Vec::new();
    for (index, end) in ends.iter().enumerate() {
        let Some(StartedRound { round, .. }) = started.get(oldest + index) else { break };
        let next = started.get(oldest + index + 1);
        rows.push(EarningsOfRounds {
            first,
            last: Round(*round),
            running: next.is_none() && Round(*round) >= total.round,
            rewards: end.0.saturating_sub(before.0),
            slashed: before.0.saturating_sub(end.0),
            fees: end.1.saturating_sub(before.1),
        });
        before = *end;
        first = next.map_or(first, |next| Round(next.round));
    }
    rows
}

/// Stake and fees with all that is earned.
async fn pending(chain: &Chain, delegator: Address, at: BlockId) -> Result<(U256, U256), ChainError> {
    let staking = chain.contracts.bonding_manager;
    tokio::try_join!(
        chain.rpc.view(staking, BondingManager::pendingStakeCall { delegator, _1: U256::ZERO }, at),
        chain.rpc.view(staking, BondingManager::pendingFeesCall { delegator, _1: U256::ZERO }, at),
    )
}

async fn locks(views: &Views<'_>, delegator: Address, count: u64) -> Result<Vec<Lock>, ChainError> {
    let locks = (count.saturating_sub(LOCK_LIMIT)..count).map(|id| async move {
        let call = BondingManager::getDelegatorUnbondingLockCall { delegator, unbondingLockId: U256::from(id) };
        let lock = views.staking(call).await?;
        let withdraw_round = Round(to_u64(lock.withdrawRound, "the round of a withdrawal")?);
        Ok::<_, ChainError>(Lock { id, amount: lock.amount, withdraw_round })
    });
    let locks: Vec<Lock> = stream::iter(locks).buffered(REQUESTS).try_collect().await?;
    Ok(locks.into_iter().filter(|lock| lock.withdraw_round > Round(0)).collect())
}

/// Nodes refuse old state each in their own words; one that lacks it may also see no contract there.
const fn is_about_old_state(err: &ChainError) -> bool {
    matches!(
        err,
        ChainError::Refused { .. }
            | ChainError::BadAnswer { .. }
            | ChainError::BadContract { .. }
            | ChainError::Reverted { .. }
    )
}
