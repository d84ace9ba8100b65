// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ILivepeerToken} from "../../contracts/interfaces/ILivepeerToken.sol";
import {StreamflowTest} from "./StreamflowTest.sol";

contract LivepeerTokenTest is StreamflowTest {
    function test_GivenDeployed_OnlyMinterMints() external view {
        bytes32 role = token.MINTER_ROLE();
        vm.assertTrue(token.hasRole(role, address(minter)));
        vm.assertFalse(token.hasRole(role, owner));
        vm.assertEq(token.name(), "Livepeer Token");
        vm.assertEq(token.symbol(), "LPT");
        vm.assertEq(token.decimals(), 18);
        vm.assertEq(token.totalSupply(), 10_000_000 ether);
    }

    function test_RevertWhen_MintingWithoutRole() external {
        vm.startPrank(owner);
        _expectMissing(owner, token.MINTER_ROLE());
        token.mint(owner, 1);
        vm.stopPrank();
    }

    function test_RevertWhen_BurningWithoutRole() external {
        vm.startPrank(owner);
        _expectMissing(owner, token.BURNER_ROLE());
        token.burn(1);
        _expectMissing(owner, token.BURNER_ROLE());
        token.burnFrom(owner, 1);
        vm.stopPrank();
    }

    function test_RevertWhen_BurningFromOthersWithoutAllowance() external {
        _grantBurner(stranger);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, stranger, 0, 1));
        token.burnFrom(owner, 1);
    }

    function test_GivenBurner_BurnsOwnAndAllowed() external {
        _grantBurner(stranger);
        vm.startPrank(owner);
        token.transfer(stranger, 5);
        token.approve(stranger, 7);
        vm.stopPrank();
        uint256 supply = token.totalSupply();
        vm.startPrank(stranger);
        vm.expectEmit(address(token));
        emit ILivepeerToken.Burn(stranger, 5);
        token.burn(5);
        vm.expectEmit(address(token));
        emit ILivepeerToken.Burn(owner, 7);
        token.burnFrom(owner, 7);
        vm.stopPrank();
        vm.assertEq(token.totalSupply(), supply - 12);
    }

    function test_GivenMinter_MintReports() external {
        bytes32 role = token.MINTER_ROLE();
        vm.prank(owner);
        token.grantRole(role, stranger);
        vm.expectEmit(address(token));
        emit ILivepeerToken.Mint(delegator, 3);
        vm.prank(stranger);
        token.mint(delegator, 3);
        vm.assertEq(token.balanceOf(delegator), 3);
    }

    function _grantBurner(address account) private {
        bytes32 role = token.BURNER_ROLE();
        vm.prank(owner);
        token.grantRole(role, account);
    }

    function _expectMissing(address account, bytes32 role) private {
        vm.expectRevert(abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, account, role));
    }
}
