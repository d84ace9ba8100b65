// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IController} from "./interfaces/IController.sol";
import {IManaged} from "./interfaces/IManaged.sol";

/// @title Base of every contract under the Controller
/// @dev Peers are immutables of the inheriting contracts: no registry look-up on a hot path, and nobody can point a
/// deployed contract at another vault. They refer to each other, so they are deployed to addresses known beforehand.
abstract contract Managed is IManaged {
    /// @inheritdoc IManaged
    IController public immutable controller;

    modifier onlyOwner() {
        _requireOwner();
        _;
    }

    modifier whenNotPaused() {
        _requireNotPaused();
        _;
    }

    modifier only(address trusted) {
        _requireCaller(trusted);
        _;
    }

    constructor(IController controller_) {
        controller = controller_;
    }

    function _requireOwner() internal view {
        require(msg.sender == controller.owner(), CallerNotOwner(msg.sender));
    }

    function _requireNotPaused() internal view {
        require(!controller.paused(), IController.SystemPaused());
    }

    function _requireCaller(address trusted) internal view {
        require(msg.sender == trusted, CallerNotTrusted(msg.sender));
    }
}
