// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IBondingManager} from "../../contracts/interfaces/IBondingManager.sol";
import {Ticket} from "../../contracts/types/Ticket.sol";
import {StreamflowTest} from "./StreamflowTest.sol";

/// @notice Who gets how much of rewards and fees.
contract EarningsTest is StreamflowTest {
    uint256 private constant _STAKE = 1000 ether;

    uint256 private _nonce;

    function setUp() public override {
        super.setUp();
        _fund(1000 ether, 0);
    }

    // --- rewards ---

    function test_Reward_IsSplitByCommissionAndStake() external {
        _team(100_000, 0);
        uint256 mintable = minter.currentMintableTokens();
        _reward(orchestrator);
        vm.assertEq(minter.currentMintedTokens(), mintable);
        uint256 commission = mintable / 10;
        uint256 each = (mintable - commission) / 2;
        // From the next round on the claim covers this round.
        vm.assertApproxEqAbs(bonding.pendingStake(delegator, 0), _STAKE + each, 20);
        vm.assertApproxEqAbs(bonding.pendingStake(orchestrator, 0), _STAKE + each + commission, 20);
        vm.assertEq(bonding.transcoderTotalStake(orchestrator), 2 * _STAKE + mintable);
    }

    function test_Reward_IsSharedByStakeBetweenOrchestrators() external {
        _register(orchestrator, 3 * _STAKE, 0, 0);
        _register(stranger, _STAKE, 0, 0);
        _nextRound();
        uint256 mintable = minter.currentMintableTokens();
        _reward(orchestrator);
        _reward(stranger);
        vm.assertEq(bonding.transcoderTotalStake(orchestrator), 3 * _STAKE + mintable * 750_000_000 / 1e9);
        vm.assertEq(bonding.transcoderTotalStake(stranger), _STAKE + mintable * 250_000_000 / 1e9);
    }

    /// The deployed system takes the round's reward from whoever claims before it.
    function test_Invariant17_GivenClaimBeforeReward_RewardIsTheSame() external {
        _register(orchestrator, _STAKE, 30_000, 700_000);
        _bond(delegator, _STAKE, orchestrator);
        _bond(stranger, _STAKE, orchestrator);
        _nextRound();
        vm.prank(delegator);
        bonding.claimEarnings(0);
        _reward(orchestrator);
        vm.prank(stranger);
        bonding.claimEarnings(0);
        _pay(1 ether);
        vm.assertGt(bonding.pendingStake(delegator, 0), _STAKE);
        vm.assertEq(bonding.pendingStake(delegator, 0), bonding.pendingStake(stranger, 0));
        vm.assertEq(bonding.pendingFees(delegator, 0), bonding.pendingFees(stranger, 0));
        _nextRounds(2);
        vm.assertEq(bonding.pendingStake(delegator, 0), bonding.pendingStake(stranger, 0));
    }

    /// Whenever a delegator and the orchestrator claim around rewards and fees, all end with what they would have without.
    function testFuzz_Invariant16_ClaimsChangeNothing(uint256 seed) external {
        _register(orchestrator, _STAKE + 7, seed % 1_000_001, (seed >> 32) % 1_000_001);
        _bond(delegator, 3 * _STAKE + 11, orchestrator);
        _bond(stranger, 3 * _STAKE + 11, orchestrator);
        _nextRound();
        uint256 actions = 0;
        for (uint256 i = 0; i < 24; ++i) {
            uint256 dice = uint256(keccak256(abi.encode(seed, i)));
            (uint256 lastReward,,,,,,,,,) = bonding.getTranscoder(orchestrator);
            if (dice % 5 == 0) _nextRound();
            if (dice % 5 == 1 && lastReward < rounds.currentRound()) _reward(orchestrator);
            if (dice % 5 == 2) _pay(1 ether + dice % 1 ether);
            if (dice % 5 > 2) {
                vm.prank(dice % 5 == 3 ? delegator : orchestrator);
                bonding.claimEarnings(0);
            }
            ++actions;
            vm.assertApproxEqAbs(bonding.pendingStake(delegator, 0), bonding.pendingStake(stranger, 0), 2 * actions);
            vm.assertApproxEqAbs(bonding.pendingFees(delegator, 0), bonding.pendingFees(stranger, 0), 2 * actions);
        }
        vm.assertLe(
            bonding.pendingStake(orchestrator, 0) + bonding.pendingStake(delegator, 0)
                + bonding.pendingStake(stranger, 0),
            bonding.transcoderTotalStake(orchestrator)
        );
        vm.assertLe(_allFees(), broker.unclaimedFees());
        vm.assertApproxEqAbs(_allFees(), broker.unclaimedFees(), 24 * 4);
    }

    /// Commission collected right after the reward earns no second share of the round's fees.
    function test_GivenCommissionClaimedBeforeFees_FeesAreNotCountedTwice() external {
        _team(500_000, 1_000_000);
        _reward(orchestrator);
        _nextRound();
        _reward(orchestrator);
        vm.prank(orchestrator);
        bonding.claimEarnings(0);
        _pay(1 ether);
        vm.assertLe(_allFees(), 1 ether);
        vm.assertApproxEqAbs(_allFees(), 1 ether, 3);
    }

    function test_GivenBondInTheRound_ItsRewardIsNotShared() external {
        _team(0, 0);
        _bond(stranger, _STAKE, orchestrator);
        _reward(orchestrator);
        _nextRound();
        vm.assertEq(bonding.pendingStake(stranger, 0), _STAKE);
    }

    function test_Invariant16_ClaimEveryRoundEqualsClaimOnce() external {
        _register(orchestrator, _STAKE, 50_000, 500_000);
        _bond(delegator, _STAKE, orchestrator);
        _bond(stranger, _STAKE, orchestrator);
        _nextRound();
        for (uint256 i = 0; i < 12; ++i) {
            _reward(orchestrator);
            _pay(1 ether);
            vm.prank(stranger);
            bonding.claimEarnings(0);
            _nextRound();
        }
        vm.assertApproxEqAbs(bonding.pendingStake(stranger, 0), bonding.pendingStake(delegator, 0), 20);
        vm.assertApproxEqAbs(bonding.pendingFees(stranger, 0), bonding.pendingFees(delegator, 0), 20);
    }

    function test_Invariant16_ClaimIsIdempotentInARound() external {
        _team(100_000, 500_000);
        _reward(orchestrator);
        _pay(1 ether);
        _nextRound();
        vm.startPrank(delegator);
        bonding.claimEarnings(0);
        uint256 stake = bonding.pendingStake(delegator, 0);
        uint256 fees = bonding.pendingFees(delegator, 0);
        bonding.claimEarnings(0);
        vm.stopPrank();
        vm.assertEq(bonding.pendingStake(delegator, 0), stake);
        vm.assertEq(bonding.pendingFees(delegator, 0), fees);
    }

    // --- fees ---

    function test_Fees_AreSplitByShareAndStake() external {
        _team(0, 500_000);
        _pay(1 ether);
        vm.assertEq(bonding.pendingFees(delegator, 0), 0.25 ether);
        vm.assertEq(bonding.pendingFees(orchestrator, 0), 0.75 ether);
    }

    function test_GivenRewardInTheRound_FeesAreSplitOnTheSameStake() external {
        _team(0, 500_000);
        _reward(orchestrator);
        _pay(1 ether);
        vm.assertApproxEqAbs(bonding.pendingFees(delegator, 0), 0.25 ether, 2);
        vm.assertApproxEqAbs(bonding.pendingFees(orchestrator, 0), 0.75 ether, 2);
    }

    /// The deployed contracts once estimated the factor of a missed round and paid delegators 0.2488 here.
    function test_Invariant18_GivenMissedReward_FeesAreThoseOfUnbrokenRewards() external {
        _team(100_000, 500_000);
        _reward(orchestrator);
        _nextRounds(3);
        uint256 stake = bonding.pendingStake(delegator, 0);
        _reward(orchestrator);
        uint256 before = bonding.pendingFees(delegator, 0);
        uint256 total = _totalAtStartOfRound();
        _pay(1 ether);
        uint256 credited = bonding.pendingFees(delegator, 0) - before;
        vm.assertApproxEqAbs(credited, 0.5 ether * stake / total, 2);
    }

    function test_GivenFirstRewardEver_FeesAreSplitOnTheBondedStake() external {
        _register(orchestrator, _STAKE, 0, 1_000_000);
        _bond(delegator, _STAKE, orchestrator);
        _nextRounds(4);
        _reward(orchestrator);
        _pay(1 ether);
        vm.assertApproxEqAbs(bonding.pendingFees(delegator, 0), 0.5 ether, 2);
    }

    function test_GivenCommissionEarned_ItEarnsFeesLikeStake() external {
        _team(1_000_000, 1_000_000);
        _reward(orchestrator);
        _nextRound();
        uint256 commission = bonding.transcoderTotalStake(orchestrator) - 2 * _STAKE;
        uint256 total = bonding.transcoderTotalStake(orchestrator);
        _pay(1 ether);
        vm.assertApproxEqAbs(bonding.pendingFees(delegator, 0), 1 ether * _STAKE / total, 2);
        vm.assertApproxEqAbs(bonding.pendingFees(orchestrator, 0), 1 ether * (_STAKE + commission) / total, 2);
    }

    /// However stake, commissions and face values fall, a redemption credits all of its value but a wei per holder, and
    /// never more than its value.
    function testFuzz_Invariant05_RedeemedFeesAreCreditedUpToOneWeiPerHolder(uint256 seed) external {
        uint256 rewardCut = uint256(keccak256(abi.encode(seed, 1))) % 1_000_001;
        uint256 feeShare = uint256(keccak256(abi.encode(seed, 2))) % 1_000_001;
        _register(orchestrator, 1 ether + uint256(keccak256(abi.encode(seed, 3))) % 100_000 ether, rewardCut, feeShare);
        _bond(delegator, 1 + uint256(keccak256(abi.encode(seed, 4))) % 100_000 ether, orchestrator);
        _bond(stranger, 1 + uint256(keccak256(abi.encode(seed, 5))) % 1_000_000, orchestrator);
        uint256 paid = 0;
        for (uint256 i = 0; i < 4; ++i) {
            _nextRound();
            uint256 dice = uint256(keccak256(abi.encode(seed, 6, i)));
            if (dice & 1 == 0) _reward(orchestrator);
            _pay(dice % 10 ether);
            paid += dice % 10 ether;
            if (dice & 7 == 3) _reward(orchestrator);
            vm.assertLe(_allFees(), paid);
            // Three holders, and the orchestrator's commission is a fourth share.
            vm.assertApproxEqAbs(_allFees(), paid, 4 * (i + 1));
        }
    }

    // --- the drains of the deployed network, closed ---

    /// 2024-10: rewards of a member on its way out outgrew its recorded stake, and a small ticket paid a fortune.
    function test_GivenLeaveRewardReturn_FeesNeverExceedTheTicket() external {
        _team(1_000_000, 1_000_000);
        _nextRound();
        vm.prank(delegator);
        bonding.unbond(_STAKE);
        vm.prank(orchestrator);
        bonding.unbond(_STAKE - 1);
        _reward(orchestrator);
        _nextRound();
        _bond(stranger, 1, orchestrator);
        _nextRound();
        uint256 before = _allFees();
        if (bonding.isActiveTranscoder(orchestrator)) _pay(1 ether);
        vm.assertLe(_allFees(), before + 1 ether);
        _reward(orchestrator);
        _pay(1 ether);
        vm.assertLe(_allFees(), before + 2 ether);
    }

    /// 2025-08: an inactive orchestrator bonded more while its recorded stake stayed at one wei.
    function test_GivenInactiveOrchestrator_NoFeesAreBooked() external {
        _register(orchestrator, 1, 0, 1_000_000);
        _bond(orchestrator, 0.5 ether, orchestrator);
        _nextRound();
        vm.assertFalse(bonding.isActiveTranscoder(orchestrator));
        Ticket memory ticket = _ticket(1000, 1);
        bytes memory sig = _sign(ticket);
        vm.expectRevert(abi.encodeWithSelector(IBondingManager.TranscoderNotActive.selector, orchestrator));
        broker.redeemWinningTicket(ticket, sig, RAND);
        vm.assertEq(_allFees(), 0);
    }

    /// 2023-10: factors that were never initialised inflated stake returned from unbonding.
    function test_GivenRebondFromUnbonded_StakeIsNotInflated() external {
        _team(0, 0);
        _reward(orchestrator);
        _nextRound();
        _reward(orchestrator);
        _nextRound();
        _bond(stranger, 10 ether, stranger);
        _nextRound();
        vm.startPrank(stranger);
        bonding.unbond(10 ether);
        bonding.rebondFromUnbonded(orchestrator, 0);
        vm.stopPrank();
        _nextRound();
        vm.assertEq(bonding.pendingStake(stranger, 0), 10 ether);
    }

    function test_GivenChangeOfDelegate_StakeIsNotInflated() external {
        _team(0, 500_000);
        for (uint256 i = 0; i < 3; ++i) {
            _reward(orchestrator);
            _pay(1 ether);
            _nextRound();
        }
        _bond(stranger, 10 ether, stranger);
        _bond(_account("mover"), 10 ether, stranger);
        _nextRound();
        vm.prank(_account("mover"));
        bonding.bond(0, orchestrator);
        _nextRound();
        vm.assertEq(bonding.pendingStake(_account("mover"), 0), 10 ether);
        vm.assertEq(bonding.pendingFees(_account("mover"), 0), 0);
    }

    /// Over a year of rounds the stake held equals the stake owed, and what delegators can claim never exceeds it.
    function test_GivenYearOfRounds_BooksBalance() external {
        _register(orchestrator, _STAKE, 123_457, 654_321);
        _bond(delegator, 777 ether + 13, orchestrator);
        _bond(stranger, 31 ether + 7, orchestrator);
        _nextRound();
        for (uint256 i = 0; i < 365; ++i) {
            if (i % 11 != 5) _reward(orchestrator);
            if (i % 3 == 0) _pay(1 ether / (i + 1));
            if (i % 7 == 0) {
                vm.prank(stranger);
                bonding.claimEarnings(0);
            }
            _nextRound();
        }
        uint256 held = token.balanceOf(address(minter));
        vm.assertEq(held, bonding.transcoderTotalStake(orchestrator));
        uint256 owed = bonding.pendingStake(orchestrator, 0) + bonding.pendingStake(delegator, 0)
            + bonding.pendingStake(stranger, 0);
        vm.assertLe(owed, held);
        // A wei per round and holder.
        vm.assertApproxEqAbs(owed, held, 365 * 3);
        vm.assertLe(_allFees(), broker.unclaimedFees());
        vm.assertApproxEqAbs(_allFees(), broker.unclaimedFees(), 365 * 3);
    }

    // --- helpers ---

    /// @dev An orchestrator and a delegator of equal stake, active.
    function _team(uint256 rewardCut, uint256 feeShare) private {
        _register(orchestrator, _STAKE, rewardCut, feeShare);
        _bond(delegator, _STAKE, orchestrator);
        _nextRound();
    }

    function _pay(uint256 fees) private {
        _redeem(_ticket(fees, _nonce++));
    }

    function _allFees() private view returns (uint256) {
        return
            bonding.pendingFees(orchestrator, 0) + bonding.pendingFees(delegator, 0) + bonding.pendingFees(stranger, 0);
    }

    function _totalAtStartOfRound() private view returns (uint256 total) {
        (total,,,,) = bonding.getTranscoderEarningsPoolForRound(orchestrator, rounds.currentRound());
    }

    /// The last one out: what would be nobody's waits for the orchestrator.
    function test_GivenNoStakeLeft_FeesAndRewardsAreTheOrchestrators() external {
        address self = _account("leaver");
        _register(self, 10 ether, 0, 1_000_000);
        _fund(5 ether, 0);
        _nextRound();
        vm.prank(self);
        bonding.unbond(10 ether);
        Ticket memory ticket = _ticket(1 ether, 1);
        ticket.recipient = self;
        _redeem(ticket);
        _reward(self);
        uint256 minted = minter.currentMintedTokens();
        vm.assertGt(minted, 0);
        vm.prank(self);
        bonding.rebondFromUnbonded(self, 0);
        _nextRound();
        vm.assertEq(bonding.pendingFees(self, 0), 1 ether);
        vm.assertEq(bonding.pendingStake(self, 0), 10 ether + minted);
    }

    function test_GivenSlashOfOneThatLeft_ItsFeesStayItsOwn() external {
        address self = _account("slashed leaver");
        _register(self, 10 ether, 0, 0);
        _fund(5 ether, 0);
        _nextRound();
        vm.prank(self);
        bonding.unbond(10 ether);
        Ticket memory ticket = _ticket(1 ether, 1);
        ticket.recipient = self;
        _redeem(ticket);
        address verifier = _account("verifier");
        vm.prank(owner);
        controller.setContractInfo(keccak256("Verifier"), verifier, bytes20(0));
        vm.prank(verifier);
        bonding.slashTranscoder(self, address(0), 1_000_000, 0);
        vm.prank(self);
        bonding.withdrawFees(payable(self), 1 ether);
        vm.assertEq(self.balance, 1 ether);
    }
}
