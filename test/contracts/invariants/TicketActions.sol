// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ITicketBroker} from "../../../contracts/interfaces/ITicketBroker.sol";
import {OrderedGroup, OrderedTicket} from "../../../contracts/types/OrderedTicket.sol";
import {Ticket} from "../../../contracts/types/Ticket.sol";
import {PlannedGroup, encodeGroups} from "../OrderedGroups.sol";
import {SenderActions} from "./SenderActions.sol";

/// @notice Tickets over all three paths. Rounds, serials and nonces are few, so that repeats and collisions are frequent.
abstract contract TicketActions is SenderActions {
    uint256 private constant _MARKER = 0xdaaddfba8d87e975;
    uint256 private constant _BATCH = 4;
    uint256 private constant _GROUP = 3;

    struct Play {
        Ticket ticket;
        uint256 rand;
        bytes sig;
        bytes32 ticketHash;
    }

    Play[] private _aside;

    /// @notice Redeem one ticket, often one that came aside lately.
    function single(uint256 seed, uint256 to, uint256 dice) external by(address(this)) {
        Play memory play = _play(seed % SENDERS, recipient(to), dice);
        uint256 n = _aside.length;
        if (n > 0) {
            Play memory aside = _aside[n - 1 - (seed >> 16) % (n < 3 ? n : 3)];
            // What waits goes first; now and then one that was paid since comes again.
            if ((seed >> 8) % (_sys.broker.isSetAside(aside.ticketHash) ? 2 : 8) == 0) play = aside;
        }
        bool wasAside = _sys.broker.isSetAside(play.ticketHash);
        bool may = _isPayable(play);
        (uint256[] memory funds, uint256 fees, uint256 credited) = (_allFunds(), _sys.broker.unclaimedFees(), allFees());
        (bool ok,) = address(_sys.broker)
            .call(abi.encodeCall(_sys.broker.redeemWinningTicket, (play.ticket, play.sig, play.rand)));
        _hold(8, ok == may, "a ticket pays exactly if it is payable");
        uint256 moved = ok ? play.ticket.faceValue : 0;
        _checkBooks(funds, fees, credited, moved, play.ticket.sender);
        _hold(8, _sys.broker.isSetAside(play.ticketHash) == (wasAside && !ok), "only payment ends lying aside");
        if (!ok) return _count("refuse");
        _book(play);
        _count(wasAside ? bytes32("paidFromAside") : bytes32("single"));
    }

    /// @notice A deployed batch, copies among its tickets.
    function batch(uint256 seed, uint256 to, uint256 dice) external by(address(this)) {
        Play[] memory plays = new Play[](_BATCH);
        (Ticket[] memory tickets, bytes[] memory sigs, uint256[] memory rands) =
            (new Ticket[](_BATCH), new bytes[](_BATCH), new uint256[](_BATCH));
        for (uint256 i = 0; i < _BATCH; ++i) {
            plays[i] = _play((seed >> (i % 3)) % SENDERS, recipient(to), dice >> (16 * (i % 3)));
            (tickets[i], sigs[i], rands[i]) = (plays[i].ticket, plays[i].sig, plays[i].rand);
        }
        bool[] memory usedBefore = _used(plays);
        (uint256[] memory funds, uint256 fees, uint256 credited) = (_allFunds(), _sys.broker.unclaimedFees(), allFees());
        _sys.broker.batchRedeemWinningTickets(tickets, sigs, rands);
        uint256 moved = 0;
        for (uint256 i = 0; i < _BATCH; ++i) {
            if (usedBefore[i] || !_sys.broker.usedTickets(plays[i].ticketHash) || _isCopy(plays, i)) continue;
            _book(plays[i]);
            moved += plays[i].ticket.faceValue;
            funds[_senderIndex(plays[i].ticket.sender)] -= plays[i].ticket.faceValue;
            _count("batchPaid");
        }
        _checkBooks(funds, fees, credited, moved, address(0));
        _count("batch");
    }

    /// @notice An ordered batch: one group per sender, tickets mostly in order, now and then on a stale mark.
    function ordered(uint256 to, uint256 dice) external by(address(this)) {
        address to_ = recipient(to);
        PlannedGroup[] memory groups = new PlannedGroup[](SENDERS);
        Play[_GROUP][] memory plays = new Play[_GROUP][](SENDERS);
        for (uint256 i = 0; i < SENDERS; ++i) {
            (groups[i], plays[i]) = _plan(i, to_, uint256(keccak256(abi.encode(dice, i))));
        }
        (uint256[] memory funds, uint256 fees, uint256 credited) = (_allFunds(), _sys.broker.unclaimedFees(), allFees());
        (OrderedGroup[] memory encoded, OrderedTicket[] memory tickets) = encodeGroups(groups);
        bool ok =
            _call(to_, address(_sys.broker), abi.encodeCall(_sys.broker.redeemOrderedTickets, (to_, encoded, tickets)));
        _hold(0, ok == _sys.bonding.isActiveTranscoder(to_), "an ordered batch of an active recipient goes through");
        if (!ok) return;
        uint256 moved = 0;
        for (uint256 i = 0; i < SENDERS; ++i) {
            uint256 ofSender = _bookGroup(to_, groups[i], plays[i]);
            funds[i] -= ofSender;
            moved += ofSender;
        }
        _checkBooks(funds, fees, credited, moved, address(0));
        _count("ordered");
    }

    // --- model ---

    function _isPayable(Play memory play) internal view returns (bool) {
        Ticket memory ticket = play.ticket;
        if (_sys.broker.usedTickets(play.ticketHash) || _isUnlocked(ticket.sender)) return false;
        if (play.rand >> 192 == _MARKER && !_sys.broker.isSetAside(play.ticketHash)) return false;
        (uint256 round, bytes32 blockHash) = abi.decode(ticket.auxData, (uint256, bytes32));
        if (blockHash == 0 || round + _sys.broker.ticketValidityPeriod() <= _round()) return false;
        (ITicketBroker.Sender memory info,) = _sys.broker.getSenderInfo(ticket.sender);
        uint256 most = info.deposit + _sys.broker.claimableReserve(ticket.sender, ticket.recipient)
            + _sys.broker.claimableCommittedReserve(ticket.sender, ticket.recipient);
        return ticket.faceValue <= most && (ticket.faceValue == 0 || _sys.bonding.isActiveTranscoder(ticket.recipient));
    }

    /// @dev `payer`: who paid `moved`, or zero if `funds` say so already.
    function _checkBooks(uint256[] memory funds, uint256 fees, uint256 credited, uint256 moved, address payer) private {
        if (payer != address(0)) funds[_senderIndex(payer)] -= moved;
        for (uint256 i = 0; i < SENDERS; ++i) {
            _hold(6, fundsOf(sender(i)) == funds[i], "only the ticket's sender pays");
        }
        _hold(8, _sys.broker.unclaimedFees() == fees + moved, "a ticket pays its face value or nothing");
        // A wei per holder: dust of earlier tickets that this one completes. The sum of all never exceeds the sum of all, see 1.
        _hold(5, allFees() <= credited + moved + stakerCount(), "more fees were credited than paid");
    }

    function _plan(uint256 index, address to, uint256 dice)
        private
        view
        returns (PlannedGroup memory group, Play[_GROUP] memory plays)
    {
        group.sender = sender(index);
        group.mark = dice % 8 == 0 ? dice % 3 : _sys.broker.redemptionMark(to, group.sender);
        group.tickets = new OrderedTicket[](_GROUP);
        for (uint256 i = 0; i < _GROUP; ++i) {
            // Mostly marked.
            plays[i] = _play(index, to, ((dice >> (32 * i)) | ((dice >> (200 + i)) % 16 == 0 ? 0 : 1)));
        }
        for (uint256 i = 0; dice % 16 != 1 && i < 2; ++i) {
            for (uint256 j = 0; j < 2; ++j) {
                if (_keyOf(plays[j]) > _keyOf(plays[j + 1])) (plays[j], plays[j + 1]) = (plays[j + 1], plays[j]);
            }
        }
        for (uint256 i = 0; i < _GROUP; ++i) {
            group.tickets[i] = _orderedOf(plays[i]);
        }
        // Fewer tickets make collisions rarer.
        OrderedTicket[] memory tickets = group.tickets;
        uint256 length = 1 + (dice >> 190) % _GROUP;
        assembly ("memory-safe") {
            mstore(tickets, length)
        }
    }

    function _bookGroup(address to, PlannedGroup memory group, Play[_GROUP] memory plays)
        private
        returns (uint256 moved)
    {
        uint256 mark = _sys.broker.redemptionMark(to, group.sender);
        uint256 before = marks[to][group.sender];
        _hold(7, mark >= before, "a mark fell");
        if (mark == before) {
            _count("skipped");
            return 0;
        }
        uint256 n = group.tickets.length;
        _hold(11, !_isUnlocked(group.sender), "a group of an unlocked sender moved");
        _hold(7, before == group.mark && mark == _keyOf(plays[n - 1]), "a group moved on another mark");
        for (uint256 i = 0; i < n; ++i) {
            _hold(7, _keyOf(plays[i]) > before, "keys do not ascend");
            before = _keyOf(plays[i]);
            moved += _bookPassed(plays[i]);
        }
        marks[to][group.sender] = mark;
    }

    /// @dev A ticket that an ordered batch passed: paid, or set aside.
    function _bookPassed(Play memory play) private returns (uint256) {
        if (!_sys.broker.isSetAside(play.ticketHash)) {
            _book(play);
            _count("orderedPaid");
            return play.ticket.faceValue;
        }
        _hold(7, payments[play.ticketHash] == 0, "a paid ticket came aside");
        setAsideTickets.push(play.ticketHash);
        _aside.push(play);
        _count("setAside");
        return 0;
    }

    function _book(Play memory play) private {
        address o = play.ticket.recipient;
        _hold(11, !_isUnlocked(play.ticket.sender), "unlocked funds paid");
        ++payments[play.ticketHash];
        paidTickets.push(play.ticketHash);
        paid[play.ticket.sender] += play.ticket.faceValue;
        uint256 stake = stakeOfRound(o);
        feeAllowance += 2 * MAX_STAKERS;
        if (stake > 0) feeAllowance += (play.ticket.faceValue * _unowned(o)) / stake;
    }

    /// @dev Bits of `dice`: 0 marked, 1–2 serial, 3–4 nonce, 5–6 age, 7–9 face value.
    function _play(uint256 index, address to, uint256 dice) internal view returns (Play memory play) {
        uint256 round = _round() - ((dice >> 5) % 8) / 3;
        uint256 serial = (dice >> 1) % 4;
        play.rand = serial + 1;
        if (dice & 1 == 1) play.rand = (_MARKER << 192) | (serial << 128) | uint128(uint256(keccak256("secret")));
        play.ticket = Ticket({
            recipient: to,
            sender: sender(index),
            faceValue: ((dice >> 7) % 8) * 0.5 ether,
            winProb: type(uint256).max,
            senderNonce: (dice >> 3) % 4,
            recipientRandHash: keccak256(abi.encode(play.rand)),
            auxData: abi.encode(round, _sys.rounds.blockHashForRound(round))
        });
        play.ticketHash = _sys.broker.getTicketHash(play.ticket);
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(_senderKey(index), keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", play.ticketHash)));
        play.sig = abi.encodePacked(r, s, v);
    }

    function _orderedOf(Play memory play) private pure returns (OrderedTicket memory) {
        bytes memory sig = play.sig;
        (bytes32 r, bytes32 s, uint256 v) = (0, 0, 0);
        assembly ("memory-safe") {
            r := mload(add(sig, 0x20))
            s := mload(add(sig, 0x40))
            v := byte(0, mload(add(sig, 0x60)))
        }
        uint256 terms = (play.ticket.faceValue << 128) | (_creationRound(play) << 64) | play.ticket.senderNonce;
        return OrderedTicket({
            recipientRand: play.rand,
            winProb: play.ticket.winProb,
            terms: terms,
            r: r,
            yParityAndS: bytes32((v - 27) << 255) | s
        });
    }

    function _keyOf(Play memory play) private pure returns (uint256) {
        return (_creationRound(play) << 128) | (uint256(uint64(play.rand >> 128)) << 64) | play.ticket.senderNonce;
    }

    function _creationRound(Play memory play) private pure returns (uint256 round) {
        (round,) = abi.decode(play.ticket.auxData, (uint256, bytes32));
    }

    function _used(Play[] memory plays) private view returns (bool[] memory used) {
        used = new bool[](plays.length);
        for (uint256 i = 0; i < plays.length; ++i) {
            used[i] = _sys.broker.usedTickets(plays[i].ticketHash);
        }
    }

    function _isCopy(Play[] memory plays, uint256 index) private pure returns (bool) {
        for (uint256 i = 0; i < index; ++i) {
            if (plays[i].ticketHash == plays[index].ticketHash) return true;
        }
        return false;
    }

    function _allFunds() internal view returns (uint256[] memory funds) {
        funds = new uint256[](SENDERS);
        for (uint256 i = 0; i < SENDERS; ++i) {
            funds[i] = fundsOf(sender(i));
        }
    }

    function _senderIndex(address account) private view returns (uint256 index) {
        while (sender(index) != account) ++index;
    }
}
