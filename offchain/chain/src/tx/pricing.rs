//! Other forms of what is under way: with higher fees, with gas estimated anew, or empty.
use std::{sync::Arc, time::Instant};

use alloy::{
    primitives::{Bytes, U256},
    rpc::types::TransactionRequest,
};

use super::{
    IntentId, Order, Raised, TxError, TxJournal, TxRecord,
    fees::{Fees, ceiling, first_offer, raised},
    manager::{Body, TxManager},
};
use crate::{BlockHeader, ChainError, metrics};

/// What an order that fails is about, for its error.
const CANCEL: &str = "cancel";
const RAISE: &str = "raise";

impl<J: TxJournal> TxManager<J> {
    pub(super) async fn obey(&mut self, order: Order) {
        match order {
            Order::Raise(intent, max_fee, reply) => drop(reply.send(self.raise(&intent, max_fee).await)),
            Order::Cancel(intent, reply) => drop(reply.send(self.cancel(&intent).await)),
        }
    }

    fn nonce_of(&self, intent: &IntentId) -> Option<u64> {
        self.open.iter().find(|(_, open)| open.record.intent == *intent).map(|(nonce, _)| *nonce)
    }

    /// Raises the ceiling, and lets the next look raise the fees.
    async fn raise(&mut self, intent: &IntentId, max_fee: u128) -> Result<Option<Raised>, TxError> {
        let Some(nonce) = self.nonce_of(intent) else { return Ok(None) };
        let Some(open) = self.open.get(&nonce) else { return Ok(None) };
        if let Some(old) = open.record.max_fee.filter(|old| *old < max_fee) {
            let record = TxRecord { max_fee: Some(max_fee), ..open.record.clone() };
            let label = RAISE;
            self.journal.put(&record).await.map_err(|source| TxError::Journal { label, source })?;
            tracing::info!(nonce, label = record.label, old, new = max_fee, "raised the ceiling of a transaction");
            self.open.entry(nonce).and_modify(|open| {
                open.record = record;
                open.ceiling_told = false;
            });
            self.look().await;
        }
        // It may have been settled by the look.
        let Some(open) = self.open.get(&nonce) else { return Ok(None) };
        let ahead = self.open.range(..nonce).find(|(_, ahead)| !ahead.mined);
        Ok(Some(Raised {
            ceiling: ceiling(&self.config, open.record.max_fee),
            max_fee_per_gas: open.newest().map_or(0, |attempt| attempt.max_fee_per_gas),
            behind: ahead.map(|(_, ahead)| ahead.record.intent.clone()),
        }))
    }

    /// Puts an empty transfer in the place of what is under way.
    async fn cancel(&mut self, intent: &IntentId) -> Result<bool, TxError> {
        let Some(nonce) = self.nonce_of(intent) else { return Ok(false) };
        let Some((open, fees)) = self.open.get(&nonce).and_then(|open| Some((open, open.fees()?))) else {
            return Ok(false);
        };
        if open.mined {
            return Ok(false);
        }
        if open.is_given_up() {
            return Ok(true);
        }
        let label = CANCEL;
        let chain_failed = |source: ChainError| TxError::Chain { label, source: Arc::new(source) };
        let head = self.rpc.head().await.map_err(chain_failed)?;
        let ceiling = ceiling(&self.config, None);
        let too_high = TxError::FeeTooHigh { base_fee: head.base_fee, ceiling };
        let fees = raised(&self.config, ceiling, fees, head.base_fee).ok_or(too_high)?;
        // Without a mempool nothing has to be outbid.
        let tip = if self.replace_after.is_some() { 0 } else { fees.tip };
        let record = open.record.clone();
        let fees = Fees { tip, ..fees };
        if !self.replace(nonce, record, true, fees, &head).await? {
            return Ok(false);
        }
        tracing::warn!(nonce, intent = %intent, max_fee = fees.max_fee, "gave a transaction up for an empty transfer");
        self.send(nonce, head.number).await;
        Ok(true)
    }

    /// Signs and records a form with higher fees; false if there is none.
    pub(super) async fn bump(&mut self, nonce: u64, head: &BlockHeader) -> bool {
        let Some((open, fees)) = self.open.get(&nonce).and_then(|open| Some((open, open.fees()?))) else {
            return false;
        };
        let empty = open.is_given_up();
        // What the intent is worth does not bound the price of giving it up.
        let ceiling = ceiling(&self.config, open.record.max_fee.filter(|_| !empty));
        let Some(fees) = raised(&self.config, ceiling, fees, head.base_fee) else {
            if !open.ceiling_told {
                tracing::warn!(
                    nonce,
                    label = open.record.label,
                    base_fee = head.base_fee,
                    max_fee = fees.max_fee,
                    ceiling,
                    "transaction waits: its fee may not be raised above its ceiling"
                );
            }
            self.open.entry(nonce).and_modify(|open| open.ceiling_told = true);
            return false;
        };
        let record = open.record.clone();
        let label = record.label.clone();
        match self.replace(nonce, record, empty, fees, head).await {
            Ok(true) => {
                tracing::info!(nonce, label, max_fee = fees.max_fee, "raised the fees of a transaction");
                metrics::tx_raised();
                true
            }
            Ok(false) => false,
            Err(err) => {
                tracing::error!(%err, nonce, "cannot raise the fees of a transaction");
                false
            }
        }
    }

    /// Estimates gas anew and signs another form if that, or the base fee, asks for more; false if the form stays.
    pub(super) async fn renew(&mut self, nonce: u64, head: &BlockHeader) -> bool {
        let Some((open, old)) = self.open.get_mut(&nonce).and_then(|open| {
            let fees = open.fees()?;
            Some((open, fees))
        }) else {
            return false;
        };
        // Whatever comes of it, the next try is due after the same time.
        open.made = Instant::now();
        let empty = open.is_given_up();
        let mut record = open.record.clone();
        let ceiling = ceiling(&self.config, record.max_fee.filter(|_| !empty));
        let offer = first_offer(&self.config, ceiling, head.base_fee);
        let fees = Fees { max_fee: offer.map_or(old.max_fee, |offer| offer.max_fee.max(old.max_fee)), ..old };
        if !empty {
            let request = TransactionRequest::default()
                .from(record.from)
                .to(record.to)
                .value(record.value)
                .input(record.data.clone().into());
            match self.rpc.estimate_gas(request).await {
                Ok(gas) => record.gas_limit = record.gas_limit.max(self.with_headroom(gas)),
                Err(err) => {
                    tracing::warn!(%err, nonce, label = record.label, "cannot estimate the gas of a transaction anew");
                }
            }
        }
        let same_gas = self.open.get(&nonce).is_some_and(|open| open.record.gas_limit == record.gas_limit);
        if same_gas && fees == old {
            return false;
        }
        let (label, gas_limit) = (record.label.clone(), record.gas_limit);
        match self.replace(nonce, record, empty, fees, head).await {
            Ok(replaced) => {
                if replaced {
                    tracing::info!(nonce, label, gas_limit, max_fee = fees.max_fee, "replaced a transaction");
                    metrics::tx_replaced();
                }
                replaced
            }
            Err(err) => {
                tracing::error!(%err, nonce, "cannot replace a transaction");
                false
            }
        }
    }

    /// Signs and records another form of the nonce: `record`'s, or an empty transfer to ourselves. False if it is gone.
    async fn replace(
        &mut self,
        nonce: u64,
        mut record: TxRecord,
        empty: bool,
        fees: Fees,
        head: &BlockHeader,
    ) -> Result<bool, TxError> {
        let label = CANCEL;
        let nothing = Bytes::new();
        let attempt = if empty {
            let request = TransactionRequest::default().from(self.from).to(self.from);
            let gas = self.rpc.estimate_gas(request).await;
            let gas = gas.map_err(|source| TxError::Chain { label, source: Arc::new(source) })?;
            let gas_limit = self.with_headroom(gas);
            let body = Body { to: self.from, value: U256::ZERO, data: &nothing, gas_limit };
            self.sign(nonce, body, fees, head.number).await
        } else {
            self.sign(nonce, Body::of(&record), fees, head.number).await
        };
        record.attempts.push(attempt.map_err(|err| TxError::Signer { label, source: Arc::new(err) })?);
        self.journal.put(&record).await.map_err(|source| TxError::Journal { label, source })?;
        let Some(open) = self.open.get_mut(&nonce) else { return Ok(false) };
        open.record = record;
        open.made = Instant::now();
        open.given = None;
        Ok(true)
    }
}
