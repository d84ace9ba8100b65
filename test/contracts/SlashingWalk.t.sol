// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ICommitteeVerifier} from "../../contracts/interfaces/ICommitteeVerifier.sol";
import {IFaultVerifier} from "../../contracts/interfaces/IFaultVerifier.sol";
import {ISlashingManager} from "../../contracts/interfaces/ISlashingManager.sol";
import {Receipt} from "../../contracts/types/Receipt.sol";
import {SlashingTest} from "./SlashingTest.sol";

/// @notice Random walks through challenges, seats, votes and time: after every step each contract holds exactly what it
/// accounts for, bonds are those of open challenges, and only a punishment destroys LPT.
contract SlashingWalkTest is SlashingTest {
    uint256 private constant _STAKE = 100 ether;
    uint256 private constant _MEMBERS = 8;
    uint256 private _punishments;
    mapping(bytes32 action => uint256) private _done;

    function setUp() public override {
        super.setUp();
        _endow(challenger, 100_000 ether);
        for (uint256 i = 0; i < _MEMBERS; ++i) {
            _endow(_member(i), 10_000 ether);
            vm.prank(_member(i));
            committee.takeSeat();
        }
        vm.roll(_block() + 1);
    }

    function testFuzz_BooksBalanceAllAlong(uint256 seed) external {
        for (uint256 i = 0; i < 12; ++i) {
            _step(uint256(keccak256(abi.encode(seed, i))));
        }
    }

    /// A long walk takes every action, so the short ones are not vacuous.
    function test_GivenLongWalk_EveryActionTookPart() external {
        for (uint256 i = 0; i < 400; ++i) {
            _step(uint256(keccak256(abi.encode("walk", i))));
        }
        string[8] memory actions =
            ["equivocation", "committee", "draw", "voted", "resolve", "expire", "takeSeat", "leaveSeat"];
        for (uint256 i = 0; i < actions.length; ++i) {
            vm.assertGe(_done[bytes32(bytes(actions[i]))], 3, actions[i]);
        }
        vm.assertGe(_punishments, 3);
    }

    function _step(uint256 d) private {
        uint256 supply = token.totalSupply();
        uint256 punishments = _punishments;
        uint256 action = d % 8;
        d >>= 8;
        if (action == 0) _equivocate(d);
        if (action == 1) _askCommittee(d);
        if (action == 2 || action == 3) _advanceCases(d);
        if (action == 4) _resolveAll();
        if (action == 5) _expireAll();
        if (action == 6) _moveSeat(d);
        if (action == 7) d % 4 == 0 ? _nextRounds(1 + d % 6) : vm.roll(_block() + d % 40);
        _assertBooks();
        if (_punishments == punishments) vm.assertEq(token.totalSupply(), supply);
        else vm.assertLe(token.totalSupply(), supply);
    }

    function _equivocate(uint256 d) private {
        (Receipt memory a, Receipt memory b) = (_fresh("a"), _fresh(d % 2 == 0 ? bytes32("a") : bytes32("b")));
        _keepRound();
        _countPunished(_challenge(challenger, address(equivocation), a, _evidence(b)));
        ++_done["equivocation"];
    }

    function _askCommittee(uint256) private {
        _keepRound();
        _challenge(challenger, address(committee), _fresh("a"), "");
        ++_done["committee"];
    }

    /// @dev Draws, or votes on and finalises, every case there is.
    function _advanceCases(uint256 d) private {
        for (uint256 id = 1; id <= slashing.challengeCount(); ++id) {
            ICommitteeVerifier.Case memory c = committee.getCase(id);
            if (c.phase == ICommitteeVerifier.Phase.Drawing && _block() > c.drawBlock) {
                committee.draw(id);
                ++_done["draw"];
            } else if (c.phase == ICommitteeVerifier.Phase.Voting) {
                _vote(id, c, uint256(keccak256(abi.encode(d, id))));
            }
        }
    }

    function _vote(uint256 id, ICommitteeVerifier.Case memory c, uint256 d) private {
        bool inTime = _block() <= c.commitEnd;
        for (uint256 i = 0; inTime && i < c.committee.length; ++i) {
            address member = committee.getSeat(c.committee[i]).member;
            bytes32 commitment = committee.voteCommitment(id, member, _voteOf(d, i), SALT);
            vm.prank(member);
            committee.commitVote(id, commitment);
        }
        if (inTime) vm.roll(uint256(c.commitEnd) + 1);
        for (uint256 i = 0; inTime && i < c.committee.length; ++i) {
            if (_voteOf(d, i) == IFaultVerifier.Verdict.Pending) continue;
            vm.prank(committee.getSeat(c.committee[i]).member);
            committee.revealVote(id, _voteOf(d, i), SALT);
        }
        if (_block() <= c.revealEnd) vm.roll(uint256(c.revealEnd) + 1);
        committee.finalise(id);
        ++_done["voted"];
    }

    function _resolveAll() private {
        for (uint256 id = 1; id <= slashing.challengeCount(); ++id) {
            if (!_isOpen(id) || committee.verdict(id) == IFaultVerifier.Verdict.Pending) continue;
            slashing.resolve(id);
            _countPunished(id);
            ++_done["resolve"];
        }
    }

    function _expireAll() private {
        for (uint256 id = 1; id <= slashing.challengeCount(); ++id) {
            if (!_isOpen(id)) continue;
            ISlashingManager.Challenge memory c = slashing.getChallenge(id);
            uint256 grace = committee.verdict(id) == IFaultVerifier.Verdict.Pending ? 0 : c.verdictWindow;
            if (rounds.currentRound() <= c.deadline + grace) continue;
            slashing.expire(id);
            ++_done["expire"];
        }
    }

    function _moveSeat(uint256 d) private {
        address member = _member(d % _MEMBERS);
        uint256 seat = committee.seatOf(member);
        if (seat == 0) {
            vm.prank(member);
            committee.takeSeat();
            ++_done["takeSeat"];
            return;
        }
        ICommitteeVerifier.Seat memory s = committee.getSeat(seat);
        if (s.noticeAt == 0) {
            vm.prank(member);
            committee.giveNotice();
        } else if (s.openCases == 0) {
            uint256 free = s.noticeAt + committee.noticeBlocks() + 1;
            if (_block() < free) vm.roll(free);
            vm.prank(member);
            committee.leaveSeat();
            ++_done["leaveSeat"];
        }
    }

    /// @dev Announcing takes a block: not the last one of the round, which must be initialised to be signed in.
    function _keepRound() private {
        if (!rounds.currentRoundInitialized()) rounds.initializeRound();
    }

    function _fresh(bytes32 result) private view returns (Receipt memory receipt) {
        receipt = _receipt(result);
        receipt.sequence = slashing.challengeCount() + 1000;
    }

    function _countPunished(uint256 id) private {
        ISlashingManager.Challenge memory c = slashing.getChallenge(id);
        if (c.verdict == IFaultVerifier.Verdict.Guilty) ++_punishments;
    }

    function _assertBooks() private view {
        uint256 bonds = 0;
        uint256 held = 0;
        for (uint256 id = 1; id <= slashing.challengeCount(); ++id) {
            if (_isOpen(id)) bonds += slashing.getChallenge(id).bond;
            ICommitteeVerifier.Case memory c = committee.getCase(id);
            if (c.phase != ICommitteeVerifier.Phase.Decided) held += c.fee;
        }
        for (uint256 i = 1; i <= committee.seatCount(); ++i) {
            held += committee.getSeat(i).stake;
        }
        vm.assertEq(slashing.totalBonds(), bonds, "bonds");
        vm.assertEq(token.balanceOf(address(slashing)), bonds, "bonds held");
        vm.assertEq(committee.totalHeld(), held, "stakes and fees");
        vm.assertEq(token.balanceOf(address(committee)), held, "stakes and fees held");
    }

    function _isOpen(uint256 id) private view returns (bool) {
        return slashing.getChallenge(id).status == ISlashingManager.Status.Open;
    }

    /// @dev Mostly of one mind; a few do not come.
    function _voteOf(uint256 d, uint256 i) private pure returns (IFaultVerifier.Verdict) {
        uint256 dice = (d >> (16 + i * 8)) % 8;
        if (dice == 0) return IFaultVerifier.Verdict.Pending;
        return dice == 1 ? IFaultVerifier.Verdict(1 + (d >> 200) % 3) : IFaultVerifier.Verdict(1 + d % 3);
    }

    function _member(uint256 i) private pure returns (address) {
        return vm.addr(7000 + i);
    }
}
