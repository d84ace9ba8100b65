//! Connecting, rounds, discovery.
use alloy::primitives::{Address, U256};
use anyhow::{Context, Result};
use streamflow_bindings::ContractName;
use streamflow_chain::{ChainConfig, ChainError, RoundFollower, connect, connect_when_up, registered_transcoders};
use streamflow_testkit::{Anvil, Deployment, key};
use streamflow_types::{ChainView, Round};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::fixture::{chain, config, follow, within};

const LPT: u128 = 1_000_000_000_000_000_000;

async fn view_where(
    views: &mut watch::Receiver<Option<ChainView>>,
    what: &str,
    wanted: impl Fn(&ChainView) -> bool,
) -> Result<ChainView> {
    let found = within(what, views.wait_for(|view| view.as_ref().is_some_and(&wanted))).await??;
    found.context("no view")
}

#[tokio::test]
async fn contracts_are_found_through_the_controller() -> Result<()> {
    let deployment = Deployment::start().await?;
    let (chain, config) = chain(&deployment).await?;
    assert_eq!(chain.contracts, deployment.contracts);
    assert_eq!(chain.chain_id, 31_337);

    let wrong_chain = ChainConfig { chain_id: Some(1), ..config.clone() };
    let err = connect(&wrong_chain).await.err().context("connected to another chain")?;
    assert!(matches!(err, ChainError::WrongChain { got: 31_337, expected: 1, .. }), "{err}");

    let nowhere = ChainConfig { controller: Some(Address::repeat_byte(9)), ..config.clone() };
    assert!(matches!(connect(&nowhere).await, Err(ChainError::NoController { .. })));

    let other = ChainConfig { controller: Some(deployment.contracts.get(ContractName::TicketBroker)), ..config };
    assert!(connect(&other).await.is_err());
    Ok(())
}

#[tokio::test]
async fn absent_node_is_named_at_once_or_waited_for_until_stopped() -> Result<()> {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let url = format!("http://user:secret@127.0.0.1:{port}/secret-key");
    let config = ChainConfig { rpc_url: url.parse()?, ..ChainConfig::default() };
    let err = connect(&config).await.err().context("connected to nothing")?;
    assert!(err.is_unreachable());
    let text = err.to_string();
    assert!(text.contains(&format!("127.0.0.1:{port}")) && text.contains("chain.rpc_url"), "{text}");
    let all = format!("{err:?}") + &format!("{:#}", anyhow::Error::from(err));
    assert!(!all.contains("secret"), "{all}");

    let stop = CancellationToken::new();
    let waiting = tokio::spawn({
        let stop = stop.clone();
        async move { connect_when_up(&config, &stop).await }
    });
    stop.cancel();
    assert!(matches!(within("the end", waiting).await??, Err(ChainError::Stopped)));

    let ftp = ChainConfig { rpc_url: "ftp://localhost".parse()?, ..ChainConfig::default() };
    assert!(matches!(connect(&ftp).await, Err(ChainError::InvalidUrl { .. })));
    Ok(())
}

#[tokio::test]
async fn chain_without_contracts_is_told() -> Result<()> {
    let anvil = Anvil::spawn().await?;
    assert!(matches!(connect(&config(&anvil)).await, Err(ChainError::NoController { .. })));
    Ok(())
}

#[tokio::test]
async fn view_follows_rounds_and_pool_and_reorgs() -> Result<()> {
    let deployment = Deployment::start().await?;
    let (chain, config) = chain(&deployment).await?;
    let following = follow(&chain, &config);
    let (follower, mut views) = RoundFollower::new(&chain, &config, &following.feed);
    tokio::spawn(follower.run(following.stop.clone()));

    let fresh = view_where(&mut views, "the first view", |_| true).await?;
    assert!(!fresh.round_initialized && fresh.round == Round(0));

    let first = deployment.initialize_round().await?;
    let view = view_where(&mut views, "round 1", |view| view.round == Round(first)).await?;
    assert!(view.round_initialized && !view.round_block_hash.is_zero());
    assert_eq!(view.pool_size, 0);
    assert!(view.base_fee > 0);

    deployment.register(&key(2)?, U256::from(5 * LPT), "https://o.example:8935").await?;
    let second = deployment.next_round().await?;
    let view = view_where(&mut views, "round 2", |view| view.round == Round(second)).await?;
    assert_eq!(view.pool_size, 1);

    // The block that initialised the round leaves the chain.
    deployment.anvil.reorg(1, Vec::new()).await?;
    let view = view_where(&mut views, "round 1 again", |view| view.round == Round(first)).await?;
    assert!(!view.round_initialized, "the round has begun, but nobody initialised it");
    assert_eq!(deployment.initialize_round().await?, second);
    view_where(&mut views, "round 2 again", |view| view.round == Round(second) && view.round_initialized).await?;
    Ok(())
}

#[tokio::test]
async fn round_whose_tickets_could_not_be_redeemed_any_more_has_no_hash_to_commit_to() -> Result<()> {
    let deployment = Deployment::start().await?;
    let (chain, config) = chain(&deployment).await?;
    let following = follow(&chain, &config);
    let (follower, mut views) = RoundFollower::new(&chain, &config, &following.feed);
    tokio::spawn(follower.run(following.stop.clone()));
    let first = Round(deployment.initialize_round().await?);
    view_where(&mut views, "round 1", |view| view.round_initialized).await?;
    // Nobody initialises the next rounds, of 50 blocks each.
    deployment.anvil.mine(50).await?;
    let view = view_where(&mut views, "the next round", |view| !view.round_initialized).await?;
    assert!(view.round == first && !view.round_block_hash.is_zero(), "still valid in this round");
    deployment.anvil.mine(50).await?;
    view_where(&mut views, "the one after", |view| view.round == first && view.round_block_hash.is_zero()).await?;
    deployment.initialize_round().await?;
    view_where(&mut views, "a round again", |view| view.round > first && !view.round_block_hash.is_zero()).await?;
    Ok(())
}

#[tokio::test]
async fn registered_orchestrators_are_listed_with_address_and_stake() -> Result<()> {
    let deployment = Deployment::start().await?;
    deployment.initialize_round().await?;
    let (chain, _) = chain(&deployment).await?;
    assert_eq!(registered_transcoders(&chain, 10).await?, []);
    for index in [2, 3] {
        let stake = U256::from(index as u128 * LPT);
        deployment.register(&key(index)?, stake, &format!("https://o{index}.example:8935")).await?;
    }
    let mut listed = registered_transcoders(&chain, 10).await?;
    listed.sort_by_key(|orchestrator| orchestrator.stake);
    let first = &listed[0];
    assert_eq!(listed.len(), 2);
    assert_eq!((first.address, first.stake), (key(2)?.address(), U256::from(2 * LPT)));
    assert_eq!(first.service_uri, "https://o2.example:8935");
    assert!(matches!(registered_transcoders(&chain, 1).await, Err(ChainError::TooMany { limit: 1, .. })));
    Ok(())
}
