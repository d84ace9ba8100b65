//! ETH fees per staked LPT, by orchestrator and round (payments.md §5.3), in integers.
//!
//! Fees are booked to the round in which a ticket is redeemed, not the one in which the work was done.
use std::collections::{BTreeMap, BTreeSet};

use alloy::{
    eips::BlockId,
    primitives::{Address, U256, U512},
    rpc::types::{Filter, Log},
    sol_types::SolEvent,
};
use serde::Serialize;
use streamflow_bindings::{BondingManager, RoundsManager, TicketBroker};
use streamflow_types::Round;

use crate::{Chain, ChainError, discovery, number::to_u64};

/// Blocks asked for at once; halved while the node finds it too many.
const CHUNK: u64 = 1_000;
const POOL_LIMIT: usize = 10_000;
/// Denominator of the ratio: 1e27, as the contracts' factors.
const ONE: U256 = U256::from_limbs([0x9fd0_803c_e800_0000, 0x033b_2e3c, 0, 0]);

/// One orchestrator in one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FeeRatio {
    /// The round.
    pub round: Round,
    /// The orchestrator.
    pub orchestrator: Address,
    /// Paid to it by tickets redeemed in the round, wei; its delegators' part included.
    pub fees: U256,
    /// Its total stake in the round, LPT wei.
    pub stake: U256,
    /// floor(fees · 1e27 / stake); `None` without stake.
    pub ratio: Option<U256>,
}

/// A place in the chain: block and index of a log in it.
type Place = (u64, u64);

/// The last `rounds` initialised rounds, the running one included, oldest first. Every orchestrator of the pool and every
/// recipient of fees has a row for each.
///
/// # Errors
///
/// The chain cannot be read.
pub async fn fee_ratio(chain: &Chain, rounds: usize) -> Result<Vec<FeeRatio>, ChainError> {
    let head = chain.rpc.head().await?;
    let at = BlockId::from(head.hash);
    let starts = round_starts(chain, head.number, rounds).await?;
    let Some((first, _)) = starts.first_key_value().map(|(place, round)| (place.0, round)) else {
        return Ok(Vec::new());
    };
    let fees = fees_by_round(chain, &starts, first, head.number).await?;

    let mut orchestrators: BTreeSet<Address> = discovery::pool(chain, at, POOL_LIMIT).await?.into_iter().collect();
    orchestrators.extend(fees.keys().map(|(_, orchestrator)| *orchestrator));
    let mut rows = Vec::new();
    for round in starts.into_values() {
        for orchestrator in &orchestrators {
            let fees = fees.get(&(round, *orchestrator)).copied().unwrap_or_default();
            let stake = stake_in_round(chain, *orchestrator, round, at).await?;
            rows.push(FeeRatio { round, orchestrator: *orchestrator, fees, stake, ratio: ratio(fees, stake) });
        }
    }
    Ok(rows)
}

/// floor(fees · 1e27 / stake). The product may need more than 256 bits.
fn ratio(fees: U256, stake: U256) -> Option<U256> {
    if stake.is_zero() {
        return None;
    }
    let product: U512 = fees.widening_mul(ONE);
    let quotient = product / U512::from(stake);
    Some(quotient.saturating_to())
}

/// Where the last `rounds` rounds began, found from the head backward.
async fn round_starts(chain: &Chain, head: u64, rounds: usize) -> Result<BTreeMap<Place, Round>, ChainError> {
    let filter =
        Filter::new().address(chain.contracts.rounds_manager).event_signature(RoundsManager::NewRound::SIGNATURE_HASH);
    let mut starts = BTreeMap::new();
    let mut end = head;
    loop {
        let begin = end.saturating_sub(CHUNK - 1);
        for log in logs(chain, &filter, begin, end).await? {
            if let (Some(place), Ok(event)) = (place(&log), RoundsManager::NewRound::decode_log(&log.inner)) {
                starts.insert(place, Round(to_u64(event.round, "the round")?));
            }
        }
        while starts.len() > rounds {
            starts.pop_first();
        }
        if starts.len() >= rounds || begin == 0 {
            return Ok(starts);
        }
        end = begin - 1;
    }
}

/// Fees by round and recipient, from the transfers that follow each round's beginning.
async fn fees_by_round(
    chain: &Chain,
    starts: &BTreeMap<Place, Round>,
    first: u64,
    head: u64,
) -> Result<BTreeMap<(Round, Address), U256>, ChainError> {
    let filter = Filter::new()
        .address(chain.contracts.ticket_broker)
        .event_signature(TicketBroker::WinningTicketTransfer::SIGNATURE_HASH);
    let mut fees: BTreeMap<(Round, Address), U256> = BTreeMap::new();
    let mut begin = first;
    while begin <= head {
        let end = head.min(begin.saturating_add(CHUNK - 1));
        for log in logs(chain, &filter, begin, end).await? {
            let Some(place) = place(&log) else { continue };
            let Ok(event) = TicketBroker::WinningTicketTransfer::decode_log(&log.inner) else { continue };
            if let Some((_, round)) = starts.range(..=place).next_back() {
                let sum = fees.entry((*round, event.recipient)).or_default();
                *sum = sum.checked_add(event.amount).ok_or(ChainError::OutOfRange { what: "the sum of fees" })?;
            }
        }
        begin = end + 1;
    }
    Ok(fees)
}

/// Stake that counted in the round. A pool that the round did not touch is empty: the last update before holds.
async fn stake_in_round(chain: &Chain, orchestrator: Address, round: Round, at: BlockId) -> Result<U256, ChainError> {
    let total = |round: U256| async move {
        let call = BondingManager::getTranscoderEarningsPoolForRoundCall { transcoder_: orchestrator, round };
        let pool = chain.rpc.view(chain.contracts.bonding_manager, call, at).await?;
        Ok::<_, ChainError>(pool.totalStake)
    };
    let stake = total(U256::from(round.0)).await?;
    if !stake.is_zero() {
        return Ok(stake);
    }
    let call = BondingManager::getTranscoderCall { transcoder_: orchestrator };
    let info = chain.rpc.view(chain.contracts.bonding_manager, call, at).await?;
    if info.lastActiveStakeUpdateRound > U256::from(round.0) {
        // Updated later, and nothing in this round: it had no stake then.
        return Ok(U256::ZERO);
    }
    total(info.lastActiveStakeUpdateRound).await
}

fn place(log: &Log) -> Option<Place> {
    Some((log.block_number?, log.log_index?))
}

/// Logs of blocks `begin..=end`, in halves if the node refuses so many.
async fn logs(chain: &Chain, filter: &Filter, begin: u64, end: u64) -> Result<Vec<Log>, ChainError> {
    let mut found = Vec::new();
    let mut ranges = vec![(begin, end)];
    while let Some((begin, end)) = ranges.pop() {
        match chain.rpc.logs(&filter.clone().from_block(begin).to_block(end)).await {
            Ok(logs) => found.extend(logs),
            Err(ChainError::Refused { .. }) if begin < end => {
                let middle = begin + (end - begin) / 2;
                ranges.push((middle + 1, end));
                ranges.push((begin, middle));
            }
            Err(err) => return Err(err),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_ten_to_the_27th() {
        assert_eq!(ONE, U256::from(10).pow(U256::from(27)));
    }

    #[test]
    fn ratio_rounds_down_and_needs_stake() {
        assert_eq!(ratio(U256::from(2), U256::from(3)), Some(U256::from(666_666_666_666_666_666_666_666_666_u128)));
        assert_eq!(ratio(U256::from(1), U256::ZERO), None);
        assert_eq!(ratio(U256::MAX, U256::MAX), Some(ONE));
    }
}
