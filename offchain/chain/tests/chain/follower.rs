//! Every shape of reorganisation, and a node that goes away.
use alloy::{primitives::U256, providers::Provider};
use anyhow::{Context, Result, ensure};
use streamflow_chain::{BlockEvent, BlockHeader, BlockStream, ChainConfig, Health};
use streamflow_testkit::{Anvil, AnvilOptions, Deployment, key};

use crate::fixture::{chain, config, eventually, follow, follow_blocks, within};

/// A consumer that keeps what the events leave.
struct Mirror {
    events: BlockStream,
    blocks: Vec<BlockHeader>,
    told: String,
}

impl Mirror {
    fn new(events: BlockStream) -> Self {
        Self { events, blocks: Vec::new(), told: String::new() }
    }

    async fn step(&mut self) -> Result<()> {
        match within("an event", self.events.next()).await?.context("the follower ended")? {
            BlockEvent::HistoryLost => {
                self.told.push('!');
                self.blocks.clear();
            }
            BlockEvent::Added { block, .. } => {
                self.told.push('+');
                let fits = self.blocks.last().is_none_or(|last| last.hash == block.parent_hash);
                ensure!(fits, "block {} has no parent here", block.number);
                self.blocks.push(block);
            }
            BlockEvent::Removed { block, .. } => {
                self.told.push('-');
                let last = self.blocks.pop().context("removed a block that was never added")?;
                ensure!(last.hash == block.hash, "removed {} in place of {}", block.number, last.number);
            }
            BlockEvent::Head(head) => ensure!(self.blocks.last() == Some(&head), "the head is not the last block"),
        }
        Ok(())
    }

    /// Follows until the tip is anvil's, then compares every block.
    async fn catch_up(&mut self, anvil: &Anvil) -> Result<()> {
        loop {
            let head = anvil.provider().get_block(alloy::eips::BlockId::latest()).await?.context("no head")?;
            if self.blocks.last().is_some_and(|last| last.hash == head.header.hash) {
                break;
            }
            self.step().await?;
        }
        for block in &self.blocks {
            let at = anvil.provider().get_block_by_number(block.number.into()).await?.context("no such block")?;
            ensure!(at.header.hash == block.hash, "block {} is not in the chain", block.number);
        }
        Ok(())
    }

    fn take_told(&mut self) -> String {
        std::mem::take(&mut self.told)
    }
}

async fn started(history: usize) -> Result<(Anvil, crate::fixture::Following, Mirror)> {
    let anvil = Anvil::spawn().await?;
    let following = follow_blocks(&ChainConfig { history, ..config(&anvil) })?;
    let mut mirror = Mirror::new(following.feed.subscribe());
    mirror.catch_up(&anvil).await?;
    for _ in 0..6 {
        anvil.mine(1).await?;
    }
    mirror.catch_up(&anvil).await?;
    mirror.take_told();
    Ok((anvil, following, mirror))
}

#[tokio::test]
async fn forward_gap_is_told_block_by_block() -> Result<()> {
    let (anvil, _following, mut mirror) = started(64).await?;
    anvil.mine(7).await?;
    mirror.catch_up(&anvil).await?;
    assert_eq!(mirror.take_told(), "+++++++");
    Ok(())
}

#[tokio::test]
async fn sideways_reorg_removes_then_adds() -> Result<()> {
    let (anvil, _following, mut mirror) = started(64).await?;
    anvil.reorg(3, Vec::new()).await?;
    mirror.catch_up(&anvil).await?;
    assert_eq!(mirror.take_told(), "---+++");
    Ok(())
}

#[tokio::test]
async fn backward_head_only_removes() -> Result<()> {
    let (anvil, _following, mut mirror) = started(64).await?;
    let snapshot = anvil.snapshot().await?;
    for _ in 0..4 {
        anvil.mine(1).await?;
    }
    mirror.catch_up(&anvil).await?;
    assert_eq!(mirror.take_told(), "++++");
    anvil.revert(snapshot).await?;
    mirror.catch_up(&anvil).await?;
    assert_eq!(mirror.take_told(), "----");
    anvil.mine(2).await?;
    mirror.catch_up(&anvil).await
}

#[tokio::test]
async fn reorg_deeper_than_history_is_told() -> Result<()> {
    let (anvil, _following, mut mirror) = started(3).await?;
    anvil.reorg(5, Vec::new()).await?;
    mirror.catch_up(&anvil).await?;
    assert_eq!(mirror.take_told(), "!+");
    Ok(())
}

#[tokio::test]
async fn late_subscriber_starts_from_the_head() -> Result<()> {
    let (anvil, following, _mirror) = started(64).await?;
    let mut events = following.feed.subscribe();
    assert!(matches!(events.next().await, Some(BlockEvent::HistoryLost)));
    let head = anvil.block_number().await?;
    assert!(matches!(events.next().await, Some(BlockEvent::Head(block)) if block.number == head));
    Ok(())
}

#[tokio::test]
async fn logs_of_a_removed_block_are_told_again() -> Result<()> {
    let deployment = Deployment::start().await?;
    deployment.initialize_round().await?;
    let (chain, config) = chain(&deployment).await?;
    let following = follow(&chain, &config);
    let mut events = following.feed.subscribe();
    within("the head", async { while !matches!(events.next().await, Some(BlockEvent::Head(_))) {} }).await?;

    deployment.fund_sender(&key(1)?, U256::from(5), U256::from(7)).await?;
    let added = within("the funding", async {
        loop {
            match events.next().await {
                Some(BlockEvent::Added { logs, .. }) if !logs.is_empty() => return logs,
                Some(_) => {}
                None => return Vec::new().into(),
            }
        }
    })
    .await?;
    let indexes: Vec<_> = added.iter().map(|log| log.log_index).collect();
    assert_eq!(indexes, [Some(0), Some(1)], "reserve, then deposit");

    deployment.anvil.reorg(1, Vec::new()).await?;
    let removed = within("the removal", events.next()).await?;
    let same = async {
        match removed {
            Some(BlockEvent::Removed { logs, .. }) => logs == added,
            Some(BlockEvent::Head(_)) => {
                matches!(events.next().await, Some(BlockEvent::Removed { logs, .. }) if logs == added)
            }
            _ => false,
        }
    };
    assert!(within("the removed logs", same).await?);
    Ok(())
}

#[tokio::test]
async fn node_away_at_start_and_in_mid_run_is_waited_for() -> Result<()> {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let options = AnvilOptions { port: Some(port), ..AnvilOptions::default() };
    let config = ChainConfig {
        rpc_url: format!("http://127.0.0.1:{port}").parse()?,
        poll_interval: std::time::Duration::from_millis(40),
        max_backoff: std::time::Duration::from_millis(200),
        ..ChainConfig::default()
    };
    let following = follow_blocks(&config)?;
    let health = following.feed.health();
    let down = || async { Ok(matches!(*health.borrow(), Health::Down(_))) };
    let live = || async { Ok(health.borrow().is_live()) };

    eventually("the node to be missed at start", down).await?;
    let text = match &*health.borrow() {
        Health::Down(err) => err.to_string(),
        other => format!("{other:?}"),
    };
    assert!(text.contains(&format!("127.0.0.1:{port}")) && text.contains("chain.rpc_url"), "{text}");

    let mut mirror = Mirror::new(following.feed.subscribe());
    let anvil = Anvil::spawn_with(options.clone()).await?;
    anvil.mine(3).await?;
    eventually("the node to be found", live).await?;
    mirror.catch_up(&anvil).await?;

    drop(anvil);
    eventually("the node to be missed in mid-run", down).await?;
    mirror.take_told();
    let anvil = Anvil::spawn_with(AnvilOptions { args: vec!["--timestamp".into(), "1000".into()], ..options }).await?;
    anvil.mine(5).await?;
    eventually("the node to be found again", live).await?;
    mirror.catch_up(&anvil).await?;
    assert!(mirror.take_told().starts_with('!'), "another chain cannot be joined to the old one");
    Ok(())
}
