// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {OrderedTicket} from "../types/OrderedTicket.sol";

/// @title A sender's own promise not to sign more than it can pay, with a part of its reserve as forfeit
/// @notice Off until the sender chooses it. It states a spending limit and a share of its reserve. While the clause is in force,
/// whoever shows unpaid winning tickets of the sender worth more than deposit + reserve + limit makes it forfeit that share of
/// the reserve. The forfeit is destroyed, so nobody gains by a proof.
///
/// SENDERS. Keep the expected value of all tickets that are still valid, the next one included, within the limit and within
/// deposit + reserve, sign no ticket above the clause's greatest face value, none that is still valid when the funds are
/// unlocked, and none twice with two signatures. Then a proof exists in one of 10^16 validity periods, whatever recipients do;
/// docs/designs/010-penalty-clause.md derives it.
///
/// RECIPIENTS. A ticket is covered if its face value is at most the greatest face value and the clause has no end, or one that is
/// no earlier than the ticket's expiry. What was committed to a recipient is counted as paying its tickets first.
///
/// @dev The functions are named so that their selectors come after that of `redeemWinningTicket`: a call compares them in
/// ascending order, at 22 gas each.
interface IPenaltyClause {
    struct PenaltyTerms {
        /// Part of the reserve that is forfeited, ppm; zero = the sender never had a clause.
        uint256 burnShare;
        /// Winning value that a proof must show beyond deposit + reserve, wei; the most expected value the sender means to have out.
        uint256 limit;
        /// Greatest face value that counts in a proof, wei.
        uint256 maxFaceValue;
        /// Rounds in which a ticket counts, its creation round included; never more than `ticketValidityPeriod`.
        uint256 window;
        /// Round from which the clause is no longer in force; zero = no notice given.
        uint256 endRound;
        /// Forfeit not yet burned, wei.
        uint256 penalty;
        /// Round from which the forfeit can be burned; zero = none.
        uint256 burnRound;
    }

    /// @notice A recipient whose tickets are part of a proof.
    struct ProofGroup {
        address recipient;
        /// How many of the tickets are its own; they follow those of the group before.
        uint256 count;
    }

    /// @notice `sender` is bound by a clause from now on.
    event PenaltyClauseSet(address indexed sender, uint256 burnShare, uint256 limit, uint256 window);
    /// @notice The clause of `sender` ends at `endRound`.
    event PenaltyClauseResigned(address indexed sender, uint256 endRound);
    /// @notice `prover` showed winning tickets of `sender` worth `owed` wei, against `funds` of deposit and reserve. `penalty` of
    /// the reserve is burned from `burnRound` on.
    event OverspendProven(
        address indexed sender, address indexed prover, uint256 owed, uint256 funds, uint256 penalty, uint256 burnRound
    );
    /// @notice `amount` wei of the reserve of `sender` were destroyed.
    event PenaltyBurned(address indexed sender, uint256 amount);

    /// @notice Thrown when the share is zero or more than half.
    error InvalidBurnShare(uint256 burnShare);
    /// @notice Thrown when the limit is too small for any face value, or exceeds deposit + reserve.
    error InvalidSpendingLimit(uint256 limit, uint256 funds);
    /// @notice Thrown when a clause is in force already; `endRound` is zero without notice.
    error PenaltyClauseInForce(uint256 endRound);
    /// @notice Thrown when `sender` has no clause that is in force.
    error NoPenaltyClause(address sender);
    /// @notice Thrown when notice was given before.
    error PenaltyClauseEnding(uint256 endRound);
    /// @notice Thrown when the recipients of a proof do not ascend strictly from above zero.
    error RecipientsNotAscending(address previous, address recipient);
    /// @notice Thrown when a ticket of a proof is not what it must be; `reason` is the selector of the error.
    error InvalidProofTicket(uint256 index, bytes4 reason);
    /// @notice Reason: the ticket's hash is not above that of the ticket before it in its group.
    error HashNotAscending();
    /// @notice Reason: the face value is above the clause's greatest.
    error FaceValueNotCovered();
    /// @notice Thrown when the unpaid winning tickets are worth no more than what the sender may owe.
    error NotOverspent(uint256 owed, uint256 allowed);
    /// @notice Thrown when a proof adds nothing to the forfeit that is recorded.
    error PenaltyNotRaised(uint256 penalty, uint256 recorded);
    /// @notice Thrown when tickets of the proof can still be valid.
    error PenaltyPending(uint256 burnRound, uint256 currentRound);
    /// @notice Thrown when there is no forfeit to burn.
    error NoPenalty(address sender);

    /// @notice Add to the caller's deposit and reserve, as `fundDepositAndReserve` does, and bind the caller by a clause. Both
    /// amounts may be zero. A clause that has ended may be replaced; one that is in force may not.
    /// @param burnShare Part of the reserve that is forfeited, ppm, at most half.
    /// @param limit Wei; see {PenaltyTerms}. At most deposit + reserve, at least one wei for each of the 100 face values in it.
    function fundWithPenalty(uint256 depositAmount, uint256 reserveAmount, uint256 burnShare, uint256 limit)
        external
        payable;

    /// @notice End the caller's clause after `unlockPeriod` rounds, so that every ticket made before has expired by then.
    function resignPenaltyClause() external;

    /// @notice Show that `sender` owes more than it can pay. Anybody may call, in the name of nobody.
    ///
    /// Recipients come in strictly ascending order, tickets of a group in strictly ascending hash, whether marked or not. Each must
    /// be a valid winner within the clause's window. What was paid or passed counts nothing, and so does what is committed to the
    /// recipient, as far as it goes. The forfeit is the clause's share of the present reserve; a further proof can only raise it.
    /// @dev Warning: a proof reveals secrets. Recipients accept no more tickets over them, as with redemption.
    ///
    /// Reverts in this order: pause, clause, sender unlocked, then per group and ticket: recipients ascending, count, terms, expiry
    /// of the window, block hash, face value, hash ascending, signature, draw; then counts, overspent, forfeit raised.
    /// @param groups Recipients, each with how many of the tickets are its own.
    /// @param tickets Tickets of the first group, then those of the second, and so on.
    /// @param sender Who signed all of them.
    function proveOverspend(ProofGroup[] calldata groups, OrderedTicket[] calldata tickets, address sender) external;

    /// @notice Destroy the forfeit of `sender`, or what is left of its reserve if that is less. Anybody may call once all
    /// tickets of the proof have expired; `withdraw` does the same, and waits for it.
    function burnRecordedPenalty(address sender) external;

    /// @notice The clause and the forfeit of `sender`.
    function penaltyTermsOf(address sender) external view returns (PenaltyTerms memory);
}
