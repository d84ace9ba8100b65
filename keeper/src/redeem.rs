//! Redeeming: reads what the planner needs, sends what it decides, records what the chain answers.
//!
//! One batch at a time: bound to its tickets in the store, signed and journalled, sent, awaited, settled from its events.
//! Every step can be repeated after a crash, and the transaction has one name throughout.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use alloy::primitives::{Address, B256, U256};
use streamflow_bindings::{RoundsManager, TicketBroker};
use streamflow_chain::{
    BlockHeader, Chain, GasPolicy, IntentId, TxError, TxHandle, TxIntent, TxJournal as _, TxOutcome, TxRecord, TxState,
};
use streamflow_pm::QuoteDomain;
use streamflow_store::{RedemptionReceipt, Store, SubmittedBatch, TicketOutcome, TicketRecord};
use streamflow_types::{ChainView, Round};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    Journal, KeeperConfig, KeeperError,
    dry_run::{Ledger, Planned},
    duty::Progress,
    economics::Until,
    fees::FeeHistory,
    metrics,
    number::to_u64,
    ordered::{InOrder, outcome::BatchOutcome, plan::is_marked},
    planner::{Closing, Situation},
    preflight::Preflight,
    quorum::Quorum,
    snapshot::Snapshot,
};

/// Tickets considered in one pass, those of each pair of accounts taken in turns. Those that cannot be paid are put off, so
/// that later ones get their turn.
const CANDIDATES: u32 = 2_000;
/// Questions to the node at the same time.
pub(crate) const READS: usize = 8;

/// Tickets that may be sent, and what was known of their recipients' desks.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    pub(crate) tickets: Vec<TicketRecord>,
    pub(crate) desks: Desks,
}

/// What need not wait for the desks.
#[derive(Debug, Default)]
pub(crate) struct Desks {
    /// By which block all of a recipient have closed their params; one without entry has none.
    closed: HashMap<Address, u64>,
    /// Newest creation round that waits for none of them.
    urgent: Option<Round>,
}

impl Desks {
    pub(crate) fn closing(&self, recipient: Address) -> Closing {
        Closing { block: self.closed.get(&recipient).copied().unwrap_or(u64::MAX), urgent: self.urgent }
    }
}

pub(crate) type Outcomes = Vec<(B256, TicketOutcome)>;

/// Redeems tickets of the store with one key.
#[derive(Clone, Debug)]
pub(crate) struct Redeemer {
    pub(crate) config: KeeperConfig,
    pub(crate) store: Store,
    pub(crate) chain: Chain,
    /// The chain as the follower sees it.
    pub(crate) view: watch::Receiver<Option<ChainView>>,
    pub(crate) tx: TxHandle,
    /// Wei per gas on top of the base fee.
    pub(crate) priority_fee: u128,
    pub(crate) preflight: Preflight,
    /// What gas has cost, shared by all passes.
    pub(crate) fees: Arc<Mutex<FeeHistory>>,
    /// Takes down what would be done instead of doing it.
    pub(crate) dry: Option<Ledger>,
    /// Once cancelled nothing new is sent.
    pub(crate) stop: CancellationToken,
}

impl Redeemer {
    /// Takes the next batches from "won" to "paid": in order those that are marked, then the others. Or finds that there is
    /// none to send now.
    pub(crate) async fn pass(self) -> Result<Progress, KeeperError> {
        if self.dry.is_none() && self.resume().await? {
            return Ok(Progress::More);
        }
        let snapshot = Snapshot::newest(&self.chain).await?;
        self.fees.lock().await.follow(&self.chain, &snapshot.head, self.config.fee_history_blocks).await;
        let situation = self.situation(&snapshot).await?;
        let Ready { tickets, desks } = self.ready(&situation, &snapshot).await?;
        metrics::ready(tickets.len());
        if tickets.is_empty() {
            return Ok(Progress::NotYet);
        }
        let (marked, mut tickets): (Vec<_>, Vec<_>) = tickets.into_iter().partition(is_marked);
        let InOrder { aside, passed, mut more } = self.redeem_in_order(marked, &desks).await?;
        tickets.extend(aside);
        if !tickets.is_empty() && !self.stop.is_cancelled() {
            // Anew: the batches in order may have waited for their blocks.
            let snapshot = Snapshot::newest(&self.chain).await?;
            let situation = self.situation(&snapshot).await?;
            more |= self.redeem_in_any_order(tickets, &situation, &snapshot).await?;
        }
        // Last: the search may take long, and what it finds is paid or lost already.
        if !passed.is_empty() && !self.stop.is_cancelled() {
            self.settle_passed(passed).await?;
        }
        Ok(if more { Progress::More } else { Progress::NotYet })
    }

    /// Tickets that may be sent now.
    pub(crate) async fn ready(&self, situation: &Situation, snapshot: &Snapshot) -> Result<Ready, KeeperError> {
        let Some(revealable) = situation.revealable(&self.config) else { return Ok(Ready::default()) };
        let of_each = self.config.max_batch;
        let mut tickets =
            self.store.redeemable_of_each(revealable, situation.oldest_round(), of_each, CANDIDATES).await?;
        let mut desks = Desks { closed: self.closed(&tickets).await?, urgent: None };
        desks.urgent = self.urgent(&tickets, &desks, situation, snapshot).await;
        tickets.retain(|record| {
            let closing = desks.closing(record.ticket.signed.ticket.recipient);
            situation.may_be_shown(record, closing, &self.config)
        });
        Ok(Ready { tickets, desks })
    }

    /// Newest creation round of these tickets that the desks have not closed and that is near its end. Passing them gives up
    /// what a desk has not stored yet, so most endpoints must say it.
    async fn urgent(
        &self,
        tickets: &[TicketRecord],
        desks: &Desks,
        situation: &Situation,
        snapshot: &Snapshot,
    ) -> Option<Round> {
        let is_open = |record: &&TicketRecord| {
            record.ticket.params_expiration_block > desks.closing(record.ticket.signed.ticket.recipient).block
        };
        let rounds: HashSet<Round> = tickets
            .iter()
            .filter(is_open)
            .map(|record| record.ticket.signed.ticket.creation_round)
            .filter(|round| situation.is_urgent(*round, &self.config))
            .collect();
        if rounds.is_empty() {
            return None;
        }
        let agreed = Quorum::find(&self.chain, snapshot.head.number).await?.situation().await?;
        rounds.into_iter().filter(|round| agreed.is_urgent(*round, &self.config)).max()
    }

    /// The block by which every living desk of each of these recipients has closed its params.
    async fn closed(&self, tickets: &[TicketRecord]) -> Result<HashMap<Address, u64>, KeeperError> {
        let recipients: HashSet<Address> = tickets.iter().map(|record| record.ticket.signed.ticket.recipient).collect();
        let domain = self.domain();
        let mut closed = HashMap::new();
        for recipient in recipients {
            if let Some(block) = self.store.closed_through(&domain, recipient).await? {
                closed.insert(recipient, block);
            }
        }
        Ok(closed)
    }

    pub(crate) const fn domain(&self) -> QuoteDomain {
        QuoteDomain { chain_id: self.chain.chain_id, broker: self.chain.contracts.ticket_broker }
    }

    /// Brings batches to their end that an earlier pass, or an earlier run of the program, left under way. Returns whether
    /// there were any.
    async fn resume(&self) -> Result<bool, KeeperError> {
        let mut found = false;
        for batch in self.store.submitted_batches().await? {
            let id = IntentId::new(batch.intent.clone());
            match Journal::new(self.store.clone()).find(self.chain.chain_id, self.tx.address(), &id).await? {
                Some(sent) if !matches!(sent.state, TxState::Refused { .. } | TxState::Superseded) => {
                    self.finish(batch, resumed(sent)).await?;
                }
                None if self.is_with_another(&batch).await? => continue,
                // nothing of it can be mined; if somebody else redeemed them meanwhile, their simulation tells
                _ => {
                    let outcomes = batch.tickets.iter().map(|record| {
                        let reason = "interrupted before it was sent".to_owned();
                        (record.hash, TicketOutcome::Waiting { reason, not_before: 0 })
                    });
                    let block = self.chain.rpc.head().await?.contract_number;
                    self.settle(outcomes.collect(), None, block).await?;
                }
            }
            found = true;
        }
        Ok(found)
    }

    /// Whether another account of this database has signed the batch: it is that keeper's to end. If it has not done so when
    /// one of the tickets comes near its end, it may be gone, and a second transaction costs less than the ticket.
    async fn is_with_another(&self, batch: &SubmittedBatch) -> Result<bool, KeeperError> {
        let signers = self.store.other_senders(self.chain.chain_id, self.tx.address(), &batch.intent).await?;
        if signers.is_empty() {
            return Ok(false);
        }
        let situation = self.situation(&Snapshot::newest(&self.chain).await?).await?;
        let mut rounds = batch.tickets.iter().map(|record| record.ticket.signed.ticket.creation_round);
        let is_urgent = rounds.any(|round| situation.is_urgent(round, &self.config));
        tracing::debug!(intent = batch.intent, ?signers, is_urgent, "a batch is under way from another account");
        Ok(!is_urgent)
    }

    pub(crate) async fn situation(&self, snapshot: &Snapshot) -> Result<Situation, KeeperError> {
        let (rounds, broker) = (self.chain.contracts.rounds_manager, self.chain.contracts.ticket_broker);
        let (round, start, length, validity) = tokio::try_join!(
            snapshot.view(rounds, RoundsManager::currentRoundCall {}),
            snapshot.view(rounds, RoundsManager::currentRoundStartBlockCall {}),
            snapshot.view(rounds, RoundsManager::roundLengthCall {}),
            snapshot.view(broker, TicketBroker::ticketValidityPeriodCall {}),
        )?;
        Ok(Situation {
            block: snapshot.head.contract_number,
            round: Round(to_u64(round, "the round")?),
            round_start: to_u64(start, "the start of the round")?,
            round_length: to_u64(length, "the length of the round")?,
            validity: to_u64(validity, "the ticket validity period")?,
        })
    }

    /// Binds the tickets to their transaction, sends it and records how it ended; or only tells of it. Returns whether
    /// something was sent.
    pub(crate) async fn dispatch(
        &self,
        tickets: Vec<TicketRecord>,
        intent: TxIntent,
        planned: Planned,
        block: u64,
    ) -> Result<bool, KeeperError> {
        if !self.goes_ahead(&tickets, &intent, &planned) {
            return Ok(false);
        }
        let hashes: Vec<B256> = tickets.iter().map(|record| record.hash).collect();
        let name = intent.id.to_string();
        self.store.submit(&name, &hashes, block).await?;
        self.finish(SubmittedBatch { intent: name, tickets }, intent).await?;
        Ok(true)
    }

    /// Tells of a batch that is due. Returns whether it is sent: not in a dry run, and not while ending.
    pub(crate) fn goes_ahead(&self, tickets: &[TicketRecord], intent: &TxIntent, planned: &Planned) -> bool {
        if let Some(ledger) = &self.dry {
            ledger.sent(tickets, intent, planned);
            return false;
        }
        if self.stop.is_cancelled() {
            return false;
        }
        let Planned { worth, gas, because, .. } = planned;
        tracing::info!(tickets = tickets.len(), wei = %worth, gas, %because, "redeeming");
        true
    }

    /// Tickets that had better wait.
    pub(crate) fn held(&self, tickets: &[&TicketRecord], until: Until) {
        if let Some(ledger) = &self.dry {
            ledger.held(tickets, &until.to_string());
        }
    }

    /// Sends the batch, or picks up what was sent under its name, and records how it ended.
    pub(crate) async fn finish(&self, batch: SubmittedBatch, call: TxIntent) -> Result<(), KeeperError> {
        let SubmittedBatch { intent, tickets } = batch;
        let data = call.data.clone();
        let result = self.send(call).await;
        let block = self.chain.rpc.head().await?.contract_number;
        match result {
            Ok(outcome) => {
                let in_order = BatchOutcome::read(self.chain.contracts.ticket_broker, &data, &outcome.logs);
                let outcomes = match in_order {
                    Some(batch) => self.outcomes_in_order(&tickets, &batch, (outcome.hash, outcome.block), block),
                    None => self.outcomes(&tickets, &outcome, block).await?,
                };
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

    /// Wei per gas that a transaction pays now.
    pub(crate) const fn gas_price(&self, head: &BlockHeader) -> u128 {
        head.base_fee.saturating_add(self.priority_fee)
    }

    pub(crate) fn wait(&self, reason: &str, block: u64) -> TicketOutcome {
        let not_before = block.saturating_add(self.config.retry_blocks);
        TicketOutcome::Waiting { reason: reason.to_owned(), not_before }
    }

    pub(crate) async fn postpone(&self, tickets: &[TicketRecord], reason: &str, block: u64) -> Result<(), KeeperError> {
        self.settle(tickets.iter().map(|record| (record.hash, self.wait(reason, block))).collect(), None, block).await
    }

    /// Records outcomes and receipt together, and tells of them.
    pub(crate) async fn settle(
        &self,
        outcomes: Outcomes,
        receipt: Option<RedemptionReceipt>,
        block: u64,
    ) -> Result<(), KeeperError> {
        if outcomes.is_empty() && receipt.is_none() {
            return Ok(());
        }
        if let Some(ledger) = &self.dry {
            ledger.settled(&outcomes);
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

/// What was sent, to be picked up under its name. Its data are those that were signed: an ordered batch names the marks that
/// it was planned on, which may have moved since.
fn resumed(sent: TxRecord) -> TxIntent {
    TxIntent {
        id: sent.intent,
        to: sent.to,
        data: sent.data,
        value: sent.value,
        gas: GasPolicy::Limit(sent.gas_limit),
        max_fee: sent.max_fee,
        label: "redeem tickets",
    }
}
