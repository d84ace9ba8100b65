//! Watching what is under way, until the chain has settled it.
use std::time::Duration;

use alloy::{
    eips::BlockId,
    primitives::B256,
    rpc::types::{TransactionReceipt, TransactionRequest},
};

use super::{GasPolicy, IntentId, TxIntent, TxJournal, TxOutcome, TxState, manager::TxManager, open::OpenTx};
use crate::{BlockHeader, ChainError, Revert};

/// Blocks after which the nodes are given a transaction again that they have not mined.
const RESEND_BLOCKS: u64 = 5;
/// The same where there is no mempool and blocks come fast.
const RESEND_PAUSE: Duration = Duration::from_secs(10);
/// Looks in a row that must miss every hash before a used nonce counts as another's.
const ABSENCES: u32 = 3;

impl<J: TxJournal> TxManager<J> {
    /// Looks at every open transaction once. A failure is told by the follower's health, and cured by the next look.
    pub(super) async fn look(&mut self) {
        if self.open.is_empty() {
            return;
        }
        if let Err(err) = self.try_look().await {
            tracing::debug!(%err, "cannot look at open transactions, trying again");
        }
    }

    async fn try_look(&mut self) -> Result<(), ChainError> {
        let (head, used) = self.used_nonces().await?;
        let nonces: Vec<u64> = self.open.keys().copied().collect();
        for nonce in nonces {
            match self.receipt(nonce, used).await? {
                Some(receipt) => self.mined(nonce, &head, receipt).await,
                None if nonce < used => self.missing(nonce, &head).await?,
                None => self.waiting(nonce, &head, nonce == used).await,
            }
        }
        self.fill_gap().await
    }

    /// The newest block, and the nonces used after it, as one node sees them. The block is the one that the follower told: a
    /// node behind a balancer that lags does not know it, and says so, where it would tell an older state of its own.
    async fn used_nonces(&self) -> Result<(BlockHeader, u64), ChainError> {
        let node = self.rpc.pinned();
        let followed = *self.head.borrow();
        let head = match followed {
            Some(head) => head,
            None => node.head().await?,
        };
        Ok((head, node.nonce(self.from, BlockId::from(head.hash)).await?))
    }

    /// The receipt of whichever of its hashes was mined.
    pub(super) async fn receipt(&self, nonce: u64, used: u64) -> Result<Option<TransactionReceipt>, ChainError> {
        let Some(open) = self.open.get(&nonce).filter(|_| nonce < used) else { return Ok(None) };
        for attempt in open.record.attempts.iter().rev() {
            if let Some(receipt) = self.rpc.receipt(attempt.hash).await?
                && receipt.block_number.is_some()
            {
                return Ok(Some(receipt));
            }
        }
        Ok(None)
    }

    async fn mined(&mut self, nonce: u64, head: &BlockHeader, receipt: TransactionReceipt) {
        let Some(open) = self.open.get_mut(&nonce) else { return };
        open.mined = true;
        open.absent = 0;
        let block = receipt.block_number.unwrap_or_default();
        if (head.number + 1).saturating_sub(block) < self.config.confirmations {
            return;
        }
        let outcome = TxOutcome {
            hash: receipt.transaction_hash,
            block,
            block_hash: receipt.block_hash.unwrap_or_default(),
            gas_used: receipt.gas_used,
            gas_price: receipt.effective_gas_price,
            logs: receipt.logs().to_vec(),
            status: receipt.status(),
        };
        let state = if open.is_given_up_by(outcome.hash) {
            TxState::Superseded
        } else if outcome.status {
            TxState::Confirmed(outcome)
        } else {
            let reason = self.revert_reason(nonce, block).await;
            TxState::Reverted(outcome, reason)
        };
        self.close(nonce, state).await;
    }

    /// The receipt does not tell: ask for the call once more, in the state before its block.
    async fn revert_reason(&self, nonce: u64, block: u64) -> Revert {
        let Some(OpenTx { record, .. }) = self.open.get(&nonce) else { return Revert::default() };
        let request = TransactionRequest::default()
            .from(record.from)
            .to(record.to)
            .value(record.value)
            .gas_limit(record.gas_limit)
            .input(record.data.clone().into());
        match self.rpc.call(request, BlockId::number(block.saturating_sub(1))).await {
            Err(ChainError::Reverted { reason, .. }) => reason,
            _ => Revert::default(),
        }
    }

    /// Its nonce is used, but none of its hashes is known: a node lags or withholds the receipt, or another transaction took
    /// the nonce. That it did is believed only if most nodes say so, several times, and none of our hashes is in the block in
    /// which the nonce passed.
    async fn missing(&mut self, nonce: u64, head: &BlockHeader) -> Result<(), ChainError> {
        let deep = head.number.saturating_sub(self.config.confirmations);
        let agreed = self.rpc.agreed();
        let used_for_good = agreed.nonce(self.from, BlockId::number(deep)).await? > nonce;
        let Some(open) = self.open.get_mut(&nonce) else { return Ok(()) };
        open.absent = if used_for_good { open.absent + 1 } else { 0 };
        if open.absent < ABSENCES {
            return Ok(());
        }
        let hashes: Vec<B256> = open.record.attempts.iter().map(|attempt| attempt.hash).collect();
        match self.rpc.nonce_use(self.from, nonce, head.number).await {
            Ok((endpoint, Some(used))) if hashes.contains(&used.transaction) => {
                tracing::warn!(nonce, tx = %used.transaction, block = used.block, "mined, but its receipt is withheld");
                self.rpc.withholds_receipt(endpoint, &used);
                self.open.entry(nonce).and_modify(|open| open.absent = 0);
                return Ok(());
            }
            Ok((_, Some(used))) => tracing::warn!(nonce, tx = %used.transaction, "another transaction has the nonce"),
            Ok((_, None)) => {}
            // The node keeps no state that old.
            Err(ChainError::Refused { .. }) => {
                tracing::debug!(nonce, "cannot look for the transaction that has the nonce")
            }
            Err(err) => return Err(err),
        }
        for hash in hashes {
            if agreed.receipt(hash).await?.is_some() {
                return Ok(());
            }
        }
        self.close(nonce, TxState::Superseded).await;
        Ok(())
    }

    /// Not mined yet, or not any more.
    async fn waiting(&mut self, nonce: u64, head: &BlockHeader, first: bool) {
        let Some(open) = self.open.get_mut(&nonce) else { return };
        open.absent = 0;
        if std::mem::take(&mut open.mined) {
            tracing::warn!(nonce, label = open.record.label, "transaction left the chain, sending again");
            open.taken_at = None;
            open.given = None;
            open.first_since = None;
        }
        if let Some(after) = self.replace_after {
            self.waiting_without_mempool(nonce, head, after).await;
            return;
        }
        let patience = self.config.bump_after_blocks;
        let waited = open.waited(head.number);
        // No block can take a cap below the base fee, so it is raised even where raising is off.
        let overdue = if patience > 0 {
            waited >= patience
        } else {
            open.fees().is_some_and(|fees| fees.max_fee < head.base_fee)
        };
        let raise = first && overdue;
        let due = open.taken_at.is_none_or(|taken| head.number.saturating_sub(taken) >= RESEND_BLOCKS);
        if (raise && self.bump(nonce, head).await) || due {
            self.send(nonce, head.number).await;
        }
    }

    /// The same bytes again and again; after a while with gas estimated anew, because a limit that has become too low is the
    /// usual cause.
    async fn waiting_without_mempool(&mut self, nonce: u64, head: &BlockHeader, after: Duration) {
        let Some(open) = self.open.get(&nonce) else { return };
        let due = open.not_given_for(RESEND_PAUSE.min(after));
        let overdue = open.made.elapsed() >= after;
        if (overdue && self.renew(nonce, head).await) || due {
            self.send(nonce, head.number).await;
        }
    }

    /// A nonce that nobody will use holds up every later one: use it for an empty transfer to ourselves.
    async fn fill_gap(&mut self) -> Result<(), ChainError> {
        let Some(last) = self.open.keys().next_back().copied() else { return Ok(()) };
        let gap = Some(self.lease().await?).filter(|free| *free < last);
        let Some(free) = gap.filter(|_| std::mem::replace(&mut self.gap, gap) == gap) else { return Ok(()) };
        tracing::warn!(nonce = free, "filling a gap in the nonces");
        let intent = TxIntent {
            id: IntentId::unique("nonce-filler"),
            to: self.from,
            data: Default::default(),
            value: Default::default(),
            gas: GasPolicy::Estimate,
            max_fee: None,
            label: "nonce filler",
        };
        if let Err(err) = Box::pin(self.start(&intent)).await {
            tracing::warn!(%err, nonce = free, "cannot fill a gap in the nonces, trying again");
        }
        Ok(())
    }
}
