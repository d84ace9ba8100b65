// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {BondingManager} from "../contracts/BondingManager.sol";
import {Controller} from "../contracts/Controller.sol";
import {LivepeerToken} from "../contracts/LivepeerToken.sol";
import {Minter} from "../contracts/Minter.sol";
import {RoundsManager} from "../contracts/RoundsManager.sol";
import {ServiceRegistry} from "../contracts/ServiceRegistry.sol";
import {SlashingManager} from "../contracts/SlashingManager.sol";
import {TicketBroker} from "../contracts/TicketBroker.sol";

/// @notice The part of forge's cheat codes that deployment needs.
interface DeployVm {
    function addr(uint256 privateKey) external view returns (address);
    function computeCreateAddress(address deployer, uint256 nonce) external view returns (address);
    function envOr(string calldata name, uint256 defaultValue) external view returns (uint256);
    function envOr(string calldata name, string calldata defaultValue) external view returns (string memory);
    function envUint(string calldata name) external view returns (uint256);
    function getNonce(address account) external view returns (uint64);
    function serializeAddress(string calldata key, string calldata name, address value)
        external
        returns (string memory json);
    function startBroadcast(uint256 privateKey) external;
    function stopBroadcast() external;
    function writeFile(string calldata path, string calldata data) external;
}

/// @title Deploys a whole Streamflow system
/// @notice The contracts hold each other's addresses as immutables, so the script computes all addresses first, deploys in
/// that order and refuses to go on if one differs.
///
/// Environment: `STREAMFLOW_DEPLOYER_KEY` (required), `STREAMFLOW_DEPLOYMENT_FILE` (JSON of the addresses, default
/// out/deployment.json), and one variable per field of `Params`, e.g. `STREAMFLOW_ROUND_LENGTH`.
contract Deploy {
    struct Params {
        /// Becomes owner of the Controller, admin of the token, and holds the initial supply.
        uint256 deployerKey;
        /// Blocks per round.
        uint256 roundLength;
        /// Last part of a round in which commissions are fixed, ppm.
        uint256 roundLockAmount;
        /// Rounds between unlock and withdraw of a sender's funds.
        uint256 unlockPeriod;
        /// Rounds in which a ticket can be redeemed.
        uint256 ticketValidityPeriod;
        /// Rounds between unbond and withdrawal of stake.
        uint256 unbondingPeriod;
        /// Seats in the active set.
        uint256 numActiveTranscoders;
        /// Stake that a seat needs, LPT wei.
        uint256 minimumStake;
        /// First inflation per round, parts per billion.
        uint256 inflation;
        /// Step of inflation per round, parts per billion.
        uint256 inflationChange;
        /// Bonding rate at which inflation stands still, parts per billion.
        uint256 targetBondingRate;
        /// LPT wei minted for the deployer.
        uint256 initialSupply;
        /// Whether SlashingManager may slash from the start, 0 or 1. From then on stake changes orchestrators only through
        /// unbonding; the owner can register it as "Verifier" later.
        uint256 slashing;
    }

    struct Deployment {
        Controller controller;
        LivepeerToken livepeerToken;
        Minter minter;
        RoundsManager roundsManager;
        BondingManager bondingManager;
        ServiceRegistry serviceRegistry;
        TicketBroker ticketBroker;
        SlashingManager slashingManager;
    }

    /// @notice Thrown when a contract did not land where its peers expect it.
    error UnexpectedAddress(address expected, address actual);
    /// @notice Thrown when a parameter does not fit its type.
    error ParameterTooLarge(uint256 value);

    /// @notice Tells forge to leave this contract out of size checks.
    bool public constant IS_SCRIPT = true;

    DeployVm private constant _VM = DeployVm(address(uint160(uint256(keccak256("hevm cheat code")))));

    /// @notice Deploy with parameters from the environment and write the addresses down.
    function run() external returns (Deployment memory d) {
        d = deploy(paramsFromEnv());
        _VM.writeFile(_VM.envOr("STREAMFLOW_DEPLOYMENT_FILE", string("out/deployment.json")), _json(d));
    }

    /// @notice Deploy, register, fund the deployer with LPT and unpause.
    function deploy(Params memory p) public returns (Deployment memory d) {
        require(p.unbondingPeriod <= type(uint64).max, ParameterTooLarge(p.unbondingPeriod));
        address deployer = _VM.addr(p.deployerKey);
        Deployment memory expected = _predict(deployer, _VM.getNonce(deployer));
        _VM.startBroadcast(p.deployerKey);
        d = _create(p, deployer, expected);
        _requireEqual(d, expected);
        _register(d);
        if (p.slashing != 0) _set(d.controller, "Verifier", address(d.slashingManager));
        _mintSupply(d, deployer, p.initialSupply);
        d.controller.unpause();
        _VM.stopBroadcast();
    }

    /// @notice Parameters as the environment sets them; defaults are those of the network on Arbitrum.
    function paramsFromEnv() public view returns (Params memory p) {
        p = defaultParams(_VM.envUint("STREAMFLOW_DEPLOYER_KEY"));
        p.roundLength = _VM.envOr("STREAMFLOW_ROUND_LENGTH", p.roundLength);
        p.roundLockAmount = _VM.envOr("STREAMFLOW_ROUND_LOCK_AMOUNT", p.roundLockAmount);
        p.unlockPeriod = _VM.envOr("STREAMFLOW_UNLOCK_PERIOD", p.unlockPeriod);
        p.ticketValidityPeriod = _VM.envOr("STREAMFLOW_TICKET_VALIDITY_PERIOD", p.ticketValidityPeriod);
        p.unbondingPeriod = _VM.envOr("STREAMFLOW_UNBONDING_PERIOD", p.unbondingPeriod);
        p.numActiveTranscoders = _VM.envOr("STREAMFLOW_NUM_ACTIVE_TRANSCODERS", p.numActiveTranscoders);
        p.minimumStake = _VM.envOr("STREAMFLOW_MINIMUM_STAKE", p.minimumStake);
        p.inflation = _VM.envOr("STREAMFLOW_INFLATION", p.inflation);
        p.inflationChange = _VM.envOr("STREAMFLOW_INFLATION_CHANGE", p.inflationChange);
        p.targetBondingRate = _VM.envOr("STREAMFLOW_TARGET_BONDING_RATE", p.targetBondingRate);
        p.initialSupply = _VM.envOr("STREAMFLOW_INITIAL_SUPPLY", p.initialSupply);
        p.slashing = _VM.envOr("STREAMFLOW_SLASHING", p.slashing);
    }

    /// @notice Parameters of the network on Arbitrum, with a minimum stake of 1 LPT and a supply of 10,000,000 LPT.
    function defaultParams(uint256 deployerKey) public pure returns (Params memory) {
        return Params({
            deployerKey: deployerKey,
            roundLength: 6377,
            roundLockAmount: 100_000,
            unlockPeriod: 2,
            ticketValidityPeriod: 2,
            unbondingPeriod: 7,
            numActiveTranscoders: 100,
            minimumStake: 1 ether,
            inflation: 220_500,
            inflationChange: 500,
            targetBondingRate: 500_000_000,
            initialSupply: 10_000_000 ether,
            slashing: 0
        });
    }

    function _create(Params memory p, address deployer, Deployment memory e) private returns (Deployment memory d) {
        // The order is that of `_predict`.
        d.controller = new Controller(deployer);
        d.livepeerToken = new LivepeerToken(deployer);
        d.minter = new Minter(
            e.controller,
            e.livepeerToken,
            e.bondingManager,
            e.roundsManager,
            p.inflation,
            p.inflationChange,
            p.targetBondingRate
        );
        d.roundsManager = new RoundsManager(e.controller, e.bondingManager, e.minter, p.roundLength, p.roundLockAmount);
        d.bondingManager = new BondingManager(
            e.controller,
            e.livepeerToken,
            e.minter,
            e.roundsManager,
            e.ticketBroker,
            // forge-lint: disable-next-line(unsafe-typecast) checked in `deploy`
            uint64(p.unbondingPeriod),
            p.numActiveTranscoders,
            p.minimumStake
        );
        d.serviceRegistry = new ServiceRegistry(e.controller, e.bondingManager);
        d.ticketBroker =
            new TicketBroker(e.controller, e.bondingManager, e.roundsManager, p.unlockPeriod, p.ticketValidityPeriod);
        d.slashingManager =
            new SlashingManager(e.controller, e.livepeerToken, e.bondingManager, e.roundsManager, e.serviceRegistry);
    }

    function _register(Deployment memory d) private {
        _set(d.controller, "LivepeerToken", address(d.livepeerToken));
        _set(d.controller, "Minter", address(d.minter));
        _set(d.controller, "RoundsManager", address(d.roundsManager));
        _set(d.controller, "BondingManager", address(d.bondingManager));
        _set(d.controller, "ServiceRegistry", address(d.serviceRegistry));
        _set(d.controller, "TicketBroker", address(d.ticketBroker));
        // Older clients know the broker by this name.
        _set(d.controller, "JobsManager", address(d.ticketBroker));
    }

    function _set(Controller controller, string memory name, address contractAddress) private {
        controller.setContractInfo(keccak256(bytes(name)), contractAddress, bytes20(0));
    }

    /// @dev From here on only the Minter mints, and only rewards; only it burns, and only what was slashed.
    function _mintSupply(Deployment memory d, address deployer, uint256 initialSupply) private {
        bytes32 minterRole = d.livepeerToken.MINTER_ROLE();
        d.livepeerToken.grantRole(minterRole, deployer);
        d.livepeerToken.mint(deployer, initialSupply);
        d.livepeerToken.revokeRole(minterRole, deployer);
        d.livepeerToken.grantRole(minterRole, address(d.minter));
        d.livepeerToken.grantRole(d.livepeerToken.BURNER_ROLE(), address(d.minter));
        d.livepeerToken.grantRole(d.livepeerToken.BURNER_ROLE(), address(d.slashingManager));
    }

    function _json(Deployment memory d) private returns (string memory) {
        string memory key = "deployment";
        _VM.serializeAddress(key, "Controller", address(d.controller));
        _VM.serializeAddress(key, "LivepeerToken", address(d.livepeerToken));
        _VM.serializeAddress(key, "Minter", address(d.minter));
        _VM.serializeAddress(key, "RoundsManager", address(d.roundsManager));
        _VM.serializeAddress(key, "BondingManager", address(d.bondingManager));
        _VM.serializeAddress(key, "ServiceRegistry", address(d.serviceRegistry));
        _VM.serializeAddress(key, "SlashingManager", address(d.slashingManager));
        return _VM.serializeAddress(key, "TicketBroker", address(d.ticketBroker));
    }

    function _predict(address deployer, uint256 nonce) private view returns (Deployment memory e) {
        e.controller = Controller(_VM.computeCreateAddress(deployer, nonce));
        e.livepeerToken = LivepeerToken(_VM.computeCreateAddress(deployer, nonce + 1));
        e.minter = Minter(_VM.computeCreateAddress(deployer, nonce + 2));
        e.roundsManager = RoundsManager(_VM.computeCreateAddress(deployer, nonce + 3));
        e.bondingManager = BondingManager(_VM.computeCreateAddress(deployer, nonce + 4));
        e.serviceRegistry = ServiceRegistry(_VM.computeCreateAddress(deployer, nonce + 5));
        e.ticketBroker = TicketBroker(_VM.computeCreateAddress(deployer, nonce + 6));
        e.slashingManager = SlashingManager(_VM.computeCreateAddress(deployer, nonce + 7));
    }

    function _requireEqual(Deployment memory d, Deployment memory e) private pure {
        _requireEqual(address(d.controller), address(e.controller));
        _requireEqual(address(d.livepeerToken), address(e.livepeerToken));
        _requireEqual(address(d.minter), address(e.minter));
        _requireEqual(address(d.roundsManager), address(e.roundsManager));
        _requireEqual(address(d.bondingManager), address(e.bondingManager));
        _requireEqual(address(d.serviceRegistry), address(e.serviceRegistry));
        _requireEqual(address(d.ticketBroker), address(e.ticketBroker));
        _requireEqual(address(d.slashingManager), address(e.slashingManager));
    }

    function _requireEqual(address actual, address expected) private pure {
        require(actual == expected, UnexpectedAddress(expected, actual));
    }
}
