// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {IBondingManager} from "../interfaces/IBondingManager.sol";
import {ILivepeerToken} from "../interfaces/ILivepeerToken.sol";
import {PreciseMath} from "../libraries/PreciseMath.sol";
import {Earnings} from "./Earnings.sol";
import {EarningsMath, Factors} from "../types/EarningsPool.sol";

/// @title Bonding, unbonding and the locks between
abstract contract Delegation is Earnings {
    using SafeCast for uint256;
    using SafeERC20 for ILivepeerToken;

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

    function _bond(uint256 amount, address to) internal whenNotPaused {
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
    function _join(Delegator storage del, address to, uint256 amount, uint256 round) internal {
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

    function _unbond(uint256 amount) internal whenNotPaused {
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

    function _rebond(uint256 unbondingLockId) internal whenNotPaused {
        uint256 round = _requireInitializedRound();
        _claimEarnings(msg.sender, round);
        Delegator storage del = _delegators[msg.sender];
        require(_bonded(del) > 0, CallerUnbonded(msg.sender));
        _returnLock(del, del.delegate, unbondingLockId, round);
    }

    function _rebondFromUnbonded(address to, uint256 unbondingLockId) internal whenNotPaused {
        uint256 round = _requireInitializedRound();
        require(to != address(0), NullDelegate());
        _claimEarnings(msg.sender, round);
        Delegator storage del = _delegators[msg.sender];
        require(_bonded(del) == 0, CallerNotUnbonded(msg.sender));
        _returnLock(del, to, unbondingLockId, round);
    }

    /// @dev Moves a lock of the caller back into its stake with `to`.
    function _returnLock(Delegator storage del, address to, uint256 unbondingLockId, uint256 round) internal {
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
        internal
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
    function _closeLock(uint256 unbondingLockId, UnbondingLock memory lock) internal returns (uint256 amount) {
        amount = _valueOf(lock.delegate, lock.round, lock.amount);
        delete _delegators[msg.sender].unbondingLocks[unbondingLockId];
        LockedStake storage locked = _transcoders[lock.delegate].locked[lock.round];
        locked.amount = (locked.amount - amount).toUint128();
    }

    /// @dev What slashes left of a lock.
    function _valueOf(address delegate, uint256 round, uint256 amount) internal view returns (uint256) {
        uint256 factor = _lockFactor(_transcoders[delegate].locked[round]);
        return factor == EarningsMath.RUINED ? 0 : (amount * factor) / PreciseMath.ONE;
    }

    /// @dev A lock of the caller.
    function _lock(uint256 unbondingLockId) internal view returns (UnbondingLock memory lock) {
        lock = _delegators[msg.sender].unbondingLocks[unbondingLockId];
        require(lock.withdrawRound > 0, InvalidUnbondingLock(unbondingLockId));
    }
}
