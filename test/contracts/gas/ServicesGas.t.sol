// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {BondingManager} from "../../../contracts/BondingManager.sol";
import {LivepeerToken} from "../../../contracts/LivepeerToken.sol";
import {ServiceRegistry} from "../../../contracts/ServiceRegistry.sol";
import {IServiceRegistry} from "../../../contracts/interfaces/IServiceRegistry.sol";
import {StreamflowTest} from "../StreamflowTest.sol";
import {Vm} from "../Vm.sol";

/// @notice The part of forge's cheat codes that measures.
interface ServicesGasVm {
    struct Gas {
        uint64 gasLimit;
        uint64 gasTotalUsed;
        uint64 gasMemoryUsed;
        int64 gasRefunded;
        uint64 gasRemaining;
    }

    function lastCallGas() external view returns (Gas memory);
}

/// @notice Fills the registry with staked orchestrators in one transaction, each with a URI of two words, two services and
/// two regions.
contract Crowd {
    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    function join(ServiceRegistry registry, BondingManager bonding, LivepeerToken token, uint256 from, uint256 to)
        external
    {
        bytes32[] memory services = new bytes32[](2);
        (services[0], services[1]) = (bytes32("transcoding/h264"), bytes32("transcoding/hevc"));
        bytes32[] memory regions = new bytes32[](2);
        (regions[0], regions[1]) = (bytes32("eu-east"), bytes32("eu-west"));
        for (uint256 i = from; i < to; ++i) {
            address member = account(i);
            token.transfer(member, 1 ether + i);
            vm.startPrank(member);
            token.approve(address(bonding), 1 ether + i);
            bonding.bond(1 ether + i, member);
            registry.setServiceURI("https://orchestrator.example.org:8935/live");
            registry.setServices(services);
            regions[1] = i % 100 == 0 ? bytes32("us-east") : bytes32("eu-west");
            registry.setRegions(regions);
            vm.stopPrank();
        }
    }

    function account(uint256 i) public pure returns (address) {
        return address(uint160(uint256(keccak256(abi.encode("member", i)))));
    }
}

/// @notice What reading and writing the registry costs. A node's `eth_call` is given 50,000,000 gas by default.
contract ServicesGasTest is StreamflowTest {
    uint256 private constant _ENTRIES = 10_000;
    uint256 private constant _CALL_GAS = 50_000_000;
    uint256 private constant _PAGE = 1000;

    event Figure(string name, uint256 gas);

    function setUp() public override {
        super.setUp();
        vm.startPrank(owner);
        registry.registerService("transcoding/h264", new address[](0), "");
        registry.registerService("transcoding/hevc", new address[](0), "");
        vm.stopPrank();
    }

    /// Every one of 10,000 entries is read by ten calls, none of which needs more gas than a node grants.
    function test_TenThousandEntries_AreReadInTenCalls() external {
        _fill();
        IServiceRegistry.Filter memory everything;
        uint256 calls = 0;
        uint256 seen = 0;
        uint256 cursor = 0;
        uint256 stake = 0;
        do {
            IServiceRegistry.Entry[] memory entries;
            (entries, cursor) = registry.getEntries{gas: _CALL_GAS}(cursor, _PAGE, everything);
            _assertGas("registry_page_1000", 40_000_000);
            for (uint256 i = 0; i < entries.length; ++i) {
                stake += entries[i].stake;
            }
            seen += entries.length;
            ++calls;
        } while (cursor != 0);
        vm.assertEq(calls, _ENTRIES / _PAGE);
        vm.assertEq(seen, _ENTRIES);
        vm.assertEq(stake, _ENTRIES * 1 ether + (_ENTRIES * (_ENTRIES - 1)) / 2);
    }

    /// A filter answers with the hundred that match, in four calls.
    function test_TenThousandEntries_AreFilteredInFourCalls() external {
        _fill();
        IServiceRegistry.Filter memory filter =
            IServiceRegistry.Filter("transcoding/hevc", "us-east", 1 ether + 5000, false);
        uint256 found = 0;
        uint256 cursor = 0;
        for (uint256 i = 0; i < 4; ++i) {
            IServiceRegistry.Entry[] memory entries;
            (entries, cursor) = registry.getEntries{gas: _CALL_GAS}(cursor, 2500, filter);
            found += entries.length;
        }
        vm.assertEq(cursor, 0);
        vm.assertEq(found, 50);
    }

    /// The first URI pays for its place in the list once; a change costs what it costs in the deployed contract.
    function test_SetServiceURI_IsCheap() external {
        vm.prank(stranger);
        registry.setServiceURI("https://c.example.org:8935");
        vm.prank(orchestrator);
        registry.setServiceURI("https://a.example.org:8935");
        _assertGas("set_service_uri_first", 100_000);
        vm.prank(orchestrator);
        registry.setServiceURI("https://b.example.org:8935");
        _assertGas("set_service_uri_again", 32_000);
    }

    /// Entries at every bound still fit: 200 of them in one call.
    function test_GivenLargestEntries_APageOfTwoHundredFits() external {
        bytes32[] memory ids = new bytes32[](registry.MAX_REGIONS());
        for (uint256 i = 0; i < ids.length; ++i) {
            ids[i] = bytes32(i + 1);
            vm.prank(owner);
            registry.registerService(ids[i], new address[](0), "");
        }
        string memory uri = string(new bytes(registry.MAX_LISTED_URI_LENGTH()));
        for (uint256 i = 0; i < 200; ++i) {
            vm.startPrank(vm.addr(i + 1));
            registry.setServiceURI(uri);
            registry.setServices(ids);
            registry.setRegions(ids);
            vm.stopPrank();
        }
        IServiceRegistry.Filter memory everything;
        (IServiceRegistry.Entry[] memory entries,) = registry.getEntries{gas: _CALL_GAS}(0, 200, everything);
        vm.assertEq(entries.length, 200);
        vm.assertEq(entries[199].regions.length, 32);
    }

    function _assertGas(string memory name, uint256 limit) private {
        uint256 gas = ServicesGasVm(address(uint160(uint256(keccak256("hevm cheat code"))))).lastCallGas().gasTotalUsed;
        emit Figure(name, gas);
        vm.assertLe(gas, limit, name);
    }

    function _fill() private {
        Crowd crowd = new Crowd();
        vm.prank(owner);
        token.transfer(address(crowd), 20_000 ether);
        for (uint256 i = 0; i < _ENTRIES; i += 1000) {
            crowd.join(registry, bonding, token, i, i + 1000);
        }
    }
}
