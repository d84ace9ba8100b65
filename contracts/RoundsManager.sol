// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Managed} from "./Managed.sol";
import {IBondingManager} from "./interfaces/IBondingManager.sol";
import {IController} from "./interfaces/IController.sol";
import {IMinter} from "./interfaces/IMinter.sol";
import {IRoundsManager} from "./interfaces/IRoundsManager.sol";
import {Ppm} from "./libraries/Ppm.sol";

/// @title Protocol periods, see {IRoundsManager}
contract RoundsManager is IRoundsManager, Managed {
    using SafeCast for uint256;

    /// @notice Told first that a round begins.
    IBondingManager public immutable bondingManager;
    /// @notice Told second that a round begins.
    IMinter public immutable minter;

    // slot 0: the clock
    uint64 private _roundLength;
    uint64 private _lastRoundLengthUpdateRound;
    uint64 private _lastRoundLengthUpdateStartBlock;
    uint64 private _lastInitializedRound;
    // slot 1
    /// @inheritdoc IRoundsManager
    uint256 public roundLockAmount;
    // slot 2
    /// @inheritdoc IRoundsManager
    mapping(uint256 round => bytes32) public blockHashForRound;

    constructor(IController controller_, IBondingManager bondingManager_, IMinter minter_) Managed(controller_) {
        bondingManager = bondingManager_;
        minter = minter_;
    }

    /// @notice Starts the clock. Once, by the proxy's constructor.
    /// @param roundLength_ Blocks.
    /// @param roundLockAmount_ Last part of a round in which commissions are fixed, ppm.
    function initialize(uint256 roundLength_, uint256 roundLockAmount_) external initializer {
        require(roundLength_ > 0, ZeroRoundLength());
        _roundLength = roundLength_.toUint64();
        // Aligned to multiples of the length and counted from 1.
        uint256 elapsedRounds = block.number / roundLength_;
        _lastRoundLengthUpdateRound = (elapsedRounds + 1).toUint64();
        _lastRoundLengthUpdateStartBlock = (elapsedRounds * roundLength_).toUint64();
        emit ParameterUpdate("roundLength");
        _setRoundLockAmount(roundLockAmount_);
    }

    /// @inheritdoc IRoundsManager
    function initializeRound() external whenNotPaused {
        (uint256 round, bool initialized) = currentRoundState();
        require(!initialized, RoundAlreadyInitialized(round));
        bytes32 blockHash = _nonZeroBlockHash(round);
        _lastInitializedRound = round.toUint64();
        blockHashForRound[round] = blockHash;
        bondingManager.setCurrentRoundTotalActiveStake();
        minter.setCurrentRewardTokens();
        emit NewRound(round, blockHash);
    }

    /// @inheritdoc IRoundsManager
    function setRoundLength(uint256 roundLength_) external onlyOwner {
        require(roundLength_ > 0, ZeroRoundLength());
        uint256 round = currentRound();
        uint256 startBlock = currentRoundStartBlock();
        _lastRoundLengthUpdateRound = round.toUint64();
        _lastRoundLengthUpdateStartBlock = startBlock.toUint64();
        _roundLength = roundLength_.toUint64();
        emit ParameterUpdate("roundLength");
    }

    /// @inheritdoc IRoundsManager
    function setRoundLockAmount(uint256 roundLockAmount_) external onlyOwner {
        _setRoundLockAmount(roundLockAmount_);
    }

    /// @inheritdoc IRoundsManager
    function roundLength() external view returns (uint256) {
        return _roundLength;
    }

    /// @inheritdoc IRoundsManager
    function lastRoundLengthUpdateRound() external view returns (uint256) {
        return _lastRoundLengthUpdateRound;
    }

    /// @inheritdoc IRoundsManager
    function lastRoundLengthUpdateStartBlock() external view returns (uint256) {
        return _lastRoundLengthUpdateStartBlock;
    }

    /// @inheritdoc IRoundsManager
    function lastInitializedRound() external view returns (uint256) {
        return _lastInitializedRound;
    }

    /// @inheritdoc IRoundsManager
    function currentRoundInitialized() external view returns (bool initialized) {
        (, initialized) = currentRoundState();
    }

    /// @inheritdoc IRoundsManager
    function ticketRound(uint256 creationRound)
        external
        view
        returns (uint256 round, bool initialized, bytes32 creationRoundBlockHash)
    {
        (round, initialized) = currentRoundState();
        creationRoundBlockHash = blockHashForRound[creationRound];
    }

    /// @inheritdoc IRoundsManager
    function currentRoundLocked() external view returns (bool) {
        uint256 length = _roundLength;
        return block.number - currentRoundStartBlock() >= length - Ppm.part(length, roundLockAmount);
    }

    /// @inheritdoc IRoundsManager
    function currentRoundState() public view returns (uint256 round, bool initialized) {
        round = currentRound();
        initialized = _lastInitializedRound >= round;
    }

    /// @inheritdoc IRoundsManager
    function currentRound() public view returns (uint256) {
        return _lastRoundLengthUpdateRound + (block.number - _lastRoundLengthUpdateStartBlock) / _roundLength;
    }

    /// @inheritdoc IRoundsManager
    function currentRoundStartBlock() public view returns (uint256) {
        return _lastRoundLengthUpdateStartBlock + (currentRound() - _lastRoundLengthUpdateRound) * _roundLength;
    }

    function _setRoundLockAmount(uint256 roundLockAmount_) private {
        require(Ppm.isValid(roundLockAmount_), InvalidRoundLockAmount(roundLockAmount_));
        roundLockAmount = roundLockAmount_;
        emit ParameterUpdate("roundLockAmount");
    }

    /// @dev The previous block's hash. Some chains answer zero, which would make every ticket of the round unredeemable;
    /// then a digest that differs by chain, contract and round takes its place. Tickets only need it to be unique.
    function _nonZeroBlockHash(uint256 round) private view returns (bytes32 blockHash) {
        blockHash = blockhash(block.number - 1);
        if (blockHash == bytes32(0)) {
            blockHash = keccak256(
                abi.encode(block.chainid, address(this), round, block.number, block.timestamp, block.prevrandao)
            );
        }
    }
}
