// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Receipt, ReceiptEncoding} from "../../contracts/types/Receipt.sol";
import {SlashingTest} from "./SlashingTest.sol";

/// @notice The layout that nodes sign. The vector is that of docs/designs/004-slashing.md.
contract ReceiptEncodingTest is SlashingTest {
    uint256 private constant _KEY = 0x4646464646464646464646464646464646464646464646464646464646464646;
    bytes32 private constant _DOMAIN_TYPE_HASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");

    function test_Vector() external pure {
        Receipt memory receipt = _vector();
        bytes32 domain = _domain(42_161, 0x00000000000000000000000000000000000051a5);
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", domain, receipt.structHash()));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(_KEY, digest);
        vm.assertEq(ReceiptEncoding.TYPE_HASH, 0x4812830279e75843fae9046f2cbdb3946604307b4dd9bc04d7ffaef6fa27fe9e);
        vm.assertEq(receipt.structHash(), 0x0c38a21ff1d7a046a72bfb070dd77c2ed58112a12cef2387663a6026106c2da5);
        vm.assertEq(domain, 0x08fdf7fd8b8710b95571f1207ee0c4605cafe78f0f87cefbbd83d5a0ec3cf3bb);
        vm.assertEq(digest, 0x6109dc20ffc45fe82d278b7bd171cfc21b695244515c7e72876851c872fd1b40);
        vm.assertEq(receipt.jobId(), 0x078c17503154e366fe5cd7cc67e7f10386e2603e162c2f9cf1ff7061db38ec9b);
        // The same signature comes from other software given the same typed data (`cast wallet sign --data`).
        vm.assertEq(
            abi.encodePacked(r, s, v),
            hex"e0ce9fed1d96a24549886274099b454333997461235316a0b971d5cd527f06527dc9196926ca8b76e34d85e18919da8a26e218ccedd874282b0763b20381d1491b"
        );
    }

    function test_DomainIsThisChainAndThisContract() external view {
        vm.assertEq(slashing.domainSeparator(), _domain(block.chainid, address(slashing)));
        vm.assertEq(
            slashing.receiptDigest(_vector()),
            keccak256(abi.encodePacked(hex"1901", slashing.domainSeparator(), _vector().structHash()))
        );
    }

    /// Every field is signed; all but results, round and flag make the job.
    function test_EveryFieldCounts() external pure {
        Receipt memory base = _vector();
        for (uint256 i = 0; i < 12; ++i) {
            Receipt memory changed = _vector();
            if (i == 0) changed.orchestrator = address(1);
            if (i == 1) changed.sender = address(1);
            if (i == 2) changed.service = "x";
            if (i == 3) changed.manifest = "x";
            if (i == 4) changed.sequence = 0;
            if (i == 5) changed.sourceHash = "x";
            if (i == 6) changed.settings = "x";
            if (i == 7) changed.software = "x";
            if (i == 8) changed.resultHashes[1] = "x";
            if (i == 9) changed.resultHashes = new bytes32[](0);
            if (i == 10) changed.round = 0;
            if (i == 11) changed.deterministic = false;
            vm.assertNotEq(base.structHash(), changed.structHash());
            vm.assertTrue((base.jobId() == changed.jobId()) == (i >= 8));
        }
    }

    function _domain(uint256 chainId, address verifyingContract) private pure returns (bytes32) {
        return
            keccak256(
                abi.encode(_DOMAIN_TYPE_HASH, keccak256("Streamflow"), keccak256("1"), chainId, verifyingContract)
            );
    }

    function _vector() private pure returns (Receipt memory) {
        bytes32[] memory results = new bytes32[](2);
        (results[0], results[1]) = (keccak256("rendition 0"), keccak256("rendition 1"));
        return Receipt({
            orchestrator: vm.addr(_KEY),
            sender: 0x000000000000000000000000000000000000bEEF,
            service: "transcoding/h264",
            manifest: keccak256("5b6f2d1e"),
            sequence: 12,
            sourceHash: keccak256("source segment"),
            settings: keccak256("settings"),
            software: keccak256("software"),
            resultHashes: results,
            round: 3500,
            deterministic: true
        });
    }
}
