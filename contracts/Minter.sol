// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Managed} from "./Managed.sol";
import {IBondingManager} from "./interfaces/IBondingManager.sol";
import {IController} from "./interfaces/IController.sol";
import {ILivepeerToken} from "./interfaces/ILivepeerToken.sol";
import {IMinter} from "./interfaces/IMinter.sol";
import {IRoundsManager} from "./interfaces/IRoundsManager.sol";

/// @title Inflation and custody of staked LPT, see {IMinter}
contract Minter is IMinter, Managed {
    using SafeCast for uint256;
    using SafeERC20 for ILivepeerToken;

    /// @dev Denominator of all rates here: parts per billion.
    uint256 private constant _RATE_ONE = 1e9;

    /// @notice The token minted and held.
    ILivepeerToken public immutable livepeerToken;
    /// @notice May mint rewards and move held tokens.
    IBondingManager public immutable bondingManager;
    /// @notice May begin a round.
    IRoundsManager public immutable roundsManager;

    // slot 0: rates, at most `_RATE_ONE`
    uint64 private _inflation;
    uint64 private _inflationChange;
    uint64 private _targetBondingRate;
    // slot 1: LPT wei of the round
    uint128 private _currentMintableTokens;
    uint128 private _currentMintedTokens;

    constructor(
        IController controller_,
        ILivepeerToken livepeerToken_,
        IBondingManager bondingManager_,
        IRoundsManager roundsManager_
    ) Managed(controller_) {
        livepeerToken = livepeerToken_;
        bondingManager = bondingManager_;
        roundsManager = roundsManager_;
    }

    /// @notice Sets the rates, parts per billion. Once, by the proxy's constructor.
    function initialize(uint256 inflation_, uint256 inflationChange_, uint256 targetBondingRate_) external initializer {
        _inflation = _rate(inflation_);
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
        uint256 mintable = _currentMintableTokens;
        amount = (mintable * ((fracNum * _RATE_ONE) / fracDenom)) / _RATE_ONE;
        uint256 minted = _currentMintedTokens + amount;
        require(minted <= mintable, MintableExceeded(minted, mintable));
        _currentMintedTokens = minted.toUint128();
        livepeerToken.mint(address(this), amount);
    }

    /// @inheritdoc IMinter
    function trustedTransferTokens(address to, uint256 amount) external only(address(bondingManager)) {
        livepeerToken.safeTransfer(to, amount);
    }

    /// @inheritdoc IMinter
    function trustedBurnTokens(uint256 amount) external whenNotPaused only(address(bondingManager)) {
        livepeerToken.burn(amount);
    }

    /// @inheritdoc IMinter
    function setCurrentRewardTokens() external whenNotPaused only(address(roundsManager)) {
        uint256 supply = getGlobalTotalSupply();
        uint256 rate = _nextInflation(supply);
        uint256 mintable = (supply * rate) / _RATE_ONE;
        _inflation = rate.toUint64();
        _currentMintableTokens = mintable.toUint128();
        _currentMintedTokens = 0;
        emit SetCurrentRewardTokens(mintable, rate);
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
    function inflation() external view returns (uint256) {
        return _inflation;
    }

    /// @inheritdoc IMinter
    function inflationChange() external view returns (uint256) {
        return _inflationChange;
    }

    /// @inheritdoc IMinter
    function targetBondingRate() external view returns (uint256) {
        return _targetBondingRate;
    }

    /// @inheritdoc IMinter
    function currentMintableTokens() external view returns (uint256) {
        return _currentMintableTokens;
    }

    /// @inheritdoc IMinter
    function currentMintedTokens() external view returns (uint256) {
        return _currentMintedTokens;
    }

    /// @inheritdoc IMinter
    function getGlobalTotalSupply() public view returns (uint256) {
        return livepeerToken.totalSupply();
    }

    function _setTargetBondingRate(uint256 targetBondingRate_) private {
        _targetBondingRate = _rate(targetBondingRate_);
        emit ParameterUpdate("targetBondingRate");
    }

    function _setInflationChange(uint256 inflationChange_) private {
        _inflationChange = _rate(inflationChange_);
        emit ParameterUpdate("inflationChange");
    }

    /// @dev One step towards the target; never above the whole supply, never below zero.
    function _nextInflation(uint256 supply) private view returns (uint256) {
        (uint256 present, uint256 step, uint256 target) = (_inflation, _inflationChange, _targetBondingRate);
        uint256 rate = supply == 0 ? 0 : (bondingManager.getTotalBonded() * _RATE_ONE) / supply;
        if (rate < target) return present + step > _RATE_ONE ? _RATE_ONE : present + step;
        if (rate > target) return present > step ? present - step : 0;
        return present;
    }

    function _rate(uint256 rate) private pure returns (uint64) {
        require(rate <= _RATE_ONE, InvalidRate(rate));
        return rate.toUint64();
    }
}
