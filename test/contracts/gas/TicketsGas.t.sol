// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Ticket} from "../../../contracts/types/Ticket.sol";
import {OrderedTest} from "../OrderedTest.sol";
import {PlannedGroup} from "../OrderedGroups.sol";

/// @notice The part of forge's cheat codes that measures.
interface GasVm {
    struct Gas {
        uint64 gasLimit;
        uint64 gasTotalUsed;
        uint64 gasMemoryUsed;
        int64 gasRefunded;
        uint64 gasRemaining;
    }

    function lastCallGas() external view returns (Gas memory);
}

/// @notice What the calls of the ticket path cost: each its own cold transaction (`isolate`), 21,000 and calldata included,
/// in a set of 100 orchestrators whose reward for the round was called, with realistic face values and probabilities.
contract TicketsGasTest is OrderedTest {
    uint256 private constant _BATCH = 50;

    event Figure(string name, uint256 gas);

    function setUp() public override {
        super.setUp();
        for (uint256 i = 1; i < 100; ++i) {
            _register(address(uint160(0xabc000 + i)), 10 ether, 100_000, 500_000);
        }
        _register(orchestrator, 1000 ether, 100_000, 500_000);
        _bond(delegator, 100 ether, orchestrator);
        _nextRound();
        _reward(orchestrator);
        _fund(10 ether, 6 ether);
        // The state is steady when the recipient has fees and factors of earlier rounds and of this one.
        _redeem(_ticket(1e15, 1e9));
        _nextRound();
        _reward(orchestrator);
        _redeem(_ticket(1e15, 1e9));
        vm.assertEq(bonding.currentRoundPoolSize(), 100);
    }

    function test_RedeemSingle() external {
        Ticket memory ticket = _gasTicket(7);
        bytes memory sig = _sign(ticket);
        broker.redeemWinningTicket(ticket, sig, RAND);
        _assertGas("redeem_single", 1, 115_000);
    }

    function test_OrderedBatchOfOne() external {
        _redeemOrdered(_gasGroup(SENDER_KEY, 1, 1));
        _figure("ordered_batch_1_first_of_sender", 1);
        _redeemOrdered(_gasGroup(SENDER_KEY, 2, 1));
        _assertGas("ordered_batch_1", 1, 95_000);
    }

    function test_OrderedBatchOfFiftyOfOneSender() external {
        _redeemOrdered(_gasGroup(SENDER_KEY, 1, 1));
        _redeemOrdered(_gasGroup(SENDER_KEY, 2, _BATCH));
        _assertGas("ordered_batch_50_one_sender", _BATCH, 14_000);
    }

    function test_OrderedBatchOfFiftyOfTenSenders() external {
        _measureSenders("ordered_batch_50_ten_senders", 10, 16_000);
    }

    function test_OrderedBatchOfFiftyOfFiftySenders() external {
        _measureSenders("ordered_batch_50_distinct_senders", 50, 23_000);
    }

    /// The dearest outcome, which a gas limit must allow for.
    function test_OrderedBatchOfFiftySetAside() external {
        _redeemOrdered(_gasGroup(SENDER_KEY, 1, 1));
        PlannedGroup memory group = _gasGroup(SENDER_KEY, 2, _BATCH);
        _redeem(_ticket(_deposit(sender) + broker.claimableReserve(sender, orchestrator), 5));
        uint256 fees = broker.unclaimedFees();
        vm.prank(orchestrator);
        _sendOrdered(orchestrator, _groups(group));
        _assertGas("ordered_batch_50_set_aside", _BATCH, 9_000 + 25_000);
        vm.assertEq(broker.unclaimedFees(), fees, "nothing was paid");
    }

    function test_DeployedBatchOfFifty() external {
        (Ticket[] memory tickets, bytes[] memory sigs, uint256[] memory rands) =
            (new Ticket[](_BATCH), new bytes[](_BATCH), new uint256[](_BATCH));
        for (uint256 i = 0; i < _BATCH; ++i) {
            tickets[i] = _gasTicket(100 + i);
            (sigs[i], rands[i]) = (_sign(tickets[i]), RAND);
        }
        broker.batchRedeemWinningTickets(tickets, sigs, rands);
        _assertGas("deployed_batch_50_one_sender", _BATCH, 81_425);
    }

    function test_FundDepositRepeat() external {
        vm.prank(sender);
        broker.fundDeposit{value: 1 ether}();
        vm.prank(sender);
        broker.fundDeposit{value: 1 ether}();
        _assertGas("fund_deposit_repeat", 1, 40_000);
    }

    function _measureSenders(string memory name, uint256 n, uint256 limit) private {
        uint256[] memory keys = _senderKeys(n);
        PlannedGroup[] memory first = new PlannedGroup[](n);
        for (uint256 i = 0; i < n; ++i) {
            _fundKey(keys[i], 10 ether, 1 ether);
            first[i] = _gasGroup(keys[i], 1, 1);
        }
        _redeemOrdered(first);
        _figure(string.concat(name, "_first_of_senders"), n);
        PlannedGroup[] memory groups = new PlannedGroup[](n);
        for (uint256 i = 0; i < n; ++i) {
            groups[i] = _gasGroup(keys[i], 2, _BATCH / n);
        }
        uint256 fees = broker.unclaimedFees();
        vm.prank(orchestrator);
        _sendOrdered(orchestrator, groups);
        _assertGas(name, _BATCH, limit);
        vm.assertEq(broker.unclaimedFees(), fees + _BATCH * _FACE_VALUE, "every ticket was paid");
    }

    /// @dev Face value and probability fill as many bytes as in practice.
    uint256 private constant _FACE_VALUE = 0x1122334455667;

    function _gasTicket(uint256 nonce) private view returns (Ticket memory ticket) {
        ticket = _ticket(_FACE_VALUE, nonce);
        ticket.winProb = CERTAIN;
    }

    /// @dev `n` winners with a secret each.
    function _gasGroup(uint256 key, uint256 serial, uint256 n) private view returns (PlannedGroup memory) {
        Winner[] memory winners = new Winner[](n);
        for (uint256 i = 0; i < n; ++i) {
            winners[i] = _winner(key, _FACE_VALUE, 1_700_000_000_000 + serial * 100 + i, 3);
        }
        return _group(winners);
    }

    function _figure(string memory name, uint256 tickets) private returns (uint256 gas) {
        gas = GasVm(address(vm)).lastCallGas().gasTotalUsed / tickets;
        emit Figure(name, gas);
    }

    function _assertGas(string memory name, uint256 tickets, uint256 limit) private {
        GasVm.Gas memory used = GasVm(address(vm)).lastCallGas();
        uint256 gas = used.gasTotalUsed / tickets;
        emit Figure(name, gas);
        vm.assertLe(gas, limit, name);
    }
}
