//! Which orchestrators there are.
//!
//! Sources (the chain, a webhook, the configured list, a remote signer) yield candidates; filters drop those that may not
//! be used, and say why; a shortlist of the rest is asked for quotes in the background, a few at a time, so that a stream
//! starts on candidates that answered a moment ago. What is learnt is kept in the database for the next start.

mod address;
mod cache;
mod config;
mod filter;
mod probe;
mod sources;
mod webhook;

use alloy_primitives::{Address, B256, U256};
use url::Url;

pub use address::{AddressError, parse_address};
pub use cache::OrchestratorCache;
pub use config::{DiscoveryConfig, DiscoveryError};
pub use filter::Dropped;
pub use webhook::ListError;

pub(crate) use address::addresses;
pub(crate) use cache::{keep, recall};
pub(crate) use filter::Filter;
pub(crate) use probe::keep_warm;
pub(crate) use sources::{discover, named};
#[cfg(test)]
pub(crate) use webhook::parse as parse_list;

/// Where an orchestrator listens, and what is known of it before it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its service URI.
    pub url: Url,
    /// Its account, when the chain told it; a quote of another account is then refused.
    pub address: Option<Address>,
    /// What is staked with it, LPT wei; `None` where nobody told.
    pub stake: Option<U256>,
    /// What it offers and where; `None` where nobody told.
    pub offer: Option<CandidateOffer>,
    /// Whether it is one of our own, which come first.
    pub own: bool,
}

/// Ids of services and regions as the registry keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CandidateOffer {
    /// What it does.
    pub services: Vec<B256>,
    /// Where it does it.
    pub regions: Vec<B256>,
}

impl Candidate {
    /// One of our own, as configured.
    pub fn own(url: Url) -> Self {
        Self { url, address: None, stake: None, offer: None, own: true }
    }

    /// One of the market.
    pub fn of_market(url: Url, address: Option<Address>) -> Self {
        Self { url, address, stake: None, offer: None, own: false }
    }
}
