// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Managed} from "./Managed.sol";
import {IBondingManager} from "./interfaces/IBondingManager.sol";
import {IController} from "./interfaces/IController.sol";
import {IFaultVerifier} from "./interfaces/IFaultVerifier.sol";
import {ILivepeerToken} from "./interfaces/ILivepeerToken.sol";
import {IRoundsManager} from "./interfaces/IRoundsManager.sol";
import {IServiceRegistry} from "./interfaces/IServiceRegistry.sol";
import {ISlashingManager} from "./interfaces/ISlashingManager.sol";
import {Ppm} from "./libraries/Ppm.sol";
import {Receipt} from "./types/Receipt.sol";

/// @title Challenges, bonds and punishments, see {ISlashingManager}
contract SlashingManager is ISlashingManager, Managed, EIP712 {
    using SafeERC20 for ILivepeerToken;

    /// @inheritdoc ISlashingManager
    uint256 public constant MAX_BOUNTY_PPM = 500_000;

    uint256 private constant _MAX_OWN_LOCKS = 16;

    /// @notice Bonds and fees are in this token.
    ILivepeerToken public immutable livepeerToken;
    /// @notice Holds the stake and slashes it.
    IBondingManager public immutable bondingManager;
    /// @notice Clock.
    IRoundsManager public immutable roundsManager;
    /// @notice Knows which verifiers may judge a service.
    IServiceRegistry public immutable serviceRegistry;

    /// @inheritdoc ISlashingManager
    uint256 public challengeCount;
    /// @inheritdoc ISlashingManager
    uint256 public totalBonds;
    /// @inheritdoc ISlashingManager
    mapping(bytes32 jobId => uint256) public punishedPpm;
    /// @inheritdoc ISlashingManager
    mapping(bytes32 commitment => uint256) public announcedAt;

    mapping(bytes32 service => mapping(address verifier => Terms)) private _terms;
    mapping(uint256 challengeId => Challenge) private _challenges;

    constructor(
        IController controller_,
        ILivepeerToken livepeerToken_,
        IBondingManager bondingManager_,
        IRoundsManager roundsManager_,
        IServiceRegistry serviceRegistry_
    ) Managed(controller_) EIP712("Streamflow", "1") {
        livepeerToken = livepeerToken_;
        bondingManager = bondingManager_;
        roundsManager = roundsManager_;
        serviceRegistry = serviceRegistry_;
    }

    /// @notice Sets nothing, and that for ever. Once, by the proxy's constructor.
    function initialize() external initializer {}

    /// @inheritdoc ISlashingManager
    function announce(bytes32 commitment) external whenNotPaused {
        require(announcedAt[commitment] == 0, AlreadyAnnounced(commitment));
        announcedAt[commitment] = block.number;
        emit ChallengeAnnounced(msg.sender, commitment);
    }

    /// @inheritdoc ISlashingManager
    function challenge(
        address verifier,
        Receipt calldata receipt,
        bytes calldata signature,
        bytes calldata evidence,
        bytes32 salt
    ) external whenNotPaused returns (uint256 challengeId) {
        Terms memory t = _requireChallengeable(verifier, receipt);
        bytes32 digest = receiptDigest(receipt);
        _requireSigned(receipt.orchestrator, digest, signature);
        _useAnnouncement(challengeCommitment(msg.sender, verifier, digest, evidence, salt));
        challengeId = _open(verifier, receipt, digest, t);
        livepeerToken.safeTransferFrom(msg.sender, address(this), t.bond);
        if (t.fee > 0) livepeerToken.safeTransferFrom(msg.sender, verifier, t.fee);
        IFaultVerifier.Verdict verdict =
            IFaultVerifier(verifier).open(challengeId, msg.sender, t.fee, receipt, digest, evidence);
        if (verdict != IFaultVerifier.Verdict.Pending) _close(challengeId, verdict);
    }

    /// @inheritdoc ISlashingManager
    function resolve(uint256 challengeId) external whenNotPaused {
        Challenge storage c = _requireOpen(challengeId);
        IFaultVerifier.Verdict verdict = IFaultVerifier(c.verifier).verdict(challengeId);
        require(verdict != IFaultVerifier.Verdict.Pending, VerdictPending(challengeId));
        _close(challengeId, verdict);
    }

    /// @inheritdoc ISlashingManager
    function expire(uint256 challengeId) external whenNotPaused {
        Challenge storage c = _requireOpen(challengeId);
        uint256 round = roundsManager.currentRound();
        require(round > c.deadline, NotExpired(challengeId));
        // Past the second window the verifier is not asked, so that a broken one cannot keep the bond here.
        if (round <= uint256(c.deadline) + c.verdictWindow) {
            require(
                IFaultVerifier(c.verifier).verdict(challengeId) == IFaultVerifier.Verdict.Pending,
                NotExpired(challengeId)
            );
        }
        c.status = Status.Expired;
        uint256 bond = c.bond;
        totalBonds -= bond;
        emit ChallengeExpired(challengeId, bond);
        livepeerToken.safeTransfer(c.challenger, bond);
    }

    /// @inheritdoc ISlashingManager
    function setTerms(bytes32 service, address verifier, Terms calldata newTerms) external onlyOwner {
        require(
            Ppm.isValid(newTerms.slashPpm) && newTerms.bountyPpm <= MAX_BOUNTY_PPM,
            InvalidPart(newTerms.slashPpm, newTerms.bountyPpm)
        );
        uint256 rounds = uint256(newTerms.challengeWindow) + 2 * uint256(newTerms.verdictWindow);
        uint256 slashable = bondingManager.challengeWindow();
        require(rounds < slashable, WindowsTooLong(rounds, slashable));
        _terms[service][verifier] = newTerms;
        emit TermsUpdate(service, verifier, newTerms);
    }

    /// @inheritdoc ISlashingManager
    function terms(bytes32 service, address verifier) external view returns (Terms memory) {
        return _terms[service][verifier];
    }

    /// @inheritdoc ISlashingManager
    function getChallenge(uint256 challengeId) external view returns (Challenge memory) {
        return _challenges[challengeId];
    }

    /// @inheritdoc ISlashingManager
    function domainSeparator() external view returns (bytes32) {
        return _domainSeparatorV4();
    }

    /// @inheritdoc ISlashingManager
    function receiptDigest(Receipt calldata receipt) public view returns (bytes32) {
        return _hashTypedDataV4(receipt.structHash());
    }

    /// @inheritdoc ISlashingManager
    function challengeCommitment(
        address challenger,
        address verifier,
        bytes32 digest,
        bytes calldata evidence,
        bytes32 salt
    ) public pure returns (bytes32) {
        return keccak256(abi.encode(challenger, verifier, digest, keccak256(evidence), salt));
    }

    function _open(address verifier, Receipt calldata receipt, bytes32 digest, Terms memory t)
        private
        returns (uint256 challengeId)
    {
        challengeId = ++challengeCount;
        totalBonds += t.bond;
        bytes32 jobId = receipt.jobId();
        _challenges[challengeId] = Challenge({
            challenger: msg.sender,
            // forge-lint: disable-next-line(unsafe-typecast) rounds count blocks
            deadline: uint64(roundsManager.currentRound() + t.verdictWindow),
            status: Status.Open,
            verdict: IFaultVerifier.Verdict.Pending,
            orchestrator: receipt.orchestrator,
            slashPpm: t.slashPpm,
            bountyPpm: t.bountyPpm,
            verdictWindow: t.verdictWindow,
            verifier: verifier,
            bond: t.bond,
            jobId: jobId
        });
        emit ChallengeOpened(
            challengeId, receipt.orchestrator, msg.sender, verifier, receipt.service, jobId, digest, t.bond
        );
    }

    /// @dev State first, then the bond, then the stake.
    function _close(uint256 challengeId, IFaultVerifier.Verdict verdict) private {
        Challenge storage c = _requireOpen(challengeId);
        c.status = Status.Resolved;
        c.verdict = verdict;
        uint256 slashPpm = verdict == IFaultVerifier.Verdict.Guilty ? _outstandingPpm(c.jobId, c.slashPpm) : 0;
        bool punish = slashPpm > 0;
        if (punish) punishedPpm[c.jobId] = c.slashPpm;
        uint256 bond = c.bond;
        totalBonds -= bond;
        address receiver = verdict == IFaultVerifier.Verdict.NotGuilty ? c.orchestrator : c.challenger;
        emit ChallengeResolved(challengeId, verdict, receiver, bond, punish);
        livepeerToken.safeTransfer(receiver, bond);
        if (punish) _punish(challengeId, c.orchestrator, c.challenger, slashPpm, c.bountyPpm);
    }

    /// @dev The bounty comes here first, because only afterwards it is known what the orchestrator lost of its own.
    function _punish(uint256 challengeId, address orchestrator, address challenger, uint256 slashPpm, uint256 bountyPpm)
        private
    {
        uint256 held = livepeerToken.balanceOf(address(this));
        uint256 worth = _ownWorth(orchestrator);
        bondingManager.slashTranscoder(orchestrator, address(this), slashPpm, bountyPpm);
        uint256 received = livepeerToken.balanceOf(address(this)) - held;
        uint256 left = _ownWorth(orchestrator);
        uint256 limit = worth > left ? Ppm.part(worth - left, MAX_BOUNTY_PPM) : 0;
        uint256 bounty = received < limit ? received : limit;
        emit BountyPaid(challengeId, challenger, bounty, received - bounty);
        if (bounty > 0) livepeerToken.safeTransfer(challenger, bounty);
        if (received > bounty) livepeerToken.burn(received - bounty);
    }

    function _useAnnouncement(bytes32 commitment) private {
        uint256 announced = announcedAt[commitment];
        require(announced != 0 && announced < block.number, NotAnnounced(commitment));
        delete announcedAt[commitment];
    }

    /// @dev Own stake and latest own locks. More locks than that only make the bounty smaller.
    function _ownWorth(address orchestrator) private view returns (uint256 worth) {
        worth = bondingManager.pendingStake(orchestrator, 0);
        (,,,,,, uint256 lockId) = bondingManager.getDelegator(orchestrator);
        for (uint256 i = 0; i < _MAX_OWN_LOCKS && lockId > 0; ++i) {
            (uint256 amount,) = bondingManager.getDelegatorUnbondingLock(orchestrator, --lockId);
            worth += amount;
        }
    }

    function _requireChallengeable(address verifier, Receipt calldata receipt) private view returns (Terms memory t) {
        t = _terms[receipt.service][verifier];
        require(t.slashPpm > 0, NoTerms(receipt.service, verifier));
        require(serviceRegistry.isVerifier(receipt.service, verifier), NotAVerifier(receipt.service, verifier));
        uint256 round = roundsManager.currentRound();
        require(
            receipt.round <= round && round - receipt.round <= t.challengeWindow,
            OutsideChallengeWindow(receipt.round, round)
        );
        bytes32 jobId = receipt.jobId();
        require(t.slashPpm > punishedPpm[jobId], AlreadyPunished(jobId));
    }

    /// @dev What is to be taken of what is left, so that `slashPpm` in all are taken for the job; rounded down.
    function _outstandingPpm(bytes32 jobId, uint256 slashPpm) private view returns (uint256) {
        uint256 taken = punishedPpm[jobId];
        return slashPpm > taken ? ((slashPpm - taken) * Ppm.ONE) / (Ppm.ONE - taken) : 0;
    }

    function _requireOpen(uint256 challengeId) private view returns (Challenge storage c) {
        c = _challenges[challengeId];
        require(c.status == Status.Open, ChallengeNotOpen(challengeId));
    }

    function _requireSigned(address orchestrator, bytes32 digest, bytes calldata signature) private pure {
        (address signer, ECDSA.RecoverError err,) = ECDSA.tryRecoverCalldata(digest, signature);
        require(
            err == ECDSA.RecoverError.NoError && signer == orchestrator, InvalidReceiptSignature(orchestrator, signer)
        );
    }
}
