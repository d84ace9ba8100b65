// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {RoundsManager} from "../../contracts/RoundsManager.sol";
import {IRoundsManager} from "../../contracts/interfaces/IRoundsManager.sol";
import {StreamflowTest} from "./StreamflowTest.sol";

contract RoundsManagerTest is StreamflowTest {
    function test_GivenDeployed_RoundsCountFromOneOnAlignedBlocks() external {
        vm.roll(7);
        address implementation = address(new RoundsManager(controller, bonding, minter));
        bytes memory initialization = abi.encodeCall(RoundsManager.initialize, (120, 0));
        RoundsManager early = RoundsManager(address(new ERC1967Proxy(implementation, initialization)));
        vm.assertEq(early.currentRound(), 1);
        vm.assertEq(early.currentRoundStartBlock(), 0);
        vm.assertFalse(early.currentRoundInitialized());
        vm.roll(120);
        vm.assertEq(early.currentRound(), 2);
        vm.assertEq(early.currentRoundStartBlock(), 120);
        // Deployed at block 1003 with 50 blocks a round, one round later:
        vm.roll(1053);
        vm.assertEq(rounds.currentRound(), 22);
        vm.assertEq(rounds.currentRoundStartBlock(), 1050);
    }

    function test_InitializeRound_FixesHashAndReports() external {
        _rollToNextRound();
        uint256 round = rounds.currentRound();
        vm.assertFalse(rounds.currentRoundInitialized());
        bytes32 expected = blockhash(block.number - 1);
        vm.assertNotEq(expected, bytes32(0));
        vm.expectEmit(address(rounds));
        emit IRoundsManager.NewRound(round, expected);
        vm.prank(stranger);
        rounds.initializeRound();
        vm.assertEq(rounds.blockHashForRound(round), expected);
        vm.assertEq(rounds.blockHashForRound(round + 1), bytes32(0));
        vm.assertEq(rounds.lastInitializedRound(), round);
        vm.assertTrue(rounds.currentRoundInitialized());
    }

    function test_GivenChainWithoutBlockHash_HashIsStillSetAndUnique() external {
        _rollToNextRound();
        vm.setBlockhash(block.number - 1, bytes32(0));
        rounds.initializeRound();
        bytes32 first = rounds.blockHashForRound(rounds.currentRound());
        _rollToNextRound();
        vm.setBlockhash(block.number - 1, bytes32(0));
        rounds.initializeRound();
        bytes32 second = rounds.blockHashForRound(rounds.currentRound());
        vm.assertNotEq(first, bytes32(0));
        vm.assertNotEq(second, bytes32(0));
        vm.assertNotEq(first, second);
    }

    function test_GivenSkippedRounds_OnlyTheCurrentOneHasAHash() external {
        uint256 before = rounds.currentRound();
        vm.roll(block.number + 3 * ROUND_LENGTH);
        rounds.initializeRound();
        vm.assertEq(rounds.currentRound(), before + 3);
        vm.assertEq(rounds.blockHashForRound(before + 1), bytes32(0));
        vm.assertEq(rounds.blockHashForRound(before + 2), bytes32(0));
        vm.assertNotEq(rounds.blockHashForRound(before + 3), bytes32(0));
    }

    function test_RevertWhen_RoundIsInitializedTwice() external {
        vm.expectRevert(abi.encodeWithSelector(IRoundsManager.RoundAlreadyInitialized.selector, rounds.currentRound()));
        rounds.initializeRound();
    }

    function test_RevertWhen_InitializingWhilePaused() external {
        _rollToNextRound();
        _pause();
        _expectPaused();
        rounds.initializeRound();
    }

    function test_CurrentRoundLocked_InTheLastTenth() external {
        uint256 start = rounds.currentRoundStartBlock();
        vm.roll(start + 44);
        vm.assertFalse(rounds.currentRoundLocked());
        vm.roll(start + 45);
        vm.assertTrue(rounds.currentRoundLocked());
    }

    function test_SetRoundLength_CountsFromTheRunningRound() external {
        uint256 round = rounds.currentRound();
        uint256 start = rounds.currentRoundStartBlock();
        vm.prank(owner);
        rounds.setRoundLength(100);
        vm.assertEq(rounds.roundLength(), 100);
        vm.assertEq(rounds.lastRoundLengthUpdateRound(), round);
        vm.assertEq(rounds.lastRoundLengthUpdateStartBlock(), start);
        vm.roll(start + 99);
        vm.assertEq(rounds.currentRound(), round);
        vm.roll(start + 100);
        vm.assertEq(rounds.currentRound(), round + 1);
        vm.assertEq(rounds.currentRoundStartBlock(), start + 100);
    }

    function test_SetRoundLockAmount() external {
        vm.prank(owner);
        rounds.setRoundLockAmount(1_000_000);
        vm.assertEq(rounds.roundLockAmount(), 1_000_000);
        vm.assertTrue(rounds.currentRoundLocked());
    }

    function test_RevertWhen_ParametersAreInvalid() external {
        vm.startPrank(owner);
        vm.expectRevert(IRoundsManager.ZeroRoundLength.selector);
        rounds.setRoundLength(0);
        vm.expectRevert(abi.encodeWithSelector(IRoundsManager.InvalidRoundLockAmount.selector, 1_000_001));
        rounds.setRoundLockAmount(1_000_001);
        address implementation = address(new RoundsManager(controller, bonding, minter));
        vm.expectRevert(IRoundsManager.ZeroRoundLength.selector);
        new ERC1967Proxy(implementation, abi.encodeCall(RoundsManager.initialize, (0, 0)));
        vm.stopPrank();
    }

    function test_RevertWhen_NonOwnerSetsParameters() external {
        vm.startPrank(stranger);
        _expectNotOwner(stranger);
        rounds.setRoundLength(1);
        _expectNotOwner(stranger);
        rounds.setRoundLockAmount(1);
        vm.stopPrank();
    }

    function testFuzz_Invariant20_CurrentRoundIsMonotonic(uint256 first, uint256 second) external {
        first = block.number + first % 1e6;
        second = first + second % 1e6;
        vm.roll(first);
        uint256 before = rounds.currentRound();
        vm.roll(second);
        vm.assertLe(before, rounds.currentRound());
        vm.assertLe(rounds.currentRoundStartBlock(), second);
        vm.assertLt(second - rounds.currentRoundStartBlock(), ROUND_LENGTH);
    }
}
