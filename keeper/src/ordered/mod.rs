//! Redeeming marked tickets in order (docs/designs/002-ordered-batch.md, docs/designs/008-keeper-ordered.md).
//!
//! One transaction per recipient: planned on the marks of a block, simulated on that block, cut to what gains, sent, and
//! read back from its call and its logs.

mod fit;
mod lookup;
pub mod outcome;
mod passed;
pub mod plan;

use std::collections::{HashMap, HashSet};

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    sol_types::SolCall,
};
use futures::{StreamExt, TryStreamExt, stream};
use streamflow_bindings::{RoundsManager, TicketBroker};
use streamflow_chain::{
    BlockHeader, Calls, ChainError, FaceValueTooLarge, GasPolicy, OrderedGroup, Simulated, TxIntent, ordered_ticket,
    redeem_ordered_call,
};
use streamflow_store::{
    OrderedBatch, Passing, Payout, StoreError, SubmittedBatch, TicketOutcome, TicketRecord, TicketState,
};
use streamflow_types::Round;

use crate::{
    KeeperError,
    calls::redemption_id,
    dry_run::Planned,
    economics::{Timing, carries, ceiling},
    gas::Gas,
    metrics,
    planner::{Closing, Cost, RoughGas, Situation},
    quorum::Quorum,
    redeem::{Desks, Outcomes, READS, Redeemer},
    snapshot::Snapshot,
    verdict::Verdict,
};
pub use fit::fit;
pub(crate) use lookup::{batch, find};
use outcome::{BatchOutcome, Fate, judge};
use plan::{Group, best_prefix, key, passable};

/// Gas for each ticket above the estimate: between simulation and inclusion a sender can turn all its tickets of the batch
/// into ones that are set aside, each a new storage word. What is not used is not paid for.
pub(crate) const ASIDE_HEADROOM_GAS: u64 = 25_000;

/// Pending tickets that are read for one recipient in one pass, of all its senders together.
const READ_IN_ORDER: usize = 10_000;

const UNCOVERED: &str = "sender's funds do not cover the face value";
const TOO_LITTLE: &str = "payout does not carry the gas";
const TOO_LARGE: &str = "takes more gas than a transaction may have";

/// How a pass over the marked tickets ended.
#[derive(Debug, Default)]
pub(crate) struct InOrder {
    /// Tickets that were set aside: each is redeemed by itself.
    pub(crate) aside: Vec<TicketRecord>,
    /// Tickets at or below their sender's mark that do not lie aside: paid before, or lost.
    pub(crate) passed: Vec<TicketRecord>,
    /// Whether something was sent or settled, so that there may be more to do.
    pub(crate) more: bool,
}

/// What a reorganisation did to payouts in order.
#[derive(Clone, Copy, Debug)]
enum Undone {
    Nothing,
    /// The node is behind the blocks that paid: it shows an old mark, or another branch that is still shorter. Or nothing may
    /// be written now.
    Unknown,
    /// Some left the chain; their tickets are pending again.
    WaitsAnew,
}

/// Groups to send, and those of their tickets that will be set aside.
struct Batch {
    recipient: Address,
    groups: Vec<Group>,
    aside: HashSet<B256>,
}

impl Batch {
    fn tickets(&self) -> impl Iterator<Item = &TicketRecord> + Clone {
        self.groups.iter().flat_map(|group| &group.tickets)
    }

    fn call(&self) -> Result<TicketBroker::redeemOrderedTicketsCall, FaceValueTooLarge> {
        let groups: Vec<OrderedGroup<'_>> = self.groups.iter().map(on_chain).collect();
        redeem_ordered_call(self.recipient, &groups)
    }

    /// Leaves out the tickets at the end of each group whose payment does not carry the gas.
    fn trim(&mut self, gas_price: u128) {
        for group in &mut self.groups {
            if group.beyond.is_none() {
                group.tickets.truncate(best_prefix(&group.tickets, &self.aside, gas_price));
            }
        }
        self.groups.retain(|group| !group.tickets.is_empty());
    }

    /// What is known of its gas before it is tried.
    fn rough_gas(&self) -> RoughGas {
        plan::rough_gas(&self.groups)
    }

    /// Wei that it pays now, or makes way for in later ones.
    fn pays(&self) -> U256 {
        let paid = plan::worth(self.tickets().filter(|record| !self.aside.contains(&record.hash)));
        self.groups.iter().filter_map(|group| group.beyond).fold(paid, U256::saturating_add)
    }

    /// About half of it: a prefix of a prefix can be passed as well.
    fn halve(&mut self) {
        let mut room = self.tickets().count() / 2;
        for group in &mut self.groups {
            group.tickets.truncate(room);
            room -= group.tickets.len();
        }
        self.groups.retain(|group| !group.tickets.is_empty());
    }
}

impl Redeemer {
    /// Sends what can be passed of these tickets, which are marked and whose params have expired, and tells of those that
    /// were passed before.
    pub(crate) async fn redeem_in_order(
        &self,
        ready: Vec<TicketRecord>,
        desks: &Desks,
    ) -> Result<InOrder, KeeperError> {
        let mut by_recipient: HashMap<Address, Vec<TicketRecord>> = HashMap::new();
        for record in ready {
            by_recipient.entry(record.ticket.signed.ticket.recipient).or_default().push(record);
        }
        let mut done = InOrder::default();
        for (recipient, ready) in by_recipient {
            // Anew for each: the one before may have waited for its blocks.
            let snapshot = Snapshot::newest(&self.chain).await?;
            let marks = match self.marks(recipient, &ready, &snapshot).await {
                Ok(marks) => marks,
                // A marker means nothing to contracts without the ordered call.
                Err(err) if knows_no_order(&err) => {
                    done.aside.extend(ready);
                    continue;
                }
                Err(err) => return Err(err.into()),
            };
            match self.take_back(recipient, &marks, &snapshot.head).await? {
                Undone::Nothing => {}
                Undone::Unknown => continue,
                Undone::WaitsAnew => {
                    done.more = true;
                    continue;
                }
            }
            let is_passed = |record: &TicketRecord| {
                marks.get(&record.ticket.signed.ticket.sender).is_some_and(|mark| key(record) <= *mark)
            };
            let (passed, above): (Vec<_>, Vec<_>) = ready.into_iter().partition(is_passed);
            let (aside, passed) = self.lying_aside(passed, &snapshot).await?;
            done.aside.extend(aside);
            done.passed.extend(passed);
            if !above.is_empty() && !self.stop.is_cancelled() {
                done.more |= self.send_in_order(recipient, &above, &marks, desks.closing(recipient), &snapshot).await?;
            }
        }
        Ok(done)
    }

    /// Looks for tickets that count as paid in order though the mark does not reach them: a reorganisation took their batch back.
    /// Whatever is planned above would pass them unpaid, so they wait anew first.
    async fn take_back(
        &self,
        recipient: Address,
        marks: &HashMap<Address, U256>,
        head: &BlockHeader,
    ) -> Result<Undone, KeeperError> {
        let payouts = self.store.unconfirmed_payouts(i64::MAX.unsigned_abs(), u32::MAX).await?;
        let undone: Vec<TicketRecord> = payouts
            .into_iter()
            .filter(|record| {
                let ticket = &record.ticket.signed.ticket;
                plan::is_marked(record)
                    && ticket.recipient == recipient
                    && marks.get(&ticket.sender).is_some_and(|mark| key(record) > *mark)
            })
            .collect();
        if undone.is_empty() {
            return Ok(Undone::Nothing);
        }
        let is_ahead =
            |record: &TicketRecord| matches!(&record.state, TicketState::Redeemed(p) if p.block > head.number);
        if undone.iter().any(is_ahead) {
            tracing::info!(%recipient, block = head.number, "the node is behind blocks that paid tickets");
            return Ok(Undone::Unknown);
        }
        tracing::warn!(%recipient, tickets = undone.len(), block = head.number, "ordered payouts left the chain");
        if self.dry.is_some() {
            return Ok(Undone::Unknown);
        }
        let gone = self.gone(&undone, head).await;
        if gone.is_empty() {
            return Ok(Undone::Unknown);
        }
        metrics::revoked(gone.len() as u64);
        self.store.revoke_payouts(&gone).await?;
        Ok(Undone::WaitsAnew)
    }

    /// Those of these payouts that most endpoints do not have: their marks are below the ticket, in a block that is not before
    /// the payout's.
    async fn gone(&self, payouts: &[TicketRecord], head: &BlockHeader) -> Vec<B256> {
        let Some(quorum) = Quorum::find(&self.chain, head.number).await else { return Vec::new() };
        let mut gone = Vec::new();
        for record in payouts {
            let is_known = matches!(&record.state, TicketState::Redeemed(payout) if payout.block <= quorum.newest);
            if is_known && quorum.mark(record, quorum.newest).await.is_some_and(|mark| key(record) > mark) {
                gone.push(record.hash);
            }
        }
        gone
    }

    /// The mark of each of these tickets' senders, all read at one block.
    async fn marks(
        &self,
        recipient: Address,
        tickets: &[TicketRecord],
        snapshot: &Snapshot,
    ) -> Result<HashMap<Address, U256>, ChainError> {
        let senders: HashSet<Address> = tickets.iter().map(|record| record.ticket.signed.ticket.sender).collect();
        let broker = self.chain.contracts.ticket_broker;
        stream::iter(senders)
            .map(|sender| async move {
                let call = TicketBroker::redemptionMarkCall { recipient, sender };
                Ok((sender, snapshot.view(broker, call).await?))
            })
            .buffer_unordered(READS)
            .try_collect()
            .await
    }

    /// Plans, simulates and sends one batch for the recipient. Returns whether something changed.
    async fn send_in_order(
        &self,
        recipient: Address,
        ready: &[TicketRecord],
        marks: &HashMap<Address, U256>,
        closing: Closing,
        snapshot: &Snapshot,
    ) -> Result<bool, KeeperError> {
        if let Some(reason) = self.refusal_of(recipient, snapshot).await? {
            tracing::error!(%recipient, account = %self.tx.address(), reason, "cannot redeem in order");
            self.postpone(ready, &reason, snapshot.head.contract_number).await?;
            return Ok(false);
        }
        let situation = self.situation(snapshot).await?;
        let pending = self.pending_in_order(recipient, marks, &situation, snapshot).await?;
        let groups = passable(pending.clone(), marks, closing, &situation, &self.config);
        let above: Vec<&TicketRecord> = groups.iter().flat_map(|group| &group.tickets).collect();
        if above.is_empty() {
            return Ok(false);
        }
        let covers = self.covers(&above, situation.round, snapshot).await?;
        let gas_price = self.gas_price(&snapshot.head);
        let groups = fit(groups, recipient, &covers, gas_price, self.config.max_batch);
        let mut batch = Batch { recipient, groups, aside: HashSet::new() };
        let tickets: Vec<&TicketRecord> = batch.tickets().collect();
        let outlook = self.outlook((&tickets, &pending), &covers, batch.rough_gas(), &situation, snapshot).await?;
        let because = match outlook.timing(self.patience(&situation)) {
            Timing::Now(because) => because,
            Timing::Later(until) => {
                tracing::debug!(%recipient, tickets = tickets.len(), %until, "an ordered batch waits");
                self.held(&tickets, until);
                return Ok(false);
            }
        };
        let dropped = self.simulate_in_order(&mut batch, snapshot).await?;
        let margin = outlook.escalation.margin(self.config.margin_percent);
        let Some((intent, gas)) = self.carried_in_order(&mut batch, margin, snapshot).await? else {
            return Ok(dropped);
        };
        let tickets: Vec<TicketRecord> = batch.tickets().cloned().collect();
        let worth = batch.pays();
        let planned = Planned { in_order: true, aside: batch.aside, worth, gas, gas_price, because };
        if !self.goes_ahead(&tickets, &intent, &planned) {
            return Ok(dropped);
        }
        let name = intent.id.to_string();
        let groups: Vec<Passing<'_>> = batch.groups.iter().map(passing).collect();
        let submission = OrderedBatch {
            intent: &name,
            domain: &self.domain(),
            recipient,
            groups: &groups,
            oldest: situation.oldest_round(),
            urgent: closing.urgent,
            block: situation.block,
        };
        match self.store.submit_in_order(&submission).await {
            Ok(()) => {}
            Err(err @ (StoreError::ParamsOpen { .. } | StoreError::PassesWinner { .. })) => {
                tracing::info!(%recipient, %err, "planning anew");
                return Ok(dropped);
            }
            Err(err) => return Err(err.into()),
        }
        self.finish(SubmittedBatch { intent: name, tickets }, intent).await?;
        Ok(true)
    }

    /// Why the contract would refuse this keeper for the recipient.
    async fn refusal_of(&self, recipient: Address, snapshot: &Snapshot) -> Result<Option<String>, KeeperError> {
        let account = self.tx.address();
        if account == recipient {
            return Ok(None);
        }
        let call = TicketBroker::redeemerOfCall { recipient };
        let named = snapshot.view(self.chain.contracts.ticket_broker, call).await?;
        Ok((named != account).then(|| {
            format!(
                "{account} may not redeem for {recipient}: run `streamflow chain set-redeemer --redeemer {account}` \
                 with the key of {recipient}"
            )
        }))
    }

    /// The pending marked tickets of the recipient above these marks, those whose params live included: of each sender the
    /// lowest keys, without a gap; none of a sender of whom it is not certain that older tickets have expired.
    async fn pending_in_order(
        &self,
        recipient: Address,
        marks: &HashMap<Address, U256>,
        situation: &Situation,
        snapshot: &Snapshot,
    ) -> Result<Vec<TicketRecord>, KeeperError> {
        let of_each = u32::try_from((READ_IN_ORDER / marks.len().max(1)).max(1)).unwrap_or(u32::MAX);
        let oldest = situation.oldest_round();
        let mut pending = Vec::new();
        let mut is_over = None;
        for (sender, mark) in marks {
            let lowest = self.store.pending_above(recipient, *sender, *mark, Round(0), 1).await?;
            // What is passed over is given up.
            if lowest.iter().any(|record| record.ticket.signed.ticket.creation_round < oldest) {
                let is_over = match is_over {
                    Some(known) => known,
                    None => *is_over.insert(self.is_over(situation, &snapshot.head).await),
                };
                if !is_over {
                    tracing::info!(%recipient, %sender, %oldest, "it is not certain that older tickets have expired");
                    continue;
                }
            }
            pending.extend(self.store.pending_above(recipient, *sender, *mark, oldest, of_each).await?);
        }
        let hashes = self.other_hashes(&pending, snapshot).await?;
        let mut dead = Outcomes::new();
        pending.retain(|record| {
            let ticket = &record.ticket.signed.ticket;
            let hash = hashes.get(&ticket.creation_round);
            let reason = match ordered_ticket(&record.ticket) {
                Err(err) => err.to_string(),
                Ok(_) if hash.is_some_and(|hash| *hash != ticket.creation_round_block_hash) => {
                    "its creation round has another block hash".to_owned()
                }
                Ok(_) => return true,
            };
            dead.push((record.hash, TicketOutcome::Dead { reason }));
            false
        });
        self.settle(dead, None, snapshot.head.contract_number).await?;
        Ok(pending)
    }

    /// Whether most endpoints say that what was created before the oldest round of this situation has expired.
    async fn is_over(&self, situation: &Situation, head: &BlockHeader) -> bool {
        let Some(quorum) = Quorum::find(&self.chain, head.number).await else { return false };
        quorum.oldest_round(quorum.newest).await.is_some_and(|oldest| oldest >= situation.oldest_round())
    }

    /// Block hashes of those of these tickets' rounds that a ticket has another one of, as far as a reorganisation can hardly
    /// change them, and most endpoints say so. Such a ticket can never be paid, and must not hold up those above it.
    async fn other_hashes(
        &self,
        tickets: &[TicketRecord],
        snapshot: &Snapshot,
    ) -> Result<HashMap<Round, B256>, KeeperError> {
        let call = |round: Round| RoundsManager::blockHashForRoundCall { round: U256::from(round.0) };
        let rounds = self.chain.contracts.rounds_manager;
        let named = tickets.iter().map(|record| &record.ticket.signed.ticket);
        let named: HashSet<(Round, B256)> =
            named.map(|ticket| (ticket.creation_round, ticket.creation_round_block_hash)).collect();
        let mut known = HashMap::new();
        let mut doubtful = HashSet::new();
        for (round, hash) in named {
            let now = match known.get(&round) {
                Some(now) => *now,
                None => snapshot.view(rounds, call(round)).await?,
            };
            known.insert(round, now);
            if now != hash {
                doubtful.insert(round);
            }
        }
        let mut hashes = HashMap::new();
        if doubtful.is_empty() {
            return Ok(hashes);
        }
        let Some(quorum) = Quorum::find(&self.chain, snapshot.head.number).await else { return Ok(hashes) };
        let Some(deep) = quorum.newest.checked_sub(self.config.finality_blocks) else { return Ok(hashes) };
        for round in doubtful {
            let now = quorum.view(rounds, call(round), quorum.newest).await;
            let before = quorum.view(rounds, call(round), deep).await;
            if let Some(hash) = now.filter(|hash| !hash.is_zero() && before == Some(*hash)) {
                hashes.insert(round, hash);
            }
        }
        Ok(hashes)
    }

    /// Keeps of the batch what would be passed on the state of the block, and learns what would be set aside. Tickets that hold
    /// up the others are settled. Returns whether one was dropped for good.
    async fn simulate_in_order(&self, batch: &mut Batch, snapshot: &Snapshot) -> Result<bool, KeeperError> {
        let Ok(call) = batch.call() else { return Ok(false) };
        let data = Bytes::from(call.abi_encode());
        let (broker, block) = (self.chain.contracts.ticket_broker, snapshot.head.contract_number);
        let simulated = match self.simulate(data.clone(), snapshot).await {
            Ok(Simulated { refusal: None, logs }) => Ok(logs),
            Ok(Simulated { refusal: Some(reason), .. }) => Err(reason.to_string()),
            // it does not hold up the tickets that need no simulation
            Err(KeeperError::Preflight(err)) => Err(err.to_string()),
            Err(err) => return Err(err),
        };
        let logs = match simulated {
            Ok(logs) => logs,
            Err(reason) => {
                tracing::warn!(recipient = %batch.recipient, reason, "an ordered batch would fail");
                let tickets: Vec<TicketRecord> = batch.tickets().cloned().collect();
                batch.groups.clear();
                self.postpone(&tickets, &reason, block).await?;
                return Ok(false);
            }
        };
        let Some(result) = BatchOutcome::read(broker, &data, &logs) else { return Ok(false) };
        let gas_price = self.gas_price(&snapshot.head);
        let mut outcomes = Outcomes::new();
        let mut dropped = false;
        for group in &mut batch.groups {
            let fates: Vec<Option<Fate>> = group.tickets.iter().map(|record| result.fate(record)).collect();
            if !fates.iter().all(|fate| matches!(fate, Some(Fate::Paid | Fate::SetAside))) {
                // those that are held up are planned anew without the one that holds them up
                let settled =
                    group.tickets.iter().zip(fates).filter(|(_, fate)| !matches!(fate, Some(Fate::HeldUp(_))));
                outcomes
                    .extend(settled.map(|(record, fate)| (record.hash, self.outcome_of(record, fate, block, None))));
                dropped = true;
                group.tickets.clear();
                continue;
            }
            let aside = group.tickets.iter().zip(&fates).filter(|(_, fate)| **fate == Some(Fate::SetAside));
            batch.aside.extend(aside.map(|(record, _)| record.hash));
            if group.beyond.is_some() {
                continue;
            }
            let end = best_prefix(&group.tickets, &batch.aside, gas_price);
            if let Some(first_left) = group.tickets.get(end) {
                let reason = if batch.aside.contains(&first_left.hash) { UNCOVERED } else { TOO_LITTLE };
                outcomes.push((first_left.hash, self.wait(reason, block)));
            }
            group.tickets.truncate(end);
        }
        batch.groups.retain(|group| !group.tickets.is_empty());
        self.settle(outcomes, None, block).await?;
        Ok(dropped)
    }

    /// The transaction for the batch and the gas that it would use, cut to what can be mined, if its payout carries its gas.
    async fn carried_in_order(
        &self,
        batch: &mut Batch,
        margin: u64,
        snapshot: &Snapshot,
    ) -> Result<Option<(TxIntent, u64)>, KeeperError> {
        let (block, gas_price) = (snapshot.head.contract_number, self.gas_price(&snapshot.head));
        let calls = Calls::new(self.chain.contracts);
        let room = self.gas_room(snapshot).await?;
        while !batch.groups.is_empty() {
            let Ok(call) = batch.call() else { return Ok(None) };
            let tickets: Vec<TicketRecord> = batch.tickets().cloned().collect();
            let intent = calls.redeem_ordered(&call).with_id(redemption_id(&tickets));
            let (used, gas) = match self.gas(&intent, room, snapshot).await? {
                Gas::Enough { used, limit } => (used, limit),
                Gas::TooMuch if tickets.len() > 1 => (room, room.saturating_add(1)),
                Gas::TooMuch => {
                    self.postpone(&tickets, TOO_LARGE, block).await?;
                    return Ok(None);
                }
                Gas::Refused(reason) => {
                    self.postpone(&tickets, &reason.to_string(), block).await?;
                    return Ok(None);
                }
            };
            let limit = gas.saturating_add(ASIDE_HEADROOM_GAS.saturating_mul(tickets.len() as u64));
            if limit > room && tickets.len() > 1 {
                batch.halve();
                batch.trim(gas_price);
                continue;
            }
            let pays = batch.pays();
            let cost = Cost { gas, gas_price };
            if !carries(pays, cost.wei(), margin) {
                tracing::info!(tickets = tickets.len(), gas, cost = %cost.wei(), "payout does not carry the gas yet");
                self.postpone(&tickets, TOO_LITTLE, block).await?;
                return Ok(None);
            }
            let max_fee = ceiling(pays, gas, margin);
            return Ok(Some((intent.with_gas(GasPolicy::Limit(limit.min(room))).with_max_fee(max_fee), used)));
        }
        Ok(None)
    }

    /// What a mined batch did for each ticket. `mined` is hash and block of its transaction.
    pub(crate) fn outcomes_in_order(
        &self,
        tickets: &[TicketRecord],
        batch: &BatchOutcome,
        mined: (B256, u64),
        block: u64,
    ) -> Outcomes {
        let outcome = |record: &TicketRecord| self.outcome_of(record, batch.fate(record), block, Some(mined));
        tickets.iter().map(|record| (record.hash, outcome(record))).collect()
    }

    /// `mined` is `None` in a simulation, which pays nobody.
    fn outcome_of(
        &self,
        record: &TicketRecord,
        fate: Option<Fate>,
        block: u64,
        mined: Option<(B256, u64)>,
    ) -> TicketOutcome {
        match (fate, mined) {
            (Some(Fate::Paid), Some((tx_hash, block))) => {
                let amount = record.ticket.signed.ticket.face_value;
                TicketOutcome::Redeemed(Payout { amount, tx_hash, block })
            }
            (Some(Fate::SetAside), _) => {
                TicketOutcome::Waiting { reason: format!("set aside: {UNCOVERED}"), not_before: 0 }
            }
            (Some(Fate::Refused(reason)), _) => match judge(reason, record) {
                (Verdict::Dead, words) => TicketOutcome::Dead { reason: words },
                (Verdict::Wait | Verdict::Done, words) => self.wait(&words, block),
            },
            (Some(Fate::HeldUp(reason)), _) => {
                let (_, words) = judge(reason, record);
                let reason = format!("another ticket of its group was refused: {words}");
                TicketOutcome::Waiting { reason, not_before: 0 }
            }
            (Some(Fate::Unbalanced { moved, owed }), _) => {
                tracing::error!(ticket = %record.hash, %moved, %owed, "a batch moved another sum than it owed, not booked");
                metrics::unbalanced();
                self.wait(&unbalanced(moved, owed), block)
            }
            (Some(Fate::Paid) | None, _) => self.wait("left out of its batch without a reason", block),
        }
    }

    /// Which of these tickets, at or below their sender's mark, were set aside, and which were not.
    async fn lying_aside(
        &self,
        passed: Vec<TicketRecord>,
        snapshot: &Snapshot,
    ) -> Result<(Vec<TicketRecord>, Vec<TicketRecord>), KeeperError> {
        let broker = self.chain.contracts.ticket_broker;
        let asked: Vec<(TicketRecord, bool)> = stream::iter(passed)
            .map(|record| async move {
                let call = TicketBroker::isSetAsideCall { ticketHash: record.hash };
                let is_aside = snapshot.view(broker, call).await?;
                Ok::<_, KeeperError>((record, is_aside))
            })
            .buffered(READS)
            .try_collect()
            .await?;
        let (aside, passed): (Vec<_>, Vec<_>) = asked.into_iter().partition(|(_, is_aside)| *is_aside);
        let records = |asked: Vec<(TicketRecord, bool)>| asked.into_iter().map(|(record, _)| record).collect();
        Ok((records(aside), records(passed)))
    }
}

/// Whether the contracts have no ordered call: the mark is a getter, which never reverts where it exists.
pub(crate) const fn knows_no_order(err: &ChainError) -> bool {
    matches!(err, ChainError::Reverted { .. } | ChainError::BadContract { .. })
}

fn passing(group: &Group) -> Passing<'_> {
    Passing { sender: group.sender, mark: group.mark, tickets: &group.tickets }
}

fn on_chain(group: &Group) -> OrderedGroup<'_> {
    let tickets = group.tickets.iter().map(|record| &record.ticket).collect();
    OrderedGroup { sender: group.sender, mark: group.mark, tickets }
}

fn unbalanced(moved: U256, owed: U256) -> String {
    format!("its batch moved {moved} wei and owed {owed}")
}
