//! What is wrong with an endpoint.
use std::time::Duration;

use alloy::{primitives::B256, transports::TransportError};

/// Why an endpoint is left.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No answer, or none in time.
    #[error("it does not answer ({reason})")]
    Silent { reason: String },
    /// Too many requests.
    #[error("it limits the rate of requests")]
    Limited { retry_after: Option<Duration> },
    /// The answer is cut short, or is no JSON-RPC.
    #[error("its answers cannot be read")]
    Unreadable,
    /// Another chain.
    #[error("it serves chain {got} instead of {expected}")]
    WrongChain { got: u64, expected: u64 },
    /// The newest block is old: the node is stuck, its chain is, or our clock is wrong.
    #[error(
        "its newest block {number} is {age} s old, or the clock of this machine is wrong; {max} s are allowed \
         (chain.max_head_age)"
    )]
    Stale { number: u64, age: u64, max: u64 },
    /// Others are further.
    #[error("its newest block {number} is {blocks} blocks behind the others")]
    Behind { number: u64, blocks: u64 },
    /// The header is not the one asked for, or its fields do not give its hash.
    #[error("its header of block {number} does not have the hash it should have")]
    FalseHeader { number: u64 },
    /// Contracts see a block number that the header does not tell.
    #[error("its headers lack l1BlockNumber (chain.profile)")]
    NoL1Block,
    /// Most others have another block at this height.
    #[error("it has another block {number} than the others")]
    Split { number: u64 },
    /// Logs that the block does not have, or not all that it has.
    #[error("its logs of block {block} are not those of the block")]
    FalseLogs { block: B256 },
    /// A receipt that the block does not have.
    #[error("its receipt of transaction {transaction} is not that of the block")]
    FalseReceipt { transaction: B256 },
    /// The transaction is in a block, and its receipt is withheld.
    #[error("it has no receipt of transaction {transaction}, which is in its block {block}")]
    NoReceipt { transaction: B256, block: u64 },
    /// Most others answer something else.
    #[error("its answer to {call} differs from that of the others")]
    Outvoted { call: String },
}

impl Fault {
    /// Whether what it answers must not be used. An endpoint that only fails to answer may be asked again as a last resort.
    pub(crate) const fn is_untrue(&self) -> bool {
        !matches!(self, Self::Silent { .. } | Self::Limited { .. } | Self::Unreadable)
    }

    /// A word for it, for labels.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Silent { .. } => "silent",
            Self::Limited { .. } => "limited",
            Self::Unreadable => "unreadable",
            Self::WrongChain { .. } => "wrong_chain",
            Self::Stale { .. } => "stale",
            Self::Behind { .. } => "behind",
            Self::FalseHeader { .. } => "false_header",
            Self::NoL1Block => "no_l1_block",
            Self::Split { .. } => "split",
            Self::FalseLogs { .. } => "false_logs",
            Self::FalseReceipt { .. } => "false_receipt",
            Self::NoReceipt { .. } => "no_receipt",
            Self::Outvoted { .. } => "outvoted",
        }
    }
}

/// An error of one endpoint, on its way through alloy's error type.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub(crate) struct EndpointError {
    pub(crate) host: String,
    #[source]
    pub(crate) source: TransportError,
}

/// No endpoint was asked, or too few agree.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("the chain RPC at {host} is not used: {fault}")]
    Left { host: String, fault: Fault },
    #[error("{agreed} of {needed} endpoints agree")]
    Disagree { agreed: usize, needed: usize },
}
