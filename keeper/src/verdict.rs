//! What a refusal by the contracts means for a ticket (payments.md §1.12).

use alloy::sol_types::{Panic, Revert as RevertString, SolError, SolInterface};
use streamflow_bindings::{
    bonding_manager::BondingManager::BondingManagerErrors, ticket_broker::TicketBroker::TicketBrokerErrors,
};

/// What to do with a ticket whose redemption would revert, or was skipped in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was paid before: look up the event.
    Done,
    /// It can never be paid.
    Dead,
    /// It may be paid later.
    Wait,
}

/// Classifies revert data. What is not known waits: the ticket expires by itself, so nothing is lost by asking again.
pub fn classify(revert: &[u8]) -> Verdict {
    if let Ok(error) = TicketBrokerErrors::abi_decode(revert) {
        return classify_broker(&error);
    }
    if let Ok(RevertString { reason }) = RevertString::abi_decode(revert) {
        return classify_text(&reason);
    }
    // an inactive recipient may be active in the next round; a panic comes from the deployed reserve share (protocol#656)
    let known = BondingManagerErrors::abi_decode(revert).is_ok() || Panic::abi_decode(revert).is_ok();
    if !known {
        tracing::warn!(revert = %alloy::primitives::hex::encode_prefixed(revert), "redemption refused for an unknown reason");
    }
    Verdict::Wait
}

fn classify_broker(error: &TicketBrokerErrors) -> Verdict {
    match error {
        TicketBrokerErrors::TicketUsed(_) => Verdict::Done,
        TicketBrokerErrors::NullRecipient(_)
        | TicketBrokerErrors::NullSender(_)
        | TicketBrokerErrors::InvalidAuxDataLength(_)
        | TicketBrokerErrors::TicketExpired(_)
        | TicketBrokerErrors::InvalidRecipientRand(_)
        | TicketBrokerErrors::InvalidSignatureLength(_)
        | TicketBrokerErrors::InvalidSignature(_)
        | TicketBrokerErrors::TicketNotWinning(_) => Verdict::Dead,
        // a wrong block hash may come from a reorganisation; an unlock may be cancelled; funds may be added
        _ => Verdict::Wait,
    }
}

/// Texts of the deployed contracts (contracts.md §2.2) that say the ticket is paid, or never will be.
fn classify_text(reason: &str) -> Verdict {
    const DEAD: [&str; 9] = [
        "ticket recipient is null address",
        "ticket sender is null address",
        "invalid length for ticket auxData: must be 64 bytes",
        "ticket creationRound does not have a block hash",
        "ticket is expired",
        "recipientRand does not match recipientRandHash",
        "INVALID_SIGNATURE_LENGTH",
        "invalid signature over ticket hash",
        "ticket did not win",
    ];
    if reason == "ticket is used" {
        Verdict::Done
    } else if DEAD.contains(&reason) || reason.starts_with("ECDSA: invalid signature") {
        Verdict::Dead
    } else {
        Verdict::Wait
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, B256, U256};
    use streamflow_bindings::{BondingManager, TicketBroker};

    use super::*;

    fn text(reason: &str) -> Verdict {
        classify(&RevertString::from(reason).abi_encode())
    }

    #[test]
    fn a_used_ticket_is_done() {
        assert_eq!(classify(&TicketBroker::TicketUsed { ticketHash: B256::ZERO }.abi_encode()), Verdict::Done);
        assert_eq!(text("ticket is used"), Verdict::Done);
    }

    #[test]
    fn what_can_never_be_paid_is_dead() {
        let expired = TicketBroker::TicketExpired { creationRound: U256::from(1), currentRound: U256::from(3) };
        assert_eq!(classify(&expired.abi_encode()), Verdict::Dead);
        assert_eq!(classify(&TicketBroker::TicketNotWinning {}.abi_encode()), Verdict::Dead);
        assert_eq!(classify(&TicketBroker::InvalidSignature {}.abi_encode()), Verdict::Dead);
        for reason in ["ticket is expired", "ticket did not win", "ECDSA: invalid signature 's' value"] {
            assert_eq!(text(reason), Verdict::Dead, "{reason}");
        }
    }

    #[test]
    fn what_may_change_waits() {
        let funds = TicketBroker::InsufficientFunds { faceValue: U256::from(2), available: U256::from(1) };
        assert_eq!(classify(&funds.abi_encode()), Verdict::Wait);
        assert_eq!(classify(&TicketBroker::SenderUnlocked { sender: Address::ZERO }.abi_encode()), Verdict::Wait);
        let inactive = BondingManager::TranscoderNotActive { transcoder: Address::ZERO };
        assert_eq!(classify(&inactive.abi_encode()), Verdict::Wait);
        assert_eq!(classify(&Panic { code: U256::from(0x11) }.abi_encode()), Verdict::Wait);
        for reason in ["system is paused", "current round is not initialized", "transcoder must be active"] {
            assert_eq!(text(reason), Verdict::Wait, "{reason}");
        }
        assert_eq!(classify(&[]), Verdict::Wait);
        assert_eq!(classify(&[1, 2, 3, 4, 5]), Verdict::Wait);
    }
}
