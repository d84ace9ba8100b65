//! What logs tell of the rounds that they cover, by orchestrator.
//!
//! Fees are booked to the round in which a ticket is redeemed, not the one in which the work was done.
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use alloy::{
    primitives::{Address, B256, U256},
    rpc::types::{Filter, Log},
    sol_types::{SolCall, SolEvent},
};
use futures::{StreamExt, TryStreamExt, stream};
use streamflow_bindings::{BondingManager, RoundsManager, TicketBroker};

use super::{OnProgress, Progress, REQUESTS, logs};
use crate::{Chain, ChainError, number::to_u64};

/// The newest rounds of a chain and what happened in them.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Initialised rounds, oldest first.
    pub(super) rounds: Vec<StartedRound>,
    pub(super) books: BTreeMap<Address, Book>,
    /// Payments whose logs do not tell how many tickets they are for.
    pub(super) ordered: Vec<OrderedPayment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StartedRound {
    pub(super) round: u64,
    /// Block that initialised it.
    pub(super) block: u64,
}

/// One orchestrator, by round.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) income: BTreeMap<u64, Income>,
    /// LPT wei minted by its reward call, a treasury's part not counted.
    pub(super) rewards: BTreeMap<u64, U256>,
    stake: BTreeMap<u64, StakeChange>,
    /// First round with, or without, a seat in the active set; in order of the logs.
    seats: Vec<(u64, bool)>,
}

/// Fees of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Income {
    /// Wei moved, whatever face values said.
    pub(super) fees: U256,
    pub(super) winners: u64,
    /// Whether `winners` counts all; else there were at least so many.
    pub(super) complete: bool,
}

impl Default for Income {
    fn default() -> Self {
        Self { fees: U256::ZERO, winners: 0, complete: true }
    }
}

/// How all that is delegated to an orchestrator changed in a round.
#[derive(Clone, Copy, Debug, Default)]
struct StakeChange {
    gained: U256,
    lost: U256,
    /// The log of a slash does not say how much of it was stake and how much was being unbonded.
    is_slashed: bool,
}

/// A sum paid for tickets of one sender, without a log for each ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OrderedPayment {
    pub(super) transaction: B256,
    pub(super) sender: Address,
    pub(super) recipient: Address,
    round: u64,
}

impl Record {
    /// Reads the newest `rounds` initialised rounds up to block `head`, and counts their winners.
    pub(super) async fn read(
        chain: &Chain,
        head: u64,
        rounds: usize,
        progress: OnProgress<'_>,
    ) -> Result<Self, ChainError> {
        let contracts =
            [chain.contracts.rounds_manager, chain.contracts.bonding_manager, chain.contracts.ticket_broker];
        let filter = Filter::new().address(contracts.to_vec()).event_signature(SIGNATURES.to_vec());
        let mut started = 0;
        let logs = logs::backward(chain, &filter, head, |logs| {
            started += logs.iter().filter(|log| is_new_round(log)).count();
            progress(Progress::Rounds { done: started.min(rounds), of: rounds });
            started >= rounds
        })
        .await?;
        let mut record = Self::from_logs(&logs, rounds)?;
        record.count_ordered(chain, progress).await?;
        Ok(record)
    }

    /// From logs in their order; what came before the newest `rounds` rounds is left out.
    pub(super) fn from_logs(logs: &[Log], rounds: usize) -> Result<Self, ChainError> {
        let mut record = Self::default();
        let mut skipped = logs.iter().filter(|log| is_new_round(log)).count().saturating_sub(rounds);
        let mut payment = None;
        for log in logs {
            if is_new_round(log) && skipped > 0 {
                skipped -= 1;
            } else if is_new_round(log) || !record.rounds.is_empty() {
                record.book(log, &mut payment)?;
            }
        }
        record.ordered.extend(payment);
        Ok(record)
    }

    /// `payment` is the latest transfer, of which no ticket's own log has followed yet.
    fn book(&mut self, log: &Log, payment: &mut Option<OrderedPayment>) -> Result<(), ChainError> {
        if let (Ok(event), Some(block)) = (RoundsManager::NewRound::decode_log(&log.inner), log.block_number) {
            self.rounds.push(StartedRound { round: to_u64(event.round, "the round")?, block });
            return Ok(());
        }
        let Some(round) = self.rounds.last().map(|started| started.round) else { return Ok(()) };
        if let Ok(event) = TicketBroker::WinningTicketTransfer::decode_log(&log.inner) {
            let income = self.books.entry(event.recipient).or_default().income.entry(round).or_default();
            income.fees = sum(income.fees, event.amount)?;
            let transaction = log.transaction_hash.unwrap_or_default();
            let (sender, recipient) = (event.sender, event.recipient);
            self.ordered.extend(payment.replace(OrderedPayment { transaction, sender, recipient, round }));
            return Ok(());
        }
        if let Ok(event) = TicketBroker::WinningTicketRedeemed::decode_log(&log.inner) {
            let is_its_own = |paid: &OrderedPayment| {
                Some(paid.transaction) == log.transaction_hash
                    && (paid.sender, paid.recipient) == (event.sender, event.recipient)
            };
            if let Some(paid) = payment.take_if(|paid| is_its_own(paid)) {
                self.income(&paid).winners += 1;
            }
            return Ok(());
        }
        self.book_stake(log, round)
    }

    fn book_stake(&mut self, log: &Log, round: u64) -> Result<(), ChainError> {
        if let Ok(event) = BondingManager::Reward::decode_log(&log.inner) {
            self.books.entry(event.transcoder).or_default().rewards.insert(round, event.amount);
            return self.gain(event.transcoder, round, event.amount);
        }
        if let Ok(event) = BondingManager::Bond::decode_log(&log.inner) {
            if event.oldDelegate == event.newDelegate || event.oldDelegate.is_zero() {
                return self.gain(event.newDelegate, round, event.additionalAmount);
            }
            let moved = event.bondedAmount.saturating_sub(event.additionalAmount);
            self.lose(event.oldDelegate, round, moved)?;
            return self.gain(event.newDelegate, round, event.bondedAmount);
        }
        if let Ok(event) = BondingManager::Unbond::decode_log(&log.inner) {
            return self.lose(event.delegate, round, event.amount);
        }
        if let Ok(event) = BondingManager::Rebond::decode_log(&log.inner) {
            return self.gain(event.delegate, round, event.amount);
        }
        if let Ok(event) = BondingManager::TranscoderSlashed::decode_log(&log.inner) {
            self.change(event.transcoder, round).is_slashed = true;
        } else if let Ok(event) = BondingManager::TranscoderActivated::decode_log(&log.inner) {
            let from = event.activationRound.saturating_to();
            self.books.entry(event.transcoder).or_default().seats.push((from, true));
        } else if let Ok(event) = BondingManager::TranscoderDeactivated::decode_log(&log.inner) {
            let from = event.deactivationRound.saturating_to();
            self.books.entry(event.transcoder).or_default().seats.push((from, false));
        }
        Ok(())
    }

    fn gain(&mut self, orchestrator: Address, round: u64, amount: U256) -> Result<(), ChainError> {
        let change = self.change(orchestrator, round);
        change.gained = sum(change.gained, amount)?;
        Ok(())
    }

    fn lose(&mut self, orchestrator: Address, round: u64, amount: U256) -> Result<(), ChainError> {
        let change = self.change(orchestrator, round);
        change.lost = sum(change.lost, amount)?;
        Ok(())
    }

    fn change(&mut self, orchestrator: Address, round: u64) -> &mut StakeChange {
        self.books.entry(orchestrator).or_default().stake.entry(round).or_default()
    }

    fn income(&mut self, payment: &OrderedPayment) -> &mut Income {
        self.books.entry(payment.recipient).or_default().income.entry(payment.round).or_default()
    }

    /// Counts the tickets of ordered batches, from the calls that redeemed them.
    async fn count_ordered(&mut self, chain: &Chain, progress: OnProgress<'_>) -> Result<(), ChainError> {
        let payments = std::mem::take(&mut self.ordered);
        let of = payments.len();
        let mut counts = stream::iter(payments)
            .map(|payment| async move { Ok::<_, ChainError>((payment, paid_tickets(chain, &payment).await?)) })
            .buffered(REQUESTS);
        let mut done = 0;
        while let Some((payment, count)) = counts.try_next().await? {
            let income = self.income(&payment);
            income.winners += count.unwrap_or(1);
            income.complete &= count.is_some();
            done += 1;
            progress(Progress::Transactions { done, of });
        }
        Ok(())
    }
}

impl Book {
    /// Whether it had a seat in `round`; `present` is its first and its end round as the chain has them now.
    pub(super) fn is_active(&self, round: u64, present: (U256, U256)) -> bool {
        // A later log overrules an earlier one, also where it names an earlier round: a slash ends a seat at once.
        if let Some((_, active)) = self.seats.iter().rev().find(|(from, _)| *from <= round) {
            return *active;
        }
        match self.seats.first() {
            Some((_, later)) => !later,
            None => (present.0..present.1).contains(&U256::from(round)) && !present.0.is_zero(),
        }
    }

    /// What was delegated when `round` began, from what it was at its end; `None` if that cannot be told.
    pub(super) fn stake_before(&self, round: u64, stake_after: Option<U256>) -> Option<U256> {
        let Some(change) = self.stake.get(&round) else { return stake_after };
        if change.is_slashed {
            return None;
        }
        stake_after?.checked_add(change.lost)?.checked_sub(change.gained)
    }

    /// Whether it was slashed in `round`.
    pub(super) fn is_slashed(&self, round: u64) -> bool {
        self.stake.get(&round).is_some_and(|change| change.is_slashed)
    }
}

const SIGNATURES: [B256; 10] = [
    RoundsManager::NewRound::SIGNATURE_HASH,
    TicketBroker::WinningTicketTransfer::SIGNATURE_HASH,
    TicketBroker::WinningTicketRedeemed::SIGNATURE_HASH,
    BondingManager::Reward::SIGNATURE_HASH,
    BondingManager::Bond::SIGNATURE_HASH,
    BondingManager::Unbond::SIGNATURE_HASH,
    BondingManager::Rebond::SIGNATURE_HASH,
    BondingManager::TranscoderSlashed::SIGNATURE_HASH,
    BondingManager::TranscoderActivated::SIGNATURE_HASH,
    BondingManager::TranscoderDeactivated::SIGNATURE_HASH,
];

/// Beginnings of rounds, and slashes in them, newest logs read first, until one at or before `round` or `rounds` of them are
/// found.
pub(super) async fn rounds_since(
    chain: &Chain,
    head: u64,
    round: u64,
    rounds: usize,
    progress: OnProgress<'_>,
) -> Result<Record, ChainError> {
    let contracts = vec![chain.contracts.rounds_manager, chain.contracts.bonding_manager];
    let signatures = vec![RoundsManager::NewRound::SIGNATURE_HASH, BondingManager::TranscoderSlashed::SIGNATURE_HASH];
    let filter = Filter::new().address(contracts).event_signature(signatures);
    let mut started = 0;
    let logs = logs::backward(chain, &filter, head, |logs| {
        let found: Vec<U256> = logs
            .iter()
            .filter_map(|log| RoundsManager::NewRound::decode_log(&log.inner).ok())
            .map(|event| event.round)
            .collect();
        started += found.len();
        progress(Progress::Rounds { done: started.min(rounds), of: rounds });
        started >= rounds || found.iter().any(|found| *found <= U256::from(round))
    })
    .await?;
    let mut record = Record::from_logs(&logs, rounds)?;
    record.rounds.retain(|started| started.round >= round);
    Ok(record)
}

/// Tickets that an ordered batch paid to this recipient for this sender; `None` if the call does not tell, because another
/// contract made it.
async fn paid_tickets(chain: &Chain, payment: &OrderedPayment) -> Result<Option<u64>, ChainError> {
    let Some(call) = chain.rpc.mined_call(payment.transaction).await? else { return Ok(None) };
    if call.to != Some(chain.contracts.ticket_broker) {
        return Ok(None);
    }
    let Ok(batch) = TicketBroker::redeemOrderedTicketsCall::abi_decode(&call.data) else { return Ok(None) };
    let group = batch.groups.iter().find(|group| group.sender == payment.sender);
    let Some(count) = group.map(|group| (group.plan >> COUNT_SHIFT).saturating_to::<u64>()) else { return Ok(None) };
    let set_aside = call.logs.iter().filter_map(|log| TicketBroker::TicketSetAside::decode_log(&log.inner).ok());
    let unpaid =
        set_aside.filter(|event| event.sender == payment.sender && event.recipient == payment.recipient).count();
    Ok(count.checked_sub(unpaid as u64))
}

/// Bits below the count in a group's plan.
const COUNT_SHIFT: usize = 192;

fn is_new_round(log: &Log) -> bool {
    log.topic0() == Some(&RoundsManager::NewRound::SIGNATURE_HASH)
}

fn sum(a: U256, b: U256) -> Result<U256, ChainError> {
    a.checked_add(b).ok_or(ChainError::OutOfRange { what: "a sum of amounts" })
}
