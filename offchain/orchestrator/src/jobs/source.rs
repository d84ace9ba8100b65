//! Where jobs come from.
use std::{fmt, future::Future, pin::Pin};

use streamflow_types::Job;

/// What [`JobSource::job`] returns.
pub type JobFuture<'a> = Pin<Box<dyn Future<Output = Result<Option<Job>, JobUnavailable>> + Send + 'a>>;

/// Knows the jobs on chain. Anybody can make an orchestrator ask: an implementation bounds what it asks at a time.
pub trait JobSource: Send + Sync + fmt::Debug {
    /// The job of this number; none if there is none yet.
    fn job(&self, id: u64) -> JobFuture<'_>;
}

/// The chain did not tell.
#[derive(Debug, thiserror::Error)]
#[error("job cannot be read")]
pub struct JobUnavailable(#[source] pub Box<dyn std::error::Error + Send + Sync>);
