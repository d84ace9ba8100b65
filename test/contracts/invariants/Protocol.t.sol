// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ProtocolBooks} from "./ProtocolBooks.sol";

/// @notice The numbered invariants that are about state, after every call of random campaigns. The table of all of them is in
/// docs/designs/008-proof.md.
/// @dev `invariant_EveryRuleHolds` is the strong campaign: it checks every rule after each call. The numbered ones give each
/// rule a name and a short campaign of its own.
contract ProtocolInvariantsTest is ProtocolBooks {
    /// @notice Tells forge what to call.
    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    function invariant_EveryRuleHolds() external view {
        // One call: with forge's isolation every call of a test is a transaction of its own, and slow.
        this.assertAll();
    }

    /// 0: every call does what the model says.
    /// forge-config: default.invariant.runs = 1
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    function invariant_00_CallsDoWhatTheModelSays() external view {
        _held(0);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    function invariant_01_EtherOfTheVaultHasOwners() external view {
        _held(1);
        _assert01();
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    function invariant_02_MinterHoldsAllStake() external view {
        _held(2);
        _assert02();
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    function invariant_03_PendingStakeIsCovered() external view {
        _held(3);
        _assert03();
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    function invariant_04_OnlyVaultsHoldValue() external view {
        _held(4);
        _assert04();
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    function invariant_05_FeesNeverExceedTheTicket() external view {
        _held(5);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    function invariant_06_SendersPayOnlyTheirOwn() external view {
        _held(6);
        _assert06();
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    function invariant_07_TicketsPayOnce() external view {
        _held(7);
        _assert07();
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    function invariant_08_TicketsPayTheirFaceValueOrNothing() external view {
        _held(8);
        _assert08();
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    function invariant_11_UnlockedFundsPayNothing() external view {
        _held(11);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    function invariant_12_OnlyTheSenderMovesItsUnlock() external view {
        _held(12);
        _assert12();
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    function invariant_13_ReserveSharesAddUp() external view {
        _held(13);
        _assert13();
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    function invariant_15_FactorsOnlyGrow() external view {
        _held(15);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    function invariant_16_ClaimsChangeNothing() external view {
        _held(16);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    function invariant_19_CommissionIsPartOfTheStake() external view {
        _held(19);
        _assert19();
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    function invariant_20_RoundsAreMonotonic() external view {
        _held(20);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    function invariant_21_StakeOfTheSetIsTheSum() external view {
        _held(21);
        _assert21();
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    function invariant_22_NoMoreIsMintedThanAllowed() external view {
        _held(22);
        _assert22();
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    function invariant_23_SetHasNoDuplicates() external view {
        _held(23);
        _assert23();
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    function invariant_24_MembersHaveNoEnd() external view {
        _held(24);
        _assert24();
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    function invariant_25_NobodyChangesAnotherAccount() external view {
        _held(25);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    function invariant_26_StakeIsConserved() external view {
        _held(26);
        _assert26();
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    function invariant_27_LocksPayOnce() external view {
        _held(27);
        _assert27();
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    function invariant_28_SlashedStayOut() external view {
        _held(28);
        _assert28();
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    function invariant_29_SlashedIsBountyAndBurned() external view {
        _held(29);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    function invariant_30_NoEscapeByMovingStake() external view {
        _held(30);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    function invariant_32_PauseMovesNoValue() external view {
        _held(32);
    }

    /// A long walk with a fixed seed: every rule holds all along, and no action was idle, so the campaigns are not vacuous.
    function test_GivenLongWalk_EveryActionTookPart() external {
        for (uint256 i = 0; i < 60; ++i) {
            this.walk(0x5eed, i * 25, 25);
            this.assertAll();
        }
        string[32] memory actions = [
            "fund",
            "unlock",
            "cancelUnlock",
            "withdraw",
            "commit",
            "release",
            "withdrawReleased",
            "single",
            "refuse",
            "paidFromAside",
            "batch",
            "batchPaid",
            "ordered",
            "orderedPaid",
            "setAside",
            "skipped",
            "bond",
            "redelegate",
            "unbond",
            "rebond",
            "withdrawStake",
            "reward",
            "transcoder",
            "claim",
            "withdrawFees",
            "slash",
            "slashWhole",
            "acquit",
            "setSlashing",
            "pause",
            "join",
            "nextRound"
        ];
        for (uint256 i = 0; i < actions.length; ++i) {
            vm.assertGe(_handler.done(bytes32(bytes(actions[i]))), 1, actions[i]);
        }
    }

    /// Any short walk from a fresh start.
    /// forge-config: default.fuzz.runs = 16
    /// forge-config: ci.fuzz.runs = 64
    /// forge-config: long.fuzz.runs = 10000
    function testFuzz_AnyWalkKeepsEveryRule(uint256 seed) external {
        this.walk(seed, 0, 16);
        this.assertAll();
    }

    function assertAll() external view {
        for (uint256 i = 0; i <= 32; ++i) {
            _held(i);
        }
        _assert01();
        _assert02();
        _assert03();
        _assert04();
        _assert06();
        _assert07();
        _assert08();
        _assert12();
        _assert13();
        _assert19();
        _assert21();
        _assert22();
        _assert23();
        _assert24();
        _assert26();
        _assert27();
        _assert28();
    }

    function walk(uint256 seed, uint256 from, uint256 steps) external {
        for (uint256 i = from; i < from + steps; ++i) {
            uint256 d = uint256(keccak256(abi.encode(seed, i)));
            (uint256 x, uint256 y, uint256 z) =
                (d >> 8, uint256(keccak256(abi.encode(d))), uint256(keccak256(abi.encode(d, d))));
            uint256 action = d % 32;
            if (action < 10) _stepOfSender(action, x, y, z);
            else if (action < 22) _stepOfStaker(action, x, y, z);
            else _stepOfChain(action, x, y);
        }
    }

    function _stepOfSender(uint256 action, uint256 x, uint256 y, uint256 z) private {
        if (action == 0) _handler.fund(x, y, z, x % 5 == 0);
        if (action == 1) _handler.unlock(x);
        if (action == 2) _handler.cancelUnlock(x);
        if (action == 3) _handler.withdraw(x);
        if (action == 4) _handler.commit(x, y, z);
        if (action == 5) _handler.release(x, y, z);
        if (action == 6) _handler.withdrawReleased(x, y);
        if (action == 7) _handler.single(x, y, z);
        if (action == 8) _handler.batch(x, y, z);
        if (action == 9) _handler.ordered(y, z);
    }

    function _stepOfStaker(uint256 action, uint256 x, uint256 y, uint256 z) private {
        if (action < 13) _handler.bond(x, y, z);
        if (action == 13) _handler.unbond(x, y);
        if (action == 14) _handler.rebond(x, y, z);
        if (action == 15) _handler.withdrawStake(x, y);
        if (action == 16 || action == 17) _handler.reward(x, y);
        if (action == 18) _handler.transcoder(x, y, z);
        if (action == 19) _handler.claim(x);
        if (action == 20) _handler.withdrawFees(x, y);
        if (action == 21) _handler.single(x, y, z);
    }

    function _stepOfChain(uint256 action, uint256 x, uint256 y) private {
        if (action == 22 && x % 2 == 0) _handler.challenge(x >> 8, y);
        if (action == 23) _handler.setSlashing(x);
        if (action == 24) x % 4 == 0 ? _handler.pause(x >> 2, y) : _handler.single(x >> 2, y, x);
        if (action == 25) _handler.join(x);
        if (action == 26) _handler.passBlocks(x);
        if (action == 27 || action == 28) _handler.ordered(x, y);
        if (action == 29) _handler.single(y, x, y >> 128);
        if (action > 29) _handler.nextRound(x);
    }
}
