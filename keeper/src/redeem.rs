//! Redeeming: reads what the planner needs, sends what it decides, records what the chain answers.
//!
//! One batch at a time: bound to its tickets in the store, signed and journalled, sent, awaited, settled from its events.
//! Every step can be repeated after a crash, and the transaction has one name throughout.

use std::collections::{HashMap, HashSet};

use alloy::{
    eips::BlockId,
    primitives::{Address, B256, U256},
    rpc::types::Filter,
    sol_types::SolEvent,
};
use futures::{StreamExt, TryStreamExt, stream};
use streamflow_bindings::{RoundsManager, TicketBroker};
use streamflow_chain::{
    BlockHeader, Calls, Chain, ChainError, IntentId, Revert, TxError, TxHandle, TxIntent, TxOutcome, redeem_call,
};
use streamflow_store::{Payout, RedemptionReceipt, Store, SubmittedBatch, TicketOutcome, TicketRecord};
use streamflow_types::Round;
use tokio_util::sync::CancellationToken;

use crate::{
    KeeperConfig, KeeperError,
    calls::{redemption, redemption_id},
    duty::Progress,
    finality::check_payouts,
    metrics,
    number::to_u64,
    planner::{Cost, Decision, SenderCover, Situation, decide, fee_cap, select},
    receipt::{TicketEvent, ticket_events},
    verdict::{Verdict, classify},
};

/// Tickets considered in one pass. Those that cannot be paid are put off, so that later ones get their turn.
const CANDIDATES: u32 = 1_000;
/// Questions to the node at the same time.
const READS: usize = 8;
/// Blocks in one search for logs; nodes refuse more than some 10,000 results.
const LOG_RANGE: u64 = 5_000;

type Outcomes = Vec<(B256, TicketOutcome)>;

/// A batch that carries its gas.
struct Carried {
    tickets: Vec<TicketRecord>,
    /// Most wei per gas at which it still does.
    max_fee: u128,
}

/// Redeems tickets of the store with one key.
#[derive(Clone, Debug)]
pub(crate) struct Redeemer {
    pub(crate) config: KeeperConfig,
    pub(crate) store: Store,
    pub(crate) chain: Chain,
    pub(crate) tx: TxHandle,
    /// Wei per gas on top of the base fee.
    pub(crate) priority_fee: u128,
    /// Once cancelled nothing new is sent.
    pub(crate) stop: CancellationToken,
}

impl Redeemer {
    /// Takes the next batch from "won" to "paid", or finds that there is none to send now.
    pub(crate) async fn pass(self) -> Result<Progress, KeeperError> {
        if self.resume().await? {
            return Ok(Progress::More);
        }
        let head = self.chain.rpc.head().await?;
        check_payouts(&self.chain, &self.store, &head, self.config.finality_blocks).await?;
        let situation = self.situation(&head).await?;
        let expired = self.store.expire_before(situation.oldest_round(), situation.block).await?;
        if !expired.is_empty() {
            tracing::error!(tickets = expired.len(), oldest = %situation.oldest_round(), "tickets expired unpaid");
            metrics::dead(expired.len() as u64);
        }
        let Some(revealable) = situation.revealable(&self.config) else { return Ok(Progress::NotYet) };
        let tickets = self.store.redeemable(revealable, situation.oldest_round(), CANDIDATES).await?;
        metrics::ready(tickets.len());
        if tickets.is_empty() {
            return Ok(Progress::NotYet);
        }
        let covers = self.covers(&tickets, situation.round, &head).await?;
        let selection = select(tickets, &situation, covers, &self.config);
        let uncovered = selection.uncovered.iter().map(|(hash, why)| (*hash, self.wait(why, situation.block)));
        self.settle(uncovered.collect(), None, situation.block).await?;
        let batch = self.simulated(selection.batch, &head).await?;
        let Some(Carried { tickets, max_fee }) = self.worth_sending(batch, selection.urgent, &head).await? else {
            return Ok(Progress::NotYet);
        };
        if self.stop.is_cancelled() {
            return Ok(Progress::NotYet);
        }
        let intent = redemption_id(&tickets).to_string();
        let hashes: Vec<B256> = tickets.iter().map(|record| record.hash).collect();
        self.store.submit(&intent, &hashes, situation.block).await?;
        self.finish(SubmittedBatch { intent, tickets }, Some(max_fee)).await?;
        Ok(Progress::More)
    }

    /// Brings batches to their end that an earlier pass, or an earlier run of the program, left under way.
    async fn resume(&self) -> Result<bool, KeeperError> {
        let batches = self.store.submitted_batches().await?;
        let found = !batches.is_empty();
        for batch in batches {
            let sent = self.store.transaction(self.chain.chain_id, self.tx.address(), &batch.intent).await?;
            if let Some(sent) = sent {
                self.finish(batch, sent.max_fee).await?;
            } else {
                // nothing was signed; if somebody else redeemed them meanwhile, their simulation tells
                let outcomes = batch.tickets.iter().map(|record| {
                    let reason = "interrupted before it was sent".to_owned();
                    (record.hash, TicketOutcome::Waiting { reason, not_before: 0 })
                });
                let block = self.chain.rpc.head().await?.contract_number;
                self.settle(outcomes.collect(), None, block).await?;
            }
        }
        Ok(found)
    }

    async fn situation(&self, head: &BlockHeader) -> Result<Situation, KeeperError> {
        let (rounds, broker) = (self.chain.contracts.rounds_manager, self.chain.contracts.ticket_broker);
        let (rpc, at) = (&self.chain.rpc, BlockId::from(head.hash));
        let (round, start, length, validity) = tokio::try_join!(
            rpc.view(rounds, RoundsManager::currentRoundCall {}, at),
            rpc.view(rounds, RoundsManager::currentRoundStartBlockCall {}, at),
            rpc.view(rounds, RoundsManager::roundLengthCall {}, at),
            rpc.view(broker, TicketBroker::ticketValidityPeriodCall {}, at),
        )?;
        Ok(Situation {
            block: head.contract_number,
            round: Round(to_u64(round, "the round")?),
            round_start: to_u64(start, "the start of the round")?,
            round_length: to_u64(length, "the length of the round")?,
            validity: to_u64(validity, "the ticket validity period")?,
        })
    }

    /// What the senders of these tickets can pay, all read at one block.
    async fn covers(
        &self,
        tickets: &[TicketRecord],
        round: Round,
        head: &BlockHeader,
    ) -> Result<HashMap<Address, SenderCover>, KeeperError> {
        let pair = |record: &TicketRecord| (record.ticket.signed.ticket.sender, record.ticket.signed.ticket.recipient);
        let pairs: HashSet<(Address, Address)> = tickets.iter().map(pair).collect();
        let senders: HashSet<Address> = pairs.iter().map(|(sender, _)| *sender).collect();
        let at = BlockId::from(head.hash);
        let mut covers: HashMap<Address, SenderCover> = stream::iter(senders)
            .map(|sender| async move { Ok::<_, KeeperError>((sender, self.cover(sender, round, at).await?)) })
            .buffer_unordered(READS)
            .try_collect()
            .await?;
        let claims: Vec<_> = stream::iter(pairs)
            .map(|(sender, recipient)| async move {
                Ok::<_, KeeperError>((sender, recipient, self.claimable(sender, recipient, at).await?))
            })
            .buffer_unordered(READS)
            .try_collect()
            .await?;
        for (sender, recipient, wei) in claims {
            covers.entry(sender).or_default().claimable.insert(recipient, wei);
        }
        Ok(covers)
    }

    async fn cover(&self, sender: Address, round: Round, at: BlockId) -> Result<SenderCover, KeeperError> {
        let call = TicketBroker::getSenderInfoCall { addr: sender };
        let info = self.chain.rpc.view(self.chain.contracts.ticket_broker, call, at).await?.sender;
        let unlocked = !info.withdrawRound.is_zero() && info.withdrawRound <= U256::from(round.0);
        Ok(SenderCover { deposit: info.deposit, claimable: HashMap::new(), unlocked })
    }

    async fn claimable(&self, sender: Address, recipient: Address, at: BlockId) -> Result<U256, KeeperError> {
        let call = TicketBroker::claimableReserveCall { reserveHolder: sender, claimant: recipient };
        match self.chain.rpc.view(self.chain.contracts.ticket_broker, call, at).await {
            // deployed contracts panic when the pool grew after a full claim (protocol#656)
            Err(ChainError::Reverted { .. }) => Ok(U256::ZERO),
            claimable => Ok(claimable?),
        }
    }

    /// The tickets whose redemption would succeed now. The others are settled by the reason they would fail for.
    async fn simulated(&self, batch: Vec<TicketRecord>, head: &BlockHeader) -> Result<Vec<TicketRecord>, KeeperError> {
        let (broker, at) = (self.chain.contracts.ticket_broker, BlockId::from(head.hash));
        let results: Vec<(TicketRecord, Option<Revert>)> = stream::iter(batch)
            .map(|record| async move {
                match self.chain.rpc.view(broker, redeem_call(&record.ticket), at).await {
                    Ok(_) => Ok((record, None)),
                    Err(ChainError::Reverted { reason, .. }) => Ok((record, Some(reason))),
                    Err(err) => Err(KeeperError::from(err)),
                }
            })
            .buffered(READS)
            .try_collect()
            .await?;
        let mut good = Vec::with_capacity(results.len());
        let mut outcomes = Outcomes::new();
        for (record, refusal) in results {
            match refusal {
                None => good.push(record),
                Some(reason) => {
                    let outcome = self.refused(&record, &reason, head.contract_number).await?;
                    outcomes.push((record.hash, outcome));
                }
            }
        }
        self.settle(outcomes, None, head.contract_number).await?;
        Ok(good)
    }

    /// The part of the batch that carries its gas; `None` when it is better to wait.
    async fn worth_sending(
        &self,
        mut batch: Vec<TicketRecord>,
        urgent: bool,
        head: &BlockHeader,
    ) -> Result<Option<Carried>, KeeperError> {
        let block = head.contract_number;
        while !batch.is_empty() {
            let intent = redemption(Calls::new(self.chain.contracts), redemption_id(&batch), &batch);
            let gas = match self.tx.dry_run(intent).await {
                Ok(run) => run.gas_limit,
                Err(TxError::WouldRevert { reason, .. }) => {
                    self.postpone(&batch, &reason.to_string(), block).await?;
                    return Ok(None);
                }
                Err(err) => return Err(err.into()),
            };
            let cost = Cost { gas, gas_price: head.base_fee.saturating_add(self.priority_fee) };
            let faces: Vec<U256> = batch.iter().map(face_value).collect();
            match decide(&faces, cost, urgent, &self.config) {
                Decision::Send => {
                    let max_fee = fee_cap(&faces, gas, urgent, &self.config);
                    return Ok(Some(Carried { tickets: batch, max_fee }));
                }
                Decision::Hold => {
                    tracing::info!(tickets = batch.len(), gas, cost = %cost.wei(), "payout does not carry the gas yet");
                    self.postpone(&batch, "payout does not carry the gas", block).await?;
                    return Ok(None);
                }
                Decision::Trim(most) => {
                    let (dust, rest): (Vec<_>, Vec<_>) =
                        batch.into_iter().partition(|record| face_value(record) <= most);
                    self.postpone(&dust, "payout does not carry the gas", block).await?;
                    batch = rest;
                }
            }
        }
        Ok(None)
    }

    /// Sends the batch for at most `max_fee` wei per gas, or picks up what was sent under its name, and records how it ended.
    async fn finish(&self, batch: SubmittedBatch, max_fee: Option<u128>) -> Result<(), KeeperError> {
        let SubmittedBatch { intent, tickets } = batch;
        let id = IntentId::new(intent.clone());
        let call = redemption(Calls::new(self.chain.contracts), id, &tickets);
        let result = self.tx.send(TxIntent { max_fee, ..call }).await;
        let block = self.chain.rpc.head().await?.contract_number;
        match result {
            Ok(outcome) => {
                let outcomes = self.outcomes(&tickets, &outcome, block).await?;
                self.settle(outcomes, Some(receipt(&intent, &outcome, tickets.len())), block).await
            }
            Err(TxError::Reverted { outcome, reason, .. }) => {
                tracing::warn!(tx = %outcome.hash, %reason, tickets = tickets.len(), "redemption reverted");
                let outcomes = self.refused_whole(&tickets, &reason, block).await?;
                self.settle(outcomes, Some(receipt(&intent, &outcome, tickets.len())), block).await
            }
            Err(TxError::WouldRevert { reason, .. }) => {
                let outcomes = self.refused_whole(&tickets, &reason, block).await?;
                self.settle(outcomes, None, block).await
            }
            // nothing of it can be mined any more
            Err(
                err @ (TxError::FeeTooHigh { .. }
                | TxError::InsufficientFunds { .. }
                | TxError::Refused { .. }
                | TxError::Superseded { .. }),
            ) => {
                self.postpone(&tickets, &err.to_string(), block).await?;
                Err(err.into())
            }
            // it may be under way: the tickets stay bound to it
            Err(err) => Err(err.into()),
        }
    }

    /// What a mined batch did for each ticket.
    async fn outcomes(&self, tickets: &[TicketRecord], tx: &TxOutcome, block: u64) -> Result<Outcomes, KeeperError> {
        let mut events = ticket_events(self.chain.contracts.ticket_broker, &tx.logs);
        let mut outcomes = Outcomes::with_capacity(tickets.len());
        for record in tickets {
            let outcome = match events.remove(&record.hash) {
                Some(TicketEvent::Paid(amount)) => {
                    TicketOutcome::Redeemed(Payout { amount, tx_hash: tx.hash, block: tx.block })
                }
                Some(TicketEvent::Skipped(reason)) => self.refused(record, &Revert::new(reason), block).await?,
                None => self.wait("left out of its batch without a reason", block),
            };
            outcomes.push((record.hash, outcome));
        }
        Ok(outcomes)
    }

    /// A transaction that reverts as a whole tells something of a ticket only if it is alone in it.
    async fn refused_whole(
        &self,
        tickets: &[TicketRecord],
        reason: &Revert,
        block: u64,
    ) -> Result<Outcomes, KeeperError> {
        if let [record] = tickets {
            return Ok(vec![(record.hash, self.refused(record, reason, block).await?)]);
        }
        Ok(tickets.iter().map(|record| (record.hash, self.wait(&reason.to_string(), block))).collect())
    }

    /// What the contract's refusal means for a ticket.
    async fn refused(&self, record: &TicketRecord, reason: &Revert, block: u64) -> Result<TicketOutcome, KeeperError> {
        Ok(match classify(reason.data()) {
            // The search must not hold up the other tickets of the batch: a node may refuse to look so far back.
            Verdict::Done => match self.find_redemption(record).await {
                Ok(Some(payout)) => TicketOutcome::Redeemed(payout),
                Ok(None) => self.wait("redeemed before, but its event was not found", block),
                Err(err) => {
                    tracing::warn!(ticket = %record.hash, %err, "cannot look for the redemption of a ticket");
                    self.wait("redeemed before, but its event cannot be looked for", block)
                }
            },
            Verdict::Dead => TicketOutcome::Dead { reason: reason.to_string() },
            Verdict::Wait => self.wait(&reason.to_string(), block),
        })
    }

    /// The redemption of this ticket by whomever it was, newest blocks first.
    async fn find_redemption(&self, record: &TicketRecord) -> Result<Option<Payout>, KeeperError> {
        let ticket = &record.ticket.signed.ticket;
        let broker = self.chain.contracts.ticket_broker;
        let mut to = self.chain.rpc.head().await?.number;
        let oldest = to.saturating_sub(self.config.log_lookback_blocks);
        loop {
            let from = to.saturating_sub(LOG_RANGE - 1).max(oldest);
            let filter = Filter::new()
                .address(broker)
                .event_signature(TicketBroker::WinningTicketRedeemed::SIGNATURE_HASH)
                .topic1(ticket.sender)
                .topic2(ticket.recipient)
                .from_block(from)
                .to_block(to);
            for log in self.chain.rpc.logs(&filter).await? {
                if ticket_events(broker, std::slice::from_ref(&log)).contains_key(&record.hash)
                    && let (Some(tx_hash), Some(block)) = (log.transaction_hash, log.block_number)
                    && let Some(amount) = self.paid_in(block, tx_hash, record.hash).await?
                {
                    return Ok(Some(Payout { amount, tx_hash, block }));
                }
            }
            if from == oldest {
                return Ok(None);
            }
            to = from - 1;
        }
    }

    /// What a transaction of this block moved for a ticket. The transfer stands in a log of its own.
    async fn paid_in(&self, block: u64, tx_hash: B256, ticket_hash: B256) -> Result<Option<U256>, KeeperError> {
        let broker = self.chain.contracts.ticket_broker;
        let filter = Filter::new().address(broker).from_block(block).to_block(block);
        let mut logs = self.chain.rpc.logs(&filter).await?;
        logs.retain(|log| log.transaction_hash == Some(tx_hash));
        Ok(match ticket_events(broker, &logs).remove(&ticket_hash) {
            Some(TicketEvent::Paid(amount)) => Some(amount),
            _ => None,
        })
    }

    fn wait(&self, reason: &str, block: u64) -> TicketOutcome {
        let not_before = block.saturating_add(self.config.retry_blocks);
        TicketOutcome::Waiting { reason: reason.to_owned(), not_before }
    }

    async fn postpone(&self, tickets: &[TicketRecord], reason: &str, block: u64) -> Result<(), KeeperError> {
        self.settle(tickets.iter().map(|record| (record.hash, self.wait(reason, block))).collect(), None, block).await
    }

    /// Records outcomes and receipt together, and tells of them.
    async fn settle(
        &self,
        outcomes: Outcomes,
        receipt: Option<RedemptionReceipt>,
        block: u64,
    ) -> Result<(), KeeperError> {
        if outcomes.is_empty() && receipt.is_none() {
            return Ok(());
        }
        self.store.settle(&outcomes, receipt.as_ref(), block).await?;
        if let Some(receipt) = &receipt {
            let cost = U256::from(receipt.gas_used).saturating_mul(U256::from(receipt.effective_gas_price));
            metrics::transaction(receipt.gas_used, cost);
        }
        for (hash, outcome) in &outcomes {
            match outcome {
                TicketOutcome::Redeemed(payout) => {
                    tracing::info!(ticket = %hash, wei = %payout.amount, tx = %payout.tx_hash, "ticket redeemed");
                    metrics::redeemed(payout.amount);
                }
                TicketOutcome::Waiting { reason, not_before } => {
                    tracing::debug!(ticket = %hash, reason, not_before, "ticket waits");
                    metrics::waiting();
                }
                TicketOutcome::Dead { reason } => {
                    tracing::error!(ticket = %hash, reason, "ticket can never be paid");
                    metrics::dead(1);
                }
            }
        }
        Ok(())
    }
}

fn face_value(record: &TicketRecord) -> U256 {
    record.ticket.signed.ticket.face_value
}

fn receipt(intent: &str, outcome: &TxOutcome, tickets: usize) -> RedemptionReceipt {
    RedemptionReceipt {
        tx_hash: outcome.hash,
        intent: intent.to_owned(),
        block: outcome.block,
        success: outcome.status,
        tickets: u32::try_from(tickets).unwrap_or(u32::MAX),
        gas_used: outcome.gas_used,
        effective_gas_price: outcome.gas_price,
    }
}
