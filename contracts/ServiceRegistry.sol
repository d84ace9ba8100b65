// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Managed} from "./Managed.sol";
import {IController} from "./interfaces/IController.sol";
import {IServiceRegistry} from "./interfaces/IServiceRegistry.sol";

/// @title Where orchestrators listen, see {IServiceRegistry}
contract ServiceRegistry is IServiceRegistry, Managed {
    mapping(address addr => string) private _serviceURIs;

    constructor(IController controller_) Managed(controller_) {}

    /// @inheritdoc IServiceRegistry
    function setServiceURI(string calldata serviceURI) external {
        _serviceURIs[msg.sender] = serviceURI;
        emit ServiceURIUpdate(msg.sender, serviceURI);
    }

    /// @inheritdoc IServiceRegistry
    function getServiceURI(address addr) external view returns (string memory) {
        return _serviceURIs[addr];
    }
}
