// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TicketEncoding} from "./Ticket.sol";

/// @notice A sender whose winning tickets are part of an ordered batch.
struct OrderedGroup {
    /// Account that signed all of them.
    address sender;
    /// count 64 bits | mark 192 bits. Count of the sender's tickets, which follow those of the group before; mark of (recipient,
    /// sender) that the batch was planned on.
    uint256 plan;
}

/// @notice A winning ticket without what the chain can compute: recipient, `recipientRandHash` and `auxData`.
struct OrderedTicket {
    /// Revealed secret: marker 64 bits | serial 64 bits | secret 128 bits.
    uint256 recipientRand;
    /// Win threshold; the chance to win is winProb / 2^256.
    uint256 winProb;
    /// bound 32 bits, 0 or 1 | faceValue 96 bits, wei | creationRound 64 bits | senderNonce 64 bits. Bound says that `auxData` has
    /// the third word. A nonce of 2^64 or more cannot be written down and has no place in the order.
    uint256 terms;
    /// First half of the sender's signature.
    bytes32 r;
    /// Second half with the parity of y (v - 27) in the highest bit, as in EIP-2098.
    bytes32 yParityAndS;
}

using OrderedTicketEncoding for OrderedGroup global;
using OrderedTicketEncoding for OrderedTicket global;

/// @notice Marker, serial, key and the byte layouts of a ticket that was taken apart.
/// @dev The signed bytes are those of {TicketEncoding}: who signs a ticket does not see which way it is redeemed.
library OrderedTicketEncoding {
    /// @notice Highest 64 bits of the `recipientRand` of every ticket that is redeemed in order: the first 8 bytes of
    /// keccak256("streamflow.ordered.ticket.v1"). Of the secrets drawn without it, one in 2^64 carries it.
    uint64 internal constant MARKER = 0xdaaddfba8d87e975;

    /// @notice Length of the buffer that `hash` and `wins` work in: 264 bytes of ticket, 97 of draw.
    uint256 internal constant BUFFER_LENGTH = 361;

    uint256 private constant _DRAW_OFFSET = 264;

    /// @notice How many tickets the group has.
    function count(OrderedGroup calldata group) internal pure returns (uint256) {
        return group.plan >> 192;
    }

    /// @notice The mark that the group was planned on.
    function mark(OrderedGroup calldata group) internal pure returns (uint256) {
        return uint192(group.plan);
    }

    /// @notice Whether a secret sends its ticket down the ordered path.
    function isMarked(uint256 recipientRand) internal pure returns (bool) {
        return recipientRand >> 192 == MARKER;
    }

    /// @notice Place of the ticket in its sender's order: creationRound 64 | serial 64 | senderNonce 64. Never zero, since
    /// rounds count from 1.
    function key(OrderedTicket calldata ticket) internal pure returns (uint256) {
        (uint256 terms, uint256 rand) = (ticket.terms, ticket.recipientRand);
        return (uint256(uint64(terms >> 64)) << 128) | (uint256(uint64(rand >> 128)) << 64) | uint64(terms);
    }

    /// @notice Wei paid; what needs more than 96 bits cannot be funded either.
    function faceValue(OrderedTicket calldata ticket) internal pure returns (uint256) {
        return uint96(ticket.terms >> 128);
    }

    /// @notice Round whose block hash the ticket carries.
    function creationRound(OrderedTicket calldata ticket) internal pure returns (uint256) {
        return uint64(ticket.terms >> 64);
    }

    /// @notice Whether nothing but what is defined stands in `terms`.
    function hasKnownTerms(OrderedTicket calldata ticket) internal pure returns (bool) {
        return ticket.terms >> 225 == 0;
    }

    /// @notice A buffer with the fields that all tickets of a recipient share.
    function newBuffer(address recipient, bytes32 tag) internal pure returns (bytes memory buffer) {
        buffer = new bytes(BUFFER_LENGTH);
        assembly ("memory-safe") {
            let p := add(buffer, 0x20)
            mstore(p, shl(96, recipient))
            mstore(add(p, 232), tag)
        }
    }

    /// @notice The hash that the sender signed.
    /// @dev The caller has checked `hasKnownTerms`.
    /// @param buffer Of `newBuffer`; its fields from `sender` to the block hash are overwritten.
    function hash(OrderedTicket calldata ticket, bytes memory buffer, address sender, bytes32 blockHash)
        internal
        pure
        returns (bytes32 ticketHash)
    {
        assembly ("memory-safe") {
            let p := add(buffer, 0x20)
            let terms := calldataload(add(ticket, 0x40))
            mstore(add(p, 20), shl(96, sender))
            mstore(add(p, 40), and(shr(128, terms), 0xffffffffffffffffffffffff))
            mstore(add(p, 72), calldataload(add(ticket, 0x20)))
            mstore(add(p, 104), and(terms, 0xffffffffffffffff))
            mstore(0x00, calldataload(ticket))
            mstore(add(p, 136), keccak256(0x00, 0x20))
            mstore(add(p, 168), and(shr(64, terms), 0xffffffffffffffff))
            mstore(add(p, 200), blockHash)
            // 232 bytes, or 264 with the tag.
            ticketHash := keccak256(p, add(232, shl(5, shr(224, terms))))
        }
    }

    /// @notice Who signed, or zero for a signature that is not canonical.
    function signer(OrderedTicket calldata ticket, bytes32 ticketHash) internal pure returns (address) {
        bytes32 s = ticket.yParityAndS & bytes32(uint256(type(int256).max));
        // forge-lint: disable-next-line(unsafe-typecast) 27 or 28
        uint8 v = uint8((uint256(ticket.yParityAndS) >> 255) + 27);
        return TicketEncoding.signer(ticketHash, v, ticket.r, s);
    }

    /// @notice Whether the draw over the 65 bytes of signature and the secret is below the ticket's threshold.
    /// @param buffer Of `newBuffer`; the part behind the ticket is overwritten.
    function wins(OrderedTicket calldata ticket, bytes memory buffer) internal pure returns (bool) {
        uint256 draw;
        assembly ("memory-safe") {
            let p := add(add(buffer, 0x20), _DRAW_OFFSET)
            let vs := calldataload(add(ticket, 0x80))
            mstore(p, calldataload(add(ticket, 0x60)))
            mstore(add(p, 0x20), shr(1, shl(1, vs)))
            mstore8(add(p, 0x40), add(shr(255, vs), 27))
            mstore(add(p, 0x41), calldataload(ticket))
            draw := keccak256(p, 97)
        }
        return draw < ticket.winProb;
    }
}
