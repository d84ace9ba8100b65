//! What a pass would do, and why, without doing it: the same pass, whose changes of the store and transactions are written
//! down here instead.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use alloy::primitives::{Address, B256, U256};
use streamflow_chain::TxIntent;
use streamflow_pm::ordered;
use streamflow_store::{TicketOutcome, TicketRecord, TicketState};
use streamflow_types::Round;

use crate::{KeeperConfig, economics::Because, ordered::plan::is_marked, planner::Situation};

/// What a keeper would do at one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DryRun {
    /// Newest block, as the contracts see it.
    pub block: u64,
    /// Round of that block.
    pub round: Round,
    /// The keeper's account.
    pub account: Address,
    /// Wei per gas that a transaction pays now.
    pub gas_price: u128,
    /// Median wei per gas of the recent blocks, if enough of them are known.
    pub usual_gas_price: Option<u128>,
    /// Transactions that would be sent now.
    pub batches: Vec<PlannedBatch>,
    /// Winners that are not paid yet, and what becomes of each.
    pub tickets: Vec<PlannedTicket>,
    /// Pending winners that are not listed.
    pub unlisted: u64,
}

/// A transaction that would be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedBatch {
    /// Whether by the ordered call.
    pub in_order: bool,
    /// How many tickets it carries.
    pub tickets: usize,
    /// How many of them it sets aside unpaid.
    pub aside: usize,
    /// Wei that it pays, or makes way for.
    pub worth: U256,
    /// Gas that it would use.
    pub gas: u64,
    /// Wei that the gas costs now.
    pub cost: U256,
    /// Most wei per gas that it would offer.
    pub max_fee: Option<u128>,
    /// Why now.
    pub because: String,
}

/// A winner, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedTicket {
    /// Hash of the ticket.
    pub hash: B256,
    /// Who signed it.
    pub sender: Address,
    /// Whom it pays.
    pub recipient: Address,
    /// Wei.
    pub face_value: U256,
    /// Round in which it was made.
    pub creation_round: Round,
    /// Place among the recipient's quotes, if it goes in order.
    pub serial: Option<u64>,
    /// What would be done.
    pub action: Action,
    /// Why.
    pub reason: String,
    /// Its part of the gas, wei, rounded up.
    pub cost: U256,
}

/// What a pass does with a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes into a transaction and is paid.
    Redeem,
    /// It goes into a transaction unpaid, to make way for others, and stays payable.
    SetAside,
    /// It waits.
    Wait,
    /// It is in a transaction that was sent before.
    UnderWay,
    /// It was paid by somebody else's transaction, which is recorded.
    Record,
    /// It can never be paid.
    GiveUp,
}

impl Action {
    /// A word for listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Redeem => "redeem",
            Self::SetAside => "set aside",
            Self::Wait => "wait",
            Self::UnderWay => "under way",
            Self::Record => "record",
            Self::GiveUp => "give up",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A transaction in the making.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) in_order: bool,
    pub(crate) aside: HashSet<B256>,
    pub(crate) worth: U256,
    pub(crate) gas: u64,
    pub(crate) gas_price: u128,
    pub(crate) because: Because,
}

/// Takes down what a pass would do. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    tickets: HashMap<B256, Entry>,
    batches: Vec<PlannedBatch>,
}

#[derive(Clone, Debug)]
struct Entry {
    action: Action,
    reason: String,
    cost: U256,
}

impl Ledger {
    fn with<T>(&self, change: impl FnOnce(&mut Entries) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Outcomes that would be stored.
    pub(crate) fn settled(&self, outcomes: &[(B256, TicketOutcome)]) {
        self.with(|entries| {
            for (hash, outcome) in outcomes {
                let (action, reason) = match outcome {
                    TicketOutcome::Redeemed(payout) => (Action::Record, format!("paid by {}", payout.tx_hash)),
                    TicketOutcome::Waiting { reason, .. } => (Action::Wait, reason.clone()),
                    TicketOutcome::Dead { reason } => (Action::GiveUp, reason.clone()),
                };
                entries.tickets.insert(*hash, Entry { action, reason, cost: U256::ZERO });
            }
        });
    }

    /// Tickets that could go, but had better wait.
    pub(crate) fn held(&self, tickets: &[&TicketRecord], reason: &str) {
        self.with(|entries| {
            for record in tickets {
                let entry = Entry { action: Action::Wait, reason: reason.to_owned(), cost: U256::ZERO };
                entries.tickets.insert(record.hash, entry);
            }
        });
    }

    /// A transaction that would be sent.
    pub(crate) fn sent(&self, tickets: &[TicketRecord], intent: &TxIntent, planned: &Planned) {
        let cost = U256::from(planned.gas).saturating_mul(U256::from(planned.gas_price));
        let share = cost.div_ceil(U256::from(tickets.len().max(1)));
        self.with(|entries| {
            entries.batches.push(PlannedBatch {
                in_order: planned.in_order,
                tickets: tickets.len(),
                aside: planned.aside.iter().filter(|hash| tickets.iter().any(|record| record.hash == **hash)).count(),
                worth: planned.worth,
                gas: planned.gas,
                cost,
                max_fee: intent.max_fee,
                because: planned.because.to_string(),
            });
            let number = entries.batches.len();
            for record in tickets {
                let action = if planned.aside.contains(&record.hash) { Action::SetAside } else { Action::Redeem };
                let entry = Entry { action, reason: format!("in transaction {number}"), cost: share };
                entries.tickets.insert(record.hash, entry);
            }
        });
    }

    pub(crate) fn batches(&self) -> Vec<PlannedBatch> {
        self.with(|entries| entries.batches.clone())
    }

    /// What becomes of a ticket; what the pass did not reach is told by its state.
    pub(crate) fn ticket(&self, record: &TicketRecord, situation: &Situation, config: &KeeperConfig) -> PlannedTicket {
        let ticket = &record.ticket.signed.ticket;
        let noted = self.with(|entries| entries.tickets.get(&record.hash).cloned());
        let Entry { action, reason, cost } = noted.unwrap_or_else(|| untouched(record, situation, config));
        PlannedTicket {
            hash: record.hash,
            sender: ticket.sender,
            recipient: ticket.recipient,
            face_value: ticket.face_value,
            creation_round: ticket.creation_round,
            serial: is_marked(record).then(|| ordered::serial(record.ticket.recipient_rand)),
            action,
            reason,
            cost,
        }
    }
}

fn untouched(record: &TicketRecord, situation: &Situation, config: &KeeperConfig) -> Entry {
    let expires = record.ticket.params_expiration_block;
    let shown = expires.saturating_add(config.expiry_margin_blocks);
    let (action, reason) = match &record.state {
        TicketState::Submitted { intent } => (Action::UnderWay, intent.clone()),
        _ if record.ticket.signed.ticket.creation_round < situation.oldest_round() => {
            (Action::GiveUp, "ticket is expired".to_owned())
        }
        _ if shown > situation.block => (Action::Wait, format!("its secret may be shown from block {shown}")),
        TicketState::Pending { not_before, reason } if *not_before > situation.block => {
            let why = reason.as_deref().unwrap_or("put off");
            (Action::Wait, format!("{why}; looked at again in block {not_before}"))
        }
        _ => (Action::Wait, "a later transaction, or a lower ticket of its sender must go first".to_owned()),
    };
    Entry { action, reason, cost: U256::ZERO }
}

#[cfg(test)]
mod tests {
    use streamflow_chain::{IntentId, TxIntent};
    use streamflow_store::Payout;

    use super::*;
    use crate::ordered::plan::drawn::record;

    fn situation() -> Situation {
        Situation { block: 1_000, round: Round(10), round_start: 900, round_length: 200, validity: 2 }
    }

    fn told(ledger: &Ledger, record: &TicketRecord) -> (Action, String, U256) {
        let ticket = ledger.ticket(record, &situation(), &KeeperConfig::default());
        (ticket.action, ticket.reason, ticket.cost)
    }

    #[test]
    fn what_a_pass_does_not_reach_is_told_by_its_state() {
        let ledger = Ledger::default();
        let wait = |record: &TicketRecord| told(&ledger, record).1;
        assert_eq!(wait(&record(1, (10, 1, 1), 1, 995)), "its secret may be shown from block 1005");
        let mut late = record(1, (10, 1, 1), 1, 1);
        late.state = TicketState::Pending { not_before: 1_003, reason: Some("no funds".to_owned()) };
        assert_eq!(wait(&late), "no funds; looked at again in block 1003");
        assert_eq!(told(&ledger, &record(1, (8, 1, 1), 1, 1)).0, Action::GiveUp);
        let mut submitted = record(1, (10, 1, 1), 1, 1);
        submitted.state = TicketState::Submitted { intent: "redeem/7".to_owned() };
        assert_eq!(told(&ledger, &submitted), (Action::UnderWay, "redeem/7".to_owned(), U256::ZERO));
    }

    #[test]
    fn the_gas_is_shared_by_the_tickets_of_a_transaction() {
        let ledger = Ledger::default();
        let tickets = [record(1, (10, 1, 1), 500, 1), record(1, (10, 1, 2), 500, 1), record(1, (10, 1, 3), 500, 1)];
        let intent = TxIntent {
            id: IntentId::new("redeem/7"),
            to: Address::ZERO,
            data: Default::default(),
            value: U256::ZERO,
            gas: Default::default(),
            max_fee: Some(9),
            label: "redeem",
        };
        let aside = HashSet::from([tickets[1].hash]);
        let because = Because::Waited;
        let planned = Planned { in_order: true, aside, worth: U256::from(1_000), gas: 10, gas_price: 10, because };
        ledger.sent(&tickets, &intent, &planned);
        assert_eq!(told(&ledger, &tickets[0]), (Action::Redeem, "in transaction 1".to_owned(), U256::from(34)));
        assert_eq!(told(&ledger, &tickets[1]).0, Action::SetAside);
        let [batch] = &ledger.batches()[..] else { panic!("one batch") };
        assert_eq!((batch.tickets, batch.aside, batch.cost, batch.max_fee), (3, 1, U256::from(100), Some(9)));
    }

    #[test]
    fn outcomes_are_told_and_not_stored() {
        let ledger = Ledger::default();
        let ticket = record(1, (10, 1, 1), 1, 1);
        let payout = Payout { amount: U256::ONE, tx_hash: B256::repeat_byte(7), block: 1 };
        ledger.settled(&[(ticket.hash, TicketOutcome::Redeemed(payout))]);
        assert_eq!(told(&ledger, &ticket).0, Action::Record);
        ledger.settled(&[(ticket.hash, TicketOutcome::Dead { reason: "no".to_owned() })]);
        assert_eq!(told(&ledger, &ticket), (Action::GiveUp, "no".to_owned(), U256::ZERO));
    }
}
