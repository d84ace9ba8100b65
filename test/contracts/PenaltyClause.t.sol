// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IPenaltyClause} from "../../contracts/interfaces/IPenaltyClause.sol";
import {ITicketBroker} from "../../contracts/interfaces/ITicketBroker.sol";
import {OrderedTicket} from "../../contracts/types/OrderedTicket.sol";
import {Ticket} from "../../contracts/types/Ticket.sol";
import {PenaltyTest} from "./PenaltyTest.sol";

/// @notice The clause: set, resigned, proven against, burned. What is tried against it is in PenaltyAttacks.t.sol.
contract PenaltyClauseTest is PenaltyTest {
    // --- fundWithPenalty ---

    function test_FundWithPenalty_BindsAndReports() external {
        address account = stranger;
        vm.expectEmit(address(broker));
        emit ITicketBroker.ReserveFunded(account, 2 ether);
        vm.expectEmit(address(broker));
        emit ITicketBroker.DepositFunded(account, 1 ether);
        vm.expectEmit(address(broker));
        emit IPenaltyClause.PenaltyClauseSet(account, 500_000, 3 ether, 2);
        vm.prank(account);
        broker.fundWithPenalty{value: 3 ether}(1 ether, 2 ether, 500_000, 3 ether);
        IPenaltyClause.PenaltyTerms memory terms = broker.penaltyTermsOf(account);
        vm.assertEq(terms.burnShare, 500_000);
        vm.assertEq(terms.limit, 3 ether);
        vm.assertEq(terms.maxFaceValue, 0.03 ether);
        vm.assertEq(terms.window, 2);
        vm.assertEq(terms.endRound, 0);
        vm.assertEq(terms.penalty, 0);
        vm.assertEq(terms.burnRound, 0);
        vm.assertEq(_deposit(account), 1 ether);
        vm.assertEq(broker.getReserveInfo(account).fundsRemaining, 2 ether);
    }

    function test_GivenFundingWithoutClause_ThereIsNone() external {
        vm.prank(stranger);
        broker.fundDepositAndReserve{value: 2 ether}(1 ether, 1 ether);
        vm.assertEq(broker.penaltyTermsOf(stranger).burnShare, 0);
        OrderedTicket[] memory none = new OrderedTicket[](0);
        vm.expectRevert(abi.encodeWithSelector(IPenaltyClause.NoPenaltyClause.selector, stranger));
        broker.proveOverspend(new IPenaltyClause.ProofGroup[](0), none, stranger);
    }

    function test_RevertWhen_BurnShareIsZeroOrAboveHalf() external {
        uint256[2] memory shares = [uint256(0), 500_001];
        for (uint256 i = 0; i < shares.length; ++i) {
            vm.prank(stranger);
            vm.expectRevert(abi.encodeWithSelector(IPenaltyClause.InvalidBurnShare.selector, shares[i]));
            broker.fundWithPenalty{value: 2 ether}(1 ether, 1 ether, shares[i], 1 ether);
        }
    }

    function test_RevertWhen_LimitIsDustOrAboveFunds() external {
        uint256[2] memory limits = [uint256(99), 2 ether + 1];
        for (uint256 i = 0; i < limits.length; ++i) {
            vm.prank(stranger);
            vm.expectRevert(
                abi.encodeWithSelector(IPenaltyClause.InvalidSpendingLimit.selector, limits[i], uint256(2 ether))
            );
            broker.fundWithPenalty{value: 2 ether}(1 ether, 1 ether, SHARE, limits[i]);
        }
        vm.prank(stranger);
        broker.fundWithPenalty{value: 2 ether}(1 ether, 1 ether, SHARE, 2 ether);
    }

    function test_RevertWhen_ClauseIsInForce() external {
        vm.prank(sender);
        vm.expectRevert(abi.encodeWithSelector(IPenaltyClause.PenaltyClauseInForce.selector, 0));
        broker.fundWithPenalty(0, 0, SHARE, LIMIT);
        _resign();
        uint256 end = rounds.currentRound() + 2;
        _nextRound();
        vm.prank(sender);
        vm.expectRevert(abi.encodeWithSelector(IPenaltyClause.PenaltyClauseInForce.selector, end));
        broker.fundWithPenalty(0, 0, SHARE, LIMIT);
        _nextRound();
        _fundWithPenalty(0, 0, 500_000, 1 ether);
        vm.assertEq(_terms().burnShare, 500_000);
        vm.assertEq(_terms().endRound, 0);
    }

    function test_RevertWhen_ValueDoesNotMatch() external {
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.ValueMismatch.selector, 2 ether, 1 ether, 2 ether));
        broker.fundWithPenalty{value: 2 ether}(1 ether, 2 ether, SHARE, 1 ether);
    }

    function test_RevertWhen_Paused() external {
        OrderedTicket[] memory tickets = _overspend(1);
        _pause();
        vm.prank(stranger);
        _expectPaused();
        broker.fundWithPenalty{value: 2 ether}(1 ether, 1 ether, SHARE, 1 ether);
        vm.prank(sender);
        _expectPaused();
        broker.resignPenaltyClause();
        IPenaltyClause.ProofGroup[] memory groups = _proofGroup(orchestrator, tickets.length);
        _expectPaused();
        broker.proveOverspend(groups, tickets, sender);
        _expectPaused();
        broker.burnRecordedPenalty(sender);
    }

    // --- resignPenaltyClause ---

    function test_Resign_TakesTheUnlockPeriod() external {
        uint256 end = rounds.currentRound() + 2;
        vm.expectEmit(address(broker));
        emit IPenaltyClause.PenaltyClauseResigned(sender, end);
        _resign();
        vm.assertEq(_terms().endRound, end);
        _nextRound();
        _proveOverspend();
        vm.assertEq(_terms().penalty, 1.25 ether);
    }

    function test_GivenClauseEnded_NothingCanBeProven() external {
        _resign();
        _nextRounds(2);
        OrderedTicket[] memory tickets = _overspend(1);
        vm.expectRevert(abi.encodeWithSelector(IPenaltyClause.NoPenaltyClause.selector, sender));
        _prove(tickets);
    }

    function test_RevertWhen_ResigningWithoutClauseOrTwice() external {
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IPenaltyClause.NoPenaltyClause.selector, stranger));
        broker.resignPenaltyClause();
        _resign();
        uint256 end = rounds.currentRound() + 2;
        vm.prank(sender);
        vm.expectRevert(abi.encodeWithSelector(IPenaltyClause.PenaltyClauseEnding.selector, end));
        broker.resignPenaltyClause();
    }

    /// Whatever was made before the notice can be proven as long as it lives.
    function test_GivenNotice_TicketsMadeBeforeCountAllTheirLife() external {
        OrderedTicket[] memory tickets = _overspend(1);
        _resign();
        _nextRound();
        _prove(tickets);
        vm.assertEq(_terms().penalty, 1.25 ether);
    }

    // --- proveOverspend ---

    function test_Prove_RecordsAndReports() external {
        uint256 burnRound = rounds.currentRound() + 2;
        OrderedTicket[] memory tickets = _overspend(1);
        vm.expectEmit(address(broker));
        emit IPenaltyClause.OverspendProven(sender, stranger, ENOUGH * FACE, 10 ether, 1.25 ether, burnRound);
        vm.prank(stranger);
        _prove(tickets);
        vm.assertEq(_terms().penalty, 1.25 ether);
        vm.assertEq(_terms().burnRound, burnRound);
        vm.assertEq(broker.getReserveInfo(sender).fundsRemaining, RESERVE, "it pays tickets until it is burned");
    }

    function test_Prove_BeginsOneWeiAboveWhatIsAllowed() external {
        OrderedTicket[] memory tickets = _winners(_series(orchestrator), ENOUGH - 1, 1);
        vm.expectRevert(abi.encodeWithSelector(IPenaltyClause.NotOverspent.selector, ALLOWED, ALLOWED));
        _prove(tickets);
        Series memory dust = _series(other);
        dust.faceValue = 1;
        (IPenaltyClause.ProofGroup[] memory groups, OrderedTicket[] memory all) = _pair(tickets, _winners(dust, 1, 1));
        broker.proveOverspend(groups, all, sender);
        vm.assertEq(_terms().penalty, 1.25 ether);
    }

    function test_Prove_AcceptsTicketsBoundToTheDeployment() external {
        Series memory series = _series(orchestrator);
        series.bound = true;
        _prove(_winners(series, ENOUGH, 1));
        vm.assertEq(_terms().penalty, 1.25 ether);
    }

    function test_Prove_CountsTicketsOfTwoRounds() external {
        OrderedTicket[] memory old = _winners(_series(orchestrator), 150, 1);
        _nextRound();
        OrderedTicket[] memory young = _winners(_series(other), ENOUGH - 150, 1);
        (IPenaltyClause.ProofGroup[] memory groups, OrderedTicket[] memory all) = _pair(old, young);
        broker.proveOverspend(groups, all, sender);
        vm.assertEq(_terms().burnRound, rounds.currentRound() + 2, "when the youngest has expired");
    }

    function test_Prove_LeavesOutWhatIsCommitted() external {
        vm.prank(sender);
        broker.commitReserve{value: 2 ether}(orchestrator);
        OrderedTicket[] memory tickets = _overspend(1);
        vm.expectRevert(abi.encodeWithSelector(IPenaltyClause.NotOverspent.selector, ENOUGH * FACE - 2 ether, ALLOWED));
        _prove(tickets);
        // To another recipient it makes no difference.
        Series memory series = _series(other);
        broker.proveOverspend(_proofGroup(other, ENOUGH), _winners(series, ENOUGH, 1), sender);
    }

    function test_GivenCommitmentAboveItsTickets_TheRestCountsForNobodyElse() external {
        vm.prank(sender);
        broker.commitReserve{value: 50 ether}(orchestrator);
        OrderedTicket[] memory covered = _winners(_series(orchestrator), 3, 1);
        (IPenaltyClause.ProofGroup[] memory groups, OrderedTicket[] memory all) =
            _pair(covered, _winners(_series(other), ENOUGH, 1));
        uint256 burnRound = rounds.currentRound() + 2;
        vm.expectEmit(address(broker));
        emit IPenaltyClause.OverspendProven(sender, address(this), ENOUGH * FACE, 10 ether, 1.25 ether, burnRound);
        broker.proveOverspend(groups, all, sender);
    }

    function test_RevertWhen_TermsAreUndefined() external {
        OrderedTicket[] memory tickets = _winners(_series(orchestrator), 3, 1);
        tickets[1].terms |= 1 << 225;
        _expectInvalid(tickets, 1, ITicketBroker.InvalidTerms.selector);
    }

    function test_RevertWhen_TicketIsExpired() external {
        OrderedTicket[] memory tickets = _overspend(1);
        _nextRounds(2);
        _expectInvalid(tickets, 0, ITicketBroker.TicketExpired.selector);
    }

    function test_RevertWhen_RoundHasNoBlockHash() external {
        Series memory series = _series(orchestrator);
        ++series.round;
        _expectInvalid(_winners(series, 1, 1), 0, ITicketBroker.NoBlockHash.selector);
    }

    function test_RevertWhen_FaceValueIsAboveTheGreatest() external {
        Series memory series = _series(orchestrator);
        ++series.faceValue;
        _expectInvalid(_winners(series, 1, 1), 0, IPenaltyClause.FaceValueNotCovered.selector);
    }

    function test_RevertWhen_HashesDoNotAscend() external {
        OrderedTicket[] memory tickets = _winners(_series(orchestrator), 3, 1);
        (tickets[1], tickets[2]) = (tickets[2], tickets[1]);
        _expectInvalid(tickets, 2, IPenaltyClause.HashNotAscending.selector);
        tickets[2] = tickets[1];
        _expectInvalid(tickets, 2, IPenaltyClause.HashNotAscending.selector);
    }

    function test_RevertWhen_SignatureIsAnothersOrHasAHighS() external {
        OrderedTicket[] memory tickets = _winners(_series(orchestrator), 1, 1);
        bytes32 s = tickets[0].yParityAndS;
        uint256 order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
        // Set bit 255 is the parity, so a high s of 256 bits cannot even be written; one of 255 bits above the half can.
        tickets[0].yParityAndS = bytes32(order / 2 + 1) | (s & bytes32(uint256(1) << 255));
        _expectInvalid(tickets, 0, ITicketBroker.InvalidSignature.selector);
        Series memory series = _series(orchestrator);
        series.key = DEPLOYER_KEY;
        _expectInvalid(_winners(series, 1, 1), 0, ITicketBroker.InvalidSignature.selector);
    }

    function test_RevertWhen_TicketDoesNotWin() external {
        Series memory series = _series(orchestrator);
        series.winProb = 0;
        _expectInvalid(_winners(series, 1, 1), 0, ITicketBroker.TicketNotWinning.selector);
    }

    function test_RevertWhen_SecretIsAnother() external {
        OrderedTicket[] memory tickets = _winners(_series(orchestrator), 1, 1);
        ++tickets[0].recipientRand;
        _expectInvalid(tickets, 0, ITicketBroker.InvalidSignature.selector);
    }

    function test_RevertWhen_RecipientsDoNotAscend() external {
        OrderedTicket[] memory tickets = new OrderedTicket[](0);
        IPenaltyClause.ProofGroup[] memory groups = new IPenaltyClause.ProofGroup[](2);
        (groups[0].recipient, groups[1].recipient) = (other, other);
        vm.expectRevert(abi.encodeWithSelector(IPenaltyClause.RecipientsNotAscending.selector, other, other));
        broker.proveOverspend(groups, tickets, sender);
        groups[0].recipient = address(0);
        vm.expectRevert(abi.encodeWithSelector(IPenaltyClause.RecipientsNotAscending.selector, address(0), address(0)));
        broker.proveOverspend(groups, tickets, sender);
    }

    function test_RevertWhen_CountsDoNotAddUp() external {
        OrderedTicket[] memory tickets = _winners(_series(orchestrator), 2, 1);
        uint256[2] memory counts = [uint256(3), type(uint256).max];
        for (uint256 i = 0; i < counts.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(ITicketBroker.CountMismatch.selector, counts[i], 2));
            broker.proveOverspend(_proofGroup(orchestrator, counts[i]), tickets, sender);
        }
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.CountMismatch.selector, 1, 2));
        broker.proveOverspend(_proofGroup(orchestrator, 1), tickets, sender);
    }

    function test_RevertWhen_SenderIsUnlocked() external {
        _unlock();
        _nextRounds(2);
        OrderedTicket[] memory tickets = _overspend(1);
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.SenderUnlocked.selector, sender));
        _prove(tickets);
    }

    function test_GivenLaterProofOfOlderTickets_TheBurnDoesNotComeSooner() external {
        OrderedTicket[] memory old = _winners(_series(orchestrator), ENOUGH + 1, 1);
        _nextRound();
        _prove(_overspend(1000));
        uint256 burnRound = rounds.currentRound() + 2;
        vm.assertEq(_terms().burnRound, burnRound);
        _fund(0, FACE);
        _prove(old);
        vm.assertEq(_terms().penalty, ((RESERVE + FACE) * SHARE) / 1e6);
        vm.assertEq(_terms().burnRound, burnRound);
    }

    function test_RevertWhen_ForfeitIsNotRaised() external {
        OrderedTicket[] memory tickets = _overspend(1);
        _prove(tickets);
        vm.expectRevert(abi.encodeWithSelector(IPenaltyClause.PenaltyNotRaised.selector, 1.25 ether, 1.25 ether));
        _prove(tickets);
    }

    function test_RevertWhen_ThereIsNoReserve() external {
        _clear();
        _fundWithPenalty(1 ether, 0, SHARE, 1 ether);
        Series memory series = _series(orchestrator);
        series.faceValue = 0.01 ether;
        OrderedTicket[] memory tickets = _winners(series, 201, 1);
        vm.expectRevert(abi.encodeWithSelector(IPenaltyClause.PenaltyNotRaised.selector, 0, 0));
        _prove(tickets);
    }

    // --- what counts ---

    function test_GivenPaidTickets_TheyCountNothing() external {
        OrderedTicket[] memory tickets = _winners(_series(orchestrator), ENOUGH, 1);
        for (uint256 i = 0; i < 5; ++i) {
            _redeemOne(tickets[i], orchestrator);
        }
        uint256 burnRound = rounds.currentRound() + 2;
        vm.expectEmit(address(broker));
        emit IPenaltyClause.OverspendProven(
            sender, address(this), (ENOUGH - 5) * FACE, 9.5 ether, 1.25 ether, burnRound
        );
        _prove(tickets);
    }

    function test_GivenMarkedTickets_TheyCountAboveTheMark() external {
        Series memory series = _series(orchestrator);
        series.rand = _rand(7);
        OrderedTicket[] memory tickets = _winners(series, ENOUGH, 1);
        _prove(tickets);
        vm.assertEq(_terms().penalty, 1.25 ether);
    }

    function test_GivenPassedTickets_TheyCountNothing() external {
        Series memory series = _series(orchestrator);
        series.rand = _rand(7);
        OrderedTicket[] memory tickets = _winners(series, ENOUGH, 1);
        // Passes nonces 1 to 3: 1 is paid in order, 2 and 3 are left out for good.
        _redeemOrdered(_group(_list(_winner(FACE, 7, 1), _winner(0, 7, 3))));
        uint256 owed = (ENOUGH - 3) * FACE;
        vm.expectRevert(abi.encodeWithSelector(IPenaltyClause.NotOverspent.selector, owed, ALLOWED - FACE));
        _prove(tickets);
    }

    function test_GivenTicketsAside_TheyCountUntilPaid() external {
        // Above every share, so that it comes aside, and not covered by the clause itself.
        _redeemOrdered(_group(_list(_winner(8 ether, 6, 1), _winner(FACE, 7, 1))));
        Series memory series = _series(orchestrator);
        series.rand = _rand(7);
        OrderedTicket[] memory paid = _winners(series, 1, 1);
        _assertOwed(paid, 0, ALLOWED - FACE);
        // Now nothing is left for its recipient, and a covered ticket comes aside.
        _drain();
        Winner memory aside = _winner(FACE, 8, 1);
        _redeemOrdered(aside);
        vm.assertTrue(broker.isSetAside(_hash(aside)));
        series.rand = _rand(8);
        OrderedTicket[] memory lying = _winners(series, 1, 1);
        uint256 reserve = broker.getReserveInfo(sender).fundsRemaining;
        _assertOwed(lying, FACE, reserve + LIMIT);
        _fund(FACE, 0);
        _redeemSingle(aside);
        _assertOwed(lying, 0, reserve + LIMIT);
    }

    // --- withdraw and burnRecordedPenalty ---

    function test_Withdraw_BurnsTheForfeitAndPaysTheRest() external {
        _proveOverspend();
        _unlock();
        _nextRounds(2);
        (uint256 before, uint256 burned) = (sender.balance, DEAD.balance);
        vm.expectEmit(address(broker));
        emit IPenaltyClause.PenaltyBurned(sender, 1.25 ether);
        vm.expectEmit(address(broker));
        emit ITicketBroker.Withdrawal(sender, 5 ether, 3.75 ether);
        _withdraw();
        vm.assertEq(sender.balance - before, 8.75 ether);
        vm.assertEq(DEAD.balance - burned, 1.25 ether);
        vm.assertEq(address(broker).balance, 0);
        vm.assertEq(_terms().penalty, 0);
        vm.assertEq(_terms().burnRound, 0);
        vm.assertEq(_terms().burnShare, SHARE, "the clause itself goes on");
    }

    function test_GivenPause_WithdrawBurnsAndPays() external {
        _proveOverspend();
        _unlock();
        _nextRounds(2);
        _pause();
        uint256 before = sender.balance;
        _withdraw();
        vm.assertEq(sender.balance - before, 8.75 ether);
    }

    function test_RevertWhen_WithdrawingBeforeTheProofsTicketsExpired() external {
        _unlock();
        _nextRound();
        _proveOverspend();
        uint256 burnRound = rounds.currentRound() + 2;
        _nextRound();
        vm.prank(sender);
        vm.expectRevert(abi.encodeWithSelector(IPenaltyClause.PenaltyPending.selector, burnRound, burnRound - 1));
        broker.withdraw();
        _nextRound();
        uint256 before = sender.balance;
        _withdraw();
        vm.assertEq(sender.balance - before, 8.75 ether);
    }

    function test_Burn_TakesTheForfeitOutOfTheReserve() external {
        _proveOverspend();
        uint256 burnRound = rounds.currentRound() + 2;
        _nextRound();
        vm.expectRevert(abi.encodeWithSelector(IPenaltyClause.PenaltyPending.selector, burnRound, burnRound - 1));
        broker.burnRecordedPenalty(sender);
        _nextRound();
        vm.expectEmit(address(broker));
        emit IPenaltyClause.PenaltyBurned(sender, 1.25 ether);
        vm.expectEmit(address(broker));
        emit ITicketBroker.ReserveClaimed(sender, DEAD, 1.25 ether);
        vm.prank(stranger);
        broker.burnRecordedPenalty(sender);
        vm.assertEq(broker.getReserveInfo(sender).fundsRemaining, 3.75 ether);
        vm.assertEq(_deposit(sender), DEPOSIT);
        vm.assertEq(DEAD.balance, 1.25 ether);
        vm.assertEq(address(broker).balance, 8.75 ether);
        vm.expectRevert(abi.encodeWithSelector(IPenaltyClause.NoPenalty.selector, sender));
        broker.burnRecordedPenalty(sender);
    }

    /// The tickets of the proof come first: the forfeit is what is left, at most.
    function test_GivenTicketsPaidMeanwhile_OnlyTheRestIsBurned() external {
        _proveOverspend();
        _drain();
        uint256 left = broker.getReserveInfo(sender).fundsRemaining;
        vm.assertLt(left, 1.25 ether);
        _nextRounds(2);
        broker.burnRecordedPenalty(sender);
        vm.assertEq(DEAD.balance, left);
        vm.assertEq(broker.getReserveInfo(sender).fundsRemaining, 0);
    }

    function test_GivenNothingLeft_BurnForgetsTheForfeit() external {
        _proveOverspend();
        _drain();
        Ticket memory rest = _ticket(broker.getReserveInfo(sender).fundsRemaining, 901);
        rest.recipient = other;
        _redeem(rest);
        _nextRounds(2);
        vm.expectEmit(address(broker));
        emit IPenaltyClause.PenaltyBurned(sender, 0);
        broker.burnRecordedPenalty(sender);
        vm.assertEq(DEAD.balance, 0);
        vm.assertEq(_terms().burnRound, 0);
    }

    /// A new offence after the burn costs again, of what is left.
    function test_GivenBurn_ANewOverspendIsPunishedAnew() external {
        _proveOverspend();
        _nextRounds(2);
        broker.burnRecordedPenalty(sender);
        _prove(_overspend(1000));
        vm.assertEq(_terms().penalty, (3.75 ether * SHARE) / 1e6);
    }

    function test_GivenNewClause_TheForfeitStays() external {
        _resign();
        _proveOverspend();
        _nextRounds(2);
        _fundWithPenalty(0, 0, 1, 1 ether);
        vm.assertEq(_terms().penalty, 1.25 ether);
        broker.burnRecordedPenalty(sender);
        vm.assertEq(DEAD.balance, 1.25 ether);
    }

    /// forge-config: default.fuzz.runs = 24
    function testFuzz_BurnsTheShareRoundedDown(uint256 reserve, uint256 share) external {
        (reserve, share) = (1e6 + reserve % 1 ether, 1 + share % 500_000);
        _clear();
        _fundWithPenalty(0, reserve, share, reserve);
        Series memory series = _series(orchestrator);
        series.faceValue = reserve / 100;
        _prove(_winners(series, (2 * reserve) / series.faceValue + 1, 1));
        _unlock();
        _nextRounds(2);
        uint256 before = sender.balance;
        _withdraw();
        uint256 burned = (reserve * share) / 1e6;
        vm.assertEq(DEAD.balance, burned);
        vm.assertEq(sender.balance - before, reserve - burned);
        vm.assertEq(address(broker).balance, 0);
    }

    // --- steps ---

    function _expectInvalid(OrderedTicket[] memory tickets, uint256 index, bytes4 reason) private {
        IPenaltyClause.ProofGroup[] memory groups = _proofGroup(orchestrator, tickets.length);
        vm.expectRevert(abi.encodeWithSelector(IPenaltyClause.InvalidProofTicket.selector, index, reason));
        broker.proveOverspend(groups, tickets, sender);
    }
}
