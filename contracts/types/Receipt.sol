// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice What an orchestrator states about one segment of work, signed as EIP-712 typed data.
/// @dev The layout is explained field by field, with a worked example, in docs/designs/004-slashing.md.
struct Receipt {
    /// Account whose stake answers for the work; the signer.
    address orchestrator;
    /// Account that paid for the work (a broadcaster).
    address sender;
    /// Service the work belongs to, as in ServiceRegistry.
    bytes32 service;
    /// keccak256 of the manifest id.
    bytes32 manifest;
    /// Number of the segment in the manifest.
    uint256 sequence;
    /// keccak256 of the source segment.
    bytes32 sourceHash;
    /// Id of the exact settings (profiles and encoder options).
    bytes32 settings;
    /// Id of the exact software that did the work.
    bytes32 software;
    /// keccak256 of each result, in the order of the profiles.
    bytes32[] resultHashes;
    /// Round in which the receipt was signed.
    uint256 round;
    /// Whether source, settings and software determine every bit of the results.
    bool deterministic;
}

using ReceiptEncoding for Receipt global;

/// @notice The byte layouts every node and contract must agree on.
library ReceiptEncoding {
    /// @notice EIP-712 type hash of `Receipt`.
    bytes32 internal constant TYPE_HASH = keccak256(
        "Receipt(address orchestrator,address sender,bytes32 service,bytes32 manifest,uint256 sequence,bytes32 sourceHash,bytes32 settings,bytes32 software,bytes32[] resultHashes,uint256 round,bool deterministic)"
    );

    /// @notice EIP-712 `hashStruct` of `receipt`.
    function structHash(Receipt memory receipt) internal pure returns (bytes32) {
        // In two parts, because one expression of twelve words is too deep for the compiler.
        bytes memory job = abi.encode(
            TYPE_HASH,
            receipt.orchestrator,
            receipt.sender,
            receipt.service,
            receipt.manifest,
            receipt.sequence,
            receipt.sourceHash
        );
        bytes memory work = abi.encode(
            receipt.settings,
            receipt.software,
            keccak256(abi.encodePacked(receipt.resultHashes)),
            receipt.round,
            receipt.deterministic
        );
        return keccak256(bytes.concat(job, work));
    }

    /// @notice Identifies the job: everything but the results, the round and the flag. A node signs one deterministic receipt per
    /// job and answers with the same one ever after; a job is punished at most once.
    function jobId(Receipt memory receipt) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                receipt.orchestrator,
                receipt.sender,
                receipt.service,
                receipt.manifest,
                receipt.sequence,
                receipt.sourceHash,
                receipt.settings,
                receipt.software
            )
        );
    }
}
