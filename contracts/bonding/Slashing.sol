// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {IBondingManager} from "../interfaces/IBondingManager.sol";
import {Ppm} from "../libraries/Ppm.sol";
import {Earnings} from "./Earnings.sol";
import {EarningsMath} from "../types/EarningsPool.sol";

/// @title Slashing: one factor for an orchestrator, its delegators and their young locks
abstract contract Slashing is Earnings {
    using SafeCast for uint256;

    /// @inheritdoc IBondingManager
    function slashTranscoder(address transcoder_, address finder, uint256 slashAmount, uint256 finderFee)
        external
        whenNotPaused
    {
        // Without a registered contract this is the null address, which calls nothing: then nobody can be slashed.
        _requireCaller(controller.getContract(_VERIFIER));
        require(Ppm.isValid(slashAmount) && Ppm.isValid(finderFee), InvalidSlash(slashAmount, finderFee));
        uint256 round = roundsManager.currentRound();
        Transcoder storage t = _transcoders[transcoder_];
        uint256 penalty = Ppm.part(t.delegated, slashAmount);
        _exclude(transcoder_, t, penalty, round);
        _scaleStake(t, slashAmount);
        penalty += _slashLocks(t, slashAmount, round);
        _settleSlashed(transcoder_, round);
        uint256 finderReward = finder == address(0) ? 0 : Ppm.part(penalty, finderFee);
        emit TranscoderSlashed(transcoder_, finder, penalty, finderReward);
        if (finderReward > 0) minter.trustedTransferTokens(finder, finderReward);
        if (penalty > finderReward) minter.trustedBurnTokens(penalty - finderReward);
    }

    /// @dev Takes a slashed orchestrator out of the set, of this round too, and `penalty` out of its stake.
    function _exclude(address transcoder_, Transcoder storage t, uint256 penalty, uint256 round) internal {
        uint256 oldStake = t.delegated;
        _writeStake(t, oldStake, oldStake - penalty, round);
        t.slashRound = round.toUint32();
        t.jailed = true;
        if (_isMember(t)) {
            _nextRoundTotalActiveStake = (_nextRoundTotalActiveStake - oldStake).toUint128();
            _deactivate(transcoder_, t, round);
        } else if (t.deactivationRound > round) {
            t.deactivationRound = round.toUint32();
            emit TranscoderDeactivated(transcoder_, round);
        }
    }

    /// @dev One factor for everybody's stake: the smaller factor is what makes a slash independent of their number.
    function _scaleStake(Transcoder storage t, uint256 slashAmount) internal {
        uint256 kept = Ppm.ONE - slashAmount;
        uint256 factor = Ppm.part(_rewardFactor(t), kept);
        t.rewardFactor = (factor > EarningsMath.RUINED ? factor : EarningsMath.RUINED).toUint128();
        t.cumulativeRewards = Ppm.part(t.cumulativeRewards, kept).toUint96();
        t.activeCumulativeRewards = Ppm.part(t.activeCumulativeRewards, kept).toUint96();
    }

    /// @dev Locks younger than the challenge window, round by round.
    function _slashLocks(Transcoder storage t, uint256 slashAmount, uint256 round) internal returns (uint256 penalty) {
        uint256 window = challengeWindow;
        for (uint256 age = 0; age < window && age < round; ++age) {
            LockedStake storage locked = t.locked[round - age];
            uint256 amount = locked.amount;
            if (amount == 0) continue;
            uint256 lost = Ppm.part(amount, slashAmount);
            uint256 factor = Ppm.part(_lockFactor(locked), Ppm.ONE - slashAmount);
            locked.amount = (amount - lost).toUint128();
            locked.factor = (factor > EarningsMath.RUINED ? factor : EarningsMath.RUINED).toUint128();
            penalty += lost;
        }
    }

    /// @dev An orchestrator that lost all it had is registered no more.
    function _settleSlashed(address transcoder_, uint256 round) internal {
        Delegator storage del = _delegators[transcoder_];
        if (del.delegate != transcoder_) return;
        _claimEarnings(transcoder_, round);
        if (_bonded(del) == 0) {
            del.delegate = address(0);
            del.startRound = 0;
        }
    }
}
