//! Why a request is not answered with a payment, and with which status (payments.md §2.4).
use alloy_primitives::Address;
use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::json;
use streamflow_pm::{ParamsError, SenderError, SignError};
use streamflow_types::{ManifestIdError, Price, with_causes};

use crate::{
    auth::AuthError,
    billing::BillingError,
    budget::BudgetError,
    ceiling::{Ceiling, CeilingError},
    fence::FenceUnavailable,
    request::RequestError,
    state::StateError,
};

/// The client should fetch fresh terms from the orchestrator.
pub(crate) const REFRESH: u16 = 480;
/// The orchestrator asks too much.
pub(crate) const PRICE: u16 = 481;
/// Enough is paid for now.
pub(crate) const NO_TICKETS: u16 = 482;
/// Where to fetch fresh terms.
const ORCHESTRATOR_URL: HeaderName = HeaderName::from_static("livepeer-orchestrator-url");

/// Why there is no payment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("request body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("request body did not arrive in time")]
    TooSlow,
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("missing or zero priceInfo")]
    NoPrice,
    #[error("missing ticketParams in OrchestratorInfo")]
    NoParams,
    #[error("ticketParams cannot be used: {0}")]
    Params(#[source] streamflow_wire::PaymentError),
    #[error("orchestrator address has {0} bytes, not 20")]
    Address(usize),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("orchestratorAddress mismatch")]
    OtherOrchestrator,
    #[error("app mismatch")]
    OtherApp,
    #[error("job type mismatch")]
    OtherJob,
    #[error("missing manifestID")]
    NoManifest,
    #[error(transparent)]
    Manifest(#[from] ManifestIdError),
    #[error("segment does not belong to this payment: {0} differs")]
    OtherSegment(&'static str),
    #[error(transparent)]
    Segment(#[from] streamflow_wire::SegmentError),
    #[error("missing auth token")]
    NoToken,
    #[error("remote signer could not check whether to refresh session: {0}")]
    Unchecked(#[source] ParamsError),
    #[error("ticket recipient {0} is not an active orchestrator")]
    NotActive(Address),
    /// Token or params are about to expire, or the numbers for tickets are used up.
    #[error("refresh session for remote signer")]
    Refresh {
        /// The orchestrator's.
        url: String,
    },
    #[error(transparent)]
    Billing(#[from] BillingError),
    #[error(transparent)]
    MaxPrice(#[from] CeilingError),
    #[error("orchestrator price {price} exceeds {source_name} ceiling {ceiling}")]
    TooDear { price: Price, source_name: &'static str, ceiling: Ceiling },
    #[error("numTickets {got} exceeds maximum of {max}")]
    TooManyTickets { got: u64, max: usize },
    #[error("state was paid on before")]
    Replayed,
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Budget(#[from] BudgetError),
    #[error("too many requests at a time")]
    Busy,
    #[error("{0} is not known yet")]
    Unknown(&'static str),
    #[error(transparent)]
    Fence(#[from] FenceUnavailable),
    #[error("tickets cannot be made")]
    Sender(#[from] SenderError),
    #[error("state cannot be written")]
    Write(#[from] serde_json::Error),
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl Refusal {
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Request(_)
            | Self::NoPrice
            | Self::NoParams
            | Self::Params(_)
            | Self::Address(_)
            | Self::State(_)
            | Self::OtherOrchestrator
            | Self::OtherApp
            | Self::OtherJob
            | Self::NoManifest
            | Self::Manifest(_)
            | Self::OtherSegment(_)
            | Self::Segment(_)
            | Self::NoToken
            | Self::Unchecked(_)
            | Self::NotActive(_)
            | Self::Billing(_)
            | Self::MaxPrice(_)
            | Self::TooManyTickets { .. } => 400,
            Self::TooSlow => 408,
            Self::Replayed => 409,
            Self::TooLarge(_) => 413,
            Self::Refresh { .. } => REFRESH,
            Self::TooDear { .. } => PRICE,
            Self::Auth(error) => error.status(),
            Self::Budget(error) => error.status(),
            Self::Sender(_) | Self::Write(_) | Self::Sign(_) => 500,
            Self::Busy | Self::Unknown(_) | Self::Fence(_) => 503,
        }
    }

    /// What the client is told. Our own trouble is for our own log.
    pub(crate) fn message(&self) -> String {
        match self.status() {
            500 => "Internal Server Error".to_owned(),
            503 => "Service Unavailable Error".to_owned(),
            _ => self.to_string(),
        }
    }
}

/// `{"error":{"message":"…"}}`
pub(crate) fn error_body(status: u16, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(json!({ "error": { "message": message } }))).into_response()
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        match status {
            500.. if status != 502 => tracing::error!(status, err = with_causes(&self), "request failed"),
            _ => tracing::debug!(status, err = with_causes(&self), "request refused"),
        }
        let mut response = error_body(status, &self.message());
        if let Self::Refresh { url } = &self
            && let Ok(url) = HeaderValue::from_str(url)
        {
            response.headers_mut().insert(ORCHESTRATOR_URL, url);
        }
        response
    }
}
