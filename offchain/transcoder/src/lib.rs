//! The transcoder role: registers with an orchestrator and transcodes its segments.
//!
//! [`RemoteTranscoder`] works for an orchestrator elsewhere; [`LocalTranscoder`] is the part that transcodes, which an
//! orchestrator in the same process uses directly.
mod backoff;
mod config;
mod error;
#[cfg(test)]
mod fuzz;
mod live;
mod local;
mod metrics;
mod multipart;
mod remote;
mod shared;
mod task;

pub use config::{ConfigError, TranscoderConfig};
pub use error::TranscoderError;
pub use live::LiveEvent;
pub use local::{LocalError, LocalTranscoder};
pub use remote::{RemoteTranscoder, Standing};
