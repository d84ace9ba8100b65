//! Several orchestrators over one pool of transcoders: what they tell each other through NATS
//! (docs/designs/030-admission-and-pool.md).
//!
//! Transcoders say on one subject how they are, and hear of segments on one of their own. Renditions do not go through NATS: they
//! are posted to the orchestrator that asked. Every message carries a code made with the secret that orchestrators and
//! transcoders share, so that neither works for a stranger who reaches the server.
mod config;
mod message;

pub use async_nats::{Client, Message, Subscriber, connection::State as Connection};
pub use config::{ConnectError, NatsConfig, NatsConfigError, connect};
pub use message::{Hello, Order, State, TAKEN, hello_subject, open, order_subject, seal};
