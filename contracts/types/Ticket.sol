// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice A probabilistic micropayment: worth `faceValue` if it wins, nothing otherwise.
/// @dev With an `auxData` of 64 bytes the hash covers neither chain id nor contract address; replay across deployments is
/// then prevented by the creation round's block hash alone, which no two chains share. With 96 bytes it covers both.
struct Ticket {
    /// Account that earns the ticket (an orchestrator).
    address recipient;
    /// Account that pays (a broadcaster) and signs the ticket.
    address sender;
    /// Wei paid if the ticket wins.
    uint256 faceValue;
    /// Win threshold; the chance to win is winProb / 2^256.
    uint256 winProb;
    /// Counter that makes tickets over one `recipientRandHash` distinct.
    uint256 senderNonce;
    /// keccak256 of the recipient's 32-byte secret.
    bytes32 recipientRandHash;
    /// 64 bytes: creation round, then that round's block hash. Or 96: the same, then the deployment's tag.
    bytes auxData;
}

using TicketEncoding for Ticket global;

/// @notice The byte layouts every node and contract must agree on.
library TicketEncoding {
    /// @notice Length of an `auxData` that names a round and its block hash, bytes.
    uint256 internal constant AUX_DATA_LENGTH = 64;
    /// @notice Length of an `auxData` that names the deployment too, bytes.
    uint256 internal constant BOUND_AUX_DATA_LENGTH = 96;

    /// @dev Half the order of secp256k1: of the two signatures with s and order - s only the lower one counts (EIP-2).
    uint256 private constant _MAX_S = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// @notice keccak256 of the packed fields: 232 or 264 bytes for a well-formed ticket.
    function hash(Ticket calldata ticket) internal pure returns (bytes32 ticketHash) {
        bytes calldata auxData = ticket.auxData;
        (address recipient, address sender) = (ticket.recipient, ticket.sender);
        assembly ("memory-safe") {
            let p := mload(0x40)
            mstore(p, shl(96, recipient))
            mstore(add(p, 20), shl(96, sender))
            // faceValue, winProb, senderNonce and recipientRandHash
            calldatacopy(add(p, 40), add(ticket, 0x40), 0x80)
            calldatacopy(add(p, 168), auxData.offset, auxData.length)
            ticketHash := keccak256(p, add(168, auxData.length))
        }
    }

    /// @notice Who signed with this signature, or zero if it is not canonical: a high s, or a v that is neither 27 nor 28.
    function signer(bytes32 ticketHash, uint8 v, bytes32 r, bytes32 s) internal pure returns (address) {
        if (uint256(s) > _MAX_S) return address(0);
        bytes32 digest;
        assembly ("memory-safe") {
            mstore(0x00, "\x19Ethereum Signed Message:\n32")
            mstore(0x1c, ticketHash)
            digest := keccak256(0x00, 0x3c)
        }
        return ecrecover(digest, v, r, s);
    }

    /// @notice What `recipientRandHash` is of a revealed secret.
    function commitment(uint256 recipientRand) internal pure returns (bytes32 recipientRandHash) {
        assembly ("memory-safe") {
            mstore(0x00, recipientRand)
            recipientRandHash := keccak256(0x00, 0x20)
        }
    }

    /// @notice Creation round and its block hash. The caller has checked the length of `auxData`.
    function creation(Ticket calldata ticket) internal pure returns (uint256 round, bytes32 blockHash) {
        bytes calldata auxData = ticket.auxData;
        assembly ("memory-safe") {
            round := calldataload(auxData.offset)
            blockHash := calldataload(add(auxData.offset, 0x20))
        }
    }

    /// @notice Third word of an `auxData` that has one.
    function deploymentTag(Ticket calldata ticket) internal pure returns (bytes32 tag) {
        (,, tag) = abi.decode(ticket.auxData, (uint256, bytes32, bytes32));
    }

    /// @notice The tag that binds a ticket to a contract on the current chain.
    function tagOf(address deployment) internal view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, deployment));
    }

    /// @notice Whether the draw over signature and revealed secret is below the ticket's threshold.
    function wins(Ticket calldata ticket, bytes calldata sig, uint256 recipientRand) internal pure returns (bool) {
        uint256 draw;
        assembly ("memory-safe") {
            let p := mload(0x40)
            calldatacopy(p, sig.offset, sig.length)
            mstore(add(p, sig.length), recipientRand)
            draw := keccak256(p, add(sig.length, 0x20))
        }
        return draw < ticket.winProb;
    }
}
