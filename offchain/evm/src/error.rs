//! What can go wrong besides a contract that refuses.
use std::{error::Error, io, path::PathBuf};

use crate::{BUILD_COMMAND, Refusal};

/// A call that came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum EvmError {
    /// The contract reverted where that was not expected.
    #[error("{call}: {refusal}")]
    Refused {
        /// Signature of the function.
        call: &'static str,
        /// What the contract said.
        refusal: Refusal,
    },
    /// The code stopped without an answer, for want of gas as a rule.
    #[error("{call} halts: {reason}")]
    Halted {
        /// Signature of the function.
        call: &'static str,
        /// What revm said.
        reason: String,
    },
    /// The transaction could not begin.
    #[error("{call} cannot be executed")]
    Execution {
        /// Signature of the function.
        call: &'static str,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The contract answered in another type.
    #[error("what {call} returned cannot be read")]
    Output {
        /// Signature of the function.
        call: &'static str,
        /// Why.
        source: alloy::sol_types::Error,
    },
    /// An event that must be there is not, or more than once.
    #[error("{count} events {event}, expected one")]
    Event {
        /// Its signature.
        event: &'static str,
        /// How many there are.
        count: usize,
    },
    /// The state behind cannot be read.
    #[error("the state cannot be read")]
    State(#[source] Box<dyn Error + Send + Sync>),
}

/// The compiled deploy script cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// Nobody compiled it.
    #[error("the contracts are not compiled: no {0}; run `{BUILD_COMMAND}` in the checkout")]
    Missing(PathBuf),
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The artifact.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what forge writes.
    #[error("{path} is no artifact of forge; run `{BUILD_COMMAND}` in the checkout")]
    Artifact {
        /// The artifact.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The script was compiled from other sources.
    #[error("{0} was compiled from other sources; run `{BUILD_COMMAND}` in the checkout")]
    Stale(PathBuf),
}
