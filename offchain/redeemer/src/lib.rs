//! Redemption for orchestrators that run elsewhere (payments.md §1.13).
//!
//! [`Redeemer`] is the server: the gRPC service `net.TicketRedeemer`, which stores winners for the keeper beside it and tells
//! how much more a sender is good for. [`Outbox`] is the other end: an orchestrator keeps its winners in its own store and
//! forgets each only once the redeemer has it. [`Floats`] asks for the float and follows it.

mod check;
mod client;
mod config;
mod metrics;
mod server;
mod tls;

pub use check::{Refusal, Terms, check};
pub use client::{FloatUnknown, Floats, LinkConfig, LinkError, Outbox, RedeemerLink, covered_by};
pub use config::{ConfigError, RedeemerConfig};
pub use server::{FundsFuture, FundsSource, FundsUnavailable, Redeemer, RedeemerDeps, StartError};
pub use tls::TlsError;
