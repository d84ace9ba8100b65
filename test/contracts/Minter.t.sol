// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {Minter} from "../../contracts/Minter.sol";
import {IManaged} from "../../contracts/interfaces/IManaged.sol";
import {IMinter} from "../../contracts/interfaces/IMinter.sol";
import {StreamflowTest} from "./StreamflowTest.sol";

contract MinterTest is StreamflowTest {
    function test_GivenNothingBonded_InflationRisesEachRound() external {
        vm.assertEq(minter.inflation(), 221_000);
        vm.assertEq(minter.currentMintableTokens(), uint256(10_000_000 ether) * 221_000 / 1e9);
        _nextRound();
        vm.assertEq(minter.inflation(), 221_500);
    }

    function test_GivenRateAboveTarget_InflationFallsToZeroAndNotBelow() external {
        vm.startPrank(owner);
        minter.setTargetBondingRate(1);
        minter.setInflationChange(200_000);
        vm.stopPrank();
        _register(orchestrator, 1_000_000 ether, 0, 0);
        // The stake counts from the next round on.
        _nextRound();
        vm.assertEq(minter.inflation(), 21_000);
        _nextRound();
        vm.assertEq(minter.inflation(), 0);
        vm.assertEq(minter.currentMintableTokens(), 0);
        _nextRound();
        vm.assertEq(minter.inflation(), 0);
    }

    function test_GivenRateOnTarget_InflationStands() external {
        vm.prank(owner);
        minter.setTargetBondingRate(100_000_000);
        _register(orchestrator, 1_000_000 ether, 0, 0);
        _nextRound();
        vm.assertEq(minter.inflation(), 221_000);
    }

    function test_GivenLargeStep_InflationIsAtMostTheSupply() external {
        vm.prank(owner);
        minter.setInflationChange(1e9);
        _nextRound();
        vm.assertEq(minter.inflation(), 1e9);
    }

    function test_CreateReward_MintsTheShareOfTheRound() external {
        uint256 mintable = minter.currentMintableTokens();
        vm.startPrank(address(bonding));
        vm.assertEq(minter.createReward(1, 3), mintable * 333_333_333 / 1e9);
        vm.assertEq(minter.currentMintedTokens(), mintable * 333_333_333 / 1e9);
        vm.assertEq(token.balanceOf(address(minter)), mintable * 333_333_333 / 1e9);
        vm.stopPrank();
    }

    function test_RevertWhen_MoreIsMintedThanTheRoundAllows() external {
        uint256 mintable = minter.currentMintableTokens();
        vm.startPrank(address(bonding));
        minter.createReward(1, 1);
        uint256 minted = mintable + mintable * 1 / 1e9;
        vm.expectRevert(abi.encodeWithSelector(IMinter.MintableExceeded.selector, minted, mintable));
        minter.createReward(1, 1e9);
        vm.stopPrank();
    }

    function test_SetCurrentRewardTokens_Reports() external {
        _rollToNextRound();
        vm.expectEmit(address(minter));
        emit IMinter.SetCurrentRewardTokens(uint256(10_000_000 ether) * 221_500 / 1e9, 221_500);
        rounds.initializeRound();
    }

    function test_RevertWhen_CallerIsNotTrusted() external {
        address[3] memory callers = [owner, address(broker), stranger];
        for (uint256 i = 0; i < callers.length; ++i) {
            vm.startPrank(callers[i]);
            _expectNotTrusted(callers[i]);
            minter.createReward(1, 2);
            _expectNotTrusted(callers[i]);
            minter.trustedTransferTokens(stranger, 1);
            _expectNotTrusted(callers[i]);
            minter.trustedBurnTokens(1);
            _expectNotTrusted(callers[i]);
            minter.setCurrentRewardTokens();
            vm.stopPrank();
        }
        vm.prank(address(rounds));
        _expectNotTrusted(address(rounds));
        minter.createReward(1, 2);
        vm.prank(address(bonding));
        _expectNotTrusted(address(bonding));
        minter.setCurrentRewardTokens();
    }

    function test_RevertWhen_Paused() external {
        _pause();
        vm.startPrank(address(bonding));
        _expectPaused();
        minter.createReward(1, 2);
        _expectPaused();
        minter.trustedBurnTokens(1);
        vm.stopPrank();
        vm.prank(address(rounds));
        _expectPaused();
        minter.setCurrentRewardTokens();
    }

    function test_Burn_DestroysHeldTokens() external {
        vm.prank(owner);
        token.transfer(address(minter), 5);
        uint256 supply = token.totalSupply();
        vm.prank(address(bonding));
        minter.trustedBurnTokens(3);
        vm.assertEq(token.totalSupply(), supply - 3);
        vm.assertEq(token.balanceOf(address(minter)), 2);
    }

    function test_RevertWhen_NonOwnerSetsRates() external {
        vm.startPrank(stranger);
        _expectNotOwner(stranger);
        minter.setInflationChange(1);
        _expectNotOwner(stranger);
        minter.setTargetBondingRate(1);
        vm.stopPrank();
    }

    function test_RevertWhen_RateExceedsTheWhole() external {
        bytes memory refusal = abi.encodeWithSelector(IMinter.InvalidRate.selector, 1e9 + 1);
        vm.startPrank(owner);
        vm.expectRevert(refusal);
        minter.setInflationChange(1e9 + 1);
        vm.expectRevert(refusal);
        minter.setTargetBondingRate(1e9 + 1);
        vm.stopPrank();
        address implementation = address(new Minter(controller, token, bonding, rounds));
        vm.expectRevert(refusal);
        new ERC1967Proxy(implementation, abi.encodeCall(Minter.initialize, (1e9 + 1, 0, 0)));
    }

    function test_RevertWhen_EtherIsSent() external {
        vm.prank(stranger);
        (bool ok,) = address(minter).call{value: 1}("");
        vm.assertFalse(ok);
    }

    function test_SetRates_ReportTheName() external {
        vm.startPrank(owner);
        vm.expectEmit(address(minter));
        emit IManaged.ParameterUpdate("inflationChange");
        minter.setInflationChange(7);
        vm.expectEmit(address(minter));
        emit IManaged.ParameterUpdate("targetBondingRate");
        minter.setTargetBondingRate(8);
        vm.stopPrank();
        vm.assertEq(minter.inflationChange(), 7);
        vm.assertEq(minter.targetBondingRate(), 8);
    }
}
