// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Where orchestrators listen
interface IServiceRegistry {
    /// @notice `addr` now listens at `serviceURI`.
    event ServiceURIUpdate(address indexed addr, string serviceURI);

    /// @notice Publish where the caller listens. Anybody, also while paused; neither stake nor format is checked.
    function setServiceURI(string calldata serviceURI) external;

    /// @notice Where `addr` says it listens, empty if it said nothing.
    function getServiceURI(address addr) external view returns (string memory);
}
