//! Orchestrators by the thousand, written into the contracts' storage: registering each would take minutes.
use alloy::{
    primitives::{Address, B256, Bytes, U256, keccak256},
    providers::{Provider, ext::AnvilApi},
    rpc::types::TransactionRequest,
    sol_types::SolValue,
};
use anyhow::{Context, Result, ensure};
use streamflow_bindings::ServiceRegistry;

use crate::Deployment;

/// Stands in for a contract for a moment and stores pairs of slot and value:
/// `for (i = 0; i < calldatasize; i += 64) sstore(calldataload(i), calldataload(i + 32))`.
const WRITER: [u8; 21] = [
    0x5f, 0x5b, 0x80, 0x35, 0x81, 0x60, 0x20, 0x01, 0x35, 0x90, 0x55, 0x60, 0x40, 0x01, 0x80, 0x36, 0x11, 0x60, 0x01,
    0x57, 0x00,
];
/// Pairs in one transaction: 22,100 gas each, and the calldata.
const PAIRS: usize = 1000;
/// Longest string that shares its slot with its length.
const SHORT: usize = 31;

/// Where ServiceRegistry keeps its state.
mod registry {
    pub(super) const SERVICE_URIS: u64 = 0;
    pub(super) const LISTED_VALUES: u64 = 1;
    pub(super) const LISTED_POSITIONS: u64 = 2;
}

/// Where BondingManager keeps the accounts that are staked with.
const TRANSCODERS: u64 = 7;

type Pair = (U256, U256);

impl Deployment {
    /// Adds `count` orchestrators to those listed: account `n` of the crowd ([`crowd_account`]) listens at `uri(n)`, has
    /// `stake(n)` LPT wei and is active now and from now on. It has no key, and is no member of the pool that the deployed
    /// contracts walk. A URI has 31 bytes at most. The chain must mine on each transaction.
    ///
    /// # Errors
    ///
    /// A URI is too long, or the chain does not play along.
    pub async fn list_crowd(&self, count: u64, uri: impl Fn(u64) -> String, stake: impl Fn(u64) -> u128) -> Result<()> {
        let registry = self.contracts.service_registry;
        let listed: u64 = self.view(registry, ServiceRegistry::getEntryCountCall {}).await?.to();
        let mut entries = vec![(U256::from(registry::LISTED_VALUES), U256::from(listed + count))];
        let mut stakes = Vec::new();
        for n in 0..count {
            let (account, position) = (crowd_account(n), U256::from(listed + n));
            entries.push((of_account(account, registry::SERVICE_URIS), short(&uri(n))?));
            entries.push((element(registry::LISTED_VALUES, position), account.into_word().into()));
            entries.push((of_account(account, registry::LISTED_POSITIONS), position + U256::from(1)));
            let transcoder = of_account(account, TRANSCODERS);
            stakes.push((transcoder, U256::from(stake(n))));
            // Active from round 0 to the last there is.
            stakes.push((transcoder + U256::from(1), U256::from(u32::MAX) << 32));
        }
        self.write(registry, &entries).await?;
        self.write(self.contracts.bonding_manager, &stakes).await?;
        let found: u64 = self.view(registry, ServiceRegistry::getEntryCountCall {}).await?.to();
        ensure!(found == listed + count, "{found} orchestrators are listed instead of {}", listed + count);
        Ok(())
    }

    /// Writes into a contract's storage by many transactions, as its own code would.
    async fn write(&self, contract: Address, pairs: &[Pair]) -> Result<()> {
        let provider = self.anvil.provider();
        let code = provider.get_code_at(contract).await?;
        provider.anvil_set_code(contract, Bytes::from_static(&WRITER)).await?;
        let written = self.store(contract, pairs).await;
        provider.anvil_set_code(contract, code).await?;
        written
    }

    async fn store(&self, contract: Address, pairs: &[Pair]) -> Result<()> {
        for some in pairs.chunks(PAIRS) {
            let input: Vec<u8> = some.iter().flat_map(|pair| pair.abi_encode_params()).collect();
            let request = TransactionRequest::default().to(contract).input(input.into());
            self.anvil.send(&self.deployer, request).await.context("orchestrators cannot be written")?;
        }
        Ok(())
    }
}

/// Account `n` of those that [`Deployment::list_crowd`] adds.
pub fn crowd_account(n: u64) -> Address {
    Address::from_word(keccak256(format!("streamflow crowd {n}")))
}

/// Slot of an account in the mapping at `slot`.
fn of_account(account: Address, slot: u64) -> U256 {
    keccak256((account, U256::from(slot)).abi_encode()).into()
}

/// Slot of an element of the array at `slot`.
fn element(slot: u64, index: U256) -> U256 {
    U256::from_be_bytes(keccak256(B256::from(U256::from(slot))).0) + index
}

/// A string of at most 31 bytes as storage holds it: left-aligned, twice its length in the last byte.
fn short(text: &str) -> Result<U256> {
    ensure!(text.len() <= SHORT, "{text} has {} bytes, at most {SHORT} fit", text.len());
    let mut word = [0; 32];
    word[..text.len()].copy_from_slice(text.as_bytes());
    word[SHORT] = 2 * text.len() as u8;
    Ok(U256::from_be_bytes(word))
}
