// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ITicketBroker} from "../../contracts/interfaces/ITicketBroker.sol";
import {Ticket} from "../../contracts/types/Ticket.sol";
import {StreamflowTest} from "./StreamflowTest.sol";

/// @notice Errors that no call of another test meets. `script/errors` finds for each error of the contracts its test.
contract ErrorsTest is StreamflowTest {
    function setUp() public override {
        super.setUp();
        _register(orchestrator, 1000 ether, 100_000, 500_000);
        _nextRound();
        _fund(10 ether, 6 ether);
    }

    /// The caller's gas ends within a redemption, and the batch with what is left of it tells why.
    function test_RevertWhen_GasEndsInTheMiddleOfABatch() external {
        Ticket[] memory tickets = new Ticket[](1);
        (bytes[] memory sigs, uint256[] memory rands) = (new bytes[](1), new uint256[](1));
        (tickets[0], rands[0]) = (_ticket(1 ether, 1), RAND);
        sigs[0] = _sign(tickets[0]);
        uint256 gas = _gasThatEndsInTheMiddle(abi.encodeCall(broker.batchRedeemWinningTickets, (tickets, sigs, rands)));
        vm.expectRevert(ITicketBroker.BatchOutOfGas.selector);
        broker.batchRedeemWinningTickets{gas: gas}(tickets, sigs, rands);
        vm.assertEq(broker.unclaimedFees(), 0);
    }

    /// @dev The most gas, to a thousand, with which the batch does not succeed.
    function _gasThatEndsInTheMiddle(bytes memory call) private returns (uint256 gas) {
        for (gas = 30_000; !_succeeds(call, gas); gas += 1000) {}
        gas -= 1000;
    }

    /// @dev Tries, and takes back what came of it.
    function _succeeds(bytes memory call, uint256 gas) private returns (bool) {
        try this.tryAndRevert(call, gas) {}
        catch (bytes memory reason) {
            return abi.decode(reason, (bool));
        }
        return false;
    }

    function tryAndRevert(bytes calldata call, uint256 gas) external {
        (bool ok,) = address(broker).call{gas: gas}(call);
        assembly ("memory-safe") {
            mstore(0x00, ok)
            revert(0x00, 0x20)
        }
    }
}
