//! Why the transcoder stopped.
use std::{io, path::PathBuf};

use crate::ConfigError;

/// Why a transcoder ended, or did not start.
#[derive(Debug, thiserror::Error)]
pub enum TranscoderError {
    /// A setting cannot be used.
    #[error("configuration")]
    Config(#[from] ConfigError),
    /// The secret's file cannot be read.
    #[error("cannot read secret from {}", path.display())]
    SecretFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The HTTP client cannot be set up.
    #[error("cannot set up the HTTP client")]
    Client(#[from] reqwest::Error),
    /// The pool's NATS server cannot be used.
    #[error(transparent)]
    Nats(#[from] streamflow_nats::ConnectError),
    /// The orchestrator will never take this transcoder as it is.
    #[error("orchestrator refuses this transcoder: {reason}")]
    Refused {
        /// In its words.
        reason: String,
    },
}

/// Why a registration ended; the transcoder registers again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error("cannot reach the orchestrator")]
    Connect(#[from] tonic::transport::Error),
    #[error("orchestrator answered {code}: {text}")]
    Status { code: tonic::Code, text: String },
    #[error("orchestrator does not answer")]
    NoAnswer,
    #[error("orchestrator closed the stream")]
    Closed,
}

/// Why one segment was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskError {
    /// All places are taken. The wording is matched by peers.
    #[error("TranscoderBusy")]
    Busy,
    /// The wording is matched by peers.
    #[error("TranscoderStopped")]
    Stopped,
    #[error(transparent)]
    Segment(#[from] streamflow_wire::SegmentError),
    #[error("cannot download the segment: {0}")]
    Fetch(#[from] reqwest::Error),
    #[error("segment download answered {0}")]
    FetchStatus(reqwest::StatusCode),
    #[error("segment has more than {max} bytes")]
    TooLarge { max: u64 },
    #[error(transparent)]
    Transcode(#[from] crate::LocalError),
}
