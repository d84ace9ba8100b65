//! What a delegator wants to know before and after choosing an orchestrator, from chain data alone.
//!
//! Logs are read backward from the head, in ranges that the node takes; views are asked at one block. Nothing needs a node
//! that keeps old state; [`earnings`] by round are exact with one, and within some wei without. Every ratio is exact until it
//! is shown, and rounded down then.

mod earnings;
mod factors;
mod fee_ratio;
mod logs;
mod rate;
mod record;
mod views;
mod what_if;

use alloy::primitives::U256;
use serde::Serializer;

pub use earnings::{Earnings, EarningsOfRounds, Lock, RoundsBasis, earnings};
pub use fee_ratio::{
    FeeRatio, FeeRatioQuery, FeeRatios, NetBasis, OrchestratorRatios, Rates, WINDOWS, Window, fee_ratio,
};
pub use rate::Rate;
pub use views::{Announced, Pending, Terms};
pub use what_if::{BreakEven, Move, Side, WhatIf, WhatIfError, WhatIfQuery, what_if};

/// How far a long read has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Rounds whose logs are read.
    Rounds { done: usize, of: usize },
    /// Answers to views.
    Views { done: usize, of: usize },
    /// Transactions looked into.
    Transactions { done: usize, of: usize },
}

/// Hears of the progress; called often.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Sync);

/// Requests under way at the same time.
const REQUESTS: usize = 8;

/// As decimal text: JSON numbers lose digits above 2^53.
fn decimal<S: Serializer>(value: &U256, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// As [`decimal`]; null if unknown.
fn optional_decimal<S: Serializer>(value: &Option<U256>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}
