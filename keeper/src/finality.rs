//! A payout is recorded when it is mined, and looked up once more when a reorganisation can hardly reach its block.

use std::collections::{HashMap, hash_map::Entry};

use alloy::{eips::BlockId, primitives::B256};
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

/// Looks up payouts `depth` blocks below the head. Those that the chain does not know any more are made anew: the ticket
/// is neither used nor paid in order by the batch that paid it.
pub(crate) async fn check_payouts(
    chain: &Chain,
    store: &Store,
    head: &BlockHeader,
    depth: u64,
) -> Result<(), KeeperError> {
    let Some(deep) = head.number.checked_sub(depth) else { return Ok(()) };
    let payouts = store.unconfirmed_payouts(deep, AT_ONCE).await?;
    if payouts.is_empty() {
        return Ok(());
    }
    let looked_up: Vec<(TicketRecord, Option<u64>)> = stream::iter(payouts)
        .map(|record| async move {
            let used_by = used_by(chain, record.hash, deep, head).await?;
            Ok::<_, KeeperError>((record, used_by))
        })
        .buffered(READS)
        .try_collect()
        .await?;
    let mut batches = HashMap::new();
    let (mut paid, mut gone) = (Vec::new(), Vec::new());
    for (record, used_by) in looked_up {
        // Paid in order it is not used: the batch itself must still be there, and pay it still.
        let block = match &record.state {
            _ if used_by.is_some() => used_by,
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
    store.confirm_payouts(&paid).await?;
    if !gone.is_empty() {
        tracing::warn!(
            tickets = gone.len(),
            block = head.number,
            "payouts left the chain, redeeming the tickets again"
        );
        metrics::revoked(gone.len() as u64);
        store.revoke_payouts(&gone).await?;
    }
    Ok(())
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
