//! Follows the head of the chain by polling and tells what was added and removed, in order.
use std::{sync::Arc, time::Duration};

use alloy::{
    primitives::{Address, B256},
    rpc::types::Filter,
};
use futures::{StreamExt, TryStreamExt, stream};
use streamflow_bindings::{AddressBook, ContractName};
use tokio::sync::{
    broadcast::{self, error::RecvError},
    watch,
};
use tokio_util::sync::CancellationToken;

use crate::{
    BlockEvent, BlockHeader, Chain, ChainConfig, ChainError, Rpc,
    history::{Block, History, Join},
    metrics,
    retry::Backoff,
};

/// Blocks whose logs are asked for at the same time.
const LOG_REQUESTS: usize = 8;

/// Whether the node answers.
#[derive(Clone, Debug, Default)]
pub enum Health {
    /// Not asked yet.
    #[default]
    Starting,
    /// The last look at the head succeeded.
    Live,
    /// The last look failed; what was published before is stale, and the follower keeps trying.
    Down(Arc<ChainError>),
}

impl Health {
    /// Whether the last look at the head succeeded.
    pub const fn is_live(&self) -> bool {
        matches!(self, Self::Live)
    }
}

/// What the follower publishes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BlockFeed {
    events: Arc<broadcast::Receiver<BlockEvent>>,
    head: watch::Receiver<Option<BlockHeader>>,
    health: watch::Receiver<Health>,
}

impl BlockFeed {
    /// Events from now on. If a head is known, the stream starts with [`BlockEvent::HistoryLost`] and that head; events
    /// that led to it may follow once more.
    pub fn subscribe(&self) -> BlockStream {
        let events = self.events.resubscribe();
        let first = match *self.head.borrow() {
            Some(head) => vec![BlockEvent::Head(head), BlockEvent::HistoryLost],
            None => Vec::new(),
        };
        BlockStream { first, events }
    }

    /// The newest block.
    pub fn head(&self) -> watch::Receiver<Option<BlockHeader>> {
        self.head.clone()
    }

    /// Whether the node answers; for readiness.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }
}

/// Events for one consumer.
#[derive(Debug)]
pub struct BlockStream {
    /// Told before anything else, last first.
    first: Vec<BlockEvent>,
    events: broadcast::Receiver<BlockEvent>,
}

impl BlockStream {
    /// The next event; `None` when the follower has ended. A consumer that was too slow gets
    /// [`BlockEvent::HistoryLost`] in place of what it missed. Safe to cancel.
    pub async fn next(&mut self) -> Option<BlockEvent> {
        if let Some(event) = self.first.pop() {
            return Some(event);
        }
        match self.events.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(_)) => Some(BlockEvent::HistoryLost),
            Err(RecvError::Closed) => None,
        }
    }
}

/// Owner of the history. Run it in a task of its own.
#[derive(Debug)]
pub struct BlockFollower {
    rpc: Rpc,
    followed: Vec<Address>,
    poll_interval: Duration,
    max_backoff: Duration,
    check_interval: Duration,
    history: History,
    /// A lower head seen once: a node behind a balancer that lags looks like a chain that went backward.
    lower_head: Option<B256>,
    events: broadcast::Sender<BlockEvent>,
    head: watch::Sender<Option<BlockHeader>>,
    health: watch::Sender<Health>,
}

impl BlockFollower {
    /// Follows the logs of every contract of the deployment.
    pub fn new(chain: &Chain, config: &ChainConfig) -> (Self, BlockFeed) {
        Self::with_addresses(chain.rpc.clone(), followed(&chain.contracts), config)
    }

    /// Follows the logs of `addresses`.
    pub fn with_addresses(rpc: Rpc, addresses: Vec<Address>, config: &ChainConfig) -> (Self, BlockFeed) {
        // Room for a reorganisation of the whole history before a consumer counts as too slow.
        let (events, receiver) = broadcast::channel(config.history.saturating_mul(2).clamp(16, 1 << 16));
        let (head, head_receiver) = watch::channel(None);
        let (health, health_receiver) = watch::channel(Health::Starting);
        let feed = BlockFeed { events: Arc::new(receiver), head: head_receiver, health: health_receiver };
        let follower = Self {
            rpc,
            followed: addresses,
            poll_interval: config.poll_interval,
            max_backoff: config.max_backoff,
            check_interval: config.check_interval,
            history: History::new(config.history),
            lower_head: None,
            events,
            head,
            health,
        };
        (follower, feed)
    }

    /// Polls until `stop`, and looks at every endpoint from time to time. A node that does not answer is asked again with
    /// growing pauses, for ever.
    pub async fn run(self, stop: CancellationToken) {
        let (rpc, interval) = (self.rpc.clone(), self.check_interval);
        let survey = async {
            loop {
                tokio::time::sleep(interval).await;
                rpc.survey().await;
            }
        };
        tokio::select! { biased;
            () = self.follow(stop) => {}
            () = survey => {}
        }
    }

    async fn follow(mut self, stop: CancellationToken) {
        let mut backoff = Backoff::new(self.poll_interval, self.max_backoff);
        loop {
            let outcome = tokio::select! { biased;
                () = stop.cancelled() => return,
                outcome = self.poll() => outcome,
            };
            let pause = match outcome {
                Ok(()) => {
                    backoff.reset();
                    self.set_live();
                    self.poll_interval
                }
                Err(err @ ChainError::UnknownBlock { .. }) => {
                    tracing::debug!(%err, "the chain changed while it was read");
                    self.poll_interval
                }
                Err(err) => {
                    self.set_down(err);
                    backoff.next_pause()
                }
            };
            tokio::select! { biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Looks at the head once and publishes what changed. Nothing changes here before the last answer is in.
    async fn poll(&mut self) -> Result<(), ChainError> {
        let head = self.rpc.head().await?;
        let mut branch = vec![head];
        let events = loop {
            match self.history.join(&branch) {
                Join::Unchanged => break Vec::new(),
                Join::Backward if self.lower_head != Some(head.hash) => {
                    self.lower_head = Some(head.hash);
                    return Ok(());
                }
                Join::Backward => break self.history.advance(head.hash, Vec::new()),
                Join::Lost => {
                    let head = self.load(head).await?;
                    break self.history.restart(head);
                }
                Join::NeedsParent(hash) => branch.push(self.rpc.header(hash).await?),
                Join::Joined => {
                    let ancestor = branch.last().map_or(head.parent_hash, |root| root.parent_hash);
                    let blocks = self.load_branch(branch).await?;
                    break self.history.advance(ancestor, blocks);
                }
            }
        };
        self.lower_head = None;
        self.publish(head, events);
        Ok(())
    }

    /// Blocks of `branch`, oldest first.
    async fn load_branch(&self, branch: Vec<BlockHeader>) -> Result<Vec<Block>, ChainError> {
        stream::iter(branch.into_iter().rev())
            .map(|header| self.load(header))
            .buffered(LOG_REQUESTS)
            .try_collect()
            .await
    }

    /// Logs are asked for by block hash: an answer from another branch is impossible.
    async fn load(&self, header: BlockHeader) -> Result<Block, ChainError> {
        let filter = Filter::new().at_block_hash(header.hash).address(self.followed.clone());
        Ok(Block { header, logs: self.rpc.logs(&filter).await?.into() })
    }

    fn publish(&self, head: BlockHeader, events: Vec<BlockEvent>) {
        if events.is_empty() {
            return;
        }
        let removed = events.iter().filter(|event| matches!(event, BlockEvent::Removed { .. })).count();
        if removed > 0 {
            tracing::info!(removed, head = head.number, "chain reorganised");
            metrics::reorganised(removed);
        }
        for event in events.into_iter().chain([BlockEvent::Head(head)]) {
            // The feed may have been dropped: nobody listens then.
            let _ = self.events.send(event);
        }
        metrics::head(head.number);
        self.head.send_replace(Some(head));
    }

    fn set_live(&self) {
        let mut was_down = false;
        self.health.send_if_modified(|health| {
            was_down = matches!(health, Health::Down(_));
            let changed = !health.is_live();
            *health = Health::Live;
            changed
        });
        if was_down {
            tracing::info!(host = self.rpc.host(), "the chain RPC answers again");
        }
    }

    fn set_down(&self, err: ChainError) {
        metrics::rpc_failed();
        if matches!(*self.health.borrow(), Health::Down(_)) {
            tracing::debug!(%err, "the chain RPC still fails");
        } else {
            tracing::warn!(%err, "lost the chain RPC, trying on");
        }
        self.health.send_replace(Health::Down(Arc::new(err)));
    }
}

fn followed(contracts: &AddressBook) -> Vec<Address> {
    use ContractName::{BondingManager, RoundsManager, ServiceRegistry, TicketBroker};
    [BondingManager, RoundsManager, ServiceRegistry, TicketBroker].map(|name| contracts.get(name)).to_vec()
}
