// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {OrderedGroup, OrderedTicket, OrderedTicketEncoding} from "../../contracts/types/OrderedTicket.sol";
import {BrokerTest} from "./BrokerTest.sol";

/// @notice What `redeemOrderedTickets` does with a group of any ticket, sent by anybody, after any history.
contract OrderedPathProof is BrokerTest {
    /// @dev A call that may be made: any caller, recipient and sender, any mark that the group is planned on.
    struct Call {
        address caller;
        address recipient;
        address sender;
        uint256 plannedMark;
        OrderedTicket ticket;
        bytes32 ticketHash;
    }

    /// @dev Terms of 225 bits: what stands above them is refused, see `check_UnknownTermsMoveNothing`.
    function _anyCall(uint256 bound) private returns (Call memory call) {
        call.caller = svm.createAddress("caller");
        call.recipient = svm.createAddress("recipient");
        call.sender = svm.createAddress("sender");
        call.plannedMark = svm.createUint(192, "plannedMark");
        call.ticket = _anyOrdered(bound, "first");
        call.ticketHash = _deployedHash(call.ticket, call.sender, call.recipient);
    }

    function _send(Call memory call) private returns (bool) {
        OrderedTicket[] memory tickets = new OrderedTicket[](1);
        tickets[0] = call.ticket;
        return _redeemGroup(call.caller, call.recipient, call.sender, call.plannedMark, tickets);
    }

    /// @dev Sends the group and asserts that it moved nothing, whether the call went through or not.
    function _assertMovesNothing(Call memory call) private {
        Books memory before = _books(call.sender, call.recipient);
        (bool used, bool aside) = (broker.usedTickets(call.ticketHash), broker.isSetAside(call.ticketHash));
        vm.assume(_send(call));
        _assertSame(before, _books(call.sender, call.recipient));
        assert(broker.usedTickets(call.ticketHash) == used && broker.isSetAside(call.ticketHash) == aside);
    }

    // --- the mark ---

    /// At or below the mark that its group is planned on, a ticket is neither paid nor set aside; and on another mark than the
    /// chain's no ticket is, see below. So none at or below the chain's mark is.
    function check_AtOrBelowThePlannedMarkNothingMoves() external {
        Call memory call = _anyCall(1);
        vm.assume(this.key(call.ticket) <= call.plannedMark);
        _assertMovesNothing(call);
    }

    /// A batch that was planned on another mark than the chain's moves nothing.
    function check_OnAMovedMarkNothingMoves() external {
        Call memory call = _anyCall(1);
        vm.assume(call.plannedMark != broker.redemptionMark(call.recipient, call.sender));
        _assertMovesNothing(call);
    }

    /// The mark stays or rises to the key of the ticket.
    function check_MarkRisesToTheKeyOfATicketWithinTheDepositOrStays() external {
        Call memory call = _anyCall(1);
        Books memory before = _books(call.sender, call.recipient);
        uint256 key = this.key(call.ticket);
        vm.assume(_faceValue(call) <= before.deposit);
        vm.assume(_send(call));
        uint256 mark = broker.redemptionMark(call.recipient, call.sender);
        assert(mark == before.mark || (mark == key && key > before.mark));
    }

    // --- payment ---

    function _faceValue(Call memory call) private pure returns (uint256) {
        return uint96(call.ticket.terms >> 128);
    }

    /// @dev A ticket that is passed is paid exactly; one that is not passed changes nothing.
    function _checkTicketWithinTheDeposit(uint256 bound) private {
        Call memory call = _anyCall(bound);
        Books memory before = _books(call.sender, call.recipient);
        bool aside = broker.isSetAside(call.ticketHash);
        vm.assume(_faceValue(call) <= before.deposit);
        vm.assume(_send(call));
        Books memory afterwards = _books(call.sender, call.recipient);
        if (afterwards.mark == before.mark) {
            _assertSame(before, afterwards);
        } else {
            before.mark = afterwards.mark;
            _assertPaid(before, afterwards, _faceValue(call));
        }
        assert(broker.isSetAside(call.ticketHash) == aside);
    }

    function check_PassedTicketOf64BytesWithinTheDepositIsPaid() external {
        _checkTicketWithinTheDeposit(0);
    }

    function check_PassedTicketOf96BytesWithinTheDepositIsPaid() external {
        _checkTicketWithinTheDeposit(1);
    }

    /// A ticket that nothing covers is never paid: without funds the fees stay as they are.
    function long_WithoutFundsNothingIsPaid() external {
        Call memory call = _anyCall(1);
        Books memory before = _books(call.sender, call.recipient);
        vm.assume((before.deposit | before.reserve | before.committed) == 0 && _faceValue(call) > 0);
        vm.assume(_send(call));
        Books memory afterwards = _books(call.sender, call.recipient);
        bool passed = afterwards.mark != before.mark;
        before.mark = afterwards.mark;
        _assertSame(before, afterwards);
        assert(!passed || broker.isSetAside(call.ticketHash));
    }

    // --- what is refused ---

    /// Only recipient and redeemer are heard, and nobody while paused.
    function check_StrangerIsRefused() external {
        Call memory call = _anyCall(1);
        bool heard = call.caller == call.recipient || call.caller == broker.redeemerOf(call.recipient);
        vm.assume(!heard || broker.paused());
        assert(!_send(call));
    }

    /// A ticket without the marker belongs to the deployed path.
    function check_UnmarkedTicketMovesNothing() external {
        Call memory call = _anyCall(1);
        vm.assume(!OrderedTicketEncoding.isMarked(call.ticket.recipientRand));
        _assertMovesNothing(call);
    }

    function check_UnknownTermsMoveNothing(uint256 terms) external {
        Call memory call = _anyCall(0);
        call.ticket.terms = terms;
        vm.assume(terms >> 225 != 0);
        _assertMovesNothing(call);
    }

    /// From `withdrawRound` on a sender's funds pay nothing, and its mark stays.
    function check_FromTheWithdrawRoundOnNothingMoves() external {
        Call memory call = _anyCall(1);
        uint256 withdrawRound = _withdrawRound(call.sender);
        vm.assume(withdrawRound > 0 && rounds.currentRound() >= withdrawRound);
        _assertMovesNothing(call);
    }

    /// A ticket of a round that is too old, or has no block hash (it may not have begun), moves nothing.
    function check_StaleTicketMovesNothing() external {
        Call memory call = _anyCall(1);
        uint256 round = uint64(call.ticket.terms >> 64);
        bool stale = round + broker.ticketValidityPeriod() <= rounds.currentRound();
        vm.assume(stale || rounds.blockHashForRound(round) == 0);
        _assertMovesNothing(call);
    }
}
