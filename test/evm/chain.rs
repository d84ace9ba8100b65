//! Transactions and views on a state of our own.
use std::{error::Error, fmt};

use alloy::{
    primitives::{Address, B256, Bytes, Log, TxKind, U256, hex, keccak256},
    sol_types::{SolCall, SolError, SolEvent},
};
use anyhow::{Context as _, Result, anyhow, bail};
use revm::{
    Context, DatabaseRef, ExecuteCommitEvm, ExecuteEvm, MainBuilder, MainContext, MainnetEvm,
    context::{BlockEnv, TxEnv, result::ExecutionResult},
    database::CacheDB,
    handler::MainnetContext,
    state::AccountInfo,
};

/// Gas of a call: enough for any, and what forge gives to a transaction.
const GAS_LIMIT: u64 = 30_000_000;

/// A chain that exists in this process alone. Gas costs nothing, nonces do not count, and anybody may be the caller.
pub struct LocalChain<D: DatabaseRef> {
    evm: MainnetEvm<MainnetContext<CacheDB<D>>>,
    block: BlockEnv,
    /// First block of our own.
    first: u64,
}

/// A call that went through.
#[derive(Clone, Debug)]
pub struct Done<T> {
    /// What it returned.
    pub output: T,
    /// Gas that a receipt would say.
    pub gas: u64,
    /// Events.
    pub logs: Vec<Log>,
}

/// A call that reverted, with its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub Bytes);

impl Refusal {
    /// First four bytes, or zeros for a revert without data.
    pub fn selector(&self) -> [u8; 4] {
        self.0.first_chunk().copied().unwrap_or_default()
    }

    /// Whether the contract named this error.
    pub fn is<E: SolError>(&self) -> bool {
        self.selector() == E::SELECTOR
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match alloy::sol_types::Revert::abi_decode(&self.0) {
            Ok(text) => write!(f, "refused: {}", text.reason),
            Err(_) => write!(f, "refused with {}", hex::encode_prefixed(&self.0)),
        }
    }
}

impl<T> Done<T> {
    /// The only event of this kind.
    pub fn event<E: SolEvent>(&self) -> Result<E> {
        let mut found = self.logs.iter().filter_map(|log| E::decode_log_data(&log.data).ok());
        match (found.next(), found.next()) {
            (Some(event), None) => Ok(event),
            (None, _) => bail!("no {}", E::SIGNATURE),
            _ => bail!("more than one {}", E::SIGNATURE),
        }
    }
}

impl<D: DatabaseRef> fmt::Debug for LocalChain<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalChain").field("block", &self.block.number).finish_non_exhaustive()
    }
}

impl<D> LocalChain<D>
where
    D: DatabaseRef<Error: Error + Send + Sync + 'static>,
{
    /// Goes on from `state` in block `number`, the first that is not in it.
    pub fn new(state: CacheDB<D>, chain_id: u64, number: u64) -> Self {
        let evm = Context::mainnet()
            .with_db(state)
            .modify_cfg_chained(|cfg| {
                cfg.chain_id = chain_id;
                cfg.disable_nonce_check = true;
                cfg.disable_eip3607 = true;
                cfg.tx_gas_limit_cap = Some(u64::MAX);
            })
            .build_mainnet();
        let block = BlockEnv {
            number: U256::from(number),
            timestamp: U256::from(number),
            gas_limit: u64::MAX,
            basefee: 0,
            prevrandao: Some(B256::ZERO),
            ..BlockEnv::default()
        };
        let mut chain = Self { evm, block, first: number };
        chain.set_block(number);
        chain
    }

    /// Number of the block that transactions are in.
    pub fn block(&self) -> u64 {
        self.block.number.saturating_to()
    }

    /// Goes to block `number`.
    pub fn set_block(&mut self, number: u64) {
        // A block of our own exists nowhere else, so its hash is made up.
        if let Some(parent) = number.checked_sub(1).filter(|parent| *parent >= self.first) {
            let hash = keccak256(parent.to_be_bytes());
            self.evm.ctx.journaled_state.database.cache.block_hashes.insert(U256::from(parent), hash);
        }
        self.block.number = U256::from(number);
        self.block.timestamp = U256::from(number);
        self.evm.set_block(self.block.clone());
    }

    /// Wei of an account.
    pub fn balance(&self, account: Address) -> Result<U256> {
        let state = &self.evm.ctx.journaled_state.database;
        Ok(state.basic_ref(account)?.map(|info| info.balance).unwrap_or_default())
    }

    /// Gives `account` this many wei.
    pub fn set_balance(&mut self, account: Address, wei: U256) -> Result<()> {
        let state = &mut self.evm.ctx.journaled_state.database;
        let info = state.basic_ref(account)?.unwrap_or_default();
        state.insert_account_info(account, AccountInfo { balance: wei, ..info });
        Ok(())
    }

    /// Executes a transaction and keeps what it changed, unless it reverts.
    pub fn try_send<C: SolCall>(
        &mut self,
        caller: Address,
        to: Address,
        call: C,
        wei: U256,
    ) -> Result<Result<Done<C::Return>, Refusal>> {
        let result = self.evm.transact_commit(transaction(caller, to, &call, wei));
        outcome::<C>(result.map_err(|error| anyhow!(error))?)
    }

    /// The same, where a revert is an error.
    pub fn send<C: SolCall>(&mut self, caller: Address, to: Address, call: C, wei: U256) -> Result<Done<C::Return>> {
        self.try_send(caller, to, call, wei)?.map_err(|refusal| anyhow!("{}: {refusal}", C::SIGNATURE))
    }

    /// Asks a contract; nothing is kept.
    pub fn view<C: SolCall>(&mut self, to: Address, call: C) -> Result<C::Return> {
        let result = self.evm.transact(transaction(Address::ZERO, to, &call, U256::ZERO));
        let done = outcome::<C>(result.map_err(|error| anyhow!(error))?.result)?;
        Ok(done.map_err(|refusal| anyhow!("{}: {refusal}", C::SIGNATURE))?.output)
    }
}

fn transaction<C: SolCall>(caller: Address, to: Address, call: &C, value: U256) -> TxEnv {
    TxEnv {
        caller,
        kind: TxKind::Call(to),
        value,
        data: call.abi_encode().into(),
        gas_limit: GAS_LIMIT,
        chain_id: None,
        ..TxEnv::default()
    }
}

fn outcome<C: SolCall>(result: ExecutionResult) -> Result<Result<Done<C::Return>, Refusal>> {
    let gas = result.tx_gas_used();
    match result {
        ExecutionResult::Success { output, logs, .. } => {
            let output = C::abi_decode_returns(&output.into_data()).with_context(|| C::SIGNATURE.to_owned())?;
            Ok(Ok(Done { output, gas, logs }))
        }
        ExecutionResult::Revert { output, .. } => Ok(Err(Refusal(output))),
        ExecutionResult::Halt { reason, .. } => bail!("{} halts: {reason:?}", C::SIGNATURE),
    }
}
