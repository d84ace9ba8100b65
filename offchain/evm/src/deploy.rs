//! The deploy script executed: who deploys, and how, is its business alone.
use alloy::{
    primitives::{Address, B256, Bytes, TxKind, U256, address},
    signers::local::PrivateKeySigner,
    sol_types::SolCall,
};
use revm::{
    Context, InspectCommitEvm, MainBuilder, MainContext,
    context::{BlockEnv, TxEnv, result::ExecutionResult},
    database::{CacheDB, InMemoryDB},
    database_interface::EmptyDB,
    state::{AccountInfo, Bytecode},
};
use streamflow_bindings::{AddressBook, RoundsManager};

use self::abi::Deploy;
use crate::{
    DeployScript, EvmError, LocalChain, Refusal,
    cheats::{CHEATS, Forge},
};

/// Parameters of `script/Deploy.s.sol`.
pub use self::abi::Deploy::Params;

/// Where the script's code is while it runs.
const SCRIPT: Address = address!("5C41700000000000000000000000000000000000");
/// Key of the deployer, who holds the supply of LPT: known to everybody, worth nothing anywhere.
const DEPLOYER_KEY: B256 = B256::repeat_byte(0xd1);
/// Block of the deployment.
const FIRST_BLOCK: u64 = 1_000;
/// Gas of the whole script.
const GAS_LIMIT: u64 = 1_000_000_000;

pub(crate) mod abi {
    //! What the script takes and gives, as in `script/Deploy.s.sol`.
    alloy::sol! {
        #[derive(Debug)]
        library ICommitteeVerifier {
            struct Rules {
                uint32 drawDelay;
                uint32 commitBlocks;
                uint32 revealBlocks;
                uint8 size;
                uint8 quorum;
                uint128 seatStake;
                uint128 noShowPenalty;
                uint128 dissentPenalty;
            }
        }

        #[derive(Debug)]
        library ISlashingManager {
            struct Terms {
                uint32 slashPpm;
                uint32 bountyPpm;
                uint32 challengeWindow;
                uint32 verdictWindow;
                uint128 bond;
                uint128 fee;
            }
        }

        #[derive(Debug)]
        contract Deploy {
            struct Params {
                uint256 deployerKey;
                uint256 roundLength;
                uint256 roundLockAmount;
                uint256 unlockPeriod;
                uint256 ticketValidityPeriod;
                uint256 unbondingPeriod;
                uint256 challengeWindow;
                uint256 noticePeriod;
                uint256 slashCooldown;
                uint256 numActiveTranscoders;
                uint256 minimumStake;
                uint256 inflation;
                uint256 inflationChange;
                uint256 targetBondingRate;
                uint256 initialSupply;
                uint256 slashing;
                uint256 timelockDelay;
                address[] proposers;
                address[] executors;
                address[] cancellers;
                address guardian;
                ICommitteeVerifier.Rules committeeRules;
                Service[] services;
            }

            struct Service {
                bytes32 id;
                string metadataURI;
                ISlashingManager.Terms equivocation;
                ISlashingManager.Terms committee;
            }

            struct Deployment {
                address controller;
                address livepeerToken;
                address minter;
                address roundsManager;
                address bondingManager;
                address serviceRegistry;
                address ticketBroker;
                address overspendProof;
                address slashingManager;
                address committeeVerifier;
                address equivocationVerifier;
                address timelock;
                address jobsManager;
            }

            function defaultParams(uint256 deployerKey) external pure returns (Params memory p);
            function deploy(Params memory p) external returns (Deployment memory d);
        }
    }
}

/// A deployment without any stake, and where a round begins. No round is initialised yet.
#[derive(Clone, Debug)]
pub struct Deployed {
    /// State of the chain.
    pub state: InMemoryDB,
    /// Where the contracts are.
    pub contracts: AddressBook,
    /// Who deployed them and holds all LPT.
    pub deployer: Address,
    /// First block of a round.
    pub block: u64,
}

impl Deployed {
    /// Runs the script with its default parameters, those of the network on Arbitrum, as `change` leaves them.
    ///
    /// # Errors
    /// When the script reverts.
    pub fn new(script: &DeployScript, chain_id: u64, change: impl FnOnce(&mut Params)) -> Result<Self, EvmError> {
        let mut state = CacheDB::new(EmptyDB::default());
        // A call whose answer is not read asks whether there is code.
        for (account, code) in [(SCRIPT, script.0.clone()), (CHEATS, Bytes::from_static(&[0]))] {
            let code = Bytecode::new_raw(code);
            state.insert_account_info(account, AccountInfo::new(U256::ZERO, 1, code.hash_slow(), code));
        }
        let deployer = PrivateKeySigner::from_bytes(&DEPLOYER_KEY)
            .map_err(|error| EvmError::Execution { call: "the deployer's key", source: error.into() })?
            .address();
        let default = Deploy::defaultParamsCall { deployerKey: DEPLOYER_KEY.into() };
        let mut params = run(&mut state, chain_id, deployer, &default)?;
        change(&mut params);
        let deployment = run(&mut state, chain_id, deployer, &Deploy::deployCall { p: params })?;
        for account in [SCRIPT, CHEATS] {
            state.insert_account_info(account, AccountInfo::default());
        }
        let contracts = AddressBook {
            controller: deployment.controller,
            bonding_manager: deployment.bondingManager,
            livepeer_token: deployment.livepeerToken,
            minter: deployment.minter,
            rounds_manager: deployment.roundsManager,
            service_registry: deployment.serviceRegistry,
            ticket_broker: deployment.ticketBroker,
        };
        let mut chain = LocalChain::new(state.clone(), chain_id, FIRST_BLOCK + 1);
        let start = chain.view(contracts.rounds_manager, RoundsManager::currentRoundStartBlockCall {})?;
        let length = chain.view(contracts.rounds_manager, RoundsManager::roundLengthCall {})?;
        Ok(Self { state, contracts, deployer, block: (start + length).saturating_to() })
    }
}

/// Calls the script, and keeps what it changed.
fn run<C: SolCall>(state: &mut InMemoryDB, chain_id: u64, deployer: Address, call: &C) -> Result<C::Return, EvmError> {
    let name = C::SIGNATURE;
    let block = BlockEnv {
        number: U256::from(FIRST_BLOCK),
        timestamp: U256::from(FIRST_BLOCK),
        gas_limit: u64::MAX,
        basefee: 0,
        prevrandao: Some(B256::ZERO),
        ..BlockEnv::default()
    };
    let mut evm = Context::mainnet()
        .with_db(state)
        .with_block(block)
        .modify_cfg_chained(|cfg| {
            cfg.chain_id = chain_id;
            cfg.disable_nonce_check = true;
            cfg.tx_gas_limit_cap = Some(u64::MAX);
        })
        .build_mainnet_with_inspector(Forge { script: SCRIPT, broadcaster: None });
    let transaction = TxEnv {
        caller: deployer,
        kind: TxKind::Call(SCRIPT),
        data: call.abi_encode().into(),
        gas_limit: GAS_LIMIT,
        chain_id: None,
        ..TxEnv::default()
    };
    match evm.inspect_tx_commit(transaction) {
        Ok(ExecutionResult::Success { output, .. }) => {
            C::abi_decode_returns(&output.into_data()).map_err(|source| EvmError::Output { call: name, source })
        }
        Ok(ExecutionResult::Revert { output, .. }) => Err(EvmError::Refused { call: name, refusal: Refusal(output) }),
        Ok(ExecutionResult::Halt { reason, .. }) => Err(EvmError::Halted { call: name, reason: format!("{reason:?}") }),
        Err(error) => Err(EvmError::Execution { call: name, source: error.into() }),
    }
}
