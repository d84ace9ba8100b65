//! Whether a ticket that somebody hands over is worth keeping. The cheapest questions come first; the curve comes last.
use alloy_primitives::{Address, B256};
use streamflow_pm::{commitment, ticket_signer, wins};
use streamflow_types::{ChainView, WinningTicket};
use tonic::{Code, Status};

/// Params that live longer are nobody's: the keeper would sit on the ticket, and on those behind it.
const LONGEST_LIFE_BLOCKS: u64 = 1 << 16;

/// What a ticket has to be for.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Whom it must pay.
    pub recipient: Address,
    /// Tag of the deployment that a bound ticket must name; none if the contract takes no bound tickets.
    pub deployment: Option<B256>,
    /// Rounds in which a ticket can be redeemed, that of its creation included.
    pub validity: u64,
}

/// Why a ticket is not taken. The first text is matched by peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Made out to somebody else.
    #[error("invalid ticket recipient {got}, expected {expected}")]
    Recipient {
        /// On the ticket.
        got: Address,
        /// Of this service.
        expected: Address,
    },
    /// No sender.
    #[error("invalid ticket sender")]
    Sender,
    /// Pays nothing.
    #[error("ticket has no face value")]
    Worthless,
    /// Bound to a contract that the keeper does not redeem at.
    #[error("ticket is bound to another deployment")]
    Deployment,
    /// The contract refuses tickets of such a round.
    #[error("ticket creationRound does not have a block hash")]
    NoRoundHash,
    /// The number handed over is not the one that the sender signed the hash of.
    #[error("invalid recipientRand for ticket recipientRandHash")]
    Rand,
    /// Not a winner.
    #[error("ticket did not win")]
    Loses,
    /// The contract does not pay it any more.
    #[error("ticket is expired")]
    Expired,
    /// Its params outlive all that an orchestrator quotes.
    #[error("ticket params expire too far ahead")]
    LivesTooLong,
    /// Of a round that this node has not seen yet.
    #[error("ticket is of round {0}, which has not begun here")]
    NotYet(u64),
    /// Not signed by the sender.
    #[error("invalid ticket signature")]
    Signature,
    /// The sender has neither deposit nor reserve.
    #[error("sender {0} has no funds")]
    NoFunds(Address),
}

impl Refusal {
    /// How it is told on the wire. What may change by itself is `FailedPrecondition`.
    pub const fn code(&self) -> Code {
        match self {
            Self::Recipient { .. } => Code::PermissionDenied,
            Self::NotYet(_) | Self::NoFunds(_) => Code::FailedPrecondition,
            _ => Code::InvalidArgument,
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}

/// Everything that can be told without asking the chain or the store. `view` is what is known of the chain, if anything:
/// what cannot be told without it is left to the keeper, which looks at every ticket again before it pays for it.
///
/// # Errors
/// Why the ticket is not taken.
pub fn check(winner: &WinningTicket, terms: &Terms, view: Option<&ChainView>) -> Result<(), Refusal> {
    let ticket = &winner.signed.ticket;
    if ticket.recipient != terms.recipient {
        return Err(Refusal::Recipient { got: ticket.recipient, expected: terms.recipient });
    }
    if ticket.sender.is_zero() {
        return Err(Refusal::Sender);
    }
    if ticket.face_value.is_zero() {
        return Err(Refusal::Worthless);
    }
    if ticket.deployment.is_some() && ticket.deployment != terms.deployment {
        return Err(Refusal::Deployment);
    }
    if ticket.creation_round_block_hash.is_zero() {
        return Err(Refusal::NoRoundHash);
    }
    if let Some(view) = view {
        timely(winner, terms, view)?;
    }
    if commitment(winner.recipient_rand) != ticket.recipient_rand_hash {
        return Err(Refusal::Rand);
    }
    if !wins(&winner.signed, winner.recipient_rand) {
        return Err(Refusal::Loses);
    }
    match ticket_signer(&winner.signed) {
        Ok(signer) if signer == ticket.sender => Ok(()),
        _ => Err(Refusal::Signature),
    }
}

fn timely(winner: &WinningTicket, terms: &Terms, view: &ChainView) -> Result<(), Refusal> {
    let created = winner.signed.ticket.creation_round.0;
    if created.saturating_add(terms.validity) <= view.round.0 {
        return Err(Refusal::Expired);
    }
    if created > view.round.0.saturating_add(1) {
        return Err(Refusal::NotYet(created));
    }
    if winner.params_expiration_block > view.block.saturating_add(LONGEST_LIFE_BLOCKS) {
        return Err(Refusal::LivesTooLong);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloy_primitives::U256;
    use proptest::prelude::*;
    use streamflow_pm::{KeySigner, TicketSigner as _, sign_ticket};
    use streamflow_types::{Round, Signature65, Ticket, WinProb};

    use super::*;

    const RECIPIENT: Address = Address::repeat_byte(0xaa);
    const TAG: B256 = B256::repeat_byte(0xd0);

    fn terms() -> Terms {
        Terms { recipient: RECIPIENT, deployment: Some(TAG), validity: 2 }
    }

    fn view() -> ChainView {
        ChainView {
            block: 1_000,
            round: Round(10),
            round_block_hash: B256::repeat_byte(7),
            round_initialized: true,
            pool_size: 1,
            base_fee: 1,
        }
    }

    fn key() -> KeySigner {
        KeySigner::from_bytes([0x0b; 32]).unwrap()
    }

    /// Signed after `change`.
    fn winner(change: impl FnOnce(&mut Ticket)) -> WinningTicket {
        let recipient_rand = U256::from(99);
        let mut ticket = Ticket {
            recipient: RECIPIENT,
            sender: key().address(),
            face_value: U256::from(1_000),
            win_prob: WinProb::MAX,
            sender_nonce: 1,
            recipient_rand_hash: commitment(recipient_rand),
            creation_round: Round(10),
            creation_round_block_hash: B256::repeat_byte(7),
            deployment: None,
        };
        change(&mut ticket);
        let signed = sign_ticket(ticket, &key()).unwrap();
        WinningTicket { signed, recipient_rand, params_expiration_block: 1_040 }
    }

    fn verdict(winner: &WinningTicket) -> Result<(), Refusal> {
        check(winner, &terms(), Some(&view()))
    }

    #[test]
    fn a_good_ticket_is_taken_with_and_without_a_view_of_the_chain() {
        for good in [winner(|_| ()), winner(|t| t.deployment = Some(TAG)), winner(|t| t.creation_round = Round(9))] {
            assert_eq!(verdict(&good), Ok(()));
            assert_eq!(check(&good, &terms(), None), Ok(()));
        }
    }

    #[test]
    fn every_fault_is_named() {
        let other = Address::repeat_byte(1);
        let cases = [
            (winner(|t| t.recipient = other), Refusal::Recipient { got: other, expected: RECIPIENT }),
            (winner(|t| t.sender = Address::ZERO), Refusal::Sender),
            (winner(|t| t.face_value = U256::ZERO), Refusal::Worthless),
            (winner(|t| t.deployment = Some(B256::ZERO)), Refusal::Deployment),
            (winner(|t| t.creation_round_block_hash = B256::ZERO), Refusal::NoRoundHash),
            (winner(|t| t.recipient_rand_hash = B256::ZERO), Refusal::Rand),
            (winner(|t| t.win_prob = WinProb(U256::ZERO)), Refusal::Loses),
            (winner(|t| t.creation_round = Round(8)), Refusal::Expired),
            (winner(|t| t.creation_round = Round(12)), Refusal::NotYet(12)),
            (winner(|t| t.sender = other), Refusal::Signature),
            (WinningTicket { params_expiration_block: u64::MAX, ..winner(|_| ()) }, Refusal::LivesTooLong),
        ];
        for (bad, refusal) in cases {
            assert_eq!(verdict(&bad), Err(refusal));
        }
    }

    /// Plain verification takes it; the contract does not.
    #[test]
    fn a_signature_with_the_other_v_is_refused() {
        let mut bad = winner(|_| ());
        let mut sig = *bad.signed.sig.as_bytes();
        sig[64] = 55 - sig[64];
        bad.signed.sig = Signature65::new(sig);
        assert_eq!(verdict(&bad), Err(Refusal::Signature));
    }

    #[test]
    fn the_text_and_code_for_a_wrong_recipient_are_those_of_peers() {
        let refusal = Refusal::Recipient { got: Address::repeat_byte(1), expected: RECIPIENT };
        let status = Status::from(refusal);
        assert_eq!(status.code(), Code::PermissionDenied);
        let text = "invalid ticket recipient 0x0101010101010101010101010101010101010101, expected \
                    0xaAaAaAaaAaAaAaaAaAAAAAAAAaaaAaAaAaaAaaAa";
        assert_eq!(status.message(), text);
    }

    proptest! {
        /// Whatever a caller changes after the sender has signed, the ticket is refused.
        #[test]
        fn nothing_signed_can_be_changed(face in 1_u64.., nonce: u32, round in 9..=11_u64, rand: [u64; 4], which in 0..5) {
            let good = winner(|_| ());
            let mut bad = good;
            let ticket = &mut bad.signed.ticket;
            match which {
                0 => ticket.face_value = U256::from(face),
                1 => ticket.sender_nonce = nonce,
                2 => ticket.creation_round = Round(round),
                3 => bad.recipient_rand = U256::from_limbs(rand),
                _ => ticket.creation_round_block_hash = B256::repeat_byte(nonce as u8),
            }
            prop_assert_eq!(verdict(&bad).is_ok(), bad == good);
        }
    }
}
