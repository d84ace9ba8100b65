// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {OrderedGroup, OrderedTicket, OrderedTicketEncoding} from "../../contracts/types/OrderedTicket.sol";
import {Ticket} from "../../contracts/types/Ticket.sol";
import {SymbolicTest} from "./SymbolicTest.sol";

/// @notice A ticket taken apart is the ticket that was signed, and its key is its place.
contract OrderedTicketEncodingProof is SymbolicTest {
    /// @dev All that is in `terms` and the secret, part by part.
    struct Parts {
        uint96 faceValue;
        uint64 round;
        uint64 serial;
        uint64 nonce;
        uint128 secret;
    }

    // --- the key ---

    /// Keys compare as (round, serial, nonce) do, and what else is in a ticket does not matter to them.
    function check_KeyOrdersByRoundSerialNonce(OrderedTicket calldata a, OrderedTicket calldata b) external pure {
        (uint64 roundA, uint64 serialA, uint64 nonceA) = _place(a);
        (uint64 roundB, uint64 serialB, uint64 nonceB) = _place(b);
        bool before =
            roundA < roundB || (roundA == roundB && (serialA < serialB || (serialA == serialB && nonceA < nonceB)));
        bool same = roundA == roundB && serialA == serialB && nonceA == nonceB;
        assert((a.key() < b.key()) == before);
        assert((a.key() == b.key()) == same);
    }

    /// A key fits the 192 bits that a group names its mark in.
    function check_KeyFitsTheMarkOfAGroup(OrderedTicket calldata ticket, OrderedGroup calldata group) external pure {
        assert(ticket.key() >> 192 == 0);
        assert((group.count() << 192) | group.mark() == group.plan);
    }

    function check_MarkedIffTheTopBitsAreTheMarker(uint256 recipientRand) external pure {
        bool top = uint64(recipientRand >> 192) == uint64(bytes8(keccak256("streamflow.ordered.ticket.v1")));
        assert(OrderedTicketEncoding.isMarked(recipientRand) == top);
    }

    function check_TermsHoldWhatTheyAreMadeOf(OrderedTicket calldata ticket) external pure {
        uint256 known = (ticket.terms >> 224 << 224) | (ticket.faceValue() << 128) | (ticket.creationRound() << 64)
            | uint64(ticket.terms);
        assert(known == ticket.terms);
        assert(ticket.hasKnownTerms() == (ticket.terms >> 224 <= 1));
    }

    // --- the hash ---

    function hashOrdered(OrderedTicket calldata ticket, bytes memory buffer, address sender, bytes32 blockHash)
        external
        pure
        returns (bytes32)
    {
        return ticket.hash(buffer, sender, blockHash);
    }

    /// @dev On a buffer that another ticket was hashed and drawn in before.
    function hashAfter(
        OrderedTicket calldata before,
        OrderedTicket calldata ticket,
        bytes memory buffer,
        address[2] calldata senders,
        bytes32[2] calldata blockHashes
    ) external pure returns (bytes32) {
        before.hash(buffer, senders[0], blockHashes[0]);
        before.wins(buffer);
        return ticket.hash(buffer, senders[1], blockHashes[1]);
    }

    function hashDeployed(Ticket calldata ticket) external pure returns (bytes32) {
        return ticket.hash();
    }

    function check_HashOf232BytesIsTheSignedOne(
        Parts calldata parts,
        uint256 winProb,
        address recipient,
        address sender,
        bytes32 blockHash,
        bytes32 tag
    ) external view {
        Ticket memory ticket = _ticket(parts, winProb, recipient, sender);
        ticket.auxData = abi.encode(uint256(parts.round), blockHash);
        bytes memory buffer = OrderedTicketEncoding.newBuffer(recipient, tag);
        bytes32 ordered = this.hashOrdered(_ordered(parts, winProb, 0), buffer, sender, blockHash);
        assert(ordered == this.hashDeployed(ticket));
    }

    function check_HashOf264BytesIsTheSignedOne(
        Parts calldata parts,
        uint256 winProb,
        address recipient,
        address sender,
        bytes32 blockHash,
        bytes32 tag
    ) external view {
        Ticket memory ticket = _ticket(parts, winProb, recipient, sender);
        ticket.auxData = abi.encode(uint256(parts.round), blockHash, tag);
        bytes memory buffer = OrderedTicketEncoding.newBuffer(recipient, tag);
        bytes32 ordered = this.hashOrdered(_ordered(parts, winProb, 1), buffer, sender, blockHash);
        assert(ordered == this.hashDeployed(ticket));
    }

    /// What a ticket leaves in the buffer does not change the hash of the next.
    function check_HashDoesNotDependOnTheTicketBefore(
        Parts calldata before,
        Parts calldata parts,
        uint256 winProb,
        address recipient,
        address[2] calldata senders,
        bytes32[2] calldata blockHashes,
        bytes32 tag
    ) external view {
        bytes memory buffer = OrderedTicketEncoding.newBuffer(recipient, tag);
        OrderedTicket memory ticket = _ordered(parts, winProb, 1);
        bytes32 fresh = this.hashOrdered(ticket, buffer, senders[1], blockHashes[1]);
        assert(fresh == this.hashAfter(_ordered(before, winProb, 0), ticket, buffer, senders, blockHashes));
    }

    // --- signature and draw ---

    function signerOrdered(OrderedTicket calldata ticket, bytes32 ticketHash) external pure returns (address) {
        return ticket.signer(ticketHash);
    }

    function winsOrdered(OrderedTicket calldata ticket, bytes memory buffer) external pure returns (bool) {
        return ticket.wins(buffer);
    }

    function winsDeployed(Ticket calldata ticket, bytes calldata sig, uint256 recipientRand)
        external
        pure
        returns (bool)
    {
        return ticket.wins(sig, recipientRand);
    }

    /// Both paths find the same signer in a signature that can be written either way, and neither takes another.
    function check_SignerIsThatOfTheDeployedPath(OrderedTicket calldata ticket, bytes32 ticketHash) external pure {
        (bytes32 r, bytes32 s, uint8 v) = _signature(ticket);
        bytes32 digest = MessageHashUtils.toEthSignedMessageHash(ticketHash);
        (address deployed, ECDSA.RecoverError err,) = ECDSA.tryRecover(digest, v, r, s);
        address ordered = ticket.signer(ticketHash);
        assert(err == ECDSA.RecoverError.NoError ? ordered == deployed : ordered == address(0));
    }

    function check_DrawIsThatOfTheDeployedPath(OrderedTicket calldata ticket, address recipient, bytes32 tag)
        external
        view
    {
        (bytes32 r, bytes32 s, uint8 v) = _signature(ticket);
        Ticket memory deployed;
        deployed.winProb = ticket.winProb;
        bytes memory buffer = OrderedTicketEncoding.newBuffer(recipient, tag);
        bool wins = this.winsDeployed(deployed, abi.encodePacked(r, s, v), ticket.recipientRand);
        assert(this.winsOrdered(ticket, buffer) == wins);
    }

    // --- builders ---

    function _place(OrderedTicket calldata ticket) private pure returns (uint64 round, uint64 serial, uint64 nonce) {
        round = uint64(ticket.terms >> 64);
        serial = uint64(ticket.recipientRand >> 128);
        nonce = uint64(ticket.terms);
    }

    function _signature(OrderedTicket calldata ticket) private pure returns (bytes32 r, bytes32 s, uint8 v) {
        uint256 vs = uint256(ticket.yParityAndS);
        return (ticket.r, bytes32(vs & ~(uint256(1) << 255)), uint8(27 + (vs >> 255)));
    }

    function _rand(Parts calldata parts) private pure returns (uint256) {
        return (uint256(OrderedTicketEncoding.MARKER) << 192) | (uint256(parts.serial) << 128) | parts.secret;
    }

    function _ordered(Parts calldata parts, uint256 winProb, uint256 bound)
        private
        pure
        returns (OrderedTicket memory ticket)
    {
        ticket.recipientRand = _rand(parts);
        ticket.winProb = winProb;
        ticket.terms = (bound << 224) | (uint256(parts.faceValue) << 128) | (uint256(parts.round) << 64) | parts.nonce;
    }

    function _ticket(Parts calldata parts, uint256 winProb, address recipient, address sender)
        private
        pure
        returns (Ticket memory ticket)
    {
        ticket.recipient = recipient;
        ticket.sender = sender;
        ticket.faceValue = parts.faceValue;
        ticket.winProb = winProb;
        ticket.senderNonce = parts.nonce;
        ticket.recipientRandHash = keccak256(abi.encode(_rand(parts)));
    }
}
