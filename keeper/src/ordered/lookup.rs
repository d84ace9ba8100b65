//! What the chain knows of ordered batches: read from the transaction itself, because no log names a ticket that was paid.

use std::collections::{HashMap, HashSet};

use alloy::{
    primitives::{B256, U256},
    rpc::types::Filter,
    sol_types::SolEvent,
};
use streamflow_bindings::TicketBroker;
use streamflow_chain::Chain;
use streamflow_store::{Payout, TicketRecord};

use super::outcome::{BatchOutcome, Fate};
use crate::{KeeperError, search::ranges};

/// A batch that passed a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It paid the ticket.
    Paid(Payout),
    /// Its logs contradict its call.
    Unbalanced { tx_hash: B256, moved: U256, owed: U256 },
}

/// The ordered batch in this transaction, and its block. `None` if the transaction is not in the chain, reverted, or is
/// something else, such as a batch that a contract made.
pub(crate) async fn batch(chain: &Chain, tx_hash: B256) -> Result<Option<(u64, BatchOutcome)>, KeeperError> {
    let broker = chain.contracts.ticket_broker;
    let call = chain.rpc.mined_call(tx_hash).await?.filter(|call| call.to == Some(broker));
    Ok(call.and_then(|call| Some((call.block, BatchOutcome::read(broker, &call.data, &call.logs)?))))
}

/// The batches that paid these tickets of one sender and one recipient, whoever sent them, among the `lookback` blocks up to
/// `newest`; by ticket hash.
pub(crate) async fn find(
    chain: &Chain,
    records: &[TicketRecord],
    newest: u64,
    lookback: u64,
) -> Result<HashMap<B256, Found>, KeeperError> {
    let mut found = HashMap::new();
    let Some(ticket) = records.first().map(|record| &record.ticket.signed.ticket) else { return Ok(found) };
    let filter = Filter::new()
        .address(chain.contracts.ticket_broker)
        .event_signature(TicketBroker::WinningTicketTransfer::SIGNATURE_HASH)
        .topic1(ticket.sender)
        .topic2(ticket.recipient);
    let mut seen = HashSet::new();
    for (from, to) in ranges(newest, lookback) {
        for log in chain.rpc.logs(&filter.clone().from_block(from).to_block(to)).await?.into_iter().rev() {
            let Some(tx_hash) = log.transaction_hash.filter(|hash| seen.insert(*hash)) else { continue };
            let Some((block, batch)) = self::batch(chain, tx_hash).await? else { continue };
            for record in records {
                let outcome = match batch.fate(record) {
                    Some(Fate::Paid) => {
                        Found::Paid(Payout { amount: record.ticket.signed.ticket.face_value, tx_hash, block })
                    }
                    Some(Fate::Unbalanced { moved, owed }) => Found::Unbalanced { tx_hash, moved, owed },
                    Some(Fate::SetAside | Fate::Refused(_) | Fate::HeldUp(_)) | None => continue,
                };
                found.entry(record.hash).or_insert(outcome);
            }
            if found.len() == records.len() {
                return Ok(found);
            }
        }
    }
    Ok(found)
}
