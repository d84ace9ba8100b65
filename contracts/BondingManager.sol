// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Managed} from "./Managed.sol";
import {IBondingManager} from "./interfaces/IBondingManager.sol";
import {IController} from "./interfaces/IController.sol";
import {ILivepeerToken} from "./interfaces/ILivepeerToken.sol";
import {IMinter} from "./interfaces/IMinter.sol";
import {IRoundsManager} from "./interfaces/IRoundsManager.sol";
import {ITicketBroker} from "./interfaces/ITicketBroker.sol";
import {LinkedSet} from "./libraries/LinkedSet.sol";
import {Ppm} from "./libraries/Ppm.sol";
import {PreciseMath} from "./libraries/PreciseMath.sol";
import {EarningsMath, EarningsPool, Factors} from "./types/EarningsPool.sol";

/// @title Stake, delegation, rewards and fees, see {IBondingManager}
contract BondingManager is IBondingManager, Managed {
    using LinkedSet for LinkedSet.Set;
    using SafeERC20 for ILivepeerToken;

    struct UnbondingLock {
        uint256 amount;
        uint256 withdrawRound;
    }

    struct Delegator {
        /// Own stake up to `lastClaimRound`, LPT wei.
        uint256 bondedAmount;
        /// Fees up to `lastClaimRound`, wei.
        uint256 fees;
        address delegateAddress;
        /// Stake that others and itself delegate to this account, unclaimed rewards included, LPT wei.
        uint256 delegatedAmount;
        /// First round in which the delegation counts.
        uint256 startRound;
        uint256 lastClaimRound;
        uint256 nextUnbondingLockId;
        mapping(uint256 unbondingLockId => UnbondingLock) unbondingLocks;
    }

    struct Transcoder {
        uint256 lastRewardRound;
        /// Commissions from the next round on that is not fixed yet, ppm.
        uint256 rewardCut;
        uint256 feeShare;
        /// Latest round whose pool has a stake written.
        uint256 lastActiveStakeUpdateRound;
        /// Active from here ...
        uint256 activationRound;
        /// ... until before here.
        uint256 deactivationRound;
        /// Unclaimed reward commission at the start of `lastRewardRound`, LPT wei.
        uint256 activeCumulativeRewards;
        /// Unclaimed reward commission and its growth, LPT wei; part of `delegatedAmount`.
        uint256 cumulativeRewards;
        /// Unclaimed fee commission, and fees on unclaimed reward commission, wei.
        uint256 cumulativeFees;
        uint256 lastFeeRound;
        mapping(uint256 round => EarningsPool) earningsPoolPerRound;
    }

    /// @notice The stake.
    ILivepeerToken public immutable livepeerToken;
    /// @notice Mints rewards and holds the stake.
    IMinter public immutable minter;
    /// @notice Clock.
    IRoundsManager public immutable roundsManager;
    /// @notice Brings fees and holds them.
    ITicketBroker public immutable ticketBroker;

    /// @inheritdoc IBondingManager
    uint64 public unbondingPeriod;
    /// @inheritdoc IBondingManager
    uint256 public minimumStake;
    /// @inheritdoc IBondingManager
    uint256 public currentRoundTotalActiveStake;
    /// @inheritdoc IBondingManager
    uint256 public nextRoundTotalActiveStake;
    /// @inheritdoc IBondingManager
    uint256 public currentRoundPoolSize;
    /// @inheritdoc IBondingManager
    mapping(address transcoder => address) public transcoderToRewardCaller;

    uint256 private _numActiveTranscoders;
    LinkedSet.Set private _pool;
    mapping(address delegator => Delegator) private _delegators;
    mapping(address transcoder => Transcoder) private _transcoders;

    constructor(
        IController controller_,
        ILivepeerToken livepeerToken_,
        IMinter minter_,
        IRoundsManager roundsManager_,
        ITicketBroker ticketBroker_,
        uint64 unbondingPeriod_,
        uint256 numActiveTranscoders_,
        uint256 minimumStake_
    ) Managed(controller_) {
        livepeerToken = livepeerToken_;
        minter = minter_;
        roundsManager = roundsManager_;
        ticketBroker = ticketBroker_;
        _setUnbondingPeriod(unbondingPeriod_);
        _setNumActiveTranscoders(numActiveTranscoders_);
        _setMinimumStake(minimumStake_);
    }

    /// @inheritdoc IBondingManager
    function bond(uint256 amount, address to) external {
        _bond(amount, to);
    }

    /// @inheritdoc IBondingManager
    function bondWithHint(uint256 amount, address to, address, address, address, address) external {
        _bond(amount, to);
    }

    /// @inheritdoc IBondingManager
    function unbond(uint256 amount) external {
        _unbond(amount);
    }

    /// @inheritdoc IBondingManager
    function unbondWithHint(uint256 amount, address, address) external {
        _unbond(amount);
    }

    /// @inheritdoc IBondingManager
    function rebond(uint256 unbondingLockId) external {
        _rebond(unbondingLockId);
    }

    /// @inheritdoc IBondingManager
    function rebondWithHint(uint256 unbondingLockId, address, address) external {
        _rebond(unbondingLockId);
    }

    /// @inheritdoc IBondingManager
    function rebondFromUnbonded(address to, uint256 unbondingLockId) external {
        _rebondFromUnbonded(to, unbondingLockId);
    }

    /// @inheritdoc IBondingManager
    function rebondFromUnbondedWithHint(address to, uint256 unbondingLockId, address, address) external {
        _rebondFromUnbonded(to, unbondingLockId);
    }

    /// @inheritdoc IBondingManager
    function withdrawStake(uint256 unbondingLockId) external whenNotPaused {
        uint256 round = _requireInitializedRound();
        UnbondingLock memory lock = _delegators[msg.sender].unbondingLocks[unbondingLockId];
        require(lock.withdrawRound > 0, InvalidUnbondingLock(unbondingLockId));
        require(lock.withdrawRound <= round, StakeLocked(lock.withdrawRound, round));
        delete _delegators[msg.sender].unbondingLocks[unbondingLockId];
        emit WithdrawStake(msg.sender, unbondingLockId, lock.amount, lock.withdrawRound);
        minter.trustedTransferTokens(msg.sender, lock.amount);
    }

    /// @inheritdoc IBondingManager
    function withdrawFees(address payable recipient, uint256 amount) external whenNotPaused {
        _claimEarnings(msg.sender, _requireInitializedRound());
        require(recipient != address(0), NullFeeRecipient());
        uint256 fees = _delegators[msg.sender].fees;
        require(amount <= fees, InsufficientFees(amount, fees));
        _delegators[msg.sender].fees = fees - amount;
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
    function transcoder(uint256 rewardCut, uint256 feeShare) external {
        _setCommission(rewardCut, feeShare);
    }

    /// @inheritdoc IBondingManager
    function transcoderWithHint(uint256 rewardCut, uint256 feeShare, address, address) external {
        _setCommission(rewardCut, feeShare);
    }

    /// @inheritdoc IBondingManager
    function updateTranscoderWithFees(address transcoder_, uint256 fees, uint256)
        external
        whenNotPaused
        only(address(ticketBroker))
    {
        uint256 round = roundsManager.currentRound();
        Transcoder storage t = _transcoders[transcoder_];
        require(_isActive(t, round), TranscoderNotActive(transcoder_));
        EarningsPool storage pool = t.earningsPoolPerRound[round];
        uint256 rewardStake = t.activeCumulativeRewards;
        if (t.lastRewardRound < round) {
            _fixPool(t, pool, round);
            rewardStake = t.cumulativeRewards;
        }
        uint256 totalStake = pool.totalStake;
        assert(rewardStake <= totalStake);
        uint256 delegatorsFees = Ppm.part(fees, pool.transcoderFeeShare);
        t.cumulativeFees += PreciseMath.mulRatio(delegatorsFees, rewardStake, totalStake) + (fees - delegatorsFees);
        // Stake of this round has grown by the rewards up to the previous one.
        Factors memory previous = _latestFactors(t, round - 1);
        uint256 feeFactor = pool.cumulativeFeeFactor == 0 ? previous.fee : pool.cumulativeFeeFactor;
        pool.cumulativeFeeFactor = feeFactor + PreciseMath.mulRatio(previous.reward, delegatorsFees, totalStake);
        t.lastFeeRound = round;
    }

    /// @inheritdoc IBondingManager
    function setCurrentRoundTotalActiveStake() external only(address(roundsManager)) {
        currentRoundTotalActiveStake = nextRoundTotalActiveStake;
        currentRoundPoolSize = _pool.size;
    }

    /// @inheritdoc IBondingManager
    function setUnbondingPeriod(uint64 unbondingPeriod_) external onlyOwner {
        _setUnbondingPeriod(unbondingPeriod_);
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
        return (
            del.bondedAmount,
            del.fees,
            del.delegateAddress,
            del.delegatedAmount,
            del.startRound,
            del.lastClaimRound,
            del.nextUnbondingLockId
        );
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
        rewardCut = t.rewardCut;
        feeShare = t.feeShare;
        lastActiveStakeUpdateRound = t.lastActiveStakeUpdateRound;
        activationRound = t.activationRound;
        deactivationRound = t.deactivationRound;
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
        EarningsPool storage pool = _transcoders[transcoder_].earningsPoolPerRound[round];
        return (
            pool.totalStake,
            pool.transcoderRewardCut,
            pool.transcoderFeeShare,
            pool.cumulativeRewardFactor,
            pool.cumulativeFeeFactor
        );
    }

    /// @inheritdoc IBondingManager
    function getDelegatorUnbondingLock(address delegator, uint256 unbondingLockId)
        external
        view
        returns (uint256 amount, uint256 withdrawRound)
    {
        UnbondingLock storage lock = _delegators[delegator].unbondingLocks[unbondingLockId];
        return (lock.amount, lock.withdrawRound);
    }

    /// @inheritdoc IBondingManager
    function isValidUnbondingLock(address delegator, uint256 unbondingLockId) external view returns (bool) {
        return _delegators[delegator].unbondingLocks[unbondingLockId].withdrawRound > 0;
    }

    /// @inheritdoc IBondingManager
    function pendingStake(address delegator, uint256) external view returns (uint256 stake) {
        (stake,) = _pendingEarnings(delegator, roundsManager.currentRound());
    }

    /// @inheritdoc IBondingManager
    function pendingFees(address delegator, uint256) external view returns (uint256 fees) {
        (, fees) = _pendingEarnings(delegator, roundsManager.currentRound());
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
        return _delegators[transcoder_].delegatedAmount;
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
        return currentRoundTotalActiveStake;
    }

    /// @inheritdoc IBondingManager
    function isRegisteredTranscoder(address transcoder_) public view returns (bool) {
        Delegator storage del = _delegators[transcoder_];
        return del.delegateAddress == transcoder_ && del.bondedAmount > 0;
    }

    function _bond(uint256 amount, address to) private whenNotPaused {
        uint256 round = _requireInitializedRound();
        require(to != address(0), NullDelegate());
        _claimEarnings(msg.sender, round);
        Delegator storage del = _delegators[msg.sender];
        address oldDelegate = del.delegateAddress;
        uint256 bonded = del.bondedAmount;
        uint256 delegated = amount;
        if (bonded == 0) {
            del.startRound = round + 1;
        } else if (oldDelegate != to) {
            require(!isRegisteredTranscoder(msg.sender), RegisteredTranscoderCannotDelegate(msg.sender));
            del.startRound = round + 1;
            delegated += bonded;
            _changeTotalStake(oldDelegate, _delegators[oldDelegate].delegatedAmount - bonded, round);
        }
        require(delegated > 0, ZeroDelegation());
        _carryFactors(_transcoders[to], round);
        del.delegateAddress = to;
        del.bondedAmount = bonded + amount;
        _changeTotalStake(to, _delegators[to].delegatedAmount + delegated, round);
        emit Bond(to, oldDelegate, msg.sender, amount, bonded + amount);
        if (amount > 0) livepeerToken.safeTransferFrom(msg.sender, address(minter), amount);
    }

    function _unbond(uint256 amount) private whenNotPaused {
        uint256 round = _requireInitializedRound();
        _claimEarnings(msg.sender, round);
        Delegator storage del = _delegators[msg.sender];
        require(_delegatorStatus(del, round) == DelegatorStatus.Bonded, CallerNotBonded(msg.sender));
        uint256 bonded = del.bondedAmount;
        require(amount > 0 && amount <= bonded, InvalidUnbondAmount(amount, bonded));
        address delegate = del.delegateAddress;
        uint256 lockId = del.nextUnbondingLockId;
        uint256 withdrawRound = round + unbondingPeriod;
        del.unbondingLocks[lockId] = UnbondingLock({amount: amount, withdrawRound: withdrawRound});
        del.nextUnbondingLockId = lockId + 1;
        del.bondedAmount = bonded - amount;
        if (amount == bonded) {
            del.delegateAddress = address(0);
            del.startRound = 0;
        }
        _changeTotalStake(delegate, _delegators[delegate].delegatedAmount - amount, round);
        emit Unbond(delegate, msg.sender, lockId, amount, withdrawRound);
    }

    function _rebond(uint256 unbondingLockId) private whenNotPaused {
        uint256 round = _requireInitializedRound();
        _claimEarnings(msg.sender, round);
        require(_delegators[msg.sender].bondedAmount > 0, CallerUnbonded(msg.sender));
        _returnLock(unbondingLockId, round);
    }

    function _rebondFromUnbonded(address to, uint256 unbondingLockId) private whenNotPaused {
        uint256 round = _requireInitializedRound();
        require(to != address(0), NullDelegate());
        _claimEarnings(msg.sender, round);
        Delegator storage del = _delegators[msg.sender];
        require(del.bondedAmount == 0, CallerNotUnbonded(msg.sender));
        del.startRound = round + 1;
        del.delegateAddress = to;
        _carryFactors(_transcoders[to], round);
        _returnLock(unbondingLockId, round);
    }

    /// @dev Moves a lock of the caller back into its stake; earnings are claimed and the delegate is set.
    function _returnLock(uint256 unbondingLockId, uint256 round) private {
        Delegator storage del = _delegators[msg.sender];
        UnbondingLock memory lock = del.unbondingLocks[unbondingLockId];
        require(lock.withdrawRound > 0, InvalidUnbondingLock(unbondingLockId));
        delete del.unbondingLocks[unbondingLockId];
        address delegate = del.delegateAddress;
        del.bondedAmount += lock.amount;
        _changeTotalStake(delegate, _delegators[delegate].delegatedAmount + lock.amount, round);
        emit Rebond(delegate, msg.sender, unbondingLockId, lock.amount);
    }

    function _rewardFor(address transcoder_) private {
        require(transcoderToRewardCaller[transcoder_] == msg.sender, CallerNotRewardCaller(transcoder_, msg.sender));
        _reward(transcoder_);
    }

    function _reward(address transcoder_) private whenNotPaused {
        uint256 round = _requireInitializedRound();
        Transcoder storage t = _transcoders[transcoder_];
        require(_isActive(t, round), TranscoderNotActive(transcoder_));
        require(t.lastRewardRound < round, RewardAlreadyCalled(transcoder_, round));
        EarningsPool storage pool = t.earningsPoolPerRound[round];
        _fixPool(t, pool, round);
        uint256 amount = minter.createReward(pool.totalStake, currentRoundTotalActiveStake);
        _distributeReward(t, pool, amount, round);
        _changeTotalStake(transcoder_, _delegators[transcoder_].delegatedAmount + amount, round);
        emit Reward(transcoder_, amount);
    }

    function _distributeReward(Transcoder storage t, EarningsPool storage pool, uint256 amount, uint256 round) private {
        uint256 totalStake = pool.totalStake;
        uint256 rewardStake = t.cumulativeRewards;
        assert(rewardStake <= totalStake);
        uint256 commission = Ppm.part(amount, pool.transcoderRewardCut);
        uint256 delegatorsRewards = amount - commission;
        t.activeCumulativeRewards = rewardStake;
        t.cumulativeRewards =
            rewardStake + PreciseMath.mulRatio(delegatorsRewards, rewardStake, totalStake) + commission;
        uint256 factor = _latestFactors(t, round - 1).reward;
        // After a missed reward call the factor of the round before is unset. Fees that come later in this round need it:
        // once `lastRewardRound` is this round, nothing else tells what it was.
        EarningsPool storage previous = t.earningsPoolPerRound[round - 1];
        if (previous.cumulativeRewardFactor == 0) previous.cumulativeRewardFactor = factor;
        pool.cumulativeRewardFactor = factor + PreciseMath.mulRatio(factor, delegatorsRewards, totalStake);
        t.lastRewardRound = round;
    }

    function _setCommission(uint256 rewardCut, uint256 feeShare) private whenNotPaused {
        uint256 round = _requireInitializedRound();
        require(!roundsManager.currentRoundLocked(), RoundLocked(round));
        require(Ppm.isValid(rewardCut) && Ppm.isValid(feeShare), InvalidCommission(rewardCut, feeShare));
        require(isRegisteredTranscoder(msg.sender), TranscoderNotRegistered(msg.sender));
        Transcoder storage t = _transcoders[msg.sender];
        require(!_isActive(t, round) || t.lastRewardRound == round, RewardNotYetCalled(msg.sender, round));
        t.rewardCut = rewardCut;
        t.feeShare = feeShare;
        if (!_pool.contains[msg.sender]) _changeTotalStake(msg.sender, _delegators[msg.sender].delegatedAmount, round);
        emit TranscoderUpdate(msg.sender, rewardCut, feeShare);
    }

    /// @dev Books earnings of `delegator` from its last claim to `round`. An orchestrator also collects its commissions.
    function _claimEarnings(address delegator, uint256 round) private {
        Delegator storage del = _delegators[delegator];
        uint256 lastClaimRound = del.lastClaimRound;
        if (lastClaimRound >= round) return;
        address delegate = del.delegateAddress;
        if (delegate != address(0)) {
            (uint256 stake, uint256 fees) = _pendingEarnings(delegator, round);
            Transcoder storage t = _transcoders[delegate];
            if (delegate == delegator) {
                // `activeCumulativeRewards` stays: it is what fees of this round are split on.
                t.cumulativeRewards = 0;
                t.cumulativeFees = 0;
            }
            _carryFactors(t, round);
            uint256 rewards = stake - del.bondedAmount;
            uint256 newFees = fees - del.fees;
            del.bondedAmount = stake;
            del.fees = fees;
            emit EarningsClaimed(delegate, delegator, rewards, newFees, lastClaimRound + 1, round);
        }
        del.lastClaimRound = round;
    }

    /// @dev Writes the latest factors into the pool of `round`, where somebody's next claim begins.
    function _carryFactors(Transcoder storage t, uint256 round) private {
        EarningsPool storage pool = t.earningsPoolPerRound[round];
        if (pool.cumulativeRewardFactor == 0) {
            pool.cumulativeRewardFactor = t.earningsPoolPerRound[t.lastRewardRound].cumulativeRewardFactor;
        }
        if (pool.cumulativeFeeFactor == 0) {
            pool.cumulativeFeeFactor = t.earningsPoolPerRound[t.lastFeeRound].cumulativeFeeFactor;
        }
    }

    /// @dev Fixes commissions and stake of `round`, of which `pool` is the pool.
    function _fixPool(Transcoder storage t, EarningsPool storage pool, uint256 round) private {
        pool.transcoderRewardCut = t.rewardCut;
        pool.transcoderFeeShare = t.feeShare;
        uint256 lastUpdate = t.lastActiveStakeUpdateRound;
        if (lastUpdate < round) pool.totalStake = t.earningsPoolPerRound[lastUpdate].totalStake;
    }

    /// @dev The only place where `delegatedAmount` changes: keeps the stake of the next round and the active set in step.
    /// The caller has already written everything that decides whether `delegate` is registered.
    function _changeTotalStake(address delegate, uint256 newStake, uint256 round) private {
        Transcoder storage t = _transcoders[delegate];
        uint256 oldStake = _delegators[delegate].delegatedAmount;
        _delegators[delegate].delegatedAmount = newStake;
        bool wasMember = _pool.contains[delegate];
        bool isMember = _qualifies(delegate, wasMember, oldStake, newStake);
        if (wasMember || isMember || _isActive(t, round)) _recordStake(t, oldStake, newStake, round);
        if (wasMember) nextRoundTotalActiveStake -= oldStake;
        if (isMember) nextRoundTotalActiveStake += newStake;
        if (isMember && !wasMember) _activate(delegate, t, round);
        if (wasMember && !isMember) _deactivate(delegate, t, round);
    }

    /// @dev A member keeps its seat unless its stake falls below the minimum; others need the minimum and a free seat.
    function _qualifies(address delegate, bool wasMember, uint256 oldStake, uint256 newStake)
        private
        view
        returns (bool)
    {
        if (!isRegisteredTranscoder(delegate)) return false;
        if (wasMember) return newStake >= oldStake || newStake >= minimumStake;
        return newStake >= minimumStake && _pool.size < _numActiveTranscoders;
    }

    /// @dev Stake of the next round; that of the present one is fixed first if it was not written yet.
    function _recordStake(Transcoder storage t, uint256 oldStake, uint256 newStake, uint256 round) private {
        if (t.lastActiveStakeUpdateRound < round && _isActive(t, round)) {
            t.earningsPoolPerRound[round].totalStake = oldStake;
        }
        t.earningsPoolPerRound[round + 1].totalStake = newStake;
        t.lastActiveStakeUpdateRound = round + 1;
    }

    /// @dev An orchestrator that left and returns in one round stays active in it, so nobody can take its reward away by
    /// bonding to it.
    function _activate(address transcoder_, Transcoder storage t, uint256 round) private {
        if (!_isActive(t, round)) t.activationRound = round + 1;
        t.deactivationRound = type(uint256).max;
        _pool.add(transcoder_);
        emit TranscoderActivated(transcoder_, round + 1);
    }

    function _deactivate(address transcoder_, Transcoder storage t, uint256 round) private {
        t.deactivationRound = round + 1;
        _pool.remove(transcoder_);
        emit TranscoderDeactivated(transcoder_, round + 1);
    }

    function _setUnbondingPeriod(uint64 unbondingPeriod_) private {
        unbondingPeriod = unbondingPeriod_;
        emit ParameterUpdate("unbondingPeriod");
    }

    function _setNumActiveTranscoders(uint256 numActiveTranscoders) private {
        require(numActiveTranscoders > 0, ZeroActiveTranscoders());
        _numActiveTranscoders = numActiveTranscoders;
        emit ParameterUpdate("numActiveTranscoders");
    }

    function _setMinimumStake(uint256 minimumStake_) private {
        minimumStake = minimumStake_;
        emit ParameterUpdate("minimumStake");
    }

    function _requireInitializedRound() private view returns (uint256 round) {
        round = roundsManager.currentRound();
        require(roundsManager.currentRoundInitialized(), RoundNotInitialized(round));
    }

    /// @dev Stake and fees of `delegator` with everything earned up to `round`.
    function _pendingEarnings(address delegator, uint256 round) private view returns (uint256 stake, uint256 fees) {
        Delegator storage del = _delegators[delegator];
        (stake, fees) = (del.bondedAmount, del.fees);
        address delegate = del.delegateAddress;
        uint256 lastClaimRound = del.lastClaimRound;
        if (delegate == address(0) || lastClaimRound >= round) return (stake, fees);
        Transcoder storage t = _transcoders[delegate];
        EarningsPool storage startPool = t.earningsPoolPerRound[lastClaimRound];
        Factors memory start = Factors({reward: startPool.rewardFactor(), fee: startPool.cumulativeFeeFactor});
        uint256 earnedFees;
        (stake, earnedFees) = EarningsMath.earned(stake, start, _latestFactors(t, round));
        fees += earnedFees;
        if (delegate == delegator) {
            stake += t.cumulativeRewards;
            fees += t.cumulativeFees;
        }
    }

    /// @dev Factors as they stand in `round`: its own where set, else the last ones set before it.
    function _latestFactors(Transcoder storage t, uint256 round) private view returns (Factors memory factors) {
        EarningsPool storage pool = t.earningsPoolPerRound[round];
        factors.reward = pool.cumulativeRewardFactor;
        factors.fee = pool.cumulativeFeeFactor;
        if (factors.reward == 0 && t.lastRewardRound < round) {
            factors.reward = t.earningsPoolPerRound[t.lastRewardRound].cumulativeRewardFactor;
        }
        if (factors.fee == 0 && t.lastFeeRound < round) {
            factors.fee = t.earningsPoolPerRound[t.lastFeeRound].cumulativeFeeFactor;
        }
        if (factors.reward == 0) factors.reward = PreciseMath.ONE;
    }

    function _delegatorStatus(Delegator storage del, uint256 round) private view returns (DelegatorStatus) {
        if (del.bondedAmount == 0) return DelegatorStatus.Unbonded;
        return del.startRound > round ? DelegatorStatus.Pending : DelegatorStatus.Bonded;
    }

    function _isActive(Transcoder storage t, uint256 round) private view returns (bool) {
        return t.activationRound <= round && round < t.deactivationRound;
    }
}
