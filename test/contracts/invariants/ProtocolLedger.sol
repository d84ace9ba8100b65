// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {BondingManager} from "../../../contracts/BondingManager.sol";
import {Controller} from "../../../contracts/Controller.sol";
import {LivepeerToken} from "../../../contracts/LivepeerToken.sol";
import {Minter} from "../../../contracts/Minter.sol";
import {RoundsManager} from "../../../contracts/RoundsManager.sol";
import {SlashingManager} from "../../../contracts/SlashingManager.sol";
import {TicketBroker} from "../../../contracts/TicketBroker.sol";
import {ITicketBroker} from "../../../contracts/interfaces/ITicketBroker.sol";
import {Vm} from "../Vm.sol";

/// @notice The deployed system that a campaign drives.
struct System {
    Controller controller;
    LivepeerToken token;
    Minter minter;
    RoundsManager rounds;
    BondingManager bonding;
    TicketBroker broker;
    SlashingManager slashing;
    /// Judges the service that receipts name.
    address verifier;
    address owner;
    uint256 roundLength;
}

/// @notice What the campaign knows by itself of every account, to be held against what the contracts say.
/// @dev A rule that an action finds broken is written down under its number; the invariant of that number fails on it. So
/// actions do not revert, and each failure names its rule.
abstract contract ProtocolLedger {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    bytes32 internal constant SERVICE = "transcoding/h264";
    uint256 internal constant MAX_STAKERS = 10;
    uint256 internal constant SENDERS = 3;
    uint256 internal constant RECIPIENTS = 3;
    uint256 internal constant MAX_LOCKS = 16;

    System internal _sys;
    address[] private _stakers;
    uint256[] private _senderKeys;

    /// @notice What was found broken first, by the number of the rule; number 0: the model of a call.
    mapping(uint256 number => string) public broken;
    /// @notice How often each action did something, and how many calls there were.
    mapping(bytes32 action => uint256) public done;
    uint256 public calls;

    // --- ether, wei ---

    /// @notice Put into a sender's funds, paid out of them, and withdrawn.
    mapping(address sender => uint256) public funded;
    mapping(address sender => uint256) public paid;
    mapping(address sender => uint256) public withdrawn;
    /// @notice Round from which a sender's funds must be unlocked; zero: locked.
    mapping(address sender => uint256) public unlockRound;
    /// @notice A reserve at the start of the round, and what was added since.
    mapping(address sender => uint256) public reserveBase;
    /// @notice How often a ticket paid.
    mapping(bytes32 ticketHash => uint256) public payments;
    /// @notice Every ticket that was paid, and every one that came aside.
    bytes32[] public paidTickets;
    bytes32[] public setAsideTickets;
    /// @notice Highest mark seen of each pair.
    mapping(address recipient => mapping(address sender => uint256)) public marks;
    /// @notice Fees that belong to stake that left earlier in the round, and rounding: what may be held and owed to nobody.
    uint256 public feeAllowance;

    // --- stake, LPT wei ---

    /// @notice Brought by an account and taken out again; gained by rewards and lost by slashes, as seen when they happened.
    mapping(address account => uint256) public deposited;
    mapping(address account => uint256) public returned;
    mapping(address account => uint256) public earned;
    mapping(address account => uint256) public lost;
    /// @notice Whether a lock was withdrawn or returned to stake.
    mapping(address account => mapping(uint256 id => bool)) public isClosed;
    mapping(address account => mapping(uint256 id => address)) internal _lockDelegate;
    mapping(address account => mapping(uint256 id => uint256)) internal _lockRound;
    mapping(address account => uint256) public locksOpened;
    /// @notice Stake that left an orchestrator in a round.
    mapping(address orchestrator => mapping(uint256 round => uint256)) public left;
    /// @notice Rewards of stake that left earlier in the round, and rounding: what an orchestrator may hold for nobody.
    mapping(address orchestrator => uint256) public stakeAllowance;
    /// @notice Minted since the round began.
    uint256 public mintedInRound;

    // --- slashes ---

    /// @notice Latest round of a slash, number of slashes, and whether all was lost in one.
    mapping(address orchestrator => uint256) public slashedAt;
    mapping(address orchestrator => uint256) public slashes;
    mapping(address orchestrator => bool) public isRuined;
    uint256 public allSlashes;
    /// @notice Active orchestrators that a slash took out of the running round, and their stake at its start.
    mapping(uint256 round => uint256) public slashedSeats;
    mapping(uint256 round => uint256) public slashedStake;

    // --- factors and rounds ---

    mapping(address orchestrator => uint256) private _rewardRoundSeen;
    mapping(address orchestrator => uint256) private _rewardFactorSeen;
    mapping(address orchestrator => uint256) internal _rewardFactorFloor;
    mapping(address orchestrator => uint256) private _feeFactorSeen;
    mapping(uint256 round => bytes32) private _hashSeen;
    uint256 private _roundSeen;

    constructor(System memory system, uint256 stakers) {
        _sys = system;
        for (uint256 i = 0; i < stakers; ++i) {
            _addStaker();
        }
        // Ascending, as an ordered batch wants them.
        for (uint256 i = 0; i < SENDERS; ++i) {
            _senderKeys.push(2000 + i);
            for (uint256 j = i; j > 0 && vm.addr(_senderKeys[j]) < vm.addr(_senderKeys[j - 1]); --j) {
                (_senderKeys[j], _senderKeys[j - 1]) = (_senderKeys[j - 1], _senderKeys[j]);
            }
        }
    }

    /// @dev An action of `account`: whatever it does, nobody else's delegation, locks or unlock may change by it.
    modifier by(address account) {
        bytes32 others = _othersOf(account);
        _;
        _hold(25, others == _othersOf(account), "an account was changed by another");
        _observe();
    }

    // --- accounts ---

    function stakerCount() public view returns (uint256) {
        return _stakers.length;
    }

    function senderCount() public pure returns (uint256) {
        return SENDERS;
    }

    function recipientCount() public pure returns (uint256) {
        return RECIPIENTS;
    }

    function paidTicketCount() external view returns (uint256) {
        return paidTickets.length;
    }

    function setAsideTicketCount() external view returns (uint256) {
        return setAsideTickets.length;
    }

    function staker(uint256 seed) public view returns (address) {
        return _stakers[seed % _stakers.length];
    }

    function sender(uint256 seed) public view returns (address) {
        return vm.addr(_senderKey(seed));
    }

    /// @notice Few accounts earn tickets, so that marks and shares meet often.
    function recipient(uint256 seed) public view returns (address) {
        return _stakers[seed % RECIPIENTS];
    }

    // --- what the contracts say ---

    /// @notice Deposit, reserve and all commitments.
    function fundsOf(address account) public view returns (uint256 sum) {
        (ITicketBroker.Sender memory info, ITicketBroker.ReserveInfo memory reserve) =
            _sys.broker.getSenderInfo(account);
        sum = info.deposit + reserve.fundsRemaining;
        for (uint256 i = 0; i < RECIPIENTS; ++i) {
            sum += _sys.broker.getCommittedReserve(account, recipient(i)).funds;
        }
    }

    /// @notice Stake, and commission that waits for an orchestrator that resigned.
    function stakeOf(address account) public view returns (uint256 stake) {
        stake = _sys.bonding.pendingStake(account, 0);
        if (_delegateOf(account) == account) return stake;
        (,,,,,,, uint256 commission,,) = _sys.bonding.getTranscoder(account);
        stake += commission;
    }

    /// @notice Fees, and commission that waits for an orchestrator that resigned.
    function feesOf(address account) public view returns (uint256 fees) {
        fees = _sys.bonding.pendingFees(account, 0);
        if (_delegateOf(account) == account) return fees;
        (,,,,,,,, uint256 commission,) = _sys.bonding.getTranscoder(account);
        fees += commission;
    }

    function allFees() public view returns (uint256 sum) {
        for (uint256 i = 0; i < stakerCount(); ++i) {
            sum += feesOf(staker(i));
        }
    }

    function locksOf(address account) public view returns (uint256 sum) {
        for (uint256 id = 0; id < locksOpened[account]; ++id) {
            sum += _lockValue(account, id);
        }
    }

    function isMember(address account) public view returns (bool) {
        (,,,,, uint256 deactivationRound,,,,) = _sys.bonding.getTranscoder(account);
        return deactivationRound == type(uint256).max;
    }

    /// @notice Stake of an orchestrator when the running round began.
    function stakeOfRound(address account) public view returns (uint256 stake) {
        (stake,,,,) = _sys.bonding.getTranscoderEarningsPoolForRound(account, _round());
    }

    // --- for actions ---

    function _addStaker() internal returns (address account) {
        account = vm.addr(_stakerKey(_stakers.length));
        _stakers.push(account);
    }

    /// @dev One call of `account`; a refusal is an outcome, not a failure.
    function _call(address account, address target, bytes memory data) internal returns (bool ok) {
        vm.prank(account);
        (ok,) = target.call(data);
    }

    function _hold(uint256 number, bool ok, string memory rule) internal {
        if (!ok && bytes(broken[number]).length == 0) broken[number] = rule;
    }

    function _count(bytes32 action) internal {
        ++done[action];
    }

    function _round() internal view returns (uint256) {
        return _sys.rounds.currentRound();
    }

    function _delegateOf(address account) internal view returns (address delegate) {
        (,, delegate,,,,) = _sys.bonding.getDelegator(account);
    }

    function _lockValue(address account, uint256 id) internal view returns (uint256 amount) {
        (amount,) = _sys.bonding.getDelegatorUnbondingLock(account, id);
    }

    function _slashingIsOn() internal view returns (bool) {
        return _sys.controller.getContract(keccak256("Verifier")) != address(0);
    }

    /// @dev At most so much of an orchestrator's stake of the round has no owner any more.
    function _unowned(address o) internal view returns (uint256) {
        return left[o][_round()] + stakeAllowance[o];
    }

    function _isUnlocked(address account) internal view returns (bool) {
        return unlockRound[account] > 0 && _round() >= unlockRound[account];
    }

    function _stakerKey(uint256 index) internal pure returns (uint256) {
        return 1000 + index;
    }

    function _senderKey(uint256 seed) internal view returns (uint256) {
        return _senderKeys[seed % SENDERS];
    }

    /// @dev Now and then a single wei, else anything below `bound`.
    function _odd(uint256 x, uint256 bound) internal pure returns (uint256) {
        return x % 7 == 0 ? 1 : x % bound;
    }

    // --- what is looked at after every action ---

    function _observe() internal {
        ++calls;
        _observeFactors();
        _observeRounds();
    }

    /// @dev Factors only grow; a slash lowers the floor under the next reward factor by exactly its part.
    function _observeFactors() private {
        for (uint256 i = 0; i < stakerCount(); ++i) {
            address o = staker(i);
            (uint256 rewardRound,,,,,,,,, uint256 feeRound) = _sys.bonding.getTranscoder(o);
            (,,, uint256 rewardFactor,) = _sys.bonding.getTranscoderEarningsPoolForRound(o, rewardRound);
            (,,,, uint256 feeFactor) = _sys.bonding.getTranscoderEarningsPoolForRound(o, feeRound);
            _hold(15, feeFactor >= _feeFactorSeen[o], "a fee factor fell");
            _feeFactorSeen[o] = feeFactor;
            if (rewardRound == _rewardRoundSeen[o]) {
                _hold(15, rewardFactor == _rewardFactorSeen[o], "a reward factor of the past changed");
                continue;
            }
            _hold(15, rewardFactor >= _rewardFactorFloor[o], "a reward factor fell by more than its slashes");
            _hold(15, slashes[o] > 0 || rewardFactor >= 1e27, "a reward factor is below one");
            (_rewardRoundSeen[o], _rewardFactorSeen[o], _rewardFactorFloor[o]) =
            (rewardRound, rewardFactor, rewardFactor);
        }
    }

    function _observeRounds() private {
        (uint256 round, bool initialized) = _sys.rounds.currentRoundState();
        _hold(20, round >= _roundSeen, "the round fell");
        _roundSeen = round;
        _hold(20, initialized == (_sys.rounds.blockHashForRound(round) != 0), "a begun round has no hash");
        _hold(20, _sys.rounds.blockHashForRound(round + 1) == 0, "a round to come has a hash");
        for (uint256 r = round < 3 ? 1 : round - 2; r <= round; ++r) {
            bytes32 blockHash = _sys.rounds.blockHashForRound(r);
            _hold(20, _hashSeen[r] == 0 || _hashSeen[r] == blockHash, "a hash changed");
            _hashSeen[r] = blockHash;
        }
    }

    function _othersOf(address account) internal view returns (bytes32 digest) {
        for (uint256 i = 0; i < stakerCount(); ++i) {
            if (staker(i) != account) digest = keccak256(abi.encode(digest, _delegation(staker(i))));
        }
        for (uint256 i = 0; i < SENDERS; ++i) {
            if (sender(i) == account) continue;
            (ITicketBroker.Sender memory info,) = _sys.broker.getSenderInfo(sender(i));
            digest = keccak256(abi.encode(digest, info.withdrawRound));
            for (uint256 j = 0; j < RECIPIENTS; ++j) {
                ITicketBroker.CommittedReserve memory held = _sys.broker.getCommittedReserve(sender(i), recipient(j));
                // A ticket paid by the commitment may leave less to release; when, is the sender's alone.
                digest = keccak256(abi.encode(digest, held.releaseRound));
            }
        }
    }

    /// @dev All that an account decides about its stake: delegate, status, claims and locks, without what others delegate to it.
    function _delegation(address account) private view returns (bytes32 digest) {
        (uint256 bonded, uint256 fees, address delegate,, uint256 start, uint256 claimed, uint256 nextId) =
            _sys.bonding.getDelegator(account);
        digest = keccak256(abi.encode(bonded, fees, delegate, start, claimed, nextId));
        for (uint256 id = 0; id < nextId; ++id) {
            (, uint256 withdrawRound) = _sys.bonding.getDelegatorUnbondingLock(account, id);
            digest = keccak256(abi.encode(digest, withdrawRound));
        }
    }
}
