// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {TicketBroker} from "../../contracts/TicketBroker.sol";
import {ITicketBroker} from "../../contracts/interfaces/ITicketBroker.sol";
import {StreamflowTest} from "./StreamflowTest.sol";

/// @notice A contract that cannot be paid.
contract Unpayable {
    TicketBroker private immutable _BROKER;

    constructor(TicketBroker broker) payable {
        _BROKER = broker;
        broker.fundDeposit{value: msg.value}();
        broker.unlock();
    }

    function withdraw() external {
        _BROKER.withdraw();
    }
}

/// @notice A contract that spends more than 2300 gas when paid and tries to be paid twice.
contract Greedy {
    TicketBroker private immutable _BROKER;
    uint256 public received;
    bool public reentered;

    constructor(TicketBroker broker) payable {
        _BROKER = broker;
        broker.fundDepositAndReserve{value: msg.value}(msg.value / 2, msg.value - msg.value / 2);
        broker.unlock();
    }

    receive() external payable {
        received += msg.value;
        try _BROKER.withdraw() {
            reentered = true;
        } catch {}
    }

    function withdraw() external {
        _BROKER.withdraw();
    }
}

contract TicketBrokerFundsTest is StreamflowTest {
    function test_FundDeposit_AddsAndReports() external {
        vm.expectEmit(address(broker));
        emit ITicketBroker.DepositFunded(sender, 3 ether);
        vm.prank(sender);
        broker.fundDeposit{value: 3 ether}();
        _assertFunds(sender, 3 ether, 0, 0);
    }

    function test_FundReserve_AddsAndReports() external {
        vm.expectEmit(address(broker));
        emit ITicketBroker.ReserveFunded(sender, 3 ether);
        vm.prank(sender);
        broker.fundReserve{value: 3 ether}();
        _assertFunds(sender, 0, 3 ether, 0);
    }

    function test_FundDepositAndReserve_ReportsReserveFirst() external {
        vm.expectEmit(address(broker));
        emit ITicketBroker.ReserveFunded(sender, 2 ether);
        vm.expectEmit(address(broker));
        emit ITicketBroker.DepositFunded(sender, 1 ether);
        _fund(1 ether, 2 ether);
        _assertFunds(sender, 1 ether, 2 ether, 0);
        vm.assertEq(address(broker).balance, 3 ether);
    }

    function test_RevertWhen_ValueIsNotTheSum() external {
        vm.startPrank(sender);
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.ValueMismatch.selector, 3, 1, 1));
        broker.fundDepositAndReserve{value: 3}(1, 1);
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.ValueMismatch.selector, 3, 4, 0));
        broker.fundDepositAndReserve{value: 3}(4, 0);
        // A sum that wraps around.
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.ValueMismatch.selector, 3, type(uint256).max, 4));
        broker.fundDepositAndReserve{value: 3}(type(uint256).max, 4);
        vm.stopPrank();
    }

    function test_RevertWhen_FundingNobody() external {
        vm.prank(sender);
        vm.expectRevert(ITicketBroker.NullSender.selector);
        broker.fundDepositAndReserveFor{value: 1}(address(0), 1, 0);
    }

    function test_RevertWhen_EtherIsSentPlainly() external {
        vm.prank(sender);
        (bool ok,) = address(broker).call{value: 1}("");
        vm.assertFalse(ok);
    }

    function test_RevertWhen_Paused() external {
        _fund(1 ether, 1 ether);
        _pause();
        vm.startPrank(sender);
        _expectPaused();
        broker.fundDeposit{value: 1}();
        _expectPaused();
        broker.fundReserve{value: 1}();
        _expectPaused();
        broker.fundDepositAndReserve{value: 1}(1, 0);
        _expectPaused();
        broker.fundDepositAndReserveFor{value: 1}(stranger, 1, 0);
        _expectPaused();
        broker.unlock();
        _expectPaused();
        broker.cancelUnlock();
        _expectPaused();
        broker.commitReserve{value: 1}(stranger);
        _expectPaused();
        broker.releaseReserve(stranger, 0);
        vm.stopPrank();
        vm.prank(address(bonding));
        _expectPaused();
        broker.withdrawFees(payable(stranger), 0);
    }

    function test_Unlock_SetsTheRoundAndReports() external {
        _fund(1 ether, 0);
        uint256 round = rounds.currentRound();
        vm.expectEmit(address(broker));
        emit ITicketBroker.Unlock(sender, round, round + 2);
        vm.prank(sender);
        broker.unlock();
        _assertFunds(sender, 1 ether, 0, round + 2);
        vm.assertTrue(broker.isUnlockInProgress(sender));
    }

    function test_RevertWhen_UnlockingNothing() external {
        vm.prank(sender);
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.NoFunds.selector, sender));
        broker.unlock();
    }

    function test_RevertWhen_UnlockingTwice() external {
        _fund(0, 1 ether);
        vm.startPrank(sender);
        broker.unlock();
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.UnlockInProgress.selector, rounds.currentRound() + 2));
        broker.unlock();
        vm.stopPrank();
    }

    function test_CancelUnlock_LocksAndReports() external {
        _fund(1 ether, 0);
        vm.startPrank(sender);
        broker.unlock();
        vm.expectEmit(address(broker));
        emit ITicketBroker.UnlockCancelled(sender);
        broker.cancelUnlock();
        vm.expectRevert(ITicketBroker.NoUnlockInProgress.selector);
        broker.cancelUnlock();
        vm.stopPrank();
        _assertFunds(sender, 1 ether, 0, 0);
    }

    function test_GivenUnlocking_OwnFundingLocksAgain() external {
        _fund(1 ether, 0);
        for (uint256 i = 0; i < 3; ++i) {
            vm.startPrank(sender);
            broker.unlock();
            vm.expectEmit(address(broker));
            emit ITicketBroker.UnlockCancelled(sender);
            if (i == 0) broker.fundDeposit{value: 1}();
            if (i == 1) broker.fundReserve{value: 1}();
            if (i == 2) broker.fundDepositAndReserveFor{value: 2}(sender, 1, 1);
            vm.stopPrank();
            vm.assertFalse(broker.isUnlockInProgress(sender));
        }
    }

    function test_Invariant12_GivenUnlocking_FundingByOthersChangesNoUnlock() external {
        _fund(1 ether, 0);
        vm.prank(sender);
        broker.unlock();
        uint256 withdrawRound = rounds.currentRound() + 2;
        vm.startPrank(stranger);
        broker.fundDepositAndReserveFor(sender, 0, 0);
        broker.fundDepositAndReserveFor{value: 7}(sender, 3, 4);
        vm.stopPrank();
        _assertFunds(sender, 1 ether + 3, 4, withdrawRound);
    }

    function test_RevertWhen_WithdrawingLockedFunds() external {
        _fund(1 ether, 1 ether);
        uint256 round = rounds.currentRound();
        vm.startPrank(sender);
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.AccountLocked.selector, 0, round));
        broker.withdraw();
        broker.unlock();
        vm.stopPrank();
        _nextRound();
        vm.prank(sender);
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.AccountLocked.selector, round + 2, round + 1));
        broker.withdraw();
    }

    function test_RevertWhen_WithdrawingNothing() external {
        vm.prank(sender);
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.NoFunds.selector, sender));
        broker.withdraw();
    }

    function test_Withdraw_PaysAllAndLocksTheAccountAgain() external {
        _fund(1 ether, 2 ether);
        vm.prank(sender);
        broker.unlock();
        _nextRounds(2);
        uint256 before = sender.balance;
        vm.expectEmit(address(broker));
        emit ITicketBroker.Withdrawal(sender, 1 ether, 2 ether);
        vm.prank(sender);
        broker.withdraw();
        vm.assertEq(sender.balance, before + 3 ether);
        _assertFunds(sender, 0, 0, 0);
        // Money that others send later is locked like any other.
        vm.prank(stranger);
        broker.fundDepositAndReserveFor{value: 5 ether}(sender, 5 ether, 0);
        bytes memory refusal = abi.encodeWithSelector(ITicketBroker.AccountLocked.selector, 0, rounds.currentRound());
        vm.prank(sender);
        vm.expectRevert(refusal);
        broker.withdraw();
    }

    /// A pause never traps money that is unlocked.
    function test_GivenPause_UnlockedFundsCanBeWithdrawn() external {
        _fund(1 ether, 2 ether);
        vm.prank(sender);
        broker.unlock();
        _nextRounds(2);
        _pause();
        uint256 before = sender.balance;
        vm.prank(sender);
        broker.withdraw();
        vm.assertEq(sender.balance, before + 3 ether);
    }

    /// Nor does it let anything out that is not.
    function test_RevertWhen_WithdrawingLockedFundsUnderPause() external {
        _fund(1 ether, 2 ether);
        _pause();
        bytes memory refusal = abi.encodeWithSelector(ITicketBroker.AccountLocked.selector, 0, rounds.currentRound());
        vm.prank(sender);
        vm.expectRevert(refusal);
        broker.withdraw();
    }

    function test_RevertWhen_ReceiverRefusesEther() external {
        vm.deal(address(this), 1 ether);
        Unpayable unpayable = new Unpayable{value: 1 ether}(broker);
        _nextRounds(2);
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.TransferFailed.selector, address(unpayable)));
        unpayable.withdraw();
        _assertFunds(address(unpayable), 1 ether, 0, rounds.currentRound());
    }

    function test_GivenReentrantReceiver_FundsArePaidOnce() external {
        _fund(10 ether, 0);
        vm.deal(address(this), 2 ether);
        Greedy greedy = new Greedy{value: 2 ether}(broker);
        _nextRounds(2);
        greedy.withdraw();
        vm.assertEq(greedy.received(), 2 ether);
        vm.assertFalse(greedy.reentered());
        vm.assertEq(address(broker).balance, 10 ether);
    }

    function test_RevertWhen_FeesAreOrderedByAnyoneButBondingManager() external {
        address[3] memory callers = [owner, stranger, address(minter)];
        for (uint256 i = 0; i < callers.length; ++i) {
            vm.prank(callers[i]);
            _expectNotTrusted(callers[i]);
            broker.withdrawFees(payable(callers[i]), 0);
        }
    }

    /// A fault in the books of BondingManager cannot reach deposits and reserves.
    function test_RevertWhen_MoreFeesAreOrderedThanWereEarned() external {
        _fund(10 ether, 10 ether);
        vm.prank(address(bonding));
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x11));
        broker.withdrawFees(payable(stranger), 1);
    }

    function test_RevertWhen_PeriodsWouldLetFundsEscape() external {
        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.InvalidPeriods.selector, 1, 2));
        broker.setUnlockPeriod(1);
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.InvalidPeriods.selector, 2, 3));
        broker.setTicketValidityPeriod(3);
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.InvalidPeriods.selector, 2, 0));
        broker.setTicketValidityPeriod(0);
        uint256 tooLong = uint256(type(uint32).max) + 1;
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.InvalidPeriods.selector, tooLong, 2));
        broker.setUnlockPeriod(tooLong);
        broker.setUnlockPeriod(3);
        broker.setTicketValidityPeriod(3);
        vm.stopPrank();
        vm.assertEq(broker.unlockPeriod(), 3);
        vm.assertEq(broker.ticketValidityPeriod(), 3);
        address implementation = address(new TicketBroker(controller, bonding, rounds, broker.overspendProof()));
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.InvalidPeriods.selector, 1, 2));
        new ERC1967Proxy(implementation, abi.encodeCall(TicketBroker.initialize, (1, 2)));
    }

    function test_RevertWhen_NonOwnerSetsPeriods() external {
        vm.startPrank(stranger);
        _expectNotOwner(stranger);
        broker.setUnlockPeriod(9);
        _expectNotOwner(stranger);
        broker.setTicketValidityPeriod(1);
        vm.stopPrank();
    }

    function _assertFunds(address account, uint256 deposit, uint256 reserve, uint256 withdrawRound) private view {
        (ITicketBroker.Sender memory info, ITicketBroker.ReserveInfo memory held) = broker.getSenderInfo(account);
        vm.assertEq(info.deposit, deposit);
        vm.assertEq(info.withdrawRound, withdrawRound);
        vm.assertEq(held.fundsRemaining, reserve);
        vm.assertEq(broker.getReserveInfo(account).fundsRemaining, reserve);
    }
}
