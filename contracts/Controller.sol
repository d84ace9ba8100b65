// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {IController} from "./interfaces/IController.sol";
import {ITicketBroker} from "./interfaces/ITicketBroker.sol";

/// @title Registry of the protocol's contracts, see {IController}
contract Controller is IController, Ownable {
    struct ContractInfo {
        address contractAddress;
        bytes20 gitCommitHash;
    }

    bytes32 private constant _TICKET_BROKER = keccak256("TicketBroker");

    /// @inheritdoc IController
    bool public paused = true;
    /// @inheritdoc IController
    address public guardian;

    mapping(bytes32 id => ContractInfo) private _registry;

    constructor(address initialOwner) Ownable(initialOwner) {}

    /// @inheritdoc IController
    function setContractInfo(bytes32 id, address contractAddress, bytes20 gitCommitHash) external onlyOwner {
        _registry[id] = ContractInfo({contractAddress: contractAddress, gitCommitHash: gitCommitHash});
        emit SetContractInfo(id, contractAddress, gitCommitHash);
    }

    /// @inheritdoc IController
    function setGuardian(address guardian_) external onlyOwner {
        guardian = guardian_;
        emit SetGuardian(guardian_);
    }

    /// @inheritdoc IController
    function pause() external {
        require(msg.sender == owner() || msg.sender == guardian, OwnableUnauthorizedAccount(msg.sender));
        require(!paused, SystemPaused());
        paused = true;
        emit Pause();
        _syncBroker();
    }

    /// @inheritdoc IController
    function unpause() external onlyOwner {
        require(paused, SystemNotPaused());
        paused = false;
        emit Unpause();
        _syncBroker();
    }

    /// @inheritdoc IController
    function getContract(bytes32 id) external view returns (address) {
        return _registry[id].contractAddress;
    }

    /// @inheritdoc IController
    function getContractInfo(bytes32 id) external view returns (address contractAddress, bytes20 gitCommitHash) {
        ContractInfo storage info = _registry[id];
        return (info.contractAddress, info.gitCommitHash);
    }

    /// @inheritdoc IController
    function owner() public view override(IController, Ownable) returns (address) {
        return Ownable.owner();
    }

    /// @notice Not possible, see `OwnershipCannotBeRenounced`.
    function renounceOwnership() public view override onlyOwner {
        revert OwnershipCannotBeRenounced();
    }

    /// @dev TicketBroker keeps a copy of the flag. One that fails must not hold up the brake for all the others.
    function _syncBroker() private {
        address broker = _registry[_TICKET_BROKER].contractAddress;
        if (broker.code.length == 0) return;
        try ITicketBroker(broker).syncPaused() {}
        catch {
            emit PauseNotSynced(broker);
        }
    }
}
