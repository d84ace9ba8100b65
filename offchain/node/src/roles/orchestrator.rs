//! `streamflow orchestrator`
use std::{sync::Arc, time::Duration};

use alloy::{primitives::Address, signers::local::PrivateKeySigner};
use anyhow::Context as _;
use futures::FutureExt;
use serde_json::{Value, json};
use streamflow_chain::{ChainError, SenderMonitor};
use streamflow_orchestrator::{
    ChainDeps, Clock, Deps, FundsFuture, FundsUnavailable, Handle, Orchestrator, SenderFundsSource, StartError,
    Transcode,
};
use streamflow_pm::{KeySigner, QuoteDomain};
use streamflow_redeemer::{Floats, covered_by};
use streamflow_store::{Store, TicketStatus};
use streamflow_transcoder::LocalTranscoder;

use super::{
    Node,
    chain_link::ChainLink,
    media::{self, LocalWorkers},
    redeemer,
};
use crate::{
    admin::{Status, listen_error},
    clock,
    config::Transcoders,
    quote_secret::{self, QuoteSecretFile},
};

/// File with the secret of the session tokens.
const TOKEN_SECRET: &str = "orchestrator-secret";
/// Name of the remote transcoders among the needs of the role.
const NEED_TRANSCODERS: &str = "transcoders";
/// Time between two looks at how many there are.
const LOOK: Duration = Duration::from_secs(1);

pub(super) async fn run(node: &mut Node) -> anyhow::Result<()> {
    super::check_port("orchestrator.listen", node.config.orchestrator.listen)?;
    // Quotes were bound to it before they had a secret of their own.
    let earlier = node.data.known_secret(TOKEN_SECRET)?;
    let secret = node.data.secret(TOKEN_SECRET)?;
    let local = local_transcoder(node).await?;
    let outcome = serve(node, secret, earlier, local.clone()).await;
    if let Some(local) = local {
        local.shutdown().await;
    }
    outcome
}

async fn local_transcoder(node: &Node) -> anyhow::Result<Option<LocalTranscoder>> {
    match node.config.transcoding.transcoders {
        Transcoders::Local => Ok(Some(media::start_transcoder(&node.config.transcoding, &node.readiness).await?)),
        Transcoders::Remote => Ok(None),
    }
}

async fn serve(
    node: &mut Node,
    secret: [u8; 32],
    earlier: Option<[u8; 32]>,
    local: Option<LocalTranscoder>,
) -> anyhow::Result<()> {
    let chain = match node.config.chain.controller {
        None => {
            tracing::warn!("chain.controller is not set: segments are transcoded for free");
            None
        }
        Some(_) => match chain_deps(node, earlier).await? {
            Some(deps) => Some(deps),
            None => return Ok(()),
        },
    };
    let store = chain.as_ref().map(|deps| deps.store.clone());
    let account = chain.as_ref().map(|deps| deps.signer.address());
    let active = chain.as_ref().map(|deps| deps.active.clone());
    let remote = local.is_none();
    let deps = Deps {
        chain,
        local: local.map(|local| LocalWorkers::new(local) as Arc<dyn Transcode>),
        secret,
        data_dir: node.data.path().to_owned(),
        clock: Arc::new(clock::unix_seconds) as Clock,
    };
    let orchestrator = Orchestrator::bind(node.config.orchestrator.clone(), deps).await.map_err(named)?;
    let handle = orchestrator.handle();
    tracing::info!(address = %orchestrator.local_addr(), service_uri = %orchestrator.service_uri(), "orchestrator listens");
    if remote {
        node.spawn_quiet(
            "transcoder count",
            watch_transcoders(handle.clone(), node.readiness.clone(), node.end.clone()),
        );
    }
    let facts = json!({
        "account": account,
        "service_uri": orchestrator.service_uri(),
        "listen": orchestrator.local_addr(),
    });
    node.status.set(status(facts, handle, store, active));
    orchestrator.run(node.stop.clone()).await;
    Ok(())
}

/// What is needed to be paid; `None` when stopped before the chain was there.
async fn chain_deps(node: &mut Node, earlier: Option<[u8; 32]>) -> anyhow::Result<Option<ChainDeps>> {
    let key = node.config.keys.load()?;
    let account = key.address();
    let file = QuoteSecretFile::new(&node.data, &key, node.config.orchestrator.tickets.secret_life)?;
    let (secrets, follow) = quote_secret::follow(file, earlier, node.end.clone())?;
    node.spawn_quiet("quote secret", follow);
    let store = node.open_store().await?;
    let Some(link) = ChainLink::open(node).await? else { return Ok(None) };
    let deployment = match link.deployment_tag(node).await {
        Ok(tag) => tag,
        Err(ChainError::Stopped) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let active = link.activity_of(account, node);
    let own = Funds { senders: link.senders.clone(), account };
    let funds: Arc<dyn SenderFundsSource> = match redeemer::outbox(node, &link, &store).await? {
        redeemer::Handed::ToKeeper => Arc::new(own),
        redeemer::Handed::ToRedeemer(floats) => Arc::new(RemoteFunds { own, floats }),
        redeemer::Handed::Stopped => return Ok(None),
    };
    Ok(Some(ChainDeps {
        view: link.view.clone(),
        active,
        funds,
        signer: Arc::new(ticket_signer(&key)?),
        domain: QuoteDomain { chain_id: link.chain.chain_id, broker: link.chain.contracts.ticket_broker },
        secrets,
        deployment,
        late_blocks: node.config.keeper.expiry_margin_blocks,
        store,
        rpc: link.chain.rpc.host().to_owned(),
    }))
}

/// The key, in the library that signs and recovers tickets.
pub(super) fn ticket_signer(key: &PrivateKeySigner) -> anyhow::Result<KeySigner> {
    KeySigner::from_bytes(key.to_bytes().0).context("the configured key cannot sign tickets")
}

/// A port that is taken names its setting in full.
fn named(error: StartError) -> anyhow::Error {
    match error {
        StartError::Bind { address, source } => listen_error("orchestrator.listen", address, source),
        other => other.into(),
    }
}

/// Senders' funds, as this orchestrator may claim them.
#[derive(Debug)]
struct Funds {
    senders: SenderMonitor,
    account: Address,
}

impl SenderFundsSource for Funds {
    fn funds(&self, sender: Address) -> FundsFuture<'_> {
        self.senders.funds(sender, self.account).map(|funds| funds.map_err(|e| FundsUnavailable(Box::new(e)))).boxed()
    }
}

/// Senders' funds when another node redeems: it alone knows what still waits there.
#[derive(Debug)]
struct RemoteFunds {
    own: Funds,
    floats: Floats,
}

impl SenderFundsSource for RemoteFunds {
    fn funds(&self, sender: Address) -> FundsFuture<'_> {
        let told = async move {
            let funds = self.own.funds(sender).await?;
            let float = self.floats.of(sender).await.map_err(|e| FundsUnavailable(Box::new(e)))?;
            Ok(covered_by(&funds, float))
        };
        told.boxed()
    }
}

/// Without a transcoder there is nothing to sell.
async fn watch_transcoders(
    handle: Handle,
    readiness: crate::admin::Readiness,
    end: tokio_util::sync::CancellationToken,
) {
    loop {
        match handle.transcoders() {
            0 => readiness.missing(NEED_TRANSCODERS, "no transcoder is connected"),
            _ => readiness.met(NEED_TRANSCODERS),
        }
        tokio::select! { biased;
            () = end.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

fn status(
    facts: Value,
    handle: Handle,
    store: Option<Store>,
    active: Option<tokio::sync::watch::Receiver<bool>>,
) -> Status {
    Arc::new(move || {
        let (mut document, handle, store) = (facts.clone(), handle.clone(), store.clone());
        document["sessions"] = handle.open_sessions().into();
        document["transcoders"] = handle.transcoders().into();
        document["active"] = active.as_ref().map(|active| *active.borrow()).into();
        Box::pin(async move {
            if let Some(store) = store {
                document["winners"] = winners(&store).await.into();
            }
            document
        })
    })
}

/// Tickets won so far, whatever became of them.
async fn winners(store: &Store) -> Option<u64> {
    let mut count = 0;
    for status in [TicketStatus::Pending, TicketStatus::Submitted, TicketStatus::Redeemed, TicketStatus::Dead] {
        count += store.ticket_total(status).await.ok()?.count;
    }
    Some(count)
}
