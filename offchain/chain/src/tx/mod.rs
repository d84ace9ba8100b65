//! Transactions: one owner per key.
//!
//! An intent gets a nonce, is signed, and is in the journal before any node sees it. It is sent again after a restart and
//! with raised fees when blocks pass without it; every hash of its nonce is watched until one is confirmed. The same
//! intent never pays twice.
mod fees;
mod journal;
mod manager;
mod once;
mod open;
mod pricing;
mod watching;

use std::{fmt, sync::Arc};

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    rpc::types::{Log, TransactionRequest},
    sol_types::SolCall,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

pub use self::{
    journal::{JournalError, MemoryJournal, TxAttempt, TxJournal, TxRecord, TxState},
    manager::TxManager,
    once::send_all,
};
use crate::{ChainError, Revert};

/// Names an intent for ever: what is sent under one id is mined at most once.
///
/// A second attempt at something that reverted needs a new id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IntentId(String);

impl IntentId {
    /// An id that is the same after a restart, such as `reward/7`.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// An id that no other intent has; for acts of a person.
    pub fn unique(label: &str) -> Self {
        Self(format!("{label}/{:032x}", rand::random::<u128>()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IntentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How the gas limit is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GasPolicy {
    /// Simulate, and add the configured headroom. A call that would revert is not sent.
    #[default]
    Estimate,
    /// This limit, without simulation.
    Limit(u64),
}

/// What should happen on chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxIntent {
    /// Makes sending idempotent.
    pub id: IntentId,
    /// Contract or account to call.
    pub to: Address,
    /// Call data.
    pub data: Bytes,
    /// Wei to send along.
    pub value: U256,
    /// Gas limit.
    pub gas: GasPolicy,
    /// Highest fee cap worth paying, wei per gas, under `chain.tx.max_fee_per_gas`. Kept as it was when first sent, unless
    /// [`TxHandle::raise`] raises it.
    pub max_fee: Option<u128>,
    /// What it is, for logs.
    pub label: &'static str,
}

impl TxIntent {
    /// A contract call without value, under an id of its own.
    pub fn call(label: &'static str, to: Address, call: &impl SolCall) -> Self {
        Self {
            id: IntentId::unique(label),
            to,
            data: call.abi_encode().into(),
            value: U256::ZERO,
            gas: GasPolicy::Estimate,
            max_fee: None,
            label,
        }
    }

    /// Under this id instead.
    #[must_use]
    pub fn with_id(mut self, id: IntentId) -> Self {
        self.id = id;
        self
    }

    /// With `wei` sent along.
    #[must_use]
    pub const fn with_value(mut self, wei: U256) -> Self {
        self.value = wei;
        self
    }

    /// With this gas limit.
    #[must_use]
    pub const fn with_gas(mut self, gas: GasPolicy) -> Self {
        self.gas = gas;
        self
    }

    /// With fees of at most this many wei per gas: above it the transaction waits for the base fee to fall.
    #[must_use]
    pub const fn with_max_fee(mut self, wei_per_gas: u128) -> Self {
        self.max_fee = Some(wei_per_gas);
        self
    }

    fn request(&self, from: Address) -> TransactionRequest {
        TransactionRequest::default().from(from).to(self.to).value(self.value).input(self.data.clone().into())
    }
}

/// A transaction that is in the chain, as deep as configured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TxOutcome {
    /// The one of its hashes that was mined.
    pub hash: B256,
    /// Block that includes it.
    pub block: u64,
    /// Hash of that block.
    pub block_hash: B256,
    /// Gas used.
    pub gas_used: u64,
    /// Wei per gas paid.
    pub gas_price: u128,
    /// Logs in order.
    pub logs: Vec<Log>,
    /// False if it reverted; always true where an outcome is returned as success.
    pub status: bool,
}

/// Why an intent did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TxError {
    /// The simulation reverted; nothing was sent.
    #[error("{label} would revert: {reason}")]
    WouldRevert { label: &'static str, reason: Revert },
    /// It was mined and reverted; the gas is spent. Final for this id.
    #[error("{label} reverted in block {}: {reason}", outcome.block)]
    Reverted { label: String, outcome: Box<TxOutcome>, reason: Revert },
    /// The fee would pass the ceiling; nothing was sent.
    #[error(
        "base fee {base_fee} wei plus tip is above {ceiling} wei, the smaller of chain.tx.max_fee_per_gas and the transaction's own cap"
    )]
    FeeTooHigh { base_fee: u128, ceiling: u128 },
    /// The account cannot pay; nothing was sent.
    #[error("account {from} cannot pay for {label}: {message}")]
    InsufficientFunds { from: Address, label: String, message: String },
    /// The node refused it for good; it will not be mined. May be tried again under the same id.
    #[error("the node refuses {label}: {message}")]
    Refused { label: String, message: String },
    /// Another transaction of this key took its nonce; it will not be mined. May be tried again under the same id.
    #[error("another transaction of {from} used nonce {nonce} of {label}: cancelled, or the key is used elsewhere")]
    Superseded { from: Address, nonce: u64, label: String },
    /// A reorganisation took it back and another transaction of this key now competes for its nonce. Either may be mined:
    /// ask again under the same id.
    #[error("{label} left the chain, and another transaction competes for its nonce {nonce}")]
    NonceContested { label: &'static str, nonce: u64 },
    /// The chain could not be read; nothing was sent.
    #[error("cannot prepare {label}")]
    Chain { label: &'static str, source: Arc<ChainError> },
    /// The journal failed; nothing was sent.
    #[error("cannot record {label}")]
    Journal { label: &'static str, source: JournalError },
    /// The key cannot sign; nothing was sent.
    #[error("cannot sign {label}")]
    Signer { label: &'static str, source: Arc<alloy::signers::Error> },
    /// The manager has ended. What was recorded goes on at the next start.
    #[error("the transaction manager has stopped")]
    Stopped,
}

/// What a transaction would do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DryRun {
    /// Gas it would need, headroom included.
    pub gas_limit: u64,
    /// Fee cap it would have, wei per gas.
    pub max_fee_per_gas: u128,
    /// What the call returns.
    pub output: Bytes,
}

/// A transaction under way whose ceiling was to be raised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raised {
    /// Ceiling of its fee cap now, wei per gas: never below what it was.
    pub ceiling: u128,
    /// Fee cap of its newest form, wei per gas.
    pub max_fee_per_gas: u128,
    /// The transaction that must be mined before it, and is not yet. Raise or cancel that first.
    pub behind: Option<IntentId>,
}

type Reply<T> = oneshot::Sender<Result<T, TxError>>;

#[derive(Debug)]
enum Request {
    Send(TxIntent, Reply<TxOutcome>),
    DryRun(TxIntent, Reply<DryRun>),
}

/// What is done to a transaction under way. Heard even while no further one may be sent.
#[derive(Debug)]
enum Order {
    Raise(IntentId, u128, Reply<Option<Raised>>),
    Cancel(IntentId, Reply<bool>),
}

/// Sends transactions of one key. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TxHandle {
    inbox: mpsc::Sender<Request>,
    orders: mpsc::Sender<Order>,
    address: Address,
}

impl TxHandle {
    /// The key's account.
    pub const fn address(&self) -> Address {
        self.address
    }

    /// Sends once and waits until the outcome is as deep as configured. A caller that stops waiting does not stop the
    /// transaction: asking again with the same id picks up its outcome.
    ///
    /// # Errors
    ///
    /// See [`TxError`].
    pub async fn send(&self, intent: TxIntent) -> Result<TxOutcome, TxError> {
        self.request(|reply| Request::Send(intent, reply)).await
    }

    /// Simulates, and tells what sending would take. Sends nothing.
    ///
    /// # Errors
    ///
    /// It would revert, the fee is above the ceiling, or the chain cannot be read.
    pub async fn dry_run(&self, intent: TxIntent) -> Result<DryRun, TxError> {
        self.request(|reply| Request::DryRun(intent, reply)).await
    }

    /// Raises the highest fee cap that a transaction under way may have to `max_fee` wei per gas, under
    /// `chain.tx.max_fee_per_gas`, and its fees at once if they hold it up. `None` if nothing under this id is under way.
    ///
    /// # Errors
    ///
    /// [`TxError::Journal`]: nothing was changed; [`TxError::Stopped`].
    pub async fn raise(&self, intent: &IntentId, max_fee: u128) -> Result<Option<Raised>, TxError> {
        let (reply, answer) = oneshot::channel();
        let order = Order::Raise(intent.clone(), max_fee, reply);
        self.orders.send(order).await.map_err(|_| TxError::Stopped)?;
        answer.await.map_err(|_| TxError::Stopped)?
    }

    /// Gives up a transaction under way, so that it does not hold up those behind it: an empty transfer to ourselves takes its
    /// nonce, with fees up to `chain.tx.max_fee_per_gas`. Whichever of the two is mined counts: who waits for the intent gets
    /// its outcome, or [`TxError::Superseded`]. False if nothing under this id is under way, or it is in a block already.
    ///
    /// # Errors
    ///
    /// [`TxError::FeeTooHigh`] if replacing it would take more than the ceiling; [`TxError::Chain`], [`TxError::Journal`] and
    /// [`TxError::Signer`] as for [`TxHandle::send`]. The transaction stays as it was.
    pub async fn cancel(&self, intent: &IntentId) -> Result<bool, TxError> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(Order::Cancel(intent.clone(), reply)).await.map_err(|_| TxError::Stopped)?;
        answer.await.map_err(|_| TxError::Stopped)?
    }

    async fn request<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, TxError> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(request(reply)).await.map_err(|_| TxError::Stopped)?;
        answer.await.map_err(|_| TxError::Stopped)?
    }
}
