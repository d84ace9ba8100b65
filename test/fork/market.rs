//! A sender, an orchestrator and its delegator, on a fork.
use std::{sync::Arc, time::Instant};

use alloy::{
    eips::BlockId,
    network::Ethereum,
    primitives::{Address, B256, Bytes, U256},
    providers::{DynProvider, ext::AnvilApi},
};
use anyhow::{Context, Result, ensure};
use rand::{SeedableRng, rngs::StdRng};
use revm::{
    database::{AlloyDB, CacheDB},
    database_interface::WrapDatabaseAsync,
};
use streamflow_bindings::{AddressBook, BondingManager, LivepeerToken, RoundsManager, TicketBroker};
use streamflow_chain::{OrderedGroup, redeem_call, redeem_ordered_call};
use streamflow_evm::{Done, LocalChain, Refusal};
use streamflow_pm::{
    KeySigner, QuoteDomain, QuoteRequest, QuoteSecret, Recipient, RecipientConfig, Sender, SenderLimits, SerialLease,
    TicketPolicy, ordered, signed_from_params,
};
use streamflow_testkit::{Deployment, key};
use streamflow_types::{ChainView, Price, Round, SenderFunds, WinningTicket};

const LPT: u128 = 1_000_000_000_000_000_000;
const CHAIN_ID: u64 = 31_337;
const SESSION: &str = "fork";
/// Delegators get 90 % of fees, and three quarters of the stake are one delegator's, in ppm.
pub(crate) const DELEGATOR_SHARE: u64 = 675_000;
/// What a ticket is worth, wei; its face value is twice as much.
const EV: u128 = 1_000_000_000_000_000;

/// State of a chain that is read when it is needed.
pub(crate) type Remote = WrapDatabaseAsync<AlloyDB<Ethereum, DynProvider>>;

/// The chain that was forked.
#[derive(Debug)]
pub(crate) struct Behind(Deployment);

/// How a winner is redeemed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// Alone, as on the deployed network.
    Single,
    /// With a place in the order.
    Ordered,
}

/// What a ticket is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binding {
    /// Whatever chain has its block hash, as on the deployed network.
    BlockHash,
    /// This chain and contract alone.
    Deployment,
}

#[derive(Debug)]
pub(crate) struct Market {
    pub(crate) chain: LocalChain<Remote>,
    pub(crate) contracts: AddressBook,
    pub(crate) orchestrator: Address,
    pub(crate) delegator: Address,
    /// Paid to the orchestrator so far, wei.
    pub(crate) earned: U256,
    /// One account, which binds its tickets to chain and contract, or does not.
    senders: [Sender; 2],
    desk: Recipient,
    secret: QuoteSecret,
    domain: QuoteDomain,
    next_serial: u64,
    /// Least gas of a redemption alone.
    single_gas: Option<u64>,
}

/// What the orchestrator made of a payment.
#[derive(Debug)]
pub(crate) struct Received {
    /// All tickets, each with the secret number of the quote.
    pub(crate) tickets: Vec<WinningTicket>,
    /// Those that it keeps.
    pub(crate) winners: Vec<WinningTicket>,
}

/// What came of an ordered call.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) gas: u64,
    pub(crate) paid: U256,
    /// Why the group was skipped.
    pub(crate) skipped: Option<[u8; 4]>,
}

impl Behind {
    /// All that there is to know of it.
    pub(crate) async fn everything(&self) -> Result<(u64, Bytes)> {
        Ok((self.0.anvil.block_number().await?, self.0.anvil.provider().anvil_dump_state().await?))
    }
}

impl Market {
    /// On the chain: an active orchestrator with a delegator. On the fork: a sender who has funded itself.
    pub(crate) async fn fork() -> Result<(Self, Behind)> {
        let deployment = Deployment::start().await?;
        let contracts = deployment.contracts;
        let (sender, orchestrator, delegator) = (key(1)?, key(2)?, key(3)?);
        deployment.initialize_round().await?;
        deployment.register(&orchestrator, U256::from(5 * LPT), "https://o.example:8935").await?;
        let (amount, staking) = (U256::from(15 * LPT), contracts.bonding_manager);
        deployment.give_lpt(delegator.address(), amount).await?;
        let approve = LivepeerToken::approveCall { spender: staking, value: amount };
        deployment.call(&delegator, contracts.livepeer_token, approve, U256::ZERO).await?;
        let bond = BondingManager::bondCall { amount, to: orchestrator.address() };
        deployment.call(&delegator, staking, bond, U256::ZERO).await?;
        deployment.next_round().await?;

        let head = deployment.anvil.block_number().await?;
        let remote = AlloyDB::new(deployment.anvil.provider().clone(), BlockId::number(head));
        let remote = WrapDatabaseAsync::new(remote).context("needs a runtime of several threads")?;
        let chain = LocalChain::new(CacheDB::new(remote), CHAIN_ID, head + 1);

        let secret = QuoteSecret::new([7; 32]);
        let domain = QuoteDomain { chain_id: CHAIN_ID, broker: contracts.ticket_broker };
        let policy = TicketPolicy {
            ev: U256::from(EV),
            redeem_gas: 1,
            min_gas_price: EV / 50,
            tx_cost_multiplier: 100,
            ..TicketPolicy::default()
        };
        let tag = deployment.view(contracts.ticket_broker, TicketBroker::deploymentTagCall {}).await?;
        let mut config = RecipientConfig::new(orchestrator.address(), domain, policy);
        config.deployment = Some(tag);
        let limits = SenderLimits {
            max_ticket_ev: U256::from(2 * EV),
            max_total_ev: U256::from(1_000 * EV),
            ..SenderLimits::default()
        };
        let signer = Arc::new(KeySigner::from_bytes(sender.to_bytes().0)?);
        let mut market = Self {
            chain,
            contracts,
            orchestrator: orchestrator.address(),
            delegator: delegator.address(),
            earned: U256::ZERO,
            senders: [None, Some(tag)].map(|tag| Sender::new(signer.clone(), limits.clone()).bound_to(tag)),
            desk: Recipient::new(config, secret.clone()),
            secret,
            domain,
            next_serial: 1,
            single_gas: None,
        };
        let (deposit, reserve) = (U256::from(500 * EV), U256::from(100 * EV));
        let fund = TicketBroker::fundDepositAndReserveCall { depositAmount: deposit, reserveAmount: reserve };
        market.chain.send(sender.address(), contracts.ticket_broker, fund, deposit + reserve)?;
        Ok((market, Behind(deployment)))
    }

    /// Quote, payment and receipt, with nothing left out but the wire.
    pub(crate) fn payment(&mut self, path: Path, binding: Binding, count: usize) -> Result<Received> {
        let (funds, chain, now) = (self.funds()?, self.chain_view()?, Instant::now());
        let price = Price::new(1, 1)?;
        let sender = self.sender();
        let request = QuoteRequest { sender, price, funds: &funds, pending: U256::ZERO, gas_price: 0, chain: &chain };
        let slot = match path {
            Path::Single => None,
            Path::Ordered => {
                let terms = self.desk.policy().lease_terms(&chain);
                let serials = self.next_serial..=self.next_serial;
                self.next_serial += 1;
                let mut lease = SerialLease::new(serials, terms.round, *terms.expiration_block.start());
                Some(lease.draw(self.desk.policy(), &chain).context("the lease does not serve")?)
            }
        };
        let params = self.desk.quote(&request, slot, &mut StdRng::from_os_rng())?;
        let payer = &self.senders[binding as usize];
        let session = payer.start_session(params, now)?;
        let payment = payer.pay(session, count, price, &funds, &chain, now)?;
        let params = payment.params.context("a payment without params")?;
        let receipt = self.desk.receive(&payment, SESSION, &funds, &chain, now);
        ensure!(receipt.error.is_none() && receipt.credited == count, "{receipt:?}");
        let recipient_rand = self.secret.recipient_rand(&self.domain, sender, &params, price);
        let whole = |own| WinningTicket {
            signed: signed_from_params(&params, sender, own),
            recipient_rand,
            params_expiration_block: params.expiration_block,
        };
        Ok(Received { tickets: payment.tickets.iter().map(whole).collect(), winners: receipt.winners })
    }

    /// By the deployed call, from anybody.
    pub(crate) fn redeem(&mut self, ticket: &WinningTicket) -> Result<Result<Done<()>, Refusal>> {
        let anybody = Address::repeat_byte(0xab);
        let outcome = self.chain.try_send(anybody, self.contracts.ticket_broker, redeem_call(ticket), U256::ZERO)?;
        if let Ok(done) = &outcome {
            self.single_gas = Some(self.single_gas.unwrap_or(u64::MAX).min(done.gas));
        }
        Ok(outcome.map(|done| Done { output: (), gas: done.gas, logs: done.logs }))
    }

    /// As one group that was planned on `mark`.
    pub(crate) fn redeem_ordered(&mut self, mark: U256, tickets: &[&WinningTicket]) -> Result<Batch> {
        let group = OrderedGroup { sender: self.sender(), mark, tickets: tickets.to_vec() };
        let call = redeem_ordered_call(self.orchestrator, &[group])?;
        let done = self.chain.send(self.orchestrator, self.contracts.ticket_broker, call, U256::ZERO)?;
        let skipped = done.event::<TicketBroker::OrderedGroupSkipped>().ok().map(|event| event.reason.0);
        let paid = match skipped {
            Some(_) => U256::ZERO,
            None => done.event::<TicketBroker::WinningTicketTransfer>()?.amount,
        };
        Ok(Batch { gas: done.gas, paid, skipped })
    }

    /// Place of a marked ticket in the order.
    pub(crate) fn key(ticket: &WinningTicket) -> U256 {
        let own = &ticket.signed.ticket;
        ordered::key(own.creation_round, ordered::serial(ticket.recipient_rand), own.sender_nonce)
    }

    /// Least gas of a redemption alone so far.
    pub(crate) fn single_gas(&self) -> Result<u64> {
        self.single_gas.context("nothing was redeemed alone")
    }

    pub(crate) fn mark(&mut self) -> Result<U256> {
        let call = TicketBroker::redemptionMarkCall { recipient: self.orchestrator, sender: self.sender() };
        Ok(self.chain.view(self.contracts.ticket_broker, call)?)
    }

    pub(crate) fn pending_fees(&mut self, delegator: Address) -> Result<U256> {
        let call = BondingManager::pendingFeesCall { delegator, _1: U256::ZERO };
        Ok(self.chain.view(self.contracts.bonding_manager, call)?)
    }

    pub(crate) fn unclaimed_fees(&mut self) -> Result<U256> {
        Ok(self.chain.view(self.contracts.ticket_broker, TicketBroker::unclaimedFeesCall {})?)
    }

    pub(crate) fn ticket_validity(&mut self) -> Result<u64> {
        Ok(self.chain.view(self.contracts.ticket_broker, TicketBroker::ticketValidityPeriodCall {})?.to())
    }

    /// Goes `rounds` further and initialises the last.
    pub(crate) fn next_rounds(&mut self, rounds: u64) -> Result<()> {
        let contract = self.contracts.rounds_manager;
        let start = self.chain.view(contract, RoundsManager::currentRoundStartBlockCall {})?;
        let length = self.chain.view(contract, RoundsManager::roundLengthCall {})?;
        self.chain.set_block((start + U256::from(rounds) * length).to());
        let anybody = Address::repeat_byte(0xab);
        self.chain.send(anybody, contract, RoundsManager::initializeRoundCall {}, U256::ZERO)?;
        Ok(())
    }

    fn sender(&self) -> Address {
        self.senders[0].address()
    }

    /// What the sender has, as the orchestrator's node reads it. The deposit pays everything here, so no reserve is claimed.
    pub(crate) fn funds(&mut self) -> Result<SenderFunds> {
        let (broker, sender) = (self.contracts.ticket_broker, self.sender());
        let info = self.chain.view(broker, TicketBroker::getSenderInfoCall { addr: sender })?;
        Ok(SenderFunds {
            deposit: info.sender.deposit,
            withdraw_round: Round(info.sender.withdrawRound.to()),
            reserve: info.reserve.fundsRemaining,
            pool_size: self.pool_size()?,
            ..SenderFunds::default()
        })
    }

    fn chain_view(&mut self) -> Result<ChainView> {
        let contract = self.contracts.rounds_manager;
        let round = self.chain.view(contract, RoundsManager::currentRoundCall {})?;
        let round_block_hash: B256 = self.chain.view(contract, RoundsManager::blockHashForRoundCall { round })?;
        Ok(ChainView {
            block: self.chain.block(),
            round: Round(round.to()),
            round_block_hash,
            round_initialized: true,
            pool_size: self.pool_size()?,
            base_fee: 0,
        })
    }

    fn pool_size(&mut self) -> Result<u64> {
        let call = BondingManager::currentRoundPoolSizeCall {};
        Ok(self.chain.view(self.contracts.bonding_manager, call)?.to())
    }
}
