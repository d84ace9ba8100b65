// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

/// @notice A sender's funds in one word: withdrawRound 64 bits | reserve 96 bits | deposit 96 bits, the last lowest. Amounts in
/// wei, of which 2^96 are 79 billion ether; withdrawRound zero = locked.
type Account is uint256;

using AccountWord for Account global;

/// @notice Reads and writes the parts of the word: one load and one store per call, whatever changes.
library AccountWord {
    using SafeCast for uint256;

    /// @notice The word of its parts; reverts if an amount or the round does not fit.
    function pack(uint256 deposit_, uint256 reserve_, uint256 withdrawRound_) internal pure returns (Account) {
        return Account.wrap(
            (uint256(withdrawRound_.toUint64()) << 192) | (uint256(reserve_.toUint96()) << 96) | deposit_.toUint96()
        );
    }

    /// @notice The word with `amount` less deposit. The caller has checked that there is as much.
    function spendDeposit(Account account, uint256 amount) internal pure returns (Account) {
        unchecked {
            return Account.wrap(Account.unwrap(account) - amount);
        }
    }

    /// @notice The word with less deposit and less reserve.
    function spend(Account account, uint256 fromDeposit, uint256 fromReserve) internal pure returns (Account) {
        assert(fromDeposit <= deposit(account) && fromReserve <= reserve(account));
        unchecked {
            return Account.wrap(Account.unwrap(account) - fromDeposit - (fromReserve << 96));
        }
    }

    /// @notice Wei that pay tickets of any recipient.
    function deposit(Account account) internal pure returns (uint256) {
        return uint96(Account.unwrap(account));
    }

    /// @notice Wei of reserve not yet claimed.
    function reserve(Account account) internal pure returns (uint256) {
        return uint96(Account.unwrap(account) >> 96);
    }

    /// @notice Round from which the funds are unlocked; zero = locked.
    function withdrawRound(Account account) internal pure returns (uint256) {
        return Account.unwrap(account) >> 192;
    }

    /// @notice Whether there is anything to unlock or withdraw.
    function hasFunds(Account account) internal pure returns (bool) {
        return Account.unwrap(account) << 64 != 0;
    }

    /// @notice Whether the funds can be withdrawn in `round`, and pay no tickets.
    function isUnlocked(Account account, uint256 round) internal pure returns (bool) {
        uint256 unlockedFrom = withdrawRound(account);
        return unlockedFrom > 0 && round >= unlockedFrom;
    }
}
