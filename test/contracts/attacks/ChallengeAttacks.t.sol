// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ISlashingManager} from "../../../contracts/interfaces/ISlashingManager.sol";
import {Receipt} from "../../../contracts/types/Receipt.sol";
import {SlashingTest} from "../SlashingTest.sol";

/// @notice Attacks by challenges: without proof they cost the challenger, with proof against oneself they pay less than they cost.
contract ChallengeAttacksTest is SlashingTest {
    /// Challenges for the nuisance: each costs its bond, which the orchestrator gets, and no stake moves.
    function test_Attack_DustChallenges_PayTheOrchestrator() external {
        uint256 before = token.balanceOf(challenger);
        uint256 stake = bonding.transcoderTotalStake(orchestrator);
        for (uint256 i = 0; i < 5; ++i) {
            Receipt memory receipt = _receipt("a");
            receipt.sequence = i;
            _challenge(challenger, address(equivocation), receipt, _evidence(receipt));
        }
        vm.assertEq(token.balanceOf(challenger), before - 5 * uint256(BOND), "profit of the attacker");
        vm.assertEq(token.balanceOf(orchestrator), 5 * uint256(BOND));
        vm.assertEq(bonding.transcoderTotalStake(orchestrator), stake);
        vm.assertTrue(bonding.isActiveTranscoder(orchestrator));
    }

    /// No bond, no challenge: an account without LPT cannot even open one.
    function test_Attack_ChallengeWithoutABond_IsRefused() external {
        address poor = _account("poor");
        Receipt memory receipt = _receipt("a");
        bytes memory evidence = _evidence(_receipt("b"));
        _announce(poor, address(equivocation), receipt, evidence);
        bytes memory sig = _signReceipt(receipt);
        vm.prank(poor);
        (bool ok,) = address(slashing)
            .call(abi.encodeCall(slashing.challenge, (address(equivocation), receipt, sig, evidence, SALT)));
        vm.assertFalse(ok);
        vm.assertEq(slashing.challengeCount(), 0);
    }

    /// An orchestrator that convicts itself through a second account, to turn the delegators' stake into a bounty: together the two
    /// accounts end with less than before, whatever the bounty says.
    function testFuzz_Attack_SelfChallenge_Loses(uint256 own, uint256 delegated, uint32 slashPpm, uint32 bountyPpm)
        external
    {
        own = 1 ether + own % 1000 ether;
        delegated = 1 ether + delegated % 100_000 ether;
        ISlashingManager.Terms memory terms = _equivocationTerms();
        (terms.slashPpm, terms.bountyPpm) = (1 + slashPpm % 1_000_000, bountyPpm % 500_001);
        vm.prank(owner);
        slashing.setTerms(SERVICE, address(equivocation), terms);
        uint256 key = 0x5E1F;
        address self = vm.addr(key);
        _register(self, own, 1_000_000, 0);
        _bond(_account("whale"), delegated, self);
        _nextRound();
        uint256 before = bonding.pendingStake(self, 0) + token.balanceOf(challenger);
        (Receipt memory a, Receipt memory b) = (_receipt("a"), _receipt("b"));
        (a.orchestrator, b.orchestrator) = (self, self);
        bytes memory evidence = abi.encode(b, _signReceipt(key, b));
        _announce(challenger, address(equivocation), a, evidence);
        bytes memory sig = _signReceipt(key, a);
        vm.prank(challenger);
        slashing.challenge(address(equivocation), a, sig, evidence, SALT);
        vm.assertLt(bonding.pendingStake(self, 0) + token.balanceOf(challenger), before);
    }
}
