// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ITicketBroker} from "../../contracts/interfaces/ITicketBroker.sol";
import {Deploy} from "../../script/Deploy.s.sol";
import {ProtocolHandler} from "./ProtocolHandler.sol";
import {StreamflowTest} from "./StreamflowTest.sol";

/// @notice What must hold after any sequence of calls. That a ticket pays its face value or nothing, and that nobody else pays
/// for it, is asserted by the handler at every redemption.
contract InvariantsTest is StreamflowTest {
    ProtocolHandler private _handler;

    function setUp() public override {
        super.setUp();
        _handler = new ProtocolHandler(bonding, token, rounds, broker, ROUND_LENGTH);
        vm.prank(owner);
        token.transfer(address(_handler), 5_000_000 ether);
        // A running start: active orchestrators, delegators, funded senders.
        for (uint256 i = 0; i < _handler.stakerCount(); ++i) {
            _handler.bond(i * 2, i % 3, 20 ether + i);
            _handler.transcoder(i, 111_111 * i, 900_000 - 77_777 * i);
        }
        for (uint256 i = 0; i < _handler.senderCount(); ++i) {
            _handler.fund(i, 19 ether, 13 ether, false);
        }
        _handler.nextRound(1);
    }

    function _params(Deploy.Params memory p) internal view override returns (Deploy.Params memory) {
        p = super._params(p);
        // Fewer seats than candidates.
        p.numActiveTranscoders = 4;
        (p.unbondingPeriod, p.challengeWindow, p.noticePeriod, p.slashCooldown) = (3, 3, 3, 3);
        return p;
    }

    /// @notice Tells forge what to call.
    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    /// All in one, so that one campaign checks everything after each call.
    function invariant_BooksBalance() external view {
        // One call: with forge's isolation every call of a test is a transaction of its own, and slow.
        this.assertBooks();
    }

    function invariant_02_MinterHoldsAllStake() external view {
        _assertMinterHoldsAllStake();
    }

    function invariant_03_PendingStakeIsCovered() external view {
        _assertPendingStakeIsCovered();
    }

    function invariant_19_21_24_SetAndItsStakeAgree() external view {
        _assertActiveSetIsConsistent();
    }

    function invariant_22_NoMoreIsMintedThanTheRoundAllows() external view {
        vm.assertLe(minter.currentMintedTokens(), minter.currentMintableTokens());
    }

    function assertBooks() external view {
        _assertBrokerHoldsWhatItOwes();
        _assertMinterHoldsAllStake();
        _assertPendingStakeIsCovered();
        _assertOtherContractsHoldNothing();
        _assertSendersPayOnlyTheirOwn();
        _assertTicketsPayOnce();
        _assertFeesAreFaceValues();
        _assertActiveSetIsConsistent();
    }

    /// A long walk with a fixed seed: the books balance all along, and no action was idle, so the campaign is not vacuous.
    function test_GivenLongWalk_EveryActionTookPart() external {
        for (uint256 i = 0; i < 40; ++i) {
            this.walk(i, 50);
            this.assertBooks();
        }
        string[17] memory actions = [
            "fund",
            "unlock",
            "cancelUnlock",
            "withdraw",
            "redeem",
            "refuse",
            "batch",
            "batchPaid",
            "batchSkipped",
            "bond",
            "unbond",
            "rebond",
            "withdrawStake",
            "reward",
            "transcoder",
            "withdrawFees",
            "nextRound"
        ];
        for (uint256 i = 0; i < actions.length; ++i) {
            vm.assertGe(_handler.done(bytes32(bytes(actions[i]))), 10, actions[i]);
        }
    }

    function walk(uint256 seed, uint256 steps) external {
        for (uint256 i = 0; i < steps; ++i) {
            uint256 d = uint256(keccak256(abi.encode(seed, i)));
            _step(d % 16, d >> 8, uint256(keccak256(abi.encode(d))), uint256(keccak256(abi.encode(d, d))));
        }
    }

    function _step(uint256 action, uint256 x, uint256 y, uint256 z) private {
        if (action == 0) _handler.fund(x, y, z, x % 5 == 0);
        if (action == 1) _handler.unlock(x);
        if (action == 2) _handler.cancelUnlock(x);
        if (action == 3) _handler.withdraw(x);
        if (action == 4 || action == 5) _handler.redeem(x, y, z, x >> 16, y >> 16);
        if (action == 6) _handler.batch(x, y, z);
        if (action == 7) _handler.bond(x, y, z);
        if (action == 8) _handler.unbond(x, y);
        if (action == 9) _handler.rebond(x, y, z);
        if (action == 10) _handler.withdrawStake(x, y);
        if (action == 11) _handler.reward(x);
        if (action == 12) _handler.transcoder(x, y, z);
        if (action == 13) _handler.claim(x);
        if (action == 14) _handler.withdrawFees(x, y);
        if (action == 15) _handler.nextRound(x);
    }

    /// 1: every wei of the vault has an owner, and fees owed never exceed fees held.
    function _assertBrokerHoldsWhatItOwes() private view {
        uint256 owed = broker.unclaimedFees();
        for (uint256 i = 0; i < _handler.senderCount(); ++i) {
            owed += _funds(_handler.sender(i));
        }
        vm.assertEq(address(broker).balance, owed, "balance = deposits + reserves + fees");
        vm.assertLe(_handler.allCreditedFees(), broker.unclaimedFees(), "fees owed <= fees held");
    }

    /// 2: staked LPT = all delegated stake + live unbonding locks.
    function _assertMinterHoldsAllStake() private view {
        uint256 owed = 0;
        for (uint256 i = 0; i < _handler.stakerCount(); ++i) {
            address account = _handler.staker(i);
            owed += bonding.transcoderTotalStake(account) + _locks(account);
        }
        vm.assertEq(token.balanceOf(address(minter)), owed);
    }

    /// 3: delegators cannot claim more than their delegate holds.
    function _assertPendingStakeIsCovered() private view {
        uint256 n = _handler.stakerCount();
        for (uint256 i = 0; i < n; ++i) {
            uint256 claimable = 0;
            for (uint256 j = 0; j < n; ++j) {
                address account = _handler.staker(j);
                (,, address delegate,,,,) = bonding.getDelegator(account);
                if (delegate == _handler.staker(i)) claimable += bonding.pendingStake(account, 0);
            }
            vm.assertLe(claimable, bonding.transcoderTotalStake(_handler.staker(i)));
        }
    }

    /// 4: nothing but the broker holds ETH, nothing but the Minter holds LPT.
    function _assertOtherContractsHoldNothing() private view {
        address[6] memory all = [
            address(controller), address(token), address(minter), address(rounds), address(bonding), address(registry)
        ];
        for (uint256 i = 0; i < all.length; ++i) {
            vm.assertEq(all[i].balance, 0, "no ETH outside the broker");
            if (all[i] != address(minter)) vm.assertEq(token.balanceOf(all[i]), 0, "no LPT outside the Minter");
        }
        vm.assertEq(token.balanceOf(address(broker)), 0, "no LPT in the broker");
    }

    /// 6: what a sender put in is what it has, what it paid and what it took out.
    function _assertSendersPayOnlyTheirOwn() private view {
        for (uint256 i = 0; i < _handler.senderCount(); ++i) {
            address account = _handler.sender(i);
            vm.assertEq(
                _handler.funded(account), _funds(account) + _handler.paid(account) + _handler.withdrawn(account)
            );
        }
    }

    /// 7: a ticket pays at most once and stays used.
    function _assertTicketsPayOnce() private view {
        for (uint256 i = 0; i < _handler.paidTicketCount(); ++i) {
            bytes32 ticketHash = _handler.paidTickets(i);
            vm.assertEq(_handler.payments(ticketHash), 1);
            vm.assertTrue(broker.usedTickets(ticketHash));
        }
    }

    /// 8: the sum of what all tickets paid is what was ever booked as fees. (Per ticket: in the handler.)
    function _assertFeesAreFaceValues() private view {
        uint256 paidOut = 0;
        for (uint256 i = 0; i < _handler.stakerCount(); ++i) {
            paidOut += _handler.staker(i).balance;
        }
        uint256 paid = 0;
        for (uint256 i = 0; i < _handler.senderCount(); ++i) {
            paid += _handler.paid(_handler.sender(i));
        }
        vm.assertEq(paid, broker.unclaimedFees() + paidOut);
    }

    /// 19, 21, 24: stake of the set is the sum over its members, and the list is the set.
    function _assertActiveSetIsConsistent() private view {
        uint256 next = 0;
        uint256 size = 0;
        address member = bonding.getFirstTranscoderInPool();
        for (; member != address(0); member = bonding.getNextTranscoderInPool(member)) {
            next += bonding.transcoderTotalStake(member);
            ++size;
            (,,,,, uint256 deactivationRound,,,,) = bonding.getTranscoder(member);
            vm.assertEq(deactivationRound, type(uint256).max, "a member has no end");
            vm.assertTrue(bonding.isRegisteredTranscoder(member), "a member is registered");
        }
        vm.assertEq(size, bonding.getTranscoderPoolSize(), "size of the list");
        vm.assertLe(size, 4, "seats");
        vm.assertEq(next, bonding.nextRoundTotalActiveStake(), "stake of the next round");
        _assertCurrentSet();
    }

    function _assertCurrentSet() private view {
        uint256 round = rounds.currentRound();
        uint256 active = 0;
        uint256 stake = 0;
        for (uint256 i = 0; i < _handler.stakerCount(); ++i) {
            address account = _handler.staker(i);
            if (!bonding.isActiveTranscoder(account)) continue;
            ++active;
            (,,, uint256 lastUpdate,,, uint256 activeRewards, uint256 rewards,,) = bonding.getTranscoder(account);
            (uint256 poolStake,,,,) =
                bonding.getTranscoderEarningsPoolForRound(account, lastUpdate < round ? lastUpdate : round);
            stake += poolStake;
            (uint256 lastReward,,,,,,,,,) = bonding.getTranscoder(account);
            if (lastReward == round) vm.assertLe(activeRewards, poolStake, "commission <= stake of the round");
            vm.assertLe(rewards, bonding.transcoderTotalStake(account), "commission <= stake");
        }
        vm.assertEq(active, bonding.currentRoundPoolSize(), "divisor of reserves");
        vm.assertEq(stake, bonding.getTotalBonded(), "stake of the round");
    }

    function _funds(address account) private view returns (uint256) {
        (ITicketBroker.Sender memory info, ITicketBroker.ReserveInfo memory reserve) = broker.getSenderInfo(account);
        return info.deposit + reserve.fundsRemaining;
    }

    function _locks(address account) private view returns (uint256 sum) {
        (,,,,,, uint256 nextId) = bonding.getDelegator(account);
        for (uint256 id = 0; id < nextId; ++id) {
            (uint256 amount,) = bonding.getDelegatorUnbondingLock(account, id);
            sum += amount;
        }
    }
}
