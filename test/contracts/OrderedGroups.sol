// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {OrderedGroup, OrderedTicket} from "../../contracts/types/OrderedTicket.sol";

/// @notice A group of an ordered batch before it is laid out for the call.
struct PlannedGroup {
    address sender;
    uint256 mark;
    OrderedTicket[] tickets;
}

/// @dev Groups as they are called: heads, and all tickets in one row.
function encodeGroups(PlannedGroup[] memory planned)
    pure
    returns (OrderedGroup[] memory groups, OrderedTicket[] memory tickets)
{
    uint256 total = 0;
    for (uint256 i = 0; i < planned.length; ++i) {
        total += planned[i].tickets.length;
    }
    (groups, tickets) = (new OrderedGroup[](planned.length), new OrderedTicket[](total));
    total = 0;
    for (uint256 i = 0; i < planned.length; ++i) {
        uint256 n = planned[i].tickets.length;
        groups[i] = OrderedGroup({sender: planned[i].sender, plan: (n << 192) | planned[i].mark});
        for (uint256 j = 0; j < n; ++j) {
            tickets[total++] = planned[i].tickets[j];
        }
    }
}
