// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ServiceRegistry} from "../../contracts/ServiceRegistry.sol";
import {IServiceRegistry} from "../../contracts/interfaces/IServiceRegistry.sol";
import {StreamflowTest} from "./StreamflowTest.sol";

contract ServiceRegistryTest is StreamflowTest {
    bytes32 private constant _H264 = "transcoding/h264";
    bytes32 private constant _HEVC = "transcoding/hevc";
    bytes32 private constant _EAST = "eu-east";
    bytes32 private constant _WEST = "eu-west";

    function setUp() public override {
        super.setUp();
        _registerService(_H264);
        _registerService(_HEVC);
    }

    // --- the deployed pair ---

    function test_SetServiceURI_ReplacesAndReports() external {
        vm.startPrank(orchestrator);
        registry.setServiceURI("https://a.example:8935/with/a/path/longer/than/one/word");
        vm.expectEmit(address(registry));
        emit IServiceRegistry.ServiceURIUpdate(orchestrator, "https://b.example:8935");
        registry.setServiceURI("https://b.example:8935");
        vm.stopPrank();
        vm.assertEq(registry.getServiceURI(orchestrator), "https://b.example:8935");
        vm.assertEq(registry.getServiceURI(stranger), "");
        vm.assertEq(registry.getEntryCount(), 1);
    }

    function test_GivenPaused_EntriesCanStillChange() external {
        _pause();
        _publish(orchestrator, "https://a.example", _ids(_H264), _ids(_WEST));
        vm.assertEq(registry.getServiceURI(orchestrator), "https://a.example");
        vm.assertEq(address(registry.controller()), address(controller));
        vm.assertEq(address(registry.bondingManager()), address(bonding));
    }

    function test_WhenURIIsEmptied_EntryLeavesTheListAndCanComeBack() external {
        _setURI(orchestrator, "https://a.example");
        _setURI(stranger, "https://b.example");
        _setURI(orchestrator, "");
        _setURI(orchestrator, "");
        (IServiceRegistry.Entry[] memory entries,) = registry.getEntries(0, 10, _everything());
        vm.assertEq(entries.length, 1);
        vm.assertEq(entries[0].orchestrator, stranger);
        _setURI(orchestrator, "https://c.example");
        (entries,) = registry.getEntries(0, 10, _everything());
        vm.assertEq(entries.length, 2);
        vm.assertEq(entries[1].orchestrator, orchestrator);
        vm.assertEq(entries[1].serviceURI, "https://c.example");
    }

    /// The list holds exactly those with a URI, whatever the order of changes.
    function testFuzz_ListHoldsThoseWithAURI(uint256 seed) external {
        for (uint256 i = 0; i < 24; ++i) {
            uint256 d = uint256(keccak256(abi.encode(seed, i)));
            _setURI(vm.addr(1 + d % 5), d % 3 == 0 ? "" : "https://x.example");
        }
        uint256 expected = 0;
        (IServiceRegistry.Entry[] memory entries,) = registry.getEntries(0, 10, _everything());
        for (uint256 i = 1; i <= 5; ++i) {
            bool has = bytes(registry.getServiceURI(vm.addr(i))).length > 0;
            if (has) ++expected;
            uint256 listed = 0;
            for (uint256 j = 0; j < entries.length; ++j) {
                if (entries[j].orchestrator == vm.addr(i)) ++listed;
            }
            vm.assertEq(listed, has ? 1 : 0);
        }
        vm.assertEq(entries.length, expected);
        vm.assertEq(registry.getEntryCount(), expected);
    }

    // --- services ---

    function test_RegisterService_SetsAndReplaces() external {
        address[] memory verifiers = new address[](2);
        (verifiers[0], verifiers[1]) = (stranger, delegator);
        vm.expectEmit(address(registry));
        emit IServiceRegistry.ServiceRegistered(_H264, verifiers, "ipfs://h264");
        vm.prank(owner);
        registry.registerService(_H264, verifiers, "ipfs://h264");
        (bool registered, address[] memory stored, string memory uri) = registry.getService(_H264);
        vm.assertTrue(registered);
        vm.assertEq(stored.length, 2);
        vm.assertEq(uri, "ipfs://h264");
        vm.assertTrue(registry.isVerifier(_H264, delegator));
        vm.assertFalse(registry.isVerifier(_H264, owner));
        _registerService(_H264);
        vm.assertFalse(registry.isVerifier(_H264, delegator));
        (bytes32[] memory ids, uint256 next) = registry.getServiceIds(0, 10);
        vm.assertEq(ids.length, 2);
        vm.assertEq(next, 0);
    }

    function test_RetireService_CannotBeOfferedNorJudged() external {
        vm.expectEmit(address(registry));
        emit IServiceRegistry.ServiceRetired(_H264);
        vm.prank(owner);
        registry.retireService(_H264);
        (bool registered,,) = registry.getService(_H264);
        vm.assertFalse(registered);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.ServiceNotRegistered.selector, _H264));
        vm.prank(orchestrator);
        registry.setServices(_ids(_H264));
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.ServiceNotRegistered.selector, _H264));
        vm.prank(owner);
        registry.retireService(_H264);
    }

    function test_GetServiceIds_Pages() external {
        _registerService("a");
        (bytes32[] memory ids, uint256 next) = registry.getServiceIds(0, 2);
        vm.assertEq(ids.length, 2);
        vm.assertEq(ids[0], _H264);
        vm.assertEq(next, 2);
        (ids, next) = registry.getServiceIds(next, 2);
        vm.assertEq(ids.length, 1);
        vm.assertEq(ids[0], "a");
        vm.assertEq(next, 0);
        (ids, next) = registry.getServiceIds(7, 2);
        vm.assertEq(ids.length, 0);
    }

    function test_RevertWhen_RegistrarIsNotOwner() external {
        _expectNotOwner(stranger);
        vm.prank(stranger);
        registry.registerService("a", new address[](0), "");
        _expectNotOwner(stranger);
        vm.prank(stranger);
        registry.retireService(_H264);
    }

    function test_RevertWhen_ServiceIsNull() external {
        vm.expectRevert(IServiceRegistry.NullService.selector);
        vm.prank(owner);
        registry.registerService(0, new address[](0), "");
    }

    function test_RevertWhen_VerifierIsNull() external {
        vm.expectRevert(IServiceRegistry.NullVerifier.selector);
        vm.prank(owner);
        registry.registerService("a", new address[](1), "");
    }

    function test_RevertWhen_TooManyVerifiers() external {
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.TooMany.selector, 5, registry.MAX_VERIFIERS()));
        vm.prank(owner);
        registry.registerService("a", new address[](5), "");
    }

    // --- offers ---

    function test_SetServicesAndRegions_ReplaceAndReport() external {
        vm.startPrank(orchestrator);
        vm.expectEmit(address(registry));
        emit IServiceRegistry.ServicesUpdate(orchestrator, _ids(_H264, _HEVC));
        registry.setServices(_ids(_H264, _HEVC));
        vm.expectEmit(address(registry));
        emit IServiceRegistry.RegionsUpdate(orchestrator, _ids(_EAST, _WEST));
        registry.setRegions(_ids(_EAST, _WEST));
        vm.assertEq(registry.getServices(orchestrator).length, 2);
        registry.setServices(_ids(_HEVC));
        registry.setRegions(new bytes32[](0));
        vm.stopPrank();
        vm.assertEq(registry.getServices(orchestrator).length, 1);
        vm.assertEq(registry.getServices(orchestrator)[0], _HEVC);
        vm.assertEq(registry.getRegions(orchestrator).length, 0);
    }

    function test_RevertWhen_ServiceIsNotRegistered() external {
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.ServiceNotRegistered.selector, bytes32("other")));
        vm.prank(orchestrator);
        registry.setServices(_ids("other"));
    }

    function test_RevertWhen_IdsAreNotAscending() external {
        vm.startPrank(orchestrator);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.NotAscending.selector, _H264));
        registry.setServices(_ids(_HEVC, _H264));
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.NotAscending.selector, _WEST));
        registry.setRegions(_ids(_WEST, _WEST));
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.NotAscending.selector, bytes32(0)));
        registry.setRegions(_ids(0));
        vm.stopPrank();
    }

    function test_RevertWhen_TooManyIds() external {
        vm.startPrank(orchestrator);
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.TooMany.selector, 33, registry.MAX_SERVICES()));
        registry.setServices(new bytes32[](33));
        vm.expectRevert(abi.encodeWithSelector(IServiceRegistry.TooMany.selector, 33, registry.MAX_REGIONS()));
        registry.setRegions(new bytes32[](33));
        vm.stopPrank();
    }

    // --- pages ---

    function test_GetEntries_HoldsEverythingABroadcasterAsksFor() external {
        _register(orchestrator, 1000 ether, 0, 0);
        _bond(delegator, 234 ether, orchestrator);
        _nextRound();
        _publish(orchestrator, "https://a.example:8935", _ids(_H264, _HEVC), _ids(_EAST, _WEST));
        (IServiceRegistry.Entry[] memory entries, uint256 next) = registry.getEntries(0, 1, _everything());
        vm.assertEq(entries.length, 1);
        vm.assertEq(next, 0);
        vm.assertEq(entries[0].orchestrator, orchestrator);
        vm.assertTrue(entries[0].active);
        vm.assertEq(entries[0].stake, 1234 ether);
        vm.assertEq(entries[0].serviceURI, "https://a.example:8935");
        vm.assertEq(abi.encode(entries[0].services), abi.encode(_ids(_H264, _HEVC)));
        vm.assertEq(abi.encode(entries[0].regions), abi.encode(_ids(_EAST, _WEST)));
    }

    function test_GetEntries_Filters() external {
        _register(orchestrator, 1000 ether, 0, 0);
        _nextRound();
        _register(delegator, 2000 ether, 0, 0); // active from the next round on
        _publish(orchestrator, "https://a.example", _ids(_H264), _ids(_EAST));
        _publish(delegator, "https://b.example", _ids(_H264, _HEVC), _ids(_EAST, _WEST));
        _publish(stranger, "https://c.example", _ids(_HEVC), _ids(_WEST));
        vm.assertEq(_matches(_everything()), "abc");
        vm.assertEq(_matches(IServiceRegistry.Filter(_H264, 0, 0, false)), "ab");
        vm.assertEq(_matches(IServiceRegistry.Filter(0, _WEST, 0, false)), "bc");
        vm.assertEq(_matches(IServiceRegistry.Filter(_HEVC, _EAST, 0, false)), "b");
        vm.assertEq(_matches(IServiceRegistry.Filter(0, 0, 1000 ether, false)), "ab");
        vm.assertEq(_matches(IServiceRegistry.Filter(0, 0, 1000 ether + 1, false)), "b");
        vm.assertEq(_matches(IServiceRegistry.Filter(0, 0, 0, true)), "a");
        vm.assertEq(_matches(IServiceRegistry.Filter(_HEVC, 0, 0, true)), "");
    }

    /// Pages of any size, put together, are the whole list, in order and once.
    function testFuzz_PagesCoverTheListOnce(uint256 count, uint256 limit) external {
        count = count % 12;
        limit = 1 + limit % 14;
        for (uint256 i = 0; i < count; ++i) {
            _setURI(vm.addr(1 + i), "https://x.example");
        }
        uint256 cursor = 0;
        uint256 seen = 0;
        do {
            IServiceRegistry.Entry[] memory entries;
            (entries, cursor) = registry.getEntries(cursor, limit, _everything());
            vm.assertLe(entries.length, limit);
            for (uint256 i = 0; i < entries.length; ++i) {
                vm.assertEq(entries[i].orchestrator, vm.addr(1 + seen++));
            }
        } while (cursor != 0);
        vm.assertEq(seen, count);
    }

    function test_GivenCursorOrLimitOutOfRange_PageEndsWithTheList() external {
        _setURI(orchestrator, "https://a.example");
        (IServiceRegistry.Entry[] memory entries, uint256 next) =
            registry.getEntries(type(uint256).max, type(uint256).max, _everything());
        vm.assertEq(entries.length, 0);
        vm.assertEq(next, 0);
        (entries, next) = registry.getEntries(0, type(uint256).max, _everything());
        vm.assertEq(entries.length, 1);
        vm.assertEq(next, 0);
        (entries, next) = registry.getEntries(0, 0, _everything());
        vm.assertEq(entries.length, 0);
    }

    function test_GivenURITooLongToList_PageLeavesItOut() external {
        bytes memory uri = new bytes(registry.MAX_LISTED_URI_LENGTH() + 1);
        _setURI(orchestrator, string(uri));
        (IServiceRegistry.Entry[] memory entries,) = registry.getEntries(0, 1, _everything());
        vm.assertEq(entries.length, 1);
        vm.assertEq(entries[0].serviceURI, "");
        vm.assertEq(bytes(registry.getServiceURI(orchestrator)).length, uri.length);
    }

    function _matches(IServiceRegistry.Filter memory filter) private view returns (string memory names) {
        (IServiceRegistry.Entry[] memory entries,) = registry.getEntries(0, 100, filter);
        for (uint256 i = 0; i < entries.length; ++i) {
            // "https://a.example" → "a"
            names = string.concat(names, string(abi.encodePacked(bytes(entries[i].serviceURI)[8])));
        }
    }

    function _registerService(bytes32 service) private {
        vm.prank(owner);
        registry.registerService(service, new address[](0), "");
    }

    function _setURI(address account, string memory uri) private {
        vm.prank(account);
        registry.setServiceURI(uri);
    }

    function _publish(address account, string memory uri, bytes32[] memory services, bytes32[] memory regions) private {
        vm.startPrank(account);
        registry.setServiceURI(uri);
        registry.setServices(services);
        registry.setRegions(regions);
        vm.stopPrank();
    }

    function _everything() private pure returns (IServiceRegistry.Filter memory filter) {
        return filter;
    }

    function _ids(bytes32 a) private pure returns (bytes32[] memory ids) {
        ids = new bytes32[](1);
        ids[0] = a;
    }

    function _ids(bytes32 a, bytes32 b) private pure returns (bytes32[] memory ids) {
        ids = new bytes32[](2);
        (ids[0], ids[1]) = (a, b);
    }
}
