//! What became of tickets that their sender's mark has passed.

use std::collections::{HashMap, HashSet};

use alloy::primitives::{Address, B256};
use streamflow_bindings::TicketBroker;
use streamflow_chain::BlockHeader;
use streamflow_store::{TicketOutcome, TicketRecord};

use super::{
    lookup::{Found, find},
    plan::key,
    unbalanced,
};
use crate::{
    KeeperError,
    quorum::{Quorum, undecided},
    redeem::Redeemer,
    snapshot::Snapshot,
};

/// Passed tickets that are looked for in one pass.
const SETTLED_AT_ONCE: usize = 50;

impl Redeemer {
    /// Finds out what became of tickets at or below their sender's mark that do not lie aside: some of them at a time, each
    /// outcome stored as soon as it is known, so that many of them hold up nothing.
    pub(crate) async fn settle_passed(&self, mut passed: Vec<TicketRecord>) -> Result<(), KeeperError> {
        let snapshot = Snapshot::newest(&self.chain).await?;
        let (broker, head) = (self.chain.contracts.ticket_broker, &snapshot.head);
        let (newest, block) = (head.number, head.contract_number);
        let later = passed.split_off(passed.len().min(SETTLED_AT_ONCE));
        self.postpone(&later, "passed by its sender's mark, to be looked for", block).await?;
        let mut by_accounts: HashMap<(Address, Address), Vec<TicketRecord>> = HashMap::new();
        for record in passed {
            let call = TicketBroker::usedTicketsCall { ticketHash: record.hash };
            if snapshot.view(broker, call).await? {
                let outcome = self.redeemed_before(&record, block).await;
                self.settle(vec![(record.hash, outcome)], None, block).await?;
            } else {
                let ticket = &record.ticket.signed.ticket;
                by_accounts.entry((ticket.sender, ticket.recipient)).or_default().push(record);
            }
        }
        for records in by_accounts.into_values() {
            let found = match find(&self.chain, &records, newest, self.config.log_lookback_blocks).await {
                Ok(found) => found,
                Err(err) => {
                    tracing::warn!(tickets = records.len(), %err, "cannot look for the batches that passed tickets");
                    let reason = "passed by its sender's mark, but the batch cannot be looked for";
                    self.postpone(&records, reason, block).await?;
                    continue;
                }
            };
            let lost = self.lost(&records, &found, head).await?;
            for record in records {
                let is_lost = lost.contains(&record.hash);
                let outcome = self.passed_before(&record, found.get(&record.hash), is_lost, block);
                self.settle(vec![(record.hash, outcome)], None, block).await?;
            }
        }
        Ok(())
    }

    /// What became of a ticket whose mark has passed it, and that neither lies aside nor is used: paid by a batch that this
    /// store does not know, or lost.
    pub(crate) fn passed_before(
        &self,
        record: &TicketRecord,
        found: Option<&Found>,
        is_lost: bool,
        block: u64,
    ) -> TicketOutcome {
        let reason = match found {
            Some(Found::Paid(payout)) => return TicketOutcome::Redeemed(*payout),
            Some(Found::Unbalanced { tx_hash, moved, owed }) => format!("{} in {tx_hash}", unbalanced(*moved, *owed)),
            None => format!(
                "passed unpaid: the mark of {} is not below its key, and no batch of the last {} blocks paid it",
                record.ticket.signed.ticket.sender, self.config.log_lookback_blocks
            ),
        };
        if is_lost { TicketOutcome::Dead { reason } } else { self.wait(&reason, block) }
    }

    /// Those of these tickets, passed and not found to be paid, that are lost for good by the word of most endpoints: the mark
    /// passed them where a reorganisation can hardly reach it, they are neither used nor aside, and no batch up to there paid
    /// them. All are of one sender and one recipient.
    async fn lost(
        &self,
        records: &[TicketRecord],
        found: &HashMap<B256, Found>,
        head: &BlockHeader,
    ) -> Result<HashSet<B256>, KeeperError> {
        let is_paid = |found: &HashMap<B256, Found>, record: &TicketRecord| {
            matches!(found.get(&record.hash), Some(Found::Paid(_)))
        };
        let unpaid: Vec<&TicketRecord> = records.iter().filter(|record| !is_paid(found, record)).collect();
        if unpaid.is_empty() {
            return Ok(HashSet::new());
        }
        let Some(quorum) = Quorum::find(&self.chain, head.number).await else { return Ok(HashSet::new()) };
        let Some(deep) = quorum.newest.checked_sub(self.config.finality_blocks) else { return Ok(HashSet::new()) };
        let mut passed = Vec::new();
        for record in unpaid {
            let is_passed = quorum.mark(record, deep).await.is_some_and(|mark| key(record) <= mark)
                && quorum.is_used(record, quorum.newest).await == Some(false)
                && quorum.is_aside(record, quorum.newest).await == Some(false);
            if is_passed {
                passed.push(record.clone());
            }
        }
        let found = match find(&quorum.chain, &passed, deep, self.config.log_lookback_blocks).await {
            Ok(found) => found,
            Err(err) => {
                undecided(&err);
                return Ok(HashSet::new());
            }
        };
        Ok(passed.iter().filter(|record| !is_paid(&found, record)).map(|record| record.hash).collect())
    }
}
