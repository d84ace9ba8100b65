// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IFaultVerifier} from "../../contracts/interfaces/IFaultVerifier.sol";
import {ISlashingManager} from "../../contracts/interfaces/ISlashingManager.sol";
import {Receipt} from "../../contracts/types/Receipt.sol";
import {EquivocationVerifier} from "../../contracts/verifiers/EquivocationVerifier.sol";
import {SlashingTest} from "./SlashingTest.sol";

contract EquivocationVerifierTest is SlashingTest {
    function test_WhenResultsOfOneJobDiffer_Guilty() external {
        vm.assertTrue(_judge(_receipt("a"), _receipt("b")) == IFaultVerifier.Verdict.Guilty);
    }

    function test_WhenOneReceiptNamesAnotherRound_Guilty() external {
        Receipt memory other = _receipt("b");
        other.round -= 1;
        vm.assertTrue(_judge(_receipt("a"), other) == IFaultVerifier.Verdict.Guilty);
    }

    function test_WhenNumberOfResultsDiffers_Guilty() external {
        Receipt memory other = _receipt("a");
        other.resultHashes = new bytes32[](0);
        vm.assertTrue(_judge(_receipt("a"), other) == IFaultVerifier.Verdict.Guilty);
    }

    function test_WhenResultsAreEqual_NotGuilty() external {
        vm.assertTrue(_judge(_receipt("a"), _receipt("a")) == IFaultVerifier.Verdict.NotGuilty);
    }

    /// The same receipt signed in another round is no second result.
    function test_WhenOnlyTheRoundDiffers_NotGuilty() external {
        Receipt memory other = _receipt("a");
        other.round -= 1;
        vm.assertTrue(_judge(_receipt("a"), other) == IFaultVerifier.Verdict.NotGuilty);
    }

    function test_WhenEitherIsNotDeterministic_NotGuilty() external {
        Receipt memory other = _receipt("b");
        other.deterministic = false;
        vm.assertTrue(_judge(_receipt("a"), other) == IFaultVerifier.Verdict.NotGuilty);
        vm.assertTrue(_judge(other, _receipt("a")) == IFaultVerifier.Verdict.NotGuilty);
    }

    /// Honest work is never guilty: two receipts whose jobs differ in anything, whatever the results.
    function testFuzz_Invariant31_WhenJobsDiffer_NotGuilty(uint256 field, bytes32 value) external {
        (Receipt memory a, Receipt memory b) = (_receipt("a"), _receipt("b"));
        field = field % 7;
        if (field == 0) b.sender = address(uint160(uint256(value)));
        if (field == 1) b.manifest = value;
        if (field == 2) b.sequence = uint256(value);
        if (field == 3) b.sourceHash = value;
        if (field == 4) b.settings = value;
        if (field == 5) b.software = value;
        if (field == 6) b.service = value;
        vm.assume(a.jobId() != b.jobId());
        vm.assertTrue(_judge(a, b) == IFaultVerifier.Verdict.NotGuilty);
    }

    function test_WhenTheOtherIsSomebodyElses_NotGuilty() external {
        Receipt memory other = _receipt("b");
        other.orchestrator = sender;
        vm.assertTrue(
            _judge(_receipt("a"), abi.encode(other, _signReceipt(SENDER_KEY, other)))
                == IFaultVerifier.Verdict.NotGuilty
        );
    }

    function test_WhenTheOtherIsForged_NotGuilty() external {
        Receipt memory other = _receipt("b");
        vm.assertTrue(
            _judge(_receipt("a"), abi.encode(other, _signReceipt(SENDER_KEY, other)))
                == IFaultVerifier.Verdict.NotGuilty
        );
        vm.assertTrue(_judge(_receipt("a"), abi.encode(other, bytes("short"))) == IFaultVerifier.Verdict.NotGuilty);
    }

    /// Flipping any bit of a signature or of the digest never convicts.
    function testFuzz_Invariant31_WhenSignatureIsDamaged_NotGuilty(uint256 bit) external {
        Receipt memory other = _receipt("b");
        bytes memory sig = _signReceipt(other);
        sig[(bit % 520) / 8] ^= bytes1(uint8(1 << (bit % 8)));
        vm.assertTrue(_judge(_receipt("a"), abi.encode(other, sig)) == IFaultVerifier.Verdict.NotGuilty);
    }

    function test_ChallengeWithoutProof_PaysTheOrchestrator() external {
        uint256 id = _challenge(challenger, address(equivocation), _receipt("a"), _evidence(_receipt("a")));
        vm.assertTrue(slashing.getChallenge(id).verdict == IFaultVerifier.Verdict.NotGuilty);
        vm.assertEq(token.balanceOf(orchestrator), BOND);
        vm.assertEq(bonding.transcoderTotalStake(orchestrator), 1500 ether);
        // A lost challenge with poor evidence does not shield the job from one with good evidence.
        vm.assertTrue(slashing.getChallenge(_challengeEquivocation()).verdict == IFaultVerifier.Verdict.Guilty);
    }

    function test_RevertWhen_CallerIsNotSlashingManager() external {
        Receipt memory receipt = _receipt("a");
        vm.expectRevert(abi.encodeWithSelector(IFaultVerifier.CallerNotSlashingManager.selector, address(this)));
        equivocation.open(1, challenger, 0, receipt, 0, "");
    }

    function test_NothingIsLeftPending() external view {
        vm.assertTrue(equivocation.verdict(1) == IFaultVerifier.Verdict.Pending);
        vm.assertEq(address(equivocation.slashingManager()), address(ISlashingManager(address(slashing))));
    }

    function _judge(Receipt memory receipt, Receipt memory other) private returns (IFaultVerifier.Verdict) {
        return _judge(receipt, _evidence(other));
    }

    function _judge(Receipt memory receipt, bytes memory evidence) private returns (IFaultVerifier.Verdict) {
        bytes32 digest = slashing.receiptDigest(receipt);
        vm.prank(address(slashing));
        return equivocation.open(1, challenger, 0, receipt, digest, evidence);
    }

    function test_RevertWhen_TermsAskForAFee() external {
        ISlashingManager.Terms memory t = _equivocationTerms();
        t.fee = FEE;
        vm.prank(owner);
        slashing.setTerms(SERVICE, address(equivocation), t);
        Receipt memory receipt = _receipt("x");
        bytes memory evidence = _evidence(_receipt("y"));
        bytes memory sig = _signReceipt(receipt);
        _announce(challenger, address(equivocation), receipt, evidence);
        _expectError(abi.encodeWithSelector(EquivocationVerifier.FeeNotAccepted.selector, FEE));
        vm.prank(challenger);
        slashing.challenge(address(equivocation), receipt, sig, evidence, SALT);
    }
}
