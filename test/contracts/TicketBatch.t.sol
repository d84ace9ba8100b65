// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IBondingManager} from "../../contracts/interfaces/IBondingManager.sol";
import {ITicketBroker} from "../../contracts/interfaces/ITicketBroker.sol";
import {Ticket} from "../../contracts/types/Ticket.sol";
import {StreamflowTest} from "./StreamflowTest.sol";
import {Vm} from "./Vm.sol";

/// @notice Batches: one bad ticket never stops the others.
contract TicketBatchTest is StreamflowTest {
    function setUp() public override {
        super.setUp();
        _register(orchestrator, 1000 ether, 100_000, 500_000);
        _nextRound();
        _fund(10 ether, 6 ether);
    }

    function test_Batch_PaysEveryTicket() external {
        (Ticket[] memory tickets, bytes[] memory sigs, uint256[] memory rands) = _batch(5, 1 ether);
        broker.batchRedeemWinningTickets(tickets, sigs, rands);
        vm.assertEq(broker.unclaimedFees(), 5 ether);
        for (uint256 i = 0; i < 5; ++i) {
            vm.assertTrue(broker.usedTickets(broker.getTicketHash(tickets[i])));
        }
    }

    function test_GivenEmptyBatch_NothingHappens() external {
        broker.batchRedeemWinningTickets(new Ticket[](0), new bytes[](0), new uint256[](0));
        vm.assertEq(broker.unclaimedFees(), 0);
    }

    function test_Invariant14_GivenBadTickets_TheOthersArePaidAndReasonsReported() external {
        (Ticket[] memory tickets, bytes[] memory sigs, uint256[] memory rands) = _batch(6, 1 ether);
        tickets[0].recipient = address(0);
        sigs[1] = new bytes(65);
        tickets[2] = tickets[3];
        (sigs[2], rands[2]) = (sigs[3], rands[3]);
        tickets[4].auxData = new bytes(1000);
        vm.expectEmit(address(broker));
        emit ITicketBroker.TicketSkipped(
            broker.getTicketHash(tickets[0]), sender, abi.encodeWithSelector(ITicketBroker.NullRecipient.selector)
        );
        vm.expectEmit(address(broker));
        emit ITicketBroker.TicketSkipped(
            broker.getTicketHash(tickets[1]), sender, abi.encodeWithSelector(ITicketBroker.InvalidSignature.selector)
        );
        vm.expectEmit(address(broker));
        emit ITicketBroker.TicketSkipped(
            broker.getTicketHash(tickets[3]),
            sender,
            abi.encodeWithSelector(ITicketBroker.TicketUsed.selector, broker.getTicketHash(tickets[3]))
        );
        vm.expectEmit(address(broker));
        emit ITicketBroker.TicketSkipped(
            broker.getTicketHash(tickets[4]),
            sender,
            abi.encodeWithSelector(ITicketBroker.InvalidAuxDataLength.selector, 1000)
        );
        broker.batchRedeemWinningTickets(tickets, sigs, rands);
        // Paid: 2 (then its copy 3 is refused) and 5.
        vm.assertEq(broker.unclaimedFees(), 2 ether);
    }

    function test_GivenStringReason_ItIsReportedWhole() external {
        (Ticket[] memory tickets, bytes[] memory sigs, uint256[] memory rands) = _batch(1, 1 ether);
        tickets[0].auxData = abi.encode(uint256(3), bytes32(0));
        vm.expectEmit(address(broker));
        emit ITicketBroker.TicketSkipped(
            broker.getTicketHash(tickets[0]),
            sender,
            abi.encodeWithSignature("Error(string)", "ticket creationRound does not have a block hash")
        );
        broker.batchRedeemWinningTickets(tickets, sigs, rands);
    }

    function test_GivenFundsRunOut_LaterTicketsStayRedeemable() external {
        (Ticket[] memory tickets, bytes[] memory sigs, uint256[] memory rands) = _batch(3, 7 ether);
        broker.batchRedeemWinningTickets(tickets, sigs, rands);
        vm.assertEq(broker.unclaimedFees(), 14 ether);
        vm.assertFalse(broker.usedTickets(broker.getTicketHash(tickets[2])));
        _fund(5 ether, 0);
        broker.batchRedeemWinningTickets(tickets, sigs, rands);
        vm.assertEq(broker.unclaimedFees(), 21 ether);
    }

    function test_RevertWhen_LengthsDiffer() external {
        (Ticket[] memory tickets, bytes[] memory sigs, uint256[] memory rands) = _batch(2, 1 ether);
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.BatchLengthMismatch.selector, 2, 1, 2));
        broker.batchRedeemWinningTickets(tickets, new bytes[](1), rands);
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.BatchLengthMismatch.selector, 2, 2, 3));
        broker.batchRedeemWinningTickets(tickets, sigs, new uint256[](3));
    }

    function test_RevertWhen_Paused() external {
        (Ticket[] memory tickets, bytes[] memory sigs, uint256[] memory rands) = _batch(1, 1 ether);
        _pause();
        _expectPaused();
        broker.batchRedeemWinningTickets(tickets, sigs, rands);
    }

    function test_RevertWhen_RoundIsNotInitialized() external {
        (Ticket[] memory tickets, bytes[] memory sigs, uint256[] memory rands) = _batch(1, 1 ether);
        _rollToNextRound();
        _expectNotInitialized();
        broker.batchRedeemWinningTickets(tickets, sigs, rands);
    }

    /// Whatever gas a caller gives, a batch never succeeds with tickets left out for want of gas: an estimate by bisection
    /// would otherwise settle on skipping them.
    function testFuzz_GivenAnyGas_BatchPaysAllOrReverts(uint256 gas) external {
        (Ticket[] memory tickets, bytes[] memory sigs, uint256[] memory rands) = _batch(3, 1 ether);
        gas = 50_000 + gas % 700_000;
        bytes memory call = abi.encodeCall(broker.batchRedeemWinningTickets, (tickets, sigs, rands));
        (bool ok,) = address(broker).call{gas: gas}(call);
        vm.assertEq(broker.unclaimedFees(), ok ? 3 ether : 0);
    }

    /// The same for the costliest redemption, which leaves the batch most gas to go on with when it fails: the least gas that
    /// succeeds pays.
    function test_GivenLeastSufficientGas_CostliestTicketIsPaid() external {
        (Ticket[] memory tickets, bytes[] memory sigs, uint256[] memory rands) = _batch(1, 11 ether);
        bytes memory call = abi.encodeCall(broker.batchRedeemWinningTickets, (tickets, sigs, rands));
        uint256 gas = 200_000;
        bool ok = false;
        for (; !ok && gas < 600_000; gas += 250) {
            (ok,) = address(broker).call{gas: gas}(call);
        }
        vm.assertTrue(ok);
        vm.assertEq(broker.unclaimedFees(), 11 ether);
    }

    /// A batch leaves the same state as the same redemptions one by one, each refusal included.
    function testFuzz_Invariant14_BatchEqualsSingles(uint256 seed) external {
        (Ticket[] memory tickets, bytes[] memory sigs, uint256[] memory rands) = _randomBatch(6, seed);
        bytes32 singles = _stateAfterSingles(tickets, sigs, rands);
        broker.batchRedeemWinningTickets(tickets, sigs, rands);
        vm.assertEq(_state(tickets), singles);
    }

    function testFuzz_Invariant07_DuplicatesPayOnce(uint256 seed) external {
        Ticket memory ticket = _ticket(1 ether, seed);
        (Ticket[] memory tickets, bytes[] memory sigs, uint256[] memory rands) = _batch(4, 1 ether);
        for (uint256 i = 0; i < 4; ++i) {
            if ((seed >> i) & 1 == 0) continue;
            tickets[i] = ticket;
            sigs[i] = _sign(ticket);
        }
        if (seed & 16 != 0) _redeem(ticket);
        broker.batchRedeemWinningTickets(tickets, sigs, rands);
        broker.batchRedeemWinningTickets(tickets, sigs, rands);
        uint256 distinct = 0;
        bool counted = seed & 16 != 0;
        if (counted) distinct = 1;
        for (uint256 i = 0; i < 4; ++i) {
            bool copy = (seed >> i) & 1 != 0;
            if (!copy || !counted) ++distinct;
            if (copy) counted = true;
        }
        vm.assertEq(broker.unclaimedFees(), distinct * 1 ether);
    }

    function _stateAfterSingles(Ticket[] memory tickets, bytes[] memory sigs, uint256[] memory rands)
        private
        returns (bytes32 state)
    {
        try this.redeemSinglesAndRevert(tickets, sigs, rands) {
            revert("must revert");
        } catch (bytes memory reason) {
            vm.assertEq(reason.length, 32);
            return abi.decode(reason, (bytes32));
        }
    }

    /// @dev Redeems one by one and hands the resulting state out in the revert data, so that nothing of it remains.
    function redeemSinglesAndRevert(Ticket[] memory tickets, bytes[] memory sigs, uint256[] memory rands) external {
        for (uint256 i = 0; i < tickets.length; ++i) {
            try broker.redeemWinningTicket(tickets[i], sigs[i], rands[i]) {} catch {}
        }
        bytes memory state = abi.encode(_state(tickets));
        assembly ("memory-safe") {
            revert(add(state, 0x20), mload(state))
        }
    }

    function _state(Ticket[] memory tickets) private view returns (bytes32) {
        bytes memory used;
        for (uint256 i = 0; i < tickets.length; ++i) {
            used = abi.encodePacked(used, broker.usedTickets(broker.getTicketHash(tickets[i])));
        }
        (ITicketBroker.Sender memory info, ITicketBroker.ReserveInfo memory reserve) = broker.getSenderInfo(sender);
        return keccak256(
            abi.encode(
                used,
                info,
                reserve,
                broker.unclaimedFees(),
                broker.claimedReserve(sender, orchestrator),
                bonding.pendingFees(orchestrator, 0),
                bonding.pendingFees(stranger, 0)
            )
        );
    }

    function _batch(uint256 n, uint256 faceValue)
        private
        view
        returns (Ticket[] memory tickets, bytes[] memory sigs, uint256[] memory rands)
    {
        (tickets, sigs, rands) = (new Ticket[](n), new bytes[](n), new uint256[](n));
        for (uint256 i = 0; i < n; ++i) {
            tickets[i] = _ticket(faceValue, 1e30 + i);
            sigs[i] = _sign(tickets[i]);
            rands[i] = RAND;
        }
    }

    function _randomBatch(uint256 n, uint256 seed)
        private
        view
        returns (Ticket[] memory tickets, bytes[] memory sigs, uint256[] memory rands)
    {
        (tickets, sigs, rands) = _batch(n, 1 ether);
        for (uint256 i = 0; i < n; ++i) {
            uint256 dice = uint256(keccak256(abi.encode(seed, i)));
            tickets[i].faceValue = (dice >> 8) % 8 ether;
            if (dice & 3 == 0) tickets[i].winProb = CERTAIN / 2;
            if (dice & 12 == 0) tickets[i].recipient = stranger;
            if (dice & 48 == 0 && i > 0) tickets[i] = tickets[i - 1];
            sigs[i] = dice & 192 == 0 ? new bytes(65) : _sign(tickets[i]);
        }
    }
}
