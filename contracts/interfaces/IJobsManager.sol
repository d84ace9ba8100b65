// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Jobs of the protocol of 2018
/// @notice A job says that one broadcaster wants one stream transcoded by one orchestrator in a range of blocks. The orchestrator
/// reads it before it answers the broadcaster, see docs/designs/033-jobs-protocol.md. No money is held or moved here.
///
/// The broadcaster names the orchestrator, which must be active. The deployed contract of 2018 drew one by block hash; a draw on
/// chain can be repeated until it pleases, knows neither prices nor distances, and costs a walk over the active set.
///
/// Jobs are numbered from 1, so that zero in any record means none. Nothing is forgotten: an ended job stays readable.
interface IJobsManager {
    /// @notice What `getJob` knows.
    struct Job {
        address broadcaster;
        /// Block that created it, its first one.
        uint48 creationBlock;
        /// Its last block.
        uint48 endBlock;
        /// Who is to transcode.
        address orchestrator;
        /// Most that the broadcaster would pay, wei per pixel. What is paid is agreed off chain.
        uint96 maxPricePerUnit;
        /// Name of the stream, chosen by the broadcaster.
        string streamId;
        /// Names of the presets wanted, separated by commas.
        string transcodingOptions;
    }

    /// @notice `broadcaster` wants `streamId` transcoded by `orchestrator` from now to `endBlock`.
    event NewJob(
        address indexed broadcaster,
        address indexed orchestrator,
        uint256 indexed jobId,
        string streamId,
        string transcodingOptions,
        uint256 maxPricePerUnit,
        uint256 endBlock
    );
    /// @notice The job ends with `endBlock`, earlier than announced.
    event JobEnded(uint256 indexed jobId, uint256 endBlock);

    /// @notice Thrown when the stream has no name or too long a one, in bytes.
    error InvalidStreamId(uint256 length, uint256 maximum);
    /// @notice Thrown when there are no transcoding options or too long ones, in bytes.
    error InvalidTranscodingOptions(uint256 length, uint256 maximum);
    /// @notice Thrown when the price does not fit into 96 bits.
    error PriceTooLarge(uint256 maxPricePerUnit);
    /// @notice Thrown when the job would end before the next block, or last longer than allowed.
    error InvalidEndBlock(uint256 endBlock, uint256 earliest, uint256 latest);
    /// @notice Thrown when the orchestrator is not in the active set of the current round.
    error OrchestratorNotActive(address orchestrator);
    /// @notice Thrown when there is no such job.
    error NoSuchJob(uint256 jobId);
    /// @notice Thrown when somebody else than its broadcaster ends a job.
    error CallerNotBroadcaster(uint256 jobId, address caller);
    /// @notice Thrown when the job has no block left to give up.
    error JobAlreadyEnds(uint256 jobId, uint256 endBlock);

    /// @notice Create a job of the caller, from this block to `endBlock`. Also while paused.
    /// @param transcodingOptions Names of presets, separated by commas; the orchestrator reads them, the contract does not.
    /// @param maxPricePerUnit Wei per pixel.
    function createJob(
        string calldata streamId,
        string calldata transcodingOptions,
        uint256 maxPricePerUnit,
        uint256 endBlock,
        address orchestrator
    ) external returns (uint256 jobId);

    /// @notice Make this block the last one of a job of the caller. Also while paused.
    function endJob(uint256 jobId) external;

    /// @notice The job of this number; reverts if there is none.
    function getJob(uint256 jobId) external view returns (Job memory);

    /// @notice Jobs created so far, and so the number of the latest one.
    function getJobCount() external view returns (uint256);

    /// @notice Most blocks after its first one in which a job runs.
    function MAX_JOB_BLOCKS() external view returns (uint256);

    /// @notice Longest name of a stream, bytes.
    function MAX_STREAM_ID_LENGTH() external view returns (uint256);

    /// @notice Longest transcoding options, bytes.
    function MAX_TRANSCODING_OPTIONS_LENGTH() external view returns (uint256);
}
