//! Why a job is not done: what was found, what was wanted, and what to do about it.
use alloy_primitives::{Address, B256, U256};
use axum::http::StatusCode;
use streamflow_types::Price;
use streamflow_wire::{
    Code, MAX_PROFILES, Refusal as Coded, TranscodeError, header,
    jobs::{AUTH_TYPE, CredentialsError, JobSegmentError},
};
use tonic::Status;

use super::{options::OptionsError, segment::DURATION, source::JobUnavailable};
use crate::{
    admission::Overload,
    chain::ChainUnavailable,
    intake::BodyError,
    metrics,
    quotas::QuotaExceeded,
    refusal::{of_body, of_chain, of_overload, of_quota, of_transcode, stopping},
    service::Service,
};

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
    #[error("no room for another session: {0}; or try again later")]
    Capped(#[from] Overload),
    #[error(transparent)]
    Quota(#[from] QuotaExceeded),
    #[error("the segment cannot be read: {0} (orchestrator.limits)")]
    Body(#[from] BodyError),
    #[error("segment {seq} is not transcoded: {source}")]
    Transcode { seq: u64, renditions: usize, source: TranscodeError },
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

fn at(block: &u64) -> String {
    format!("block {block}")
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
            Self::Capped(_) => "capped",
            Self::Quota(_) => "quota",
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
            Self::Quota(_) => StatusCode::TOO_MANY_REQUESTS,
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
            | Self::Capped(_)
            | Self::Body(BodyError::Overloaded)
            | Self::Unreadable { .. }
            | Self::Chain(_)
            | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::Transcode { .. } | Self::Signing(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Code and figures for the broadcaster.
    pub(crate) fn coded(&self, service: &Service) -> Coded {
        let blocks = |code, here: &u64, other: &u64| Coded::new(code, at(here), at(other));
        match self {
            Self::NoSuchJob { job, here } => Coded::new(Code::JobUnknown, format!("job {job}"), at(here)),
            Self::Behind { here, there, .. } => blocks(Code::JobNotSeen, here, there),
            Self::NotAssigned { assigned, this, .. } => Coded::new(Code::JobAssignedElsewhere, this, assigned),
            Self::NotBegun { begin, here, .. } => blocks(Code::JobNotBegun, here, begin),
            Self::Ended { end, here, .. } => blocks(Code::JobEnded, here, end),
            Self::RequestSignature { signer, broadcaster, .. } => {
                Coded::new(Code::JobRequestNotSigned, by(signer), broadcaster)
            }
            Self::SegmentSignature { signer, broadcaster, .. } => {
                Coded::new(Code::JobSegmentNotSigned, by(signer), broadcaster)
            }
            Self::NotServed { broadcaster, listed } => {
                Coded::new(Code::JobBroadcasterNotListed, broadcaster, format!("{listed} accounts listed"))
            }
            Self::PriceCeiling { ceiling, price, .. } => {
                Coded::new(Code::JobPriceTooLow, format!("{ceiling} wei per pixel"), price)
            }
            Self::Options { source, .. } => {
                Coded::new(Code::JobOptionsUnusable, source, format!("1 to {MAX_PROFILES} known presets, each once"))
            }
            Self::AuthType { got } => Coded::new(Code::JobAuthTypeWrong, format!("{got:?}"), AUTH_TYPE),
            Self::Credentials(error) => {
                Coded::new(Code::JobCredentialsInvalid, error, "credentials given by this orchestrator")
            }
            Self::Segment(error) => {
                Coded::new(Code::JobSegmentUnreadable, error, "base64 of SegData with a number and a hash of 32 bytes")
            }
            Self::ContentType { got } => {
                Coded::new(Code::JobContentTypeWrong, format!("{got:?}"), header::SEGMENT_BYTES)
            }
            Self::Hash { got, signed } => Coded::new(Code::SegmentHashMismatch, got, signed),
            Self::Capped(overload) => of_overload(overload),
            Self::Quota(exceeded) => of_quota(exceeded),
            Self::Body(error) => of_body(error, service),
            Self::Transcode { renditions, source, .. } => of_transcode(source, service, *renditions, DURATION),
            Self::Unreadable { .. } => Coded::new(Code::JobUnreadable, "0 answers", "1 answer"),
            Self::Chain(error) => of_chain(error, service),
            Self::Signing(_) => {
                Coded::new(Code::StoreFailed, "credentials that cannot be signed", "signed credentials")
            }
            Self::Stopping => stopping(),
        }
    }

    /// The answer to `GetTranscoder`.
    pub(crate) fn grpc(&self, service: &Service) -> Status {
        let code = match self {
            Self::NoSuchJob { .. } => tonic::Code::NotFound,
            Self::RequestSignature { .. } => tonic::Code::Unauthenticated,
            Self::NotAssigned { .. } | Self::NotServed { .. } => tonic::Code::PermissionDenied,
            Self::Capped(_) | Self::Quota(_) => tonic::Code::ResourceExhausted,
            Self::Behind { .. } | Self::NotBegun { .. } | Self::Unreadable { .. } | Self::Chain(_) | Self::Stopping => {
                tonic::Code::Unavailable
            }
            Self::Signing(_) => tonic::Code::Internal,
            _ => tonic::Code::FailedPrecondition,
        };
        self.coded(service).on_status(Status::new(code, self.to_string()))
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
