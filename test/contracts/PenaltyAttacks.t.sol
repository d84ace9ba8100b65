// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IPenaltyClause} from "../../contracts/interfaces/IPenaltyClause.sol";
import {ITicketBroker} from "../../contracts/interfaces/ITicketBroker.sol";
import {OrderedTicket} from "../../contracts/types/OrderedTicket.sol";
import {Ticket} from "../../contracts/types/Ticket.sol";
import {PenaltyTest} from "./PenaltyTest.sol";

/// @notice The attacks of docs/designs/010-penalty-clause.md, and the bound: an honest sender is not punished whatever recipients
/// do, one that signs three times its limit is.
contract PenaltyAttacksTest is PenaltyTest {
    // --- on an honest sender ---

    /// Nobody but the sender can make its tickets.
    function test_GivenTicketsSignedByAnother_NothingIsProven() external {
        Series memory series = _series(orchestrator);
        series.key = DEPLOYER_KEY;
        _refused(_winners(series, 3, 1), ITicketBroker.InvalidSignature.selector);
    }

    /// Each change of one bit makes a ticket that the sender did not sign, or one that stands in the wrong place.
    function testFuzz_GivenAnyBitFlipped_TheProofIsRefused(uint256 word, uint256 bit) external {
        OrderedTicket[] memory tickets = _winners(_series(orchestrator), 1, 1);
        OrderedTicket memory ticket = tickets[0];
        uint256 mask = 1 << (bit % 256);
        word %= 5;
        if (word == 0) ticket.recipientRand ^= mask;
        if (word == 1) ticket.winProb ^= mask;
        if (word == 2) ticket.terms ^= mask;
        if (word == 3) ticket.r ^= bytes32(mask);
        if (word == 4) ticket.yParityAndS ^= bytes32(mask);
        IPenaltyClause.ProofGroup[] memory groups = _proofGroup(orchestrator, 1);
        (bool ok, bytes memory reason) =
            address(broker).call(abi.encodeCall(broker.proveOverspend, (groups, tickets, sender)));
        vm.assertFalse(ok);
        vm.assertEq(bytes32(bytes4(reason)), bytes32(IPenaltyClause.InvalidProofTicket.selector));
    }

    /// A ticket counts for the recipient that it names, once.
    function test_GivenOneTicketTwice_NothingIsProven() external {
        OrderedTicket[] memory one = _winners(_series(orchestrator), 1, 1);
        _refused(_concat(one, one), IPenaltyClause.HashNotAscending.selector);
        (IPenaltyClause.ProofGroup[] memory groups, OrderedTicket[] memory both) = _pair(one, one);
        uint256 index = groups[0].recipient == orchestrator ? 1 : 0;
        vm.expectRevert(
            abi.encodeWithSelector(
                IPenaltyClause.InvalidProofTicket.selector, index, ITicketBroker.InvalidSignature.selector
            )
        );
        broker.proveOverspend(groups, both, sender);
    }

    /// Paid tickets are no debt, however low they have brought the funds.
    function test_GivenFundsSpentByRedemption_PaidTicketsProveNothing() external {
        OrderedTicket[] memory tickets = _winners(_series(orchestrator), 40, 1);
        for (uint256 i = 0; i < tickets.length; ++i) {
            _redeemOne(tickets[i], orchestrator);
        }
        _drain();
        _assertOwed(tickets, 0, 0.5 ether + LIMIT);
    }

    /// Tickets of another face value than agreed drain funds, but prove nothing.
    function test_GivenTicketAboveTheGreatestFaceValue_ItProvesNothing() external {
        Series memory series = _series(orchestrator);
        series.faceValue = 2 * ALLOWED;
        _refused(_winners(series, 1, 1), IPenaltyClause.FaceValueNotCovered.selector);
    }

    /// A longer validity period does not bring back tickets that the sender counts no more.
    function test_GivenLongerValidity_OldTicketsStayOut() external {
        OrderedTicket[] memory tickets = _winners(_series(orchestrator), 1, 1);
        vm.prank(owner);
        broker.setUnlockPeriod(10);
        vm.prank(owner);
        broker.setTicketValidityPeriod(10);
        _nextRounds(2);
        vm.assertEq(_terms().window, 2);
        _refused(tickets, ITicketBroker.TicketExpired.selector);
        vm.prank(owner);
        broker.setTicketValidityPeriod(1);
        vm.assertEq(_terms().window, 1, "a shorter one counts");
    }

    /// Dust and blanks cost their prover gas and prove nothing.
    function test_GivenDust_NothingIsProven() external {
        Series memory series = _series(orchestrator);
        series.faceValue = 0;
        _assertOwed(_winners(series, 50, 1), 0, ALLOWED);
        series.faceValue = 1;
        _assertOwed(_winners(series, 50, 1), 50, ALLOWED);
    }

    // --- by the sender ---

    /// The sender or a friend pays some of the tickets in front of the proof: debt and funds fall alike.
    ///
    /// forge-config: default.fuzz.runs = 8
    function testFuzz_GivenSomeTicketsPaidInFront_TheProofHolds(uint256 seed) external {
        OrderedTicket[] memory tickets = _overspend(1);
        for (uint256 i = 0; i < 8; ++i) {
            OrderedTicket memory ticket = tickets[uint256(keccak256(abi.encode(seed, i))) % tickets.length];
            (Ticket memory unpacked, bytes memory sig) = _unpacked(ticket, orchestrator);
            (bool ok,) =
                address(broker).call(abi.encodeCall(broker.redeemWinningTicket, (unpacked, sig, ticket.recipientRand)));
            vm.assertTrue(ok || broker.usedTickets(broker.getTicketHash(unpacked)));
        }
        _prove(tickets);
        vm.assertEq(_terms().penalty, 1.25 ether);
    }

    /// Funding in front of the proof defeats it, by putting in what was missing.
    function test_GivenFundingInFront_DebtIsWithinTheBound() external {
        OrderedTicket[] memory tickets = _overspend(1);
        _fund(FACE, 0);
        _assertOwed(tickets, ENOUGH * FACE, ALLOWED + FACE);
    }

    /// Unlocking does not help: what was signed before can be proven all its life, and withdraw comes later.
    function test_GivenUnlock_ProofComesBeforeWithdraw() external {
        OrderedTicket[] memory tickets = _overspend(1);
        _unlock();
        _nextRound();
        uint256 round = rounds.currentRound();
        vm.prank(sender);
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.AccountLocked.selector, round + 1, round));
        broker.withdraw();
        _prove(tickets);
        _nextRound();
        _withdraw();
        vm.assertEq(DEAD.balance, 1.25 ether);
    }

    /// A proof of its own over a small reserve does not shut out that of a victim over a large one.
    function test_GivenOwnProofOnASmallReserve_AVictimsProofRaisesIt() external {
        _clear();
        _fundWithPenalty(LIMIT, 100, SHARE, LIMIT);
        OrderedTicket[] memory tickets = _overspend(1);
        vm.prank(sender);
        _prove(tickets);
        vm.assertEq(_terms().penalty, 25);
        uint256 burnRound = _terms().burnRound;
        _fund(0, 5 ether);
        _nextRound();
        _prove(_winners(_series(orchestrator), ENOUGH + 50, 1));
        vm.assertEq(_terms().penalty, ((5 ether + 100) * SHARE) / 1e6);
        vm.assertEq(_terms().burnRound, burnRound + 1);
    }

    /// Further proofs of its own do not put the burn off.
    function test_GivenOwnProofsLater_TheBurnIsNotPutOff() external {
        _proveOverspend();
        uint256 burnRound = _terms().burnRound;
        _nextRound();
        OrderedTicket[] memory tickets = _overspend(1000);
        IPenaltyClause.ProofGroup[] memory groups = _proofGroup(orchestrator, tickets.length);
        vm.prank(sender);
        vm.expectRevert(abi.encodeWithSelector(IPenaltyClause.PenaltyNotRaised.selector, 1.25 ether, 1.25 ether));
        broker.proveOverspend(groups, tickets, sender);
        vm.assertEq(_terms().burnRound, burnRound);
    }

    /// A reserve that is claimed share by share by orchestrators of the sender's own is burned by anybody as soon as it can be.
    function test_GivenSlowDrainByAFriend_TheBurnDoesNotWaitForWithdraw() external {
        _proveOverspend();
        for (uint256 i = 0; i < 2; ++i) {
            _redeem(_ticket(_deposit(sender) + broker.claimableReserve(sender, orchestrator), 900 + i));
            _nextRound();
        }
        uint256 left = broker.getReserveInfo(sender).fundsRemaining;
        vm.assertEq(left, 1.25 ether, "half of it each round");
        vm.prank(stranger);
        broker.burnRecordedPenalty(sender);
        vm.assertEq(DEAD.balance, 1.25 ether);
        vm.assertEq(broker.getReserveInfo(sender).fundsRemaining, 0);
    }

    /// The clause cannot be dropped, replaced or softened while tickets made under it live.
    function test_GivenNotice_NothingSoftensTheClause() external {
        OrderedTicket[] memory tickets = _overspend(1);
        _resign();
        _nextRound();
        uint256 endRound = rounds.currentRound() + 1;
        vm.prank(sender);
        vm.expectRevert(abi.encodeWithSelector(IPenaltyClause.PenaltyClauseInForce.selector, endRound));
        broker.fundWithPenalty(0, 0, 1, 100);
        _prove(tickets);
        vm.assertEq(_terms().penalty, 1.25 ether);
    }

    // --- by provers ---

    /// Nobody is paid for a proof: not the prover, not the recipients, not a friend of the sender.
    function test_GivenProof_NobodyGains() external {
        uint256 before = stranger.balance;
        OrderedTicket[] memory tickets = _overspend(1);
        vm.prank(stranger);
        _prove(tickets);
        _nextRounds(2);
        vm.prank(stranger);
        broker.burnRecordedPenalty(sender);
        vm.assertEq(stranger.balance, before);
        vm.assertEq(broker.unclaimedFees(), 0);
        vm.assertEq(DEAD.balance, 1.25 ether);
    }

    /// Too little gas never makes a proof of something else.
    ///
    /// forge-config: default.fuzz.runs = 16
    function testFuzz_GivenAnyGas_TheProofHoldsOrReverts(uint256 gasLimit) external {
        OrderedTicket[] memory tickets = _overspend(1);
        IPenaltyClause.ProofGroup[] memory groups = _proofGroup(orchestrator, tickets.length);
        (bool ok,) = address(broker).call{gas: 100_000 + gasLimit % 3_000_000}(
            abi.encodeCall(broker.proveOverspend, (groups, tickets, sender))
        );
        vm.assertEq(_terms().penalty, ok ? 1.25 ether : 0);
    }

    // --- the bound ---

    /// An honest sender signs as much as its limit allows, for real signatures and draws; recipients see every draw at once, pay
    /// out any part of the winners and withhold the rest. No proof comes of it.
    ///
    /// forge-config: default.fuzz.runs = 16
    function testFuzz_GivenHonestSender_NoProofExists(uint256 seed) external {
        OrderedTicket[] memory winners = _play(seed, LIMIT);
        uint256 redeemed = seed % 3 == 0 ? 0 : uint256(keccak256(abi.encode(seed))) % 40;
        for (uint256 i = 0; i < redeemed; ++i) {
            _redeemOne(winners[i], orchestrator);
        }
        IPenaltyClause.ProofGroup[] memory groups = _proofGroup(orchestrator, winners.length);
        uint256 owed = (winners.length - redeemed) * FACE;
        vm.expectRevert(abi.encodeWithSelector(IPenaltyClause.NotOverspent.selector, owed, ALLOWED - redeemed * FACE));
        broker.proveOverspend(groups, winners, sender);
    }

    /// One that signs three times its limit, with funds of no more than that, is punished.
    ///
    /// forge-config: default.fuzz.runs = 16
    function testFuzz_GivenThreeTimesTheLimit_TheProofHolds(uint256 seed) external {
        _prove(_play(seed, 3 * LIMIT));
        vm.assertEq(_terms().penalty, 1.25 ether);
    }

    /// Two thousand periods of an honest sender by draws alone, 1,600 tickets each: the most winning value of a period stays well
    /// below twice the limit, and does exceed the limit by a fifth.
    function test_GivenManyHonestPeriods_WinnersStayBelowTwiceTheLimit() external view {
        uint256 most = 0;
        for (uint256 period = 0; period < 2000; ++period) {
            // Counts how many of 1,600 draws of 4 bits are zero: 100 in the mean, as with a chance of one in 16.
            uint256 wins = _zeroNibbles(uint256(keccak256(abi.encode("period", period))), 25);
            if (wins > most) most = wins;
        }
        vm.assertGt(most, 120);
        vm.assertLt(most, 160);
    }

    // --- steps ---

    /// @dev Winners among tickets of `FACE`, each with a chance of a quarter, worth `value` in expectation.
    function _play(uint256 seed, uint256 value) private view returns (OrderedTicket[] memory) {
        Series memory series = _series(orchestrator);
        series.winProb = 1 << 254;
        series.rand = uint256(keccak256(abi.encode("secret", seed))) >> 1;
        OrderedTicket[] memory all = _winners(series, (4 * value) / FACE, 1);
        uint256 n = 0;
        for (uint256 i = 0; i < all.length; ++i) {
            if (_wins(all[i])) all[n++] = all[i];
        }
        return _slice(all, 0, n);
    }

    function _wins(OrderedTicket memory ticket) private pure returns (bool) {
        uint256 word = uint256(ticket.yParityAndS);
        bytes memory sig = abi.encodePacked(ticket.r, word & uint256(type(int256).max), uint8((word >> 255) + 27));
        return uint256(keccak256(abi.encodePacked(sig, ticket.recipientRand))) < ticket.winProb;
    }

    function _zeroNibbles(uint256 seed, uint256 words) private pure returns (uint256 count) {
        for (uint256 i = 0; i < words; ++i) {
            uint256 bits = uint256(keccak256(abi.encode(seed, i)));
            // One bit per nibble that is not zero.
            bits |= bits >> 2;
            bits |= bits >> 1;
            bits &= 0x1111111111111111111111111111111111111111111111111111111111111111;
            count += 64;
            for (; bits != 0; bits &= bits - 1) {
                --count;
            }
        }
    }

    function _refused(OrderedTicket[] memory tickets, bytes4 reason) private {
        uint256 index = reason == IPenaltyClause.HashNotAscending.selector ? 1 : 0;
        IPenaltyClause.ProofGroup[] memory groups = _proofGroup(orchestrator, tickets.length);
        vm.expectRevert(abi.encodeWithSelector(IPenaltyClause.InvalidProofTicket.selector, index, reason));
        broker.proveOverspend(groups, tickets, sender);
    }
}
