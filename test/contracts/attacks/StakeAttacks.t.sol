// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IBondingManager} from "../../../contracts/interfaces/IBondingManager.sol";
import {Ticket} from "../../../contracts/types/Ticket.sol";
import {StreamflowTest} from "../StreamflowTest.sol";

/// @notice Attacks on delegators and on slashes. Attacker and honest twin have the same stake and the same delegation beside each
/// other, so that the attacker's profit is what it has more than its twin.
contract StakeAttacksTest is StreamflowTest {
    uint256 private constant _STAKE = 1000 ether;
    uint256 private constant _NOTICE = 7;
    uint256 private constant _FIFTH = 200_000;
    /// @dev Rounding of a handful of floors, wei.
    uint256 private constant _DUST = 20;

    address private _twin = _account("honest orchestrator");
    address private _twinDelegator = _account("delegator of the honest one");
    address private _verifier = _account("verifier");
    address private _finder = _account("finder");

    function setUp() public override {
        super.setUp();
        _team(orchestrator, delegator);
        _team(_twin, _twinDelegator);
        _nextRound();
        _fund(100 ether, 0);
    }

    // --- squeezing ---

    /// Attract stake with the best terms, announce the worst, keep the whole reward of what cannot leave in time. The notice is long
    /// enough to leave: the squeezer ends with no more than its honest twin, and its delegator with no less.
    function test_Attack_Squeezing_EarnsNothing() external {
        _rewardBoth();
        vm.prank(orchestrator);
        bonding.transcoder(1_000_000, 0);
        for (uint256 i = 1; i < _NOTICE; ++i) {
            _nextRound();
            _rewardBoth();
        }
        vm.assertApproxEqAbs(bonding.pendingStake(delegator, 0), bonding.pendingStake(_twinDelegator, 0), _DUST);
        _unbondAll(delegator);
        _unbondAll(_twinDelegator);
        for (uint256 i = 0; i < 3; ++i) {
            _nextRound();
            _rewardBoth();
        }
        _assertNoProfit(bonding.pendingStake(orchestrator, 0), bonding.pendingStake(_twin, 0));
        _assertNoProfit(_lockOf(_twinDelegator), _lockOf(delegator));
    }

    // --- fee theft ---

    /// Keep a winner back, cut the delegators' share after the reward call, redeem one round later.
    function test_Attack_FeeTheft_EarnsNothing() external {
        (Ticket memory stolen, Ticket memory honest) = (_ticket(1 ether, 1), _ticket(1 ether, 2));
        honest.recipient = _twin;
        (bytes memory stolenSig, bytes memory honestSig) = (_sign(stolen), _sign(honest));
        _rewardBoth();
        broker.redeemWinningTicket(honest, honestSig, RAND);
        vm.prank(orchestrator);
        bonding.transcoder(0, 0);
        _nextRound();
        broker.redeemWinningTicket(stolen, stolenSig, RAND);
        vm.assertApproxEqAbs(bonding.pendingFees(delegator, 0), 0.5 ether, _DUST);
        _assertNoProfit(bonding.pendingFees(orchestrator, 0), bonding.pendingFees(_twin, 0));
        _assertNoProfit(bonding.pendingFees(_twinDelegator, 0), bonding.pendingFees(delegator, 0));
    }

    /// The same in the round in which the cut comes into force: tickets of before still pay the share of before.
    function test_Attack_FeeTheftAtTheEndOfTheNotice_EarnsNothing() external {
        _rewardBoth();
        vm.prank(orchestrator);
        bonding.transcoder(0, 0);
        _nextRounds(_NOTICE - 1);
        (Ticket memory stolen, Ticket memory honest) = (_ticket(1 ether, 1), _ticket(1 ether, 2));
        honest.recipient = _twin;
        (bytes memory stolenSig, bytes memory honestSig) = (_sign(stolen), _sign(honest));
        broker.redeemWinningTicket(honest, honestSig, RAND);
        _nextRound();
        broker.redeemWinningTicket(stolen, stolenSig, RAND);
        _assertNoProfit(bonding.pendingFees(orchestrator, 0), bonding.pendingFees(_twin, 0));
    }

    // --- running from a slash ---

    /// Unbond when the challenge is seen: the lock loses what the stake of those who stayed loses.
    function test_Attack_UnbondBeforeTheSlash_SavesNothing() external {
        _registerVerifier();
        _unbondAll(orchestrator);
        _unbondAll(delegator);
        _nextRounds(_NOTICE - 1);
        _slash(orchestrator);
        _slash(_twin);
        _assertNoProfit(_lockOf(orchestrator), bonding.pendingStake(_twin, 0));
        _assertNoProfit(_lockOf(delegator), bonding.pendingStake(_twinDelegator, 0));
        vm.assertEq(_lockOf(delegator), 800 ether);
    }

    /// Redelegate, alone or by way of a lock: refused, and after the refusal the slash takes its part.
    function test_Attack_RedelegateBeforeTheSlash_SavesNothing() external {
        _registerVerifier();
        bytes memory refusal = abi.encodeWithSelector(IBondingManager.RedelegationNeedsUnbonding.selector, orchestrator);
        vm.prank(delegator);
        vm.expectRevert(refusal);
        bonding.bond(0, _twin);
        _unbondAll(delegator);
        vm.prank(delegator);
        vm.expectRevert(refusal);
        bonding.rebondFromUnbonded(_twin, 0);
        _slash(orchestrator);
        _slash(_twin);
        _assertNoProfit(_lockOf(delegator), bonding.pendingStake(_twinDelegator, 0));
    }

    /// There is no transfer of stake between accounts. What comes nearest: pass the wait as a lock, and bond to oneself meanwhile.
    function test_Attack_RegisterElsewhereBeforeTheSlash_SavesNothing() external {
        _registerVerifier();
        _unbondAll(delegator);
        _bond(delegator, 1 ether, delegator);
        vm.prank(delegator);
        vm.expectRevert(abi.encodeWithSelector(IBondingManager.RedelegationNeedsUnbonding.selector, orchestrator));
        bonding.rebond(0);
        _slash(orchestrator);
        _slash(_twin);
        _assertNoProfit(_lockOf(delegator), bonding.pendingStake(_twinDelegator, 0));
        vm.assertEq(bonding.pendingStake(delegator, 0), 1 ether, "own stake elsewhere is its own");
    }

    /// Collect the reward and claim right before: both are stake like all other.
    function test_Attack_RewardAndClaimBeforeTheSlash_SavesNothing() external {
        _registerVerifier();
        _rewardBoth();
        vm.prank(orchestrator);
        bonding.claimEarnings(0);
        vm.prank(delegator);
        bonding.claimEarnings(0);
        _slash(orchestrator);
        _slash(_twin);
        _assertNoProfit(bonding.pendingStake(orchestrator, 0), bonding.pendingStake(_twin, 0));
        _assertNoProfit(bonding.pendingStake(delegator, 0), bonding.pendingStake(_twinDelegator, 0));
    }

    /// Any split into locks over any rounds of the window loses the same part, but for a wei per lock.
    function testFuzz_Attack_AnySplitIntoLocks_SavesNothing(uint256 seed) external {
        _registerVerifier();
        uint256 left = _STAKE;
        uint256 n = 1 + seed % 5;
        for (uint256 i = 0; i < n; ++i) {
            uint256 dice = uint256(keccak256(abi.encode(seed, i)));
            uint256 amount = 1 + dice % (left / 2);
            left -= amount;
            vm.prank(delegator);
            bonding.unbond(amount);
            if (dice >> 128 & 1 == 0) _nextRound();
        }
        _slash(orchestrator);
        _slash(_twin);
        uint256 kept = bonding.pendingStake(delegator, 0);
        for (uint256 id = 0; id < n; ++id) {
            (uint256 amount,) = bonding.getDelegatorUnbondingLock(delegator, id);
            kept += amount;
        }
        _assertNoProfit(kept, bonding.pendingStake(_twinDelegator, 0));
    }

    // --- dust against orchestrators ---

    /// 2024-03: a stranger's one wei before the reward wiped it on the deployed contracts. Here the victim earns what its twin earns.
    function test_Attack_DustBondBeforeTheReward_TakesNothing() external {
        _bond(stranger, 1, orchestrator);
        _rewardBoth();
        _nextRound();
        vm.assertApproxEqAbs(bonding.pendingStake(orchestrator, 0), bonding.pendingStake(_twin, 0), _DUST);
        vm.assertLe(bonding.pendingStake(stranger, 0), 1, "nothing earned on the wei");
    }

    /// Hundreds of orchestrators with one wei each take no seat, change no share, and lock their wei.
    function test_Attack_DustOrchestrators_TakeNoSeatAndNoShare() external {
        vm.prank(sender);
        broker.fundReserve{value: 10 ether}();
        uint256 share = broker.claimableReserve(sender, orchestrator);
        for (uint256 i = 0; i < 200; ++i) {
            address dust = address(uint160(0xd057_0000 + i));
            _bond(dust, 1, dust);
        }
        vm.assertEq(bonding.getTranscoderPoolSize(), 2);
        vm.assertEq(broker.claimableReserve(sender, orchestrator), share);
        _nextRound();
        vm.assertEq(bonding.currentRoundPoolSize(), 2);
        vm.assertEq(broker.claimableReserve(sender, orchestrator), share);
        _rewardBoth();
    }

    /// Locks of one wei each make no slash dearer: it looks at rounds, not at locks.
    function test_Attack_DustLocks_DoNotMakeASlashDearer() external {
        _registerVerifier();
        vm.startPrank(delegator);
        for (uint256 i = 0; i < 100; ++i) {
            bonding.unbond(1);
        }
        vm.stopPrank();
        vm.prank(_twinDelegator);
        bonding.unbond(100);
        vm.startPrank(_verifier);
        uint256 gas = gasleft();
        bonding.slashTranscoder(_twin, _finder, _FIFTH, 0);
        uint256 few = gas - gasleft();
        gas = gasleft();
        bonding.slashTranscoder(orchestrator, _finder, _FIFTH, 0);
        uint256 many = gas - gasleft();
        vm.stopPrank();
        vm.assertLe(many, few + few / 10);
    }

    // --- helpers ---

    function _team(address o, address d) private {
        _register(o, _STAKE, 0, 1_000_000);
        _bond(d, _STAKE, o);
    }

    function _rewardBoth() private {
        _reward(orchestrator);
        _reward(_twin);
    }

    function _registerVerifier() private {
        vm.prank(owner);
        controller.setContractInfo(keccak256("Verifier"), _verifier, bytes20(0));
    }

    function _slash(address o) private {
        vm.prank(_verifier);
        bonding.slashTranscoder(o, _finder, _FIFTH, 500_000);
    }

    function _unbondAll(address account) private {
        uint256 stake = bonding.pendingStake(account, 0);
        vm.prank(account);
        bonding.unbond(stake);
    }

    function _lockOf(address account) private view returns (uint256 amount) {
        (amount,) = bonding.getDelegatorUnbondingLock(account, 0);
    }

    /// @dev Profit of the attack in wei, at most rounding.
    function _assertNoProfit(uint256 attacker, uint256 twin) private pure {
        vm.assertLe(attacker, twin + _DUST, "the attacker gains");
    }
}
