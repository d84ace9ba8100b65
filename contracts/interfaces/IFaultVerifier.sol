// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Receipt} from "../types/Receipt.sol";

/// @title Judges whether signed work is faulty
/// @notice Open for any kind of judge: a rule, a committee, an oracle, attested hardware, a proof system. Which verifiers may
/// judge a service is the owner's choice in ServiceRegistry, and what follows from a verdict is SlashingManager's.
/// @dev Warning: SlashingManager trusts the verdict of a registered verifier without reservation.
interface IFaultVerifier {
    /// @notice What a verifier found. `Undecided` closes a challenge without a loser.
    enum Verdict {
        Pending,
        Guilty,
        NotGuilty,
        Undecided
    }

    /// @notice Thrown when the caller is not SlashingManager.
    error CallerNotSlashingManager(address caller);

    /// @notice Begin to judge. SlashingManager only; it has checked the receipt's signature, round and service, and has moved
    /// the fee from the challenger to the verifier.
    /// @param challengeId Unique for this SlashingManager.
    /// @param challenger Who claims a fault.
    /// @param fee LPT wei received for judging.
    /// @param receipt The challenged statement, truly signed by `receipt.orchestrator`.
    /// @param digest EIP-712 digest of `receipt`.
    /// @param evidence Whatever the verifier asks for.
    /// @return The verdict, if it is known at once; else `Pending`.
    function open(
        uint256 challengeId,
        address challenger,
        uint256 fee,
        Receipt calldata receipt,
        bytes32 digest,
        bytes calldata evidence
    ) external returns (Verdict);

    /// @notice Verdict on a challenge that `open` left pending. Must never change once it is not `Pending`.
    function verdict(uint256 challengeId) external view returns (Verdict);
}
