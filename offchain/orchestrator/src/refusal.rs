//! Why a request is refused: statuses and texts that peers know (node.md §2.4, payments.md §1.8).
use std::time::Duration;

use alloy_primitives::U256;
use axum::{
    body::{Body, BodyDataStream},
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use streamflow_pm::{QuoteError, TicketError};
use streamflow_wire::{Code, Offer, Refusal as Coded, TranscodeError, WireError, header, refusal};

use crate::{
    admission::{Demand, Overload},
    chain::ChainUnavailable,
    gatekeeper::Unauthorized,
    intake::{BodyError, answer_and_drain},
    metrics,
    payments::PaymentError,
    quotas::{Metered, QuotaExceeded},
    service::Service,
    transcode::deadline,
};

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// What peers match on.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// No fresh terms can be offered to this sender, or to anybody.
    #[error(transparent)]
    Quote(QuoteError),
    /// Winners could not be stored.
    #[error("Internal Server Error")]
    Store(#[source] streamflow_store::StoreError),
    #[error(transparent)]
    Unheard(PaymentError),
    #[error(transparent)]
    Chain(#[from] ChainUnavailable),
    #[error("Internal Server Error")]
    Body(#[source] BodyError),
    #[error("BadRequest")]
    Url(#[source] UrlError),
    #[error("OrchestratorBusy")]
    Overloaded,
    #[error("TranscoderStopped")]
    Stopping,
    /// The session does not hold what the work may cost.
    #[error("Insufficient balance")]
    Unpaid { balance: String, needed: U256 },
    #[error("no pinned price for this sender and manifest")]
    NotPinned,
    #[error("invalid request: {0}")]
    Unreadable(&'static str),
    #[error(transparent)]
    Quota(#[from] QuotaExceeded),
    #[error("Content-Encoding {0:?} is not accepted: send the body as it is")]
    ContentEncoding(String),
    #[error(transparent)]
    Unauthorized(#[from] Unauthorized),
    /// No device would keep up with another session.
    #[error("OrchestratorCapped")]
    Capped(#[source] Overload),
}

/// Why the segment behind a URL was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UrlError {
    #[error("segments are not fetched by URL here")]
    Off,
    #[error("not an http or https URL")]
    Unusable,
    #[error("cannot be fetched")]
    Fetch(#[from] reqwest::Error),
    #[error("answered {0}")]
    Status(StatusCode),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("took too long")]
    TimedOut,
}

impl From<PaymentError> for Refusal {
    fn from(error: PaymentError) -> Self {
        match error {
            PaymentError::Chain(unavailable) => Self::Chain(unavailable),
            PaymentError::Stopping => Self::Stopping,
            PaymentError::Store(error) => Self::Store(error),
            PaymentError::Inactive { orchestrator, round } => WireError::Inactive { orchestrator, round }.into(),
            PaymentError::Ticket(error) => WireError::Ticket(error).into(),
            PaymentError::InsufficientBalance { balance, needed } => Self::Unpaid { balance, needed },
            PaymentError::Unheard { .. } => Self::Unheard(error),
            PaymentError::Quote(error) => Self::Quote(error),
        }
    }
}

impl From<Overload> for Refusal {
    fn from(overload: Overload) -> Self {
        Self::Capped(overload)
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Overloaded => Self::Overloaded,
            other => Self::Body(other),
        }
    }
}

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Wire(error) => StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            Self::Capped(_) | Self::Unauthorized(Unauthorized::Refused { .. }) => StatusCode::FORBIDDEN,
            Self::Unauthorized(Unauthorized::Unreachable(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Quota(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::ContentEncoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Store(_) | Self::Body(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Url(_)
            | Self::Unpaid { .. }
            | Self::Unreadable(_)
            | Self::Quote(QuoteError::LowPmBalance(_) | QuoteError::UnlockingSoon { .. }) => StatusCode::BAD_REQUEST,
            Self::NotPinned => StatusCode::CONFLICT,
            Self::Quote(QuoteError::FaceValueCapped { .. } | QuoteError::NoRound)
            | Self::Unheard(_)
            | Self::Chain(_)
            | Self::Overloaded
            | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Code and figures for the peer. Nothing of this node but its settings and their values goes into it.
    pub(crate) fn coded(&self, service: &Service) -> Coded {
        match self {
            Self::Wire(error) => error.refusal(),
            Self::Capped(overload) => of_overload(overload),
            Self::Quota(exceeded) => of_quota(exceeded),
            Self::Unauthorized(why) => of_unauthorized(why),
            Self::ContentEncoding(sent) => {
                Coded::new(Code::ContentEncodingNotTaken, format!("Content-Encoding {sent:?}"), "identity")
            }
            Self::Quote(error) => refusal::of_quote(error),
            Self::Store(_) => Coded::new(Code::StoreFailed, "tickets that cannot be stored", "a store that takes them"),
            Self::Unheard(PaymentError::Unheard { seconds }) => of_silence(*seconds),
            Self::Unheard(_) => Coded::new(Code::StoreFailed, "a failure of this node", "none"),
            Self::Chain(error) => of_chain(error, service),
            Self::Body(error) => of_body(error, service),
            Self::Url(error) => of_url(error, service),
            Self::Overloaded => of_body(&BodyError::Overloaded, service),
            Self::Stopping => stopping(),
            Self::Unpaid { balance, needed } => {
                Coded::new(Code::InsufficientBalance, format!("{balance} wei"), format!("{needed} wei"))
            }
            Self::NotPinned => Coded::new(Code::PriceNotPinned, "0 sessions", "1 session"),
            Self::Unreadable(fault) => Coded::new(Code::RequestUnreadable, fault, "sender and manifest_id"),
        }
    }

    /// What the peer reads. Where the node's own chain is found is the operator's business.
    fn text(&self) -> String {
        let text = self.to_string();
        if matches!(self, Self::Chain(_)) { refusal::scrub(&text) } else { text }
    }

    /// Short name for metrics.
    fn reason(&self) -> &'static str {
        match self {
            Self::Wire(WireError::InsufficientBalance) | Self::Unpaid { .. } => "insufficient_balance",
            Self::Wire(WireError::Ticket(TicketError::ParamsExpired)) => "params_expired",
            Self::Wire(WireError::Ticket(TicketError::LowPmBalance(_))) | Self::Quote(QuoteError::LowPmBalance(_)) => {
                "low_pm_balance"
            }
            Self::Wire(WireError::Ticket(TicketError::TooFast { .. })) => "too_fast",
            Self::Wire(WireError::Ticket(_)) => "ticket",
            Self::Wire(WireError::Capped) | Self::Capped(_) => "capped",
            Self::Wire(WireError::WrongHash { .. }) => "hash",
            Self::Wire(_) | Self::Unreadable(_) => "malformed",
            Self::NotPinned => "not_pinned",
            Self::Quota(_) => "quota",
            Self::Unauthorized(_) => "unauthorized",
            Self::ContentEncoding(_) => "encoding",
            Self::Quote(_) => "quote",
            Self::Store(_) | Self::Unheard(_) => "store",
            Self::Chain(_) => "chain",
            Self::Body(_) => "body",
            Self::Url(_) => "url",
            Self::Overloaded => "overloaded",
            Self::Stopping => "stopping",
        }
    }

    /// The sender's operator will ask why.
    fn is_about_funds(&self) -> bool {
        matches!(
            self,
            Self::Quote(QuoteError::LowPmBalance(_)) | Self::Wire(WireError::Ticket(TicketError::LowPmBalance(_)))
        )
    }

    /// Logs and counts it; the one place where that is done.
    fn note(&self) {
        metrics::refused(self.reason());
        let cause = std::error::Error::source(self).map(ToString::to_string);
        if self.status().is_server_error() {
            tracing::warn!(error = %self, cause, "request refused");
        } else if self.is_about_funds() {
            tracing::info!(error = %self, "request refused");
        } else {
            tracing::debug!(error = %self, cause, "request refused");
        }
    }
}

/// No room for another session.
pub(crate) fn of_overload(overload: &Overload) -> Coded {
    match overload {
        Overload::Sessions { sessions, max } => {
            Coded::new(Code::OrchestratorCapped, format!("{sessions} sessions"), format!("{max} sessions"))
        }
        Overload::Ratio { predicted, limit, devices } => Coded::new(
            Code::DevicesLoaded,
            format!("{predicted:.2} of the time, the least of {devices} devices"),
            format!("{limit:.2} of the time"),
        ),
        Overload::Places { sessions, capacity, devices } => Coded::new(
            Code::TranscodersFull,
            format!("{sessions} sessions"),
            format!("{capacity} sessions, all {devices} transcoders together"),
        ),
    }
}

/// The sender asks for too much at once.
pub(crate) fn of_quota(exceeded: &QuotaExceeded) -> Coded {
    match exceeded {
        QuotaExceeded::Rate { what, asked, left, limit, .. } => {
            let code = match what {
                Metered::Segments => Code::TooManySegments,
                Metered::Bytes => Code::TooManyBytes,
                Metered::Quotes => Code::TooManyQuotes,
            };
            Coded::new(code, format!("{asked} {what}, {left} left"), format!("{limit} {what} a second"))
        }
        QuotaExceeded::Uploads { open, max, .. } => {
            Coded::new(Code::TooManyUploads, format!("{open} uploads"), format!("{max} uploads"))
        }
    }
}

/// The account is not served. Where the webhook is, is the operator's business.
pub(crate) fn of_unauthorized(why: &Unauthorized) -> Coded {
    match why {
        Unauthorized::Refused { reason } => {
            Coded::new(Code::SenderNotServed, reason, "accounts that the operator lets in")
        }
        Unauthorized::Unreachable(_) => Coded::new(Code::SenderUnchecked, "0 answers", "1 answer"),
    }
}

fn of_silence(seconds: u64) -> Coded {
    Coded::new(Code::StoreSilent, format!("{seconds} s"), "a store that answers")
}

/// The node takes no more work.
pub(crate) fn stopping() -> Coded {
    Coded::new(Code::NodeStopping, "stopping", "running")
}

/// The chain is out of sight. The endpoint is the operator's business alone.
pub(crate) fn of_chain(error: &ChainUnavailable, service: &Service) -> Coded {
    match error {
        ChainUnavailable::Unknown { .. } => Coded::new(Code::ChainUnknown, "0 answers", "1 answer"),
        ChainUnavailable::Stale { seconds, .. } => {
            let allowed = service.config().max_chain_age.as_secs();
            Coded::new(Code::ChainStale, format!("{seconds} s"), format!("{allowed} s"))
        }
        ChainUnavailable::Funds { sender, .. } => Coded::new(Code::SenderFundsUnknown, sender, "an answer of the RPC"),
    }
}

/// A body was not taken.
pub(crate) fn of_body(error: &BodyError, service: &Service) -> Coded {
    let limits = service.intake().limits();
    match error {
        BodyError::TooLarge { max } => {
            Coded::new(Code::SegmentTooLarge, format!("more than {max} bytes"), format!("{max} bytes"))
        }
        BodyError::TimedOut => {
            let (idle, whole) = (limits.body_idle_timeout, limits.body_timeout);
            Coded::new(
                Code::SegmentTooSlow,
                "a body that is not over",
                format!("{idle:?} for a piece, {whole:?} for all"),
            )
        }
        BodyError::Overloaded => {
            Coded::new(Code::MemoryFull, "no room for the body", format!("{} bytes", limits.max_buffered_bytes))
        }
        BodyError::Broken(_) => Coded::new(Code::SegmentCutOff, "a part of the body", "all of the body"),
    }
}

/// A segment that was taken is not transcoded.
pub(crate) fn of_transcode(error: &TranscodeError, service: &Service, asked: usize, duration: Duration) -> Coded {
    let connected = service.pool().connected();
    match error {
        TranscodeError::Busy => {
            let queue = service.config().session_queue;
            Coded::new(Code::OrchestratorBusy, format!("{queue} segments wait"), format!("{queue} segments"))
        }
        // As full as it is now.
        TranscodeError::Capped => {
            let full = service.sessions().room(Demand::NONE).err();
            full.map_or_else(|| error.refusal(), |overload| of_overload(&overload))
        }
        TranscodeError::MismatchedSegments => {
            Coded::new(Code::RenditionCountWrong, "another number of renditions", format!("{asked} renditions"))
        }
        TranscodeError::TranscoderUnavailable => {
            Coded::new(Code::TranscoderLeft, format!("{connected} connected"), "1 connected until the segment is done")
        }
        TranscodeError::NoTranscoders => {
            Coded::new(Code::NoTranscoders, format!("{connected} connected, 0 with room"), "1 with room")
        }
        TranscodeError::NoCapableTranscoder => {
            Coded::new(Code::NoCapableTranscoder, format!("0 of {connected} connected"), "1 that can do the job")
        }
        TranscodeError::TranscoderTimeout => {
            let allowed = deadline(duration).as_millis();
            Coded::new(Code::TranscoderTooSlow, "no result in time", format!("{allowed} ms"))
        }
        other => other.refusal(),
    }
}

/// Nothing of what the URL answered: the peer could look around in our network with it.
fn of_url(error: &UrlError, service: &Service) -> Coded {
    match error {
        UrlError::Off => Coded::new(Code::UrlNotTaken, header::SEGMENT_URI, header::SEGMENT_BYTES),
        UrlError::Unusable => Coded::new(Code::UrlUnusable, "another text", "an http or https URL"),
        UrlError::Fetch(_) | UrlError::Status(_) | UrlError::TimedOut => {
            Coded::new(Code::UrlNotFetched, "no segment", "status 200 and the segment within 8 s")
        }
        UrlError::Body(error) => of_body(error, service),
    }
}

/// A refusal with the terms for another try.
#[derive(Debug)]
pub(crate) struct Refused {
    refusal: Refusal,
    /// None where the request did not come as far, or no terms can be offered.
    offer: Option<Box<Offer>>,
}

impl<E: Into<Refusal>> From<E> for Refused {
    fn from(refusal: E) -> Self {
        Self { refusal: refusal.into(), offer: None }
    }
}

impl Refused {
    /// Tells these terms too.
    pub(crate) fn with(refusal: impl Into<Refusal>, offer: Option<&Offer>) -> Self {
        Self { refusal: refusal.into(), offer: offer.cloned().map(Box::new) }
    }

    /// Answers now, and throws away some of the body that was not read.
    pub(crate) fn answer(self, rest: BodyDataStream, service: &Service) -> Response {
        let Self { refusal, offer } = self;
        refusal.note();
        let info = offer.and_then(|offer| HeaderValue::from_str(&header::encode_info(&offer.to_proto())).ok());
        let rest = answer_and_drain(refusal.text(), rest, *service.intake().limits());
        let mut response = coded(refusal.status(), &refusal.coded(service), rest);
        if let Some(info) = info {
            response.headers_mut().insert(HeaderName::from_static(INFO), info);
        }
        response
    }
}

/// An answer with a code.
pub(crate) fn coded(status: StatusCode, refusal: &Coded, body: Body) -> Response {
    let mut response = (status, body).into_response();
    if let Ok(value) = HeaderValue::from_str(&refusal.to_header()) {
        response.headers_mut().insert(HeaderName::from_static(refusal::HEADER), value);
    }
    response
}

/// [`header::ORCHESTRATOR_INFO`] as the HTTP library wants it.
const INFO: &str = "streamflow-orchestrator-info";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_store_is_told_with_its_seconds() {
        let told = of_silence(45);
        assert_eq!(
            (told.code, told.got.as_str(), told.limit.as_str()),
            (Code::StoreSilent, "45 s", "a store that answers")
        );
        assert_eq!(told.advice, Code::StoreSilent.advice());
    }
}
