//! Both ends of redemption for orchestrators elsewhere: the service beside a keeper, the outbox beside an orchestrator.
use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use alloy::{
    eips::BlockId,
    primitives::{Address, U256},
};
use anyhow::Context as _;
use futures::FutureExt;
use streamflow_bindings::TicketBroker;
use streamflow_chain::{ChainError, SenderMonitor, wait_for_node};
use streamflow_keeper::oldest_redeemable;
use streamflow_redeemer::{
    Floats, FundsFuture, FundsSource, FundsUnavailable, LinkConfig, Outbox, Redeemer, RedeemerDeps, RedeemerLink,
    StartError, Terms,
};
use streamflow_store::Store;
use streamflow_types::{Round, Secret};
use tokio::sync::watch;

use super::{
    Node,
    chain_link::{ChainLink, unless_stopped},
};
use crate::admin::listen_error;

/// Time between two looks at which tickets are past.
const LOOK: Duration = Duration::from_secs(60);

/// Starts the service. False when stopped before the chain was there.
pub(super) async fn serve(
    node: &mut Node,
    link: &ChainLink,
    store: &Store,
    listen: SocketAddr,
    account: Address,
) -> anyhow::Result<bool> {
    let config = node.config.keeper.redeemer.clone();
    let token = secret("keeper.redeemer.token_file", config.token_file.as_deref()).await?;
    let told = async { Ok((link.deployment_tag(node).await?, validity(node, link).await?)) };
    let Some((deployment, validity)) = unless_stopped(told.await)? else { return Ok(false) };
    let recipient = config.recipient.unwrap_or(account);
    let deps = RedeemerDeps {
        view: link.view.clone(),
        funds: Arc::new(Funds { senders: link.senders.clone(), recipient }),
        terms: Terms { recipient, deployment, validity },
        store: store.clone(),
        token,
        data_dir: node.data.path().to_owned(),
    };
    let redeemer = Redeemer::bind(config, deps).await.map_err(|error| match error {
        StartError::Bind { source, .. } => listen_error("keeper.redeemer.listen", listen, source),
        other => other.into(),
    })?;
    tracing::info!(address = %redeemer.local_addr(), %recipient, "redeemer service listens");
    node.spawn("redeemer service", redeemer.run(node.stop.clone()));
    Ok(true)
}

/// Who redeems an orchestrator's winners.
#[derive(Debug)]
pub(super) enum Handed {
    /// A keeper on the same database.
    ToKeeper,
    /// Another node, which also tells what senders are good for.
    ToRedeemer(Floats),
}

/// Starts to hand over winners, if another node is to redeem them.
pub(super) async fn outbox(node: &mut Node, link: &ChainLink, store: &Store) -> anyhow::Result<Handed> {
    let config = &node.config.orchestrator;
    let Some(url) = config.redeemer.clone() else { return Ok(Handed::ToKeeper) };
    let token = secret("orchestrator.redeemer_token_file", config.redeemer_token_file.as_deref()).await?;
    let certificate = match &config.redeemer_certificate_file {
        None => None,
        Some(path) => Some(
            tokio::fs::read(path)
                .await
                .with_context(|| format!("cannot read orchestrator.redeemer_certificate_file {}", path.display()))?,
        ),
    };
    if certificate.is_none() {
        tracing::warn!(redeemer = %url, "any certificate of the redeemer is taken: set orchestrator.redeemer_certificate_file");
    }
    let redeemer = RedeemerLink::new(&LinkConfig { url, token, certificate })?;
    let floats = Floats::new(redeemer.clone(), node.end.clone());
    // Until the very end: winners come while the node drains.
    let outbox = Outbox::new(store.clone(), redeemer, floats.clone(), link.view.clone(), oldest_round(node, link));
    node.spawn_quiet("outbox of winners", outbox.run(node.end.clone()));
    Ok(Handed::ToRedeemer(floats))
}

/// Oldest round whose tickets can still be redeemed for good; looked up now and then.
fn oldest_round(node: &mut Node, link: &ChainLink) -> watch::Receiver<Option<Round>> {
    let (publish, oldest) = watch::channel(None);
    let (chain, depth, end) = (link.chain.clone(), node.config.keeper.finality_blocks, node.end.clone());
    node.spawn_quiet("oldest round", async move {
        let mut looks = tokio::time::interval(LOOK);
        while end.run_until_cancelled(looks.tick()).await.is_some() {
            if let Some(round) = oldest_redeemable(&chain, depth).await {
                publish.send_replace(Some(round));
            }
        }
    });
    oldest
}

/// Rounds in which a ticket can be redeemed.
async fn validity(node: &Node, link: &ChainLink) -> Result<u64, ChainError> {
    let read = || async {
        let call = TicketBroker::ticketValidityPeriodCall {};
        link.chain.rpc.view(link.chain.contracts.ticket_broker, call, BlockId::latest()).await
    };
    let period: U256 = wait_for_node(&node.config.chain, &node.stop, read).await?;
    Ok(period.saturating_to())
}

/// The text in a file; none is an empty secret.
async fn secret(setting: &str, file: Option<&Path>) -> anyhow::Result<Secret> {
    let Some(path) = file else { return Ok(Secret::default()) };
    let read = tokio::fs::read_to_string(path).await;
    let text = read.with_context(|| format!("cannot read {setting} {}", path.display()))?;
    let secret = Secret::new(text.trim());
    anyhow::ensure!(!secret.is_empty(), "{setting} {} is empty", path.display());
    Ok(secret)
}

/// Senders' funds, as the recipient may claim them.
#[derive(Debug)]
struct Funds {
    senders: SenderMonitor,
    recipient: Address,
}

impl FundsSource for Funds {
    fn funds(&self, sender: Address) -> FundsFuture<'_> {
        self.senders.funds(sender, self.recipient).map(|funds| funds.map_err(|e| FundsUnavailable(Box::new(e)))).boxed()
    }
}
