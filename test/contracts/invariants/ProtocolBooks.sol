// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {EquivocationVerifier} from "../../../contracts/verifiers/EquivocationVerifier.sol";
import {SlashingManager} from "../../../contracts/SlashingManager.sol";
import {ISlashingManager} from "../../../contracts/interfaces/ISlashingManager.sol";
import {ITicketBroker} from "../../../contracts/interfaces/ITicketBroker.sol";
import {Deploy} from "../../../script/Deploy.s.sol";
import {StreamflowTest} from "../StreamflowTest.sol";
import {ProtocolHandler} from "./ProtocolHandler.sol";
import {System} from "./ProtocolLedger.sol";

/// @notice A running system with a handler, and for each numbered rule about state what the contracts must say after any
/// sequence of calls. What a single call must do is checked by the handler, which writes down what it finds broken.
abstract contract ProtocolBooks is StreamflowTest {
    uint256 private constant _STAKERS = 6;

    ProtocolHandler internal _handler;
    SlashingManager private _slashing;

    function setUp() public virtual override {
        super.setUp();
        _slashing = SlashingManager(controller.getContract(keccak256("Verifier")));
        EquivocationVerifier verifier = new EquivocationVerifier(_slashing);
        _judges("transcoding/h264", address(verifier), 200_000);
        _judges("whole", address(verifier), 1_000_000);
        System memory system = System({
            controller: controller,
            token: token,
            minter: minter,
            rounds: rounds,
            bonding: bonding,
            broker: broker,
            slashing: _slashing,
            verifier: address(verifier),
            owner: owner,
            roundLength: ROUND_LENGTH
        });
        _handler = new ProtocolHandler(system, _STAKERS);
        vm.prank(owner);
        token.transfer(address(_handler), 5_000_000 ether);
        _start();
    }

    function _params(Deploy.Params memory p) internal view override returns (Deploy.Params memory) {
        p = super._params(p);
        // Fewer seats than candidates.
        p.numActiveTranscoders = 4;
        (p.unbondingPeriod, p.challengeWindow, p.noticePeriod, p.slashCooldown) = (3, 3, 3, 3);
        p.slashing = 1;
        return p;
    }

    function _judges(bytes32 service, address verifier, uint32 slashPpm) private {
        address[] memory verifiers = new address[](1);
        verifiers[0] = verifier;
        ISlashingManager.Terms memory terms = ISlashingManager.Terms({
            slashPpm: slashPpm, bountyPpm: 100_000, challengeWindow: 2, verdictWindow: 0, bond: 10 ether, fee: 0
        });
        vm.startPrank(owner);
        registry.registerService(service, verifiers, "");
        _slashing.setTerms(service, verifier, terms);
        vm.stopPrank();
    }

    /// @dev A running start: active orchestrators, delegators, funded senders.
    function _start() private {
        for (uint256 i = 0; i < _STAKERS; ++i) {
            // Three orchestrators, one below the minimum, and two delegators, by the bit that the handler reads.
            uint256 seed = i < 4 ? i : (1 << 8) + i - 4;
            _handler.bond(seed, i % 3, i == 3 ? 0.5 ether : 20 ether + i + 2);
            _handler.transcoder(i, 111_111 * i, 900_000 - 77_777 * i);
        }
        for (uint256 i = 0; i < _handler.senderCount(); ++i) {
            _handler.fund(i, 7 ether, 6 ether, false);
            _handler.commit(i, 0, 3 ether);
        }
        _handler.nextRound(1);
    }

    // --- by number ---

    /// 1: every wei of the vault has an owner; fees owed never exceed fees held, nor fall short but for stake that left.
    function _assert01() internal view {
        uint256 owed = broker.unclaimedFees();
        for (uint256 i = 0; i < _handler.senderCount(); ++i) {
            owed += _handler.fundsOf(_handler.sender(i));
        }
        vm.assertEq(address(broker).balance, owed, "01: balance = deposits + reserves + commitments + fees");
        uint256 fees = _handler.allFees();
        vm.assertLe(fees, broker.unclaimedFees(), "01: fees owed <= fees held");
        vm.assertLe(broker.unclaimedFees(), fees + _handler.feeAllowance(), "01: fees held <= fees owed and dust");
    }

    /// 2: staked LPT = all delegated stake + open locks; a slash leaves dust of locks, never less.
    function _assert02() internal view {
        uint256 owed = 0;
        uint256 locks = 0;
        for (uint256 i = 0; i < _handler.stakerCount(); ++i) {
            address account = _handler.staker(i);
            owed += bonding.transcoderTotalStake(account) + _handler.locksOf(account);
            locks += _handler.locksOpened(account);
        }
        uint256 held = token.balanceOf(address(minter));
        vm.assertLe(owed, held, "02: stake and locks <= LPT held");
        // An unslashed lock is its amount; one that was slashed rounds down once per slash.
        vm.assertLe(held - owed, 2 * locks * _handler.allSlashes(), "02: LPT held is stake and locks");
    }

    /// 3: delegators cannot claim more than their delegate holds, nor less but for stake that left before a reward.
    function _assert03() internal view {
        uint256 n = _handler.stakerCount();
        for (uint256 i = 0; i < n; ++i) {
            address o = _handler.staker(i);
            (,,,,,,, uint256 claimable,,) = bonding.getTranscoder(o);
            (,, address own,,,,) = bonding.getDelegator(o);
            // What waits for one that resigned; else it is part of its pending stake.
            if (own == o) claimable = 0;
            for (uint256 j = 0; j < n; ++j) {
                (,, address delegate,,,,) = bonding.getDelegator(_handler.staker(j));
                if (delegate == o) claimable += bonding.pendingStake(_handler.staker(j), 0);
            }
            uint256 total = bonding.transcoderTotalStake(o);
            vm.assertLe(claimable, total, "03: claimable <= delegated");
            uint256 dust = _handler.stakeAllowance(o) + n * _handler.calls();
            vm.assertLe(total, claimable + dust, "03: delegated <= claimable and dust");
        }
    }

    /// 4: nothing but the broker holds ETH; nothing but the Minter holds LPT, bonds of open challenges apart.
    function _assert04() internal view {
        address[7] memory all = [
            address(controller),
            address(token),
            address(minter),
            address(rounds),
            address(bonding),
            address(registry),
            address(_slashing)
        ];
        for (uint256 i = 0; i < all.length; ++i) {
            vm.assertEq(all[i].balance, 0, "04: no ETH outside the broker");
            uint256 bonds = all[i] == address(_slashing) ? _slashing.totalBonds() : 0;
            if (all[i] != address(minter)) {
                vm.assertEq(token.balanceOf(all[i]), bonds, "04: no LPT outside the Minter");
            }
        }
        vm.assertEq(token.balanceOf(address(broker)), 0, "04: no LPT in the broker");
    }

    /// 6: what a sender put in is what it has, what it paid and what it took out.
    function _assert06() internal view {
        for (uint256 i = 0; i < _handler.senderCount(); ++i) {
            address a = _handler.sender(i);
            vm.assertEq(
                _handler.funded(a),
                _handler.fundsOf(a) + _handler.paid(a) + _handler.withdrawn(a),
                "06: a sender pays its own tickets only"
            );
        }
    }

    /// 7: a ticket pays at most once, and what came aside lies there until it is paid.
    function _assert07() internal view {
        for (uint256 i = 0; i < _handler.paidTicketCount(); ++i) {
            bytes32 ticketHash = _handler.paidTickets(i);
            vm.assertEq(_handler.payments(ticketHash), 1, "07: a ticket pays once");
            vm.assertFalse(broker.isSetAside(ticketHash), "07: nothing paid lies aside");
        }
        for (uint256 i = 0; i < _handler.setAsideTicketCount(); ++i) {
            bytes32 ticketHash = _handler.setAsideTickets(i);
            bool isPaid = _handler.payments(ticketHash) == 1;
            vm.assertTrue(broker.isSetAside(ticketHash) != isPaid, "07: aside until paid");
            vm.assertTrue(broker.usedTickets(ticketHash) == isPaid, "07: used from then on");
        }
    }

    /// 8: the sum of what all tickets paid is what was ever booked as fees.
    function _assert08() internal view {
        uint256 booked = broker.unclaimedFees();
        for (uint256 i = 0; i < _handler.stakerCount(); ++i) {
            booked += _handler.staker(i).balance;
        }
        uint256 paid = 0;
        for (uint256 i = 0; i < _handler.senderCount(); ++i) {
            paid += _handler.paid(_handler.sender(i));
        }
        vm.assertEq(paid, booked, "08: fees are the face values paid");
    }

    /// 12: an unlock is where its sender put it.
    function _assert12() internal view {
        for (uint256 i = 0; i < _handler.senderCount(); ++i) {
            address a = _handler.sender(i);
            (ITicketBroker.Sender memory info,) = broker.getSenderInfo(a);
            vm.assertEq(info.withdrawRound, _handler.unlockRound(a), "12: only the sender moves its unlock");
        }
    }

    /// 13: claims of a reserve add up, and none exceeds the share of what the round began with and what was added.
    function _assert13() internal view {
        uint256 size = bonding.currentRoundPoolSize();
        for (uint256 i = 0; i < _handler.senderCount(); ++i) {
            address a = _handler.sender(i);
            ITicketBroker.ReserveInfo memory info = broker.getReserveInfo(a);
            vm.assertEq(
                info.fundsRemaining + info.claimedInCurrentRound, _handler.reserveBase(a), "13: reserve of the round"
            );
            uint256 claimed = 0;
            for (uint256 j = 0; j < _handler.stakerCount(); ++j) {
                uint256 ofOne = broker.claimedReserve(a, _handler.staker(j));
                if (ofOne > 0) vm.assertLe(ofOne, _handler.reserveBase(a) / size, "13: share of the reserve");
                claimed += ofOne;
                broker.claimableReserve(a, _handler.staker(j));
            }
            vm.assertEq(claimed, info.claimedInCurrentRound, "13: claims add up");
        }
    }

    /// 19: unclaimed commission is part of the stake, and that of the round's start part of the round's.
    function _assert19() internal view {
        uint256 round = rounds.currentRound();
        for (uint256 i = 0; i < _handler.stakerCount(); ++i) {
            address o = _handler.staker(i);
            (uint256 lastReward,,,,,, uint256 activeRewards, uint256 rewards,,) = bonding.getTranscoder(o);
            vm.assertLe(rewards, bonding.transcoderTotalStake(o), "19: commission <= stake");
            if (lastReward != round) continue;
            vm.assertLe(activeRewards, _handler.stakeOfRound(o), "19: commission <= stake of the round");
        }
    }

    /// 21: stake of the set is the sum over its members, of this round and of the next; a slash in mid-round changes neither the
    /// divisor of reserves nor the sum that rewards are shared by.
    function _assert21() internal view {
        uint256 round = rounds.currentRound();
        uint256 seats = _handler.slashedSeats(round);
        uint256 stake = _handler.slashedStake(round);
        uint256 next = 0;
        for (uint256 i = 0; i < _handler.stakerCount(); ++i) {
            address o = _handler.staker(i);
            if (_handler.isMember(o)) next += bonding.transcoderTotalStake(o);
            if (!bonding.isActiveTranscoder(o)) continue;
            ++seats;
            stake += _handler.stakeOfRound(o);
        }
        vm.assertEq(seats, bonding.currentRoundPoolSize(), "21: divisor of reserves");
        vm.assertEq(stake, bonding.currentRoundTotalActiveStake(), "21: stake of the round");
        vm.assertEq(next, bonding.nextRoundTotalActiveStake(), "21: stake of the next round");
    }

    /// 22: no more is minted than the round allows, and what was minted is what rewards were.
    function _assert22() internal view {
        vm.assertLe(minter.currentMintedTokens(), minter.currentMintableTokens(), "22: minted <= mintable");
        vm.assertEq(minter.currentMintedTokens(), _handler.mintedInRound(), "22: minted = rewards");
    }

    /// 23: the walk through the set visits each member once and nobody else.
    function _assert23() internal view {
        uint256 size = bonding.getTranscoderPoolSize();
        address[] memory seen = new address[](size);
        address member = bonding.getFirstTranscoderInPool();
        for (uint256 i = 0; i < size; ++i) {
            vm.assertTrue(member != address(0) && _handler.isMember(member), "23: a link to nowhere");
            for (uint256 j = 0; j < i; ++j) {
                vm.assertTrue(seen[j] != member, "23: a member twice");
            }
            seen[i] = member;
            member = bonding.getNextTranscoderInPool(member);
        }
        vm.assertEq(member, address(0), "23: the walk ends with the set");
    }

    /// 24: who is in the set has no end, is registered and has a seat; who is active is within its time.
    function _assert24() internal view {
        uint256 round = rounds.currentRound();
        uint256 members = 0;
        for (uint256 i = 0; i < _handler.stakerCount(); ++i) {
            address o = _handler.staker(i);
            (,,,, uint256 from, uint256 to,,,,) = bonding.getTranscoder(o);
            vm.assertTrue(bonding.isActiveTranscoder(o) == (from <= round && round < to), "24: active within its time");
            if (!_handler.isMember(o)) continue;
            ++members;
            vm.assertTrue(bonding.isRegisteredTranscoder(o), "24: a member is registered");
            vm.assertGe(bonding.transcoderTotalStake(o), bonding.minimumStake(), "24: a member has the stake");
        }
        vm.assertEq(members, bonding.getTranscoderPoolSize(), "24: members are those in the list");
        vm.assertLe(members, bonding.getTranscoderPoolMaxSize(), "24: seats");
    }

    /// 26: what an account has, locked and took out is what it brought, earned and lost; a lock may round down by a wei.
    function _assert26() internal view {
        for (uint256 i = 0; i < _handler.stakerCount(); ++i) {
            address a = _handler.staker(i);
            uint256 has = _handler.stakeOf(a) + _handler.locksOf(a) + _handler.returned(a) + _handler.lost(a);
            uint256 brought = _handler.deposited(a) + _handler.earned(a);
            vm.assertLe(has, brought, "26: stake from nowhere");
            vm.assertLe(brought, has + _handler.locksOpened(a), "26: stake to nowhere");
        }
    }

    /// 27: a lock is open until it was paid or returned, and never again.
    function _assert27() internal view {
        for (uint256 i = 0; i < _handler.stakerCount(); ++i) {
            address a = _handler.staker(i);
            (,,,,,, uint256 nextId) = bonding.getDelegator(a);
            vm.assertEq(nextId, _handler.locksOpened(a), "27: ids are counted");
            for (uint256 id = 0; id <= nextId; ++id) {
                bool isOpen = id < nextId && !_handler.isClosed(a, id);
                vm.assertTrue(bonding.isValidUnbondingLock(a, id) == isOpen, "27: open until paid or returned");
            }
        }
    }

    /// 28: a slashed orchestrator is out at once and stays out for the cooldown, whoever bonds to it.
    function _assert28() internal view {
        uint256 round = rounds.currentRound();
        for (uint256 i = 0; i < _handler.stakerCount(); ++i) {
            address o = _handler.staker(i);
            (uint256 slashRound, bool jailed) = bonding.getSlashState(o);
            vm.assertEq(slashRound, _handler.slashedAt(o), "28: round of the slash");
            if (_handler.slashes(o) > 0 && round < slashRound + bonding.slashCooldown()) {
                vm.assertTrue(jailed, "28: back before the cooldown");
            }
            if (!jailed) continue;
            vm.assertFalse(_handler.isMember(o), "28: slashed and in the set");
            vm.assertFalse(bonding.isActiveTranscoder(o), "28: slashed and active");
        }
    }
}
