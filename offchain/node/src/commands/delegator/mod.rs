//! Figures for delegators: `delegator fee-ratio`, `what-if` and `earnings`.
mod earnings;
mod fee_ratio;
mod layout;
mod what_if;

use super::Context;
use crate::cli::DelegatorCommand;

/// Runs one of the commands.
///
/// # Errors
/// When the node cannot be reached or does not serve what is asked, or the question makes no sense.
pub async fn run(context: &Context, command: &DelegatorCommand) -> anyhow::Result<()> {
    match command {
        DelegatorCommand::FeeRatio(args) => fee_ratio::run(context, args).await,
        DelegatorCommand::WhatIf(args) => what_if::run(context, args).await,
        DelegatorCommand::Earnings(args) => earnings::run(context, args).await,
    }
}
