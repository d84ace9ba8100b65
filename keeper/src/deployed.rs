//! Redeeming by the calls that existing networks have: each ticket for itself, in any order. For tickets without marker, and
//! for those that were set aside.

use std::collections::{HashMap, HashSet};

use alloy::{
    primitives::{Address, B256, U256},
    rpc::types::Filter,
    sol_types::SolEvent,
};
use futures::{StreamExt, TryStreamExt, stream};
use streamflow_bindings::TicketBroker;
use streamflow_chain::{Calls, Chain, ChainError, GasPolicy, Revert, TxIntent, TxOutcome, redeem_call};
use streamflow_store::{Payout, TicketOutcome, TicketRecord};
use streamflow_types::Round;

use crate::{
    KeeperError,
    calls::{redemption, redemption_id},
    dry_run::Planned,
    economics::{Timing, ceiling},
    gas::Gas,
    planner::{Cost, Decision, RoughGas, SenderCover, Situation, decide, select},
    quorum::Quorum,
    receipt::{TicketEvent, ticket_events},
    redeem::{Outcomes, READS, Redeemer},
    search::ranges,
    snapshot::Snapshot,
    verdict::{Verdict, classify},
};

/// Gas of a batch beside its tickets, and of each ticket, as the deployed contracts take it (payments.md §5.2).
pub(crate) const FIXED_GAS: u64 = 119_000;
pub(crate) const TICKET_GAS: u64 = 84_000;

const TOO_LITTLE: &str = "payout does not carry the gas";
const TOO_LARGE: &str = "takes more gas than a transaction may have";

/// A batch that carries its gas, and its transaction.
struct Carried {
    tickets: Vec<TicketRecord>,
    intent: TxIntent,
    /// Gas that it would use.
    gas: u64,
}

impl Redeemer {
    /// Sends the next batch of these tickets, or finds that there is none to send now. Returns whether one was sent.
    pub(crate) async fn redeem_in_any_order(
        &self,
        tickets: Vec<TicketRecord>,
        situation: &Situation,
        snapshot: &Snapshot,
    ) -> Result<bool, KeeperError> {
        let covers = self.covers(&tickets.iter().collect::<Vec<_>>(), situation.round, snapshot).await?;
        let pending = tickets.clone();
        let selection = select(tickets, covers.clone(), &self.config);
        let uncovered = selection.uncovered.iter().map(|(hash, why)| (*hash, self.wait(why, situation.block)));
        self.settle(uncovered.collect(), None, situation.block).await?;
        let selected: Vec<&TicketRecord> = selection.batch.iter().collect();
        if selected.is_empty() {
            return Ok(false);
        }
        let gas = RoughGas { fixed: FIXED_GAS, total: FIXED_GAS + TICKET_GAS.saturating_mul(selected.len() as u64) };
        let outlook = self.outlook((&selected, &pending), &covers, gas, situation, snapshot).await?;
        let because = match outlook.timing(self.patience(situation)) {
            Timing::Now(because) => because,
            Timing::Later(until) => {
                tracing::debug!(tickets = selected.len(), %until, "a batch waits");
                self.held(&selected, until);
                return Ok(false);
            }
        };
        let batch = self.simulated(selection.batch, snapshot).await?;
        let margin = outlook.escalation.margin(self.config.margin_percent);
        let Some(Carried { tickets, intent, gas }) = self.worth_sending(batch, margin, snapshot).await? else {
            return Ok(false);
        };
        let worth = tickets.iter().map(face_value).fold(U256::ZERO, U256::saturating_add);
        let (aside, gas_price) = (HashSet::new(), self.gas_price(&snapshot.head));
        let planned = Planned { in_order: false, aside, worth, gas, gas_price, because };
        self.dispatch(tickets, intent, planned, situation.block).await
    }

    /// What the senders of these tickets can pay, all read at one block.
    pub(crate) async fn covers(
        &self,
        tickets: &[&TicketRecord],
        round: Round,
        snapshot: &Snapshot,
    ) -> Result<HashMap<Address, SenderCover>, KeeperError> {
        let pair = |record: &TicketRecord| (record.ticket.signed.ticket.sender, record.ticket.signed.ticket.recipient);
        let pairs: HashSet<(Address, Address)> = tickets.iter().copied().map(pair).collect();
        let senders: HashSet<Address> = pairs.iter().map(|(sender, _)| *sender).collect();
        let mut covers: HashMap<Address, SenderCover> = stream::iter(senders)
            .map(|sender| async move { Ok::<_, KeeperError>((sender, self.cover(sender, round, snapshot).await?)) })
            .buffer_unordered(READS)
            .try_collect()
            .await?;
        let claims: Vec<_> = stream::iter(pairs)
            .map(|(sender, recipient)| async move {
                Ok::<_, KeeperError>((sender, recipient, self.claimable(sender, recipient, snapshot).await?))
            })
            .buffer_unordered(READS)
            .try_collect()
            .await?;
        for (sender, recipient, wei) in claims {
            covers.entry(sender).or_default().claimable.insert(recipient, wei);
        }
        Ok(covers)
    }

    async fn cover(&self, sender: Address, round: Round, snapshot: &Snapshot) -> Result<SenderCover, KeeperError> {
        let call = TicketBroker::getSenderInfoCall { addr: sender };
        let info = snapshot.view(self.chain.contracts.ticket_broker, call).await?.sender;
        let withdraw_round = Some(info.withdrawRound).filter(|round| !round.is_zero());
        let withdraw_round = withdraw_round.map(|round| Round(round.saturating_to()));
        let unlocked = withdraw_round.is_some_and(|withdraw| withdraw <= round);
        Ok(SenderCover { deposit: info.deposit, claimable: HashMap::new(), unlocked, withdraw_round })
    }

    /// What the recipient may claim beside the deposit: what is committed to it, and its share of the reserve.
    async fn claimable(&self, sender: Address, recipient: Address, snapshot: &Snapshot) -> Result<U256, KeeperError> {
        let broker = self.chain.contracts.ticket_broker;
        let share = TicketBroker::claimableReserveCall { reserveHolder: sender, claimant: recipient };
        let committed = TicketBroker::claimableCommittedReserveCall { sender, recipient };
        let (share, committed) = tokio::join!(snapshot.view(broker, share), snapshot.view(broker, committed));
        // deployed contracts panic when the pool grew after a full claim (protocol#656), and know no commitments
        let or_zero = |wei| match wei {
            Err(ChainError::Reverted { .. }) => Ok(U256::ZERO),
            wei => wei,
        };
        Ok(or_zero(share)?.saturating_add(or_zero(committed)?))
    }

    /// The tickets whose redemption would succeed now. The others are settled by the reason they would fail for.
    async fn simulated(&self, batch: Vec<TicketRecord>, snapshot: &Snapshot) -> Result<Vec<TicketRecord>, KeeperError> {
        let broker = self.chain.contracts.ticket_broker;
        let results: Vec<(TicketRecord, Option<Revert>)> = stream::iter(batch)
            .map(|record| async move {
                match snapshot.view(broker, redeem_call(&record.ticket)).await {
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
                    let outcome = self.refused(&record, &reason, snapshot.head.contract_number).await?;
                    outcomes.push((record.hash, outcome));
                }
            }
        }
        self.settle(outcomes, None, snapshot.head.contract_number).await?;
        Ok(good)
    }

    /// The part of the batch that can be mined and carries its gas; `None` when it is better to wait.
    async fn worth_sending(
        &self,
        mut batch: Vec<TicketRecord>,
        margin: u64,
        snapshot: &Snapshot,
    ) -> Result<Option<Carried>, KeeperError> {
        let block = snapshot.head.contract_number;
        let room = self.gas_room(snapshot).await?;
        while !batch.is_empty() {
            let intent = redemption(Calls::new(self.chain.contracts), redemption_id(&batch), &batch);
            let (used, gas) = match self.gas(&intent, room, snapshot).await? {
                Gas::Enough { used, limit } => (used, limit),
                Gas::TooMuch if batch.len() > 1 => (room, room.saturating_add(1)),
                Gas::TooMuch => {
                    self.postpone(&batch, TOO_LARGE, block).await?;
                    return Ok(None);
                }
                Gas::Refused(reason) => {
                    self.postpone(&batch, &reason.to_string(), block).await?;
                    return Ok(None);
                }
            };
            if gas > room && batch.len() > 1 {
                batch.truncate(batch.len() / 2);
                continue;
            }
            let cost = Cost { gas, gas_price: self.gas_price(&snapshot.head) };
            let faces: Vec<U256> = batch.iter().map(face_value).collect();
            match decide(&faces, cost, margin) {
                Decision::Send => {
                    let total = faces.iter().fold(U256::ZERO, |sum, face| sum.saturating_add(*face));
                    let limit = GasPolicy::Limit(gas.min(room));
                    let intent = intent.with_gas(limit).with_max_fee(ceiling(total, gas, margin));
                    return Ok(Some(Carried { tickets: batch, intent, gas: used }));
                }
                Decision::Hold => {
                    tracing::info!(tickets = batch.len(), gas, cost = %cost.wei(), "payout does not carry the gas yet");
                    self.postpone(&batch, TOO_LITTLE, block).await?;
                    return Ok(None);
                }
                Decision::Trim(most) => {
                    let (dust, rest): (Vec<_>, Vec<_>) =
                        batch.into_iter().partition(|record| face_value(record) <= most);
                    self.postpone(&dust, TOO_LITTLE, block).await?;
                    batch = rest;
                }
            }
        }
        Ok(None)
    }

    /// What a mined batch did for each ticket.
    pub(crate) async fn outcomes(
        &self,
        tickets: &[TicketRecord],
        tx: &TxOutcome,
        block: u64,
    ) -> Result<Outcomes, KeeperError> {
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
    pub(crate) async fn refused_whole(
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
            Verdict::Done => self.redeemed_before(record, block).await,
            Verdict::Dead if self.is_refused_for_ever(record).await? => {
                TicketOutcome::Dead { reason: reason.to_string() }
            }
            Verdict::Dead | Verdict::Wait => self.wait(&reason.to_string(), block),
        })
    }

    /// Whether the ticket can never be paid, by the word of most endpoints.
    async fn is_refused_for_ever(&self, record: &TicketRecord) -> Result<bool, KeeperError> {
        let head = self.chain.rpc.head().await?.number;
        let Some(quorum) = Quorum::find(&self.chain, head).await else { return Ok(false) };
        Ok(quorum.refuses_for_ever(record).await)
    }

    /// What is known of a ticket that the chain knows as used. The search must not hold up the other tickets of the batch: a
    /// node may refuse to look so far back.
    pub(crate) async fn redeemed_before(&self, record: &TicketRecord, block: u64) -> TicketOutcome {
        let found = async {
            let newest = self.chain.rpc.head().await?.number;
            self.find_redemption(&self.chain, newest, record).await
        };
        self.known_of(record, found.await, block)
    }

    /// What a search for the redemption of a used ticket tells of it.
    pub(crate) fn known_of(
        &self,
        record: &TicketRecord,
        found: Result<Option<Payout>, KeeperError>,
        block: u64,
    ) -> TicketOutcome {
        match found {
            Ok(Some(payout)) => TicketOutcome::Redeemed(payout),
            Ok(None) => self.wait("redeemed before, but its event was not found", block),
            Err(err) => {
                tracing::warn!(ticket = %record.hash, %err, "cannot look for the redemption of a ticket");
                self.wait("redeemed before, but its event cannot be looked for", block)
            }
        }
    }

    /// The redemption of this ticket by whomever it was, newest blocks first.
    pub(crate) async fn find_redemption(
        &self,
        chain: &Chain,
        newest: u64,
        record: &TicketRecord,
    ) -> Result<Option<Payout>, KeeperError> {
        let ticket = &record.ticket.signed.ticket;
        let broker = self.chain.contracts.ticket_broker;
        let filter = Filter::new()
            .address(broker)
            .event_signature(TicketBroker::WinningTicketRedeemed::SIGNATURE_HASH)
            .topic1(ticket.sender)
            .topic2(ticket.recipient);
        for (from, to) in ranges(newest, self.config.log_lookback_blocks) {
            for log in chain.rpc.logs(&filter.clone().from_block(from).to_block(to)).await? {
                if ticket_events(broker, std::slice::from_ref(&log)).contains_key(&record.hash)
                    && let (Some(tx_hash), Some(block)) = (log.transaction_hash, log.block_number)
                    && let Some(amount) = paid_in(chain, block, tx_hash, record.hash).await?
                {
                    return Ok(Some(Payout { amount, tx_hash, block }));
                }
            }
        }
        Ok(None)
    }
}

/// What a transaction of this block moved for a ticket. The transfer stands in a log of its own.
async fn paid_in(chain: &Chain, block: u64, tx_hash: B256, ticket_hash: B256) -> Result<Option<U256>, KeeperError> {
    let broker = chain.contracts.ticket_broker;
    let filter = Filter::new().address(broker).from_block(block).to_block(block);
    let mut logs = chain.rpc.logs(&filter).await?;
    logs.retain(|log| log.transaction_hash == Some(tx_hash));
    Ok(match ticket_events(broker, &logs).remove(&ticket_hash) {
        Some(TicketEvent::Paid(amount)) => Some(amount),
        _ => None,
    })
}

fn face_value(record: &TicketRecord) -> U256 {
    record.ticket.signed.ticket.face_value
}
