// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Managed} from "./Managed.sol";
import {IBondingManager} from "./interfaces/IBondingManager.sol";
import {IController} from "./interfaces/IController.sol";
import {IJobsManager} from "./interfaces/IJobsManager.sol";

/// @title Jobs of the protocol of 2018, see {IJobsManager}
/// @dev The Controller knows it as "TranscodingJobs": "JobsManager" is the name under which older clients find TicketBroker.
contract JobsManager is IJobsManager, Managed {
    /// @inheritdoc IJobsManager
    /// @dev A week of blocks of 12 seconds.
    uint256 public constant MAX_JOB_BLOCKS = 50_400;
    /// @inheritdoc IJobsManager
    uint256 public constant MAX_STREAM_ID_LENGTH = 256;
    /// @inheritdoc IJobsManager
    uint256 public constant MAX_TRANSCODING_OPTIONS_LENGTH = 512;

    /// @notice Knows the active set.
    IBondingManager public immutable bondingManager;

    uint256 private _count;
    mapping(uint256 jobId => Job) private _jobs;

    constructor(IController controller_, IBondingManager bondingManager_) Managed(controller_) {
        bondingManager = bondingManager_;
    }

    /// @notice Sets nothing, and that for ever. Once, by the proxy's constructor.
    function initialize() external initializer {}

    /// @inheritdoc IJobsManager
    function createJob(
        string calldata streamId,
        string calldata transcodingOptions,
        uint256 maxPricePerUnit,
        uint256 endBlock,
        address orchestrator
    ) external returns (uint256 jobId) {
        uint256 length = bytes(streamId).length;
        require(length > 0 && length <= MAX_STREAM_ID_LENGTH, InvalidStreamId(length, MAX_STREAM_ID_LENGTH));
        length = bytes(transcodingOptions).length;
        require(
            length > 0 && length <= MAX_TRANSCODING_OPTIONS_LENGTH,
            InvalidTranscodingOptions(length, MAX_TRANSCODING_OPTIONS_LENGTH)
        );
        require(maxPricePerUnit <= type(uint96).max, PriceTooLarge(maxPricePerUnit));
        uint256 latest = block.number + MAX_JOB_BLOCKS;
        require(endBlock > block.number && endBlock <= latest, InvalidEndBlock(endBlock, block.number + 1, latest));
        require(bondingManager.isActiveTranscoder(orchestrator), OrchestratorNotActive(orchestrator));
        jobId = ++_count;
        _jobs[jobId] = Job({
            broadcaster: msg.sender,
            // forge-lint: disable-start(unsafe-typecast) a block number fits, and what follows was checked
            creationBlock: uint48(block.number),
            endBlock: uint48(endBlock),
            orchestrator: orchestrator,
            maxPricePerUnit: uint96(maxPricePerUnit),
            // forge-lint: disable-end(unsafe-typecast)
            streamId: streamId,
            transcodingOptions: transcodingOptions
        });
        emit NewJob(msg.sender, orchestrator, jobId, streamId, transcodingOptions, maxPricePerUnit, endBlock);
    }

    /// @inheritdoc IJobsManager
    function endJob(uint256 jobId) external {
        Job storage job = _existing(jobId);
        require(msg.sender == job.broadcaster, CallerNotBroadcaster(jobId, msg.sender));
        require(job.endBlock > block.number, JobAlreadyEnds(jobId, job.endBlock));
        // forge-lint: disable-next-line(unsafe-typecast) smaller than a value of that type
        job.endBlock = uint48(block.number);
        emit JobEnded(jobId, block.number);
    }

    /// @inheritdoc IJobsManager
    function getJob(uint256 jobId) external view returns (Job memory) {
        return _existing(jobId);
    }

    /// @inheritdoc IJobsManager
    function getJobCount() external view returns (uint256) {
        return _count;
    }

    function _existing(uint256 jobId) private view returns (Job storage job) {
        job = _jobs[jobId];
        require(job.creationBlock != 0, NoSuchJob(jobId));
    }
}
