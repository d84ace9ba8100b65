// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice An unordered set of addresses as a doubly linked ring through the null address: constant-time insertion and
/// removal, and a walk from one member to the next. The null address itself is never a member.
library LinkedSet {
    struct Links {
        address prev;
        address next;
    }

    struct Set {
        mapping(address => Links) links;
        uint256 size;
    }

    /// @notice Append `member`, which must not be in the set.
    function add(Set storage set, address member) internal {
        assert(member != address(0) && !contains(set, member));
        address last = set.links[address(0)].prev;
        set.links[member].prev = last;
        set.links[last].next = member;
        set.links[address(0)].prev = member;
        ++set.size;
    }

    /// @notice Take out `member`, which must be in the set.
    function remove(Set storage set, address member) internal {
        assert(contains(set, member));
        Links memory links = set.links[member];
        delete set.links[member];
        set.links[links.prev].next = links.next;
        set.links[links.next].prev = links.prev;
        --set.size;
    }

    /// @notice Whether `member` is in the set: the link before it, be it the ring's null address, points at it.
    function contains(Set storage set, address member) internal view returns (bool) {
        return member != address(0) && set.links[set.links[member].prev].next == member;
    }

    /// @notice First member, or the null address.
    function first(Set storage set) internal view returns (address) {
        return set.links[address(0)].next;
    }

    /// @notice Member after `member`, or the null address at the end and for a non-member.
    function next(Set storage set, address member) internal view returns (address) {
        return member == address(0) ? address(0) : set.links[member].next;
    }
}
