// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IBondingManager} from "../../contracts/interfaces/IBondingManager.sol";
import {ITicketBroker} from "../../contracts/interfaces/ITicketBroker.sol";
import {Ticket} from "../../contracts/types/Ticket.sol";
import {StreamflowTest} from "./StreamflowTest.sol";

/// @notice The checks on one ticket, in order, and what a redemption moves.
contract TicketRedemptionTest is StreamflowTest {
    bytes32 private constant _HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;
    uint256 private constant _ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;

    function setUp() public override {
        super.setUp();
        _register(orchestrator, 1000 ether, 100_000, 500_000);
        _nextRound();
        _fund(10 ether, 6 ether);
    }

    function test_Redeem_BooksExactlyTheFaceValue() external {
        Ticket memory ticket = _ticket(1 ether, 1);
        vm.expectEmit(address(broker));
        emit ITicketBroker.WinningTicketTransfer(sender, orchestrator, 1 ether);
        vm.expectEmit(address(broker));
        emit ITicketBroker.WinningTicketRedeemed(sender, orchestrator, 1 ether, CERTAIN, 1, RAND, ticket.auxData);
        vm.prank(stranger);
        broker.redeemWinningTicket(ticket, _sign(ticket), RAND);
        vm.assertEq(_deposit(), 9 ether);
        vm.assertEq(broker.unclaimedFees(), 1 ether);
        vm.assertEq(bonding.pendingFees(orchestrator, 0), 1 ether);
        vm.assertTrue(broker.usedTickets(broker.getTicketHash(ticket)));
        vm.assertEq(address(broker).balance, 16 ether);
    }

    function test_GivenZeroFaceValue_NothingMoves() external {
        Ticket memory ticket = _ticket(0, 1);
        _redeem(ticket);
        vm.assertEq(_deposit(), 10 ether);
        vm.assertTrue(broker.usedTickets(broker.getTicketHash(ticket)));
    }

    function test_GivenNextRound_TicketStillPays() external {
        Ticket memory ticket = _ticket(1 ether, 1);
        _nextRound();
        _redeem(ticket);
        vm.assertEq(_deposit(), 9 ether);
    }

    function test_GivenDepositEqualsFaceValue_ReserveIsNotTouched() external {
        _redeem(_ticket(10 ether, 1));
        vm.assertEq(_deposit(), 0);
        vm.assertEq(broker.getReserveInfo(sender).fundsRemaining, 6 ether);
    }

    function test_GivenTicketAboveDeposit_RestComesFromTheReserve() external {
        Ticket memory ticket = _ticket(12 ether, 1);
        vm.expectEmit(address(broker));
        emit ITicketBroker.ReserveClaimed(sender, orchestrator, 2 ether);
        _redeem(ticket);
        vm.assertEq(_deposit(), 0);
        ITicketBroker.ReserveInfo memory info = broker.getReserveInfo(sender);
        vm.assertEq(info.fundsRemaining, 4 ether);
        vm.assertEq(info.claimedInCurrentRound, 2 ether);
        vm.assertEq(broker.claimedReserve(sender, orchestrator), 2 ether);
        vm.assertEq(broker.claimableReserve(sender, orchestrator), 4 ether);
        vm.assertEq(broker.unclaimedFees(), 12 ether);
    }

    function test_RevertWhen_Paused() external {
        Ticket memory ticket = _ticket(1 ether, 1);
        _pause();
        _expectRefusal(ticket, _sign(ticket), RAND, abi.encodeWithSignature("SystemPaused()"));
    }

    function test_RevertWhen_RoundIsNotInitialized() external {
        Ticket memory ticket = _ticket(1 ether, 1);
        _rollToNextRound();
        _expectRefusal(
            ticket, _sign(ticket), RAND, abi.encodeWithSignature("RoundNotInitialized(uint256)", rounds.currentRound())
        );
    }

    function test_RevertWhen_RecipientIsNull() external {
        Ticket memory ticket = _ticket(1 ether, 1);
        ticket.recipient = address(0);
        _expectRefusal(ticket, abi.encodeWithSelector(ITicketBroker.NullRecipient.selector));
    }

    function test_RevertWhen_SenderIsNull() external {
        Ticket memory ticket = _ticket(1 ether, 1);
        ticket.sender = address(0);
        _expectRefusal(ticket, abi.encodeWithSelector(ITicketBroker.NullSender.selector));
    }

    function test_RevertWhen_AuxDataIsNeither64Nor96Bytes() external {
        Ticket memory ticket = _ticket(1 ether, 1);
        uint256[6] memory lengths = [uint256(0), 63, 65, 95, 97, 128];
        for (uint256 i = 0; i < lengths.length; ++i) {
            ticket.auxData = new bytes(lengths[i]);
            _expectRefusal(ticket, abi.encodeWithSelector(ITicketBroker.InvalidAuxDataLength.selector, lengths[i]));
        }
    }

    /// The exact text, because existing nodes match it.
    function test_Invariant33_RevertWhen_CreationRoundHasNoBlockHash() external {
        Ticket memory ticket = _ticket(1 ether, 1);
        bytes memory refusal =
            abi.encodeWithSignature("Error(string)", "ticket creationRound does not have a block hash");
        ticket.auxData = abi.encode(rounds.currentRound() + 1, bytes32(0));
        _expectRefusal(ticket, refusal);
        ticket.auxData = abi.encode(type(uint256).max, bytes32(uint256(1)));
        _expectRefusal(ticket, refusal);
    }

    function test_RevertWhen_BlockHashIsNotThatOfTheRound() external {
        Ticket memory ticket = _ticket(1 ether, 1);
        uint256 round = rounds.currentRound();
        ticket.auxData = abi.encode(round, bytes32(uint256(1)));
        _expectRefusal(
            ticket, abi.encodeWithSelector(ITicketBroker.InvalidCreationRoundBlockHash.selector, round, uint256(1))
        );
    }

    function test_RevertWhen_TicketIsExpired() external {
        Ticket memory ticket = _ticket(1 ether, 1);
        uint256 round = rounds.currentRound();
        _nextRounds(2);
        _expectRefusal(ticket, abi.encodeWithSelector(ITicketBroker.TicketExpired.selector, round, round + 2));
    }

    function test_GivenDeploymentTag_TicketPays() external {
        Ticket memory ticket = _ticket(1 ether, 1);
        ticket.auxData = abi.encodePacked(ticket.auxData, keccak256(abi.encode(block.chainid, address(broker))));
        vm.assertEq(broker.deploymentTag(), keccak256(abi.encode(block.chainid, address(broker))));
        _redeem(ticket);
        vm.assertEq(_deposit(), 9 ether);
    }

    function test_RevertWhen_DeploymentTagIsThatOfAnother() external {
        Ticket memory ticket = _ticket(1 ether, 1);
        bytes memory auxData = ticket.auxData;
        bytes32[3] memory tags = [
            bytes32(0),
            keccak256(abi.encode(block.chainid + 1, address(broker))),
            keccak256(abi.encode(block.chainid, address(bonding)))
        ];
        for (uint256 i = 0; i < tags.length; ++i) {
            ticket.auxData = abi.encodePacked(auxData, tags[i]);
            _expectRefusal(ticket, abi.encodeWithSelector(ITicketBroker.InvalidDeploymentTag.selector, tags[i]));
        }
    }

    function test_RevertWhen_SecretIsNotTheCommittedOne() external {
        Ticket memory ticket = _ticket(1 ether, 1);
        _expectRefusal(
            ticket, _sign(ticket), RAND + 1, abi.encodeWithSelector(ITicketBroker.InvalidRecipientRand.selector)
        );
    }

    function test_RevertWhen_TicketIsUsed() external {
        Ticket memory ticket = _ticket(1 ether, 1);
        bytes memory sig = _sign(ticket);
        bytes memory refusal = abi.encodeWithSelector(ITicketBroker.TicketUsed.selector, broker.getTicketHash(ticket));
        broker.redeemWinningTicket(ticket, sig, RAND);
        vm.expectRevert(refusal);
        broker.redeemWinningTicket(ticket, sig, RAND);
        _nextRound();
        vm.expectRevert(refusal);
        broker.redeemWinningTicket(ticket, sig, RAND);
        vm.assertEq(_deposit(), 9 ether);
    }

    function test_RevertWhen_SignatureIsNot65Bytes() external {
        Ticket memory ticket = _ticket(1 ether, 1);
        uint256[3] memory lengths = [uint256(0), 64, 66];
        for (uint256 i = 0; i < lengths.length; ++i) {
            _expectRefusal(
                ticket,
                new bytes(lengths[i]),
                RAND,
                abi.encodeWithSelector(ITicketBroker.InvalidSignatureLength.selector, lengths[i])
            );
        }
    }

    function test_RevertWhen_SignedByAnother() external {
        Ticket memory ticket = _ticket(1 ether, 1);
        bytes memory sig = _sign(DEPLOYER_KEY, broker.getTicketHash(ticket));
        _expectRefusal(ticket, sig, RAND, abi.encodeWithSelector(ITicketBroker.InvalidSignature.selector));
    }

    /// The other encoding of the same signature would be a second draw.
    function test_RevertWhen_SignatureHasHighS() external {
        Ticket memory ticket = _ticket(1 ether, 1);
        (bytes32 r, bytes32 s, uint8 v) = _split(_sign(ticket));
        vm.assertLe(uint256(s), uint256(_HALF_ORDER));
        bytes memory twin = abi.encodePacked(r, bytes32(_ORDER - uint256(s)), v == 27 ? uint8(28) : uint8(27));
        _expectRefusal(ticket, twin, RAND, abi.encodeWithSelector(ITicketBroker.InvalidSignature.selector));
    }

    function test_RevertWhen_SignatureHasAnotherV() external {
        Ticket memory ticket = _ticket(1 ether, 1);
        (bytes32 r, bytes32 s, uint8 v) = _split(_sign(ticket));
        uint8[5] memory others = [uint8(0), 1, 26, 29, v == 27 ? 28 : 27];
        for (uint256 i = 0; i < others.length; ++i) {
            _expectRefusal(
                ticket,
                abi.encodePacked(r, s, others[i]),
                RAND,
                abi.encodeWithSelector(ITicketBroker.InvalidSignature.selector)
            );
        }
    }

    function test_RevertWhen_DrawIsNotBelowWinProb() external {
        Ticket memory ticket = _ticket(1 ether, 1);
        ticket.winProb = 0;
        _expectRefusal(ticket, abi.encodeWithSelector(ITicketBroker.TicketNotWinning.selector));
    }

    function test_RevertWhen_SenderIsUnlocked() external {
        vm.prank(sender);
        broker.unlock();
        _nextRound();
        Ticket memory ticket = _ticket(1 ether, 1);
        // The last round of the unlock still pays.
        _redeem(_ticket(1 ether, 2));
        _nextRound();
        _expectRefusal(ticket, abi.encodeWithSelector(ITicketBroker.SenderUnlocked.selector, sender));
        vm.prank(sender);
        broker.cancelUnlock();
        _redeem(ticket);
    }

    /// A ticket that cannot be paid in full stays good: nothing of it burns.
    function test_RevertWhen_FundsDoNotCoverTheFaceValue() external {
        Ticket memory ticket = _ticket(16 ether + 1, 1);
        _expectRefusal(ticket, abi.encodeWithSelector(ITicketBroker.InsufficientFunds.selector, 16 ether + 1, 16 ether));
        vm.prank(stranger);
        broker.fundDepositAndReserveFor{value: 1}(sender, 1, 0);
        _redeem(ticket);
        vm.assertEq(broker.unclaimedFees(), 16 ether + 1);
    }

    /// The share counts, not the whole reserve.
    function test_RevertWhen_OnlyTheWholeReserveWouldCover() external {
        _register(stranger, 1000 ether, 0, 0);
        _nextRound();
        Ticket memory ticket = _ticket(13 ether + 1, 1);
        _expectRefusal(ticket, abi.encodeWithSelector(ITicketBroker.InsufficientFunds.selector, 13 ether + 1, 13 ether));
    }

    function test_RevertWhen_RecipientIsNotActive() external {
        Ticket memory ticket = _ticket(1 ether, 1);
        ticket.recipient = stranger;
        bytes memory refusal = abi.encodeWithSelector(IBondingManager.TranscoderNotActive.selector, stranger);
        _expectRefusal(ticket, refusal);
        // Registered in this round, active from the next one on.
        _register(stranger, 1000 ether, 0, 0);
        _expectRefusal(ticket, refusal);
        _nextRound();
        _redeem(ticket);
        vm.assertEq(bonding.pendingFees(stranger, 0), 1 ether);
    }

    function test_GivenRecipientLeaves_ItCashesUntilTheEndOfTheRound() external {
        vm.prank(orchestrator);
        bonding.unbond(1000 ether);
        Ticket memory ticket = _ticket(1 ether, 1);
        _redeem(_ticket(1 ether, 2));
        _nextRound();
        _expectRefusal(ticket, abi.encodeWithSelector(IBondingManager.TranscoderNotActive.selector, orchestrator));
    }

    // --- reserve shares ---

    function test_GivenGrowthOfTheSetInMidRound_ShareStays() external {
        _redeem(_ticket(16 ether, 1));
        vm.assertEq(broker.claimableReserve(sender, orchestrator), 0);
        _register(stranger, 1000 ether, 0, 0);
        vm.assertEq(bonding.getTranscoderPoolSize(), 2);
        vm.assertEq(bonding.currentRoundPoolSize(), 1);
        vm.assertEq(broker.claimableReserve(sender, orchestrator), 0);
        // Redemption from a new deposit works on.
        _fund(1 ether, 0);
        _redeem(_ticket(1 ether, 2));
    }

    function test_GivenShrinkingOfTheSetInMidRound_ShareStays() external {
        _register(stranger, 1000 ether, 0, 0);
        _nextRound();
        vm.prank(stranger);
        bonding.unbond(1000 ether);
        vm.assertEq(bonding.getTranscoderPoolSize(), 1);
        vm.assertEq(broker.claimableReserve(sender, orchestrator), 3 ether);
        vm.assertEq(broker.claimableReserve(sender, stranger), 3 ether);
    }

    /// One orchestrator cannot claim another's share, in however many tickets it tries.
    function test_GivenClaimedShare_TheRestIsLeftForOthers() external {
        _register(stranger, 1000 ether, 0, 0);
        _nextRound();
        _redeem(_ticket(11 ether, 1));
        _redeem(_ticket(2 ether, 2));
        vm.assertEq(broker.claimableReserve(sender, orchestrator), 0);
        _expectRefusal(_ticket(1, 3), abi.encodeWithSelector(ITicketBroker.InsufficientFunds.selector, 1, 0));
        Ticket memory ticket = _ticket(3 ether, 4);
        ticket.recipient = stranger;
        _redeem(ticket);
        vm.assertEq(broker.getReserveInfo(sender).fundsRemaining, 0);
        vm.assertEq(broker.getReserveInfo(sender).claimedInCurrentRound, 6 ether);
        vm.assertEq(broker.claimedReserve(sender, stranger), 3 ether);
    }

    function test_GivenNextRound_ShareIsNew() external {
        _redeem(_ticket(12 ether, 1));
        _nextRound();
        vm.assertEq(broker.claimedReserve(sender, orchestrator), 0);
        vm.assertEq(broker.getReserveInfo(sender).claimedInCurrentRound, 0);
        vm.assertEq(broker.claimableReserve(sender, orchestrator), 4 ether);
    }

    function test_GivenInactiveClaimant_NothingIsClaimable() external view {
        vm.assertEq(broker.claimableReserve(sender, stranger), 0);
        vm.assertEq(broker.claimableReserve(stranger, orchestrator), 0);
    }

    function test_GivenWithdrawnReserve_NothingIsClaimable() external {
        _register(stranger, 1000 ether, 0, 0);
        vm.prank(sender);
        broker.unlock();
        _nextRound();
        _redeem(_ticket(13 ether, 1));
        _nextRound();
        vm.prank(sender);
        broker.withdraw();
        vm.assertEq(broker.claimableReserve(sender, orchestrator), 0);
        vm.assertEq(broker.claimableReserve(sender, stranger), 0);
        _fund(0, 10);
        vm.assertEq(broker.claimableReserve(sender, orchestrator), 5);
    }

    // --- vectors shared with the nodes ---

    function test_GivenVectorsOfDeployedNodes_HashesAreEqual() external view {
        bytes32 word = 0x41b1a0649752af1b28b3dc29a1556eee781e4a4c3a1f7f53f90fa834de098c4d;
        Ticket memory t = _empty();
        t.senderNonce = type(uint32).max;
        _assertHash(t, 0xe1393fc7f6de093780674022f96cb8e3872235167d037c04d554e58c0e63d280);
        t = _empty();
        t.senderNonce = 1;
        _assertHash(t, 0xce0918ba94518293e9712effbe5fca4f1f431089833a5b8c257cb1e024595f68);
        t = _empty();
        (t.faceValue, t.winProb) = (1, 500);
        _assertHash(t, 0x87ef13f2d37e4d5352a01d3c77b8179d80e0887f1953bfabfd0bfd7b0f689ddd);
        (t.faceValue, t.winProb) = (500, 1);
        _assertHash(t, 0xaa4b35071043587992ac8b9dd1b2cf1d8311130e6458cf0b2342484e21af5f5b);
        t = _empty();
        t.recipient = 0x73AEd7b5dEb30222fa896f399d46cC99c7BEe57F;
        _assertHash(t, 0x81e353ae39046e2b77b9f996abbaeed527fda559b61ef90f299c4499dd508ccc);
        t = _empty();
        t.recipientRandHash = word;
        _assertHash(t, 0xbe5eaf9a49a39540b9bb02f1a21904f61324a29819e2c032824bfaa10c100b17);
        t = _empty();
        t.auxData = abi.encode(uint256(10), word);
        _assertHash(t, 0xe502907c16036ab3d11b78c5a2e93c20f3d6415c67f91de4ed01348182b3b2e2);
        t = Ticket({
            recipient: 0x73AEd7b5dEb30222fa896f399d46cC99c7BEe57F,
            sender: 0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A,
            faceValue: 1e15,
            winProb: CERTAIN / 100,
            senderNonce: 7,
            recipientRandHash: 0xc65a7bb8d6351c1cf70c95a316cc6a92839c986682d98bc35f958f4883f9d2a8,
            auxData: abi.encode(uint256(10), word)
        });
        _assertHash(t, 0x76a75f6cccc3b23712a949eed71297adf8be0bbe14425dceed9e54eb1a171c30);
    }

    /// A ticket redeemed on mainnet (0x6afffe4d…15746a6) passes every check but the round's own.
    function test_GivenTicketRedeemedOnMainnet_ItPays() external {
        Ticket memory t = Ticket({
            recipient: 0x9C10672CEE058Fd658103d90872fE431bb6C0AFa,
            sender: 0x3eE860A4abA830AF84EbBCE2b381fc11DB8493e2,
            faceValue: 24703611594215916,
            winProb: 4687253472865791949219216447262131914283161967982656133076290000000000000000,
            senderNonce: 1,
            recipientRandHash: 0xd00ef48a6825d9ae93097ad55bc76057fb50afc203aa98fd4e01aa6576d71298,
            auxData: abi.encode(
                uint256(0x689), bytes32(0xa9f81d59be53a90a12cb12f627aa9e87c505320bad20a98fd98d5ed23bfe9a54)
            )
        });
        _assertHash(t, 0x63d432158a2a3a15bdb5a87712e5cf0d1655d018a615d2e8806346536c0154c0);
        _register(t.recipient, 1 ether, 0, 0);
        vm.prank(stranger);
        broker.fundDepositAndReserveFor{value: 1 ether}(t.sender, 1 ether, 0);
        // Bring the chain into that round, with that hash.
        vm.roll(rounds.currentRoundStartBlock() + (0x689 - rounds.currentRound()) * ROUND_LENGTH);
        vm.setBlockhash(block.number - 1, 0xa9f81d59be53a90a12cb12f627aa9e87c505320bad20a98fd98d5ed23bfe9a54);
        rounds.initializeRound();
        vm.assertEq(rounds.currentRound(), 0x689);
        broker.redeemWinningTicket(
            t,
            hex"5ff5265992f1a6563851d085f363b16ad65416baaee090ee368b59082437df7a0237214659511fc188d6a4ef57c988bb18faa3e99826c78e9e75eb29366745891b",
            21160157592767011607011497540409649304524524744605816319294275445072062630355
        );
        vm.assertEq(bonding.pendingFees(t.recipient, 0), t.faceValue);
    }

    // --- helpers ---

    function _deposit() private view returns (uint256) {
        (ITicketBroker.Sender memory info,) = broker.getSenderInfo(sender);
        return info.deposit;
    }

    function _empty() private pure returns (Ticket memory t) {
        t.auxData = "";
    }

    function _assertHash(Ticket memory ticket, bytes32 expected) private view {
        vm.assertEq(broker.getTicketHash(ticket), expected);
    }

    function _split(bytes memory sig) private pure returns (bytes32 r, bytes32 s, uint8 v) {
        assembly ("memory-safe") {
            r := mload(add(sig, 0x20))
            s := mload(add(sig, 0x40))
            v := byte(0, mload(add(sig, 0x60)))
        }
    }

    function _expectRefusal(Ticket memory ticket, bytes memory refusal) private {
        _expectRefusal(ticket, _sign(ticket), RAND, refusal);
    }

    /// @dev The ticket is refused with exactly this reason and stays unused.
    function _expectRefusal(Ticket memory ticket, bytes memory sig, uint256 rand, bytes memory refusal) private {
        vm.expectRevert(refusal);
        broker.redeemWinningTicket(ticket, sig, rand);
        vm.assertFalse(broker.usedTickets(broker.getTicketHash(ticket)));
    }
}
