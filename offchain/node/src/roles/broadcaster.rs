//! `streamflow broadcaster`
use std::{pin::pin, sync::Arc, time::Duration};

use alloy::{
    primitives::{Address, U256},
    signers::local::PrivateKeySigner,
};
use futures::{FutureExt, TryStreamExt};
use metrics::gauge;
use streamflow_broadcaster::{
    Broadcaster, BroadcasterError, BroadcasterHandle, Candidate, CandidateOffer, DepositTopUp, Deps, Funding,
    OrchestratorCache, Payments, RemoteSigner, TopUpError, TopUpFuture,
};
use streamflow_chain::{
    Calls, Chain, ChainError, IntentId, RegistryEntry, RegistryOffer, RegistryQuery, SenderMonitor, TxError, TxHandle,
    TxManager, registry_pages,
};
use streamflow_keeper::Journal;
use streamflow_store::Store;
use streamflow_types::{ChainView, Round};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    Node,
    chain_link::{ChainLink, unless_stopped},
    media,
    orchestrator::ticket_signer,
};
use crate::{
    admin::{Readiness, Status, listen_error},
    clock,
};

/// Name among the needs: deposit, orchestrators, whatever else keeps segments from being taken.
const NEED: &str = "segments";
/// Settings that a running broadcaster takes over.
const LIVE: &[&str] = &["broadcaster.profiles", "broadcaster.payment", "broadcaster.budget", "broadcaster.max_streams"];
/// Wei in one gwei.
const GWEI: u128 = 1_000_000_000;
/// Longest list of orchestrators read from the chain, in positions; few of many are active.
const MOST_ORCHESTRATORS: usize = 100_000;
/// Time after which the list is read again although the round is the same: service URIs change at any time.
const REFRESH: Duration = Duration::from_secs(60);
/// Pause after the list could not be read.
const RETRY: Duration = Duration::from_secs(5);
/// Time between two looks at whether segments are taken.
const LOOK: Duration = Duration::from_secs(1);

pub(super) async fn run(node: &mut Node) -> anyhow::Result<()> {
    super::check_port("broadcaster.listen", node.config.broadcaster.listen)?;
    let store = node.open_store().await?;
    let signer = node.config.broadcaster.signer.clone();
    let (payments, candidates) = match (signer, node.config.chain.controller) {
        (Some(url), _) => {
            let headers = node.config.broadcaster.signer_headers.clone();
            (Payments::Remote(RemoteSigner { url, headers }), watch::channel(Vec::new()).1)
        }
        (None, None) => {
            tracing::warn!("chain.controller is not set: orchestrators are not paid");
            (Payments::OffChain, watch::channel(Vec::new()).1)
        }
        (None, Some(_)) => match on_chain(node, store.clone()).await? {
            Some(both) => both,
            None => return Ok(()),
        },
    };
    let workers = media::start_workers(&node.config.transcoding).await?;
    let mut config = node.config.broadcaster.clone();
    config.data_dir = node.config.streams_dir();
    let cache = OrchestratorCache { store, clock: Arc::new(clock::unix_seconds) };
    let deps = Deps { payments, candidates, cache: Some(cache), media: workers.clone() };
    let broadcaster = Broadcaster::bind(config, deps).await.map_err(named)?;
    let handle = broadcaster.handle();
    node.status.set(status(handle.clone()));
    let live = handle.clone();
    node.live.on(LIVE, move |config| live.reconfigure(&config.broadcaster));
    node.spawn_quiet("readiness", watch_readiness(handle, node.readiness.clone(), node.end.clone()));
    node.works();
    let outcome = broadcaster.run(node.stop.clone()).await;
    workers.shutdown().await;
    Ok(outcome?)
}

type OnChain = (Payments, watch::Receiver<Vec<Candidate>>);

/// What paying needs, and whom to pay; `None` when stopped before the chain was there.
async fn on_chain(node: &mut Node, store: Store) -> anyhow::Result<Option<OnChain>> {
    let key = node.config.keys.load()?;
    let signer = Arc::new(ticket_signer(&key)?);
    let Some(link) = ChainLink::open(node).await? else { return Ok(None) };
    let Some(deployment) = unless_stopped(link.deployment_tag(node).await)? else { return Ok(None) };
    let Some(receipts) = unless_stopped(link.receipt_domain(node).await)? else { return Ok(None) };
    let funds = link.funds_of(key.address(), node);
    let wanted = node.config.broadcaster.top_up.is_some();
    let top_up = wanted.then(|| deposit_top_up(node, &link, key, &store));
    let clock = Arc::new(clock::unix_seconds);
    let funding = Funding { signer, chain: link.view.clone(), funds, store, deployment, receipts, clock, top_up };
    Ok(Some((Payments::OnChain(funding), discover(&link, node))))
}

/// Sends what the settings allow to be added to the deposit. Its journal outlives this process.
fn deposit_top_up(node: &mut Node, link: &ChainLink, key: PrivateKeySigner, store: &Store) -> Arc<dyn DepositTopUp> {
    let account = key.address();
    let journal = Journal::new(store.clone());
    let (manager, tx) = TxManager::new(&link.chain, &node.config.chain, key, journal, &link.feed);
    node.spawn("transactions", manager.run(node.end.clone()));
    Arc::new(Deposit { calls: Calls::new(link.chain.contracts), senders: link.senders.clone(), tx, account })
}

/// The deposit of this account.
#[derive(Debug)]
struct Deposit {
    calls: Calls,
    senders: SenderMonitor,
    tx: TxHandle,
    account: Address,
}

impl DepositTopUp for Deposit {
    fn deposit(&self) -> TopUpFuture<'_, U256> {
        // As new as the follower, and so as new as any outcome that it led to.
        let read = self.senders.funds(self.account, self.account);
        read.map(|funds| funds.map(|funds| funds.deposit).map_err(|error| TopUpError::Pending(error.into()))).boxed()
    }

    fn send(&self, id: String, wei: U256) -> TopUpFuture<'_, ()> {
        let intent = self.calls.fund(wei, U256::ZERO).with_id(IntentId::new(id));
        let sent = self.tx.send(intent);
        sent.map(|outcome| match outcome {
            Ok(_) => Ok(()),
            Err(error @ TxError::Reverted { .. }) => Err(TopUpError::Failed(error.into())),
            Err(error) => Err(TopUpError::Pending(error.into())),
        })
        .boxed()
    }
}

/// Orchestrators registered on chain, read again in every round and once in a while.
fn discover(link: &ChainLink, node: &mut Node) -> watch::Receiver<Vec<Candidate>> {
    let (publish, candidates) = watch::channel(Vec::new());
    if node.config.broadcaster.wants_chain_list() {
        let query =
            RegistryQuery { active_only: node.config.broadcaster.discovery.active_only, limit: MOST_ORCHESTRATORS };
        let (chain, view, end) = (link.chain.clone(), link.view.clone(), node.end.clone());
        node.spawn_quiet("discovery", follow_registry(chain, query, view, publish, end));
    }
    candidates
}

async fn follow_registry(
    chain: Chain,
    query: RegistryQuery,
    mut view: watch::Receiver<Option<ChainView>>,
    publish: watch::Sender<Vec<Candidate>>,
    end: CancellationToken,
) {
    loop {
        let seen = view.borrow_and_update().map(set_of_orchestrators);
        let read = tokio::select! { biased;
            () = end.cancelled() => return,
            read = read_registry(&chain, query, &publish) => read,
        };
        let pause = match read {
            Ok(list) => {
                let count = list.len();
                if publish.send_if_modified(|known| {
                    *known != list && {
                        *known = list;
                        true
                    }
                }) {
                    tracing::info!(orchestrators = count, "orchestrators found on chain");
                }
                REFRESH
            }
            Err(err) => {
                tracing::warn!(%err, "cannot read the list of orchestrators");
                RETRY
            }
        };
        let changed = view.wait_for(|view| view.map(set_of_orchestrators) != seen);
        tokio::select! { biased;
            () = end.cancelled() => return,
            changed = changed => if changed.is_err() { return },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// What changes when the set of orchestrators does.
const fn set_of_orchestrators(view: ChainView) -> (Round, u64) {
    (view.round, view.pool_size)
}

/// Reads the whole list. While none is known, its beginnings are published as they come: a stream need not wait for the end.
///
/// # Errors
/// When the chain cannot be read.
async fn read_registry(
    chain: &Chain,
    query: RegistryQuery,
    publish: &watch::Sender<Vec<Candidate>>,
) -> Result<Vec<Candidate>, ChainError> {
    let none_known = publish.borrow().is_empty();
    let (mut list, mut published) = (Vec::new(), 0);
    let mut pages = pin!(registry_pages(chain, query).await?);
    while let Some(page) = pages.try_next().await? {
        list.extend(page.into_iter().filter_map(candidate));
        // Each time twice as many, so that all of it is copied but twice.
        if none_known && list.len() > 2 * published {
            published = list.len();
            publish.send_replace(list.clone());
        }
    }
    Ok(list)
}

/// Anyone may publish anything as a service URI.
fn candidate(entry: RegistryEntry) -> Option<Candidate> {
    let RegistryEntry { orchestrator, offer } = entry;
    let address = orchestrator.address;
    match Url::parse(&orchestrator.service_uri) {
        Ok(url) if url.scheme() == "https" && url.has_host() => {
            let offer = offer.map(|RegistryOffer { services, regions }| CandidateOffer { services, regions });
            Some(Candidate { stake: Some(orchestrator.stake), offer, ..Candidate::of_market(url, Some(address)) })
        }
        _ => {
            let service_uri = &orchestrator.service_uri;
            tracing::debug!(%address, service_uri, "orchestrator is skipped: no https URL");
            None
        }
    }
}

/// A port that is taken names its setting.
fn named(error: BroadcasterError) -> anyhow::Error {
    match error {
        BroadcasterError::Listen { address, source } => listen_error("broadcaster.listen", address, source),
        other => other.into(),
    }
}

async fn watch_readiness(handle: BroadcasterHandle, readiness: Readiness, end: CancellationToken) {
    loop {
        let status = handle.status();
        measure(&status);
        match status.refusing {
            Some(reason) => readiness.missing(NEED, reason),
            None => readiness.met(NEED),
        }
        tokio::select! { biased;
            () = end.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// What the status says in figures. Amounts are rounded down to gwei.
fn measure(status: &streamflow_broadcaster::Status) {
    gauge!("streamflow_broadcaster_live_streams")
        .set(status.streams.iter().filter(|stream| stream.live).count() as f64);
    if let Some(funds) = &status.funds {
        let gwei = |wei: &str| wei.parse::<u128>().map_or(f64::MAX, |wei| (wei / GWEI) as f64);
        gauge!("streamflow_broadcaster_deposit_gwei").set(gwei(&funds.deposit));
        gauge!("streamflow_broadcaster_reserve_gwei").set(gwei(&funds.reserve));
    }
    if let Some(hours) = status.budget.as_ref().and_then(|budget| budget.runway_hours) {
        gauge!("streamflow_broadcaster_runway_hours").set(hours as f64);
    }
}

fn status(handle: BroadcasterHandle) -> Status {
    Arc::new(move || {
        let document = serde_json::to_value(handle.status()).unwrap_or_default();
        Box::pin(async move { document })
    })
}

#[cfg(test)]
mod tests {
    use streamflow_chain::RegisteredTranscoder;

    use super::*;

    #[test]
    fn only_dialable_service_uris_are_candidates() {
        let registered = |uri: &str| RegistryEntry {
            orchestrator: RegisteredTranscoder {
                address: Address::repeat_byte(7),
                service_uri: uri.to_owned(),
                stake: U256::ZERO,
            },
            offer: None,
        };
        for uri in ["", "o.example:8935", "http://o.example", "ftp://o.example", "https://", "javascript:alert(1)"] {
            assert_eq!(candidate(registered(uri)), None, "{uri}");
        }
        let found = candidate(registered("https://o.example:8935")).unwrap();
        assert_eq!((found.address, found.url.port()), (Some(Address::repeat_byte(7)), Some(8935)));
    }
}
