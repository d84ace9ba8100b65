// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ITicketBroker} from "../../contracts/interfaces/ITicketBroker.sol";
import {Ticket} from "../../contracts/types/Ticket.sol";
import {OrderedTest} from "./OrderedTest.sol";

/// @notice Reserve committed to named recipients: raised at once, lowered after the unlock period, and nobody else's business.
contract CommittedReserveTest is OrderedTest {
    address private _other = _account("other orchestrator");

    function setUp() public override {
        super.setUp();
        _register(orchestrator, 1000 ether, 100_000, 500_000);
        _register(_other, 1000 ether, 100_000, 500_000);
        _nextRound();
        _fund(1 ether, 6 ether);
    }

    function test_Commit_AddsAtOnceAndReports() external {
        vm.expectEmit(address(broker));
        emit ITicketBroker.ReserveCommitted(sender, orchestrator, 2 ether);
        _commit(orchestrator, 2 ether);
        _commit(orchestrator, 1 ether);
        _assertCommitted(orchestrator, 3 ether, 0, 0);
        vm.assertEq(broker.claimableCommittedReserve(sender, orchestrator), 3 ether);
        vm.assertEq(address(broker).balance, 10 ether);
    }

    /// What a sender has committed in all: grows by commitments, shrinks by claims and by what is taken back.
    function test_CommittedReserveOf_IsTheSumOverRecipients() external {
        _commit(orchestrator, 2 ether);
        _commit(_other, 3 ether);
        vm.assertEq(broker.committedReserveOf(sender), 5 ether);
        _redeem(_ticket(2 ether, 1));
        _assertCommitted(orchestrator, 1 ether, 0, 0);
        vm.assertEq(broker.committedReserveOf(sender), 4 ether);
        vm.prank(sender);
        broker.releaseReserve(_other, 2 ether);
        vm.assertEq(broker.committedReserveOf(sender), 4 ether, "still there");
        _nextRounds(broker.unlockPeriod());
        vm.prank(sender);
        broker.withdrawReleasedReserve(_other);
        vm.assertEq(broker.committedReserveOf(sender), 2 ether);
    }

    /// Nodes that know nothing of commitments must not count on them.
    function test_Commit_IsLeftOutOfTheDeployedViews() external {
        _commit(orchestrator, 2 ether);
        (ITicketBroker.Sender memory info, ITicketBroker.ReserveInfo memory held) = broker.getSenderInfo(sender);
        vm.assertEq(info.deposit, 1 ether);
        vm.assertEq(held.fundsRemaining, 6 ether);
        vm.assertEq(broker.getReserveInfo(sender).fundsRemaining, 6 ether);
        vm.assertEq(broker.claimableReserve(sender, orchestrator), 3 ether);
        vm.assertEq(broker.claimableReserve(sender, _other), 3 ether);
        vm.assertEq(broker.claimableCommittedReserve(sender, _other), 0);
    }

    function test_GivenCommitment_ItPaysBeforeTheSharedReserve() external {
        _commit(orchestrator, 2 ether);
        vm.expectEmit(address(broker));
        emit ITicketBroker.CommittedReserveClaimed(sender, orchestrator, 1 ether);
        _redeem(_ticket(2 ether, 1));
        vm.assertEq(_deposit(sender), 0);
        _assertCommitted(orchestrator, 1 ether, 0, 0);
        vm.assertEq(broker.getReserveInfo(sender).fundsRemaining, 6 ether);
        // The rest, then the share.
        vm.expectEmit(address(broker));
        emit ITicketBroker.CommittedReserveClaimed(sender, orchestrator, 1 ether);
        vm.expectEmit(address(broker));
        emit ITicketBroker.ReserveClaimed(sender, orchestrator, 3 ether);
        _redeem(_ticket(4 ether, 2));
        _assertCommitted(orchestrator, 0, 0, 0);
        vm.assertEq(broker.getReserveInfo(sender).fundsRemaining, 3 ether);
        vm.assertEq(broker.unclaimedFees(), 6 ether);
    }

    function test_GivenCommitmentToAnother_ItPaysNothing() external {
        _commit(_other, 5 ether);
        Ticket memory ticket = _ticket(4 ether + 1, 1);
        bytes memory sig = _sign(ticket);
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.InsufficientFunds.selector, 4 ether + 1, uint256(4 ether)));
        broker.redeemWinningTicket(ticket, sig, RAND);
    }

    function test_GivenOrderedBatch_CommitmentPaysToo() external {
        _commit(orchestrator, 2 ether);
        vm.expectEmit(address(broker));
        emit ITicketBroker.CommittedReserveClaimed(sender, orchestrator, 2 ether);
        vm.expectEmit(address(broker));
        emit ITicketBroker.ReserveClaimed(sender, orchestrator, 2 ether);
        vm.expectEmit(address(broker));
        emit ITicketBroker.WinningTicketTransfer(sender, orchestrator, 5 ether);
        // After the first there are four ether left: too few for the second, enough for the third.
        _redeemOrdered(_group(_list(_winner(2 ether, 1, 1), _winner(5 ether, 2, 1), _winner(3 ether, 3, 1))));
        vm.assertEq(broker.unclaimedFees(), 5 ether);
    }

    function test_Release_TakesTheUnlockPeriod() external {
        _commit(orchestrator, 3 ether);
        uint256 end = rounds.currentRound() + 2;
        vm.expectEmit(address(broker));
        emit ITicketBroker.ReserveReleaseStarted(sender, orchestrator, 2 ether, end);
        _release(orchestrator, 2 ether);
        _assertCommitted(orchestrator, 3 ether, 2 ether, end);
        _nextRound();
        vm.assertEq(broker.claimableCommittedReserve(sender, orchestrator), 3 ether);
        vm.prank(sender);
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.CommitmentLocked.selector, end, end - 1));
        broker.withdrawReleasedReserve(orchestrator);
        _nextRound();
        vm.assertEq(broker.claimableCommittedReserve(sender, orchestrator), 1 ether);
        uint256 before = sender.balance;
        vm.expectEmit(address(broker));
        emit ITicketBroker.CommittedReserveWithdrawn(sender, orchestrator, 2 ether);
        vm.prank(sender);
        broker.withdrawReleasedReserve(orchestrator);
        vm.assertEq(sender.balance, before + 2 ether);
        _assertCommitted(orchestrator, 1 ether, 0, 0);
        vm.prank(sender);
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.NoRelease.selector, orchestrator));
        broker.withdrawReleasedReserve(orchestrator);
    }

    /// Every ticket made before the release is paid, or has expired, before the money can leave.
    function test_GivenRelease_TicketsMadeBeforeArePaid() external {
        _commit(orchestrator, 3 ether);
        Ticket memory ticket = _ticket(3 ether, 1);
        _release(orchestrator, 3 ether);
        _nextRound();
        _redeem(ticket);
        _assertCommitted(orchestrator, 1 ether, 3 ether, rounds.currentRound() + 1);
        _nextRound();
        uint256 before = sender.balance;
        vm.prank(sender);
        broker.withdrawReleasedReserve(orchestrator);
        vm.assertEq(sender.balance, before + 1 ether, "what was claimed meanwhile does not leave");
    }

    function test_GivenReleasedPart_ItPaysNothingMore() external {
        _commit(orchestrator, 3 ether);
        _release(orchestrator, 3 ether);
        _nextRounds(2);
        Ticket memory ticket = _ticket(4 ether + 1, 1);
        bytes memory sig = _sign(ticket);
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.InsufficientFunds.selector, 4 ether + 1, uint256(4 ether)));
        broker.redeemWinningTicket(ticket, sig, RAND);
    }

    /// Renaming is a release and a new commitment, so it takes the unlock period too.
    function test_GivenSecondRelease_TheWaitStartsAnew() external {
        _commit(orchestrator, 3 ether);
        _release(orchestrator, 3 ether);
        _nextRound();
        _release(orchestrator, 1 ether);
        _assertCommitted(orchestrator, 3 ether, 1 ether, rounds.currentRound() + 2);
        _release(orchestrator, 0);
        _assertCommitted(orchestrator, 3 ether, 0, 0);
    }

    function test_RevertWhen_ReleasingMoreThanIsCommitted() external {
        _commit(orchestrator, 3 ether);
        vm.prank(sender);
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.ReleaseTooLarge.selector, 3 ether + 1, 3 ether));
        broker.releaseReserve(orchestrator, 3 ether + 1);
    }

    function test_RevertWhen_CommittingToNobody() external {
        vm.prank(sender);
        vm.expectRevert(ITicketBroker.NullRecipient.selector);
        broker.commitReserve{value: 1}(address(0));
    }

    /// A pause never traps money that is released.
    function test_GivenPause_ReleasedReserveCanBeWithdrawn() external {
        _commit(orchestrator, 3 ether);
        _release(orchestrator, 3 ether);
        _nextRounds(2);
        _pause();
        uint256 before = sender.balance;
        vm.prank(sender);
        broker.withdrawReleasedReserve(orchestrator);
        vm.assertEq(sender.balance, before + 3 ether);
    }

    /// Unlocking and withdrawing the account leaves commitments where they are.
    function test_GivenWithdrawal_CommitmentStays() external {
        _commit(orchestrator, 3 ether);
        vm.prank(sender);
        broker.unlock();
        _nextRounds(2);
        vm.prank(sender);
        broker.withdraw();
        _assertCommitted(orchestrator, 3 ether, 0, 0);
        _redeem(_ticket(3 ether, 1));
        vm.assertEq(broker.unclaimedFees(), 3 ether);
    }

    /// However much is committed to some, the share of the others stays what it was.
    function testFuzz_SharesOfOthersDoNotChange(uint256 amount, uint256 claim) external {
        amount %= 100 ether;
        claim %= amount + 4 ether + 1;
        uint256 share = broker.claimableReserve(sender, _other);
        _commit(orchestrator, amount);
        vm.assertEq(broker.claimableReserve(sender, _other), share);
        _redeem(_ticket(claim, 1));
        vm.assertEq(broker.claimableReserve(sender, _other), share);
        vm.assertEq(broker.unclaimedFees(), claim);
    }

    function _commit(address recipient, uint256 amount) private {
        vm.prank(sender);
        broker.commitReserve{value: amount}(recipient);
    }

    function _release(address recipient, uint256 amount) private {
        vm.prank(sender);
        broker.releaseReserve(recipient, amount);
    }

    function _assertCommitted(address recipient, uint256 amount, uint256 releasing, uint256 releaseRound) private view {
        ITicketBroker.CommittedReserve memory held = broker.getCommittedReserve(sender, recipient);
        vm.assertEq(held.funds, amount);
        vm.assertEq(held.releasing, releasing);
        vm.assertEq(held.releaseRound, releaseRound);
    }
}
