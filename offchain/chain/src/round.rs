//! What roles must know of the chain, kept up to date.
use std::time::Duration;

use alloy::{
    eips::BlockId,
    primitives::{B256, U256},
    rpc::types::Log,
    sol_types::SolEvent,
};
use streamflow_bindings::{AddressBook, BondingManager, RoundsManager, TicketBroker};
use streamflow_types::{ChainView, Round};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    BlockEvent, BlockFeed, BlockHeader, BlockStream, Chain, ChainConfig, ChainError, Rpc, clock::since_1970,
    number::to_u64, profile::Profile,
};

/// Facts that only events change.
#[derive(Clone, Copy, Debug)]
struct RoundFacts {
    round: Round,
    block_hash: B256,
    pool_size: u64,
}

/// Keeps a [`ChainView`]. Every part of one view is read at the same block. While the newest block is too old
/// (`chain.max_head_age`) there is none: a node that stands still must not pass for the chain.
#[derive(Debug)]
pub struct RoundFollower {
    rpc: Rpc,
    contracts: AddressBook,
    events: BlockStream,
    retry_pause: Duration,
    /// Age from which the newest block, and with it the view, is of no use.
    max_age: Option<Duration>,
    head: Option<BlockHeader>,
    facts: Option<RoundFacts>,
    view: watch::Sender<Option<ChainView>>,
}

impl RoundFollower {
    /// The receiver holds `None` until the first view was read, and while the newest block is too old.
    pub fn new(chain: &Chain, config: &ChainConfig, feed: &BlockFeed) -> (Self, watch::Receiver<Option<ChainView>>) {
        let (view, receiver) = watch::channel(None);
        let follower = Self {
            rpc: chain.rpc.clone(),
            contracts: chain.contracts,
            events: feed.subscribe(),
            retry_pause: config.poll_interval,
            max_age: Profile::new(config.profile, chain.chain_id).max_head_age(config),
            head: None,
            facts: None,
            view,
        };
        (follower, receiver)
    }

    /// Follows until `stop`, or until the block follower ends.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut due = false;
        loop {
            let fresh_for = self.fresh_for();
            tokio::select! { biased;
                () = stop.cancelled() => return,
                event = self.events.next() => match event {
                    Some(BlockEvent::Head(head)) => {
                        self.head = Some(head);
                        due = !self.refresh(&stop).await;
                    }
                    Some(event) => self.apply(&event),
                    None => return,
                },
                () = tokio::time::sleep(self.retry_pause), if due => due = !self.refresh(&stop).await,
                () = tokio::time::sleep(fresh_for.unwrap_or_default()), if fresh_for.is_some() => self.withdraw(),
            }
        }
    }

    /// Time for which the view that is published may stay; `None` if there is none, or if its age does not matter.
    fn fresh_for(&self) -> Option<Duration> {
        self.view.borrow().as_ref()?;
        self.left(&self.head?)
    }

    /// Time until the block is too old; `None` if its age does not matter.
    fn left(&self, head: &BlockHeader) -> Option<Duration> {
        let until = Duration::from_secs(head.timestamp).saturating_add(self.max_age?);
        Some(until.saturating_sub(since_1970()))
    }

    fn withdraw(&self) {
        tracing::warn!(
            block = self.head.map(|head| head.number),
            "the newest block is too old, nothing is taken from it"
        );
        self.view.send_replace(None);
    }

    fn apply(&mut self, event: &BlockEvent) {
        let stale = match event {
            BlockEvent::HistoryLost => true,
            BlockEvent::Head(_) => false,
            BlockEvent::Added { logs, .. } | BlockEvent::Removed { logs, .. } => {
                logs.iter().any(|log| changes_round_or_pool(&self.contracts, log))
            }
        };
        if stale {
            self.facts = None;
        }
    }

    /// Publishes the view at the head; false if it could not be read.
    async fn refresh(&mut self, stop: &CancellationToken) -> bool {
        let Some(head) = self.head.filter(|head| self.left(head) != Some(Duration::ZERO)) else { return true };
        let read = tokio::select! { biased;
            () = stop.cancelled() => return true,
            read = self.read(&head) => read,
        };
        match read {
            Ok(view) => {
                self.view.send_if_modified(|current| current.replace(view) != Some(view));
                true
            }
            Err(err) => {
                tracing::debug!(%err, block = head.number, "cannot read the round, trying again");
                false
            }
        }
    }

    async fn read(&mut self, head: &BlockHeader) -> Result<ChainView, ChainError> {
        let at = BlockId::from(head.hash);
        let rounds = self.contracts.rounds_manager;
        let initialized = self.rpc.view(rounds, RoundsManager::currentRoundInitializedCall {}, at).await?;
        let facts = match self.facts {
            Some(facts) => facts,
            None => self.read_facts(at).await?,
        };
        self.facts = Some(facts);
        let usable = initialized || self.is_redeemable(facts.round, at).await?;
        Ok(ChainView {
            block: head.contract_number,
            round: facts.round,
            round_block_hash: if usable { facts.block_hash } else { B256::ZERO },
            round_initialized: initialized,
            pool_size: facts.pool_size,
            base_fee: head.base_fee,
        })
    }

    /// Whether a ticket of this round can still be redeemed. If nobody initialises rounds for long, tickets of the last one
    /// that was would be worthless from the start: it is shown without a hash then, as a round to commit nothing to.
    async fn is_redeemable(&self, round: Round, at: BlockId) -> Result<bool, ChainError> {
        let (rounds, broker) = (self.contracts.rounds_manager, self.contracts.ticket_broker);
        let (current, validity) = tokio::try_join!(
            self.rpc.view(rounds, RoundsManager::currentRoundCall {}, at),
            self.rpc.view(broker, TicketBroker::ticketValidityPeriodCall {}, at),
        )?;
        Ok(U256::from(round.0).saturating_add(validity) > current)
    }

    async fn read_facts(&self, at: BlockId) -> Result<RoundFacts, ChainError> {
        let rounds = self.contracts.rounds_manager;
        let round = self.rpc.view(rounds, RoundsManager::lastInitializedRoundCall {}, at).await?;
        let (block_hash, pool_size) = tokio::try_join!(
            self.rpc.view(rounds, RoundsManager::blockHashForRoundCall { round }, at),
            pool_size(&self.rpc, &self.contracts, at),
        )?;
        Ok(RoundFacts { round: Round(to_u64(round, "the round")?), block_hash, pool_size })
    }
}

/// Orchestrators who share a reserve. Deployments without the figure fixed per round are asked for the live one
/// (contracts.md §2.6).
pub(crate) async fn pool_size(rpc: &Rpc, contracts: &AddressBook, at: BlockId) -> Result<u64, ChainError> {
    let pool = contracts.bonding_manager;
    let size = match rpc.view(pool, BondingManager::currentRoundPoolSizeCall {}, at).await {
        Err(ChainError::Reverted { .. }) => rpc.view(pool, BondingManager::getTranscoderPoolSizeCall {}, at).await?,
        size => size?,
    };
    to_u64(size, "the pool size")
}

/// Whether the log can change the last initialised round or the number of active orchestrators.
pub(crate) fn changes_round_or_pool(contracts: &AddressBook, log: &Log) -> bool {
    let topic = log.topic0();
    let emitted = |address, event| log.address() == address && topic == Some(&event);
    emitted(contracts.rounds_manager, RoundsManager::NewRound::SIGNATURE_HASH)
        || emitted(contracts.bonding_manager, BondingManager::TranscoderActivated::SIGNATURE_HASH)
        || emitted(contracts.bonding_manager, BondingManager::TranscoderDeactivated::SIGNATURE_HASH)
}
