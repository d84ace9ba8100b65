//! A payout is recorded when it is mined, looked up when its block is called safe, and once more when a reorganisation can
//! hardly reach it: included, safe, finalized.

use std::collections::{HashMap, hash_map::Entry};

use alloy::{
    eips::BlockId,
    primitives::{B256, U64},
    providers::Provider,
};
use futures::{StreamExt, TryStreamExt, stream};
use streamflow_bindings::TicketBroker;
use streamflow_chain::{BlockHeader, Chain};
use streamflow_store::{Store, TicketRecord, TicketState};

use crate::{
    KeeperError, metrics,
    ordered::{batch, outcome::Fate, plan::is_marked},
};

/// Payouts looked up in one pass.
const AT_ONCE: u32 = 500;
/// Questions to the node at the same time.
const READS: usize = 8;

/// Looks payouts up that have come to lie in a safe or in a finalized block: as the node calls them, if it does, and final
/// `depth` blocks below the head at the earliest. Those that the chain does not know any more are made anew: the ticket is
/// neither used nor paid in order by the batch that paid it.
pub(crate) async fn check_payouts(
    chain: &Chain,
    store: &Store,
    head: &BlockHeader,
    depth: u64,
) -> Result<(), KeeperError> {
    let (safe, finalized) = tokio::join!(tagged(chain, "safe"), tagged(chain, "finalized"));
    // A node that calls its head safe says nothing.
    if let Some(safe) = safe.filter(|safe| *safe < head.number) {
        let stands = check(chain, store, store.unsafe_payouts(safe, AT_ONCE).await?, safe, head).await?;
        store.secure_payouts(&stands).await?;
    }
    let Some(deep) = head.number.checked_sub(depth) else { return Ok(()) };
    let deep = finalized.map_or(deep, |finalized| finalized.min(deep));
    let stands = check(chain, store, store.unconfirmed_payouts(deep, AT_ONCE).await?, deep, head).await?;
    Ok(store.confirm_payouts(&stands).await?)
}

/// Number of the block that the node gives this name. `None` if it knows none, as many nodes of second layers and of
/// development chains.
async fn tagged(chain: &Chain, tag: &'static str) -> Option<u64> {
    #[derive(Debug, serde::Deserialize)]
    struct Numbered {
        number: U64,
    }
    let request = chain.rpc.provider().raw_request::<_, Option<Numbered>>("eth_getBlockByNumber".into(), (tag, false));
    match request.await {
        Ok(block) => block.map(|block| block.number.to()),
        Err(err) => {
            tracing::debug!(%err, tag, "the node names no such block");
            None
        }
    }
}

/// Of these payouts, those that stand in `deep` or before. What left the chain is made anew.
async fn check(
    chain: &Chain,
    store: &Store,
    payouts: Vec<TicketRecord>,
    deep: u64,
    head: &BlockHeader,
) -> Result<Vec<B256>, KeeperError> {
    if payouts.is_empty() {
        return Ok(Vec::new());
    }
    let looked_up: Vec<(TicketRecord, Option<u64>)> = stream::iter(payouts)
        .map(|record| async move {
            let used_by = used_by(chain, record.hash, deep, head).await?;
            Ok::<_, KeeperError>((record, used_by))
        })
        .buffered(READS)
        .try_collect()
        .await?;
    let (mut batches, mut mined) = (HashMap::new(), HashMap::new());
    let (mut paid, mut gone) = (Vec::new(), Vec::new());
    for (record, used_by) in looked_up {
        // Paid in order it is not used: the batch itself must still be there, and pay it still.
        let block = match &record.state {
            // Used, perhaps by somebody else's transaction on the branch that took ours away: then that one is the payout.
            TicketState::Redeemed(payout) if used_by.is_some() => {
                let is_mined = match mined.entry(payout.tx_hash) {
                    Entry::Occupied(known) => *known.get(),
                    Entry::Vacant(new) => *new.insert(chain.rpc.mined_call(payout.tx_hash).await?.is_some()),
                };
                used_by.filter(|_| is_mined)
            }
            TicketState::Redeemed(payout) if is_marked(&record) => {
                let found = match batches.entry(payout.tx_hash) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => new.insert(batch(chain, payout.tx_hash).await?),
                };
                found.as_ref().filter(|(_, batch)| batch.fate(&record) == Some(Fate::Paid)).map(|(block, _)| *block)
            }
            _ => None,
        };
        match block {
            Some(block) if block <= deep => paid.push(record.hash),
            // mined again, too lately to tell
            Some(_) => {}
            None => gone.push(record.hash),
        }
    }
    if !gone.is_empty() {
        tracing::warn!(
            tickets = gone.len(),
            block = head.number,
            "payouts left the chain, redeeming the tickets again"
        );
        metrics::revoked(gone.len() as u64);
        store.revoke_payouts(&gone).await?;
    }
    Ok(paid)
}

/// The block by which the ticket is used: `deep`, or the head if it is not used that early.
async fn used_by(chain: &Chain, hash: B256, deep: u64, head: &BlockHeader) -> Result<Option<u64>, KeeperError> {
    for (block, at) in [(deep, BlockId::number(deep)), (head.number, BlockId::from(head.hash))] {
        let call = TicketBroker::usedTicketsCall { ticketHash: hash };
        if chain.rpc.view(chain.contracts.ticket_broker, call, at).await? {
            return Ok(Some(block));
        }
    }
    Ok(None)
}
