// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Inflation and custody of staked LPT
/// @notice Holds LPT only, never ETH. Rates are parts per billion.
interface IMinter {
    /// @notice A round began with this many LPT wei mintable at this inflation (parts per billion of the supply).
    event SetCurrentRewardTokens(uint256 currentMintableTokens, uint256 currentInflation);

    /// @notice Thrown when a rate exceeds 1e9.
    error InvalidRate(uint256 rate);
    /// @notice Thrown when a reward would exceed what the round may mint.
    error MintableExceeded(uint256 minted, uint256 mintable);

    /// @notice Mint an orchestrator's part of the round's reward into this contract. BondingManager only.
    /// @param fracNum Orchestrator's stake in the round, LPT wei.
    /// @param fracDenom All active stake in the round, LPT wei.
    /// @return amount LPT wei minted: mintable * floor(fracNum * 1e9 / fracDenom) / 1e9, rounded down.
    function createReward(uint256 fracNum, uint256 fracDenom) external returns (uint256 amount);

    /// @notice Pay out staked LPT. BondingManager only, which decides what a pause stops.
    function trustedTransferTokens(address to, uint256 amount) external;

    /// @notice Destroy held LPT that was slashed. BondingManager only.
    /// @dev The Minter needs the token's BURNER_ROLE.
    function trustedBurnTokens(uint256 amount) external;

    /// @notice Move inflation towards the target bonding rate and fix the round's mintable amount. RoundsManager only.
    function setCurrentRewardTokens() external;

    /// @notice Set the bonding rate at which inflation stands still. Owner only.
    function setTargetBondingRate(uint256 targetBondingRate) external;

    /// @notice Set the step by which inflation moves each round. Owner only.
    function setInflationChange(uint256 inflationChange) external;

    /// @notice Part of the supply mintable per round, parts per billion.
    function inflation() external view returns (uint256);

    /// @notice Step of `inflation` per round, parts per billion.
    function inflationChange() external view returns (uint256);

    /// @notice Bonded part of the supply aimed at, parts per billion.
    function targetBondingRate() external view returns (uint256);

    /// @notice LPT wei that may be minted in the current round.
    function currentMintableTokens() external view returns (uint256);

    /// @notice LPT wei minted so far in the current round.
    function currentMintedTokens() external view returns (uint256);

    /// @notice LPT supply that inflation and bonding rate refer to: the total supply of the token on this chain.
    /// @dev The network on Arbitrum adds the L1 circulating supply; a deployment of its own has no second chain.
    function getGlobalTotalSupply() external view returns (uint256);
}
