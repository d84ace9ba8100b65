// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Managed} from "../Managed.sol";
import {ICommitteeVerifier} from "../interfaces/ICommitteeVerifier.sol";
import {IController} from "../interfaces/IController.sol";
import {IFaultVerifier} from "../interfaces/IFaultVerifier.sol";
import {ILivepeerToken} from "../interfaces/ILivepeerToken.sol";
import {ISlashingManager} from "../interfaces/ISlashingManager.sol";
import {Receipt} from "../types/Receipt.sol";

/// @title A drawn committee of staked members repeats the work and votes, see {ICommitteeVerifier}
contract CommitteeVerifier is ICommitteeVerifier, IFaultVerifier, Managed {
    using SafeERC20 for ILivepeerToken;
    using SafeCast for uint256;

    struct Ballot {
        bytes32 commitment;
        /// `Pending` until revealed.
        Verdict vote;
        bool drawn;
    }

    /// @inheritdoc ICommitteeVerifier
    uint256 public constant MAX_COMMITTEE = 15;

    /// @dev Blocks for which a hash can be read.
    uint256 private constant _HASH_BLOCKS = 256;
    uint256 private constant _MAX_DRAW_DELAY = 64;
    uint256 private constant _MAX_PHASE_BLOCKS = 1_000_000;
    /// @dev Draws per seat of the committee before it stays smaller: empty and excluded seats are drawn in vain.
    uint256 private constant _TRIES_PER_MEMBER = 16;

    /// @notice Asks for verdicts.
    ISlashingManager public immutable slashingManager;
    /// @notice Stakes and fees.
    ILivepeerToken public immutable livepeerToken;

    /// @inheritdoc ICommitteeVerifier
    uint256 public seatCount;
    /// @inheritdoc ICommitteeVerifier
    uint256 public totalHeld;
    /// @inheritdoc ICommitteeVerifier
    mapping(address member => uint256) public seatOf;

    Rules private _rules;
    uint256[] private _emptySeats;
    mapping(uint256 seat => Seat) private _seats;
    mapping(uint256 caseId => Case) private _cases;
    mapping(uint256 caseId => mapping(uint256 seat => Ballot)) private _ballots;
    /// @dev Latest case over a receipt.
    mapping(bytes32 digest => uint256) private _caseOf;

    constructor(IController controller_, ISlashingManager slashingManager_, ILivepeerToken livepeerToken_)
        Managed(controller_)
    {
        slashingManager = slashingManager_;
        livepeerToken = livepeerToken_;
    }

    /// @notice Sets the rules. Once, by the proxy's constructor.
    function initialize(Rules calldata rules_) external initializer {
        _setRules(rules_);
    }

    /// @inheritdoc ICommitteeVerifier
    function takeSeat() external whenNotPaused {
        require(seatOf[msg.sender] == 0, AlreadySeated(msg.sender));
        uint128 stake = _rules.seatStake;
        uint256 seat = _emptySeat();
        seatOf[msg.sender] = seat;
        _seats[seat] =
            Seat({member: msg.sender, takenAt: block.number.toUint48(), noticeAt: 0, stake: stake, openCases: 0});
        totalHeld += stake;
        emit SeatTaken(seat, msg.sender, stake);
        livepeerToken.safeTransferFrom(msg.sender, address(this), stake);
    }

    /// @inheritdoc ICommitteeVerifier
    function giveNotice() external {
        uint256 seat = _requireSeated();
        require(_seats[seat].noticeAt == 0, NoticeAlreadyGiven(seat));
        _giveNotice(seat);
    }

    /// @inheritdoc ICommitteeVerifier
    function leaveSeat() external {
        uint256 seat = _requireSeated();
        Seat memory s = _seats[seat];
        uint256 boundUntil = s.noticeAt == 0 ? 0 : s.noticeAt + noticeBlocks();
        require(
            s.noticeAt != 0 && block.number > boundUntil && s.openCases == 0, SeatBound(seat, boundUntil, s.openCases)
        );
        delete seatOf[msg.sender];
        delete _seats[seat];
        _emptySeats.push(seat);
        totalHeld -= s.stake;
        emit SeatLeft(seat, msg.sender, s.stake);
        livepeerToken.safeTransfer(msg.sender, s.stake);
    }

    /// @inheritdoc IFaultVerifier
    function open(
        uint256 challengeId,
        address challenger,
        uint256 fee,
        Receipt calldata receipt,
        bytes32 digest,
        bytes calldata evidence
    ) external returns (Verdict) {
        require(msg.sender == address(slashingManager), CallerNotSlashingManager(msg.sender));
        uint256 earlier = _caseOf[digest];
        require(earlier == 0 || _cases[earlier].verdict == Verdict.Undecided, AlreadyJudged(digest));
        _caseOf[digest] = challengeId;
        totalHeld += fee;
        Case storage c = _cases[challengeId];
        Rules memory r = _rules;
        (c.challenger, c.orchestrator, c.digest, c.phase) = (challenger, receipt.orchestrator, digest, Phase.Drawing);
        (c.size, c.quorum, c.fee) = (r.size, r.quorum, fee.toUint128());
        (c.noShowPenalty, c.dissentPenalty) = (r.noShowPenalty, r.dissentPenalty);
        (c.drawDelay, c.commitBlocks, c.revealBlocks) = (r.drawDelay, r.commitBlocks, r.revealBlocks);
        _fixDrawBlock(c);
        emit CaseOpened(challengeId, digest, c.drawBlock, evidence);
        return Verdict.Pending;
    }

    /// @inheritdoc ICommitteeVerifier
    function addEvidence(uint256 caseId, bytes calldata evidence) external {
        Phase phase = _cases[caseId].phase;
        require(phase == Phase.Drawing || phase == Phase.Voting, WrongPhase(caseId, phase));
        emit EvidenceAdded(caseId, msg.sender, evidence);
    }

    /// @inheritdoc ICommitteeVerifier
    function draw(uint256 caseId) external whenNotPaused {
        Case storage c = _requirePhase(caseId, Phase.Drawing);
        require(block.number > c.drawBlock, OutsideTime(caseId, c.drawBlock + 1, type(uint256).max));
        bytes32 blockHash = blockhash(c.drawBlock);
        if (blockHash == bytes32(0)) {
            _fixDrawBlock(c);
            emit DrawPostponed(caseId, c.drawBlock);
            return;
        }
        c.phase = Phase.Voting;
        c.commitEnd = (block.number + c.commitBlocks).toUint48();
        c.revealEnd = c.commitEnd + c.revealBlocks;
        _seatCommittee(caseId, c, keccak256(abi.encode(blockHash, address(this), caseId)));
    }

    /// @inheritdoc ICommitteeVerifier
    function commitVote(uint256 caseId, bytes32 commitment) external {
        Case storage c = _requirePhase(caseId, Phase.Voting);
        require(block.number <= c.commitEnd, OutsideTime(caseId, 0, c.commitEnd));
        require(commitment != bytes32(0), EmptyCommitment());
        Ballot storage ballot = _requireBallot(caseId);
        require(ballot.commitment == bytes32(0), AlreadyCommitted(caseId, msg.sender));
        ballot.commitment = commitment;
        emit VoteCommitted(caseId, msg.sender);
    }

    /// @inheritdoc ICommitteeVerifier
    function revealVote(uint256 caseId, Verdict vote, bytes32 salt) external {
        Case storage c = _requirePhase(caseId, Phase.Voting);
        require(
            block.number > c.commitEnd && block.number <= c.revealEnd,
            OutsideTime(caseId, uint256(c.commitEnd) + 1, c.revealEnd)
        );
        require(vote != Verdict.Pending, InvalidVote());
        Ballot storage ballot = _requireBallot(caseId);
        require(
            ballot.vote == Verdict.Pending && ballot.commitment == voteCommitment(caseId, msg.sender, vote, salt),
            InvalidReveal(caseId, msg.sender)
        );
        ballot.vote = vote;
        emit VoteRevealed(caseId, msg.sender, vote);
    }

    /// @inheritdoc ICommitteeVerifier
    function finalise(uint256 caseId) external whenNotPaused {
        Case storage c = _requirePhase(caseId, Phase.Voting);
        require(block.number > c.revealEnd, OutsideTime(caseId, uint256(c.revealEnd) + 1, type(uint256).max));
        (Verdict result, uint256 revealed) = _count(caseId, c);
        c.phase = Phase.Decided;
        c.verdict = result;
        bool decided = result != Verdict.Undecided;
        uint256 penalties = _penalise(caseId, c, decided ? result : Verdict.Pending);
        totalHeld -= c.fee + penalties;
        // Without a quorum the fee was not earned.
        uint256 pot = penalties + (revealed >= c.quorum ? c.fee : 0);
        _pay(caseId, c, pot, c.fee + penalties);
    }

    /// @inheritdoc ICommitteeVerifier
    function setRules(Rules calldata newRules) external onlyOwner {
        _setRules(newRules);
    }

    /// @inheritdoc ICommitteeVerifier
    function rules() external view returns (Rules memory) {
        return _rules;
    }

    /// @inheritdoc ICommitteeVerifier
    function getCase(uint256 caseId) external view returns (Case memory) {
        return _cases[caseId];
    }

    /// @inheritdoc ICommitteeVerifier
    function getSeat(uint256 seat) external view returns (Seat memory) {
        return _seats[seat];
    }

    /// @inheritdoc IFaultVerifier
    function verdict(uint256 challengeId) external view returns (Verdict) {
        return _cases[challengeId].verdict;
    }

    /// @inheritdoc ICommitteeVerifier
    function noticeBlocks() public pure returns (uint256) {
        return _MAX_DRAW_DELAY + _HASH_BLOCKS;
    }

    /// @inheritdoc ICommitteeVerifier
    function voteCommitment(uint256 caseId, address member, Verdict vote, bytes32 salt) public pure returns (bytes32) {
        return keccak256(abi.encode(caseId, member, vote, salt));
    }

    function _setRules(Rules memory r) private {
        bool blocksValid = r.drawDelay > 0 && r.drawDelay <= _MAX_DRAW_DELAY && r.commitBlocks > 0
            && r.commitBlocks <= _MAX_PHASE_BLOCKS && r.revealBlocks > 0 && r.revealBlocks <= _MAX_PHASE_BLOCKS;
        // More than half must speak, so that no small part of a committee decides.
        bool sizesValid = r.size <= MAX_COMMITTEE && r.quorum <= r.size && 2 * uint256(r.quorum) > r.size;
        bool amountsValid = r.seatStake > 0 && r.noShowPenalty <= r.seatStake && r.dissentPenalty <= r.seatStake;
        require(blocksValid && sizesValid && amountsValid, InvalidRules());
        _rules = r;
        emit ParameterUpdate("rules");
    }

    function _giveNotice(uint256 seat) private {
        _seats[seat].noticeAt = block.number.toUint48();
        emit NoticeGiven(seat, _seats[seat].member);
    }

    function _emptySeat() private returns (uint256 seat) {
        uint256 empty = _emptySeats.length;
        if (empty == 0) return ++seatCount;
        seat = _emptySeats[empty - 1];
        _emptySeats.pop();
    }

    /// @dev Fixes everything that the draw depends on, before its seed exists.
    function _fixDrawBlock(Case storage c) private {
        c.seats = seatCount.toUint32();
        c.openedAt = block.number.toUint48();
        c.drawBlock = (block.number + c.drawDelay).toUint48();
    }

    function _seatCommittee(uint256 caseId, Case storage c, bytes32 seed) private {
        (uint256 seats, uint256 size) = (c.seats, c.size);
        uint256 tries = seats == 0 ? 0 : size * _TRIES_PER_MEMBER;
        for (uint256 i = 0; i < tries && c.committee.length < size; ++i) {
            // The bias of the remainder is below seats / 2^256.
            uint256 seat = 1 + uint256(keccak256(abi.encode(seed, i))) % seats;
            if (_isEligible(_seats[seat], c) && !_ballots[caseId][seat].drawn) {
                _ballots[caseId][seat].drawn = true;
                c.committee.push(seat);
            }
        }
        if (c.committee.length < c.quorum) _dismiss(caseId, c);
        else _callCommittee(caseId, c);
    }

    function _callCommittee(uint256 caseId, Case storage c) private {
        address[] memory members = new address[](c.committee.length);
        for (uint256 i = 0; i < members.length; ++i) {
            Seat storage s = _seats[c.committee[i]];
            ++s.openCases;
            members[i] = s.member;
        }
        emit CommitteeDrawn(caseId, members, c.commitEnd, c.revealEnd);
    }

    /// @dev Too few seats: undecided without a vote.
    function _dismiss(uint256 caseId, Case storage c) private {
        delete c.committee;
        c.phase = Phase.Decided;
        c.verdict = Verdict.Undecided;
        totalHeld -= c.fee;
        _pay(caseId, c, 0, c.fee);
    }

    /// @dev Takes what members lose out of their stakes and frees their seats. Who did not vote for `result` dissented, unless
    /// undecided; a pending `result` has no dissenters.
    function _penalise(uint256 caseId, Case storage c, Verdict result) private returns (uint256 total) {
        uint256 seatStake = _rules.seatStake;
        for (uint256 i = 0; i < c.committee.length; ++i) {
            uint256 seat = c.committee[i];
            Seat storage s = _seats[seat];
            --s.openCases;
            Verdict vote = _ballots[caseId][seat].vote;
            uint256 penalty = vote == Verdict.Pending
                ? c.noShowPenalty
                : result == Verdict.Pending || vote == Verdict.Undecided || vote == result ? 0 : c.dissentPenalty;
            if (penalty > s.stake) penalty = s.stake;
            if (penalty == 0) continue;
            s.stake -= penalty.toUint128();
            total += penalty;
            emit Penalised(caseId, s.member, penalty);
            if (s.stake < seatStake && s.noticeAt == 0) _giveNotice(seat);
        }
    }

    /// @dev Divides `pot` among the members who earned it, rounded down, and sends the challenger the rest of `total`.
    function _pay(uint256 caseId, Case storage c, uint256 pot, uint256 total) private {
        address[] memory payees = new address[](c.committee.length);
        uint256 count = 0;
        for (uint256 i = 0; i < payees.length; ++i) {
            Verdict vote = _ballots[caseId][c.committee[i]].vote;
            bool earned = c.verdict == Verdict.Undecided ? vote != Verdict.Pending : vote == c.verdict;
            if (earned) payees[count++] = _seats[c.committee[i]].member;
        }
        uint256 share = count == 0 ? 0 : pot / count;
        uint256 refund = total - share * count;
        emit CaseDecided(caseId, c.verdict, share, refund);
        if (share > 0) {
            for (uint256 i = 0; i < count; ++i) {
                livepeerToken.safeTransfer(payees[i], share);
            }
        }
        if (refund > 0) livepeerToken.safeTransfer(c.challenger, refund);
    }

    function _count(uint256 caseId, Case storage c) private view returns (Verdict result, uint256 revealed) {
        uint256 guilty = 0;
        uint256 notGuilty = 0;
        for (uint256 i = 0; i < c.committee.length; ++i) {
            Verdict vote = _ballots[caseId][c.committee[i]].vote;
            if (vote != Verdict.Pending) ++revealed;
            if (vote == Verdict.Guilty) ++guilty;
            if (vote == Verdict.NotGuilty) ++notGuilty;
        }
        if (revealed < c.quorum) return (Verdict.Undecided, revealed);
        if (guilty * 3 >= revealed * 2) return (Verdict.Guilty, revealed);
        return (notGuilty * 2 > revealed ? Verdict.NotGuilty : Verdict.Undecided, revealed);
    }

    /// @dev Depends only on what was so when the case was opened: the seat was taken before, no notice was given before.
    function _isEligible(Seat storage s, Case storage c) private view returns (bool) {
        (address member, uint256 takenAt, uint256 noticeAt) = (s.member, s.takenAt, s.noticeAt);
        return member != address(0) && member != c.orchestrator && member != c.challenger && takenAt < c.openedAt
            && (noticeAt == 0 || noticeAt >= c.openedAt);
    }

    function _requireSeated() private view returns (uint256 seat) {
        seat = seatOf[msg.sender];
        require(seat != 0, NotSeated(msg.sender));
    }

    function _requirePhase(uint256 caseId, Phase phase) private view returns (Case storage c) {
        c = _cases[caseId];
        require(c.phase == phase, WrongPhase(caseId, c.phase));
    }

    function _requireBallot(uint256 caseId) private view returns (Ballot storage ballot) {
        ballot = _ballots[caseId][seatOf[msg.sender]];
        require(ballot.drawn, NotInCommittee(caseId, msg.sender));
    }
}
