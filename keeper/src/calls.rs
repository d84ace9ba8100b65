//! The transaction that redeems a batch, and its name.

use alloy::primitives::{B256, keccak256};
use streamflow_chain::{Calls, IntentId, TxIntent};
use streamflow_store::TicketRecord;

/// The transaction that redeems these tickets: the single call for one, the batch for several.
pub(crate) fn redemption(calls: Calls, id: IntentId, records: &[TicketRecord]) -> TxIntent {
    let intent = match records {
        [one] => calls.redeem(&one.ticket),
        several => calls.redeem_batch(several.iter().map(|record| &record.ticket)),
    };
    intent.with_id(id)
}

/// Names this attempt at these tickets: the same after a crash, another once one of them was tried again.
pub(crate) fn redemption_id(records: &[TicketRecord]) -> IntentId {
    let mut parts: Vec<(B256, u32)> = records.iter().map(|record| (record.hash, record.attempts)).collect();
    parts.sort_unstable();
    let mut bytes = Vec::with_capacity(parts.len() * 36);
    for (hash, attempts) in parts {
        bytes.extend_from_slice(hash.as_slice());
        bytes.extend_from_slice(&attempts.to_be_bytes());
    }
    IntentId::new(format!("redeem/{:x}", keccak256(bytes)))
}
