// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {IBondingManager} from "../interfaces/IBondingManager.sol";
import {Ppm} from "../libraries/Ppm.sol";
import {PreciseMath} from "../libraries/PreciseMath.sol";
import {ActiveSet} from "./ActiveSet.sol";
import {EarningsMath, EarningsPool, Factors} from "../types/EarningsPool.sol";

/// @title Rewards and fees: booked per orchestrator in constant time, claimed by each delegator
abstract contract Earnings is ActiveSet {
    using PreciseMath for uint256;
    using SafeCast for uint256;

    /// @inheritdoc IBondingManager
    function withdrawFees(address payable recipient, uint256 amount) external whenNotPaused {
        _claimEarnings(msg.sender, _requireInitializedRound());
        require(recipient != address(0), NullFeeRecipient());
        uint256 fees = _delegators[msg.sender].fees;
        require(amount <= fees, InsufficientFees(amount, fees));
        _delegators[msg.sender].fees = (fees - amount).toUint128();
        emit WithdrawFees(msg.sender, recipient, amount);
        ticketBroker.withdrawFees(recipient, amount);
    }

    /// @inheritdoc IBondingManager
    function claimEarnings(uint256) external whenNotPaused {
        _claimEarnings(msg.sender, _requireInitializedRound());
    }

    /// @inheritdoc IBondingManager
    function reward() external {
        _reward(msg.sender);
    }

    /// @inheritdoc IBondingManager
    function rewardWithHint(address, address) external {
        _reward(msg.sender);
    }

    /// @inheritdoc IBondingManager
    function setRewardCaller(address rewardCaller) external whenNotPaused {
        transcoderToRewardCaller[msg.sender] = rewardCaller;
        emit RewardCallerSet(msg.sender, rewardCaller);
    }

    /// @inheritdoc IBondingManager
    function rewardForTranscoder(address transcoder_) external {
        _rewardFor(transcoder_);
    }

    /// @inheritdoc IBondingManager
    function rewardForTranscoderWithHint(address transcoder_, address, address) external {
        _rewardFor(transcoder_);
    }

    /// @inheritdoc IBondingManager
    function updateTranscoderWithFees(address transcoder_, uint256 fees, uint256 creationRound)
        external
        only(address(ticketBroker))
    {
        uint256 round = roundsManager.currentRound();
        Transcoder storage t = _transcoders[transcoder_];
        require(_isActive(t, round), TranscoderNotActive(transcoder_));
        uint256 totalStake = _stakeOfRound(t, round);
        // Stake of this round has grown by the rewards up to the previous one.
        bool rewarded = t.lastRewardRound == round;
        uint256 rewardStake = rewarded ? t.activeCumulativeRewards : t.cumulativeRewards;
        uint256 rewardFactor = rewarded ? t.previousRewardFactor : _rewardFactor(t);
        assert(rewardStake <= totalStake);
        uint256 delegatorsFees = Ppm.part(fees, _feeShareFor(t, creationRound, round));
        uint256 commission = PreciseMath.mulRatio(delegatorsFees, rewardStake, totalStake) + (fees - delegatorsFees);
        uint256 feeFactor = t.feeFactor;
        uint256 lastFeeRound = t.lastFeeRound;
        if (lastFeeRound < round) {
            // The factor is about to leave the value it ended that round with.
            if (lastFeeRound > 0) t.pools[lastFeeRound].cumulativeFeeFactor = feeFactor.saturate128();
            t.lastFeeRound = round.toUint32();
        }
        t.feeFactor = (feeFactor + PreciseMath.mulRatio(rewardFactor, delegatorsFees, totalStake)).saturate128();
        t.cumulativeFees = (t.cumulativeFees + commission).toUint96();
    }

    function _rewardFor(address transcoder_) internal {
        require(transcoderToRewardCaller[transcoder_] == msg.sender, CallerNotRewardCaller(transcoder_, msg.sender));
        _reward(transcoder_);
    }

    function _reward(address transcoder_) internal whenNotPaused {
        uint256 round = _requireInitializedRound();
        Transcoder storage t = _transcoders[transcoder_];
        require(_isActive(t, round), TranscoderNotActive(transcoder_));
        require(t.lastRewardRound < round, RewardAlreadyCalled(transcoder_, round));
        uint256 totalStake = _stakeOfRound(t, round);
        uint256 amount = minter.createReward(totalStake, _currentRoundTotalActiveStake);
        _distributeReward(t, amount, totalStake, round);
        _changeTotalStake(transcoder_, t.delegated + amount, round);
        emit Reward(transcoder_, amount);
    }

    function _distributeReward(Transcoder storage t, uint256 amount, uint256 totalStake, uint256 round) internal {
        (uint256 rewardCut, uint256 feeShare) = _inForce(t, round);
        uint256 rewardStake = t.cumulativeRewards;
        assert(rewardStake <= totalStake);
        uint256 commission = Ppm.part(amount, rewardCut);
        uint256 delegatorsRewards = amount - commission;
        t.activeCumulativeRewards = rewardStake.toUint96();
        t.cumulativeRewards =
            (rewardStake + PreciseMath.mulRatio(delegatorsRewards, rewardStake, totalStake) + commission).toUint96();
        uint256 factor = _rewardFactor(t);
        uint128 grown = (factor + PreciseMath.mulRatio(factor, delegatorsRewards, totalStake)).saturate128();
        (t.rewardFactor, t.previousRewardFactor) = (grown, factor.toUint128());
        EarningsPool storage pool = t.pools[round];
        (pool.totalStake, pool.transcoderRewardCut, pool.transcoderFeeShare) =
        (totalStake.toUint128(), rewardCut.toUint32(), feeShare.toUint32());
        pool.cumulativeRewardFactor = grown;
        t.lastRewardRound = round.toUint32();
    }

    /// @dev Books earnings of `account` up to now. An orchestrator also collects its commissions.
    function _claimEarnings(address account, uint256 round) internal {
        Delegator storage del = _delegators[account];
        uint256 lastClaimRound = del.lastClaimRound;
        address delegate = del.delegate;
        if (delegate == address(0)) {
            if (lastClaimRound < round) del.lastClaimRound = round.toUint48();
            return;
        }
        Position memory p = _position(account, round);
        uint256 oldStake = _bonded(del);
        uint256 newStake = p.earning + p.fresh;
        uint256 oldFees = del.fees;
        if (lastClaimRound == round && newStake == oldStake && p.fees == oldFees && p.fresh == del.fresh) return;
        (del.earning, del.fresh) = (p.earning.toUint128(), p.fresh.toUint128());
        (del.rewardFactor, del.feeFactor) = (p.factors.reward.toUint128(), p.factors.fee.toUint128());
        if (p.fees != oldFees) del.fees = p.fees.toUint128();
        del.lastClaimRound = round.toUint48();
        if (delegate == account) {
            Transcoder storage t = _transcoders[account];
            // `activeCumulativeRewards` stays: it is what fees of this round are split on.
            if (t.cumulativeRewards > 0) t.cumulativeRewards = 0;
            if (t.cumulativeFees > 0) t.cumulativeFees = 0;
        }
        // After a slash there may be less.
        uint256 rewards = newStake > oldStake ? newStake - oldStake : 0;
        uint256 startRound = lastClaimRound < round ? lastClaimRound + 1 : round;
        emit EarningsClaimed(delegate, account, rewards, p.fees - oldFees, startRound, round);
    }

    /// @dev Stake and fees of `account` with everything earned up to now.
    function _position(address account, uint256 round) internal view returns (Position memory p) {
        Delegator storage del = _delegators[account];
        address delegate = del.delegate;
        (p.earning, p.fresh, p.fees) = (del.earning, del.fresh, del.fees);
        if (delegate == address(0)) return p;
        Transcoder storage t = _transcoders[delegate];
        Factors memory start = Factors({reward: del.rewardFactor, fee: del.feeFactor});
        p.factors = _factors(t);
        uint256 earned;
        (p.earning, earned) = EarningsMath.earned(p.earning, start, p.factors);
        p.fees += earned;
        // Nothing is earned in the rest of a round with a slash, but another slash may follow: all counts the same then.
        bool isSlashed = t.slashRound == round;
        uint256 lastClaimRound = del.lastClaimRound;
        if (p.fresh > 0 && (lastClaimRound < round || isSlashed)) {
            uint256 grown;
            (grown, earned) = EarningsMath.earned(p.fresh, _factorsAtEndOf(t, lastClaimRound, start), p.factors);
            p.earning += grown;
            p.fees += earned;
            p.fresh = 0;
        }
        if (delegate == account) {
            // Commission of this round's reward was no stake when the round began.
            if (t.lastRewardRound == round && !isSlashed) p.fresh += t.cumulativeRewards;
            else p.earning += t.cumulativeRewards;
            p.fees += t.cumulativeFees;
        }
    }

    /// @dev Factors as they stood at the end of `round`, in which they once were `seen`.
    function _factorsAtEndOf(Transcoder storage t, uint256 round, Factors memory seen)
        internal
        view
        returns (Factors memory end)
    {
        EarningsPool storage pool = t.pools[round];
        end.reward = pool.cumulativeRewardFactor;
        end.fee = t.lastFeeRound == round ? t.feeFactor : pool.cumulativeFeeFactor;
        if (end.reward == 0) end.reward = seen.reward;
        if (end.fee == 0) end.fee = seen.fee;
    }

    /// @dev The better one for delegators of the shares in force in the two rounds.
    function _feeShareFor(Transcoder storage t, uint256 creationRound, uint256 round) internal view returns (uint256) {
        (, uint256 present) = _inForce(t, round);
        (, uint256 past) = _inForce(t, creationRound);
        if (creationRound < t.previousEndRound) past = t.previousFeeShare;
        return past > present ? past : present;
    }
}
