// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Stake, delegation, rewards and fees
/// @notice An orchestrator (here "transcoder", its deployed name) is an account that delegates to itself. Registered
/// orchestrators with at least `minimumStake` are active, from the round after they join to the end of the round in which they
/// leave, as long as there are fewer than `getTranscoderPoolMaxSize()`; a later bond, reward or `transcoder` call takes a seat
/// that became free. The set has no order: the functions "WithHint" of the deployed system are kept and their hints ignored.
///
/// EARNINGS. Per orchestrator two cumulative factors (LIP-36) make claims independent of the rounds passed. Every division rounds
/// down; dust stays in the contracts. Stake counts from the round after it joined; when its owner claims makes no difference.
///
/// COMMISSIONS. A change that is better for delegators applies at once, one that is worse only after
/// max(`ticketValidityPeriod`, `noticePeriod`) rounds. Fees are split by the better one for delegators of the shares in force when
/// the ticket was made and when it is paid.
///
/// SLASHING. The contract registered as "Verifier", if any, may take a part of all stake of an orchestrator: its own, its
/// delegators', and what was unbonded from it within `challengeWindow`. The orchestrator leaves the set at once, the round that
/// runs included, and returns only by its own `transcoder` call after `slashCooldown`. While there is a Verifier, stake goes from
/// one orchestrator to another only through unbonding, so that it cannot run from a slash.
interface IBondingManager {
    enum DelegatorStatus {
        Pending,
        Bonded,
        Unbonded
    }

    enum TranscoderStatus {
        NotRegistered,
        Registered
    }

    event Bond(
        address indexed newDelegate,
        address indexed oldDelegate,
        address indexed delegator,
        uint256 additionalAmount,
        uint256 bondedAmount
    );
    event Unbond(
        address indexed delegate,
        address indexed delegator,
        uint256 unbondingLockId,
        uint256 amount,
        uint256 withdrawRound
    );
    event Rebond(address indexed delegate, address indexed delegator, uint256 unbondingLockId, uint256 amount);
    event WithdrawStake(address indexed delegator, uint256 unbondingLockId, uint256 amount, uint256 withdrawRound);
    event WithdrawFees(address indexed delegator, address recipient, uint256 amount);
    event EarningsClaimed(
        address indexed delegate,
        address indexed delegator,
        uint256 rewards,
        uint256 fees,
        uint256 startRound,
        uint256 endRound
    );
    event Reward(address indexed transcoder, uint256 amount);
    event TranscoderUpdate(address indexed transcoder, uint256 rewardCut, uint256 feeShare);
    event TranscoderActivated(address indexed transcoder, uint256 activationRound);
    event TranscoderDeactivated(address indexed transcoder, uint256 deactivationRound);
    /// @notice `penalty` LPT wei were taken from stake and locks, of which `finder` got `finderReward` and the rest was destroyed.
    event TranscoderSlashed(address indexed transcoder, address finder, uint256 penalty, uint256 finderReward);
    /// @notice These commissions apply from `effectiveRound` on; what is better in them applies already.
    event CommissionChangePending(
        address indexed transcoder, uint256 rewardCut, uint256 feeShare, uint256 effectiveRound
    );
    event RewardCallerSet(address indexed transcoder, address indexed rewardCaller);

    /// @notice Thrown when a bond would leave nothing delegated.
    error ZeroDelegation();
    /// @notice Thrown when the delegate is the null address.
    error NullDelegate();
    /// @notice Thrown when a registered orchestrator delegates to another account.
    error RegisteredTranscoderCannotDelegate(address transcoder);
    /// @notice Thrown when the caller has no stake that is past its first round.
    error CallerNotBonded(address caller);
    /// @notice Thrown when the caller still has stake.
    error CallerNotUnbonded(address caller);
    /// @notice Thrown when the caller has no stake.
    error CallerUnbonded(address caller);
    /// @notice Thrown when the amount to unbond is zero or more than bonded.
    error InvalidUnbondAmount(uint256 amount, uint256 bonded);
    /// @notice Thrown when there is no such unbonding lock.
    error InvalidUnbondingLock(uint256 unbondingLockId);
    /// @notice Thrown when the lock has not run out.
    error StakeLocked(uint256 withdrawRound, uint256 currentRound);
    /// @notice Thrown when fees would be sent to the null address.
    error NullFeeRecipient();
    /// @notice Thrown when more fees are requested than earned.
    error InsufficientFees(uint256 requested, uint256 available);
    /// @notice Thrown when the orchestrator is not in the active set of the current round.
    error TranscoderNotActive(address transcoder);
    /// @notice Thrown when the caller does not delegate to itself.
    error TranscoderNotRegistered(address transcoder);
    /// @notice Thrown when the orchestrator's reward of the current round was already called.
    error RewardAlreadyCalled(address transcoder, uint256 round);
    /// @notice Thrown when the caller is not the orchestrator's reward caller.
    error CallerNotRewardCaller(address transcoder, address caller);
    /// @notice Thrown when commissions are changed in the locked last part of a round.
    error RoundLocked(uint256 round);
    /// @notice Thrown when a commission exceeds 1,000,000 ppm.
    error InvalidCommission(uint256 rewardCut, uint256 feeShare);
    /// @notice Thrown when the account has no seat, or the stake that it needs for it.
    error SeatNotVacant(address transcoder, uint256 stake, uint256 minimumStake);
    /// @notice Thrown when an active orchestrator changes commissions before its reward call of the round.
    error RewardNotYetCalled(address transcoder, uint256 round);
    /// @notice Thrown when the active set would have no seat.
    error ZeroActiveTranscoders();

    /// @notice Thrown when stake would go to another orchestrator while the present one could still be slashed for it.
    error RedelegationNeedsUnbonding(address delegate);
    /// @notice Thrown when stake would join in the round of a slash, or one that was slashed of nearly everything.
    error DelegateSlashed(address delegate);
    /// @notice Thrown when a part of a slash exceeds 1,000,000 ppm.
    error InvalidSlash(uint256 slashAmount, uint256 finderFee);
    /// @notice Thrown when the challenge window is longer than unbonding, or than 100 rounds.
    error InvalidUnbondingPeriods(uint64 unbondingPeriod, uint64 challengeWindow);

    /// @notice Delegate `amount` more LPT wei to `to`; with another delegate than before, all of the caller's stake moves.
    /// @dev Pulls LPT from the caller's allowance to this contract. Claims the caller's earnings first.
    function bond(uint256 amount, address to) external;

    /// @notice As `bond`; hints are ignored.
    function bondWithHint(
        uint256 amount,
        address to,
        address oldDelegateNewPosPrev,
        address oldDelegateNewPosNext,
        address currDelegateNewPosPrev,
        address currDelegateNewPosNext
    ) external;

    /// @notice Take `amount` LPT wei out of the caller's stake into a lock of `unbondingPeriod` rounds.
    function unbond(uint256 amount) external;

    /// @notice As `unbond`; hints are ignored.
    function unbondWithHint(uint256 amount, address newPosPrev, address newPosNext) external;

    /// @notice Return an unbonding lock to the caller's stake with its present delegate.
    function rebond(uint256 unbondingLockId) external;

    /// @notice As `rebond`; hints are ignored.
    function rebondWithHint(uint256 unbondingLockId, address newPosPrev, address newPosNext) external;

    /// @notice Return an unbonding lock to stake with the delegate `to`; the caller must have no other stake.
    function rebondFromUnbonded(address to, uint256 unbondingLockId) external;

    /// @notice As `rebondFromUnbonded`; hints are ignored.
    function rebondFromUnbondedWithHint(address to, uint256 unbondingLockId, address newPosPrev, address newPosNext)
        external;

    /// @notice Send the caller the LPT of a lock that has run out. Works under pause and in a round that nobody started.
    function withdrawStake(uint256 unbondingLockId) external;

    /// @notice Send `amount` wei of the caller's fees to `recipient`. Claims the caller's earnings first.
    function withdrawFees(address payable recipient, uint256 amount) external;

    /// @notice Book the caller's earnings up to now. The argument is ignored, as in the deployed system.
    function claimEarnings(uint256 endRound) external;

    /// @notice Mint and distribute the caller's reward of the current round.
    function reward() external;

    /// @notice As `reward`; hints are ignored.
    function rewardWithHint(address newPosPrev, address newPosNext) external;

    /// @notice Name the account that may call `reward` for the caller; zero names nobody (LIP-118).
    function setRewardCaller(address rewardCaller) external;

    /// @notice `reward` for `transcoder`, by its reward caller (LIP-118).
    function rewardForTranscoder(address transcoder) external;

    /// @notice As `rewardForTranscoder`; hints are ignored.
    function rewardForTranscoderWithHint(address transcoder, address newPosPrev, address newPosNext) external;

    /// @notice Set the caller's commissions, ppm: its cut of rewards, and its delegators' share of fees. Also takes a free seat,
    /// and ends the exclusion by a slash once the cooldown is over.
    /// @dev Each of the two that is worse for delegators than the present one waits; the first ones ever, set before the first
    /// active round, do not. A repeated or milder announcement keeps the date of the pending one.
    function transcoder(uint256 rewardCut, uint256 feeShare) external;

    /// @notice As `transcoder`; hints are ignored.
    function transcoderWithHint(uint256 rewardCut, uint256 feeShare, address newPosPrev, address newPosNext) external;

    /// @notice Book `fees` wei, held by TicketBroker, for an active orchestrator and its delegators. TicketBroker only.
    /// @dev Always booked in the current round. `creationRound` is that of the ticket: delegators get the better one of the fee
    /// shares in force then and now.
    function updateTranscoderWithFees(address transcoder, uint256 fees, uint256 creationRound) external;

    /// @notice Take `slashAmount` ppm of everybody's stake with `transcoder` and of locks younger than `challengeWindow`, pay
    /// `finderFee` ppm of it to `finder` and destroy the rest. Only the contract registered as "Verifier".
    function slashTranscoder(address transcoder, address finder, uint256 slashAmount, uint256 finderFee) external;

    /// @notice Fix active stake and size of the active set for the round that begins. RoundsManager only.
    function setCurrentRoundTotalActiveStake() external;

    /// @notice Set the rounds between `unbond` and `withdrawStake`. Owner only.
    function setUnbondingPeriod(uint64 unbondingPeriod) external;

    /// @notice Set the rounds after `unbond` in which the stake can still be slashed. Owner only. At most `unbondingPeriod`, 100.
    function setChallengeWindow(uint64 challengeWindow) external;

    /// @notice Set the rounds that a commission change to the worse waits at least. Owner only.
    function setNoticePeriod(uint64 noticePeriod) external;

    /// @notice Set the rounds that a slashed orchestrator stays out of the set. Owner only.
    function setSlashCooldown(uint64 slashCooldown) external;

    /// @notice Set the number of seats in the active set. Owner only. Members beyond a smaller number keep their seats.
    function setNumActiveTranscoders(uint256 numActiveTranscoders) external;

    /// @notice Set the stake that a seat needs, LPT wei. Owner only. Members below a larger one lose their seat when their stake
    /// next falls, or by `vacateSeat`.
    function setMinimumStake(uint256 minimumStake) external;

    /// @notice Take the seat of a member whose stake is below the minimum, from the next round on. For anybody to call.
    function vacateSeat(address transcoder) external;

    /// @notice State of `delegator`, without unclaimed earnings. Amounts in LPT wei, `fees` in wei.
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
        );

    /// @notice State of `transcoder`. Commissions are those in force; see `getPendingCommissions`.
    function getTranscoder(address transcoder)
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
        );

    /// @notice Earnings pool of `transcoder` in `round`, as stored: fields not needed yet are zero.
    function getTranscoderEarningsPoolForRound(address transcoder, uint256 round)
        external
        view
        returns (
            uint256 totalStake,
            uint256 transcoderRewardCut,
            uint256 transcoderFeeShare,
            uint256 cumulativeRewardFactor,
            uint256 cumulativeFeeFactor
        );

    /// @notice Commissions that will be in force from `effectiveRound` on; zeros if no change waits.
    function getPendingCommissions(address transcoder)
        external
        view
        returns (uint256 rewardCut, uint256 feeShare, uint256 effectiveRound);

    /// @notice Latest round in which `transcoder` was slashed, and whether it still has to return to the set.
    function getSlashState(address transcoder) external view returns (uint256 slashRound, bool jailed);

    /// @notice Amount left by slashes (LPT wei) and first withdrawal round of a lock; zeros if there is none.
    function getDelegatorUnbondingLock(address delegator, uint256 unbondingLockId)
        external
        view
        returns (uint256 amount, uint256 withdrawRound);

    /// @notice Whether the lock exists.
    function isValidUnbondingLock(address delegator, uint256 unbondingLockId) external view returns (bool);

    /// @notice Stake including unclaimed rewards up to the current round, LPT wei. The second argument is ignored.
    function pendingStake(address delegator, uint256 endRound) external view returns (uint256);

    /// @notice Fees including unclaimed ones up to the current round, wei. The second argument is ignored.
    function pendingFees(address delegator, uint256 endRound) external view returns (uint256);

    /// @notice Unbonded without stake, Pending until the round after bonding, else Bonded.
    function delegatorStatus(address delegator) external view returns (DelegatorStatus);

    /// @notice Registered if the account delegates to itself.
    function transcoderStatus(address transcoder) external view returns (TranscoderStatus);

    /// @notice Whether `transcoder` is in the active set of the current round.
    function isActiveTranscoder(address transcoder) external view returns (bool);

    /// @notice Whether `transcoder` delegates to itself.
    function isRegisteredTranscoder(address transcoder) external view returns (bool);

    /// @notice All stake delegated to `transcoder`, LPT wei.
    function transcoderTotalStake(address transcoder) external view returns (uint256);

    /// @notice Reward caller of `transcoder`, zero if none.
    function transcoderToRewardCaller(address transcoder) external view returns (address);

    /// @notice A member of the next round's active set to start a walk at; zero if it is empty.
    function getFirstTranscoderInPool() external view returns (address);

    /// @notice The member after `transcoder`; zero at the end.
    function getNextTranscoderInPool(address transcoder) external view returns (address);

    /// @notice Size of the next round's active set.
    function getTranscoderPoolSize() external view returns (uint256);

    /// @notice Seats in the active set.
    function getTranscoderPoolMaxSize() external view returns (uint256);

    /// @notice Stake of the current round's active set, LPT wei.
    function getTotalBonded() external view returns (uint256);

    /// @notice As `getTotalBonded`.
    function currentRoundTotalActiveStake() external view returns (uint256);

    /// @notice Stake of the next round's active set, LPT wei.
    function nextRoundTotalActiveStake() external view returns (uint256);

    /// @notice Size of the current round's active set: the divisor of reserves, fixed when the round was initialised.
    function currentRoundPoolSize() external view returns (uint256);

    /// @notice Stake that a seat needs, LPT wei.
    function minimumStake() external view returns (uint256);

    /// @notice Rounds between `unbond` and `withdrawStake`.
    function unbondingPeriod() external view returns (uint64);

    /// @notice Rounds after `unbond` in which the stake can still be slashed.
    function challengeWindow() external view returns (uint64);

    /// @notice Rounds that a commission change to the worse waits at least.
    function noticePeriod() external view returns (uint64);

    /// @notice Rounds that a slashed orchestrator stays out of the set.
    function slashCooldown() external view returns (uint64);
}
