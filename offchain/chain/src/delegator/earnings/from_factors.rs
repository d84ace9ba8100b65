//! Earnings by round from an orchestrator's factors, for nodes without old state.
//!
//! After the round of the last claim all stake earns alike: what it is now, times the factor at a round's end, over the factor
//! now, is what it was then.
use alloy::primitives::U256;
use futures::{StreamExt, TryStreamExt, stream};

use super::{Earnings, Position};
use crate::{
    ChainError,
    delegator::{
        REQUESTS, Rate,
        factors::{Factors, Pool},
        record::Record,
        views::Views,
    },
};

/// At the end of each round from `oldest` on; `None` where factors do not tell.
pub(super) async fn ends_from_factors(
    views: Views<'_>,
    total: &Earnings,
    record: &Record,
    oldest: usize,
) -> Result<Option<Vec<Position>>, ChainError> {
    let started = record.rounds.get(oldest..).unwrap_or_default();
    // An orchestrator's own commission is not earned by stake.
    let (Some(delegate), Some(first)) =
        (total.delegate.filter(|delegate| *delegate != total.delegator), started.first())
    else {
        return Ok(None);
    };
    let book = record.books.get(&delegate);
    if record.rounds.iter().any(|started| book.is_some_and(|book| book.is_slashed(started.round))) {
        return Ok(None);
    }
    let mut factors = Factors::before(views, delegate, first.round).await?;
    let pools: Vec<Pool> = stream::iter(started)
        .map(|started| views.pool(delegate, started.round))
        .buffered(REQUESTS)
        .try_collect()
        .await?;
    let mut at_ends = Vec::new();
    for pool in &pools {
        factors.advance(pool, false);
        at_ends.push(factors);
    }
    let now = (total.stake, total.fees);
    let mut ends: Vec<Position> = Vec::new();
    // Without a slash nothing falls, but for what rounding took.
    let mut before = (total.claimed_stake, total.claimed_fees);
    for then in &at_ends {
        let Some(end) = position(now, &factors, then) else { return Ok(None) };
        before = (end.0.max(before.0), end.1.max(before.1));
        ends.push(before);
    }
    Ok(Some(ends))
}

/// What there was `then`, from what there is now; both rounded down.
fn position(now: Position, factors: &Factors, then: &Factors) -> Option<Position> {
    // A factor that nothing is known of at the end has not moved in all these rounds.
    let stake = match (then.reward, factors.reward) {
        (Some(then), Some(now_is)) => Rate::new(then, now_is)?.times(now.0).floor(),
        (None, None) => now.0,
        _ => return None,
    };
    let grown = match (then.fee, factors.fee) {
        (Some(then), Some(now_is)) => now_is.checked_sub(then)?,
        (None, None) => U256::ZERO,
        _ => return None,
    };
    if grown.is_zero() {
        return Some((stake, now.1));
    }
    let fees = Rate::new(grown, factors.reward?)?.times(now.0);
    Some((stake, now.1.saturating_sub(fees.ceil())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(reward: Option<u64>, fee: Option<u64>) -> Factors {
        Factors { reward: reward.map(U256::from), fee: fee.map(U256::from) }
    }

    #[test]
    fn stake_was_less_by_what_its_factor_grew_and_fees_by_what_it_earned() {
        let now = (U256::from(300), U256::from(90));
        let then = position(now, &factors(Some(3), Some(5)), &factors(Some(2), Some(5)));
        assert_eq!(then, Some((U256::from(200), U256::from(90))));
        // 300 at a reward factor of 3 are 100 units; two more of the fee factor are two wei for each of them.
        let then = position((U256::from(300), U256::from(700)), &factors(Some(3), Some(5)), &factors(Some(3), Some(3)));
        assert_eq!(then, Some((U256::from(300), U256::from(500))));
    }

    #[test]
    fn what_never_moved_need_not_be_known_and_what_did_must() {
        let now = (U256::from(300), U256::from(90));
        assert_eq!(position(now, &factors(None, None), &factors(None, None)), Some(now));
        assert_eq!(position(now, &factors(Some(3), None), &factors(None, None)), None);
        assert_eq!(position(now, &factors(Some(3), Some(4)), &factors(Some(3), None)), None);
        assert_eq!(position(now, &factors(None, Some(4)), &factors(None, Some(3))), None);
    }
}
