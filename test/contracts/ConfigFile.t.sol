// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ERC1967Utils} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Utils.sol";
import {ConfigFile} from "../../script/ConfigFile.sol";
import {Deploy} from "../../script/Deploy.s.sol";
import {Verify} from "../../script/Verify.s.sol";
import {StreamflowTest} from "./StreamflowTest.sol";

/// @notice Reads in a call of its own, so that what is refused can be expected.
contract ConfigReader {
    function parse(string memory json, address deployer) external view returns (Deploy.Params memory p) {
        return ConfigFile.parse(json, deployer, p);
    }
}

contract ConfigFileTest is StreamflowTest {
    ConfigReader private _reader = new ConfigReader();

    function test_GivenEveryFile_ItsSystemIsDeployedAndVerifies() external {
        string[2] memory files = ["script/config/31337.json", "script/config/421614.json"];
        for (uint256 i = 0; i < files.length; ++i) {
            Deploy.Params memory p = _reader.parse(vm.readFile(files[i]), deployer);
            p.deployerKey = DEPLOYER_KEY;
            Deploy.Deployment memory d = Deploy(vm.deployCode("Deploy.s.sol:Deploy")).deploy(p);
            Verify.Item[] memory items = Verify(vm.deployCode("Verify.s.sol:Verify")).verify(p, _addresses(d));
            for (uint256 j = 0; j < items.length; ++j) {
                vm.assertEq(items[j].actual, items[j].expected);
            }
            vm.assertEq(d.controller.owner(), address(d.timelock));
        }
    }

    function test_GivenAnvil_ValuesAreThoseOfTheFile() external view {
        Deploy.Params memory p = _reader.parse(_anvil(), deployer);
        vm.assertEq(p.roundLength, 50);
        vm.assertEq(p.minimumStake, 1 ether);
        vm.assertEq(p.slashing, 1);
        vm.assertEq(p.proposers.length, 1);
        vm.assertEq(p.proposers[0], deployer);
        vm.assertEq(p.cancellers.length, 0);
        vm.assertEq(p.committeeRules.seatStake, 100 ether);
        vm.assertEq(p.services[0].id, "transcoding/h264");
        vm.assertEq(p.services[0].equivocation.slashPpm, 200_000);
        vm.assertEq(p.services[0].committee.fee, 5 ether);
    }

    function test_GivenWords_TheyStandForAccounts() external view {
        Deploy.Params memory p = _reader.parse(vm.readFile("script/config/421614.json"), stranger);
        vm.assertEq(p.executors[0], address(0));
        vm.assertEq(p.guardian, stranger);
        vm.assertEq(p.services[0].committee.slashPpm, 0);
        string memory json = vm.replace(_anvil(), '"guardian": "deployer"', '"guardian": "nobody"');
        vm.assertEq(_reader.parse(json, deployer).guardian, address(0));
    }

    function test_RevertWhen_ANumberIsTooLarge() external {
        string memory json = vm.replace(_anvil(), '"quorum": 3', '"quorum": 256');
        vm.expectRevert(
            abi.encodeWithSelector(ConfigFile.NumberTooLarge.selector, ".committeeRules.quorum", 256, type(uint8).max)
        );
        _reader.parse(json, deployer);
    }

    function test_RevertWhen_AServiceIdDoesNotFit() external {
        string memory id = "transcoding/with-a-very-long-codec";
        string memory json = vm.replace(_anvil(), "transcoding/h264", id);
        vm.expectRevert(abi.encodeWithSelector(ConfigFile.InvalidServiceId.selector, id));
        _reader.parse(json, deployer);
    }

    function test_RevertWhen_AKeyIsMissing() external {
        string memory json = vm.replace(_anvil(), "timelockDelay", "timelock");
        vm.expectRevert();
        _reader.parse(json, deployer);
    }

    function _anvil() private view returns (string memory) {
        return vm.readFile("script/config/31337.json");
    }

    function _addresses(Deploy.Deployment memory d) private view returns (Verify.Addresses memory a) {
        a.deployer = deployer;
        a.system = d;
        address[8] memory proxies = [
            address(d.minter),
            address(d.roundsManager),
            address(d.bondingManager),
            address(d.serviceRegistry),
            address(d.ticketBroker),
            address(d.slashingManager),
            address(d.committeeVerifier),
            address(d.jobsManager)
        ];
        for (uint256 i = 0; i < proxies.length; ++i) {
            a.implementations[i] = address(uint160(uint256(vm.load(proxies[i], ERC1967Utils.IMPLEMENTATION_SLOT))));
        }
    }
}
