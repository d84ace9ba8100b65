// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ICommitteeVerifier} from "../../contracts/interfaces/ICommitteeVerifier.sol";
import {IFaultVerifier} from "../../contracts/interfaces/IFaultVerifier.sol";
import {Receipt} from "../../contracts/types/Receipt.sol";
import {SlashingTest} from "./SlashingTest.sol";

contract CommitteeVerifierTest is SlashingTest {
    uint256 private constant _MEMBERS = 12;
    uint256 private constant _STAKE = 100 ether;
    IFaultVerifier.Verdict private constant _G = IFaultVerifier.Verdict.Guilty;
    IFaultVerifier.Verdict private constant _N = IFaultVerifier.Verdict.NotGuilty;
    IFaultVerifier.Verdict private constant _U = IFaultVerifier.Verdict.Undecided;
    /// @dev Does not vote.
    IFaultVerifier.Verdict private constant _X = IFaultVerifier.Verdict.Pending;

    function setUp() public override {
        super.setUp();
        for (uint256 i = 0; i < _MEMBERS; ++i) {
            _seat(_member(i));
        }
        vm.roll(_block() + 1);
    }

    // --- verdicts and money ---

    function test_WhenTwoThirdsSayGuilty_StakeIsSlashed() external {
        uint256 id = _drawn();
        address[] memory members = _committeeOf(id);
        _vote(id, [_G, _G, _G, _G, _N]);
        vm.assertTrue(committee.verdict(id) == IFaultVerifier.Verdict.Guilty);
        // The dissenter's 2 LPT and the fee of 3 LPT are shared by four.
        vm.assertEq(token.balanceOf(members[0]), 1.25 ether);
        vm.assertEq(token.balanceOf(members[4]), 0);
        vm.assertEq(committee.getSeat(committee.seatOf(members[4])).stake, _STAKE - 2 ether);
        uint256 before = token.balanceOf(challenger);
        slashing.resolve(id);
        vm.assertEq(bonding.transcoderTotalStake(orchestrator), 1350 ether);
        vm.assertEq(token.balanceOf(challenger), before + BOND + 15 ether);
        _assertBooks(0);
    }

    function test_WhenMoreThanHalfSayNotGuilty_ChallengerLosesBondAndFee() external {
        uint256 id = _drawn();
        uint256 before = token.balanceOf(challenger);
        _vote(id, [_N, _N, _N, _G, _U]);
        vm.assertTrue(committee.verdict(id) == IFaultVerifier.Verdict.NotGuilty);
        slashing.resolve(id);
        // 5 LPT shared by three leave two wei for the challenger.
        vm.assertEq(token.balanceOf(challenger), before + 2);
        vm.assertEq(token.balanceOf(orchestrator), BOND);
        vm.assertEq(bonding.transcoderTotalStake(orchestrator), 1500 ether);
        _assertBooks(0);
    }

    function test_WhenVotesAreSplit_NobodyLoses() external {
        uint256 before = token.balanceOf(challenger);
        uint256 id = _drawn();
        address[] memory members = _committeeOf(id);
        _vote(id, [_G, _G, _G, _N, _N]);
        vm.assertTrue(committee.verdict(id) == IFaultVerifier.Verdict.Undecided);
        slashing.resolve(id);
        vm.assertEq(token.balanceOf(members[4]), FEE / 5);
        vm.assertEq(token.balanceOf(challenger), before - FEE);
        _assertBooks(0);
    }

    function test_WhenQuorumIsMissed_NoShowsPayAndTheFeeGoesBack() external {
        uint256 before = token.balanceOf(challenger);
        uint256 id = _drawn();
        address[] memory members = _committeeOf(id);
        _vote(id, [_G, _G, _X, _X, _X]);
        vm.assertTrue(committee.verdict(id) == IFaultVerifier.Verdict.Undecided);
        vm.assertEq(token.balanceOf(members[0]), 10.5 ether);
        ICommitteeVerifier.Seat memory seat = committee.getSeat(committee.seatOf(members[4]));
        vm.assertEq(seat.stake, _STAKE - 7 ether);
        // Short of a full stake: not drawn any more.
        vm.assertGt(seat.noticeAt, 0);
        slashing.resolve(id);
        vm.assertEq(token.balanceOf(challenger), before);
        _assertBooks(0);
    }

    function test_WhenNobodyVotes_PenaltiesGoToTheChallenger() external {
        uint256 before = token.balanceOf(challenger);
        uint256 id = _drawn();
        _vote(id, [_X, _X, _X, _X, _X]);
        slashing.resolve(id);
        vm.assertEq(token.balanceOf(challenger), before + 35 ether);
        _assertBooks(0);
    }

    function test_GivenSealedButNotOpened_IsANoShow() external {
        uint256 id = _drawn();
        address[] memory members = _committeeOf(id);
        _commit(id, members[0], _G);
        vm.roll(committee.getCase(id).revealEnd + 1);
        committee.finalise(id);
        vm.assertEq(committee.getSeat(committee.seatOf(members[0])).stake, _STAKE - 7 ether);
    }

    function test_GivenTooFewSeats_UndecidedWithoutAVote() external {
        // All but two give notice in time.
        for (uint256 i = 2; i < _MEMBERS; ++i) {
            vm.prank(_member(i));
            committee.giveNotice();
        }
        vm.roll(_block() + 1);
        uint256 before = token.balanceOf(challenger);
        uint256 id = _drawn();
        vm.assertTrue(committee.verdict(id) == IFaultVerifier.Verdict.Undecided);
        vm.assertEq(committee.getSeat(1).openCases, 0);
        slashing.resolve(id);
        vm.assertEq(token.balanceOf(challenger), before);
        _assertBooks(0);
    }

    /// Any votes, any presence: every wei is where it belongs, seats are free again, and honest work loses nothing.
    function testFuzz_EveryOutcomeBalances(uint256 seed) external {
        uint256 supply = token.totalSupply();
        uint256 id = _drawn();
        IFaultVerifier.Verdict[5] memory votes;
        for (uint256 i = 0; i < 5; ++i) {
            votes[i] = IFaultVerifier.Verdict((seed >> (i * 8)) % 4);
        }
        _vote(id, votes);
        slashing.resolve(id);
        _assertBooks(0);
        for (uint256 i = 1; i <= _MEMBERS; ++i) {
            vm.assertEq(committee.getSeat(i).openCases, 0);
        }
        if (committee.verdict(id) != IFaultVerifier.Verdict.Guilty) {
            vm.assertEq(token.totalSupply(), supply);
            vm.assertEq(bonding.transcoderTotalStake(orchestrator), 1500 ether);
        }
    }

    // --- the draw ---

    function test_Draw_TakesDifferentSeatsAndNeitherParty() external {
        _endow(orchestrator, _STAKE);
        _seat(orchestrator);
        _seat(challenger);
        _endow(challenger, 1000 ether);
        vm.roll(_block() + 1);
        for (uint256 i = 0; i < 8; ++i) {
            address[] memory members = _committeeOf(_drawnWith(bytes32(i)));
            vm.assertEq(members.length, 5);
            for (uint256 j = 0; j < 5; ++j) {
                vm.assertTrue(members[j] != orchestrator && members[j] != challenger);
                for (uint256 k = 0; k < j; ++k) {
                    vm.assertTrue(members[j] != members[k]);
                }
            }
        }
    }

    /// Over many cases every seat is drawn about equally often.
    function test_Draw_IsEven() external {
        uint256[] memory drawn = new uint256[](_MEMBERS + 1);
        for (uint256 i = 0; i < 60; ++i) {
            ICommitteeVerifier.Case memory c = committee.getCase(_drawnWith(bytes32(i)));
            for (uint256 j = 0; j < 5; ++j) {
                ++drawn[c.committee[j]];
            }
        }
        // 60 · 5 / 12 = 25, standard deviation below 4.
        for (uint256 i = 1; i <= _MEMBERS; ++i) {
            vm.assertGe(drawn[i], 11);
            vm.assertLe(drawn[i], 39);
        }
    }

    /// Whoever comes or gives notice after the seed can be known changes nothing: the same committee is drawn.
    function test_Draw_IsFixedBeforeItsSeed() external {
        uint256 id = _challenge(challenger, address(committee), _receipt("a"), "");
        uint256 drawBlock = committee.getCase(id).drawBlock;
        vm.roll(drawBlock + 1);
        vm.setBlockhash(drawBlock, keccak256("seed"));
        address[] memory expected = _tryDraw(id);
        vm.assertEq(expected.length, 5);
        for (uint256 i = 0; i < 5; ++i) {
            vm.prank(expected[i]);
            committee.giveNotice();
            _seat(_member(100 + i));
        }
        vm.roll(_block() + 5);
        committee.draw(id);
        vm.assertEq(abi.encode(_committeeOf(id)), abi.encode(expected));
    }

    /// @dev The committee that a draw would give now; never returns.
    function drawAndRevert(uint256 id) external {
        committee.draw(id);
        revert(string(abi.encode(_committeeOf(id))));
    }

    function test_GivenNobodyDrewInTime_AnotherBlockIsFixed() external {
        uint256 id = _challenge(challenger, address(committee), _receipt("a"), "");
        uint256 drawBlock = committee.getCase(id).drawBlock;
        vm.roll(drawBlock + 257);
        vm.expectEmit(address(committee));
        emit ICommitteeVerifier.DrawPostponed(id, drawBlock + 257 + 2);
        committee.draw(id);
        vm.assertTrue(committee.getCase(id).phase == ICommitteeVerifier.Phase.Drawing);
        _draw(id);
        vm.assertEq(_committeeOf(id).length, 5);
    }

    function test_RevertWhen_DrawnTooEarlyOrTwice() external {
        uint256 id = _challenge(challenger, address(committee), _receipt("a"), "");
        uint256 drawBlock = committee.getCase(id).drawBlock;
        vm.roll(drawBlock);
        vm.expectRevert(
            abi.encodeWithSelector(ICommitteeVerifier.OutsideTime.selector, id, drawBlock + 1, type(uint256).max)
        );
        committee.draw(id);
        _draw(id);
        vm.expectRevert(
            abi.encodeWithSelector(ICommitteeVerifier.WrongPhase.selector, id, ICommitteeVerifier.Phase.Voting)
        );
        committee.draw(id);
    }

    // --- votes ---

    function test_RevertWhen_VoteComesOutsideItsTime() external {
        uint256 id = _drawn();
        address member = _committeeOf(id)[0];
        ICommitteeVerifier.Case memory c = committee.getCase(id);
        vm.startPrank(member);
        vm.expectRevert(_outside(id, c.commitEnd + 1, c.revealEnd));
        committee.revealVote(id, _G, SALT);
        vm.expectRevert(_outside(id, uint256(c.revealEnd) + 1, type(uint256).max));
        committee.finalise(id);
        vm.roll(c.commitEnd + 1);
        vm.expectRevert(_outside(id, 0, c.commitEnd));
        committee.commitVote(id, "x");
        vm.roll(c.revealEnd + 1);
        vm.expectRevert(_outside(id, c.commitEnd + 1, c.revealEnd));
        committee.revealVote(id, _G, SALT);
        vm.stopPrank();
    }

    function test_RevertWhen_VoterIsNotInTheCommittee() external {
        uint256 id = _drawn();
        vm.expectRevert(abi.encodeWithSelector(ICommitteeVerifier.NotInCommittee.selector, id, stranger));
        vm.prank(stranger);
        committee.commitVote(id, "x");
        vm.roll(committee.getCase(id).commitEnd + 1);
        vm.expectRevert(abi.encodeWithSelector(ICommitteeVerifier.NotInCommittee.selector, id, stranger));
        vm.prank(stranger);
        committee.revealVote(id, _G, SALT);
    }

    function test_RevertWhen_SealedTwiceOrEmpty() external {
        uint256 id = _drawn();
        address member = _committeeOf(id)[0];
        vm.startPrank(member);
        vm.expectRevert(ICommitteeVerifier.EmptyCommitment.selector);
        committee.commitVote(id, 0);
        committee.commitVote(id, "x");
        vm.expectRevert(abi.encodeWithSelector(ICommitteeVerifier.AlreadyCommitted.selector, id, member));
        committee.commitVote(id, "y");
        vm.stopPrank();
    }

    /// A sealed vote is bound to its member, so copying another's seal is of no use.
    function test_RevertWhen_RevealDoesNotOpenTheSeal() external {
        uint256 id = _drawn();
        address[] memory members = _committeeOf(id);
        _commit(id, members[0], _G);
        bytes32 copied = committee.voteCommitment(id, members[0], _G, SALT);
        vm.prank(members[1]);
        committee.commitVote(id, copied);
        vm.roll(committee.getCase(id).commitEnd + 1);
        vm.prank(members[1]);
        vm.expectRevert(abi.encodeWithSelector(ICommitteeVerifier.InvalidReveal.selector, id, members[1]));
        committee.revealVote(id, _G, SALT);
        vm.startPrank(members[0]);
        vm.expectRevert(abi.encodeWithSelector(ICommitteeVerifier.InvalidReveal.selector, id, members[0]));
        committee.revealVote(id, _N, SALT);
        vm.expectRevert(ICommitteeVerifier.InvalidVote.selector);
        committee.revealVote(id, _X, SALT);
        committee.revealVote(id, _G, SALT);
        vm.expectRevert(abi.encodeWithSelector(ICommitteeVerifier.InvalidReveal.selector, id, members[0]));
        committee.revealVote(id, _G, SALT);
        vm.stopPrank();
    }

    // --- cases ---

    function test_RevertWhen_ReceiptIsOrWasJudged() external {
        uint256 id = _drawn();
        _expectJudged();
        _vote(id, [_N, _N, _N, _N, _N]);
        slashing.resolve(id);
        _expectJudged();
    }

    function test_GivenUndecided_ReceiptCanBeChallengedAgain() external {
        uint256 id = _drawn();
        _vote(id, [_U, _U, _U, _G, _N]);
        slashing.resolve(id);
        id = _drawn();
        _vote(id, [_G, _G, _G, _G, _G]);
        slashing.resolve(id);
        vm.assertEq(bonding.transcoderTotalStake(orchestrator), 1350 ether);
    }

    function test_AddEvidence_AnybodyUntilDecided() external {
        uint256 id = _drawn();
        vm.expectEmit(address(committee));
        emit ICommitteeVerifier.EvidenceAdded(id, stranger, "ipfs://source");
        vm.prank(stranger);
        committee.addEvidence(id, "ipfs://source");
        _vote(id, [_G, _G, _G, _G, _G]);
        vm.expectRevert(
            abi.encodeWithSelector(ICommitteeVerifier.WrongPhase.selector, id, ICommitteeVerifier.Phase.Decided)
        );
        committee.addEvidence(id, "");
    }

    function test_RevertWhen_CaseIsNotOpenedBySlashingManager() external {
        Receipt memory receipt = _receipt("a");
        vm.expectRevert(abi.encodeWithSelector(IFaultVerifier.CallerNotSlashingManager.selector, address(this)));
        committee.open(1, challenger, 0, receipt, 0, "");
    }

    /// Members are paid and freed even if the challenge expired.
    function test_GivenChallengeExpired_CaseStillEnds() external {
        uint256 id = _drawn();
        _nextRounds(3);
        slashing.expire(id);
        committee.finalise(id);
        _assertBooks(0);
    }

    // --- seats ---

    function test_Seat_IsTakenLeftAndTakenAgain() external {
        uint256 seat = committee.seatOf(_member(3));
        vm.startPrank(_member(3));
        committee.giveNotice();
        uint256 boundUntil = _block() + committee.noticeBlocks();
        vm.roll(boundUntil);
        vm.expectRevert(abi.encodeWithSelector(ICommitteeVerifier.SeatBound.selector, seat, boundUntil, 0));
        committee.leaveSeat();
        vm.roll(boundUntil + 1);
        committee.leaveSeat();
        vm.stopPrank();
        vm.assertEq(token.balanceOf(_member(3)), _STAKE);
        vm.assertEq(committee.seatOf(_member(3)), 0);
        _seat(stranger);
        vm.assertEq(committee.seatOf(stranger), seat);
        vm.assertEq(committee.seatCount(), _MEMBERS);
        _assertBooks(0);
    }

    function test_RevertWhen_SeatIsLeftWithoutNoticeOrWithAnOpenCase() external {
        uint256 id = _drawn();
        address member = _committeeOf(id)[0];
        uint256 seat = committee.seatOf(member);
        vm.startPrank(member);
        vm.expectRevert(abi.encodeWithSelector(ICommitteeVerifier.SeatBound.selector, seat, 0, 1));
        committee.leaveSeat();
        committee.giveNotice();
        vm.expectRevert(abi.encodeWithSelector(ICommitteeVerifier.NoticeAlreadyGiven.selector, seat));
        committee.giveNotice();
        uint256 boundUntil = _block() + committee.noticeBlocks();
        vm.roll(boundUntil + 1);
        vm.expectRevert(abi.encodeWithSelector(ICommitteeVerifier.SeatBound.selector, seat, boundUntil, 1));
        committee.leaveSeat();
        committee.finalise(id);
        committee.leaveSeat();
        vm.stopPrank();
    }

    function test_GivenPaused_SeatCanBeLeft() external {
        vm.prank(_member(0));
        committee.giveNotice();
        vm.roll(_block() + committee.noticeBlocks() + 1);
        _pause();
        vm.prank(_member(0));
        committee.leaveSeat();
        vm.assertEq(token.balanceOf(_member(0)), _STAKE);
    }

    function test_RevertWhen_Paused() external {
        uint256 id = _challenge(challenger, address(committee), _receipt("a"), "");
        _pause();
        _expectPaused();
        committee.takeSeat();
        _expectPaused();
        committee.draw(id);
        _expectPaused();
        committee.finalise(id);
    }

    function test_RevertWhen_SeatedTwiceOrNotAtAll() external {
        vm.prank(_member(0));
        vm.expectRevert(abi.encodeWithSelector(ICommitteeVerifier.AlreadySeated.selector, _member(0)));
        committee.takeSeat();
        vm.startPrank(stranger);
        vm.expectRevert(abi.encodeWithSelector(ICommitteeVerifier.NotSeated.selector, stranger));
        committee.giveNotice();
        vm.expectRevert(abi.encodeWithSelector(ICommitteeVerifier.NotSeated.selector, stranger));
        committee.leaveSeat();
        vm.stopPrank();
    }

    // --- rules ---

    function test_SetRules_OpenCasesKeepTheirs() external {
        uint256 id = _challenge(challenger, address(committee), _receipt("a"), "");
        ICommitteeVerifier.Rules memory r = _rules();
        (r.size, r.quorum, r.noShowPenalty) = (1, 1, 0);
        vm.prank(owner);
        committee.setRules(r);
        vm.assertEq(abi.encode(committee.rules()), abi.encode(r));
        _draw(id);
        vm.assertEq(_committeeOf(id).length, 5);
    }

    function test_RevertWhen_RulesAreSetByAStranger() external {
        _expectNotOwner(stranger);
        vm.prank(stranger);
        committee.setRules(_rules());
    }

    function test_RevertWhen_RulesAreInvalid() external {
        for (uint256 i = 0; i < 9; ++i) {
            ICommitteeVerifier.Rules memory r = _rules();
            if (i == 0) r.drawDelay = 0;
            if (i == 1) r.drawDelay = 65;
            if (i == 2) r.commitBlocks = 0;
            if (i == 3) r.revealBlocks = 1_000_001;
            if (i == 4) (r.size, r.quorum) = (16, 9);
            if (i == 5) r.quorum = 6;
            if (i == 6) (r.size, r.quorum) = (4, 2);
            if (i == 7) r.seatStake = 0;
            if (i == 8) r.noShowPenalty = 100 ether + 1;
            vm.expectRevert(ICommitteeVerifier.InvalidRules.selector);
            vm.prank(owner);
            committee.setRules(r);
        }
    }

    // --- builders ---

    function _member(uint256 i) private pure returns (address) {
        return vm.addr(5000 + i);
    }

    function _seat(address account) private {
        _endow(account, _STAKE);
        vm.prank(account);
        committee.takeSeat();
    }

    function _drawn() private returns (uint256) {
        return _drawnWith("a");
    }

    function _drawnWith(bytes32 result) private returns (uint256 id) {
        id = _challenge(challenger, address(committee), _receipt(result), "");
        _draw(id);
    }

    function _draw(uint256 id) private {
        uint256 drawBlock = committee.getCase(id).drawBlock;
        vm.roll(drawBlock + 1);
        vm.setBlockhash(drawBlock, keccak256(abi.encode("block", id)));
        committee.draw(id);
    }

    function _tryDraw(uint256 id) private returns (address[] memory members) {
        try this.drawAndRevert(id) {}
        catch Error(string memory reason) {
            members = abi.decode(bytes(reason), (address[]));
        }
    }

    function _committeeOf(uint256 id) private view returns (address[] memory members) {
        uint256[] memory seats = committee.getCase(id).committee;
        members = new address[](seats.length);
        for (uint256 i = 0; i < seats.length; ++i) {
            members[i] = committee.getSeat(seats[i]).member;
        }
    }

    function _commit(uint256 id, address member, IFaultVerifier.Verdict vote) private {
        bytes32 commitment = committee.voteCommitment(id, member, vote, SALT);
        vm.prank(member);
        committee.commitVote(id, commitment);
    }

    function _vote(uint256 id, IFaultVerifier.Verdict[5] memory votes) private {
        address[] memory members = _committeeOf(id);
        for (uint256 i = 0; i < 5; ++i) {
            if (votes[i] != _X) _commit(id, members[i], votes[i]);
        }
        vm.roll(committee.getCase(id).commitEnd + 1);
        for (uint256 i = 0; i < 5; ++i) {
            if (votes[i] == _X) continue;
            vm.prank(members[i]);
            committee.revealVote(id, votes[i], SALT);
        }
        vm.roll(committee.getCase(id).revealEnd + 1);
        committee.finalise(id);
    }

    function _expectJudged() private {
        Receipt memory receipt = _receipt("a");
        bytes memory sig = _signReceipt(receipt);
        bytes32 digest = slashing.receiptDigest(receipt);
        _announce(challenger, address(committee), receipt, "");
        vm.expectRevert(abi.encodeWithSelector(ICommitteeVerifier.AlreadyJudged.selector, digest));
        vm.prank(challenger);
        slashing.challenge(address(committee), receipt, sig, "", SALT);
    }

    function _outside(uint256 id, uint256 from, uint256 to) private pure returns (bytes memory) {
        return abi.encodeWithSelector(ICommitteeVerifier.OutsideTime.selector, id, from, to);
    }

    /// @dev Both contracts hold exactly what they account for.
    function _assertBooks(uint256 openFees) private view {
        uint256 stakes = 0;
        for (uint256 i = 1; i <= committee.seatCount(); ++i) {
            stakes += committee.getSeat(i).stake;
        }
        vm.assertEq(committee.totalHeld(), stakes + openFees);
        vm.assertEq(token.balanceOf(address(committee)), stakes + openFees);
        vm.assertEq(token.balanceOf(address(slashing)), slashing.totalBonds());
    }
}
