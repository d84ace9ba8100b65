//! ETH fees per staked LPT, by orchestrator and round (payments.md §5.3).
use std::collections::BTreeSet;

use alloy::{
    eips::BlockId,
    primitives::{Address, U256},
};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use streamflow_bindings::{BondingManager, RoundsManager};
use streamflow_types::{Ppm, Round};

use super::{
    OnProgress, Pending, Progress, REQUESTS, Rate, Terms, decimal,
    factors::{Factors, Pool, some},
    optional_decimal,
    record::{Book, Income, Record, StartedRound},
    views::{Views, terms},
};
use crate::{Chain, ChainError, discovery, number::to_u64};

/// Finished rounds over which means and medians are taken.
pub const WINDOWS: [usize; 3] = [7, 30, 90];

const POOL_LIMIT: usize = 10_000;

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeeRatioQuery {
    /// Finished rounds; the running one comes on top.
    pub rounds: usize,
    /// Whom; everybody in the pool and every recipient of fees if empty.
    pub orchestrators: Vec<Address>,
}

/// The answer, as of one block.
#[derive(Clone, Debug, Serialize)]
pub struct FeeRatios {
    /// The newest block when it was asked.
    pub block: u64,
    /// The round of that block.
    pub round: Round,
    /// Finished rounds that were found; fewer than asked on a young chain. Rounds that nobody initialised do not count.
    pub finished_rounds: usize,
    /// In the order of their addresses.
    pub orchestrators: Vec<OrchestratorRatios>,
}

/// One orchestrator.
#[derive(Clone, Debug, Serialize)]
pub struct OrchestratorRatios {
    /// Its account.
    pub orchestrator: Address,
    /// Whether it is in the active set now.
    pub active: bool,
    /// Whether it is in that of the next round, as things stand.
    pub active_next_round: bool,
    /// Delegated to it now, LPT wei.
    #[serde(serialize_with = "decimal")]
    pub stake: U256,
    /// In force now.
    #[serde(flatten)]
    pub terms: Terms,
    /// What will change.
    pub pending: Pending,
    /// Slashed in one of the rounds.
    pub slashed: bool,
    /// Longest last.
    pub windows: Vec<Window>,
    /// Oldest first.
    pub rounds: Vec<FeeRatio>,
}

/// One orchestrator in one round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FeeRatio {
    /// The round.
    pub round: Round,
    /// Whether it still runs: its row is not whole, and counts in no mean.
    pub running: bool,
    /// Whether the orchestrator was in the active set.
    pub active: bool,
    /// Paid to it by tickets redeemed in the round, wei; its delegators' part included.
    #[serde(serialize_with = "decimal")]
    pub fees: U256,
    /// Tickets that were paid.
    pub winners: u64,
    /// Whether `winners` counts all; if not, there were at least so many.
    pub winners_complete: bool,
    /// Its total stake when the round began, LPT wei; unknown before a slash in a round without reward.
    #[serde(serialize_with = "optional_decimal")]
    pub stake: Option<U256>,
    /// LPT wei minted by its reward call; `None` if it was not called.
    #[serde(serialize_with = "optional_decimal")]
    pub reward: Option<U256>,
    /// Fees per stake, scaled by 10^27.
    pub gross: Option<Rate>,
    /// What delegators got of it, scaled by 10^27.
    pub net: Option<Rate>,
    /// Where `net` comes from.
    pub net_basis: NetBasis,
}

/// What a delegators' part is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NetBasis {
    /// The factors that the contract pays by.
    Factors,
    /// `gross` times the fee share of the round's reward, or the present one if there was none.
    FeeShare,
}

/// Means over the last rounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Window {
    /// Finished rounds looked at.
    pub rounds: usize,
    /// Those of them in which the orchestrator was active and its stake is known: means are over these.
    pub counted: usize,
    /// Those in which it was active and its stake is not known.
    pub unknown: usize,
    /// Tickets paid in all of them.
    pub winners: u64,
    /// Whether `winners` counts all.
    pub winners_complete: bool,
    /// Rounds in which it was active and called no reward.
    pub missed_rewards: usize,
    /// Fees per stake.
    pub gross: Option<Rates>,
    /// What delegators got of it.
    pub net: Option<Rates>,
}

/// Of ratios by round, scaled by 10^27.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rates {
    /// Sum over count.
    pub mean: Rate,
    /// The middle one.
    pub median: Rate,
}

/// Fees per stake over the last rounds.
///
/// # Errors
///
/// The chain cannot be read.
pub async fn fee_ratio(
    chain: &Chain,
    query: &FeeRatioQuery,
    progress: OnProgress<'_>,
) -> Result<FeeRatios, ChainError> {
    let head = chain.rpc.head().await?;
    let at = BlockId::from(head.hash);
    let views = Views { chain, at };
    let round = chain.rpc.view(chain.contracts.rounds_manager, RoundsManager::currentRoundCall {}, at).await?;
    let round = to_u64(round, "the round")?;
    // One more than asked: the running one.
    let mut record = Record::read(chain, head.number, query.rounds.saturating_add(1), progress).await?;
    let finished = |started: &&StartedRound| started.round < round;
    let surplus = record.rounds.iter().filter(finished).count().saturating_sub(query.rounds);
    record.rounds.drain(..surplus);

    let mut orchestrators: BTreeSet<Address> = query.orchestrators.iter().copied().collect();
    if orchestrators.is_empty() {
        orchestrators.extend(discovery::pool(chain, at, POOL_LIMIT).await?);
        let had_fees = record.books.iter().filter(|(_, book)| !book.income.is_empty());
        orchestrators.extend(had_fees.map(|(orchestrator, _)| *orchestrator));
    }
    let of = orchestrators.len();
    let book = Book::default();
    let mut answers = stream::iter(orchestrators)
        .map(|orchestrator| {
            let book = record.books.get(&orchestrator).unwrap_or(&book);
            History { views, book, rounds: &record.rounds, round }.read(orchestrator)
        })
        .buffered(REQUESTS);
    let mut ratios = Vec::new();
    while let Some(answer) = answers.try_next().await? {
        ratios.push(answer);
        progress(Progress::Views { done: ratios.len(), of });
    }
    let finished_rounds = record.rounds.iter().filter(finished).count();
    Ok(FeeRatios { block: head.number, round: Round(round), finished_rounds, orchestrators: ratios })
}

/// What one orchestrator's rows are made of.
struct History<'a> {
    views: Views<'a>,
    book: &'a Book,
    rounds: &'a [StartedRound],
    /// The round that runs.
    round: u64,
}

impl History<'_> {
    async fn read(self, orchestrator: Address) -> Result<OrchestratorRatios, ChainError> {
        let view = self.views;
        let (info, stake, pending) = tokio::try_join!(
            view.staking(BondingManager::getTranscoderCall { transcoder_: orchestrator }),
            view.staking(BondingManager::transcoderTotalStakeCall { transcoder_: orchestrator }),
            view.pending(orchestrator),
        )?;
        let terms = terms(info.rewardCut, info.feeShare)?;
        let pools: Vec<Pool> = stream::iter(self.rounds)
            .map(|started| view.pool(orchestrator, started.round))
            .buffered(REQUESTS)
            .try_collect()
            .await?;
        let factors = match self.rounds.first() {
            Some(first) if !self.book.income.is_empty() => Factors::before(view, orchestrator, first.round).await?,
            _ => Factors::default(),
        };
        let present = (info.activationRound, info.deactivationRound);
        let rounds = self.rows(&pools, stake, terms.fee_share, factors, present);
        let slashed = self.rounds.iter().any(|started| self.book.is_slashed(started.round));
        Ok(OrchestratorRatios {
            orchestrator,
            active: self.book.is_active(self.round, present),
            active_next_round: self.book.is_active(self.round.saturating_add(1), present),
            stake,
            terms,
            pending,
            slashed,
            windows: windows(&rounds),
            rounds,
        })
    }

    fn rows(
        &self,
        pools: &[Pool],
        stake_now: U256,
        fee_share: Ppm,
        mut factors: Factors,
        present: (U256, U256),
    ) -> Vec<FeeRatio> {
        let mut stakes = self.stakes(pools, stake_now);
        let mut rows = Vec::new();
        for (started, pool) in self.rounds.iter().zip(pools) {
            let round = started.round;
            let Income { fees, winners, complete } = self.book.income.get(&round).copied().unwrap_or_default();
            let reward = self.book.rewards.get(&round).copied();
            let stake = stakes.pop().flatten();
            let gross = stake.and_then(|stake| Rate::new(fees, stake));
            // With fees a pool of the deployed network has its share, ours from the reward on.
            let share = match u32::try_from(pool.transcoderFeeShare).map(Ppm::new) {
                Ok(Ok(share)) if reward.is_some() || share > Ppm::ZERO => share,
                _ => fee_share,
            };
            let (net, net_basis) = match factors.paid(pool) {
                _ if fees.is_zero() => (gross.clone(), NetBasis::Factors),
                Some(net) => (Some(net), NetBasis::Factors),
                None => (gross.as_ref().map(|gross| gross.share(share)), NetBasis::FeeShare),
            };
            factors.advance(pool, self.book.is_slashed(round));
            rows.push(FeeRatio {
                round: Round(round),
                running: round >= self.round,
                active: self.book.is_active(round, present),
                fees,
                winners,
                winners_complete: complete,
                stake,
                reward,
                gross,
                net,
                net_basis,
            });
        }
        rows
    }

    /// Stake at the beginning of each round, newest first. A pool remembers it where a reward was called; else it is what was
    /// delegated later, less what logs say has come since.
    fn stakes(&self, pools: &[Pool], stake_now: U256) -> Vec<Option<U256>> {
        let mut after = Some(stake_now);
        let mut stakes = Vec::new();
        for (started, pool) in self.rounds.iter().zip(pools).rev() {
            let is_remembered = self.book.rewards.contains_key(&started.round);
            after = match some(pool.totalStake).filter(|_| is_remembered) {
                Some(stake) => Some(stake),
                None => self.book.stake_before(started.round, after).or(some(pool.totalStake)),
            };
            stakes.push(after);
        }
        stakes
    }
}

fn windows(rows: &[FeeRatio]) -> Vec<Window> {
    let finished: Vec<&FeeRatio> = rows.iter().filter(|row| !row.running).collect();
    let shorter = WINDOWS.into_iter().filter(|rounds| *rounds < finished.len());
    shorter.chain([finished.len()]).map(|rounds| window(&finished[finished.len() - rounds..])).collect()
}

fn window(rows: &[&FeeRatio]) -> Window {
    let active: Vec<_> = rows.iter().filter(|row| row.active).collect();
    let gross: Vec<Rate> = active.iter().filter_map(|row| row.gross.clone()).collect();
    let net: Vec<Rate> = active.iter().filter(|row| row.gross.is_some()).filter_map(|row| row.net.clone()).collect();
    Window {
        rounds: rows.len(),
        counted: gross.len(),
        unknown: active.len() - gross.len(),
        winners: rows.iter().map(|row| row.winners).sum(),
        winners_complete: rows.iter().all(|row| row.winners_complete),
        missed_rewards: active.iter().filter(|row| row.reward.is_none()).count(),
        gross: rates(&gross),
        net: rates(&net),
    }
}

fn rates(rates: &[Rate]) -> Option<Rates> {
    Some(Rates { mean: Rate::mean(rates)?, median: Rate::median(rates)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(round: u64, fees: u64, reward: Option<u64>) -> FeeRatio {
        let gross = Rate::new(U256::from(fees), U256::from(10));
        FeeRatio {
            round: Round(round),
            running: false,
            active: true,
            fees: U256::from(fees),
            winners: u64::from(fees > 0),
            winners_complete: true,
            stake: Some(U256::from(10)),
            reward: reward.map(U256::from),
            net: gross.clone().map(|gross| gross.share(Ppm::new(500_000).unwrap())),
            gross,
            net_basis: NetBasis::FeeShare,
        }
    }

    #[test]
    fn windows_end_at_the_last_finished_round_and_do_not_exceed_what_there_is() {
        let mut rows: Vec<FeeRatio> = (1..=9).map(|round| row(round, round, Some(1))).collect();
        rows[3].reward = None;
        rows[8].running = true;
        let windows = windows(&rows);
        assert_eq!(windows.iter().map(|window| (window.rounds, window.counted)).collect::<Vec<_>>(), [(7, 7), (8, 8)]);
        assert_eq!((windows[0].winners, windows[0].missed_rewards), (7, 1));
        // Rounds 2 to 8 of 10 staked: mean and median are 5 / 10.
        let half = Rate::new(U256::ONE, U256::from(2)).unwrap();
        assert_eq!(windows[0].gross, Some(Rates { mean: half.clone(), median: half }));
        let quarter = Rate::new(U256::from(9), U256::from(40)).unwrap();
        assert_eq!(windows[1].net, Some(Rates { mean: quarter.clone(), median: quarter }));
    }

    #[test]
    fn rounds_outside_the_set_or_without_known_stake_are_not_averaged() {
        let mut rows: Vec<FeeRatio> = (1..=4).map(|round| row(round, 10, Some(1))).collect();
        rows[0].active = false;
        rows[0].reward = None;
        (rows[1].gross, rows[1].net, rows[1].stake) = (None, None, None);
        let windows = windows(&rows);
        let [window] = windows.as_slice() else { panic!("{windows:?}") };
        assert_eq!((window.counted, window.unknown, window.missed_rewards, window.winners), (2, 1, 0, 4));
        assert_eq!(window.gross.as_ref().map(|rates| rates.mean.clone()), Some(Rate::whole(U256::ONE)));
    }

    #[test]
    fn an_empty_history_has_no_means() {
        let windows = windows(&[]);
        assert_eq!((windows.len(), windows[0].counted, windows[0].gross.clone()), (1, 0, None));
    }
}
