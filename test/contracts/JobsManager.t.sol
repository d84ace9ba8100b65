// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {JobsManager} from "../../contracts/JobsManager.sol";
import {IJobsManager} from "../../contracts/interfaces/IJobsManager.sol";
import {StreamflowTest} from "./StreamflowTest.sol";

contract JobsManagerTest is StreamflowTest {
    string private constant _STREAM = "stream-1";
    string private constant _OPTIONS = "P240p30fps16x9,P360p30fps16x9";

    JobsManager private _jobs;

    function setUp() public override {
        super.setUp();
        _jobs = deployment.jobsManager;
        _register(orchestrator, 10 ether, 0, 0);
        _nextRound();
    }

    // --- creating ---

    function test_CreateJob_KeepsWhatWasAskedForAndReports() external {
        uint256 end = block.number + 100;
        vm.expectEmit(address(_jobs));
        emit IJobsManager.NewJob(sender, orchestrator, 1, _STREAM, _OPTIONS, 7, end);
        vm.prank(sender);
        vm.assertEq(_jobs.createJob(_STREAM, _OPTIONS, 7, end, orchestrator), 1);
        IJobsManager.Job memory job = _jobs.getJob(1);
        vm.assertEq(job.broadcaster, sender);
        vm.assertEq(job.creationBlock, block.number);
        vm.assertEq(job.endBlock, end);
        vm.assertEq(job.orchestrator, orchestrator);
        vm.assertEq(job.maxPricePerUnit, 7);
        vm.assertEq(job.streamId, _STREAM);
        vm.assertEq(job.transcodingOptions, _OPTIONS);
        vm.assertEq(_jobs.getJobCount(), 1);
    }

    function test_CreateJob_NumbersJobsFromOne() external {
        vm.assertEq(_jobs.getJobCount(), 0);
        vm.assertEq(_create(sender), 1);
        vm.assertEq(_create(stranger), 2);
        vm.assertEq(_jobs.getJob(1).broadcaster, sender);
        vm.assertEq(_jobs.getJob(2).broadcaster, stranger);
        vm.assertEq(_jobs.getJobCount(), 2);
    }

    function test_GivenPaused_JobsCanStillBeCreatedAndEnded() external {
        _pause();
        uint256 jobId = _create(sender);
        vm.prank(sender);
        _jobs.endJob(jobId);
        vm.assertEq(_jobs.getJob(jobId).endBlock, block.number);
    }

    function test_GivenDeployed_ItIsKnownAndManaged() external view {
        vm.assertEq(controller.getContract(keccak256("TranscodingJobs")), address(_jobs));
        vm.assertEq(address(_jobs.controller()), address(controller));
        vm.assertEq(address(_jobs.bondingManager()), address(bonding));
    }

    function test_RevertWhen_StreamIdIsEmptyOrTooLong() external {
        uint256 maximum = _jobs.MAX_STREAM_ID_LENGTH();
        _create(_text(maximum), _OPTIONS, 0, block.number + 1, orchestrator);
        vm.expectRevert(abi.encodeWithSelector(IJobsManager.InvalidStreamId.selector, 0, maximum));
        _jobs.createJob("", _OPTIONS, 0, block.number + 1, orchestrator);
        vm.expectRevert(abi.encodeWithSelector(IJobsManager.InvalidStreamId.selector, maximum + 1, maximum));
        _jobs.createJob(_text(maximum + 1), _OPTIONS, 0, block.number + 1, orchestrator);
    }

    function test_RevertWhen_TranscodingOptionsAreEmptyOrTooLong() external {
        uint256 maximum = _jobs.MAX_TRANSCODING_OPTIONS_LENGTH();
        _create(_STREAM, _text(maximum), 0, block.number + 1, orchestrator);
        vm.expectRevert(abi.encodeWithSelector(IJobsManager.InvalidTranscodingOptions.selector, 0, maximum));
        _jobs.createJob(_STREAM, "", 0, block.number + 1, orchestrator);
        vm.expectRevert(abi.encodeWithSelector(IJobsManager.InvalidTranscodingOptions.selector, maximum + 1, maximum));
        _jobs.createJob(_STREAM, _text(maximum + 1), 0, block.number + 1, orchestrator);
    }

    function test_RevertWhen_PriceIsTooLarge() external {
        uint256 price = type(uint96).max;
        vm.assertEq(
            _jobs.getJob(_create(_STREAM, _OPTIONS, price, block.number + 1, orchestrator)).maxPricePerUnit, price
        );
        vm.expectRevert(abi.encodeWithSelector(IJobsManager.PriceTooLarge.selector, price + 1));
        _jobs.createJob(_STREAM, _OPTIONS, price + 1, block.number + 1, orchestrator);
    }

    function test_RevertWhen_EndBlockIsNotAhead() external {
        _expectInvalidEndBlock(block.number);
        _jobs.createJob(_STREAM, _OPTIONS, 0, block.number, orchestrator);
    }

    function test_RevertWhen_JobWouldLastTooLong() external {
        uint256 latest = block.number + _jobs.MAX_JOB_BLOCKS();
        _create(_STREAM, _OPTIONS, 0, latest, orchestrator);
        _expectInvalidEndBlock(latest + 1);
        _jobs.createJob(_STREAM, _OPTIONS, 0, latest + 1, orchestrator);
    }

    function test_RevertWhen_OrchestratorIsNotActive() external {
        vm.expectRevert(abi.encodeWithSelector(IJobsManager.OrchestratorNotActive.selector, stranger));
        _jobs.createJob(_STREAM, _OPTIONS, 0, block.number + 1, stranger);
    }

    function test_RevertWhen_OrchestratorIsActiveOnlyFromTheNextRoundOn() external {
        _register(stranger, 10 ether, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(IJobsManager.OrchestratorNotActive.selector, stranger));
        _jobs.createJob(_STREAM, _OPTIONS, 0, block.number + 1, stranger);
        _nextRound();
        _create(_STREAM, _OPTIONS, 0, block.number + 1, stranger);
    }

    // --- ending ---

    function test_EndJob_MakesThisBlockTheLast() external {
        uint256 jobId = _create(sender);
        uint256 created = block.number;
        vm.roll(block.number + 10);
        vm.expectEmit(address(_jobs));
        emit IJobsManager.JobEnded(jobId, created + 10);
        vm.prank(sender);
        _jobs.endJob(jobId);
        IJobsManager.Job memory job = _jobs.getJob(jobId);
        vm.assertEq(job.creationBlock, created);
        vm.assertEq(job.endBlock, created + 10);
        vm.assertEq(job.orchestrator, orchestrator);
        vm.assertEq(job.streamId, _STREAM);
    }

    function test_RevertWhen_EndingAJobThatDoesNotExist() external {
        vm.expectRevert(abi.encodeWithSelector(IJobsManager.NoSuchJob.selector, 0));
        _jobs.endJob(0);
        vm.expectRevert(abi.encodeWithSelector(IJobsManager.NoSuchJob.selector, 1));
        _jobs.endJob(1);
    }

    function test_RevertWhen_ReadingAJobThatDoesNotExist() external {
        _create(sender);
        vm.expectRevert(abi.encodeWithSelector(IJobsManager.NoSuchJob.selector, 0));
        _jobs.getJob(0);
        vm.expectRevert(abi.encodeWithSelector(IJobsManager.NoSuchJob.selector, 2));
        _jobs.getJob(2);
    }

    function test_RevertWhen_AnotherEndsTheJob() external {
        uint256 jobId = _create(sender);
        vm.expectRevert(abi.encodeWithSelector(IJobsManager.CallerNotBroadcaster.selector, jobId, orchestrator));
        vm.prank(orchestrator);
        _jobs.endJob(jobId);
    }

    function test_RevertWhen_TheJobEndsAnyway() external {
        uint256 jobId = _create(sender);
        uint256 end = _jobs.getJob(jobId).endBlock;
        vm.startPrank(sender);
        // In its last block, and after it.
        for (uint256 i = 0; i < 2; ++i) {
            vm.roll(end + i);
            vm.expectRevert(abi.encodeWithSelector(IJobsManager.JobAlreadyEnds.selector, jobId, end));
            _jobs.endJob(jobId);
        }
        vm.stopPrank();
    }

    // --- whatever is asked for ---

    /// A job is what was asked for, or there is none.
    function testFuzz_JobIsWithinBoundsOrRefused(uint256 price, uint256 ahead, uint256 idLength, uint256 optionsLength)
        external
    {
        string memory streamId = _text(idLength % 300);
        string memory options = _text(optionsLength % 600);
        uint256 end = block.number + ahead % 60_000;
        price = price >> (price % 256);
        bool expected = bytes(streamId).length > 0 && bytes(streamId).length <= 256 && bytes(options).length > 0
            && bytes(options).length <= 512 && price <= type(uint96).max && end > block.number
            && end <= block.number + 50_400;
        vm.prank(sender);
        (bool created,) =
            address(_jobs).call(abi.encodeCall(JobsManager.createJob, (streamId, options, price, end, orchestrator)));
        vm.assertEq(created, expected);
        vm.assertEq(_jobs.getJobCount(), expected ? 1 : 0);
        if (!expected) return;
        IJobsManager.Job memory job = _jobs.getJob(1);
        vm.assertEq(
            keccak256(abi.encode(job)),
            keccak256(
                abi.encode(
                    // forge-lint: disable-next-line(unsafe-typecast) it was accepted
                    IJobsManager.Job(
                        sender, uint48(block.number), uint48(end), orchestrator, uint96(price), streamId, options
                    )
                )
            )
        );
    }

    /// Invariant: whoever does what and when, a job begins before it ends, never lasts longer than allowed nor longer than
    /// announced, and keeps its two parties.
    function testFuzz_Invariant_JobsOnlyEverGetShorter(uint256 seed) external {
        uint256[] memory ends = new uint256[](25);
        for (uint256 i = 0; i < 24; ++i) {
            uint256 d = uint256(keccak256(abi.encode(seed, i)));
            address who = d % 2 == 0 ? sender : stranger;
            uint256 count = _jobs.getJobCount();
            if (d % 5 < 2) {
                uint256 end = block.number + 1 + (d >> 8) % 40;
                vm.prank(who);
                ends[_jobs.createJob(_STREAM, _OPTIONS, 0, end, orchestrator)] = end;
            } else if (d % 5 < 4) {
                uint256 jobId = 1 + (d >> 8) % (count + 1);
                vm.prank(who);
                (bool ended,) = address(_jobs).call(abi.encodeCall(JobsManager.endJob, (jobId)));
                if (ended) {
                    vm.assertEq(_jobs.getJob(jobId).broadcaster, who);
                    vm.assertLt(block.number, ends[jobId]);
                    ends[jobId] = block.number;
                }
            } else {
                vm.roll(block.number + (d >> 8) % 20);
            }
            for (uint256 jobId = 1; jobId <= _jobs.getJobCount(); ++jobId) {
                IJobsManager.Job memory job = _jobs.getJob(jobId);
                vm.assertEq(job.endBlock, ends[jobId]);
                vm.assertLe(job.creationBlock, job.endBlock);
                vm.assertLe(job.endBlock, job.creationBlock + _jobs.MAX_JOB_BLOCKS());
                vm.assertEq(job.orchestrator, orchestrator);
            }
        }
    }

    function _create(address broadcaster) private returns (uint256) {
        vm.prank(broadcaster);
        return _jobs.createJob(_STREAM, _OPTIONS, 7, block.number + 40, orchestrator);
    }

    function _create(string memory streamId, string memory options, uint256 price, uint256 end, address assigned)
        private
        returns (uint256)
    {
        vm.prank(sender);
        return _jobs.createJob(streamId, options, price, end, assigned);
    }

    function _expectInvalidEndBlock(uint256 end) private {
        uint256 latest = block.number + _jobs.MAX_JOB_BLOCKS();
        vm.expectRevert(abi.encodeWithSelector(IJobsManager.InvalidEndBlock.selector, end, block.number + 1, latest));
    }

    function _text(uint256 length) private pure returns (string memory) {
        bytes memory text = new bytes(length);
        for (uint256 i = 0; i < length; ++i) {
            text[i] = "x";
        }
        return string(text);
    }
}
