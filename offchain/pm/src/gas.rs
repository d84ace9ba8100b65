//! What redeeming one ticket takes, learned from our own redemptions.
use std::collections::VecDeque;

/// Tickets without which nothing was learned: the first redemptions of an account cost more than the rest.
const MIN_TICKETS: u64 = 20;
/// Tickets that the estimate looks back on, at least.
const WINDOW: u64 = 500;
/// The estimate is within this factor of the configured gas, down and up: an ordered batch takes a tenth of a single
/// redemption, and a node that reports nonsense must not set face values.
const LOWEST_DIVISOR: u64 = 16;
const HIGHEST_FACTOR: u64 = 4;
/// Readings kept.
const READINGS: usize = 256;

/// All redemptions so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GasTotals {
    /// Tickets that were paid.
    pub tickets: u64,
    /// Gas used, that of reverted transactions included.
    pub gas: u64,
}

/// Gas per ticket over the last redemptions.
///
/// It is the gas used since the reading before the last `WINDOW` tickets, over the tickets paid since then, rounded up;
/// never below a sixteenth or above four times what is configured, and what is configured until 20 tickets were paid.
#[derive(Clone, Debug)]
pub struct GasMeter {
    /// Oldest first, never empty.
    readings: VecDeque<GasTotals>,
}

impl Default for GasMeter {
    fn default() -> Self {
        Self { readings: VecDeque::from([GasTotals::default()]) }
    }
}

impl GasMeter {
    /// Takes a reading of the totals.
    pub fn observe(&mut self, now: GasTotals) {
        let last = self.readings.back().copied().unwrap_or_default();
        if now.tickets < last.tickets || now.gas < last.gas {
            // A reorganisation took payouts back: what was learned since is not true any more.
            self.readings = VecDeque::from([GasTotals::default()]);
        }
        if now.tickets == last.tickets {
            // Gas without tickets belongs to those that come next, or to the last ones; it moves no window.
            match self.readings.len() {
                0 | 1 => self.readings.push_back(now),
                len => self.readings[len - 1] = now,
            }
            return;
        }
        self.readings.push_back(now);
        while self.readings.get(1).is_some_and(|next| now.tickets - next.tickets >= WINDOW)
            || self.readings.len() > READINGS
        {
            self.readings.pop_front();
        }
    }

    /// Gas that redeeming one ticket takes; `configured` until enough is known.
    pub fn per_ticket(&self, configured: u64) -> u64 {
        let (Some(oldest), Some(newest)) = (self.readings.front(), self.readings.back()) else { return configured };
        let tickets = newest.tickets - oldest.tickets;
        if tickets < MIN_TICKETS {
            return configured;
        }
        let measured = (newest.gas - oldest.gas).div_ceil(tickets);
        measured.clamp((configured / LOWEST_DIVISOR).max(1), configured.saturating_mul(HIGHEST_FACTOR).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIGURED: u64 = 350_000;

    fn after(readings: &[(u64, u64)]) -> u64 {
        let mut meter = GasMeter::default();
        readings.iter().for_each(|(tickets, gas)| meter.observe(GasTotals { tickets: *tickets, gas: *gas }));
        meter.per_ticket(CONFIGURED)
    }

    #[test]
    fn until_enough_tickets_were_paid_the_configured_gas_counts() {
        assert_eq!(after(&[]), CONFIGURED);
        assert_eq!(after(&[(19, 19 * 90_000)]), CONFIGURED);
        assert_eq!(after(&[(20, 20 * 90_000)]), 90_000);
    }

    #[test]
    fn gas_of_reverted_transactions_is_borne_by_the_tickets_paid() {
        assert_eq!(after(&[(20, 20 * 90_000), (20, 20 * 90_000 + 100_001)]), 95_001);
        assert_eq!(after(&[(0, 100_000), (20, 20 * 90_000 + 100_000)]), 95_000);
    }

    #[test]
    fn old_redemptions_are_forgotten() {
        let dear = (500, 500 * 200_000);
        let cheap = |tickets: u64| (500 + tickets, 500 * 200_000 + tickets * 60_000);
        assert_eq!(after(&[dear, cheap(100)]), 176_667);
        assert_eq!(after(&[dear, cheap(100), cheap(499)]), 130_071);
        assert_eq!(after(&[dear, cheap(100), cheap(500)]), 60_000);
    }

    #[test]
    fn the_estimate_is_bounded_by_what_is_configured() {
        assert_eq!(after(&[(100, 100)]), CONFIGURED / 16);
        assert_eq!(after(&[(100, u64::MAX)]), CONFIGURED * 4);
        let mut meter = GasMeter::default();
        meter.observe(GasTotals { tickets: 100, gas: 100 });
        assert_eq!(meter.per_ticket(1), 1);
        assert_eq!(meter.per_ticket(u64::MAX), u64::MAX / 16);
    }

    #[test]
    fn payouts_taken_back_begin_anew() {
        assert_eq!(after(&[(600, 600 * 90_000), (500, 500 * 80_000)]), 80_000);
        assert_eq!(after(&[(600, 600 * 90_000), (10, 10 * 80_000)]), CONFIGURED);
    }

    #[test]
    fn readings_are_bounded() {
        let mut meter = GasMeter::default();
        (1..10_000).for_each(|tickets| meter.observe(GasTotals { tickets, gas: tickets * 90_000 }));
        assert!(meter.readings.len() <= READINGS);
        assert_eq!(meter.per_ticket(CONFIGURED), 90_000);
    }
}
