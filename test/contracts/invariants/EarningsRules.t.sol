// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {StreamflowTest} from "../StreamflowTest.sol";

/// @notice Numbered rules about earnings that compare two ways of doing the same. Three accounts delegate to one orchestrator.
contract EarningsRulesTest is StreamflowTest {
    uint256 private _nonce;

    function setUp() public override {
        super.setUp();
        vm.prank(sender);
        broker.fundDeposit{value: 1000 ether}();
    }

    /// 15: a slash lowers the reward factor by exactly its part, and the fee factor not at all.
    function testFuzz_Invariant15_SlashLowersTheFactorByItsPart(uint256 stake, uint256 slashAmount, uint256 cut)
        external
    {
        _team(1 ether + stake % 1e26, cut % 1_000_001, 500_000);
        slashAmount %= 900_001;
        _reward(orchestrator);
        _pay(1 ether);
        uint256 before = _rewardFactor();
        vm.assertGe(before, 1e27);
        uint256 fees = _feeFactor();
        vm.prank(owner);
        controller.setContractInfo(keccak256("Verifier"), address(this), bytes20(0));
        bonding.slashTranscoder(orchestrator, address(0), slashAmount, 0);
        vm.assertEq(_feeFactor(), fees);
        _nextRounds(bonding.slashCooldown());
        vm.prank(orchestrator);
        bonding.transcoder(0, 500_000);
        _nextRound();
        uint256 total = bonding.transcoderTotalStake(orchestrator);
        // A wei of reward for a wei of stake is a factor of two: what is left of the old factor grows by that much.
        _reward(orchestrator);
        uint256 kept = before * (1_000_000 - slashAmount) / 1_000_000;
        uint256 minted = bonding.transcoderTotalStake(orchestrator) - total;
        uint256 delegators = minted - minted * (cut % 1_000_001) / 1_000_000;
        if (_rewardCut() == 0) delegators = minted;
        vm.assertEq(_rewardFactor(), kept + kept * (delegators * 1e27 / total) / 1e27);
    }

    /// 16: claims in any rounds, by anybody of the team, leave the stake and fees that one claim at the end leaves.
    function testFuzz_Invariant16_ClaimEveryRoundEqualsClaimOnce(
        uint256 stake,
        uint256 cut,
        uint256 share,
        uint256 when
    ) external {
        _team(1 ether + stake % 1e26, cut % 1_000_001, share % 1_000_001);
        uint256 rounds_ = 8;
        uint256[] memory factors = new uint256[](rounds_);
        for (uint256 i = 0; i < rounds_; ++i) {
            if (when >> (3 * i) & 1 == 1) _reward(orchestrator);
            if (when >> (3 * i + 1) & 1 == 1) _pay(1 ether + when % 1 ether);
            vm.prank(stranger);
            bonding.claimEarnings(0);
            factors[i] = _rewardFactorOrOne();
            if (when >> (3 * i + 2) & 1 == 1) {
                vm.prank(orchestrator);
                bonding.claimEarnings(0);
            }
            _nextRound();
        }
        // Each claim rounds twice, and what it loses misses the rewards of the rounds after it.
        uint256 lost;
        for (uint256 i = 0; i < rounds_; ++i) {
            lost += 2 * (_rewardFactorOrOne() / factors[i] + 1);
        }
        vm.assertApproxEqAbs(bonding.pendingStake(stranger, 0), bonding.pendingStake(delegator, 0), lost);
        // A wei of stake is at most a wei of each later payment: 2 ether to a stake of 2 ether and more.
        vm.assertApproxEqAbs(
            bonding.pendingFees(stranger, 0), bonding.pendingFees(delegator, 0), (2 + rounds_) * rounds_
        );
        vm.assertLe(bonding.pendingStake(stranger, 0), bonding.pendingStake(delegator, 0), "claiming gains nothing");
    }

    /// 17: before or after the reward of the round makes no difference, for stake and fees of this and later rounds.
    function testFuzz_Invariant17_ClaimBeforeOrAfterTheRewardIsTheSame(uint256 stake, uint256 cut) external {
        _team(1 ether + stake % 1e26, cut % 1_000_001, 500_000);
        for (uint256 i = 0; i < 3; ++i) {
            vm.prank(stranger);
            bonding.claimEarnings(0);
            _reward(orchestrator);
            vm.prank(delegator);
            bonding.claimEarnings(0);
            _pay(1 ether);
            _nextRound();
            vm.assertApproxEqAbs(bonding.pendingStake(stranger, 0), bonding.pendingStake(delegator, 0), 2 * (i + 1));
            vm.assertApproxEqAbs(bonding.pendingFees(stranger, 0), bonding.pendingFees(delegator, 0), 2 * (i + 1));
        }
    }

    /// 18: fees after missed rewards are split as after unbroken ones: by stake and share, within 1e-5.
    function testFuzz_Invariant18_MissedRewardsChangeNoSplit(uint256 stake, uint256 share, uint256 missed) external {
        share %= 1_000_001;
        _team(1 ether + stake % 1e26, 100_000, share);
        _reward(orchestrator);
        _nextRounds(1 + missed % 5);
        if (missed >> 128 & 1 == 1) {
            _reward(orchestrator);
            _nextRound();
        }
        uint256 mine = bonding.pendingStake(delegator, 0);
        uint256 total = bonding.transcoderTotalStake(orchestrator);
        uint256 before = bonding.pendingFees(delegator, 0);
        _pay(1 ether);
        uint256 expected = (1 ether * share / 1_000_000) * mine / total;
        uint256 credited = bonding.pendingFees(delegator, 0) - before;
        vm.assertApproxEqAbs(credited, expected, expected / 100_000 + 2);
        vm.assertLe(credited, expected + 1);
    }

    /// 34: two rounds of rewards and fees against exact fractions, all numerators in 256 bits. The model of any number of rounds is
    /// the differential test in Rust.
    function testFuzz_Invariant34_TwoRoundsMatchExactFractions(uint256 stake, uint256 cut, uint256 share, uint256 fees)
        external
    {
        stake = 1 ether + stake % 1e24;
        (cut, share, fees) = (cut % 1_000_001, share % 1_000_001, fees % 100 ether);
        _team(stake, cut, share);
        uint256[2] memory total;
        uint256[2] memory grown;
        // Fees of the delegator as a sum of two fractions of `total`.
        uint256 exactFees = 0;
        for (uint256 i = 0; i < 2; ++i) {
            total[i] = bonding.transcoderTotalStake(orchestrator);
            _reward(orchestrator);
            uint256 minted = bonding.transcoderTotalStake(orchestrator) - total[i];
            grown[i] = total[i] + minted - minted * cut / 1_000_000;
            _pay(fees);
            uint256 part = fees * share / 1_000_000;
            exactFees += i == 0 ? part * stake / total[0] : (part * stake * grown[0]) / (total[0] * total[1]);
            _nextRound();
        }
        // stake * (grown0 / total0) * (grown1 / total1), rounded down once: exact.
        uint256 exact = (stake * grown[0] * grown[1]) / (total[0] * total[1]);
        uint256 actual = bonding.pendingStake(delegator, 0);
        vm.assertLe(actual, exact, "never more than exact");
        vm.assertLe(exact, actual + 3, "less by rounding only");
        vm.assertApproxEqAbs(bonding.pendingFees(delegator, 0), exactFees, 4 + exactFees / 1e15);
    }

    // --- helpers ---

    function _team(uint256 stake, uint256 rewardCut, uint256 feeShare) private {
        vm.assume(3 * stake < 5_000_000 ether);
        _register(orchestrator, stake, rewardCut, feeShare);
        _bond(delegator, stake, orchestrator);
        _bond(stranger, stake, orchestrator);
        _nextRound();
    }

    function _pay(uint256 fees) private {
        _redeem(_ticket(fees, _nonce++));
    }

    /// @dev Before the first reward the factor is not stored.
    function _rewardFactorOrOne() private view returns (uint256 factor) {
        factor = _rewardFactor();
        if (factor == 0) factor = 1e27;
    }

    function _rewardFactor() private view returns (uint256 factor) {
        (uint256 round,,,,,,,,,) = bonding.getTranscoder(orchestrator);
        (,,, factor,) = bonding.getTranscoderEarningsPoolForRound(orchestrator, round);
    }

    function _feeFactor() private view returns (uint256 factor) {
        (,,,,,,,,, uint256 round) = bonding.getTranscoder(orchestrator);
        (,,,, factor) = bonding.getTranscoderEarningsPoolForRound(orchestrator, round);
    }

    function _rewardCut() private view returns (uint256 cut) {
        (, cut,,,,,,,,) = bonding.getTranscoder(orchestrator);
    }
}
