// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Managed} from "./Managed.sol";
import {OverspendProof} from "./OverspendProof.sol";
import {IPenaltyClause} from "./interfaces/IPenaltyClause.sol";
import {IRoundsManager} from "./interfaces/IRoundsManager.sol";
import {ITicketBroker} from "./interfaces/ITicketBroker.sol";
import {Ppm} from "./libraries/Ppm.sol";
import {Account} from "./types/Account.sol";
import {OrderedTicket} from "./types/OrderedTicket.sol";

/// @title The part of TicketBroker that makes overspending dear, see {IPenaltyClause}
/// @dev Has no storage of its own: what it keeps lies behind the broker's other variables.
abstract contract PenaltyClause is IPenaltyClause, Managed {
    using SafeCast for uint256;

    struct Clause {
        /// Wei.
        uint96 limit; // slot 0
        /// Ppm; zero = there never was a clause.
        uint32 burnShare; // slot 0
        /// Zero = no notice given.
        uint64 endRound; // slot 0
        /// `ticketValidityPeriod` when the clause was set: a longer one must not bring back tickets that the sender counts no more.
        uint64 window; // slot 0
        /// Wei of the reserve to be burned.
        uint96 penalty; // slot 1
        /// Zero = nothing is to be burned.
        uint64 burnRound; // slot 1
    }

    /// Where forfeits go: an address that nobody has the key of.
    address internal constant _BURN_ADDRESS = 0x000000000000000000000000000000000000dEaD;
    /// Greatest part of a reserve that can be forfeited, ppm.
    uint256 private constant _MAX_BURN_SHARE = Ppm.ONE / 2;
    /// How many of the greatest face values make up the limit. The chance that an honest sender is punished in a validity
    /// period is below exp(-0.386 * this).
    uint256 private constant _FACE_VALUES_PER_LIMIT = 100;

    /// @notice Adds up the tickets of a proof.
    OverspendProof public immutable overspendProof;

    constructor(OverspendProof overspendProof_) {
        overspendProof = overspendProof_;
    }

    /// @inheritdoc IPenaltyClause
    function resignPenaltyClause() external whenNotPaused {
        uint256 round = _clock().currentRound();
        Clause storage clause = _clausesTable()[msg.sender];
        require(_isInForce(clause, round), NoPenaltyClause(msg.sender));
        require(clause.endRound == 0, PenaltyClauseEnding(clause.endRound));
        (uint256 unlockPeriod,) = _periods();
        uint256 endRound = round + unlockPeriod;
        clause.endRound = endRound.toUint64();
        emit PenaltyClauseResigned(msg.sender, endRound);
    }

    /// @inheritdoc IPenaltyClause
    function proveOverspend(ProofGroup[] calldata groups, OrderedTicket[] calldata tickets, address sender)
        external
        whenNotPaused
    {
        IRoundsManager clock = _clock();
        uint256 round = clock.currentRound();
        Clause storage clause = _clausesTable()[sender];
        require(_isInForce(clause, round), NoPenaltyClause(sender));
        require(!_accountsTable()[sender].isUnlocked(round), ITicketBroker.SenderUnlocked(sender));
        (, uint256 validity) = _periods();
        (uint256 owed, uint256 lastRound) = overspendProof.owedBy(
            OverspendProof.Scope(sender, round, _window(clause, validity), _maxFaceValue(clause), clock),
            groups,
            tickets
        );
        _record(sender, owed, lastRound + validity);
    }

    /// @inheritdoc IPenaltyClause
    function burnRecordedPenalty(address sender) external whenNotPaused {
        require(_clausesTable()[sender].burnRound > 0, NoPenalty(sender));
        mapping(address sender => Account) storage accounts = _accountsTable();
        Account account = accounts[sender];
        uint256 amount = _takePenalty(sender, account.reserve(), _clock().currentRound());
        if (amount == 0) return;
        accounts[sender] = account.spend(0, amount);
        // Existing nodes keep count of a reserve by these events, and would go on counting on what is gone.
        emit ITicketBroker.ReserveClaimed(sender, _BURN_ADDRESS, amount);
        _send(_BURN_ADDRESS, amount);
    }

    /// @inheritdoc IPenaltyClause
    function penaltyTermsOf(address sender) external view returns (PenaltyTerms memory) {
        Clause storage clause = _clausesTable()[sender];
        (, uint256 validity) = _periods();
        return PenaltyTerms({
            burnShare: clause.burnShare,
            limit: clause.limit,
            maxFaceValue: _maxFaceValue(clause),
            window: _window(clause, validity),
            endRound: clause.endRound,
            penalty: clause.penalty,
            burnRound: clause.burnRound
        });
    }

    /// @dev Binds the caller. A forfeit of an earlier clause stays as it is.
    function _setPenaltyClause(uint256 burnShare, uint256 limit) internal {
        require(burnShare > 0 && burnShare <= _MAX_BURN_SHARE, InvalidBurnShare(burnShare));
        Account account = _accountsTable()[msg.sender];
        uint256 funds = account.deposit() + account.reserve();
        require(limit >= _FACE_VALUES_PER_LIMIT && limit <= funds, InvalidSpendingLimit(limit, funds));
        Clause storage clause = _clausesTable()[msg.sender];
        require(!_isInForce(clause, _clock().currentRound()), PenaltyClauseInForce(clause.endRound));
        (, uint256 validity) = _periods();
        (clause.limit, clause.burnShare) = (limit.toUint96(), burnShare.toUint32());
        (clause.endRound, clause.window) = (0, validity.toUint64());
        emit PenaltyClauseSet(msg.sender, burnShare, limit, validity);
    }

    /// @dev Forgets the forfeit of `sender` and tells how much of `reserve` it takes. The caller writes the reserve down and burns.
    function _takePenalty(address sender, uint256 reserve, uint256 round) internal returns (uint256 amount) {
        Clause storage clause = _clausesTable()[sender];
        uint256 burnRound = clause.burnRound;
        if (burnRound == 0) return 0;
        require(round >= burnRound, PenaltyPending(burnRound, round));
        amount = clause.penalty < reserve ? clause.penalty : reserve;
        (clause.penalty, clause.burnRound) = (0, 0);
        emit PenaltyBurned(sender, amount);
    }

    /// @dev Pays ETH out or reverts.
    function _send(address to, uint256 amount) internal virtual;

    function _accountsTable() internal view virtual returns (mapping(address sender => Account) storage);

    function _clausesTable() internal view virtual returns (mapping(address sender => Clause) storage);

    function _clock() internal view virtual returns (IRoundsManager);

    /// @dev `unlockPeriod` and `ticketValidityPeriod`.
    function _periods() internal view virtual returns (uint256, uint256);

    /// @dev The forfeit only grows, so that no proof, of the sender's own above all, makes it smaller or puts it off.
    function _record(address sender, uint256 owed, uint256 burnRound) private {
        Clause storage clause = _clausesTable()[sender];
        Account account = _accountsTable()[sender];
        uint256 funds = account.deposit() + account.reserve();
        require(owed > funds + clause.limit, NotOverspent(owed, funds + clause.limit));
        uint256 penalty = Ppm.part(account.reserve(), clause.burnShare);
        require(penalty > clause.penalty, PenaltyNotRaised(penalty, clause.penalty));
        if (burnRound < clause.burnRound) burnRound = clause.burnRound;
        (clause.penalty, clause.burnRound) = (penalty.toUint96(), burnRound.toUint64());
        emit OverspendProven(sender, msg.sender, owed, funds, penalty, burnRound);
    }

    function _maxFaceValue(Clause storage clause) private view returns (uint256) {
        return clause.limit / _FACE_VALUES_PER_LIMIT;
    }

    function _isInForce(Clause storage clause, uint256 round) private view returns (bool) {
        uint256 endRound = clause.endRound;
        return clause.burnShare > 0 && (endRound == 0 || round < endRound);
    }

    function _window(Clause storage clause, uint256 validity) private view returns (uint256) {
        uint256 window = clause.window;
        return validity < window ? validity : window;
    }
}
