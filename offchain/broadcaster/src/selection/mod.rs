//! Who gets a segment, and why.
//!
//! A stream stays with its orchestrator while that one is predicted to keep the deadline. Our own orchestrators come first;
//! what they cannot do in time goes to the market, where the configured weights draw. Whoever failed rests, and is taken
//! only when nobody else is left.

mod affinity;
mod choice;
mod config;
mod draw;
mod latency;
mod reason;
mod rest;

pub use config::{SelectionConfig, SelectionError, Weights};
pub use reason::{CandidateStatus, ChoiceStatus};

pub(crate) use affinity::Affinity;
pub(crate) use choice::{Ask, Standing, Wanted, pick};
pub(crate) use config::counted_length;
pub(crate) use draw::{Chance, draw, probabilities};
pub(crate) use latency::Latency;
pub(crate) use reason::{How, Reason};
pub(crate) use rest::{Rest, RestKind, doubled};
