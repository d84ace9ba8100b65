//! The chain, as roles get it: connected however long that takes, followed, and visible in `/readyz`.
use std::time::Duration;

use alloy::{
    eips::BlockId,
    primitives::{Address, B256, keccak256},
};
use streamflow_bindings::{BondingManager, Controller, TicketBroker};
use streamflow_chain::{
    BlockFeed, BlockFollower, BlockHeader, Chain, ChainError, Health, RoundFollower, SenderMonitor,
};
use streamflow_pm::ReceiptDomain;
use streamflow_types::{ChainView, SenderFunds, with_causes};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Node;
use crate::admin::Readiness;

/// Name of the chain among the needs of a role.
const NEED: &str = "chain";
/// Pause before asking again what the chain did not tell.
const RETRY: Duration = Duration::from_secs(2);
/// Time between two looks at the age of the newest block.
const LOOK: Duration = Duration::from_secs(2);

/// A deployment that is being followed.
pub(super) struct ChainLink {
    pub(super) chain: Chain,
    pub(super) feed: BlockFeed,
    pub(super) view: watch::Receiver<Option<ChainView>>,
    pub(super) senders: SenderMonitor,
}

impl ChainLink {
    /// Connects and starts to follow. While the node is away, waits and says so; `None` when stopped before.
    pub(super) async fn open(node: &mut Node) -> anyhow::Result<Option<Self>> {
        let Some(chain) = connect(node).await? else { return Ok(None) };
        let config = &node.config.chain;
        let (follower, feed) = BlockFollower::new(&chain, config);
        let (rounds, view) = RoundFollower::new(&chain, config, &feed);
        let (senders, monitor) = SenderMonitor::new(&chain, config, &feed);
        let end = node.end.clone();
        node.spawn_quiet("block follower", follower.run(end.clone()));
        node.spawn_quiet("round follower", rounds.run(end.clone()));
        node.spawn_quiet("sender monitor", monitor.run(end.clone()));
        let readiness = node.readiness.clone();
        node.spawn_quiet("chain health", watch_health(feed.health(), view.clone(), readiness, end));
        node.spawn_quiet("head age", measure_age(feed.head(), node.end.clone()));
        Ok(Some(Self { chain, feed, view, senders }))
    }

    /// Tag that tickets for this deployment may be bound to; none if its TicketBroker is one that takes no bound tickets.
    ///
    /// # Errors
    /// The node is asked to stop, or it will never answer.
    pub(super) async fn deployment_tag(&self, node: &Node) -> Result<Option<B256>, ChainError> {
        let read = || async {
            let call = TicketBroker::deploymentTagCall {};
            match self.chain.rpc.view(self.chain.contracts.ticket_broker, call, BlockId::latest()).await {
                Ok(tag) => Ok(Some(tag)),
                Err(ChainError::Reverted { .. }) => Ok(None),
                Err(err) => Err(err),
            }
        };
        streamflow_chain::wait_for_node(&node.config.chain, &node.stop, read).await
    }

    /// Where receipts count: the contract registered as "Verifier"; none while there is none.
    ///
    /// # Errors
    /// The node is asked to stop, or it will never answer.
    pub(super) async fn receipt_domain(&self, node: &Node) -> Result<Option<ReceiptDomain>, ChainError> {
        let Some(controller) = node.config.chain.controller else { return Ok(None) };
        let read = || async {
            let call = Controller::getContractCall { id: keccak256("Verifier") };
            self.chain.rpc.view(controller, call, BlockId::latest()).await
        };
        let contract = streamflow_chain::wait_for_node(&node.config.chain, &node.stop, read).await?;
        let domain = ReceiptDomain { chain_id: self.chain.chain_id, contract };
        Ok((!contract.is_zero()).then_some(domain))
    }

    /// The funds of `sender`, read again whenever the chain moves.
    pub(super) fn funds_of(&self, sender: Address, node: &mut Node) -> watch::Receiver<Option<SenderFunds>> {
        let (publish, funds) = watch::channel(None);
        let (senders, view, end) = (self.senders.clone(), self.view.clone(), node.end.clone());
        node.spawn_quiet(
            "own funds",
            on_new_view(view, end, move |_| {
                let (senders, publish) = (senders.clone(), publish.clone());
                async move {
                    let funds = senders.funds(sender, sender).await?;
                    publish.send_if_modified(|known| known.replace(funds) != Some(funds));
                    Ok(())
                }
            }),
        );
        funds
    }

    /// Whether `orchestrator` is in the active set of the current round.
    pub(super) fn activity_of(&self, orchestrator: Address, node: &mut Node) -> watch::Receiver<bool> {
        let (publish, active) = watch::channel(false);
        let (chain, view, end) = (self.chain.clone(), self.view.clone(), node.end.clone());
        node.spawn_quiet(
            "own activity",
            on_new_view(view, end, move |_| {
                let (chain, publish) = (chain.clone(), publish.clone());
                async move {
                    let call = BondingManager::isActiveTranscoderCall { transcoder_: orchestrator };
                    let now = chain.rpc.view(chain.contracts.bonding_manager, call, BlockId::latest()).await?;
                    if publish.send_if_modified(|known| std::mem::replace(known, now) != now) {
                        tracing::info!(active = now, "place in the active set changed");
                    }
                    Ok(())
                }
            }),
        );
        active
    }
}

/// Does `work` for every new state of the chain, and again after a pause when it fails.
async fn on_new_view<F>(
    mut view: watch::Receiver<Option<ChainView>>,
    end: CancellationToken,
    mut work: impl FnMut(ChainView) -> F,
) where
    F: Future<Output = Result<(), ChainError>>,
{
    loop {
        let known = *view.borrow_and_update();
        let done = match known {
            Some(now) => tokio::select! { biased;
                () = end.cancelled() => return,
                done = work(now) => done,
            },
            None => Ok(()),
        };
        let failed = done.is_err();
        if let Err(err) = done {
            tracing::debug!(%err, "cannot read the chain, trying again");
        }
        tokio::select! { biased;
            () = end.cancelled() => return,
            changed = view.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(RETRY), if failed => {}
        }
    }
}

async fn connect(node: &Node) -> anyhow::Result<Option<Chain>> {
    let config = &node.config.chain;
    node.readiness.missing(NEED, "connecting");
    let attempt = || async {
        let attempt = streamflow_chain::connect(config).await;
        if let Err(err) = &attempt {
            node.readiness.missing(NEED, with_causes(err));
        }
        attempt
    };
    Ok(unless_stopped(streamflow_chain::wait_for_node(config, &node.stop, attempt).await)?)
}

/// What was read from the chain; none when the node was stopped before the chain answered.
pub(super) fn unless_stopped<T>(read: Result<T, ChainError>) -> Result<Option<T>, ChainError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(ChainError::Stopped) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Says how old the newest block is, also while no new one comes.
async fn measure_age(head: watch::Receiver<Option<BlockHeader>>, end: CancellationToken) {
    let mut looks = tokio::time::interval(LOOK);
    while end.run_until_cancelled(looks.tick()).await.is_some() {
        if let Some(head) = *head.borrow() {
            let age = crate::clock::unix_seconds().saturating_sub(head.timestamp);
            metrics::gauge!("streamflow_chain_head_age_seconds").set(age as f64);
        }
    }
}

/// Keeps `/readyz` true while the node answers and the round is known.
async fn watch_health(
    mut health: watch::Receiver<Health>,
    mut view: watch::Receiver<Option<ChainView>>,
    readiness: Readiness,
    end: CancellationToken,
) {
    loop {
        let known = *view.borrow_and_update();
        match (&*health.borrow_and_update(), known) {
            (Health::Down(err), _) => readiness.missing(NEED, with_causes(err)),
            (_, None) => readiness.missing(NEED, "the round is not known yet"),
            (_, Some(view)) if view.round.0 == 0 => readiness.missing(NEED, "no round has been initialised yet"),
            (_, Some(_)) => readiness.met(NEED),
        }
        tokio::select! { biased;
            () = end.cancelled() => return,
            changed = health.changed() => if changed.is_err() { return },
            changed = view.changed() => if changed.is_err() { return },
        }
    }
}
