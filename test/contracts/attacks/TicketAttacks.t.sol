// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IBondingManager} from "../../../contracts/interfaces/IBondingManager.sol";
import {ITicketBroker} from "../../../contracts/interfaces/ITicketBroker.sol";
import {Ticket} from "../../../contracts/types/Ticket.sol";
import {OrderedTest} from "../OrderedTest.sol";
import {PlannedGroup} from "../OrderedGroups.sol";

/// @notice Attacks on tickets and on the ETH of others. An attacker's profit is what its accounts hold afterwards, less what they
/// held before; the victim's loss is checked beside it. More of them, one by one, are in OrderedAttacks.t.sol.
contract TicketAttacksTest is OrderedTest {
    uint256 private constant _VICTIMS_FUNDS = 1000 ether;
    uint256 private constant _ATTACKER_KEY = 0xBADBAD;

    /// The attacker's orchestrator, delegator and sender.
    address private _attacker = _account("attacker");
    address private _accomplice = _account("accomplice");
    address private _payer = vm.addr(_ATTACKER_KEY);

    function setUp() public override {
        super.setUp();
        // The money that the drains of the deployed network were after.
        _fund(_VICTIMS_FUNDS, 0);
        vm.deal(_payer, 10 ether);
    }

    // --- both historic drains (2024-10, 2025-08) ---

    /// 2024-10: a member on its way out calls its reward, its recorded stake falls behind its rewards, and one ticket of 1 ETH
    /// credited 7.9e19 ETH.
    function test_Attack_Drain2024_InflatedRewardsPayNoMoreThanTheTicket() external {
        _joinAttackers(1000 ether, 1_000_000, 1_000_000);
        _fundAttacker(10 ether);
        _reward(_attacker);
        _nextRound();
        // Down to a wei, then the reward of the round, then a wei again from outside.
        vm.prank(_accomplice);
        bonding.unbond(1000 ether);
        uint256 stake = bonding.pendingStake(_attacker, 0);
        vm.prank(_attacker);
        bonding.unbond(stake - 1);
        _reward(_attacker);
        _tryTicket(1 ether, 1);
        _nextRound();
        _bond(_accomplice, 1, _attacker);
        _tryTicket(1 ether, 2);
        _nextRound();
        _tryTicket(1 ether, 3);
        _assertAttackersGainNothing(10 ether);
    }

    /// 2025-08: an inactive orchestrator bonds more while its recorded stake stays at one wei; 1000 wei credited 1e12.
    function test_Attack_Drain2025_StaleStakePaysNoMoreThanTheTicket() external {
        _register(_attacker, 1, 0, 1_000_000);
        _bond(_accomplice, 0.5 ether, _attacker);
        _fundAttacker(10 ether);
        _nextRound();
        vm.assertFalse(bonding.isActiveTranscoder(_attacker));
        vm.assertFalse(_tryTicket(1000, 1), "an inactive recipient earns nothing");
        _bond(_attacker, 10_000 ether, _attacker);
        vm.assertFalse(_tryTicket(1000, 2), "nor in the round in which it joins");
        _nextRound();
        vm.assertTrue(_tryTicket(1000, 3));
        // A wei less per holder at most.
        vm.assertLe(bonding.pendingFees(_attacker, 0) + bonding.pendingFees(_accomplice, 0), 1000);
        vm.assertGe(bonding.pendingFees(_attacker, 0) + bonding.pendingFees(_accomplice, 0), 997);
        _assertAttackersGainNothing(10 ether);
    }

    /// Any game with stake, rewards, rounds and commissions around own tickets: no ETH of others ever leaves.
    function testFuzz_Attack_AnyStakeGameAroundOwnTickets_GainsNothing(uint256 seed) external {
        _joinAttackers(1 ether + seed % 1000 ether, seed % 1_000_001, (seed >> 32) % 1_000_001);
        _fundAttacker(10 ether);
        for (uint256 i = 0; i < 24; ++i) {
            uint256 dice = uint256(keccak256(abi.encode(seed, i)));
            _stakeGame(dice % 8, dice >> 3 & 1 == 0 ? _attacker : _accomplice, dice >> 8);
            if (dice >> 250 < 20) _tryTicket(dice % 0.4 ether, i);
        }
        _assertAttackersGainNothing(10 ether);
    }

    // --- the mark ---

    /// Everybody who could want the recipient's mark higher sends first: a copy of its batch, its own highest serial, the sender's
    /// own. The recipient is paid in full all the same, and nobody else gets anything.
    function test_Attack_MarkFrontRunning_TheVictimIsPaidInFull() external {
        _register(orchestrator, 1000 ether, 0, 0);
        _register(_attacker, 1000 ether, 0, 0);
        _nextRound();
        _fundAttacker(10 ether);
        PlannedGroup[] memory planned = _groups(_group(_list(_winner(1 ether, 1, 1), _winner(2 ether, 2, 1))));
        uint256 highest = type(uint64).max;
        PlannedGroup[] memory ofSender = _groups(_group(_winner(0, highest, highest)));
        PlannedGroup[] memory ofAttacker = _groups(_group(_winner(_ATTACKER_KEY, 0, highest, highest)));
        address[4] memory senders = [_attacker, _payer, sender, stranger];
        for (uint256 i = 0; i < senders.length; ++i) {
            vm.assertFalse(_trySend(senders[i], orchestrator, planned), "a copy of the batch");
            vm.assertFalse(_trySend(senders[i], orchestrator, ofSender), "the highest serial of the sender");
            vm.assertFalse(_trySend(senders[i], orchestrator, ofAttacker), "the highest serial of the attacker");
        }
        // As a recipient of its own, the attacker moves no mark but its own.
        _trySend(_attacker, _attacker, planned);
        _trySend(_attacker, _attacker, ofAttacker);
        vm.assertEq(_mark(), 0);
        _redeemOrdered(planned);
        vm.assertEq(bonding.pendingFees(orchestrator, 0), 3 ether, "paid in full");
        vm.assertEq(bonding.pendingFees(_attacker, 0), 0, "profit of the attacker");
        vm.assertEq(_deposit(_payer), 10 ether);
    }

    /// A batch in flight and a second one of the victim's own on the same mark: skipped whole, sent again, nothing lost.
    function test_Attack_MarkMovedByAnotherBatch_NothingIsForfeited() external {
        _register(orchestrator, 1000 ether, 0, 0);
        _nextRound();
        (Winner memory a, Winner memory b) = (_winner(1 ether, 1, 1), _winner(2 ether, 2, 1));
        PlannedGroup[] memory second = _groups(_group(_list(a, b)));
        _redeemOrdered(a);
        _redeemOrdered(second);
        vm.assertEq(bonding.pendingFees(orchestrator, 0), 1 ether);
        _redeemOrdered(b);
        vm.assertEq(bonding.pendingFees(orchestrator, 0), 3 ether);
    }

    // --- dust against tickets and funds ---

    /// The deployed contracts burned a ticket for whatever was left of the deposit, a wei if need be, and anybody could call. Here
    /// the call fails, the ticket stays, and pays in full once there is money.
    function test_Attack_TicketRedeemedForDust_StaysWhole() external {
        _register(orchestrator, 1000 ether, 0, 0);
        _nextRound();
        _fundAttacker(1);
        Ticket memory ticket = _ticket(5 ether, 1);
        ticket.sender = _payer;
        bytes memory sig = _sign(_ATTACKER_KEY, broker.getTicketHash(ticket));
        vm.prank(_attacker);
        vm.expectRevert(abi.encodeWithSelector(ITicketBroker.InsufficientFunds.selector, 5 ether, 1));
        broker.redeemWinningTicket(ticket, sig, RAND);
        vm.assertFalse(broker.usedTickets(broker.getTicketHash(ticket)));
        _fundAttacker(5 ether);
        broker.redeemWinningTicket(ticket, sig, RAND);
        vm.assertEq(bonding.pendingFees(orchestrator, 0), 5 ether);
    }

    /// A wei sent to somebody who unlocks neither cancels nor extends the unlock, and is the victim's when it leaves.
    function test_Attack_DustDeposit_DelaysNoUnlock() external {
        vm.prank(sender);
        broker.unlock();
        (ITicketBroker.Sender memory before,) = broker.getSenderInfo(sender);
        for (uint256 i = 0; i < 10; ++i) {
            vm.prank(stranger);
            broker.fundDepositAndReserveFor{value: 2}(sender, 1, 1);
        }
        (ITicketBroker.Sender memory present,) = broker.getSenderInfo(sender);
        vm.assertEq(present.withdrawRound, before.withdrawRound);
        _nextRounds(2);
        uint256 balance = sender.balance;
        vm.prank(sender);
        broker.withdraw();
        vm.assertEq(sender.balance, balance + _VICTIMS_FUNDS + 20, "all of it, and the dust");
    }

    /// Tickets of one wei: each costs its redeemer gas and moves one wei, and the reserve of others does not notice.
    function test_Attack_DustTickets_MoveOneWeiEach() external {
        _joinAttackers(1000 ether, 0, 1_000_000);
        _fundAttacker(10);
        for (uint256 i = 0; i < 10; ++i) {
            vm.assertTrue(_tryTicket(1, i));
        }
        vm.assertEq(broker.unclaimedFees(), 10);
        vm.assertLe(bonding.pendingFees(_attacker, 0) + bonding.pendingFees(_accomplice, 0), 10);
        _assertAttackersGainNothing(10);
    }

    // --- helpers ---

    function _joinAttackers(uint256 stake, uint256 rewardCut, uint256 feeShare) private {
        _register(_attacker, stake, rewardCut, feeShare);
        _bond(_accomplice, stake, _attacker);
        _nextRound();
    }

    function _fundAttacker(uint256 amount) private {
        vm.prank(_payer);
        broker.fundDeposit{value: amount}();
    }

    /// @dev A ticket of the attacker for the attacker.
    function _tryTicket(uint256 faceValue, uint256 nonce) private returns (bool ok) {
        Ticket memory ticket = _ticket(faceValue, nonce);
        (ticket.sender, ticket.recipient) = (_payer, _attacker);
        bytes memory sig = _sign(_ATTACKER_KEY, broker.getTicketHash(ticket));
        (ok,) = address(broker).call(abi.encodeCall(broker.redeemWinningTicket, (ticket, sig, RAND)));
    }

    function _trySend(address from, address recipient, PlannedGroup[] memory groups) private returns (bool ok) {
        bytes memory call = _orderedCall(recipient, groups);
        vm.prank(from);
        (ok,) = address(broker).call(call);
    }

    /// @dev One move of the attackers; those that are refused are no move.
    function _stakeGame(uint256 move, address account, uint256 dice) private {
        if (move == 0) return _nextRound();
        bytes memory call;
        if (move == 1) call = abi.encodeCall(bonding.reward, ());
        if (move == 2) call = abi.encodeCall(bonding.unbond, (1 + dice % 1000 ether));
        if (move == 3) call = abi.encodeCall(bonding.unbond, (_allButAWei(account)));
        if (move == 4) call = abi.encodeCall(bonding.rebond, (dice % 4));
        if (move == 5) call = abi.encodeCall(bonding.rebondFromUnbonded, (_attacker, dice % 4));
        if (move == 6) call = abi.encodeCall(bonding.transcoder, (dice % 1_000_001, (dice >> 64) % 1_000_001));
        if (move == 7) {
            vm.prank(owner);
            token.transfer(account, 1 + dice % 3);
            vm.prank(account);
            token.approve(address(bonding), 3);
            call = abi.encodeCall(bonding.bond, (1 + dice % 3, _attacker));
        }
        vm.prank(account);
        (bool ok,) = address(bonding).call(call);
        ok;
    }

    function _allButAWei(address account) private view returns (uint256) {
        uint256 stake = bonding.pendingStake(account, 0);
        return stake > 1 ? stake - 1 : stake;
    }

    /// @dev Everything is taken out: the attackers hold at most what they put in, and the victim's funds are all there.
    function _assertAttackersGainNothing(uint256 putIn) private {
        _withdrawAllFees(_attacker);
        _withdrawAllFees(_accomplice);
        uint256 held = _attacker.balance + _accomplice.balance + _deposit(_payer);
        vm.assertLe(held, putIn, "the attackers gain");
        vm.assertEq(_deposit(sender), _VICTIMS_FUNDS, "the victim pays");
        vm.assertGe(address(broker).balance, _VICTIMS_FUNDS + _deposit(_payer) + broker.unclaimedFees());
    }

    function _withdrawAllFees(address account) private {
        uint256 fees = bonding.pendingFees(account, 0);
        vm.prank(account);
        bonding.withdrawFees(payable(account), fees);
    }
}
