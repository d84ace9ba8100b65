// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {IBondingManager} from "./interfaces/IBondingManager.sol";
import {IController} from "./interfaces/IController.sol";
import {ILivepeerToken} from "./interfaces/ILivepeerToken.sol";
import {IMinter} from "./interfaces/IMinter.sol";
import {IRoundsManager} from "./interfaces/IRoundsManager.sol";
import {ITicketBroker} from "./interfaces/ITicketBroker.sol";
import {LinkedSet} from "./libraries/LinkedSet.sol";
import {BondingState} from "./bonding/BondingState.sol";
import {Commissions} from "./bonding/Commissions.sol";
import {Delegation} from "./bonding/Delegation.sol";
import {Slashing} from "./bonding/Slashing.sol";
import {EarningsPool} from "./types/EarningsPool.sol";

/// @title Stake, delegation, rewards, fees and slashing, see {IBondingManager}
/// @dev Parameters and views; the rules are in the parts it inherits. Formulas, rounding and the reasons are in
/// docs/designs/003-staking.md.
contract BondingManager is Commissions, Delegation, Slashing {
    using LinkedSet for LinkedSet.Set;
    using SafeCast for uint256;

    constructor(
        IController controller_,
        ILivepeerToken livepeerToken_,
        IMinter minter_,
        IRoundsManager roundsManager_,
        ITicketBroker ticketBroker_
    ) BondingState(controller_, livepeerToken_, minter_, roundsManager_, ticketBroker_) {}

    /// @notice Sets the parameters. Once, by the proxy's constructor.
    function initialize(uint64 unbondingPeriod_, uint256 numActiveTranscoders_, uint256 minimumStake_)
        external
        initializer
    {
        // All four are as long as an unbonding until the owner says otherwise.
        uint64 window = unbondingPeriod_ < _MAX_CHALLENGE_WINDOW ? unbondingPeriod_ : _MAX_CHALLENGE_WINDOW;
        _setUnbondingPeriods(unbondingPeriod_, window);
        noticePeriod = unbondingPeriod_;
        slashCooldown = unbondingPeriod_;
        emit ParameterUpdate("unbondingPeriod");
        emit ParameterUpdate("challengeWindow");
        emit ParameterUpdate("noticePeriod");
        emit ParameterUpdate("slashCooldown");
        _setNumActiveTranscoders(numActiveTranscoders_);
        _setMinimumStake(minimumStake_);
    }

    /// @inheritdoc IBondingManager
    function setUnbondingPeriod(uint64 unbondingPeriod_) external onlyOwner {
        _setUnbondingPeriods(unbondingPeriod_, challengeWindow);
        emit ParameterUpdate("unbondingPeriod");
    }

    /// @inheritdoc IBondingManager
    function setChallengeWindow(uint64 challengeWindow_) external onlyOwner {
        _setUnbondingPeriods(unbondingPeriod, challengeWindow_);
        emit ParameterUpdate("challengeWindow");
    }

    /// @inheritdoc IBondingManager
    function setNoticePeriod(uint64 noticePeriod_) external onlyOwner {
        noticePeriod = noticePeriod_;
        emit ParameterUpdate("noticePeriod");
    }

    /// @inheritdoc IBondingManager
    function setSlashCooldown(uint64 slashCooldown_) external onlyOwner {
        slashCooldown = slashCooldown_;
        emit ParameterUpdate("slashCooldown");
    }

    /// @inheritdoc IBondingManager
    function setNumActiveTranscoders(uint256 numActiveTranscoders) external onlyOwner {
        _setNumActiveTranscoders(numActiveTranscoders);
    }

    /// @inheritdoc IBondingManager
    function setMinimumStake(uint256 minimumStake_) external onlyOwner {
        _setMinimumStake(minimumStake_);
    }

    /// @inheritdoc IBondingManager
    function getDelegator(address delegator)
        external
        view
        returns (
            uint256 bondedAmount,
            uint256 fees,
            address delegateAddress,
            uint256 delegatedAmount,
            uint256 startRound,
            uint256 lastClaimRound,
            uint256 nextUnbondingLockId
        )
    {
        Delegator storage del = _delegators[delegator];
        bondedAmount = _bonded(del);
        fees = del.fees;
        delegateAddress = del.delegate;
        delegatedAmount = _transcoders[delegator].delegated;
        startRound = del.startRound;
        lastClaimRound = del.lastClaimRound;
        nextUnbondingLockId = del.nextUnbondingLockId;
    }

    /// @inheritdoc IBondingManager
    function getTranscoder(address transcoder_)
        external
        view
        returns (
            uint256 lastRewardRound,
            uint256 rewardCut,
            uint256 feeShare,
            uint256 lastActiveStakeUpdateRound,
            uint256 activationRound,
            uint256 deactivationRound,
            uint256 activeCumulativeRewards,
            uint256 cumulativeRewards,
            uint256 cumulativeFees,
            uint256 lastFeeRound
        )
    {
        Transcoder storage t = _transcoders[transcoder_];
        lastRewardRound = t.lastRewardRound;
        (rewardCut, feeShare) = _inForce(t, roundsManager.currentRound());
        if (t.stakeRound > 0) lastActiveStakeUpdateRound = uint256(t.stakeRound) + 1;
        activationRound = t.activationRound;
        deactivationRound = t.deactivationRound == _NEVER ? type(uint256).max : t.deactivationRound;
        activeCumulativeRewards = t.activeCumulativeRewards;
        cumulativeRewards = t.cumulativeRewards;
        cumulativeFees = t.cumulativeFees;
        lastFeeRound = t.lastFeeRound;
    }

    /// @inheritdoc IBondingManager
    function getTranscoderEarningsPoolForRound(address transcoder_, uint256 round)
        external
        view
        returns (
            uint256 totalStake,
            uint256 transcoderRewardCut,
            uint256 transcoderFeeShare,
            uint256 cumulativeRewardFactor,
            uint256 cumulativeFeeFactor
        )
    {
        Transcoder storage t = _transcoders[transcoder_];
        EarningsPool storage pool = t.pools[round];
        totalStake = pool.totalStake > 0 ? pool.totalStake : _knownStakeOfRound(t, round);
        transcoderRewardCut = pool.transcoderRewardCut;
        transcoderFeeShare = pool.transcoderFeeShare;
        cumulativeRewardFactor = pool.cumulativeRewardFactor;
        cumulativeFeeFactor = t.lastFeeRound == round ? t.feeFactor : pool.cumulativeFeeFactor;
    }

    /// @inheritdoc IBondingManager
    function getPendingCommissions(address transcoder_)
        external
        view
        returns (uint256 rewardCut, uint256 feeShare, uint256 effectiveRound)
    {
        Transcoder storage t = _transcoders[transcoder_];
        if (t.effectiveRound <= roundsManager.currentRound()) return (0, 0, 0);
        return (t.nextRewardCut, t.nextFeeShare, t.effectiveRound);
    }

    /// @inheritdoc IBondingManager
    function getSlashState(address transcoder_) external view returns (uint256 slashRound, bool jailed) {
        Transcoder storage t = _transcoders[transcoder_];
        return (t.slashRound, t.jailed);
    }

    /// @inheritdoc IBondingManager
    function getDelegatorUnbondingLock(address delegator, uint256 unbondingLockId)
        external
        view
        returns (uint256 amount, uint256 withdrawRound)
    {
        UnbondingLock storage lock = _delegators[delegator].unbondingLocks[unbondingLockId];
        return (_valueOf(lock.delegate, lock.round, lock.amount), lock.withdrawRound);
    }

    /// @inheritdoc IBondingManager
    function isValidUnbondingLock(address delegator, uint256 unbondingLockId) external view returns (bool) {
        return _delegators[delegator].unbondingLocks[unbondingLockId].withdrawRound > 0;
    }

    /// @inheritdoc IBondingManager
    function pendingStake(address delegator, uint256) external view returns (uint256 stake) {
        Position memory p = _position(delegator, roundsManager.currentRound());
        stake = p.earning + p.fresh;
    }

    /// @inheritdoc IBondingManager
    function pendingFees(address delegator, uint256) external view returns (uint256 fees) {
        fees = _position(delegator, roundsManager.currentRound()).fees;
    }

    /// @inheritdoc IBondingManager
    function delegatorStatus(address delegator) external view returns (DelegatorStatus) {
        return _delegatorStatus(_delegators[delegator], roundsManager.currentRound());
    }

    /// @inheritdoc IBondingManager
    function transcoderStatus(address transcoder_) external view returns (TranscoderStatus) {
        return isRegisteredTranscoder(transcoder_) ? TranscoderStatus.Registered : TranscoderStatus.NotRegistered;
    }

    /// @inheritdoc IBondingManager
    function isActiveTranscoder(address transcoder_) external view returns (bool) {
        return _isActive(_transcoders[transcoder_], roundsManager.currentRound());
    }

    /// @inheritdoc IBondingManager
    function transcoderTotalStake(address transcoder_) external view returns (uint256) {
        return _transcoders[transcoder_].delegated;
    }

    /// @inheritdoc IBondingManager
    function getFirstTranscoderInPool() external view returns (address) {
        return _pool.first();
    }

    /// @inheritdoc IBondingManager
    function getNextTranscoderInPool(address transcoder_) external view returns (address) {
        return _pool.next(transcoder_);
    }

    /// @inheritdoc IBondingManager
    function getTranscoderPoolSize() external view returns (uint256) {
        return _pool.size;
    }

    /// @inheritdoc IBondingManager
    function getTranscoderPoolMaxSize() external view returns (uint256) {
        return _numActiveTranscoders;
    }

    /// @inheritdoc IBondingManager
    function getTotalBonded() external view returns (uint256) {
        return _currentRoundTotalActiveStake;
    }

    /// @inheritdoc IBondingManager
    function currentRoundTotalActiveStake() external view returns (uint256) {
        return _currentRoundTotalActiveStake;
    }

    /// @inheritdoc IBondingManager
    function nextRoundTotalActiveStake() external view returns (uint256) {
        return _nextRoundTotalActiveStake;
    }

    /// @inheritdoc IBondingManager
    function currentRoundPoolSize() external view returns (uint256) {
        return _currentRoundPoolSize;
    }

    /// @inheritdoc IBondingManager
    function minimumStake() external view returns (uint256) {
        return _minimumStake;
    }

    function _setUnbondingPeriods(uint64 unbondingPeriod_, uint64 challengeWindow_) private {
        require(
            challengeWindow_ <= unbondingPeriod_ && challengeWindow_ <= _MAX_CHALLENGE_WINDOW,
            InvalidUnbondingPeriods(unbondingPeriod_, challengeWindow_)
        );
        unbondingPeriod = unbondingPeriod_;
        challengeWindow = challengeWindow_;
    }

    function _setNumActiveTranscoders(uint256 numActiveTranscoders) private {
        require(numActiveTranscoders > 0, ZeroActiveTranscoders());
        _numActiveTranscoders = numActiveTranscoders.toUint64();
        emit ParameterUpdate("numActiveTranscoders");
    }

    function _setMinimumStake(uint256 minimumStake_) private {
        _minimumStake = minimumStake_.toUint128();
        emit ParameterUpdate("minimumStake");
    }

    /// @dev As `_stakeOfRound` for the rounds from the latest change to the next round, and zero for others.
    function _knownStakeOfRound(Transcoder storage t, uint256 round) private view returns (uint256) {
        if (round < t.stakeRound || round > roundsManager.currentRound() + 1) return 0;
        return _stakeOfRound(t, round);
    }
}
