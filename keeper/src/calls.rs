//! Tickets as the contracts take them.

use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use streamflow_bindings::TicketBroker;
use streamflow_chain::{IntentId, TxIntent};
use streamflow_pm::aux_data;
use streamflow_store::TicketRecord;

fn ticket(record: &TicketRecord) -> TicketBroker::Ticket {
    let ticket = &record.ticket.signed.ticket;
    TicketBroker::Ticket {
        recipient: ticket.recipient,
        sender: ticket.sender,
        faceValue: ticket.face_value,
        winProb: ticket.win_prob.0,
        senderNonce: U256::from(ticket.sender_nonce),
        recipientRandHash: ticket.recipient_rand_hash,
        auxData: aux_data(ticket).into(),
    }
}

fn sig(record: &TicketRecord) -> Bytes {
    Bytes::copy_from_slice(record.ticket.signed.sig.as_bytes())
}

/// The call that redeems one ticket.
pub(crate) fn redeem_one(record: &TicketRecord) -> TicketBroker::redeemWinningTicketCall {
    TicketBroker::redeemWinningTicketCall {
        ticket: ticket(record),
        sig: sig(record),
        recipientRand: record.ticket.recipient_rand,
    }
}

/// The transaction that redeems these tickets: the single call for one, the batch for several.
pub(crate) fn redemption(broker: Address, id: IntentId, records: &[TicketRecord]) -> TxIntent {
    let intent = match records {
        [one] => TxIntent::call("redeem ticket", broker, &redeem_one(one)),
        several => {
            let call = TicketBroker::batchRedeemWinningTicketsCall {
                tickets: several.iter().map(ticket).collect(),
                sigs: several.iter().map(sig).collect(),
                recipientRands: several.iter().map(|record| record.ticket.recipient_rand).collect(),
            };
            TxIntent::call("redeem tickets", broker, &call)
        }
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
