//! The state after one block, read from the node when it is asked for.

use std::{
    collections::HashMap,
    future::IntoFuture,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use alloy::{
    eips::BlockId,
    primitives::{Address, B256, Bytes, U256},
    providers::{DynProvider, Provider},
    transports::TransportError,
};
use futures::{StreamExt, TryStreamExt, stream};
use revm::{
    DatabaseRef,
    database_interface::DBErrorMarker,
    state::{AccountInfo, Bytecode},
};
use tokio::runtime::Handle;

use super::{Bounds, PreflightError};

/// Questions to the node at the same time.
const SIDE_BY_SIDE: usize = 16;
/// How code begins that an account of a person delegates to (EIP-7702): it may change.
const DELEGATION: [u8; 2] = [0xef, 0x01];

/// An account, as far as it was asked for.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) address: Address,
    pub(super) info: AccountInfo,
    pub(super) words: Vec<(U256, U256)>,
}

#[derive(Debug)]
pub(super) struct LazyState {
    provider: DynProvider,
    at: BlockId,
    bounds: Bounds,
    end: Instant,
    reads: AtomicU32,
    /// Code of contracts, which never changes.
    codes: Mutex<HashMap<Address, Bytes>>,
    runtime: Handle,
}

impl LazyState {
    pub(super) fn new(provider: DynProvider, at: BlockId, bounds: Bounds, codes: HashMap<Address, Bytes>) -> Self {
        Self {
            provider,
            at,
            bounds,
            end: Instant::now() + bounds.time,
            reads: AtomicU32::new(0),
            codes: Mutex::new(codes),
            runtime: Handle::current(),
        }
    }

    pub(super) fn reads(&self) -> u32 {
        self.reads.load(Ordering::Relaxed)
    }

    pub(super) fn into_codes(self) -> HashMap<Address, Bytes> {
        self.codes.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one question, if one is left.
    pub(super) fn count(&self) -> Result<(), PreflightError> {
        if self.reads.fetch_add(1, Ordering::Relaxed) >= self.bounds.reads {
            return Err(PreflightError::TooManyReads(self.bounds.reads));
        }
        if Instant::now() >= self.end {
            return Err(PreflightError::TooLong(self.bounds.time));
        }
        Ok(())
    }

    async fn ask<T>(
        &self,
        what: &'static str,
        request: impl IntoFuture<Output = Result<T, TransportError>>,
    ) -> Result<T, PreflightError> {
        self.count()?;
        request.await.map_err(|source| PreflightError::Node { what, source })
    }

    /// These accounts with these words, side by side.
    pub(super) async fn accounts(&self, words: HashMap<Address, Vec<B256>>) -> Result<Vec<Account>, PreflightError> {
        let keys: Vec<(Address, B256)> =
            words.iter().flat_map(|(address, keys)| keys.iter().map(|key| (*address, *key))).collect();
        let read: Vec<(Address, U256, U256)> = stream::iter(keys)
            .map(|(address, key)| async move {
                let slot = U256::from_be_bytes(key.0);
                Ok::<_, PreflightError>((address, slot, self.word(address, slot).await?))
            })
            .buffer_unordered(SIDE_BY_SIDE)
            .try_collect()
            .await?;
        let mut accounts: HashMap<Address, Account> = stream::iter(words.into_keys())
            .map(|address| async move {
                let info = self.info(address).await?;
                Ok::<_, PreflightError>((address, Account { address, info, words: Vec::new() }))
            })
            .buffer_unordered(SIDE_BY_SIDE)
            .try_collect()
            .await?;
        for (address, slot, word) in read {
            if let Some(account) = accounts.get_mut(&address) {
                account.words.push((slot, word));
            }
        }
        Ok(accounts.into_values().collect())
    }

    async fn word(&self, address: Address, slot: U256) -> Result<U256, PreflightError> {
        self.ask("a word", self.provider.get_storage_at(address, slot).block_id(self.at)).await
    }

    async fn info(&self, address: Address) -> Result<AccountInfo, PreflightError> {
        let nonce = self.ask("a nonce", self.provider.get_transaction_count(address).block_id(self.at));
        let balance = self.ask("a balance", self.provider.get_balance(address).block_id(self.at));
        let (nonce, balance, code) = tokio::try_join!(nonce, balance, self.code(address))?;
        let code = Bytecode::new_raw(code);
        Ok(AccountInfo::new(balance, nonce, code.hash_slow(), code))
    }

    async fn code(&self, address: Address) -> Result<Bytes, PreflightError> {
        if let Some(code) = self.codes().get(&address) {
            return Ok(code.clone());
        }
        let code = self.ask("code", self.provider.get_code_at(address).block_id(self.at)).await?;
        if !code.is_empty() && !code.starts_with(&DELEGATION) {
            self.codes().insert(address, code.clone());
        }
        Ok(code)
    }

    fn codes(&self) -> std::sync::MutexGuard<'_, HashMap<Address, Bytes>> {
        self.codes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DBErrorMarker for PreflightError {}

/// Called where a thread may block.
impl DatabaseRef for LazyState {
    type Error = PreflightError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Self::Error> {
        self.runtime.block_on(self.info(address)).map(Some)
    }

    fn code_by_hash_ref(&self, _: B256) -> Result<Bytecode, Self::Error> {
        Err(PreflightError::Evm("code is asked for by its hash".to_owned()))
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, Self::Error> {
        self.runtime.block_on(self.word(address, slot))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Self::Error> {
        let request = self.provider.get_block_by_number(number.into());
        let block = self.runtime.block_on(self.ask("a block hash", request))?;
        Ok(block.map(|block| block.header.hash).unwrap_or_default())
    }
}
