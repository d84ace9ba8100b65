// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {PreciseMath} from "../libraries/PreciseMath.sol";

/// @notice What one orchestrator's stake earns in one round (LIP-36).
struct EarningsPool {
    /// Orchestrator's total stake at the start of the round, LPT wei.
    uint256 totalStake;
    /// Orchestrator's commission on rewards, ppm, fixed for the round.
    uint256 transcoderRewardCut;
    /// Delegators' share of fees, ppm, fixed for the round.
    uint256 transcoderFeeShare;
    /// Growth of one staked unit by rewards, 1e27 = 1; zero means 1e27.
    uint256 cumulativeRewardFactor;
    /// Fees earned by one unit staked since the beginning, 1e27 = 1.
    uint256 cumulativeFeeFactor;
}

/// @notice The two running factors of an orchestrator at one point in time.
struct Factors {
    /// Never zero: an unset factor is read as 1e27.
    uint256 reward;
    uint256 fee;
}

using EarningsMath for EarningsPool global;

/// @notice Arithmetic over earnings pools; every division rounds down, so dust stays with the contracts.
library EarningsMath {
    /// @notice The pool's reward factor, reading the unset value as one.
    function rewardFactor(EarningsPool storage pool) internal view returns (uint256) {
        uint256 factor = pool.cumulativeRewardFactor;
        return factor == 0 ? PreciseMath.ONE : factor;
    }

    /// @notice Stake and new fees of `stake` units held from `start` to `end`.
    /// @return grown Stake including rewards, LPT wei.
    /// @return fees Fees earned, wei.
    function earned(uint256 stake, Factors memory start, Factors memory end)
        internal
        pure
        returns (uint256 grown, uint256 fees)
    {
        grown = PreciseMath.mulRatio(stake, end.reward, start.reward);
        fees = PreciseMath.mulRatio(stake, end.fee - start.fee, start.reward);
    }
}
