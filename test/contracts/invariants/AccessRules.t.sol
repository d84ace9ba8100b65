// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IManaged} from "../../../contracts/interfaces/IManaged.sol";
import {ITicketBroker} from "../../../contracts/interfaces/ITicketBroker.sol";
import {OrderedGroup, OrderedTicket} from "../../../contracts/types/OrderedTicket.sol";
import {Receipt} from "../../../contracts/types/Receipt.sol";
import {Ticket} from "../../../contracts/types/Ticket.sol";
import {SlashingTest} from "../SlashingTest.sol";

/// @notice Numbered rules about who may do what: nobody acts for another account, a pause stops all but unlocked withdrawals, and
/// only peers and the owner reach what is theirs.
contract AccessRulesTest is SlashingTest {
    struct Call {
        address target;
        bytes data;
    }

    function setUp() public override {
        super.setUp();
        _fund(10 ether, 10 ether);
        vm.prank(sender);
        broker.commitReserve{value: 1 ether}(orchestrator);
        vm.prank(delegator);
        bonding.unbond(100 ether);
    }

    /// 11: what was signed before `unlock` is expired or payable when the money can leave, for all periods that the setters allow.
    function testFuzz_Invariant11_TicketsOutliveNoUnlock(uint256 validity, uint256 unlockPeriod, uint256 age) external {
        validity = 1 + validity % 8;
        unlockPeriod = validity + unlockPeriod % 8;
        vm.startPrank(owner);
        broker.setUnlockPeriod(100);
        broker.setTicketValidityPeriod(validity);
        broker.setUnlockPeriod(unlockPeriod);
        vm.stopPrank();
        Ticket memory ticket = _ticket(1 ether, 1);
        bytes memory sig = _sign(ticket);
        vm.prank(sender);
        broker.unlock();
        age = age % (unlockPeriod + 2);
        _nextRounds(age);
        if (!bonding.isActiveTranscoder(orchestrator)) return;
        (bool paid,) = address(broker).call(abi.encodeCall(broker.redeemWinningTicket, (ticket, sig, RAND)));
        vm.prank(sender);
        (bool left,) = address(broker).call(abi.encodeCall(broker.withdraw, ()));
        vm.assertTrue(paid == (age < validity), "payable until it expires");
        vm.assertTrue(left == (age >= unlockPeriod), "money leaves when it is unlocked");
        vm.assertFalse(paid && left, "never both in one round");
    }

    /// 11: the setters refuse periods under which money could leave before tickets expire.
    function testFuzz_Invariant11_PeriodsNeverLetFundsEscape(uint256 unlockPeriod, uint256 validity) external {
        (unlockPeriod, validity) = (unlockPeriod % 50, validity % 50);
        vm.startPrank(owner);
        (bool a,) = address(broker).call(abi.encodeCall(broker.setUnlockPeriod, (unlockPeriod)));
        (bool b,) = address(broker).call(abi.encodeCall(broker.setTicketValidityPeriod, (validity)));
        vm.stopPrank();
        vm.assertTrue(broker.unlockPeriod() >= broker.ticketValidityPeriod() && broker.ticketValidityPeriod() > 0);
        if (!a && !b) vm.assertTrue(broker.unlockPeriod() == 2 && broker.ticketValidityPeriod() == 2);
    }

    /// 25: no call of a stranger changes delegate, stake, claims, locks, unlock or registration of anybody else.
    function test_Invariant25_NoCallOfAStrangerChangesAnAccount() external {
        _endow(stranger, 100 ether);
        vm.startPrank(stranger);
        token.approve(address(bonding), 100 ether);
        token.approve(address(slashing), 100 ether);
        vm.stopPrank();
        Call[] memory calls = _callsOfAnybody();
        bytes32 before = _accounts();
        for (uint256 i = 0; i < calls.length; ++i) {
            vm.prank(stranger);
            (bool ok,) = calls[i].target.call(calls[i].data);
            ok;
            vm.assertEq(_accounts(), before, "another account changed");
        }
    }

    /// 32: under pause no call of anybody moves a wei or a token, but for withdrawals of what is unlocked, which pay in full.
    function test_Invariant32_PausedMovesNoValueButUnlockedFunds() external {
        address[4] memory callers = [sender, delegator, orchestrator, stranger];
        _pause();
        Call[] memory calls = _callsOfAnybody();
        bytes32 before = _values();
        for (uint256 i = 0; i < calls.length; ++i) {
            for (uint256 j = 0; j < callers.length; ++j) {
                vm.prank(callers[j]);
                (bool ok,) = calls[i].target.call(calls[i].data);
                ok;
                vm.assertEq(_values(), before, "value moved");
            }
        }
        _unpause();
        _unlockEverything();
        _pause();
        _assertUnlockedLeave();
    }

    /// 32: what peers, owner or verifier alone may call is refused to everybody else, each peer among them.
    function test_Invariant32_OnlyRolesReachTrustedFunctions() external {
        (Call[] memory calls, address[] memory roles) = _trustedCalls();
        address[9] memory callers = [
            owner,
            orchestrator,
            stranger,
            address(minter),
            address(rounds),
            address(bonding),
            address(broker),
            address(slashing),
            address(registry)
        ];
        for (uint256 i = 0; i < calls.length; ++i) {
            for (uint256 j = 0; j < callers.length; ++j) {
                if (callers[j] == roles[i]) continue;
                vm.prank(callers[j]);
                (bool ok, bytes memory reason) = calls[i].target.call(calls[i].data);
                vm.assertFalse(ok);
                bytes4 selector = bytes4(reason);
                bool isRoleError = selector == IManaged.CallerNotTrusted.selector
                    || selector == IManaged.CallerNotOwner.selector
                    || selector == bytes4(keccak256("OwnableUnauthorizedAccount(address)"))
                    || selector == bytes4(keccak256("AccessControlUnauthorizedAccount(address,bytes32)"))
                    || selector == bytes4(keccak256("CallerNotSlashingManager(address)"));
                vm.assertTrue(isRoleError, "refused for its role");
            }
        }
    }

    // --- calls ---

    /// @dev Every call that anybody may try, with arguments that would do something.
    function _callsOfAnybody() private view returns (Call[] memory calls) {
        Ticket memory ticket = _ticket(1 ether, 7);
        (Ticket[] memory tickets, bytes[] memory sigs, uint256[] memory rands) =
            (new Ticket[](1), new bytes[](1), new uint256[](1));
        (tickets[0], sigs[0], rands[0]) = (ticket, _sign(ticket), RAND);
        calls = new Call[](29);
        (address b, address t) = (address(bonding), address(broker));
        calls[0] = Call(b, abi.encodeCall(bonding.bond, (1 ether, orchestrator)));
        calls[1] = Call(b, abi.encodeCall(bonding.bond, (1 ether, delegator)));
        calls[2] = Call(b, abi.encodeCall(bonding.unbond, (1)));
        calls[3] = Call(b, abi.encodeCall(bonding.rebond, (0)));
        calls[4] = Call(b, abi.encodeCall(bonding.rebondFromUnbonded, (orchestrator, 0)));
        calls[5] = Call(b, abi.encodeCall(bonding.withdrawStake, (0)));
        calls[6] = Call(b, abi.encodeCall(bonding.withdrawFees, (payable(stranger), 0)));
        calls[7] = Call(b, abi.encodeCall(bonding.claimEarnings, (0)));
        calls[8] = Call(b, abi.encodeCall(bonding.reward, ()));
        calls[9] = Call(b, abi.encodeCall(bonding.rewardForTranscoder, (orchestrator)));
        calls[10] = Call(b, abi.encodeCall(bonding.transcoder, (1, 1)));
        calls[11] = Call(b, abi.encodeCall(bonding.setRewardCaller, (stranger)));
        calls[12] = Call(b, abi.encodeCall(bonding.slashTranscoder, (orchestrator, stranger, 1_000_000, 1_000_000)));
        calls[13] = Call(t, abi.encodeCall(broker.fundDeposit, ()));
        calls[14] = Call(t, abi.encodeCall(broker.fundReserve, ()));
        calls[15] = Call(t, abi.encodeCall(broker.fundDepositAndReserveFor, (sender, 0, 0)));
        calls[16] = Call(t, abi.encodeCall(broker.unlock, ()));
        calls[17] = Call(t, abi.encodeCall(broker.cancelUnlock, ()));
        calls[18] = Call(t, abi.encodeCall(broker.withdraw, ()));
        calls[19] = Call(t, abi.encodeCall(broker.commitReserve, (orchestrator)));
        calls[20] = Call(t, abi.encodeCall(broker.releaseReserve, (orchestrator, 0)));
        calls[21] = Call(t, abi.encodeCall(broker.withdrawReleasedReserve, (orchestrator)));
        calls[22] = Call(t, abi.encodeCall(broker.redeemWinningTicket, (ticket, sigs[0], RAND)));
        calls[23] = Call(t, abi.encodeCall(broker.batchRedeemWinningTickets, (tickets, sigs, rands)));
        calls[24] = Call(
            t,
            abi.encodeCall(broker.redeemOrderedTickets, (orchestrator, new OrderedGroup[](0), new OrderedTicket[](0)))
        );
        calls[25] = Call(address(rounds), abi.encodeCall(rounds.initializeRound, ()));
        calls[26] = Call(address(slashing), abi.encodeCall(slashing.resolve, (1)));
        calls[27] = Call(address(slashing), abi.encodeCall(slashing.expire, (1)));
        calls[28] = _challengeCall();
    }

    function _challengeCall() private view returns (Call memory) {
        (Receipt memory a, Receipt memory b) = (_receipt("a"), _receipt("b"));
        bytes memory sig = _signReceipt(a);
        return Call(
            address(slashing), abi.encodeCall(slashing.challenge, (address(equivocation), a, sig, _evidence(b), SALT))
        );
    }

    /// @dev Calls of roles, and the one address that holds the role.
    function _trustedCalls() private view returns (Call[] memory calls, address[] memory roles) {
        (calls, roles) = (new Call[](26), new address[](26));
        _peerCalls(calls, roles);
        _ownerCalls(calls, roles);
    }

    function _peerCalls(Call[] memory calls, address[] memory roles) private view {
        (address b, address t, address m) = (address(bonding), address(broker), address(minter));
        calls[0] = Call(b, abi.encodeCall(bonding.updateTranscoderWithFees, (orchestrator, 1, 1)));
        calls[1] = Call(b, abi.encodeCall(bonding.setCurrentRoundTotalActiveStake, ()));
        calls[2] = Call(b, abi.encodeCall(bonding.slashTranscoder, (orchestrator, stranger, 1, 0)));
        calls[3] = Call(t, abi.encodeCall(broker.withdrawFees, (payable(stranger), 0)));
        calls[4] = Call(m, abi.encodeCall(minter.createReward, (1, 1)));
        calls[5] = Call(m, abi.encodeCall(minter.trustedTransferTokens, (stranger, 1)));
        calls[6] = Call(m, abi.encodeCall(minter.trustedBurnTokens, (1)));
        calls[7] = Call(m, abi.encodeCall(minter.setCurrentRewardTokens, ()));
        calls[8] = Call(address(token), abi.encodeCall(token.mint, (stranger, 1)));
        calls[9] = Call(
            address(equivocation),
            abi.encodeCall(equivocation.open, (1, stranger, 0, _receipt("a"), bytes32(0), _evidence(_receipt("b"))))
        );
        (roles[0], roles[1], roles[2], roles[3]) = (t, address(rounds), address(slashing), b);
        (roles[4], roles[5], roles[6], roles[7]) = (b, b, b, address(rounds));
        (roles[8], roles[9]) = (m, address(slashing));
    }

    function _ownerCalls(Call[] memory calls, address[] memory roles) private view {
        (address b, address t, address m) = (address(bonding), address(broker), address(minter));
        (address r, address c) = (address(rounds), address(controller));
        calls[10] = Call(b, abi.encodeCall(bonding.setUnbondingPeriod, (50)));
        calls[11] = Call(b, abi.encodeCall(bonding.setChallengeWindow, (1)));
        calls[12] = Call(b, abi.encodeCall(bonding.setNoticePeriod, (1)));
        calls[13] = Call(b, abi.encodeCall(bonding.setSlashCooldown, (1)));
        calls[14] = Call(b, abi.encodeCall(bonding.setNumActiveTranscoders, (1)));
        calls[15] = Call(b, abi.encodeCall(bonding.setMinimumStake, (1)));
        calls[16] = Call(t, abi.encodeCall(broker.setUnlockPeriod, (9)));
        calls[17] = Call(t, abi.encodeCall(broker.setTicketValidityPeriod, (1)));
        calls[18] = Call(m, abi.encodeCall(minter.setInflationChange, (1)));
        calls[19] = Call(m, abi.encodeCall(minter.setTargetBondingRate, (1)));
        calls[20] = Call(r, abi.encodeCall(rounds.setRoundLength, (1)));
        calls[21] = Call(r, abi.encodeCall(rounds.setRoundLockAmount, (1)));
        calls[22] = Call(c, abi.encodeCall(controller.setContractInfo, (keccak256("Verifier"), stranger, bytes20(0))));
        calls[23] = Call(c, abi.encodeCall(controller.pause, ()));
        calls[24] =
            Call(address(slashing), abi.encodeCall(slashing.setTerms, (SERVICE, stranger, _equivocationTerms())));
        calls[25] = Call(address(registry), abi.encodeCall(registry.retireService, (SERVICE)));
        for (uint256 i = 10; i < 26; ++i) {
            roles[i] = owner;
        }
    }

    // --- helpers ---

    function _unpause() private {
        vm.prank(owner);
        controller.unpause();
    }

    function _unlockEverything() private {
        vm.startPrank(sender);
        broker.unlock();
        broker.releaseReserve(orchestrator, 1 ether);
        vm.stopPrank();
        _nextRounds(7);
    }

    function _assertUnlockedLeave() private {
        uint256 ether_ = sender.balance;
        uint256 stake = token.balanceOf(delegator);
        vm.startPrank(sender);
        broker.withdraw();
        broker.withdrawReleasedReserve(orchestrator);
        vm.stopPrank();
        vm.prank(delegator);
        bonding.withdrawStake(0);
        vm.assertEq(sender.balance, ether_ + 21 ether);
        vm.assertEq(token.balanceOf(delegator), stake + 100 ether);
    }

    /// @dev What each account decides itself.
    function _accounts() private view returns (bytes32 digest) {
        address[3] memory accounts = [orchestrator, delegator, sender];
        for (uint256 i = 0; i < accounts.length; ++i) {
            address a = accounts[i];
            (uint256 bonded,, address delegate,, uint256 start, uint256 claimed, uint256 next) = bonding.getDelegator(a);
            digest = keccak256(abi.encode(digest, bonded, delegate, start, claimed, next));
            (uint256 amount, uint256 withdrawRound) = bonding.getDelegatorUnbondingLock(a, 0);
            digest = keccak256(abi.encode(digest, amount, withdrawRound, bonding.isRegisteredTranscoder(a)));
            (ITicketBroker.Sender memory info,) = broker.getSenderInfo(a);
            digest = keccak256(abi.encode(digest, info.withdrawRound, token.balanceOf(a), broker.redeemerOf(a)));
        }
        ITicketBroker.CommittedReserve memory held = broker.getCommittedReserve(sender, orchestrator);
        digest = keccak256(abi.encode(digest, held, bonding.transcoderToRewardCaller(orchestrator)));
    }

    /// @dev Every balance that a call could move.
    function _values() private view returns (bytes32 digest) {
        address[9] memory holders = [
            sender,
            delegator,
            orchestrator,
            stranger,
            address(minter),
            address(broker),
            address(bonding),
            address(slashing),
            address(committee)
        ];
        for (uint256 i = 0; i < holders.length; ++i) {
            digest = keccak256(abi.encode(digest, holders[i].balance, token.balanceOf(holders[i])));
        }
        digest = keccak256(abi.encode(digest, token.totalSupply(), broker.unclaimedFees()));
        digest =
            keccak256(abi.encode(digest, bonding.pendingStake(orchestrator, 0), bonding.pendingFees(orchestrator, 0)));
        (ITicketBroker.Sender memory info, ITicketBroker.ReserveInfo memory reserve) = broker.getSenderInfo(sender);
        digest = keccak256(abi.encode(digest, info, reserve, broker.getCommittedReserve(sender, orchestrator)));
    }
}
