//! `streamflow keeper`
use alloy::{eips::BlockId, primitives::Address, signers::local::PrivateKeySigner};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use streamflow_bindings::BondingManager;
use streamflow_chain::{Chain, ChainError, TxManager, registered_transcoders, wait_for_node};
use streamflow_keeper::{Candidate, Journal, Keeper, KeeperChain, KeeperError, Rewarder, Standing};
use streamflow_store::{Store, StoreError, TicketStatus};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Node,
    chain_link::{ChainLink, unless_stopped},
    redeemer,
};
use crate::{
    admin::{Readiness, Status},
    amount::Eth,
    config::Config,
};

/// Longest list of orchestrators searched for those that named this account their reward caller.
const MOST_ORCHESTRATORS: usize = 10_000;
const PARALLEL: usize = 16;

/// Name of the lead among the needs of the role.
const NEED: &str = "lead";

pub(super) async fn run(node: &mut Node) -> anyhow::Result<()> {
    let key = node.config.keys.load()?;
    let account = key.address();
    let store = node.open_store().await?;
    let Some(link) = ChainLink::open(node).await? else { return Ok(()) };
    let lease = node.config.keeper.lease;
    let candidate = Candidate::new(store.clone(), link.chain.chain_id, account, holder(), lease);
    let standing = candidate.standing();
    node.spawn_quiet("leadership", watch_standing(standing.clone(), node.readiness.clone(), node.end.clone()));
    node.status.set(status(store.clone(), &link, account, standing));
    if let Some(listen) = node.config.keeper.redeemer.listen
        && !redeemer::serve(node, &link, &store, listen, account).await?
    {
        return Ok(());
    }
    let (link, config, stop) = (&link, &node.config, &node.stop);
    let work = |store| keep(store, link, config, key.clone(), stop.clone());
    node.works();
    candidate.run(stop.clone(), work).await?;
    Ok(())
}

/// What a keeper does while it leads.
async fn keep(
    store: Store,
    link: &ChainLink,
    config: &Config,
    key: PrivateKeySigner,
    stop: CancellationToken,
) -> Result<(), KeeperError> {
    let account = key.address();
    let (manager, tx) = TxManager::new(&link.chain, &config.chain, key, Journal::new(store.clone()), &link.feed);
    let named = wait_for_node(&config.chain, &stop, || naming(&link.chain, account)).await;
    let Some(named) = unless_stopped(named)? else { return Ok(()) };
    let named = named.into_iter().map(|orchestrator| Rewarder { orchestrator, tx: tx.clone() });
    let rewarders: Vec<_> = std::iter::once(Rewarder::own(tx.clone())).chain(named).collect();
    tracing::info!(%account, orchestrators = rewarders.len(), "keeper starts");
    let chain = KeeperChain {
        chain: link.chain.clone(),
        view: link.view.clone(),
        tx,
        rewarders,
        priority_fee: config.chain.tx.priority_fee_per_gas.into(),
    };
    Keeper::new(config.keeper.clone(), store, chain).run_with([manager], stop).await
}

/// How other keepers call this one: its machine and process.
fn holder() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{} process {}", host.trim(), std::process::id()).trim_start().to_owned()
}

/// A keeper that only waits is not ready.
async fn watch_standing(mut standing: watch::Receiver<Standing>, readiness: Readiness, end: CancellationToken) {
    loop {
        match &*standing.borrow_and_update() {
            Standing::Leads { .. } => readiness.met(NEED),
            Standing::Follows { leader } => {
                readiness
                    .missing(NEED, format_args!("the keeper on {leader} leads; this one takes over when it is gone"));
            }
            Standing::Unknown => readiness.missing(NEED, "the database has not said yet which keeper leads"),
        }
        tokio::select! { biased;
            () = end.cancelled() => return,
            changed = standing.changed() => {
                // The role has ended, and with it the node.
                if changed.is_err() {
                    return end.cancelled().await;
                }
            }
        }
    }
}

/// Orchestrators that named `account` as their reward caller.
async fn naming(chain: &Chain, account: Address) -> Result<Vec<Address>, ChainError> {
    let registered = registered_transcoders(chain, MOST_ORCHESTRATORS).await?;
    stream::iter(registered.into_iter().filter(|other| other.address != account))
        .map(|other| async move {
            let call = BondingManager::transcoderToRewardCallerCall { transcoder: other.address };
            let caller = chain.rpc.view(chain.contracts.bonding_manager, call, BlockId::latest()).await?;
            Ok((other.address, caller))
        })
        .buffered(PARALLEL)
        .try_filter_map(|(orchestrator, caller)| std::future::ready(Ok((caller == account).then_some(orchestrator))))
        .try_collect()
        .await
}

fn status(store: Store, link: &ChainLink, account: Address, standing: watch::Receiver<Standing>) -> Status {
    let view = link.view.clone();
    std::sync::Arc::new(move || {
        let (store, view, standing) = (store.clone(), *view.borrow(), standing.borrow().clone());
        Box::pin(async move {
            let books = books(&store).await.unwrap_or_else(|e| json!({ "error": e.to_string() }));
            json!({
                "account": account,
                "leads": matches!(standing, Standing::Leads { .. }),
                "leader": match standing {
                    Standing::Follows { leader } => Some(leader),
                    Standing::Leads { .. } => Some(holder()),
                    Standing::Unknown => None,
                },
                "block": view.map(|view| view.block),
                "round": view.map(|view| view.round.0),
                "books": books,
            })
        })
    })
}

/// Tickets by state, payouts by how sure they are, and what redemption cost.
async fn books(store: &Store) -> Result<serde_json::Value, StoreError> {
    let mut tickets = serde_json::Map::new();
    for status in [TicketStatus::Pending, TicketStatus::Submitted, TicketStatus::Redeemed, TicketStatus::Dead] {
        let total = store.ticket_total(status).await?;
        tickets.insert(
            status.as_str().to_owned(),
            json!({ "count": total.count, "face_value": Eth(total.face_value), "payout": Eth(total.payout) }),
        );
    }
    let mut payouts = serde_json::Map::new();
    for (finality, total) in store.payout_totals().await? {
        payouts.insert(finality.as_str().to_owned(), json!({ "count": total.count, "payout": Eth(total.amount) }));
    }
    let spent = store.redemption_summary().await?;
    Ok(json!({
        "tickets": tickets,
        "payouts": payouts,
        "transactions": spent.transactions,
        "gas_used": spent.gas_used,
        "gas_cost": Eth(spent.gas_cost),
    }))
}
