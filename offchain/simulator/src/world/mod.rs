//! The chain that the agents of a scenario share.
mod desk;
mod payer;
mod redemption;

use std::time::{Duration, Instant};

use alloy::{
    primitives::{Address, B256, U256},
    sol_types::SolCall,
};
use rand::Rng;
use revm::database_interface::EmptyDB;
use streamflow_bindings::{AddressBook, BondingManager, LivepeerToken, RoundsManager, TicketBroker};
use streamflow_evm::{DeployScript, Deployed, Done, EvmError, LocalChain, Params, Refusal};
use streamflow_pm::QuoteDomain;
use streamflow_types::{ChainView, Round, SenderFunds};

pub use self::desk::{Cover, Path};
pub(crate) use self::{
    desk::{Desk, Offer},
    payer::Payer,
    redemption::Paid,
};
use crate::{
    SimulatorError, Wei,
    trace::{Outcome, Trace},
};

/// One LPT in its smallest unit, and one ETH in wei.
pub(crate) const UNIT: u128 = 1_000_000_000_000_000_000;
/// The chain of all scenarios.
pub(crate) const CHAIN_ID: u64 = 31_337;
/// Time between two blocks of L1, which the contracts count.
const BLOCK_SECONDS: u64 = 12;

/// A chain with the contracts on it. Everything that is sent enters the trace; what is only asked does not.
#[derive(Debug)]
pub(crate) struct World {
    chain: LocalChain<EmptyDB>,
    pub(crate) contracts: AddressBook,
    chain_id: u64,
    deployer: Address,
    trace: Trace,
    /// What the books of the agents take for the time of block 0. Only differences count.
    epoch: Instant,
}

impl World {
    /// Deploys the contracts with the parameters of the network, as `change` leaves them, and initialises a round.
    pub(crate) fn open(script: &DeployScript, change: impl FnOnce(&mut Params)) -> Result<Self, SimulatorError> {
        Self::on(&Deployed::new(script, CHAIN_ID, change)?)
    }

    /// A deployment, with a round initialised.
    pub(crate) fn on(deployed: &Deployed) -> Result<Self, SimulatorError> {
        let chain = LocalChain::new(deployed.state.clone(), CHAIN_ID, deployed.block);
        let (contracts, deployer) = (deployed.contracts, deployed.deployer);
        let trace = Trace::default();
        let mut world = Self { chain, contracts, chain_id: CHAIN_ID, deployer, trace, epoch: Instant::now() };
        world.initialize_round()?;
        Ok(world)
    }

    /// The same chain, with a future and a trace of its own.
    pub(crate) fn fork(&self) -> Self {
        self.fork_as(self.chain_id)
    }

    /// A chain with another id and the same past.
    pub(crate) fn fork_as(&self, chain_id: u64) -> Self {
        let chain = self.chain.fork(chain_id);
        let (contracts, deployer, epoch) = (self.contracts, self.deployer, self.epoch);
        Self { chain, contracts, chain_id, deployer, trace: Trace::default(), epoch }
    }

    pub(crate) fn trace(&self) -> Trace {
        self.trace
    }

    /// Takes what happened on a fork into the trace.
    pub(crate) fn absorb(&mut self, fork: &Self) {
        self.trace.absorb(fork.trace);
    }

    pub(crate) fn domain(&self) -> QuoteDomain {
        QuoteDomain { chain_id: self.chain_id, broker: self.contracts.ticket_broker }
    }

    /// Sends a transaction that may be refused.
    pub(crate) fn try_send<C: SolCall>(
        &mut self,
        caller: Address,
        to: Address,
        call: C,
        wei: U256,
    ) -> Result<Result<Done<C::Return>, Refusal>, EvmError> {
        let data = call.abi_encode();
        let outcome = self.chain.try_send(caller, to, call, wei)?;
        let traced = match &outcome {
            Ok(done) => Outcome::Done { gas: done.gas, logs: &done.logs },
            Err(refusal) => Outcome::Refused(&refusal.0),
        };
        self.trace.record(self.chain.block(), [caller, to], &data, wei, &traced);
        Ok(outcome)
    }

    /// Sends a transaction that must go through.
    pub(crate) fn send<C: SolCall>(
        &mut self,
        caller: Address,
        to: Address,
        call: C,
        wei: U256,
    ) -> Result<Done<C::Return>, EvmError> {
        self.try_send(caller, to, call, wei)?.map_err(|refusal| EvmError::Refused { call: C::SIGNATURE, refusal })
    }

    /// What a transaction would do.
    pub(crate) fn simulate<C: SolCall>(
        &mut self,
        caller: Address,
        to: Address,
        call: C,
    ) -> Result<Result<Done<C::Return>, Refusal>, EvmError> {
        self.chain.simulate(caller, to, call, U256::ZERO)
    }

    /// Asks a contract.
    pub(crate) fn view<C: SolCall>(&mut self, to: Address, call: C) -> Result<C::Return, EvmError> {
        self.chain.view(to, call)
    }

    // --- time ---

    pub(crate) fn block(&self) -> u64 {
        self.chain.block()
    }

    /// Goes `blocks` further.
    pub(crate) fn advance(&mut self, blocks: u64) {
        self.chain.set_block(self.chain.block() + blocks);
    }

    /// Goes to `block`, unless it is past, and initialises its round.
    pub(crate) fn go_to(&mut self, block: u64) -> Result<(), EvmError> {
        self.chain.set_block(block.max(self.chain.block()));
        self.initialize_round()
    }

    /// First block of the round after the present one.
    pub(crate) fn round_end(&mut self) -> Result<u64, EvmError> {
        let rounds = self.contracts.rounds_manager;
        let start = self.view(rounds, RoundsManager::currentRoundStartBlockCall {})?;
        let length = self.view(rounds, RoundsManager::roundLengthCall {})?;
        Ok((start + length).saturating_to())
    }

    /// Goes to the first block of the next round and initialises it.
    pub(crate) fn next_round(&mut self) -> Result<(), EvmError> {
        let end = self.round_end()?;
        self.go_to(end)
    }

    fn initialize_round(&mut self) -> Result<(), EvmError> {
        let rounds = self.contracts.rounds_manager;
        if !self.view(rounds, RoundsManager::currentRoundInitializedCall {})? {
            self.send(self.deployer, rounds, RoundsManager::initializeRoundCall {}, U256::ZERO)?;
        }
        Ok(())
    }

    /// Time of the present block, to the agents' books.
    pub(crate) fn now(&self) -> Instant {
        self.epoch + Duration::from_secs(self.block() * BLOCK_SECONDS)
    }

    /// Block and round, as nodes read them.
    pub(crate) fn chain_view(&mut self) -> Result<ChainView, EvmError> {
        let rounds = self.contracts.rounds_manager;
        let round = self.view(rounds, RoundsManager::currentRoundCall {})?;
        let round_block_hash = self.view(rounds, RoundsManager::blockHashForRoundCall { round })?;
        Ok(ChainView {
            block: self.block(),
            round: Round(round.saturating_to()),
            round_block_hash,
            round_initialized: true,
            pool_size: self.pool_size()?,
            base_fee: 0,
        })
    }

    /// Block hash of a round.
    pub(crate) fn round_hash(&mut self, round: Round) -> Result<B256, EvmError> {
        let call = RoundsManager::blockHashForRoundCall { round: U256::from(round.0) };
        self.view(self.contracts.rounds_manager, call)
    }

    fn pool_size(&mut self) -> Result<u64, EvmError> {
        let call = BondingManager::currentRoundPoolSizeCall {};
        Ok(self.view(self.contracts.bonding_manager, call)?.saturating_to())
    }

    // --- money ---

    /// Gives `account` ETH from nowhere.
    pub(crate) fn endow(&mut self, account: Address, wei: u128) -> Result<(), EvmError> {
        let balance = self.chain.balance(account)?;
        self.chain.set_balance(account, balance + U256::from(wei))
    }

    pub(crate) fn balance(&self, account: Address) -> Result<Wei, EvmError> {
        Ok(Wei::from_chain(self.chain.balance(account)?))
    }

    /// Adds to deposit and reserve of `sender`, with money from nowhere.
    pub(crate) fn fund(&mut self, sender: Address, deposit: u128, reserve: u128) -> Result<(), EvmError> {
        self.endow(sender, deposit + reserve)?;
        let call = TicketBroker::fundDepositAndReserveCall {
            depositAmount: U256::from(deposit),
            reserveAmount: U256::from(reserve),
        };
        self.send(sender, self.contracts.ticket_broker, call, U256::from(deposit + reserve))?;
        Ok(())
    }

    /// What `sender` can pay `recipient` with, as nodes read it.
    pub(crate) fn funds(&mut self, sender: Address, recipient: Address) -> Result<SenderFunds, EvmError> {
        let broker = self.contracts.ticket_broker;
        let info = self.view(broker, TicketBroker::getSenderInfoCall { addr: sender })?;
        let claimed = TicketBroker::claimedReserveCall { reserveHolder: sender, claimant: recipient };
        Ok(SenderFunds {
            deposit: info.sender.deposit,
            withdraw_round: Round(info.sender.withdrawRound.saturating_to()),
            reserve: info.reserve.fundsRemaining,
            claimed_in_current_round: info.reserve.claimedInCurrentRound,
            claimed_by_recipient: self.view(broker, claimed)?,
            pool_size: self.pool_size()?,
            committed: U256::ZERO,
        })
    }

    // --- stake ---

    /// Gives `staker` this much LPT, and stakes it with `to`. Needs an initialised round.
    pub(crate) fn bond(&mut self, staker: Address, to: Address, lpt: u128) -> Result<(), EvmError> {
        let (token, staking) = (self.contracts.livepeer_token, self.contracts.bonding_manager);
        let amount = U256::from(lpt);
        let deployer = self.deployer;
        self.send(deployer, token, LivepeerToken::transferCall { to: staker, value: amount }, U256::ZERO)?;
        self.send(staker, token, LivepeerToken::approveCall { spender: staking, value: amount }, U256::ZERO)?;
        self.send(staker, staking, BondingManager::bondCall { amount, to }, U256::ZERO)?;
        Ok(())
    }

    /// Registers an orchestrator; it is active from the next round on.
    pub(crate) fn register(&mut self, account: Address, lpt: u128, fee_share: u32) -> Result<(), EvmError> {
        self.bond(account, account, lpt)?;
        self.set_commission(account, fee_share)
    }

    /// Sets the part of fees that delegators get, ppm. Of rewards they get all, so that rewards change no part.
    pub(crate) fn set_commission(&mut self, account: Address, fee_share: u32) -> Result<(), EvmError> {
        let call = BondingManager::transcoderCall { rewardCut: U256::ZERO, feeShare: U256::from(fee_share) };
        self.send(account, self.contracts.bonding_manager, call, U256::ZERO)?;
        Ok(())
    }

    /// Fees that `account` could withdraw, from its own stake and by delegation.
    pub(crate) fn fees(&mut self, account: Address) -> Result<Wei, EvmError> {
        let call = BondingManager::pendingFeesCall { delegator: account, _1: U256::ZERO };
        Ok(Wei::from_chain(self.view(self.contracts.bonding_manager, call)?))
    }

    /// `count` active orchestrators with a desk each, in a new round.
    pub(crate) fn desks(&mut self, count: u64, offer: Offer, rng: &mut impl Rng) -> Result<Vec<Desk>, SimulatorError> {
        let mut desks = Vec::new();
        for _ in 0..count {
            desks.push(self.registered(offer, rng)?);
        }
        self.next_round()?;
        Ok(desks)
    }

    /// One active orchestrator with a desk, in a new round.
    pub(crate) fn desk(&mut self, offer: Offer, rng: &mut impl Rng) -> Result<Desk, SimulatorError> {
        let desk = self.registered(offer, rng)?;
        self.next_round()?;
        Ok(desk)
    }

    fn registered(&mut self, offer: Offer, rng: &mut impl Rng) -> Result<Desk, SimulatorError> {
        let account = Address::new(rng.random());
        self.register(account, 10 * UNIT, 500_000)?;
        Desk::new(self, account, offer, rng)
    }
}
