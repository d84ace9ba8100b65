// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {ERC1967Utils} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Utils.sol";
import {BondingManager} from "../contracts/BondingManager.sol";
import {Controller} from "../contracts/Controller.sol";
import {JobsManager} from "../contracts/JobsManager.sol";
import {LivepeerToken} from "../contracts/LivepeerToken.sol";
import {Minter} from "../contracts/Minter.sol";
import {RoundsManager} from "../contracts/RoundsManager.sol";
import {ServiceRegistry} from "../contracts/ServiceRegistry.sol";
import {SlashingManager} from "../contracts/SlashingManager.sol";
import {OverspendProof} from "../contracts/OverspendProof.sol";
import {TicketBroker} from "../contracts/TicketBroker.sol";
import {ICommitteeVerifier} from "../contracts/interfaces/ICommitteeVerifier.sol";
import {ISlashingManager} from "../contracts/interfaces/ISlashingManager.sol";
import {CommitteeVerifier} from "../contracts/verifiers/CommitteeVerifier.sol";
import {EquivocationVerifier} from "../contracts/verifiers/EquivocationVerifier.sol";
import {ConfigFile} from "./ConfigFile.sol";

/// @notice The part of forge's cheat codes that deployment needs.
interface DeployVm {
    function addr(uint256 privateKey) external pure returns (address);
    function computeCreateAddress(address deployer, uint256 nonce) external pure returns (address);
    function envOr(string calldata name, address defaultValue) external view returns (address);
    function envOr(string calldata name, uint256 defaultValue) external view returns (uint256);
    function envOr(string calldata name, string calldata defaultValue) external view returns (string memory);
    function envUint(string calldata name) external view returns (uint256);
    function getNonce(address account) external view returns (uint64);
    function load(address target, bytes32 slot) external view returns (bytes32);
    function serializeAddress(string calldata key, string calldata name, address value)
        external
        returns (string memory json);
    function startBroadcast(uint256 privateKey) external;
    function stopBroadcast() external;
    function writeFile(string calldata path, string calldata data) external;
}

/// @dev Verifiers that may judge a service: those with terms.
function verifiersOf(Deploy.Service memory s, Deploy.Deployment memory d) pure returns (address[] memory verifiers) {
    bool byRule = s.equivocation.slashPpm > 0;
    bool byCommittee = s.committee.slashPpm > 0;
    verifiers = new address[]((byRule ? 1 : 0) + (byCommittee ? 1 : 0));
    if (byRule) verifiers[0] = address(d.equivocationVerifier);
    if (byCommittee) verifiers[verifiers.length - 1] = address(d.committeeVerifier);
}

/// @title Deploys a whole Streamflow system
/// @notice The contracts hold each other's addresses as immutables, so the script computes all addresses first, deploys in
/// that order and refuses to go on if one differs. In the end a timelock owns everything and the deployer nothing but LPT.
///
/// Environment: `STREAMFLOW_DEPLOYER_KEY` (required), `STREAMFLOW_DEPLOYMENT_FILE` (JSON of the addresses, default
/// out/deployment.json), and either `STREAMFLOW_CONFIG_FILE`, as in script/config, or one variable per field of `Params` that is a
/// number or one address, e.g. `STREAMFLOW_ROUND_LENGTH`.
contract Deploy {
    struct Params {
        /// Pays, and holds the initial supply.
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
        /// Rounds for which stake that unbonds answers for faults.
        uint256 challengeWindow;
        /// Rounds before a commission that is worse for delegators counts.
        uint256 noticePeriod;
        /// Rounds that a slashed orchestrator stays outside.
        uint256 slashCooldown;
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
        /// Seconds between an owner's decision and its execution.
        uint256 timelockDelay;
        /// Who may decide, and cancel.
        address[] proposers;
        /// Who may execute what was decided; the zero address stands for anybody.
        address[] executors;
        /// Who may cancel beside the proposers.
        address[] cancellers;
        /// Who may pause at once; zero: nobody but the timelock.
        address guardian;
        /// How a committee is drawn and votes.
        ICommitteeVerifier.Rules committeeRules;
        /// What orchestrators may offer from the start.
        Service[] services;
    }

    struct Service {
        bytes32 id;
        string metadataURI;
        /// Terms with no slash: the verifier does not judge this service.
        ISlashingManager.Terms equivocation;
        ISlashingManager.Terms committee;
    }

    struct Deployment {
        Controller controller;
        LivepeerToken livepeerToken;
        Minter minter;
        RoundsManager roundsManager;
        BondingManager bondingManager;
        ServiceRegistry serviceRegistry;
        TicketBroker ticketBroker;
        OverspendProof overspendProof;
        SlashingManager slashingManager;
        CommitteeVerifier committeeVerifier;
        EquivocationVerifier equivocationVerifier;
        TimelockController timelock;
        JobsManager jobsManager;
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
        string memory config = _VM.envOr("STREAMFLOW_CONFIG_FILE", string(""));
        d = deploy(bytes(config).length > 0 ? paramsFromFile(config) : paramsFromEnv());
        address deployer = _VM.addr(_VM.envUint("STREAMFLOW_DEPLOYER_KEY"));
        _VM.writeFile(_VM.envOr("STREAMFLOW_DEPLOYMENT_FILE", string("out/deployment.json")), _json(d, deployer));
    }

    /// @notice Deploy, register, fund the deployer with LPT, unpause, and hand everything over to the timelock.
    function deploy(Params memory p) public returns (Deployment memory d) {
        _requireFits(p.unbondingPeriod);
        _requireFits(p.challengeWindow);
        _requireFits(p.noticePeriod);
        _requireFits(p.slashCooldown);
        address deployer = _VM.addr(p.deployerKey);
        Deployment memory expected = _predict(deployer, _VM.getNonce(deployer));
        _VM.startBroadcast(p.deployerKey);
        d = _create(p, deployer, expected);
        _requireEqual(d, expected);
        _register(p, d);
        _setPeriods(p, d.bondingManager);
        _setServices(p, d);
        _mintSupply(d, deployer, p.initialSupply);
        d.controller.unpause();
        _handOver(p, d, deployer);
        _VM.stopBroadcast();
    }

    /// @notice Parameters of a file as in script/config.
    function paramsFromFile(string memory path) public view returns (Params memory p) {
        p.deployerKey = _VM.envUint("STREAMFLOW_DEPLOYER_KEY");
        return ConfigFile.read(path, _VM.addr(p.deployerKey), p);
    }

    /// @notice Parameters as the environment sets them; defaults are those of the network on Arbitrum.
    function paramsFromEnv() public view returns (Params memory p) {
        p = defaultParams(_VM.envUint("STREAMFLOW_DEPLOYER_KEY"));
        p.roundLength = _VM.envOr("STREAMFLOW_ROUND_LENGTH", p.roundLength);
        p.roundLockAmount = _VM.envOr("STREAMFLOW_ROUND_LOCK_AMOUNT", p.roundLockAmount);
        p.unlockPeriod = _VM.envOr("STREAMFLOW_UNLOCK_PERIOD", p.unlockPeriod);
        p.ticketValidityPeriod = _VM.envOr("STREAMFLOW_TICKET_VALIDITY_PERIOD", p.ticketValidityPeriod);
        p.unbondingPeriod = _VM.envOr("STREAMFLOW_UNBONDING_PERIOD", p.unbondingPeriod);
        // Stake cannot answer for faults longer than it unbonds.
        uint256 window = p.unbondingPeriod < p.challengeWindow ? p.unbondingPeriod : p.challengeWindow;
        p.challengeWindow = _VM.envOr("STREAMFLOW_CHALLENGE_WINDOW", window);
        p.noticePeriod = _VM.envOr("STREAMFLOW_NOTICE_PERIOD", p.noticePeriod);
        p.slashCooldown = _VM.envOr("STREAMFLOW_SLASH_COOLDOWN", p.slashCooldown);
        p.numActiveTranscoders = _VM.envOr("STREAMFLOW_NUM_ACTIVE_TRANSCODERS", p.numActiveTranscoders);
        p.minimumStake = _VM.envOr("STREAMFLOW_MINIMUM_STAKE", p.minimumStake);
        p.inflation = _VM.envOr("STREAMFLOW_INFLATION", p.inflation);
        p.inflationChange = _VM.envOr("STREAMFLOW_INFLATION_CHANGE", p.inflationChange);
        p.targetBondingRate = _VM.envOr("STREAMFLOW_TARGET_BONDING_RATE", p.targetBondingRate);
        p.initialSupply = _VM.envOr("STREAMFLOW_INITIAL_SUPPLY", p.initialSupply);
        p.slashing = _VM.envOr("STREAMFLOW_SLASHING", p.slashing);
        p.timelockDelay = _VM.envOr("STREAMFLOW_TIMELOCK_DELAY", p.timelockDelay);
        p.guardian = _VM.envOr("STREAMFLOW_GUARDIAN", p.guardian);
    }

    /// @notice Parameters of the network on Arbitrum, with a minimum stake of 1 LPT and a supply of 10,000,000 LPT. The deployer
    /// decides for the timelock, which waits for nothing.
    function defaultParams(uint256 deployerKey) public pure returns (Params memory p) {
        p.deployerKey = deployerKey;
        p.roundLength = 6377;
        p.roundLockAmount = 100_000;
        p.unlockPeriod = 2;
        p.ticketValidityPeriod = 2;
        p.unbondingPeriod = 7;
        p.challengeWindow = 7;
        p.noticePeriod = 7;
        p.slashCooldown = 7;
        p.numActiveTranscoders = 100;
        p.minimumStake = 1 ether;
        p.inflation = 220_500;
        p.inflationChange = 500;
        p.targetBondingRate = 500_000_000;
        p.initialSupply = 10_000_000 ether;
        p.proposers = new address[](1);
        p.proposers[0] = _VM.addr(deployerKey);
        p.executors = p.proposers;
        p.committeeRules = ICommitteeVerifier.Rules({
            drawDelay: 2,
            commitBlocks: 100,
            revealBlocks: 100,
            size: 5,
            quorum: 3,
            seatStake: 100 ether,
            noShowPenalty: 5 ether,
            dissentPenalty: 2 ether
        });
    }

    /// @dev The order is that of `_predict`.
    function _create(Params memory p, address deployer, Deployment memory e) private returns (Deployment memory d) {
        d.controller = new Controller(deployer);
        d.livepeerToken = new LivepeerToken(deployer);
        // The deployer administers the timelock until `_handOver`.
        d.timelock = new TimelockController(p.timelockDelay, p.proposers, p.executors, deployer);
        d.equivocationVerifier = new EquivocationVerifier(e.slashingManager);
        d.overspendProof = new OverspendProof();
        d.minter = Minter(
            _proxy(
                address(new Minter(e.controller, e.livepeerToken, e.bondingManager, e.roundsManager)),
                abi.encodeCall(Minter.initialize, (p.inflation, p.inflationChange, p.targetBondingRate))
            )
        );
        d.roundsManager = RoundsManager(
            _proxy(
                address(new RoundsManager(e.controller, e.bondingManager, e.minter)),
                abi.encodeCall(RoundsManager.initialize, (p.roundLength, p.roundLockAmount))
            )
        );
        d.bondingManager = BondingManager(
            _proxy(
                address(new BondingManager(e.controller, e.livepeerToken, e.minter, e.roundsManager, e.ticketBroker)),
                abi.encodeCall(
                    BondingManager.initialize,
                    // forge-lint: disable-next-line(unsafe-typecast) checked in `deploy`
                    (uint64(p.unbondingPeriod), p.numActiveTranscoders, p.minimumStake)
                )
            )
        );
        d.serviceRegistry = ServiceRegistry(
            _proxy(
                address(new ServiceRegistry(e.controller, e.bondingManager)),
                abi.encodeCall(ServiceRegistry.initialize, ())
            )
        );
        d.ticketBroker = TicketBroker(
            _proxy(
                address(new TicketBroker(e.controller, e.bondingManager, e.roundsManager, e.overspendProof)),
                abi.encodeCall(TicketBroker.initialize, (p.unlockPeriod, p.ticketValidityPeriod))
            )
        );
        d.slashingManager = SlashingManager(
            _proxy(
                address(
                    new SlashingManager(
                        e.controller, e.livepeerToken, e.bondingManager, e.roundsManager, e.serviceRegistry
                    )
                ),
                abi.encodeCall(SlashingManager.initialize, ())
            )
        );
        d.committeeVerifier = CommitteeVerifier(
            _proxy(
                address(new CommitteeVerifier(e.controller, e.slashingManager, e.livepeerToken)),
                abi.encodeCall(CommitteeVerifier.initialize, (p.committeeRules))
            )
        );
        d.jobsManager = JobsManager(
            _proxy(address(new JobsManager(e.controller, e.bondingManager)), abi.encodeCall(JobsManager.initialize, ()))
        );
    }

    function _proxy(address implementation, bytes memory initialization) private returns (address) {
        return address(new ERC1967Proxy(implementation, initialization));
    }

    function _register(Params memory p, Deployment memory d) private {
        _set(d.controller, "LivepeerToken", address(d.livepeerToken));
        _set(d.controller, "Minter", address(d.minter));
        _set(d.controller, "RoundsManager", address(d.roundsManager));
        _set(d.controller, "BondingManager", address(d.bondingManager));
        _set(d.controller, "ServiceRegistry", address(d.serviceRegistry));
        _set(d.controller, "TicketBroker", address(d.ticketBroker));
        // Older clients know the broker by this name.
        _set(d.controller, "JobsManager", address(d.ticketBroker));
        _set(d.controller, "SlashingManager", address(d.slashingManager));
        _set(d.controller, "TranscodingJobs", address(d.jobsManager));
        if (p.slashing != 0) _set(d.controller, "Verifier", address(d.slashingManager));
        if (p.guardian != address(0)) d.controller.setGuardian(p.guardian);
    }

    function _set(Controller controller, string memory name, address contractAddress) private {
        controller.setContractInfo(keccak256(bytes(name)), contractAddress, bytes20(0));
    }

    /// @dev `initialize` made them all as long as an unbonding.
    function _setPeriods(Params memory p, BondingManager bonding) private {
        // forge-lint: disable-start(unsafe-typecast) checked in `deploy`
        if (bonding.challengeWindow() != p.challengeWindow) bonding.setChallengeWindow(uint64(p.challengeWindow));
        if (bonding.noticePeriod() != p.noticePeriod) bonding.setNoticePeriod(uint64(p.noticePeriod));
        if (bonding.slashCooldown() != p.slashCooldown) bonding.setSlashCooldown(uint64(p.slashCooldown));
        // forge-lint: disable-end(unsafe-typecast)
    }

    function _setServices(Params memory p, Deployment memory d) private {
        for (uint256 i = 0; i < p.services.length; ++i) {
            Service memory s = p.services[i];
            d.serviceRegistry.registerService(s.id, verifiersOf(s, d), s.metadataURI);
            if (s.equivocation.slashPpm > 0) {
                d.slashingManager.setTerms(s.id, address(d.equivocationVerifier), s.equivocation);
            }
            if (s.committee.slashPpm > 0) {
                d.slashingManager.setTerms(s.id, address(d.committeeVerifier), s.committee);
            }
        }
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

    /// @dev The last step: an interrupted deployment leaves the deployer in power, never nobody.
    function _handOver(Params memory p, Deployment memory d, address deployer) private {
        for (uint256 i = 0; i < p.cancellers.length; ++i) {
            d.timelock.grantRole(d.timelock.CANCELLER_ROLE(), p.cancellers[i]);
        }
        d.timelock.renounceRole(d.timelock.DEFAULT_ADMIN_ROLE(), deployer);
        bytes32 admin = d.livepeerToken.DEFAULT_ADMIN_ROLE();
        d.livepeerToken.grantRole(admin, address(d.timelock));
        d.livepeerToken.renounceRole(admin, deployer);
        d.controller.transferOwnership(address(d.timelock));
    }

    function _json(Deployment memory d, address deployer) private returns (string memory) {
        string memory key = "deployment";
        _VM.serializeAddress(key, "Deployer", deployer);
        _VM.serializeAddress(key, "Controller", address(d.controller));
        _VM.serializeAddress(key, "LivepeerToken", address(d.livepeerToken));
        _VM.serializeAddress(key, "Timelock", address(d.timelock));
        _VM.serializeAddress(key, "EquivocationVerifier", address(d.equivocationVerifier));
        _VM.serializeAddress(key, "OverspendProof", address(d.overspendProof));
        _jsonProxy(key, "Minter", address(d.minter));
        _jsonProxy(key, "RoundsManager", address(d.roundsManager));
        _jsonProxy(key, "BondingManager", address(d.bondingManager));
        _jsonProxy(key, "ServiceRegistry", address(d.serviceRegistry));
        _jsonProxy(key, "SlashingManager", address(d.slashingManager));
        _jsonProxy(key, "CommitteeVerifier", address(d.committeeVerifier));
        _jsonProxy(key, "JobsManager", address(d.jobsManager));
        return _jsonProxy(key, "TicketBroker", address(d.ticketBroker));
    }

    function _jsonProxy(string memory key, string memory name, address proxy) private returns (string memory) {
        bytes32 implementation = _VM.load(proxy, ERC1967Utils.IMPLEMENTATION_SLOT);
        _VM.serializeAddress(key, string.concat(name, "Implementation"), address(uint160(uint256(implementation))));
        return _VM.serializeAddress(key, name, proxy);
    }

    /// @dev An implementation precedes its proxy, of which nobody else needs the address.
    function _predict(address deployer, uint256 nonce) private pure returns (Deployment memory e) {
        e.controller = Controller(_VM.computeCreateAddress(deployer, nonce));
        e.livepeerToken = LivepeerToken(_VM.computeCreateAddress(deployer, nonce + 1));
        e.timelock = TimelockController(payable(_VM.computeCreateAddress(deployer, nonce + 2)));
        e.equivocationVerifier = EquivocationVerifier(_VM.computeCreateAddress(deployer, nonce + 3));
        e.overspendProof = OverspendProof(_VM.computeCreateAddress(deployer, nonce + 4));
        e.minter = Minter(_VM.computeCreateAddress(deployer, nonce + 6));
        e.roundsManager = RoundsManager(_VM.computeCreateAddress(deployer, nonce + 8));
        e.bondingManager = BondingManager(_VM.computeCreateAddress(deployer, nonce + 10));
        e.serviceRegistry = ServiceRegistry(_VM.computeCreateAddress(deployer, nonce + 12));
        e.ticketBroker = TicketBroker(_VM.computeCreateAddress(deployer, nonce + 14));
        e.slashingManager = SlashingManager(_VM.computeCreateAddress(deployer, nonce + 16));
        e.committeeVerifier = CommitteeVerifier(_VM.computeCreateAddress(deployer, nonce + 18));
        e.jobsManager = JobsManager(_VM.computeCreateAddress(deployer, nonce + 20));
    }

    function _requireEqual(Deployment memory d, Deployment memory e) private pure {
        _requireEqual(address(d.controller), address(e.controller));
        _requireEqual(address(d.livepeerToken), address(e.livepeerToken));
        _requireEqual(address(d.timelock), address(e.timelock));
        _requireEqual(address(d.equivocationVerifier), address(e.equivocationVerifier));
        _requireEqual(address(d.overspendProof), address(e.overspendProof));
        _requireEqual(address(d.minter), address(e.minter));
        _requireEqual(address(d.roundsManager), address(e.roundsManager));
        _requireEqual(address(d.bondingManager), address(e.bondingManager));
        _requireEqual(address(d.serviceRegistry), address(e.serviceRegistry));
        _requireEqual(address(d.ticketBroker), address(e.ticketBroker));
        _requireEqual(address(d.slashingManager), address(e.slashingManager));
        _requireEqual(address(d.committeeVerifier), address(e.committeeVerifier));
        _requireEqual(address(d.jobsManager), address(e.jobsManager));
    }

    function _requireEqual(address actual, address expected) private pure {
        require(actual == expected, UnexpectedAddress(expected, actual));
    }

    function _requireFits(uint256 rounds) private pure {
        require(rounds <= type(uint64).max, ParameterTooLarge(rounds));
    }
}
