//! Winners redeemed, on either path.
use std::collections::BTreeMap;

use alloy::{
    primitives::{Address, U256},
    sol_types::SolCall,
};
use streamflow_bindings::TicketBroker;
use streamflow_chain::{OrderedGroup, redeem_call, redeem_ordered_call};
use streamflow_evm::{Done, EvmError, Refusal};
use streamflow_pm::ordered;
use streamflow_types::WinningTicket;

use super::World;
use crate::{SimulatorError, Wei};

/// What a redemption came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Paid {
    pub(crate) gas: u64,
    /// Booked as fees of the recipients.
    pub(crate) wei: Wei,
}

impl Paid {
    fn of<T>(done: &Done<T>) -> Self {
        let transfers = done.events::<TicketBroker::WinningTicketTransfer>();
        Self { gas: done.gas, wei: transfers.map(|event| Wei::from_chain(event.amount)).sum() }
    }
}

impl World {
    /// Redeems one by the deployed call.
    pub(crate) fn redeem(&mut self, winner: &WinningTicket) -> Result<Result<Paid, Refusal>, EvmError> {
        let caller = winner.signed.ticket.recipient;
        let outcome = self.try_send(caller, self.contracts.ticket_broker, redeem_call(winner), U256::ZERO)?;
        Ok(outcome.map(|done| Paid::of(&done)))
    }

    /// Redeems one that must be paid.
    pub(crate) fn must_redeem(&mut self, winner: &WinningTicket) -> Result<Paid, EvmError> {
        let call = TicketBroker::redeemWinningTicketCall::SIGNATURE;
        self.redeem(winner)?.map_err(|refusal| EvmError::Refused { call, refusal })
    }

    /// What [`World::redeem`] would do.
    pub(crate) fn simulate_redeem(&mut self, winner: &WinningTicket) -> Result<Result<Paid, Refusal>, EvmError> {
        let caller = winner.signed.ticket.recipient;
        let outcome = self.simulate(caller, self.contracts.ticket_broker, redeem_call(winner))?;
        Ok(outcome.map(|done| Paid::of(&done)))
    }

    /// Redeems several of one recipient by the deployed call for batches.
    pub(crate) fn redeem_batch(&mut self, winners: &[WinningTicket]) -> Result<Paid, EvmError> {
        let Some(first) = winners.first() else { return Ok(Paid::default()) };
        let calls: Vec<_> = winners.iter().map(redeem_call).collect();
        let call = TicketBroker::batchRedeemWinningTicketsCall {
            tickets: calls.iter().map(|call| call.ticket.clone()).collect(),
            sigs: calls.iter().map(|call| call.sig.clone()).collect(),
            recipientRands: calls.iter().map(|call| call.recipientRand).collect(),
        };
        let done = self.send(first.signed.ticket.recipient, self.contracts.ticket_broker, call, U256::ZERO)?;
        Ok(Paid::of(&done))
    }

    /// Redeems several marked ones of one recipient in their order.
    pub(crate) fn redeem_in_order(&mut self, winners: &[WinningTicket]) -> Result<Paid, SimulatorError> {
        let Some(first) = winners.first() else { return Ok(Paid::default()) };
        let recipient = first.signed.ticket.recipient;
        let mut senders: BTreeMap<Address, Vec<&WinningTicket>> = BTreeMap::new();
        for winner in winners {
            senders.entry(winner.signed.ticket.sender).or_default().push(winner);
        }
        let mut groups = Vec::new();
        for (sender, mut tickets) in senders {
            tickets.sort_by_key(|winner| key(winner));
            let mark = TicketBroker::redemptionMarkCall { recipient, sender };
            groups.push(OrderedGroup { sender, mark: self.view(self.contracts.ticket_broker, mark)?, tickets });
        }
        let call = redeem_ordered_call(recipient, &groups)?;
        let done = self.send(recipient, self.contracts.ticket_broker, call, U256::ZERO)?;
        Ok(Paid::of(&done))
    }
}

/// Place of a marked winner in its sender's order.
fn key(winner: &WinningTicket) -> U256 {
    let own = &winner.signed.ticket;
    ordered::key(own.creation_round, ordered::serial(winner.recipient_rand), own.sender_nonce)
}
