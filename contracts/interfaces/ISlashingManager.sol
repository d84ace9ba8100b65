// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Receipt} from "../types/Receipt.sol";
import {IFaultVerifier} from "./IFaultVerifier.sol";

/// @title Challenges of signed work, their bonds and what follows from a verdict (registered as "Verifier")
/// @notice Whoever holds a receipt signed by an orchestrator may challenge it: announce, one block later `challenge` with a bond.
/// The verifier of the challenger's choice, one of those registered for the receipt's service, judges at once or later; then
/// anybody may `resolve`.
///
/// GUILTY: the orchestrator's stake is slashed by BondingManager, a part of it pays the challenger, the rest is burned; the bond
/// goes back. NOT GUILTY: the bond goes to the orchestrator. UNDECIDED, or no verdict in time: the bond goes back.
///
/// BOUNTY. `bountyPpm` of all that was slashed, but at most half of what the orchestrator itself lost, stake and latest locks;
/// the rest is burned. Otherwise an orchestrator with little stake of its own could challenge itself and take its delegators' stake
/// as bounty.
///
/// A job (`ReceiptEncoding.jobId`) is punished at most once, up to the heaviest terms that found it guilty, by whatever verifier and over whichever of its receipts.
///
/// BONDS are LPT, like the stake they are set against: ETH lives in TicketBroker only, and a transfer of this token can
/// neither fail because of the receiver nor hand it control. This contract holds exactly the bonds of open challenges. It
/// needs the token's BURNER_ROLE, which lets it burn only what it holds.
///
/// @dev Warning: a receipt can be challenged for a number of rounds after the round that it names, and its signer names the
/// round. A broadcaster must refuse receipts that name another round than the present one.
interface ISlashingManager {
    /// @notice What a challenge before one verifier of one service costs, and what follows from it.
    struct Terms {
        /// Part of the stake that a fault costs, ppm. Zero: no challenge is taken.
        uint32 slashPpm;
        /// Part of what is slashed that goes to the challenger, ppm, at most `MAX_BOUNTY_PPM`.
        uint32 bountyPpm;
        /// Rounds after that of the receipt in which it can be challenged.
        uint32 challengeWindow;
        /// Rounds after that of the challenge in which the verifier must have decided.
        uint32 verdictWindow;
        /// Put up by the challenger, LPT wei.
        uint128 bond;
        /// Paid by the challenger to the verifier whatever the verdict, LPT wei.
        uint128 fee;
    }

    /// @notice `Expired` closed without a verdict.
    enum Status {
        None,
        Open,
        Resolved,
        Expired
    }

    struct Challenge {
        // slot 0
        address challenger;
        /// Last round in which the verifier may decide.
        uint64 deadline;
        Status status;
        IFaultVerifier.Verdict verdict;
        // slot 1
        address orchestrator;
        uint32 slashPpm;
        uint32 bountyPpm;
        uint32 verdictWindow;
        // slot 2
        address verifier;
        // slot 3
        /// LPT wei.
        uint128 bond;
        // slot 4
        /// `ReceiptEncoding.jobId` of the challenged receipt.
        bytes32 jobId;
    }

    /// @notice `challenger` bound itself to a challenge without showing it.
    event ChallengeAnnounced(address indexed challenger, bytes32 commitment);
    /// @notice A challenge began.
    event ChallengeOpened(
        uint256 indexed challengeId,
        address indexed orchestrator,
        address indexed challenger,
        address verifier,
        bytes32 service,
        bytes32 jobId,
        bytes32 digest,
        uint256 bond
    );
    /// @notice A challenge ended: `bondReceiver` got the bond, and the orchestrator was slashed if `punished`.
    event ChallengeResolved(
        uint256 indexed challengeId, IFaultVerifier.Verdict verdict, address bondReceiver, uint256 bond, bool punished
    );
    /// @notice The challenger got `bounty` LPT wei for a punishment; `burned` more than its limit were destroyed.
    event BountyPaid(uint256 indexed challengeId, address indexed challenger, uint256 bounty, uint256 burned);
    /// @notice A challenge ended without a verdict; the bond went back.
    event ChallengeExpired(uint256 indexed challengeId, uint256 bond);
    /// @notice New terms for challenges to come.
    event TermsUpdate(bytes32 indexed service, address indexed verifier, Terms terms);

    /// @notice Thrown when a part exceeds the whole or `bountyPpm` exceeds its maximum.
    error InvalidPart(uint256 slashPpm, uint256 bountyPpm);
    /// @notice Thrown when stake could be unbonded for too long to be slashed before a verdict on a fault is carried out.
    error WindowsTooLong(uint256 rounds, uint256 slashable);
    /// @notice Thrown when the same commitment was announced before.
    error AlreadyAnnounced(bytes32 commitment);
    /// @notice Thrown when the challenge was not announced in an earlier block.
    error NotAnnounced(bytes32 commitment);
    /// @notice Thrown when the verifier is not registered for the service.
    error NotAVerifier(bytes32 service, address verifier);
    /// @notice Thrown when no terms are set for this verifier and service.
    error NoTerms(bytes32 service, address verifier);
    /// @notice Thrown when the receipt is of a round to come or too old.
    error OutsideChallengeWindow(uint256 receiptRound, uint256 currentRound);
    /// @notice Thrown when the receipt is not signed by its orchestrator.
    error InvalidReceiptSignature(address orchestrator, address signer);
    /// @notice Thrown when the job was punished before, as heavily or more.
    error AlreadyPunished(bytes32 jobId);
    /// @notice Thrown when there is no such open challenge.
    error ChallengeNotOpen(uint256 challengeId);
    /// @notice Thrown when the verifier has not decided.
    error VerdictPending(uint256 challengeId);
    /// @notice Thrown when the challenge cannot expire yet.
    error NotExpired(uint256 challengeId);

    /// @notice Bind the caller to a challenge that it will open in a later block, so that nobody who sees the evidence on its way
    /// into a block can be first.
    /// @param commitment `challengeCommitment(...)` of the caller.
    function announce(bytes32 commitment) external;

    /// @notice Open an announced challenge. Pulls bond and fee out of the caller's LPT allowance.
    /// @param verifier One of those registered for the receipt's service.
    /// @param receipt The work.
    /// @param signature 65 bytes, by `receipt.orchestrator` over `receiptDigest(receipt)`.
    /// @param evidence What `verifier` asks for.
    /// @param salt Of the announcement.
    function challenge(
        address verifier,
        Receipt calldata receipt,
        bytes calldata signature,
        bytes calldata evidence,
        bytes32 salt
    ) external returns (uint256 challengeId);

    /// @notice Carry out the verifier's verdict. Anybody.
    function resolve(uint256 challengeId) external;

    /// @notice Close a challenge that the verifier left undecided for too long; the bond goes back. Anybody. A verdict that was
    /// reached can be carried out for another `verdictWindow`, and expires only after that.
    function expire(uint256 challengeId) external;

    /// @notice Set what challenges of `service` before `verifier` cost from now on. Owner only.
    /// @dev `challengeWindow + 2 * verdictWindow` must be less than BondingManager's `challengeWindow`, the rounds for which unbonded
    /// stake can be slashed: stake that was unbonded after a fault cannot run from the verdict.
    function setTerms(bytes32 service, address verifier, Terms calldata newTerms) external;

    /// @notice Terms of challenges of `service` before `verifier`; zeros if none.
    function terms(bytes32 service, address verifier) external view returns (Terms memory);

    /// @notice What is known of a challenge.
    function getChallenge(uint256 challengeId) external view returns (Challenge memory);

    /// @notice Challenges opened so far; their ids are 1, 2, ...
    function challengeCount() external view returns (uint256);

    /// @notice Bonds of open challenges, LPT wei; all that this contract holds.
    function totalBonds() external view returns (uint256);

    /// @notice Part of the stake, ppm, that was taken for the job so far; zero = not punished.
    function punishedPpm(bytes32 jobId) external view returns (uint256);

    /// @notice Block of an announcement that was not used yet, zero if there is none.
    function announcedAt(bytes32 commitment) external view returns (uint256);

    /// @notice What a challenger announces.
    function challengeCommitment(
        address challenger,
        address verifier,
        bytes32 digest,
        bytes calldata evidence,
        bytes32 salt
    ) external pure returns (bytes32);

    /// @notice EIP-712 digest that the orchestrator signs.
    function receiptDigest(Receipt calldata receipt) external view returns (bytes32);

    /// @notice EIP-712 domain: name "Streamflow", version "1", this chain, this contract.
    function domainSeparator() external view returns (bytes32);

    /// @notice Largest bounty, ppm of what is slashed and ppm of what the orchestrator itself lost.
    function MAX_BOUNTY_PPM() external view returns (uint256);
}
