//! What a call would do, found out in this process: revm on the state after one block, read from the node as it is needed.
//!
//! It needs no more of a node than `eth_getStorageAt`, `eth_getCode` and their like; `eth_createAccessList`, where there is
//! one, lets the words be read side by side. Bounded in questions to the node, in time and in gas.

mod state;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use alloy::{
    eips::BlockId,
    primitives::{Address, B256, Bytes, TxKind, U256},
    providers::Provider,
    rpc::types::{Log, TransactionRequest},
    transports::TransportError,
};
use revm::{
    Context, ExecuteEvm, MainBuilder, MainContext,
    context::{BlockEnv, TxEnv, result::ExecutionResult},
    database::CacheDB,
};
use streamflow_chain::{BlockHeader, Chain, Revert, Rpc, Simulated};

use state::{Account, LazyState};

/// No transaction with a higher gas limit is mined (EIP-7825).
pub const MOST_GAS: u64 = 1 << 24;

/// How much one run may ask of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Questions to the node.
    pub reads: u32,
    /// Time for all of it.
    pub time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { reads: 8_000, time: Duration::from_secs(30) }
    }
}

/// A call, as it would run.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Gas that its receipt would say.
    pub gas_used: u64,
    /// Gas that it needs while it runs: what is given back at the end included.
    pub gas_needed: u64,
    /// Logs in order; none if it reverts.
    pub logs: Vec<Log>,
    /// Why it would not succeed.
    pub failure: Option<Failure>,
    /// Questions that were put to the node.
    pub reads: u32,
}

/// Why a call would not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The contract refuses it.
    Refused(Revert),
    /// It needs more gas than it was given.
    OutOfGas,
    /// It breaks off otherwise.
    Broken(String),
}

/// Why a call could not be tried.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// The node does not answer.
    #[error("cannot read {what} of the state")]
    Node {
        /// What was asked for.
        what: &'static str,
        /// Its answer.
        source: TransportError,
    },
    /// The state is larger than a redemption's.
    #[error("a trial run needs more than {0} reads of the state")]
    TooManyReads(u32),
    /// The node is too slow.
    #[error("a trial run takes longer than {} s", .0.as_secs())]
    TooLong(Duration),
    /// The call cannot be run at all.
    #[error("a trial run failed: {0}")]
    Evm(String),
}

/// Tries calls out. Clones share what they know of contracts' code.
#[derive(Clone, Debug)]
pub struct Preflight {
    chain: Chain,
    bounds: Bounds,
    codes: Arc<Mutex<HashMap<Address, Bytes>>>,
}

impl Preflight {
    /// For contracts of this chain.
    pub fn new(chain: Chain, bounds: Bounds) -> Self {
        Self { chain, bounds, codes: Arc::default() }
    }

    /// The same, of one endpoint.
    pub(crate) fn through(&self, rpc: Rpc) -> Self {
        Self { chain: Chain { rpc, ..self.chain.clone() }, ..self.clone() }
    }

    /// Runs a call of `from` with `gas_limit` on the state after `head`, as the first transaction of the next block.
    ///
    /// # Errors
    /// The state cannot be read within the bounds.
    pub async fn run(
        &self,
        from: Address,
        to: Address,
        data: Bytes,
        gas_limit: u64,
        head: &BlockHeader,
    ) -> Result<Trial, PreflightError> {
        let work = self.work(from, to, data, gas_limit, head);
        match tokio::time::timeout(self.bounds.time, work).await {
            Ok(done) => done,
            Err(_) => Err(PreflightError::TooLong(self.bounds.time)),
        }
    }

    async fn work(
        &self,
        from: Address,
        to: Address,
        data: Bytes,
        gas_limit: u64,
        head: &BlockHeader,
    ) -> Result<Trial, PreflightError> {
        let at = BlockId::from(head.hash);
        let known = self.codes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let state = LazyState::new(self.chain.rpc.provider().clone(), at, self.bounds, known);
        let mut cache = CacheDB::new(state);
        for Account { address, info, words } in self.touched(from, to, &data, at, &cache.db).await? {
            cache.insert_account_info(address, info);
            for (slot, word) in words {
                cache.insert_account_storage(address, slot, word)?;
            }
        }
        let block = next_block(head);
        let tx = TxEnv { caller: from, kind: TxKind::Call(to), data, gas_limit, chain_id: None, ..TxEnv::default() };
        let chain_id = self.chain.chain_id;
        // What is still missing is read while it runs, which blocks.
        let run = tokio::task::spawn_blocking(move || execute(cache, chain_id, block, tx));
        let (result, state) = run.await.map_err(|err| PreflightError::Evm(err.to_string()))??;
        let reads = state.reads();
        self.codes.lock().unwrap_or_else(PoisonError::into_inner).extend(state.into_codes());
        Ok(trial(result, reads, gas_limit))
    }

    /// What the node says that the call touches. Nothing if it cannot say: then all of it is read as it is needed.
    async fn touched(
        &self,
        from: Address,
        to: Address,
        data: &Bytes,
        at: BlockId,
        state: &LazyState,
    ) -> Result<Vec<Account>, PreflightError> {
        let request = TransactionRequest::default().from(from).to(to).input(data.clone().into());
        state.count()?;
        let list = match self.chain.rpc.provider().create_access_list(&request).block_id(at).await {
            Ok(answer) => answer.access_list.0,
            Err(err) => {
                tracing::debug!(%err, "the node lists no accesses, reading the state word by word");
                return Ok(Vec::new());
            }
        };
        let mut words: HashMap<Address, Vec<B256>> = HashMap::from([(from, Vec::new()), (to, Vec::new())]);
        for item in list {
            words.entry(item.address).or_default().extend(item.storage_keys);
        }
        state.accounts(words).await
    }
}

/// The block after `head`. Where the contracts see another chain's block numbers, these stay as they are: they advance more
/// slowly.
fn next_block(head: &BlockHeader) -> BlockEnv {
    let number = if head.contract_number == head.number { head.number + 1 } else { head.contract_number };
    BlockEnv {
        number: U256::from(number),
        timestamp: U256::from(head.timestamp + 1),
        gas_limit: u64::MAX,
        basefee: 0,
        prevrandao: Some(B256::ZERO),
        ..BlockEnv::default()
    }
}

type Executed = (ExecutionResult, LazyState);

fn execute(cache: CacheDB<LazyState>, chain_id: u64, block: BlockEnv, tx: TxEnv) -> Result<Executed, PreflightError> {
    let mut evm = Context::mainnet()
        .with_db(cache)
        .modify_cfg_chained(|cfg| {
            cfg.chain_id = chain_id;
            cfg.disable_nonce_check = true;
            cfg.disable_eip3607 = true;
            // A chain may allow more, which the caller knows.
            cfg.tx_gas_limit_cap = Some(u64::MAX);
        })
        .with_block(block)
        .build_mainnet();
    let outcome = evm.transact(tx);
    let state = evm.ctx.journaled_state.database.db;
    match outcome {
        Ok(done) => Ok((done.result, state)),
        Err(revm::context::result::EVMError::Database(err)) => Err(err),
        Err(err) => Err(PreflightError::Evm(err.to_string())),
    }
}

/// Part of its gas limit, in percent, above which a revert is taken for want of gas: a contract may answer that in its own
/// words.
const EXHAUSTED_PERCENT: u64 = 95;

fn trial(result: ExecutionResult, reads: u32, gas_limit: u64) -> Trial {
    let (gas_used, gas_needed) = (result.tx_gas_used(), result.gas().total_gas_spent());
    let (logs, failure) = match result {
        ExecutionResult::Success { logs, .. } => {
            (logs.into_iter().map(|inner| Log { inner, ..Log::default() }).collect(), None)
        }
        ExecutionResult::Revert { .. } if gas_needed >= gas_limit / 100 * EXHAUSTED_PERCENT => {
            (Vec::new(), Some(Failure::OutOfGas))
        }
        ExecutionResult::Revert { output, .. } => (Vec::new(), Some(Failure::Refused(Revert::new(output)))),
        ExecutionResult::Halt { reason, .. } if format!("{reason:?}").starts_with("OutOfGas") => {
            (Vec::new(), Some(Failure::OutOfGas))
        }
        ExecutionResult::Halt { reason, .. } => (Vec::new(), Some(Failure::Broken(format!("{reason:?}")))),
    };
    Trial { gas_used, gas_needed, logs, failure, reads }
}

impl From<Trial> for Simulated {
    fn from(trial: Trial) -> Self {
        let refusal = match trial.failure {
            None => None,
            Some(Failure::Refused(reason)) => Some(reason),
            Some(Failure::OutOfGas | Failure::Broken(_)) => Some(Revert::default()),
        };
        Self { logs: trial.logs, refusal }
    }
}
