// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Controller} from "../../contracts/Controller.sol";
import {IController} from "../../contracts/interfaces/IController.sol";
import {Deploy} from "../../script/Deploy.s.sol";
import {StreamflowTest} from "./StreamflowTest.sol";

contract ControllerTest is StreamflowTest {
    bytes32 private constant _ID = keccak256("Something");

    function test_GivenDeployed_NamesResolve() external view {
        vm.assertEq(controller.getContract(keccak256("LivepeerToken")), address(token));
        vm.assertEq(controller.getContract(keccak256("Minter")), address(minter));
        vm.assertEq(controller.getContract(keccak256("RoundsManager")), address(rounds));
        vm.assertEq(controller.getContract(keccak256("BondingManager")), address(bonding));
        vm.assertEq(controller.getContract(keccak256("ServiceRegistry")), address(registry));
        vm.assertEq(controller.getContract(keccak256("TicketBroker")), address(broker));
        vm.assertEq(controller.getContract(keccak256("JobsManager")), address(broker));
        vm.assertEq(controller.owner(), owner);
        vm.assertFalse(controller.paused());
    }

    function test_GivenUnknownId_ZeroIsReturned() external view {
        vm.assertEq(controller.getContract(keccak256("LivepeerTokenFaucet")), address(0));
        vm.assertEq(controller.getContract(keccak256("LivepeerGovernor")), address(0));
    }

    function test_GivenNew_ControllerIsPaused() external {
        vm.assertTrue(new Controller(owner).paused());
    }

    function test_SetContractInfo_ReplacesAndReports() external {
        vm.startPrank(owner);
        controller.setContractInfo(_ID, address(1), bytes20(uint160(7)));
        vm.expectEmit(address(controller));
        emit IController.SetContractInfo(_ID, address(2), bytes20(uint160(8)));
        controller.setContractInfo(_ID, address(2), bytes20(uint160(8)));
        vm.stopPrank();
        (address where, bytes20 commit) = controller.getContractInfo(_ID);
        vm.assertEq(where, address(2));
        vm.assertEq(bytes32(commit), bytes32(bytes20(uint160(8))));
    }

    function test_PauseAndUnpause() external {
        vm.startPrank(owner);
        vm.expectEmit(address(controller));
        emit IController.Pause();
        controller.pause();
        vm.assertTrue(controller.paused());
        vm.expectEmit(address(controller));
        emit IController.Unpause();
        controller.unpause();
        vm.assertFalse(controller.paused());
        vm.stopPrank();
    }

    function test_RevertWhen_PausedTwice() external {
        vm.startPrank(owner);
        controller.pause();
        vm.expectRevert(IController.SystemPaused.selector);
        controller.pause();
    }

    function test_RevertWhen_UnpausedTwice() external {
        vm.prank(owner);
        vm.expectRevert(IController.SystemNotPaused.selector);
        controller.unpause();
    }

    function test_RevertWhen_CallerIsNotOwner() external {
        bytes memory refusal = abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, stranger);
        vm.startPrank(stranger);
        vm.expectRevert(refusal);
        controller.setContractInfo(_ID, address(1), bytes20(0));
        vm.expectRevert(refusal);
        controller.pause();
        vm.expectRevert(refusal);
        controller.unpause();
        vm.expectRevert(refusal);
        controller.transferOwnership(stranger);
        vm.expectRevert(refusal);
        controller.renounceOwnership();
        vm.stopPrank();
    }

    function test_RevertWhen_OwnershipIsRenounced() external {
        vm.prank(owner);
        vm.expectRevert(IController.OwnershipCannotBeRenounced.selector);
        controller.renounceOwnership();
    }

    function test_RevertWhen_OwnershipGoesToNobody() external {
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableInvalidOwner.selector, address(0)));
        controller.transferOwnership(address(0));
    }

    function test_TransferOwnership_MovesParameterRights() external {
        vm.prank(owner);
        controller.transferOwnership(stranger);
        vm.prank(stranger);
        broker.setUnlockPeriod(9);
        vm.assertEq(broker.unlockPeriod(), 9);
        vm.prank(owner);
        _expectNotOwner(owner);
        broker.setUnlockPeriod(5);
    }

    function test_RevertWhen_DeployedWithOversizedPeriod() external {
        Deploy script = Deploy(vm.deployCode("Deploy.s.sol:Deploy"));
        Deploy.Params memory p = script.defaultParams(DEPLOYER_KEY);
        p.unbondingPeriod = uint256(type(uint64).max) + 1;
        vm.expectRevert(abi.encodeWithSelector(Deploy.ParameterTooLarge.selector, p.unbondingPeriod));
        script.deploy(p);
    }
}
