// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {OrderedTicket, OrderedTicketEncoding} from "../../contracts/types/OrderedTicket.sol";
import {Vm} from "./Vm.sol";

/// @notice One ticket taken apart, bound and unbound. The node has the same figures in `offchain/pm/tests/ordered_vectors.rs`.
contract OrderedEncodingTest {
    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint256 private constant _KEY = 0x4646464646464646464646464646464646464646464646464646464646464646;
    uint256 private constant _RAND = 0xdaaddfba8d87e9750000000000c0ffee37c914059d614cd0fba86028854399cb;
    uint256 private constant _UNMARKED = 0x08b7d4c5796b6b662c269f555a67f5397a5657baa89f5409779f80458d0d41a3;
    address private constant _RECIPIENT = 0x73AEd7b5dEb30222fa896f399d46cC99c7BEe57F;
    bytes32 private constant _BLOCK_HASH = 0x41b1a0649752af1b28b3dc29a1556eee781e4a4c3a1f7f53f90fa834de098c4d;

    function test_VectorOfMarkerAndKey() external view {
        vm.assertTrue(OrderedTicketEncoding.isMarked(_RAND));
        vm.assertFalse(OrderedTicketEncoding.isMarked(_UNMARKED));
        vm.assertEq(this.key(_ticket(0)), 0x70000000000c0ffee000000000000002a);
        vm.assertEq(this.key(_ticket(1)), 0x70000000000c0ffee000000000000002a);
    }

    function test_VectorOfTheUnboundTicket() external view {
        (bytes32 hash, bytes memory sig, bool wins) = _check(_ticket(0));
        vm.assertEq(hash, 0xb77417f4b57628a5da41bcb3a227e5c4266b4e4c81f2170d32b9037dc0187c6f);
        vm.assertEq(
            sig,
            hex"516a035e5e57c2840e82f15407cff350353e2084639820b2f5cc38eadbd0704e2c97528e824bf232c8cd6e4387a479a09739091e38a61c445787d9ed2dc8962f1c"
        );
        vm.assertTrue(wins);
    }

    function test_VectorOfTheBoundTicket() external view {
        (bytes32 hash, bytes memory sig, bool wins) = _check(_ticket(1));
        vm.assertEq(_tag(), 0x721b634f948fbb397f4c6b06089f5c300c0c629efe02744c1df89fd780c27ae3);
        vm.assertEq(hash, 0xd6fdf5ade3daa2aac7020a93182e77d18d979adde2106e481cb4874764f285ab);
        vm.assertEq(
            sig,
            hex"5804451c473a9b06de238daf616ffcb9a6120a0626e93777a72c89b419b564546376c01d8728589cfa6d295523e10ddccf148c74efa11a45f32be9861a3b7e811b"
        );
        vm.assertTrue(wins);
    }

    function key(OrderedTicket calldata ticket) external pure returns (uint256) {
        return ticket.key();
    }

    function hashOf(OrderedTicket calldata ticket) external pure returns (bytes32) {
        return ticket.hash(OrderedTicketEncoding.newBuffer(_RECIPIENT, _tag()), vm.addr(_KEY), _BLOCK_HASH);
    }

    function drawOf(OrderedTicket calldata ticket) external pure returns (address signer, bool wins) {
        bytes memory buffer = OrderedTicketEncoding.newBuffer(_RECIPIENT, _tag());
        bytes32 hash = ticket.hash(buffer, vm.addr(_KEY), _BLOCK_HASH);
        return (ticket.signer(hash), ticket.wins(buffer));
    }

    function _check(OrderedTicket memory ticket) private view returns (bytes32 hash, bytes memory sig, bool wins) {
        hash = this.hashOf(ticket);
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(_KEY, keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", hash)));
        (ticket.r, ticket.yParityAndS) = (r, v == 28 ? s | bytes32(uint256(1) << 255) : s);
        address signer;
        (signer, wins) = this.drawOf(ticket);
        vm.assertEq(signer, vm.addr(_KEY));
        sig = abi.encodePacked(r, s, v);
    }

    function _ticket(uint256 bound) private pure returns (OrderedTicket memory ticket) {
        ticket.recipientRand = _RAND;
        ticket.winProb = 1 << 255;
        ticket.terms = (bound << 224) | (uint256(1e15) << 128) | (uint256(7) << 64) | 0x2a;
    }

    function _tag() private pure returns (bytes32) {
        return keccak256(abi.encode(uint256(42_161), address(0xBB)));
    }
}
