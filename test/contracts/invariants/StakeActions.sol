// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TicketActions} from "./TicketActions.sol";

/// @notice Stake comes, moves, earns and leaves. Calls with hints take hostile ones.
abstract contract StakeActions is TicketActions {
    function bond(uint256 seed, uint256 to, uint256 amount) external by(staker(seed)) {
        address account = staker(seed);
        address delegate = (seed >> 8) % 2 == 0 ? account : staker(to);
        uint256 bonded = _sys.bonding.pendingStake(account, 0);
        // Registered ones seldom try to go elsewhere, which is refused.
        if (bonded > 0 && _delegateOf(account) == account && (seed >> 16) % 8 != 0) delegate = account;
        amount = _odd(amount, 100 ether);
        if (amount == 0 && (bonded == 0 || delegate == _delegateOf(account))) return;
        if (_sys.token.balanceOf(address(this)) < amount) return;
        _bond(account, delegate, amount, bonded, (seed >> 24) % 2 == 0);
    }

    function unbond(uint256 seed, uint256 amount) external by(staker(seed)) {
        address account = staker(seed);
        (,, address delegate,, uint256 startRound,, uint256 id) = _sys.bonding.getDelegator(account);
        uint256 stake = _sys.bonding.pendingStake(account, 0);
        if (stake == 0 || startRound > _round() || id >= MAX_LOCKS) return;
        amount = amount % 3 == 0 ? stake : 1 + amount % stake;
        bytes memory call = seed >> 128 & 1 == 0
            ? abi.encodeCall(_sys.bonding.unbond, (amount))
            : abi.encodeCall(_sys.bonding.unbondWithHint, (amount, account, address(this)));
        uint256 before = stakeOf(account);
        _hold(0, _call(account, address(_sys.bonding), call), "unbond");
        left[delegate][_round()] += amount;
        (_lockDelegate[account][id], _lockRound[account][id]) = (delegate, _round());
        locksOpened[account] = id + 1;
        (,,,,,, uint256 nextId) = _sys.bonding.getDelegator(account);
        _hold(27, nextId == id + 1, "an id was left out or used again");
        _hold(26, stakeOf(account) + amount == before, "unbond takes what it says");
        // A slash of this very round makes a new lock count in units that round down.
        _hold(26, _lockValue(account, id) + 1 >= amount && _lockValue(account, id) <= amount, "a lock is its amount");
        _count("unbond");
    }

    function rebond(uint256 seed, uint256 to, uint256 id) external by(staker(seed)) {
        address account = staker(seed);
        _rebond(account, staker(to), id % (locksOpened[account] + 1), seed >> 128 & 1 == 0);
    }

    function withdrawStake(uint256 seed, uint256 id) external by(staker(seed)) {
        address account = staker(seed);
        id = id % (locksOpened[account] + 1);
        (uint256 amount, uint256 withdrawRound) = _sys.bonding.getDelegatorUnbondingLock(account, id);
        bool may = _isOpen(account, id) && withdrawRound <= _round();
        uint256 before = _sys.token.balanceOf(account);
        bool ok = _call(account, address(_sys.bonding), abi.encodeCall(_sys.bonding.withdrawStake, (id)));
        _hold(27, ok == may, "a lock is paid once, and when it is due");
        if (!ok) return;
        _hold(27, _lockRound[account][id] + _sys.bonding.unbondingPeriod() <= _round(), "a lock was paid too early");
        _hold(27, _sys.token.balanceOf(account) == before + amount, "a lock pays its amount");
        isClosed[account][id] = true;
        returned[account] += amount;
        _count("withdrawStake");
    }

    /// @notice The next orchestrator in line whose reward is due, by its own call or by that of its reward caller.
    function reward(uint256 seed, uint256 how) external by(_due(seed)) {
        address o = _due(seed);
        if (o == address(0)) return;
        uint256[] memory before = _stakes();
        (uint256 total, uint256 supply) = (_sys.bonding.transcoderTotalStake(o), _sys.token.totalSupply());
        (address caller, bytes memory call) = _rewardCall(o, how % 3);
        _hold(0, _call(caller, address(_sys.bonding), call), "reward");
        uint256 minted = _sys.token.totalSupply() - supply;
        mintedInRound += minted;
        _hold(22, _sys.bonding.transcoderTotalStake(o) == total + minted, "a reward is what was minted");
        _hold(22, _bookGains(before) <= minted, "more was earned than minted");
        // What is nobody's earns too.
        stakeAllowance[o] += 2 * MAX_STAKERS + (minted * _unowned(o)) / stakeOfRound(o);
        _hold(22, !_call(o, address(_sys.bonding), abi.encodeCall(_sys.bonding.reward, ())), "a second reward");
        _count("reward");
    }

    function transcoder(uint256 seed, uint256 rewardCut, uint256 feeShare) external by(staker(seed)) {
        address account = staker(seed);
        (uint256 lastRewardRound,,,,,,,,,) = _sys.bonding.getTranscoder(account);
        bool isDue = _sys.bonding.isActiveTranscoder(account) && lastRewardRound != _round();
        bool may = _sys.bonding.isRegisteredTranscoder(account) && !_sys.rounds.currentRoundLocked() && !isDue;
        (rewardCut, feeShare) = (rewardCut % 1_000_001, feeShare % 1_000_001);
        bytes memory call = seed >> 128 & 1 == 0
            ? abi.encodeCall(_sys.bonding.transcoder, (rewardCut, feeShare))
            : abi.encodeCall(_sys.bonding.transcoderWithHint, (rewardCut, feeShare, account, address(this)));
        bool ok = _call(account, address(_sys.bonding), call);
        _hold(0, ok == may, "transcoder");
        if (ok) _count("transcoder");
    }

    function claim(uint256 seed) external by(staker(seed)) {
        address account = staker(seed);
        (uint256 stake, uint256 fees) = (stakeOf(account), feesOf(account));
        _hold(0, _call(account, address(_sys.bonding), abi.encodeCall(_sys.bonding.claimEarnings, (0))), "claim");
        _hold(16, stakeOf(account) == stake && feesOf(account) == fees, "a claim changed what is owed");
        _count("claim");
    }

    function withdrawFees(uint256 seed, uint256 amount) external by(staker(seed)) {
        address account = staker(seed);
        uint256 fees = _sys.bonding.pendingFees(account, 0);
        if (fees == 0) return;
        // Now and then more than there is.
        bool tooMuch = amount % 8 == 7;
        amount = tooMuch ? fees + 1 : (amount % 2 == 0 ? fees : amount % fees);
        (uint256 before, uint256 owed) = (account.balance, feesOf(account));
        bool ok = _call(
            account, address(_sys.bonding), abi.encodeCall(_sys.bonding.withdrawFees, (payable(account), amount))
        );
        _hold(5, ok != tooMuch, "fees are paid up to what was earned");
        if (!ok) return;
        _hold(5, account.balance == before + amount && feesOf(account) + amount == owed, "fees are debited exactly");
        _count("withdrawFees");
    }

    // --- model ---

    function _bond(address account, address delegate, uint256 amount, uint256 bonded, bool withHint) private {
        address current = _delegateOf(account);
        bool moves = bonded > 0 && delegate != current;
        bool may = _mayJoin(delegate) && !(moves && (current == account || _slashingIsOn()));
        _sys.token.transfer(account, amount);
        vm.prank(account);
        _sys.token.approve(address(_sys.bonding), amount);
        bytes memory call = withHint
            ? abi.encodeCall(_sys.bonding.bondWithHint, (amount, delegate, delegate, account, current, address(1)))
            : abi.encodeCall(_sys.bonding.bond, (amount, delegate));
        uint256 before = stakeOf(account);
        bool ok = _call(account, address(_sys.bonding), call);
        _hold(moves ? 30 : 0, ok == may, "stake goes elsewhere only when nothing can be slashed");
        if (!ok) {
            vm.prank(account);
            _sys.token.transfer(address(this), amount);
            return;
        }
        if (moves) left[current][_round()] += bonded;
        deposited[account] += amount;
        _hold(26, stakeOf(account) == before + amount, "bond adds what it says");
        _count(moves ? bytes32("redelegate") : bytes32("bond"));
    }

    /// @dev Into the stake that is there, or to any delegate `to` when there is none.
    function _rebond(address account, address to, uint256 id, bool withHint) private {
        bool isBonded = _sys.bonding.pendingStake(account, 0) > 0;
        if (isBonded) to = _delegateOf(account);
        bool may = _isOpen(account, id) && _mayReturn(account, id, to);
        uint256 value = stakeOf(account) + _lockValue(account, id);
        bool ok = _call(account, address(_sys.bonding), _rebondCall(isBonded, withHint, to, id));
        _hold(30, ok == may, "a lock returns only where it answers for its faults");
        if (!ok) return;
        isClosed[account][id] = true;
        _hold(26, stakeOf(account) == value, "a lock returns as its value");
        _count("rebond");
    }

    function _rebondCall(bool isBonded, bool withHint, address delegate, uint256 id)
        private
        view
        returns (bytes memory)
    {
        if (isBonded) {
            return withHint
                ? abi.encodeCall(_sys.bonding.rebondWithHint, (id, delegate, address(1)))
                : abi.encodeCall(_sys.bonding.rebond, (id));
        }
        return withHint
            ? abi.encodeCall(_sys.bonding.rebondFromUnbondedWithHint, (delegate, id, address(1), delegate))
            : abi.encodeCall(_sys.bonding.rebondFromUnbonded, (delegate, id));
    }

    function _rewardCall(address o, uint256 how) private returns (address caller, bytes memory call) {
        if (how == 0) return (o, abi.encodeCall(_sys.bonding.reward, ()));
        if (how == 1) return (o, abi.encodeCall(_sys.bonding.rewardWithHint, (address(this), o)));
        vm.prank(o);
        _sys.bonding.setRewardCaller(sender(0));
        call = abi.encodeCall(_sys.bonding.rewardForTranscoder, (o));
        _hold(25, !_call(sender(1), address(_sys.bonding), call), "a stranger called for a reward");
        return (sender(0), call);
    }

    /// @dev Who is active and without its reward of the round, from the seeded one on; null: nobody.
    function _due(uint256 seed) private view returns (address) {
        for (uint256 i = 0; i < stakerCount(); ++i) {
            address o = staker(seed % stakerCount() + i);
            (uint256 lastRewardRound,,,,,,,,,) = _sys.bonding.getTranscoder(o);
            if (_sys.bonding.isActiveTranscoder(o) && lastRewardRound != _round()) return o;
        }
        return address(0);
    }

    /// @dev Nobody loses by another's reward; sum of what was gained.
    function _bookGains(uint256[] memory before) private returns (uint256 gained) {
        for (uint256 i = 0; i < before.length; ++i) {
            uint256 present = stakeOf(staker(i));
            _hold(26, present >= before[i], "a reward took stake");
            if (present < before[i]) continue;
            earned[staker(i)] += present - before[i];
            gained += present - before[i];
        }
    }

    function _stakes() internal view returns (uint256[] memory stakes) {
        stakes = new uint256[](stakerCount());
        for (uint256 i = 0; i < stakes.length; ++i) {
            stakes[i] = stakeOf(staker(i));
        }
    }

    function _isOpen(address account, uint256 id) internal view returns (bool) {
        return id < locksOpened[account] && !isClosed[account][id];
    }

    /// @dev Nobody joins an orchestrator in the round of its slash, or one that lost everything.
    function _mayJoin(address delegate) internal view returns (bool) {
        return !isRuined[delegate] && (slashes[delegate] == 0 || slashedAt[delegate] != _round());
    }

    function _mayReturn(address account, uint256 id, address delegate) private view returns (bool) {
        bool answers = _lockDelegate[account][id] != delegate
            && _round() < _lockRound[account][id] + _sys.bonding.challengeWindow() && _slashingIsOn();
        return _mayJoin(delegate) && !answers;
    }
}
