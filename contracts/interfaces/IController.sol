// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Registry of the protocol's contracts and its emergency brake
/// @notice Nodes need this one address: every other contract is found under `keccak256(name)`.
interface IController {
    /// @notice `id` now resolves to `contractAddress`.
    event SetContractInfo(bytes32 id, address contractAddress, bytes20 gitCommitHash);
    /// @notice Value-moving functions stopped.
    event Pause();
    /// @notice Value-moving functions resumed.
    event Unpause();
    /// @notice `guardian` may pause from now on.
    event SetGuardian(address indexed guardian);
    /// @notice `broker` could not be told that the pause flag changed; `syncPaused` on it is due.
    event PauseNotSynced(address indexed broker);

    /// @notice Thrown by `pause` when already paused and by anything that must not run while paused.
    error SystemPaused();
    /// @notice Thrown by `unpause` when not paused.
    error SystemNotPaused();
    /// @notice Thrown by `renounceOwnership`: an ownerless registry could stay paused for ever, with all funds inside.
    error OwnershipCannotBeRenounced();

    /// @notice Register or replace a contract. Owner only.
    /// @param id keccak256 of the contract's name.
    /// @param contractAddress Where it lives.
    /// @param gitCommitHash Commit it was built from; informative.
    function setContractInfo(bytes32 id, address contractAddress, bytes20 gitCommitHash) external;

    /// @notice Name the account that may pause beside the owner, and never unpause. Zero: none. Owner only.
    function setGuardian(address guardian) external;

    /// @notice Stop value-moving functions. Owner and guardian only.
    function pause() external;

    /// @notice Resume. Owner only.
    function unpause() external;

    /// @notice Account that may pause beside the owner, zero if none.
    function guardian() external view returns (address);

    /// @notice Address registered under `id`, zero if none.
    function getContract(bytes32 id) external view returns (address);

    /// @notice Address and commit registered under `id`, zeros if none.
    function getContractInfo(bytes32 id) external view returns (address contractAddress, bytes20 gitCommitHash);

    /// @notice Whether value-moving functions are stopped. True from deployment until the first `unpause`.
    function paused() external view returns (bool);

    /// @notice Account that may register contracts, pause, and set the parameters of every managed contract.
    function owner() external view returns (address);
}
