//! Reads from a redemption's events what happened to each ticket. The event, not the submission, says that a ticket was
//! paid, and how much moved.

use std::collections::HashMap;

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    rpc::types::Log,
    sol_types::SolEvent,
};
use streamflow_bindings::TicketBroker;
use streamflow_pm::{commitment, ticket_hash};
use streamflow_types::{Round, Ticket, WinProb};

/// What the events say of one ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TicketEvent {
    /// Redeemed; this many wei moved.
    Paid(U256),
    /// Left out of a batch; the revert data of its redemption.
    Skipped(Bytes),
}

/// What a transaction's logs say, by ticket hash. Logs must be in order. Tickets of others in the same logs appear too.
///
/// A redemption emits WinningTicketTransfer (if anything moved) directly before WinningTicketRedeemed (contracts.md §2.5).
pub fn ticket_events(broker: Address, logs: &[Log]) -> HashMap<B256, TicketEvent> {
    let mut events = HashMap::new();
    let mut moved = None;
    for log in logs.iter().filter(|log| log.address() == broker) {
        if let Ok(transfer) = TicketBroker::WinningTicketTransfer::decode_log(&log.inner) {
            moved = Some((transfer.sender, transfer.recipient, transfer.amount));
        } else if let Ok(redeemed) = TicketBroker::WinningTicketRedeemed::decode_log(&log.inner) {
            let amount = match moved.take() {
                Some((sender, recipient, amount)) if (sender, recipient) == (redeemed.sender, redeemed.recipient) => {
                    amount
                }
                _ => U256::ZERO,
            };
            if let Some(ticket) = redeemed_ticket(&redeemed.data) {
                events.insert(ticket_hash(&ticket), TicketEvent::Paid(amount));
            }
        } else if let Ok(skipped) = TicketBroker::TicketSkipped::decode_log(&log.inner) {
            // a ticket that stands twice in one batch is paid first and skipped then
            events.entry(skipped.ticketHash).or_insert_with(|| TicketEvent::Skipped(skipped.data.reason));
        }
    }
    events
}

/// The ticket of an event: everything its hash covers is in there. `None` if its numbers are none that this node signs for.
fn redeemed_ticket(event: &TicketBroker::WinningTicketRedeemed) -> Option<Ticket> {
    let words: Vec<[u8; 32]> = event.auxData.chunks(32).map(TryInto::try_into).collect::<Result<_, _>>().ok()?;
    let (round, block_hash, deployment) = match words[..] {
        [round, block_hash] => (round, block_hash, None),
        [round, block_hash, tag] => (round, block_hash, Some(tag.into())),
        _ => return None,
    };
    Some(Ticket {
        recipient: event.recipient,
        sender: event.sender,
        face_value: event.faceValue,
        win_prob: WinProb(event.winProb),
        sender_nonce: event.senderNonce.try_into().ok()?,
        recipient_rand_hash: commitment(event.recipientRand),
        creation_round: Round(U256::from_be_bytes(round).try_into().ok()?),
        creation_round_block_hash: block_hash.into(),
        deployment,
    })
}

#[cfg(test)]
mod tests {
    use alloy::primitives::LogData;
    use streamflow_pm::aux_data;

    use super::*;

    const BROKER: Address = Address::repeat_byte(0xbb);

    fn ticket(nonce: u32) -> (Ticket, U256) {
        let rand = U256::from(1_000 + nonce);
        let ticket = Ticket {
            recipient: Address::repeat_byte(1),
            sender: Address::repeat_byte(2),
            face_value: U256::from(500),
            win_prob: WinProb(U256::MAX),
            sender_nonce: nonce,
            recipient_rand_hash: commitment(rand),
            creation_round: Round(9),
            creation_round_block_hash: B256::repeat_byte(3),
            deployment: None,
        };
        (ticket, rand)
    }

    fn log(address: Address, data: LogData) -> Log {
        Log { inner: alloy::primitives::Log { address, data }, ..Log::default() }
    }

    fn redeemed(nonce: u32) -> Log {
        let (ticket, rand) = ticket(nonce);
        let event = TicketBroker::WinningTicketRedeemed {
            sender: ticket.sender,
            recipient: ticket.recipient,
            faceValue: ticket.face_value,
            winProb: ticket.win_prob.0,
            senderNonce: U256::from(nonce),
            recipientRand: rand,
            auxData: aux_data(&ticket).into(),
        };
        log(BROKER, event.encode_log_data())
    }

    fn transfer(amount: u64) -> Log {
        let (ticket, _) = ticket(0);
        let event = TicketBroker::WinningTicketTransfer {
            sender: ticket.sender,
            recipient: ticket.recipient,
            amount: U256::from(amount),
        };
        log(BROKER, event.encode_log_data())
    }

    fn skipped(nonce: u32) -> Log {
        let (ticket, _) = ticket(nonce);
        let event = TicketBroker::TicketSkipped {
            ticketHash: ticket_hash(&ticket),
            sender: ticket.sender,
            reason: Bytes::from_static(&[7]),
        };
        log(BROKER, event.encode_log_data())
    }

    fn hash(nonce: u32) -> B256 {
        ticket_hash(&ticket(nonce).0)
    }

    #[test]
    fn each_ticket_of_a_batch_gets_what_moved_for_it() {
        let events = ticket_events(BROKER, &[transfer(500), redeemed(1), skipped(2), transfer(300), redeemed(3)]);
        assert_eq!(events[&hash(1)], TicketEvent::Paid(U256::from(500)));
        assert_eq!(events[&hash(2)], TicketEvent::Skipped(Bytes::from_static(&[7])));
        assert_eq!(events[&hash(3)], TicketEvent::Paid(U256::from(300)));
        assert_eq!(events.len(), 3);
    }

    #[test]
    fn a_redemption_without_transfer_paid_nothing() {
        let events = ticket_events(BROKER, &[transfer(500), redeemed(1), redeemed(2)]);
        assert_eq!(events[&hash(2)], TicketEvent::Paid(U256::ZERO));
    }

    #[test]
    fn a_duplicate_in_a_batch_stays_paid() {
        let events = ticket_events(BROKER, &[transfer(500), redeemed(1), skipped(1)]);
        assert_eq!(events[&hash(1)], TicketEvent::Paid(U256::from(500)));
    }

    #[test]
    fn events_of_another_contract_are_ignored() {
        let mut foreign = redeemed(1);
        foreign.inner.address = Address::repeat_byte(0xcc);
        assert!(ticket_events(BROKER, &[foreign]).is_empty());
    }
}
