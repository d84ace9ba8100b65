//! Transactions and views on a state of our own.
use std::{error::Error, fmt};

use alloy::{
    primitives::{Address, B256, Bytes, Log, TxKind, U256, hex, keccak256},
    sol_types::{SolCall, SolError, SolEvent},
};
use revm::{
    Context, DatabaseRef, ExecuteCommitEvm, ExecuteEvm, MainBuilder, MainContext, MainnetEvm,
    context::{BlockEnv, TxEnv, result::ExecutionResult},
    database::CacheDB,
    database_interface::EmptyDB,
    handler::MainnetContext,
    state::AccountInfo,
};

use crate::EvmError;

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
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn event<E: SolEvent>(&self) -> Result<E, EvmError> {
        let mut found = self.events();
        match (found.next(), found.next()) {
            (Some(event), None) => Ok(event),
            (None, _) => Err(EvmError::Event { event: E::SIGNATURE, count: 0 }),
            _ => Err(EvmError::Event { event: E::SIGNATURE, count: 2 + found.count() }),
        }
    }

    /// All events of this kind.
    pub fn events<E: SolEvent>(&self) -> impl Iterator<Item = E> {
        self.logs.iter().filter_map(|log| E::decode_log_data(&log.data).ok())
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
    ///
    /// # Errors
    /// The state behind cannot be read.
    pub fn balance(&self, account: Address) -> Result<U256, EvmError> {
        let state = &self.evm.ctx.journaled_state.database;
        let info = state.basic_ref(account).map_err(|error| EvmError::State(error.into()))?;
        Ok(info.map(|info| info.balance).unwrap_or_default())
    }

    /// Gives `account` this many wei.
    ///
    /// # Errors
    /// The state behind cannot be read.
    pub fn set_balance(&mut self, account: Address, wei: U256) -> Result<(), EvmError> {
        let state = &mut self.evm.ctx.journaled_state.database;
        let info = state.basic_ref(account).map_err(|error| EvmError::State(error.into()))?.unwrap_or_default();
        state.insert_account_info(account, AccountInfo { balance: wei, ..info });
        Ok(())
    }

    /// Executes a transaction and keeps what it changed, unless it reverts.
    ///
    /// # Errors
    /// Anything but a revert.
    pub fn try_send<C: SolCall>(
        &mut self,
        caller: Address,
        to: Address,
        call: C,
        wei: U256,
    ) -> Result<Result<Done<C::Return>, Refusal>, EvmError> {
        let result = self.evm.transact_commit(transaction(caller, to, &call, wei));
        outcome::<C>(result.map_err(not_executed::<C, _>)?)
    }

    /// Executes a transaction, and keeps nothing of it.
    ///
    /// # Errors
    /// Anything but a revert.
    pub fn simulate<C: SolCall>(
        &mut self,
        caller: Address,
        to: Address,
        call: C,
        wei: U256,
    ) -> Result<Result<Done<C::Return>, Refusal>, EvmError> {
        let result = self.evm.transact(transaction(caller, to, &call, wei));
        outcome::<C>(result.map_err(not_executed::<C, _>)?.result)
    }

    /// Executes a transaction that goes through, and keeps what it changed.
    ///
    /// # Errors
    /// A revert, too.
    pub fn send<C: SolCall>(
        &mut self,
        caller: Address,
        to: Address,
        call: C,
        wei: U256,
    ) -> Result<Done<C::Return>, EvmError> {
        self.try_send(caller, to, call, wei)?.map_err(refused::<C>)
    }

    /// Asks a contract; nothing is kept.
    ///
    /// # Errors
    /// A revert, too.
    pub fn view<C: SolCall>(&mut self, to: Address, call: C) -> Result<C::Return, EvmError> {
        let done = self.simulate(Address::ZERO, to, call, U256::ZERO)?;
        Ok(done.map_err(refused::<C>)?.output)
    }
}

impl LocalChain<EmptyDB> {
    /// Another chain with the same past and, as its `chain_id` says, a future of its own.
    pub fn fork(&self, chain_id: u64) -> Self {
        let mut chain = Self::new(self.evm.ctx.journaled_state.database.clone(), chain_id, self.block());
        chain.first = self.first;
        chain
    }
}

fn not_executed<C: SolCall, E: Error + Send + Sync + 'static>(error: E) -> EvmError {
    EvmError::Execution { call: C::SIGNATURE, source: error.into() }
}

fn refused<C: SolCall>(refusal: Refusal) -> EvmError {
    EvmError::Refused { call: C::SIGNATURE, refusal }
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

fn outcome<C: SolCall>(result: ExecutionResult) -> Result<Result<Done<C::Return>, Refusal>, EvmError> {
    let gas = result.tx_gas_used();
    match result {
        ExecutionResult::Success { output, logs, .. } => {
            let output = C::abi_decode_returns(&output.into_data())
                .map_err(|source| EvmError::Output { call: C::SIGNATURE, source })?;
            Ok(Ok(Done { output, gas, logs }))
        }
        ExecutionResult::Revert { output, .. } => Ok(Err(Refusal(output))),
        ExecutionResult::Halt { reason, .. } => {
            Err(EvmError::Halted { call: C::SIGNATURE, reason: format!("{reason:?}") })
        }
    }
}
