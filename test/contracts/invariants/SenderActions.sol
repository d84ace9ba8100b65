// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ITicketBroker} from "../../../contracts/interfaces/ITicketBroker.sol";
import {ProtocolLedger} from "./ProtocolLedger.sol";

/// @notice Senders bring money, put it behind recipients, and take it back.
abstract contract SenderActions is ProtocolLedger {
    function fund(uint256 seed, uint256 depositAmount, uint256 reserveAmount, bool byOther)
        external
        by(byOther ? address(this) : sender(seed))
    {
        address account = sender(seed);
        (depositAmount, reserveAmount) = (depositAmount % 5 ether, reserveAmount % 5 ether);
        address payer = byOther ? address(this) : account;
        vm.deal(payer, depositAmount + reserveAmount);
        vm.prank(payer);
        _sys.broker.fundDepositAndReserveFor{value: depositAmount + reserveAmount}(
            account, depositAmount, reserveAmount
        );
        funded[account] += depositAmount + reserveAmount;
        reserveBase[account] += reserveAmount;
        if (!byOther) unlockRound[account] = 0;
        _count("fund");
    }

    function unlock(uint256 seed) external by(sender(seed)) {
        address account = sender(seed);
        bool may = _withdrawable(account) > 0 && unlockRound[account] == 0;
        bool ok = _call(account, address(_sys.broker), abi.encodeCall(_sys.broker.unlock, ()));
        _hold(12, ok == may, "unlock");
        if (!ok) return;
        unlockRound[account] = _round() + _sys.broker.unlockPeriod();
        _count("unlock");
    }

    function cancelUnlock(uint256 seed) external by(sender(seed)) {
        if ((seed >> 8) % 3 != 0) return;
        address account = sender(seed);
        bool ok = _call(account, address(_sys.broker), abi.encodeCall(_sys.broker.cancelUnlock, ()));
        _hold(12, ok == (unlockRound[account] > 0), "cancelUnlock");
        if (!ok) return;
        unlockRound[account] = 0;
        _count("cancelUnlock");
    }

    function withdraw(uint256 seed) external by(sender(seed)) {
        _withdraw(sender(seed));
    }

    function commit(uint256 seed, uint256 to, uint256 amount) external by(sender(seed)) {
        address account = sender(seed);
        amount %= 5 ether;
        vm.deal(account, amount);
        vm.prank(account);
        _sys.broker.commitReserve{value: amount}(recipient(to));
        funded[account] += amount;
        _count("commit");
    }

    function release(uint256 seed, uint256 to, uint256 amount) external by(sender(seed)) {
        address account = sender(seed);
        uint256 committed = _sys.broker.getCommittedReserve(account, recipient(to)).funds;
        vm.prank(account);
        _sys.broker.releaseReserve(recipient(to), amount % (committed + 1));
        _count("release");
    }

    function withdrawReleased(uint256 seed, uint256 to) external by(sender(seed)) {
        address account = sender(seed);
        ITicketBroker.CommittedReserve memory held = _sys.broker.getCommittedReserve(account, recipient(to));
        bool may = held.releaseRound > 0 && _round() >= held.releaseRound;
        uint256 amount = held.releasing;
        _hold(12, amount <= held.funds, "more leaves than is committed");
        uint256 committed = 0;
        for (uint256 i = 0; i < RECIPIENTS; ++i) {
            committed += _sys.broker.getCommittedReserve(account, recipient(i)).funds;
        }
        _hold(6, _sys.broker.committedReserveOf(account) == committed, "what is committed in all");
        uint256 before = account.balance;
        bool ok =
            _call(account, address(_sys.broker), abi.encodeCall(_sys.broker.withdrawReleasedReserve, (recipient(to))));
        _hold(12, ok == may, "withdrawReleasedReserve");
        if (!ok) return;
        _hold(6, account.balance == before + amount, "a release pays what is left of it");
        withdrawn[account] += amount;
        _count("withdrawReleased");
    }

    /// @dev Works under pause too.
    function _withdraw(address account) internal returns (bool ok) {
        uint256 amount = _withdrawable(account);
        bool may = amount > 0 && _isUnlocked(account);
        uint256 before = account.balance;
        ok = _call(account, address(_sys.broker), abi.encodeCall(_sys.broker.withdraw, ()));
        _hold(12, ok == may, "funds leave exactly when they are unlocked");
        if (!ok) return false;
        _hold(6, account.balance == before + amount, "withdraw pays all");
        withdrawn[account] += amount;
        unlockRound[account] = 0;
        reserveBase[account] = 0;
        _count("withdraw");
    }

    /// @dev Without commitments.
    function _withdrawable(address account) internal view returns (uint256) {
        (ITicketBroker.Sender memory info, ITicketBroker.ReserveInfo memory reserve) =
            _sys.broker.getSenderInfo(account);
        return info.deposit + reserve.fundsRemaining;
    }
}
