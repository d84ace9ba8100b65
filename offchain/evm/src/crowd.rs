//! Orchestrators by the thousand, written into the storage of contracts on anvil: registering each would take minutes.
use alloy::{
    contract::Error as ContractError,
    primitives::{Address, B256, Bytes, U256, keccak256},
    providers::{DynProvider, PendingTransactionError, Provider, ext::AnvilApi},
    rpc::types::TransactionRequest,
    sol_types::SolValue,
    transports::TransportError,
};
use streamflow_bindings::ServiceRegistry;

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

/// Why no crowd was listed.
#[derive(Debug, thiserror::Error)]
pub enum CrowdError {
    /// It would not share its slot with its length.
    #[error("{uri} has {} bytes, at most {SHORT} fit", uri.len())]
    LongUri {
        /// The URI.
        uri: String,
    },
    /// The node has no unlocked account.
    #[error("the node signs for nobody: anvil is needed")]
    NoAccount,
    /// The contract lists another number afterwards.
    #[error("{found} orchestrators are listed instead of {wanted}")]
    Count {
        /// Listed.
        found: U256,
        /// With the crowd.
        wanted: U256,
    },
    /// The node does not answer.
    #[error("the node does not play along")]
    Node(#[from] TransportError),
    /// A transaction was not mined.
    #[error("a transaction of the crowd was not mined")]
    Pending(#[from] PendingTransactionError),
    /// The registry cannot be read.
    #[error("the registry cannot be read")]
    Registry(#[from] ContractError),
}

/// Adds `count` orchestrators to those listed: account `n` of the crowd ([`crowd_account`]) listens at `uri(n)`, has
/// `stake(n)` LPT wei and is active now and from now on. It has no key, and is no member of the pool that the deployed
/// contracts walk. A URI has 31 bytes at most. The chain is anvil, and mines on each transaction.
///
/// # Errors
///
/// A URI is too long, or the chain does not play along.
pub async fn list_crowd(
    provider: &DynProvider,
    registry: Address,
    bonding_manager: Address,
    count: u64,
    uri: impl Fn(u64) -> String,
    stake: impl Fn(u64) -> u128,
) -> Result<(), CrowdError> {
    let entries = ServiceRegistry::new(registry, provider);
    let listed: U256 = entries.getEntryCount().call().await?;
    let mut values = vec![(U256::from(registry::LISTED_VALUES), listed + U256::from(count))];
    let mut stakes = Vec::new();
    for n in 0..count {
        let (account, position) = (crowd_account(n), listed + U256::from(n));
        values.push((of_account(account, registry::SERVICE_URIS), short(uri(n))?));
        values.push((element(registry::LISTED_VALUES, position), account.into_word().into()));
        values.push((of_account(account, registry::LISTED_POSITIONS), position + U256::from(1)));
        let transcoder = of_account(account, TRANSCODERS);
        stakes.push((transcoder, U256::from(stake(n))));
        // Active from round 0 to the last there is.
        stakes.push((transcoder + U256::from(1), U256::from(u32::MAX) << 32));
    }
    write(provider, registry, &values).await?;
    write(provider, bonding_manager, &stakes).await?;
    let (found, wanted) = (entries.getEntryCount().call().await?, listed + U256::from(count));
    if found == wanted { Ok(()) } else { Err(CrowdError::Count { found, wanted }) }
}

/// Writes into a contract's storage by many transactions, as its own code would.
async fn write(provider: &DynProvider, contract: Address, pairs: &[Pair]) -> Result<(), CrowdError> {
    let code = provider.get_code_at(contract).await?;
    provider.anvil_set_code(contract, Bytes::from_static(&WRITER)).await?;
    let written = store(provider, contract, pairs).await;
    provider.anvil_set_code(contract, code).await?;
    written
}

async fn store(provider: &DynProvider, contract: Address, pairs: &[Pair]) -> Result<(), CrowdError> {
    let from = provider.get_accounts().await?.into_iter().next().ok_or(CrowdError::NoAccount)?;
    for some in pairs.chunks(PAIRS) {
        let input: Vec<u8> = some.iter().flat_map(|pair| pair.abi_encode_params()).collect();
        let request = TransactionRequest::default().from(from).to(contract).input(input.into());
        provider.send_transaction(request).await?.get_receipt().await?;
    }
    Ok(())
}

/// Account `n` of those that [`list_crowd`] adds.
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
fn short(uri: String) -> Result<U256, CrowdError> {
    if uri.len() > SHORT {
        return Err(CrowdError::LongUri { uri });
    }
    let mut word = [0; 32];
    word[..uri.len()].copy_from_slice(uri.as_bytes());
    word[SHORT] = 2 * uri.len() as u8;
    Ok(U256::from_be_bytes(word))
}
