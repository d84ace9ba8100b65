// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {BondingManager} from "../../contracts/BondingManager.sol";
import {LivepeerToken} from "../../contracts/LivepeerToken.sol";
import {TicketBroker} from "../../contracts/TicketBroker.sol";
import {ITicketBroker} from "../../contracts/interfaces/ITicketBroker.sol";
import {Ticket} from "../../contracts/types/Ticket.sol";
import {OrderedTest} from "./OrderedTest.sol";
import {PlannedGroup} from "./OrderedGroups.sol";
import {Vm} from "./Vm.sol";

/// @notice An orchestrator that sends the same batch again while its fees are being paid out.
contract ReentrantOrchestrator {
    BondingManager private immutable _BONDING;
    TicketBroker private immutable _BROKER;

    bytes private _batch;
    /// @notice Whether the call from within succeeded.
    bool public reentered;

    constructor(BondingManager bonding, TicketBroker broker) {
        (_BONDING, _BROKER) = (bonding, broker);
    }

    receive() external payable {
        (reentered,) = address(_BROKER).call(_batch);
    }

    function join(LivepeerToken token, uint256 amount) external {
        token.approve(address(_BONDING), amount);
        _BONDING.bond(amount, address(this));
    }

    function redeem(bytes calldata batch) external {
        _batch = batch;
        (bool ok,) = address(_BROKER).call(batch);
        require(ok);
    }

    function withdraw() external {
        _BONDING.withdrawFees(payable(address(this)), _BONDING.pendingFees(address(this), 0));
    }
}

/// @notice The attacks of docs/designs/002-ordered-batch.md, each of which must come to nothing.
contract OrderedAttacksTest is OrderedTest {
    uint256 private constant _OTHER_KEY = 0xBADBAD;

    address private _redeemer = _account("redeemer");
    address private _accomplice = _account("accomplice");

    function setUp() public override {
        super.setUp();
        _register(orchestrator, 1000 ether, 100_000, 500_000);
        _register(_accomplice, 1000 ether, 0, 0);
        _nextRound();
        _fund(10 ether, 6 ether);
        vm.prank(orchestrator);
        broker.setRedeemer(_redeemer);
    }

    // --- front-running the mark ---

    /// Nobody but recipient and redeemer moves a mark, whatever they sign for themselves.
    function test_GivenStrangerInFront_MarkStays() external {
        PlannedGroup[] memory planned = _groups(_group(_winner(1 ether, 1, 1)));
        PlannedGroup[] memory copied = _groups(_group(_list(_winner(0, type(uint64).max, type(uint64).max))));
        address[3] memory attackers = [stranger, sender, _accomplice];
        for (uint256 i = 0; i < attackers.length; ++i) {
            vm.prank(attackers[i]);
            vm.expectRevert(
                abi.encodeWithSelector(ITicketBroker.CallerNotRedeemer.selector, orchestrator, attackers[i])
            );
            _sendOrdered(orchestrator, copied);
            // As recipient of its own it moves its own mark alone, and pays nothing from a ticket of another's.
            vm.prank(attackers[i]);
            (bool ok,) = address(broker).call(_orderedCall(attackers[i], planned));
            vm.assertEq(ok, attackers[i] == _accomplice);
        }
        vm.assertEq(_mark(), 0);
        vm.assertEq(broker.redemptionMark(_accomplice, sender), 0);
        _redeemOrdered(planned);
        vm.assertEq(broker.unclaimedFees(), 1 ether);
    }

    /// Two batches in flight at once: the later one moves nothing, and what it had more can be sent on the new mark.
    function test_GivenTwoBatchesOnOneMark_TheSecondIsSkippedWhole() external {
        Winner memory a = _winner(1 ether, 1, 1);
        Winner memory b = _winner(1 ether, 2, 1);
        PlannedGroup memory first = _group(a);
        PlannedGroup memory second = _group(_list(a, b));
        _redeemOrdered(first);
        vm.expectEmit(address(broker));
        emit ITicketBroker.OrderedGroupSkipped(orchestrator, sender, 0, ITicketBroker.MarkMoved.selector);
        vm.prank(_redeemer);
        _sendOrdered(orchestrator, _groups(second));
        vm.assertEq(broker.unclaimedFees(), 1 ether);
        _redeemOrdered(b);
        vm.assertEq(broker.unclaimedFees(), 2 ether);
    }

    // --- replay across paths ---

    function test_GivenPaidInOrder_NoPathPaysAgain() external {
        Winner memory w = _winner(1 ether, 1, 1);
        _redeemOrdered(w);
        vm.assertFalse(_trySingle(w));
        _tryBatchTwice(w);
        vm.recordLogs();
        _redeemOrdered(w);
        _assertOnlySkipped(vm.getRecordedLogs());
        vm.assertEq(broker.unclaimedFees(), 1 ether);
    }

    function test_GivenSetAsideAndPaid_NoPathPaysAgain() external {
        Winner memory w = _winner(17 ether, 1, 1);
        _redeemOrdered(w);
        _fund(100 ether, 0);
        _tryBatchTwice(w);
        vm.assertEq(broker.unclaimedFees(), 17 ether, "a batch of two copies pays one");
        vm.assertFalse(_trySingle(w));
        vm.recordLogs();
        _redeemOrdered(w);
        _assertOnlySkipped(vm.getRecordedLogs());
        vm.assertEq(broker.unclaimedFees(), 17 ether);
    }

    function test_GivenUnmarkedTicketPaid_OrderedPathRefusesIt() external {
        Ticket memory ticket = _ticket(1 ether, 1);
        _redeem(ticket);
        Winner memory w = Winner({ticket: ticket, sig: _sign(ticket), rand: RAND});
        vm.recordLogs();
        _redeemOrdered(w);
        _assertOnlySkipped(vm.getRecordedLogs());
        vm.assertEq(broker.unclaimedFees(), 1 ether);
    }

    /// A ticket names its recipient, so a batch of another cannot carry it.
    function test_GivenTicketOfAnotherRecipient_ItIsRefused() external {
        PlannedGroup[] memory groups = _groups(_group(_winner(1 ether, 1, 1)));
        vm.expectEmit(address(broker));
        emit ITicketBroker.OrderedGroupSkipped(_accomplice, sender, 0, ITicketBroker.InvalidSignature.selector);
        vm.prank(_accomplice);
        _sendOrdered(_accomplice, groups);
        vm.assertEq(broker.unclaimedFees(), 0);
    }

    // --- a paid ticket listed again as unpayable ---

    /// With the sender drained, a paid ticket would lack funds. Its key is at the mark, so it never comes aside.
    function test_GivenPaidTicketAndDrainedSender_ItIsNotSetAside() external {
        Winner memory a = _winner(1 ether, 1, 1);
        Winner memory b = _winner(1 ether, 2, 1);
        _redeemOrdered(_group(_list(a, b)));
        _drain();
        Winner[2] memory paid = [a, b];
        for (uint256 i = 0; i < 2; ++i) {
            vm.recordLogs();
            _redeemOrdered(paid[i]);
            _assertOnlySkipped(vm.getRecordedLogs());
            // Nor beside a fresh one.
            vm.recordLogs();
            _redeemOrdered(_group(_list(paid[i], _winner(50 ether, 3, 1))));
            _assertOnlySkipped(vm.getRecordedLogs());
            vm.assertFalse(broker.isSetAside(_hash(paid[i])));
        }
        uint256 fees = broker.unclaimedFees();
        _fund(100 ether, 0);
        vm.assertFalse(_trySingle(a));
        vm.assertFalse(_trySingle(b));
        vm.assertEq(broker.unclaimedFees(), fees);
    }

    // --- a redeemer that signs itself the highest serial ---

    function test_GivenRedeemerAsSender_OnlyItsOwnMarkMoves() external {
        PlannedGroup memory own = _group(_winner(_OTHER_KEY, 0, type(uint64).max, type(uint64).max));
        vm.prank(_redeemer);
        _sendOrdered(orchestrator, _groups(own));
        vm.assertEq(broker.redemptionMark(orchestrator, vm.addr(_OTHER_KEY)), _key(type(uint64).max, type(uint64).max));
        _redeemOrdered(_winner(1 ether, 1, 1));
        vm.assertEq(broker.unclaimedFees(), 1 ether);
    }

    /// In league with a sender it can pass that sender's tickets of the round unpaid, which is why a redeemer is trusted.
    /// Neither of them gains, no other sender's ticket is touched, and the next round is out of reach.
    function test_GivenRedeemerInLeagueWithSender_OnlyThatSendersRoundIsLost() external {
        _fundKey(_OTHER_KEY, 10 ether, 0);
        Winner memory other = _winner(_OTHER_KEY, 1 ether, 1, 1);
        PlannedGroup memory highest = _group(_winner(0, type(uint64).max, type(uint64).max));
        vm.prank(_redeemer);
        _sendOrdered(orchestrator, _groups(highest));
        vm.assertEq(_deposit(sender), 10 ether);
        _redeemOrdered(other);
        _nextRound();
        _redeemOrdered(_winner(1 ether, 1, 1));
        vm.assertEq(broker.unclaimedFees(), 2 ether);
    }

    /// Nobody reaches into the future: a round that has not begun has no block hash.
    function test_GivenTicketOfTheNextRound_MarkStays() external {
        Winner memory w = _winner(0, 1, 1);
        w.ticket.auxData = abi.encode(rounds.currentRound() + 1, bytes32(0));
        _resign(w, SENDER_KEY);
        PlannedGroup[] memory groups = _groups(_group(w));
        vm.recordLogs();
        vm.prank(_redeemer);
        _sendOrdered(orchestrator, groups);
        _assertOnlySkipped(vm.getRecordedLogs());
        vm.assertEq(_mark(), 0);
    }

    // --- guessing recipientRand ---

    /// Marker and serial may be known; each of the 128 secret bits counts.
    function testFuzz_GivenGuessedSecret_NothingIsPaid(uint128 guess) external {
        Winner memory w = _winner(1 ether, 1, 1);
        vm.assume(guess != uint128(w.rand));
        w.rand = (w.rand >> 128 << 128) | guess;
        vm.recordLogs();
        _redeemOrdered(w);
        _assertOnlySkipped(vm.getRecordedLogs());
        vm.assertEq(broker.unclaimedFees(), 0);
    }

    // --- colliding serials ---

    /// Two tickets with one key: one is paid. The other is lost to its recipient, and to nobody else.
    function test_GivenCollidingKeys_OnePays() external {
        Winner memory a = _winner(1 ether, 1, 1);
        Winner memory b = _winner(2 ether, 1, 1);
        b.rand ^= 1;
        _resign(b, SENDER_KEY);
        vm.assertEq(_key(a), _key(b));
        _redeemOrdered(b);
        vm.recordLogs();
        _redeemOrdered(a);
        _assertOnlySkipped(vm.getRecordedLogs());
        vm.assertFalse(_trySingle(a));
        vm.assertEq(broker.unclaimedFees(), 2 ether);
        _redeemOrdered(_winner(1 ether, 1, 2));
        vm.assertEq(broker.unclaimedFees(), 3 ether);
    }

    /// Colliding tickets that lack funds do not both come aside.
    function test_GivenCollidingKeysWithoutFunds_OneIsSetAside() external {
        Winner memory a = _winner(50 ether, 1, 1);
        Winner memory b = _winner(51 ether, 1, 1);
        _redeemOrdered(a);
        vm.recordLogs();
        _redeemOrdered(b);
        _assertOnlySkipped(vm.getRecordedLogs());
        vm.assertTrue(broker.isSetAside(_hash(a)));
        vm.assertFalse(broker.isSetAside(_hash(b)));
    }

    // --- a sender that drains in between ---

    /// The batch was planned on ten ether; an accomplice takes them first. The winners come aside, others are paid.
    function test_GivenSenderDrainsInBetween_NothingIsForfeited() external {
        _fundKey(_OTHER_KEY, 10 ether, 0);
        Winner memory a = _winner(5 ether, 1, 1);
        Winner memory b = _winner(4 ether, 2, 1);
        Winner memory other = _winner(_OTHER_KEY, 1 ether, 1, 1);
        PlannedGroup memory group = _group(_list(a, b));
        PlannedGroup[] memory groups =
            sender < other.ticket.sender ? _groups(group, _group(other)) : _groups(_group(other), group);
        _drain();
        uint256 fees = broker.unclaimedFees();
        _redeemOrdered(groups);
        // The reserve is the recipient's own share: three ether, none of which an accomplice can take.
        vm.assertEq(broker.unclaimedFees(), fees + 1 ether);
        vm.assertTrue(broker.isSetAside(_hash(a)));
        vm.assertTrue(broker.isSetAside(_hash(b)));
        _fund(6 ether, 0);
        _redeemSingle(a);
        _redeemSingle(b);
        vm.assertEq(broker.unclaimedFees(), fees + 10 ether);
    }

    /// Withdrawing is no way out: an unlock takes longer than any ticket made before it lives.
    function test_GivenSenderUnlocks_TicketsMadeBeforeCanStillBeRedeemed() external {
        Winner memory w = _winner(1 ether, 1, 1);
        vm.prank(sender);
        broker.unlock();
        _nextRound();
        _redeemOrdered(w);
        vm.assertEq(broker.unclaimedFees(), 1 ether);
        _nextRound();
        vm.prank(sender);
        broker.withdraw();
        vm.assertEq(_deposit(sender), 0);
    }

    // --- re-entrancy ---

    function test_GivenReentrantRecipient_BatchPaysOnce() external {
        ReentrantOrchestrator evil = new ReentrantOrchestrator(bonding, broker);
        vm.prank(owner);
        token.transfer(address(evil), 1000 ether);
        evil.join(token, 1000 ether);
        _nextRound();
        Winner memory w = _winner(2 ether, 1, 1);
        w.ticket.recipient = address(evil);
        _resign(w, SENDER_KEY);
        evil.redeem(_orderedCall(address(evil), _groups(_group(w))));
        vm.assertEq(broker.unclaimedFees(), 2 ether);
        evil.withdraw();
        vm.assertTrue(evil.reentered(), "the call itself is allowed");
        vm.assertEq(address(evil).balance, 2 ether);
        vm.assertEq(broker.unclaimedFees(), 0);
        vm.assertEq(_deposit(sender), 8 ether);
    }

    // --- a recipient that never uses serials ---

    function test_GivenRecipientWithoutSerials_DeployedCallsWorkAsEver() external {
        Ticket memory low = _ticket(1 ether, 1);
        Ticket memory huge = _ticket(1 ether, uint256(1) << 200);
        _redeem(huge);
        _redeem(low);
        vm.assertEq(broker.unclaimedFees(), 2 ether);
        vm.assertEq(_mark(), 0);
    }

    /// Only the recipient's own choice of secret sends a ticket down the ordered path; a sender cannot.
    function test_GivenSenderOfAnUnmarkedTicket_ItCannotMarkIt() external {
        Ticket memory ticket = _ticket(1 ether, 1);
        Winner memory w = Winner({ticket: ticket, sig: _sign(ticket), rand: (MARKER << 192) | RAND});
        vm.assertFalse(_trySingle(w));
        vm.recordLogs();
        _redeemOrdered(w);
        _assertOnlySkipped(vm.getRecordedLogs());
        _redeem(ticket);
        vm.assertEq(broker.unclaimedFees(), 1 ether);
    }

    // --- running out of gas ---

    /// Whatever gas a caller gives, the call pays all or reverts: a starved precompile never passes for a bad signature.
    function testFuzz_GivenAnyGas_BatchPaysAllOrReverts(uint256 gas) external {
        PlannedGroup memory group =
            _group(_list(_winner(1 ether, 1, 1), _winner(1 ether, 2, 1), _winner(1 ether, 3, 1)));
        gas = 30_000 + gas % 300_000;
        bytes memory call = _orderedCall(orchestrator, _groups(group));
        vm.prank(orchestrator);
        (bool ok,) = address(broker).call{gas: gas}(call);
        vm.assertEq(broker.unclaimedFees(), ok ? 3 ether : 0);
    }

    // --- helpers ---

    /// @dev The sender pays its whole deposit to an accomplice, on the deployed path.
    function _drain() private {
        Ticket memory ticket = _ticket(_deposit(sender) + broker.claimableReserve(sender, _accomplice), 999);
        ticket.recipient = _accomplice;
        _redeem(ticket);
        vm.assertEq(_deposit(sender), 0);
    }

    function _tryBatchTwice(Winner memory w) private {
        (Ticket[] memory tickets, bytes[] memory sigs, uint256[] memory rands) =
            (new Ticket[](2), new bytes[](2), new uint256[](2));
        (tickets[0], sigs[0], rands[0]) = (w.ticket, w.sig, w.rand);
        (tickets[1], sigs[1], rands[1]) = (w.ticket, w.sig, w.rand);
        broker.batchRedeemWinningTickets(tickets, sigs, rands);
    }

    function _assertOnlySkipped(Vm.Log[] memory logs) private pure {
        vm.assertEq(logs.length, 1);
        vm.assertEq(logs[0].topics[0], ITicketBroker.OrderedGroupSkipped.selector);
    }
}
