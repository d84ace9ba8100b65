// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {LinkedSet} from "../../contracts/libraries/LinkedSet.sol";
import {Vm} from "./Vm.sol";

contract LinkedSetTest {
    using LinkedSet for LinkedSet.Set;

    /// @notice Tells forge that this is a test.
    bool public constant IS_TEST = true;

    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    LinkedSet.Set private _set;
    mapping(address => bool) private _model;
    uint256 private _size;

    /// Against a plain mapping: members, size, and the links read in both directions.
    function testFuzz_AgreesWithAPlainSet(uint256 seed) external {
        for (uint256 i = 0; i < 60; ++i) {
            address member = address(uint160(1 + uint256(keccak256(abi.encode(seed, i))) % 12));
            if (_model[member]) {
                _set.remove(member);
                --_size;
            } else {
                _set.add(member);
                ++_size;
            }
            _model[member] = !_model[member];
            this.assertConsistent();
        }
    }

    function assertConsistent() external view {
        vm.assertEq(_set.size, _size);
        uint256 walked = 0;
        address previous = address(0);
        for (address member = _set.first(); member != address(0); member = _set.next(member)) {
            vm.assertTrue(_model[member], "only members");
            vm.assertEq(_set.links[member].prev, previous, "links back");
            previous = member;
            vm.assertLe(++walked, _size, "no cycle");
        }
        vm.assertEq(walked, _size, "all members");
        vm.assertEq(_set.links[address(0)].prev, previous, "last");
        for (uint160 i = 0; i < 14; ++i) {
            vm.assertEq(_set.contains(address(i)), _model[address(i)]);
        }
    }

    function test_RevertWhen_MisusedByTheContract() external {
        _set.add(address(1));
        vm.expectRevert();
        this.add(address(1));
        vm.expectRevert();
        this.add(address(0));
        vm.expectRevert();
        this.remove(address(2));
        vm.expectRevert();
        this.remove(address(0));
    }

    function add(address member) external {
        _set.add(member);
    }

    function remove(address member) external {
        _set.remove(member);
    }
}
