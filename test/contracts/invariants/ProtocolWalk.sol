// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ProtocolBooks} from "./ProtocolBooks.sol";

/// @notice Walks of the handler that a seed decides, and the check of one rule by its number.
abstract contract ProtocolWalk is ProtocolBooks {
    /// @dev Rules above this number are not about state.
    uint256 internal constant LAST_RULE = 32;

    /// @notice Fails if the rule does not hold.
    function check(uint256 number) public view {
        _assertNone(_handler.broken(number));
        if (number < 13) _checkEther(number);
        else _checkStake(number);
    }

    /// @notice Every rule.
    function checkAll() external view {
        for (uint256 number = 0; number <= LAST_RULE; ++number) {
            check(number);
        }
    }

    function walk(uint256 seed, uint256 from, uint256 steps) external {
        for (uint256 i = from; i < from + steps; ++i) {
            uint256 d = uint256(keccak256(abi.encode(seed, i)));
            (uint256 x, uint256 y, uint256 z) =
                (d >> 8, uint256(keccak256(abi.encode(d))), uint256(keccak256(abi.encode(d, d))));
            uint256 action = d % 32;
            if (action < 10) _stepOfSender(action, x, y, z);
            else if (action < 22) _stepOfStaker(action, x, y, z);
            else _stepOfChain(action, x, y);
        }
    }

    function _stepOfSender(uint256 action, uint256 x, uint256 y, uint256 z) private {
        if (action == 0) _handler.fund(x, y, z, x % 5 == 0);
        if (action == 1) _handler.unlock(x);
        if (action == 2) _handler.cancelUnlock(x);
        if (action == 3) _handler.withdraw(x);
        if (action == 4) _handler.commit(x, y, z);
        if (action == 5) _handler.release(x, y, z);
        if (action == 6) _handler.withdrawReleased(x, y);
        if (action == 7) _handler.single(x, y, z);
        if (action == 8) _handler.batch(x, y, z);
        if (action == 9) _handler.ordered(y, z);
    }

    function _stepOfStaker(uint256 action, uint256 x, uint256 y, uint256 z) private {
        if (action < 13) _handler.bond(x, y, z);
        if (action == 13) _handler.unbond(x, y);
        if (action == 14) _handler.rebond(x, y, z);
        if (action == 15) _handler.withdrawStake(x, y);
        if (action == 16 || action == 17) _handler.reward(x, y);
        if (action == 18) _handler.transcoder(x, y, z);
        if (action == 19) _handler.claim(x);
        if (action == 20) _handler.withdrawFees(x, y);
        if (action == 21) _handler.single(x, y, z);
    }

    function _stepOfChain(uint256 action, uint256 x, uint256 y) private {
        if (action == 22) _handler.challenge(x >> 8, y);
        if (action == 23) _handler.setSlashing(x);
        if (action == 24) x % 4 == 0 ? _handler.pause(x >> 2, y) : _handler.single(x >> 2, y, x);
        if (action == 25) _handler.join(x);
        if (action == 26) _handler.passBlocks(x);
        if (action == 27 || action == 28) _handler.ordered(x, y);
        if (action == 29) _handler.single(y, x, y >> 128);
        if (action > 29) _handler.nextRound(x);
    }

    function _assertNone(string memory broken) internal pure {
        vm.assertTrue(bytes(broken).length == 0, broken);
    }

    function _checkEther(uint256 number) private view {
        if (number == 1) _assert01();
        if (number == 2) _assert02();
        if (number == 3) _assert03();
        if (number == 4) _assert04();
        if (number == 6) _assert06();
        if (number == 7) _assert07();
        if (number == 8) _assert08();
        if (number == 12) _assert12();
    }

    function _checkStake(uint256 number) private view {
        if (number == 13) _assert13();
        if (number == 19) _assert19();
        if (number == 21) _assert21();
        if (number == 22) _assert22();
        if (number == 23) _assert23();
        if (number == 24) _assert24();
        if (number == 26) _assert26();
        if (number == 27) _assert27();
        if (number == 28) _assert28();
    }
}
