// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IBondingManager} from "../../contracts/interfaces/IBondingManager.sol";
import {IManaged} from "../../contracts/interfaces/IManaged.sol";
import {ITicketBroker} from "../../contracts/interfaces/ITicketBroker.sol";
import {StreamflowTest} from "./StreamflowTest.sol";

/// @notice Delegation, unbonding, commissions and roles of BondingManager.
contract BondingManagerTest is StreamflowTest {
    // --- bond ---

    function test_Bond_ToSelfRegisters() external {
        vm.prank(owner);
        token.transfer(orchestrator, 5 ether);
        vm.startPrank(orchestrator);
        token.approve(address(bonding), 5 ether);
        vm.expectEmit(address(bonding));
        emit IBondingManager.TranscoderActivated(orchestrator, rounds.currentRound() + 1);
        vm.expectEmit(address(bonding));
        emit IBondingManager.Bond(orchestrator, address(0), orchestrator, 5 ether, 5 ether);
        bonding.bond(5 ether, orchestrator);
        vm.stopPrank();
        vm.assertTrue(bonding.isRegisteredTranscoder(orchestrator));
        vm.assertTrue(bonding.transcoderStatus(orchestrator) == IBondingManager.TranscoderStatus.Registered);
        vm.assertTrue(bonding.delegatorStatus(orchestrator) == IBondingManager.DelegatorStatus.Pending);
        vm.assertFalse(bonding.isActiveTranscoder(orchestrator));
        vm.assertEq(token.balanceOf(address(minter)), 5 ether);
        vm.assertEq(token.balanceOf(address(bonding)), 0);
        vm.assertEq(bonding.nextRoundTotalActiveStake(), 5 ether);
        vm.assertEq(bonding.getTotalBonded(), 0);
        _nextRound();
        vm.assertTrue(bonding.isActiveTranscoder(orchestrator));
        vm.assertTrue(bonding.delegatorStatus(orchestrator) == IBondingManager.DelegatorStatus.Bonded);
        vm.assertEq(bonding.getTotalBonded(), 5 ether);
        vm.assertEq(bonding.currentRoundPoolSize(), 1);
    }

    function test_Bond_MoreKeepsTheStartRound() external {
        _bond(delegator, 5 ether, orchestrator);
        uint256 start = rounds.currentRound() + 1;
        _nextRounds(3);
        _bond(delegator, 2 ether, orchestrator);
        (uint256 bonded,, address delegate,, uint256 startRound, uint256 lastClaim,) = bonding.getDelegator(delegator);
        vm.assertEq(bonded, 7 ether);
        vm.assertEq(delegate, orchestrator);
        vm.assertEq(startRound, start);
        vm.assertEq(lastClaim, rounds.currentRound());
        vm.assertEq(bonding.transcoderTotalStake(orchestrator), 7 ether);
    }

    function test_Bond_ChangingDelegateMovesAllStake() external {
        _register(orchestrator, 10 ether, 0, 0);
        _register(stranger, 10 ether, 0, 0);
        _bond(delegator, 5 ether, orchestrator);
        _nextRound();
        vm.prank(delegator);
        vm.expectEmit(address(bonding));
        emit IBondingManager.Bond(stranger, orchestrator, delegator, 0, 5 ether);
        bonding.bond(0, stranger);
        vm.assertEq(bonding.transcoderTotalStake(orchestrator), 10 ether);
        vm.assertEq(bonding.transcoderTotalStake(stranger), 15 ether);
        vm.assertEq(bonding.nextRoundTotalActiveStake(), 25 ether);
        (,,,, uint256 startRound,,) = bonding.getDelegator(delegator);
        vm.assertEq(startRound, rounds.currentRound() + 1);
    }

    function test_GivenDelegateOfOthers_BondingToItselfBringsTheirStakeAlong() external {
        _bond(delegator, 5 ether, orchestrator);
        vm.assertEq(bonding.nextRoundTotalActiveStake(), 0);
        _bond(orchestrator, 1, orchestrator);
        vm.assertEq(bonding.nextRoundTotalActiveStake(), 5 ether + 1);
        vm.assertEq(bonding.getFirstTranscoderInPool(), orchestrator);
    }

    function test_RevertWhen_BondingNothing() external {
        vm.prank(delegator);
        vm.expectRevert(IBondingManager.ZeroDelegation.selector);
        bonding.bond(0, orchestrator);
    }

    function test_RevertWhen_BondingToNobody() external {
        vm.prank(delegator);
        vm.expectRevert(IBondingManager.NullDelegate.selector);
        bonding.bond(1, address(0));
    }

    function test_RevertWhen_RegisteredTranscoderDelegatesElsewhere() external {
        _register(orchestrator, 1 ether, 0, 0);
        vm.prank(orchestrator);
        vm.expectRevert(
            abi.encodeWithSelector(IBondingManager.RegisteredTranscoderCannotDelegate.selector, orchestrator)
        );
        bonding.bond(0, stranger);
    }

    function test_RevertWhen_BondingWithoutAllowance() external {
        vm.startPrank(owner);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(bonding), 0, 1 ether)
        );
        bonding.bond(1 ether, orchestrator);
        vm.stopPrank();
    }

    // --- unbond, rebond, withdraw ---

    function test_Unbond_OpensALock() external {
        _bond(delegator, 5 ether, orchestrator);
        _nextRound();
        uint256 withdrawRound = rounds.currentRound() + 7;
        vm.expectEmit(address(bonding));
        emit IBondingManager.Unbond(orchestrator, delegator, 0, 2 ether, withdrawRound);
        vm.prank(delegator);
        bonding.unbond(2 ether);
        (uint256 amount, uint256 round) = bonding.getDelegatorUnbondingLock(delegator, 0);
        vm.assertEq(amount, 2 ether);
        vm.assertEq(round, withdrawRound);
        vm.assertTrue(bonding.isValidUnbondingLock(delegator, 0));
        vm.assertFalse(bonding.isValidUnbondingLock(delegator, 1));
        vm.assertEq(bonding.transcoderTotalStake(orchestrator), 3 ether);
    }

    function test_Unbond_AllClearsTheDelegation() external {
        _bond(delegator, 5 ether, orchestrator);
        _nextRound();
        vm.prank(delegator);
        bonding.unbond(5 ether);
        (uint256 bonded,, address delegate,, uint256 startRound,, uint256 nextId) = bonding.getDelegator(delegator);
        vm.assertEq(bonded, 0);
        vm.assertEq(delegate, address(0));
        vm.assertEq(startRound, 0);
        vm.assertEq(nextId, 1);
        vm.assertTrue(bonding.delegatorStatus(delegator) == IBondingManager.DelegatorStatus.Unbonded);
    }

    function test_RevertWhen_UnbondingWithoutStake() external {
        vm.prank(delegator);
        vm.expectRevert(abi.encodeWithSelector(IBondingManager.CallerNotBonded.selector, delegator));
        bonding.unbond(1);
    }

    function test_RevertWhen_UnbondingInTheRoundOfBonding() external {
        _bond(delegator, 5 ether, orchestrator);
        vm.prank(delegator);
        vm.expectRevert(abi.encodeWithSelector(IBondingManager.CallerNotBonded.selector, delegator));
        bonding.unbond(1);
    }

    function test_RevertWhen_UnbondAmountIsWrong() external {
        _bond(delegator, 5 ether, orchestrator);
        _nextRound();
        vm.startPrank(delegator);
        vm.expectRevert(abi.encodeWithSelector(IBondingManager.InvalidUnbondAmount.selector, 0, 5 ether));
        bonding.unbond(0);
        vm.expectRevert(abi.encodeWithSelector(IBondingManager.InvalidUnbondAmount.selector, 5 ether + 1, 5 ether));
        bonding.unbond(5 ether + 1);
        vm.stopPrank();
    }

    function test_Rebond_ReturnsTheLock() external {
        _bond(delegator, 5 ether, orchestrator);
        _nextRound();
        vm.startPrank(delegator);
        bonding.unbond(2 ether);
        vm.expectEmit(address(bonding));
        emit IBondingManager.Rebond(orchestrator, delegator, 0, 2 ether);
        bonding.rebond(0);
        vm.expectRevert(abi.encodeWithSelector(IBondingManager.InvalidUnbondingLock.selector, 0));
        bonding.rebond(0);
        vm.stopPrank();
        vm.assertEq(bonding.transcoderTotalStake(orchestrator), 5 ether);
    }

    function test_RevertWhen_RebondingWithoutStake() external {
        _bond(delegator, 5 ether, orchestrator);
        _nextRound();
        vm.startPrank(delegator);
        bonding.unbond(5 ether);
        vm.expectRevert(abi.encodeWithSelector(IBondingManager.CallerUnbonded.selector, delegator));
        bonding.rebond(0);
        vm.stopPrank();
    }

    function test_RebondFromUnbonded_GoesToAnyDelegate() external {
        _bond(delegator, 5 ether, orchestrator);
        _nextRound();
        vm.startPrank(delegator);
        bonding.unbond(5 ether);
        bonding.rebondFromUnbonded(stranger, 0);
        vm.stopPrank();
        vm.assertEq(bonding.transcoderTotalStake(stranger), 5 ether);
        vm.assertTrue(bonding.delegatorStatus(delegator) == IBondingManager.DelegatorStatus.Pending);
    }

    function test_RevertWhen_RebondFromUnbondedIsMisused() external {
        _bond(delegator, 5 ether, orchestrator);
        _nextRound();
        vm.startPrank(delegator);
        vm.expectRevert(abi.encodeWithSelector(IBondingManager.CallerNotUnbonded.selector, delegator));
        bonding.rebondFromUnbonded(stranger, 0);
        vm.expectRevert(IBondingManager.NullDelegate.selector);
        bonding.rebondFromUnbonded(address(0), 0);
        bonding.unbond(5 ether);
        vm.expectRevert(abi.encodeWithSelector(IBondingManager.InvalidUnbondingLock.selector, 7));
        bonding.rebondFromUnbonded(stranger, 7);
        vm.stopPrank();
    }

    function test_WithdrawStake_PaysOnceAfterTheWait() external {
        _bond(delegator, 5 ether, orchestrator);
        _nextRound();
        vm.prank(delegator);
        bonding.unbond(5 ether);
        uint256 withdrawRound = rounds.currentRound() + 7;
        _nextRounds(6);
        vm.prank(delegator);
        vm.expectRevert(abi.encodeWithSelector(IBondingManager.StakeLocked.selector, withdrawRound, withdrawRound - 1));
        bonding.withdrawStake(0);
        _nextRound();
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IBondingManager.InvalidUnbondingLock.selector, 0));
        bonding.withdrawStake(0);
        vm.startPrank(delegator);
        vm.expectEmit(address(bonding));
        emit IBondingManager.WithdrawStake(delegator, 0, 5 ether, withdrawRound);
        bonding.withdrawStake(0);
        vm.assertEq(token.balanceOf(delegator), 5 ether);
        vm.expectRevert(abi.encodeWithSelector(IBondingManager.InvalidUnbondingLock.selector, 0));
        bonding.withdrawStake(0);
        vm.stopPrank();
        vm.assertEq(token.balanceOf(address(minter)), 0);
    }

    function test_GivenPauseOrLateRound_UnlockedStakeStillLeaves() external {
        _bond(delegator, 5 ether, orchestrator);
        _nextRound();
        vm.startPrank(delegator);
        bonding.unbond(2 ether);
        bonding.unbond(3 ether);
        vm.stopPrank();
        _nextRounds(6);
        _rollToNextRound();
        vm.prank(delegator);
        bonding.withdrawStake(0);
        _pause();
        vm.prank(delegator);
        bonding.withdrawStake(1);
        vm.assertEq(token.balanceOf(delegator), 5 ether);
    }

    // --- fees ---

    function test_WithdrawFees_SendsEther() external {
        _earn(1 ether);
        vm.startPrank(orchestrator);
        vm.expectEmit(address(bonding));
        emit IBondingManager.WithdrawFees(orchestrator, delegator, 0.4 ether);
        bonding.withdrawFees(payable(delegator), 0.4 ether);
        vm.stopPrank();
        vm.assertEq(delegator.balance, 0.4 ether);
        vm.assertEq(bonding.pendingFees(orchestrator, 0), 0.6 ether);
        vm.assertEq(broker.unclaimedFees(), 0.6 ether);
    }

    function test_RevertWhen_FeesGoToNobody() external {
        _earn(1 ether);
        vm.prank(orchestrator);
        vm.expectRevert(IBondingManager.NullFeeRecipient.selector);
        bonding.withdrawFees(payable(address(0)), 1);
    }

    function test_RevertWhen_MoreFeesAreRequestedThanEarned() external {
        _earn(1 ether);
        vm.prank(orchestrator);
        vm.expectRevert(abi.encodeWithSelector(IBondingManager.InsufficientFees.selector, 1 ether + 1, 1 ether));
        bonding.withdrawFees(payable(orchestrator), 1 ether + 1);
    }

    function test_RevertWhen_FeeRecipientRefusesEther() external {
        _earn(1 ether);
        vm.prank(orchestrator);
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.TransferFailed.selector, address(token)));
        bonding.withdrawFees(payable(address(token)), 1 ether);
        vm.assertEq(bonding.pendingFees(orchestrator, 0), 1 ether);
    }

    // --- reward calls and commissions ---

    function test_RevertWhen_RewardIsCalledByAnInactiveOne() external {
        _register(orchestrator, 10 ether, 0, 0);
        bytes memory refusal = abi.encodeWithSelector(IBondingManager.TranscoderNotActive.selector, orchestrator);
        vm.prank(orchestrator);
        vm.expectRevert(refusal);
        bonding.reward();
        _nextRound();
        _reward(orchestrator);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IBondingManager.TranscoderNotActive.selector, stranger));
        bonding.reward();
    }

    function test_RevertWhen_RewardIsCalledTwice() external {
        _register(orchestrator, 10 ether, 0, 0);
        _nextRound();
        _reward(orchestrator);
        bytes memory refusal =
            abi.encodeWithSelector(IBondingManager.RewardAlreadyCalled.selector, orchestrator, rounds.currentRound());
        vm.prank(orchestrator);
        vm.expectRevert(refusal);
        bonding.reward();
    }

    function test_RewardCaller_MayCallForItsTranscoderOnly() external {
        _register(orchestrator, 10 ether, 0, 0);
        _nextRound();
        bytes memory refusal =
            abi.encodeWithSelector(IBondingManager.CallerNotRewardCaller.selector, orchestrator, stranger);
        vm.prank(stranger);
        vm.expectRevert(refusal);
        bonding.rewardForTranscoder(orchestrator);
        vm.expectEmit(address(bonding));
        emit IBondingManager.RewardCallerSet(orchestrator, stranger);
        vm.prank(orchestrator);
        bonding.setRewardCaller(stranger);
        vm.assertEq(bonding.transcoderToRewardCaller(orchestrator), stranger);
        vm.prank(stranger);
        bonding.rewardForTranscoder(orchestrator);
        _nextRound();
        vm.prank(stranger);
        bonding.rewardForTranscoderWithHint(orchestrator, address(1), address(2));
        vm.prank(orchestrator);
        bonding.setRewardCaller(address(0));
        _nextRound();
        vm.prank(stranger);
        vm.expectRevert(refusal);
        bonding.rewardForTranscoder(orchestrator);
    }

    function test_Transcoder_SetsCommissions() external {
        _bond(orchestrator, 10 ether, orchestrator);
        vm.expectEmit(address(bonding));
        emit IBondingManager.TranscoderUpdate(orchestrator, 1, 1_000_000);
        vm.prank(orchestrator);
        bonding.transcoder(1, 1_000_000);
        (, uint256 rewardCut, uint256 feeShare,,,,,,,) = bonding.getTranscoder(orchestrator);
        vm.assertEq(rewardCut, 1);
        vm.assertEq(feeShare, 1_000_000);
    }

    function test_RevertWhen_CommissionsChangeInTheLockedPart() external {
        _bond(orchestrator, 10 ether, orchestrator);
        vm.roll(rounds.currentRoundStartBlock() + 45);
        bytes memory refusal = abi.encodeWithSelector(IBondingManager.RoundLocked.selector, rounds.currentRound());
        vm.prank(orchestrator);
        vm.expectRevert(refusal);
        bonding.transcoder(0, 0);
    }

    function test_RevertWhen_CommissionsExceedTheWhole() external {
        _bond(orchestrator, 10 ether, orchestrator);
        vm.startPrank(orchestrator);
        vm.expectRevert(abi.encodeWithSelector(IBondingManager.InvalidCommission.selector, 1_000_001, 0));
        bonding.transcoder(1_000_001, 0);
        vm.expectRevert(abi.encodeWithSelector(IBondingManager.InvalidCommission.selector, 0, 1_000_001));
        bonding.transcoder(0, 1_000_001);
        vm.stopPrank();
    }

    function test_RevertWhen_CommissionsAreSetWithoutRegistration() external {
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IBondingManager.TranscoderNotRegistered.selector, stranger));
        bonding.transcoder(0, 0);
    }

    function test_RevertWhen_CommissionsChangeBeforeTheRewardCall() external {
        _register(orchestrator, 10 ether, 0, 0);
        _nextRound();
        bytes memory refusal =
            abi.encodeWithSelector(IBondingManager.RewardNotYetCalled.selector, orchestrator, rounds.currentRound());
        vm.prank(orchestrator);
        vm.expectRevert(refusal);
        bonding.transcoder(7, 7);
        _reward(orchestrator);
        vm.prank(orchestrator);
        bonding.transcoder(7, 7);
    }

    // --- hints ---

    function test_GivenHostileHints_ResultsAreTheSame() external {
        vm.prank(owner);
        token.transfer(orchestrator, 10 ether);
        vm.startPrank(orchestrator);
        token.approve(address(bonding), 10 ether);
        bonding.bondWithHint(10 ether, orchestrator, orchestrator, address(9), address(bonding), address(0));
        bonding.transcoderWithHint(5, 6, orchestrator, orchestrator);
        vm.stopPrank();
        _nextRound();
        vm.startPrank(orchestrator);
        bonding.rewardWithHint(orchestrator, address(1));
        bonding.unbondWithHint(2 ether, orchestrator, address(1));
        bonding.rebondWithHint(0, address(1), orchestrator);
        bonding.unbondWithHint(bonding.pendingStake(orchestrator, 0), address(0), address(3));
        bonding.rebondFromUnbondedWithHint(orchestrator, 1, address(1), address(2));
        vm.stopPrank();
        vm.assertEq(bonding.getFirstTranscoderInPool(), orchestrator);
        vm.assertEq(bonding.getTranscoderPoolSize(), 1);
    }

    // --- roles, pause, uninitialised round ---

    function test_RevertWhen_CallerIsNotTrusted() external {
        address[3] memory callers = [owner, address(minter), stranger];
        for (uint256 i = 0; i < callers.length; ++i) {
            vm.startPrank(callers[i]);
            _expectNotTrusted(callers[i]);
            bonding.updateTranscoderWithFees(orchestrator, 1, 1);
            _expectNotTrusted(callers[i]);
            bonding.setCurrentRoundTotalActiveStake();
            vm.stopPrank();
        }
        vm.prank(address(rounds));
        _expectNotTrusted(address(rounds));
        bonding.updateTranscoderWithFees(orchestrator, 1, 1);
        vm.prank(address(broker));
        _expectNotTrusted(address(broker));
        bonding.setCurrentRoundTotalActiveStake();
    }

    function test_RevertWhen_NonOwnerSetsParameters() external {
        vm.startPrank(stranger);
        _expectNotOwner(stranger);
        bonding.setUnbondingPeriod(1);
        _expectNotOwner(stranger);
        bonding.setChallengeWindow(1);
        _expectNotOwner(stranger);
        bonding.setNoticePeriod(1);
        _expectNotOwner(stranger);
        bonding.setSlashCooldown(1);
        _expectNotOwner(stranger);
        bonding.setNumActiveTranscoders(1);
        _expectNotOwner(stranger);
        bonding.setMinimumStake(1);
        vm.stopPrank();
    }

    function test_SetParameters_ReportTheName() external {
        vm.startPrank(owner);
        vm.expectEmit(address(bonding));
        emit IManaged.ParameterUpdate("challengeWindow");
        bonding.setChallengeWindow(2);
        vm.expectEmit(address(bonding));
        emit IManaged.ParameterUpdate("unbondingPeriod");
        bonding.setUnbondingPeriod(3);
        vm.expectEmit(address(bonding));
        emit IManaged.ParameterUpdate("noticePeriod");
        bonding.setNoticePeriod(9);
        vm.expectEmit(address(bonding));
        emit IManaged.ParameterUpdate("slashCooldown");
        bonding.setSlashCooldown(8);
        vm.expectEmit(address(bonding));
        emit IManaged.ParameterUpdate("numActiveTranscoders");
        bonding.setNumActiveTranscoders(4);
        vm.expectEmit(address(bonding));
        emit IManaged.ParameterUpdate("minimumStake");
        bonding.setMinimumStake(5);
        vm.expectRevert(IBondingManager.ZeroActiveTranscoders.selector);
        bonding.setNumActiveTranscoders(0);
        vm.stopPrank();
        vm.assertEq(bonding.unbondingPeriod(), 3);
        vm.assertEq(bonding.challengeWindow(), 2);
        vm.assertEq(bonding.noticePeriod(), 9);
        vm.assertEq(bonding.slashCooldown(), 8);
        vm.assertEq(bonding.getTranscoderPoolMaxSize(), 4);
        vm.assertEq(bonding.minimumStake(), 5);
    }

    function test_RevertWhen_ChallengeWindowOutlivesUnbonding() external {
        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(IBondingManager.InvalidUnbondingPeriods.selector, 7, 8));
        bonding.setChallengeWindow(8);
        vm.expectRevert(abi.encodeWithSelector(IBondingManager.InvalidUnbondingPeriods.selector, 6, 7));
        bonding.setUnbondingPeriod(6);
        bonding.setUnbondingPeriod(200);
        vm.expectRevert(abi.encodeWithSelector(IBondingManager.InvalidUnbondingPeriods.selector, 200, 101));
        bonding.setChallengeWindow(101);
        bonding.setChallengeWindow(100);
        vm.stopPrank();
    }

    function test_RevertWhen_Paused() external {
        _register(orchestrator, 10 ether, 0, 0);
        _nextRound();
        _pause();
        bytes[] memory calls = _valueMovingCalls();
        for (uint256 i = 0; i < calls.length; ++i) {
            _assertRefused(calls[i], abi.encodeWithSignature("SystemPaused()"));
        }
        _assertRefused(abi.encodeCall(bonding.setRewardCaller, (stranger)), abi.encodeWithSignature("SystemPaused()"));
    }

    function test_RevertWhen_RoundIsNotInitialized() external {
        _register(orchestrator, 10 ether, 0, 0);
        _rollToNextRound();
        bytes memory refusal = abi.encodeWithSelector(IManaged.RoundNotInitialized.selector, rounds.currentRound());
        bytes[] memory calls = _valueMovingCalls();
        for (uint256 i = 0; i < calls.length; ++i) {
            _assertRefused(calls[i], refusal);
        }
    }

    function _valueMovingCalls() private returns (bytes[] memory calls) {
        vm.prank(orchestrator);
        if (!controller.paused()) bonding.setRewardCaller(orchestrator);
        calls = new bytes[](16);
        calls[0] = abi.encodeCall(bonding.bond, (1, orchestrator));
        calls[1] =
            abi.encodeCall(bonding.bondWithHint, (1, orchestrator, address(0), address(0), address(0), address(0)));
        calls[2] = abi.encodeCall(bonding.unbond, (1));
        calls[3] = abi.encodeCall(bonding.unbondWithHint, (1, address(0), address(0)));
        calls[4] = abi.encodeCall(bonding.rebond, (0));
        calls[5] = abi.encodeCall(bonding.rebondWithHint, (0, address(0), address(0)));
        calls[6] = abi.encodeCall(bonding.rebondFromUnbonded, (orchestrator, 0));
        calls[7] = abi.encodeCall(bonding.rebondFromUnbondedWithHint, (orchestrator, 0, address(0), address(0)));
        calls[8] = abi.encodeCall(bonding.rebond, (type(uint256).max));
        calls[9] = abi.encodeCall(bonding.withdrawFees, (payable(orchestrator), 0));
        calls[10] = abi.encodeCall(bonding.claimEarnings, (0));
        calls[11] = abi.encodeCall(bonding.reward, ());
        calls[12] = abi.encodeCall(bonding.rewardWithHint, (address(0), address(0)));
        calls[13] = abi.encodeCall(bonding.transcoder, (0, 0));
        calls[14] = abi.encodeCall(bonding.transcoderWithHint, (0, 0, address(0), address(0)));
        calls[15] = abi.encodeCall(bonding.claimEarnings, (type(uint256).max));
    }

    function _assertRefused(bytes memory call, bytes memory refusal) private {
        vm.prank(orchestrator);
        (bool ok, bytes memory reason) = address(bonding).call(call);
        vm.assertFalse(ok);
        vm.assertEq(reason, refusal);
    }

    function _earn(uint256 fees) private {
        _register(orchestrator, 10 ether, 0, 0);
        _nextRound();
        _fund(fees, 0);
        _redeem(_ticket(fees, 1));
    }
}
