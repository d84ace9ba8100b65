// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {IFaultVerifier} from "../interfaces/IFaultVerifier.sol";
import {ISlashingManager} from "../interfaces/ISlashingManager.sol";
import {Receipt} from "../types/Receipt.sol";

/// @title Two different signed results for one job
/// @notice Guilty at once, without any doubt, if one orchestrator signed two receipts for the same job (`ReceiptEncoding.jobId`:
/// same source, settings, software, service, sender, manifest and segment), both say that the work is deterministic, and their
/// results differ. Not guilty if any of that fails, so a challenger without proof loses its bond.
///
/// An honest node cannot be caught: it keeps the first deterministic receipt of a job and answers with that one again.
///
/// Evidence: `abi.encode(Receipt other, bytes signature)`.
contract EquivocationVerifier is IFaultVerifier {
    /// @notice Thrown when the terms ask for a fee: nobody works for a verdict here, and it could never leave.
    error FeeNotAccepted(uint256 fee);

    /// @notice Asks for verdicts and defines what is signed.
    ISlashingManager public immutable slashingManager;

    constructor(ISlashingManager slashingManager_) {
        slashingManager = slashingManager_;
    }

    /// @inheritdoc IFaultVerifier
    function open(uint256, address, uint256 fee, Receipt calldata receipt, bytes32, bytes calldata evidence)
        external
        view
        returns (Verdict)
    {
        require(msg.sender == address(slashingManager), CallerNotSlashingManager(msg.sender));
        require(fee == 0, FeeNotAccepted(fee));
        (Receipt memory other, bytes memory signature) = abi.decode(evidence, (Receipt, bytes));
        return _contradict(receipt, other) && _isSigned(other, signature) ? Verdict.Guilty : Verdict.NotGuilty;
    }

    /// @inheritdoc IFaultVerifier
    /// @dev Nothing is ever left pending here.
    function verdict(uint256) external pure returns (Verdict) {
        return Verdict.Pending;
    }

    function _isSigned(Receipt memory receipt, bytes memory signature) private view returns (bool) {
        (address signer, ECDSA.RecoverError err,) = ECDSA.tryRecover(slashingManager.receiptDigest(receipt), signature);
        return err == ECDSA.RecoverError.NoError && signer == receipt.orchestrator;
    }

    function _contradict(Receipt memory a, Receipt memory b) private pure returns (bool) {
        return a.deterministic && b.deterministic && a.jobId() == b.jobId()
            && keccak256(abi.encode(a.resultHashes)) != keccak256(abi.encode(b.resultHashes));
    }
}
