//! Nodes that stall, lie, lag or limit are left, named, and used again when they are in order.
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alloy::{eips::BlockId, primitives::U256, providers::Provider, rpc::types::Filter};
use anyhow::{Context, Result, bail, ensure};
use streamflow_bindings::RoundsManager;
use streamflow_chain::{
    Chain, ChainConfig, ChainError, Fault, Health, IntentId, MemoryJournal, RoundFollower, Rpc, TxError, TxJournal,
    TxManager, TxState, connect, wait_for_node,
};
use streamflow_testkit::{Anvil, Chaos, ChaosProxy, Deployment, key};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    fixture::{Following, config, eventually, follow, within},
    transactions::{STRANGER, ask, pay, sent},
};

/// Several nodes of one chain, each of which can be made to misbehave.
struct Nodes {
    deployment: Arc<Deployment>,
    proxies: Vec<ChaosProxy>,
    config: ChainConfig,
    miner: Option<JoinHandle<()>>,
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if let Some(miner) = &self.miner {
            miner.abort();
        }
    }
}

impl Nodes {
    async fn start(nodes: usize) -> Result<Self> {
        let deployment = Deployment::start().await?;
        deployment.initialize_round().await?;
        let mut proxies = Vec::new();
        for _ in 0..nodes {
            proxies.push(ChaosProxy::start(deployment.anvil.url()).await?);
        }
        let config = ChainConfig {
            rpc_url: proxies[0].url(),
            rpc_urls: proxies[1..].iter().map(ChaosProxy::url).collect(),
            controller: Some(deployment.contracts.controller),
            request_timeout: Duration::from_secs(1),
            check_interval: Duration::from_millis(200),
            ..config(&deployment.anvil)
        };
        Ok(Self { deployment: Arc::new(deployment), proxies, config, miner: None })
    }

    /// Something happens in TicketBroker in every block from now on.
    fn keep_busy(&mut self) {
        let deployment = self.deployment.clone();
        self.miner = Some(tokio::spawn(async move {
            let Ok(sender) = key(5) else { return };
            loop {
                let _ = deployment.fund_sender(&sender, U256::from(1), U256::from(1)).await;
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }));
    }

    async fn follow(&self) -> Result<(Chain, Following)> {
        let chain = connect(&self.config).await?;
        let following = follow(&chain, &self.config);
        live(&following.feed.health()).await?;
        Ok((chain, following))
    }
}

async fn live(health: &watch::Receiver<Health>) -> Result<()> {
    eventually("the chain to be live", || async { Ok(health.borrow().is_live()) }).await
}

/// What is said to be wrong.
async fn down(health: &watch::Receiver<Health>) -> Result<String> {
    eventually("the chain to be missed", || async { Ok(matches!(*health.borrow(), Health::Down(_))) }).await?;
    match &*health.borrow() {
        Health::Down(err) => Ok(err.to_string()),
        other => bail!("{other:?}"),
    }
}

/// The follower gets on by some blocks.
async fn goes_on(following: &Following) -> Result<()> {
    let head = following.feed.head();
    let start = head.borrow().context("no head")?.number;
    eventually("the head to move", || async { Ok(head.borrow().is_some_and(|head| head.number > start + 2)) }).await
}

/// Every way to misbehave that shows without a transaction of ours, and what is said of it.
fn faults() -> Vec<(Chaos, &'static str)> {
    vec![
        (Chaos::Stall, "no answer from the chain RPC"),
        (Chaos::Limited { retry_after: None }, "it limits the rate of requests"),
        (Chaos::Limited { retry_after: Some(1) }, "it limits the rate of requests"),
        (Chaos::LimitedInBody, "it limits the rate of requests"),
        (Chaos::Truncated, "no answer from the chain RPC"),
        (Chaos::FalseHeader, "does not have the hash it should have"),
        (Chaos::ForgedLogs, "are not those of the block"),
        (Chaos::DroppedLogs, "are not those of the block"),
        (Chaos::WrongChain(5), "serves chain 5 instead of 31337"),
        (Chaos::StaleHead, "s old, or the clock of this machine is wrong"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_node_is_missed_with_its_host_and_fault_and_found_again() -> Result<()> {
    let mut nodes = Nodes::start(1).await?;
    nodes.config.max_head_age = Duration::from_secs(4);
    nodes.keep_busy();
    let (_, following) = nodes.follow().await?;
    let health = following.feed.health();
    let proxy = &nodes.proxies[0];
    for (chaos, said) in faults() {
        let began = Instant::now();
        proxy.set(chaos.clone()).await?;
        let told = down(&health).await.with_context(|| format!("{chaos:?}"))?;
        ensure!(told.contains(&proxy.host()) && told.contains(said), "{chaos:?}: {told}");
        ensure!(told.contains("chain.rpc_url"), "{chaos:?}: {told}");
        ensure!(began.elapsed() < Duration::from_secs(30), "{chaos:?} was noticed late");
        proxy.clear();
        live(&health).await.with_context(|| format!("{chaos:?}"))?;
        goes_on(&following).await.with_context(|| format!("{chaos:?}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_settings_of_production_a_stalled_node_is_missed_within_half_a_minute() -> Result<()> {
    let nodes = Nodes::start(1).await?;
    let defaults = ChainConfig::default();
    let config = ChainConfig {
        request_timeout: defaults.request_timeout,
        check_interval: defaults.check_interval,
        poll_interval: defaults.poll_interval,
        max_backoff: defaults.max_backoff,
        ..nodes.config.clone()
    };
    let chain = connect(&config).await?;
    let following = follow(&chain, &config);
    let health = following.feed.health();
    live(&health).await?;
    let began = Instant::now();
    nodes.proxies[0].set(Chaos::Stall).await?;
    let told = down(&health).await?;
    assert!(told.contains(&nodes.proxies[0].host()) && began.elapsed() < Duration::from_secs(30), "{told}");
    nodes.proxies[0].clear();
    live(&health).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_leads_while_one_misbehaves() -> Result<()> {
    let mut nodes = Nodes::start(2).await?;
    nodes.config.max_head_age = Duration::from_secs(60);
    nodes.keep_busy();
    let (chain, following) = nodes.follow().await?;
    for (chaos, _) in faults() {
        let leader = chain.rpc.host().to_owned();
        let proxy = nodes.proxies.iter().find(|proxy| proxy.host() == leader).context("no such host")?;
        proxy.set(chaos.clone()).await?;
        let moved = || async { Ok(chain.rpc.host() != leader) };
        eventually("the other node to lead", moved).await.with_context(|| format!("{chaos:?}"))?;
        goes_on(&following).await.with_context(|| format!("{chaos:?}"))?;
        live(&following.feed.health()).await?;
        proxy.clear();
        // Both are needed to agree: the one that was left is used again.
        let view = || chain.rpc.agreed();
        let rounds = chain.contracts.rounds_manager;
        let head = chain.rpc.head().await?;
        let agree = || async {
            let call = RoundsManager::currentRoundCall {};
            Ok(view().view(rounds, call, BlockId::from(head.hash)).await.is_ok())
        };
        eventually("both nodes to be used", agree).await.with_context(|| format!("{chaos:?}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_settled_for_ever_takes_more_than_one_word() -> Result<()> {
    let nodes = Nodes::start(3).await?;
    let chain = connect(&nodes.config).await?;
    let (rounds, at) = (chain.contracts.rounds_manager, BlockId::from(chain.rpc.head().await?.hash));
    let round = |rpc: Rpc| async move { rpc.view(rounds, RoundsManager::currentRoundCall {}, at).await };
    let right = round(chain.rpc.agreed()).await?;
    assert!(!right.is_zero());

    nodes.proxies[0].set(Chaos::FalseState).await?;
    assert!(round(chain.rpc.clone()).await?.is_zero(), "the one that leads is believed in what can be taken back");
    assert_eq!(round(chain.rpc.agreed()).await?, right, "two of three outvote it");

    nodes.proxies[1].set(Chaos::Stall).await?;
    match round(chain.rpc.agreed()).await {
        Err(ChainError::Disagree { needed: 2, .. }) => {}
        // Whether the liar was heard before the others had agreed is a matter of luck.
        Err(err) if err.is_unreachable() => {}
        other => bail!("{other:?}"),
    }
    Ok(())
}

#[tokio::test]
async fn two_nodes_that_contradict_each_other_settle_nothing() -> Result<()> {
    let nodes = Nodes::start(2).await?;
    let chain = connect(&nodes.config).await?;
    let (rounds, at) = (chain.contracts.rounds_manager, BlockId::from(chain.rpc.head().await?.hash));
    nodes.proxies[1].set(Chaos::FalseState).await?;
    let call = RoundsManager::currentRoundCall {};
    let told = chain.rpc.agreed().view(rounds, call, at).await;
    assert!(matches!(told, Err(ChainError::Disagree { agreed: 1, needed: 2, .. })), "{told:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pain_09_a_stuck_node_is_left_for_one_that_gets_on() -> Result<()> {
    let mut nodes = Nodes::start(2).await?;
    nodes.keep_busy();
    let (chain, following) = nodes.follow().await?;
    nodes.proxies[0].set(Chaos::StaleHead).await?;
    goes_on(&following).await?;
    assert_eq!(chain.rpc.host(), nodes.proxies[1].host());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pain_09_a_view_of_a_chain_that_stands_still_is_taken_back() -> Result<()> {
    let mut nodes = Nodes::start(1).await?;
    nodes.config.max_head_age = Duration::from_secs(3);
    nodes.deployment.anvil.mine(1).await?;
    let (chain, following) = nodes.follow().await?;
    let (rounds, mut views) = RoundFollower::new(&chain, &nodes.config, &following.feed);
    tokio::spawn(rounds.run(following.stop.clone()));
    within("the view", views.wait_for(Option::is_some)).await??;
    within("the view to be taken back", views.wait_for(Option::is_none)).await??;
    let told = down(&following.feed.health()).await?;
    assert!(told.contains("s old"), "{told}");
    nodes.deployment.anvil.mine(1).await?;
    within("the view", views.wait_for(Option::is_some)).await??;
    Ok(())
}

#[tokio::test]
async fn pain_09_header_not_found_is_asked_of_the_other_node() -> Result<()> {
    let (first, second) = (Anvil::spawn().await?, Anvil::spawn().await?);
    second.mine(3).await?;
    let config = ChainConfig { rpc_urls: vec![second.url()], ..config(&first) };
    let rpc = Rpc::new(&config)?;
    let block = second.provider().get_block_by_number(3.into()).await?.context("no block")?;
    assert_eq!(rpc.header(block.header.hash).await?.number, 3);
    let balance = rpc.balance(key(0)?.address(), BlockId::from(block.header.hash)).await?;
    assert!(!balance.is_zero());
    assert_eq!(rpc.host(), format!("127.0.0.1:{}", first.port()), "not to have a block is no fault");
    Ok(())
}

#[tokio::test]
async fn pain_09_a_follower_of_a_quiet_chain_asks_once_for_each_look() -> Result<()> {
    let nodes = Nodes::start(1).await?;
    let config = ChainConfig { check_interval: Duration::from_secs(60), ..nodes.config.clone() };
    let chain = connect(&config).await?;
    let following = follow(&chain, &config);
    live(&following.feed.health()).await?;
    let before = nodes.proxies[0].requests();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let asked = nodes.proxies[0].requests() - before;
    assert!((10..=52).contains(&asked), "{asked} requests in two seconds of looks 40 ms apart");
    Ok(())
}

#[tokio::test]
async fn pain_09_logs_of_a_range_are_told_as_the_node_has_them() -> Result<()> {
    let nodes = Nodes::start(2).await?;
    let chain = connect(&nodes.config).await?;
    nodes.deployment.fund_sender(&key(5)?, U256::from(1), U256::from(2)).await?;
    let head = chain.rpc.head().await?;
    let broker = vec![chain.contracts.ticket_broker];
    let range = Filter::new().address(broker.clone()).from_block(head.number).to_block(head.number);
    let block = Filter::new().address(broker).at_block_hash(head.hash);
    let told = chain.rpc.logs(&block).await?;
    assert_eq!(told.len(), 2);
    assert_eq!((chain.rpc.logs(&range).await?, chain.rpc.agreed().logs(&block).await?), (told.clone(), told));
    Ok(())
}

/// A manager over the nodes.
fn manager(
    nodes: &Nodes,
    chain: &Chain,
    following: &Following,
    journal: Arc<MemoryJournal>,
) -> Result<streamflow_chain::TxHandle> {
    let (manager, handle) = TxManager::new(chain, &nodes.config, key(3)?, journal, &following.feed);
    tokio::spawn(manager.run(following.stop.clone()));
    Ok(handle)
}

async fn received(nodes: &Nodes) -> Result<U256> {
    Ok(nodes.deployment.anvil.provider().get_balance(STRANGER).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_that_the_only_node_withholds_is_waited_for() -> Result<()> {
    let nodes = Nodes::start(1).await?;
    let (chain, following) = nodes.follow().await?;
    let journal = Arc::new(MemoryJournal::default());
    let handle = manager(&nodes, &chain, &following, journal.clone())?;
    let proxy = &nodes.proxies[0];
    for (round, (chaos, said)) in
        [(Chaos::DroppedReceipts, "has no receipt"), (Chaos::FailedReceipts, "is not that of the block")]
            .into_iter()
            .enumerate()
    {
        proxy.set(chaos).await?;
        let id = format!("pay/{round}");
        let caller = ask(&handle, pay(&id, 5));
        let anvil = &nodes.deployment.anvil;
        let miss = async {
            while !matches!(*following.feed.health().borrow(), Health::Down(_)) {
                anvil.mine(1).await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            anyhow::Ok(())
        };
        within("the receipt to be missed", miss).await??;
        let told = down(&following.feed.health()).await?;
        assert!(told.contains(&proxy.host()) && told.contains(said), "{told}");
        let record = journal.find(chain.chain_id, key(3)?.address(), &IntentId::new(id)).await?;
        assert_eq!(record.context("no record")?.state, TxState::Open, "it was mined: nothing may take its place");
        proxy.clear();
        live(&following.feed.health()).await?;
        anvil.mine(1).await?;
        within("the outcome", caller).await???;
    }
    assert_eq!(received(&nodes).await?, U256::from(10), "each was paid once");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_that_one_node_withholds_or_forges_is_had_from_another() -> Result<()> {
    let nodes = Nodes::start(2).await?;
    let (chain, following) = nodes.follow().await?;
    let handle = manager(&nodes, &chain, &following, Arc::default())?;
    for (round, chaos) in [Chaos::DroppedReceipts, Chaos::FailedReceipts].into_iter().enumerate() {
        nodes.proxies[0].set(chaos).await?;
        sent(&handle, pay(&format!("pay/{round}"), 5)).await??;
    }
    assert_eq!(received(&nodes).await?, U256::from(10));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pain_10_a_transaction_that_one_node_swallows_reaches_the_chain_through_another() -> Result<()> {
    let nodes = Nodes::start(2).await?;
    let (chain, following) = nodes.follow().await?;
    let handle = manager(&nodes, &chain, &following, Arc::default())?;
    nodes.proxies[0].set(Chaos::SwallowedTransactions).await?;
    sent(&handle, pay("pay/1", 5)).await??;
    assert_eq!(received(&nodes).await?, U256::from(5));
    let (swallowed, passed_on) = (nodes.proxies[0].transactions(), nodes.proxies[1].transactions());
    assert_eq!(swallowed, passed_on, "the very same bytes");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_on_the_word_of_nodes_that_were_caught() -> Result<()> {
    let nodes = Nodes::start(1).await?;
    let (chain, following) = nodes.follow().await?;
    let handle = manager(&nodes, &chain, &following, Arc::default())?;
    nodes.proxies[0].set(Chaos::WrongChain(5)).await?;
    down(&following.feed.health()).await?;
    let told = sent(&handle, pay("pay/1", 5)).await?;
    let Err(TxError::Chain { source, .. }) = told else { bail!("{told:?}") };
    assert!(matches!(&*source, ChainError::Left { fault: Fault::WrongChain { got: 5, .. }, .. }), "{source:?}");
    assert!(nodes.proxies[0].transactions().is_empty());
    nodes.proxies[0].clear();
    live(&following.feed.health()).await?;
    sent(&handle, pay("pay/1", 5)).await??;
    Ok(())
}

#[tokio::test]
async fn a_node_of_another_chain_in_the_list_is_left_from_the_start() -> Result<()> {
    let nodes = Nodes::start(2).await?;
    nodes.proxies[0].set(Chaos::WrongChain(5)).await?;
    let config = ChainConfig { chain_id: Some(31_337), ..nodes.config.clone() };
    let chain = connect(&config).await?;
    assert_eq!(chain.rpc.host(), nodes.proxies[1].host());
    nodes.proxies[1].set(Chaos::WrongChain(5)).await?;
    assert!(matches!(connect(&config).await, Err(ChainError::WrongChain { got: 5, expected: 31_337, .. })));
    Ok(())
}

#[tokio::test]
async fn a_node_that_limits_at_the_start_is_waited_for() -> Result<()> {
    let nodes = Nodes::start(1).await?;
    nodes.proxies[0].set(Chaos::Limited { retry_after: None }).await?;
    let config = nodes.config.clone();
    let waiting = tokio::spawn(async move {
        wait_for_node(&config, &CancellationToken::new(), || connect(&config)).await.map(|chain| chain.chain_id)
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!waiting.is_finished());
    nodes.proxies[0].clear();
    assert_eq!(within("the chain", waiting).await???, 31_337);
    Ok(())
}

#[tokio::test]
async fn no_url_reaches_an_error() -> Result<()> {
    let nodes = Nodes::start(2).await?;
    let secret = |proxy: &ChaosProxy| format!("http://user:secret@{}/v2/secret-key", proxy.host()).parse();
    let config = ChainConfig {
        rpc_url: secret(&nodes.proxies[0])?,
        rpc_urls: vec![secret(&nodes.proxies[1])?],
        ..nodes.config.clone()
    };
    let chain = connect(&config).await?;
    for (chaos, _) in faults() {
        for proxy in &nodes.proxies {
            proxy.set(chaos.clone()).await?;
        }
        let rpc = Rpc::new(&config)?;
        let head = chain.rpc.head().await.err().map(|err| format!("{err:?} {err}")).unwrap_or_default();
        let agreed = rpc.agreed().balance(STRANGER, BlockId::latest()).await;
        let agreed = agreed.err().map(|err| format!("{:?}", anyhow::Error::from(err))).unwrap_or_default();
        assert!(!format!("{head} {agreed} {rpc:?}").contains("secret"), "{chaos:?}: {head} {agreed}");
    }
    Ok(())
}
