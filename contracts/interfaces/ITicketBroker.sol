// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {OrderedGroup, OrderedTicket} from "../types/OrderedTicket.sol";
import {Ticket} from "../types/Ticket.sol";

/// @title Deposits, reserves and winning tickets; the vault of all ETH
/// @notice Balance = deposits + reserves + committed reserves + fees not yet withdrawn (+ ETH forced in).
///
/// SENDERS. A deposit pays tickets of any recipient. A reserve backs the deposit: in each round every active orchestrator
/// may claim an equal share of it. Funds are time-locked: `unlock`, wait `unlockPeriod` rounds, `withdraw`. Since
/// `unlockPeriod >= ticketValidityPeriod`, every ticket issued before `unlock` can be redeemed, or has expired, before the
/// funds can leave. A sender may also commit reserve to named recipients; each commitment has its own time lock and is seen
/// by nobody but its recipient.
///
/// TICKETS. A winning ticket pays exactly its face value or reverts and stays redeemable while it is valid. The payment comes
/// from the deposit, then from what is committed to the recipient, then from the recipient's share of the reserve. It is
/// booked as fees with BondingManager and the ETH stays here until BondingManager orders it out.
///
/// ORDER. A recipient may mark its secrets and number them, see {OrderedTicketEncoding}. Marked tickets are redeemed in order,
/// many at once and cheaply: one word per (recipient, sender), the mark, holds the key of the last ticket passed and replaces
/// a flag per ticket. The marker alone decides the path, so no ticket can be paid on both.
interface ITicketBroker {
    struct Sender {
        /// Spendable on tickets, wei.
        uint256 deposit;
        /// Round from which funds can be withdrawn and no longer pay tickets; zero = locked.
        uint256 withdrawRound;
    }

    struct ReserveInfo {
        /// Reserve not yet claimed, wei.
        uint256 fundsRemaining;
        /// Claimed by all recipients in the current round, wei.
        uint256 claimedInCurrentRound;
    }

    struct CommittedReserve {
        /// Not yet claimed by the recipient, wei.
        uint256 funds;
        /// Part of `funds` that leaves at `releaseRound`, wei; all of `funds` if it is more.
        uint256 releasing;
        /// Round from which the releasing part can be withdrawn and no longer pays tickets; zero = none is leaving.
        uint256 releaseRound;
    }

    event DepositFunded(address indexed sender, uint256 amount);
    event ReserveFunded(address indexed reserveHolder, uint256 amount);
    event ReserveClaimed(address indexed reserveHolder, address claimant, uint256 amount);
    /// @notice A ticket was redeemed; `faceValue` is also the amount paid.
    event WinningTicketRedeemed(
        address indexed sender,
        address indexed recipient,
        uint256 faceValue,
        uint256 winProb,
        uint256 senderNonce,
        uint256 recipientRand,
        bytes auxData
    );
    /// @notice `amount` wei of `sender` were booked as fees of `recipient`.
    event WinningTicketTransfer(address indexed sender, address indexed recipient, uint256 amount);
    /// @notice A ticket of a batch was not redeemed; nothing of it moved. `reason` is its revert data, at most 256 bytes.
    event TicketSkipped(bytes32 indexed ticketHash, address indexed sender, bytes reason);
    /// @notice A marked ticket was passed without payment, for want of funds of `sender`. While it is valid it can be redeemed
    /// with `redeemWinningTicket`.
    event TicketSetAside(
        bytes32 indexed ticketHash, address indexed sender, address indexed recipient, uint256 faceValue
    );
    /// @notice A group of an ordered batch was left out whole: nothing was paid, set aside or passed. `reason` is the selector
    /// of the error, `index` the ticket that it is about (zero if it is about the group).
    event OrderedGroupSkipped(address indexed recipient, address indexed sender, uint256 index, bytes4 reason);
    /// @notice `redeemer` may redeem in order for `recipient`; zero = nobody else.
    event RedeemerSet(address indexed recipient, address indexed redeemer);
    event ReserveCommitted(address indexed sender, address indexed recipient, uint256 amount);
    /// @notice `amount` of what is committed leaves at `releaseRound`; zero = nothing leaves.
    event ReserveReleaseStarted(
        address indexed sender, address indexed recipient, uint256 amount, uint256 releaseRound
    );
    event CommittedReserveClaimed(address indexed sender, address indexed recipient, uint256 amount);
    event CommittedReserveWithdrawn(address indexed sender, address indexed recipient, uint256 amount);
    event Unlock(address indexed sender, uint256 startRound, uint256 endRound);
    event UnlockCancelled(address indexed sender);
    event Withdrawal(address indexed sender, uint256 deposit, uint256 reserve);

    /// @notice Thrown when the ticket has no recipient.
    error NullRecipient();
    /// @notice Thrown when the ticket has no sender, or nobody is named to be funded.
    error NullSender();
    /// @notice Thrown when `auxData` is neither 64 nor 96 bytes long.
    error InvalidAuxDataLength(uint256 length);
    /// @notice Thrown when the third word of `auxData` is not the tag of this contract on this chain.
    error InvalidDeploymentTag(bytes32 tag);
    /// @notice Thrown when the ticket's block hash is not that of its creation round.
    error InvalidCreationRoundBlockHash(uint256 creationRound, bytes32 blockHash);
    /// @notice Thrown when `creationRound + ticketValidityPeriod <= currentRound`.
    error TicketExpired(uint256 creationRound, uint256 currentRound);
    /// @notice Thrown when the revealed secret is not the committed one.
    error InvalidRecipientRand();
    /// @notice Thrown when the ticket was redeemed before.
    error TicketUsed(bytes32 ticketHash);
    /// @notice Thrown when a marked ticket that was not set aside is redeemed out of order.
    error TicketMarked(bytes32 ticketHash);
    /// @notice Thrown when somebody else than the recipient or its redeemer redeems in order.
    error CallerNotRedeemer(address recipient, address caller);
    /// @notice Thrown when the groups' senders do not ascend strictly from above zero.
    error SendersNotAscending(address previous, address sender);
    /// @notice Thrown when the groups have more or fewer tickets than there are.
    error CountMismatch(uint256 counted, uint256 tickets);
    /// @notice Reason of a skipped group: the mark is not the one that the group was planned on.
    error MarkMoved();
    /// @notice Reason of a skipped group: a ticket's secret carries no marker.
    error TicketNotMarked();
    /// @notice Reason of a skipped group: a ticket's key is not above that of the ticket before it, or above the mark.
    error KeyNotAscending();
    /// @notice Reason of a skipped group: undefined bits are set in a ticket's terms.
    error InvalidTerms();
    /// @notice Reason of a skipped group: a ticket's creation round has no block hash.
    error NoBlockHash();
    /// @notice Thrown when the signature is not 65 bytes long. Other encodings would give a ticket a second draw.
    error InvalidSignatureLength(uint256 length);
    /// @notice Thrown when the signature is not a canonical one (low s, v 27 or 28) of the sender over the ticket's hash.
    error InvalidSignature();
    /// @notice Thrown when the draw is not below `winProb`.
    error TicketNotWinning();
    /// @notice Thrown when the sender's funds are unlocked and no longer pay tickets.
    error SenderUnlocked(address sender);
    /// @notice Thrown when deposit plus the recipient's claimable reserve do not cover the face value.
    error InsufficientFunds(uint256 faceValue, uint256 available);
    /// @notice Thrown when a batch's arrays differ in length.
    error BatchLengthMismatch(uint256 tickets, uint256 sigs, uint256 recipientRands);
    /// @notice Thrown when a batch ran out of gas, so that a gas estimate never silently leaves tickets out.
    error BatchOutOfGas();
    /// @notice Thrown when the value sent is not deposit + reserve.
    error ValueMismatch(uint256 value, uint256 depositAmount, uint256 reserveAmount);
    /// @notice Thrown when there is nothing to unlock or withdraw.
    error NoFunds(address sender);
    /// @notice Thrown when an unlock was already started.
    error UnlockInProgress(uint256 withdrawRound);
    /// @notice Thrown when there is no unlock to cancel.
    error NoUnlockInProgress();
    /// @notice Thrown when funds are not (yet) unlocked; `withdrawRound` is zero without an unlock.
    error AccountLocked(uint256 withdrawRound, uint256 currentRound);
    /// @notice Thrown when more is to be released than is committed.
    error ReleaseTooLarge(uint256 amount, uint256 funds);
    /// @notice Thrown when nothing of a commitment is leaving.
    error NoRelease(address recipient);
    /// @notice Thrown when the releasing part of a commitment cannot leave yet.
    error CommitmentLocked(uint256 releaseRound, uint256 currentRound);
    /// @notice Thrown when the periods would not satisfy `2^32 > unlockPeriod >= ticketValidityPeriod > 0`.
    error InvalidPeriods(uint256 unlockPeriod, uint256 ticketValidityPeriod);
    /// @notice Thrown when the receiver of ETH refuses it.
    error TransferFailed(address to);

    /// @notice Add the value sent to the caller's deposit; cancels the caller's unlock.
    function fundDeposit() external payable;

    /// @notice Add the value sent to the caller's reserve; cancels the caller's unlock.
    function fundReserve() external payable;

    /// @notice Add to both at once; cancels the caller's unlock.
    function fundDepositAndReserve(uint256 depositAmount, uint256 reserveAmount) external payable;

    /// @notice Add to both of `addr`. Changes `addr`'s unlock only if it is the caller.
    /// @dev Warning: funds given to an account that is already unlocked can be withdrawn by it at once.
    function fundDepositAndReserveFor(address addr, uint256 depositAmount, uint256 reserveAmount) external payable;

    /// @notice Start the caller's unlock.
    function unlock() external;

    /// @notice Cancel the caller's unlock.
    function cancelUnlock() external;

    /// @notice Send the caller its unlocked deposit and reserve and lock the (now empty) account again. Works under pause.
    function withdraw() external;

    /// @notice Add the value sent to what the caller has committed to `recipient`. At once, and for no one else.
    function commitReserve(address recipient) external payable;

    /// @notice Let `amount` of what the caller has committed to `recipient` leave after `unlockPeriod` rounds. Replaces a release
    /// that was started before, with a new wait; zero cancels it.
    function releaseReserve(address recipient, uint256 amount) external;

    /// @notice Send the caller the released part of what it has committed to `recipient`. Works under pause.
    function withdrawReleasedReserve(address recipient) external;

    /// @notice Name who may redeem in order for the caller, besides the caller; zero = nobody.
    /// @dev A redeemer cannot take or redirect money. It decides the order, so that together with a sender it could pass that
    /// sender's tickets unpaid: name one that is trusted like an own key.
    function setRedeemer(address redeemer) external;

    /// @notice Redeem a winning ticket. Anybody may call.
    /// @dev Checks in this order: pause, round initialised, recipient, sender, auxData length, creation round has a block hash,
    /// block hash, expiry, deployment tag, secret, used, marked and not set aside, signature, draw, sender locked, funds,
    /// recipient active.
    /// @param ticket The ticket.
    /// @param sig Sender's EIP-191 signature over the ticket's hash.
    /// @param recipientRand Preimage of `recipientRandHash`.
    function redeemWinningTicket(Ticket calldata ticket, bytes calldata sig, uint256 recipientRand) external;

    /// @notice Redeem tickets in order; a ticket that cannot be redeemed is skipped with `TicketSkipped`.
    function batchRedeemWinningTickets(
        Ticket[] calldata tickets,
        bytes[] calldata sigs,
        uint256[] calldata recipientRands
    ) external;

    /// @notice Redeem marked tickets of one recipient in order. Its recipient or redeemer only.
    ///
    /// Groups come in strictly ascending sender, tickets of a group in strictly ascending key above the mark, which becomes the
    /// key of the last one. A ticket that the sender's funds do not cover is set aside; all others are paid in full. Each
    /// group stands for itself: one that was planned on another mark, whose sender is unlocked, or that has a ticket that is no
    /// valid winner, is skipped whole with `OrderedGroupSkipped`, and nothing of it moves. All fees are credited at once, under the
    /// oldest creation round in the groups that paid: delegators get the better share, as with single redemptions or more.
    /// @dev Reverts: pause, caller, round not initialised, order of senders, counts, recipient not active.
    /// @param recipient Recipient of every ticket.
    /// @param groups Senders, each with its mark and how many of the tickets are its own.
    /// @param tickets Tickets of the first group, then those of the second, and so on.
    function redeemOrderedTickets(address recipient, OrderedGroup[] calldata groups, OrderedTicket[] calldata tickets)
        external;

    /// @notice Send collected fees. BondingManager only, which has debited the owner of the fees before.
    function withdrawFees(address payable recipient, uint256 amount) external;

    /// @notice Copy the Controller's pause flag, which this contract reads here. Anybody; the Controller calls it by itself.
    function syncPaused() external;

    /// @notice Set the rounds between `unlock` and `withdraw`. Owner only.
    function setUnlockPeriod(uint256 unlockPeriod) external;

    /// @notice Set the rounds in which a ticket can be redeemed, its creation round included. Owner only.
    function setTicketValidityPeriod(uint256 ticketValidityPeriod) external;

    /// @notice Whether a ticket hash was redeemed.
    function usedTickets(bytes32 ticketHash) external view returns (bool);

    /// @notice Whether a ticket hash was passed unpaid by an ordered batch and not redeemed since.
    function isSetAside(bytes32 ticketHash) external view returns (bool);

    /// @notice Key of the last ticket of `sender` passed in order by `recipient`: creationRound 64 bits | serial 64 | nonce 64.
    function redemptionMark(address recipient, address sender) external view returns (uint256);

    /// @notice Who may redeem in order for `recipient`, besides `recipient`; zero = nobody.
    function redeemerOf(address recipient) external view returns (address);

    /// @notice Wei that `sender` has committed, to all recipients together, and that nobody has claimed or taken back.
    function committedReserveOf(address sender) external view returns (uint256);

    /// @notice What `sender` has committed to `recipient`. Not part of its reserve.
    function getCommittedReserve(address sender, address recipient) external view returns (CommittedReserve memory);

    /// @notice Wei that `recipient` can claim in the current round from what `sender` has committed to it.
    function claimableCommittedReserve(address sender, address recipient) external view returns (uint256);

    /// @notice Third word of an `auxData` of 96 bytes: keccak256(abi.encode(chain id, this contract)).
    function deploymentTag() external view returns (bytes32);

    /// @notice Copy of the Controller's pause flag, see `syncPaused`.
    function paused() external view returns (bool);

    /// @notice Rounds between `unlock` and `withdraw`.
    function unlockPeriod() external view returns (uint256);

    /// @notice Rounds in which a ticket can be redeemed.
    function ticketValidityPeriod() external view returns (uint256);

    /// @notice Fees booked and not yet withdrawn, wei. A bound on what BondingManager can order out.
    function unclaimedFees() external view returns (uint256);

    /// @notice Deposit, unlock and reserve of `addr`.
    function getSenderInfo(address addr) external view returns (Sender memory sender, ReserveInfo memory reserve);

    /// @notice Reserve of `reserveHolder`.
    function getReserveInfo(address reserveHolder) external view returns (ReserveInfo memory info);

    /// @notice Wei that `claimant` can still claim from the reserve in the current round. Never reverts.
    /// @dev min(floor((funds + claimed this round) / N) - already claimed by `claimant`, funds), where N is the number of
    /// active orchestrators fixed when the round was initialised; zero if `claimant` is not active.
    function claimableReserve(address reserveHolder, address claimant) external view returns (uint256);

    /// @notice Wei that `claimant` has claimed from the reserve in the current round.
    function claimedReserve(address reserveHolder, address claimant) external view returns (uint256);

    /// @notice Hash that the sender signs: keccak256 of the 232 packed bytes (264 with a deployment tag).
    function getTicketHash(Ticket calldata ticket) external pure returns (bytes32);

    /// @notice Whether `addr` started an unlock that was neither cancelled nor ended by `withdraw`.
    function isUnlockInProgress(address addr) external view returns (bool);
}
