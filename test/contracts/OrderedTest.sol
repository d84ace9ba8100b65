// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ITicketBroker} from "../../contracts/interfaces/ITicketBroker.sol";
import {OrderedGroup, OrderedTicket} from "../../contracts/types/OrderedTicket.sol";
import {Ticket} from "../../contracts/types/Ticket.sol";
import {PlannedGroup, encodeGroups} from "./OrderedGroups.sol";
import {StreamflowTest} from "./StreamflowTest.sol";

/// @notice Builders for marked tickets and ordered batches. The layouts are written out here, not taken from the contracts.
abstract contract OrderedTest is StreamflowTest {
    uint256 internal constant MARKER = 0xdaaddfba8d87e975;

    /// @dev A ticket and everything that is needed to redeem it on either path.
    struct Winner {
        Ticket ticket;
        bytes sig;
        uint256 rand;
    }

    // --- one ticket ---

    function _rand(uint256 serial) internal pure returns (uint256) {
        return (MARKER << 192) | (serial << 128) | uint128(uint256(keccak256(abi.encode("secret", serial))));
    }

    /// @dev Key of a ticket of the current round.
    function _key(uint256 serial, uint256 nonce) internal view returns (uint256) {
        return _key(rounds.currentRound(), serial, nonce);
    }

    function _key(uint256 round, uint256 serial, uint256 nonce) internal pure returns (uint256) {
        return (round << 128) | (serial << 64) | nonce;
    }

    function _key(Winner memory w) internal pure returns (uint256) {
        (uint256 round,) = _creation(w.ticket);
        return _key(round, uint64(w.rand >> 128), w.ticket.senderNonce);
    }

    function _winner(uint256 faceValue, uint256 serial, uint256 nonce) internal view returns (Winner memory) {
        return _winner(SENDER_KEY, faceValue, serial, nonce);
    }

    function _winner(uint256 key, uint256 faceValue, uint256 serial, uint256 nonce)
        internal
        view
        returns (Winner memory w)
    {
        w.rand = _rand(serial);
        w.ticket = _ticket(faceValue, nonce);
        w.ticket.sender = vm.addr(key);
        w.ticket.recipientRandHash = keccak256(abi.encode(w.rand));
        w.sig = _sign(key, broker.getTicketHash(w.ticket));
    }

    /// @dev Signs anew, after a change of the ticket or the secret.
    function _resign(Winner memory w, uint256 key) internal view {
        w.ticket.recipientRandHash = keccak256(abi.encode(w.rand));
        w.sig = _sign(key, broker.getTicketHash(w.ticket));
    }

    function _hash(Winner memory w) internal view returns (bytes32) {
        return broker.getTicketHash(w.ticket);
    }

    // --- batches ---

    function _ordered(Winner memory w) internal pure returns (OrderedTicket memory) {
        (bytes32 r, bytes32 s, uint8 v) = _split(w.sig);
        (uint256 round,) = _creation(w.ticket);
        uint256 bound = w.ticket.auxData.length == 96 ? 1 : 0;
        return OrderedTicket({
            recipientRand: w.rand,
            winProb: w.ticket.winProb,
            terms: (bound << 224) | (w.ticket.faceValue << 128) | (round << 64) | w.ticket.senderNonce,
            r: r,
            yParityAndS: v == 28 ? s | bytes32(uint256(1) << 255) : s
        });
    }

    /// @dev A group on the chain's present mark.
    function _group(Winner[] memory winners) internal view returns (PlannedGroup memory group) {
        group.sender = winners[0].ticket.sender;
        group.mark = broker.redemptionMark(winners[0].ticket.recipient, group.sender);
        group.tickets = new OrderedTicket[](winners.length);
        for (uint256 i = 0; i < winners.length; ++i) {
            group.tickets[i] = _ordered(winners[i]);
        }
    }

    function _group(Winner memory w) internal view returns (PlannedGroup memory) {
        return _group(_list(w));
    }

    function _list(Winner memory a) internal pure returns (Winner[] memory list) {
        list = new Winner[](1);
        list[0] = a;
    }

    function _list(Winner memory a, Winner memory b) internal pure returns (Winner[] memory list) {
        list = new Winner[](2);
        (list[0], list[1]) = (a, b);
    }

    function _list(Winner memory a, Winner memory b, Winner memory c) internal pure returns (Winner[] memory list) {
        list = new Winner[](3);
        (list[0], list[1], list[2]) = (a, b, c);
    }

    function _groups(PlannedGroup memory a) internal pure returns (PlannedGroup[] memory groups) {
        groups = new PlannedGroup[](1);
        groups[0] = a;
    }

    function _groups(PlannedGroup memory a, PlannedGroup memory b)
        internal
        pure
        returns (PlannedGroup[] memory groups)
    {
        groups = new PlannedGroup[](2);
        (groups[0], groups[1]) = (a, b);
    }

    /// @dev One call and nothing else, for what is expected of the next call.
    function _sendOrdered(address recipient, PlannedGroup[] memory groups) internal {
        (OrderedGroup[] memory encoded, OrderedTicket[] memory tickets) = encodeGroups(groups);
        broker.redeemOrderedTickets(recipient, encoded, tickets);
    }

    function _orderedCall(address recipient, PlannedGroup[] memory groups) internal view returns (bytes memory) {
        (OrderedGroup[] memory encoded, OrderedTicket[] memory tickets) = encodeGroups(groups);
        return abi.encodeCall(broker.redeemOrderedTickets, (recipient, encoded, tickets));
    }

    function _redeemOrdered(PlannedGroup[] memory groups) internal {
        vm.prank(orchestrator);
        _sendOrdered(orchestrator, groups);
    }

    function _redeemOrdered(PlannedGroup memory group) internal {
        _redeemOrdered(_groups(group));
    }

    function _redeemOrdered(Winner memory w) internal {
        _redeemOrdered(_group(w));
    }

    // --- the deployed path ---

    function _redeemSingle(Winner memory w) internal {
        broker.redeemWinningTicket(w.ticket, w.sig, w.rand);
    }

    function _trySingle(Winner memory w) internal returns (bool ok) {
        (ok,) = address(broker).call(abi.encodeCall(broker.redeemWinningTicket, (w.ticket, w.sig, w.rand)));
    }

    // --- senders ---

    /// @dev Keys of `n` funded senders in ascending order of their addresses.
    function _senderKeys(uint256 n) internal pure returns (uint256[] memory keys) {
        keys = new uint256[](n);
        for (uint256 i = 0; i < n; ++i) {
            keys[i] = 5000 + i;
            for (uint256 j = i; j > 0 && vm.addr(keys[j]) < vm.addr(keys[j - 1]); --j) {
                (keys[j], keys[j - 1]) = (keys[j - 1], keys[j]);
            }
        }
    }

    function _fundKey(uint256 key, uint256 deposit, uint256 reserve) internal {
        address account = vm.addr(key);
        vm.deal(account, deposit + reserve);
        vm.prank(account);
        broker.fundDepositAndReserve{value: deposit + reserve}(deposit, reserve);
    }

    function _deposit(address account) internal view returns (uint256) {
        (ITicketBroker.Sender memory info,) = broker.getSenderInfo(account);
        return info.deposit;
    }

    function _mark() internal view returns (uint256) {
        return broker.redemptionMark(orchestrator, sender);
    }

    // --- layouts ---

    function _creation(Ticket memory ticket) internal pure returns (uint256 round, bytes32 blockHash) {
        bytes memory auxData = ticket.auxData;
        assembly ("memory-safe") {
            round := mload(add(auxData, 0x20))
            blockHash := mload(add(auxData, 0x40))
        }
    }

    function _split(bytes memory sig) internal pure returns (bytes32 r, bytes32 s, uint8 v) {
        assembly ("memory-safe") {
            r := mload(add(sig, 0x20))
            s := mload(add(sig, 0x40))
            v := byte(0, mload(add(sig, 0x60)))
        }
    }
}
