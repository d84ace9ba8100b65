//! `delegator fee-ratio`: ETH fees per staked LPT, per orchestrator and round, in integers.
use alloy::primitives::{Address, U256};
use serde::Serialize;
use streamflow_chain::FeeRatio;

use super::Context;
use crate::{
    amount::{Eth, Lpt, as_decimal},
    cli::FeeRatioArgs,
    output::{Report, Table, to_stdout},
};

/// Widest amount in the table.
const AMOUNT_WIDTH: usize = 24;

#[derive(Debug, Serialize)]
struct FeeRatios {
    rows: Vec<Row>,
}

/// One orchestrator in one round.
#[derive(Debug, Serialize)]
struct Row {
    round: u64,
    orchestrator: Address,
    /// Wei that winning tickets moved in this round, whenever they were issued.
    #[serde(serialize_with = "as_decimal")]
    fees: U256,
    /// Own and delegated stake in this round, in the smallest unit.
    #[serde(serialize_with = "as_decimal")]
    stake: U256,
    /// floor(fees · 10^27 / stake); 0 without stake.
    #[serde(serialize_with = "as_decimal")]
    ratio: U256,
}

/// Reads and prints the rows.
///
/// # Errors
/// When the node cannot be reached or does not serve the logs.
pub async fn run(context: &Context, args: &FeeRatioArgs) -> anyhow::Result<()> {
    let chain = context.connect().await?;
    let rows = streamflow_chain::fee_ratio(&chain, args.rounds).await?;
    let ratios = FeeRatios { rows: rows.iter().map(Row::from).collect() };
    if args.csv {
        to_stdout(ratios.csv().as_bytes())?;
    } else {
        context.output.result(&ratios)?;
    }
    Ok(())
}

impl From<&FeeRatio> for Row {
    fn from(row: &FeeRatio) -> Self {
        let FeeRatio { round, orchestrator, fees, stake, ratio } = *row;
        Self { round: round.0, orchestrator, fees, stake, ratio: ratio.unwrap_or_default() }
    }
}

impl FeeRatios {
    fn csv(&self) -> String {
        let mut text = String::from("round,orchestrator,fees_wei,stake_wei,ratio_1e27\n");
        for Row { round, orchestrator, fees, stake, ratio } in &self.rows {
            text.push_str(&format!("{round},{orchestrator},{fees},{stake},{ratio}\n"));
        }
        text
    }
}

impl Report for FeeRatios {
    fn text(&self) -> String {
        let mut table = Table::new(["round", "orchestrator", "fees", "stake", "wei per LPT"]);
        for row in &self.rows {
            table.row([
                row.round.to_string(),
                short(row.orchestrator),
                cut(&Eth(row.fees).to_string()),
                cut(&Lpt(row.stake).to_string()),
                // the ratio counts 10^-27 wei per unit; one LPT is 10^18 units
                cut(&(row.ratio / U256::from(1_000_000_000_u64)).to_string()),
            ]);
        }
        table.to_string()
    }
}

/// First and last digits of an address.
fn short(address: Address) -> String {
    let text = address.to_string();
    format!("{}..{}", &text[..8], &text[text.len() - 4..])
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(AMOUNT_WIDTH) {
        Some((end, _)) => format!("{}~", &text[..end - 1]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        let [fees, stake, ratio] = [7, 2, 35].map(U256::from);
        Row { round: 3, orchestrator: Address::repeat_byte(0xff), fees, stake, ratio }
    }

    #[test]
    fn widest_row_fits_the_screen() {
        let huge = U256::from(u128::MAX);
        let ratios = FeeRatios { rows: vec![Row { round: 999_999, fees: huge, stake: huge, ratio: huge, ..row() }] };
        assert!(ratios.text().lines().all(|line| line.chars().count() <= crate::output::WIDTH), "{}", ratios.text());
    }

    #[test]
    fn programs_get_decimal_integers() {
        let ratios = FeeRatios { rows: vec![row()] };
        assert_eq!(ratios.csv().lines().nth(1).unwrap(), format!("3,{},7,2,35", Address::repeat_byte(0xff)));
        let document = serde_json::to_value(&ratios).unwrap();
        assert_eq!(document["rows"][0]["ratio"], "35");
        assert_eq!(document["rows"][0]["round"], 3);
    }
}
