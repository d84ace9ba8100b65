// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice Parts per million: commissions, shares and the round lock.
library Ppm {
    /// @notice The whole.
    uint256 internal constant ONE = 1_000_000;

    /// @notice Whether `share` is at most the whole.
    function isValid(uint256 share) internal pure returns (bool) {
        return share <= ONE;
    }

    /// @notice `share` parts per million of `x`, rounded down.
    function part(uint256 x, uint256 share) internal pure returns (uint256) {
        return (x * share) / ONE;
    }
}
