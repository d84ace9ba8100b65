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
}
