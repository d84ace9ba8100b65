//! `delegator fee-ratio`: ETH fees per staked LPT, per orchestrator and round.
use std::cmp::Reverse;

use serde::Serialize;
use streamflow_chain::delegator::{
    FeeRatioQuery, FeeRatios, NetBasis, OrchestratorRatios, Pending, Rate, Window, fee_ratio,
};

use super::{
    Context,
    layout::{Reading, Unit, account, announcement, bare, cut, width},
};
use crate::{
    amount::{Lpt, percent},
    cli::FeeRatioArgs,
    output::{Report, Table, to_stdout},
};

/// Widest stake in the table.
const STAKE_WIDTH: usize = 18;

/// The answer, and how wide it may be shown.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Shown {
    ratios: FeeRatios,
    #[serde(skip)]
    width: usize,
}

/// Reads and prints the ratios.
///
/// # Errors
/// When the node cannot be reached or does not serve the logs.
pub(super) async fn run(context: &Context, args: &FeeRatioArgs) -> anyhow::Result<()> {
    let chain = context.connect().await?;
    let reading = Reading::begin();
    let query = FeeRatioQuery { rounds: args.rounds, orchestrators: args.orchestrator.clone() };
    let ratios = fee_ratio(&chain, &query, &|progress| reading.heard(progress)).await?;
    drop(reading);
    let shown = Shown { ratios, width: width() };
    if args.csv {
        to_stdout(shown.csv().as_bytes())?;
    } else {
        context.output.result(&shown)?;
    }
    Ok(())
}

const CSV_HEADINGS: &str = "round,orchestrator,running,active,fees_wei,winners,winners_complete,stake_wei,gross_1e27,\
    net_1e27,net_basis,reward_wei\n";

impl Shown {
    /// One line per round and orchestrator; what is not known is empty.
    fn csv(&self) -> String {
        let mut text = String::from(CSV_HEADINGS);
        for ratios in &self.ratios.orchestrators {
            for row in &ratios.rounds {
                let basis = match row.net_basis {
                    NetBasis::Factors => "factors",
                    NetBasis::FeeShare => "fee_share",
                };
                text.push_str(&format!(
                    "{},{},{},{},{},{},{},{},{},{},{basis},{}\n",
                    row.round.0,
                    ratios.orchestrator,
                    row.running,
                    row.active,
                    row.fees,
                    row.winners,
                    row.winners_complete,
                    or_empty(row.stake),
                    or_empty(row.gross.as_ref().map(Rate::scaled)),
                    or_empty(row.net.as_ref().map(Rate::scaled)),
                    or_empty(row.reward),
                ));
            }
        }
        text
    }

    /// Best for delegators first.
    fn ranked(&self) -> Vec<&OrchestratorRatios> {
        let mut ranked: Vec<_> = self.ratios.orchestrators.iter().collect();
        let net = |ratios: &OrchestratorRatios| ratios.windows.last()?.net.clone().map(|rates| rates.mean);
        ranked.sort_by_cached_key(|ratios| Reverse(net(ratios)));
        ranked
    }

    fn rates(&self) -> String {
        let windows = || self.ratios.orchestrators.iter().flat_map(|ratios| &ratios.windows);
        let unit = Unit::of(windows().filter_map(|window| Some(&window.gross.as_ref()?.mean)));
        let mut table = Table::new(["orchestrator", "rounds", "won", "gross", "median", "net", "median", "missed"]);
        for ratios in self.ranked() {
            let mut name = account(ratios.orchestrator, self.width);
            for window in &ratios.windows {
                let rate = |of: Option<&Rate>| of.map_or("?".into(), |rate| unit.per_lpt(rate));
                let (gross, net) = (window.gross.as_ref(), window.net.as_ref());
                table.row([
                    std::mem::take(&mut name),
                    rounds(window),
                    format!("{}{}", window.winners, if window.winners_complete { "" } else { "+" }),
                    rate(gross.map(|rates| &rates.mean)),
                    rate(gross.map(|rates| &rates.median)),
                    rate(net.map(|rates| &rates.mean)),
                    rate(net.map(|rates| &rates.median)),
                    window.missed_rewards.to_string(),
                ]);
            }
        }
        format!("Mean and median per round, in {} per staked LPT, rounded down:\n{table}", unit.name)
    }

    fn terms(&self) -> String {
        let mut table = Table::new(["orchestrator", "staked LPT", "cut", "share", "announced: cut, share"]);
        for ratios in self.ranked() {
            let name = account(ratios.orchestrator, self.width);
            let (inactive, slashed) = (if ratios.active { "" } else { "*" }, if ratios.slashed { "!" } else { "" });
            table.row([
                format!("{name}{inactive}{slashed}"),
                cut(&bare(Lpt(ratios.stake)), STAKE_WIDTH),
                percent(ratios.terms.reward_cut.get().into()),
                percent(ratios.terms.fee_share.get().into()),
                announcement(&ratios.pending),
            ]);
        }
        format!("Cut: of LPT rewards, for the orchestrator. Share: of ETH fees, for delegators.\n{table}")
    }
}

impl Report for Shown {
    fn text(&self) -> String {
        let FeeRatios { block, round, finished_rounds, orchestrators } = &self.ratios;
        let mut parts = vec![format!(
            "Block {block}, round {}, {finished_rounds} finished rounds. Gross is what was paid,\n\
             net what delegators got of it. A few won tickets are luck, not a rate: income\n\
             of 10 still varies by a third.",
            round.0
        )];
        if orchestrators.is_empty() {
            parts.push("No orchestrator has stake or fees.".into());
            return parts.join("\n\n");
        }
        parts.extend([self.rates(), self.terms()]);
        let mut notes = Vec::new();
        if orchestrators.iter().any(|ratios| !ratios.active) {
            notes.push("* not in the active set now");
        }
        if orchestrators.iter().any(|ratios| ratios.slashed) {
            notes.push("! slashed in one of these rounds");
        }
        if orchestrators.iter().any(|ratios| ratios.pending == Pending::NotAnnounced) {
            notes.push("These contracts announce no commissions: they may change in any round.");
        }
        if orchestrators.iter().flat_map(|ratios| &ratios.rounds).any(|row| row.net_basis == NetBasis::FeeShare) {
            notes.push("Net is gross times the fee share where the rounds before are not known.");
        }
        if !notes.is_empty() {
            parts.push(notes.join("\n"));
        }
        parts.join("\n\n")
    }
}

/// Rounds that count, of those looked at.
fn rounds(window: &Window) -> String {
    if window.counted == window.rounds {
        return window.rounds.to_string();
    }
    format!("{}/{}", window.counted, window.rounds)
}

fn or_empty(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, U256};
    use streamflow_chain::delegator::{Announced, FeeRatio, Rates, Terms};
    use streamflow_types::{Ppm, Round};

    use super::*;
    use crate::commands::delegator::layout::{NARROW, WIDE};

    fn rate(numerator: u64, denominator: u64) -> Rate {
        Rate::new(U256::from(numerator), U256::from(denominator)).unwrap()
    }

    fn ratios() -> FeeRatios {
        let rates = |mean| Some(Rates { mean, median: rate(1, 7) });
        let window = |rounds| Window {
            rounds,
            counted: rounds - 1,
            unknown: 1,
            winners: 99_999,
            winners_complete: false,
            missed_rewards: 12,
            gross: rates(rate(u64::MAX, 20_000_000_000_000)),
            net: rates(rate(u64::MAX, 21_000_000_000_000)),
        };
        let terms = |cut, share| Terms { reward_cut: Ppm::new(cut).unwrap(), fee_share: Ppm::new(share).unwrap() };
        let row = FeeRatio {
            round: Round(7),
            running: false,
            active: true,
            fees: U256::from(7),
            winners: 2,
            winners_complete: false,
            stake: None,
            reward: Some(U256::from(3)),
            gross: Some(rate(7, 2)),
            net: None,
            net_basis: NetBasis::FeeShare,
        };
        let orchestrator = OrchestratorRatios {
            orchestrator: Address::repeat_byte(0xff),
            active: false,
            active_next_round: false,
            stake: U256::from(u128::MAX),
            terms: terms(123_456, 987_654),
            pending: Pending::Announced(Announced { effective_round: Round(12_345), terms: terms(150_000, 500_000) }),
            slashed: true,
            windows: vec![window(7), window(30), window(90)],
            rounds: vec![row],
        };
        FeeRatios { block: 123_456_789, round: Round(12_340), finished_rounds: 90, orchestrators: vec![orchestrator] }
    }

    #[test]
    fn the_widest_table_fits_80_and_120_columns() {
        for (width, most) in [(NARROW, 80), (WIDE, 110), (120, 120)] {
            let text = Shown { ratios: ratios(), width }.text();
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= most, "{widest} > {most}\n{text}");
            assert_eq!(text.contains(&Address::repeat_byte(0xff).to_string()), width >= WIDE);
        }
    }

    #[test]
    fn programs_get_decimal_integers_and_nothing_for_what_is_not_known() {
        let shown = Shown { ratios: ratios(), width: NARROW };
        let scaled = "3500000000000000000000000000";
        let line = format!("7,{},false,true,7,2,false,,{scaled},,fee_share,3", Address::repeat_byte(0xff));
        assert_eq!(shown.csv().lines().nth(1).unwrap(), line);
        assert_eq!(shown.csv().lines().next().unwrap().split(',').count(), line.split(',').count());
        let document = serde_json::to_value(&shown).unwrap();
        let orchestrator = &document["orchestrators"][0];
        assert_eq!(orchestrator["stake"], u128::MAX.to_string());
        assert_eq!((&orchestrator["reward_cut"], &orchestrator["fee_share"]), (&123_456.into(), &987_654.into()));
        assert_eq!(orchestrator["pending"]["effective_round"], 12_345);
        assert_eq!(orchestrator["windows"][0]["gross"]["median"], "142857142857142857142857142");
        let row = &orchestrator["rounds"][0];
        assert_eq!(
            (&row["fees"], &row["gross"], &row["stake"]),
            (&"7".into(), &scaled.into(), &serde_json::Value::Null)
        );
    }

    #[test]
    fn the_best_for_delegators_comes_first_and_the_unknown_last() {
        let mut ratios = ratios();
        let with = |byte, net: Option<Rate>| {
            let mut one = ratios.orchestrators[0].clone();
            one.orchestrator = Address::repeat_byte(byte);
            one.windows[2].net = net.map(|mean| Rates { median: mean.clone(), mean });
            one
        };
        ratios.orchestrators = vec![with(1, None), with(2, Some(rate(1, 3))), with(3, Some(rate(1, 2)))];
        let shown = Shown { ratios, width: NARROW };
        let order: Vec<u8> = shown.ranked().iter().map(|one| one.orchestrator.0[0]).collect();
        assert_eq!(order, [3, 2, 1]);
    }
}
