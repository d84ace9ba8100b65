// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IBondingManager} from "../../contracts/interfaces/IBondingManager.sol";
import {ITicketBroker} from "../../contracts/interfaces/ITicketBroker.sol";
import {OrderedGroup, OrderedTicket, OrderedTicketEncoding} from "../../contracts/types/OrderedTicket.sol";
import {Ticket} from "../../contracts/types/Ticket.sol";
import {OrderedTest} from "./OrderedTest.sol";
import {PlannedGroup, encodeGroups} from "./OrderedGroups.sol";

/// @notice What an ordered batch pays, passes, sets aside, skips and refuses.
contract OrderedBatchTest is OrderedTest {
    uint256 private constant _ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;

    function setUp() public override {
        super.setUp();
        _register(orchestrator, 1000 ether, 100_000, 500_000);
        _nextRound();
        _fund(10 ether, 6 ether);
    }

    // --- what is paid ---

    function test_Ordered_PaysEveryTicketWithOneTransfer() external {
        PlannedGroup memory group =
            _group(_list(_winner(1 ether, 1, 7), _winner(2 ether, 2, 3), _winner(3 ether, 2, 4)));
        vm.expectEmit(address(broker));
        emit ITicketBroker.WinningTicketTransfer(sender, orchestrator, 6 ether);
        _redeemOrdered(group);
        vm.assertEq(_deposit(sender), 4 ether);
        vm.assertEq(broker.unclaimedFees(), 6 ether);
        vm.assertEq(bonding.pendingFees(orchestrator, 0), 6 ether);
        vm.assertEq(_mark(), _key(2, 4));
    }

    function test_GivenManySenders_EachPaysItsOwn() external {
        uint256[] memory keys = _senderKeys(5);
        PlannedGroup[] memory groups = new PlannedGroup[](5);
        for (uint256 i = 0; i < 5; ++i) {
            _fundKey(keys[i], 10 ether, 0);
            groups[i] = _group(_winner(keys[i], (i + 1) * 1 ether, 9 - i, 1));
        }
        vm.recordLogs();
        _redeemOrdered(groups);
        vm.assertEq(vm.getRecordedLogs().length, 5, "one transfer per sender, fees credited once");
        vm.assertEq(broker.unclaimedFees(), 15 ether);
        for (uint256 i = 0; i < 5; ++i) {
            vm.assertEq(_deposit(vm.addr(keys[i])), (9 - i) * 1 ether);
            vm.assertEq(broker.redemptionMark(orchestrator, vm.addr(keys[i])), _key(9 - i, 1));
        }
    }

    function test_GivenTicketsAboveDeposit_RestComesFromTheReserveOnce() external {
        PlannedGroup memory group =
            _group(_list(_winner(9 ether, 1, 1), _winner(2 ether, 2, 1), _winner(3 ether, 3, 1)));
        vm.expectEmit(address(broker));
        emit ITicketBroker.ReserveClaimed(sender, orchestrator, 4 ether);
        _redeemOrdered(group);
        vm.assertEq(_deposit(sender), 0);
        vm.assertEq(broker.getReserveInfo(sender).fundsRemaining, 2 ether);
        vm.assertEq(broker.claimedReserve(sender, orchestrator), 4 ether);
        vm.assertEq(broker.unclaimedFees(), 14 ether);
    }

    function test_GivenTicketsOfTwoRounds_BothArePaid() external {
        Winner memory old = _winner(1 ether, 9, 9);
        _nextRound();
        _redeemOrdered(_group(_list(old, _winner(2 ether, 1, 1))));
        vm.assertEq(broker.unclaimedFees(), 3 ether);
    }

    function test_GivenDeploymentTag_TicketIsPaid() external {
        Winner memory w = _bound(1 ether, 1, 1);
        _redeemOrdered(_group(_list(w, _winner(1 ether, 2, 1))));
        vm.assertEq(broker.unclaimedFees(), 2 ether);
    }

    function test_GivenZeroFaceValue_TicketIsPassed() external {
        vm.recordLogs();
        _redeemOrdered(_winner(0, 1, 1));
        vm.assertEq(vm.getRecordedLogs().length, 0);
        vm.assertEq(_mark(), _key(1, 1));
        vm.assertEq(_deposit(sender), 10 ether);
    }

    function test_GivenNoGroups_NothingHappens() external {
        _redeemOrdered(new PlannedGroup[](0));
        vm.assertEq(broker.unclaimedFees(), 0);
    }

    function test_GivenEmptyGroup_NothingHappens() external {
        PlannedGroup memory group;
        group.sender = sender;
        _redeemOrdered(group);
        vm.assertEq(_mark(), 0);
    }

    /// The same call pays the same sums to delegators as single redemptions would.
    function test_Ordered_CreditsLikeSingles() external {
        _bond(delegator, 500 ether, orchestrator);
        _nextRound();
        _redeemOrdered(_group(_list(_winner(1 ether, 1, 1), _winner(3 ether, 2, 1))));
        uint256 fees = bonding.pendingFees(delegator, 0);
        vm.assertGt(fees, 0);
        _redeem(_ticket(4 ether, 1));
        vm.assertApproxEqAbs(bonding.pendingFees(delegator, 0), 2 * fees, 2);
    }

    // --- who may call ---

    function test_SetRedeemer_LetsItCallAndReports() external {
        vm.expectEmit(address(broker));
        emit ITicketBroker.RedeemerSet(orchestrator, stranger);
        vm.prank(orchestrator);
        broker.setRedeemer(stranger);
        vm.assertEq(broker.redeemerOf(orchestrator), stranger);
        PlannedGroup[] memory groups = _groups(_group(_winner(1 ether, 1, 1)));
        vm.prank(stranger);
        _sendOrdered(orchestrator, groups);
        vm.assertEq(bonding.pendingFees(orchestrator, 0), 1 ether);
        // The recipient itself still may, and may withdraw the right.
        _redeemOrdered(_winner(1 ether, 2, 1));
        vm.prank(orchestrator);
        broker.setRedeemer(address(0));
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.CallerNotRedeemer.selector, orchestrator, stranger));
        _sendOrdered(orchestrator, groups);
    }

    function test_RevertWhen_CallerIsNeitherRecipientNorRedeemer() external {
        PlannedGroup[] memory groups = _groups(_group(_winner(1 ether, 1, 1)));
        address[3] memory callers = [stranger, sender, owner];
        for (uint256 i = 0; i < callers.length; ++i) {
            vm.prank(callers[i]);
            vm.expectRevert(abi.encodeWithSelector(ITicketBroker.CallerNotRedeemer.selector, orchestrator, callers[i]));
            _sendOrdered(orchestrator, groups);
        }
    }

    /// Nobody is redeemer of the recipient zero, although no redeemer is zero too.
    function test_RevertWhen_RecipientIsNull() external {
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.CallerNotRedeemer.selector, address(0), address(this)));
        _sendOrdered(address(0), new PlannedGroup[](0));
    }

    // --- what reverts the whole call ---

    function test_RevertWhen_Paused() external {
        PlannedGroup[] memory groups = _groups(_group(_winner(1 ether, 1, 1)));
        _pause();
        vm.prank(orchestrator);
        _expectPaused();
        _sendOrdered(orchestrator, groups);
    }

    function test_RevertWhen_RoundIsNotInitialized() external {
        PlannedGroup[] memory groups = _groups(_group(_winner(1 ether, 1, 1)));
        _rollToNextRound();
        _expectNotInitialized();
        vm.prank(orchestrator);
        _sendOrdered(orchestrator, groups);
    }

    function test_RevertWhen_RecipientIsNotActive() external {
        Winner memory paid = _winner(1 ether, 1, 1);
        Winner memory unpaid = _winner(100 ether, 1, 1);
        vm.prank(orchestrator);
        bonding.unbond(1000 ether);
        _nextRound();
        bytes memory refusal = abi.encodeWithSelector(IBondingManager.TranscoderNotActive.selector, orchestrator);
        PlannedGroup[] memory groups = _groups(_group(paid));
        vm.prank(orchestrator);
        vm.expectRevert(refusal);
        _sendOrdered(orchestrator, groups);
        // Nor does anything come aside.
        groups = _groups(_group(unpaid));
        vm.prank(orchestrator);
        vm.expectRevert(refusal);
        _sendOrdered(orchestrator, groups);
        vm.assertEq(_mark(), 0);
    }

    function test_RevertWhen_SendersDoNotAscend() external {
        uint256[] memory keys = _senderKeys(2);
        (address low, address high) = (vm.addr(keys[0]), vm.addr(keys[1]));
        PlannedGroup memory a = _group(_winner(keys[0], 1, 1, 1));
        PlannedGroup memory b = _group(_winner(keys[1], 1, 1, 1));
        vm.startPrank(orchestrator);
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.SendersNotAscending.selector, high, low));
        _sendOrdered(orchestrator, _groups(b, a));
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.SendersNotAscending.selector, low, low));
        _sendOrdered(orchestrator, _groups(a, a));
        a.sender = address(0);
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.SendersNotAscending.selector, address(0), address(0)));
        _sendOrdered(orchestrator, _groups(a));
        vm.stopPrank();
    }

    function test_RevertWhen_CountsAreNotThoseOfTheTickets() external {
        (OrderedGroup[] memory groups, OrderedTicket[] memory tickets) =
            encodeGroups(_groups(_group(_list(_winner(1 ether, 1, 1), _winner(1 ether, 2, 1)))));
        uint256[4] memory counts = [uint256(0), 1, 3, type(uint64).max];
        vm.startPrank(orchestrator);
        for (uint256 i = 0; i < counts.length; ++i) {
            groups[0].plan = counts[i] << 192;
            vm.expectRevert(abi.encodeWithSelector(ITicketBroker.CountMismatch.selector, counts[i], 2));
            broker.redeemOrderedTickets(orchestrator, groups, tickets);
        }
        vm.stopPrank();
    }

    // --- what is skipped, and that the others are not ---

    function test_GivenMarkMoved_GroupIsSkipped() external {
        PlannedGroup memory stale = _group(_winner(1 ether, 2, 1));
        _redeemOrdered(_winner(1 ether, 1, 1));
        _expectSkipped(stale, 0, ITicketBroker.MarkMoved.selector);
        stale.mark = _key(1, 2);
        _expectSkipped(stale, 0, ITicketBroker.MarkMoved.selector);
        stale.mark = _key(1, 1);
        _redeemOrdered(stale);
        vm.assertEq(broker.unclaimedFees(), 2 ether);
    }

    function test_GivenUnlockedSender_GroupIsSkipped() external {
        vm.prank(sender);
        broker.unlock();
        _nextRounds(2);
        _expectSkipped(_group(_winner(1 ether, 1, 1)), 0, ITicketBroker.SenderUnlocked.selector);
    }

    function test_GivenNoMarker_GroupIsSkipped() external {
        Winner memory w = _winner(1 ether, 2, 1);
        for (uint256 bit = 192; bit < 256; bit += 9) {
            w.rand ^= 1 << bit;
            _resign(w, SENDER_KEY);
            _expectSkipped(_group(_list(_winner(1 ether, 1, 1), w)), 1, ITicketBroker.TicketNotMarked.selector);
            w.rand ^= 1 << bit;
        }
    }

    function test_GivenUndefinedTerms_GroupIsSkipped() external {
        PlannedGroup memory group = _group(_winner(1 ether, 1, 1));
        for (uint256 bit = 225; bit < 256; ++bit) {
            group.tickets[0].terms ^= 1 << bit;
            _expectSkipped(group, 0, ITicketBroker.InvalidTerms.selector);
            group.tickets[0].terms ^= 1 << bit;
        }
    }

    function test_GivenKeysThatDoNotAscend_GroupIsSkipped() external {
        Winner memory a = _winner(1 ether, 1, 2);
        Winner memory b = _winner(1 ether, 2, 1);
        bytes4 reason = ITicketBroker.KeyNotAscending.selector;
        _expectSkipped(_group(_list(b, a)), 1, reason);
        _expectSkipped(_group(_list(a, a)), 1, reason);
        _expectSkipped(_group(_list(a, b, b)), 2, reason);
        _expectSkipped(_group(_list(_winner(1 ether, 1, 3), _winner(1 ether, 1, 2))), 1, reason);
        _redeemOrdered(a);
        _expectSkipped(_group(a), 0, reason);
        _expectSkipped(_group(_winner(1 ether, 1, 1)), 0, reason);
        _expectSkipped(_group(_winner(1 ether, 0, type(uint64).max)), 0, reason);
    }

    /// A later round lies above every serial and nonce of an earlier one.
    function test_GivenTicketOfAnEarlierRound_KeyIsBelow() external {
        Winner memory old = _winner(1 ether, type(uint64).max, type(uint64).max);
        _nextRound();
        _redeemOrdered(_winner(1 ether, 0, 0));
        _expectSkipped(_group(old), 0, ITicketBroker.KeyNotAscending.selector);
    }

    function test_GivenExpiredTicket_GroupIsSkipped() external {
        Winner memory w = _winner(1 ether, 1, 1);
        _nextRounds(2);
        _expectSkipped(_group(_list(w, _winner(1 ether, 1, 1))), 0, ITicketBroker.TicketExpired.selector);
        Winner memory fresh = _winner(1 ether, 1, 1);
        _nextRound();
        _redeemOrdered(fresh);
    }

    function test_GivenRoundWithoutBlockHash_GroupIsSkipped() external {
        PlannedGroup memory group = _group(_list(_winner(1 ether, 1, 1), _winner(1 ether, 2, 1)));
        uint256 future = rounds.currentRound() + 1;
        group.tickets[1].terms = (uint256(1 ether) << 128) | (future << 64) | 1;
        _expectSkipped(group, 1, ITicketBroker.NoBlockHash.selector);
        group.tickets[1].terms = (uint256(1 ether) << 128) | (uint256(type(uint64).max) << 64) | 1;
        _expectSkipped(group, 1, ITicketBroker.NoBlockHash.selector);
    }

    /// Round 0 has no hash, so a ticket that claims it would never expire.
    function test_GivenRoundZero_GroupIsSkipped() external {
        Winner memory w = _winner(1 ether, 1, 1);
        w.ticket.auxData = abi.encode(uint256(0), bytes32(0));
        _resign(w, SENDER_KEY);
        _expectSkipped(_group(w), 0, ITicketBroker.TicketExpired.selector);
    }

    function test_GivenForeignSignature_GroupIsSkipped() external {
        Winner memory w = _winner(1 ether, 2, 1);
        _resign(w, DEPLOYER_KEY);
        _expectSkipped(_group(_list(_winner(1 ether, 1, 1), w)), 1, ITicketBroker.InvalidSignature.selector);
    }

    /// The other encoding of the same signature would be a second draw.
    function test_GivenHighS_GroupIsSkipped() external {
        Winner memory w = _winner(1 ether, 1, 1);
        PlannedGroup memory group = _group(w);
        // The least s that is too high, then the twin of a good one.
        bytes32 half = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a1;
        group.tickets[0].yParityAndS = half;
        _expectSkipped(group, 0, ITicketBroker.InvalidSignature.selector);
        (, bytes32 s,) = _split(w.sig);
        group.tickets[0].yParityAndS = bytes32(_ORDER - uint256(s));
        _expectSkipped(group, 0, ITicketBroker.InvalidSignature.selector);
    }

    function test_GivenZeroSignature_GroupIsSkipped() external {
        PlannedGroup memory group = _group(_winner(1 ether, 1, 1));
        (group.tickets[0].r, group.tickets[0].yParityAndS) = (0, 0);
        _expectSkipped(group, 0, ITicketBroker.InvalidSignature.selector);
    }

    function test_GivenLosingTicket_GroupIsSkipped() external {
        Winner memory w = _winner(1 ether, 2, 1);
        w.ticket.winProb = 0;
        _resign(w, SENDER_KEY);
        _expectSkipped(_group(_list(_winner(1 ether, 1, 1), w)), 1, ITicketBroker.TicketNotWinning.selector);
    }

    function test_GivenTagOfAnotherDeployment_GroupIsSkipped() external {
        Winner memory w = _bound(1 ether, 1, 1);
        w.ticket.auxData = abi.encodePacked(_auxData(rounds.currentRound()), bytes32(uint256(1)));
        _resign(w, SENDER_KEY);
        _expectSkipped(_group(w), 0, ITicketBroker.InvalidSignature.selector);
        // Nor does a bound ticket pass as an unbound one.
        PlannedGroup memory group = _group(_bound(1 ether, 1, 1));
        group.tickets[0].terms ^= 1 << 224;
        _expectSkipped(group, 0, ITicketBroker.InvalidSignature.selector);
    }

    /// One sender's trouble, of whatever kind, touches no other's tickets.
    function testFuzz_GivenSkippedGroups_TheOthersArePaid(uint256 dice) external {
        uint256[] memory keys = _senderKeys(4);
        PlannedGroup[] memory groups = new PlannedGroup[](4);
        uint256 expected = 0;
        for (uint256 i = 0; i < 4; ++i) {
            _fundKey(keys[i], 10 ether, 0);
            groups[i] = _group(_list(_winner(keys[i], 1 ether, 1, 1), _winner(keys[i], 1 ether, 2, 1)));
            uint256 trouble = (dice >> (8 * i)) % 8;
            if (trouble == 0) groups[i].mark = 1;
            if (trouble == 1) groups[i].tickets[0].r = 0;
            if (trouble == 2) groups[i].tickets[1].recipientRand ^= 1 << 255;
            if (trouble == 3) groups[i].tickets[1] = groups[i].tickets[0];
            if (trouble == 4) groups[i].tickets[1].winProb = 1;
            if (trouble > 4) expected += 2 ether;
        }
        _redeemOrdered(groups);
        vm.assertEq(broker.unclaimedFees(), expected);
        for (uint256 i = 0; i < 4; ++i) {
            bool paid = (dice >> (8 * i)) % 8 > 4;
            vm.assertEq(_deposit(vm.addr(keys[i])), paid ? 8 ether : 10 ether);
            vm.assertEq(broker.redemptionMark(orchestrator, vm.addr(keys[i])), paid ? _key(2, 1) : 0);
        }
    }

    // --- what is set aside ---

    function test_GivenNoFunds_WinnerIsSetAsideAndPaidLater() external {
        Winner memory w = _winner(17 ether, 2, 1);
        vm.expectEmit(address(broker));
        emit ITicketBroker.TicketSetAside(_hash(w), sender, orchestrator, 17 ether);
        vm.expectEmit(address(broker));
        emit ITicketBroker.WinningTicketTransfer(sender, orchestrator, 3 ether);
        _redeemOrdered(_group(_list(_winner(1 ether, 1, 1), w, _winner(2 ether, 3, 1))));
        vm.assertTrue(broker.isSetAside(_hash(w)));
        vm.assertFalse(broker.usedTickets(_hash(w)));
        vm.assertEq(_mark(), _key(3, 1));
        vm.assertFalse(_trySingle(w), "funds still lack");
        _fund(10 ether, 0);
        // Anybody may, as with any ticket.
        _redeemSingle(w);
        vm.assertFalse(broker.isSetAside(_hash(w)));
        vm.assertTrue(broker.usedTickets(_hash(w)));
        vm.assertEq(broker.unclaimedFees(), 20 ether);
        vm.assertFalse(_trySingle(w), "once");
    }

    function test_GivenSetAside_ValidityIsNotExtended() external {
        Winner memory w = _winner(17 ether, 1, 1);
        _redeemOrdered(w);
        _fund(10 ether, 0);
        uint256 round = rounds.currentRound();
        _nextRounds(2);
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.TicketExpired.selector, round, round + 2));
        broker.redeemWinningTicket(w.ticket, w.sig, w.rand);
    }

    function test_GivenOnlySetAside_NoFeesAreCredited() external {
        vm.recordLogs();
        _redeemOrdered(_winner(17 ether, 1, 1));
        vm.assertEq(vm.getRecordedLogs().length, 1);
        vm.assertEq(broker.unclaimedFees(), 0);
        vm.assertEq(_deposit(sender), 10 ether);
    }

    /// What is not a winner, or is skipped for another reason, never comes aside.
    function test_GivenSkippedGroup_NothingIsSetAside() external {
        Winner memory unpaid = _winner(17 ether, 1, 1);
        Winner memory loser = _winner(17 ether, 2, 1);
        loser.ticket.winProb = 0;
        _resign(loser, SENDER_KEY);
        _expectSkipped(_group(_list(unpaid, loser)), 1, ITicketBroker.TicketNotWinning.selector);
        vm.assertFalse(broker.isSetAside(_hash(unpaid)));
        vm.assertFalse(broker.isSetAside(_hash(loser)));
    }

    // --- the deployed calls ---

    function test_RevertWhen_MarkedTicketIsRedeemedOutOfOrder() external {
        Winner memory w = _winner(1 ether, 1, 1);
        bytes memory refusal = abi.encodeWithSelector(ITicketBroker.TicketMarked.selector, _hash(w));
        vm.expectRevert(refusal);
        broker.redeemWinningTicket(w.ticket, w.sig, w.rand);
        (Ticket[] memory tickets, bytes[] memory sigs, uint256[] memory rands) =
            (new Ticket[](1), new bytes[](1), new uint256[](1));
        (tickets[0], sigs[0], rands[0]) = (w.ticket, w.sig, w.rand);
        vm.expectEmit(address(broker));
        emit ITicketBroker.TicketSkipped(_hash(w), sender, refusal);
        broker.batchRedeemWinningTickets(tickets, sigs, rands);
        vm.assertEq(broker.unclaimedFees(), 0);
    }

    /// The signature and hash are those of the deployed calls: what the sender signs does not depend on the path.
    function testFuzz_HashIsThatOfTheDeployedTicket(uint256 faceValue, uint64 serial, uint64 nonce, bool bound)
        external
    {
        faceValue %= 16 ether;
        Winner memory w = bound ? _bound(faceValue, serial, nonce) : _winner(faceValue, serial, nonce);
        if (faceValue > 10 ether) {
            vm.expectEmit(address(broker));
            emit ITicketBroker.ReserveClaimed(sender, orchestrator, faceValue - 10 ether);
        }
        _redeemOrdered(w);
        vm.assertEq(broker.unclaimedFees(), faceValue);
        vm.assertEq(_mark(), _key(serial, nonce));
    }

    function test_MarkerIsTheDocumentedOne() external pure {
        vm.assertEq(bytes32(bytes8(keccak256("streamflow.ordered.ticket.v1"))), bytes32(MARKER << 192));
        vm.assertEq(uint256(OrderedTicketEncoding.MARKER), MARKER);
    }

    /// Whatever bit of an ordered ticket is flipped, nothing of its group moves.
    function testFuzz_GivenAnyBitFlipped_GroupIsSkipped(uint256 bit, uint256 serial) external {
        PlannedGroup memory group = _group(_winner(1 ether, uint64(serial), 5));
        bit %= 5 * 256;
        uint256 mask = 1 << (bit % 256);
        OrderedTicket memory t = group.tickets[0];
        if (bit / 256 == 0) t.recipientRand ^= mask;
        if (bit / 256 == 1) t.winProb ^= mask;
        if (bit / 256 == 2) t.terms ^= mask;
        if (bit / 256 == 3) t.r ^= bytes32(mask);
        if (bit / 256 == 4) t.yParityAndS ^= bytes32(mask);
        vm.recordLogs();
        _redeemOrdered(group);
        vm.assertEq(vm.getRecordedLogs()[0].topics[0], ITicketBroker.OrderedGroupSkipped.selector);
        vm.assertEq(_mark(), 0);
        vm.assertEq(broker.unclaimedFees(), 0);
    }

    // --- helpers ---

    function _bound(uint256 faceValue, uint256 serial, uint256 nonce) private view returns (Winner memory w) {
        w = _winner(faceValue, serial, nonce);
        w.ticket.auxData = abi.encodePacked(w.ticket.auxData, broker.deploymentTag());
        _resign(w, SENDER_KEY);
    }

    function _expectSkipped(PlannedGroup memory group, uint256 index, bytes4 reason) private {
        uint256 mark = _mark();
        uint256 deposit = _deposit(sender);
        uint256 fees = broker.unclaimedFees();
        vm.expectEmit(address(broker));
        emit ITicketBroker.OrderedGroupSkipped(orchestrator, sender, index, reason);
        _redeemOrdered(group);
        vm.assertEq(_mark(), mark);
        vm.assertEq(_deposit(sender), deposit);
        vm.assertEq(broker.unclaimedFees(), fees);
    }
}
