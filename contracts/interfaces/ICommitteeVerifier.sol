// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IFaultVerifier} from "./IFaultVerifier.sol";

/// @title A drawn committee of staked members repeats the work and votes
/// @notice A member takes one seat with a fixed stake in LPT; more stake means more seats under more accounts, so the chance to be
/// drawn is proportional to stake. A challenge opens a case. Its life in blocks:
///
/// opened → `drawDelay` blocks later the hash of one block, fixed at opening, seeds the draw (`draw`, anybody) → `commitBlocks` for
/// sealed votes → `revealBlocks` to open them → `finalise` (anybody).
///
/// SEED. Who may sit was fixed before the seed existed: only seats taken before the case was opened and not given notice before
/// that; whoever gives notice afterwards stays drawable and bound. If nobody drew within the 256 blocks for which a hash can be
/// read, another block is fixed. What is left is the proposer of that one block, who can replace the hash once by giving up
/// the block and its reward. See docs/designs/004-slashing.md.
///
/// VOTE. Guilty or not guilty; undecided if the source could not be had. Votes are sealed as
/// keccak256(abi.encode(caseId, member, vote, salt)), so a vote cannot be copied. With fewer revealed votes than `quorum` the verdict is
/// undecided and the fee goes back; else it is guilty with two thirds of the revealed votes, not guilty with more than half,
/// undecided otherwise.
///
/// MONEY. Who does not reveal loses `noShowPenalty`; who votes against a guilty or not guilty verdict, `dissentPenalty`. Fee and
/// penalties are divided among those who voted for the verdict (all who revealed, if undecided), rounded down; what remains
/// goes to the challenger. A seat left with less than `seatStake` is given notice. This contract holds exactly the
/// stakes of all seats and the fees of undecided cases.
interface ICommitteeVerifier {
    /// @notice Applies to cases opened from now on.
    struct Rules {
        /// Blocks from opening to the block whose hash seeds the draw.
        uint32 drawDelay;
        /// Blocks for sealed votes, counted from the draw.
        uint32 commitBlocks;
        /// Blocks to open them.
        uint32 revealBlocks;
        /// Members drawn, at most `MAX_COMMITTEE`.
        uint8 size;
        /// Least revealed votes for a verdict.
        uint8 quorum;
        /// LPT wei.
        uint128 seatStake;
        uint128 noShowPenalty;
        uint128 dissentPenalty;
    }

    struct Seat {
        // slot 0
        address member;
        uint48 takenAt;
        /// Block of the notice, zero if none was given.
        uint48 noticeAt;
        // slot 1
        /// LPT wei.
        uint128 stake;
        /// Cases this seat is drawn for and that are not finalised.
        uint128 openCases;
    }

    /// @notice Ordered by time.
    enum Phase {
        None,
        Drawing,
        Voting,
        Decided
    }

    struct Case {
        // slot 0
        address challenger;
        Phase phase;
        IFaultVerifier.Verdict verdict;
        uint8 size;
        uint8 quorum;
        /// Seats there were at opening.
        uint32 seats;
        // slot 1
        address orchestrator;
        uint48 openedAt;
        uint48 drawBlock;
        // slot 2
        /// Last block for sealed votes, and for opened ones.
        uint48 commitEnd;
        uint48 revealEnd;
        uint32 commitBlocks;
        uint32 revealBlocks;
        uint32 drawDelay;
        // slot 3, 4
        /// LPT wei.
        uint128 fee;
        uint128 noShowPenalty;
        uint128 dissentPenalty;
        // slot 5
        bytes32 digest;
        /// Seats drawn.
        uint256[] committee;
    }

    event SeatTaken(uint256 indexed seat, address indexed member, uint256 stake);
    event NoticeGiven(uint256 indexed seat, address indexed member);
    event SeatLeft(uint256 indexed seat, address indexed member, uint256 stake);
    /// @notice A case began; `evidence` says where source and results can be fetched.
    event CaseOpened(uint256 indexed caseId, bytes32 indexed digest, uint256 drawBlock, bytes evidence);
    /// @notice More about where to find source and results.
    event EvidenceAdded(uint256 indexed caseId, address indexed from, bytes evidence);
    /// @notice Nobody drew in time: another block seeds the draw.
    event DrawPostponed(uint256 indexed caseId, uint256 drawBlock);
    event CommitteeDrawn(uint256 indexed caseId, address[] members, uint256 commitEnd, uint256 revealEnd);
    event VoteCommitted(uint256 indexed caseId, address indexed member);
    event VoteRevealed(uint256 indexed caseId, address indexed member, IFaultVerifier.Verdict vote);
    event CaseDecided(uint256 indexed caseId, IFaultVerifier.Verdict verdict, uint256 share, uint256 refund);
    event Penalised(uint256 indexed caseId, address indexed member, uint256 amount);

    /// @notice Thrown when rules contradict each other or exceed a bound.
    error InvalidRules();
    /// @notice Thrown when the caller has a seat.
    error AlreadySeated(address member);
    /// @notice Thrown when the caller has no seat.
    error NotSeated(address member);
    /// @notice Thrown when notice was given before.
    error NoticeAlreadyGiven(uint256 seat);
    /// @notice Thrown when the seat is bound until after `block_` (zero: no notice given) or by open cases.
    error SeatBound(uint256 seat, uint256 block_, uint256 openCases);
    /// @notice Thrown when a committee judges this receipt or has judged it.
    error AlreadyJudged(bytes32 digest);
    /// @notice Thrown when the case is not in the phase that the call needs.
    error WrongPhase(uint256 caseId, Phase phase);
    /// @notice Thrown when the call came before or after its time.
    error OutsideTime(uint256 caseId, uint256 fromBlock, uint256 toBlock);
    /// @notice Thrown when the caller is not in the committee.
    error NotInCommittee(uint256 caseId, address member);
    /// @notice Thrown when the caller has sealed a vote before.
    error AlreadyCommitted(uint256 caseId, address member);
    /// @notice Thrown when the sealed vote is empty.
    error EmptyCommitment();
    /// @notice Thrown when vote and salt do not open the sealed vote, or it was opened before.
    error InvalidReveal(uint256 caseId, address member);
    /// @notice Thrown when the vote is none of guilty, not guilty and undecided.
    error InvalidVote();

    /// @notice Take a seat. Pulls `seatStake` LPT wei out of the caller's allowance.
    function takeSeat() external;

    /// @notice Give notice: no draw of a case opened from the next block on takes this seat.
    function giveNotice() external;

    /// @notice Give the seat back and receive its stake: more than `noticeBlocks()` after notice, with no open case. Also while paused.
    function leaveSeat() external;

    /// @notice Say where source and results can be found, for a case that is not decided. Anybody: a challenger who does not
    /// want its case to succeed cannot keep the evidence away.
    function addEvidence(uint256 caseId, bytes calldata evidence) external;

    /// @notice Draw the committee, or fix another block if the seed cannot be read any more. Anybody.
    function draw(uint256 caseId) external;

    /// @notice Seal a vote.
    function commitVote(uint256 caseId, bytes32 commitment) external;

    /// @notice Open the caller's vote.
    function revealVote(uint256 caseId, IFaultVerifier.Verdict vote, bytes32 salt) external;

    /// @notice Count the votes and pay. Anybody, after the last block for votes.
    function finalise(uint256 caseId) external;

    /// @notice Replace the rules. Owner only.
    function setRules(Rules calldata newRules) external;

    /// @notice Rules of cases to come.
    function rules() external view returns (Rules memory);

    /// @notice What is known of a case; its id is that of the challenge.
    function getCase(uint256 caseId) external view returns (Case memory);

    /// @notice A seat; zeros if it is empty.
    function getSeat(uint256 seat) external view returns (Seat memory);

    /// @notice Seat of `member`, which are numbered from 1; zero if none.
    function seatOf(address member) external view returns (uint256);

    /// @notice Seats there are, empty ones included.
    function seatCount() external view returns (uint256);

    /// @notice LPT wei of all seats, and of the fees of undecided cases: all that this contract holds.
    function totalHeld() external view returns (uint256);

    /// @notice Blocks between notice and leaving: longer than a case can wait for its draw.
    function noticeBlocks() external view returns (uint256);

    /// @notice What a member seals.
    function voteCommitment(uint256 caseId, address member, IFaultVerifier.Verdict vote, bytes32 salt)
        external
        pure
        returns (bytes32);

    /// @notice Largest committee.
    function MAX_COMMITTEE() external view returns (uint256);
}
