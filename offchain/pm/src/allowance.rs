//! How much may be spent, and at what rate it is: for a stream, a day, a client.
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use alloy_primitives::U256;

/// Money set aside for one purpose, wei. What is taken and not spent is to be given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    limit: Option<U256>,
    spent: U256,
}

/// The money set aside is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{spent} of {limit} wei are spent, {wanted} wei are wanted")]
pub struct OverBudget {
    /// Wei spent.
    pub spent: U256,
    /// Wei that may be.
    pub limit: U256,
    /// Wei wanted in addition.
    pub wanted: U256,
}

impl Allowance {
    /// With so much spent already. Without a limit anything may be spent.
    pub fn new(limit: Option<U256>, spent: U256) -> Self {
        Self { limit, spent }
    }

    /// Takes `wanted` wei, or none of it.
    pub fn take(&mut self, wanted: U256) -> Result<(), OverBudget> {
        let after = self.spent.saturating_add(wanted);
        match self.limit {
            Some(limit) if after > limit && !wanted.is_zero() => Err(OverBudget { spent: self.spent, limit, wanted }),
            _ => {
                self.spent = after;
                Ok(())
            }
        }
    }

    /// Takes money back that was not spent.
    pub fn give_back(&mut self, wei: U256) {
        self.spent = self.spent.saturating_sub(wei);
    }

    /// Wei spent.
    pub fn spent(&self) -> U256 {
        self.spent
    }

    /// Wei that may be spent in all.
    pub fn limit(&self) -> Option<U256> {
        self.limit
    }
}

/// Each piece of the time that the rate looks back on.
const PIECE: Duration = Duration::from_secs(60);
/// Pieces: half an hour.
const PIECES: usize = 30;
const HOUR_MILLIS: u64 = 3_600_000;

/// What is spent in an hour, going by the last half.
#[derive(Clone, Debug, Default)]
pub struct SpendRate {
    since: Option<Instant>,
    /// Start of a piece, and wei spent in it; oldest first.
    pieces: VecDeque<(Instant, U256)>,
}

impl SpendRate {
    /// Notes what was spent.
    pub fn spent(&mut self, wei: U256, now: Instant) {
        let window = PIECE * PIECES as u32;
        if self.pieces.back().is_some_and(|(start, _)| now.saturating_duration_since(*start) >= window) {
            *self = Self::default();
        }
        self.since.get_or_insert(now);
        match self.pieces.back_mut() {
            Some((start, sum)) if now.saturating_duration_since(*start) < PIECE => *sum = sum.saturating_add(wei),
            _ => self.pieces.push_back((now, wei)),
        }
        while self.pieces.len() > PIECES + 1 {
            self.pieces.pop_front();
        }
    }

    /// Wei in an hour, rounded down. Reckoned over a minute at least; nothing when nothing was spent for half an hour.
    pub fn per_hour(&self, now: Instant) -> U256 {
        let window = PIECE * PIECES as u32;
        let recent = self.pieces.iter().filter(|(start, _)| now.saturating_duration_since(*start) < window);
        let sum = recent.map(|(_, wei)| *wei).fold(U256::ZERO, U256::saturating_add);
        let known = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let over = u64::try_from(known.clamp(PIECE, window).as_millis()).unwrap_or(u64::MAX);
        sum.saturating_mul(U256::from(HOUR_MILLIS)) / U256::from(over)
    }

    /// Hours for which `funds` wei last at this rate, rounded down; none if nothing is spent.
    pub fn runway_hours(&self, funds: U256, now: Instant) -> Option<u64> {
        funds.checked_div(self.per_hour(now)).map(|hours| hours.saturating_to())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wei(amount: u64) -> U256 {
        U256::from(amount)
    }

    #[test]
    fn the_limit_is_spent_and_not_a_wei_more() {
        let mut allowance = Allowance::new(Some(wei(100)), wei(30));
        assert_eq!(allowance.take(wei(70)), Ok(()));
        let refused = allowance.take(wei(1)).unwrap_err();
        assert_eq!(refused, OverBudget { spent: wei(100), limit: wei(100), wanted: wei(1) });
        assert_eq!(refused.to_string(), "100 of 100 wei are spent, 1 wei are wanted");
        assert_eq!(allowance.take(U256::ZERO), Ok(()), "what costs nothing is no matter");
        allowance.give_back(wei(20));
        assert_eq!(allowance.take(wei(20)), Ok(()));
        assert_eq!(allowance.spent(), wei(100));
    }

    #[test]
    fn without_a_limit_all_is_allowed() {
        let mut allowance = Allowance::default();
        assert_eq!(allowance.take(U256::MAX), Ok(()));
        assert_eq!(allowance.take(U256::MAX), Ok(()));
    }

    #[test]
    fn a_limit_below_what_is_spent_refuses() {
        assert!(Allowance::new(Some(wei(5)), wei(9)).take(wei(1)).is_err());
    }

    #[test]
    fn runway_follows_the_present_rate() {
        let start = Instant::now();
        let mut rate = SpendRate::default();
        assert_eq!(rate.runway_hours(wei(1_000_000), start), None);
        // 10 wei each second.
        for second in 0..1200 {
            rate.spent(wei(10), start + Duration::from_secs(second));
        }
        let now = start + Duration::from_secs(1200);
        assert_eq!(rate.per_hour(now), wei(36_000));
        assert_eq!(rate.runway_hours(wei(360_000), now), Some(10));
        assert_eq!(rate.runway_hours(wei(359_999), now), Some(9));
        // Nothing is spent any more.
        let later = now + Duration::from_secs(3600);
        assert_eq!(rate.runway_hours(wei(360_000), later), None);
        // After a pause the rate is that of now.
        rate.spent(wei(600), later);
        assert_eq!(rate.per_hour(later + Duration::from_secs(60)), wei(36_000));
    }

    #[test]
    fn the_first_seconds_do_not_look_like_an_hour() {
        let start = Instant::now();
        let mut rate = SpendRate::default();
        rate.spent(wei(60), start);
        assert_eq!(rate.per_hour(start + Duration::from_secs(1)), wei(3600));
    }

    #[test]
    fn a_day_is_not_remembered_in_pieces() {
        let start = Instant::now();
        let mut rate = SpendRate::default();
        (0..86_400).for_each(|second| rate.spent(wei(1), start + Duration::from_secs(second)));
        assert!(rate.pieces.len() <= PIECES + 1);
        let per_hour = rate.per_hour(start + Duration::from_secs(86_400));
        assert!((3_400..=3_600).contains(&per_hour.to::<u64>()), "{per_hour}");
    }
}
