// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice A clock that shows anything: its storage is made symbolic, so its answers are arbitrary, and the same answer to the
/// same question. Every RoundsManager is one of its cases.
contract AnyRounds {
    uint256 public currentRound;
    bool private _initialized;
    mapping(uint256 round => bytes32) public blockHashForRound;

    function currentRoundState() external view returns (uint256, bool) {
        return (currentRound, _initialized);
    }

    function ticketRound(uint256 creationRound) external view returns (uint256, bool, bytes32) {
        return (currentRound, _initialized, blockHashForRound[creationRound]);
    }
}

/// @notice A set of any size with any members, as AnyRounds is a clock. It takes every fee and counts it.
contract AnyBonding {
    uint256 public currentRoundPoolSize;
    mapping(address account => bool) public isActiveTranscoder;
    /// @notice Wei that each recipient was credited with, and under which round last.
    mapping(address recipient => uint256) public credited;
    mapping(address recipient => uint256) public creditedRound;
    /// @notice How often fees were credited.
    uint256 public credits;

    function updateTranscoderWithFees(address recipient, uint256 fees, uint256 round) external {
        unchecked {
            credited[recipient] += fees;
            ++credits;
        }
        creditedRound[recipient] = round;
    }
}
