// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {EnumerableSet} from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";
import {Managed} from "./Managed.sol";
import {IBondingManager} from "./interfaces/IBondingManager.sol";
import {IController} from "./interfaces/IController.sol";
import {IServiceRegistry} from "./interfaces/IServiceRegistry.sol";

/// @title Where orchestrators listen, what they offer and where, see {IServiceRegistry}
contract ServiceRegistry is IServiceRegistry, Managed {
    using EnumerableSet for EnumerableSet.AddressSet;
    using EnumerableSet for EnumerableSet.Bytes32Set;

    struct Service {
        address[] verifiers;
        string metadataURI;
    }

    struct Offer {
        bytes32[] services;
        bytes32[] regions;
    }

    /// @inheritdoc IServiceRegistry
    uint256 public constant MAX_SERVICES = 32;
    /// @inheritdoc IServiceRegistry
    uint256 public constant MAX_REGIONS = 32;
    /// @inheritdoc IServiceRegistry
    uint256 public constant MAX_VERIFIERS = 4;
    /// @inheritdoc IServiceRegistry
    uint256 public constant MAX_LISTED_URI_LENGTH = 256;

    /// @notice Knows stakes and the active set.
    IBondingManager public immutable bondingManager;

    mapping(address addr => string) private _serviceURIs;
    /// @dev Exactly the accounts whose URI is not empty.
    EnumerableSet.AddressSet private _listed;
    mapping(address orchestrator => Offer) private _offers;
    EnumerableSet.Bytes32Set private _serviceIds;
    mapping(bytes32 service => Service) private _services;

    constructor(IController controller_, IBondingManager bondingManager_) Managed(controller_) {
        bondingManager = bondingManager_;
    }

    /// @notice Sets nothing, and that for ever. Once, by the proxy's constructor.
    function initialize() external initializer {}

    /// @inheritdoc IServiceRegistry
    function setServiceURI(string calldata serviceURI) external {
        bool wasListed = bytes(_serviceURIs[msg.sender]).length > 0;
        bool isListed = bytes(serviceURI).length > 0;
        _serviceURIs[msg.sender] = serviceURI;
        // The list is touched only when the account enters or leaves it.
        if (isListed && !wasListed) _listed.add(msg.sender);
        if (wasListed && !isListed) _listed.remove(msg.sender);
        emit ServiceURIUpdate(msg.sender, serviceURI);
    }

    /// @inheritdoc IServiceRegistry
    function setServices(bytes32[] calldata services) external {
        _requireAscending(services, MAX_SERVICES);
        for (uint256 i = 0; i < services.length; ++i) {
            _requireRegistered(services[i]);
        }
        _offers[msg.sender].services = services;
        emit ServicesUpdate(msg.sender, services);
    }

    /// @inheritdoc IServiceRegistry
    function setRegions(bytes32[] calldata regions) external {
        _requireAscending(regions, MAX_REGIONS);
        _offers[msg.sender].regions = regions;
        emit RegionsUpdate(msg.sender, regions);
    }

    /// @inheritdoc IServiceRegistry
    function registerService(bytes32 service, address[] calldata verifiers, string calldata metadataURI)
        external
        onlyOwner
    {
        require(service != bytes32(0), NullService());
        require(verifiers.length <= MAX_VERIFIERS, TooMany(verifiers.length, MAX_VERIFIERS));
        for (uint256 i = 0; i < verifiers.length; ++i) {
            require(verifiers[i] != address(0), NullVerifier());
        }
        _serviceIds.add(service);
        _services[service].verifiers = verifiers;
        _services[service].metadataURI = metadataURI;
        emit ServiceRegistered(service, verifiers, metadataURI);
    }

    /// @inheritdoc IServiceRegistry
    function retireService(bytes32 service) external onlyOwner {
        _requireRegistered(service);
        _serviceIds.remove(service);
        delete _services[service];
        emit ServiceRetired(service);
    }

    /// @inheritdoc IServiceRegistry
    function getServiceURI(address addr) external view returns (string memory) {
        return _serviceURIs[addr];
    }

    /// @inheritdoc IServiceRegistry
    function getServices(address orchestrator) external view returns (bytes32[] memory) {
        return _offers[orchestrator].services;
    }

    /// @inheritdoc IServiceRegistry
    function getRegions(address orchestrator) external view returns (bytes32[] memory) {
        return _offers[orchestrator].regions;
    }

    /// @inheritdoc IServiceRegistry
    function getService(bytes32 service)
        external
        view
        returns (bool registered, address[] memory verifiers, string memory metadataURI)
    {
        return (_serviceIds.contains(service), _services[service].verifiers, _services[service].metadataURI);
    }

    /// @inheritdoc IServiceRegistry
    function isVerifier(bytes32 service, address verifier) external view returns (bool) {
        address[] storage verifiers = _services[service].verifiers;
        for (uint256 i = 0; i < verifiers.length; ++i) {
            if (verifiers[i] == verifier) return true;
        }
        return false;
    }

    /// @inheritdoc IServiceRegistry
    function getServiceIds(uint256 cursor, uint256 limit)
        external
        view
        returns (bytes32[] memory services, uint256 nextCursor)
    {
        uint256 end;
        (end, nextCursor) = _page(cursor, limit, _serviceIds.length());
        services = _serviceIds.values(cursor, end);
    }

    /// @inheritdoc IServiceRegistry
    function getEntryCount() external view returns (uint256) {
        return _listed.length();
    }

    /// @inheritdoc IServiceRegistry
    function getEntries(uint256 cursor, uint256 limit, Filter calldata filter)
        external
        view
        returns (Entry[] memory entries, uint256 nextCursor)
    {
        uint256 end;
        (end, nextCursor) = _page(cursor, limit, _listed.length());
        entries = new Entry[](end > cursor ? end - cursor : 0);
        uint256 found = 0;
        for (uint256 i = cursor; i < end; ++i) {
            if (_fill(entries[found], _listed.at(i), filter)) ++found;
        }
        // Shortens the array to what was found.
        assembly ("memory-safe") {
            mstore(entries, found)
        }
    }

    /// @dev Writes `entry` if the orchestrator matches; else leaves all or a part of it as it was, to be overwritten.
    function _fill(Entry memory entry, address orchestrator, Filter calldata filter) private view returns (bool) {
        Offer storage offer = _offers[orchestrator];
        if (filter.service != bytes32(0) && !_contains(offer.services, filter.service)) return false;
        if (filter.region != bytes32(0) && !_contains(offer.regions, filter.region)) return false;
        uint256 stake = bondingManager.transcoderTotalStake(orchestrator);
        if (stake < filter.minimumStake) return false;
        bool active = bondingManager.isActiveTranscoder(orchestrator);
        if (filter.activeOnly && !active) return false;
        entry.orchestrator = orchestrator;
        entry.active = active;
        entry.stake = stake;
        string storage serviceURI = _serviceURIs[orchestrator];
        if (bytes(serviceURI).length <= MAX_LISTED_URI_LENGTH) entry.serviceURI = serviceURI;
        entry.services = offer.services;
        entry.regions = offer.regions;
        return true;
    }

    function _requireRegistered(bytes32 service) private view {
        require(_serviceIds.contains(service), ServiceNotRegistered(service));
    }

    function _contains(bytes32[] storage ids, bytes32 id) private view returns (bool) {
        for (uint256 i = 0; i < ids.length; ++i) {
            if (ids[i] == id) return true;
        }
        return false;
    }

    function _requireAscending(bytes32[] calldata ids, uint256 maximum) private pure {
        require(ids.length <= maximum, TooMany(ids.length, maximum));
        bytes32 previous = bytes32(0);
        for (uint256 i = 0; i < ids.length; ++i) {
            require(ids[i] > previous, NotAscending(ids[i]));
            previous = ids[i];
        }
    }

    /// @dev End of the page that starts at `cursor`, and where the one after it starts, zero if there is none.
    function _page(uint256 cursor, uint256 limit, uint256 total)
        private
        pure
        returns (uint256 end, uint256 nextCursor)
    {
        if (cursor >= total) return (cursor, 0);
        if (limit >= total - cursor) return (total, 0);
        return (cursor + limit, cursor + limit);
    }
}
