//! Transactions of a command that ends with them.
use std::sync::Arc;

use alloy::{network::TxSigner, primitives::Signature};
use tokio_util::sync::CancellationToken;

use super::{MemoryJournal, TxError, TxIntent, TxManager, TxOutcome};
use crate::{BlockFollower, Chain, ChainConfig};

/// Sends `intents` one after the other, each when the one before is confirmed, and stops at the first that fails.
///
/// Nothing is kept: if the process ends early, the transaction under way may still be mined.
///
/// # Errors
///
/// The first that failed.
pub async fn send_all(
    chain: &Chain,
    config: &ChainConfig,
    signer: impl TxSigner<Signature> + Send + Sync + 'static,
    intents: Vec<TxIntent>,
) -> Result<Vec<TxOutcome>, TxError> {
    let (follower, feed) = BlockFollower::new(chain, config);
    let (manager, handle) = TxManager::new(chain, config, signer, Arc::new(MemoryJournal::default()), &feed);
    let never = CancellationToken::new();
    let send = async {
        let mut outcomes = Vec::new();
        for intent in intents {
            outcomes.push(handle.send(intent).await?);
        }
        Ok(outcomes)
    };
    tokio::select! { biased;
        outcome = send => outcome,
        _ = manager.run(never.clone()) => Err(TxError::Stopped),
        () = follower.run(never.clone()) => Err(TxError::Stopped),
    }
}
