//! Orchestrators as the chain knows them.
use alloy::{
    eips::BlockId,
    primitives::{Address, U256},
};
use futures::{StreamExt, TryStreamExt, stream};
use streamflow_bindings::{BondingManager, ServiceRegistry};

use crate::{Chain, ChainError};

/// Service URIs and stakes asked for at the same time.
const REQUESTS: usize = 8;

/// An account that is registered as an orchestrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredTranscoder {
    /// The account; recipient of tickets.
    pub address: Address,
    /// Where it says it listens; empty or malformed if it says so.
    pub service_uri: String,
    /// Its total stake, LPT wei.
    pub stake: U256,
}

/// Every registered orchestrator, as of one block.
///
/// # Errors
///
/// The chain cannot be read, or there are more than `limit`.
pub async fn registered_transcoders(chain: &Chain, limit: usize) -> Result<Vec<RegisteredTranscoder>, ChainError> {
    let at = BlockId::from(chain.rpc.head().await?.hash);
    let addresses = pool(chain, at, limit).await?;
    stream::iter(addresses).map(|address| registered(chain, address, at)).buffered(REQUESTS).try_collect().await
}

/// Accounts in the pool.
pub(crate) async fn pool(chain: &Chain, at: BlockId, limit: usize) -> Result<Vec<Address>, ChainError> {
    let staking = chain.contracts.bonding_manager;
    let mut addresses = Vec::new();
    let mut next = chain.rpc.view(staking, BondingManager::getFirstTranscoderInPoolCall {}, at).await?;
    while !next.is_zero() {
        if addresses.len() == limit {
            return Err(ChainError::TooMany { what: "the pool of orchestrators", limit });
        }
        addresses.push(next);
        next = chain.rpc.view(staking, BondingManager::getNextTranscoderInPoolCall { transcoder_: next }, at).await?;
    }
    Ok(addresses)
}

pub(crate) async fn registered(
    chain: &Chain,
    address: Address,
    at: BlockId,
) -> Result<RegisteredTranscoder, ChainError> {
    let (service_uri, stake) = tokio::try_join!(
        chain.rpc.view(chain.contracts.service_registry, ServiceRegistry::getServiceURICall { addr: address }, at),
        chain.rpc.view(
            chain.contracts.bonding_manager,
            BondingManager::transcoderTotalStakeCall { transcoder_: address },
            at
        ),
    )?;
    Ok(RegisteredTranscoder { address, service_uri, stake })
}
