// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {IBondingManager} from "../interfaces/IBondingManager.sol";
import {LinkedSet} from "../libraries/LinkedSet.sol";
import {BondingState} from "./BondingState.sol";

/// @title The open set of orchestrators, and the stake behind it
abstract contract ActiveSet is BondingState {
    using LinkedSet for LinkedSet.Set;
    using SafeCast for uint256;

    /// @inheritdoc IBondingManager
    function setCurrentRoundTotalActiveStake() external only(address(roundsManager)) {
        _currentRoundTotalActiveStake = _nextRoundTotalActiveStake;
        _currentRoundPoolSize = _pool.size.toUint64();
    }

    /// @dev The only place where `delegated` changes but for slashes: keeps the stake of the next round and the active set in
    /// step. The caller has already written everything that decides whether `delegate` is registered.
    function _changeTotalStake(address delegate, uint256 newStake, uint256 round) internal {
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
    function _writeStake(Transcoder storage t, uint256 oldStake, uint256 newStake, uint256 round) internal {
        if (t.stakeRound < round) {
            t.roundStake = oldStake.toUint96();
            t.stakeRound = round.toUint32();
        }
        t.delegated = newStake.toUint96();
    }

    /// @dev A member keeps its seat unless its stake falls below the minimum; others need the minimum and a free seat.
    function _qualifies(address delegate, Transcoder storage t, bool wasMember, uint256 oldStake, uint256 newStake)
        internal
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
    function _activate(address transcoder_, Transcoder storage t, uint256 round) internal {
        if (!_isActive(t, round)) t.activationRound = (round + 1).toUint32();
        t.deactivationRound = _NEVER;
        _pool.add(transcoder_);
        emit TranscoderActivated(transcoder_, round + 1);
    }

    function _deactivate(address transcoder_, Transcoder storage t, uint256 deactivationRound) internal {
        t.deactivationRound = deactivationRound.toUint32();
        _pool.remove(transcoder_);
        emit TranscoderDeactivated(transcoder_, deactivationRound);
    }
}
