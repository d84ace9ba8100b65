// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ProtocolWalk} from "./ProtocolWalk.sol";

/// @notice The strong campaigns: from a fresh start, every rule after each call.
contract ProtocolCampaignTest is ProtocolWalk {
    /// @notice Tells forge what to call.
    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    function invariant_EveryRuleHolds() external view {
        // One call: with forge's isolation every call of a test is a transaction of its own, and slow.
        this.checkAll();
    }

    /// Any short walk.
    /// forge-config: default.fuzz.runs = 16
    /// forge-config: ci.fuzz.runs = 64
    /// forge-config: long.fuzz.runs = 10000
    function testFuzz_AnyWalkKeepsEveryRule(uint256 seed) external {
        this.walk(seed, 0, 16);
        this.checkAll();
    }
}

/// @notice The numbered invariants that are about state. The table of all of them is in docs/designs/013-proof.md.
/// @dev All start from the end of one long walk with a fixed seed, in which each rule was checked every 25 steps: a rule that broke on
/// the way fails its invariant at once. From there each has a short campaign of its own.
contract ProtocolInvariantsTest is ProtocolWalk {
    uint256 private constant _STRIDES = 60;
    uint256 private constant _STEPS = 25;

    /// @dev What broke a rule on the walk, by number.
    mapping(uint256 number => string) private _broke;

    function setUp() public override {
        super.setUp();
        for (uint256 i = 0; i < _STRIDES; ++i) {
            try this.walk(0x5eed, i * _STEPS, _STEPS) {}
            catch (bytes memory reason) {
                if (bytes(_broke[0]).length == 0) _broke[0] = _text(reason);
            }
            this.look();
        }
    }

    /// @notice Tells forge what to call.
    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    /// @notice Writes down which rules are broken now.
    function look() external {
        for (uint256 number = 0; number <= LAST_RULE; ++number) {
            if (bytes(_broke[number]).length > 0) continue;
            try this.check(number) {}
            catch (bytes memory reason) {
                _broke[number] = _text(reason);
            }
        }
    }

    /// No action was idle on the walk, so the rules were put to the test.
    function test_GivenLongWalk_EveryActionTookPart() external view {
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

    /// forge-config: default.invariant.runs = 1
    /// forge-config: default.invariant.depth = 32
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    /// forge-config: long.invariant.depth = 500
    function invariant_00_CallsDoWhatTheModelSays() external view {
        _checkWalked(0);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: default.invariant.depth = 32
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    /// forge-config: long.invariant.depth = 500
    function invariant_01_EtherOfTheVaultHasOwners() external view {
        _checkWalked(1);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: default.invariant.depth = 32
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    /// forge-config: long.invariant.depth = 500
    function invariant_02_MinterHoldsAllStake() external view {
        _checkWalked(2);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: default.invariant.depth = 32
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    /// forge-config: long.invariant.depth = 500
    function invariant_03_PendingStakeIsCovered() external view {
        _checkWalked(3);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: default.invariant.depth = 32
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    /// forge-config: long.invariant.depth = 500
    function invariant_04_OnlyVaultsHoldValue() external view {
        _checkWalked(4);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: default.invariant.depth = 32
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    /// forge-config: long.invariant.depth = 500
    function invariant_05_FeesNeverExceedTheTicket() external view {
        _checkWalked(5);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: default.invariant.depth = 32
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    /// forge-config: long.invariant.depth = 500
    function invariant_06_SendersPayOnlyTheirOwn() external view {
        _checkWalked(6);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: default.invariant.depth = 32
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    /// forge-config: long.invariant.depth = 500
    function invariant_07_TicketsPayOnce() external view {
        _checkWalked(7);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: default.invariant.depth = 32
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    /// forge-config: long.invariant.depth = 500
    function invariant_08_TicketsPayTheirFaceValueOrNothing() external view {
        _checkWalked(8);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: default.invariant.depth = 32
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    /// forge-config: long.invariant.depth = 500
    function invariant_11_UnlockedFundsPayNothing() external view {
        _checkWalked(11);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: default.invariant.depth = 32
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    /// forge-config: long.invariant.depth = 500
    function invariant_12_OnlyTheSenderMovesItsUnlock() external view {
        _checkWalked(12);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: default.invariant.depth = 32
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    /// forge-config: long.invariant.depth = 500
    function invariant_13_ReserveSharesAddUp() external view {
        _checkWalked(13);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: default.invariant.depth = 32
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    /// forge-config: long.invariant.depth = 500
    function invariant_15_FactorsOnlyGrow() external view {
        _checkWalked(15);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: default.invariant.depth = 32
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    /// forge-config: long.invariant.depth = 500
    function invariant_16_ClaimsChangeNothing() external view {
        _checkWalked(16);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: default.invariant.depth = 32
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    /// forge-config: long.invariant.depth = 500
    function invariant_19_CommissionIsPartOfTheStake() external view {
        _checkWalked(19);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: default.invariant.depth = 32
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    /// forge-config: long.invariant.depth = 500
    function invariant_20_RoundsAreMonotonic() external view {
        _checkWalked(20);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: default.invariant.depth = 32
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    /// forge-config: long.invariant.depth = 500
    function invariant_21_StakeOfTheSetIsTheSum() external view {
        _checkWalked(21);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: default.invariant.depth = 32
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    /// forge-config: long.invariant.depth = 500
    function invariant_22_NoMoreIsMintedThanAllowed() external view {
        _checkWalked(22);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: default.invariant.depth = 32
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    /// forge-config: long.invariant.depth = 500
    function invariant_23_SetHasNoDuplicates() external view {
        _checkWalked(23);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: default.invariant.depth = 32
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    /// forge-config: long.invariant.depth = 500
    function invariant_24_MembersHaveNoEnd() external view {
        _checkWalked(24);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: default.invariant.depth = 32
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    /// forge-config: long.invariant.depth = 500
    function invariant_25_NobodyChangesAnotherAccount() external view {
        _checkWalked(25);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: default.invariant.depth = 32
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    /// forge-config: long.invariant.depth = 500
    function invariant_26_StakeIsConserved() external view {
        _checkWalked(26);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: default.invariant.depth = 32
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    /// forge-config: long.invariant.depth = 500
    function invariant_27_LocksPayOnce() external view {
        _checkWalked(27);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: default.invariant.depth = 32
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    /// forge-config: long.invariant.depth = 500
    function invariant_28_SlashedStayOut() external view {
        _checkWalked(28);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: default.invariant.depth = 32
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    /// forge-config: long.invariant.depth = 500
    function invariant_29_SlashedIsBountyAndBurned() external view {
        _checkWalked(29);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: default.invariant.depth = 32
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    /// forge-config: long.invariant.depth = 500
    function invariant_30_NoEscapeByMovingStake() external view {
        _checkWalked(30);
    }

    /// forge-config: default.invariant.runs = 1
    /// forge-config: default.invariant.depth = 32
    /// forge-config: ci.invariant.runs = 1
    /// forge-config: long.invariant.runs = 8
    /// forge-config: long.invariant.depth = 500
    function invariant_32_PauseMovesNoValue() external view {
        _checkWalked(32);
    }

    function _checkWalked(uint256 number) private view {
        _assertNone(_broke[number]);
        this.check(number);
    }

    /// @dev The text of an error that carries one.
    function _text(bytes memory reason) private pure returns (string memory text) {
        if (reason.length < 68) return "reverted";
        assembly ("memory-safe") {
            // The error's data: length, selector, offset; then length and text.
            text := add(reason, 68)
        }
    }
}
