//! Bytes that a ticket's hash covers, the draw and the expected value (payments.md §1.3).
use alloy_primitives::{Address, B256, U256, keccak256};
use streamflow_types::{Signature65, SignedTicket, Ticket};

use crate::signature::{SignError, SignatureError, TicketSigner, recover_signer};

/// Round and block hash as the contract reads them: 64 bytes, or none when both are zero (which it refuses). With the tag of
/// a deployment behind them, 96 bytes.
pub fn aux_data(ticket: &Ticket) -> Vec<u8> {
    let preimage = Preimage::of(ticket);
    preimage.bytes[Preimage::FIXED..preimage.len].to_vec()
}

/// The preimage of [`ticket_hash`]: 232 bytes, 264 when it is bound, or 168 when round and block hash are both zero.
pub fn flatten(ticket: &Ticket) -> Vec<u8> {
    Preimage::of(ticket).as_bytes().to_vec()
}

/// On the stack: every ticket is hashed when it is made and when it is received.
struct Preimage {
    bytes: [u8; 264],
    len: usize,
}

impl Preimage {
    /// Bytes before the aux data.
    const FIXED: usize = 168;

    fn of(ticket: &Ticket) -> Self {
        let mut preimage = Self { bytes: [0; 264], len: 0 };
        preimage.push(ticket.recipient.as_slice());
        preimage.push(ticket.sender.as_slice());
        preimage.push(&ticket.face_value.to_be_bytes::<32>());
        preimage.push(&ticket.win_prob.0.to_be_bytes::<32>());
        preimage.push(&U256::from(ticket.sender_nonce).to_be_bytes::<32>());
        preimage.push(ticket.recipient_rand_hash.as_slice());
        if ticket.creation_round.0 == 0 && ticket.creation_round_block_hash.is_zero() {
            return preimage;
        }
        preimage.push(&U256::from(ticket.creation_round.0).to_be_bytes::<32>());
        preimage.push(ticket.creation_round_block_hash.as_slice());
        if let Some(deployment) = ticket.deployment {
            preimage.push(deployment.as_slice());
        }
        preimage
    }

    fn push(&mut self, field: &[u8]) {
        self.bytes[self.len..self.len + field.len()].copy_from_slice(field);
        self.len += field.len();
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The ticket's identity on chain.
pub fn ticket_hash(ticket: &Ticket) -> B256 {
    keccak256(Preimage::of(ticket).as_bytes())
}

/// What is signed for a 32-byte hash: keccak256("\x19Ethereum Signed Message:\n32" ‖ hash), EIP-191.
pub fn eip191_digest(hash: B256) -> B256 {
    const PREFIX: &[u8; 28] = b"\x19Ethereum Signed Message:\n32";
    let mut message = [0; 60];
    message[..28].copy_from_slice(PREFIX);
    message[28..].copy_from_slice(hash.as_slice());
    keccak256(message)
}

/// The public commitment to a secret number: keccak256 of its 32 big-endian bytes.
pub fn commitment(recipient_rand: U256) -> B256 {
    keccak256(recipient_rand.to_be_bytes::<32>())
}

/// The number that is drawn: keccak256(sig ‖ recipient_rand).
pub fn draw(sig: &Signature65, recipient_rand: U256) -> U256 {
    let mut bytes = [0; 97];
    bytes[..65].copy_from_slice(sig.as_bytes());
    bytes[65..].copy_from_slice(&recipient_rand.to_be_bytes::<32>());
    keccak256(bytes).into()
}

/// Whether the ticket wins: the number drawn is strictly below its probability.
pub fn wins(signed: &SignedTicket, recipient_rand: U256) -> bool {
    draw(&signed.sig, recipient_rand) < signed.ticket.win_prob.0
}

/// Signs a ticket.
pub fn sign_ticket(ticket: Ticket, signer: &dyn TicketSigner) -> Result<SignedTicket, SignError> {
    let sig = signer.sign_hash(eip191_digest(ticket_hash(&ticket)))?;
    Ok(SignedTicket { ticket, sig })
}

/// Account that signed the ticket, whether or not it is the ticket's sender.
pub fn ticket_signer(signed: &SignedTicket) -> Result<Address, SignatureError> {
    recover_signer(eip191_digest(ticket_hash(&signed.ticket)), signed.sig.as_bytes())
}
