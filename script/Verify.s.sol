// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
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
import {CommitteeVerifier} from "../contracts/verifiers/CommitteeVerifier.sol";
import {EquivocationVerifier} from "../contracts/verifiers/EquivocationVerifier.sol";
import {ConfigFile} from "./ConfigFile.sol";
import {Deploy, verifiersOf} from "./Deploy.s.sol";

/// @notice The part of forge's cheat codes that verification needs.
interface VerifyVm {
    function computeCreateAddress(address deployer, uint256 nonce) external pure returns (address);
    function envString(string calldata name) external view returns (string memory);
    function etch(address target, bytes calldata code) external;
    function load(address target, bytes32 slot) external view returns (bytes32);
    function parseJsonAddress(string calldata json, string calldata key) external pure returns (address);
    function readFile(string calldata path) external view returns (string memory);
    function revertToState(uint256 snapshot) external returns (bool);
    function serializeString(string calldata key, string calldata name, string[] calldata values)
        external
        returns (string memory json);
    function snapshotState() external returns (uint256 snapshot);
    function toString(address value) external pure returns (string memory);
    function toString(bool value) external pure returns (string memory);
    function toString(bytes calldata value) external pure returns (string memory);
    function toString(bytes32 value) external pure returns (string memory);
    function toString(uint256 value) external pure returns (string memory);
    function writeFile(string calldata path, string calldata data) external;
}

/// @title Compares a live deployment with what script/Deploy.s.sol makes of the same parameters
/// @notice CODE. Every constructor runs once more, on a copy of the chain and at the address in question; what it returns must be
/// the code that is there, immutables included. STATE. Slots of the proxies, names in the Controller, owner, roles and every
/// parameter are asked of the contracts.
///
/// Environment: `STREAMFLOW_CONFIG_FILE`, `STREAMFLOW_DEPLOYMENT_FILE`, and `STREAMFLOW_REPORT_FILE`, which gets the items as JSON.
contract Verify {
    /// @notice Something that was compared.
    struct Item {
        string name;
        string expected;
        string actual;
    }

    /// @notice What a deployment's file holds.
    struct Addresses {
        address deployer;
        Deploy.Deployment system;
        /// Of the proxies, in the order of `_proxyNames`.
        address[8] implementations;
    }

    /// @notice Thrown when a constructor cannot be run where the contract should be.
    error NotReproducible(string name);

    /// @notice Tells forge to leave this contract out of size checks.
    bool public constant IS_SCRIPT = true;

    VerifyVm private constant _VM = VerifyVm(address(uint160(uint256(keccak256("hevm cheat code")))));
    /// @dev ERC-7201 slot of OpenZeppelin's Initializable: the version in its lowest 64 bits.
    bytes32 private constant _INITIALIZABLE = 0xf0c57e16840df040f15088dc2f81fe391c3923bec73e23a9662efc9c229c6a00;

    Item[] private _items;

    /// @notice Compare what the environment names and write the report.
    function run() external {
        Addresses memory a = _addresses(_VM.readFile(_VM.envString("STREAMFLOW_DEPLOYMENT_FILE")));
        Deploy.Params memory p;
        p = ConfigFile.read(_VM.envString("STREAMFLOW_CONFIG_FILE"), a.deployer, p);
        _report(verify(p, a), _VM.envString("STREAMFLOW_REPORT_FILE"));
    }

    /// @notice Everything that was compared; the deployment is as expected if in every item both values are equal.
    function verify(Deploy.Params memory p, Addresses memory a) public returns (Item[] memory) {
        delete _items;
        _compareCode(a);
        _compareProxies(a);
        _compareRegistry(p, a.system);
        _comparePower(p, a);
        _compareTimelock(p, a);
        _compareRounds(p, a.system);
        _compareStaking(p, a.system);
        _compareTickets(p, a.system);
        _compareSlashing(p, a.system);
        return _items;
    }

    // --- code ---

    function _compareCode(Addresses memory a) private {
        Deploy.Deployment memory d = a.system;
        _code(
            "Controller", address(d.controller), abi.encodePacked(type(Controller).creationCode, abi.encode(a.deployer))
        );
        _code(
            "LivepeerToken",
            address(d.livepeerToken),
            abi.encodePacked(type(LivepeerToken).creationCode, abi.encode(a.deployer))
        );
        address[] memory none;
        _code(
            "Timelock",
            address(d.timelock),
            abi.encodePacked(type(TimelockController).creationCode, abi.encode(0, none, none, a.deployer))
        );
        _code(
            "EquivocationVerifier",
            address(d.equivocationVerifier),
            abi.encodePacked(type(EquivocationVerifier).creationCode, abi.encode(d.slashingManager))
        );
        _code("OverspendProof", address(d.overspendProof), type(OverspendProof).creationCode);
        bytes[8] memory creations = _creations(d);
        for (uint256 i = 0; i < creations.length; ++i) {
            _code(string.concat(_proxyName(i), "Implementation"), a.implementations[i], creations[i]);
        }
    }

    function _creations(Deploy.Deployment memory d) private pure returns (bytes[8] memory) {
        return [
            abi.encodePacked(
                type(Minter).creationCode, abi.encode(d.controller, d.livepeerToken, d.bondingManager, d.roundsManager)
            ),
            abi.encodePacked(type(RoundsManager).creationCode, abi.encode(d.controller, d.bondingManager, d.minter)),
            abi.encodePacked(
                type(BondingManager).creationCode,
                abi.encode(d.controller, d.livepeerToken, d.minter, d.roundsManager, d.ticketBroker)
            ),
            abi.encodePacked(type(ServiceRegistry).creationCode, abi.encode(d.controller, d.bondingManager)),
            abi.encodePacked(
                type(TicketBroker).creationCode,
                abi.encode(d.controller, d.bondingManager, d.roundsManager, d.overspendProof)
            ),
            abi.encodePacked(
                type(SlashingManager).creationCode,
                abi.encode(d.controller, d.livepeerToken, d.bondingManager, d.roundsManager, d.serviceRegistry)
            ),
            abi.encodePacked(
                type(CommitteeVerifier).creationCode, abi.encode(d.controller, d.slashingManager, d.livepeerToken)
            ),
            abi.encodePacked(type(JobsManager).creationCode, abi.encode(d.controller, d.bondingManager))
        ];
    }

    function _code(string memory name, address where, bytes memory creation) private {
        bytes32 actual = where.codehash;
        uint256 snapshot = _VM.snapshotState();
        _VM.etch(where, creation);
        (bool ok, bytes memory code) = where.call("");
        // Takes back what the constructor wrote, too.
        _VM.revertToState(snapshot);
        require(ok, NotReproducible(name));
        _item(string.concat("code of ", name), keccak256(code), actual);
    }

    // --- proxies ---

    function _compareProxies(Addresses memory a) private {
        address[8] memory proxies = _proxies(a.system);
        bytes32 code = keccak256(type(ERC1967Proxy).runtimeCode);
        for (uint256 i = 0; i < proxies.length; ++i) {
            string memory name = _proxyName(i);
            _item(string.concat("code of ", name, " (proxy)"), code, proxies[i].codehash);
            address implementation = address(uint160(uint256(_VM.load(proxies[i], ERC1967Utils.IMPLEMENTATION_SLOT))));
            _item(string.concat("implementation of ", name), a.implementations[i], implementation);
            uint256 version = uint64(uint256(_VM.load(proxies[i], _INITIALIZABLE)));
            _item(string.concat("initialised version of ", name), 1, version);
            version = uint64(uint256(_VM.load(a.implementations[i], _INITIALIZABLE)));
            _item(string.concat("initialised version of ", name, "Implementation"), type(uint64).max, version);
        }
    }

    // --- who ---

    function _compareRegistry(Deploy.Params memory p, Deploy.Deployment memory d) private {
        _registered(d, "LivepeerToken", address(d.livepeerToken));
        _registered(d, "Minter", address(d.minter));
        _registered(d, "RoundsManager", address(d.roundsManager));
        _registered(d, "BondingManager", address(d.bondingManager));
        _registered(d, "ServiceRegistry", address(d.serviceRegistry));
        _registered(d, "TicketBroker", address(d.ticketBroker));
        _registered(d, "JobsManager", address(d.ticketBroker));
        _registered(d, "SlashingManager", address(d.slashingManager));
        _registered(d, "TranscodingJobs", address(d.jobsManager));
        _registered(d, "Verifier", p.slashing == 0 ? address(0) : address(d.slashingManager));
    }

    function _registered(Deploy.Deployment memory d, string memory name, address expected) private {
        _item(string.concat("Controller: ", name), expected, d.controller.getContract(keccak256(bytes(name))));
    }

    function _comparePower(Deploy.Params memory p, Addresses memory a) private {
        Deploy.Deployment memory d = a.system;
        _item("Controller: owner", address(d.timelock), d.controller.owner());
        _item("Controller: guardian", p.guardian, d.controller.guardian());
        _item("TicketBroker: paused, as the Controller", d.controller.paused(), d.ticketBroker.paused());
        LivepeerToken token = d.livepeerToken;
        IAccessControl roles = IAccessControl(address(token));
        bytes32 admin = token.DEFAULT_ADMIN_ROLE();
        _role("LivepeerToken: timelock is admin", roles, admin, address(d.timelock), true);
        _role("LivepeerToken: deployer is admin", roles, admin, a.deployer, false);
        _role("LivepeerToken: Minter may mint", roles, token.MINTER_ROLE(), address(d.minter), true);
        _role("LivepeerToken: deployer may mint", roles, token.MINTER_ROLE(), a.deployer, false);
        _role("LivepeerToken: Minter may burn", roles, token.BURNER_ROLE(), address(d.minter), true);
        _role("LivepeerToken: SlashingManager may burn", roles, token.BURNER_ROLE(), address(d.slashingManager), true);
    }

    function _compareTimelock(Deploy.Params memory p, Addresses memory a) private {
        TimelockController timelock = a.system.timelock;
        _item("Timelock: delay", p.timelockDelay, timelock.getMinDelay());
        IAccessControl roles = IAccessControl(address(timelock));
        _role("Timelock: is its own admin", roles, timelock.DEFAULT_ADMIN_ROLE(), address(timelock), true);
        _role("Timelock: deployer is admin", roles, timelock.DEFAULT_ADMIN_ROLE(), a.deployer, false);
        _members("Timelock: proposes", roles, timelock.PROPOSER_ROLE(), p.proposers, a.deployer);
        _members("Timelock: executes", roles, timelock.EXECUTOR_ROLE(), p.executors, a.deployer);
        address[] memory cancellers = new address[](p.proposers.length + p.cancellers.length);
        for (uint256 i = 0; i < cancellers.length; ++i) {
            cancellers[i] = i < p.proposers.length ? p.proposers[i] : p.cancellers[i - p.proposers.length];
        }
        _members("Timelock: cancels", roles, timelock.CANCELLER_ROLE(), cancellers, a.deployer);
    }

    /// @dev Each of `members`, and the deployer only as one of them.
    function _members(
        string memory name,
        IAccessControl roles,
        bytes32 role,
        address[] memory members,
        address deployer
    ) private {
        bool deployerIsMember = false;
        for (uint256 i = 0; i < members.length; ++i) {
            _role(string.concat(name, " ", _VM.toString(members[i])), roles, role, members[i], true);
            if (members[i] == deployer) deployerIsMember = true;
        }
        if (!deployerIsMember) _role(string.concat(name, " deployer"), roles, role, deployer, false);
    }

    function _role(string memory name, IAccessControl roles, bytes32 role, address account, bool expected) private {
        _item(name, expected, roles.hasRole(role, account));
    }

    // --- parameters ---

    function _compareRounds(Deploy.Params memory p, Deploy.Deployment memory d) private {
        _item("RoundsManager: roundLength", p.roundLength, d.roundsManager.roundLength());
        _item("RoundsManager: roundLockAmount", p.roundLockAmount, d.roundsManager.roundLockAmount());
    }

    function _compareStaking(Deploy.Params memory p, Deploy.Deployment memory d) private {
        BondingManager bonding = d.bondingManager;
        _item("BondingManager: unbondingPeriod", p.unbondingPeriod, bonding.unbondingPeriod());
        _item("BondingManager: challengeWindow", p.challengeWindow, bonding.challengeWindow());
        _item("BondingManager: noticePeriod", p.noticePeriod, bonding.noticePeriod());
        _item("BondingManager: slashCooldown", p.slashCooldown, bonding.slashCooldown());
        _item("BondingManager: numActiveTranscoders", p.numActiveTranscoders, bonding.getTranscoderPoolMaxSize());
        _item("BondingManager: minimumStake", p.minimumStake, bonding.minimumStake());
        // Inflation itself moves by a step every round.
        _item("Minter: inflationChange", p.inflationChange, d.minter.inflationChange());
        _item("Minter: targetBondingRate", p.targetBondingRate, d.minter.targetBondingRate());
    }

    function _compareTickets(Deploy.Params memory p, Deploy.Deployment memory d) private {
        _item("TicketBroker: unlockPeriod", p.unlockPeriod, d.ticketBroker.unlockPeriod());
        _item("TicketBroker: ticketValidityPeriod", p.ticketValidityPeriod, d.ticketBroker.ticketValidityPeriod());
    }

    function _compareSlashing(Deploy.Params memory p, Deploy.Deployment memory d) private {
        _item("CommitteeVerifier: rules", abi.encode(p.committeeRules), abi.encode(d.committeeVerifier.rules()));
        (bytes32[] memory ids,) = d.serviceRegistry.getServiceIds(0, type(uint256).max);
        _item("ServiceRegistry: services", p.services.length, ids.length);
        for (uint256 i = 0; i < p.services.length; ++i) {
            _compareService(p.services[i], d);
        }
    }

    function _compareService(Deploy.Service memory s, Deploy.Deployment memory d) private {
        string memory name = string.concat("service ", _text(s.id));
        (bool registered, address[] memory verifiers, string memory metadataURI) = d.serviceRegistry.getService(s.id);
        _item(string.concat(name, ": registered"), true, registered);
        _item(string.concat(name, ": verifiers"), abi.encodePacked(verifiersOf(s, d)), abi.encodePacked(verifiers));
        _items.push(Item(string.concat(name, ": metadata"), s.metadataURI, metadataURI));
        _item(
            string.concat(name, ": terms of equivocation"),
            abi.encode(s.equivocation),
            abi.encode(d.slashingManager.terms(s.id, address(d.equivocationVerifier)))
        );
        _item(
            string.concat(name, ": terms of the committee"),
            abi.encode(s.committee),
            abi.encode(d.slashingManager.terms(s.id, address(d.committeeVerifier)))
        );
    }

    // --- report ---

    function _item(string memory name, address expected, address actual) private {
        _items.push(Item(name, _VM.toString(expected), _VM.toString(actual)));
    }

    function _item(string memory name, uint256 expected, uint256 actual) private {
        _items.push(Item(name, _VM.toString(expected), _VM.toString(actual)));
    }

    function _item(string memory name, bytes32 expected, bytes32 actual) private {
        _items.push(Item(name, _VM.toString(expected), _VM.toString(actual)));
    }

    function _item(string memory name, bool expected, bool actual) private {
        _items.push(Item(name, _VM.toString(expected), _VM.toString(actual)));
    }

    function _item(string memory name, bytes memory expected, bytes memory actual) private {
        _items.push(Item(name, _VM.toString(expected), _VM.toString(actual)));
    }

    function _report(Item[] memory items, string memory path) private {
        string[] memory names = new string[](items.length);
        string[] memory expected = new string[](items.length);
        string[] memory actual = new string[](items.length);
        for (uint256 i = 0; i < items.length; ++i) {
            (names[i], expected[i], actual[i]) = (items[i].name, items[i].expected, items[i].actual);
        }
        _VM.serializeString("report", "names", names);
        _VM.serializeString("report", "expected", expected);
        _VM.writeFile(path, _VM.serializeString("report", "actual", actual));
    }

    // --- addresses ---

    function _addresses(string memory json) private pure returns (Addresses memory a) {
        a.deployer = _VM.parseJsonAddress(json, ".Deployer");
        a.system.controller = Controller(_VM.parseJsonAddress(json, ".Controller"));
        a.system.livepeerToken = LivepeerToken(_VM.parseJsonAddress(json, ".LivepeerToken"));
        a.system.timelock = TimelockController(payable(_VM.parseJsonAddress(json, ".Timelock")));
        a.system.equivocationVerifier = EquivocationVerifier(_VM.parseJsonAddress(json, ".EquivocationVerifier"));
        a.system.overspendProof = OverspendProof(_VM.parseJsonAddress(json, ".OverspendProof"));
        a.system.minter = Minter(_VM.parseJsonAddress(json, ".Minter"));
        a.system.roundsManager = RoundsManager(_VM.parseJsonAddress(json, ".RoundsManager"));
        a.system.bondingManager = BondingManager(_VM.parseJsonAddress(json, ".BondingManager"));
        a.system.serviceRegistry = ServiceRegistry(_VM.parseJsonAddress(json, ".ServiceRegistry"));
        a.system.ticketBroker = TicketBroker(_VM.parseJsonAddress(json, ".TicketBroker"));
        a.system.slashingManager = SlashingManager(_VM.parseJsonAddress(json, ".SlashingManager"));
        a.system.committeeVerifier = CommitteeVerifier(_VM.parseJsonAddress(json, ".CommitteeVerifier"));
        a.system.jobsManager = JobsManager(_VM.parseJsonAddress(json, ".JobsManager"));
        for (uint256 i = 0; i < a.implementations.length; ++i) {
            a.implementations[i] = _VM.parseJsonAddress(json, string.concat(".", _proxyName(i), "Implementation"));
        }
    }

    function _proxies(Deploy.Deployment memory d) private pure returns (address[8] memory) {
        return [
            address(d.minter),
            address(d.roundsManager),
            address(d.bondingManager),
            address(d.serviceRegistry),
            address(d.ticketBroker),
            address(d.slashingManager),
            address(d.committeeVerifier),
            address(d.jobsManager)
        ];
    }

    function _proxyName(uint256 index) private pure returns (string memory) {
        return [
            "Minter",
            "RoundsManager",
            "BondingManager",
            "ServiceRegistry",
            "TicketBroker",
            "SlashingManager",
            "CommitteeVerifier",
            "JobsManager"
        ][index];
    }

    /// @dev Without the zeros at the end.
    function _text(bytes32 id) private pure returns (string memory) {
        uint256 length = 0;
        while (length < 32 && id[length] != 0) ++length;
        bytes memory text = new bytes(length);
        for (uint256 i = 0; i < length; ++i) {
            text[i] = id[i];
        }
        return string(text);
    }
}
