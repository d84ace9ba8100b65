// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IPenaltyClause} from "../../contracts/interfaces/IPenaltyClause.sol";
import {ITicketBroker} from "../../contracts/interfaces/ITicketBroker.sol";
import {PenaltyHandler} from "./PenaltyHandler.sol";
import {StreamflowTest} from "./StreamflowTest.sol";

/// @notice The vault's books under a clause: what is burned is neither kept nor paid out, and everything else is as before.
contract PenaltyInvariantsTest is StreamflowTest {
    address private constant _DEAD = 0x000000000000000000000000000000000000dEaD;

    PenaltyHandler private _handler;

    function setUp() public override {
        super.setUp();
        _register(orchestrator, 1000 ether, 100_000, 500_000);
        _register(_account("other orchestrator"), 1000 ether, 100_000, 500_000);
        _nextRound();
        _handler = new PenaltyHandler(rounds, broker);
        _handler.fund(0.9 ether, 0.9 ether);
        _handler.bind(400_000, 1.2 ether);
    }

    /// @notice Tells forge what to call.
    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    /// 1 and 4 with a clause in force.
    function invariant_BooksBalanceWithForfeits() external view {
        this.assertBooks();
    }

    function assertBooks() external view {
        uint256 deposit = _deposit();
        uint256 reserve = broker.getReserveInfo(sender).fundsRemaining;
        vm.assertEq(address(broker).balance, deposit + reserve + broker.unclaimedFees(), "balance = funds + fees");
        vm.assertEq(_DEAD.balance, _handler.burned(), "what is burned lies with nobody");
        vm.assertEq(broker.unclaimedFees(), _handler.paid(), "fees are the face values paid");
        vm.assertEq(
            _handler.funded(),
            deposit + reserve + _handler.paid() + _handler.withdrawn() + _handler.burned(),
            "every wei is held, paid, withdrawn or burned"
        );
        IPenaltyClause.PenaltyTerms memory terms = broker.penaltyTermsOf(sender);
        vm.assertTrue((terms.penalty > 0) == (terms.burnRound > 0), "a forfeit has a round");
        vm.assertLe(terms.penalty * 2, _handler.funded(), "a forfeit is half of what there was, at most");
    }

    /// A long walk with a fixed seed: the books balance all along, and no action was idle, so the campaign is not vacuous.
    function test_GivenLongWalk_EveryActionTookPart() external {
        for (uint256 i = 0; i < 1500; i += 50) {
            this.walk(i, 50);
            this.assertBooks();
        }
        string[11] memory actions = [
            "fund",
            "bind",
            "resign",
            "unlock",
            "withdraw",
            "withdrawBurned",
            "burn",
            "redeem",
            "prove",
            "proveRefused",
            "nextRound"
        ];
        for (uint256 i = 0; i < actions.length; ++i) {
            vm.assertGe(_handler.done(bytes32(bytes(actions[i]))), 2, actions[i]);
        }
    }

    function walk(uint256 from, uint256 steps) external {
        for (uint256 i = from; i < from + steps; ++i) {
            uint256 d = uint256(keccak256(abi.encode(0x5eed, i)));
            uint256 action = d % 16;
            (uint256 x, uint256 y) = (d >> 8, uint256(keccak256(abi.encode(d))));
            if (action == 0) _handler.fund(x, y);
            if (action == 1 || action == 2) _handler.bind(x, y);
            if (action == 3 && x % 2 == 0) _handler.resign();
            if (action == 4) _handler.unlock();
            if (action == 5 || action == 6) _handler.withdraw();
            if (action == 7 && x % 4 == 0) _handler.burn();
            if (action == 8 || action == 9) _handler.redeem(x, y);
            if (action > 9 && action < 12) _handler.prove(x);
            if (action > 11) _handler.nextRound();
        }
    }

    function _deposit() private view returns (uint256 deposit) {
        (ITicketBroker.Sender memory info,) = broker.getSenderInfo(sender);
        deposit = info.deposit;
    }
}
