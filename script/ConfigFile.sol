// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ICommitteeVerifier} from "../contracts/interfaces/ICommitteeVerifier.sol";
import {ISlashingManager} from "../contracts/interfaces/ISlashingManager.sol";
import {Deploy} from "./Deploy.s.sol";

/// @notice The part of forge's cheat codes that reads a file of parameters.
interface ConfigVm {
    function keyExistsJson(string calldata json, string calldata key) external view returns (bool);
    function parseAddress(string calldata text) external pure returns (address);
    function parseJson(string calldata json, string calldata key) external pure returns (bytes memory);
    function parseJsonBool(string calldata json, string calldata key) external pure returns (bool);
    function parseJsonString(string calldata json, string calldata key) external pure returns (string memory);
    function parseJsonStringArray(string calldata json, string calldata key) external pure returns (string[] memory);
    function parseJsonUint(string calldata json, string calldata key) external pure returns (uint256);
    function readFile(string calldata path) external view returns (string memory);
    function toString(uint256 value) external pure returns (string memory);
}

/// @title Reads script/config/<chain id>.json
/// @notice Every key must be there. Of an address, "deployer" and "anyone" (the zero address) stand for themselves.
library ConfigFile {
    /// @notice Thrown when a number does not fit the type that the contracts keep it in.
    error NumberTooLarge(string key, uint256 value, uint256 maximum);
    /// @notice Thrown when the id of a service has more than 32 bytes, or none.
    error InvalidServiceId(string id);

    ConfigVm private constant _VM = ConfigVm(address(uint160(uint256(keccak256("hevm cheat code")))));

    /// @notice Parameters of the file; `p` brings the deployer's key.
    function read(string memory path, address deployer, Deploy.Params memory p)
        internal
        view
        returns (Deploy.Params memory)
    {
        return parse(_VM.readFile(path), deployer, p);
    }

    /// @notice Parameters of the text of such a file.
    function parse(string memory json, address deployer, Deploy.Params memory p)
        internal
        view
        returns (Deploy.Params memory)
    {
        p.roundLength = _VM.parseJsonUint(json, ".roundLength");
        p.roundLockAmount = _VM.parseJsonUint(json, ".roundLockAmount");
        p.unlockPeriod = _VM.parseJsonUint(json, ".unlockPeriod");
        p.ticketValidityPeriod = _VM.parseJsonUint(json, ".ticketValidityPeriod");
        p.unbondingPeriod = _VM.parseJsonUint(json, ".unbondingPeriod");
        p.challengeWindow = _VM.parseJsonUint(json, ".challengeWindow");
        p.noticePeriod = _VM.parseJsonUint(json, ".noticePeriod");
        p.slashCooldown = _VM.parseJsonUint(json, ".slashCooldown");
        p.numActiveTranscoders = _VM.parseJsonUint(json, ".numActiveTranscoders");
        p.minimumStake = _VM.parseJsonUint(json, ".minimumStake");
        p.inflation = _VM.parseJsonUint(json, ".inflation");
        p.inflationChange = _VM.parseJsonUint(json, ".inflationChange");
        p.targetBondingRate = _VM.parseJsonUint(json, ".targetBondingRate");
        p.initialSupply = _VM.parseJsonUint(json, ".initialSupply");
        p.slashing = _VM.parseJsonBool(json, ".slashing") ? 1 : 0;
        p.timelockDelay = _VM.parseJsonUint(json, ".timelockDelay");
        p.proposers = _accounts(json, ".proposers", deployer);
        p.executors = _accounts(json, ".executors", deployer);
        p.cancellers = _accounts(json, ".cancellers", deployer);
        p.guardian = _account(_VM.parseJsonString(json, ".guardian"), deployer);
        p.committeeRules = _rules(json);
        p.services = _services(json);
        return p;
    }

    function _accounts(string memory json, string memory key, address deployer)
        private
        pure
        returns (address[] memory accounts)
    {
        string[] memory texts = _VM.parseJsonStringArray(json, key);
        accounts = new address[](texts.length);
        for (uint256 i = 0; i < texts.length; ++i) {
            accounts[i] = _account(texts[i], deployer);
        }
    }

    function _account(string memory text, address deployer) private pure returns (address) {
        bytes32 word = keccak256(bytes(text));
        if (word == keccak256("deployer")) return deployer;
        // Of the guardian: nobody. Of executors: the timelock takes the zero address for everybody.
        if (word == keccak256("anyone") || word == keccak256("nobody")) return address(0);
        return _VM.parseAddress(text);
    }

    // forge-lint: disable-start(unsafe-typecast) bounded by `_number`
    function _rules(string memory json) private pure returns (ICommitteeVerifier.Rules memory) {
        return ICommitteeVerifier.Rules({
            drawDelay: uint32(_number(json, ".committeeRules.drawDelay", type(uint32).max)),
            commitBlocks: uint32(_number(json, ".committeeRules.commitBlocks", type(uint32).max)),
            revealBlocks: uint32(_number(json, ".committeeRules.revealBlocks", type(uint32).max)),
            size: uint8(_number(json, ".committeeRules.size", type(uint8).max)),
            quorum: uint8(_number(json, ".committeeRules.quorum", type(uint8).max)),
            seatStake: uint128(_number(json, ".committeeRules.seatStake", type(uint128).max)),
            noShowPenalty: uint128(_number(json, ".committeeRules.noShowPenalty", type(uint128).max)),
            dissentPenalty: uint128(_number(json, ".committeeRules.dissentPenalty", type(uint128).max))
        });
    }

    function _terms(string memory json, string memory key) private pure returns (ISlashingManager.Terms memory terms) {
        // null: this verifier does not judge the service
        if (_VM.parseJson(json, key).length <= 32) return terms;
        terms = ISlashingManager.Terms({
            slashPpm: uint32(_number(json, string.concat(key, ".slashPpm"), type(uint32).max)),
            bountyPpm: uint32(_number(json, string.concat(key, ".bountyPpm"), type(uint32).max)),
            challengeWindow: uint32(_number(json, string.concat(key, ".challengeWindow"), type(uint32).max)),
            verdictWindow: uint32(_number(json, string.concat(key, ".verdictWindow"), type(uint32).max)),
            bond: uint128(_number(json, string.concat(key, ".bond"), type(uint128).max)),
            fee: uint128(_number(json, string.concat(key, ".fee"), type(uint128).max))
        });
    }
    // forge-lint: disable-end(unsafe-typecast)

    function _services(string memory json) private view returns (Deploy.Service[] memory services) {
        uint256 count = 0;
        while (_VM.keyExistsJson(json, _service(count))) ++count;
        services = new Deploy.Service[](count);
        for (uint256 i = 0; i < count; ++i) {
            string memory key = _service(i);
            services[i] = Deploy.Service({
                id: _serviceId(_VM.parseJsonString(json, string.concat(key, ".id"))),
                metadataURI: _VM.parseJsonString(json, string.concat(key, ".metadataURI")),
                equivocation: _terms(json, string.concat(key, ".equivocation")),
                committee: _terms(json, string.concat(key, ".committee"))
            });
        }
    }

    function _service(uint256 index) private pure returns (string memory) {
        return string.concat(".services[", _VM.toString(index), "]");
    }

    /// @dev The text itself, filled up with zeros.
    function _serviceId(string memory id) private pure returns (bytes32) {
        require(bytes(id).length > 0 && bytes(id).length <= 32, InvalidServiceId(id));
        // forge-lint: disable-next-line(unsafe-typecast) no longer than that
        return bytes32(bytes(id));
    }

    function _number(string memory json, string memory key, uint256 maximum) private pure returns (uint256 value) {
        value = _VM.parseJsonUint(json, key);
        require(value <= maximum, NumberTooLarge(key, value, maximum));
    }
}
