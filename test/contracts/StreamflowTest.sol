// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {BondingManager} from "../../contracts/BondingManager.sol";
import {Controller} from "../../contracts/Controller.sol";
import {LivepeerToken} from "../../contracts/LivepeerToken.sol";
import {Minter} from "../../contracts/Minter.sol";
import {RoundsManager} from "../../contracts/RoundsManager.sol";
import {ServiceRegistry} from "../../contracts/ServiceRegistry.sol";
import {TicketBroker} from "../../contracts/TicketBroker.sol";
import {IController} from "../../contracts/interfaces/IController.sol";
import {IManaged} from "../../contracts/interfaces/IManaged.sol";
import {Ticket} from "../../contracts/types/Ticket.sol";
import {Deploy} from "../../script/Deploy.s.sol";
import {Vm} from "./Vm.sol";

/// @notice A system deployed by the real deploy script, in an initialised round, and builders for what tests need. The tests act
/// as its owner, the timelock, and let it hold the deployer's LPT.
abstract contract StreamflowTest {
    /// @notice Tells forge that this is a test.
    bool public constant IS_TEST = true;

    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    uint256 internal constant ROUND_LENGTH = 50;
    uint256 internal constant DEPLOYER_KEY = 0xA11CE;
    uint256 internal constant SENDER_KEY = 0xB0B;
    uint256 internal constant RAND = 0x5ec3e7;
    /// @dev Wins every draw but one in 2^256.
    uint256 internal constant CERTAIN = type(uint256).max;

    Controller internal controller;
    LivepeerToken internal token;
    Minter internal minter;
    RoundsManager internal rounds;
    BondingManager internal bonding;
    ServiceRegistry internal registry;
    TicketBroker internal broker;
    TimelockController internal timelock;
    Deploy.Deployment internal deployment;

    address internal owner;
    address internal deployer = vm.addr(DEPLOYER_KEY);
    address internal sender = vm.addr(SENDER_KEY);
    address internal orchestrator = _account("orchestrator");
    address internal delegator = _account("delegator");
    address internal stranger = _account("stranger");

    function setUp() public virtual {
        vm.roll(1003);
        // Not `new`: the compiler would build the whole system once more for every test contract.
        Deploy script = Deploy(vm.deployCode("Deploy.s.sol:Deploy"));
        Deploy.Deployment memory d = script.deploy(_params(script.defaultParams(DEPLOYER_KEY)));
        (controller, token, minter, rounds) = (d.controller, d.livepeerToken, d.minter, d.roundsManager);
        (bonding, registry, broker) = (d.bondingManager, d.serviceRegistry, d.ticketBroker);
        (timelock, deployment) = (d.timelock, d);
        owner = address(timelock);
        uint256 supply = token.balanceOf(deployer);
        vm.prank(deployer);
        token.transfer(owner, supply);
        vm.deal(sender, 1_000_000 ether);
        vm.deal(stranger, 1_000_000 ether);
        _nextRound();
    }

    /// @dev Parameters of the deployment under test.
    function _params(Deploy.Params memory p) internal view virtual returns (Deploy.Params memory) {
        p.roundLength = ROUND_LENGTH;
        return p;
    }

    function _account(string memory name) internal pure returns (address) {
        return address(uint160(uint256(keccak256(bytes(name)))));
    }

    // --- time ---

    function _rollToNextRound() internal {
        vm.roll(rounds.currentRoundStartBlock() + ROUND_LENGTH);
    }

    function _nextRound() internal {
        _rollToNextRound();
        rounds.initializeRound();
    }

    function _nextRounds(uint256 n) internal {
        for (uint256 i = 0; i < n; ++i) {
            _nextRound();
        }
    }

    // --- stake ---

    function _bond(address from, uint256 amount, address to) internal {
        vm.prank(owner);
        token.transfer(from, amount);
        vm.prank(from);
        token.approve(address(bonding), amount);
        vm.prank(from);
        bonding.bond(amount, to);
    }

    function _register(address transcoder, uint256 stake, uint256 rewardCut, uint256 feeShare) internal {
        _bond(transcoder, stake, transcoder);
        vm.prank(transcoder);
        bonding.transcoder(rewardCut, feeShare);
    }

    function _reward(address transcoder) internal {
        vm.prank(transcoder);
        bonding.reward();
    }

    // --- tickets ---

    function _fund(uint256 deposit, uint256 reserve) internal {
        vm.prank(sender);
        broker.fundDepositAndReserve{value: deposit + reserve}(deposit, reserve);
    }

    function _auxData(uint256 round) internal view returns (bytes memory) {
        return abi.encode(round, rounds.blockHashForRound(round));
    }

    /// @dev A ticket of `sender` for `orchestrator`, made in the current round, that wins.
    function _ticket(uint256 faceValue, uint256 nonce) internal view returns (Ticket memory) {
        return Ticket({
            recipient: orchestrator,
            sender: sender,
            faceValue: faceValue,
            winProb: CERTAIN,
            senderNonce: nonce,
            recipientRandHash: keccak256(abi.encode(RAND)),
            auxData: _auxData(rounds.currentRound())
        });
    }

    function _sign(uint256 key, bytes32 ticketHash) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(key, keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", ticketHash)));
        return abi.encodePacked(r, s, v);
    }

    function _sign(Ticket memory ticket) internal view returns (bytes memory) {
        return _sign(SENDER_KEY, broker.getTicketHash(ticket));
    }

    function _redeem(Ticket memory ticket) internal {
        broker.redeemWinningTicket(ticket, _sign(ticket), RAND);
    }

    // --- expectations ---

    function _expectError(bytes memory revertData) internal {
        vm.expectRevert(revertData);
    }

    function _pause() internal {
        vm.prank(owner);
        controller.pause();
    }

    function _expectPaused() internal {
        vm.expectRevert(IController.SystemPaused.selector);
    }

    function _expectNotInitialized() internal {
        vm.expectRevert(abi.encodeWithSelector(IManaged.RoundNotInitialized.selector, rounds.currentRound()));
    }

    function _expectNotOwner(address caller) internal {
        vm.expectRevert(abi.encodeWithSelector(IManaged.CallerNotOwner.selector, caller));
    }

    function _expectNotTrusted(address caller) internal {
        vm.expectRevert(abi.encodeWithSelector(IManaged.CallerNotTrusted.selector, caller));
    }
}
