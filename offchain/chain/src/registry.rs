//! The list of orchestrators, page by page.
//!
//! Our ServiceRegistry answers pages with everything in them. The deployed one knows no pages: there the pool is walked, one
//! call for each member. Either way all of it is read at one block, and the first orchestrators are there before the last.
use alloy::{
    eips::BlockId,
    primitives::{B256, U256},
};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use streamflow_bindings::{ServiceRegistry, service_registry::IServiceRegistry::Filter};

use crate::{
    Chain, ChainError, RegisteredTranscoder,
    discovery::{pool, registered},
};

/// Positions of the first page: small, so that somebody is there at once.
const FIRST_PAGE: u64 = 50;
/// Positions of a page. A usual one costs 10 million gas of the 30 that the smallest nodes allow a call.
const PAGE: u64 = 250;
/// Pages, and members of the pool, that are asked for at the same time.
const REQUESTS: usize = 8;

/// Which part of the list is read.
#[derive(Clone, Copy, Debug)]
pub struct RegistryQuery {
    /// Whether to leave out those that are not in the active set. Anybody may publish a URI; a seat costs stake.
    pub active_only: bool,
    /// Longest list, in positions; what comes after is not read.
    pub limit: usize,
}

/// An orchestrator as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryEntry {
    /// Account, URI and stake.
    pub orchestrator: RegisteredTranscoder,
    /// What it offers and where; `None` where the registry does not keep that.
    pub offer: Option<RegistryOffer>,
}

/// Services and regions, by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryOffer {
    /// What it does.
    pub services: Vec<B256>,
    /// Where it does it.
    pub regions: Vec<B256>,
}

/// The list, read in the state of the newest block. Pages come in the order of the list; each may be empty.
///
/// # Errors
///
/// The chain cannot be read. A list longer than the limit is cut off and said so in the log; a pool that is longer is an
/// error, as its order says nothing.
pub async fn registry_pages(
    chain: &Chain,
    query: RegistryQuery,
) -> Result<impl Stream<Item = Result<Vec<RegistryEntry>, ChainError>> + Send, ChainError> {
    let chain = Chain { rpc: chain.rpc.pinned(), ..chain.clone() };
    let at = BlockId::from(chain.rpc.head().await?.hash);
    let count = chain.rpc.view(chain.contracts.service_registry, ServiceRegistry::getEntryCountCall {}, at).await;
    match count {
        Ok(count) => Ok(pages(chain, at, count, query).left_stream()),
        // Deployed: no such function.
        Err(ChainError::Reverted { .. } | ChainError::BadContract { .. }) => {
            tracing::debug!("the registry has no pages: walking the pool of orchestrators");
            Ok(walk(chain, at, query).await?.right_stream())
        }
        Err(err) => Err(err),
    }
}

fn pages(
    chain: Chain,
    at: BlockId,
    count: U256,
    query: RegistryQuery,
) -> impl Stream<Item = Result<Vec<RegistryEntry>, ChainError>> + Send {
    let limit = query.limit as u64;
    let end = count.saturating_to::<u64>().min(limit);
    if count > U256::from(limit) {
        tracing::warn!(listed = %count, read = limit, "the registry is longer than what is read of it");
    }
    let first = (end > 0).then_some((0, FIRST_PAGE.min(end)));
    let others = (FIRST_PAGE..end).step_by(PAGE as usize).map(move |start| (start, (start + PAGE).min(end)));
    stream::iter(first.into_iter().chain(others))
        .map(move |(start, end)| {
            let chain = chain.clone();
            async move { page(&chain, at, start, end, query.active_only).await }
        })
        .buffered(REQUESTS)
}

/// The positions from `start` up to `end`, in as many calls as the node's gas limit makes of it.
async fn page(
    chain: &Chain,
    at: BlockId,
    start: u64,
    end: u64,
    active_only: bool,
) -> Result<Vec<RegistryEntry>, ChainError> {
    let (mut cursor, mut step, mut entries) = (start, end - start, Vec::new());
    while cursor < end {
        let limit = step.min(end - cursor);
        let filter =
            Filter { service: B256::ZERO, region: B256::ZERO, minimumStake: U256::ZERO, activeOnly: active_only };
        let call = ServiceRegistry::getEntriesCall { cursor: U256::from(cursor), limit: U256::from(limit), filter };
        match chain.rpc.view(chain.contracts.service_registry, call, at).await {
            Ok(found) => {
                entries.extend(found.entries.into_iter().map(|entry| RegistryEntry {
                    orchestrator: RegisteredTranscoder {
                        address: entry.orchestrator,
                        service_uri: entry.serviceURI,
                        stake: entry.stake,
                    },
                    offer: Some(RegistryOffer { services: entry.services, regions: entry.regions }),
                }));
                cursor += limit;
            }
            // Some entries are so long that a node's gas does not do for all of them.
            Err(ChainError::Reverted { .. } | ChainError::Refused { .. }) if limit > 1 => step = limit / 2,
            Err(err) => return Err(err),
        }
    }
    Ok(entries)
}

async fn walk(
    chain: Chain,
    at: BlockId,
    query: RegistryQuery,
) -> Result<impl Stream<Item = Result<Vec<RegistryEntry>, ChainError>> + Send, ChainError> {
    let members = pool(&chain, at, query.limit).await?;
    Ok(stream::iter(members)
        .map(move |address| {
            let chain = chain.clone();
            async move { registered(&chain, address, at).await }
        })
        .buffered(REQUESTS)
        .map_ok(|orchestrator| vec![RegistryEntry { orchestrator, offer: None }]))
}
