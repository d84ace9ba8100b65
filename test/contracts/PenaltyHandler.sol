// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {RoundsManager} from "../../contracts/RoundsManager.sol";
import {TicketBroker} from "../../contracts/TicketBroker.sol";
import {IPenaltyClause} from "../../contracts/interfaces/IPenaltyClause.sol";
import {ITicketBroker} from "../../contracts/interfaces/ITicketBroker.sol";
import {OrderedTicket} from "../../contracts/types/OrderedTicket.sol";
import {Ticket} from "../../contracts/types/Ticket.sol";
import {PenaltyTest} from "./PenaltyTest.sol";

/// @notice Moves one sender's funds under a clause in every way there is, and keeps its own books of them.
/// @dev Every action either makes a call that must succeed or returns; a revert is a failure of the run.
contract PenaltyHandler is PenaltyTest {
    uint256 private constant _SMALL = 1 ether;

    /// @notice Wei the sender was funded with, paid, withdrew and had burned.
    uint256 public funded;
    uint256 public paid;
    uint256 public withdrawn;
    uint256 public burned;
    /// @notice How often an action did something.
    mapping(bytes32 action => uint256) public done;

    uint256 private _nonce;

    constructor(RoundsManager rounds_, TicketBroker broker_) {
        (rounds, broker) = (rounds_, broker_);
        vm.deal(sender, 1_000_000 ether);
    }

    function setUp() public override {}

    function fund(uint256 deposit, uint256 reserve) external {
        (deposit, reserve) = (deposit % _SMALL, reserve % _SMALL);
        _fund(deposit, reserve);
        funded += deposit + reserve;
        _count("fund");
    }

    function bind(uint256 share, uint256 limit) external {
        IPenaltyClause.PenaltyTerms memory terms = _terms();
        bool inForce = terms.burnShare > 0 && (terms.endRound == 0 || rounds.currentRound() < terms.endRound);
        uint256 funds = _funds();
        if (inForce || funds < 100) return;
        _fundWithPenalty(0, 0, 1 + share % 500_000, 100 + limit % (funds - 99));
        _count("bind");
    }

    function resign() external {
        IPenaltyClause.PenaltyTerms memory terms = _terms();
        if (terms.burnShare == 0 || terms.endRound > 0) return;
        _resign();
        _count("resign");
    }

    function unlock() external {
        if (_funds() == 0 || broker.isUnlockInProgress(sender)) return;
        _unlock();
        _count("unlock");
    }

    function withdraw() external {
        uint256 round = rounds.currentRound();
        if (_funds() == 0 || !_isUnlocked(round) || round < _terms().burnRound) return;
        (uint256 funds, uint256 reserve, uint256 forfeit) = (_funds(), _reserve(), _terms().penalty);
        if (forfeit > reserve) forfeit = reserve;
        uint256 before = sender.balance;
        _withdraw();
        vm.assertEq(sender.balance - before, funds - forfeit, "withdraw pays all but the forfeit");
        withdrawn += funds - forfeit;
        burned += forfeit;
        _count(forfeit > 0 ? bytes32("withdrawBurned") : bytes32("withdraw"));
    }

    function burn() external {
        IPenaltyClause.PenaltyTerms memory terms = _terms();
        if (terms.burnRound == 0 || rounds.currentRound() < terms.burnRound) return;
        uint256 reserve = _reserve();
        broker.burnRecordedPenalty(sender);
        uint256 forfeit = terms.penalty < reserve ? terms.penalty : reserve;
        vm.assertEq(_reserve(), reserve - forfeit, "the forfeit leaves the reserve");
        burned += forfeit;
        _count("burn");
    }

    /// @notice Pay a ticket out of deposit and share.
    function redeem(uint256 to, uint256 amount) external {
        address recipient = to % 2 == 0 ? orchestrator : other;
        if (_isUnlocked(rounds.currentRound())) return;
        amount %= _deposit(sender) + broker.claimableReserve(sender, recipient) + 1;
        Ticket memory ticket = _ticket(amount, ++_nonce);
        ticket.recipient = recipient;
        _redeem(ticket);
        paid += amount;
        _count("redeem");
    }

    /// @notice Sign just enough winners, or one too few, and prove.
    function prove(uint256 dice) external {
        IPenaltyClause.PenaltyTerms memory terms = _terms();
        uint256 round = rounds.currentRound();
        if (terms.burnShare == 0 || (terms.endRound > 0 && round >= terms.endRound) || _isUnlocked(round)) return;
        uint256 funds = _funds();
        uint256 n = (funds + terms.limit) / terms.maxFaceValue + (dice % 8 == 0 ? 0 : 1);
        // Large proofs of a clause with a small limit would only take time.
        if (n > 260) return;
        uint256 forfeit = (_reserve() * terms.burnShare) / 1e6;
        bool holds = dice % 8 != 0 && forfeit > terms.penalty;
        OrderedTicket[] memory tickets = _batch(terms.maxFaceValue, n);
        (bool ok,) =
            address(broker).call(abi.encodeCall(broker.proveOverspend, (_proofGroup(orchestrator, n), tickets, sender)));
        vm.assertEq(ok, holds);
        vm.assertEq(_terms().penalty, ok ? forfeit : terms.penalty);
        vm.assertGe(_terms().burnRound, terms.burnRound);
        vm.assertEq(_funds(), funds, "a proof moves nothing");
        _count(ok ? bytes32("prove") : bytes32("proveRefused"));
    }

    function nextRound() external {
        _nextRound();
        _count("nextRound");
    }

    function _batch(uint256 faceValue, uint256 n) private returns (OrderedTicket[] memory) {
        Series memory series = _series(orchestrator);
        series.faceValue = faceValue;
        _nonce += n;
        return _winners(series, n, _nonce);
    }

    function _reserve() private view returns (uint256) {
        return broker.getReserveInfo(sender).fundsRemaining;
    }

    function _funds() private view returns (uint256) {
        return _deposit(sender) + _reserve();
    }

    function _isUnlocked(uint256 round) private view returns (bool) {
        (ITicketBroker.Sender memory info,) = broker.getSenderInfo(sender);
        return info.withdrawRound > 0 && round >= info.withdrawRound;
    }

    function _count(bytes32 action) private {
        ++done[action];
    }
}
