// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IBondingManager} from "../../contracts/interfaces/IBondingManager.sol";
import {Ticket} from "../../contracts/types/Ticket.sol";
import {StreamflowTest} from "./StreamflowTest.sol";

/// @notice What a slash takes, from whom, and that nobody escapes it. The Verifier is an account here.
contract StakeSlashingTest is StreamflowTest {
    uint256 private constant _STAKE = 1000 ether;
    uint256 private constant _TENTH = 100_000;
    uint256 private constant _WINDOW = 7;

    address private _verifier = _account("verifier");
    address private _finder = _account("finder");
    address private _other = _account("other");

    function setUp() public override {
        super.setUp();
        vm.prank(owner);
        controller.setContractInfo(keccak256("Verifier"), _verifier, bytes20(0));
        _register(orchestrator, _STAKE, 100_000, 500_000);
        _register(_other, _STAKE, 100_000, 500_000);
        _bond(delegator, 2 * _STAKE, orchestrator);
        _nextRound();
    }

    // --- who may ---

    function test_RevertWhen_CallerIsNotTheVerifier() external {
        address[4] memory callers = [owner, address(minter), address(broker), stranger];
        for (uint256 i = 0; i < callers.length; ++i) {
            vm.prank(callers[i]);
            _expectNotTrusted(callers[i]);
            bonding.slashTranscoder(orchestrator, _finder, _TENTH, 0);
        }
    }

    function test_Invariant29_RevertWhen_NoVerifierIsRegistered() external {
        vm.prank(owner);
        controller.setContractInfo(keccak256("Verifier"), address(0), bytes20(0));
        vm.prank(_verifier);
        _expectNotTrusted(_verifier);
        bonding.slashTranscoder(orchestrator, _finder, _TENTH, 0);
    }

    function test_RevertWhen_PartsExceedTheWhole() external {
        vm.startPrank(_verifier);
        vm.expectRevert(abi.encodeWithSelector(IBondingManager.InvalidSlash.selector, 1_000_001, 0));
        bonding.slashTranscoder(orchestrator, _finder, 1_000_001, 0);
        vm.expectRevert(abi.encodeWithSelector(IBondingManager.InvalidSlash.selector, 0, 1_000_001));
        bonding.slashTranscoder(orchestrator, _finder, 0, 1_000_001);
        vm.stopPrank();
    }

    function test_RevertWhen_Paused() external {
        _pause();
        vm.prank(_verifier);
        _expectPaused();
        bonding.slashTranscoder(orchestrator, _finder, _TENTH, 0);
    }

    // --- what it takes ---

    function test_Invariant28_SlashTakesTheSamePartFromEverybody() external {
        vm.prank(delegator);
        bonding.unbond(_STAKE);
        uint256 supply = token.totalSupply();
        uint256 held = token.balanceOf(address(minter));
        vm.expectEmit(address(bonding));
        emit IBondingManager.TranscoderSlashed(orchestrator, _finder, 300 ether, 75 ether);
        _slash(_TENTH, 250_000);
        vm.assertEq(bonding.pendingStake(orchestrator, 0), 900 ether);
        vm.assertEq(bonding.pendingStake(delegator, 0), 900 ether);
        (uint256 locked,) = bonding.getDelegatorUnbondingLock(delegator, 0);
        vm.assertEq(locked, 900 ether);
        vm.assertEq(bonding.transcoderTotalStake(orchestrator), 1800 ether);
        vm.assertEq(token.balanceOf(_finder), 75 ether);
        vm.assertEq(token.totalSupply(), supply - 225 ether, "the rest is destroyed");
        vm.assertEq(token.balanceOf(address(minter)), held - 300 ether);
        vm.assertEq(bonding.pendingStake(_other, 0), _STAKE, "nobody else pays");
    }

    function test_GivenNoFinder_AllIsDestroyed() external {
        uint256 supply = token.totalSupply();
        vm.prank(_verifier);
        bonding.slashTranscoder(orchestrator, address(0), _TENTH, 1_000_000);
        vm.assertEq(token.totalSupply(), supply - 300 ether);
    }

    function test_Invariant28_GivenUnclaimedCommission_ItIsSlashedToo() external {
        _reward(orchestrator);
        uint256 stake = bonding.pendingStake(orchestrator, 0);
        uint256 total = bonding.transcoderTotalStake(orchestrator);
        _slash(_TENTH, 0);
        vm.assertApproxEqAbs(bonding.pendingStake(orchestrator, 0), stake * 9 / 10, 3);
        vm.assertEq(bonding.transcoderTotalStake(orchestrator), total - total / 10);
    }

    /// Claims around the slash, a reward before it, stake that joined in the round: all lose the same part.
    function test_GivenAnyOrderOfClaims_TheLossIsTheSame() external {
        _bond(stranger, 2 * _STAKE, orchestrator);
        _reward(orchestrator);
        vm.prank(delegator);
        bonding.claimEarnings(0);
        uint256 mine = bonding.pendingStake(delegator, 0);
        _slash(_TENTH, 0);
        vm.assertApproxEqAbs(bonding.pendingStake(delegator, 0), mine * 9 / 10, 3);
        vm.assertApproxEqAbs(bonding.pendingStake(stranger, 0), 1800 ether, 3);
        vm.prank(stranger);
        bonding.claimEarnings(0);
        _slash(_TENTH, 0);
        vm.assertApproxEqAbs(bonding.pendingStake(delegator, 0), mine * 81 / 100, 3);
        vm.assertApproxEqAbs(bonding.pendingStake(stranger, 0), 1620 ether, 3);
        vm.prank(stranger);
        bonding.claimEarnings(0);
        _nextRounds(2);
        vm.assertApproxEqAbs(bonding.pendingStake(delegator, 0), mine * 81 / 100, 3);
        vm.assertApproxEqAbs(bonding.pendingStake(stranger, 0), 1620 ether, 3);
        _assertCovered();
    }

    function test_GivenFreshStakeWithoutReward_ItIsSlashedOnce() external {
        _bond(stranger, _STAKE, orchestrator);
        vm.prank(stranger);
        bonding.claimEarnings(0);
        _slash(_TENTH, 0);
        vm.assertEq(bonding.pendingStake(stranger, 0), 900 ether);
        _nextRound();
        vm.assertEq(bonding.pendingStake(stranger, 0), 900 ether);
    }

    /// Everything lost: the account is no orchestrator any more, and its name takes no new stake.
    function test_GivenWholeSlash_NothingIsLeftAndNobodyJoins() external {
        vm.prank(delegator);
        bonding.unbond(_STAKE);
        _slash(1_000_000, 0);
        vm.assertEq(bonding.pendingStake(orchestrator, 0), 0);
        vm.assertEq(bonding.pendingStake(delegator, 0), 0);
        vm.assertEq(bonding.transcoderTotalStake(orchestrator), 0);
        vm.assertFalse(bonding.isRegisteredTranscoder(orchestrator));
        vm.assertTrue(bonding.delegatorStatus(orchestrator) == IBondingManager.DelegatorStatus.Unbonded);
        _nextRounds(20);
        _expectNobodyJoins();
        // What is gone pays nothing and blocks nothing.
        vm.prank(delegator);
        bonding.withdrawStake(0);
        vm.assertEq(token.balanceOf(delegator), 0);
        _bond(delegator, _STAKE, _other);
        vm.assertEq(bonding.pendingStake(delegator, 0), _STAKE);
    }

    // --- out of the set ---

    function test_Slash_TakesTheOrchestratorOutAtOnce() external {
        uint256 round = rounds.currentRound();
        vm.expectEmit(address(bonding));
        emit IBondingManager.TranscoderDeactivated(orchestrator, round);
        _slash(_TENTH, 0);
        vm.assertFalse(bonding.isActiveTranscoder(orchestrator));
        vm.assertEq(bonding.getTranscoderPoolSize(), 1);
        vm.assertEq(bonding.nextRoundTotalActiveStake(), _STAKE);
        // What the round began with stays the measure of everybody else's reward and reserve share.
        vm.assertEq(bonding.getTotalBonded(), 4 * _STAKE);
        vm.assertEq(bonding.currentRoundPoolSize(), 2);
        bytes memory refusal = abi.encodeWithSelector(IBondingManager.TranscoderNotActive.selector, orchestrator);
        vm.prank(orchestrator);
        vm.expectRevert(refusal);
        bonding.reward();
        _fund(1 ether, 0);
        Ticket memory ticket = _ticket(1 ether, 1);
        bytes memory sig = _sign(ticket);
        vm.expectRevert(refusal);
        broker.redeemWinningTicket(ticket, sig, RAND);
        (uint256 slashRound, bool jailed) = bonding.getSlashState(orchestrator);
        vm.assertEq(slashRound, round);
        vm.assertTrue(jailed);
    }

    function test_GivenLeavingOrchestrator_SlashEndsItsRoundToo() external {
        vm.startPrank(delegator);
        bonding.unbond(2 * _STAKE);
        vm.stopPrank();
        vm.prank(orchestrator);
        bonding.unbond(_STAKE - 0.5 ether);
        vm.assertTrue(bonding.isActiveTranscoder(orchestrator));
        _slash(_TENTH, 0);
        vm.assertFalse(bonding.isActiveTranscoder(orchestrator));
        vm.assertEq(bonding.nextRoundTotalActiveStake(), _STAKE);
    }

    function test_Invariant28_GivenSlashed_NobodyPutsItBack() external {
        _slash(_TENTH, 0);
        _expectNobodyJoins();
        uint256 slashRound = rounds.currentRound();
        for (uint256 i = 1; i < _WINDOW; ++i) {
            _nextRound();
            _bond(stranger, 1 ether, orchestrator);
            _bond(orchestrator, 1 ether, orchestrator);
            vm.prank(orchestrator);
            bonding.transcoder(100_000, 500_000);
            vm.assertEq(bonding.getTranscoderPoolSize(), 1, "cooldown");
        }
        _nextRound();
        vm.assertEq(rounds.currentRound(), slashRound + _WINDOW);
        _bond(stranger, 1 ether, orchestrator);
        vm.assertEq(bonding.getTranscoderPoolSize(), 1, "only by its own call");
        vm.prank(orchestrator);
        bonding.transcoder(100_000, 500_000);
        vm.assertEq(bonding.getTranscoderPoolSize(), 2);
        _nextRound();
        vm.assertTrue(bonding.isActiveTranscoder(orchestrator));
    }

    /// After its return rewards and fees are split on what is left.
    function test_GivenReturn_EarningsAreSplitOnTheRest() external {
        _reward(orchestrator);
        _slash(500_000, 0);
        _nextRounds(_WINDOW);
        vm.prank(orchestrator);
        bonding.transcoder(100_000, 500_000);
        _nextRound();
        uint256 mine = bonding.pendingStake(delegator, 0);
        uint256 total = bonding.transcoderTotalStake(orchestrator);
        _fund(2 ether, 0);
        _redeem(_ticket(1 ether, 1));
        vm.assertApproxEqAbs(bonding.pendingFees(delegator, 0), 0.5 ether * mine / total, 1e6);
        _reward(orchestrator);
        uint256 minted = bonding.transcoderTotalStake(orchestrator) - total;
        vm.assertApproxEqAbs(bonding.pendingStake(delegator, 0), mine + minted * 9 / 10 * mine / total, 1e6);
        _redeem(_ticket(1 ether, 2));
        vm.assertApproxEqAbs(bonding.pendingFees(delegator, 0), 1 ether * mine / total, 1e6);
        _assertCovered();
    }

    // --- no escape ---

    /// The deployed contracts let 50,000 LPT out by this.
    function test_Invariant30_GivenUnbondingBeforeTheSlash_LocksAreSlashed() external {
        vm.prank(orchestrator);
        bonding.unbond(_STAKE);
        _nextRounds(_WINDOW - 1);
        vm.prank(delegator);
        bonding.unbond(2 * _STAKE);
        _slash(500_000, 1_000_000);
        vm.assertEq(token.balanceOf(_finder), 1500 ether);
        _nextRounds(_WINDOW);
        vm.prank(orchestrator);
        bonding.withdrawStake(0);
        vm.prank(delegator);
        bonding.withdrawStake(0);
        vm.assertEq(token.balanceOf(orchestrator), 500 ether);
        vm.assertEq(token.balanceOf(delegator), 1000 ether);
        vm.assertEq(token.balanceOf(address(minter)), _STAKE, "only the other orchestrator's stake is left");
    }

    function test_GivenLockOlderThanTheWindow_ItIsNotSlashed() external {
        vm.prank(delegator);
        bonding.unbond(2 * _STAKE);
        _nextRounds(_WINDOW);
        _slash(500_000, 0);
        (uint256 locked,) = bonding.getDelegatorUnbondingLock(delegator, 0);
        vm.assertEq(locked, 2 * _STAKE);
    }

    function test_GivenSlashedLock_ReturnedStakeIsTheRest() external {
        vm.prank(delegator);
        bonding.unbond(_STAKE);
        _slash(_TENTH, 0);
        _nextRound();
        vm.prank(delegator);
        bonding.rebond(0);
        vm.assertEq(bonding.pendingStake(delegator, 0), 1800 ether);
        // Out of the books of locks: a second slash takes it once.
        _slash(_TENTH, 0);
        vm.assertEq(bonding.pendingStake(delegator, 0), 1620 ether);
        _assertCovered();
    }

    /// What is unbonded after the slash of a round is not touched by it, but by the next one.
    function test_GivenUnbondingAfterTheSlash_OnlyTheNextOneCounts() external {
        vm.prank(delegator);
        bonding.unbond(_STAKE);
        _slash(_TENTH, 0);
        vm.prank(delegator);
        bonding.unbond(900 ether);
        (uint256 locked,) = bonding.getDelegatorUnbondingLock(delegator, 1);
        vm.assertApproxEqAbs(locked, 900 ether, 1);
        _slash(_TENTH, 0);
        (locked,) = bonding.getDelegatorUnbondingLock(delegator, 1);
        vm.assertApproxEqAbs(locked, 810 ether, 1);
        (locked,) = bonding.getDelegatorUnbondingLock(delegator, 0);
        vm.assertApproxEqAbs(locked, 810 ether, 1);
    }

    function test_Invariant30_RevertWhen_StakeRunsToAnotherOrchestrator() external {
        bytes memory refusal = abi.encodeWithSelector(IBondingManager.RedelegationNeedsUnbonding.selector, orchestrator);
        vm.startPrank(delegator);
        vm.expectRevert(refusal);
        bonding.bond(0, _other);
        bonding.unbond(2 * _STAKE);
        vm.expectRevert(refusal);
        bonding.rebondFromUnbonded(_other, 0);
        vm.stopPrank();
        _nextRounds(_WINDOW - 1);
        vm.prank(delegator);
        vm.expectRevert(refusal);
        bonding.rebondFromUnbonded(_other, 0);
        _nextRound();
        vm.prank(delegator);
        bonding.rebondFromUnbonded(_other, 0);
        vm.assertEq(bonding.transcoderTotalStake(_other), 3 * _STAKE);
    }

    /// Nor through a lock taken back while bonded elsewhere.
    function test_Invariant30_RevertWhen_LockIsReboundElsewhereWithinTheWindow() external {
        vm.prank(delegator);
        bonding.unbond(2 * _STAKE);
        _bond(delegator, 1 ether, _other);
        vm.prank(delegator);
        vm.expectRevert(abi.encodeWithSelector(IBondingManager.RedelegationNeedsUnbonding.selector, orchestrator));
        bonding.rebond(0);
    }

    // --- books ---

    /// Whatever happens around slashes, nobody is owed more than is there, and no more than dust is owed to nobody.
    function testFuzz_Invariant28_BooksBalanceAroundSlashes(uint256 seed) external {
        _bond(stranger, 777 ether + 7, orchestrator);
        for (uint256 i = 0; i < 40; ++i) {
            uint256 dice = uint256(keccak256(abi.encode(seed, i)));
            _act(dice % 9, [orchestrator, delegator, stranger][(dice >> 8) % 3], dice >> 16);
            _assertCovered();
        }
    }

    function _act(uint256 action, address account, uint256 dice) private {
        uint256 stake = bonding.pendingStake(account, 0);
        (uint256 slashRound,) = bonding.getSlashState(orchestrator);
        bool mayJoin = slashRound != rounds.currentRound();
        (uint256 lastReward,,,,,,,,,) = bonding.getTranscoder(orchestrator);
        (,,,,,, uint256 nextId) = bonding.getDelegator(account);
        if (action == 0) _nextRound();
        if (action == 1) _slash(dice % 300_000, dice % 1_000_001);
        if (action == 2 && mayJoin) _bond(account, 1 + dice % 100 ether, orchestrator);
        if (action == 3 && bonding.isActiveTranscoder(orchestrator) && lastReward < rounds.currentRound()) {
            _reward(orchestrator);
        }
        if (action == 4 && bonding.delegatorStatus(account) == IBondingManager.DelegatorStatus.Bonded) {
            vm.prank(account);
            bonding.unbond(1 + dice % stake);
        }
        if (action == 5) {
            vm.prank(account);
            bonding.claimEarnings(0);
        }
        if (action == 6 && nextId > 0 && mayJoin && bonding.isValidUnbondingLock(account, dice % nextId)) {
            vm.prank(account);
            if (stake == 0) bonding.rebondFromUnbonded(orchestrator, dice % nextId);
            else bonding.rebond(dice % nextId);
        }
        if (action == 7 && bonding.isRegisteredTranscoder(orchestrator) && !bonding.isActiveTranscoder(orchestrator)) {
            vm.prank(orchestrator);
            bonding.transcoder(100_000, 500_000);
        }
        if (action == 8 && nextId > 0) {
            (, uint256 withdrawRound) = bonding.getDelegatorUnbondingLock(account, dice % nextId);
            if (withdrawRound == 0 || withdrawRound > rounds.currentRound()) return;
            vm.prank(account);
            bonding.withdrawStake(dice % nextId);
        }
    }

    function _slash(uint256 slashAmount, uint256 finderFee) private {
        vm.prank(_verifier);
        bonding.slashTranscoder(orchestrator, _finder, slashAmount, finderFee);
    }

    function _expectNobodyJoins() private {
        vm.prank(owner);
        token.transfer(stranger, 1 ether);
        vm.startPrank(stranger);
        token.approve(address(bonding), 1 ether);
        vm.expectRevert(abi.encodeWithSelector(IBondingManager.DelegateSlashed.selector, orchestrator));
        bonding.bond(1 ether, orchestrator);
        vm.stopPrank();
    }

    /// @dev The Minter holds what all are owed, and dust.
    function _assertCovered() private view {
        uint256 owed = bonding.transcoderTotalStake(orchestrator) + bonding.transcoderTotalStake(_other);
        uint256 claimable = 0;
        address[3] memory accounts = [orchestrator, delegator, stranger];
        for (uint256 i = 0; i < 3; ++i) {
            owed += _locks(accounts[i]);
            claimable += bonding.pendingStake(accounts[i], 0);
        }
        vm.assertLe(owed, token.balanceOf(address(minter)), "books");
        vm.assertApproxEqAbs(owed, token.balanceOf(address(minter)), 1e6, "dust");
        vm.assertLe(claimable, bonding.transcoderTotalStake(orchestrator), "delegators");
    }

    function _locks(address account) private view returns (uint256 sum) {
        (,,,,,, uint256 nextId) = bonding.getDelegator(account);
        for (uint256 id = 0; id < nextId; ++id) {
            (uint256 amount,) = bonding.getDelegatorUnbondingLock(account, id);
            sum += amount;
        }
    }
}
