// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {SlashingManager} from "../../contracts/SlashingManager.sol";
import {ISlashingManager} from "../../contracts/interfaces/ISlashingManager.sol";
import {Receipt} from "../../contracts/types/Receipt.sol";
import {CommitteeVerifier} from "../../contracts/verifiers/CommitteeVerifier.sol";
import {EquivocationVerifier} from "../../contracts/verifiers/EquivocationVerifier.sol";
import {ICommitteeVerifier} from "../../contracts/interfaces/ICommitteeVerifier.sol";
import {Deploy} from "../../script/Deploy.s.sol";
import {StreamflowTest} from "./StreamflowTest.sol";

/// @notice A system with slashing: an active orchestrator that signs receipts, a delegator behind it, a challenger with LPT.
abstract contract SlashingTest is StreamflowTest {
    uint256 internal constant ORCHESTRATOR_KEY = 0x0C4E57;
    bytes32 internal constant SERVICE = "transcoding/h264";
    bytes32 internal constant SALT = "salt";
    uint128 internal constant BOND = 10 ether;
    uint128 internal constant FEE = 3 ether;

    SlashingManager internal slashing;
    EquivocationVerifier internal equivocation;
    CommitteeVerifier internal committee;
    address internal challenger = _account("challenger");

    function setUp() public virtual override {
        super.setUp();
        slashing = SlashingManager(controller.getContract(keccak256("Verifier")));
        equivocation = deployment.equivocationVerifier;
        committee = deployment.committeeVerifier;
        vm.startPrank(owner);
        registry.registerService(SERVICE, _verifiers(), "");
        slashing.setTerms(SERVICE, address(equivocation), _equivocationTerms());
        slashing.setTerms(SERVICE, address(committee), _committeeTerms());
        vm.stopPrank();
        orchestrator = vm.addr(ORCHESTRATOR_KEY);
        _register(orchestrator, 1000 ether, 0, 0);
        _bond(delegator, 500 ether, orchestrator);
        _nextRound();
        _endow(challenger, 1000 ether);
    }

    function _params(Deploy.Params memory p) internal view virtual override returns (Deploy.Params memory) {
        p = super._params(p);
        p.slashing = 1;
        p.committeeRules = _rules();
        return p;
    }

    function _rules() internal pure virtual returns (ICommitteeVerifier.Rules memory) {
        return ICommitteeVerifier.Rules({
            drawDelay: 2,
            commitBlocks: 10,
            revealBlocks: 5,
            size: 5,
            quorum: 3,
            seatStake: 100 ether,
            noShowPenalty: 7 ether,
            dissentPenalty: 2 ether
        });
    }

    function _equivocationTerms() internal pure returns (ISlashingManager.Terms memory) {
        return ISlashingManager.Terms({
            slashPpm: 200_000, bountyPpm: 100_000, challengeWindow: 2, verdictWindow: 0, bond: BOND, fee: 0
        });
    }

    function _committeeTerms() internal pure returns (ISlashingManager.Terms memory) {
        return ISlashingManager.Terms({
            slashPpm: 100_000, bountyPpm: 100_000, challengeWindow: 2, verdictWindow: 2, bond: BOND, fee: FEE
        });
    }

    function _verifiers() internal view returns (address[] memory verifiers) {
        verifiers = new address[](2);
        (verifiers[0], verifiers[1]) = (address(equivocation), address(committee));
    }

    function _endow(address account, uint256 amount) internal {
        vm.prank(owner);
        token.transfer(account, amount);
        vm.startPrank(account);
        token.approve(address(slashing), amount);
        token.approve(address(committee), amount);
        vm.stopPrank();
    }

    function _receipt(bytes32 result) internal view returns (Receipt memory) {
        bytes32[] memory results = new bytes32[](2);
        (results[0], results[1]) = (keccak256("first rendition"), result);
        return Receipt({
            orchestrator: orchestrator,
            sender: sender,
            service: SERVICE,
            manifest: keccak256("manifest"),
            sequence: 7,
            sourceHash: keccak256("source"),
            settings: keccak256("settings"),
            software: keccak256("software"),
            resultHashes: results,
            round: rounds.currentRound(),
            deterministic: true
        });
    }

    function _signReceipt(uint256 key, Receipt memory receipt) internal view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, slashing.receiptDigest(receipt));
        return abi.encodePacked(r, s, v);
    }

    function _signReceipt(Receipt memory receipt) internal view returns (bytes memory) {
        return _signReceipt(ORCHESTRATOR_KEY, receipt);
    }

    /// @dev Evidence of the equivocation verifier.
    function _evidence(Receipt memory other) internal view returns (bytes memory) {
        return abi.encode(other, _signReceipt(other));
    }

    function _announce(address from, address verifier, Receipt memory receipt, bytes memory evidence) internal {
        bytes32 commitment =
            slashing.challengeCommitment(from, verifier, slashing.receiptDigest(receipt), evidence, SALT);
        // One that was refused can be used again.
        if (slashing.announcedAt(commitment) == 0) {
            vm.prank(from);
            slashing.announce(commitment);
        }
        vm.roll(_block() + 1);
    }

    function _challenge(address from, address verifier, Receipt memory receipt, bytes memory evidence)
        internal
        returns (uint256)
    {
        _announce(from, verifier, receipt, evidence);
        bytes memory sig = _signReceipt(receipt);
        vm.prank(from);
        return slashing.challenge(verifier, receipt, sig, evidence, SALT);
    }

    /// @dev Guilty beyond doubt.
    function _challengeEquivocation() internal returns (uint256) {
        return _challenge(challenger, address(equivocation), _receipt("a"), _evidence(_receipt("b")));
    }

    /// @dev The block number, which the optimiser must not take for constant within a test.
    function _block() internal view returns (uint256) {
        return BlockNumber(address(this)).blockNumber();
    }

    function blockNumber() external view returns (uint256) {
        return block.number;
    }
}

interface BlockNumber {
    function blockNumber() external view returns (uint256);
}
