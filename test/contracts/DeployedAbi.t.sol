// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IBondingManager} from "../../contracts/interfaces/IBondingManager.sol";
import {IController} from "../../contracts/interfaces/IController.sol";
import {IMinter} from "../../contracts/interfaces/IMinter.sol";
import {IRoundsManager} from "../../contracts/interfaces/IRoundsManager.sol";
import {IServiceRegistry} from "../../contracts/interfaces/IServiceRegistry.sol";
import {ITicketBroker} from "../../contracts/interfaces/ITicketBroker.sol";
import {Ticket} from "../../contracts/types/Ticket.sol";
import {StreamflowTest} from "./StreamflowTest.sol";
import {Vm} from "./Vm.sol";

/// @notice Golden values of the network that is deployed on Arbitrum: existing nodes must notice no difference.
contract DeployedAbiTest is StreamflowTest {
    mapping(bytes32 topic => uint256) private _topicCount;
    mapping(bytes32 topic => uint256) private _dataLength;
    mapping(bytes32 topic => bool) private _seen;

    function test_Invariant33_ControllerSelectors() external view {
        _selector(IController.setContractInfo.selector, 0xd737c2b0);
        _selector(IController.getContract.selector, 0xe16c7d98);
        _selector(IController.getContractInfo.selector, 0x613e2de2);
        _selector(IController.pause.selector, 0x8456cb59);
        _selector(IController.unpause.selector, 0x3f4ba83a);
        _selector(controller.transferOwnership.selector, 0xf2fde38b);
        _selector(IController.owner.selector, 0x8da5cb5b);
        _selector(IController.paused.selector, 0x5c975abb);
        _selector(broker.controller.selector, 0xf77c4791);
    }

    function test_Invariant33_TicketBrokerSelectors() external pure {
        _selector(ITicketBroker.fundDeposit.selector, 0x6caa736b);
        _selector(ITicketBroker.fundReserve.selector, 0x6f9c3c8f);
        _selector(ITicketBroker.fundDepositAndReserve.selector, 0x511f4073);
        _selector(ITicketBroker.fundDepositAndReserveFor.selector, 0x989f789c);
        _selector(ITicketBroker.redeemWinningTicket.selector, 0xec8b3cb6);
        _selector(ITicketBroker.batchRedeemWinningTickets.selector, 0xd01b808e);
        _selector(ITicketBroker.unlock.selector, 0xa69df4b5);
        _selector(ITicketBroker.cancelUnlock.selector, 0xc2c4c2c8);
        _selector(ITicketBroker.withdraw.selector, 0x3ccfd60b);
        _selector(ITicketBroker.setUnlockPeriod.selector, 0x3d0ddf84);
        _selector(ITicketBroker.setTicketValidityPeriod.selector, 0xc9297808);
        _selector(ITicketBroker.getSenderInfo.selector, 0xe1a589da);
        _selector(ITicketBroker.getReserveInfo.selector, 0x5b6333eb);
        _selector(ITicketBroker.claimableReserve.selector, 0x81779f38);
        _selector(ITicketBroker.claimedReserve.selector, 0x4ac826da);
        _selector(ITicketBroker.getTicketHash.selector, 0xb03fa864);
        _selector(ITicketBroker.isUnlockInProgress.selector, 0x121cdcc2);
        _selector(ITicketBroker.usedTickets.selector, 0x59a515ba);
        _selector(ITicketBroker.unlockPeriod.selector, 0x20d3a0b4);
        _selector(ITicketBroker.ticketValidityPeriod.selector, 0x856a2cf8);
    }

    function test_Invariant33_BondingManagerCallSelectors() external pure {
        _selector(IBondingManager.bond.selector, 0xb78d27dc);
        _selector(IBondingManager.bondWithHint.selector, 0x6bd9add4);
        _selector(IBondingManager.unbond.selector, 0x27de9e32);
        _selector(IBondingManager.unbondWithHint.selector, 0x9500ed9b);
        _selector(IBondingManager.rebond.selector, 0xeaffb3f9);
        _selector(IBondingManager.rebondWithHint.selector, 0x7fc4606f);
        _selector(IBondingManager.rebondFromUnbonded.selector, 0x3a080e93);
        _selector(IBondingManager.rebondFromUnbondedWithHint.selector, 0x0584a373);
        _selector(IBondingManager.withdrawStake.selector, 0x25d5971f);
        _selector(IBondingManager.withdrawFees.selector, 0xad3b1b47);
        _selector(IBondingManager.claimEarnings.selector, 0x24b1babf);
        _selector(IBondingManager.reward.selector, 0x228cb733);
        _selector(IBondingManager.rewardWithHint.selector, 0x81871056);
        _selector(IBondingManager.transcoder.selector, 0x43d3461a);
        _selector(IBondingManager.transcoderWithHint.selector, 0x3550aa10);
        _selector(IBondingManager.updateTranscoderWithFees.selector, 0x3aeb512c);
        _selector(IBondingManager.setCurrentRoundTotalActiveStake.selector, 0x713f2216);
        _selector(IBondingManager.setUnbondingPeriod.selector, 0xf10d1de1);
        _selector(IBondingManager.setNumActiveTranscoders.selector, 0x673a456b);
        _selector(IBondingManager.setRewardCaller.selector, 0x0103e60e);
        _selector(IBondingManager.rewardForTranscoder.selector, 0x1a8c41f8);
        _selector(IBondingManager.rewardForTranscoderWithHint.selector, 0xb556966a);
    }

    function test_Invariant33_BondingManagerViewSelectors() external pure {
        _selector(IBondingManager.getDelegator.selector, 0xa64ad595);
        _selector(IBondingManager.getTranscoder.selector, 0x5dce9948);
        _selector(IBondingManager.getTranscoderEarningsPoolForRound.selector, 0x24454fc4);
        _selector(IBondingManager.getDelegatorUnbondingLock.selector, 0x412f83b6);
        _selector(IBondingManager.isValidUnbondingLock.selector, 0x0fd02fc1);
        _selector(IBondingManager.pendingStake.selector, 0x9d0b2c7a);
        _selector(IBondingManager.pendingFees.selector, 0xf595f1cc);
        _selector(IBondingManager.delegatorStatus.selector, 0x1544fc67);
        _selector(IBondingManager.transcoderStatus.selector, 0x8b2f1652);
        _selector(IBondingManager.isActiveTranscoder.selector, 0x08802374);
        _selector(IBondingManager.isRegisteredTranscoder.selector, 0x68ba170c);
        _selector(IBondingManager.transcoderTotalStake.selector, 0x9ef9df94);
        _selector(IBondingManager.getFirstTranscoderInPool.selector, 0x88a6c749);
        _selector(IBondingManager.getNextTranscoderInPool.selector, 0x235c9603);
        _selector(IBondingManager.getTranscoderPoolSize.selector, 0x2a4e0d55);
        _selector(IBondingManager.getTranscoderPoolMaxSize.selector, 0x5a2a75a9);
        _selector(IBondingManager.getTotalBonded.selector, 0x5c50c356);
        _selector(IBondingManager.currentRoundTotalActiveStake.selector, 0x4196ee75);
        _selector(IBondingManager.nextRoundTotalActiveStake.selector, 0x465501d3);
        _selector(IBondingManager.unbondingPeriod.selector, 0x6cf6d675);
        _selector(IBondingManager.transcoderToRewardCaller.selector, 0x47621410);
    }

    function test_Invariant33_RoundsManagerSelectors() external pure {
        _selector(IRoundsManager.initializeRound.selector, 0xd4807fb2);
        _selector(IRoundsManager.setRoundLength.selector, 0x681312f5);
        _selector(IRoundsManager.setRoundLockAmount.selector, 0x0b1573b8);
        _selector(IRoundsManager.currentRound.selector, 0x8a19c8bc);
        _selector(IRoundsManager.currentRoundStartBlock.selector, 0x8fa148f2);
        _selector(IRoundsManager.currentRoundInitialized.selector, 0x219bc76c);
        _selector(IRoundsManager.currentRoundLocked.selector, 0x6841f253);
        _selector(IRoundsManager.blockHashForRound.selector, 0x3aa4add4);
        _selector(IRoundsManager.roundLength.selector, 0x8b649b94);
        _selector(IRoundsManager.roundLockAmount.selector, 0xf5b490d5);
        _selector(IRoundsManager.lastInitializedRound.selector, 0x8807f36e);
        _selector(IRoundsManager.lastRoundLengthUpdateRound.selector, 0x0fe1dfa8);
        _selector(IRoundsManager.lastRoundLengthUpdateStartBlock.selector, 0x668abff7);
    }

    function test_Invariant33_MinterRegistryAndTokenSelectors() external view {
        _selector(IMinter.createReward.selector, 0x7dbedad5);
        _selector(IMinter.trustedTransferTokens.selector, 0xe7a49c2b);
        _selector(IMinter.setCurrentRewardTokens.selector, 0xece2064c);
        _selector(IMinter.setTargetBondingRate.selector, 0x77bde142);
        _selector(IMinter.setInflationChange.selector, 0x010e3c1c);
        _selector(IMinter.inflation.selector, 0xbe0522e0);
        _selector(IMinter.inflationChange.selector, 0xa7c83514);
        _selector(IMinter.targetBondingRate.selector, 0x821b771f);
        _selector(IMinter.currentMintableTokens.selector, 0x9ae6309a);
        _selector(IMinter.currentMintedTokens.selector, 0x2de22cdb);
        _selector(IMinter.getGlobalTotalSupply.selector, 0x5507442d);
        _selector(IServiceRegistry.setServiceURI.selector, 0x5f11301b);
        _selector(IServiceRegistry.getServiceURI.selector, 0x214c2a4b);
        _selector(token.approve.selector, 0x095ea7b3);
        _selector(token.allowance.selector, 0xdd62ed3e);
        _selector(token.balanceOf.selector, 0x70a08231);
        _selector(token.totalSupply.selector, 0x18160ddd);
        _selector(token.transfer.selector, 0xa9059cbb);
    }

    /// Views are decoded by position, so their length and order are part of the surface.
    function test_Invariant33_GivenOneOfEach_TupleLayoutsAreTheDeployedOnes() external {
        _playEveryEvent();
        uint256 round = rounds.currentRound();
        _words(address(bonding), abi.encodeCall(bonding.getDelegator, (orchestrator)), 7);
        _words(address(bonding), abi.encodeCall(bonding.getTranscoder, (orchestrator)), 10);
        _words(address(bonding), abi.encodeCall(bonding.getTranscoderEarningsPoolForRound, (orchestrator, round)), 5);
        _words(address(bonding), abi.encodeCall(bonding.getDelegatorUnbondingLock, (delegator, 0)), 2);
        _words(address(controller), abi.encodeCall(controller.getContractInfo, (bytes32(0))), 2);
        _words(address(broker), abi.encodeCall(broker.getSenderInfo, (sender)), 4);
        _words(address(broker), abi.encodeCall(broker.getReserveInfo, (sender)), 2);
        vm.assertEq(uint256(IBondingManager.DelegatorStatus.Pending), 0);
        vm.assertEq(uint256(IBondingManager.DelegatorStatus.Bonded), 1);
        vm.assertEq(uint256(IBondingManager.DelegatorStatus.Unbonded), 2);
        vm.assertEq(uint256(IBondingManager.TranscoderStatus.NotRegistered), 0);
        vm.assertEq(uint256(IBondingManager.TranscoderStatus.Registered), 1);
    }

    /// Plays one of every event and compares topic, number of indexed fields and length of the rest.
    function test_Invariant33_GivenOneOfEach_EventsAreTheDeployedOnes() external {
        vm.recordLogs();
        _playEveryEvent();
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; ++i) {
            bytes32 topic = logs[i].topics[0];
            _seen[topic] = true;
            _topicCount[topic] = logs[i].topics.length - 1;
            _dataLength[topic] = logs[i].data.length / 32;
        }
        // topic, indexed fields, words of data (0 = has a field of dynamic length)
        _event(0x5159e237d952190e68d5215430f305831be7c9c8776d1377c76679ae4773413f, 1, 1); // DepositFunded
        _event(0xb52b99b9e83551fcbd069b559cc3e823e2a1a3bad8ece46561ea77524394c850, 1, 1); // ReserveFunded
        _event(0x5c2b394723f408a40a60335e24b71829642e35f350cebe2036a96a66e895ea98, 1, 2); // ReserveClaimed
        _event(0xc389eb51ed006dbf2528507f010efdf5225ea596e1e1741d74f550dab1925ee7, 2, 0); // WinningTicketRedeemed
        _event(0x8b87351a208c06e3ceee59d80725fd77a23b4129e1b51ca231fc89b40712649c, 2, 1); // WinningTicketTransfer
        _event(0xf7870c5b224cbc19873599e46ccfc7103934650509b1af0c3ce90138377c2004, 1, 2); // Unlock
        _event(0xfa044b7b93a40365dc68049797c2eb06918523d694e5d56e406cac3eb35578e5, 1, 0); // UnlockCancelled
        _event(0xdf273cb619d95419a9cd0ec88123a0538c85064229baa6363788f743fff90deb, 1, 2); // Withdrawal
        _event(0xe5917769f276ddca9f2ee7c6b0b33e1d1e1b61008010ce622c632dd20d168a23, 3, 2); // Bond
        _event(0x2d5d98d189bee5496a08db2a5948cb7e5e786f09d17d0c3f228eb41776c24a06, 2, 3); // Unbond
        _event(0x9f5b64cc71e1e26ff178caaa7877a04d8ce66fde989251870e80e6fbee690c17, 2, 2); // Rebond
        _event(0x1340f1a8f3d456a649e1a12071dfa15655e3d09252131d0f980c3b405cc8dd2e, 1, 3); // WithdrawStake
        _event(0x4f1b51dd7a2fcb861aa2670f668be66835c4ee12b4bbbf037e4d0018f39819e4, 1, 2); // WithdrawFees
        _event(0xd7eab0765b772ea6ea859d5633baf737502198012e930f257f90013d9b211094, 2, 4); // EarningsClaimed
        _event(0x619caafabdd75649b302ba8419e48cccf64f37f1983ac4727cfb38b57703ffc9, 1, 1); // Reward
        _event(0x7346854431dbb3eb8e373c604abf89e90f4865b8447e1e2834d7b3e4677bf544, 1, 2); // TranscoderUpdate
        _event(0x65d72d782835d64c3287844a829608d5abdc7e864cc9affe96d910ab3db665e9, 1, 1); // TranscoderActivated
        _event(0xfee3e693fc72d0a0a673805f3e606c551f4c677b9072444b90dd2d0406bc995c, 1, 1); // TranscoderDeactivated
        _event(0x15932b87747cac36d3c505e86a946c6d3a79d9d7bdb79d81584d32bbe54516c2, 2, 0); // RewardCallerSet
        _event(0x22f2fc17c5daf07db2379b3a03a8ef20a183f761097a58fce219c8a14619e786, 1, 1); // NewRound
        _event(0x39567a366345edf17f50c1967a31b597745186c4632f34c4f8ebe06b6890784d, 0, 2); // SetCurrentRewardTokens
        _event(0xfbb63068732c85741c9f8e61caffaabe038d577bfafd2d2dcc0e352a4f653a4c, 1, 0); // ServiceURIUpdate
        _event(keccak256("SetContractInfo(bytes32,address,bytes20)"), 0, 3);
        _event(keccak256("Pause()"), 0, 0);
        _event(keccak256("Unpause()"), 0, 0);
        _event(keccak256("OwnershipTransferred(address,address)"), 2, 0);
        _event(keccak256("ParameterUpdate(string)"), 0, 0);
        _event(keccak256("Mint(address,uint256)"), 1, 1);
    }

    function _playEveryEvent() private {
        _register(orchestrator, 1000 ether, 0, 0);
        _bond(delegator, 10 ether, orchestrator);
        vm.prank(orchestrator);
        bonding.setRewardCaller(stranger);
        vm.prank(orchestrator);
        registry.setServiceURI("https://a.example");
        _nextRound();
        _fund(1 ether, 1 ether);
        Ticket memory ticket = _ticket(1.5 ether, 1);
        _redeem(ticket);
        vm.prank(stranger);
        bonding.rewardForTranscoder(orchestrator);
        vm.startPrank(delegator);
        bonding.unbond(1 ether);
        bonding.rebond(0);
        bonding.unbond(1 ether);
        vm.stopPrank();
        vm.startPrank(sender);
        broker.unlock();
        broker.cancelUnlock();
        broker.unlock();
        vm.stopPrank();
        _nextRounds(7);
        vm.prank(sender);
        broker.withdraw();
        vm.prank(delegator);
        bonding.withdrawStake(1);
        vm.startPrank(orchestrator);
        bonding.withdrawFees(payable(orchestrator), 1);
        bonding.unbond(bonding.pendingStake(orchestrator, 0));
        vm.stopPrank();
        vm.startPrank(owner);
        controller.setContractInfo(bytes32(0), address(1), bytes20(0));
        controller.pause();
        controller.unpause();
        rounds.setRoundLength(ROUND_LENGTH);
        controller.transferOwnership(stranger);
        vm.stopPrank();
    }

    function _selector(bytes4 actual, bytes4 expected) private pure {
        vm.assertEq(bytes32(actual), bytes32(expected));
    }

    function _event(bytes32 topic, uint256 indexed_, uint256 words) private view {
        vm.assertEq(_seen[topic] ? topic : bytes32(0), topic, "event not seen");
        vm.assertEq(_topicCount[topic], indexed_, "indexed fields");
        if (words > 0) vm.assertEq(_dataLength[topic], words, "words of data");
    }

    function _words(address target, bytes memory call, uint256 words) private view {
        (bool ok, bytes memory result) = target.staticcall(call);
        vm.assertTrue(ok);
        vm.assertEq(result.length, words * 32);
    }
}
