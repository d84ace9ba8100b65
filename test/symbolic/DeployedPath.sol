// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {OrderedTicketEncoding} from "../../contracts/types/OrderedTicket.sol";
import {BrokerTest} from "./BrokerTest.sol";

/// @notice What `redeemWinningTicket` does with any ticket, signature and secret, after any history.
contract DeployedPathProof is BrokerTest {
    /// @dev Pays the face value to the recipient out of the sender's deposit, once. If the call fails, nothing has happened.
    function _checkPaysFaceValueOnce(uint256 words) private {
        Redemption memory r = _anyRedemption(words);
        bytes32 ticketHash = broker.getTicketHash(r.ticket);
        Books memory before = _books(r.ticket.sender, r.ticket.recipient);
        bool wasUsed = broker.usedTickets(ticketHash);
        bool wasPayable = broker.isSetAside(ticketHash) || !OrderedTicketEncoding.isMarked(r.rand);
        vm.assume(r.ticket.faceValue <= before.deposit);
        vm.assume(_redeem(r));
        _assertPaid(before, _books(r.ticket.sender, r.ticket.recipient), r.ticket.faceValue);
        assert(wasPayable && !wasUsed && broker.usedTickets(ticketHash));
    }

    function check_TicketOf64BytesWithinTheDepositPaysFaceValueOnce() external {
        _checkPaysFaceValueOnce(2);
    }

    function check_TicketOf96BytesWithinTheDepositPaysFaceValueOnce() external {
        _checkPaysFaceValueOnce(3);
    }

    /// Another sender keeps its funds and marks, another recipient its commitments, marks and fees.
    function check_PaymentWithinTheDepositTouchesNobodyElse(address sender, address recipient) external {
        Redemption memory r = _anyRedemption(3);
        vm.assume(sender != r.ticket.sender && recipient != r.ticket.recipient);
        vm.assume(r.ticket.faceValue <= _books(r.ticket.sender, recipient).deposit);
        Books memory other = _books(sender, r.ticket.recipient);
        Books memory others = _books(r.ticket.sender, recipient);
        vm.assume(_redeem(r));
        Books memory otherNow = _books(sender, r.ticket.recipient);
        (other.unclaimed, other.credited, other.credits) = (otherNow.unclaimed, otherNow.credited, otherNow.credits);
        _assertSame(other, otherNow);
        Books memory othersNow = _books(r.ticket.sender, recipient);
        (others.deposit, others.reserve) = (othersNow.deposit, othersNow.reserve);
        (others.unclaimed, others.credits) = (othersNow.unclaimed, othersNow.credits);
        _assertSame(others, othersNow);
    }

    /// Other tickets keep their status.
    function check_OtherTicketsKeepTheirStatus(bytes32 ticketHash) external {
        Redemption memory r = _anyRedemption(3);
        vm.assume(ticketHash != broker.getTicketHash(r.ticket));
        vm.assume(r.ticket.faceValue <= _books(r.ticket.sender, r.ticket.recipient).deposit);
        (bool used, bool aside) = (broker.usedTickets(ticketHash), broker.isSetAside(ticketHash));
        vm.assume(_redeem(r));
        assert(broker.usedTickets(ticketHash) == used && broker.isSetAside(ticketHash) == aside);
    }

    /// What waits to be released is no more than what was committed, and the claimable rest neither.
    function check_ClaimableIsAtMostTheCommitment(address sender, address recipient) external view {
        uint256 funds = broker.getCommittedReserve(sender, recipient).funds;
        assert(broker.claimableCommittedReserve(sender, recipient) <= funds);
    }

    function check_UsedTicketIsRefused() external {
        Redemption memory r = _anyRedemption(3);
        vm.assume(broker.usedTickets(broker.getTicketHash(r.ticket)));
        assert(!_redeem(r));
    }

    /// The marker keeps a ticket off this path, but for those set aside.
    function check_MarkedTicketNotSetAsideIsRefused() external {
        Redemption memory r = _anyRedemption(3);
        vm.assume(OrderedTicketEncoding.isMarked(r.rand) && !broker.isSetAside(broker.getTicketHash(r.ticket)));
        assert(!_redeem(r));
    }

    /// From `withdrawRound` on a sender's funds pay nothing.
    function check_NothingIsPaidFromTheWithdrawRoundOn() external {
        Redemption memory r = _anyRedemption(2);
        uint256 withdrawRound = _withdrawRound(r.ticket.sender);
        vm.assume(withdrawRound > 0 && rounds.currentRound() >= withdrawRound);
        assert(!_redeem(r));
    }

    /// A ticket is bound to its deployment by the third word, and to its chain's block hash by the second.
    function check_ForeignTicketIsRefused() external {
        Redemption memory r = _anyRedemption(3);
        (uint256 round, bytes32 blockHash, bytes32 tag) = abi.decode(r.ticket.auxData, (uint256, bytes32, bytes32));
        vm.assume(tag != broker.deploymentTag() || blockHash != rounds.blockHashForRound(round) || blockHash == 0);
        assert(!_redeem(r));
    }

    /// A ticket is paid in its validity only, and never while paused.
    function check_StaleTicketIsRefused() external {
        Redemption memory r = _anyRedemption(2);
        (uint256 round,) = abi.decode(r.ticket.auxData, (uint256, bytes32));
        unchecked {
            uint256 expiry = round + broker.ticketValidityPeriod();
            vm.assume(expiry <= rounds.currentRound() || broker.paused());
        }
        assert(!_redeem(r));
    }
}
