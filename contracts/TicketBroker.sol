// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Managed} from "./Managed.sol";
import {OverspendProof} from "./OverspendProof.sol";
import {PenaltyClause} from "./PenaltyClause.sol";
import {IBondingManager} from "./interfaces/IBondingManager.sol";
import {IController} from "./interfaces/IController.sol";
import {IPenaltyClause} from "./interfaces/IPenaltyClause.sol";
import {IRoundsManager} from "./interfaces/IRoundsManager.sol";
import {ITicketBroker} from "./interfaces/ITicketBroker.sol";
import {Account, AccountWord} from "./types/Account.sol";
import {OrderedGroup, OrderedTicket, OrderedTicketEncoding} from "./types/OrderedTicket.sol";
import {Ticket, TicketEncoding} from "./types/Ticket.sol";

/// @title Deposits, reserves and winning tickets, see {ITicketBroker}
contract TicketBroker is ITicketBroker, PenaltyClause {
    using SafeCast for uint256;

    /// What was claimed of a reserve in a round; in other rounds nothing.
    struct Claim {
        /// Wei.
        uint96 amount; // slot 0
        uint64 round; // slot 0
    }

    /// See {ITicketBroker-CommittedReserve}.
    struct Commitment {
        uint96 funds; // slot 0
        uint96 releasing; // slot 0
        uint64 releaseRound; // slot 0
    }

    struct Books {
        /// Wei.
        uint128 unclaimedFees; // slot 0
        uint32 unlockPeriod; // slot 0
        uint32 ticketValidityPeriod; // slot 0
        /// Copy of the Controller's flag: here it costs nothing to read.
        bool paused; // slot 0
    }

    /// What became of a ticket hash.
    enum TicketStatus {
        Unknown,
        Used,
        SetAside
    }

    /// What a sender can pay one recipient, and what was taken of it, wei. Reserves are looked up when the deposit falls short.
    struct Purse {
        address sender;
        address recipient;
        uint256 round;
        /// What is left of deposit and reserve.
        Account account;
        uint256 committed;
        uint256 share;
        /// All that was taken, and the parts of it that came from committed and share.
        uint256 taken;
        uint256 takenCommitted;
        uint256 takenShare;
        bool hasReserves;
    }

    /// What all groups of an ordered batch share.
    struct OrderedCall {
        /// Used for one group after the other.
        Purse purse;
        uint256 validity;
        /// Last block hash looked up, and its round.
        uint256 hashRound;
        bytes32 blockHash;
        bytes buffer;
        /// Wei paid so far, and the oldest creation round in the groups that paid.
        uint256 paid;
        uint256 oldestRound;
    }

    uint256 private constant _SIGNATURE_LENGTH = 65;
    uint256 private constant _MAX_REASON_LENGTH = 256;

    /// @notice Books fees and orders them out.
    IBondingManager public immutable bondingManager;
    /// @notice Clock and source of block hashes.
    IRoundsManager public immutable roundsManager;

    Books private _books;
    mapping(bytes32 ticketHash => TicketStatus) private _status;
    mapping(address sender => Account) private _accounts;
    mapping(address reserveHolder => Claim) private _claims;
    mapping(address reserveHolder => mapping(address claimant => Claim)) private _claimsOf;
    mapping(address sender => mapping(address recipient => Commitment)) private _commitments;

    /// @inheritdoc ITicketBroker
    mapping(address recipient => mapping(address sender => uint256)) public redemptionMark;
    /// @inheritdoc ITicketBroker
    mapping(address recipient => address) public redeemerOf;
    /// @inheritdoc ITicketBroker
    mapping(address sender => uint256) public committedReserveOf;
    mapping(address sender => Clause) private _clauses;

    constructor(
        IController controller_,
        IBondingManager bondingManager_,
        IRoundsManager roundsManager_,
        OverspendProof overspendProof_
    ) Managed(controller_) PenaltyClause(overspendProof_) {
        bondingManager = bondingManager_;
        roundsManager = roundsManager_;
    }

    /// @notice Sets the periods. Once, by the proxy's constructor. Paused until the Controller says otherwise.
    function initialize(uint256 unlockPeriod_, uint256 ticketValidityPeriod_) external initializer {
        _books.paused = true;
        _setPeriods(unlockPeriod_, ticketValidityPeriod_);
        emit ParameterUpdate("unlockPeriod");
        emit ParameterUpdate("ticketValidityPeriod");
    }

    /// @inheritdoc ITicketBroker
    function fundDeposit() external payable whenNotPaused {
        _addDeposit(msg.sender, msg.value);
    }

    /// @inheritdoc ITicketBroker
    function fundReserve() external payable whenNotPaused {
        _addReserve(msg.sender, msg.value);
    }

    /// @inheritdoc ITicketBroker
    function fundDepositAndReserve(uint256 depositAmount, uint256 reserveAmount) external payable {
        fundDepositAndReserveFor(msg.sender, depositAmount, reserveAmount);
    }

    /// @inheritdoc IPenaltyClause
    function fundWithPenalty(uint256 depositAmount, uint256 reserveAmount, uint256 burnShare, uint256 limit)
        external
        payable
    {
        fundDepositAndReserveFor(msg.sender, depositAmount, reserveAmount);
        _setPenaltyClause(burnShare, limit);
    }

    /// @inheritdoc ITicketBroker
    function unlock() external whenNotPaused {
        Account account = _accounts[msg.sender];
        require(account.hasFunds(), NoFunds(msg.sender));
        require(account.withdrawRound() == 0, UnlockInProgress(account.withdrawRound()));
        uint256 startRound = roundsManager.currentRound();
        uint256 endRound = startRound + _books.unlockPeriod;
        _accounts[msg.sender] = AccountWord.pack(account.deposit(), account.reserve(), endRound);
        emit Unlock(msg.sender, startRound, endRound);
    }

    /// @inheritdoc ITicketBroker
    function cancelUnlock() external whenNotPaused {
        Account account = _accounts[msg.sender];
        require(account.withdrawRound() > 0, NoUnlockInProgress());
        _accounts[msg.sender] = AccountWord.pack(account.deposit(), account.reserve(), 0);
        emit UnlockCancelled(msg.sender);
    }

    /// @inheritdoc ITicketBroker
    function withdraw() external {
        Account account = _accounts[msg.sender];
        require(account.hasFunds(), NoFunds(msg.sender));
        uint256 round = roundsManager.currentRound();
        require(account.isUnlocked(round), AccountLocked(account.withdrawRound(), round));
        (uint256 deposit, uint256 reserve) = (account.deposit(), account.reserve());
        uint256 burned = _takePenalty(msg.sender, reserve, round);
        _accounts[msg.sender] = AccountWord.pack(0, 0, 0);
        emit Withdrawal(msg.sender, deposit, reserve - burned);
        if (burned > 0) _send(_BURN_ADDRESS, burned);
        _send(msg.sender, deposit + reserve - burned);
    }

    /// @inheritdoc ITicketBroker
    function commitReserve(address recipient) external payable whenNotPaused {
        require(recipient != address(0), NullRecipient());
        _commitments[msg.sender][recipient].funds += msg.value.toUint96();
        committedReserveOf[msg.sender] += msg.value;
        emit ReserveCommitted(msg.sender, recipient, msg.value);
    }

    /// @inheritdoc ITicketBroker
    function releaseReserve(address recipient, uint256 amount) external whenNotPaused {
        Commitment storage commitment = _commitments[msg.sender][recipient];
        require(amount <= commitment.funds, ReleaseTooLarge(amount, commitment.funds));
        uint256 releaseRound = amount == 0 ? 0 : roundsManager.currentRound() + _books.unlockPeriod;
        commitment.releasing = amount.toUint96();
        commitment.releaseRound = releaseRound.toUint64();
        emit ReserveReleaseStarted(msg.sender, recipient, amount, releaseRound);
    }

    /// @inheritdoc ITicketBroker
    function withdrawReleasedReserve(address recipient) external {
        Commitment storage commitment = _commitments[msg.sender][recipient];
        uint256 releaseRound = commitment.releaseRound;
        require(releaseRound > 0, NoRelease(recipient));
        uint256 round = roundsManager.currentRound();
        require(round >= releaseRound, CommitmentLocked(releaseRound, round));
        uint256 remaining = _claimableCommitment(commitment, round);
        uint256 amount = commitment.funds - remaining;
        commitment.funds = remaining.toUint96();
        committedReserveOf[msg.sender] -= amount;
        (commitment.releasing, commitment.releaseRound) = (0, 0);
        emit CommittedReserveWithdrawn(msg.sender, recipient, amount);
        _send(msg.sender, amount);
    }

    /// @inheritdoc ITicketBroker
    function setRedeemer(address redeemer) external {
        redeemerOf[msg.sender] = redeemer;
        emit RedeemerSet(msg.sender, redeemer);
    }

    /// @inheritdoc ITicketBroker
    function redeemWinningTicket(Ticket calldata ticket, bytes calldata sig, uint256 recipientRand)
        external
        whenNotPaused
    {
        (bytes32 ticketHash, uint256 round) = _requireWinning(ticket, sig, recipientRand);
        _status[ticketHash] = TicketStatus.Used;
        _debitSender(ticket, round);
        _payRecipient(ticket);
        emit WinningTicketRedeemed(
            ticket.sender,
            ticket.recipient,
            ticket.faceValue,
            ticket.winProb,
            ticket.senderNonce,
            recipientRand,
            ticket.auxData
        );
    }

    /// @inheritdoc ITicketBroker
    function batchRedeemWinningTickets(
        Ticket[] calldata tickets,
        bytes[] calldata sigs,
        uint256[] calldata recipientRands
    ) external whenNotPaused {
        require(
            tickets.length == sigs.length && tickets.length == recipientRands.length,
            BatchLengthMismatch(tickets.length, sigs.length, recipientRands.length)
        );
        _requireInitializedRound();
        for (uint256 i = 0; i < tickets.length; ++i) {
            try this.redeemWinningTicket(tickets[i], sigs[i], recipientRands[i]) {}
            catch (bytes memory reason) {
                // Every refusal carries data; only running out of gas does not.
                require(reason.length > 0, BatchOutOfGas());
                emit TicketSkipped(tickets[i].hash(), tickets[i].sender, _bounded(reason));
            }
        }
    }

    /// @inheritdoc ITicketBroker
    function redeemOrderedTickets(address recipient, OrderedGroup[] calldata groups, OrderedTicket[] calldata tickets)
        external
        whenNotPaused
    {
        require(
            msg.sender == recipient || msg.sender == redeemerOf[recipient], CallerNotRedeemer(recipient, msg.sender)
        );
        OrderedCall memory call;
        call.purse.recipient = recipient;
        call.purse.round = _requireInitializedRound();
        call.validity = _books.ticketValidityPeriod;
        // No round yet: even round 0, which has no hash, must be looked up and refused.
        call.hashRound = type(uint256).max;
        call.buffer = OrderedTicketEncoding.newBuffer(recipient, deploymentTag());
        address previous = address(0);
        uint256 start = 0;
        mapping(address sender => uint256) storage marks = redemptionMark[recipient];
        for (uint256 i = 0; i < groups.length; ++i) {
            OrderedGroup calldata group = groups[i];
            address sender = group.sender;
            require(sender > previous, SendersNotAscending(previous, sender));
            previous = sender;
            uint256 end = start + group.count();
            require(end <= tickets.length, CountMismatch(end, tickets.length));
            _redeemGroup(group, tickets[start:end], call, marks);
            start = end;
        }
        require(start == tickets.length, CountMismatch(start, tickets.length));
        _creditFees(recipient, call.paid, call.oldestRound);
    }

    /// @inheritdoc ITicketBroker
    function withdrawFees(address payable recipient, uint256 amount)
        external
        whenNotPaused
        only(address(bondingManager))
    {
        // Checked: fees are a part of the balance, and what is more than all of them underflows.
        _books.unclaimedFees -= amount.toUint128();
        _send(recipient, amount);
    }

    /// @inheritdoc ITicketBroker
    function syncPaused() external {
        _books.paused = controller.paused();
    }

    /// @inheritdoc ITicketBroker
    function setUnlockPeriod(uint256 unlockPeriod_) external onlyOwner {
        _setPeriods(unlockPeriod_, _books.ticketValidityPeriod);
        emit ParameterUpdate("unlockPeriod");
    }

    /// @inheritdoc ITicketBroker
    function setTicketValidityPeriod(uint256 ticketValidityPeriod_) external onlyOwner {
        _setPeriods(_books.unlockPeriod, ticketValidityPeriod_);
        emit ParameterUpdate("ticketValidityPeriod");
    }

    /// @inheritdoc ITicketBroker
    function getSenderInfo(address addr) external view returns (Sender memory sender, ReserveInfo memory reserve) {
        Account account = _accounts[addr];
        sender = Sender({deposit: account.deposit(), withdrawRound: account.withdrawRound()});
        reserve = getReserveInfo(addr);
    }

    /// @inheritdoc ITicketBroker
    function claimableReserve(address reserveHolder, address claimant) external view returns (uint256) {
        return _claimableShare(reserveHolder, claimant, roundsManager.currentRound());
    }

    /// @inheritdoc ITicketBroker
    function claimedReserve(address reserveHolder, address claimant) external view returns (uint256) {
        return _claimed(_claimsOf[reserveHolder][claimant], roundsManager.currentRound());
    }

    /// @inheritdoc ITicketBroker
    function usedTickets(bytes32 ticketHash) external view returns (bool) {
        return _status[ticketHash] == TicketStatus.Used;
    }

    /// @inheritdoc ITicketBroker
    function isSetAside(bytes32 ticketHash) external view returns (bool) {
        return _status[ticketHash] == TicketStatus.SetAside;
    }

    /// @inheritdoc ITicketBroker
    function getCommittedReserve(address sender, address recipient) external view returns (CommittedReserve memory) {
        Commitment storage commitment = _commitments[sender][recipient];
        return CommittedReserve({
            funds: commitment.funds, releasing: commitment.releasing, releaseRound: commitment.releaseRound
        });
    }

    /// @inheritdoc ITicketBroker
    function claimableCommittedReserve(address sender, address recipient) external view returns (uint256) {
        return _claimableCommitment(_commitments[sender][recipient], roundsManager.currentRound());
    }

    /// @inheritdoc ITicketBroker
    function paused() external view returns (bool) {
        return _books.paused;
    }

    /// @inheritdoc ITicketBroker
    function unlockPeriod() external view returns (uint256) {
        return _books.unlockPeriod;
    }

    /// @inheritdoc ITicketBroker
    function ticketValidityPeriod() external view returns (uint256) {
        return _books.ticketValidityPeriod;
    }

    /// @inheritdoc ITicketBroker
    function unclaimedFees() external view returns (uint256) {
        return _books.unclaimedFees;
    }

    /// @inheritdoc ITicketBroker
    function getTicketHash(Ticket calldata ticket) external pure returns (bytes32) {
        return ticket.hash();
    }

    /// @inheritdoc ITicketBroker
    function fundDepositAndReserveFor(address addr, uint256 depositAmount, uint256 reserveAmount)
        public
        payable
        whenNotPaused
    {
        require(addr != address(0), NullSender());
        require(
            depositAmount <= msg.value && reserveAmount == msg.value - depositAmount,
            ValueMismatch(msg.value, depositAmount, reserveAmount)
        );
        _addReserve(addr, reserveAmount);
        _addDeposit(addr, depositAmount);
    }

    /// @inheritdoc ITicketBroker
    function getReserveInfo(address reserveHolder) public view returns (ReserveInfo memory info) {
        info.fundsRemaining = _accounts[reserveHolder].reserve();
        info.claimedInCurrentRound = _claimed(_claims[reserveHolder], roundsManager.currentRound());
    }

    /// @inheritdoc ITicketBroker
    function isUnlockInProgress(address addr) public view returns (bool) {
        return _accounts[addr].withdrawRound() > 0;
    }

    /// @inheritdoc ITicketBroker
    function deploymentTag() public view returns (bytes32) {
        return TicketEncoding.tagOf(address(this));
    }

    /// @dev Reads the copy, in the word that nearly every call reads anyway.
    function _requireNotPaused() internal view override {
        require(!_books.paused, IController.SystemPaused());
    }

    /// @dev The upper bound keeps every sum of a round and a period within the 64 bits that it is kept in.
    function _setPeriods(uint256 unlockPeriod_, uint256 ticketValidityPeriod_) private {
        require(
            ticketValidityPeriod_ > 0 && unlockPeriod_ >= ticketValidityPeriod_ && unlockPeriod_ <= type(uint32).max,
            InvalidPeriods(unlockPeriod_, ticketValidityPeriod_)
        );
        _books.unlockPeriod = unlockPeriod_.toUint32();
        _books.ticketValidityPeriod = ticketValidityPeriod_.toUint32();
    }

    function _addDeposit(address addr, uint256 amount) private {
        _addFunds(addr, amount, 0);
        emit DepositFunded(addr, amount);
    }

    function _addReserve(address addr, uint256 amount) private {
        _addFunds(addr, 0, amount);
        emit ReserveFunded(addr, amount);
    }

    /// @dev Funding cancels an unlock only if the account funds itself: nobody else may lock its money again.
    function _addFunds(address addr, uint256 deposit, uint256 reserve) private {
        Account account = _accounts[addr];
        uint256 withdrawRound = account.withdrawRound();
        bool cancels = withdrawRound > 0 && addr == msg.sender;
        _accounts[addr] =
            AccountWord.pack(account.deposit() + deposit, account.reserve() + reserve, cancels ? 0 : withdrawRound);
        if (cancels) emit UnlockCancelled(addr);
    }

    /// @dev Verifies the whole group before anything is written, so that it moves as a whole or not at all.
    /// @param marks Marks of the recipient.
    function _redeemGroup(
        OrderedGroup calldata group,
        OrderedTicket[] calldata tickets,
        OrderedCall memory call,
        mapping(address sender => uint256) storage marks
    ) private {
        Purse memory purse = call.purse;
        _empty(purse);
        address sender = group.sender;
        purse.sender = sender;
        uint256 key = group.mark();
        if (marks[sender] != key) return _skipGroup(purse, 0, MarkMoved.selector);
        if (!_open(purse)) return _skipGroup(purse, 0, SenderUnlocked.selector);
        bytes32[] memory unpaid;
        for (uint256 i = 0; i < tickets.length; ++i) {
            OrderedTicket calldata ticket = tickets[i];
            (bytes4 refusal, bytes32 ticketHash, uint256 next) = _verify(ticket, sender, key, call);
            if (refusal != 0) return _skipGroup(purse, i, refusal);
            key = next;
            if (_take(purse, ticket.faceValue())) continue;
            if (unpaid.length == 0) unpaid = new bytes32[](tickets.length);
            unpaid[i] = ticketHash;
        }
        marks[sender] = key;
        for (uint256 i = 0; i < unpaid.length; ++i) {
            if (unpaid[i] != 0) _setAside(unpaid[i], purse, tickets[i].faceValue());
        }
        if (purse.taken == 0) return;
        _settle(purse);
        emit WinningTicketTransfer(sender, purse.recipient, purse.taken);
        // Keys ascend, so the first ticket is the oldest.
        uint256 oldestRound = tickets[0].creationRound();
        if (call.paid == 0 || oldestRound < call.oldestRound) call.oldestRound = oldestRound;
        call.paid += purse.taken;
    }

    /// @dev Once per hash at most: its key is at or below the mark from now on. So it never was `Used` before.
    function _setAside(bytes32 ticketHash, Purse memory purse, uint256 faceValue) private {
        _status[ticketHash] = TicketStatus.SetAside;
        emit TicketSetAside(ticketHash, purse.sender, purse.recipient, faceValue);
    }

    function _skipGroup(Purse memory purse, uint256 index, bytes4 reason) private {
        emit OrderedGroupSkipped(purse.recipient, purse.sender, index, reason);
    }

    /// @dev Selector of the error that refuses the ticket; or zero, hash and key of a winner above `previousKey`.
    function _verify(OrderedTicket calldata ticket, address sender, uint256 previousKey, OrderedCall memory call)
        private
        view
        returns (bytes4 refusal, bytes32 ticketHash, uint256 key)
    {
        if (!OrderedTicketEncoding.isMarked(ticket.recipientRand)) return (TicketNotMarked.selector, 0, 0);
        if (!ticket.hasKnownTerms()) return (InvalidTerms.selector, 0, 0);
        key = ticket.key();
        if (key <= previousKey) return (KeyNotAscending.selector, 0, 0);
        uint256 creationRound = ticket.creationRound();
        if (creationRound != call.hashRound) {
            if (creationRound + call.validity <= call.purse.round) return (TicketExpired.selector, 0, 0);
            bytes32 blockHash = roundsManager.blockHashForRound(creationRound);
            if (blockHash == 0) return (NoBlockHash.selector, 0, 0);
            // Kept only for a round that is fresh and has a hash.
            (call.hashRound, call.blockHash) = (creationRound, blockHash);
        }
        ticketHash = ticket.hash(call.buffer, sender, call.blockHash);
        if (ticket.signer(ticketHash) != sender) return (InvalidSignature.selector, 0, 0);
        if (!ticket.wins(call.buffer)) return (TicketNotWinning.selector, 0, 0);
    }

    /// @dev Looks up the deposit; false for a sender whose funds are unlocked.
    function _open(Purse memory purse) private view returns (bool) {
        Account account = _accounts[purse.sender];
        purse.account = account;
        return !account.isUnlocked(purse.round);
    }

    /// @dev Takes `amount` in full or nothing: from the deposit, then the commitment, then the share of the reserve.
    function _take(Purse memory purse, uint256 amount) private view returns (bool) {
        uint256 deposit = purse.account.deposit();
        if (amount <= deposit) {
            purse.account = purse.account.spendDeposit(amount);
            purse.taken += amount;
            return true;
        }
        if (!purse.hasReserves) _lookUpReserves(purse);
        uint256 missing = amount - deposit;
        if (missing > purse.committed + purse.share) return false;
        uint256 fromCommitted = missing < purse.committed ? missing : purse.committed;
        purse.account = purse.account.spend(deposit, missing - fromCommitted);
        purse.taken += amount;
        purse.committed -= fromCommitted;
        purse.takenCommitted += fromCommitted;
        purse.share -= missing - fromCommitted;
        purse.takenShare += missing - fromCommitted;
        return true;
    }

    /// @dev Forgets what was taken of the sender before.
    function _empty(Purse memory purse) private pure {
        purse.taken = 0;
        if (!purse.hasReserves) return;
        purse.hasReserves = false;
        (purse.committed, purse.share, purse.takenCommitted, purse.takenShare) = (0, 0, 0, 0);
    }

    function _lookUpReserves(Purse memory purse) private view {
        purse.hasReserves = true;
        purse.committed = _claimableCommitment(_commitments[purse.sender][purse.recipient], purse.round);
        purse.share = _claimableShare(purse.sender, purse.recipient, purse.round);
    }

    /// @dev Writes down what was taken.
    function _settle(Purse memory purse) private {
        _accounts[purse.sender] = purse.account;
        if (purse.takenCommitted > 0) {
            Commitment storage commitment = _commitments[purse.sender][purse.recipient];
            uint96 left = commitment.funds - purse.takenCommitted.toUint96();
            commitment.funds = left;
            // What is committed later must not leave with this release.
            if (commitment.releasing > left) commitment.releasing = left;
            committedReserveOf[purse.sender] -= purse.takenCommitted;
            emit CommittedReserveClaimed(purse.sender, purse.recipient, purse.takenCommitted);
        }
        if (purse.takenShare > 0) {
            _addClaim(_claims[purse.sender], purse.round, purse.takenShare);
            _addClaim(_claimsOf[purse.sender][purse.recipient], purse.round, purse.takenShare);
            emit ReserveClaimed(purse.sender, purse.recipient, purse.takenShare);
        }
    }

    function _addClaim(Claim storage claim, uint256 round, uint256 amount) private {
        uint256 total = _claimed(claim, round) + amount;
        (claim.amount, claim.round) = (total.toUint96(), round.toUint64());
    }

    /// @dev All or nothing, and nothing of funds that are unlocked. A deposit that covers it all needs no purse.
    function _debitSender(Ticket calldata ticket, uint256 round) private {
        (address sender, uint256 faceValue) = (ticket.sender, ticket.faceValue);
        Account account = _accounts[sender];
        require(!account.isUnlocked(round), SenderUnlocked(sender));
        if (faceValue <= account.deposit()) {
            _accounts[sender] = account.spendDeposit(faceValue);
            return;
        }
        Purse memory purse;
        (purse.sender, purse.recipient, purse.round, purse.account) = (sender, ticket.recipient, round, account);
        require(
            _take(purse, faceValue), InsufficientFunds(faceValue, account.deposit() + purse.committed + purse.share)
        );
        _settle(purse);
    }

    function _payRecipient(Ticket calldata ticket) private {
        if (ticket.faceValue == 0) return;
        (uint256 creationRound,) = ticket.creation();
        _creditFees(ticket.recipient, ticket.faceValue, creationRound);
        emit WinningTicketTransfer(ticket.sender, ticket.recipient, ticket.faceValue);
    }

    /// @dev Refuses a recipient that is not active, even with nothing to credit.
    function _creditFees(address recipient, uint256 amount, uint256 creationRound) private {
        if (amount == 0) {
            require(bondingManager.isActiveTranscoder(recipient), IBondingManager.TranscoderNotActive(recipient));
            return;
        }
        _books.unclaimedFees += amount.toUint128();
        bondingManager.updateTranscoderWithFees(recipient, amount, creationRound);
    }

    /// @dev All gas is forwarded and state is settled before: a contract may receive, and re-entry finds nothing to gain.
    function _send(address to, uint256 amount) internal override {
        (bool ok,) = to.call{value: amount}("");
        require(ok, TransferFailed(to));
    }

    function _requireInitializedRound() private view returns (uint256 round) {
        bool initialized;
        (round, initialized) = roundsManager.currentRoundState();
        require(initialized, RoundNotInitialized(round));
    }

    /// @dev Every check on the ticket itself, in the documented order.
    function _requireWinning(Ticket calldata ticket, bytes calldata sig, uint256 recipientRand)
        private
        view
        returns (bytes32 ticketHash, uint256 round)
    {
        require(ticket.recipient != address(0), NullRecipient());
        require(ticket.sender != address(0), NullSender());
        _requireKnownAuxData(ticket);
        round = _requireFresh(ticket);
        _requireOwnTag(ticket);
        require(TicketEncoding.commitment(recipientRand) == ticket.recipientRandHash, InvalidRecipientRand());
        ticketHash = ticket.hash();
        _requireUnpaid(ticketHash, recipientRand);
        _requireSigned(ticketHash, sig, ticket.sender);
        require(ticket.wins(sig, recipientRand), TicketNotWinning());
    }

    function _requireKnownAuxData(Ticket calldata ticket) private pure {
        uint256 length = ticket.auxData.length;
        require(
            length == TicketEncoding.AUX_DATA_LENGTH || length == TicketEncoding.BOUND_AUX_DATA_LENGTH,
            InvalidAuxDataLength(length)
        );
    }

    function _requireOwnTag(Ticket calldata ticket) private view {
        if (ticket.auxData.length == TicketEncoding.AUX_DATA_LENGTH) return;
        bytes32 tag = ticket.deploymentTag();
        require(tag == deploymentTag(), InvalidDeploymentTag(tag));
    }

    /// @dev The marker decides the path: a marked ticket comes here only from aside, where each is put once.
    function _requireUnpaid(bytes32 ticketHash, uint256 recipientRand) private view {
        TicketStatus status = _status[ticketHash];
        require(status != TicketStatus.Used, TicketUsed(ticketHash));
        require(
            status == TicketStatus.SetAside || !OrderedTicketEncoding.isMarked(recipientRand), TicketMarked(ticketHash)
        );
    }

    function _requireFresh(Ticket calldata ticket) private view returns (uint256 round) {
        (uint256 creationRound, bytes32 blockHash) = ticket.creation();
        bool initialized;
        bytes32 expected;
        (round, initialized, expected) = roundsManager.ticketRound(creationRound);
        require(initialized, RoundNotInitialized(round));
        // A string, not an error: existing nodes give a ticket up for good only on exactly this text.
        require(expected != bytes32(0), "ticket creationRound does not have a block hash");
        require(blockHash == expected, InvalidCreationRoundBlockHash(creationRound, blockHash));
        require(creationRound + _books.ticketValidityPeriod > round, TicketExpired(creationRound, round));
    }

    /// @dev A signature has exactly one valid encoding.
    function _requireSigned(bytes32 ticketHash, bytes calldata sig, address sender) private pure {
        require(sig.length == _SIGNATURE_LENGTH, InvalidSignatureLength(sig.length));
        address signer = TicketEncoding.signer(ticketHash, uint8(sig[64]), bytes32(sig[:32]), bytes32(sig[32:64]));
        require(signer == sender, InvalidSignature());
    }

    /// @dev What leaves pays nothing any more from its round on, whether it was withdrawn or not.
    function _claimableCommitment(Commitment storage commitment, uint256 round) private view returns (uint256) {
        (uint256 funds, uint256 releasing) = (commitment.funds, commitment.releasing);
        uint256 releaseRound = commitment.releaseRound;
        if (releaseRound == 0 || round < releaseRound) return funds;
        return funds > releasing ? funds - releasing : 0;
    }

    function _claimed(Claim storage claim, uint256 round) private view returns (uint256) {
        return claim.round == round ? claim.amount : 0;
    }

    /// @dev Claimants and divisor are fixed for the round, and funds that paid in a round cannot be withdrawn in it, so a
    /// share only grows and the rest covers every other share. The two bounds keep the view from reverting come what may.
    function _claimableShare(address reserveHolder, address claimant, uint256 round) private view returns (uint256) {
        uint256 funds = _accounts[reserveHolder].reserve();
        if (funds == 0) return 0;
        uint256 poolSize = bondingManager.currentRoundPoolSize();
        if (poolSize == 0 || !bondingManager.isActiveTranscoder(claimant)) return 0;
        uint256 share = (funds + _claimed(_claims[reserveHolder], round)) / poolSize;
        uint256 claimed = _claimed(_claimsOf[reserveHolder][claimant], round);
        uint256 remaining = share > claimed ? share - claimed : 0;
        return remaining < funds ? remaining : funds;
    }

    // --- what {PenaltyClause} works on ---

    function _accountsTable() internal view override returns (mapping(address sender => Account) storage) {
        return _accounts;
    }

    function _clausesTable() internal view override returns (mapping(address sender => Clause) storage) {
        return _clauses;
    }

    function _clock() internal view override returns (IRoundsManager) {
        return roundsManager;
    }

    function _periods() internal view override returns (uint256, uint256) {
        return (_books.unlockPeriod, _books.ticketValidityPeriod);
    }

    function _bounded(bytes memory reason) private pure returns (bytes memory) {
        if (reason.length > _MAX_REASON_LENGTH) {
            assembly ("memory-safe") {
                mstore(reason, _MAX_REASON_LENGTH)
            }
        }
        return reason;
    }
}
