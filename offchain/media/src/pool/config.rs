//! How a pool starts and bounds its workers.
use std::{ffi::OsString, path::PathBuf, time::Duration};

/// How a pool starts and bounds its workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Program of a worker: the node's own binary.
    pub program: PathBuf,
    /// Arguments that make it call [`crate::worker::run`].
    pub args: Vec<OsString>,
    /// Worker processes, at least 1. One more waits to take the place of one that fails.
    pub workers: usize,
    /// Jobs that may wait for a worker; one more is refused.
    pub queue: usize,
    /// Longest a worker may take for one job, and for one segment of a source.
    pub job_deadline: Duration,
    /// Longest a worker may take to say hello, and to end when asked to.
    pub start_deadline: Duration,
    /// CPU time of all threads that a worker may use for one job; whole seconds, begun ones count.
    pub job_cpu: Duration,
    /// Bytes of memory that a worker may write to, stacks of its threads included.
    pub worker_memory: u64,
    /// Where segments go that two workers failed on; without it they are only refused.
    pub quarantine: Option<QuarantineConfig>,
}

/// Where segments go that two workers failed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineConfig {
    /// Created when missing.
    pub directory: PathBuf,
    /// Files kept, at least 1; the oldest goes first.
    pub max_files: usize,
    /// Bytes kept, but the newest file always is.
    pub max_bytes: u64,
}

impl PoolConfig {
    /// Two workers of `program`, eight waiting jobs, half a minute for each.
    pub fn new(program: impl Into<PathBuf>, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            workers: 2,
            queue: 8,
            job_deadline: Duration::from_secs(30),
            start_deadline: Duration::from_secs(10),
            job_cpu: Duration::from_secs(120),
            worker_memory: 4 << 30,
            quarantine: None,
        }
    }
}
