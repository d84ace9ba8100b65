// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IServiceRegistry} from "../../contracts/interfaces/IServiceRegistry.sol";
import {StreamflowTest} from "./StreamflowTest.sol";

contract ServiceRegistryTest is StreamflowTest {
    function test_SetServiceURI_ReplacesAndReports() external {
        vm.startPrank(orchestrator);
        registry.setServiceURI("https://a.example:8935/with/a/path/longer/than/one/word");
        vm.expectEmit(address(registry));
        emit IServiceRegistry.ServiceURIUpdate(orchestrator, "https://b.example:8935");
        registry.setServiceURI("https://b.example:8935");
        vm.stopPrank();
        vm.assertEq(registry.getServiceURI(orchestrator), "https://b.example:8935");
        vm.assertEq(registry.getServiceURI(stranger), "");
    }

    function test_GivenPaused_ServiceURICanStillChange() external {
        _pause();
        vm.prank(orchestrator);
        registry.setServiceURI("https://a.example");
        vm.assertEq(registry.getServiceURI(orchestrator), "https://a.example");
        vm.assertEq(address(registry.controller()), address(controller));
    }
}
