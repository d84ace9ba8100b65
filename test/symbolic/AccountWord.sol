// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Account, AccountWord} from "../../contracts/types/Account.sol";
import {SymbolicTest} from "./SymbolicTest.sol";

/// @notice The parts of an account's word do not touch each other, whatever is in them.
contract AccountWordProof is SymbolicTest {
    function pack(uint256 deposit, uint256 reserve, uint256 withdrawRound) external pure returns (Account) {
        return AccountWord.pack(deposit, reserve, withdrawRound);
    }

    function spend(Account account, uint256 fromDeposit, uint256 fromReserve) external pure returns (Account) {
        return account.spend(fromDeposit, fromReserve);
    }

    /// What fits comes back part by part; what does not is refused, never cut.
    function check_PackKeepsEveryPartOrRefuses(uint256 deposit, uint256 reserve, uint256 withdrawRound) external view {
        bool fits = deposit >> 96 == 0 && reserve >> 96 == 0 && withdrawRound >> 64 == 0;
        try this.pack(deposit, reserve, withdrawRound) returns (Account account) {
            assert(fits);
            assert(account.deposit() == deposit);
            assert(account.reserve() == reserve);
            assert(account.withdrawRound() == withdrawRound);
        } catch {
            assert(!fits);
        }
    }

    /// Every word is the word of its parts: no bit is outside them.
    function check_WordIsItsParts(Account account) external pure {
        Account again = AccountWord.pack(account.deposit(), account.reserve(), account.withdrawRound());
        assert(Account.unwrap(again) == Account.unwrap(account));
    }

    function check_SpendDepositTakesFromDepositAlone(Account account, uint256 amount) external pure {
        vm.assume(amount <= account.deposit());
        Account left = account.spendDeposit(amount);
        assert(left.deposit() == account.deposit() - amount);
        assert(left.reserve() == account.reserve());
        assert(left.withdrawRound() == account.withdrawRound());
    }

    /// Each part loses what is taken of it; more than there is cannot be taken.
    function check_SpendTakesEachPartOrRefuses(Account account, uint256 fromDeposit, uint256 fromReserve)
        external
        view
    {
        bool covered = fromDeposit <= account.deposit() && fromReserve <= account.reserve();
        try this.spend(account, fromDeposit, fromReserve) returns (Account left) {
            assert(covered);
            assert(left.deposit() == account.deposit() - fromDeposit);
            assert(left.reserve() == account.reserve() - fromReserve);
            assert(left.withdrawRound() == account.withdrawRound());
        } catch {
            assert(!covered);
        }
    }

    function check_ViewsAgreeWithTheParts(Account account, uint256 round) external pure {
        assert(account.hasFunds() == (account.deposit() + account.reserve() > 0));
        assert(account.isUnlocked(round) == (account.withdrawRound() > 0 && round >= account.withdrawRound()));
    }
}
