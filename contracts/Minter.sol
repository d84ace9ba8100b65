// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Managed} from "./Managed.sol";
import {IBondingManager} from "./interfaces/IBondingManager.sol";
import {IController} from "./interfaces/IController.sol";
import {ILivepeerToken} from "./interfaces/ILivepeerToken.sol";
import {IMinter} from "./interfaces/IMinter.sol";
import {IRoundsManager} from "./interfaces/IRoundsManager.sol";

/// @title Inflation and custody of staked LPT, see {IMinter}
contract Minter is IMinter, Managed {
    using SafeERC20 for ILivepeerToken;

    /// @dev Denominator of all rates here: parts per billion.
    uint256 private constant _RATE_ONE = 1e9;

    /// @notice The token minted and held.
    ILivepeerToken public immutable livepeerToken;
    /// @notice May mint rewards and move held tokens.
    IBondingManager public immutable bondingManager;
    /// @notice May begin a round.
    IRoundsManager public immutable roundsManager;

    /// @inheritdoc IMinter
    uint256 public inflation;
    /// @inheritdoc IMinter
    uint256 public inflationChange;
    /// @inheritdoc IMinter
    uint256 public targetBondingRate;
    /// @inheritdoc IMinter
    uint256 public currentMintableTokens;
    /// @inheritdoc IMinter
    uint256 public currentMintedTokens;

    constructor(
        IController controller_,
        ILivepeerToken livepeerToken_,
        IBondingManager bondingManager_,
        IRoundsManager roundsManager_,
        uint256 inflation_,
        uint256 inflationChange_,
        uint256 targetBondingRate_
    ) Managed(controller_) {
        livepeerToken = livepeerToken_;
        bondingManager = bondingManager_;
        roundsManager = roundsManager_;
        require(inflation_ <= _RATE_ONE, InvalidRate(inflation_));
        inflation = inflation_;
        _setInflationChange(inflationChange_);
        _setTargetBondingRate(targetBondingRate_);
    }

    /// @inheritdoc IMinter
    function createReward(uint256 fracNum, uint256 fracDenom)
        external
        whenNotPaused
        only(address(bondingManager))
        returns (uint256 amount)
    {
        amount = (currentMintableTokens * ((fracNum * _RATE_ONE) / fracDenom)) / _RATE_ONE;
        uint256 minted = currentMintedTokens + amount;
        require(minted <= currentMintableTokens, MintableExceeded(minted, currentMintableTokens));
        currentMintedTokens = minted;
        livepeerToken.mint(address(this), amount);
    }

    /// @inheritdoc IMinter
    function trustedTransferTokens(address to, uint256 amount) external whenNotPaused only(address(bondingManager)) {
        livepeerToken.safeTransfer(to, amount);
    }

    /// @inheritdoc IMinter
    function setCurrentRewardTokens() external whenNotPaused only(address(roundsManager)) {
        uint256 supply = getGlobalTotalSupply();
        inflation = _nextInflation(supply);
        currentMintableTokens = (supply * inflation) / _RATE_ONE;
        currentMintedTokens = 0;
        emit SetCurrentRewardTokens(currentMintableTokens, inflation);
    }

    /// @inheritdoc IMinter
    function setTargetBondingRate(uint256 targetBondingRate_) external onlyOwner {
        _setTargetBondingRate(targetBondingRate_);
    }

    /// @inheritdoc IMinter
    function setInflationChange(uint256 inflationChange_) external onlyOwner {
        _setInflationChange(inflationChange_);
    }

    /// @inheritdoc IMinter
    function getGlobalTotalSupply() public view returns (uint256) {
        return livepeerToken.totalSupply();
    }

    function _setTargetBondingRate(uint256 targetBondingRate_) private {
        require(targetBondingRate_ <= _RATE_ONE, InvalidRate(targetBondingRate_));
        targetBondingRate = targetBondingRate_;
        emit ParameterUpdate("targetBondingRate");
    }

    function _setInflationChange(uint256 inflationChange_) private {
        require(inflationChange_ <= _RATE_ONE, InvalidRate(inflationChange_));
        inflationChange = inflationChange_;
        emit ParameterUpdate("inflationChange");
    }

    /// @dev One step towards the target; never above the whole supply, never below zero.
    function _nextInflation(uint256 supply) private view returns (uint256) {
        uint256 rate = supply == 0 ? 0 : (bondingManager.getTotalBonded() * _RATE_ONE) / supply;
        if (rate < targetBondingRate) {
            uint256 raised = inflation + inflationChange;
            return raised > _RATE_ONE ? _RATE_ONE : raised;
        }
        if (rate > targetBondingRate) return inflation > inflationChange ? inflation - inflationChange : 0;
        return inflation;
    }
}
