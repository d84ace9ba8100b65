// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Ppm} from "../../contracts/libraries/Ppm.sol";
import {PreciseMath} from "../../contracts/libraries/PreciseMath.sol";
import {SymbolicTest} from "./SymbolicTest.sol";

/// @notice Parts and ratios are rounded down. Over all amounts that the contracts keep, 128 bits; no product here wraps.
contract RoundingProof is SymbolicTest {
    /// Exact is x * share / 1e6.
    function check_PartIsExactRoundedDown(uint128 x, uint32 share) external pure {
        vm.assume(Ppm.isValid(share));
        uint256 part = Ppm.part(x, share);
        unchecked {
            uint256 exact = uint256(x) * share;
            assert(part <= x);
            assert(part * 1_000_000 <= exact);
            assert(exact < (part + 1) * 1_000_000);
        }
    }

    /// A share and the rest of it, each rounded down, are never more than there is.
    function check_PartsOfAWholeAreAtMostTheWhole(uint128 x, uint32 share) external pure {
        vm.assume(Ppm.isValid(share));
        unchecked {
            assert(Ppm.part(x, share) + Ppm.part(x, Ppm.ONE - share) <= x);
        }
    }

    /// Exact is x * numerator / 1e27: growth since the beginning, of which the denominator is one.
    function check_RatioOverOneIsExactRoundedDown(uint128 x, uint128 numerator) external pure {
        uint256 result = PreciseMath.mulRatio(x, numerator, PreciseMath.ONE);
        unchecked {
            uint256 exact = uint256(x) * numerator;
            assert(result * 1e27 <= exact);
            assert(exact < (result + 1) * 1e27);
        }
    }

    /// A slash never makes stake grow, whatever the factors.
    function check_RatioOfAtMostOneNeverGrows(uint128 x, uint128 numerator, uint128 denominator) external pure {
        vm.assume(denominator > 0 && numerator <= denominator);
        assert(PreciseMath.mulRatio(x, numerator, denominator) <= x);
    }

    /// A reward never makes stake shrink, whatever the factors.
    function check_RatioOfAtLeastOneNeverShrinks(uint128 x, uint128 numerator, uint128 denominator) external pure {
        vm.assume(denominator > 0 && numerator >= denominator);
        assert(PreciseMath.mulRatio(x, numerator, denominator) >= x);
    }

    function check_SaturateIsTheLesserOne(uint256 x) external pure {
        uint256 result = PreciseMath.saturate128(x);
        assert(result == (x < type(uint128).max ? x : type(uint128).max));
    }
}
