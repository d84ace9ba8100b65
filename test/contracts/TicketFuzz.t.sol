// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ITicketBroker} from "../../contracts/interfaces/ITicketBroker.sol";
import {OrderedTicketEncoding} from "../../contracts/types/OrderedTicket.sol";
import {Ticket} from "../../contracts/types/Ticket.sol";
import {StreamflowTest} from "./StreamflowTest.sol";

/// @notice Properties of the ticket path over random input.
contract TicketFuzzTest is StreamflowTest {
    /// @dev Bits of the signed layout, the signature and the revealed secret.
    uint256 private constant _TICKET_BITS = 232 * 8;
    uint256 private constant _SIG_BITS = 65 * 8;

    function setUp() public override {
        super.setUp();
        _register(orchestrator, 1000 ether, 100_000, 500_000);
        _nextRound();
        _fund(10 ether, 6 ether);
    }

    /// The hash is that of the fields packed plainly, whatever they are and however long `auxData` is.
    function testFuzz_Invariant09_HashIsThatOfThePackedBytesOfAnyLength(Ticket calldata ticket) external view {
        bytes memory packed = abi.encodePacked(
            ticket.recipient,
            ticket.sender,
            ticket.faceValue,
            ticket.winProb,
            ticket.senderNonce,
            ticket.recipientRandHash,
            ticket.auxData
        );
        vm.assertEq(broker.getTicketHash(ticket), keccak256(packed));
    }

    /// Whichever bit of ticket, signature or secret is flipped, the ticket is refused and nothing moves.
    function testFuzz_Invariant09_RevertWhen_AnyBitIsFlipped(uint256 bit, uint256 nonce, uint256 faceValue) external {
        Ticket memory ticket = _ticket(faceValue % 10 ether, nonce);
        bytes memory sig = _sign(ticket);
        uint256 rand = RAND;
        bit %= _TICKET_BITS + _SIG_BITS + 256;
        if (bit < _TICKET_BITS) {
            ticket = _decode(_flip(_encode(ticket), bit));
        } else if (bit < _TICKET_BITS + _SIG_BITS) {
            sig = _flip(sig, bit - _TICKET_BITS);
        } else {
            rand ^= 1 << (bit - _TICKET_BITS - _SIG_BITS);
        }
        (bool ok,) = address(broker).call(abi.encodeCall(broker.redeemWinningTicket, (ticket, sig, rand)));
        vm.assertFalse(ok);
        vm.assertFalse(broker.usedTickets(broker.getTicketHash(ticket)));
        vm.assertEq(broker.unclaimedFees(), 0);
    }

    /// A ticket pays exactly if its draw is below its probability.
    function testFuzz_Invariant09_PaysExactlyWhenDrawIsBelowWinProb(uint256 winProb, uint256 nonce, uint256 rand)
        external
    {
        // Marked tickets take the other path.
        vm.assume(!OrderedTicketEncoding.isMarked(rand));
        Ticket memory ticket = _ticket(1 ether, nonce);
        ticket.winProb = winProb;
        ticket.recipientRandHash = keccak256(abi.encode(rand));
        bytes memory sig = _sign(ticket);
        bool wins = uint256(keccak256(abi.encodePacked(sig, rand))) < winProb;
        if (!wins) vm.expectRevert(ITicketBroker.TicketNotWinning.selector);
        broker.redeemWinningTicket(ticket, sig, rand);
        vm.assertEq(broker.unclaimedFees(), wins ? 1 ether : 0);
    }

    /// The packed layout is the one the nodes hash.
    function testFuzz_Invariant09_HashIsThatOfThePackedBytes(Ticket memory ticket, bytes32 a, bytes32 b) external view {
        ticket.auxData = abi.encodePacked(a, b);
        bytes memory packed = _encode(ticket);
        vm.assertEq(packed.length, 232);
        vm.assertEq(broker.getTicketHash(ticket), keccak256(packed));
    }

    /// Any face value either moves in full or not at all.
    function testFuzz_Invariant08_PaysInFullOrNotAtAll(uint256 faceValue, uint256 deposit, uint256 reserve) external {
        deposit %= 100 ether;
        reserve %= 100 ether;
        faceValue %= 250 ether;
        _register(stranger, 1000 ether, 0, 0);
        _nextRound();
        _fund(deposit, reserve);
        deposit += 10 ether;
        reserve += 6 ether;
        Ticket memory ticket = _ticket(faceValue, 1);
        bytes memory sig = _sign(ticket);
        (bool ok,) = address(broker).call(abi.encodeCall(broker.redeemWinningTicket, (ticket, sig, RAND)));
        vm.assertEq(ok, faceValue <= deposit + reserve / 2);
        (ITicketBroker.Sender memory info, ITicketBroker.ReserveInfo memory held) = broker.getSenderInfo(sender);
        uint256 moved = ok ? faceValue : 0;
        vm.assertEq(info.deposit + held.fundsRemaining, deposit + reserve - moved);
        vm.assertEq(broker.unclaimedFees(), moved);
        vm.assertEq(broker.usedTickets(broker.getTicketHash(ticket)), ok);
    }

    /// Of 400 tickets at one in four, the number of winners lies within five standard deviations of 100.
    function test_Invariant10_WinRateIsThatOfWinProb() external {
        uint256 won = 0;
        for (uint256 nonce = 0; nonce < 400; ++nonce) {
            Ticket memory ticket = _ticket(1, nonce);
            ticket.winProb = CERTAIN / 4;
            bytes memory sig = _sign(ticket);
            (bool ok,) = address(broker).call(abi.encodeCall(broker.redeemWinningTicket, (ticket, sig, RAND)));
            if (ok) ++won;
        }
        vm.assertApproxEqAbs(won, 100, 43);
        vm.assertEq(broker.unclaimedFees(), won);
    }

    /// A threshold of zero is below every draw.
    function testFuzz_Invariant10_WinProbZeroNeverWins(uint256 nonce, uint256 rand) external {
        Ticket memory ticket = _ticket(1 ether, nonce);
        (ticket.winProb, ticket.recipientRandHash) = (0, keccak256(abi.encode(rand)));
        bytes memory sig = _sign(ticket);
        vm.expectRevert(ITicketBroker.TicketNotWinning.selector);
        broker.redeemWinningTicket(ticket, sig, rand);
    }

    function _encode(Ticket memory t) private pure returns (bytes memory) {
        return
            abi.encodePacked(
                t.recipient, t.sender, t.faceValue, t.winProb, t.senderNonce, t.recipientRandHash, t.auxData
            );
    }

    function _decode(bytes memory packed) private pure returns (Ticket memory t) {
        t.recipient = address(uint160(_word(packed, 0) >> 96));
        t.sender = address(uint160(_word(packed, 20) >> 96));
        t.faceValue = _word(packed, 40);
        t.winProb = _word(packed, 72);
        t.senderNonce = _word(packed, 104);
        t.recipientRandHash = bytes32(_word(packed, 136));
        t.auxData = abi.encode(_word(packed, 168), _word(packed, 200));
    }

    function _word(bytes memory data, uint256 offset) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := mload(add(add(data, 0x20), offset))
        }
    }

    function _flip(bytes memory data, uint256 bit) private pure returns (bytes memory) {
        data[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
        return data;
    }
}
