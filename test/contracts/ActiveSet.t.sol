// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IBondingManager} from "../../contracts/interfaces/IBondingManager.sol";
import {Deploy} from "../../script/Deploy.s.sol";
import {Ticket} from "../../contracts/types/Ticket.sol";
import {StreamflowTest} from "./StreamflowTest.sol";

/// @notice Who is active, from when until when.
contract ActiveSetTest is StreamflowTest {
    uint256 private constant _SEATS = 3;
    address private _a = _account("a");
    address private _b = _account("b");
    address private _c = _account("c");
    address private _d = _account("d");

    function _params(Deploy.Params memory p) internal view override returns (Deploy.Params memory) {
        p = super._params(p);
        p.numActiveTranscoders = _SEATS;
        return p;
    }

    function test_GivenStakeBelowMinimum_RegisteredButNotActive() external {
        _register(_a, 1 ether - 1, 0, 0);
        vm.assertTrue(bonding.isRegisteredTranscoder(_a));
        vm.assertEq(bonding.getTranscoderPoolSize(), 0);
        // Delegated stake counts too.
        _bond(delegator, 1, _a);
        vm.assertEq(bonding.getTranscoderPoolSize(), 1);
        _nextRound();
        vm.assertTrue(bonding.isActiveTranscoder(_a));
    }

    function test_Walk_VisitsEveryMemberOnce() external {
        _register(_a, 1 ether, 0, 0);
        _register(_b, 3 ether, 0, 0);
        _register(_c, 2 ether, 0, 0);
        _assertMembers(_a, _b, _c);
        _nextRound();
        vm.prank(_b);
        bonding.unbond(3 ether);
        _assertMembers(_a, _c, address(0));
        vm.prank(_a);
        bonding.unbond(1 ether);
        _assertMembers(_c, address(0), address(0));
        vm.prank(_c);
        bonding.unbond(2 ether);
        _assertMembers(address(0), address(0), address(0));
        _register(_d, 2 ether, 0, 0);
        _assertMembers(_d, address(0), address(0));
        vm.assertEq(bonding.getNextTranscoderInPool(stranger), address(0));
        vm.assertEq(bonding.getNextTranscoderInPool(address(0)), address(0));
    }

    function test_GivenFullSet_NewcomerWaitsForASeat() external {
        _register(_a, 1 ether, 0, 0);
        _register(_b, 1 ether, 0, 0);
        _register(_c, 1 ether, 0, 0);
        _register(_d, 100 ether, 0, 0);
        _assertMembers(_a, _b, _c);
        vm.assertEq(bonding.nextRoundTotalActiveStake(), 3 ether);
        _nextRound();
        vm.assertFalse(bonding.isActiveTranscoder(_d));
        vm.prank(_b);
        bonding.unbond(1 ether);
        // The seat is free; any of its own calls, or a bond to it, takes it.
        vm.prank(_d);
        bonding.transcoder(0, 0);
        _assertMembers(_a, _c, _d);
        vm.assertEq(bonding.nextRoundTotalActiveStake(), 102 ether);
        _nextRound();
        vm.assertTrue(bonding.isActiveTranscoder(_d));
        vm.assertFalse(bonding.isActiveTranscoder(_b));
    }

    function test_GivenFallBelowMinimum_MemberLeavesAtTheEndOfTheRound() external {
        _register(_a, 2 ether, 0, 0);
        _nextRound();
        uint256 round = rounds.currentRound();
        vm.expectEmit(address(bonding));
        emit IBondingManager.TranscoderDeactivated(_a, round + 1);
        vm.prank(_a);
        bonding.unbond(1 ether + 1);
        vm.assertTrue(bonding.isActiveTranscoder(_a));
        vm.assertTrue(bonding.isRegisteredTranscoder(_a));
        vm.assertEq(bonding.nextRoundTotalActiveStake(), 0);
        vm.assertEq(bonding.getTotalBonded(), 2 ether);
        _nextRound();
        vm.assertFalse(bonding.isActiveTranscoder(_a));
    }

    function test_GivenRaisedMinimum_MemberStaysUntilItsStakeFalls() external {
        _register(_a, 2 ether, 0, 0);
        vm.prank(owner);
        bonding.setMinimumStake(5 ether);
        _bond(delegator, 1 ether, _a);
        vm.assertEq(bonding.getTranscoderPoolSize(), 1);
        _nextRound();
        vm.prank(delegator);
        bonding.unbond(1);
        vm.assertEq(bonding.getTranscoderPoolSize(), 0);
    }

    /// Nobody can take a leaving member's reward of the round away by bonding to it.
    function test_GivenLeavingMember_BondByAnotherKeepsItActive() external {
        _register(_a, 2 ether, 0, 0);
        _nextRound();
        vm.prank(_a);
        bonding.unbond(1.5 ether);
        _bond(stranger, 1 ether, _a);
        vm.assertTrue(bonding.isActiveTranscoder(_a));
        vm.assertEq(bonding.getTranscoderPoolSize(), 1);
        _reward(_a);
        _nextRound();
        vm.assertTrue(bonding.isActiveTranscoder(_a));
        _reward(_a);
    }

    function test_GivenLeavingMember_StakeOfTheRoundIsStillTheOneItBeganWith() external {
        _register(_a, 2 ether, 0, 0);
        _nextRounds(3);
        vm.prank(_a);
        bonding.unbond(2 ether);
        _reward(_a);
        (uint256 stake,,,,) = bonding.getTranscoderEarningsPoolForRound(_a, rounds.currentRound());
        vm.assertEq(stake, 2 ether);
        // The next round's record follows every change, although it has left.
        (stake,,,,) = bonding.getTranscoderEarningsPoolForRound(_a, rounds.currentRound() + 1);
        vm.assertEq(stake, bonding.transcoderTotalStake(_a));
        vm.assertGt(stake, 0);
    }

    function test_GivenMemberThatNeverBecameActive_LeavingIsClean() external {
        _register(_a, 2 ether, 0, 0);
        vm.assertEq(bonding.getTranscoderPoolSize(), 1);
        _bond(delegator, 1 ether, _a);
        _nextRound();
        vm.prank(delegator);
        bonding.unbond(1 ether);
        vm.prank(_a);
        bonding.unbond(2 ether);
        _nextRound();
        vm.assertEq(bonding.getTotalBonded(), 0);
        vm.assertEq(bonding.currentRoundPoolSize(), 0);
        vm.assertFalse(bonding.isActiveTranscoder(_a));
        vm.prank(_a);
        vm.expectRevert(abi.encodeWithSelector(IBondingManager.TranscoderNotActive.selector, _a));
        bonding.reward();
    }

    function _assertMembers(address x, address y, address z) private view {
        address[3] memory expected = [x, y, z];
        uint256 size = 0;
        for (uint256 i = 0; i < 3; ++i) {
            if (expected[i] == address(0)) continue;
            ++size;
            bool found = false;
            address member = bonding.getFirstTranscoderInPool();
            for (uint256 j = 0; j < 4; ++j) {
                found = found || member == expected[i];
                member = bonding.getNextTranscoderInPool(member);
            }
            vm.assertTrue(found);
        }
        vm.assertEq(bonding.getTranscoderPoolSize(), size);
        uint256 walked = 0;
        for (
            address member = bonding.getFirstTranscoderInPool();
            member != address(0);
            member = bonding.getNextTranscoderInPool(member)
        ) {
            ++walked;
        }
        vm.assertEq(walked, size);
    }
}

/// @notice Thousands that join in the middle of a round.
contract OpenSetTest is StreamflowTest {
    uint256 private constant _JOINERS = 4_900;
    uint256 private constant _RESERVE = 100 ether;

    function _params(Deploy.Params memory p) internal view override returns (Deploy.Params memory) {
        p = super._params(p);
        p.numActiveTranscoders = 5_000;
        return p;
    }

    /// A reserve is shared by the number of orchestrators that the round began with, so a ticket signed against that share stays
    /// payable however many join.
    function test_Attack_FourThousandNineHundredJoinInTheRound_EverySignedTicketIsPaid() external {
        _register(orchestrator, 1 ether, 0, 0);
        vm.prank(owner);
        token.transfer(address(this), 5_000 ether);
        this.join(0, 99);
        _nextRound();
        _fund(0, _RESERVE);
        vm.assertEq(broker.claimableReserve(sender, orchestrator), 1 ether);
        Ticket memory first = _ticket(0.4 ether, 1);
        Ticket memory second = _ticket(0.6 ether, 2);
        (bytes memory firstSig, bytes memory secondSig) = (_sign(first), _sign(second));
        broker.redeemWinningTicket(first, firstSig, RAND);
        this.join(99, _JOINERS);
        vm.assertEq(bonding.getTranscoderPoolSize(), 5_000);
        vm.assertEq(bonding.currentRoundPoolSize(), 100);
        vm.assertEq(broker.claimableReserve(sender, orchestrator), 0.6 ether);
        broker.redeemWinningTicket(second, secondSig, RAND);
        vm.assertEq(bonding.pendingFees(orchestrator, 0), 1 ether);
        // From the next round on five thousand share the rest; what is committed to the recipient is not shared.
        vm.prank(sender);
        broker.commitReserve{value: 1 ether}(orchestrator);
        Ticket memory late = _ticket(1 ether, 3);
        bytes memory lateSig = _sign(late);
        _nextRound();
        vm.assertEq(bonding.currentRoundPoolSize(), 5_000);
        broker.redeemWinningTicket(late, lateSig, RAND);
    }

    /// @notice `n` more at the minimum stake, in one transaction.
    function join(uint256 from, uint256 n) external {
        for (uint256 i = from; i < from + n; ++i) {
            address member = address(uint160(0xabc0000 + i));
            token.transfer(member, 1 ether);
            vm.startPrank(member);
            token.approve(address(bonding), 1 ether);
            bonding.bond(1 ether, member);
            vm.stopPrank();
        }
    }

    function test_VacateSeat_FreesOneBelowTheMinimum() external {
        address small = _account("small");
        _register(small, 1 ether, 0, 0);
        _nextRound();
        vm.prank(owner);
        bonding.setMinimumStake(2 ether);
        uint256 total = bonding.nextRoundTotalActiveStake();
        vm.prank(stranger);
        bonding.vacateSeat(small);
        vm.assertTrue(bonding.isActiveTranscoder(small), "to the end of the round");
        vm.assertEq(bonding.nextRoundTotalActiveStake(), total - 1 ether);
        _nextRound();
        vm.assertFalse(bonding.isActiveTranscoder(small));
    }

    function test_RevertWhen_VacatingASeatThatIsEarnedOrNobodys() external {
        address enough = _account("enough");
        _register(enough, 1 ether, 0, 0);
        uint256 minimum = bonding.minimumStake();
        _expectError(abi.encodeWithSelector(IBondingManager.SeatNotVacant.selector, enough, 1 ether, minimum));
        bonding.vacateSeat(enough);
        _expectError(abi.encodeWithSelector(IBondingManager.SeatNotVacant.selector, stranger, 0, minimum));
        bonding.vacateSeat(stranger);
    }
}
