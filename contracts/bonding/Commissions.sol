// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {IBondingManager} from "../interfaces/IBondingManager.sol";
import {Ppm} from "../libraries/Ppm.sol";
import {ActiveSet} from "./ActiveSet.sol";

/// @title What orchestrators keep of rewards and fees, and from when
abstract contract Commissions is ActiveSet {
    using SafeCast for uint256;

    /// @inheritdoc IBondingManager
    function transcoder(uint256 rewardCut, uint256 feeShare) external {
        _setCommission(rewardCut, feeShare);
    }

    /// @inheritdoc IBondingManager
    function transcoderWithHint(uint256 rewardCut, uint256 feeShare, address, address) external {
        _setCommission(rewardCut, feeShare);
    }

    function _setCommission(uint256 rewardCut, uint256 feeShare) internal whenNotPaused {
        uint256 round = _requireInitializedRound();
        require(!roundsManager.currentRoundLocked(), RoundLocked(round));
        require(Ppm.isValid(rewardCut) && Ppm.isValid(feeShare), InvalidCommission(rewardCut, feeShare));
        require(isRegisteredTranscoder(msg.sender), TranscoderNotRegistered(msg.sender));
        Transcoder storage t = _transcoders[msg.sender];
        require(!_isActive(t, round) || t.lastRewardRound == round, RewardNotYetCalled(msg.sender, round));
        // Nobody staked on terms that were never set and never applied.
        bool isFirst = !t.hasCommissions && (t.activationRound == 0 || t.activationRound > round);
        t.hasCommissions = true;
        uint256 effectiveRound = _changeCommissions(t, rewardCut, feeShare, isFirst, round);
        if (t.jailed && round >= uint256(t.slashRound) + slashCooldown) t.jailed = false;
        if (!_isMember(t)) _changeTotalStake(msg.sender, t.delegated, round);
        (uint256 rewardCutNow, uint256 feeShareNow) = _inForce(t, round);
        emit TranscoderUpdate(msg.sender, rewardCutNow, feeShareNow);
        if (effectiveRound > round) emit CommissionChangePending(msg.sender, rewardCut, feeShare, effectiveRound);
    }

    /// @dev What is worse for delegators waits, so that they can leave first and tickets made on the old terms run out.
    function _changeCommissions(Transcoder storage t, uint256 rewardCut, uint256 feeShare, bool isFirst, uint256 round)
        internal
        returns (uint256 effectiveRound)
    {
        effectiveRound = t.effectiveRound;
        if (effectiveRound > 0 && effectiveRound <= round) {
            (t.previousFeeShare, t.previousEndRound) = (t.feeShare, effectiveRound.toUint32());
            (t.rewardCut, t.feeShare) = (t.nextRewardCut, t.nextFeeShare);
            effectiveRound = 0;
        }
        bool keepsDate = effectiveRound > 0 && rewardCut <= t.nextRewardCut && feeShare >= t.nextFeeShare;
        (t.nextRewardCut, t.nextFeeShare) = (rewardCut.toUint24(), feeShare.toUint24());
        if (isFirst || rewardCut <= t.rewardCut) t.rewardCut = rewardCut.toUint24();
        if (isFirst || feeShare >= t.feeShare) t.feeShare = feeShare.toUint24();
        if (t.rewardCut == rewardCut && t.feeShare == feeShare) effectiveRound = 0;
        else if (!keepsDate) effectiveRound = round + _notice();
        t.effectiveRound = effectiveRound.toUint32();
    }

    /// @dev Rounds that a change to the worse waits.
    function _notice() internal view returns (uint256) {
        uint256 validity = ticketBroker.ticketValidityPeriod();
        return validity > noticePeriod ? validity : noticePeriod;
    }
}
