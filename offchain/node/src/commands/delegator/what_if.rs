//! `delegator what-if`: what stake would bring with another orchestrator, and what the move costs.
use anyhow::Context as _;
use serde::Serialize;
use streamflow_chain::delegator::{BreakEven, Pending, Side, WhatIf, WhatIfError, WhatIfQuery, what_if};

use super::{
    Context,
    layout::{Reading, account, bare, cut, width},
};
use crate::{
    amount::{Eth, Lpt, percent},
    cli::WhatIfArgs,
    exit::{Refused, Usage},
    output::{Report, Table},
};

/// Widest cell; two of them and the names fit 80 columns.
const CELL: usize = 28;
/// Fewer winners than this are luck: income of ten still varies by a third.
const FEW_WINNERS: u64 = 10;

/// The answer, and how wide it may be shown.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Shown {
    answer: WhatIf,
    #[serde(skip)]
    width: usize,
}

/// Reads the chain and prints the comparison.
///
/// # Errors
/// When the node cannot be reached or does not serve the logs, or the move makes no sense.
pub(super) async fn run(context: &Context, args: &WhatIfArgs) -> anyhow::Result<()> {
    let chain = context.connect().await?;
    let reading = Reading::begin();
    let query = WhatIfQuery { stake: args.stake.0, from: args.from, to: args.to, rounds: args.rounds };
    let answer = what_if(&chain, &query, &|progress| reading.heard(progress)).await;
    drop(reading);
    let answer = answer.map_err(explained)?;
    context.output.result(&Shown { answer, width: width() }).context("cannot print the answer")
}

fn explained(err: WhatIfError) -> anyhow::Error {
    match err {
        WhatIfError::Chain(err) => err.into(),
        WhatIfError::TooMuch { orchestrator, has, stake } => Refused(format!(
            "{orchestrator} has {} staked with it, less than the {} that would leave",
            Lpt(has),
            Lpt(stake)
        ))
        .into(),
        WhatIfError::NoStake | WhatIfError::SameOrchestrator(_) => Usage(err.to_string()).into(),
    }
}

impl Shown {
    fn table(&self) -> String {
        let WhatIf { from, to, .. } = &self.answer;
        let mut table = Table::new(["", if from.is_some() { "stay" } else { "wallet" }, "go"]);
        let mut row = |name: &str, of: &dyn Fn(&Side) -> String| {
            let stay = from.as_ref().map_or("-".into(), |from| cut(&of(from), CELL));
            table.row([name.to_owned(), stay, cut(&of(to), CELL)]);
        };
        row("orchestrator", &|side| account(side.orchestrator, 0));
        row("LPT staked then", &|side| bare(Lpt(side.stake_then)));
        row("reward cut", &|side| percent(side.terms.reward_cut.get().into()));
        row("fee share", &|side| percent(side.terms.fee_share.get().into()));
        row("active rounds", &|side| side.rounds.to_string());
        row("winners in them", &|side| side.winners.to_string());
        row("missed rewards", &|side| side.missed_rewards.to_string());
        row("ETH per round", &|side| side.fees.as_ref().map_or("unknown".into(), |fees| bare(Eth(fees.floor()))));
        row("ETH undiluted", &|side| {
            side.fees_undiluted.as_ref().map_or("unknown".into(), |fees| bare(Eth(fees.floor())))
        });
        row("LPT per round", &|side| {
            side.rewards.as_ref().map_or("unknown".into(), |rewards| bare(Lpt(rewards.floor())))
        });
        table.to_string()
    }

    fn way(&self) -> String {
        let way = &self.answer.way;
        let idle = match (way.needs_unbonding, way.idle_rounds) {
            (true, idle) => format!(
                "Unbond, wait {idle} rounds without earnings, then `stake rebond --to`: where\n\
                 stake can be slashed it does not change sides at once, and only as a whole.\n"
            ),
            (false, _) if self.answer.from.is_some() => {
                "The stake moves at once and earns no more in this round: wait for its reward.\n".into()
            }
            (false, _) => String::new(),
        };
        format!(
            "{idle}Begun in round {}, it earns there from round {}.\nUnbonding to a wallet takes {} rounds.",
            self.answer.round.0, way.first_round.0, way.unbonding_rounds
        )
    }

    fn balance(&self) -> String {
        let mut lines = vec![
            format!("ETH: {}", outcome(self.answer.fees_break_even)),
            format!("LPT: {}", outcome(self.answer.rewards_break_even)),
        ];
        if let Some(price) = &self.answer.neutral_wei_per_lpt {
            lines.push(format!("Both weigh the same at {} per LPT.", Eth(price.floor())));
        }
        lines.join("\n")
    }

    /// What the figures do not show.
    fn warnings(&self) -> Vec<String> {
        let sides = || self.answer.from.iter().chain([&self.answer.to]);
        let mut warnings = Vec::new();
        for side in sides() {
            let name = account(side.orchestrator, self.width);
            if let Pending::Announced(change) = side.pending {
                warnings.push(format!("{name}: counted with its terms from round {} on.", change.effective_round.0));
            }
            if !side.active_next_round {
                warnings.push(format!("{name} has no seat in the next round: nothing is earned there."));
            } else if side.winners < FEW_WINNERS {
                warnings.push(format!("{name}: {} winners are luck, not a rate.", side.winners));
            }
        }
        if sides().any(|side| side.pending == Pending::NotAnnounced) {
            warnings.push("These contracts announce no commissions: they may change in any round.".into());
        }
        warnings
    }
}

impl Report for Shown {
    fn text(&self) -> String {
        let stake = format!("{}: what the last rounds would bring from now on.", Lpt(self.answer.stake));
        let mut parts = vec![stake, self.table(), self.balance(), self.way()];
        let warnings = self.warnings();
        if !warnings.is_empty() {
            parts.push(warnings.join("\n"));
        }
        parts.join("\n\n")
    }
}

fn outcome(break_even: BreakEven) -> String {
    match break_even {
        BreakEven::AtOnce => "not less than now from the first round on.".into(),
        BreakEven::After(rounds) => format!("the move has paid for itself {rounds} rounds after it began."),
        BreakEven::Never => "the move brings less.".into(),
        BreakEven::Unknown => "there is no round to learn from.".into(),
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, U256};
    use streamflow_chain::delegator::{Announced, Move, Rate, Terms};
    use streamflow_types::{Ppm, Round};

    use super::*;
    use crate::commands::delegator::layout::NARROW;

    /// 12,345,678 LPT and every decimal.
    const LARGE: u128 = 12_345_678_123_456_789_012_345_678;

    fn side(byte: u8) -> Side {
        let terms = Terms { reward_cut: Ppm::new(123_456).unwrap(), fee_share: Ppm::new(987_654).unwrap() };
        let large = Rate::whole(U256::from(LARGE));
        Side {
            orchestrator: Address::repeat_byte(byte),
            active_next_round: true,
            stake_now: U256::from(LARGE),
            stake_then: U256::from(LARGE),
            terms,
            pending: Pending::Announced(Announced { effective_round: Round(12_345), terms }),
            rounds: 30,
            winners: 3,
            missed_rewards: 1,
            fees: Some(large.clone()),
            fees_undiluted: Some(large.clone()),
            rewards: None,
        }
    }

    fn shown() -> Shown {
        let way = Move { needs_unbonding: true, idle_rounds: 7, first_round: Round(12_348), unbonding_rounds: 7 };
        let answer = WhatIf {
            block: 123_456_789,
            round: Round(12_340),
            stake: U256::from(10).pow(U256::from(18)),
            from: Some(side(1)),
            to: side(2),
            way,
            fees_break_even: BreakEven::After(U256::from(21)),
            rewards_break_even: BreakEven::Unknown,
            neutral_wei_per_lpt: Rate::new(U256::from(7), U256::from(2)),
        };
        Shown { answer, width: NARROW }
    }

    #[test]
    fn the_widest_comparison_fits_80_columns() {
        let text = shown().text();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let mut at_once = shown();
        at_once.answer.way.needs_unbonding = false;
        at_once.answer.to.active_next_round = false;
        assert!(at_once.text().lines().all(|line| line.chars().count() <= 80), "{}", at_once.text());
        assert!(text.contains("21 rounds after it began") && text.contains("3 winners are luck"), "{text}");
    }

    #[test]
    fn programs_get_whole_wei_as_text() {
        let document = serde_json::to_value(shown()).unwrap();
        assert_eq!(document["to"]["fees"], LARGE.to_string());
        assert_eq!(document["to"]["rewards"], serde_json::Value::Null);
        assert_eq!(document["fees_break_even"], serde_json::json!({ "when": "after", "rounds": "21" }));
        assert_eq!((&document["move"]["idle_rounds"], &document["neutral_wei_per_lpt"]), (&7.into(), &"3".into()));
    }

    #[test]
    fn what_makes_no_sense_is_refused_or_wrong_usage() {
        let much = WhatIfError::TooMuch { orchestrator: Address::ZERO, has: U256::ZERO, stake: U256::ONE };
        assert_eq!(crate::exit::code(&explained(much)), 3);
        assert_eq!(crate::exit::code(&explained(WhatIfError::NoStake)), 2);
    }
}
