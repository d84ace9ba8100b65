// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Where orchestrators listen, what they offer and where
/// @notice An id of a service or a region is 32 bytes; by convention short ASCII text, padded with zeros on the right (e.g.
/// "transcoding/h264", "eu-west"). Lists of ids are strictly ascending, so that none is named twice.
///
/// Services are registered by the Controller's owner, each with the verifiers that may judge work of that service. Prices are
/// agreed off chain. Everybody who publishes a URI is listed; publishing an empty one takes the entry off the list.
interface IServiceRegistry {
    /// @notice What `getEntries` looks for. Zero and false match everything.
    struct Filter {
        /// Offered service.
        bytes32 service;
        /// Served region.
        bytes32 region;
        /// Least stake delegated to the orchestrator, LPT wei.
        uint256 minimumStake;
        /// Whether the orchestrator must be in the active set of the current round.
        bool activeOnly;
    }

    /// @notice One orchestrator as broadcasters see it.
    struct Entry {
        address orchestrator;
        /// Whether it is in the active set of the current round.
        bool active;
        /// All stake delegated to it, LPT wei.
        uint256 stake;
        /// Where it listens; empty if longer than `MAX_LISTED_URI_LENGTH` (then `getServiceURI` has it).
        string serviceURI;
        bytes32[] services;
        bytes32[] regions;
    }

    /// @notice `addr` now listens at `serviceURI`.
    event ServiceURIUpdate(address indexed addr, string serviceURI);
    /// @notice `service` may be offered, and only `verifiers` may judge it.
    event ServiceRegistered(bytes32 indexed service, address[] verifiers, string metadataURI);
    /// @notice `service` may not be offered any more.
    event ServiceRetired(bytes32 indexed service);
    /// @notice `orchestrator` now offers exactly `services`.
    event ServicesUpdate(address indexed orchestrator, bytes32[] services);
    /// @notice `orchestrator` now serves exactly `regions`.
    event RegionsUpdate(address indexed orchestrator, bytes32[] regions);

    /// @notice Thrown when a list has more members than allowed.
    error TooMany(uint256 length, uint256 maximum);
    /// @notice Thrown when a list of ids has a zero, a duplicate or is out of order.
    error NotAscending(bytes32 id);
    /// @notice Thrown when the id of a service is zero.
    error NullService();
    /// @notice Thrown when a verifier is the null address. A service without verifiers has an empty list.
    error NullVerifier();
    /// @notice Thrown when the service is not registered.
    error ServiceNotRegistered(bytes32 service);

    /// @notice Publish where the caller listens. Anybody, also while paused; neither stake nor format is checked.
    function setServiceURI(string calldata serviceURI) external;

    /// @notice Publish the services that the caller offers, all of them registered. Replaces the earlier list. Also while paused.
    function setServices(bytes32[] calldata services) external;

    /// @notice Publish the regions that the caller serves. Replaces the earlier list. Also while paused.
    function setRegions(bytes32[] calldata regions) external;

    /// @notice Register `service`, or replace its verifiers and metadata. Owner only.
    /// @param verifiers Contracts that may judge its work; with none, no work of this service can be slashed.
    /// @param metadataURI What the service is, for people.
    function registerService(bytes32 service, address[] calldata verifiers, string calldata metadataURI) external;

    /// @notice Take `service` off the list. Owner only. Those who offer it keep it in their lists until they publish new ones.
    function retireService(bytes32 service) external;

    /// @notice Where `addr` says it listens, empty if it said nothing.
    function getServiceURI(address addr) external view returns (string memory);

    /// @notice Services that `orchestrator` offers.
    function getServices(address orchestrator) external view returns (bytes32[] memory);

    /// @notice Regions that `orchestrator` serves.
    function getRegions(address orchestrator) external view returns (bytes32[] memory);

    /// @notice What is registered under `service`.
    function getService(bytes32 service)
        external
        view
        returns (bool registered, address[] memory verifiers, string memory metadataURI);

    /// @notice Whether `service` is registered and `verifier` may judge it.
    function isVerifier(bytes32 service, address verifier) external view returns (bool);

    /// @notice Registered services, from position `cursor`, at most `limit`. Order changes when a service is retired.
    function getServiceIds(uint256 cursor, uint256 limit)
        external
        view
        returns (bytes32[] memory services, uint256 nextCursor);

    /// @notice Number of accounts that published a URI.
    function getEntryCount() external view returns (uint256);

    /// @notice The next page of the list of everybody who published a URI.
    /// @dev Looks at `limit` positions from `cursor` on, so a page can hold fewer entries, even none, before the end. Make all calls
    /// of a walk at one block: an entry taken off the list is replaced by the last one. A position costs at most about
    /// 250,000 gas (all lists at their bounds) and about 37,000 with a URI of two words, two services and two regions.
    /// @return entries Those of the positions that match `filter`.
    /// @return nextCursor Where the next page starts, zero after the last.
    function getEntries(uint256 cursor, uint256 limit, Filter calldata filter)
        external
        view
        returns (Entry[] memory entries, uint256 nextCursor);

    /// @notice Most services of one orchestrator.
    function MAX_SERVICES() external view returns (uint256);

    /// @notice Most regions of one orchestrator.
    function MAX_REGIONS() external view returns (uint256);

    /// @notice Most verifiers of one service.
    function MAX_VERIFIERS() external view returns (uint256);

    /// @notice Longest URI that `getEntries` returns, bytes: longer ones would make pages fail.
    function MAX_LISTED_URI_LENGTH() external view returns (uint256);
}
