//! Places in the order of redemption, for quotes.
use alloy_primitives::Address;
use streamflow_pm::{QuoteDomain, SerialLease, Slot, TicketPolicy};
use streamflow_store::{Leased, Store, StoreError};
use streamflow_types::{ChainView, Round};
use tokio::sync::Mutex;

/// Serials taken from the store at a time.
const LEASE: u64 = 1024;

/// This process's share of its recipient's serials.
#[derive(Debug)]
pub(crate) struct Serials {
    store: Store,
    domain: QuoteDomain,
    recipient: Address,
    held: Mutex<Held>,
}

#[derive(Debug)]
enum Held {
    Nothing,
    Lease(SerialLease),
    /// At this block and round there is nothing to be had.
    Behind {
        block: u64,
        round: Round,
    },
}

impl Serials {
    pub(crate) fn new(store: Store, domain: QuoteDomain, recipient: Address) -> Self {
        Self { store, domain, recipient, held: Mutex::new(Held::Nothing) }
    }

    /// The next place for a quote made at `chain`. None if another process that shares the store is far ahead on the chain:
    /// a quote made here would then say an earlier round, or die before quotes that come before it.
    pub(crate) async fn draw(&self, policy: &TicketPolicy, chain: &ChainView) -> Result<Option<Slot>, StoreError> {
        let mut held = self.held.lock().await;
        if let Some(slot) = held.draw(policy, chain) {
            return Ok(Some(slot));
        }
        if !held.is_behind(chain) {
            *held = self.lease(policy, chain).await?;
        }
        Ok(held.draw(policy, chain))
    }

    async fn lease(&self, policy: &TicketPolicy, chain: &ChainView) -> Result<Held, StoreError> {
        let terms = policy.lease_terms(chain);
        match self.store.lease_serials(&self.domain, self.recipient, &terms, LEASE).await? {
            Leased::Lease(lease) => Ok(Held::Lease(lease)),
            Leased::Behind { round, expiration_block } => {
                tracing::warn!(
                    block = chain.block, round = %chain.round, leased_round = %round, leased_expiration = expiration_block,
                    "another process is ahead on the chain: quotes stay out of the order"
                );
                Ok(Held::Behind { block: chain.block, round: chain.round })
            }
        }
    }
}

impl Held {
    fn draw(&mut self, policy: &TicketPolicy, chain: &ChainView) -> Option<Slot> {
        match self {
            Self::Lease(lease) => lease.draw(policy, chain),
            Self::Nothing | Self::Behind { .. } => None,
        }
    }

    fn is_behind(&self, chain: &ChainView) -> bool {
        matches!(self, Self::Behind { block, round } if (*block, *round) == (chain.block, chain.round))
    }
}

#[cfg(test)]
mod tests;
