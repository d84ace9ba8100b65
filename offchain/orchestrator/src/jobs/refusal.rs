//! Why a job is not done: what was found, what was wanted, and what to do about it.
use alloy_primitives::{Address, B256, U256};
use axum::http::StatusCode;
use streamflow_types::Price;
use streamflow_wire::{
    TranscodeError,
    jobs::{AUTH_TYPE, CredentialsError, JobSegmentError},
};
use tonic::{Code, Status};

use super::{options::OptionsError, source::JobUnavailable};
use crate::{chain::ChainUnavailable, intake::BodyError, metrics};

/// Why a request of the protocol of 2018 is refused. Broadcasters read the text.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobRefusal {
    #[error(
        "no job {job}: this orchestrator is at block {here}; check the number, and the chain that the job was created on"
    )]
    NoSuchJob { job: i64, here: u64 },
    #[error(
        "no job {job} yet: this orchestrator lags, it is at block {here} and you are at block {there}; ask again in a moment"
    )]
    Behind { job: i64, here: u64, there: u64 },
    #[error("job {job} is assigned to {assigned}, this orchestrator is {this}: ask the one that is assigned")]
    NotAssigned { job: u64, assigned: Address, this: Address },
    #[error(
        "job {job} begins at block {begin}, this orchestrator is at block {here}{}: ask again in a moment",
        told(.there)
    )]
    NotBegun { job: u64, begin: u64, here: u64, there: Option<u64> },
    #[error("job {job} ended with block {end}, this orchestrator is at block {here}: create another job")]
    Ended { job: u64, end: u64, here: u64 },
    #[error(
        "the request for job {job} is signed by {}, the job is of broadcaster {broadcaster}: sign its decimal number with that account",
        by(.signer)
    )]
    RequestSignature { job: u64, signer: Option<Address>, broadcaster: Address },
    #[error(
        "broadcaster {broadcaster} is not among the {listed} whose jobs are done here (orchestrator.jobs_2018.broadcasters): ask the orchestrator's operator, or pay by tickets"
    )]
    NotServed { broadcaster: Address, listed: usize },
    #[error(
        "job {job} offers {ceiling} wei per pixel at most, {price} is asked (orchestrator.price): create a job that offers more"
    )]
    PriceCeiling { job: u64, ceiling: U256, price: Price },
    #[error("transcoding options of job {job}: {source}; name presets such as P240p30fps16x9, separated by commas")]
    Options { job: u64, source: OptionsError },
    #[error("Authorization is {got:?}, {AUTH_TYPE:?} is wanted: send what GetTranscoder answered")]
    AuthType { got: String },
    #[error("{0}: send what GetTranscoder answered")]
    Credentials(#[from] CredentialsError),
    #[error("{0}: see Livepeer-Segment in the protocol")]
    Segment(#[from] JobSegmentError),
    #[error(
        "segment {seq} is signed by {}, job {job} is of broadcaster {broadcaster}: sign the job's stream id, the number and the hash with that account",
        by(.signer)
    )]
    SegmentSignature { job: u64, seq: u64, signer: Option<Address>, broadcaster: Address },
    #[error("Content-Type is {got:?}, \"video/MP2T\" is wanted: send the segment's bytes")]
    ContentType { got: String },
    #[error("the body has hash {got}, {signed} was signed: send the segment unchanged")]
    Hash { got: B256, signed: B256 },
    #[error("{open} sessions are open, at most {max} are (orchestrator.max_sessions): try again later")]
    Capped { open: usize, max: usize },
    #[error("the segment cannot be read: {0} (orchestrator.limits)")]
    Body(#[from] BodyError),
    #[error("segment {seq} is not transcoded: {source}")]
    Transcode { seq: u64, source: TranscodeError },
    #[error("job {job} cannot be read: the chain does not answer this orchestrator; ask again in a moment")]
    Unreadable {
        job: u64,
        #[source]
        source: Option<JobUnavailable>,
    },
    #[error("the chain is out of this orchestrator's sight, {}; ask again in a moment, or ask another one", age(.0))]
    Chain(#[from] ChainUnavailable),
    #[error("Internal Server Error")]
    Signing(#[source] streamflow_pm::SignError),
    #[error("the orchestrator is stopping: ask another one")]
    Stopping,
}

fn told(there: &Option<u64>) -> String {
    there.map_or_else(String::new, |there| format!(" and you are at block {there}"))
}

/// Without the endpoint, which is the operator's business.
fn age(unavailable: &ChainUnavailable) -> String {
    match unavailable {
        ChainUnavailable::Stale { seconds, .. } => format!("for {seconds} s (orchestrator.max_chain_age)"),
        ChainUnavailable::Unknown { .. } | ChainUnavailable::Funds { .. } => "since it started".to_owned(),
    }
}

fn by(signer: &Option<Address>) -> String {
    signer.map_or_else(|| "nobody".to_owned(), |signer| signer.to_string())
}

impl JobRefusal {
    /// Short name for metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::NoSuchJob { .. } => "job_unknown",
            Self::Behind { .. } => "job_behind",
            Self::NotAssigned { .. } => "job_not_assigned",
            Self::NotBegun { .. } => "job_not_begun",
            Self::Ended { .. } => "job_ended",
            Self::RequestSignature { .. } => "job_request_signature",
            Self::NotServed { .. } => "job_not_served",
            Self::PriceCeiling { .. } => "job_price_ceiling",
            Self::Options { .. } => "job_options",
            Self::AuthType { .. } => "job_auth_type",
            Self::Credentials(_) => "job_credentials",
            Self::Segment(_) => "job_segment",
            Self::SegmentSignature { .. } => "job_segment_signature",
            Self::ContentType { .. } => "job_content_type",
            Self::Hash { .. } => "hash",
            Self::Capped { .. } => "capped",
            Self::Body(BodyError::Overloaded) => "overloaded",
            Self::Body(_) => "body",
            Self::Transcode { .. } => "job_transcode",
            Self::Unreadable { .. } | Self::Chain(_) => "chain",
            Self::Signing(_) => "signing",
            Self::Stopping => "stopping",
        }
    }

    /// Status of the answer to a segment.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::AuthType { .. } => StatusCode::UNAUTHORIZED,
            Self::NoSuchJob { .. } => StatusCode::NOT_FOUND,
            Self::NotAssigned { .. }
            | Self::Ended { .. }
            | Self::RequestSignature { .. }
            | Self::NotServed { .. }
            | Self::PriceCeiling { .. }
            | Self::Credentials(_)
            | Self::SegmentSignature { .. }
            | Self::Hash { .. } => StatusCode::FORBIDDEN,
            Self::Options { .. } | Self::Segment(_) | Self::Body(BodyError::Broken(_)) => StatusCode::BAD_REQUEST,
            Self::ContentType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Body(BodyError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(BodyError::TimedOut) => StatusCode::REQUEST_TIMEOUT,
            Self::Transcode { source: TranscodeError::TranscoderTimeout, .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Transcode { source, .. } if source.is_overload() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Transcode { source: TranscodeError::NoTranscoders | TranscodeError::TranscoderStopped, .. }
            | Self::Behind { .. }
            | Self::NotBegun { .. }
            | Self::Capped { .. }
            | Self::Body(BodyError::Overloaded)
            | Self::Unreadable { .. }
            | Self::Chain(_)
            | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::Transcode { .. } | Self::Signing(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The answer to `GetTranscoder`.
    pub(crate) fn grpc(&self) -> Status {
        let code = match self {
            Self::NoSuchJob { .. } => Code::NotFound,
            Self::RequestSignature { .. } => Code::Unauthenticated,
            Self::NotAssigned { .. } | Self::NotServed { .. } => Code::PermissionDenied,
            Self::Capped { .. } => Code::ResourceExhausted,
            Self::Behind { .. } | Self::NotBegun { .. } | Self::Unreadable { .. } | Self::Chain(_) | Self::Stopping => {
                Code::Unavailable
            }
            Self::Signing(_) => Code::Internal,
            _ => Code::FailedPrecondition,
        };
        Status::new(code, self.to_string())
    }

    /// Logs and counts it; the one place where that is done.
    pub(crate) fn note(&self) {
        metrics::refused(self.reason());
        let cause = std::error::Error::source(self).map(ToString::to_string);
        if self.status().is_server_error() {
            tracing::warn!(error = %self, cause, "job refused");
        } else {
            tracing::debug!(error = %self, cause, "job refused");
        }
    }
}
