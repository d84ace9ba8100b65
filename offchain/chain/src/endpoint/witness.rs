//! What an endpoint says of a block, held against the block.
use alloy::{
    primitives::{Address, B256, U64},
    rpc::types::{Filter, Log, TransactionReceipt},
    transports::TransportError,
};
use serde::Deserialize;

use super::{
    Endpoints, Fault, Mode, Recheck,
    client::{Failure, payload, request},
    header::Commitment,
    proof::{self, AnyReceipt, Verdict},
    survey::{quantity, unreadable},
};

/// A transaction of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NonceUse {
    pub(crate) transaction: B256,
    pub(crate) block: u64,
    pub(crate) block_hash: B256,
}

#[derive(Debug, Deserialize)]
struct SentBlock {
    hash: B256,
    transactions: Vec<Sent>,
}

#[derive(Debug, Deserialize)]
struct Sent {
    hash: B256,
    from: Address,
    nonce: U64,
}

impl Endpoints {
    /// Logs that match `filter`. Those of one block are held against its header: by the bloom filter, and, if there are any or
    /// if some seem to be missing, by all of its receipts. An endpoint that told others is left, and the next is asked.
    pub(crate) async fn logs(&self, mode: Mode, filter: &Filter) -> Result<Vec<Log>, TransportError> {
        loop {
            let (index, logs): (usize, Vec<Log>) = self.ask(mode, "eth_getLogs", (filter,)).await?;
            let Some(block) = filter.get_block_hash().filter(|_| self.config.verify && mode != Mode::Agreed) else {
                return Ok(logs);
            };
            match self.judge_logs(index, filter, block, &logs).await {
                Ok(()) => return Ok(logs),
                Err(Failure { fault: fault @ Fault::FalseLogs { .. }, .. }) => {
                    self.leave(index, fault, Some(Recheck::Logs(Box::new(filter.clone()))));
                }
                // Nothing against the logs: they could not be checked this time.
                Err(failure) => return Err(failure.error),
            }
        }
    }

    async fn judge_logs(&self, index: usize, filter: &Filter, block: B256, logs: &[Log]) -> Result<(), Failure> {
        let Some(commitment) = self.commitment(index, block).await? else { return Ok(()) };
        let wrong = || self.caught(index, Fault::FalseLogs { block });
        if !proof::may_be_of_block(logs, filter, &commitment) {
            return Err(wrong());
        }
        let may_miss_some = proof::may_miss_some(logs, filter, &commitment);
        if logs.is_empty() && !may_miss_some {
            return Ok(());
        }
        if let Some(receipts) = self.receipts(index, &commitment, Fault::FalseLogs { block }).await? {
            let right = proof::logs_of(receipts, filter);
            return if proof::same_logs(&right, logs) { Ok(()) } else { Err(wrong()) };
        }
        if !may_miss_some {
            return Ok(());
        }
        // The node does not tell receipts of a block: another may know of more logs.
        for other in (0..self.list.len()).filter(|other| *other != index) {
            if let Ok((_, others)) = self.ask::<Vec<Log>>(Mode::Only(other), "eth_getLogs", (filter,)).await
                && others.len() > logs.len()
                && proof::may_be_of_block(&others, filter, &commitment)
            {
                return Err(wrong());
            }
        }
        Ok(())
    }

    /// What the header of a block commits to; `None` if that cannot be known.
    async fn commitment(&self, index: usize, hash: B256) -> Result<Option<Commitment>, Failure> {
        let known = |endpoints: &Self| {
            let known = endpoints.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            known.iter().find(|known| known.hash == hash).copied()
        };
        if let Some(commitment) = known(self) {
            return Ok(Some(commitment));
        }
        let header = self.probe_header(index, format!("{hash:#x}").into()).await?;
        Ok(header.and_then(|header| header.commitment))
    }

    /// All receipts of a block, if the node tells them and they can be judged. Receipts that do not give the block's root are a `lie`.
    async fn receipts(&self, index: usize, block: &Commitment, lie: Fault) -> Result<Option<Vec<AnyReceipt>>, Failure> {
        let packet = request("eth_getBlockReceipts", (block.hash,)).map_err(unreadable)?;
        // An error is that of a node that does not know the method.
        let Ok(answer) = payload(self.post(index, &packet).await?) else { return Ok(None) };
        let Ok(Some(receipts)) = serde_json::from_str::<Option<Vec<AnyReceipt>>>(answer.get()) else { return Ok(None) };
        match proof::judge(&receipts, block, &self.hashes_own_types) {
            Verdict::True => Ok(Some(receipts)),
            Verdict::False => Err(self.caught(index, lie)),
            Verdict::Unknown => Ok(None),
        }
    }

    /// The receipt of a transaction, held against its block. An endpoint without it leaves the answer to the others.
    pub(crate) async fn receipt(&self, mode: Mode, hash: B256) -> Result<Option<TransactionReceipt>, TransportError> {
        loop {
            let (index, receipt): (usize, Option<TransactionReceipt>) =
                self.ask(mode, "eth_getTransactionReceipt", (hash,)).await?;
            let Some(receipt) = receipt else { return Ok(None) };
            let (Some(block), Some(block_hash)) = (receipt.block_number, receipt.block_hash) else {
                return Ok(Some(receipt));
            };
            if !self.config.verify || mode == Mode::Agreed {
                return Ok(Some(receipt));
            }
            match self.judge_receipt(index, hash, &receipt, block_hash).await {
                Ok(()) => return Ok(Some(receipt)),
                Err(Failure { fault: fault @ Fault::FalseReceipt { .. }, .. }) => {
                    self.leave(index, fault, Some(Recheck::Receipt { transaction: hash, block, block_hash }));
                }
                Err(failure) => return Err(failure.error),
            }
        }
    }

    async fn judge_receipt(
        &self,
        index: usize,
        asked: B256,
        receipt: &TransactionReceipt,
        block_hash: B256,
    ) -> Result<(), Failure> {
        let wrong = || self.caught(index, Fault::FalseReceipt { transaction: asked });
        if receipt.transaction_hash != asked {
            return Err(wrong());
        }
        let Some(commitment) = self.commitment(index, block_hash).await? else { return Ok(()) };
        if receipt.block_number != Some(commitment.number) {
            return Err(wrong());
        }
        let lie = Fault::FalseReceipt { transaction: asked };
        let Some(receipts) = self.receipts(index, &commitment, lie).await? else { return Ok(()) };
        let right = receipts.iter().find(|right| right.transaction() == asked);
        if right.is_some_and(|right| right.is(receipt)) { Ok(()) } else { Err(wrong()) }
    }

    /// An endpoint has no receipt of a transaction that its own block contains.
    pub(crate) fn withholds_receipt(&self, index: usize, used: &NonceUse) {
        let NonceUse { transaction, block, block_hash } = *used;
        let fault = Fault::NoReceipt { transaction, block };
        self.leave(index, fault, Some(Recheck::Receipt { transaction, block, block_hash }));
    }

    pub(super) async fn probe_logs(&self, index: usize, filter: &Filter) -> Result<(), Failure> {
        let Some(block) = filter.get_block_hash() else { return Ok(()) };
        if self.probe_header(index, format!("{block:#x}").into()).await?.is_none() {
            return Ok(()); // The block is gone, and what was said of it with it.
        }
        let packet = request("eth_getLogs", (filter,)).map_err(unreadable)?;
        let answer = payload(self.post(index, &packet).await?).map_err(unreadable)?;
        let logs: Vec<Log> =
            serde_json::from_str(answer.get()).map_err(|err| unreadable(TransportError::deser_err(err, "logs")))?;
        self.judge_logs(index, filter, block, &logs).await
    }

    pub(super) async fn probe_receipt(&self, index: usize, transaction: B256, block: u64) -> Result<(), Failure> {
        let packet = request("eth_getTransactionReceipt", (transaction,)).map_err(unreadable)?;
        let answer = payload(self.post(index, &packet).await?).map_err(unreadable)?;
        let receipt: Option<TransactionReceipt> = serde_json::from_str(answer.get())
            .map_err(|err| unreadable(TransportError::deser_err(err, "a receipt")))?;
        match receipt.and_then(|receipt| Some((receipt.block_hash?, receipt))) {
            Some((block_hash, receipt)) => self.judge_receipt(index, transaction, &receipt, block_hash).await,
            None => Err(self.caught(index, Fault::NoReceipt { transaction, block })),
        }
    }

    /// The transaction that used a nonce of `account`, found in the blocks up to `head`. `None` if the block in which the
    /// nonce passed has none: an authorisation used it.
    pub(crate) async fn nonce_use(
        &self,
        index: usize,
        account: Address,
        nonce: u64,
        head: u64,
    ) -> Result<Option<NonceUse>, TransportError> {
        let mode = Mode::Only(index);
        let count = |block: u64| async move {
            let (_, count): (_, U64) = self.ask(mode, "eth_getTransactionCount", (account, quantity(block))).await?;
            Ok::<u64, TransportError>(count.to())
        };
        // Back in growing steps to a block that does not know it, then by halves.
        let (mut low, mut high, mut step) = (head, head, 1);
        while low > 0 && count(low).await? > nonce {
            high = low;
            low = low.saturating_sub(step);
            step *= 2;
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if count(middle).await? > nonce { high = middle } else { low = middle }
        }
        let (_, block): (_, Option<SentBlock>) = self.ask(mode, "eth_getBlockByNumber", (quantity(high), true)).await?;
        let Some(block) = block else { return Ok(None) };
        let sent = block.transactions.iter().find(|sent| sent.from == account && sent.nonce.to::<u64>() == nonce);
        Ok(sent.map(|sent| NonceUse { transaction: sent.hash, block: high, block_hash: block.hash }))
    }
}
