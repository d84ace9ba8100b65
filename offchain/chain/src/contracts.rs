//! The contracts of a deployment, found through its Controller.
use alloy::{eips::BlockId, primitives::Address};
use futures::future::try_join_all;
use streamflow_bindings::{AddressBook, ContractName, Controller};
use tokio_util::sync::CancellationToken;

use crate::{ChainConfig, ChainError, Rpc, wait_for_node};

/// A node and a deployment that was found on it.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The node.
    pub rpc: Rpc,
    /// Id of its chain.
    pub chain_id: u64,
    /// Addresses of the contracts.
    pub contracts: AddressBook,
}

/// Connects once; for commands that should fail at once when the node is away.
///
/// # Errors
///
/// The node cannot be reached, serves another chain, or has no such deployment.
pub async fn connect(config: &ChainConfig) -> Result<Chain, ChainError> {
    let rpc = Rpc::new(config)?;
    let chain_id = rpc.chain_id(config.chain_id).await?;
    let controller = config.controller.unwrap_or_default();
    let contracts = resolve(&rpc, controller).await?;
    Ok(Chain { rpc, chain_id, contracts })
}

/// Connects, and waits while the node cannot be reached; for roles.
///
/// # Errors
///
/// As [`connect`], but for an unreachable node; [`ChainError::Stopped`] when `stop` is cancelled first.
pub async fn connect_when_up(config: &ChainConfig, stop: &CancellationToken) -> Result<Chain, ChainError> {
    wait_for_node(config, stop, || connect(config)).await
}

/// Asks the Controller for every contract.
///
/// # Errors
///
/// There is no Controller at the address, or it lacks a contract.
pub async fn resolve(rpc: &Rpc, controller: Address) -> Result<AddressBook, ChainError> {
    if controller.is_zero() || rpc.code(controller).await?.is_empty() {
        return Err(ChainError::NoController { host: rpc.host().to_owned(), controller });
    }
    let lookups = ContractName::ALL.map(|name| async move {
        let address = rpc.view(controller, Controller::getContractCall { id: name.id() }, BlockId::latest()).await?;
        if address.is_zero() { Err(ChainError::NotRegistered { controller, name }) } else { Ok(address) }
    });
    let found = try_join_all(lookups).await?;
    let mut book = AddressBook {
        controller,
        bonding_manager: Address::ZERO,
        livepeer_token: Address::ZERO,
        minter: Address::ZERO,
        rounds_manager: Address::ZERO,
        service_registry: Address::ZERO,
        ticket_broker: Address::ZERO,
    };
    for (name, address) in ContractName::ALL.into_iter().zip(found) {
        *book.get_mut(name) = address;
    }
    Ok(book)
}
