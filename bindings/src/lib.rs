//! Typed bindings of the Streamflow contracts, generated from committed ABI JSON, and the names under which Controller
//! knows them. No logic.
//!
//! Each contract has its own module: a struct that two contracts share would otherwise be defined twice.

mod book;

pub use book::{AddressBook, ContractName};

macro_rules! binding {
    ($module:ident, $contract:ident, $path:literal) => {
        #[doc = concat!("Binding of `", stringify!($contract), "`.")]
        #[allow(missing_docs, unreachable_pub, clippy::too_many_arguments)]
        pub mod $module {
            alloy::sol!(
                #[sol(rpc, all_derives)]
                $contract,
                $path
            );
        }
        pub use $module::$contract;
    };
}

binding!(bonding_manager, BondingManager, "abi/BondingManager.json");
binding!(committee_verifier, CommitteeVerifier, "abi/CommitteeVerifier.json");
binding!(controller, Controller, "abi/Controller.json");
binding!(equivocation_verifier, EquivocationVerifier, "abi/EquivocationVerifier.json");
binding!(jobs_manager, JobsManager, "abi/JobsManager.json");
binding!(livepeer_token, LivepeerToken, "abi/LivepeerToken.json");
binding!(minter, Minter, "abi/Minter.json");
binding!(rounds_manager, RoundsManager, "abi/RoundsManager.json");
binding!(service_registry, ServiceRegistry, "abi/ServiceRegistry.json");
binding!(slashing_manager, SlashingManager, "abi/SlashingManager.json");
binding!(ticket_broker, TicketBroker, "abi/TicketBroker.json");
