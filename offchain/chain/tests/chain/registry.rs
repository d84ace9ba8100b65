//! The list of orchestrators: pages of our registry, the pool where there are none.
use alloy::{
    primitives::{Bytes, U256},
    providers::ext::AnvilApi,
};
use anyhow::Result;
use futures::TryStreamExt;
use streamflow_chain::{Chain, RegistryEntry, RegistryQuery, registry_pages};
use streamflow_testkit::{Deployment, crowd_account, key};

use crate::fixture::chain;

const LPT: u128 = 1_000_000_000_000_000_000;
const ALL: RegistryQuery = RegistryQuery { active_only: false, limit: 100_000 };
const ACTIVE: RegistryQuery = RegistryQuery { active_only: true, limit: 100_000 };

async fn read(chain: &Chain, query: RegistryQuery) -> Result<Vec<Vec<RegistryEntry>>> {
    Ok(registry_pages(chain, query).await?.try_collect().await?)
}

#[tokio::test]
async fn a_long_list_comes_in_pages_in_its_order_and_complete() -> Result<()> {
    let deployment = Deployment::start().await?;
    deployment.initialize_round().await?;
    deployment.register(&key(2)?, U256::from(5 * LPT), "https://o2.example:8935").await?;
    deployment.list_crowd(1000, |n| format!("https://o{n}.example"), |n| u128::from(n) * LPT).await?;
    let (chain, _) = chain(&deployment).await?;
    let pages = read(&chain, ACTIVE).await?;
    assert!(pages.len() > 3 && pages[0].len() < 60, "the first page is small: {}", pages[0].len());
    let entries = pages.concat();
    assert_eq!(entries.len(), 1000, "the one that is active from the next round on is left out");
    for (n, entry) in (0..).zip(&entries) {
        assert_eq!(entry.orchestrator.address, crowd_account(n));
        assert_eq!(entry.orchestrator.service_uri, format!("https://o{n}.example"));
        assert_eq!(entry.orchestrator.stake, U256::from(u128::from(n) * LPT));
    }
    assert_eq!(read(&chain, ALL).await?.concat().len(), 1001);
    let cut = read(&chain, RegistryQuery { limit: 120, ..ALL }).await?.concat();
    assert_eq!((cut.len(), cut[0].orchestrator.address), (120, key(2)?.address()));
    Ok(())
}

/// A position may cost seven times what a usual one does, and nodes bound the gas of a call.
#[tokio::test]
async fn pages_shrink_to_what_the_node_computes() -> Result<()> {
    let deployment = Deployment::start().await?;
    deployment.list_crowd(600, |n| format!("https://o{n}.example"), |_| LPT).await?;
    let (chain, _) = chain(&deployment).await?;
    deployment.anvil.provider().anvil_set_block_gas_limit(1_500_000).await?;
    deployment.anvil.mine(1).await?;
    assert_eq!(read(&chain, ACTIVE).await?.concat().len(), 600);
    Ok(())
}

#[tokio::test]
async fn an_empty_list_has_no_entries() -> Result<()> {
    let deployment = Deployment::start().await?;
    let (chain, _) = chain(&deployment).await?;
    assert!(read(&chain, ALL).await?.concat().is_empty());
    Ok(())
}

/// As the deployed registry: knows `getServiceURI(address)`, here with an empty text for everybody, and reverts on all else.
const NO_PAGES: &str = "0x5f3560e01c63214c2a4b146011575f5ffd5b60205f525f60205260405ff3";

#[tokio::test]
async fn a_registry_without_pages_is_read_by_way_of_the_pool() -> Result<()> {
    let deployment = Deployment::start().await?;
    deployment.initialize_round().await?;
    for index in [2, 3, 4] {
        deployment.register(&key(index)?, U256::from(index as u128 * LPT), "https://o.example:8935").await?;
    }
    let bytes: Bytes = NO_PAGES.parse()?;
    deployment.anvil.provider().anvil_set_code(deployment.contracts.service_registry, bytes).await?;
    let (chain, _) = chain(&deployment).await?;
    let entries = read(&chain, ACTIVE).await?.concat();
    let mut stakes: Vec<U256> = entries.iter().map(|entry| entry.orchestrator.stake).collect();
    stakes.sort();
    assert_eq!(stakes, [2, 3, 4].map(|n| U256::from(n * LPT)));
    assert!(entries.iter().all(|entry| entry.offer.is_none() && entry.orchestrator.service_uri.is_empty()));
    Ok(())
}
