// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Managed} from "./Managed.sol";
import {IBondingManager} from "./interfaces/IBondingManager.sol";
import {IController} from "./interfaces/IController.sol";
import {IMinter} from "./interfaces/IMinter.sol";
import {IRoundsManager} from "./interfaces/IRoundsManager.sol";
import {Ppm} from "./libraries/Ppm.sol";

/// @title Protocol periods, see {IRoundsManager}
contract RoundsManager is IRoundsManager, Managed {
    /// @notice Told first that a round begins.
    IBondingManager public immutable bondingManager;
    /// @notice Told second that a round begins.
    IMinter public immutable minter;

    /// @inheritdoc IRoundsManager
    uint256 public roundLength;
    /// @inheritdoc IRoundsManager
    uint256 public roundLockAmount;
    /// @inheritdoc IRoundsManager
    uint256 public lastRoundLengthUpdateRound;
    /// @inheritdoc IRoundsManager
    uint256 public lastRoundLengthUpdateStartBlock;
    /// @inheritdoc IRoundsManager
    uint256 public lastInitializedRound;
    /// @inheritdoc IRoundsManager
    mapping(uint256 round => bytes32) public blockHashForRound;

    constructor(
        IController controller_,
        IBondingManager bondingManager_,
        IMinter minter_,
        uint256 roundLength_,
        uint256 roundLockAmount_
    ) Managed(controller_) {
        bondingManager = bondingManager_;
        minter = minter_;
        require(roundLength_ > 0, ZeroRoundLength());
        roundLength = roundLength_;
        // Aligned to multiples of the length and counted from 1.
        uint256 elapsedRounds = block.number / roundLength_;
        lastRoundLengthUpdateRound = elapsedRounds + 1;
        lastRoundLengthUpdateStartBlock = elapsedRounds * roundLength_;
        emit ParameterUpdate("roundLength");
        _setRoundLockAmount(roundLockAmount_);
    }

    /// @inheritdoc IRoundsManager
    function initializeRound() external whenNotPaused {
        uint256 round = currentRound();
        require(lastInitializedRound < round, RoundAlreadyInitialized(round));
        bytes32 blockHash = _nonZeroBlockHash(round);
        lastInitializedRound = round;
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
        lastRoundLengthUpdateRound = round;
        lastRoundLengthUpdateStartBlock = startBlock;
        roundLength = roundLength_;
        emit ParameterUpdate("roundLength");
    }

    /// @inheritdoc IRoundsManager
    function setRoundLockAmount(uint256 roundLockAmount_) external onlyOwner {
        _setRoundLockAmount(roundLockAmount_);
    }

    /// @inheritdoc IRoundsManager
    function currentRoundInitialized() external view returns (bool) {
        return lastInitializedRound == currentRound();
    }

    /// @inheritdoc IRoundsManager
    function currentRoundLocked() external view returns (bool) {
        return block.number - currentRoundStartBlock() >= roundLength - Ppm.part(roundLength, roundLockAmount);
    }

    /// @inheritdoc IRoundsManager
    function currentRound() public view returns (uint256) {
        return lastRoundLengthUpdateRound + (block.number - lastRoundLengthUpdateStartBlock) / roundLength;
    }

    /// @inheritdoc IRoundsManager
    function currentRoundStartBlock() public view returns (uint256) {
        return lastRoundLengthUpdateStartBlock + (currentRound() - lastRoundLengthUpdateRound) * roundLength;
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
