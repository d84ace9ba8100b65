// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IController} from "./IController.sol";

/// @title What every contract under the Controller shares
interface IManaged {
    /// @notice A parameter changed; read its new value from the getter of that name.
    event ParameterUpdate(string param);

    /// @notice Thrown when the caller is not the Controller's owner.
    error CallerNotOwner(address caller);
    /// @notice Thrown when the caller is not the one contract that may call this function.
    error CallerNotTrusted(address caller);
    /// @notice Thrown when the current round must be initialised first.
    error RoundNotInitialized(uint256 round);

    /// @notice The registry this contract belongs to.
    function controller() external view returns (IController);
}
