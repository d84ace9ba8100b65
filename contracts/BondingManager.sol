// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
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

/// @title Stake, delegation, rewards, fees and slashing, see {IBondingManager}
/// @dev Formulas, rounding and the reasons are in docs/designs/003-staking.md. Amounts are LPT wei unless said otherwise.
contract BondingManager is IBondingManager, Managed {
    using LinkedSet for LinkedSet.Set;
    using PreciseMath for uint256;
    using SafeCast for uint256;
    using SafeERC20 for ILivepeerToken;

    struct UnbondingLock {
        // slot 0
        /// Before any slash.
        uint128 amount;
        /// First round in which it can be withdrawn; zero: no lock.
        uint64 withdrawRound;
        /// Round of the unbonding.
        uint64 round;
        // slot 1
        /// Orchestrator that the stake was taken from, and for whose faults it answers.
        address delegate;
    }

    /// @dev All locks that were opened in one round with stake of one orchestrator.
    struct LockedStake {
        // slot 0
        uint128 amount;
        /// What slashes left of one locked unit, 1e27 = 1; zero: all.
        uint128 factor;
    }

    struct Delegator {
        // slot 0
        /// Stake at `lastClaimRound` that takes part in that round's earnings.
        uint128 earning;
        /// Stake that joined in `lastClaimRound` and takes part from the next round on.
        uint128 fresh;
        // slot 1
        address delegate;
        /// First round in which the delegation counts.
        uint48 startRound;
        uint48 lastClaimRound;
        // slot 2: the delegate's factors at the last claim
        uint128 rewardFactor;
        uint128 feeFactor;
        // slot 3
        /// Fees claimed and not withdrawn, wei.
        uint128 fees;
        uint64 nextUnbondingLockId;
        mapping(uint256 unbondingLockId => UnbondingLock) unbondingLocks;
    }

    struct Transcoder {
        // slot 0
        /// Stake that others and itself delegate to this account, unclaimed rewards included.
        uint128 delegated;
        /// What `delegated` was at the start of `stakeRound`.
        uint128 roundStake;
        // slot 1
        /// Active from here ...
        uint40 activationRound;
        /// ... until before here; `_NEVER` for a member of the next round's set.
        uint40 deactivationRound;
        /// Latest round in which `delegated` changed.
        uint40 stakeRound;
        uint40 lastRewardRound;
        uint40 lastFeeRound;
        /// Latest round in which it was slashed.
        uint40 slashRound;
        /// Slashed, and not returned by its own call since.
        bool jailed;
        /// Whether commissions were ever set.
        bool hasCommissions;
        // slot 2
        Commissions commissions;
        // slot 3, 1e27 = 1
        /// Zero: nothing earned yet, one unit is one unit.
        uint128 rewardFactor;
        /// `rewardFactor` before the reward of `lastRewardRound`.
        uint128 previousRewardFactor;
        // slot 4
        /// Fees of one unit staked since the beginning, 1e27 = 1.
        uint128 feeFactor;
        /// Unclaimed fee commission, and fees on unclaimed reward commission, wei.
        uint128 cumulativeFees;
        // slot 5
        /// Unclaimed reward commission and its growth; part of `delegated`.
        uint128 cumulativeRewards;
        /// `cumulativeRewards` before the reward of `lastRewardRound`.
        uint128 activeCumulativeRewards;
        mapping(uint256 round => EarningsPool) pools;
        mapping(uint256 round => LockedStake) locked;
    }

    /// @dev One slot; shares in ppm.
    struct Commissions {
        uint32 rewardCut;
        uint32 feeShare;
        /// In force from `effectiveRound` on.
        uint32 nextRewardCut;
        uint32 nextFeeShare;
        /// Zero: nothing waits.
        uint48 effectiveRound;
        /// Fee share in force before `previousEndRound`.
        uint32 previousFeeShare;
        uint48 previousEndRound;
    }

    /// @dev A delegator with everything earned.
    struct Position {
        uint256 earning;
        uint256 fresh;
        uint256 fees;
        Factors factors;
    }

    /// @dev Registry id of the only contract that may slash.
    bytes32 private constant _VERIFIER = keccak256("Verifier");
    uint40 private constant _NEVER = type(uint40).max;
    /// @dev A slash looks at this many rounds of locks at most.
    uint64 private constant _MAX_CHALLENGE_WINDOW = 100;
    /// @dev Below this the reward factor is too coarse to take new stake.
    uint256 private constant _MIN_REWARD_FACTOR = 1e18;

    /// @notice The stake.
    ILivepeerToken public immutable livepeerToken;
    /// @notice Mints rewards and holds the stake.
    IMinter public immutable minter;
    /// @notice Clock.
    IRoundsManager public immutable roundsManager;
    /// @notice Brings fees and holds them.
    ITicketBroker public immutable ticketBroker;

    // slot 0: periods in rounds
    /// @inheritdoc IBondingManager
    uint64 public unbondingPeriod;
    /// @inheritdoc IBondingManager
    uint64 public noticePeriod;
    /// @inheritdoc IBondingManager
    uint64 public challengeWindow;
    /// @inheritdoc IBondingManager
    uint64 public slashCooldown;
    // slot 1: stake of the active set
    uint128 private _currentRoundTotalActiveStake;
    uint128 private _nextRoundTotalActiveStake;
    // slot 2
    uint128 private _minimumStake;
    uint64 private _numActiveTranscoders;
    uint64 private _currentRoundPoolSize;
    // slots 3 and 4
    LinkedSet.Set private _pool;
    // slot 5
    /// @inheritdoc IBondingManager
    mapping(address transcoder => address) public transcoderToRewardCaller;
    // slot 6
    mapping(address delegator => Delegator) private _delegators;
    // slot 7
    mapping(address transcoder => Transcoder) private _transcoders;

    constructor(
        IController controller_,
        ILivepeerToken livepeerToken_,
        IMinter minter_,
        IRoundsManager roundsManager_,
        ITicketBroker ticketBroker_
    ) Managed(controller_) {
        livepeerToken = livepeerToken_;
        minter = minter_;
        roundsManager = roundsManager_;
        ticketBroker = ticketBroker_;
    }

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
    function withdrawStake(uint256 unbondingLockId) external {
        uint256 round = roundsManager.currentRound();
        UnbondingLock memory lock = _lock(unbondingLockId);
        require(lock.withdrawRound <= round, StakeLocked(lock.withdrawRound, round));
        uint256 amount = _closeLock(unbondingLockId, lock);
        emit WithdrawStake(msg.sender, unbondingLockId, amount, lock.withdrawRound);
        minter.trustedTransferTokens(msg.sender, amount);
    }

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
    function transcoder(uint256 rewardCut, uint256 feeShare) external {
        _setCommission(rewardCut, feeShare);
    }

    /// @inheritdoc IBondingManager
    function transcoderWithHint(uint256 rewardCut, uint256 feeShare, address, address) external {
        _setCommission(rewardCut, feeShare);
    }

    /// @inheritdoc IBondingManager
    function updateTranscoderWithFees(address transcoder_, uint256 fees, uint256 creationRound)
        external
        whenNotPaused
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
            t.lastFeeRound = round.toUint40();
        }
        t.feeFactor = (feeFactor + PreciseMath.mulRatio(rewardFactor, delegatorsFees, totalStake)).saturate128();
        t.cumulativeFees = (t.cumulativeFees + commission).toUint128();
    }

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

    /// @inheritdoc IBondingManager
    function setCurrentRoundTotalActiveStake() external only(address(roundsManager)) {
        _currentRoundTotalActiveStake = _nextRoundTotalActiveStake;
        _currentRoundPoolSize = _pool.size.toUint64();
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
        (rewardCut, feeShare) = _inForce(_commissions(t), roundsManager.currentRound());
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
        Commissions memory c = _commissions(_transcoders[transcoder_]);
        if (c.effectiveRound <= roundsManager.currentRound()) return (0, 0, 0);
        return (c.nextRewardCut, c.nextFeeShare, c.effectiveRound);
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

    /// @inheritdoc IBondingManager
    function isRegisteredTranscoder(address transcoder_) public view returns (bool) {
        Delegator storage del = _delegators[transcoder_];
        return del.delegate == transcoder_ && _bonded(del) > 0;
    }

    function _bond(uint256 amount, address to) private whenNotPaused {
        uint256 round = _requireInitializedRound();
        require(to != address(0), NullDelegate());
        _claimEarnings(msg.sender, round);
        Delegator storage del = _delegators[msg.sender];
        address oldDelegate = del.delegate;
        uint256 bonded = _bonded(del);
        uint256 moved = amount;
        if (bonded > 0 && oldDelegate != to) {
            require(!isRegisteredTranscoder(msg.sender), RegisteredTranscoderCannotDelegate(msg.sender));
            require(!_mayBeSlashed(), RedelegationNeedsUnbonding(oldDelegate));
            moved += bonded;
            del.earning = 0;
            del.fresh = 0;
            _changeTotalStake(oldDelegate, _transcoders[oldDelegate].delegated - bonded, round);
        }
        require(moved > 0, ZeroDelegation());
        _join(del, to, moved, round);
        emit Bond(to, oldDelegate, msg.sender, amount, bonded + amount);
        if (amount > 0) livepeerToken.safeTransferFrom(msg.sender, address(minter), amount);
    }

    /// @dev Adds `amount` that earns from the next round on. Earnings are claimed; without other stake the delegate is new.
    function _join(Delegator storage del, address to, uint256 amount, uint256 round) private {
        Transcoder storage t = _transcoders[to];
        Factors memory factors = _factors(t);
        // In the round of a slash nobody joins, so that all stake of that round was there before and shares the loss.
        require(t.slashRound != round && factors.reward >= _MIN_REWARD_FACTOR, DelegateSlashed(to));
        uint256 fresh = del.fresh;
        if (fresh == 0 && del.earning == 0) {
            del.delegate = to;
            del.startRound = (round + 1).toUint48();
            (del.rewardFactor, del.feeFactor) = (factors.reward.toUint128(), factors.fee.toUint128());
        }
        del.fresh = (fresh + amount).toUint128();
        _changeTotalStake(to, t.delegated + amount, round);
    }

    function _unbond(uint256 amount) private whenNotPaused {
        uint256 round = _requireInitializedRound();
        _claimEarnings(msg.sender, round);
        Delegator storage del = _delegators[msg.sender];
        require(_delegatorStatus(del, round) == DelegatorStatus.Bonded, CallerNotBonded(msg.sender));
        uint256 bonded = _bonded(del);
        require(amount > 0 && amount <= bonded, InvalidUnbondAmount(amount, bonded));
        address delegate = del.delegate;
        Transcoder storage t = _transcoders[delegate];
        // What does not earn yet leaves first.
        uint256 fresh = del.fresh;
        uint256 fromFresh = amount < fresh ? amount : fresh;
        del.fresh = (fresh - fromFresh).toUint128();
        del.earning = (del.earning - (amount - fromFresh)).toUint128();
        if (amount == bonded) {
            del.delegate = address(0);
            del.startRound = 0;
        }
        uint256 lockId = del.nextUnbondingLockId;
        del.nextUnbondingLockId = (lockId + 1).toUint64();
        uint256 withdrawRound = _openLock(del.unbondingLocks[lockId], delegate, amount, round);
        _changeTotalStake(delegate, t.delegated - amount, round);
        emit Unbond(delegate, msg.sender, lockId, amount, withdrawRound);
    }

    function _rebond(uint256 unbondingLockId) private whenNotPaused {
        uint256 round = _requireInitializedRound();
        _claimEarnings(msg.sender, round);
        Delegator storage del = _delegators[msg.sender];
        require(_bonded(del) > 0, CallerUnbonded(msg.sender));
        _returnLock(del, del.delegate, unbondingLockId, round);
    }

    function _rebondFromUnbonded(address to, uint256 unbondingLockId) private whenNotPaused {
        uint256 round = _requireInitializedRound();
        require(to != address(0), NullDelegate());
        _claimEarnings(msg.sender, round);
        Delegator storage del = _delegators[msg.sender];
        require(_bonded(del) == 0, CallerNotUnbonded(msg.sender));
        _returnLock(del, to, unbondingLockId, round);
    }

    /// @dev Moves a lock of the caller back into its stake with `to`.
    function _returnLock(Delegator storage del, address to, uint256 unbondingLockId, uint256 round) private {
        UnbondingLock memory lock = _lock(unbondingLockId);
        // It answers for its old delegate until the challenge window is over.
        if (lock.delegate != to && round < uint256(lock.round) + challengeWindow) {
            require(!_mayBeSlashed(), RedelegationNeedsUnbonding(lock.delegate));
        }
        uint256 amount = _closeLock(unbondingLockId, lock);
        _join(del, to, amount, round);
        emit Rebond(to, msg.sender, unbondingLockId, amount);
    }

    function _openLock(UnbondingLock storage lock, address delegate, uint256 amount, uint256 round)
        private
        returns (uint256 withdrawRound)
    {
        withdrawRound = round + unbondingPeriod;
        // Counted in units that a slash of this very round has not made smaller.
        uint256 units = (amount * PreciseMath.ONE) / _lockFactor(_transcoders[delegate].locked[round]);
        (lock.amount, lock.withdrawRound, lock.round) = (units.toUint128(), withdrawRound.toUint64(), round.toUint64());
        lock.delegate = delegate;
        LockedStake storage locked = _transcoders[delegate].locked[round];
        locked.amount = (locked.amount + amount).toUint128();
    }

    /// @dev Deletes a lock of the caller and returns what it is worth.
    function _closeLock(uint256 unbondingLockId, UnbondingLock memory lock) private returns (uint256 amount) {
        amount = _valueOf(lock.delegate, lock.round, lock.amount);
        delete _delegators[msg.sender].unbondingLocks[unbondingLockId];
        LockedStake storage locked = _transcoders[lock.delegate].locked[lock.round];
        locked.amount = (locked.amount - amount).toUint128();
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
        uint256 totalStake = _stakeOfRound(t, round);
        uint256 amount = minter.createReward(totalStake, _currentRoundTotalActiveStake);
        _distributeReward(t, amount, totalStake, round);
        _changeTotalStake(transcoder_, t.delegated + amount, round);
        emit Reward(transcoder_, amount);
    }

    function _distributeReward(Transcoder storage t, uint256 amount, uint256 totalStake, uint256 round) private {
        (uint256 rewardCut, uint256 feeShare) = _inForce(_commissions(t), round);
        uint256 rewardStake = t.cumulativeRewards;
        assert(rewardStake <= totalStake);
        uint256 commission = Ppm.part(amount, rewardCut);
        uint256 delegatorsRewards = amount - commission;
        t.activeCumulativeRewards = rewardStake.toUint128();
        t.cumulativeRewards =
            (rewardStake + PreciseMath.mulRatio(delegatorsRewards, rewardStake, totalStake) + commission).toUint128();
        uint256 factor = _rewardFactor(t);
        uint128 grown = (factor + PreciseMath.mulRatio(factor, delegatorsRewards, totalStake)).saturate128();
        (t.rewardFactor, t.previousRewardFactor) = (grown, factor.toUint128());
        EarningsPool storage pool = t.pools[round];
        (pool.totalStake, pool.transcoderRewardCut, pool.transcoderFeeShare) =
        (totalStake.toUint128(), rewardCut.toUint32(), feeShare.toUint32());
        pool.cumulativeRewardFactor = grown;
        t.lastRewardRound = round.toUint40();
    }

    function _setCommission(uint256 rewardCut, uint256 feeShare) private whenNotPaused {
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
        (uint256 rewardCutNow, uint256 feeShareNow) = _inForce(_commissions(t), round);
        emit TranscoderUpdate(msg.sender, rewardCutNow, feeShareNow);
        if (effectiveRound > round) emit CommissionChangePending(msg.sender, rewardCut, feeShare, effectiveRound);
    }

    /// @dev What is worse for delegators waits, so that they can leave first and tickets made on the old terms run out.
    function _changeCommissions(Transcoder storage t, uint256 rewardCut, uint256 feeShare, bool isFirst, uint256 round)
        private
        returns (uint256 effectiveRound)
    {
        Commissions memory c = _commissions(t);
        if (c.effectiveRound > 0 && c.effectiveRound <= round) {
            (c.previousFeeShare, c.previousEndRound) = (c.feeShare, c.effectiveRound);
            (c.rewardCut, c.feeShare, c.effectiveRound) = (c.nextRewardCut, c.nextFeeShare, 0);
        }
        bool keepsDate = c.effectiveRound > 0 && rewardCut <= c.nextRewardCut && feeShare >= c.nextFeeShare;
        (c.nextRewardCut, c.nextFeeShare) = (rewardCut.toUint32(), feeShare.toUint32());
        if (isFirst || rewardCut <= c.rewardCut) c.rewardCut = c.nextRewardCut;
        if (isFirst || feeShare >= c.feeShare) c.feeShare = c.nextFeeShare;
        if (c.rewardCut == rewardCut && c.feeShare == feeShare) c.effectiveRound = 0;
        else if (!keepsDate) c.effectiveRound = (round + _notice()).toUint48();
        t.commissions = c;
        return c.effectiveRound;
    }

    /// @dev Books earnings of `account` up to now. An orchestrator also collects its commissions.
    function _claimEarnings(address account, uint256 round) private {
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

    /// @dev The only place where `delegated` changes but for slashes: keeps the stake of the next round and the active set in
    /// step. The caller has already written everything that decides whether `delegate` is registered.
    function _changeTotalStake(address delegate, uint256 newStake, uint256 round) private {
        Transcoder storage t = _transcoders[delegate];
        uint256 oldStake = t.delegated;
        _writeStake(t, oldStake, newStake, round);
        bool wasMember = _isMember(t);
        bool isMember = _qualifies(delegate, t, wasMember, oldStake, newStake);
        if (wasMember || isMember) {
            uint256 total = _nextRoundTotalActiveStake;
            if (wasMember) total -= oldStake;
            if (isMember) total += newStake;
            _nextRoundTotalActiveStake = total.toUint128();
        }
        if (isMember && !wasMember) _activate(delegate, t, round);
        if (wasMember && !isMember) _deactivate(delegate, t, round + 1);
    }

    /// @dev The first change of a round keeps what the round began with.
    function _writeStake(Transcoder storage t, uint256 oldStake, uint256 newStake, uint256 round) private {
        if (t.stakeRound < round) {
            t.roundStake = oldStake.toUint128();
            t.stakeRound = round.toUint40();
        }
        t.delegated = newStake.toUint128();
    }

    /// @dev A member keeps its seat unless its stake falls below the minimum; others need the minimum and a free seat.
    function _qualifies(address delegate, Transcoder storage t, bool wasMember, uint256 oldStake, uint256 newStake)
        private
        view
        returns (bool)
    {
        // Only its own unbonding ends a registration, and then its stake falls.
        if (wasMember && newStake >= oldStake) return true;
        if (newStake < _minimumStake || !isRegisteredTranscoder(delegate)) return false;
        return wasMember || (!t.jailed && _pool.size < _numActiveTranscoders);
    }

    /// @dev An orchestrator that left and returns in one round stays active in it, so nobody can take its reward away by
    /// bonding to it.
    function _activate(address transcoder_, Transcoder storage t, uint256 round) private {
        if (!_isActive(t, round)) t.activationRound = (round + 1).toUint40();
        t.deactivationRound = _NEVER;
        _pool.add(transcoder_);
        emit TranscoderActivated(transcoder_, round + 1);
    }

    function _deactivate(address transcoder_, Transcoder storage t, uint256 deactivationRound) private {
        t.deactivationRound = deactivationRound.toUint40();
        _pool.remove(transcoder_);
        emit TranscoderDeactivated(transcoder_, deactivationRound);
    }

    /// @dev Takes a slashed orchestrator out of the set, of this round too, and `penalty` out of its stake.
    function _exclude(address transcoder_, Transcoder storage t, uint256 penalty, uint256 round) private {
        uint256 oldStake = t.delegated;
        _writeStake(t, oldStake, oldStake - penalty, round);
        t.slashRound = round.toUint40();
        t.jailed = true;
        if (_isMember(t)) {
            _nextRoundTotalActiveStake = (_nextRoundTotalActiveStake - oldStake).toUint128();
            _deactivate(transcoder_, t, round);
        } else if (t.deactivationRound > round) {
            t.deactivationRound = round.toUint40();
            emit TranscoderDeactivated(transcoder_, round);
        }
    }

    /// @dev One factor for everybody's stake: the smaller factor is what makes a slash independent of their number.
    function _scaleStake(Transcoder storage t, uint256 slashAmount) private {
        uint256 kept = Ppm.ONE - slashAmount;
        uint256 factor = Ppm.part(_rewardFactor(t), kept);
        t.rewardFactor = (factor > EarningsMath.RUINED ? factor : EarningsMath.RUINED).toUint128();
        t.cumulativeRewards = Ppm.part(t.cumulativeRewards, kept).toUint128();
        t.activeCumulativeRewards = Ppm.part(t.activeCumulativeRewards, kept).toUint128();
    }

    /// @dev Locks younger than the challenge window, round by round.
    function _slashLocks(Transcoder storage t, uint256 slashAmount, uint256 round) private returns (uint256 penalty) {
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
    function _settleSlashed(address transcoder_, uint256 round) private {
        Delegator storage del = _delegators[transcoder_];
        if (del.delegate != transcoder_) return;
        _claimEarnings(transcoder_, round);
        if (_bonded(del) == 0) {
            del.delegate = address(0);
            del.startRound = 0;
        }
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

    function _requireInitializedRound() private view returns (uint256 round) {
        bool initialized;
        (round, initialized) = roundsManager.currentRoundState();
        require(initialized, RoundNotInitialized(round));
    }

    /// @dev Stake and fees of `account` with everything earned up to now.
    function _position(address account, uint256 round) private view returns (Position memory p) {
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
        private
        view
        returns (Factors memory end)
    {
        EarningsPool storage pool = t.pools[round];
        end.reward = pool.cumulativeRewardFactor;
        end.fee = t.lastFeeRound == round ? t.feeFactor : pool.cumulativeFeeFactor;
        if (end.reward == 0) end.reward = seen.reward;
        if (end.fee == 0) end.fee = seen.fee;
    }

    function _factors(Transcoder storage t) private view returns (Factors memory) {
        return Factors({reward: _rewardFactor(t), fee: t.feeFactor});
    }

    function _rewardFactor(Transcoder storage t) private view returns (uint256 factor) {
        factor = t.rewardFactor;
        if (factor == 0) factor = PreciseMath.ONE;
    }

    function _lockFactor(LockedStake storage locked) private view returns (uint256 factor) {
        factor = locked.factor;
        if (factor == 0) factor = PreciseMath.ONE;
    }

    /// @dev What slashes left of a lock.
    function _valueOf(address delegate, uint256 round, uint256 amount) private view returns (uint256) {
        uint256 factor = _lockFactor(_transcoders[delegate].locked[round]);
        return factor == EarningsMath.RUINED ? 0 : (amount * factor) / PreciseMath.ONE;
    }

    /// @dev A lock of the caller.
    function _lock(uint256 unbondingLockId) private view returns (UnbondingLock memory lock) {
        lock = _delegators[msg.sender].unbondingLocks[unbondingLockId];
        require(lock.withdrawRound > 0, InvalidUnbondingLock(unbondingLockId));
    }

    /// @dev Stake of `t` at the start of the current round.
    function _stakeOfRound(Transcoder storage t, uint256 round) private view returns (uint256) {
        return t.stakeRound == round ? t.roundStake : t.delegated;
    }

    /// @dev As `_stakeOfRound` for the rounds from the latest change to the next round, and zero for others.
    function _knownStakeOfRound(Transcoder storage t, uint256 round) private view returns (uint256) {
        if (round < t.stakeRound || round > roundsManager.currentRound() + 1) return 0;
        return _stakeOfRound(t, round);
    }

    /// @dev Whether any contract could slash today.
    function _mayBeSlashed() private view returns (bool) {
        return controller.getContract(_VERIFIER) != address(0);
    }

    /// @dev Rounds that a change to the worse waits.
    function _notice() private view returns (uint256) {
        uint256 validity = ticketBroker.ticketValidityPeriod();
        return validity > noticePeriod ? validity : noticePeriod;
    }

    function _commissions(Transcoder storage t) private view returns (Commissions memory) {
        return t.commissions;
    }

    function _inForce(Commissions memory c, uint256 round) private pure returns (uint256 rewardCut, uint256 feeShare) {
        bool isDue = c.effectiveRound > 0 && c.effectiveRound <= round;
        return isDue ? (c.nextRewardCut, c.nextFeeShare) : (c.rewardCut, c.feeShare);
    }

    /// @dev The better one for delegators of the shares in force in the two rounds.
    function _feeShareFor(Transcoder storage t, uint256 creationRound, uint256 round) private view returns (uint256) {
        Commissions memory c = _commissions(t);
        (, uint256 present) = _inForce(c, round);
        (, uint256 past) = _inForce(c, creationRound);
        if (creationRound < c.previousEndRound) past = c.previousFeeShare;
        return past > present ? past : present;
    }

    function _bonded(Delegator storage del) private view returns (uint256) {
        return uint256(del.earning) + del.fresh;
    }

    function _delegatorStatus(Delegator storage del, uint256 round) private view returns (DelegatorStatus) {
        if (_bonded(del) == 0) return DelegatorStatus.Unbonded;
        return del.startRound > round ? DelegatorStatus.Pending : DelegatorStatus.Bonded;
    }

    function _isMember(Transcoder storage t) private view returns (bool) {
        return t.deactivationRound == _NEVER;
    }

    function _isActive(Transcoder storage t, uint256 round) private view returns (bool) {
        return t.activationRound <= round && round < t.deactivationRound;
    }
}
