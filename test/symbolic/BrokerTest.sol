// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Controller} from "../../contracts/Controller.sol";
import {OverspendProof} from "../../contracts/OverspendProof.sol";
import {TicketBroker} from "../../contracts/TicketBroker.sol";
import {IBondingManager} from "../../contracts/interfaces/IBondingManager.sol";
import {IRoundsManager} from "../../contracts/interfaces/IRoundsManager.sol";
import {ITicketBroker} from "../../contracts/interfaces/ITicketBroker.sol";
import {OrderedGroup, OrderedTicket} from "../../contracts/types/OrderedTicket.sol";
import {Ticket} from "../../contracts/types/Ticket.sol";
import {AnyBonding, AnyRounds} from "./Environment.sol";
import {SymbolicTest} from "./SymbolicTest.sol";

/// @notice The real TicketBroker and Controller with arbitrary storage, among peers that answer anything.
/// @dev A statement about one call from arbitrary storage holds for that call after every history. Some of that storage
/// no history leads to; what holds there too is only the stronger for it.
abstract contract BrokerTest is SymbolicTest {
    /// @dev All that a redemption may move, of one sender and one recipient.
    struct Books {
        uint256 deposit;
        uint256 reserve;
        uint256 committed;
        uint256 mark;
        uint256 unclaimed;
        uint256 credited;
        uint256 credits;
    }

    /// @dev What is passed to `redeemWinningTicket`.
    struct Redemption {
        Ticket ticket;
        bytes sig;
        uint256 rand;
    }

    Controller internal controller;
    AnyRounds internal rounds;
    AnyBonding internal bonding;
    TicketBroker internal broker;

    function setUp() public virtual {
        controller = new Controller(address(this));
        (rounds, bonding) = (new AnyRounds(), new AnyBonding());
        broker = _deployBroker();
        svm.enableSymbolicStorage(address(rounds));
        svm.enableSymbolicStorage(address(bonding));
        _forget(address(controller));
        _forget(address(broker));
    }

    /// @dev The one place that knows how a broker comes about.
    function _deployBroker() private returns (TicketBroker) {
        return new TicketBroker(
            controller, IBondingManager(address(bonding)), IRoundsManager(address(rounds)), new OverspendProof()
        );
    }

    /// @dev Halmos keeps the words that a constructor wrote: here the first one alone, of the Controller as of the broker.
    function _forget(address account) private {
        svm.enableSymbolicStorage(account);
        vm.store(account, 0, svm.createBytes32("slot0"));
    }

    // --- books ---

    function _books(address sender, address recipient) internal view returns (Books memory books) {
        (ITicketBroker.Sender memory account, ITicketBroker.ReserveInfo memory reserve) = broker.getSenderInfo(sender);
        books.deposit = account.deposit;
        books.reserve = reserve.fundsRemaining;
        books.committed = broker.getCommittedReserve(sender, recipient).funds;
        books.mark = broker.redemptionMark(recipient, sender);
        books.unclaimed = broker.unclaimedFees();
        books.credited = bonding.credited(recipient);
        books.credits = bonding.credits();
    }

    /// @dev Compared as one value, so that the proof does not fork at every field.
    function _assertSame(Books memory a, Books memory b) internal pure {
        uint256 funds = (a.deposit ^ b.deposit) | (a.reserve ^ b.reserve) | (a.committed ^ b.committed);
        uint256 fees = (a.unclaimed ^ b.unclaimed) | (a.credited ^ b.credited) | (a.credits ^ b.credits);
        assert((funds | fees | (a.mark ^ b.mark)) == 0);
    }

    /// @dev Exactly `amount`, which the deposit covers, went from it to the recipient's fees, and nothing else moved.
    function _assertPaid(Books memory before, Books memory afterwards, uint256 amount) internal pure {
        unchecked {
            before.deposit -= amount;
            before.unclaimed += amount;
            before.credited += amount;
            before.credits += amount == 0 ? 0 : 1;
        }
        _assertSame(before, afterwards);
    }

    function _withdrawRound(address account) internal view returns (uint256) {
        (ITicketBroker.Sender memory info,) = broker.getSenderInfo(account);
        return info.withdrawRound;
    }

    // --- the deployed path ---

    /// @dev Any ticket whose `auxData` has `words` words, any signature of 65 bytes and any secret.
    function _anyRedemption(uint256 words) internal returns (Redemption memory r) {
        r.ticket = Ticket({
            recipient: svm.createAddress("recipient"),
            sender: svm.createAddress("sender"),
            faceValue: svm.createUint256("faceValue"),
            winProb: svm.createUint256("winProb"),
            senderNonce: svm.createUint256("senderNonce"),
            recipientRandHash: svm.createBytes32("recipientRandHash"),
            auxData: svm.createBytes(words * 32, "auxData")
        });
        r.sig = svm.createBytes(65, "sig");
        r.rand = svm.createUint256("recipientRand");
    }

    function _redeem(Redemption memory r) internal returns (bool ok) {
        (ok,) = address(broker).call(abi.encodeCall(broker.redeemWinningTicket, (r.ticket, r.sig, r.rand)));
    }

    // --- the ordered path ---

    /// @dev Any ticket of known terms, without (0) or with (1) the third word of `auxData`.
    function _anyOrdered(uint256 bound, string memory name) internal returns (OrderedTicket memory ticket) {
        ticket.recipientRand = svm.createUint256(string.concat(name, "Rand"));
        ticket.winProb = svm.createUint256(string.concat(name, "WinProb"));
        ticket.terms = (bound << 224) | svm.createUint(224, string.concat(name, "Terms"));
        ticket.r = svm.createBytes32(string.concat(name, "R"));
        ticket.yParityAndS = svm.createBytes32(string.concat(name, "S"));
    }

    function key(OrderedTicket calldata ticket) external pure returns (uint256) {
        return ticket.key();
    }

    /// @dev The ticket as the deployed path knows it: written out anew, and hashed by the broker.
    function _deployedHash(OrderedTicket memory ticket, address sender, address recipient)
        internal
        view
        returns (bytes32)
    {
        uint256 round = uint64(ticket.terms >> 64);
        bytes memory auxData = abi.encode(round, rounds.blockHashForRound(round));
        if (ticket.terms >> 224 == 1) auxData = bytes.concat(auxData, broker.deploymentTag());
        return broker.getTicketHash(
            Ticket({
                recipient: recipient,
                sender: sender,
                faceValue: uint96(ticket.terms >> 128),
                winProb: ticket.winProb,
                senderNonce: uint64(ticket.terms),
                recipientRandHash: keccak256(abi.encode(ticket.recipientRand)),
                auxData: auxData
            })
        );
    }

    /// @dev One group of `tickets`, planned on `mark`, sent by `caller`.
    function _redeemGroup(
        address caller,
        address recipient,
        address sender,
        uint256 mark,
        OrderedTicket[] memory tickets
    ) internal returns (bool ok) {
        OrderedGroup[] memory groups = new OrderedGroup[](1);
        groups[0] = OrderedGroup({sender: sender, plan: (tickets.length << 192) | mark});
        return _redeemOrdered(caller, recipient, groups, tickets);
    }

    function _redeemOrdered(
        address caller,
        address recipient,
        OrderedGroup[] memory groups,
        OrderedTicket[] memory tickets
    ) internal returns (bool ok) {
        bytes memory call = abi.encodeCall(broker.redeemOrderedTickets, (recipient, groups, tickets));
        vm.prank(caller);
        (ok,) = address(broker).call(call);
    }
}
