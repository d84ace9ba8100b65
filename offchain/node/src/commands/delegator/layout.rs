//! How figures for delegators are laid out, for terminals of any width, and how long reads show that they go on.
use std::time::Duration;

use alloy::primitives::{Address, U256};
use indicatif::ProgressBar;
use streamflow_chain::delegator::{Pending, Progress, Rate};

use crate::amount::percent;

/// Width of a terminal that does not tell.
pub(super) const NARROW: usize = 80;
/// From this width on addresses are shown whole.
pub(super) const WIDE: usize = 110;

/// Columns of the terminal that tables are printed on.
pub(super) fn width() -> usize {
    let told = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    told.or_else(|| console::Term::stderr().size_checked().map(|(_, columns)| columns.into())).unwrap_or(NARROW)
}

/// The whole address on a wide terminal, else its first and last digits.
pub(super) fn account(address: Address, width: usize) -> String {
    let text = address.to_string();
    if width >= WIDE { text } else { format!("{}..{}", &text[..6], &text[text.len() - 4..]) }
}

/// `text` of at most `width` characters; a tilde stands for what is cut off.
pub(super) fn cut(text: &str, width: usize) -> String {
    match text.char_indices().nth(width) {
        Some(_) => text.chars().take(width.saturating_sub(1)).chain(['~']).collect(),
        None => text.to_owned(),
    }
}

/// An amount whose unit stands beside it.
pub(super) fn bare(amount: impl ToString) -> String {
    amount.to_string().chars().take_while(|digit| *digit != ' ').collect()
}

/// What ETH per LPT is counted in: the largest unit of which the largest rate is one at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) name: &'static str,
    wei: u64,
}

const UNITS: [Unit; 3] = [
    Unit { name: "ETH", wei: 1_000_000_000_000_000_000 },
    Unit { name: "gwei", wei: 1_000_000_000 },
    Unit { name: "wei", wei: 1 },
];
/// 10^18: smallest units of one LPT.
const LPT: u64 = 1_000_000_000_000_000_000;
/// Widest rate.
const RATE_WIDTH: usize = 9;
const MOST_DECIMALS: usize = 6;

impl Unit {
    /// For a table with these rates.
    pub(super) fn of<'a>(rates: impl Iterator<Item = &'a Rate>) -> Self {
        let largest = rates.max().map(|rate| rate.times(U256::from(LPT)).floor()).unwrap_or_default();
        let [eth, gwei, wei] = UNITS;
        [eth, gwei].into_iter().find(|unit| largest >= U256::from(unit.wei)).unwrap_or(wei)
    }

    /// `rate`, wei per smallest unit of LPT, as so many of this unit per LPT; rounded down to what fits.
    pub(super) fn per_lpt(self, rate: &Rate) -> String {
        let Some(value) = rate.times(U256::from(LPT)).over(&Rate::whole(U256::from(self.wei))) else {
            return String::new();
        };
        let whole = value.floor().to_string();
        if whole.len() > RATE_WIDTH {
            return format!(">{}", "9".repeat(RATE_WIDTH - 1));
        }
        let decimals = RATE_WIDTH.saturating_sub(whole.len() + 1).min(MOST_DECIMALS);
        let scaled = value.times(U256::from(10).pow(U256::from(decimals))).floor();
        if scaled.is_zero() {
            return if value == Rate::whole(U256::ZERO) { "0".into() } else { format!("<0.{:0>decimals$}", 1) };
        }
        if decimals == 0 {
            return whole;
        }
        let digits = format!("{scaled:0>width$}", width = decimals + 1);
        let (above, below) = digits.split_at(digits.len() - decimals);
        match below.trim_end_matches('0') {
            "" => above.to_owned(),
            below => format!("{above}.{below}"),
        }
    }
}

/// What waits, in a few words.
pub(super) fn announcement(pending: &Pending) -> String {
    match pending {
        Pending::None => "-".into(),
        Pending::NotAnnounced => "unknown".into(),
        Pending::Announced(change) => {
            let (cut, share) = (change.terms.reward_cut, change.terms.fee_share);
            let (cut, share) = (percent(cut.get().into()), percent(share.get().into()));
            format!("from {}: {cut}, {share}", change.effective_round.0)
        }
    }
}

/// Shows on stderr, if that is a terminal, that a long read goes on.
#[derive(Debug)]
pub(super) struct Reading(ProgressBar);

impl Reading {
    pub(super) fn begin() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    pub(super) fn heard(&self, progress: Progress) {
        self.0.set_message(match progress {
            Progress::Rounds { done, of } => format!("logs of {done} of {of} rounds"),
            Progress::Views { done, of } => format!("{done} of {of} read"),
            Progress::Transactions { done, of } => format!("{done} of {of} batches counted"),
        });
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(numerator: u128, denominator: u128) -> Rate {
        Rate::new(U256::from(numerator), U256::from(denominator)).unwrap()
    }

    #[test]
    fn a_rate_is_shown_in_the_unit_of_the_largest() {
        let gwei = Unit::of([rate(3, 1_000_000_000), rate(1, 1 << 60)].iter());
        assert_eq!((gwei.name, gwei.per_lpt(&rate(3, 2_000_000_000))), ("gwei", "1.5".into()));
        assert_eq!(Unit::of([rate(2, 1)].iter()).per_lpt(&rate(5, 3)), "1.666666", "rounded down");
        assert_eq!(Unit::of([].iter()).name, "wei");
        assert_eq!(gwei.per_lpt(&rate(0, 1)), "0");
        assert_eq!(gwei.per_lpt(&rate(1, 1_000_000_000_000_000_000)), "<0.000001");
        assert_eq!(gwei.per_lpt(&rate(123_456_789, 1_000_000_000)), "123456789");
        assert_eq!(gwei.per_lpt(&rate(12_345_678_987, 1_000_000_000_000)), "12345678");
    }

    #[test]
    fn every_rate_fits_its_column() {
        for above in [1, 9, 12_345, 999_999_999_999, u128::MAX] {
            for below in [1, 1_000_000_000_000, 1_000_000_000_000_000_000] {
                let rate = rate(above, below);
                let shown = Unit::of([rate.clone()].iter()).per_lpt(&rate);
                assert!(shown.len() <= RATE_WIDTH, "{shown}");
            }
        }
    }

    #[test]
    fn a_narrow_terminal_gets_short_addresses() {
        assert_eq!(account(Address::ZERO, NARROW), "0x0000..0000");
        assert_eq!(account(Address::ZERO, WIDE).len(), 42);
        assert_eq!((cut("12345", 5), cut("123456", 5)), ("12345".into(), "1234~".into()));
    }
}
