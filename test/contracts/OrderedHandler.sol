// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {BondingManager} from "../../contracts/BondingManager.sol";
import {RoundsManager} from "../../contracts/RoundsManager.sol";
import {TicketBroker} from "../../contracts/TicketBroker.sol";
import {ITicketBroker} from "../../contracts/interfaces/ITicketBroker.sol";
import {OrderedGroup, OrderedTicket} from "../../contracts/types/OrderedTicket.sol";
import {Ticket} from "../../contracts/types/Ticket.sol";
import {PlannedGroup, encodeGroups} from "./OrderedGroups.sol";
import {Vm} from "./Vm.sol";

/// @notice Redeems tickets of three senders for two recipients over all paths, moves funds in between, and keeps its own
/// books of what each ticket paid. Rounds, serials and nonces are few, so that repeats and collisions are frequent.
/// @dev Every action either makes a call that must succeed or returns; a revert is a failure of the run.
contract OrderedHandler {
    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    uint256 private constant _MARKER = 0xdaaddfba8d87e975;
    uint256 private constant _SENDERS = 3;
    uint256 private constant _RECIPIENTS = 2;

    BondingManager private immutable _BONDING;
    RoundsManager private immutable _ROUNDS;
    TicketBroker private immutable _BROKER;
    uint256 private immutable _ROUND_LENGTH;

    uint256[] private _keys;
    address[] private _recipients;

    /// @notice Wei each sender was funded with, paid out of its funds, and withdrew.
    mapping(address sender => uint256) public funded;
    mapping(address sender => uint256) public paid;
    mapping(address sender => uint256) public withdrawn;
    /// @notice How often a ticket was paid.
    mapping(bytes32 ticketHash => uint256) public payments;
    /// @notice Every ticket that was paid, and every one that came aside.
    bytes32[] public paidTickets;
    bytes32[] public setAsideTickets;
    /// @notice Highest mark seen of each pair.
    mapping(address recipient => mapping(address sender => uint256)) public marks;
    Play[] private _aside;
    /// @notice How often each action did something.
    mapping(bytes32 action => uint256) public done;

    struct Play {
        Ticket ticket;
        uint256 key;
        uint256 rand;
        bytes sig;
        bytes32 ticketHash;
    }

    constructor(
        BondingManager bonding,
        RoundsManager rounds,
        TicketBroker broker,
        address[] memory recipients,
        uint256 length
    ) {
        (_BONDING, _ROUNDS, _BROKER, _ROUND_LENGTH) = (bonding, rounds, broker, length);
        _recipients = recipients;
        // Ascending, as an ordered batch wants them.
        for (uint256 i = 0; i < _SENDERS; ++i) {
            _keys.push(7000 + i);
            for (uint256 j = i; j > 0 && vm.addr(_keys[j]) < vm.addr(_keys[j - 1]); --j) {
                (_keys[j], _keys[j - 1]) = (_keys[j - 1], _keys[j]);
            }
        }
    }

    // --- accounts ---

    function senderCount() external pure returns (uint256) {
        return _SENDERS;
    }

    function recipientCount() external pure returns (uint256) {
        return _RECIPIENTS;
    }

    function paidTicketCount() external view returns (uint256) {
        return paidTickets.length;
    }

    function setAsideTicketCount() external view returns (uint256) {
        return setAsideTickets.length;
    }

    function sender(uint256 seed) public view returns (address) {
        return vm.addr(_keys[seed % _SENDERS]);
    }

    function recipient(uint256 seed) public view returns (address) {
        return _recipients[seed % _RECIPIENTS];
    }

    /// @notice Deposit, reserve and all commitments.
    function funds(address account) public view returns (uint256 sum) {
        (ITicketBroker.Sender memory info, ITicketBroker.ReserveInfo memory reserve) = _BROKER.getSenderInfo(account);
        sum = info.deposit + reserve.fundsRemaining;
        for (uint256 i = 0; i < _RECIPIENTS; ++i) {
            sum += _BROKER.getCommittedReserve(account, recipient(i)).funds;
        }
    }

    // --- senders ---

    function fund(uint256 seed, uint256 depositAmount, uint256 reserveAmount) external {
        address account = sender(seed);
        (depositAmount, reserveAmount) = (depositAmount % 8 ether, reserveAmount % 8 ether);
        vm.deal(account, depositAmount + reserveAmount);
        vm.prank(account);
        _BROKER.fundDepositAndReserve{value: depositAmount + reserveAmount}(depositAmount, reserveAmount);
        funded[account] += depositAmount + reserveAmount;
        _count("fund");
    }

    function commit(uint256 seed, uint256 to, uint256 amount) external {
        address account = sender(seed);
        amount %= 5 ether;
        vm.deal(account, amount);
        vm.prank(account);
        _BROKER.commitReserve{value: amount}(recipient(to));
        funded[account] += amount;
        _count("commit");
    }

    function release(uint256 seed, uint256 to, uint256 amount) external {
        address account = sender(seed);
        uint256 committed = _BROKER.getCommittedReserve(account, recipient(to)).funds;
        vm.prank(account);
        _BROKER.releaseReserve(recipient(to), amount % (committed + 1));
        _count("release");
    }

    function withdrawReleased(uint256 seed, uint256 to) external {
        address account = sender(seed);
        ITicketBroker.CommittedReserve memory held = _BROKER.getCommittedReserve(account, recipient(to));
        if (held.releaseRound == 0 || _ROUNDS.currentRound() < held.releaseRound) return;
        uint256 amount = held.releasing < held.funds ? held.releasing : held.funds;
        uint256 before = account.balance;
        vm.prank(account);
        _BROKER.withdrawReleasedReserve(recipient(to));
        vm.assertEq(account.balance, before + amount, "a release pays what is left of it");
        withdrawn[account] += amount;
        _count("withdrawReleased");
    }

    function unlock(uint256 seed) external {
        address account = sender(seed);
        (ITicketBroker.Sender memory info, ITicketBroker.ReserveInfo memory reserve) = _BROKER.getSenderInfo(account);
        if (info.deposit + reserve.fundsRemaining == 0 || info.withdrawRound > 0) return;
        vm.prank(account);
        _BROKER.unlock();
        _count("unlock");
    }

    function withdraw(uint256 seed) external {
        address account = sender(seed);
        (ITicketBroker.Sender memory info, ITicketBroker.ReserveInfo memory reserve) = _BROKER.getSenderInfo(account);
        uint256 amount = info.deposit + reserve.fundsRemaining;
        if (amount == 0 || info.withdrawRound == 0 || _ROUNDS.currentRound() < info.withdrawRound) return;
        vm.prank(account);
        _BROKER.withdraw();
        withdrawn[account] += amount;
        _count("withdraw");
    }

    // --- tickets ---

    function single(uint256 seed, uint256 to, uint256 dice) external {
        Play memory play = _play(seed % _SENDERS, recipient(to), dice);
        // Often one that came aside lately, paid or not since.
        uint256 n = _aside.length;
        if (n > 0 && seed % 2 == 0) play = _aside[n - 1 - (seed >> 8) % (n < 4 ? n : 4)];
        uint256 fees = _BROKER.unclaimedFees();
        bool marked = play.rand >> 192 == _MARKER;
        bool aside = _BROKER.isSetAside(play.ticketHash);
        (bool ok,) =
            address(_BROKER).call(abi.encodeCall(_BROKER.redeemWinningTicket, (play.ticket, play.sig, play.rand)));
        if (ok) {
            vm.assertTrue(!marked || aside, "a marked ticket comes only from aside");
            _book(play);
            _count(aside ? bytes32("paidFromAside") : bytes32("single"));
        }
        vm.assertEq(_BROKER.unclaimedFees(), fees + (ok ? play.ticket.faceValue : 0), "face value or nothing");
        vm.assertEq(_BROKER.isSetAside(play.ticketHash), aside && !ok);
    }

    function batch(uint256 seed, uint256 to, uint256 dice) external {
        Play[] memory plays = new Play[](3);
        (Ticket[] memory tickets, bytes[] memory sigs, uint256[] memory rands) =
            (new Ticket[](3), new bytes[](3), new uint256[](3));
        bool[] memory usedBefore = new bool[](3);
        for (uint256 i = 0; i < 3; ++i) {
            plays[i] = _play((seed >> i) % _SENDERS, recipient(to), dice >> (16 * i));
            (tickets[i], sigs[i], rands[i]) = (plays[i].ticket, plays[i].sig, plays[i].rand);
            usedBefore[i] = _BROKER.usedTickets(plays[i].ticketHash);
        }
        uint256 fees = _BROKER.unclaimedFees();
        _BROKER.batchRedeemWinningTickets(tickets, sigs, rands);
        for (uint256 i = 0; i < 3; ++i) {
            bool copy = (i > 0 && plays[i].ticketHash == plays[0].ticketHash)
                || (i > 1 && plays[i].ticketHash == plays[1].ticketHash);
            if (copy || usedBefore[i] || !_BROKER.usedTickets(plays[i].ticketHash)) continue;
            _book(plays[i]);
            fees += plays[i].ticket.faceValue;
            _count("batch");
        }
        vm.assertEq(_BROKER.unclaimedFees(), fees, "a batch books the sum of its winners");
    }

    /// @notice One group per sender, tickets mostly in order; now and then on a stale mark.
    function ordered(uint256 to, uint256 dice) external {
        address to_ = recipient(to);
        PlannedGroup[] memory groups = new PlannedGroup[](_SENDERS);
        Play[3][] memory plays = new Play[3][](_SENDERS);
        for (uint256 i = 0; i < _SENDERS; ++i) {
            (groups[i], plays[i]) = _orderedGroup(i, to_, uint256(keccak256(abi.encode(dice, i))));
        }
        uint256 fees = _BROKER.unclaimedFees();
        (OrderedGroup[] memory encoded, OrderedTicket[] memory tickets) = encodeGroups(groups);
        vm.prank(to_);
        _BROKER.redeemOrderedTickets(to_, encoded, tickets);
        uint256 moved = 0;
        for (uint256 i = 0; i < _SENDERS; ++i) {
            moved += _bookGroup(to_, groups[i], plays[i]);
        }
        vm.assertEq(_BROKER.unclaimedFees(), fees + moved, "an ordered batch books the sum of its winners");
    }

    function nextRound(uint256 seed) external {
        if (seed % 3 != 0) return;
        vm.roll(_ROUNDS.currentRoundStartBlock() + _ROUND_LENGTH);
        _ROUNDS.initializeRound();
        _count("nextRound");
    }

    // --- model ---

    function _orderedGroup(uint256 index, address to, uint256 dice)
        private
        view
        returns (PlannedGroup memory group, Play[3] memory plays)
    {
        group.sender = sender(index);
        group.mark = dice % 8 == 0 ? dice % 3 : _BROKER.redemptionMark(to, group.sender);
        group.tickets = new OrderedTicket[](3);
        for (uint256 i = 0; i < 3; ++i) {
            // Mostly marked.
            plays[i] = _play(index, to, ((dice >> (32 * i)) | ((dice >> (200 + i)) % 16 == 0 ? 0 : 1)));
        }
        for (uint256 i = 0; dice % 16 != 1 && i < 2; ++i) {
            for (uint256 j = 0; j < 2; ++j) {
                if (_keyOf(plays[j]) > _keyOf(plays[j + 1])) (plays[j], plays[j + 1]) = (plays[j + 1], plays[j]);
            }
        }
        for (uint256 i = 0; i < 3; ++i) {
            group.tickets[i] = _ordered(plays[i]);
        }
        // Fewer tickets make collisions rarer.
        OrderedTicket[] memory tickets = group.tickets;
        uint256 length = 1 + (dice >> 190) % 3;
        assembly ("memory-safe") {
            mstore(tickets, length)
        }
    }

    function _bookGroup(address to, PlannedGroup memory group, Play[3] memory plays) private returns (uint256 moved) {
        uint256 mark = _BROKER.redemptionMark(to, group.sender);
        uint256 before = marks[to][group.sender];
        vm.assertGe(mark, before, "marks only grow");
        if (mark == before) {
            _count("skipped");
            return 0;
        }
        uint256 n = group.tickets.length;
        vm.assertEq(before, group.mark, "moved on the mark that it was planned on");
        vm.assertEq(mark, _keyOf(plays[n - 1]), "the mark is the key of the last ticket");
        for (uint256 i = 0; i < n; ++i) {
            vm.assertGt(_keyOf(plays[i]), before);
            before = _keyOf(plays[i]);
            if (_BROKER.isSetAside(plays[i].ticketHash)) {
                vm.assertEq(payments[plays[i].ticketHash], 0, "nothing paid comes aside");
                setAsideTickets.push(plays[i].ticketHash);
                _aside.push(plays[i]);
                _count("setAside");
                continue;
            }
            _book(plays[i]);
            moved += plays[i].ticket.faceValue;
            _count("ordered");
        }
        marks[to][group.sender] = mark;
    }

    function _book(Play memory play) private {
        ++payments[play.ticketHash];
        paidTickets.push(play.ticketHash);
        paid[play.ticket.sender] += play.ticket.faceValue;
    }

    /// @dev Bits of `dice`: 0 marked, 1–2 serial, 3–4 nonce, 5–6 age, 7–9 face value.
    function _play(uint256 index, address to, uint256 dice) private view returns (Play memory play) {
        uint256 round = _ROUNDS.currentRound() - ((dice >> 5) % 4) / 2;
        uint256 serial = (dice >> 1) % 4;
        play.key = _keys[index];
        play.rand = serial + 1;
        if (dice & 1 == 1) play.rand = (_MARKER << 192) | (serial << 128) | uint128(uint256(keccak256("secret")));
        play.ticket = Ticket({
            recipient: to,
            sender: vm.addr(play.key),
            faceValue: ((dice >> 7) % 8) * 0.5 ether,
            winProb: type(uint256).max,
            senderNonce: (dice >> 3) % 4,
            recipientRandHash: keccak256(abi.encode(play.rand)),
            auxData: abi.encode(round, _ROUNDS.blockHashForRound(round))
        });
        play.ticketHash = _BROKER.getTicketHash(play.ticket);
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(play.key, keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", play.ticketHash)));
        play.sig = abi.encodePacked(r, s, v);
    }

    function _ordered(Play memory play) private pure returns (OrderedTicket memory) {
        bytes memory sig = play.sig;
        (bytes32 r, bytes32 s, uint256 v) = (0, 0, 0);
        assembly ("memory-safe") {
            r := mload(add(sig, 0x20))
            s := mload(add(sig, 0x40))
            v := byte(0, mload(add(sig, 0x60)))
        }
        uint256 terms = (play.ticket.faceValue << 128) | (_round(play) << 64) | play.ticket.senderNonce;
        return OrderedTicket({
            recipientRand: play.rand,
            winProb: play.ticket.winProb,
            terms: terms,
            r: r,
            yParityAndS: bytes32((v - 27) << 255) | s
        });
    }

    function _keyOf(Play memory play) private pure returns (uint256) {
        return (_round(play) << 128) | (uint256(uint64(play.rand >> 128)) << 64) | play.ticket.senderNonce;
    }

    function _round(Play memory play) private pure returns (uint256 round) {
        bytes memory auxData = play.ticket.auxData;
        assembly ("memory-safe") {
            round := mload(add(auxData, 0x20))
        }
    }

    function _count(bytes32 action) private {
        ++done[action];
    }
}
