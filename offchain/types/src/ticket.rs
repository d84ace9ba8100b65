//! The lottery ticket and the terms it is drawn on (payments.md §1.2, §1.3).
use std::fmt;

use alloy_primitives::{Address, B256, FixedBytes, U256};
use serde::{Deserialize, Serialize};

use crate::{Round, WinProb};

/// A lottery ticket: the fields that its hash covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ticket {
    /// Orchestrator's account.
    pub recipient: Address,
    /// Broadcaster's account.
    pub sender: Address,
    /// Wei paid if it wins.
    pub face_value: U256,
    /// Chance to win.
    pub win_prob: WinProb,
    /// Replay counter under one `recipient_rand_hash`; the first ticket has 1.
    pub sender_nonce: u32,
    /// Commitment to the recipient's secret number.
    pub recipient_rand_hash: B256,
    /// Round in which the params were made.
    pub creation_round: Round,
    /// Block hash of that round, as the contracts stored it.
    pub creation_round_block_hash: B256,
    /// Tag of the chain and contract that alone may redeem it. None binds it by the block hash only, as deployed.
    #[serde(default)]
    pub deployment: Option<B256>,
}

/// Signature of 65 bytes, `r ‖ s ‖ v` with v 27 or 28. Not checked by this type.
///
/// The bytes enter the lottery, so there is exactly one accepted encoding: no EIP-2098, no high s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signature65(FixedBytes<65>);

/// The wording is matched by peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid signature length")]
pub struct SignatureLengthError;

impl Signature65 {
    /// Takes the bytes as they are.
    pub const fn new(bytes: [u8; 65]) -> Self {
        Self(FixedBytes(bytes))
    }

    /// `r ‖ s ‖ v`.
    pub const fn as_bytes(&self) -> &[u8; 65] {
        &self.0.0
    }
}

impl From<[u8; 65]> for Signature65 {
    fn from(bytes: [u8; 65]) -> Self {
        Self::new(bytes)
    }
}

impl TryFrom<&[u8]> for Signature65 {
    type Error = SignatureLengthError;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        Ok(Self::new(bytes.try_into().map_err(|_| SignatureLengthError)?))
    }
}

impl AsRef<[u8]> for Signature65 {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl fmt::Display for Signature65 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A ticket with its sender's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SignedTicket {
    /// What is signed.
    pub ticket: Ticket,
    /// The sender's EIP-191 signature of the ticket hash.
    pub sig: Signature65,
}

/// A ticket that wins, with what redemption needs.
///
/// Until `params_expiration_block` has passed, `recipient_rand` must not be made public: the sender could then sign
/// losing nonces only. `Debug` hides it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct WinningTicket {
    /// The ticket and its signature.
    pub signed: SignedTicket,
    /// The recipient's secret number.
    pub recipient_rand: U256,
    /// Block from which `recipient_rand` may be revealed.
    pub params_expiration_block: u64,
}

impl fmt::Debug for WinningTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WinningTicket")
            .field("signed", &self.signed)
            .field("params_expiration_block", &self.params_expiration_block)
            .finish_non_exhaustive()
    }
}

/// Round a ticket belongs to (`TicketExpirationParams`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Expiration {
    /// Round in which the params were made.
    pub creation_round: Round,
    /// Block hash of that round.
    pub creation_round_block_hash: B256,
}

impl Expiration {
    /// Whether the orchestrator left it to the sender: round 0 or the zero hash (payments.md §1.6).
    pub fn is_missing(&self) -> bool {
        self.creation_round == Round(0) || self.creation_round_block_hash.is_zero()
    }
}

/// Terms that an orchestrator offers for tickets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TicketParams {
    /// Orchestrator's account.
    pub recipient: Address,
    /// Wei paid if a ticket wins.
    pub face_value: U256,
    /// Chance to win.
    pub win_prob: WinProb,
    /// Commitment to the recipient's secret number.
    pub recipient_rand_hash: B256,
    /// Lets the recipient derive its secret number again. Travels as a minimal big-endian integer.
    pub seed: U256,
    /// Block from which tickets on these terms are refused.
    pub expiration_block: u64,
    /// Round the tickets must carry.
    pub expiration: Expiration,
    /// From the recipient: the tag that tickets may be bound to. From the sender: the tag that they are bound to.
    #[serde(default)]
    pub deployment: Option<B256>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_has_65_bytes() {
        assert_eq!(Signature65::try_from([0; 64].as_slice()), Err(SignatureLengthError));
        assert_eq!(Signature65::try_from([0; 66].as_slice()), Err(SignatureLengthError));
        assert_eq!(Signature65::try_from([7; 65].as_slice()), Ok(Signature65::new([7; 65])));
    }

    #[test]
    fn the_secret_number_is_not_printed() {
        let signed = SignedTicket { ticket: Ticket::default(), sig: Signature65::new([1; 65]) };
        let winner = WinningTicket { signed, recipient_rand: U256::from(424_242_u64), params_expiration_block: 7 };
        assert!(!format!("{winner:?}").contains("424242"));
        assert!(!format!("{winner:?}").contains("67932")); // 424242 in hexadecimal
    }

    #[test]
    fn a_signed_ticket_survives_json() {
        let ticket = Ticket { face_value: U256::MAX, sender_nonce: 9, ..Ticket::default() };
        let signed = SignedTicket { ticket, sig: Signature65::new([0xab; 65]) };
        let text = serde_json::to_string(&signed).unwrap();
        assert_eq!(serde_json::from_str::<SignedTicket>(&text).unwrap(), signed);
    }

    #[test]
    fn round_zero_or_a_zero_hash_is_a_missing_expiration() {
        let whole = Expiration { creation_round: Round(1), creation_round_block_hash: B256::repeat_byte(1) };
        assert!(!whole.is_missing());
        assert!(Expiration { creation_round: Round(0), ..whole }.is_missing());
        assert!(Expiration { creation_round_block_hash: B256::ZERO, ..whole }.is_missing());
    }
}
