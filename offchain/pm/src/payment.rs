//! What travels from broadcaster to orchestrator in one header.
use alloy_primitives::Address;
use streamflow_types::{Price, Signature65, SignedTicket, Ticket, TicketParams};

use crate::MAX_NONCES;

/// Most tickets of one payment.
pub const MAX_TICKETS: usize = MAX_NONCES;

/// Tickets of one sender on the same params, and the price they are for (`Payment`, payments.md §1.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Who pays.
    pub sender: Address,
    /// The price that the orchestrator quoted, echoed.
    pub expected_price: Option<Price>,
    /// Terms of the tickets; none when there are no tickets.
    pub params: Option<TicketParams>,
    /// One number and signature per ticket.
    pub tickets: Vec<TicketSig>,
}

/// What is the ticket's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TicketSig {
    /// Replay counter.
    pub sender_nonce: u32,
    /// Over the ticket's hash.
    pub sig: Signature65,
}

impl Payment {
    /// A payment without tickets.
    pub fn without_tickets(sender: Address, expected_price: Option<Price>) -> Self {
        Self { sender, expected_price, params: None, tickets: Vec::new() }
    }

    /// The highest ticket number, to be remembered before the payment is sent.
    pub fn last_nonce(&self) -> Option<u32> {
        self.tickets.iter().map(|t| t.sender_nonce).max()
    }
}

/// The ticket that `sender` makes of `params`.
pub fn ticket_from_params(params: &TicketParams, sender: Address, sender_nonce: u32) -> Ticket {
    Ticket {
        recipient: params.recipient,
        sender,
        face_value: params.face_value,
        win_prob: params.win_prob,
        sender_nonce,
        recipient_rand_hash: params.recipient_rand_hash,
        creation_round: params.expiration.creation_round,
        creation_round_block_hash: params.expiration.creation_round_block_hash,
        deployment: params.deployment,
    }
}

/// The same with its signature.
pub fn signed_from_params(params: &TicketParams, sender: Address, own: &TicketSig) -> SignedTicket {
    SignedTicket { ticket: ticket_from_params(params, sender, own.sender_nonce), sig: own.sig }
}
