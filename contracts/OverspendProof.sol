// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IPenaltyClause} from "./interfaces/IPenaltyClause.sol";
import {IRoundsManager} from "./interfaces/IRoundsManager.sol";
import {ITicketBroker} from "./interfaces/ITicketBroker.sol";
import {OrderedTicket, OrderedTicketEncoding} from "./types/OrderedTicket.sol";

/// @title Adds up the unpaid winning tickets of a proof, see {IPenaltyClause}
/// @notice Holds nothing and answers only about its caller, the broker, whose views it reads.
/// @dev A contract of its own because a second user of {OrderedTicketEncoding} inside the broker would keep the compiler from
/// inlining it there, which costs every redemption gas.
contract OverspendProof {
    /// What makes a ticket count.
    struct Scope {
        address sender;
        uint256 round;
        /// Rounds in which a ticket counts, its creation round included.
        uint256 window;
        /// Wei.
        uint256 maxFaceValue;
        IRoundsManager roundsManager;
    }

    /// What all groups of a proof share.
    struct Proof {
        Scope scope;
        ITicketBroker broker;
        bytes32 tag;
        /// Last block hash looked up, and its round.
        uint256 hashRound;
        bytes32 blockHash;
        /// Youngest creation round among the tickets.
        uint256 lastRound;
        /// Index of the first ticket of the next group.
        uint256 next;
        /// Of the group: what tickets are hashed in, and the mark of its recipient and the sender.
        bytes buffer;
        uint256 mark;
    }

    /// @notice Check every ticket and add up what is unpaid and not covered by what is committed to its recipient.
    /// @dev For the checks and their order see {IPenaltyClause-proveOverspend}.
    /// @return owed Wei.
    /// @return lastRound Youngest creation round among the tickets, paid or not.
    function owedBy(Scope calldata scope, IPenaltyClause.ProofGroup[] calldata groups, OrderedTicket[] calldata tickets)
        external
        view
        returns (uint256 owed, uint256 lastRound)
    {
        Proof memory proof;
        proof.scope = scope;
        proof.broker = ITicketBroker(msg.sender);
        proof.tag = proof.broker.deploymentTag();
        // No round yet: even round 0, which has no hash, must be looked up and refused.
        proof.hashRound = type(uint256).max;
        address previous = address(0);
        for (uint256 i = 0; i < groups.length; ++i) {
            address recipient = groups[i].recipient;
            require(recipient > previous, IPenaltyClause.RecipientsNotAscending(previous, recipient));
            previous = recipient;
            owed += _owedTo(recipient, groups[i].count, tickets, proof);
        }
        require(proof.next == tickets.length, ITicketBroker.CountMismatch(proof.next, tickets.length));
        lastRound = proof.lastRound;
    }

    /// @dev Takes the next `count` tickets. Hashes ascend in a group, and the recipient is part of the hash: no ticket counts twice.
    function _owedTo(address recipient, uint256 count, OrderedTicket[] calldata tickets, Proof memory proof)
        private
        view
        returns (uint256 unpaid)
    {
        uint256 index = proof.next;
        require(count <= tickets.length - index, ITicketBroker.CountMismatch(count, tickets.length - index));
        proof.next = index + count;
        proof.buffer = OrderedTicketEncoding.newBuffer(recipient, proof.tag);
        proof.mark = proof.broker.redemptionMark(recipient, proof.scope.sender);
        bytes32 previous = 0;
        for (; index < proof.next; ++index) {
            OrderedTicket calldata ticket = tickets[index];
            (bytes4 refusal, bytes32 ticketHash) = _verify(ticket, previous, proof);
            require(refusal == 0, IPenaltyClause.InvalidProofTicket(index, refusal));
            previous = ticketHash;
            if (_isOwed(ticket, ticketHash, proof)) unpaid += ticket.faceValue();
        }
        uint256 committed = proof.broker.claimableCommittedReserve(proof.scope.sender, recipient);
        return unpaid > committed ? unpaid - committed : 0;
    }

    /// @dev Selector of the error that refuses the ticket; or zero and the hash of a winner.
    function _verify(OrderedTicket calldata ticket, bytes32 previousHash, Proof memory proof)
        private
        view
        returns (bytes4, bytes32 ticketHash)
    {
        Scope memory scope = proof.scope;
        if (!ticket.hasKnownTerms()) return (ITicketBroker.InvalidTerms.selector, 0);
        uint256 creationRound = ticket.creationRound();
        if (creationRound + scope.window <= scope.round) return (ITicketBroker.TicketExpired.selector, 0);
        if (creationRound != proof.hashRound) {
            bytes32 blockHash = scope.roundsManager.blockHashForRound(creationRound);
            if (blockHash == 0) return (ITicketBroker.NoBlockHash.selector, 0);
            (proof.hashRound, proof.blockHash) = (creationRound, blockHash);
        }
        if (creationRound > proof.lastRound) proof.lastRound = creationRound;
        if (ticket.faceValue() > scope.maxFaceValue) return (IPenaltyClause.FaceValueNotCovered.selector, 0);
        ticketHash = ticket.hash(proof.buffer, scope.sender, proof.blockHash);
        if (ticketHash <= previousHash) return (IPenaltyClause.HashNotAscending.selector, 0);
        if (ticket.signer(ticketHash) != scope.sender) return (ITicketBroker.InvalidSignature.selector, 0);
        if (!ticket.wins(proof.buffer)) return (ITicketBroker.TicketNotWinning.selector, 0);
        return (0, ticketHash);
    }

    /// @dev Whether the ticket was neither paid nor passed for good. A marked one leaves no flag when it is paid in order: at or
    /// below the mark it counts as paid unless it lies aside, and above it nothing can have happened to it.
    function _isOwed(OrderedTicket calldata ticket, bytes32 ticketHash, Proof memory proof)
        private
        view
        returns (bool)
    {
        if (!OrderedTicketEncoding.isMarked(ticket.recipientRand)) {
            return !proof.broker.usedTickets(ticketHash);
        }
        return ticket.key() > proof.mark || proof.broker.isSetAside(ticketHash);
    }
}
