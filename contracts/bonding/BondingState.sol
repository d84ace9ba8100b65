// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Managed} from "../Managed.sol";
import {IBondingManager} from "../interfaces/IBondingManager.sol";
import {IController} from "../interfaces/IController.sol";
import {ILivepeerToken} from "../interfaces/ILivepeerToken.sol";
import {IMinter} from "../interfaces/IMinter.sol";
import {IRoundsManager} from "../interfaces/IRoundsManager.sol";
import {ITicketBroker} from "../interfaces/ITicketBroker.sol";
import {LinkedSet} from "../libraries/LinkedSet.sol";
import {PreciseMath} from "../libraries/PreciseMath.sol";
import {EarningsPool, Factors} from "../types/EarningsPool.sol";

/// @title What {BondingManager} remembers, and how it is read
/// @dev The only storage of all its parts. Amounts are LPT wei unless said otherwise.
abstract contract BondingState is IBondingManager, Managed {
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

    /// @dev What a fee credit touches fills four words: 0, 1, 4 and, before and after the round's reward, 2 or 3.
    struct Transcoder {
        // slot 0
        /// Stake that others and itself delegate to this account, unclaimed rewards included.
        uint96 delegated;
        /// What `delegated` was at the start of `stakeRound`.
        uint96 roundStake;
        /// Latest round in which `delegated` changed.
        uint32 stakeRound;
        uint32 lastRewardRound;
        // slot 1
        /// Active from here ...
        uint32 activationRound;
        /// ... until before here; `_NEVER` for a member of the next round's set.
        uint32 deactivationRound;
        /// Commissions, ppm.
        uint24 rewardCut;
        uint24 feeShare;
        /// In force from `effectiveRound` on.
        uint24 nextRewardCut;
        uint24 nextFeeShare;
        /// Zero: nothing waits.
        uint32 effectiveRound;
        /// Fee share in force before `previousEndRound`.
        uint24 previousFeeShare;
        uint32 previousEndRound;
        /// Slashed, and not returned by its own call since.
        bool jailed;
        // slot 2
        /// 1e27 = 1; zero: nothing earned yet, one unit is one unit.
        uint128 rewardFactor;
        /// Unclaimed reward commission and its growth; part of `delegated`.
        uint96 cumulativeRewards;
        /// Latest round in which it was slashed.
        uint32 slashRound;
        // slot 3
        /// `rewardFactor` before the reward of `lastRewardRound`.
        uint128 previousRewardFactor;
        /// `cumulativeRewards` before the reward of `lastRewardRound`.
        uint96 activeCumulativeRewards;
        /// Whether commissions were ever set.
        bool hasCommissions;
        // slot 4
        /// Fees of one unit staked since the beginning, 1e27 = 1.
        uint128 feeFactor;
        /// Unclaimed fee commission, and fees on unclaimed reward commission, wei.
        uint96 cumulativeFees;
        uint32 lastFeeRound;
        mapping(uint256 round => EarningsPool) pools;
        mapping(uint256 round => LockedStake) locked;
    }

    /// @dev A delegator with everything earned.
    struct Position {
        uint256 earning;
        uint256 fresh;
        uint256 fees;
        Factors factors;
    }

    /// @dev Registry id of the only contract that may slash.
    bytes32 internal constant _VERIFIER = keccak256("Verifier");
    uint32 internal constant _NEVER = type(uint32).max;
    /// @dev A slash looks at this many rounds of locks at most.
    uint64 internal constant _MAX_CHALLENGE_WINDOW = 100;
    /// @dev Below this the reward factor is too coarse to take new stake.
    uint256 internal constant _MIN_REWARD_FACTOR = 1e18;

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
    uint128 internal _currentRoundTotalActiveStake;
    uint128 internal _nextRoundTotalActiveStake;
    // slot 2
    uint128 internal _minimumStake;
    uint64 internal _numActiveTranscoders;
    uint64 internal _currentRoundPoolSize;
    // slots 3 and 4
    LinkedSet.Set internal _pool;
    // slot 5
    /// @inheritdoc IBondingManager
    mapping(address transcoder => address) public transcoderToRewardCaller;
    // slot 6
    mapping(address delegator => Delegator) internal _delegators;
    // slot 7
    mapping(address transcoder => Transcoder) internal _transcoders;

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

    /// @inheritdoc IBondingManager
    function isRegisteredTranscoder(address transcoder_) public view returns (bool) {
        Delegator storage del = _delegators[transcoder_];
        return del.delegate == transcoder_ && _bonded(del) > 0;
    }

    function _requireInitializedRound() internal view returns (uint256 round) {
        bool initialized;
        (round, initialized) = roundsManager.currentRoundState();
        require(initialized, RoundNotInitialized(round));
    }

    function _factors(Transcoder storage t) internal view returns (Factors memory) {
        return Factors({reward: _rewardFactor(t), fee: t.feeFactor});
    }

    function _rewardFactor(Transcoder storage t) internal view returns (uint256 factor) {
        factor = t.rewardFactor;
        if (factor == 0) factor = PreciseMath.ONE;
    }

    function _lockFactor(LockedStake storage locked) internal view returns (uint256 factor) {
        factor = locked.factor;
        if (factor == 0) factor = PreciseMath.ONE;
    }

    /// @dev Stake of `t` at the start of the current round.
    function _stakeOfRound(Transcoder storage t, uint256 round) internal view returns (uint256) {
        return t.stakeRound == round ? t.roundStake : t.delegated;
    }

    /// @dev Commissions in force in `round`, as they are known now.
    function _inForce(Transcoder storage t, uint256 round) internal view returns (uint256 rewardCut, uint256 feeShare) {
        uint256 effectiveRound = t.effectiveRound;
        bool isDue = effectiveRound > 0 && effectiveRound <= round;
        return isDue ? (t.nextRewardCut, t.nextFeeShare) : (t.rewardCut, t.feeShare);
    }

    /// @dev Whether any contract could slash today.
    function _mayBeSlashed() internal view returns (bool) {
        return controller.getContract(_VERIFIER) != address(0);
    }

    function _bonded(Delegator storage del) internal view returns (uint256) {
        return uint256(del.earning) + del.fresh;
    }

    function _delegatorStatus(Delegator storage del, uint256 round) internal view returns (DelegatorStatus) {
        if (_bonded(del) == 0) return DelegatorStatus.Unbonded;
        return del.startRound > round ? DelegatorStatus.Pending : DelegatorStatus.Bonded;
    }

    function _isMember(Transcoder storage t) internal view returns (bool) {
        return t.deactivationRound == _NEVER;
    }

    function _isActive(Transcoder storage t, uint256 round) internal view returns (bool) {
        return t.activationRound <= round && round < t.deactivationRound;
    }
}
