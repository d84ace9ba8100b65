// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {IController} from "./interfaces/IController.sol";
import {IManaged} from "./interfaces/IManaged.sol";

/// @title Base of every contract under the Controller
/// @dev Each stands behind an ERC1967 proxy that the Controller's owner upgrades. Peers are immutables of the implementations and
/// name proxies: no registry look-up on a hot path, and only an upgrade can point a contract at another vault. They refer to each
/// other, so they are deployed to addresses known beforehand. What an implementation keeps in storage is set by its `initialize`,
/// which the proxy's constructor calls. Storage is only ever appended to, see docs/designs/006-upgrades-and-deployment.md.
abstract contract Managed is IManaged, Initializable, UUPSUpgradeable {
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
        // An implementation itself never gets an owner's parameters, only its proxies do.
        _disableInitializers();
    }

    function _authorizeUpgrade(address) internal view override onlyOwner {}

    function _requireOwner() internal view {
        require(msg.sender == controller.owner(), CallerNotOwner(msg.sender));
    }

    function _requireNotPaused() internal view virtual {
        require(!controller.paused(), IController.SystemPaused());
    }

    function _requireCaller(address trusted) internal view {
        require(msg.sender == trusted, CallerNotTrusted(msg.sender));
    }
}
