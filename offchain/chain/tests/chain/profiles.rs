//! A chain without a mempool, whose contracts see the block number of L1: anvil behind a proxy that adds it.
use std::{sync::Arc, time::Duration};

use alloy::{primitives::U256, providers::ext::AnvilApi};
use anyhow::{Context, Result};
use streamflow_chain::{
    Calls, ChainProfile, GasPolicy, Health, IntentId, MemoryJournal, RoundFollower, TxJournal, connect,
};
use streamflow_testkit::{Chaos, ChaosProxy};

use crate::{
    fixture::{eventually, follow, within},
    transactions::{Bench, GWEI, ask, open, pay},
};

const L1_BLOCK: u64 = 20_000_000;

async fn arbitrum(replace_after: Duration) -> Result<(Bench, ChaosProxy)> {
    let mut bench = Bench::start_with(|config| {
        config.profile = ChainProfile::Arbitrum;
        config.tx.replace_after = replace_after;
        config.tx.bump_after_blocks = 1;
        config.tx.priority_fee_per_gas = GWEI as u64;
        config.tx.base_fee_percent = 100;
    })
    .await?;
    let proxy = ChaosProxy::start(bench.deployment.anvil.url()).await?;
    proxy.set_l1_block(Some(L1_BLOCK));
    bench.config.rpc_url = proxy.url();
    bench.chain = connect(&bench.config).await?;
    bench.following = follow(&bench.chain, &bench.config);
    Ok((bench, proxy))
}

#[tokio::test]
async fn contracts_see_the_block_number_of_l1_and_a_node_without_it_is_left() -> Result<()> {
    let (bench, proxy) = arbitrum(Duration::from_secs(120)).await?;
    let (rounds, mut views) = RoundFollower::new(&bench.chain, &bench.config, &bench.following.feed);
    tokio::spawn(rounds.run(bench.following.stop.clone()));
    let view = within("a view", views.wait_for(Option::is_some)).await??.context("no view")?;
    assert_eq!(view.block, L1_BLOCK);
    proxy.set_l1_block(Some(L1_BLOCK + 1));
    bench.deployment.anvil.mine(1).await?;
    within("the next view", views.wait_for(|view| view.is_some_and(|view| view.block == L1_BLOCK + 1))).await??;

    proxy.set_l1_block(None);
    let health = bench.following.feed.health();
    eventually("the node to be left", || async { Ok(matches!(*health.borrow(), Health::Down(_))) }).await?;
    let told = format!("{:?}", *health.borrow());
    assert!(told.contains("NoL1Block"), "{told}");
    proxy.set_l1_block(Some(L1_BLOCK + 2));
    eventually("the node to be used again", || async { Ok(health.borrow().is_live()) }).await
}

#[tokio::test]
async fn without_a_mempool_the_same_bytes_are_sent_again_and_no_fee_is_raised() -> Result<()> {
    let (bench, proxy) = arbitrum(Duration::from_secs(2)).await?;
    proxy.set(Chaos::SwallowedTransactions).await?;
    let journal = Arc::new(MemoryJournal::default());
    let (handle, _task) = bench.manager(journal.clone());
    let caller = ask(&handle, pay("pay/1", 5));
    eventually("the record", || async { Ok(open(&journal, &bench).await?.len() == 1) }).await?;
    let signed = open(&journal, &bench).await?.remove(0).attempts;
    assert_eq!((signed.len(), signed[0].max_priority_fee_per_gas), (1, 0), "a tip buys nothing");
    let twice = async {
        while proxy.transactions().len() < 3 {
            bench.deployment.anvil.provider().anvil_set_next_block_base_fee_per_gas(signed[0].max_fee_per_gas).await?;
            bench.deployment.anvil.mine(1).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    within("the transaction to be sent again", twice).await??;
    let given = proxy.transactions();
    assert!(given.iter().all(|raw| *raw == given[0]), "the same bytes");
    assert_eq!(open(&journal, &bench).await?.remove(0).attempts, signed);
    proxy.clear();
    assert_eq!(within("the outcome", caller).await???.hash, signed[0].hash);
    assert_eq!(bench.received().await?, U256::from(5));
    Ok(())
}

#[tokio::test]
async fn a_limit_of_gas_that_is_too_low_is_estimated_anew_after_a_while() -> Result<()> {
    let (bench, proxy) = arbitrum(Duration::from_secs(1)).await?;
    proxy.set(Chaos::SwallowedTransactions).await?;
    let journal = Arc::new(MemoryJournal::default());
    let (handle, _task) = bench.manager(journal.clone());
    let fund = Calls::new(bench.chain.contracts).fund(U256::from(3), U256::from(4));
    let fund = fund.with_id(IntentId::new("fund/1")).with_gas(GasPolicy::Limit(25_000));
    let caller = ask(&handle, fund);
    eventually("a second form", || async {
        Ok(open(&journal, &bench).await?.first().is_some_and(|record| record.attempts.len() > 1))
    })
    .await?;
    proxy.clear();
    assert!(within("the outcome", caller).await???.status);
    let record = journal.find(bench.chain.chain_id, bench.signer.address(), &IntentId::new("fund/1")).await?;
    let record = record.context("no record")?;
    assert!(record.gas_limit > 25_000, "{}", record.gas_limit);
    for attempt in &record.attempts {
        assert_eq!(
            (attempt.max_fee_per_gas, attempt.max_priority_fee_per_gas),
            (record.attempts[0].max_fee_per_gas, 0)
        );
    }
    Ok(())
}
