//! Where the contracts of one deployment are.
use std::fmt;

use alloy::primitives::{Address, B256, keccak256};
use serde::{Deserialize, Serialize};

/// A contract that Controller knows by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContractName {
    /// Stake, delegation, fees.
    BondingManager,
    /// The staked token.
    LivepeerToken,
    /// Inflation; holds the token.
    Minter,
    /// Protocol periods.
    RoundsManager,
    /// Where orchestrators listen.
    ServiceRegistry,
    /// Deposits, reserves, redemption.
    TicketBroker,
}

impl ContractName {
    /// Every name, in alphabetical order.
    pub const ALL: [Self; 6] = [
        Self::BondingManager,
        Self::LivepeerToken,
        Self::Minter,
        Self::RoundsManager,
        Self::ServiceRegistry,
        Self::TicketBroker,
    ];

    /// The registered name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BondingManager => "BondingManager",
            Self::LivepeerToken => "LivepeerToken",
            Self::Minter => "Minter",
            Self::RoundsManager => "RoundsManager",
            Self::ServiceRegistry => "ServiceRegistry",
            Self::TicketBroker => "TicketBroker",
        }
    }

    /// Key of `Controller.getContract`: the hash of the name (contracts.md §1.2).
    pub fn id(self) -> B256 {
        keccak256(self.as_str())
    }
}

impl fmt::Display for ContractName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Addresses of one deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AddressBook {
    /// The registry; all others are found through it.
    pub controller: Address,
    /// BondingManager.
    pub bonding_manager: Address,
    /// LivepeerToken.
    pub livepeer_token: Address,
    /// Minter.
    pub minter: Address,
    /// RoundsManager.
    pub rounds_manager: Address,
    /// ServiceRegistry.
    pub service_registry: Address,
    /// TicketBroker.
    pub ticket_broker: Address,
}

impl AddressBook {
    /// The address of `name`.
    pub const fn get(&self, name: ContractName) -> Address {
        match name {
            ContractName::BondingManager => self.bonding_manager,
            ContractName::LivepeerToken => self.livepeer_token,
            ContractName::Minter => self.minter,
            ContractName::RoundsManager => self.rounds_manager,
            ContractName::ServiceRegistry => self.service_registry,
            ContractName::TicketBroker => self.ticket_broker,
        }
    }

    /// The place of `name`, for filling a book.
    pub const fn get_mut(&mut self, name: ContractName) -> &mut Address {
        match name {
            ContractName::BondingManager => &mut self.bonding_manager,
            ContractName::LivepeerToken => &mut self.livepeer_token,
            ContractName::Minter => &mut self.minter,
            ContractName::RoundsManager => &mut self.rounds_manager,
            ContractName::ServiceRegistry => &mut self.service_registry,
            ContractName::TicketBroker => &mut self.ticket_broker,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::b256;

    use super::*;

    #[test]
    fn ids_are_those_of_the_deployed_registry() {
        let expected = [
            b256!("2517d59a36a86548e38734e8ab416f42afff4bca78706a66ad65750dae7f9e37"),
            b256!("3443e257065fe41dd0e4d1f5a1b73a22a62e300962b57f30cddf41d0f8273ba7"),
            b256!("6e58ad548d72b425ea94c15f453bf26caddb061d82b2551db7fdd3cefe0e9940"),
            b256!("e8438ea868df48e3fc21f2f087b993c9b1837dc0f6135064161ce7d7a1701fe8"),
            b256!("79c5d2a4a07754f4bacb0ffba18ac516030ee589ebc89db8627680c4d4cdb230"),
            b256!("bd1aa3e8d2464256d7fd3dcf645c16418d5d8c51d971f1ad7d57e7b1b5eee239"),
        ];
        assert_eq!(ContractName::ALL.map(ContractName::id), expected);
    }

    #[test]
    fn book_is_written_with_contract_names() {
        let book: AddressBook = serde_json::from_value(serde_json::json!({
            "Controller": Address::with_last_byte(1),
            "BondingManager": Address::with_last_byte(2),
            "LivepeerToken": Address::with_last_byte(3),
            "Minter": Address::with_last_byte(4),
            "RoundsManager": Address::with_last_byte(5),
            "ServiceRegistry": Address::with_last_byte(6),
            "TicketBroker": Address::with_last_byte(7),
        }))
        .unwrap();
        let listed = ContractName::ALL.map(|name| book.get(name).0[19]);
        assert_eq!(listed, [2, 3, 4, 5, 6, 7]);
    }
}
