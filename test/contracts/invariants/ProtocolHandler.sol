// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ChainActions} from "./ChainActions.sol";
import {ProtocolLedger, System} from "./ProtocolLedger.sol";

/// @notice Drives the whole protocol with random calls: stakers that orchestrate and delegate, senders with tickets over every
/// path, challenges, pauses and time. Its books are held against the contracts by ProtocolBooks.
/// @dev One contract over the groups of actions: SenderActions, TicketActions, StakeActions, ChainActions.
contract ProtocolHandler is ChainActions {
    constructor(System memory system, uint256 stakers) ProtocolLedger(system, stakers) {}
}
