//! The remote signer: makes payments for broadcasters that hold no key (payments.md §2).
//!
//! It keeps no account of anybody's session: what it must remember travels with the client, signed. An answer depends on
//! the state and the request alone, so any number of signers with one key may stand behind a balancer.
//!
//! [`Signer::bind`] takes the port, [`Signer::run`] serves until it is told to stop. The node gives it the chain as `watch`
//! channels ([`Deps`]); it never talks to the chain itself.

mod auth;
mod billing;
mod budget;
mod ceiling;
mod config;
mod desk;
mod discovery;
mod fence;
#[cfg(test)]
mod fuzz;
mod json;
mod metrics;
mod openapi;
mod refusal;
mod request;
mod server;
mod signer;
mod state;
mod wei;

pub use config::{
    AuthConfig, BudgetConfig, DiscoveryConfig, FenceKind, PriceConfig, SignerConfig, SignerConfigError, TicketLimits,
};
pub use fence::{Claim, Fence, FenceFuture, FenceUnavailable, MemoryFence};
pub use signer::{Clock, Deps, Handle, Registered, Roster, Signer, SignerError, Status};
