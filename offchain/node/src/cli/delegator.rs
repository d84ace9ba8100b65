//! Arguments of the commands for delegators.
use alloy::primitives::Address;
use clap::{Args, Subcommand};

use crate::amount::Lpt;

#[derive(Debug, Subcommand)]
pub enum DelegatorCommand {
    /// ETH fees per staked LPT, per orchestrator and round, with means over 7, 30 and 90 rounds
    FeeRatio(FeeRatioArgs),
    /// What stake would bring with another orchestrator, and what the move costs
    WhatIf(WhatIfArgs),
    /// Stake and fees of an account with all that is earned, and in which rounds
    Earnings(EarningsArgs),
}

#[derive(Clone, Debug, Args)]
pub struct FeeRatioArgs {
    /// How many finished rounds back; the running one comes on top
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = rounds)]
    pub rounds: usize,
    /// Only this orchestrator; may be given several times
    #[arg(long, value_name = "ADDRESS")]
    pub orchestrator: Vec<Address>,
    /// One line per orchestrator and round as comma-separated values on stdout
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct WhatIfArgs {
    /// Stake that would move: 100lpt
    #[arg(long, value_name = "AMOUNT")]
    pub stake: Lpt,
    /// The orchestrator that it is with; without it, the stake comes from a wallet
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<Address>,
    /// The orchestrator that it would go to
    #[arg(long, value_name = "ADDRESS")]
    pub to: Address,
    /// How many finished rounds to learn from
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = rounds)]
    pub rounds: usize,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct EarningsArgs {
    /// The delegator's account
    #[arg(value_name = "ADDRESS")]
    pub delegator: Address,
    /// How many rounds get a row of their own; older ones are summed up in one
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = rounds)]
    pub rounds: usize,
}

fn rounds(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(rounds @ 1..=10_000) => Ok(rounds),
        _ => Err("a number of rounds from 1 to 10000 is needed".into()),
    }
}
