//! Reads from the call data and the logs of an ordered batch what happened to each ticket. Pure.
//!
//! The contract says what it paid in one sum per sender, so a ticket's payout is not in a log of its own. It follows from
//! the rest: the call names the tickets of a group, the logs name those that were set aside, or that the group was skipped;
//! what is left was paid its face value. The sum must agree to the wei, or none of it is booked.

use std::collections::{HashMap, HashSet};

use alloy::{
    primitives::{Address, B256, Bytes, FixedBytes, U256},
    rpc::types::Log,
    sol_types::{SolCall, SolError, SolEvent},
};
use streamflow_bindings::TicketBroker;
use streamflow_chain::{ordered_face_value, ordered_ticket};
use streamflow_pm::{ordered, ticket_signer, wins};
use streamflow_store::TicketRecord;

use crate::verdict::Verdict;

/// What an ordered batch did, or would do.
#[derive(Clone, Debug)]
pub struct BatchOutcome {
    recipient: Address,
    groups: HashMap<Address, GroupOutcome>,
}

#[derive(Clone, Debug, Default)]
struct GroupOutcome {
    tickets: Vec<TicketBroker::OrderedTicket>,
    skipped: Option<Skip>,
    aside: HashSet<B256>,
    /// Σ face value of those set aside.
    aside_worth: U256,
    /// Wei that moved.
    moved: U256,
}

/// Why a group was left out whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skip {
    /// Selector of the contract's error.
    pub reason: FixedBytes<4>,
    /// The ticket that it is about; zero if it is about the group.
    pub index: U256,
}

/// What a batch did to one of its tickets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Paid its face value.
    Paid,
    /// Passed unpaid; payable by itself.
    SetAside,
    /// Its group was skipped for its sake, or as a group: nothing of it moved.
    Refused(FixedBytes<4>),
    /// Its group was skipped for another ticket's sake: nothing of it moved.
    HeldUp(FixedBytes<4>),
    /// What moved is not the sum of what the group's tickets are owed: the logs cannot be trusted.
    Unbalanced {
        /// Wei that moved.
        moved: U256,
        /// Wei that should have moved.
        owed: U256,
    },
}

impl BatchOutcome {
    /// What the logs of this call say. `None` if the data is no ordered batch, or one that the contract reverts.
    pub fn read(broker: Address, data: &Bytes, logs: &[Log]) -> Option<Self> {
        let call = TicketBroker::redeemOrderedTicketsCall::abi_decode(data).ok()?;
        let mut tickets = call.tickets.into_iter();
        let mut groups = HashMap::new();
        for group in call.groups {
            let count = usize::try_from(group.plan >> 192).ok().filter(|count| *count <= tickets.len())?;
            let outcome = GroupOutcome { tickets: tickets.by_ref().take(count).collect(), ..GroupOutcome::default() };
            groups.insert(group.sender, outcome);
        }
        let mut batch = Self { recipient: call.recipient, groups };
        for log in logs.iter().filter(|log| log.address() == broker) {
            batch.take(log);
        }
        Some(batch)
    }

    fn take(&mut self, log: &Log) {
        if let Ok(moved) = TicketBroker::WinningTicketTransfer::decode_log(&log.inner) {
            if let Some(group) = self.group(moved.sender, moved.recipient) {
                group.moved = group.moved.saturating_add(moved.amount);
            }
        } else if let Ok(aside) = TicketBroker::TicketSetAside::decode_log(&log.inner) {
            if let Some(group) = self.group(aside.sender, aside.recipient) {
                group.aside.insert(aside.ticketHash);
                group.aside_worth = group.aside_worth.saturating_add(aside.faceValue);
            }
        } else if let Ok(skipped) = TicketBroker::OrderedGroupSkipped::decode_log(&log.inner)
            && let Some(group) = self.group(skipped.sender, skipped.recipient)
        {
            group.skipped = Some(Skip { reason: skipped.reason, index: skipped.index });
        }
    }

    fn group(&mut self, sender: Address, recipient: Address) -> Option<&mut GroupOutcome> {
        self.groups.get_mut(&sender).filter(|_| recipient == self.recipient)
    }

    /// What became of this ticket; `None` if it is not in the batch.
    pub fn fate(&self, record: &TicketRecord) -> Option<Fate> {
        let ticket = &record.ticket.signed.ticket;
        let group = self.groups.get(&ticket.sender).filter(|_| ticket.recipient == self.recipient)?;
        let encoded = ordered_ticket(&record.ticket).ok()?;
        let position = group.tickets.iter().position(|other| *other == encoded)?;
        if let Some(Skip { reason, index }) = group.skipped {
            let is_about_it = U256::from(position) == index || is_about_the_group(reason);
            return Some(if is_about_it { Fate::Refused(reason) } else { Fate::HeldUp(reason) });
        }
        let worth = group.tickets.iter().fold(U256::ZERO, |sum, other| sum.saturating_add(ordered_face_value(other)));
        let owed = worth.saturating_sub(group.aside_worth);
        if group.moved != owed || group.aside_worth > worth {
            return Some(Fate::Unbalanced { moved: group.moved, owed });
        }
        Some(if group.aside.contains(&record.hash) { Fate::SetAside } else { Fate::Paid })
    }
}

fn is_about_the_group(reason: FixedBytes<4>) -> bool {
    reason == TicketBroker::MarkMoved::SELECTOR || reason == TicketBroker::SenderUnlocked::SELECTOR
}

/// What the reason of a skipped group means for the tickets that it is about, and its words. One endpoint alone says it, so a
/// ticket is given up only where it shows the fault itself. That it has expired is decided elsewhere, by the word of most.
pub fn judge(reason: FixedBytes<4>, record: &TicketRecord) -> (Verdict, String) {
    use TicketBroker as T;
    let signed = &record.ticket.signed;
    let (verdict, words) = match reason.0 {
        T::MarkMoved::SELECTOR => (Verdict::Wait, "its sender's mark has moved"),
        T::SenderUnlocked::SELECTOR => (Verdict::Wait, "sender is unlocked"),
        T::KeyNotAscending::SELECTOR => (Verdict::Wait, "its key is not above the one before"),
        T::NoBlockHash::SELECTOR => (Verdict::Wait, "its creation round has no block hash"),
        T::TicketNotMarked::SELECTOR => {
            (dead_if(!ordered::is_marked(record.ticket.recipient_rand)), "its secret carries no marker")
        }
        T::InvalidTerms::SELECTOR => {
            (dead_if(ordered_ticket(&record.ticket).is_err()), "its terms have undefined bits")
        }
        T::TicketExpired::SELECTOR => (Verdict::Wait, "ticket is expired"),
        T::TicketNotWinning::SELECTOR => (dead_if(!wins(signed, record.ticket.recipient_rand)), "ticket did not win"),
        // a reorganisation may have given its creation round another block hash, and may give it back
        T::InvalidSignature::SELECTOR if ticket_signer(signed) == Ok(signed.ticket.sender) => {
            (Verdict::Wait, "its creation round has another block hash")
        }
        T::InvalidSignature::SELECTOR => (Verdict::Dead, "invalid signature over ticket hash"),
        _ => {
            tracing::warn!(ticket = %record.hash, %reason, "ticket refused for an unknown reason");
            return (Verdict::Wait, format!("refused with the unknown error {reason}"));
        }
    };
    (verdict, words.to_owned())
}

const fn dead_if(is_faulty: bool) -> Verdict {
    if is_faulty { Verdict::Dead } else { Verdict::Wait }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::LogData;
    use streamflow_chain::{OrderedGroup, redeem_ordered_call};
    use streamflow_pm::{KeySigner, TicketSigner as _, ordered, sign_ticket, ticket_hash};
    use streamflow_store::TicketState;
    use streamflow_types::{Round, Ticket, WinProb, WinningTicket};

    use super::*;

    const BROKER: Address = Address::repeat_byte(0xbb);
    const RECIPIENT: Address = Address::repeat_byte(0x0a);

    fn record(key: u8, nonce: u32, face_value: u64) -> TicketRecord {
        let signer = KeySigner::from_bytes([key; 32]).unwrap();
        let recipient_rand = ordered::numbered(7, U256::from(nonce));
        let ticket = Ticket {
            recipient: RECIPIENT,
            sender: signer.address(),
            face_value: U256::from(face_value),
            win_prob: WinProb::MAX,
            sender_nonce: nonce,
            recipient_rand_hash: streamflow_pm::commitment(recipient_rand),
            creation_round: Round(9),
            creation_round_block_hash: B256::repeat_byte(3),
            deployment: None,
        };
        let signed = sign_ticket(ticket, &signer).unwrap();
        TicketRecord {
            hash: ticket_hash(&ticket),
            ticket: WinningTicket { signed, recipient_rand, params_expiration_block: 1 },
            state: TicketState::Pending { not_before: 0, reason: None },
            attempts: 0,
        }
    }

    fn sender(record: &TicketRecord) -> Address {
        record.ticket.signed.ticket.sender
    }

    fn group(records: &[TicketRecord]) -> OrderedGroup<'_> {
        let tickets = records.iter().map(|record| &record.ticket).collect();
        OrderedGroup { sender: sender(&records[0]), mark: U256::ZERO, tickets }
    }

    /// The call for these groups, each of one sender.
    fn data(groups: &[&[TicketRecord]]) -> Bytes {
        let groups: Vec<_> = groups.iter().map(|records| group(records)).collect();
        redeem_ordered_call(RECIPIENT, &groups).unwrap().abi_encode().into()
    }

    fn log(data: LogData) -> Log {
        Log { inner: alloy::primitives::Log { address: BROKER, data }, ..Log::default() }
    }

    fn moved(record: &TicketRecord, amount: u64) -> Log {
        let amount = U256::from(amount);
        log(TicketBroker::WinningTicketTransfer { sender: sender(record), recipient: RECIPIENT, amount }
            .encode_log_data())
    }

    fn aside(record: &TicketRecord) -> Log {
        let event = TicketBroker::TicketSetAside {
            ticketHash: record.hash,
            sender: sender(record),
            recipient: RECIPIENT,
            faceValue: record.ticket.signed.ticket.face_value,
        };
        log(event.encode_log_data())
    }

    fn skipped(record: &TicketRecord, index: u64, reason: [u8; 4]) -> Log {
        let event = TicketBroker::OrderedGroupSkipped {
            recipient: RECIPIENT,
            sender: sender(record),
            index: U256::from(index),
            reason: reason.into(),
        };
        log(event.encode_log_data())
    }

    fn fates(groups: &[&[TicketRecord]], logs: &[Log]) -> Vec<Fate> {
        let batch = BatchOutcome::read(BROKER, &data(groups), logs).unwrap();
        groups.iter().flat_map(|group| *group).map(|record| batch.fate(record).unwrap()).collect()
    }

    #[test]
    fn each_group_has_its_own_fate() {
        let rich = [record(1, 1, 500), record(1, 2, 300)];
        let poor = [record(2, 1, 40), record(2, 2, 1_000), record(2, 3, 50)];
        let broken = [record(3, 1, 10), record(3, 2, 10)];
        let reason = TicketBroker::TicketNotWinning::SELECTOR;
        let logs = [moved(&rich[0], 800), aside(&poor[1]), moved(&poor[0], 90), skipped(&broken[0], 1, reason)];
        let skips = [Fate::HeldUp(reason.into()), Fate::Refused(reason.into())];
        let expected = [Fate::Paid, Fate::Paid, Fate::Paid, Fate::SetAside, Fate::Paid, skips[0], skips[1]];
        assert_eq!(fates(&[&rich, &poor, &broken], &logs), expected);
    }

    #[test]
    fn a_sum_that_is_a_wei_off_pays_nobody() {
        let group = [record(1, 1, 500), record(1, 2, 300)];
        let unbalanced = |moved| Fate::Unbalanced { moved: U256::from(moved), owed: U256::from(800) };
        assert_eq!(fates(&[&group], &[moved(&group[0], 799)]), [unbalanced(799); 2]);
        assert_eq!(fates(&[&group], &[moved(&group[0], 801)]), [unbalanced(801); 2]);
        assert_eq!(fates(&[&group], &[]), [unbalanced(0); 2], "logs that are missing");
        let owed_less = Fate::Unbalanced { moved: U256::from(800), owed: U256::from(300) };
        assert_eq!(fates(&[&group], &[aside(&group[0]), moved(&group[0], 800)]), [owed_less; 2]);
    }

    #[test]
    fn a_group_without_funds_is_set_aside_whole() {
        let group = [record(1, 1, 500), record(1, 2, 300)];
        assert_eq!(fates(&[&group], &[aside(&group[0]), aside(&group[1])]), [Fate::SetAside; 2]);
    }

    #[test]
    fn logs_of_others_and_tickets_of_others_are_ignored() {
        let (own, other) = ([record(1, 1, 500)], record(1, 2, 500));
        let mut foreign = moved(&own[0], 500);
        foreign.inner.address = Address::repeat_byte(0xcc);
        let logs = [foreign, moved(&own[0], 500), moved(&record(5, 1, 1), 9)];
        assert_eq!(fates(&[&own], &logs), [Fate::Paid]);
        let batch = BatchOutcome::read(BROKER, &data(&[&own]), &logs).unwrap();
        assert_eq!(batch.fate(&other), None);
        assert!(BatchOutcome::read(BROKER, &Bytes::from_static(&[1, 2, 3, 4]), &logs).is_none());
    }

    #[test]
    fn a_moved_mark_refuses_every_ticket_of_the_group() {
        let group = [record(1, 1, 500), record(1, 2, 500)];
        let reason = TicketBroker::MarkMoved::SELECTOR;
        assert_eq!(fates(&[&group], &[skipped(&group[0], 0, reason)]), [Fate::Refused(reason.into()); 2]);
    }

    #[test]
    fn a_good_signature_that_the_chain_refuses_may_be_good_again() {
        let reason = FixedBytes(TicketBroker::InvalidSignature::SELECTOR);
        let mut ticket = record(1, 1, 500);
        assert_eq!(judge(reason, &ticket).0, Verdict::Wait);
        ticket.ticket.signed.ticket.face_value += U256::ONE;
        assert_eq!(judge(reason, &ticket).0, Verdict::Dead);
        assert_eq!(judge(FixedBytes([1, 2, 3, 4]), &ticket).0, Verdict::Wait);
    }

    #[test]
    fn a_ticket_is_not_given_up_for_a_fault_that_it_does_not_show() {
        let good = record(1, 1, 500);
        let mut losing = good.clone();
        losing.ticket.signed.ticket.win_prob = WinProb(U256::ZERO);
        let mut unmarked = good.clone();
        unmarked.ticket.recipient_rand = U256::from(1);
        let mut too_dear = good.clone();
        too_dear.ticket.signed.ticket.face_value = U256::MAX;
        for (selector, faulty) in [
            (TicketBroker::TicketNotWinning::SELECTOR, losing),
            (TicketBroker::TicketNotMarked::SELECTOR, unmarked),
            (TicketBroker::InvalidTerms::SELECTOR, too_dear),
        ] {
            assert_eq!(judge(FixedBytes(selector), &faulty).0, Verdict::Dead);
            assert_eq!(judge(FixedBytes(selector), &good).0, Verdict::Wait);
        }
        assert_eq!(judge(FixedBytes(TicketBroker::TicketExpired::SELECTOR), &good).0, Verdict::Wait);
    }
}
