// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IBondingManager} from "../../contracts/interfaces/IBondingManager.sol";
import {Ticket} from "../../contracts/types/Ticket.sol";
import {StreamflowTest} from "./StreamflowTest.sol";

/// @notice When commissions change, and that delegators cannot be robbed by changing them.
contract CommissionTest is StreamflowTest {
    uint256 private constant _NOTICE = 7;

    // --- what waits ---

    function test_GivenFirstCommissions_TheyApplyAtOnce() external {
        _register(orchestrator, 10 ether, 400_000, 100_000);
        _assertInForce(400_000, 100_000);
        _assertPending(0, 0, 0);
    }

    function test_GivenSecondCommissionsBeforeTheFirstActiveRound_TheWorseWait() external {
        _register(orchestrator, 10 ether, 0, 1_000_000);
        vm.prank(orchestrator);
        bonding.transcoder(1_000_000, 0);
        _assertInForce(0, 1_000_000);
    }

    /// A first call late in life would be the cheapest squeeze of all.
    function test_GivenActiveWithoutCommissions_FirstOnesWaitToo() external {
        _bond(orchestrator, 10 ether, orchestrator);
        _nextRound();
        _change(1_000_000, 0);
        _assertInForce(0, 0);
        _assertPending(1_000_000, 0, rounds.currentRound() + _NOTICE);
    }

    function test_GivenBetterTerms_TheyApplyAtOnce() external {
        _team(400_000, 100_000);
        _reward(orchestrator);
        vm.expectEmit(address(bonding));
        emit IBondingManager.TranscoderUpdate(orchestrator, 300_000, 200_000);
        vm.prank(orchestrator);
        bonding.transcoder(300_000, 200_000);
        _assertInForce(300_000, 200_000);
        _assertPending(0, 0, 0);
    }

    function test_GivenWorseTerms_TheyWaitForTheNotice() external {
        _team(400_000, 500_000);
        _reward(orchestrator);
        uint256 effective = rounds.currentRound() + _NOTICE;
        vm.expectEmit(address(bonding));
        emit IBondingManager.TranscoderUpdate(orchestrator, 400_000, 500_000);
        vm.expectEmit(address(bonding));
        emit IBondingManager.CommissionChangePending(orchestrator, 600_000, 300_000, effective);
        vm.prank(orchestrator);
        bonding.transcoder(600_000, 300_000);
        _nextRounds(_NOTICE - 1);
        _assertInForce(400_000, 500_000);
        _assertPending(600_000, 300_000, effective);
        _nextRound();
        _assertInForce(600_000, 300_000);
        _assertPending(0, 0, 0);
    }

    function test_GivenOneWorseAndOneBetter_OnlyTheWorseWaits() external {
        _team(400_000, 500_000);
        _change(500_000, 600_000);
        _assertInForce(400_000, 600_000);
        _assertPending(500_000, 600_000, rounds.currentRound() + _NOTICE);
        _nextRounds(_NOTICE);
        _assertInForce(500_000, 600_000);
    }

    function test_GivenLongValidity_TheNoticeIsAsLong() external {
        vm.startPrank(owner);
        broker.setUnlockPeriod(30);
        broker.setTicketValidityPeriod(20);
        vm.stopPrank();
        _team(400_000, 500_000);
        _change(500_000, 500_000);
        _assertPending(500_000, 500_000, rounds.currentRound() + 20);
    }

    function test_GivenMilderAnnouncement_TheDateStays() external {
        _team(400_000, 500_000);
        _change(600_000, 100_000);
        uint256 effective = rounds.currentRound() + _NOTICE;
        _nextRound();
        _change(600_000, 200_000);
        _assertPending(600_000, 200_000, effective);
        _nextRound();
        _change(600_001, 200_000);
        _assertPending(600_001, 200_000, rounds.currentRound() + _NOTICE);
    }

    function test_GivenReturnToOldTerms_NothingWaits() external {
        _team(400_000, 500_000);
        _change(600_000, 100_000);
        _nextRound();
        _change(400_000, 500_000);
        _assertPending(0, 0, 0);
        _nextRounds(_NOTICE);
        _assertInForce(400_000, 500_000);
    }

    // --- attacks ---

    /// Squeezing: attract stake with good terms, then keep all of its reward before it can leave.
    function test_GivenSqueeze_TheDelegatorEarnsOnOldTermsUntilItLeft() external {
        _team(0, 1_000_000);
        _change(1_000_000, 0);
        // The notice is long enough to see the change and to get out of every round that it applies to.
        for (uint256 i = 1; i < _NOTICE; ++i) {
            _nextRound();
            uint256 before = bonding.pendingStake(delegator, 0);
            uint256 total = bonding.transcoderTotalStake(orchestrator);
            _reward(orchestrator);
            uint256 minted = bonding.transcoderTotalStake(orchestrator) - total;
            vm.assertApproxEqAbs(bonding.pendingStake(delegator, 0), before + minted * before / total, 1e9);
        }
        uint256 stake = bonding.pendingStake(delegator, 0);
        vm.prank(delegator);
        bonding.unbond(stake);
        _nextRounds(7);
        vm.prank(delegator);
        bonding.withdrawStake(0);
        vm.assertEq(token.balanceOf(delegator), stake);
    }

    /// Fee theft: lower the share after the reward call and redeem the round's winners one round later. On the deployed contracts
    /// the delegator's quarter becomes nothing.
    function test_GivenFeeTheft_TheDelegatorGetsItsShare() external {
        _team(0, 500_000);
        _fund(10 ether, 0);
        Ticket memory ticket = _ticket(1 ether, 1);
        bytes memory sig = _sign(ticket);
        _change(0, 0);
        _nextRound();
        broker.redeemWinningTicket(ticket, sig, RAND);
        vm.assertApproxEqAbs(bonding.pendingFees(delegator, 0), 0.25 ether, 2);
    }

    /// The same around the round in which the lower share takes effect.
    function test_GivenTicketOfTheLastGoodRound_OldShareCounts() external {
        _team(0, 500_000);
        _fund(10 ether, 0);
        _change(0, 0);
        _nextRounds(_NOTICE - 1);
        Ticket memory late = _ticket(1 ether, 1);
        bytes memory sig = _sign(late);
        _nextRound();
        _assertInForce(0, 0);
        broker.redeemWinningTicket(late, sig, RAND);
        uint256 fees = bonding.pendingFees(delegator, 0);
        vm.assertApproxEqAbs(fees, 0.25 ether, 2);
        // A ticket of this round is split on the terms of this round.
        _redeem(_ticket(1 ether, 2));
        vm.assertEq(bonding.pendingFees(delegator, 0), fees);
    }

    /// Announcing again in the round in which a change takes effect must not make the old share forgotten.
    function test_GivenNewAnnouncementAtOnce_TicketsBeforeKeepTheirShare() external {
        _team(0, 500_000);
        _fund(10 ether, 0);
        _change(0, 100_000);
        _nextRounds(_NOTICE - 1);
        Ticket memory late = _ticket(1 ether, 1);
        bytes memory sig = _sign(late);
        _nextRound();
        _change(0, 0);
        broker.redeemWinningTicket(late, sig, RAND);
        vm.assertApproxEqAbs(bonding.pendingFees(delegator, 0), 0.25 ether, 2);
    }

    /// A raised share counts at once, for older tickets as well.
    function test_GivenRaisedShare_OlderTicketsPayIt() external {
        _team(0, 500_000);
        _fund(10 ether, 0);
        Ticket memory ticket = _ticket(1 ether, 1);
        bytes memory sig = _sign(ticket);
        _change(0, 1_000_000);
        _nextRound();
        broker.redeemWinningTicket(ticket, sig, RAND);
        vm.assertApproxEqAbs(bonding.pendingFees(delegator, 0), 0.5 ether, 2);
    }

    /// Whatever an orchestrator announces and when, a ticket never pays its delegators by a share below that of its creation.
    function testFuzz_NoTicketPaysLessThanTheShareOfItsCreation(uint256 seed) external {
        _team(0, seed % 1_000_001);
        _fund(10_000 ether, 0);
        for (uint256 i = 0; i < 20; ++i) {
            uint256 dice = uint256(keccak256(abi.encode(seed, i)));
            Ticket memory ticket = _ticket(1 ether, i);
            uint256 promised = _feeShare();
            if (dice % 3 == 0) _change(0, (dice >> 8) % 1_000_001);
            if (dice % 2 == 0) _nextRound();
            if (dice % 5 == 0) _change(0, (dice >> 64) % 1_000_001);
            uint256 least = 1 ether * promised / 1_000_000 * bonding.pendingStake(delegator, 0)
                / bonding.transcoderTotalStake(orchestrator);
            uint256 before = bonding.pendingFees(delegator, 0);
            _redeem(ticket);
            vm.assertGe(bonding.pendingFees(delegator, 0) + 1e9, before + least, "share of the creation round");
        }
    }

    // --- helpers ---

    function _team(uint256 rewardCut, uint256 feeShare) private {
        _register(orchestrator, 1000 ether, rewardCut, feeShare);
        _bond(delegator, 1000 ether, orchestrator);
        _nextRound();
    }

    /// @dev Reward first, as the contract asks.
    function _change(uint256 rewardCut, uint256 feeShare) private {
        (uint256 lastReward,,,,,,,,,) = bonding.getTranscoder(orchestrator);
        if (lastReward < rounds.currentRound()) _reward(orchestrator);
        vm.prank(orchestrator);
        bonding.transcoder(rewardCut, feeShare);
    }

    function _feeShare() private view returns (uint256 feeShare) {
        (,, feeShare,,,,,,,) = bonding.getTranscoder(orchestrator);
    }

    function _assertInForce(uint256 rewardCut, uint256 feeShare) private view {
        (, uint256 cut, uint256 share,,,,,,,) = bonding.getTranscoder(orchestrator);
        vm.assertEq(cut, rewardCut, "reward cut in force");
        vm.assertEq(share, feeShare, "fee share in force");
    }

    function _assertPending(uint256 rewardCut, uint256 feeShare, uint256 effectiveRound) private view {
        (uint256 cut, uint256 share, uint256 round) = bonding.getPendingCommissions(orchestrator);
        vm.assertEq(cut, rewardCut, "pending reward cut");
        vm.assertEq(share, feeShare, "pending fee share");
        vm.assertEq(round, effectiveRound, "effective round");
    }

    /// It had terms all the while, though it never set any: coming back is no first time.
    function test_GivenReturnOfOneWithoutCommissions_TheWorseOnesWait() external {
        address self = _account("never set any");
        _bond(self, 10 ether, self);
        _bond(_account("its delegator"), 90 ether, self);
        _nextRounds(5);
        vm.prank(self);
        bonding.unbond(10 ether);
        _nextRound();
        vm.startPrank(self);
        bonding.rebondFromUnbonded(self, 0);
        bonding.transcoder(1_000_000, 0);
        vm.stopPrank();
        (, uint256 rewardCut,,,,,,,,) = bonding.getTranscoder(self);
        vm.assertEq(rewardCut, 0);
        (uint256 nextRewardCut,, uint256 effectiveRound) = bonding.getPendingCommissions(self);
        vm.assertEq(nextRewardCut, 1_000_000);
        vm.assertEq(effectiveRound, rounds.currentRound() + bonding.noticePeriod());
    }
}
