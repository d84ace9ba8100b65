// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ERC1967Utils} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Utils.sol";
import {TicketBroker} from "../../contracts/TicketBroker.sol";
import {IBondingManager} from "../../contracts/interfaces/IBondingManager.sol";
import {Deploy} from "../../script/Deploy.s.sol";
import {Verify} from "../../script/Verify.s.sol";
import {SlashingTest} from "./SlashingTest.sol";

contract VerifyTest is SlashingTest {
    Verify private _verify;
    /// @dev Encoded, because structs in arrays cannot be copied to storage.
    bytes private _encodedParams;

    function setUp() public override {
        super.setUp();
        _verify = Verify(vm.deployCode("Verify.s.sol:Verify"));
        // What `setUp` registered by hand is what a deployment would have.
        Deploy script = Deploy(vm.deployCode("Deploy.s.sol:Deploy"));
        Deploy.Params memory p = _params(script.defaultParams(DEPLOYER_KEY));
        p.services = new Deploy.Service[](1);
        p.services[0] = Deploy.Service(SERVICE, "", _equivocationTerms(), _committeeTerms());
        _encodedParams = abi.encode(p);
    }

    function test_GivenDeployed_EverythingIsAsExpected() external {
        Verify.Item[] memory items = _verify.verify(_expected(), _addresses());
        vm.assertGt(items.length, 60);
        for (uint256 i = 0; i < items.length; ++i) {
            vm.assertEq(items[i].actual, items[i].expected);
        }
    }

    function test_GivenVerified_NothingHasChanged() external {
        bytes32 code = address(broker).codehash;
        _verify.verify(_expected(), _addresses());
        vm.assertEq(address(broker).codehash, code);
        vm.assertEq(controller.owner(), owner);
        vm.assertFalse(controller.paused());
    }

    function test_GivenAnotherParameter_ItIsNamedWithBothValues() external {
        vm.prank(owner);
        broker.setUnlockPeriod(9);
        _assertOnly("TicketBroker: unlockPeriod", "2", "9");
    }

    function test_GivenAnotherImplementation_ItIsNamed() external {
        Verify.Addresses memory a = _addresses();
        vm.startPrank(owner);
        address other =
            address(new TicketBroker(controller, IBondingManager(stranger), rounds, broker.overspendProof()));
        broker.upgradeToAndCall(other, "");
        vm.stopPrank();
        (string memory names,) = _different(a);
        vm.assertEq(names, "implementation of TicketBroker;");
        // Even with the address written down, the code has a peer that it should not have.
        a.implementations[4] = other;
        (names,) = _different(a);
        vm.assertEq(names, "code of TicketBrokerImplementation;");
    }

    function test_GivenAnotherMinter_ItIsNamed() external {
        bytes32 role = token.MINTER_ROLE();
        vm.prank(owner);
        token.grantRole(role, deployer);
        _assertOnly("LivepeerToken: deployer may mint", "false", "true");
    }

    function test_GivenAnotherGuardian_ItIsNamed() external {
        vm.prank(owner);
        controller.setGuardian(stranger);
        (string memory names,) = _different(_addresses());
        vm.assertEq(names, "Controller: guardian;");
    }

    function test_GivenOneMoreService_TheirNumberDiffers() external {
        vm.prank(owner);
        registry.registerService("another", new address[](0), "");
        _assertOnly("ServiceRegistry: services", "1", "2");
    }

    function _expected() private view returns (Deploy.Params memory) {
        return abi.decode(_encodedParams, (Deploy.Params));
    }

    function _assertOnly(string memory name, string memory expected, string memory actual) private {
        (string memory names, Verify.Item memory item) = _different(_addresses());
        vm.assertEq(names, string.concat(name, ";"));
        vm.assertEq(item.expected, expected);
        vm.assertEq(item.actual, actual);
    }

    /// @dev Names of the items that differ, and the last of them.
    function _different(Verify.Addresses memory a) private returns (string memory names, Verify.Item memory last) {
        Verify.Item[] memory items = _verify.verify(_expected(), a);
        for (uint256 i = 0; i < items.length; ++i) {
            if (keccak256(bytes(items[i].expected)) == keccak256(bytes(items[i].actual))) continue;
            last = items[i];
            names = string.concat(names, last.name, ";");
        }
    }

    function _addresses() private view returns (Verify.Addresses memory a) {
        a.deployer = deployer;
        a.system = deployment;
        address[8] memory proxies = [
            address(minter),
            address(rounds),
            address(bonding),
            address(registry),
            address(broker),
            address(slashing),
            address(committee),
            address(deployment.jobsManager)
        ];
        for (uint256 i = 0; i < proxies.length; ++i) {
            a.implementations[i] = address(uint160(uint256(vm.load(proxies[i], ERC1967Utils.IMPLEMENTATION_SLOT))));
        }
    }
}
