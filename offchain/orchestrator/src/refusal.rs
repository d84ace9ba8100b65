//! Why a request is refused: statuses and texts that peers know (node.md §2.4, payments.md §1.8).
use axum::{
    body::BodyDataStream,
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use streamflow_pm::{QuoteError, TicketError};
use streamflow_wire::{Offer, WireError, header};

use crate::{
    admission::Overload,
    chain::ChainUnavailable,
    config::LimitsConfig,
    gatekeeper::Unauthorized,
    intake::{BodyError, answer_and_drain},
    metrics,
    payments::PaymentError,
    quotas::QuotaExceeded,
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
            PaymentError::InsufficientBalance => WireError::InsufficientBalance.into(),
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
            Self::Url(_) | Self::Quote(QuoteError::LowPmBalance(_) | QuoteError::UnlockingSoon { .. }) => {
                StatusCode::BAD_REQUEST
            }
            Self::Quote(QuoteError::FaceValueCapped { .. } | QuoteError::NoRound)
            | Self::Unheard(_)
            | Self::Chain(_)
            | Self::Overloaded
            | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Short name for metrics.
    fn reason(&self) -> &'static str {
        match self {
            Self::Wire(WireError::InsufficientBalance) => "insufficient_balance",
            Self::Wire(WireError::Ticket(TicketError::ParamsExpired)) => "params_expired",
            Self::Wire(WireError::Ticket(TicketError::LowPmBalance(_))) | Self::Quote(QuoteError::LowPmBalance(_)) => {
                "low_pm_balance"
            }
            Self::Wire(WireError::Ticket(TicketError::TooFast { .. })) => "too_fast",
            Self::Wire(WireError::Ticket(_)) => "ticket",
            Self::Wire(WireError::Capped) | Self::Capped(_) => "capped",
            Self::Wire(WireError::WrongHash) => "hash",
            Self::Wire(_) => "malformed",
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
    pub(crate) fn answer(self, rest: BodyDataStream, limits: LimitsConfig) -> Response {
        let Self { refusal, offer } = self;
        refusal.note();
        let info = offer.and_then(|offer| HeaderValue::from_str(&header::encode_info(&offer.to_proto())).ok());
        let status = refusal.status();
        let mut response = (status, answer_and_drain(refusal.to_string(), rest, limits)).into_response();
        if let Some(info) = info {
            response.headers_mut().insert(HeaderName::from_static(INFO), info);
        }
        response
    }
}

/// [`header::ORCHESTRATOR_INFO`] as the HTTP library wants it.
const INFO: &str = "streamflow-orchestrator-info";
