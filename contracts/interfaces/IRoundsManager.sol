// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Protocol periods, counted in blocks
/// @notice Rounds begin at 1, so that a zero in any record means never. A round must be initialised, by anybody, before
/// stake or tickets can move in it; a round that nobody initialised has no block hash and no rewards.
interface IRoundsManager {
    /// @notice `round` was initialised.
    event NewRound(uint256 indexed round, bytes32 blockHash);

    /// @notice Thrown when a round would have no blocks.
    error ZeroRoundLength();
    /// @notice Thrown when the lock amount exceeds 1,000,000 ppm.
    error InvalidRoundLockAmount(uint256 roundLockAmount);
    /// @notice Thrown when the current round is already initialised.
    error RoundAlreadyInitialized(uint256 round);

    /// @notice Start the current round: fix its block hash, its active stake and its mintable reward.
    function initializeRound() external;

    /// @notice Set the number of blocks per round, from the start of the running round on. Owner only.
    /// @dev Warning: a shorter length can end the running round, and further ones, at once.
    function setRoundLength(uint256 roundLength) external;

    /// @notice Set the last part of a round, ppm, in which commissions may not change. Owner only.
    function setRoundLockAmount(uint256 roundLockAmount) external;

    /// @notice Round of the current block, initialised or not.
    function currentRound() external view returns (uint256);

    /// @notice First block of the current round.
    function currentRoundStartBlock() external view returns (uint256);

    /// @notice Whether `initializeRound` ran in the current round.
    function currentRoundInitialized() external view returns (bool);

    /// @notice `currentRound` and `currentRoundInitialized` in one call.
    function currentRoundState() external view returns (uint256 round, bool initialized);

    /// @notice `currentRoundState` and the hash of `creationRound` in one call, as a ticket of that round needs them.
    function ticketRound(uint256 creationRound)
        external
        view
        returns (uint256 round, bool initialized, bytes32 creationRoundBlockHash);

    /// @notice Whether commissions may no longer change in the current round.
    function currentRoundLocked() external view returns (bool);

    /// @notice Hash fixed when `round` was initialised; zero if it never was.
    function blockHashForRound(uint256 round) external view returns (bytes32);

    /// @notice Latest initialised round.
    function lastInitializedRound() external view returns (uint256);

    /// @notice Blocks per round.
    function roundLength() external view returns (uint256);

    /// @notice Locked part at the end of a round, ppm.
    function roundLockAmount() external view returns (uint256);

    /// @notice Round in which the round length was last set.
    function lastRoundLengthUpdateRound() external view returns (uint256);

    /// @notice First block of that round.
    function lastRoundLengthUpdateStartBlock() external view returns (uint256);
}
