// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IPenaltyClause} from "../../contracts/interfaces/IPenaltyClause.sol";
import {OrderedTicket} from "../../contracts/types/OrderedTicket.sol";
import {Ticket} from "../../contracts/types/Ticket.sol";
import {OrderedTest} from "./OrderedTest.sol";

/// @notice A sender bound by a clause and builders for proofs. Hashes are computed here, not by the contracts.
abstract contract PenaltyTest is OrderedTest {
    address internal constant DEAD = 0x000000000000000000000000000000000000dEaD;

    uint256 internal constant DEPOSIT = 5 ether;
    uint256 internal constant RESERVE = 5 ether;
    uint256 internal constant LIMIT = 10 ether;
    /// @dev A hundredth of the limit.
    uint256 internal constant FACE = 0.1 ether;
    uint256 internal constant SHARE = 250_000;
    /// @dev Winning value that is no overspend yet.
    uint256 internal constant ALLOWED = DEPOSIT + RESERVE + LIMIT;
    /// @dev Tickets of `FACE` that make one.
    uint256 internal constant ENOUGH = ALLOWED / FACE + 1;

    address internal other = _account("other orchestrator");

    /// @dev What tickets are made of.
    struct Series {
        uint256 key;
        address recipient;
        uint256 faceValue;
        uint256 winProb;
        uint256 rand;
        uint256 round;
        bool bound;
    }

    function setUp() public virtual override {
        super.setUp();
        _register(orchestrator, 1000 ether, 100_000, 500_000);
        _register(other, 1000 ether, 100_000, 500_000);
        _nextRound();
        _fundWithPenalty(DEPOSIT, RESERVE, SHARE, LIMIT);
    }

    // --- the clause ---

    function _fundWithPenalty(uint256 deposit, uint256 reserve, uint256 share, uint256 limit) internal {
        vm.prank(sender);
        broker.fundWithPenalty{value: deposit + reserve}(deposit, reserve, share, limit);
    }

    function _terms() internal view returns (IPenaltyClause.PenaltyTerms memory) {
        return broker.penaltyTermsOf(sender);
    }

    function _resign() internal {
        vm.prank(sender);
        broker.resignPenaltyClause();
    }

    function _unlock() internal {
        vm.prank(sender);
        broker.unlock();
    }

    function _withdraw() internal {
        vm.prank(sender);
        broker.withdraw();
    }

    /// @dev Ends clause and account, for a test that wants other amounts.
    function _clear() internal {
        _resign();
        _unlock();
        _nextRounds(2);
        _withdraw();
    }

    /// @dev Pays two recipients all of the deposit and all but half an ether of the reserve, with tickets that the clause does not
    /// cover.
    function _drain() internal {
        Ticket memory ticket = _ticket(_deposit(sender) + broker.claimableReserve(sender, orchestrator), 900);
        _redeem(ticket);
        ticket = _ticket(broker.getReserveInfo(sender).fundsRemaining - 0.5 ether, 900);
        ticket.recipient = other;
        _redeem(ticket);
    }

    // --- tickets ---

    /// @dev Winners of `sender` for `recipient`, made in the current round with a secret that carries no marker.
    function _series(address recipient) internal view returns (Series memory) {
        return Series({
            key: SENDER_KEY,
            recipient: recipient,
            faceValue: FACE,
            winProb: CERTAIN,
            rand: RAND,
            round: rounds.currentRound(),
            bound: false
        });
    }

    /// @dev `n` winning tickets with nonces from `nonce` on, in the order of their hashes.
    function _winners(Series memory series, uint256 n, uint256 nonce)
        internal
        view
        returns (OrderedTicket[] memory tickets)
    {
        tickets = new OrderedTicket[](n);
        bytes32[] memory hashes = new bytes32[](n);
        bytes32 blockHash = rounds.blockHashForRound(series.round);
        for (uint256 i = 0; i < n; ++i) {
            (tickets[i], hashes[i]) = _signedTicket(series, nonce + i, blockHash);
        }
        _sort(tickets, hashes);
    }

    function _signedTicket(Series memory series, uint256 nonce, bytes32 blockHash)
        internal
        view
        returns (OrderedTicket memory ticket, bytes32 ticketHash)
    {
        ticket.recipientRand = series.rand;
        ticket.winProb = series.winProb;
        ticket.terms = (uint256(series.bound ? 1 : 0) << 224) | (series.faceValue << 128) | (series.round << 64)
            | uint256(uint64(nonce));
        ticketHash = _hashOf(series, nonce, blockHash);
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(series.key, keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", ticketHash)));
        ticket.r = r;
        ticket.yParityAndS = v == 28 ? s | bytes32(uint256(1) << 255) : s;
    }

    function _hashOf(Series memory series, uint256 nonce, bytes32 blockHash) internal view returns (bytes32) {
        bytes memory auxData = abi.encode(series.round, blockHash);
        if (series.bound) auxData = bytes.concat(auxData, keccak256(abi.encode(block.chainid, address(broker))));
        return keccak256(
            abi.encodePacked(
                series.recipient,
                vm.addr(series.key),
                series.faceValue,
                series.winProb,
                nonce,
                keccak256(abi.encode(series.rand)),
                auxData
            )
        );
    }

    /// @dev The same ticket as the deployed calls take it.
    function _unpacked(OrderedTicket memory ticket, address recipient)
        internal
        view
        returns (Ticket memory unpacked, bytes memory sig)
    {
        uint256 round = uint64(ticket.terms >> 64);
        unpacked = Ticket({
            recipient: recipient,
            sender: sender,
            faceValue: uint96(ticket.terms >> 128),
            winProb: ticket.winProb,
            senderNonce: uint64(ticket.terms),
            recipientRandHash: keccak256(abi.encode(ticket.recipientRand)),
            auxData: _auxData(round)
        });
        uint256 word = uint256(ticket.yParityAndS);
        sig = abi.encodePacked(ticket.r, word & uint256(type(int256).max), uint8((word >> 255) + 27));
    }

    function _redeemOne(OrderedTicket memory ticket, address recipient) internal {
        (Ticket memory unpacked, bytes memory sig) = _unpacked(ticket, recipient);
        broker.redeemWinningTicket(unpacked, sig, ticket.recipientRand);
    }

    // --- proofs ---

    function _proofGroup(address recipient, uint256 count)
        internal
        pure
        returns (IPenaltyClause.ProofGroup[] memory groups)
    {
        groups = new IPenaltyClause.ProofGroup[](1);
        groups[0] = IPenaltyClause.ProofGroup(recipient, count);
    }

    function _prove(OrderedTicket[] memory tickets) internal {
        broker.proveOverspend(_proofGroup(orchestrator, tickets.length), tickets, sender);
    }

    /// @dev By the refusal of a proof that is too small.
    function _assertOwed(OrderedTicket[] memory tickets, uint256 owed, uint256 allowed) internal {
        IPenaltyClause.ProofGroup[] memory groups = _proofGroup(orchestrator, tickets.length);
        vm.expectRevert(abi.encodeWithSelector(IPenaltyClause.NotOverspent.selector, owed, allowed));
        broker.proveOverspend(groups, tickets, sender);
    }

    /// @dev Enough winners of this round, from a nonce that no other proof of a test uses.
    function _overspend(uint256 nonce) internal view returns (OrderedTicket[] memory) {
        return _winners(_series(orchestrator), ENOUGH, nonce);
    }

    function _proveOverspend() internal {
        _prove(_overspend(1));
    }

    /// @dev Two proofs' tickets, orchestrator's and other's, as groups in ascending order.
    function _pair(OrderedTicket[] memory ours, OrderedTicket[] memory theirs)
        internal
        view
        returns (IPenaltyClause.ProofGroup[] memory groups, OrderedTicket[] memory tickets)
    {
        groups = new IPenaltyClause.ProofGroup[](2);
        groups[0] = IPenaltyClause.ProofGroup(orchestrator, ours.length);
        groups[1] = IPenaltyClause.ProofGroup(other, theirs.length);
        if (other < orchestrator) {
            (groups[0], groups[1]) = (groups[1], groups[0]);
            (ours, theirs) = (theirs, ours);
        }
        tickets = _concat(ours, theirs);
    }

    function _concat(OrderedTicket[] memory a, OrderedTicket[] memory b)
        internal
        pure
        returns (OrderedTicket[] memory all)
    {
        all = new OrderedTicket[](a.length + b.length);
        for (uint256 i = 0; i < all.length; ++i) {
            all[i] = i < a.length ? a[i] : b[i - a.length];
        }
    }

    function _slice(OrderedTicket[] memory tickets, uint256 from, uint256 to)
        internal
        pure
        returns (OrderedTicket[] memory part)
    {
        part = new OrderedTicket[](to - from);
        for (uint256 i = from; i < to; ++i) {
            part[i - from] = tickets[i];
        }
    }

    /// @dev Sorts by hash (heap order first, then one by one off the top).
    function _sort(OrderedTicket[] memory tickets, bytes32[] memory hashes) internal pure {
        uint256 n = hashes.length;
        for (uint256 i = n / 2; i > 0; --i) {
            _sink(tickets, hashes, i - 1, n);
        }
        for (uint256 end = n; end > 1; --end) {
            (hashes[0], hashes[end - 1]) = (hashes[end - 1], hashes[0]);
            (tickets[0], tickets[end - 1]) = (tickets[end - 1], tickets[0]);
            _sink(tickets, hashes, 0, end - 1);
        }
    }

    function _sink(OrderedTicket[] memory tickets, bytes32[] memory hashes, uint256 at, uint256 end) private pure {
        while (true) {
            uint256 child = 2 * at + 1;
            if (child >= end) return;
            if (child + 1 < end && hashes[child + 1] > hashes[child]) ++child;
            if (hashes[child] <= hashes[at]) return;
            (hashes[at], hashes[child]) = (hashes[child], hashes[at]);
            (tickets[at], tickets[child]) = (tickets[child], tickets[at]);
            at = child;
        }
    }
}
