// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {PreciseMath} from "../libraries/PreciseMath.sol";

/// @notice What is remembered of one orchestrator's round (LIP-36).
struct EarningsPool {
    // slot 0, written by the reward call
    /// Orchestrator's total stake at the start of the round, LPT wei.
    uint128 totalStake;
    /// Orchestrator's commission on rewards, ppm.
    uint32 transcoderRewardCut;
    /// Delegators' share of fees when the reward was called, ppm.
    uint32 transcoderFeeShare;
    // slot 1
    /// Growth of one staked unit by the end of the round, 1e27 = 1; zero: no reward in this round.
    uint128 cumulativeRewardFactor;
    /// Fees of one unit staked since the beginning, by the end of the round; zero: none in this round, or still running.
    uint128 cumulativeFeeFactor;
}

/// @notice The two running factors of an orchestrator at one point in time.
struct Factors {
    /// Stake of one unit staked since the beginning, 1e27 = 1.
    uint256 reward;
    /// Fees of one such unit, 1e27 = 1.
    uint256 fee;
}

/// @notice Arithmetic over factors; every division rounds down, so dust stays with the contracts.
library EarningsMath {
    /// @notice Reward factor of an orchestrator whose whole stake was slashed: nothing delegated to it is worth anything.
    uint256 internal constant RUINED = 1;

    /// @notice Stake and new fees of `stake` units held from `start` to `end`.
    /// @return grown Stake including rewards and slashes, LPT wei.
    /// @return fees Fees earned, wei.
    function earned(uint256 stake, Factors memory start, Factors memory end)
        internal
        pure
        returns (uint256 grown, uint256 fees)
    {
        if (stake == 0) return (0, 0);
        if (end.reward != RUINED) grown = PreciseMath.mulRatio(stake, end.reward, start.reward);
        fees = PreciseMath.mulRatio(stake, end.fee - start.fee, start.reward);
    }
}
