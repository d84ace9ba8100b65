// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {ERC1967Utils} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Utils.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {BondingManager} from "../../contracts/BondingManager.sol";
import {JobsManager} from "../../contracts/JobsManager.sol";
import {Minter} from "../../contracts/Minter.sol";
import {OverspendProof} from "../../contracts/OverspendProof.sol";
import {RoundsManager} from "../../contracts/RoundsManager.sol";
import {ServiceRegistry} from "../../contracts/ServiceRegistry.sol";
import {SlashingManager} from "../../contracts/SlashingManager.sol";
import {TicketBroker} from "../../contracts/TicketBroker.sol";
import {IBondingManager} from "../../contracts/interfaces/IBondingManager.sol";
import {IController} from "../../contracts/interfaces/IController.sol";
import {IManaged} from "../../contracts/interfaces/IManaged.sol";
import {IRoundsManager} from "../../contracts/interfaces/IRoundsManager.sol";
import {ITicketBroker} from "../../contracts/interfaces/ITicketBroker.sol";
import {CommitteeVerifier} from "../../contracts/verifiers/CommitteeVerifier.sol";
import {Deploy} from "../../script/Deploy.s.sol";
import {SlashingTest} from "./SlashingTest.sol";

/// @notice A later version that appends to the storage and sets it as it is put in place.
contract LaterTicketBroker is TicketBroker {
    uint256 public added;

    constructor(
        IController controller_,
        IBondingManager bondingManager_,
        IRoundsManager roundsManager_,
        OverspendProof overspendProof_
    ) TicketBroker(controller_, bondingManager_, roundsManager_, overspendProof_) {}

    function initializeLater(uint256 added_) external reinitializer(2) {
        added = added_;
    }
}

contract UpgradeTest is SlashingTest {
    uint256 private constant _DELAY = 2 days;

    address private _council = _account("council");
    address private _watchman = _account("watchman");
    address private _guardian = _account("guardian");

    function _params(Deploy.Params memory p) internal view override returns (Deploy.Params memory) {
        p = super._params(p);
        p.timelockDelay = _DELAY;
        p.proposers[0] = _council;
        p.executors = new address[](1);
        p.cancellers = new address[](1);
        p.cancellers[0] = _watchman;
        p.guardian = _guardian;
        return p;
    }

    function test_GivenUpgradeOfEverything_DepositStakeAndFeesSurvive() external {
        _fund(10 ether, 5 ether);
        vm.prank(sender);
        broker.commitReserve{value: 3 ether}(orchestrator);
        _redeem(_ticket(1 ether, 1));
        _reward(orchestrator);
        vm.startPrank(challenger);
        committee.takeSeat();
        vm.stopPrank();
        vm.prank(orchestrator);
        registry.setServiceURI("https://o.example");
        bytes memory before = _state();
        address[8] memory proxies = _proxies();
        address[8] memory implementations = _freshImplementations();
        for (uint256 i = 0; i < proxies.length; ++i) {
            _upgrade(proxies[i], implementations[i], "");
            vm.assertEq(_implementation(proxies[i]), implementations[i]);
        }
        vm.assertEq(_state(), before);
        // The money still moves, in both directions.
        _redeem(_ticket(1 ether, 2));
        vm.prank(sender);
        broker.unlock();
        _nextRounds(2);
        uint256 held = sender.balance;
        vm.prank(sender);
        broker.withdraw();
        vm.assertEq(sender.balance, held + 13 ether);
        vm.prank(orchestrator);
        bonding.withdrawFees(payable(orchestrator), 1 ether);
        vm.assertEq(orchestrator.balance, 1 ether);
    }

    function test_GivenLaterVersion_ItsInitialisationRunsWithTheUpgrade() external {
        _fund(10 ether, 5 ether);
        LaterTicketBroker later = new LaterTicketBroker(controller, bonding, rounds, broker.overspendProof());
        _upgrade(address(broker), address(later), abi.encodeCall(LaterTicketBroker.initializeLater, (77)));
        vm.assertEq(LaterTicketBroker(address(broker)).added(), 77);
        vm.assertEq(broker.unlockPeriod(), 2);
        (ITicketBroker.Sender memory info,) = broker.getSenderInfo(sender);
        vm.assertEq(info.deposit, 10 ether);
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        LaterTicketBroker(address(broker)).initializeLater(78);
    }

    function test_RevertWhen_AnybodyButTheTimelockUpgrades() external {
        address[8] memory proxies = _proxies();
        address[8] memory implementations = _freshImplementations();
        address[4] memory callers = [stranger, deployer, _council, _guardian];
        for (uint256 i = 0; i < proxies.length; ++i) {
            for (uint256 j = 0; j < callers.length; ++j) {
                vm.prank(callers[j]);
                vm.expectRevert(abi.encodeWithSelector(IManaged.CallerNotOwner.selector, callers[j]));
                UUPSUpgradeable(proxies[i]).upgradeToAndCall(implementations[i], "");
            }
        }
    }

    function test_RevertWhen_UpgradeIsExecutedBeforeItsTime() external {
        address implementation = address(new TicketBroker(controller, bonding, rounds, broker.overspendProof()));
        bytes memory call = abi.encodeCall(UUPSUpgradeable.upgradeToAndCall, (implementation, ""));
        vm.prank(_council);
        vm.expectRevert(abi.encodeWithSelector(TimelockController.TimelockInsufficientDelay.selector, 1, _DELAY));
        timelock.schedule(address(broker), 0, call, 0, 0, 1);
        vm.prank(_council);
        timelock.schedule(address(broker), 0, call, 0, 0, _DELAY);
        bytes memory tooEarly = abi.encodeWithSelector(
            TimelockController.TimelockUnexpectedOperationState.selector,
            timelock.hashOperation(address(broker), 0, call, 0, 0),
            bytes32(1 << uint8(TimelockController.OperationState.Ready))
        );
        vm.warp(block.timestamp + _DELAY - 1);
        vm.expectRevert(tooEarly);
        timelock.execute(address(broker), 0, call, 0, 0);
        vm.assertNotEq(bytes32(bytes20(_implementation(address(broker)))), bytes32(bytes20(implementation)));
        vm.warp(block.timestamp + 1);
        vm.prank(stranger);
        timelock.execute(address(broker), 0, call, 0, 0);
        vm.assertEq(_implementation(address(broker)), implementation);
    }

    function test_GivenCanceller_AScheduledUpgradeIsStopped() external {
        address implementation = address(new TicketBroker(controller, bonding, rounds, broker.overspendProof()));
        bytes memory call = abi.encodeCall(UUPSUpgradeable.upgradeToAndCall, (implementation, ""));
        vm.prank(_council);
        timelock.schedule(address(broker), 0, call, 0, 0, _DELAY);
        bytes32 id = timelock.hashOperation(address(broker), 0, call, 0, 0);
        vm.prank(_watchman);
        timelock.cancel(id);
        vm.assertFalse(timelock.isOperation(id));
    }

    function test_RevertWhen_StrangerProposesOrCancels() external {
        bytes memory call = abi.encodeCall(IController.unpause, ());
        bytes32 id = timelock.hashOperation(address(controller), 0, call, 0, 0);
        bytes32 proposing = timelock.PROPOSER_ROLE();
        bytes32 cancelling = timelock.CANCELLER_ROLE();
        address[3] memory callers = [stranger, deployer, _guardian];
        for (uint256 i = 0; i < callers.length; ++i) {
            vm.startPrank(callers[i]);
            vm.expectRevert(_lacksRole(callers[i], proposing));
            timelock.schedule(address(controller), 0, call, 0, 0, _DELAY);
            vm.expectRevert(_lacksRole(callers[i], cancelling));
            timelock.cancel(id);
            vm.stopPrank();
        }
    }

    function test_GivenDeployed_TheDeployerHasNoPowerLeft() external view {
        vm.assertEq(controller.owner(), address(timelock));
        vm.assertTrue(token.hasRole(token.DEFAULT_ADMIN_ROLE(), address(timelock)));
        vm.assertFalse(token.hasRole(token.DEFAULT_ADMIN_ROLE(), deployer));
        vm.assertFalse(token.hasRole(token.MINTER_ROLE(), deployer));
        vm.assertFalse(timelock.hasRole(timelock.DEFAULT_ADMIN_ROLE(), deployer));
        vm.assertFalse(timelock.hasRole(timelock.PROPOSER_ROLE(), deployer));
        vm.assertFalse(timelock.hasRole(timelock.EXECUTOR_ROLE(), deployer));
        vm.assertFalse(timelock.hasRole(timelock.CANCELLER_ROLE(), deployer));
        vm.assertTrue(timelock.hasRole(timelock.DEFAULT_ADMIN_ROLE(), address(timelock)));
        vm.assertEq(timelock.getMinDelay(), _DELAY);
    }

    function test_RevertWhen_InitialisedAgain() external {
        address[8] memory proxies = _proxies();
        bytes[8] memory calls = _initializations();
        for (uint256 i = 0; i < proxies.length; ++i) {
            _assertRefused(proxies[i], calls[i], Initializable.InvalidInitialization.selector);
        }
    }

    function test_RevertWhen_TheImplementationItselfIsUsed() external {
        address[8] memory proxies = _proxies();
        bytes[8] memory calls = _initializations();
        bytes memory upgrade = abi.encodeCall(UUPSUpgradeable.upgradeToAndCall, (address(token), ""));
        for (uint256 i = 0; i < proxies.length; ++i) {
            address implementation = _implementation(proxies[i]);
            _assertRefused(implementation, calls[i], Initializable.InvalidInitialization.selector);
            _assertRefused(implementation, upgrade, UUPSUpgradeable.UUPSUnauthorizedCallContext.selector);
        }
    }

    function test_RevertWhen_NewImplementationCannotBeUpgraded() external {
        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(ERC1967Utils.ERC1967InvalidImplementation.selector, address(token)));
        broker.upgradeToAndCall(address(token), "");
        vm.stopPrank();
    }

    function _upgrade(address proxy, address implementation, bytes memory then) private {
        bytes memory call = abi.encodeCall(UUPSUpgradeable.upgradeToAndCall, (implementation, then));
        vm.prank(_council);
        timelock.schedule(proxy, 0, call, 0, 0, _DELAY);
        vm.warp(block.timestamp + _DELAY);
        timelock.execute(proxy, 0, call, 0, 0);
    }

    function _proxies() private view returns (address[8] memory) {
        return [
            address(minter),
            address(rounds),
            address(bonding),
            address(registry),
            address(broker),
            address(slashing),
            address(committee),
            address(deployment.jobsManager)
        ];
    }

    function _freshImplementations() private returns (address[8] memory) {
        return [
            address(new Minter(controller, token, bonding, rounds)),
            address(new RoundsManager(controller, bonding, minter)),
            address(new BondingManager(controller, token, minter, rounds, broker)),
            address(new ServiceRegistry(controller, bonding)),
            address(new TicketBroker(controller, bonding, rounds, broker.overspendProof())),
            address(new SlashingManager(controller, token, bonding, rounds, registry)),
            address(new CommitteeVerifier(controller, slashing, token)),
            address(new JobsManager(controller, bonding))
        ];
    }

    function _initializations() private pure returns (bytes[8] memory) {
        return [
            abi.encodeCall(Minter.initialize, (1, 1, 1)),
            abi.encodeCall(RoundsManager.initialize, (1, 1)),
            abi.encodeCall(BondingManager.initialize, (1, 1, 1)),
            abi.encodeCall(ServiceRegistry.initialize, ()),
            abi.encodeCall(TicketBroker.initialize, (1, 1)),
            abi.encodeCall(SlashingManager.initialize, ()),
            abi.encodeCall(CommitteeVerifier.initialize, (_rules())),
            abi.encodeCall(JobsManager.initialize, ())
        ];
    }

    /// @dev What the contracts say about everybody's money and every parameter.
    function _state() private view returns (bytes memory) {
        return abi.encode(_money(), _stake(), _parameters());
    }

    function _money() private view returns (bytes memory) {
        (ITicketBroker.Sender memory info, ITicketBroker.ReserveInfo memory reserve) = broker.getSenderInfo(sender);
        return abi.encode(
            info,
            reserve,
            broker.getCommittedReserve(sender, orchestrator),
            broker.unclaimedFees(),
            address(broker).balance,
            broker.usedTickets(broker.getTicketHash(_ticket(1 ether, 1)))
        );
    }

    function _stake() private view returns (bytes memory) {
        return abi.encode(
            bonding.pendingStake(orchestrator, 0),
            bonding.pendingFees(orchestrator, 0),
            bonding.pendingStake(delegator, 0),
            bonding.pendingFees(delegator, 0),
            bonding.currentRoundPoolSize(),
            token.balanceOf(address(minter)),
            committee.seatOf(challenger),
            committee.totalHeld(),
            registry.getServiceURI(orchestrator)
        );
    }

    function _parameters() private view returns (bytes memory) {
        return abi.encode(
            abi.encode(minter.inflation(), minter.currentMintableTokens(), minter.currentMintedTokens()),
            abi.encode(rounds.currentRound(), rounds.currentRoundInitialized(), rounds.roundLockAmount()),
            abi.encode(broker.unlockPeriod(), broker.ticketValidityPeriod(), broker.paused(), broker.deploymentTag()),
            abi.encode(bonding.unbondingPeriod(), bonding.challengeWindow(), bonding.getTranscoderPoolMaxSize()),
            abi.encode(committee.rules(), slashing.terms(SERVICE, address(committee)), slashing.domainSeparator())
        );
    }

    function _implementation(address proxy) private view returns (address) {
        return address(uint160(uint256(vm.load(proxy, ERC1967Utils.IMPLEMENTATION_SLOT))));
    }

    function _lacksRole(address account, bytes32 role) private pure returns (bytes memory) {
        return abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, account, role);
    }

    function _assertRefused(address target, bytes memory call, bytes4 selector) private {
        vm.prank(owner);
        (bool ok, bytes memory reason) = target.call(call);
        vm.assertFalse(ok);
        vm.assertEq(reason, abi.encodePacked(selector));
    }
}
