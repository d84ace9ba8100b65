//! The deployed contracts in process: the state of a development chain, executed by revm. Used by tests only.
//!
//! Who deploys, and how, stays the business of the deploy script: nothing here knows an artifact.

mod chain;
mod dump;

pub use chain::{Done, LocalChain, Refusal};
pub use dump::dumped_state;
