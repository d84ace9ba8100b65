// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Vm} from "../contracts/Vm.sol";

/// @notice The part of halmos' own cheat codes that the proofs use: values that stand for all values of their type.
interface Svm {
    function createUint256(string calldata name) external returns (uint256);
    function createUint(uint256 bits, string calldata name) external returns (uint256);
    function createBytes(uint256 length, string calldata name) external returns (bytes memory);
    function createBytes32(string calldata name) external returns (bytes32);
    function createBytes4(string calldata name) external returns (bytes4);
    function createAddress(string calldata name) external returns (address);
    function enableSymbolicStorage(address account) external;
}

/// @notice Base of the proofs. Every `check_` function is run once by halmos with symbols for its arguments; it holds if no
/// values of them make an `assert` fail.
abstract contract SymbolicTest {
    /// @notice Tells halmos that this is a test.
    bool public constant IS_TEST = true;

    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    Svm internal constant svm = Svm(address(uint160(uint256(keccak256("svm cheat code")))));
}
