// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {BondingManager} from "../../contracts/BondingManager.sol";
import {LivepeerToken} from "../../contracts/LivepeerToken.sol";
import {TicketBroker} from "../../contracts/TicketBroker.sol";
import {Ticket} from "../../contracts/types/Ticket.sol";
import {StreamflowTest} from "./StreamflowTest.sol";

/// @notice A delegator that tries everything again while it is being paid.
contract ReentrantDelegator {
    BondingManager private immutable _BONDING;
    TicketBroker private immutable _BROKER;

    bytes private _redemption;
    /// @notice Calls that succeeded while being paid, as a bit set.
    uint256 public succeeded;
    uint256 public payments;

    constructor(BondingManager bonding, TicketBroker broker) {
        (_BONDING, _BROKER) = (bonding, broker);
    }

    receive() external payable {
        ++payments;
        if (payments > 1) return;
        _attempt(0, address(_BONDING), abi.encodeCall(_BONDING.withdrawFees, (payable(address(this)), msg.value)));
        _attempt(1, address(_BROKER), abi.encodeCall(_BROKER.withdrawFees, (payable(address(this)), 1)));
        _attempt(2, address(_BROKER), abi.encodeCall(_BROKER.withdraw, ()));
        _attempt(3, address(_BROKER), _redemption);
        _attempt(4, address(_BONDING), abi.encodeCall(_BONDING.withdrawStake, (0)));
    }

    function bond(LivepeerToken token, uint256 amount, address to) external {
        token.approve(address(_BONDING), amount);
        _BONDING.bond(amount, to);
    }

    function withdrawAll(bytes calldata redemption) external {
        _redemption = redemption;
        _BONDING.withdrawFees(payable(address(this)), _BONDING.pendingFees(address(this), 0));
    }

    function _attempt(uint256 bit, address target, bytes memory call) private {
        (bool ok,) = target.call(call);
        if (ok) succeeded |= 1 << bit;
    }
}

contract ReentrancyTest is StreamflowTest {
    ReentrantDelegator private _reentrant;

    function setUp() public override {
        super.setUp();
        _reentrant = new ReentrantDelegator(bonding, broker);
        vm.prank(owner);
        token.transfer(address(_reentrant), 1000 ether);
        _register(orchestrator, 1000 ether, 0, 1_000_000);
        _reentrant.bond(token, 1000 ether, orchestrator);
        _nextRound();
        _fund(10 ether, 10 ether);
    }

    function test_GivenReentrantFeeRecipient_NothingIsPaidTwice() external {
        Ticket memory ticket = _ticket(2 ether, 1);
        bytes memory redemption = abi.encodeCall(broker.redeemWinningTicket, (ticket, _sign(ticket), RAND));
        _redeem(ticket);
        _reentrant.withdrawAll(redemption);
        vm.assertEq(_reentrant.payments(), 1);
        vm.assertEq(_reentrant.succeeded(), 0);
        vm.assertEq(address(_reentrant).balance, 1 ether);
        vm.assertEq(address(broker).balance, 19 ether);
        vm.assertEq(broker.unclaimedFees(), 1 ether);
    }

    /// A fresh ticket redeemed in the middle of a payment is an ordinary redemption: it pays once.
    function test_GivenRedemptionDuringPayment_BooksBalance() external {
        Ticket memory ticket = _ticket(2 ether, 2);
        bytes memory redemption = abi.encodeCall(broker.redeemWinningTicket, (ticket, _sign(ticket), RAND));
        _redeem(_ticket(2 ether, 1));
        _reentrant.withdrawAll(redemption);
        vm.assertEq(_reentrant.succeeded(), 1 << 3);
        vm.assertEq(address(broker).balance, 19 ether);
        vm.assertEq(broker.unclaimedFees(), 3 ether);
        vm.assertTrue(broker.usedTickets(broker.getTicketHash(ticket)));
        (bool again,) = address(broker).call(redemption);
        vm.assertFalse(again);
    }
}
