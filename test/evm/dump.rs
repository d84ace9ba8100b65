//! All state of a development chain at once, so that nothing is asked of it afterwards.
use std::{collections::BTreeMap, io::Read};

use alloy::{
    primitives::{Address, Bytes, U256},
    providers::ext::AnvilApi,
};
use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use revm::{
    database::{CacheDB, InMemoryDB},
    database_interface::EmptyDB,
    state::{AccountInfo, Bytecode},
};
use serde::Deserialize;
use streamflow_testkit::Anvil;

/// What `anvil_dumpState` answers, as far as it is state.
#[derive(Deserialize)]
struct Dump {
    accounts: BTreeMap<Address, DumpedAccount>,
}

#[derive(Deserialize)]
struct DumpedAccount {
    nonce: u64,
    balance: U256,
    code: Bytes,
    storage: BTreeMap<U256, U256>,
}

/// The state of the newest block. What it does not say is zero.
pub async fn dumped_state(anvil: &Anvil) -> Result<InMemoryDB> {
    let zipped = anvil.provider().anvil_dump_state().await?;
    let mut json = Vec::new();
    GzDecoder::new(zipped.as_ref()).read_to_end(&mut json)?;
    let dump: Dump = serde_json::from_slice(&json).context("anvil_dumpState")?;
    let mut state = CacheDB::new(EmptyDB::default());
    for (address, account) in dump.accounts {
        let code = Bytecode::new_raw(account.code);
        state.insert_account_info(address, AccountInfo::new(account.balance, account.nonce, code.hash_slow(), code));
        for (slot, value) in account.storage {
            state.insert_account_storage(address, slot, value)?;
        }
    }
    Ok(state)
}
