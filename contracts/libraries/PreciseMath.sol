// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice Fixed-point arithmetic with 27 decimals, as the deployed network computes factors (LIP-36).
library PreciseMath {
    /// @notice One.
    uint256 internal constant ONE = 1e27;

    /// @notice `x * numerator / denominator` with two truncations: first the ratio to 27 decimals, then the product.
    function mulRatio(uint256 x, uint256 numerator, uint256 denominator) internal pure returns (uint256) {
        return (x * ((numerator * ONE) / denominator)) / ONE;
    }

    /// @notice `x`, or the largest value of 128 bits if it is more.
    /// @dev For factors only: one that stands at its end earns nothing more, instead of making rewards and tickets revert.
    function saturate128(uint256 x) internal pure returns (uint128) {
        // forge-lint: disable-next-line(unsafe-typecast) bounded here
        return x < type(uint128).max ? uint128(x) : type(uint128).max;
    }
}
