// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {BondingManager} from "../../contracts/BondingManager.sol";
import {LivepeerToken} from "../../contracts/LivepeerToken.sol";
import {RoundsManager} from "../../contracts/RoundsManager.sol";
import {TicketBroker} from "../../contracts/TicketBroker.sol";
import {IBondingManager} from "../../contracts/interfaces/IBondingManager.sol";
import {ITicketBroker} from "../../contracts/interfaces/ITicketBroker.sol";
import {Ticket} from "../../contracts/types/Ticket.sol";
import {Vm} from "./Vm.sol";

/// @notice Drives the whole protocol with random calls of seven stakers and three senders, and keeps its own books.
/// @dev Every action either makes a call that must succeed or returns; a revert is a failure of the run.
contract ProtocolHandler {
    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    uint256 private constant _STAKERS = 7;
    uint256 private constant _SENDERS = 3;
    uint256 private constant _RAND = 77;
    uint256 private constant _MAX_LOCKS = 64;

    BondingManager private immutable _BONDING;
    LivepeerToken private immutable _TOKEN;
    RoundsManager private immutable _ROUNDS;
    TicketBroker private immutable _BROKER;
    uint256 private immutable _ROUND_LENGTH;

    address[] private _stakers;
    address[] private _senders;

    /// @notice Wei each sender was funded with, paid out of its funds, and withdrew.
    mapping(address sender => uint256) public funded;
    mapping(address sender => uint256) public paid;
    mapping(address sender => uint256) public withdrawn;
    /// @notice How often a ticket was paid.
    mapping(bytes32 ticketHash => uint256) public payments;
    /// @notice Every ticket that was paid.
    bytes32[] public paidTickets;
    /// @notice LPT that came in from outside and went out again.
    uint256 public lptIn;
    uint256 public lptOut;
    /// @notice How often each action did something.
    mapping(bytes32 action => uint256) public done;

    constructor(
        BondingManager bonding,
        LivepeerToken token,
        RoundsManager rounds,
        TicketBroker broker,
        uint256 length
    ) {
        (_BONDING, _TOKEN, _ROUNDS, _BROKER, _ROUND_LENGTH) = (bonding, token, rounds, broker, length);
        for (uint256 i = 0; i < _STAKERS; ++i) {
            _stakers.push(vm.addr(1000 + i));
        }
        for (uint256 i = 0; i < _SENDERS; ++i) {
            _senders.push(vm.addr(_senderKey(i)));
        }
    }

    // --- accounts ---

    function stakerCount() external pure returns (uint256) {
        return _STAKERS;
    }

    function senderCount() external pure returns (uint256) {
        return _SENDERS;
    }

    function paidTicketCount() external view returns (uint256) {
        return paidTickets.length;
    }

    function staker(uint256 seed) public view returns (address) {
        return _stakers[seed % _STAKERS];
    }

    function sender(uint256 seed) public view returns (address) {
        return _senders[seed % _SENDERS];
    }

    // --- senders ---

    function fund(uint256 seed, uint256 depositAmount, uint256 reserveAmount, bool byOther) external {
        address account = sender(seed);
        depositAmount %= 20 ether;
        reserveAmount %= 20 ether;
        uint256 unlockBefore = _withdrawRound(account);
        address payer = byOther ? address(this) : account;
        vm.deal(payer, depositAmount + reserveAmount);
        vm.prank(payer);
        _BROKER.fundDepositAndReserveFor{value: depositAmount + reserveAmount}(account, depositAmount, reserveAmount);
        funded[account] += depositAmount + reserveAmount;
        vm.assertEq(_withdrawRound(account), byOther ? unlockBefore : 0, "only own funding cancels an unlock");
        _count("fund");
    }

    function unlock(uint256 seed) external {
        address account = sender(seed);
        if (_funds(account) == 0 || _BROKER.isUnlockInProgress(account)) return;
        vm.prank(account);
        _BROKER.unlock();
        _count("unlock");
    }

    function cancelUnlock(uint256 seed) external {
        address account = sender(seed);
        if (seed % 3 != 0 || !_BROKER.isUnlockInProgress(account)) return;
        vm.prank(account);
        _BROKER.cancelUnlock();
        _count("cancelUnlock");
    }

    function withdraw(uint256 seed) external {
        address account = sender(seed);
        uint256 funds = _funds(account);
        if (funds == 0 || !_isUnlocked(account)) return;
        uint256 before = account.balance;
        vm.prank(account);
        _BROKER.withdraw();
        vm.assertEq(account.balance, before + funds, "withdraw pays all");
        withdrawn[account] += funds;
        _count("withdraw");
    }

    // --- tickets ---

    /// @notice Redeem one ticket; nonces and rounds are few, so that repeats and late tickets are frequent.
    function redeem(uint256 seed, uint256 to, uint256 faceValue, uint256 nonce, uint256 age) external {
        _redeem(_ticket(seed, to, faceValue, nonce, age), _senderKey(seed));
    }

    /// @notice Redeem several tickets at once, the same one twice among them.
    function batch(uint256 seed, uint256 to, uint256 faceValue) external {
        Ticket[] memory tickets = new Ticket[](4);
        bytes[] memory sigs = new bytes[](4);
        uint256[] memory rands = new uint256[](4);
        for (uint256 i = 0; i < 4; ++i) {
            uint256 dice = uint256(keccak256(abi.encode(seed, i % 3)));
            tickets[i] = _ticket(dice, to ^ (dice >> 255), faceValue ^ (dice >> 64), dice >> 128, dice >> 160);
            sigs[i] = _sign(tickets[i], _senderKey(dice));
            rands[i] = _RAND;
        }
        uint256[] memory funds = _allFunds();
        uint256 fees = _BROKER.unclaimedFees();
        bool[] memory usedBefore = _used(tickets);
        _BROKER.batchRedeemWinningTickets(tickets, sigs, rands);
        uint256 moved = 0;
        for (uint256 i = 0; i < 3; ++i) {
            bytes32 ticketHash = _BROKER.getTicketHash(tickets[i]);
            if (usedBefore[i] || !_BROKER.usedTickets(ticketHash) || _isEarlier(tickets, i)) continue;
            _book(tickets[i], ticketHash);
            moved += tickets[i].faceValue;
            funds[_senderIndex(tickets[i].sender)] -= tickets[i].faceValue;
        }
        _count(moved > 0 ? bytes32("batchPaid") : bytes32("batchSkipped"));
        vm.assertEq(_BROKER.unclaimedFees(), fees + moved, "a batch books the sum of its winners");
        _assertFunds(funds);
        _count("batch");
    }

    // --- stake ---

    function bond(uint256 seed, uint256 to, uint256 amount) external {
        address account = staker(seed);
        address delegate = seed % 2 == 0 ? account : staker(to);
        (uint256 bonded,, address current,,,,) = _BONDING.getDelegator(account);
        if (current == account && bonded > 0) delegate = account;
        amount = _odd(amount, 100 ether);
        if (amount == 0 && (bonded == 0 || delegate == current)) return;
        if (_TOKEN.balanceOf(address(this)) < amount) return;
        _TOKEN.transfer(account, amount);
        vm.prank(account);
        _TOKEN.approve(address(_BONDING), amount);
        vm.prank(account);
        _BONDING.bond(amount, delegate);
        lptIn += amount;
        _count("bond");
    }

    function unbond(uint256 seed, uint256 amount) external {
        address account = staker(seed);
        if (_BONDING.delegatorStatus(account) != IBondingManager.DelegatorStatus.Bonded) return;
        uint256 stake = _BONDING.pendingStake(account, 0);
        amount = amount % 3 == 0 ? stake : 1 + amount % stake;
        (,,,,,, uint256 nextId) = _BONDING.getDelegator(account);
        if (nextId >= _MAX_LOCKS) return;
        vm.prank(account);
        _BONDING.unbond(amount);
        _count("unbond");
    }

    function rebond(uint256 seed, uint256 to, uint256 id) external {
        address account = staker(seed);
        (bool found, uint256 lockId) = _anyLock(account, id);
        if (!found) return;
        vm.prank(account);
        if (_BONDING.delegatorStatus(account) == IBondingManager.DelegatorStatus.Unbonded) {
            vm.prank(account);
            _BONDING.rebondFromUnbonded(staker(to), lockId);
        } else {
            vm.prank(account);
            _BONDING.rebond(lockId);
        }
        _count("rebond");
    }

    function withdrawStake(uint256 seed, uint256 id) external {
        address account = staker(seed);
        (bool found, uint256 lockId) = _anyLock(account, id);
        if (!found) return;
        (uint256 amount, uint256 withdrawRound) = _BONDING.getDelegatorUnbondingLock(account, lockId);
        if (withdrawRound > _ROUNDS.currentRound()) return;
        uint256 before = _TOKEN.balanceOf(account);
        vm.prank(account);
        _BONDING.withdrawStake(lockId);
        vm.assertEq(_TOKEN.balanceOf(account), before + amount, "a lock pays its amount");
        lptOut += amount;
        _count("withdrawStake");
    }

    function reward(uint256 seed) external {
        for (uint256 i = 0; i < _STAKERS; ++i) {
            address account = staker(seed % _STAKERS + i);
            (uint256 lastRewardRound,,,,,,,,,) = _BONDING.getTranscoder(account);
            if (!_BONDING.isActiveTranscoder(account) || lastRewardRound == _ROUNDS.currentRound()) continue;
            vm.prank(account);
            _BONDING.reward();
            _count("reward");
            return;
        }
    }

    function transcoder(uint256 seed, uint256 rewardCut, uint256 feeShare) external {
        address account = staker(seed);
        (uint256 lastRewardRound,,,,,,,,,) = _BONDING.getTranscoder(account);
        if (!_BONDING.isRegisteredTranscoder(account) || _ROUNDS.currentRoundLocked()) return;
        if (_BONDING.isActiveTranscoder(account) && lastRewardRound != _ROUNDS.currentRound()) return;
        vm.prank(account);
        _BONDING.transcoder(rewardCut % 1_000_001, feeShare % 1_000_001);
        _count("transcoder");
    }

    function claim(uint256 seed) external {
        vm.prank(staker(seed));
        _BONDING.claimEarnings(0);
        _count("claim");
    }

    function withdrawFees(uint256 seed, uint256 amount) external {
        address account = staker(seed);
        uint256 fees = _BONDING.pendingFees(account, 0);
        if (fees == 0) return;
        amount = amount % 2 == 0 ? fees : amount % fees;
        uint256 before = account.balance;
        vm.prank(account);
        _BONDING.withdrawFees(payable(account), amount);
        vm.assertEq(account.balance, before + amount, "fees arrive in full");
        vm.assertEq(_BONDING.pendingFees(account, 0), fees - amount, "fees are debited exactly");
        _count("withdrawFees");
    }

    // --- time ---

    function passBlocks(uint256 n) external {
        uint256 end = _ROUNDS.currentRoundStartBlock() + _ROUND_LENGTH - 1;
        uint256 target = block.number + n % 10;
        vm.roll(target < end ? target : end);
    }

    function nextRound(uint256 skipped) external {
        skipped = skipped % 8 == 0 ? 2 : 0;
        vm.roll(_ROUNDS.currentRoundStartBlock() + (skipped + 1) * _ROUND_LENGTH);
        _ROUNDS.initializeRound();
        _count("nextRound");
    }

    // --- model ---

    /// @dev Predicts from the state whether the ticket pays, and holds the outcome against the prediction.
    function _redeem(Ticket memory ticket, uint256 key) private {
        bytes32 ticketHash = _BROKER.getTicketHash(ticket);
        bytes memory sig = _sign(ticket, key);
        bool payable_ = !_BROKER.usedTickets(ticketHash) && _isFresh(ticket) && !_isUnlocked(ticket.sender)
            && ticket.faceValue <= _deposit(ticket.sender) + _BROKER.claimableReserve(ticket.sender, ticket.recipient)
            && (ticket.faceValue == 0 || _BONDING.isActiveTranscoder(ticket.recipient));
        uint256[] memory funds = _allFunds();
        uint256 fees = _BROKER.unclaimedFees();
        uint256 credited = allCreditedFees();
        (bool ok,) = address(_BROKER).call(abi.encodeCall(_BROKER.redeemWinningTicket, (ticket, sig, _RAND)));
        vm.assertEq(ok, payable_);
        uint256 moved = ok ? ticket.faceValue : 0;
        funds[_senderIndex(ticket.sender)] -= moved;
        _assertFunds(funds);
        vm.assertEq(_BROKER.unclaimedFees(), fees + moved, "a ticket pays its face value or nothing");
        vm.assertLe(allCreditedFees(), credited + moved, "credited fees never exceed the ticket");
        if (!ok) return _count("refuse");
        _book(ticket, ticketHash);
        _count("redeem");
    }

    function _book(Ticket memory ticket, bytes32 ticketHash) private {
        ++payments[ticketHash];
        paidTickets.push(ticketHash);
        paid[ticket.sender] += ticket.faceValue;
    }

    /// @notice Fees of all stakers, claimed or not.
    function allCreditedFees() public view returns (uint256 sum) {
        for (uint256 i = 0; i < _STAKERS; ++i) {
            address account = staker(i);
            sum += _BONDING.pendingFees(account, 0);
            (,,,,,,,, uint256 cumulativeFees,) = _BONDING.getTranscoder(account);
            (,, address delegate,,,,) = _BONDING.getDelegator(account);
            // Not in pendingFees: commission of one that resigned.
            if (delegate != account) sum += cumulativeFees;
        }
    }

    function _ticket(uint256 seed, uint256 to, uint256 faceValue, uint256 nonce, uint256 age)
        private
        view
        returns (Ticket memory)
    {
        uint256 round = _ROUNDS.currentRound() - age % 3;
        return Ticket({
            recipient: staker(to),
            sender: sender(seed),
            faceValue: faceValue % 4 == 0 ? 1 ether : _odd(faceValue, 8 ether),
            winProb: type(uint256).max,
            senderNonce: nonce % 4,
            recipientRandHash: keccak256(abi.encode(_RAND)),
            auxData: abi.encode(round, _ROUNDS.blockHashForRound(round))
        });
    }

    function _sign(Ticket memory ticket, uint256 key) private view returns (bytes memory) {
        bytes32 ticketHash = _BROKER.getTicketHash(ticket);
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(key, keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", ticketHash)));
        return abi.encodePacked(r, s, v);
    }

    function _isFresh(Ticket memory ticket) private view returns (bool) {
        (uint256 round, bytes32 blockHash) = abi.decode(ticket.auxData, (uint256, bytes32));
        return blockHash != bytes32(0) && round + 2 > _ROUNDS.currentRound();
    }

    function _used(Ticket[] memory tickets) private view returns (bool[] memory used) {
        used = new bool[](tickets.length);
        for (uint256 i = 0; i < tickets.length; ++i) {
            used[i] = _BROKER.usedTickets(_BROKER.getTicketHash(tickets[i]));
        }
    }

    function _isEarlier(Ticket[] memory tickets, uint256 index) private view returns (bool) {
        bytes32 ticketHash = _BROKER.getTicketHash(tickets[index]);
        for (uint256 i = 0; i < index; ++i) {
            if (_BROKER.getTicketHash(tickets[i]) == ticketHash) return true;
        }
        return false;
    }

    function _allFunds() private view returns (uint256[] memory funds) {
        funds = new uint256[](_SENDERS);
        for (uint256 i = 0; i < _SENDERS; ++i) {
            funds[i] = _funds(sender(i));
        }
    }

    function _assertFunds(uint256[] memory expected) private view {
        for (uint256 i = 0; i < _SENDERS; ++i) {
            vm.assertEq(_funds(sender(i)), expected[i], "only the ticket's sender pays");
        }
    }

    function _senderIndex(address account) private view returns (uint256 index) {
        while (sender(index) != account) ++index;
    }

    function _senderKey(uint256 seed) private pure returns (uint256) {
        return 2000 + seed % _SENDERS;
    }

    function _deposit(address account) private view returns (uint256) {
        (ITicketBroker.Sender memory info,) = _BROKER.getSenderInfo(account);
        return info.deposit;
    }

    function _withdrawRound(address account) private view returns (uint256) {
        (ITicketBroker.Sender memory info,) = _BROKER.getSenderInfo(account);
        return info.withdrawRound;
    }

    function _funds(address account) private view returns (uint256) {
        return _deposit(account) + _BROKER.getReserveInfo(account).fundsRemaining;
    }

    function _isUnlocked(address account) private view returns (bool) {
        uint256 withdrawRound = _withdrawRound(account);
        return withdrawRound > 0 && _ROUNDS.currentRound() >= withdrawRound;
    }

    function _anyLock(address account, uint256 seed) private view returns (bool found, uint256 id) {
        (,,,,,, uint256 nextId) = _BONDING.getDelegator(account);
        for (uint256 i = 0; i < nextId; ++i) {
            id = (seed % nextId + i) % nextId;
            if (_BONDING.isValidUnbondingLock(account, id)) return (true, id);
        }
    }

    /// @dev Now and then a single wei, else anything below `bound`.
    function _odd(uint256 x, uint256 bound) private pure returns (uint256) {
        return x % 7 == 0 ? 1 : x % bound;
    }

    function _count(bytes32 action) private {
        ++done[action];
    }
}
