//! Why a simulation did not come to its end.
use std::{io, path::PathBuf};

use streamflow_chain::FaceValueTooLarge;
use streamflow_evm::{EvmError, ScriptError};
use streamflow_pm::{KeyError, NoTerms, QuoteError, SenderError, SignError, TicketError};
use streamflow_types::PriceError;

use crate::Wei;

/// Why a simulation did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// The contracts are not compiled.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// A call failed that must go through.
    #[error(transparent)]
    Evm(#[from] EvmError),
    /// An honest orchestrator refused an honest sender.
    #[error("an orchestrator makes no quote")]
    Quote(#[from] QuoteError),
    /// The policy of an honest orchestrator fits no face value.
    #[error("an orchestrator has no terms")]
    Terms(#[from] NoTerms),
    /// An honest sender refused an honest quote.
    #[error("a sender does not pay")]
    Sender(#[from] SenderError),
    /// An orchestrator refused an honest payment.
    #[error("an orchestrator refuses a payment")]
    Ticket(#[from] TicketError),
    /// The sender did not sign.
    #[error("a sender does not sign")]
    Sign(#[from] SignError),
    /// No key was drawn.
    #[error("no key was drawn")]
    Key(#[from] KeyError),
    /// No price.
    #[error("a price is none")]
    Price(#[from] PriceError),
    /// No room in an ordered batch.
    #[error("a ticket does not fit into an ordered batch")]
    FaceValue(#[from] FaceValueTooLarge),
    /// The books of an agent and the chain differ.
    #[error("{what}: the agents count {expected}, the chain {got}")]
    Books {
        /// Of what.
        what: &'static str,
        /// By the agents' books.
        expected: Wei,
        /// By the chain.
        got: Wei,
    },
    /// A place in the order could not be had.
    #[error("a lease of serials does not serve")]
    Lease,
    /// A transaction that must be refused went through.
    #[error("{0} went through")]
    NotRefused(&'static str),
    /// A scenario ended without a result.
    #[error("a scenario panicked")]
    Panicked,
    /// The report could not be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The summary could not be encoded.
    #[error("cannot encode the summary")]
    Encode(#[from] serde_json::Error),
}
