// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {Managed} from "./Managed.sol";
import {IBondingManager} from "./interfaces/IBondingManager.sol";
import {IController} from "./interfaces/IController.sol";
import {IRoundsManager} from "./interfaces/IRoundsManager.sol";
import {ITicketBroker} from "./interfaces/ITicketBroker.sol";
import {Ticket, TicketEncoding} from "./types/Ticket.sol";

/// @title Deposits, reserves and winning tickets, see {ITicketBroker}
contract TicketBroker is ITicketBroker, Managed {
    struct Reserve {
        /// Not yet claimed, wei.
        uint256 funds;
        mapping(uint256 round => uint256) claimedForRound;
        mapping(uint256 round => mapping(address claimant => uint256)) claimedByAddress;
    }

    uint256 private constant _SIGNATURE_LENGTH = 65;
    uint256 private constant _MAX_REASON_LENGTH = 256;

    /// @notice Books fees and orders them out.
    IBondingManager public immutable bondingManager;
    /// @notice Clock and source of block hashes.
    IRoundsManager public immutable roundsManager;

    /// @inheritdoc ITicketBroker
    uint256 public unlockPeriod;
    /// @inheritdoc ITicketBroker
    uint256 public ticketValidityPeriod;
    /// @inheritdoc ITicketBroker
    uint256 public unclaimedFees;
    /// @inheritdoc ITicketBroker
    mapping(bytes32 ticketHash => bool) public usedTickets;

    mapping(address sender => Sender) private _senders;
    mapping(address reserveHolder => Reserve) private _reserves;

    constructor(
        IController controller_,
        IBondingManager bondingManager_,
        IRoundsManager roundsManager_,
        uint256 unlockPeriod_,
        uint256 ticketValidityPeriod_
    ) Managed(controller_) {
        bondingManager = bondingManager_;
        roundsManager = roundsManager_;
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

    /// @inheritdoc ITicketBroker
    function unlock() external whenNotPaused {
        Sender storage sender = _senders[msg.sender];
        require(_hasFunds(msg.sender), NoFunds(msg.sender));
        require(sender.withdrawRound == 0, UnlockInProgress(sender.withdrawRound));
        uint256 startRound = roundsManager.currentRound();
        uint256 endRound = startRound + unlockPeriod;
        sender.withdrawRound = endRound;
        emit Unlock(msg.sender, startRound, endRound);
    }

    /// @inheritdoc ITicketBroker
    function cancelUnlock() external whenNotPaused {
        require(isUnlockInProgress(msg.sender), NoUnlockInProgress());
        _cancelUnlock(msg.sender);
    }

    /// @inheritdoc ITicketBroker
    function withdraw() external whenNotPaused {
        require(_hasFunds(msg.sender), NoFunds(msg.sender));
        Sender storage sender = _senders[msg.sender];
        Reserve storage reserve = _reserves[msg.sender];
        uint256 round = roundsManager.currentRound();
        require(_isUnlocked(sender, round), AccountLocked(sender.withdrawRound, round));
        uint256 deposit = sender.deposit;
        uint256 reserveFunds = reserve.funds;
        delete _senders[msg.sender];
        reserve.funds = 0;
        emit Withdrawal(msg.sender, deposit, reserveFunds);
        _send(msg.sender, deposit + reserveFunds);
    }

    /// @inheritdoc ITicketBroker
    function redeemWinningTicket(Ticket calldata ticket, bytes calldata sig, uint256 recipientRand)
        external
        whenNotPaused
    {
        uint256 round = _requireInitializedRound();
        bytes32 ticketHash = _requireWinning(ticket, sig, recipientRand, round);
        usedTickets[ticketHash] = true;
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
    function withdrawFees(address payable recipient, uint256 amount)
        external
        whenNotPaused
        only(address(bondingManager))
    {
        unclaimedFees -= amount;
        _send(recipient, amount);
    }

    /// @inheritdoc ITicketBroker
    function setUnlockPeriod(uint256 unlockPeriod_) external onlyOwner {
        _setPeriods(unlockPeriod_, ticketValidityPeriod);
        emit ParameterUpdate("unlockPeriod");
    }

    /// @inheritdoc ITicketBroker
    function setTicketValidityPeriod(uint256 ticketValidityPeriod_) external onlyOwner {
        _setPeriods(unlockPeriod, ticketValidityPeriod_);
        emit ParameterUpdate("ticketValidityPeriod");
    }

    /// @inheritdoc ITicketBroker
    function getSenderInfo(address addr) external view returns (Sender memory sender, ReserveInfo memory reserve) {
        return (_senders[addr], getReserveInfo(addr));
    }

    /// @inheritdoc ITicketBroker
    function claimableReserve(address reserveHolder, address claimant) external view returns (uint256) {
        return _claimableReserve(reserveHolder, claimant, roundsManager.currentRound());
    }

    /// @inheritdoc ITicketBroker
    function claimedReserve(address reserveHolder, address claimant) external view returns (uint256) {
        return _reserves[reserveHolder].claimedByAddress[roundsManager.currentRound()][claimant];
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
        Reserve storage reserve = _reserves[reserveHolder];
        info.fundsRemaining = reserve.funds;
        info.claimedInCurrentRound = reserve.claimedForRound[roundsManager.currentRound()];
    }

    /// @inheritdoc ITicketBroker
    function isUnlockInProgress(address addr) public view returns (bool) {
        return _senders[addr].withdrawRound > 0;
    }

    function _setPeriods(uint256 unlockPeriod_, uint256 ticketValidityPeriod_) private {
        require(
            ticketValidityPeriod_ > 0 && unlockPeriod_ >= ticketValidityPeriod_,
            InvalidPeriods(unlockPeriod_, ticketValidityPeriod_)
        );
        unlockPeriod = unlockPeriod_;
        ticketValidityPeriod = ticketValidityPeriod_;
    }

    function _addDeposit(address addr, uint256 amount) private {
        _senders[addr].deposit += amount;
        _cancelOwnUnlock(addr);
        emit DepositFunded(addr, amount);
    }

    function _addReserve(address addr, uint256 amount) private {
        _reserves[addr].funds += amount;
        _cancelOwnUnlock(addr);
        emit ReserveFunded(addr, amount);
    }

    /// @dev Funding cancels an unlock only if the account funds itself: nobody else may lock its money again.
    function _cancelOwnUnlock(address addr) private {
        if (addr == msg.sender && isUnlockInProgress(addr)) _cancelUnlock(addr);
    }

    function _cancelUnlock(address addr) private {
        _senders[addr].withdrawRound = 0;
        emit UnlockCancelled(addr);
    }

    /// @dev Takes the face value from the deposit first, the rest from the recipient's share of the reserve; all or nothing.
    function _debitSender(Ticket calldata ticket, uint256 round) private {
        Sender storage sender = _senders[ticket.sender];
        uint256 deposit = sender.deposit;
        if (ticket.faceValue <= deposit) {
            sender.deposit = deposit - ticket.faceValue;
            return;
        }
        uint256 available = deposit + _claimableReserve(ticket.sender, ticket.recipient, round);
        require(ticket.faceValue <= available, InsufficientFunds(ticket.faceValue, available));
        sender.deposit = 0;
        _claimReserve(ticket.sender, ticket.recipient, round, ticket.faceValue - deposit);
    }

    function _claimReserve(address reserveHolder, address claimant, uint256 round, uint256 amount) private {
        Reserve storage reserve = _reserves[reserveHolder];
        reserve.funds -= amount;
        reserve.claimedForRound[round] += amount;
        reserve.claimedByAddress[round][claimant] += amount;
        emit ReserveClaimed(reserveHolder, claimant, amount);
    }

    function _payRecipient(Ticket calldata ticket) private {
        if (ticket.faceValue == 0) return;
        unclaimedFees += ticket.faceValue;
        (uint256 creationRound,) = ticket.creation();
        bondingManager.updateTranscoderWithFees(ticket.recipient, ticket.faceValue, creationRound);
        emit WinningTicketTransfer(ticket.sender, ticket.recipient, ticket.faceValue);
    }

    /// @dev All gas is forwarded and state is settled before: a contract may receive, and re-entry finds nothing to gain.
    function _send(address to, uint256 amount) private {
        (bool ok,) = to.call{value: amount}("");
        require(ok, TransferFailed(to));
    }

    function _requireInitializedRound() private view returns (uint256 round) {
        round = roundsManager.currentRound();
        require(roundsManager.currentRoundInitialized(), RoundNotInitialized(round));
    }

    /// @dev Every check on the ticket itself and on the sender's lock, in the documented order.
    function _requireWinning(Ticket calldata ticket, bytes calldata sig, uint256 recipientRand, uint256 round)
        private
        view
        returns (bytes32 ticketHash)
    {
        require(ticket.recipient != address(0), NullRecipient());
        require(ticket.sender != address(0), NullSender());
        require(ticket.auxData.length == TicketEncoding.AUX_DATA_LENGTH, InvalidAuxDataLength(ticket.auxData.length));
        _requireFresh(ticket, round);
        require(keccak256(abi.encode(recipientRand)) == ticket.recipientRandHash, InvalidRecipientRand());
        ticketHash = ticket.hash();
        require(!usedTickets[ticketHash], TicketUsed(ticketHash));
        _requireSigned(ticketHash, sig, ticket.sender);
        require(ticket.wins(sig, recipientRand), TicketNotWinning());
        require(!_isUnlocked(_senders[ticket.sender], round), SenderUnlocked(ticket.sender));
    }

    function _requireFresh(Ticket calldata ticket, uint256 round) private view {
        (uint256 creationRound, bytes32 blockHash) = ticket.creation();
        bytes32 expected = roundsManager.blockHashForRound(creationRound);
        // A string, not an error: existing nodes give a ticket up for good only on exactly this text.
        require(expected != bytes32(0), "ticket creationRound does not have a block hash");
        require(blockHash == expected, InvalidCreationRoundBlockHash(creationRound, blockHash));
        require(creationRound + ticketValidityPeriod > round, TicketExpired(creationRound, round));
    }

    /// @dev `ECDSA` refuses a high s and any v but 27 and 28, so a signature has exactly one valid encoding.
    function _requireSigned(bytes32 ticketHash, bytes calldata sig, address sender) private pure {
        require(sig.length == _SIGNATURE_LENGTH, InvalidSignatureLength(sig.length));
        bytes32 digest = MessageHashUtils.toEthSignedMessageHash(ticketHash);
        (address signer, ECDSA.RecoverError err,) = ECDSA.tryRecoverCalldata(digest, sig);
        require(err == ECDSA.RecoverError.NoError && signer == sender, InvalidSignature());
    }

    function _hasFunds(address addr) private view returns (bool) {
        return _senders[addr].deposit > 0 || _reserves[addr].funds > 0;
    }

    function _isUnlocked(Sender storage sender, uint256 round) private view returns (bool) {
        uint256 withdrawRound = sender.withdrawRound;
        return withdrawRound > 0 && round >= withdrawRound;
    }

    /// @dev Claimants and divisor are fixed for the round, and funds that paid in a round cannot be withdrawn in it, so a
    /// share only grows and the rest covers every other share. The two bounds keep the view from reverting come what may.
    function _claimableReserve(address reserveHolder, address claimant, uint256 round) private view returns (uint256) {
        uint256 poolSize = bondingManager.currentRoundPoolSize();
        if (poolSize == 0 || !bondingManager.isActiveTranscoder(claimant)) return 0;
        Reserve storage reserve = _reserves[reserveHolder];
        uint256 funds = reserve.funds;
        uint256 share = (funds + reserve.claimedForRound[round]) / poolSize;
        uint256 claimed = reserve.claimedByAddress[round][claimant];
        uint256 remaining = share > claimed ? share - claimed : 0;
        return remaining < funds ? remaining : funds;
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
