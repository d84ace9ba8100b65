// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Receipt} from "../../../contracts/types/Receipt.sol";
import {StakeActions} from "./StakeActions.sol";

/// @notice Time passes, orchestrators are challenged and slashed, join in the middle of a round, and the owner pauses.
abstract contract ChainActions is StakeActions {
    uint256 private constant _WHOLE = 1_000_000;
    bytes32 private constant _SALT = "salt";

    uint256 private _jobs;

    /// @dev What a challenge is held against.
    struct Before {
        uint256[] stakes;
        uint256[] locks;
        /// Of LPT; then what the Minter and this contract hold.
        uint256 supply;
        uint256 vault;
        uint256 purse;
        uint256 seatStake;
        bool isActive;
    }

    function passBlocks(uint256 n) external by(address(this)) {
        uint256 end = _sys.rounds.currentRoundStartBlock() + _sys.roundLength - 1;
        uint256 target = block.number + n % 10;
        vm.roll(target < end ? target : end);
    }

    function nextRound(uint256 seed) external by(address(this)) {
        uint256 skipped = seed % 8 == 0 ? 2 : 0;
        uint256 inflation = _sys.minter.inflation();
        vm.roll(_sys.rounds.currentRoundStartBlock() + (skipped + 1) * _sys.roundLength);
        bytes memory call = abi.encodeCall(_sys.rounds.initializeRound, ());
        _hold(20, _call(staker(seed), address(_sys.rounds), call), "a round cannot begin");
        _hold(20, !_call(staker(seed), address(_sys.rounds), call), "a round began twice");
        _checkInflation(inflation);
        mintedInRound = 0;
        for (uint256 i = 0; i < SENDERS; ++i) {
            reserveBase[sender(i)] = _sys.broker.getReserveInfo(sender(i)).fundsRemaining;
        }
        _count("nextRound");
    }

    /// @notice One more seat and one more orchestrator in mid-round.
    function join(uint256) external {
        if (stakerCount() == MAX_STAKERS || _sys.token.balanceOf(address(this)) < 1 ether) return;
        _join(_addStaker());
    }

    /// @notice The owner lets contracts slash, or not. Without it no challenge convicts.
    function setSlashing(uint256 seed) external by(address(this)) {
        if (seed % 3 == 0) return;
        address verifier = _slashingIsOn() ? address(0) : address(_sys.slashing);
        vm.prank(_sys.owner);
        _sys.controller.setContractInfo(keccak256("Verifier"), verifier, bytes20(0));
        _count("setSlashing");
    }

    /// @notice A challenge by an outsider, decided at once: guilty if the orchestrator signed two results for one job.
    function challenge(uint256 seed, uint256 dice) external {
        address o = _accused(seed);
        // Announcing takes a block, and the receipts name the present round.
        if (block.number + 1 >= _sys.rounds.currentRoundStartBlock() + _sys.roundLength) return;
        bytes32 others = _othersOf(o);
        (Receipt memory a, Receipt memory b) = _receipts(o, dice);
        bytes memory evidence = abi.encode(b, _sign(o, b));
        _announce(a, evidence);
        Before memory before = _before(o);
        bytes memory call = abi.encodeCall(_sys.slashing.challenge, (_sys.verifier, a, _sign(o, a), evidence, _SALT));
        bool ok = _call(address(this), address(_sys.slashing), call);
        bool isGuilty = a.resultHashes[0] != b.resultHashes[0];
        _hold(29, ok == (!isGuilty || _slashingIsOn()), "only a registered contract slashes");
        if (ok && isGuilty) _bookSlash(o, before, _kept(a.service));
        if (ok && !isGuilty) _bookAcquittal(o, before);
        _hold(25, others == _othersOf(o), "a challenge changed others");
        _observe();
    }

    /// @notice A pause: nothing moves but unlocked funds to their owner.
    function pause(uint256 seed, uint256 dice) external by(sender(seed)) {
        vm.prank(_sys.owner);
        _sys.controller.pause();
        bytes32 values = _values();
        _refuseTickets(sender(seed), _play(seed % SENDERS, recipient(seed), dice));
        _refuseStake(staker(seed), staker(dice));
        _hold(32, _values() == values, "value moved under pause");
        if (_withdraw(sender(seed))) _count("withdrawPaused");
        vm.prank(_sys.owner);
        _sys.controller.unpause();
        _count("pause");
    }

    // --- model ---

    /// @dev Shares of the running round stay.
    function _join(address account) private by(account) {
        (bytes32 shares, uint256 size) = (_shares(), _sys.bonding.currentRoundPoolSize());
        uint256 seats = _sys.bonding.getTranscoderPoolMaxSize();
        vm.prank(_sys.owner);
        _sys.bonding.setNumActiveTranscoders(seats + 1);
        _sys.token.transfer(account, 1 ether);
        vm.prank(account);
        _sys.token.approve(address(_sys.bonding), 1 ether);
        vm.prank(account);
        _sys.bonding.bond(1 ether, account);
        deposited[account] += 1 ether;
        _hold(13, _shares() == shares && _sys.bonding.currentRoundPoolSize() == size, "a join changed shares");
        _count("join");
    }

    function _refuse(address account, address target, bytes memory call) private {
        _hold(32, !_call(account, target, call), "a call went through under pause");
    }

    function _refuseTickets(address payer, Play memory play) private {
        address broker = address(_sys.broker);
        vm.deal(payer, payer.balance + 1);
        vm.prank(payer);
        (bool ok,) = broker.call{value: 1}(abi.encodeCall(_sys.broker.fundDeposit, ()));
        _hold(32, !ok, "funds came in under pause");
        _refuse(payer, broker, abi.encodeCall(_sys.broker.unlock, ()));
        _refuse(payer, broker, abi.encodeCall(_sys.broker.releaseReserve, (play.ticket.recipient, 0)));
        _refuse(payer, broker, abi.encodeCall(_sys.broker.redeemWinningTicket, (play.ticket, play.sig, play.rand)));
    }

    function _refuseStake(address account, address delegate) private {
        address bonding = address(_sys.bonding);
        _refuse(account, bonding, abi.encodeCall(_sys.bonding.bond, (0, delegate)));
        _refuse(account, bonding, abi.encodeCall(_sys.bonding.unbond, (1)));
        _refuse(account, bonding, abi.encodeCall(_sys.bonding.rebond, (0)));
        _refuse(account, bonding, abi.encodeCall(_sys.bonding.rebondFromUnbonded, (delegate, 0)));
        _refuse(account, bonding, abi.encodeCall(_sys.bonding.claimEarnings, (0)));
        _refuse(account, bonding, abi.encodeCall(_sys.bonding.withdrawFees, (payable(account), 0)));
        _refuse(account, bonding, abi.encodeCall(_sys.bonding.reward, ()));
        _refuse(account, address(_sys.rounds), abi.encodeCall(_sys.rounds.initializeRound, ()));
    }

    function _checkInflation(uint256 before) private {
        (uint256 present, uint256 step) = (_sys.minter.inflation(), _sys.minter.inflationChange());
        uint256 moved = present > before ? present - before : before - present;
        _hold(22, moved == 0 || moved == step || (present == 0 && moved < step), "inflation moves by one step");
    }

    function _announce(Receipt memory receipt, bytes memory evidence) private {
        bytes32 digest = _sys.slashing.receiptDigest(receipt);
        _sys.slashing.announce(_sys.slashing.challengeCommitment(address(this), _sys.verifier, digest, evidence, _SALT));
        vm.roll(block.number + 1);
        _sys.token.approve(address(_sys.slashing), type(uint256).max);
    }

    /// @dev Mostly one that is active and so has delegators and commission to lose.
    function _accused(uint256 seed) private view returns (address) {
        for (uint256 i = 0; (seed >> 64) % 4 != 0 && i < stakerCount(); ++i) {
            address o = staker(seed % stakerCount() + i);
            if (_sys.bonding.isActiveTranscoder(o)) return o;
        }
        return staker(seed);
    }

    /// @dev Two signed results of one job, in the present round, equal every third time.
    function _receipts(address o, uint256 dice) private returns (Receipt memory a, Receipt memory b) {
        a = _receipt(o, "a", ++_jobs);
        b = _receipt(o, dice % 3 == 0 ? bytes32("a") : bytes32("b"), _jobs);
        // Once in a while of the service that costs everything.
        if ((dice >> 8) % 12 == 0) (a.service, b.service) = (bytes32("whole"), bytes32("whole"));
    }

    function _receipt(address o, bytes32 result, uint256 sequence) private view returns (Receipt memory receipt) {
        receipt.orchestrator = o;
        receipt.sender = sender(0);
        receipt.service = SERVICE;
        receipt.sequence = sequence;
        receipt.resultHashes = new bytes32[](1);
        receipt.resultHashes[0] = result;
        receipt.round = _round();
        receipt.deterministic = true;
    }

    function _sign(address o, Receipt memory receipt) private view returns (bytes memory) {
        uint256 index = 0;
        while (staker(index) != o) ++index;
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(_stakerKey(index), _sys.slashing.receiptDigest(receipt));
        return abi.encodePacked(r, s, v);
    }

    function _kept(bytes32 service) private view returns (uint256) {
        return _WHOLE - _sys.slashing.terms(service, _sys.verifier).slashPpm;
    }

    function _before(address o) private view returns (Before memory before) {
        before.stakes = _stakes();
        before.locks = new uint256[](stakerCount());
        for (uint256 i = 0; i < before.locks.length; ++i) {
            before.locks[i] = locksOf(staker(i));
        }
        before.supply = _sys.token.totalSupply();
        before.vault = _sys.token.balanceOf(address(_sys.minter));
        before.purse = _sys.token.balanceOf(address(this));
        before.isActive = _sys.bonding.isActiveTranscoder(o);
        before.seatStake = stakeOfRound(o);
    }

    /// @dev The bond goes to the orchestrator, and nothing else moves.
    function _bookAcquittal(address o, Before memory before) private {
        uint256 bond_ = before.purse - _sys.token.balanceOf(address(this));
        _hold(29, _sys.token.totalSupply() == before.supply, "an acquittal burned");
        _hold(29, _sys.token.balanceOf(address(_sys.minter)) == before.vault, "an acquittal took stake");
        // Kept out of the way: what accounts hold is theirs to bond.
        vm.prank(o);
        _sys.token.transfer(address(this), bond_);
        _hold(29, _sys.token.balanceOf(address(this)) == before.purse, "a lost bond goes to the orchestrator");
        _count("acquit");
    }

    function _bookSlash(address o, Before memory before, uint256 kept) private {
        uint256 penalty = before.vault - _sys.token.balanceOf(address(_sys.minter));
        uint256 burned = before.supply - _sys.token.totalSupply();
        uint256 bounty = _sys.token.balanceOf(address(this)) - before.purse;
        _hold(29, penalty == burned + bounty, "slashed is burned or paid as bounty");
        _hold(29, _sys.slashing.totalBonds() == 0, "a bond stayed");
        (uint256 taken, uint256 own) = _bookLosses(o, before, kept);
        uint256 dust = 4 * MAX_STAKERS * MAX_LOCKS;
        // What an orchestrator holds for nobody shrinks too.
        _hold(28, penalty <= taken + stakeAllowance[o] + dust, "a slash takes from those it answers for");
        _hold(29, taken <= penalty + dust, "what was lost was neither burned nor paid");
        _hold(29, 2 * bounty <= own + 4 * MAX_LOCKS, "the bounty is at most half of the own loss");
        if (before.isActive) {
            ++slashedSeats[_round()];
            slashedStake[_round()] += before.seatStake;
        }
        (slashedAt[o], isRuined[o]) = (_round(), isRuined[o] || kept == 0);
        ++slashes[o];
        ++allSlashes;
        _rewardFactorFloor[o] = _rewardFactorFloor[o] * kept / _WHOLE;
        // Rounding of the part of each holder, against that of the sum.
        stakeAllowance[o] += 2 * MAX_STAKERS;
        _count(kept == 0 ? bytes32("slashWhole") : bytes32("slash"));
    }

    function _bookLosses(address o, Before memory before, uint256 kept) private returns (uint256 taken, uint256 own) {
        for (uint256 i = 0; i < before.stakes.length; ++i) {
            address account = staker(i);
            (uint256 stake, uint256 locks) = (stakeOf(account), locksOf(account));
            _checkLoss(o, account, before.stakes[i], stake, kept);
            _hold(28, stake <= before.stakes[i] && locks <= before.locks[i], "a slash gave");
            uint256 loss = before.stakes[i] + before.locks[i] - stake - locks;
            lost[account] += loss;
            taken += loss;
            if (account == o) own = loss;
        }
    }

    /// @dev Everybody's stake with the slashed one shrinks by one factor, and nobody else's changes.
    function _checkLoss(address o, address account, uint256 before, uint256 stake, uint256 kept) private {
        address delegate = _delegateOf(account);
        // One that lost its last wei delegates to nobody any more.
        bool shares = delegate == o || (account == o && delegate == address(0));
        uint256 expected = shares ? before * kept / _WHOLE : before;
        // Commission that waits for one that resigned answers for that one, whatever it delegates to now.
        (,,,,,,, uint256 commission,,) = _sys.bonding.getTranscoder(account);
        if (commission > 0 && delegate != account) return;
        _hold(28, stake <= expected + 4 && expected <= stake + 4, "a slash takes the same part from everybody");
    }

    /// @dev Share of every reserve for every recipient.
    function _shares() private view returns (bytes32 digest) {
        for (uint256 i = 0; i < SENDERS; ++i) {
            for (uint256 j = 0; j < RECIPIENTS; ++j) {
                digest = keccak256(abi.encode(digest, _sys.broker.claimableReserve(sender(i), recipient(j))));
            }
        }
    }

    /// @dev Every balance that a call could move.
    function _values() private view returns (bytes32 digest) {
        digest =
            keccak256(abi.encode(address(_sys.broker).balance, _sys.broker.unclaimedFees(), _sys.token.totalSupply()));
        digest = keccak256(abi.encode(digest, _sys.token.balanceOf(address(_sys.minter)), _allFunds(), _stakes()));
        for (uint256 i = 0; i < stakerCount(); ++i) {
            digest = keccak256(abi.encode(digest, _sys.token.balanceOf(staker(i)), staker(i).balance));
        }
    }
}
