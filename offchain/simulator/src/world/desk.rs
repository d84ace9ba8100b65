//! An orchestrator: quotes, takes payments, holds winners until their secrets may be shown.
use alloy::primitives::{Address, U256};
use rand::{CryptoRng, Rng};
use serde::Serialize;
use streamflow_bindings::TicketBroker;
use streamflow_pm::{
    Backing, DepositDivisor, NoTerms, Payment, QuoteError, QuoteRequest, QuoteSecret, Receipt, Recipient,
    RecipientConfig, SerialLease, Terms, TicketPolicy,
};
use streamflow_types::{Price, SenderFunds, TicketParams, WinningTicket};

use super::World;
use crate::SimulatorError;

/// Blocks that params live.
pub(crate) const PARAMS_LIFE: u64 = 40;
/// Blocks that a keeper waits after the expiry of params, so that no orchestrator takes tickets on secrets that are known.
const EXPIRY_MARGIN: u64 = 2;
/// The session of all payments of a pair.
const SESSION: &str = "simulated";

/// How winners are redeemed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    /// The calls of the deployed network.
    Deployed,
    /// The ordered batch.
    Ordered,
}

/// What an orchestrator asks of a sender's funds before it quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cover {
    /// Nothing.
    Blind,
    /// The rule of the deployed network: its share of the reserve, less what is pending unless the deposit is three times that.
    MaxFloat,
    /// The rule of the node as it is set by default: of the deposit a part counts, and takes over no more than itself.
    Part,
    /// Its share of the reserve less what is pending: a deposit may go to others.
    ShareOnly,
}

/// What an orchestrator offers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    /// Face value aimed at, wei; a multiple of 100.
    pub(crate) face_value: u128,
    /// Expected value of a ticket, wei.
    pub(crate) ev: u128,
    pub(crate) cover: Cover,
}

/// An orchestrator's payment desk, with the winners that it has not redeemed yet.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) account: Address,
    pub(crate) recipient: Recipient,
    pub(crate) secret: QuoteSecret,
    pub(crate) price: Price,
    pub(crate) held: Vec<WinningTicket>,
    cover: Cover,
    next_serial: u64,
}

impl Desk {
    pub(crate) fn new(
        world: &mut World,
        account: Address,
        offer: Offer,
        rng: &mut impl Rng,
    ) -> Result<Self, SimulatorError> {
        let secret = QuoteSecret::new(rng.random());
        let policy = TicketPolicy {
            ev: U256::from(offer.ev),
            // Makes the cost of a redemption a hundredth of the face value, so that it is the one aimed at.
            redeem_gas: 1,
            min_gas_price: offer.face_value / 100,
            tx_cost_multiplier: 100,
            max_face_value: None,
            params_life_blocks: PARAMS_LIFE,
        };
        let mut config = RecipientConfig::new(account, world.domain(), policy);
        config.deposit_divisor = match offer.cover {
            Cover::Part => DepositDivisor::default(),
            Cover::Blind | Cover::MaxFloat | Cover::ShareOnly => DepositDivisor::WHOLE,
        };
        config.deployment = Some(world.view(world.contracts.ticket_broker, TicketBroker::deploymentTagCall {})?);
        let price = Price::new(1_000, 1)?;
        let recipient = Recipient::new(config, secret.clone());
        Ok(Self { account, recipient, secret, price, held: Vec::new(), cover: offer.cover, next_serial: 1 })
    }

    /// Face value and probability when a sender's funds set no limit.
    pub(crate) fn terms(&self) -> Result<Terms, NoTerms> {
        self.recipient.policy().terms(0, alloy::primitives::I256::MAX)
    }

    /// Params for `sender` as its funds are on chain, or the reason why it gets none.
    pub(crate) fn quote(
        &mut self,
        world: &mut World,
        sender: Address,
        path: Path,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Result<TicketParams, QuoteError>, SimulatorError> {
        let funds = world.funds(sender, self.account)?;
        self.quote_on(world, sender, &funds, path, rng)
    }

    /// The same for a desk that believes in `funds`.
    pub(crate) fn quote_on(
        &mut self,
        world: &mut World,
        sender: Address,
        funds: &SenderFunds,
        path: Path,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Result<TicketParams, QuoteError>, SimulatorError> {
        let Backing { funds, pending } = self.backing(sender, funds);
        let chain = world.chain_view()?;
        let request = QuoteRequest { sender, price: self.price, funds: &funds, pending, gas_price: 0, chain: &chain };
        let slot = match path {
            Path::Deployed => None,
            Path::Ordered => {
                let policy = self.recipient.policy();
                let terms = policy.lease_terms(&chain);
                let serials = self.next_serial..=self.next_serial;
                let mut lease = SerialLease::new(serials, terms.round, *terms.expiration_block.start());
                let slot = lease.draw(policy, &chain).ok_or(SimulatorError::Lease)?;
                self.next_serial += 1;
                Some(slot)
            }
        };
        Ok(self.recipient.quote(&request, slot, rng))
    }

    /// Takes a payment and keeps its winners.
    pub(crate) fn receive(&mut self, world: &mut World, payment: &Payment) -> Result<Receipt, SimulatorError> {
        let funds = world.funds(payment.sender, self.account)?;
        self.receive_on(world, payment, &funds)
    }

    /// The same for a desk that believes in `funds`.
    pub(crate) fn receive_on(
        &mut self,
        world: &mut World,
        payment: &Payment,
        funds: &SenderFunds,
    ) -> Result<Receipt, SimulatorError> {
        let (chain, now) = (world.chain_view()?, world.now());
        let backing = self.backing(payment.sender, funds);
        let receipt = self.recipient.receive(payment, SESSION, backing, &chain, now);
        self.held.extend(receipt.winners.iter().cloned());
        Ok(receipt)
    }

    /// What the desk counts on, of `funds`.
    fn backing(&self, sender: Address, funds: &SenderFunds) -> Backing {
        let pending = self.pending(sender);
        match self.cover {
            Cover::Blind => Backing::from(&SenderFunds { reserve: U256::from(u128::MAX), pool_size: 1, ..*funds }),
            Cover::MaxFloat | Cover::Part => Backing { funds: *funds, pending },
            Cover::ShareOnly => Backing { funds: SenderFunds { deposit: U256::ZERO, ..*funds }, pending },
        }
    }

    /// Face value of the winners of `sender` that are not redeemed, wei.
    pub(crate) fn pending(&self, sender: Address) -> U256 {
        let tickets = self.held.iter().map(|winner| &winner.signed.ticket);
        tickets.filter(|ticket| ticket.sender == sender).map(|ticket| ticket.face_value).sum()
    }

    /// Takes the winners out whose secrets may be shown at `block`.
    pub(crate) fn take_ready(&mut self, block: u64) -> Vec<WinningTicket> {
        let is_ready = |winner: &mut WinningTicket| winner.params_expiration_block + EXPIRY_MARGIN <= block;
        self.held.extract_if(.., is_ready).collect()
    }
}
