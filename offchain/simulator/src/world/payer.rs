//! A sender: accepts quotes and signs tickets.
use std::sync::Arc;

use alloy::primitives::{Address, U256};
use rand::Rng;
use streamflow_pm::{KeySigner, Payment, Sender, SenderLimits, TicketSigner};
use streamflow_types::{Price, SenderFunds, TicketParams};

use super::World;
use crate::SimulatorError;

/// A broadcaster's ticket book, with its key.
#[derive(Debug)]
pub(crate) struct Payer {
    pub(crate) sender: Sender,
    pub(crate) signer: Arc<KeySigner>,
    /// Signs whatever it is offered, as if its funds had no end.
    pub(crate) overspends: bool,
}

impl Payer {
    /// An account that pays without bounds of its own.
    pub(crate) fn new(rng: &mut impl Rng) -> Result<Self, SimulatorError> {
        Self::with_limits(
            SenderLimits { max_ticket_ev: U256::MAX >> 1, max_total_ev: U256::MAX >> 1, ..SenderLimits::default() },
            rng,
        )
    }

    pub(crate) fn with_limits(limits: SenderLimits, rng: &mut impl Rng) -> Result<Self, SimulatorError> {
        let signer = Arc::new(KeySigner::from_bytes(rng.random())?);
        Ok(Self { sender: Sender::new(signer.clone(), limits), signer, overspends: false })
    }

    pub(crate) fn account(&self) -> Address {
        self.signer.address()
    }

    /// `count` tickets on these params.
    pub(crate) fn pay(
        &self,
        world: &mut World,
        params: TicketParams,
        count: usize,
        price: Price,
    ) -> Result<Payment, SimulatorError> {
        let funds = match self.overspends {
            true => {
                SenderFunds { deposit: U256::from(u128::MAX), reserve: U256::from(u128::MAX), ..SenderFunds::default() }
            }
            false => world.funds(self.account(), params.recipient)?,
        };
        let (chain, now) = (world.chain_view()?, world.now());
        let session = self.sender.start_session(params, now)?;
        let payment = self.sender.pay(session, count, price, &funds, &chain, now)?;
        self.sender.prune(now, chain.block);
        Ok(payment)
    }
}
