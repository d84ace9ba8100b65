//! Keeps the fee ceilings of what is under way up with what it is worth (docs/designs/020-keeper-policy.md).
//!
//! A ceiling is signed with the margin of its time. Later the margin falls towards nothing: tickets near their end, a sender
//! unlocks, a recipient leaves, or something urgent waits behind the transaction. While an outcome is awaited, every new view
//! of the chain is a look at all that is under way, and what gas is too dear for, but would not be at the present margin, is
//! raised. What is not worth its gas at any margin makes way for something urgent that is: an empty transfer takes its nonce, and
//! its tickets wait anew. All that a look needs is in the journal, the store and the chain, so a restart goes on with it.

use std::{collections::HashMap, convert::Infallible};

use alloy::{primitives::U256, sol_types::SolCall};
use streamflow_bindings::TicketBroker;
use streamflow_chain::{TxError, TxIntent, TxJournal as _, TxOutcome, TxRecord};
use streamflow_store::TicketRecord;

use crate::{
    Journal, KeeperConfig, KeeperError, deployed,
    economics::{Escalation, carries, ceiling},
    metrics,
    ordered::{
        ASIDE_HEADROOM_GAS,
        outcome::{BatchOutcome, Fate},
        plan::{self, is_marked, worth},
    },
    planner::{Situation, select},
    receipt::{TicketEvent, ticket_events},
    redeem::{Ready, Redeemer},
    snapshot::Snapshot,
};

/// Gas of an empty transfer.
const TRANSFER_GAS: u64 = 21_000;
/// A ceiling this many times the gas price holds nothing up: below it the fees follow the price by themselves.
const ROOM: u128 = 2;

impl Redeemer {
    /// Sends and awaits the outcome, and keeps ceilings up meanwhile.
    pub(crate) async fn send(&self, call: TxIntent) -> Result<TxOutcome, TxError> {
        tokio::select! { biased;
            outcome = self.tx.send(call) => outcome,
            never = Box::pin(self.keep_up()) => match never {},
        }
    }

    async fn keep_up(&self) -> Infallible {
        let mut view = self.view.clone();
        while view.changed().await.is_ok() {
            if let Err(err) = self.raise_due().await {
                tracing::info!(%err, "cannot look at the fee ceilings, trying again");
            }
        }
        // The follower has ended: nothing new will be known.
        std::future::pending().await
    }

    /// Raises what the gas price holds up and that may cost more now, if that gets it mined at this price. What is behind a
    /// transaction presses it like its own tickets: it cannot be mined before.
    async fn raise_due(&self) -> Result<(), KeeperError> {
        let snapshot = Snapshot::newest(&self.chain).await?;
        let price = self.gas_price(&snapshot.head);
        let open = Journal::new(self.store.clone()).open(self.chain.chain_id, self.tx.address()).await?;
        let is_held = |record: &TxRecord| record.max_fee.is_some_and(|ceiling| ceiling < price.saturating_mul(ROOM));
        if !open.iter().any(is_held) {
            return Ok(());
        }
        let batches = self.store.submitted_batches().await?;
        let mut batches: HashMap<String, Vec<TicketRecord>> =
            batches.into_iter().map(|batch| (batch.intent, batch.tickets)).collect();
        let situation = self.situation(&snapshot).await?;
        let waiting = self.waiting(&situation, price, &snapshot).await?;
        let mut pressing = waiting.escalation;
        // the last nonce first
        for (place, record) in open.iter().enumerate().rev() {
            let Some(tickets) = batches.remove(record.intent.as_str()) else {
                // A reward or a round: missed, it cannot be made up for.
                pressing = Escalation::FULL;
                continue;
            };
            pressing = pressing.max(self.pressure_on(&tickets, &situation, &snapshot).await?);
            if !is_held(record) {
                continue;
            }
            let pays = self.pays(&tickets, record, &snapshot).await?;
            let at = |margin| ceiling(pays, gas(record, tickets.len()), margin);
            let new = at(pressing.margin(self.config.margin_percent));
            if new >= price {
                self.raise(record, new).await?;
                continue;
            }
            let is_hopeless = place == 0 && at(0) < price;
            if is_hopeless && waiting.carries(price, &self.config) && !self.stop.is_cancelled() {
                self.tx.cancel(&record.intent).await?;
            }
        }
        Ok(())
    }

    async fn raise(&self, record: &TxRecord, new: u128) -> Result<(), KeeperError> {
        if record.max_fee.is_none_or(|old| new <= old) {
            return Ok(());
        }
        let Some(raised) = self.tx.raise(&record.intent, new).await? else { return Ok(()) };
        let (ceiling, offer) = (raised.ceiling, raised.max_fee_per_gas);
        let behind = raised.behind.as_ref().map(ToString::to_string);
        tracing::info!(intent = %record.intent, old = record.max_fee, ceiling, offer, behind, "raised a fee ceiling");
        metrics::raised();
        Ok(())
    }

    async fn pressure_on(
        &self,
        tickets: &[TicketRecord],
        situation: &Situation,
        snapshot: &Snapshot,
    ) -> Result<Escalation, KeeperError> {
        let tickets: Vec<&TicketRecord> = tickets.iter().collect();
        let covers = self.covers(&tickets, situation.round, snapshot).await?;
        self.escalation(&tickets, &covers, situation, snapshot).await
    }

    /// The tickets that wait for what is under way: those that are covered and worth their gas, the oldest and dearest of them.
    async fn waiting(&self, situation: &Situation, price: u128, snapshot: &Snapshot) -> Result<Waiting, KeeperError> {
        let Ready { mut tickets, .. } = self.ready(situation, snapshot).await?;
        tickets.retain(|record| {
            record.ticket.signed.ticket.face_value > U256::from(ticket_gas(record)).saturating_mul(U256::from(price))
        });
        let covers = self.covers(&tickets.iter().collect::<Vec<_>>(), situation.round, snapshot).await?;
        let payable = select(tickets, covers.clone(), &self.config).batch;
        let escalation = self.escalation(&payable.iter().collect::<Vec<_>>(), &covers, situation, snapshot).await?;
        let gas = payable.iter().map(ticket_gas).fold(deployed::FIXED_GAS, u64::saturating_add);
        Ok(Waiting { escalation, worth: worth(&payable), gas })
    }

    /// Wei that the transaction would pay for these tickets now.
    async fn pays(
        &self,
        tickets: &[TicketRecord],
        record: &TxRecord,
        snapshot: &Snapshot,
    ) -> Result<U256, KeeperError> {
        let simulated = self.simulate(record.data.clone(), snapshot).await?;
        let broker = self.chain.contracts.ticket_broker;
        if let Some(batch) = BatchOutcome::read(broker, &record.data, &simulated.logs) {
            return Ok(worth(tickets.iter().filter(|ticket| batch.fate(ticket) == Some(Fate::Paid))));
        }
        let events = ticket_events(broker, &simulated.logs);
        let paid = tickets.iter().filter_map(|ticket| match events.get(&ticket.hash) {
            Some(TicketEvent::Paid(amount)) => Some(ticket.ticket.signed.ticket.face_value.min(*amount)),
            Some(TicketEvent::Skipped(_)) | None => None,
        });
        Ok(paid.fold(U256::ZERO, U256::saturating_add))
    }
}

/// What waits for what is under way.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// How much it presses.
    escalation: Escalation,
    /// Σ face value, wei.
    worth: U256,
    /// Gas of its own transaction, roughly.
    gas: u64,
}

impl Waiting {
    /// Whether it must go soon, and carries its own gas at this price as well as that of an empty transfer in the place of
    /// what it waits for.
    fn carries(&self, price: u128, config: &KeeperConfig) -> bool {
        let gas = self.gas.saturating_add(TRANSFER_GAS);
        let cost = U256::from(gas).saturating_mul(U256::from(price));
        self.escalation.has_begun() && carries(self.worth, cost, self.escalation.margin(config.margin_percent))
    }
}

/// Gas of a ticket in a transaction of several, roughly.
fn ticket_gas(record: &TicketRecord) -> u64 {
    if is_marked(record) { plan::TICKET_GAS + plan::GROUP_GAS } else { deployed::TICKET_GAS }
}

/// The gas that the ceiling was reckoned with: the limit, less what an ordered batch has on top.
fn gas(record: &TxRecord, tickets: usize) -> u64 {
    if record.data.starts_with(&TicketBroker::redeemOrderedTicketsCall::SELECTOR) {
        record.gas_limit.saturating_sub(ASIDE_HEADROOM_GAS.saturating_mul(tickets as u64))
    } else {
        record.gas_limit
    }
}
