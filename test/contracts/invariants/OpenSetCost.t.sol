// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {OrderedGroup, OrderedTicket} from "../../../contracts/types/OrderedTicket.sol";
import {Receipt} from "../../../contracts/types/Receipt.sol";
import {Ticket} from "../../../contracts/types/Ticket.sol";
import {Deploy} from "../../../script/Deploy.s.sol";
import {PlannedGroup, encodeGroups} from "../OrderedGroups.sol";
import {SlashingTest} from "../SlashingTest.sol";

/// @notice The part of forge's cheat codes that measures and goes back.
interface OpenSetVm {
    struct Gas {
        uint64 gasLimit;
        uint64 gasTotalUsed;
        uint64 gasMemoryUsed;
        int64 gasRefunded;
        uint64 gasRemaining;
    }

    function lastCallGas() external view returns (Gas memory);
    function snapshotState() external returns (uint256 id);
    function revertToState(uint256 id) external returns (bool success);
}

/// @notice No call grows with the set: every call that changes state costs with 5,000 orchestrators what it costs with 10, each
/// measured as a cold transaction of its own from the same state. The exact figures of the hot calls, compiled as deployed, are
/// pinned in test/contracts/gas; the bounds here leave a quarter for the pipeline that the tests are compiled with.
contract OpenSetCostTest is SlashingTest {
    uint256 private constant _FEW = 9;
    uint256 private constant _MANY = 4_999;
    uint256 private constant _MARKER = 0xdaaddfba8d87e975;
    OpenSetVm private constant _VM = OpenSetVm(address(vm));

    struct Step {
        string name;
        address from;
        address target;
        uint256 value;
        bytes data;
        /// Gas that it may cost in either set as deployed.
        uint256 most;
    }

    /// A delegator that left with a lock.
    address private _idle = _account("idle");
    address private _newcomer = _account("newcomer");
    Step[] private _steps;
    Receipt private _first;
    Receipt private _second;

    function _params(Deploy.Params memory p) internal view override returns (Deploy.Params memory) {
        p = super._params(p);
        p.numActiveTranscoders = 5_002;
        return p;
    }

    function setUp() public override {
        super.setUp();
        vm.prank(owner);
        token.transfer(address(this), 6_000 ether);
        this.populate(0, _FEW);
        _bond(_idle, 10 ether, orchestrator);
        _fund(500 ether, 500 ether);
        vm.startPrank(stranger);
        broker.fundDepositAndReserve{value: 10 ether}(5 ether, 5 ether);
        broker.commitReserve{value: 1 ether}(orchestrator);
        broker.releaseReserve(orchestrator, 1 ether);
        broker.unlock();
        vm.stopPrank();
        _endowFor(_newcomer);
        _endowFor(delegator);
        _nextRound();
        vm.prank(delegator);
        bonding.unbond(5 ether);
        vm.prank(_idle);
        bonding.unbond(10 ether);
        vm.startPrank(orchestrator);
        registry.setServiceURI("https://a.example");
        bonding.setRewardCaller(delegator);
        vm.stopPrank();
        _nextRounds(8);
    }

    /// @notice `n` more members at the minimum stake, in one transaction.
    function populate(uint256 from, uint256 n) external {
        for (uint256 i = from; i < from + n; ++i) {
            token.transfer(_member(i), 1 ether);
            vm.startPrank(_member(i));
            token.approve(address(bonding), 1 ether);
            bonding.bond(1 ether, _member(i));
            vm.stopPrank();
        }
    }

    /// 35, and "no function can be bricked by gas with 5,000 orchestrators".
    function test_Invariant35_EveryCallCostsTheSameInASetOfFiveThousand() external {
        _settle(_FEW);
        uint256[] memory few = _measureAll();
        this.populate(_FEW, _MANY - _FEW);
        _nextRounds(2);
        vm.assertEq(bonding.currentRoundPoolSize(), 5_000);
        _settle(_MANY);
        uint256[] memory many = _measureAll();
        for (uint256 i = 0; i < few.length; ++i) {
            // A length of an address or an amount in calldata, no more.
            vm.assertApproxEqAbs(many[i], few[i], 1_000 + few[i] / 50, _steps[i].name);
            vm.assertLe(many[i], _steps[i].most + _steps[i].most / 4, _steps[i].name);
        }
    }

    // --- the state to measure from ---

    /// @dev Two rounds with rewards and fees, so that every slot that a call touches in every round was touched before; and the
    /// calls, since receipts and tickets name the round.
    function _settle(uint256 n) private {
        for (uint256 i = 0; i < 2; ++i) {
            _nextRound();
            _reward(_member(0));
            if (i == 1) continue;
            _reward(orchestrator);
            _reward(_member(n / 2));
            _reward(_member(n - 1));
        }
        _redeem(_ticket(1 ether, rounds.currentRound()));
        (_first, _second) = (_receipt("a"), _receipt("b"));
        _announce(challenger, address(equivocation), _first, _evidence(_second));
        delete _steps;
        _listStaking(n);
        _listSenders();
        _listTickets();
        _listRest();
    }

    function _measureAll() private returns (uint256[] memory gas) {
        gas = new uint256[](_steps.length);
        for (uint256 i = 0; i < gas.length; ++i) {
            uint256 id = _VM.snapshotState();
            Step memory step = _steps[i];
            if (step.target == address(rounds)) _rollToNextRound();
            vm.prank(step.from);
            (bool ok,) = step.target.call{value: step.value}(step.data);
            gas[i] = _VM.lastCallGas().gasTotalUsed;
            vm.assertTrue(ok, step.name);
            _VM.revertToState(id);
        }
    }

    // --- the calls ---

    function _listStaking(uint256 n) private {
        address b = address(bonding);
        _list("bond, new delegator", _newcomer, b, abi.encodeCall(bonding.bond, (7 ether, orchestrator)), 220_000);
        _list("bond, to itself", _newcomer, b, abi.encodeCall(bonding.bond, (7 ether, _newcomer)), 320_000);
        _list("bond, more", delegator, b, abi.encodeCall(bonding.bond, (7 ether, orchestrator)), 220_000);
        _list(
            "bondWithHint",
            delegator,
            b,
            abi.encodeCall(bonding.bondWithHint, (7 ether, orchestrator, _idle, _idle, _idle, _idle)),
            220_000
        );
        _list("unbond", delegator, b, abi.encodeCall(bonding.unbond, (1 ether)), 220_000);
        uint256 whole = bonding.pendingStake(_member(n / 2), 0);
        _list("unbond, leaving the set", _member(n / 2), b, abi.encodeCall(bonding.unbond, (whole)), 320_000);
        _list("rebond", delegator, b, abi.encodeCall(bonding.rebond, (0)), 220_000);
        _list("rebondFromUnbonded", _idle, b, abi.encodeCall(bonding.rebondFromUnbonded, (_member(n - 1), 0)), 260_000);
        _list("withdrawStake", delegator, b, abi.encodeCall(bonding.withdrawStake, (0)), 120_000);
        _list("withdrawFees", delegator, b, abi.encodeCall(bonding.withdrawFees, (payable(delegator), 0)), 180_000);
        _list("claimEarnings", delegator, b, abi.encodeCall(bonding.claimEarnings, (0)), 120_000);
        _list("reward, first", orchestrator, b, abi.encodeCall(bonding.reward, ()), 180_000);
        _list("reward, middle", _member(n / 2), b, abi.encodeCall(bonding.reward, ()), 180_000);
        _list("reward, last", _member(n - 1), b, abi.encodeCall(bonding.reward, ()), 180_000);
        _list("rewardForTranscoder", delegator, b, abi.encodeCall(bonding.rewardForTranscoder, (orchestrator)), 180_000);
        _list("transcoder", _member(0), b, abi.encodeCall(bonding.transcoder, (1, 1)), 120_000);
        _list("setRewardCaller", _member(0), b, abi.encodeCall(bonding.setRewardCaller, (_idle)), 80_000);
        _list(
            "slashTranscoder",
            address(slashing),
            b,
            abi.encodeCall(bonding.slashTranscoder, (orchestrator, _idle, 100_000, 500_000)),
            350_000
        );
        _list("setNumActiveTranscoders", owner, b, abi.encodeCall(bonding.setNumActiveTranscoders, (9)), 80_000);
        _list("setMinimumStake", owner, b, abi.encodeCall(bonding.setMinimumStake, (9 ether)), 80_000);
    }

    function _listSenders() private {
        address t = address(broker);
        _list("fundDeposit", sender, t, abi.encodeCall(broker.fundDeposit, ()), 40_000, 1 ether);
        _list("fundReserve", sender, t, abi.encodeCall(broker.fundReserve, ()), 60_000, 1 ether);
        _list(
            "fundDepositAndReserveFor",
            sender,
            t,
            abi.encodeCall(broker.fundDepositAndReserveFor, (stranger, 0.5 ether, 0.5 ether)),
            80_000,
            1 ether
        );
        _list("unlock", sender, t, abi.encodeCall(broker.unlock, ()), 80_000);
        _list("cancelUnlock", stranger, t, abi.encodeCall(broker.cancelUnlock, ()), 80_000);
        _list("withdraw", stranger, t, abi.encodeCall(broker.withdraw, ()), 100_000);
        _list("commitReserve", sender, t, abi.encodeCall(broker.commitReserve, (orchestrator)), 80_000, 1 ether);
        _list("releaseReserve", stranger, t, abi.encodeCall(broker.releaseReserve, (orchestrator, 1)), 80_000);
        _list(
            "withdrawReleasedReserve",
            stranger,
            t,
            abi.encodeCall(broker.withdrawReleasedReserve, (orchestrator)),
            100_000
        );
        _list("setRedeemer", orchestrator, t, abi.encodeCall(broker.setRedeemer, (_idle)), 80_000);
    }

    function _listTickets() private {
        Ticket memory ticket = _ticket(1 ether, 1e9);
        bytes memory data = abi.encodeCall(broker.redeemWinningTicket, (ticket, _sign(ticket), RAND));
        _list("redeemWinningTicket", stranger, address(broker), data, 115_000);
        (Ticket[] memory tickets, bytes[] memory sigs, uint256[] memory rands) =
            (new Ticket[](2), new bytes[](2), new uint256[](2));
        for (uint256 i = 0; i < 2; ++i) {
            tickets[i] = _ticket(1 ether, 2e9 + i);
            (sigs[i], rands[i]) = (_sign(tickets[i]), RAND);
        }
        data = abi.encodeCall(broker.batchRedeemWinningTickets, (tickets, sigs, rands));
        _list("batchRedeemWinningTickets", stranger, address(broker), data, 230_000);
        _listOrdered();
    }

    function _listOrdered() private {
        PlannedGroup[] memory groups = new PlannedGroup[](1);
        groups[0].sender = sender;
        groups[0].mark = broker.redemptionMark(orchestrator, sender);
        groups[0].tickets = new OrderedTicket[](1);
        uint256 rand = (_MARKER << 192) | (uint256(7) << 128) | 7;
        Ticket memory ticket = _ticket(1 ether, 7);
        ticket.recipientRandHash = keccak256(abi.encode(rand));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(
            SENDER_KEY, keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", broker.getTicketHash(ticket)))
        );
        groups[0].tickets[0] = OrderedTicket({
            recipientRand: rand,
            winProb: ticket.winProb,
            terms: (ticket.faceValue << 128) | (rounds.currentRound() << 64) | 7,
            r: r,
            yParityAndS: bytes32(uint256(v - 27) << 255) | s
        });
        (OrderedGroup[] memory encoded, OrderedTicket[] memory tickets) = encodeGroups(groups);
        // The first batch with a sender writes its mark anew.
        _list(
            "redeemOrderedTickets",
            orchestrator,
            address(broker),
            abi.encodeCall(broker.redeemOrderedTickets, (orchestrator, encoded, tickets)),
            95_000 + 17_100
        );
    }

    function _listRest() private {
        bytes memory sig = _signReceipt(_first);
        _list(
            "challenge",
            challenger,
            address(slashing),
            abi.encodeCall(slashing.challenge, (address(equivocation), _first, sig, _evidence(_second), SALT)),
            900_000
        );
        _list("announce", challenger, address(slashing), abi.encodeCall(slashing.announce, (bytes32("x"))), 80_000);
        _list("initializeRound", stranger, address(rounds), abi.encodeCall(rounds.initializeRound, ()), 120_000);
        _list(
            "setServiceURI",
            orchestrator,
            address(registry),
            abi.encodeCall(registry.setServiceURI, ("https://b.example")),
            120_000
        );
        bytes32[] memory ids = new bytes32[](1);
        ids[0] = SERVICE;
        _list("setServices", orchestrator, address(registry), abi.encodeCall(registry.setServices, (ids)), 150_000);
        _list("setRegions", orchestrator, address(registry), abi.encodeCall(registry.setRegions, (ids)), 150_000);
    }

    function _list(string memory name, address from, address target, bytes memory data, uint256 most) private {
        _list(name, from, target, data, most, 0);
    }

    function _list(string memory name, address from, address target, bytes memory data, uint256 most, uint256 value)
        private
    {
        _steps.push(Step({name: name, from: from, target: target, value: value, data: data, most: most}));
    }

    function _endowFor(address account) private {
        vm.prank(owner);
        token.transfer(account, 100 ether);
        vm.prank(account);
        token.approve(address(bonding), 100 ether);
    }

    function _member(uint256 i) private pure returns (address) {
        return address(uint160(uint256(keccak256(abi.encode("member", i)))));
    }
}
