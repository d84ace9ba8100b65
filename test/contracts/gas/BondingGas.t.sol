// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Deploy} from "../../../script/Deploy.s.sol";
import {StreamflowTest} from "../StreamflowTest.sol";

/// @notice The part of forge's cheat codes that measures.
interface BondingGasVm {
    struct Gas {
        uint64 gasLimit;
        uint64 gasTotalUsed;
        uint64 gasMemoryUsed;
        int64 gasRefunded;
        uint64 gasRemaining;
    }

    function lastCallGas() external view returns (Gas memory);
}

/// @notice What staking costs: each call its own cold transaction (`isolate`), 21,000 and calldata included, in a set of
/// `_members()` orchestrators that is some rounds old.
abstract contract BondingGasTest is StreamflowTest {
    /// @notice A measured figure.
    event Figure(string name, uint256 gas);

    address private _first;
    address private _middle;
    address private _last;

    function _members() internal pure virtual returns (uint256);

    function _params(Deploy.Params memory p) internal view override returns (Deploy.Params memory) {
        p = super._params(p);
        // One seat is free even in the large set.
        p.numActiveTranscoders = 5_001;
        return p;
    }

    function setUp() public override {
        super.setUp();
        uint256 n = _members();
        vm.prank(owner);
        token.transfer(address(this), n * 10 ether);
        this.populate(n);
        (_first, _middle, _last) = (_member(0), _member(n / 2), _member(n - 1));
        _bond(delegator, 50 ether, _middle);
        _nextRounds(3);
        vm.assertEq(bonding.currentRoundPoolSize(), n);
        vm.assertTrue(bonding.isActiveTranscoder(_first) && bonding.isActiveTranscoder(_last));
        // Steady: everybody looked at had a reward and fees before.
        _rewardAll();
        _credit(1 ether);
        _nextRound();
        _rewardAll();
        _credit(1 ether);
        _nextRound();
    }

    /// @notice One transaction for all members, so that the set-up is quick.
    function populate(uint256 n) external {
        for (uint256 i = 0; i < n; ++i) {
            address member = _member(i);
            token.transfer(member, 10 ether);
            vm.startPrank(member);
            token.approve(address(bonding), 10 ether);
            bonding.bond(10 ether, member);
            bonding.transcoder(100_000, 500_000);
            vm.stopPrank();
        }
    }

    function test_Reward_AnyPlaceInTheSet() external {
        _reward(_first);
        _assertGas("reward_first", 180_000);
        _reward(_middle);
        _assertGas("reward_middle", 180_000);
        _reward(_last);
        _assertGas("reward_last", 180_000);
    }

    /// Commission that was claimed in between costs a first write again.
    function test_Reward_AfterAClaim() external {
        vm.prank(_middle);
        bonding.claimEarnings(0);
        _reward(_middle);
        _assertGas("reward_after_claim", 180_000);
    }

    function test_Bond_NewDelegator() external {
        address newcomer = _account("newcomer");
        vm.prank(owner);
        token.transfer(newcomer, 7 ether);
        vm.prank(newcomer);
        token.approve(address(bonding), 7 ether);
        vm.prank(newcomer);
        bonding.bond(7 ether, _middle);
        _assertGas("bond_new_delegator", 220_000);
    }

    function test_Bond_MoreAndElsewhere() external {
        vm.prank(owner);
        token.transfer(delegator, 7 ether);
        vm.prank(delegator);
        token.approve(address(bonding), 7 ether);
        vm.prank(delegator);
        bonding.bond(7 ether, _middle);
        _assertGas("bond_more", 220_000);
        vm.prank(delegator);
        bonding.bond(0, _last);
        _assertGas("bond_elsewhere", 220_000);
    }

    function test_UnbondAndReturn() external {
        vm.prank(delegator);
        bonding.unbond(5 ether);
        _assertGas("unbond", 220_000);
        vm.prank(delegator);
        bonding.rebond(0);
        _assertGas("rebond", 220_000);
    }

    /// Leaving touches the neighbours in the set, wherever they are.
    function test_LeaveTheSet() external {
        uint256 stake = bonding.pendingStake(_middle, 0);
        vm.startPrank(delegator);
        bonding.unbond(bonding.pendingStake(delegator, 0));
        vm.stopPrank();
        vm.prank(_middle);
        bonding.unbond(stake);
        _assertGas("unbond_all_and_leave", 260_000);
    }

    function test_Join() external {
        _bond(_account("joiner"), 3 ether, _account("joiner"));
        _assertGas("bond_to_self_and_join", 320_000);
    }

    function test_ClaimEarnings_FiftyTwoRoundsBehind() external {
        for (uint256 i = 0; i < 52; ++i) {
            _rewardAll();
            if (i % 5 == 0) _credit(1 ether);
            _nextRound();
        }
        vm.prank(delegator);
        bonding.claimEarnings(0);
        _assertGas("claim_earnings_52", 120_000);
        vm.prank(_first);
        bonding.claimEarnings(0);
        _assertGas("claim_earnings_52_orchestrator", 120_000);
    }

    function test_InitializeRound() external {
        _rollToNextRound();
        rounds.initializeRound();
        _assertGas("initialize_round", 120_000);
    }

    /// The part of a redemption that is spent here; as a call of its own it carries 21,000 and cold peers besides.
    function test_CreditFees() external {
        _credit(1 ether);
        _assertGas("fee_credit_first_of_round", 110_000);
        _credit(1 ether);
        _assertGas("fee_credit", 60_000);
        _reward(_middle);
        _credit(1 ether);
        _assertGas("fee_credit_after_reward", 60_000);
    }

    function test_Slash() external {
        vm.prank(owner);
        controller.setContractInfo(keccak256("Verifier"), address(this), bytes20(0));
        vm.prank(delegator);
        bonding.unbond(5 ether);
        _nextRound();
        bonding.slashTranscoder(_middle, stranger, 100_000, 500_000);
        _assertGas("slash", 350_000);
    }

    function _rewardAll() private {
        _reward(_first);
        _reward(_middle);
        _reward(_last);
    }

    function _credit(uint256 fees) private {
        uint256 round = rounds.currentRound();
        vm.prank(address(broker));
        bonding.updateTranscoderWithFees(_middle, fees, round);
    }

    function _member(uint256 i) private pure returns (address) {
        return address(uint160(uint256(keccak256(abi.encode("member", i)))));
    }

    function _assertGas(string memory name, uint256 most) private {
        uint256 used = BondingGasVm(address(vm)).lastCallGas().gasTotalUsed;
        emit Figure(name, used);
        vm.assertLe(used, most, name);
    }
}

contract BondingGas100Test is BondingGasTest {
    function _members() internal pure override returns (uint256) {
        return 100;
    }
}

contract BondingGas5000Test is BondingGasTest {
    function _members() internal pure override returns (uint256) {
        return 5_000;
    }
}
