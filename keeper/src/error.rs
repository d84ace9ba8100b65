//! What stops a duty for now, or the keeper for good.

use streamflow_chain::{ChainError, JournalError, TxError};
use streamflow_store::StoreError;

use crate::{OutOfRange, preflight::PreflightError};

/// Why a duty could not be done this time, or why the keeper ended. Nothing that was sent is lost by any of these: the
/// store knows it, and it is picked up by the next pass or at the next start.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The chain could not be read.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A transaction could not be prepared, recorded or sent.
    #[error(transparent)]
    Tx(#[from] TxError),
    /// The journal of transactions cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A redemption could not be tried out.
    #[error(transparent)]
    Preflight(Box<PreflightError>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An answer of the chain makes no sense.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// The chain follower has ended, so nothing more will be known of the chain.
    #[error("the chain follower has stopped")]
    FollowerStopped,
}
