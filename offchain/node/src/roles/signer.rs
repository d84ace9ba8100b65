//! `streamflow signer`
use std::{sync::Arc, time::Duration};

use alloy::{eips::BlockId, primitives::Address};
use futures::{StreamExt, TryStreamExt, stream};
use streamflow_bindings::BondingManager;
use streamflow_chain::{Chain, ChainError, RegisteredTranscoder, registered_transcoders};
use streamflow_signer::{Deps, Handle, Registered, Roster, Signer, SignerError};
use streamflow_types::{ChainView, Round};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    Node,
    chain_link::{ChainLink, unless_stopped},
    orchestrator::ticket_signer,
};
use crate::{
    admin::{Readiness, Status, listen_error},
    clock,
    exit::Usage,
};

/// Name among the needs: deposit, orchestrators, whatever else keeps payments from being made.
const NEED: &str = "payments";
/// Longest list of orchestrators read from the chain.
const MOST_ORCHESTRATORS: usize = 10_000;
const PARALLEL: usize = 16;
/// Time after which the list is read again although the round is the same: service URIs change at any time.
const REFRESH: Duration = Duration::from_secs(60);
/// Pause after the list could not be read.
const RETRY: Duration = Duration::from_secs(5);
/// Time between two looks at whether payments can be made.
const LOOK: Duration = Duration::from_secs(1);

pub(super) async fn run(node: &mut Node) -> anyhow::Result<()> {
    super::check_port("signer.listen", node.config.signer.listen)?;
    if node.config.chain.controller.is_none() {
        return Err(Usage("chain.controller is not set: a signer pays on a chain".into()).into());
    }
    let key = node.config.keys.load()?;
    let signer = Arc::new(ticket_signer(&key)?);
    let Some(link) = ChainLink::open(node).await? else { return Ok(()) };
    let Some(deployment) = unless_stopped(link.deployment_tag(node).await)? else { return Ok(()) };
    let deps = Deps {
        signer,
        chain: link.view.clone(),
        funds: link.funds_of(key.address(), node),
        roster: follow(&link, node),
        deployment,
        fence: None,
        clock: Arc::new(clock::since_epoch),
    };
    let signer = Signer::bind(node.config.signer.clone(), deps).await.map_err(named)?;
    let handle = signer.handle();
    node.status.set(status(handle.clone()));
    let live = handle.clone();
    node.live.on(&["signer.price", "signer.budget"], move |config| live.reconfigure(&config.signer));
    node.spawn_quiet("readiness", watch_readiness(handle, node.readiness.clone(), node.end.clone()));
    node.works();
    Ok(signer.run(node.stop.clone()).await?)
}

/// Orchestrators registered on chain and whether they are active, read again in every round and once in a while.
fn follow(link: &ChainLink, node: &mut Node) -> watch::Receiver<Option<Arc<Roster>>> {
    let (publish, roster) = watch::channel(None);
    let (chain, view, end) = (link.chain.clone(), link.view.clone(), node.end.clone());
    node.spawn_quiet("active orchestrators", follow_registry(chain, view, publish, end));
    roster
}

async fn follow_registry(
    chain: Chain,
    mut view: watch::Receiver<Option<ChainView>>,
    publish: watch::Sender<Option<Arc<Roster>>>,
    end: CancellationToken,
) {
    loop {
        let seen = view.borrow_and_update().map(set_of_orchestrators);
        let read = tokio::select! { biased;
            () = end.cancelled() => return,
            read = read(&chain) => read,
        };
        let pause = match read {
            Ok(roster) => {
                let roster = Some(Arc::new(roster));
                publish.send_if_modified(|known| std::mem::replace(known, roster.clone()) != roster);
                REFRESH
            }
            Err(err) => {
                tracing::warn!(%err, "cannot read the active orchestrators");
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

async fn read(chain: &Chain) -> Result<Roster, ChainError> {
    let registered = registered_transcoders(chain, MOST_ORCHESTRATORS).await?;
    let read: Vec<(Address, Registered)> = stream::iter(registered)
        .map(|orchestrator| async move {
            let call = BondingManager::isActiveTranscoderCall { transcoder_: orchestrator.address };
            let active = chain.rpc.view(chain.contracts.bonding_manager, call, BlockId::latest()).await?;
            Ok::<_, ChainError>((orchestrator.address, Registered { service_uri: dialable(&orchestrator), active }))
        })
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    Ok(read.into_iter().collect())
}

/// Anyone may publish anything as a service URI.
fn dialable(registered: &RegisteredTranscoder) -> Option<Url> {
    Url::parse(&registered.service_uri).ok().filter(|url| url.scheme() == "https" && url.has_host())
}

/// A port that is taken names its setting.
fn named(error: SignerError) -> anyhow::Error {
    match error {
        SignerError::Listen { address, source } => listen_error("signer.listen", address, source),
        other => other.into(),
    }
}

async fn watch_readiness(handle: Handle, readiness: Readiness, end: CancellationToken) {
    loop {
        match handle.status().refusing {
            Some(reason) => readiness.missing(NEED, reason),
            None => readiness.met(NEED),
        }
        tokio::select! { biased;
            () = end.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

fn status(handle: Handle) -> Status {
    Arc::new(move || {
        let document = serde_json::to_value(handle.status()).unwrap_or_default();
        Box::pin(async move { document })
    })
}
