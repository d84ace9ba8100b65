// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Ppm} from "../../contracts/libraries/Ppm.sol";
import {PreciseMath} from "../../contracts/libraries/PreciseMath.sol";
import {SymbolicTest} from "./SymbolicTest.sol";

/// @notice Parts and ratios are never more than exact, and how much less they are. Over all amounts that the contracts keep:
/// 128 bits. Solved over the integers, see script/prove.
contract RoundingProof is SymbolicTest {
    /// x * share / 1e6, rounded down.
    function check_PartIsExactRoundedDown(uint128 x, uint32 share) external pure {
        vm.assume(Ppm.isValid(share));
        uint256 part = Ppm.part(x, share);
        // Of 128 and 20 bits: no product wraps.
        unchecked {
            uint256 exact = uint256(x) * share;
            assert(part <= x);
            assert(part * 1_000_000 <= exact);
            assert(exact < (part + 1) * 1_000_000);
        }
    }

    /// Two parts that make a whole share never pay more than there is: both are rounded down.
    function check_PartsOfAWholeAreAtMostTheWhole(uint128 x, uint32 share) external pure {
        vm.assume(Ppm.isValid(share));
        unchecked {
            assert(Ppm.part(x, share) + Ppm.part(x, Ppm.ONE - share) <= x);
        }
    }

    function check_A64(uint64 x, uint64 numerator, uint64 denominator) external pure {
        vm.assume(denominator > 0);
        unchecked {
            uint256 result = PreciseMath.mulRatio(x, numerator, denominator);
            assert(result * denominator <= uint256(x) * numerator);
        }
    }

    function check_B64(uint64 x, uint64 numerator, uint64 denominator) external pure {
        vm.assume(denominator > 0);
        unchecked {
            uint256 result = PreciseMath.mulRatio(x, numerator, denominator);
            assert(result <= uint256(x) * numerator / denominator);
        }
    }

    function check_C(uint128 x, uint128 numerator, uint128 denominator) external pure {
        vm.assume(denominator > 0 && numerator <= denominator);
        unchecked {
            uint256 result = PreciseMath.mulRatio(x, numerator, denominator);
            assert(result <= x);
        }
    }

    function check_D(uint128 x, uint128 numerator, uint128 denominator) external pure {
        vm.assume(denominator > 0 && numerator >= denominator);
        unchecked {
            uint256 result = PreciseMath.mulRatio(x, numerator, denominator);
            assert(result >= x);
        }
    }

    function check_E(uint128 x, uint128 numerator) external pure {
        unchecked {
            uint256 result = PreciseMath.mulRatio(x, numerator, PreciseMath.ONE);
            uint256 exact = uint256(x) * numerator;
            assert(result * PreciseMath.ONE <= exact);
            assert(exact < (result + 1) * PreciseMath.ONE);
        }
    }

    function check_SaturateIsTheLesserOne(uint256 x) external pure {
        uint256 result = PreciseMath.saturate128(x);
        assert(result == (x < type(uint128).max ? x : type(uint128).max));
    }
}
