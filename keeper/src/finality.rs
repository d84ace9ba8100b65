//! A payout is recorded when it is mined, and looked up once more when a reorganisation can hardly reach its block.

use alloy::{eips::BlockId, primitives::B256};
use futures::{StreamExt, TryStreamExt, stream};
use streamflow_bindings::TicketBroker;
use streamflow_chain::{BlockHeader, Chain};
use streamflow_store::Store;

use crate::{KeeperError, metrics};

/// Payouts looked up in one pass.
const AT_ONCE: u32 = 500;
/// Questions to the node at the same time.
const READS: usize = 8;

/// Looks up payouts `depth` blocks below the head. Those whose tickets the chain does not know as used are redeemed anew.
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
    let (broker, at) = (chain.contracts.ticket_broker, BlockId::from(head.hash));
    let looked_up: Vec<(B256, bool)> = stream::iter(payouts)
        .map(|record| async move {
            let call = TicketBroker::usedTicketsCall { ticketHash: record.hash };
            Ok::<_, KeeperError>((record.hash, chain.rpc.view(broker, call, at).await?))
        })
        .buffered(READS)
        .try_collect()
        .await?;
    let (paid, gone): (Vec<_>, Vec<_>) = looked_up.into_iter().partition(|(_, used)| *used);
    let hashes = |tickets: Vec<(B256, bool)>| tickets.into_iter().map(|(hash, _)| hash).collect::<Vec<_>>();
    store.confirm_payouts(&hashes(paid)).await?;
    if !gone.is_empty() {
        tracing::warn!(
            tickets = gone.len(),
            block = head.number,
            "payouts left the chain, redeeming the tickets again"
        );
        metrics::revoked(gone.len() as u64);
        store.revoke_payouts(&hashes(gone)).await?;
    }
    Ok(())
}
