//! What a keeper has to do, and how far it got.

use alloy::primitives::Address;

/// One of the keeper's tasks. Each runs at most once at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Duty {
    /// Initialise the current round.
    Initialize,
    /// Call `reward` for this orchestrator.
    Reward(Address),
    /// Redeem the next batch.
    Redeem,
    /// Decide what cannot be taken back: payouts that are final or have left the chain, tickets that have expired.
    Decide,
    /// Prune the journal of transactions, once per round.
    Forget,
}

impl Duty {
    /// A word for logs and metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::Reward(_) => "reward",
            Self::Redeem => "redeem",
            Self::Decide => "decide",
            Self::Forget => "forget",
        }
    }
}

/// How a pass of a duty ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing is left to do in this round.
    Settled,
    /// Nothing to do at this block.
    NotYet,
    /// Something was done; there may be more.
    More,
}
