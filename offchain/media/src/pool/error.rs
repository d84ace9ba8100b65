//! Why a job got no result.
use std::{sync::Arc, time::Duration};

use crate::{MediaError, gpu::NoDevice};

/// Why a job got no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PoolError {
    /// The job itself cannot be done; another worker would say the same.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The worker process ended in the middle of the job.
    #[error("media worker died: {}", describe_end(*signal, *exit))]
    WorkerDied {
        /// Number of the signal that killed it.
        signal: Option<i32>,
        /// Its exit code.
        exit: Option<i32>,
        /// Last lines it wrote to standard error.
        stderr: Vec<String>,
    },
    /// The worker process did not answer in time and was killed.
    #[error("media worker hung: no answer within {deadline:?}")]
    WorkerHung {
        /// The time it had.
        deadline: Duration,
    },
    /// The worker process used up the CPU time of a job and was killed.
    #[error("media worker used more than {limit:?} of cpu time")]
    WorkerCpu {
        /// What it had.
        limit: Duration,
    },
    /// The worker process answered something that is no answer and was killed.
    #[error("media worker answered garbage: {reason}")]
    WorkerGarbage {
        /// What was wrong with it.
        reason: String,
    },
    /// Two workers failed on the job, one after the other: it is refused for a while.
    #[error("refused, as two media workers failed on it: {first}; {second}")]
    Quarantined {
        /// What happened first.
        first: Box<PoolError>,
        /// What happened then.
        second: Box<PoolError>,
    },
    /// No worker process could be started.
    #[error("media worker cannot be started")]
    Spawn(#[source] Arc<std::io::Error>),
    /// Two worker processes, started one after the other, did not say hello. It says nothing of the job.
    #[error("no media worker gets ready")]
    NotReady(#[source] Box<PoolError>),
    /// More jobs wait than the configuration allows.
    #[error("media queue is full at {limit} jobs")]
    QueueFull {
        /// Jobs running and waiting.
        limit: usize,
    },
    /// The job was not done when its result was due, and no worker is to blame: it waited too long for one.
    #[error("no media worker was free early enough to be done within {limit:?}")]
    Late {
        /// From its arrival to when it was due.
        limit: Duration,
    },
    /// What was fed of a segment ended before the segment did; it was dropped unfinished.
    #[error("segment was not fed to its end")]
    FeedAborted,
    /// A segment was fed too slowly.
    #[error("segment was not fed within {limit:?}")]
    FeedLate {
        /// The time there was.
        limit: Duration,
    },
    /// Pieces of renditions were made and not taken.
    #[error("renditions were not taken within {deadline:?}")]
    NotTaken {
        /// The time there was for each piece.
        deadline: Duration,
    },
    /// No device takes the segment, and the CPU may not.
    #[error(transparent)]
    NoDevice(#[from] NoDevice),
    /// The pool is shut down.
    #[error("media pool is shut down")]
    Closed,
}

fn describe_end(signal: Option<i32>, exit: Option<i32>) -> String {
    match (signal, exit) {
        (Some(signal), _) => format!("signal {signal}"),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => "its end is not known".into(),
    }
}

impl PoolError {
    /// How the job ended, in a word: label of metrics, part of file names.
    pub(crate) const fn outcome(&self) -> &'static str {
        match self {
            Self::Media(MediaError::OutOfMemory { .. }) => "memory",
            Self::Media(MediaError::Panicked) => "panicked",
            Self::Media(MediaError::Gpu { .. }) => "device",
            Self::Media(_) => "refused",
            Self::WorkerDied { .. } => "died",
            Self::WorkerHung { .. } => "hung",
            Self::WorkerCpu { .. } => "cpu",
            Self::WorkerGarbage { .. } => "garbage",
            Self::Quarantined { .. } => "quarantined",
            Self::QueueFull { .. } => "queue_full",
            Self::Late { .. } => "late",
            Self::FeedAborted | Self::FeedLate { .. } | Self::NotTaken { .. } => "abandoned",
            Self::NoDevice(_) => "no_device",
            Self::Spawn(_) | Self::NotReady(_) | Self::Closed => "no_worker",
        }
    }

    /// Whether a worker failed, so that another one may do the job; else this one is as good as before.
    pub(super) const fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::WorkerDied { .. }
                | Self::WorkerHung { .. }
                | Self::WorkerCpu { .. }
                | Self::WorkerGarbage { .. }
                | Self::Media(MediaError::OutOfMemory { .. } | MediaError::Panicked)
        )
    }
}
