// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {IController} from "../../contracts/interfaces/IController.sol";
import {IFaultVerifier} from "../../contracts/interfaces/IFaultVerifier.sol";
import {OrderedGroup, OrderedTicket} from "../../contracts/types/OrderedTicket.sol";
import {Receipt} from "../../contracts/types/Receipt.sol";
import {Ticket} from "../../contracts/types/Ticket.sol";
import {SlashingTest} from "./SlashingTest.sol";

/// @notice Says no to everything.
contract BrokenBroker {
    error Broken();

    fallback() external {
        revert Broken();
    }
}

/// @notice Invariant 32: while paused no value moves but the withdrawals of unlocked funds.
contract PauseTest is SlashingTest {
    address private _guardian = _account("guardian");

    function setUp() public override {
        super.setUp();
        vm.prank(owner);
        controller.setGuardian(_guardian);
    }

    // --- who ---

    function test_GivenGuardian_ItPausesAtOnceAndNeverUnpauses() external {
        vm.startPrank(_guardian);
        controller.pause();
        vm.assertTrue(controller.paused());
        bytes memory refusal = abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, _guardian);
        vm.expectRevert(refusal);
        controller.unpause();
        vm.expectRevert(refusal);
        controller.setGuardian(stranger);
        vm.expectRevert(refusal);
        controller.setContractInfo(bytes32(0), address(0), bytes20(0));
        vm.stopPrank();
        vm.prank(owner);
        controller.unpause();
        vm.assertFalse(broker.paused());
    }

    function test_SetGuardian_ReplacesAndReports() external {
        vm.prank(owner);
        vm.expectEmit(address(controller));
        emit IController.SetGuardian(stranger);
        controller.setGuardian(stranger);
        vm.assertEq(controller.guardian(), stranger);
        vm.prank(_guardian);
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, _guardian));
        controller.pause();
        vm.prank(stranger);
        controller.pause();
    }

    // --- the broker's copy ---

    function test_SyncPaused_CopiesTheTruthWhoeverCalls() external {
        _pause();
        vm.assertTrue(broker.paused());
        vm.prank(stranger);
        broker.syncPaused();
        vm.assertTrue(broker.paused());
        vm.prank(owner);
        controller.unpause();
        vm.assertFalse(broker.paused());
        broker.syncPaused();
        vm.assertFalse(broker.paused());
    }

    function test_GivenBrokerWasNotTold_AnybodyTellsIt() external {
        vm.startPrank(owner);
        controller.setContractInfo(keccak256("TicketBroker"), address(0), bytes20(0));
        controller.pause();
        controller.setContractInfo(keccak256("TicketBroker"), address(broker), bytes20(0));
        vm.stopPrank();
        vm.assertFalse(broker.paused());
        vm.prank(stranger);
        broker.syncPaused();
        vm.assertTrue(broker.paused());
    }

    function test_GivenBrokerFails_TheBrakeStillWorks() external {
        BrokenBroker broken = new BrokenBroker();
        vm.startPrank(owner);
        controller.setContractInfo(keccak256("TicketBroker"), address(broken), bytes20(0));
        vm.expectEmit(address(controller));
        emit IController.PauseNotSynced(address(broken));
        controller.pause();
        vm.assertTrue(controller.paused());
        // An account without code is not even asked.
        controller.setContractInfo(keccak256("TicketBroker"), stranger, bytes20(0));
        controller.unpause();
        vm.stopPrank();
        vm.assertFalse(controller.paused());
    }

    // --- what ---

    function test_Invariant32_GivenPaused_NoValueMoves() external {
        _fund(10 ether, 5 ether);
        Ticket memory ticket = _ticket(1 ether, 1);
        bytes memory sig = _sign(ticket);
        _pause();
        uint256 supply = token.totalSupply();
        uint256 vault = address(broker).balance;
        bytes[] memory calls = _brokerCalls(ticket, sig);
        for (uint256 i = 0; i < calls.length; ++i) {
            _assertPaused(sender, address(broker), calls[i]);
        }
        calls = _stakeCalls();
        for (uint256 i = 0; i < calls.length; ++i) {
            _assertPaused(orchestrator, address(bonding), calls[i]);
        }
        calls = _slashingCalls();
        for (uint256 i = 0; i < calls.length; ++i) {
            _assertPaused(challenger, address(slashing), calls[i]);
        }
        _assertPaused(challenger, address(committee), abi.encodeCall(committee.takeSeat, ()));
        _assertPaused(challenger, address(committee), abi.encodeCall(committee.draw, (1)));
        _assertPaused(challenger, address(committee), abi.encodeCall(committee.finalise, (1)));
        _assertPaused(stranger, address(rounds), abi.encodeCall(rounds.initializeRound, ()));
        _assertPeersPaused();
        vm.assertEq(token.totalSupply(), supply);
        vm.assertEq(address(broker).balance, vault);
    }

    /// @dev What only a trusted peer may call: paused for the peer too, but for the transfer that `withdrawStake` needs.
    function _assertPeersPaused() private {
        _assertPaused(
            address(bonding), address(broker), abi.encodeCall(broker.withdrawFees, (payable(orchestrator), 0))
        );
        _assertPaused(address(bonding), address(minter), abi.encodeCall(minter.createReward, (1, 1)));
        _assertPaused(address(bonding), address(minter), abi.encodeCall(minter.trustedBurnTokens, (1)));
        _assertPaused(address(rounds), address(minter), abi.encodeCall(minter.setCurrentRewardTokens, ()));
        bytes memory slash = abi.encodeCall(bonding.slashTranscoder, (orchestrator, challenger, 1, 1));
        _assertPaused(address(slashing), address(bonding), slash);
        // Fees and challenges arrive only through calls that are closed: the peer itself is refused above.
        vm.expectRevert(abi.encodeWithSignature("CallerNotTrusted(address)", stranger));
        vm.prank(stranger);
        bonding.updateTranscoderWithFees(orchestrator, 1, 1);
        Receipt memory receipt = _receipt("a");
        vm.expectRevert(abi.encodeWithSelector(IFaultVerifier.CallerNotSlashingManager.selector, stranger));
        vm.prank(stranger);
        committee.open(1, stranger, 0, receipt, 0, "");
    }

    function test_GivenPaused_UnlockedDepositAndReserveLeave() external {
        _fund(10 ether, 5 ether);
        vm.prank(sender);
        broker.unlock();
        _rollToNextRound();
        vm.prank(_guardian);
        controller.pause();
        _rollToNextRound();
        uint256 held = sender.balance;
        vm.prank(sender);
        broker.withdraw();
        vm.assertEq(sender.balance, held + 15 ether);
    }

    function test_GivenPaused_ReleasedReserveLeaves() external {
        vm.startPrank(sender);
        broker.commitReserve{value: 4 ether}(orchestrator);
        broker.releaseReserve(orchestrator, 3 ether);
        vm.stopPrank();
        vm.prank(_guardian);
        controller.pause();
        _rollToNextRound();
        _rollToNextRound();
        uint256 held = sender.balance;
        vm.prank(sender);
        broker.withdrawReleasedReserve(orchestrator);
        vm.assertEq(sender.balance, held + 3 ether);
    }

    function test_GivenPaused_UnbondedStakeLeaves() external {
        vm.prank(delegator);
        bonding.unbond(200 ether);
        vm.prank(_guardian);
        controller.pause();
        for (uint256 i = 0; i < 7; ++i) {
            _rollToNextRound();
        }
        vm.prank(delegator);
        bonding.withdrawStake(0);
        vm.assertEq(token.balanceOf(delegator), 200 ether);
    }

    function test_GivenPaused_SeatLeaves() external {
        vm.startPrank(challenger);
        committee.takeSeat();
        committee.giveNotice();
        vm.stopPrank();
        vm.prank(_guardian);
        controller.pause();
        vm.roll(_block() + committee.noticeBlocks() + 1);
        vm.prank(challenger);
        committee.leaveSeat();
        vm.assertEq(token.balanceOf(challenger), 1000 ether);
    }

    function _brokerCalls(Ticket memory ticket, bytes memory sig) private view returns (bytes[] memory calls) {
        Ticket[] memory tickets = new Ticket[](1);
        bytes[] memory sigs = new bytes[](1);
        uint256[] memory rands = new uint256[](1);
        (tickets[0], sigs[0], rands[0]) = (ticket, sig, RAND);
        calls = new bytes[](11);
        calls[0] = abi.encodeCall(broker.fundDeposit, ());
        calls[1] = abi.encodeCall(broker.fundReserve, ());
        calls[2] = abi.encodeCall(broker.fundDepositAndReserve, (0, 0));
        calls[3] = abi.encodeCall(broker.fundDepositAndReserveFor, (sender, 0, 0));
        calls[4] = abi.encodeCall(broker.unlock, ());
        calls[5] = abi.encodeCall(broker.cancelUnlock, ());
        calls[6] = abi.encodeCall(broker.commitReserve, (orchestrator));
        calls[7] = abi.encodeCall(broker.releaseReserve, (orchestrator, 0));
        calls[8] = abi.encodeCall(broker.redeemWinningTicket, (ticket, sig, RAND));
        calls[9] = abi.encodeCall(broker.batchRedeemWinningTickets, (tickets, sigs, rands));
        calls[10] =
            abi.encodeCall(broker.redeemOrderedTickets, (orchestrator, new OrderedGroup[](0), new OrderedTicket[](0)));
    }

    function _stakeCalls() private view returns (bytes[] memory calls) {
        address nobody = address(0);
        calls = new bytes[](18);
        calls[0] = abi.encodeCall(bonding.bond, (1, orchestrator));
        calls[1] = abi.encodeCall(bonding.bondWithHint, (1, orchestrator, nobody, nobody, nobody, nobody));
        calls[2] = abi.encodeCall(bonding.unbond, (1));
        calls[3] = abi.encodeCall(bonding.unbondWithHint, (1, nobody, nobody));
        calls[4] = abi.encodeCall(bonding.rebond, (0));
        calls[5] = abi.encodeCall(bonding.rebondWithHint, (0, nobody, nobody));
        calls[6] = abi.encodeCall(bonding.rebondFromUnbonded, (orchestrator, 0));
        calls[7] = abi.encodeCall(bonding.rebondFromUnbondedWithHint, (orchestrator, 0, nobody, nobody));
        calls[8] = abi.encodeCall(bonding.withdrawFees, (payable(orchestrator), 0));
        calls[9] = abi.encodeCall(bonding.claimEarnings, (0));
        calls[10] = abi.encodeCall(bonding.reward, ());
        calls[11] = abi.encodeCall(bonding.rewardWithHint, (nobody, nobody));
        calls[12] = abi.encodeCall(bonding.transcoder, (0, 0));
        calls[13] = abi.encodeCall(bonding.transcoderWithHint, (0, 0, nobody, nobody));
        calls[14] = abi.encodeCall(bonding.setRewardCaller, (stranger));
        calls[15] = abi.encodeCall(bonding.bond, (0, delegator));
        calls[16] = abi.encodeCall(bonding.unbond, (0));
        calls[17] = abi.encodeCall(bonding.rebond, (1));
    }

    function _slashingCalls() private view returns (bytes[] memory calls) {
        Receipt memory receipt = _receipt("a");
        calls = new bytes[](4);
        calls[0] = abi.encodeCall(slashing.announce, (SALT));
        calls[1] = abi.encodeCall(slashing.challenge, (address(equivocation), receipt, "", "", SALT));
        calls[2] = abi.encodeCall(slashing.resolve, (1));
        calls[3] = abi.encodeCall(slashing.expire, (1));
    }

    function _assertPaused(address caller, address target, bytes memory call) private {
        vm.prank(caller);
        (bool ok, bytes memory reason) = target.call(call);
        vm.assertFalse(ok);
        vm.assertEq(reason, abi.encodePacked(IController.SystemPaused.selector));
    }
}
