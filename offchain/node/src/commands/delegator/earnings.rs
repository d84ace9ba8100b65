//! `delegator earnings`: stake and fees of an account with all that is earned.
use alloy::primitives::U256;
use anyhow::Context as _;
use serde::Serialize;
use streamflow_chain::delegator::{Earnings, EarningsOfRounds, RoundsBasis, earnings};

use super::{
    Context,
    layout::{Reading, bare, cut},
};
use crate::{
    amount::{Eth, Lpt},
    cli::EarningsArgs,
    output::{Report, Table},
};

/// Widest amount by round.
const AMOUNT: usize = 30;

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Shown(Earnings);

/// Reads and prints the earnings.
///
/// # Errors
/// When the node cannot be reached or does not serve the logs.
pub(super) async fn run(context: &Context, args: &EarningsArgs) -> anyhow::Result<()> {
    let chain = context.connect().await?;
    let reading = Reading::begin();
    let earned = earnings(&chain, args.delegator, args.rounds, &|progress| reading.heard(progress)).await?;
    drop(reading);
    context.output.result(&Shown(earned)).context("cannot print the earnings")
}

impl Shown {
    fn facts(&self) -> String {
        let Earnings { delegator, delegate, block, round, start_round, last_claim_round, .. } = &self.0;
        let mut table = Table::facts();
        table.fact("delegator", delegator);
        match delegate {
            Some(delegate) if start_round > round => {
                table.fact("staked with", delegate).fact("counts from", format!("round {}", start_round.0))
            }
            Some(delegate) => table.fact("staked with", delegate),
            None => table.fact("staked with", "nobody"),
        };
        table
            .fact("stake", Lpt(self.0.stake))
            .fact("of it booked", Lpt(self.0.claimed_stake))
            .fact("fees", Eth(self.0.fees))
            .fact("of them booked", Eth(self.0.claimed_fees))
            .fact("booked up to", format!("round {}", last_claim_round.0))
            .fact("as of", format!("round {}, block {block}", round.0));
        for lock in &self.0.locks {
            let name = format!("lock {}", lock.id);
            table.fact(&name, format!("{}, free from round {}", Lpt(lock.amount), lock.withdraw_round.0));
        }
        table.to_string()
    }

    fn rounds(&self) -> Option<String> {
        if self.0.rounds_basis == RoundsBasis::Unknown {
            return Some("By round: the node does not keep old state; an archive node tells.".into());
        }
        if self.0.rounds.is_empty() {
            return None;
        }
        let mut table = Table::new(["round", "LPT earned", "ETH earned"]);
        for row in &self.0.rounds {
            table.row([named(row), cut(&change(row), AMOUNT), cut(&bare(Eth(row.fees)), AMOUNT)]);
        }
        let note = match self.0.rounds_basis {
            RoundsBasis::Factors => "\nThe node keeps no old state: rounds are some wei off, their sum is exact.",
            RoundsBasis::State | RoundsBasis::Unknown => "",
        };
        Some(format!("{table}{note}"))
    }
}

impl Report for Shown {
    fn text(&self) -> String {
        let mut parts = vec![self.facts()];
        parts.extend(self.rounds());
        parts.join("\n\n")
    }
}

fn named(row: &EarningsOfRounds) -> String {
    let rounds = if row.first == row.last { row.last.0.to_string() } else { format!("{}-{}", row.first.0, row.last.0) };
    if row.running { format!("{rounds}, runs") } else { rounds }
}

/// Less than nothing after a slash.
fn change(row: &EarningsOfRounds) -> String {
    if row.slashed > U256::ZERO { format!("-{}", bare(Lpt(row.slashed))) } else { bare(Lpt(row.rewards)) }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::Address;
    use streamflow_chain::delegator::Lock;
    use streamflow_types::Round;

    use super::*;

    /// 12,345,678 LPT and every decimal.
    const LARGE: u128 = 12_345_678_123_456_789_012_345_678;

    fn shown() -> Shown {
        let large = U256::from(LARGE);
        let row = |first, last, slashed| EarningsOfRounds {
            first: Round(first),
            last: Round(last),
            running: last == 12_346,
            rewards: large,
            slashed,
            fees: large,
        };
        Shown(Earnings {
            delegator: Address::repeat_byte(1),
            block: 123_456_789,
            round: Round(12_345),
            delegate: Some(Address::repeat_byte(2)),
            start_round: Round(12_346),
            last_claim_round: Round(12_000),
            claimed_stake: U256::ONE,
            claimed_fees: U256::ZERO,
            stake: large,
            fees: large,
            rounds: vec![row(12_000, 12_344, U256::ZERO), row(12_345, 12_345, large), row(12_346, 12_346, U256::ZERO)],
            rounds_basis: RoundsBasis::Factors,
            locks: vec![Lock { id: 3, amount: large, withdraw_round: Round(12_350) }],
        })
    }

    #[test]
    fn the_widest_account_fits_80_columns() {
        let text = shown().text();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("12000-12344") && text.contains("12346, runs") && text.contains("-12345678.1"), "{text}");
    }

    #[test]
    fn programs_get_decimal_text_and_a_reason_for_what_is_missing() {
        let mut shown = shown();
        shown.0.rounds_basis = RoundsBasis::Unknown;
        let document = serde_json::to_value(&shown).unwrap();
        assert_eq!((&document["stake"], &document["claimed_stake"]), (&LARGE.to_string().into(), &"1".into()));
        assert_eq!(document["rounds"][0]["fees"], LARGE.to_string());
        assert_eq!((&document["rounds_basis"], &document["locks"][0]["id"]), (&"unknown".into(), &3.into()));
        assert!(shown.text().contains("archive node"));
    }
}
