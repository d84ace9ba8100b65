// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {OrderedHandler} from "./OrderedHandler.sol";
import {StreamflowTest} from "./StreamflowTest.sol";

/// @notice What must hold after any mix of single, batch and ordered redemptions. That each call books exactly the sum of what
/// it paid, and that marks only grow, is asserted by the handler at every call.
contract OrderedInvariantsTest is StreamflowTest {
    OrderedHandler private _handler;

    function setUp() public override {
        super.setUp();
        address[] memory recipients = new address[](2);
        (recipients[0], recipients[1]) = (orchestrator, stranger);
        _register(orchestrator, 1000 ether, 100_000, 500_000);
        _register(stranger, 500 ether, 0, 1_000_000);
        _nextRound();
        _handler = new OrderedHandler(bonding, rounds, broker, recipients, ROUND_LENGTH);
        for (uint256 i = 0; i < _handler.senderCount(); ++i) {
            _handler.fund(i, 6 ether, 5 ether);
            _handler.commit(i, 0, 3 ether);
        }
        _nextRound();
    }

    /// @notice Tells forge what to call.
    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    /// 1, 4, 6, 7, 8 over all three paths.
    function invariant_EveryTicketPaysOnceAndExactly() external view {
        // One call: with forge's isolation every call of a test is a transaction of its own, and slow.
        this.assertBooks();
    }

    function assertBooks() external view {
        uint256 owed = broker.unclaimedFees();
        uint256 paid = 0;
        for (uint256 i = 0; i < _handler.senderCount(); ++i) {
            address account = _handler.sender(i);
            uint256 funds = _handler.funds(account);
            vm.assertEq(
                _handler.funded(account),
                funds + _handler.paid(account) + _handler.withdrawn(account),
                "a sender pays its own tickets only"
            );
            owed += funds;
            paid += _handler.paid(account);
        }
        vm.assertEq(address(broker).balance, owed, "balance = deposits + reserves + commitments + fees");
        vm.assertEq(paid, broker.unclaimedFees(), "fees are the face values paid");
        for (uint256 i = 0; i < _handler.paidTicketCount(); ++i) {
            bytes32 ticketHash = _handler.paidTickets(i);
            vm.assertEq(_handler.payments(ticketHash), 1, "a ticket pays once");
            vm.assertFalse(broker.isSetAside(ticketHash), "nothing paid lies aside");
        }
        for (uint256 i = 0; i < _handler.setAsideTicketCount(); ++i) {
            bytes32 ticketHash = _handler.setAsideTickets(i);
            vm.assertTrue(
                broker.isSetAside(ticketHash) != (_handler.payments(ticketHash) == 1),
                "what came aside lies there until it is paid"
            );
        }
    }

    /// A long walk with a fixed seed: the books balance all along, and no action was idle, so the campaign is not vacuous.
    function test_GivenLongWalk_EveryActionTookPart() external {
        _walk(0x5eed, 2000);
        string[13] memory actions = [
            "fund",
            "commit",
            "release",
            "withdrawReleased",
            "unlock",
            "withdraw",
            "single",
            "batch",
            "ordered",
            "skipped",
            "setAside",
            "paidFromAside",
            "nextRound"
        ];
        for (uint256 i = 0; i < actions.length; ++i) {
            vm.assertGe(_handler.done(bytes32(bytes(actions[i]))), 5, actions[i]);
        }
    }

    /// Any short mix from a fresh start.
    function testFuzz_AnyMixOfPathsPaysAtMostOnceAndExactly(uint256 seed) external {
        this.walk(seed, 0, 24);
        this.assertBooks();
    }

    function walk(uint256 seed, uint256 from, uint256 steps) external {
        for (uint256 i = from; i < from + steps; ++i) {
            uint256 d = uint256(keccak256(abi.encode(seed, i)));
            _step(d % 16, d >> 8, uint256(keccak256(abi.encode(d))), uint256(keccak256(abi.encode(d, d))));
        }
    }

    function _walk(uint256 seed, uint256 steps) private {
        for (uint256 i = 0; i < steps; i += 50) {
            this.walk(seed, i, 50);
            this.assertBooks();
        }
    }

    function _step(uint256 action, uint256 x, uint256 y, uint256 z) private {
        if (action == 0) _handler.fund(x, y, z);
        if (action == 1) _handler.commit(x, y, z);
        if (action == 2) _handler.release(x, y, z);
        if (action == 3) _handler.withdrawReleased(x, y);
        if (action == 4) _handler.unlock(x);
        if (action == 5) _handler.withdraw(x);
        if (action == 6) _handler.nextRound(x);
        if (action == 7 || action == 8) _handler.single(x, y, z);
        if (action == 9) _handler.batch(x, y, z);
        if (action > 9) _handler.ordered(y, z);
    }
}
