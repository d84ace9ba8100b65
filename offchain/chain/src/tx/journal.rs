//! The record of what was signed, kept so that a restart neither loses nor repeats a transaction.
use std::{collections::BTreeMap, future::Future, sync::Arc};

use alloy::primitives::{Address, B256, Bytes, U256};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{IntentId, TxOutcome};
use crate::Revert;

/// One signed form of a transaction; raised fees make another of the same nonce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxAttempt {
    /// Hash it will be mined under.
    pub hash: B256,
    /// The signed transaction as nodes take it (EIP-2718).
    pub raw: Bytes,
    /// Fee cap, wei per gas.
    pub max_fee_per_gas: u128,
    /// Tip, wei per gas.
    pub max_priority_fee_per_gas: u128,
    /// Newest block when it was signed.
    pub signed_at: u64,
}

/// Where a transaction stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TxState {
    /// Signed; may or may not have reached a node.
    Open,
    /// Mined and confirmed.
    Confirmed(TxOutcome),
    /// Mined, reverted and confirmed.
    Reverted(TxOutcome, Revert),
    /// No node ever took it, and none will be given it.
    Refused { message: String },
    /// Another transaction used its nonce, confirmed.
    Superseded,
}

impl TxState {
    /// Whether it can still be mined.
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    /// A word for it, for columns and labels.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Confirmed(_) => "confirmed",
            Self::Reverted(..) => "reverted",
            Self::Refused { .. } => "refused",
            Self::Superseded => "superseded",
        }
    }
}

/// One intent with everything signed for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TxRecord {
    /// Chain it is for.
    pub chain_id: u64,
    /// The key's account.
    pub from: Address,
    /// The intent's id; unique with `chain_id` and `from`.
    pub intent: IntentId,
    /// What it is, for logs.
    pub label: String,
    /// The nonce leased; unique among open records with `chain_id` and `from`.
    pub nonce: u64,
    /// Contract or account called.
    pub to: Address,
    /// Call data.
    pub data: Bytes,
    /// Wei sent along.
    pub value: U256,
    /// Gas limit.
    pub gas_limit: u64,
    /// Highest fee cap it may be raised to, wei per gas; `None` leaves it to `chain.tx.max_fee_per_gas` alone.
    #[serde(default)]
    pub max_fee: Option<u128>,
    /// Signed forms, oldest first, at least one.
    pub attempts: Vec<TxAttempt>,
    /// Where it stands.
    pub state: TxState,
}

/// The journal failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("transaction journal failed")]
pub struct JournalError(#[source] Arc<dyn std::error::Error + Send + Sync>);

impl JournalError {
    /// Keeps the cause.
    pub fn new(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self(Arc::new(cause))
    }
}

/// Keeps records over a restart. Writes are durable when they return.
pub trait TxJournal: Send + Sync + 'static {
    /// Records of the account that are open, in order of nonce.
    fn open(&self, chain_id: u64, from: Address) -> impl Future<Output = Result<Vec<TxRecord>, JournalError>> + Send;

    /// The record of an intent, open or not.
    fn find(
        &self,
        chain_id: u64,
        from: Address,
        intent: &IntentId,
    ) -> impl Future<Output = Result<Option<TxRecord>, JournalError>> + Send;

    /// Inserts the record, or replaces the one with the same chain, account and intent, in one step.
    fn put(&self, record: &TxRecord) -> impl Future<Output = Result<(), JournalError>> + Send;
}

impl<J: TxJournal> TxJournal for Arc<J> {
    async fn open(&self, chain_id: u64, from: Address) -> Result<Vec<TxRecord>, JournalError> {
        J::open(self, chain_id, from).await
    }

    async fn find(&self, chain_id: u64, from: Address, intent: &IntentId) -> Result<Option<TxRecord>, JournalError> {
        J::find(self, chain_id, from, intent).await
    }

    async fn put(&self, record: &TxRecord) -> Result<(), JournalError> {
        J::put(self, record).await
    }
}

/// A journal for commands that end with their transaction: forgets with the process.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    records: Mutex<BTreeMap<(u64, Address, IntentId), TxRecord>>,
}

impl TxJournal for MemoryJournal {
    async fn open(&self, chain_id: u64, from: Address) -> Result<Vec<TxRecord>, JournalError> {
        let records = self.records.lock().await;
        let of_account = records
            .values()
            .filter(|record| record.chain_id == chain_id && record.from == from && record.state.is_open());
        let mut open: Vec<_> = of_account.cloned().collect();
        open.sort_by_key(|record| record.nonce);
        Ok(open)
    }

    async fn find(&self, chain_id: u64, from: Address, intent: &IntentId) -> Result<Option<TxRecord>, JournalError> {
        Ok(self.records.lock().await.get(&(chain_id, from, intent.clone())).cloned())
    }

    async fn put(&self, record: &TxRecord) -> Result<(), JournalError> {
        let key = (record.chain_id, record.from, record.intent.clone());
        self.records.lock().await.insert(key, record.clone());
        Ok(())
    }
}
