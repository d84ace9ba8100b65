//! `streamflow keeper`
use alloy::{eips::BlockId, primitives::Address};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use streamflow_bindings::BondingManager;
use streamflow_chain::{Chain, ChainError, TxManager, registered_transcoders, wait_for_node};
use streamflow_keeper::{Journal, Keeper, KeeperChain, Rewarder};
use streamflow_store::{Store, StoreError, TicketStatus};

use super::{Node, chain_link::ChainLink};
use crate::{admin::Status, amount::Eth};

/// Longest list of orchestrators searched for those that named this account their reward caller.
const MOST_ORCHESTRATORS: usize = 10_000;
const PARALLEL: usize = 16;

pub(super) async fn run(node: &mut Node) -> anyhow::Result<()> {
    let key = node.config.keys.load()?;
    let account = key.address();
    let store = node.open_store().await?;
    let Some(link) = ChainLink::open(node).await? else { return Ok(()) };

    let journal = Journal::new(store.clone());
    let (manager, tx) = TxManager::new(&link.chain, &node.config.chain, key, journal, &link.feed);
    node.spawn("transactions", manager.run(node.end.clone()));
    let named = wait_for_node(&node.config.chain, &node.stop, || naming(&link.chain, account)).await;
    let rewarders = match named {
        Ok(named) => named.into_iter().map(|orchestrator| Rewarder { orchestrator, tx: tx.clone() }),
        Err(ChainError::Stopped) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    let rewarders: Vec<_> = std::iter::once(Rewarder::own(tx.clone())).chain(rewarders).collect();
    tracing::info!(%account, orchestrators = rewarders.len(), "keeper starts");
    node.status.set(status(store.clone(), &link, account));

    let chain = KeeperChain {
        chain: link.chain.clone(),
        view: link.view.clone(),
        tx,
        rewarders,
        priority_fee: node.config.chain.tx.priority_fee_per_gas.into(),
    };
    Keeper::new(node.config.keeper.clone(), store, chain).run(node.stop.clone()).await?;
    Ok(())
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

fn status(store: Store, link: &ChainLink, account: Address) -> Status {
    let view = link.view.clone();
    std::sync::Arc::new(move || {
        let (store, view) = (store.clone(), *view.borrow());
        Box::pin(async move {
            let books = books(&store).await.unwrap_or_else(|e| json!({ "error": e.to_string() }));
            json!({
                "account": account,
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
