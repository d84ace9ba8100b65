//! The owner of a key's transactions.
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxEnvelope},
    eips::{BlockId, eip2718::Encodable2718},
    network::TxSigner,
    primitives::{Address, Bytes, Signature, TxKind, U256},
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    DryRun, GasPolicy, JournalError, Order, Reply, Request, TxAttempt, TxError, TxHandle, TxIntent, TxJournal,
    TxOutcome, TxRecord, TxState,
    fees::{Fees, ceiling, first_offer, percent_of},
    open::{OpenTx, Verdict},
};
use crate::{BlockFeed, BlockHeader, Chain, ChainConfig, ChainError, Rpc, TxConfig, metrics, profile::Profile};

/// Requests that may wait; more of them wait with their senders.
const QUEUE: usize = 64;
/// Pause between two looks while nothing happens.
const IDLE_LOOK: Duration = Duration::from_secs(1);
/// Nonces tried when a node says that one is used.
const LEASES: usize = 3;

/// Owner of one key's transactions. Run it in a task of its own; there must be only one per key and chain.
pub struct TxManager<J> {
    pub(super) rpc: Rpc,
    pub(super) chain_id: u64,
    signer: Arc<dyn TxSigner<Signature> + Send + Sync>,
    pub(super) from: Address,
    pub(super) config: TxConfig,
    /// Where there is no mempool: how long a transaction may wait before it is replaced.
    pub(super) replace_after: Option<Duration>,
    retry_pause: Duration,
    pub(super) journal: J,
    inbox: mpsc::Receiver<Request>,
    orders: mpsc::Receiver<Order>,
    pub(super) head: watch::Receiver<Option<BlockHeader>>,
    /// By nonce.
    pub(super) open: BTreeMap<u64, OpenTx>,
    /// A gap in the nonces at the last look; a node behind a balancer that lags can show one that is none.
    pub(super) gap: Option<u64>,
}

impl<J> std::fmt::Debug for TxManager<J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TxManager").field("from", &self.from).field("open", &self.open.len()).finish_non_exhaustive()
    }
}

/// What is signed, besides nonce and fees.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body<'a> {
    pub(super) to: Address,
    pub(super) value: U256,
    pub(super) data: &'a Bytes,
    pub(super) gas_limit: u64,
}

impl<'a> Body<'a> {
    pub(super) const fn of(record: &'a TxRecord) -> Self {
        Self { to: record.to, value: record.value, data: &record.data, gas_limit: record.gas_limit }
    }
}

/// What became of an intent at once.
pub(super) enum Start {
    /// Under way at this nonce.
    Open(u64),
    /// It was settled before.
    Settled(Result<TxOutcome, TxError>),
}

impl<J: TxJournal> TxManager<J> {
    /// The manager, and a handle to send through it. `feed` must be running.
    pub fn new(
        chain: &Chain,
        config: &ChainConfig,
        signer: impl TxSigner<Signature> + Send + Sync + 'static,
        journal: J,
        feed: &BlockFeed,
    ) -> (Self, TxHandle) {
        let (sender, inbox) = mpsc::channel(QUEUE);
        let (order, orders) = mpsc::channel(QUEUE);
        let from = signer.address();
        let profile = Profile::new(config.profile, chain.chain_id);
        let manager = Self {
            rpc: chain.rpc.clone(),
            chain_id: chain.chain_id,
            signer: Arc::new(signer),
            from,
            config: profile.tx(&config.tx),
            replace_after: profile.replace_after(&config.tx),
            retry_pause: config.poll_interval,
            journal,
            inbox,
            orders,
            head: feed.head(),
            open: BTreeMap::new(),
            gap: None,
        };
        (manager, TxHandle { inbox: sender, orders: order, address: from })
    }

    /// Works until `stop`, or until every handle is gone and every transaction is settled. May be ended at any point: the
    /// journal holds all that the next run needs.
    ///
    /// # Errors
    ///
    /// The journal cannot tell what is open; sending anything would risk sending it twice.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), JournalError> {
        tokio::select! { biased;
            () = stop.cancelled() => Ok(()),
            outcome = self.work() => outcome,
        }
    }

    async fn work(&mut self) -> Result<(), JournalError> {
        for record in self.journal.open(self.chain_id, self.from).await? {
            tracing::info!(label = record.label, nonce = record.nonce, intent = %record.intent, "resuming transaction");
            self.open.insert(record.nonce, OpenTx::new(record));
        }
        self.look().await;
        let mut handles_gone = false;
        loop {
            metrics::tx_open(self.open.len());
            if handles_gone && self.open.is_empty() {
                return Ok(());
            }
            let room = self.open.len() < self.config.max_in_flight;
            let unsent = self.open.values().any(|open| open.taken_at.is_none() && !open.mined);
            tokio::select! { biased;
                changed = self.head.changed() => match changed {
                    Ok(()) => self.look().await,
                    // Without a follower nothing would ever be confirmed.
                    Err(_) => return Ok(()),
                },
                Some(order) = self.orders.recv() => self.obey(order).await,
                request = self.inbox.recv(), if room && !handles_gone => match request {
                    Some(Request::Send(intent, reply)) => self.accept(intent, reply).await,
                    Some(Request::DryRun(intent, reply)) => drop(reply.send(self.simulate(&intent).await)),
                    None => handles_gone = true,
                },
                () = tokio::time::sleep(self.retry_pause), if unsent => self.look().await,
                // Where blocks may stand still, time alone makes a transaction due.
                () = tokio::time::sleep(self.retry_pause.max(IDLE_LOOK)), if self.replace_after.is_some() && !self.open.is_empty() => {
                    self.look().await;
                }
            }
        }
    }

    async fn accept(&mut self, intent: TxIntent, reply: Reply<TxOutcome>) {
        if reply.is_closed() {
            return;
        }
        let known = self.open.values_mut().find(|open| open.record.intent == intent.id);
        if let Some(open) = known {
            open.waiting.push(reply);
            return;
        }
        match self.start(&intent).await {
            Ok(Start::Open(nonce)) => {
                if let Some(open) = self.open.get_mut(&nonce) {
                    open.waiting.push(reply);
                }
            }
            Ok(Start::Settled(outcome)) => drop(reply.send(outcome)),
            Err(err) => drop(reply.send(Err(err))),
        }
    }

    /// Looks the intent up, or signs, records and sends it.
    pub(super) async fn start(&mut self, intent: &TxIntent) -> Result<Start, TxError> {
        let label = intent.label;
        let journal_failed = |source| TxError::Journal { label, source };
        let mut known = self.journal.find(self.chain_id, self.from, &intent.id).await.map_err(journal_failed)?;
        if let Some(record) = &mut known {
            self.recheck(record, label).await?;
        }
        match known.map(|record| (record.state.clone(), record)) {
            Some((TxState::Confirmed(outcome), _)) => return Ok(Start::Settled(Ok(outcome))),
            Some((TxState::Reverted(outcome, reason), record)) => {
                let label = record.label;
                return Ok(Start::Settled(Err(TxError::Reverted { label, outcome: Box::new(outcome), reason })));
            }
            // It was taken back by a reorganisation, or left by another process with our key and journal; go on with
            // what was signed.
            Some((TxState::Open, record)) => {
                let nonce = record.nonce;
                self.open.insert(nonce, OpenTx::new(record));
                return Ok(Start::Open(nonce));
            }
            // Nothing of it can be mined: it may be tried again.
            Some((TxState::Refused { .. } | TxState::Superseded, _)) | None => {}
        }
        let chain_failed = |source| TxError::Chain { label, source: Arc::new(source) };
        let head = self.rpc.head().await.map_err(chain_failed)?;
        let fees = self.offer(intent, &head)?;
        let gas_limit = self.gas_limit(intent).await?;
        for _ in 0..LEASES {
            let nonce = self.lease().await.map_err(chain_failed)?;
            let mut record = TxRecord {
                chain_id: self.chain_id,
                from: self.from,
                intent: intent.id.clone(),
                label: label.to_owned(),
                nonce,
                to: intent.to,
                data: intent.data.clone(),
                value: intent.value,
                gas_limit,
                max_fee: intent.max_fee,
                attempts: Vec::new(),
                state: TxState::Open,
            };
            let signed = self.sign(nonce, Body::of(&record), fees, head.number).await;
            record.attempts.push(signed.map_err(|err| TxError::Signer { label, source: Arc::new(err) })?);
            self.journal.put(&record).await.map_err(journal_failed)?;
            self.open.insert(nonce, OpenTx::new(record));
            match self.send(nonce, head.number).await {
                Some(Verdict::NonceUsed) => {
                    // The client repeats what was rate-limited: it may be this very transaction that used the nonce.
                    if !matches!(self.receipt(nonce, nonce.saturating_add(1)).await, Ok(None)) {
                        return Ok(Start::Open(nonce));
                    }
                    // It was never taken, and this nonce is gone: another nonce cannot make it happen twice.
                    self.close(nonce, TxState::Refused { message: "nonce is used already".to_owned() }).await;
                }
                Some(Verdict::Funds(message)) => {
                    self.close(nonce, TxState::Refused { message: message.clone() }).await;
                    return Err(TxError::InsufficientFunds { from: self.from, label: label.to_owned(), message });
                }
                Some(Verdict::Refused(message)) => {
                    self.close(nonce, TxState::Refused { message: message.clone() }).await;
                    return Err(TxError::Refused { label: label.to_owned(), message });
                }
                _ => {
                    tracing::info!(label, nonce, intent = %intent.id, gas_limit, "transaction sent");
                    return Ok(Start::Open(nonce));
                }
            }
        }
        Err(TxError::Refused { label: label.to_owned(), message: "every nonce tried is used already".to_owned() })
    }

    /// Opens a record again that was closed as mined, if its block is not in the chain: a reorganisation took it back. It
    /// may be mined in another block, or another transaction may have its nonce; the next looks tell. Blocks are asked for
    /// and not receipts, because nodes forget old receipts.
    async fn recheck(&self, record: &mut TxRecord, label: &'static str) -> Result<(), TxError> {
        let (TxState::Confirmed(outcome) | TxState::Reverted(outcome, _)) = &record.state else { return Ok(()) };
        let present = self.rpc.block_hash(outcome.block).await;
        if present.map_err(|source| TxError::Chain { label, source: Arc::new(source) })? == Some(outcome.block_hash) {
            return Ok(());
        }
        if self.open.contains_key(&record.nonce) {
            return Err(TxError::NonceContested { label, nonce: record.nonce });
        }
        tracing::warn!(label, nonce = record.nonce, intent = %record.intent, "transaction left the chain, watching it again");
        record.state = TxState::Open;
        self.journal.put(record).await.map_err(|source| TxError::Journal { label, source })
    }

    /// The lowest nonce that is neither used, nor pending at the node, nor ours already.
    pub(super) async fn lease(&self) -> Result<u64, ChainError> {
        let (latest, pending) = tokio::try_join!(
            self.rpc.nonce(self.from, BlockId::latest()),
            self.rpc.nonce(self.from, BlockId::pending()),
        )?;
        let mut nonce = latest.max(pending);
        while self.open.contains_key(&nonce) {
            nonce += 1;
        }
        Ok(nonce)
    }

    fn offer(&self, intent: &TxIntent, head: &BlockHeader) -> Result<Fees, TxError> {
        let ceiling = ceiling(&self.config, intent.max_fee);
        first_offer(&self.config, ceiling, head.base_fee)
            .ok_or(TxError::FeeTooHigh { base_fee: head.base_fee, ceiling })
    }

    async fn gas_limit(&self, intent: &TxIntent) -> Result<u64, TxError> {
        let gas = match intent.gas {
            GasPolicy::Limit(limit) => return Ok(limit),
            GasPolicy::Estimate => self.rpc.estimate_gas(intent.request(self.from)).await,
        };
        Ok(self.with_headroom(gas.map_err(|err| self.not_sent(intent, err))?))
    }

    /// Rounded up.
    pub(super) fn with_headroom(&self, gas: u64) -> u64 {
        let with_headroom = percent_of(gas.into(), self.config.gas_headroom_percent.saturating_add(100));
        u64::try_from(with_headroom).unwrap_or(u64::MAX)
    }

    async fn simulate(&self, intent: &TxIntent) -> Result<DryRun, TxError> {
        let head = self.rpc.head().await.map_err(|err| self.not_sent(intent, err))?;
        let fees = self.offer(intent, &head)?;
        let gas_limit = self.gas_limit(intent).await?;
        let output = self.rpc.call(intent.request(self.from), BlockId::latest()).await;
        let output = output.map_err(|err| self.not_sent(intent, err))?;
        Ok(DryRun { gas_limit, max_fee_per_gas: fees.max_fee, output })
    }

    /// The error of a simulation.
    fn not_sent(&self, intent: &TxIntent, err: ChainError) -> TxError {
        let label = intent.label;
        match err {
            ChainError::Reverted { reason, .. } => TxError::WouldRevert { label, reason },
            ChainError::Refused { source, .. } if source.to_string().to_lowercase().contains("insufficient funds") => {
                TxError::InsufficientFunds { from: self.from, label: label.to_owned(), message: source.to_string() }
            }
            err => TxError::Chain { label, source: Arc::new(err) },
        }
    }

    pub(super) async fn sign(
        &self,
        nonce: u64,
        body: Body<'_>,
        fees: Fees,
        signed_at: u64,
    ) -> Result<TxAttempt, alloy::signers::Error> {
        let mut tx = TxEip1559 {
            chain_id: self.chain_id,
            nonce,
            gas_limit: body.gas_limit,
            max_fee_per_gas: fees.max_fee,
            max_priority_fee_per_gas: fees.tip,
            to: TxKind::Call(body.to),
            value: body.value,
            access_list: Default::default(),
            input: body.data.clone(),
        };
        let signature = self.signer.sign_transaction(&mut tx).await?;
        let envelope = TxEnvelope::from(tx.into_signed(signature));
        Ok(TxAttempt {
            hash: *envelope.tx_hash(),
            raw: envelope.encoded_2718().into(),
            max_fee_per_gas: fees.max_fee,
            max_priority_fee_per_gas: fees.tip,
            signed_at,
        })
    }

    /// Gives every node the newest attempt. `None` if there is no such transaction.
    pub(super) async fn send(&mut self, nonce: u64, head: u64) -> Option<Verdict> {
        let raw = self.open.get(&nonce)?.newest()?.raw.clone();
        let verdict = Verdict::of_all(self.rpc.broadcast(&raw).await);
        metrics::tx_sent();
        let open = self.open.get_mut(&nonce)?;
        open.given = Some(Instant::now());
        match &verdict {
            Verdict::Taken => open.taken_at = Some(head),
            Verdict::Unknown(err) => {
                open.taken_at = None;
                tracing::debug!(%err, nonce, "no answer to a transaction, sending again");
            }
            Verdict::NotNow(message) => {
                // Due again with the next blocks, when the fee is raised or the pool has room.
                open.taken_at = Some(head);
                tracing::debug!(message, nonce, "the node does not take the transaction now");
            }
            Verdict::Unclear(message) => {
                open.taken_at = Some(head);
                tracing::warn!(
                    message,
                    nonce,
                    "the node's answer to a transaction is not clear, watching and sending again"
                );
            }
            // Wait for the chain to tell; the callers of a first attempt decide for themselves.
            Verdict::NonceUsed | Verdict::Funds(_) | Verdict::Refused(_) => open.taken_at = Some(head),
        }
        Some(verdict)
    }

    /// Records how it ended, then tells those who wait. If that cannot be recorded, it stays open for the next look.
    pub(super) async fn close(&mut self, nonce: u64, state: TxState) {
        let Some(open) = self.open.get(&nonce) else { return };
        let record = TxRecord { state, ..open.record.clone() };
        if let Err(err) = self.journal.put(&record).await {
            tracing::error!(%err, nonce, label = record.label, "cannot record the end of a transaction, trying again");
            return;
        }
        let Some(open) = self.open.remove(&nonce) else { return };
        metrics::tx_closed(record.state.as_str());
        tracing::info!(nonce, label = record.label, intent = %record.intent, state = record.state.as_str(), "transaction ended");
        for reply in open.waiting {
            let _ = reply.send(outcome(&record));
        }
    }
}

/// A closed record as its senders see it.
fn outcome(record: &TxRecord) -> Result<TxOutcome, TxError> {
    let label = record.label.clone();
    match &record.state {
        TxState::Confirmed(outcome) => Ok(outcome.clone()),
        TxState::Reverted(outcome, reason) => {
            Err(TxError::Reverted { label, outcome: Box::new(outcome.clone()), reason: reason.clone() })
        }
        TxState::Refused { message } => Err(TxError::Refused { label, message: message.clone() }),
        TxState::Superseded => Err(TxError::Superseded { from: record.from, nonce: record.nonce, label }),
        TxState::Open => Err(TxError::Stopped),
    }
}
