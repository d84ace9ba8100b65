//! Money on the wire: params, payments, prices and the redeemer's tickets (payments.md §1.2, §1.13).
use alloy_primitives::{I256, U256};
use streamflow_pm::{MAX_TICKETS, Payment, TicketSig};
use streamflow_types::{
    Expiration, Price, Round, Signature65, SignedTicket, Ticket, TicketParams, WinProb, WinningTicket,
};

use crate::{
    PaymentError,
    number::{address, hash, minimal, number, number64},
    proto,
};

/// An orchestrator's params as they stand in `OrchestratorInfo`.
pub fn params_to_proto(params: &TicketParams) -> proto::TicketParams {
    let expiration_params =
        (params.expiration != Expiration::default()).then(|| expiration_to_proto(&params.expiration));
    proto::TicketParams { expiration_params, ..bare_params_to_proto(params) }
}

/// Reads params from `OrchestratorInfo`. Expiration params that are absent become the default, which
/// [`Expiration::is_missing`].
pub fn params_from_proto(params: &proto::TicketParams) -> Result<TicketParams, PaymentError> {
    let expiration = params.expiration_params.as_ref().map(expiration_from_proto).transpose()?;
    Ok(TicketParams {
        recipient: address("recipient", &params.recipient)?,
        face_value: number("face_value", &params.face_value)?,
        win_prob: WinProb(number("win_prob", &params.win_prob)?),
        recipient_rand_hash: hash("recipient_rand_hash", &params.recipient_rand_hash)?,
        seed: number("seed", &params.seed)?,
        expiration_block: number64("expiration_block", &params.expiration_block)?,
        expiration: expiration.unwrap_or_default(),
        deployment: match params.deployment.is_empty() {
            true => None,
            false => Some(hash("deployment", &params.deployment)?),
        },
    })
}

fn bare_params_to_proto(params: &TicketParams) -> proto::TicketParams {
    proto::TicketParams {
        recipient: params.recipient.to_vec(),
        face_value: minimal(params.face_value),
        win_prob: minimal(params.win_prob.0),
        recipient_rand_hash: params.recipient_rand_hash.to_vec(),
        seed: minimal(params.seed),
        expiration_block: minimal(U256::from(params.expiration_block)),
        expiration_params: None,
        deployment: params.deployment.map(|tag| tag.to_vec()).unwrap_or_default(),
    }
}

fn expiration_to_proto(expiration: &Expiration) -> proto::TicketExpirationParams {
    proto::TicketExpirationParams {
        // A round beyond 2^63 cannot be sent; the receiver refuses the greatest one as it would any wrong round.
        creation_round: i64::try_from(expiration.creation_round.0).unwrap_or(i64::MAX),
        creation_round_block_hash: expiration.creation_round_block_hash.to_vec(),
    }
}

fn expiration_from_proto(expiration: &proto::TicketExpirationParams) -> Result<Expiration, PaymentError> {
    const FIELD: &str = "creation_round_block_hash";
    let round = u64::try_from(expiration.creation_round);
    let block_hash = &expiration.creation_round_block_hash;
    Ok(Expiration {
        creation_round: Round(round.map_err(|_| PaymentError::OutOfRange { field: "creation_round" })?),
        creation_round_block_hash: if block_hash.is_empty() { Default::default() } else { hash(FIELD, block_hash)? },
    })
}

/// A price on the wire.
pub fn price_to_proto(price: Price) -> proto::PriceInfo {
    proto::PriceInfo {
        // `Price` holds nothing above 2^63 − 1.
        price_per_unit: price.wei_per_unit().cast_signed(),
        pixels_per_unit: price.pixels_per_unit().cast_signed(),
        ..Default::default()
    }
}

/// Reads a price.
pub fn price_from_proto(price: &proto::PriceInfo) -> Result<Price, PaymentError> {
    let term = |t: i64| u64::try_from(t).map_err(|_| PaymentError::NegativePrice);
    Price::new(term(price.price_per_unit)?, term(price.pixels_per_unit)?).map_err(PaymentError::Price)
}

/// A payment as broadcasters send it: expiration params beside the ticket params, and both only with tickets.
pub fn payment_to_proto(payment: &Payment) -> proto::Payment {
    let params = payment.params.as_ref().filter(|_| !payment.tickets.is_empty());
    let signatures = payment.tickets.iter().map(sender_params_to_proto);
    proto::Payment {
        ticket_params: params.map(bare_params_to_proto),
        sender: payment.sender.to_vec(),
        expiration_params: params.map(|p| expiration_to_proto(&p.expiration)),
        ticket_sender_params: params.map(|_| signatures.collect()).unwrap_or_default(),
        expected_price: payment.expected_price.map(price_to_proto),
    }
}

/// Reads a payment. Nothing in it has been verified yet.
pub fn payment_from_proto(payment: &proto::Payment) -> Result<Payment, PaymentError> {
    let sender = address("sender", &payment.sender)?;
    let expected_price = payment.expected_price.as_ref().map(price_from_proto).transpose()?;
    let tickets = &payment.ticket_sender_params;
    let Some(params) = &payment.ticket_params else {
        return match tickets.is_empty() {
            true => Ok(Payment::without_tickets(sender, expected_price)),
            false => Err(PaymentError::NoTicketParams),
        };
    };
    if sender.is_zero() {
        return Err(PaymentError::NoSender);
    }
    if tickets.len() > MAX_TICKETS {
        return Err(PaymentError::TooManyTickets { got: tickets.len(), max: MAX_TICKETS });
    }
    let expiration = payment.expiration_params.as_ref().ok_or(PaymentError::NoExpirationParams)?;
    let params = TicketParams { expiration: expiration_from_proto(expiration)?, ..params_from_proto(params)? };
    let tickets = tickets.iter().map(sender_params_from_proto).collect::<Result<_, _>>()?;
    Ok(Payment { sender, expected_price, params: Some(params), tickets })
}

fn sender_params_to_proto(ticket: &TicketSig) -> proto::TicketSenderParams {
    proto::TicketSenderParams { sender_nonce: ticket.sender_nonce, sig: ticket.sig.as_bytes().to_vec() }
}

fn sender_params_from_proto(ticket: &proto::TicketSenderParams) -> Result<TicketSig, PaymentError> {
    let sig = Signature65::try_from(ticket.sig.as_slice()).map_err(|_| PaymentError::SignatureLength)?;
    Ok(TicketSig { sender_nonce: ticket.sender_nonce, sig })
}

/// A winner for a redeemer process. The message carries no seed.
pub fn winner_to_proto(winner: &WinningTicket) -> proto::Ticket {
    let SignedTicket { ticket, sig } = winner.signed;
    let expiration = Expiration {
        creation_round: ticket.creation_round,
        creation_round_block_hash: ticket.creation_round_block_hash,
    };
    proto::Ticket {
        ticket_params: Some(bare_params_to_proto(&TicketParams {
            recipient: ticket.recipient,
            face_value: ticket.face_value,
            win_prob: ticket.win_prob,
            recipient_rand_hash: ticket.recipient_rand_hash,
            seed: U256::ZERO,
            expiration_block: winner.params_expiration_block,
            expiration,
            deployment: ticket.deployment,
        })),
        sender: ticket.sender.to_vec(),
        expiration_params: Some(expiration_to_proto(&expiration)),
        sender_params: Some(sender_params_to_proto(&TicketSig { sender_nonce: ticket.sender_nonce, sig })),
        recipient_rand: minimal(winner.recipient_rand),
    }
}

/// Reads a winner. Neither signature nor draw has been verified yet.
pub fn winner_from_proto(winner: &proto::Ticket) -> Result<WinningTicket, PaymentError> {
    let params = winner.ticket_params.as_ref().ok_or(PaymentError::Missing("ticket_params"))?;
    let params = params_from_proto(params)?;
    let expiration = winner.expiration_params.as_ref().ok_or(PaymentError::NoExpirationParams)?;
    let expiration = expiration_from_proto(expiration)?;
    let own = winner.sender_params.as_ref().ok_or(PaymentError::Missing("sender_params"))?;
    let own = sender_params_from_proto(own)?;
    let ticket = Ticket {
        recipient: params.recipient,
        sender: address("sender", &winner.sender)?,
        face_value: params.face_value,
        win_prob: params.win_prob,
        sender_nonce: own.sender_nonce,
        recipient_rand_hash: params.recipient_rand_hash,
        creation_round: expiration.creation_round,
        creation_round_block_hash: expiration.creation_round_block_hash,
        deployment: params.deployment,
    };
    Ok(WinningTicket {
        signed: SignedTicket { ticket, sig: own.sig },
        recipient_rand: number("recipient_rand", &winner.recipient_rand)?,
        params_expiration_block: params.expiration_block,
    })
}

/// A redeemer's answer; the wire has no sign, so a negative float is sent as nothing.
pub fn max_float_to_proto(max_float: I256) -> proto::MaxFloatUpdate {
    proto::MaxFloatUpdate { max_float: minimal(U256::try_from(max_float).unwrap_or(U256::ZERO)) }
}

/// Reads a redeemer's answer, wei.
pub fn max_float_from_proto(update: &proto::MaxFloatUpdate) -> Result<U256, PaymentError> {
    number("max_float", &update.max_float)
}
