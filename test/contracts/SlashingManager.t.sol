// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IFaultVerifier} from "../../contracts/interfaces/IFaultVerifier.sol";
import {ISlashingManager} from "../../contracts/interfaces/ISlashingManager.sol";
import {Receipt} from "../../contracts/types/Receipt.sol";
import {SlashingTest} from "./SlashingTest.sol";

/// @notice Says what it is told to.
contract ToldVerifier is IFaultVerifier {
    IFaultVerifier.Verdict public atOnce;
    IFaultVerifier.Verdict public later;
    bool public broken;

    function tell(IFaultVerifier.Verdict atOnce_, IFaultVerifier.Verdict later_, bool broken_) external {
        (atOnce, later, broken) = (atOnce_, later_, broken_);
    }

    function open(uint256, address, uint256, Receipt calldata, bytes32, bytes calldata)
        external
        view
        returns (IFaultVerifier.Verdict)
    {
        return atOnce;
    }

    function verdict(uint256) external view returns (IFaultVerifier.Verdict) {
        require(!broken);
        return later;
    }
}

contract SlashingManagerTest is SlashingTest {
    ToldVerifier private _told;

    function setUp() public override {
        super.setUp();
        _told = new ToldVerifier();
        address[] memory verifiers = new address[](3);
        (verifiers[0], verifiers[1], verifiers[2]) = (address(equivocation), address(committee), address(_told));
        vm.startPrank(owner);
        registry.registerService(SERVICE, verifiers, "");
        ISlashingManager.Terms memory terms = _committeeTerms();
        terms.fee = 0;
        slashing.setTerms(SERVICE, address(_told), terms);
        vm.stopPrank();
    }

    // --- verdicts ---

    function test_WhenGuilty_StakeIsSlashedBountyPaidBondReturned() external {
        uint256 supply = token.totalSupply();
        uint256 before = token.balanceOf(challenger);
        uint256 id = _challengeEquivocation();
        // 20 % of 1000 and of 500 LPT; a tenth of it is the bounty, less than half of the orchestrator's own loss.
        vm.assertEq(bonding.transcoderTotalStake(orchestrator), 1200 ether);
        vm.assertApproxEqAbs(bonding.pendingStake(orchestrator, 0), 800 ether, 1e3);
        vm.assertApproxEqAbs(bonding.pendingStake(delegator, 0), 400 ether, 1e3);
        vm.assertEq(token.balanceOf(challenger), before + 30 ether);
        vm.assertEq(token.totalSupply(), supply - 270 ether);
        vm.assertFalse(bonding.isActiveTranscoder(orchestrator));
        ISlashingManager.Challenge memory c = slashing.getChallenge(id);
        vm.assertTrue(c.status == ISlashingManager.Status.Resolved && c.verdict == IFaultVerifier.Verdict.Guilty);
        vm.assertEq(slashing.punishedPpm(c.jobId), c.slashPpm);
        _assertHolds(0);
    }

    function test_WhenNotGuilty_BondGoesToTheOrchestrator() external {
        uint256 id = _open(IFaultVerifier.Verdict.Pending, IFaultVerifier.Verdict.NotGuilty, "a");
        _assertHolds(BOND);
        vm.expectEmit(address(slashing));
        emit ISlashingManager.ChallengeResolved(id, IFaultVerifier.Verdict.NotGuilty, orchestrator, BOND, false);
        slashing.resolve(id);
        vm.assertEq(token.balanceOf(orchestrator), BOND);
        vm.assertEq(bonding.transcoderTotalStake(orchestrator), 1500 ether);
        _assertHolds(0);
    }

    function test_WhenUndecided_BondGoesBack() external {
        uint256 before = token.balanceOf(challenger);
        slashing.resolve(_open(IFaultVerifier.Verdict.Pending, IFaultVerifier.Verdict.Undecided, "a"));
        vm.assertEq(token.balanceOf(challenger), before);
        vm.assertEq(bonding.transcoderTotalStake(orchestrator), 1500 ether);
        _assertHolds(0);
    }

    function test_RevertWhen_VerdictIsPending() external {
        uint256 id = _open(IFaultVerifier.Verdict.Pending, IFaultVerifier.Verdict.Pending, "a");
        vm.expectRevert(abi.encodeWithSelector(ISlashingManager.VerdictPending.selector, id));
        slashing.resolve(id);
    }

    function test_Invariant29_RevertWhen_ResolvedTwice() external {
        uint256 id = _open(IFaultVerifier.Verdict.Pending, IFaultVerifier.Verdict.Guilty, "a");
        slashing.resolve(id);
        vm.expectRevert(abi.encodeWithSelector(ISlashingManager.ChallengeNotOpen.selector, id));
        slashing.resolve(id);
        vm.expectRevert(abi.encodeWithSelector(ISlashingManager.ChallengeNotOpen.selector, id + 1));
        slashing.resolve(id + 1);
    }

    // --- one punishment per fault ---

    function test_Invariant31_RevertWhen_JobWasPunished() external {
        uint256 id = _challengeEquivocation();
        Receipt memory receipt = _receipt("c");
        bytes memory sig = _signReceipt(receipt);
        _announce(challenger, address(committee), receipt, "");
        vm.expectRevert(
            abi.encodeWithSelector(ISlashingManager.AlreadyPunished.selector, slashing.getChallenge(id).jobId)
        );
        vm.prank(challenger);
        slashing.challenge(address(committee), receipt, sig, "", SALT);
    }

    function test_Invariant31_GivenTwoChallengesOfOneJob_OnlyOnePunishes() external {
        uint256 first = _open(IFaultVerifier.Verdict.Pending, IFaultVerifier.Verdict.Guilty, "a");
        uint256 second = _open(IFaultVerifier.Verdict.Pending, IFaultVerifier.Verdict.Guilty, "b");
        slashing.resolve(second);
        uint256 stake = bonding.transcoderTotalStake(orchestrator);
        vm.assertEq(stake, 1350 ether);
        uint256 before = token.balanceOf(challenger);
        slashing.resolve(first);
        vm.assertEq(bonding.transcoderTotalStake(orchestrator), stake);
        vm.assertEq(token.balanceOf(challenger), before + BOND);
        _assertHolds(0);
    }

    /// Who confesses to a lighter fault of the job is not spared the heavier verdict: in all the heavier part is taken.
    function test_GivenLighterPunishmentOfTheJob_TheHeavierTakesTheRest() external {
        ISlashingManager.Terms memory light = _equivocationTerms();
        (light.slashPpm, light.bountyPpm) = (10_000, 500_000);
        vm.prank(owner);
        slashing.setTerms(SERVICE, address(equivocation), light);
        uint256 id = _open(IFaultVerifier.Verdict.Pending, IFaultVerifier.Verdict.Guilty, "bad result");
        uint256 heavy = slashing.getChallenge(id).slashPpm;
        uint256 stake = bonding.transcoderTotalStake(orchestrator);
        _endow(orchestrator, 100 ether);
        _challenge(orchestrator, address(equivocation), _receipt("x"), _evidence(_receipt("y")));
        vm.assertEq(bonding.transcoderTotalStake(orchestrator), stake - stake / 100);
        slashing.resolve(id);
        vm.assertEq(slashing.punishedPpm(slashing.getChallenge(id).jobId), heavy);
        uint256 kept = stake - (stake * heavy) / 1_000_000;
        vm.assertGe(bonding.transcoderTotalStake(orchestrator), kept, "rounded down");
        vm.assertLe(bonding.transcoderTotalStake(orchestrator), kept + stake / 1_000_000);
    }

    // --- no profit, no escape ---

    /// An orchestrator with little of its own challenges itself: its delegators lose, but it does not gain.
    function test_SelfChallenge_CannotTakeTheDelegatorsStake() external {
        uint256 key = 0x5E1F;
        address self = vm.addr(key);
        _register(self, 10 ether, 0, 0);
        address whale = _account("whale");
        _bond(whale, 90_000 ether, self);
        _bond(_account("leaver"), 90_000 ether, self);
        _nextRound();
        vm.prank(_account("leaver"));
        bonding.unbond(90_000 ether);
        _endow(self, BOND);
        (Receipt memory a, Receipt memory b) = (_receipt("a"), _receipt("b"));
        (a.orchestrator, b.orchestrator) = (self, self);
        bytes memory evidence = abi.encode(b, _signReceipt(key, b));
        _announce(self, address(equivocation), a, evidence);
        bytes memory sig = _signReceipt(key, a);
        uint256 supply = token.totalSupply();
        vm.prank(self);
        slashing.challenge(address(equivocation), a, sig, evidence, SALT);
        // It lost 2 LPT of its own 10 and gets one of them.
        vm.assertApproxEqAbs(token.balanceOf(self), BOND + 1 ether, 1e3);
        vm.assertApproxEqAbs(bonding.pendingStake(self, 0), 8 ether, 1e3);
        vm.assertApproxEqAbs(supply - token.totalSupply(), 36_001 ether, 1e4);
        _assertHolds(0);
    }

    function test_GivenUnbondedAfterTheFault_StakeIsSlashedAndTheBountyPaid() external {
        (Receipt memory a, Receipt memory b) = (_receipt("a"), _receipt("b"));
        vm.prank(orchestrator);
        bonding.unbond(1000 ether);
        _nextRounds(2);
        uint256 before = token.balanceOf(challenger);
        _challenge(challenger, address(equivocation), a, _evidence(b));
        (uint256 left,) = bonding.getDelegatorUnbondingLock(orchestrator, 0);
        vm.assertEq(left, 800 ether);
        vm.assertEq(token.balanceOf(challenger), before + 30 ether);
        _assertHolds(0);
    }

    function test_GivenNothingToSlash_BondStillGoesBack() external {
        uint256 key = 0xBAD;
        (Receipt memory a, Receipt memory b) = (_receipt("a"), _receipt("b"));
        (a.orchestrator, b.orchestrator) = (vm.addr(key), vm.addr(key));
        bytes memory evidence = abi.encode(b, _signReceipt(key, b));
        _announce(challenger, address(equivocation), a, evidence);
        bytes memory sig = _signReceipt(key, a);
        uint256 before = token.balanceOf(challenger);
        vm.prank(challenger);
        slashing.challenge(address(equivocation), a, sig, evidence, SALT);
        vm.assertEq(token.balanceOf(challenger), before);
        _assertHolds(0);
    }

    /// Who sees the challenge on its way into a block cannot be first.
    function test_RevertWhen_ChallengeWasNotAnnouncedInAnEarlierBlock() external {
        (Receipt memory receipt, bytes memory evidence) = (_receipt("a"), _evidence(_receipt("b")));
        bytes memory sig = _signReceipt(receipt);
        _announce(challenger, address(equivocation), receipt, evidence);
        _endow(stranger, BOND);
        bytes32 copy = slashing.challengeCommitment(
            stranger, address(equivocation), slashing.receiptDigest(receipt), evidence, SALT
        );
        vm.startPrank(stranger);
        vm.expectRevert(abi.encodeWithSelector(ISlashingManager.NotAnnounced.selector, copy));
        slashing.challenge(address(equivocation), receipt, sig, evidence, SALT);
        slashing.announce(copy);
        vm.expectRevert(abi.encodeWithSelector(ISlashingManager.NotAnnounced.selector, copy));
        slashing.challenge(address(equivocation), receipt, sig, evidence, SALT);
        vm.expectRevert(abi.encodeWithSelector(ISlashingManager.AlreadyAnnounced.selector, copy));
        slashing.announce(copy);
        vm.stopPrank();
        vm.prank(challenger);
        slashing.challenge(address(equivocation), receipt, sig, evidence, SALT);
    }

    // --- windows ---

    function test_GivenLastRoundOfTheWindow_ChallengeIsTaken() external {
        (Receipt memory receipt, bytes memory evidence) = (_receipt("a"), _evidence(_receipt("b")));
        _nextRounds(2);
        _challenge(challenger, address(equivocation), receipt, evidence);
        vm.assertGt(slashing.punishedPpm(slashing.getChallenge(1).jobId), 0);
    }

    function test_RevertWhen_OutsideTheWindow() external {
        (Receipt memory old, bytes memory evidence) = (_receipt("a"), _evidence(_receipt("b")));
        _nextRounds(3);
        uint256 round = rounds.currentRound();
        Receipt memory future = _receipt("a");
        future.round = round + 1;
        _expectRefusal(
            address(equivocation),
            old,
            evidence,
            abi.encodeWithSelector(ISlashingManager.OutsideChallengeWindow.selector, old.round, round)
        );
        _expectRefusal(
            address(equivocation),
            future,
            evidence,
            abi.encodeWithSelector(ISlashingManager.OutsideChallengeWindow.selector, round + 1, round)
        );
    }

    function test_GivenNoVerdictInTime_BondGoesBack() external {
        uint256 before = token.balanceOf(challenger);
        uint256 id = _open(IFaultVerifier.Verdict.Pending, IFaultVerifier.Verdict.Pending, "a");
        _nextRounds(2);
        vm.expectRevert(abi.encodeWithSelector(ISlashingManager.NotExpired.selector, id));
        slashing.expire(id);
        _nextRound();
        vm.expectEmit(address(slashing));
        emit ISlashingManager.ChallengeExpired(id, BOND);
        slashing.expire(id);
        vm.assertEq(token.balanceOf(challenger), before);
        vm.expectRevert(abi.encodeWithSelector(ISlashingManager.ChallengeNotOpen.selector, id));
        slashing.expire(id);
        _assertHolds(0);
    }

    function test_GivenVerdict_ExpiresOnlyAfterASecondWindow() external {
        uint256 id = _open(IFaultVerifier.Verdict.Pending, IFaultVerifier.Verdict.Guilty, "a");
        _nextRounds(4);
        vm.expectRevert(abi.encodeWithSelector(ISlashingManager.NotExpired.selector, id));
        slashing.expire(id);
        _nextRound();
        slashing.expire(id);
        vm.expectRevert(abi.encodeWithSelector(ISlashingManager.ChallengeNotOpen.selector, id));
        slashing.resolve(id);
        _assertHolds(0);
    }

    function test_GivenBrokenVerifier_BondIsNotTrapped() external {
        uint256 id = _open(IFaultVerifier.Verdict.Pending, IFaultVerifier.Verdict.Pending, "a");
        _told.tell(IFaultVerifier.Verdict.Pending, IFaultVerifier.Verdict.Pending, true);
        _nextRounds(5);
        slashing.expire(id);
        _assertHolds(0);
    }

    // --- what is not taken ---

    function test_RevertWhen_ReceiptIsNotSignedByTheOrchestrator() external {
        Receipt memory receipt = _receipt("a");
        _announce(challenger, address(equivocation), receipt, "");
        bytes memory sig = _signReceipt(SENDER_KEY, receipt);
        vm.startPrank(challenger);
        vm.expectRevert(abi.encodeWithSelector(ISlashingManager.InvalidReceiptSignature.selector, orchestrator, sender));
        slashing.challenge(address(equivocation), receipt, sig, "", SALT);
        vm.expectRevert(
            abi.encodeWithSelector(ISlashingManager.InvalidReceiptSignature.selector, orchestrator, address(0))
        );
        slashing.challenge(address(equivocation), receipt, "short", "", SALT);
        vm.stopPrank();
    }

    function test_RevertWhen_NoTermsAreSet() external {
        Receipt memory receipt = _receipt("a");
        receipt.service = "other";
        _expectRefusal(
            address(equivocation),
            receipt,
            "",
            abi.encodeWithSelector(ISlashingManager.NoTerms.selector, bytes32("other"), address(equivocation))
        );
    }

    /// A service without verifiers is never slashable, whatever terms were set for it before.
    function test_RevertWhen_VerifierIsNotRegistered() external {
        vm.prank(owner);
        registry.registerService(SERVICE, new address[](0), "");
        _expectRefusal(
            address(equivocation),
            _receipt("a"),
            "",
            abi.encodeWithSelector(ISlashingManager.NotAVerifier.selector, SERVICE, address(equivocation))
        );
    }

    function test_RevertWhen_Paused() external {
        uint256 id = _open(IFaultVerifier.Verdict.Pending, IFaultVerifier.Verdict.Guilty, "a");
        _pause();
        _expectPaused();
        slashing.announce("x");
        _expectPaused();
        slashing.resolve(id);
        _expectPaused();
        slashing.expire(id);
        _expectRefusal(address(equivocation), _receipt("a"), "", abi.encodeWithSignature("SystemPaused()"));
    }

    // --- terms ---

    function test_SetTerms_Reports() external {
        ISlashingManager.Terms memory terms = _committeeTerms();
        terms.slashPpm = 1_000_000;
        vm.expectEmit(address(slashing));
        emit ISlashingManager.TermsUpdate("x", stranger, terms);
        vm.prank(owner);
        slashing.setTerms("x", stranger, terms);
        vm.assertEq(abi.encode(slashing.terms("x", stranger)), abi.encode(terms));
    }

    function test_RevertWhen_TermsAreSetByAStranger() external {
        _expectNotOwner(stranger);
        vm.prank(stranger);
        slashing.setTerms(SERVICE, address(_told), _committeeTerms());
    }

    function test_RevertWhen_PartsAreTooLarge() external {
        ISlashingManager.Terms memory terms = _committeeTerms();
        vm.startPrank(owner);
        terms.slashPpm = 1_000_001;
        vm.expectRevert(abi.encodeWithSelector(ISlashingManager.InvalidPart.selector, 1_000_001, 100_000));
        slashing.setTerms(SERVICE, address(_told), terms);
        (terms.slashPpm, terms.bountyPpm) = (1, 500_001);
        vm.expectRevert(abi.encodeWithSelector(ISlashingManager.InvalidPart.selector, 1, 500_001));
        slashing.setTerms(SERVICE, address(_told), terms);
        vm.stopPrank();
    }

    function test_Invariant30_RevertWhen_UnbondedStakeCouldEscape() external {
        ISlashingManager.Terms memory terms = _committeeTerms();
        terms.challengeWindow = 3;
        vm.expectRevert(abi.encodeWithSelector(ISlashingManager.WindowsTooLong.selector, 7, 7));
        vm.prank(owner);
        slashing.setTerms(SERVICE, address(_told), terms);
    }

    function test_GivenNewTerms_OpenChallengesKeepTheirs() external {
        uint256 id = _open(IFaultVerifier.Verdict.Pending, IFaultVerifier.Verdict.Guilty, "a");
        ISlashingManager.Terms memory terms = _committeeTerms();
        (terms.slashPpm, terms.bond) = (900_000, 1);
        vm.prank(owner);
        slashing.setTerms(SERVICE, address(_told), terms);
        slashing.resolve(id);
        vm.assertEq(bonding.transcoderTotalStake(orchestrator), 1350 ether);
    }

    // --- money ---

    /// Bonds held are those of open challenges, whatever happens to them, and no LPT is made.
    function testFuzz_Invariant29_HoldsExactlyOpenBonds(uint256 seed) external {
        uint256 open = 0;
        uint256[] memory ids = new uint256[](6);
        for (uint256 i = 0; i < 6; ++i) {
            uint256 d = uint256(keccak256(abi.encode(seed, i)));
            uint128 bond = uint128(d % 20 ether);
            ISlashingManager.Terms memory terms = _committeeTerms();
            (terms.bond, terms.fee, terms.slashPpm) = (bond, 0, uint32(1 + (d >> 128) % 1_000_000));
            vm.prank(owner);
            slashing.setTerms(SERVICE, address(_told), terms);
            ids[i] = _open(IFaultVerifier.Verdict(d >> 250 & 3), IFaultVerifier.Verdict.Pending, bytes32(i));
            if (slashing.getChallenge(ids[i]).status == ISlashingManager.Status.Open) open += bond;
            _assertHolds(open);
        }
        uint256 supply = token.totalSupply();
        for (uint256 i = 0; i < 6; ++i) {
            ISlashingManager.Challenge memory c = slashing.getChallenge(ids[i]);
            if (c.status != ISlashingManager.Status.Open) continue;
            _told.tell(IFaultVerifier.Verdict.Pending, IFaultVerifier.Verdict(1 + (seed >> i) % 3), false);
            slashing.resolve(ids[i]);
            open -= c.bond;
            _assertHolds(open);
        }
        vm.assertLe(token.totalSupply(), supply);
    }

    function _assertHolds(uint256 bonds) private view {
        vm.assertEq(slashing.totalBonds(), bonds);
        vm.assertEq(token.balanceOf(address(slashing)), bonds);
    }

    function _open(IFaultVerifier.Verdict atOnce, IFaultVerifier.Verdict later, bytes32 result)
        private
        returns (uint256)
    {
        _told.tell(atOnce, later, false);
        Receipt memory receipt = _receipt(result);
        // Of one job, all of them.
        return slashing.punishedPpm(receipt.jobId()) > 0
            ? _openOther(receipt)
            : _challenge(challenger, address(_told), receipt, "");
    }

    function _openOther(Receipt memory receipt) private returns (uint256) {
        receipt.sequence = slashing.challengeCount() + 100;
        return _challenge(challenger, address(_told), receipt, "");
    }

    function _expectRefusal(address verifier, Receipt memory receipt, bytes memory evidence, bytes memory err) private {
        bytes memory sig = _signReceipt(receipt);
        vm.expectRevert(err);
        vm.prank(challenger);
        slashing.challenge(verifier, receipt, sig, evidence, SALT);
    }
}
