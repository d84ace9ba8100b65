//! The HTTP surface (payments.md §2.1); `openapi.json` describes it.
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use alloy_primitives::Address;
use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, RawQuery, Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures::StreamExt;
use serde_json::{Value, json};
use streamflow_wire::proto;
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    desk::{Answer, Desk},
    discovery::Discovery,
    metrics, openapi,
    refusal::{NO_TICKETS, Refusal, error_body},
    request::MAX_BODY,
    state::SignedState,
};

/// What all requests share.
pub(crate) struct Service {
    pub(crate) desk: Desk,
    pub(crate) discovery: Option<Discovery>,
    /// Answer of `/sign-orchestrator-info`: it never changes.
    pub(crate) identity: Value,
    /// Requests that may still begin; bounds the bodies in memory.
    pub(crate) requests: Semaphore,
    pub(crate) payments: AtomicU64,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("sender", &self.desk.signer.address()).finish_non_exhaustive()
    }
}

pub(crate) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/sign-orchestrator-info", post(sign_orchestrator_info))
        .route("/generate-live-payment", post(generate_live_payment))
        .route("/discover-orchestrators", get(discover_orchestrators))
        .route("/openapi.json", get(document))
        .fallback(async || error_body(404, "not found"))
        .method_not_allowed_fallback(async || error_body(405, "method not allowed"))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(service)
}

/// The signed address that a broadcaster asks for quotes with. Whoever has it can do no more than that.
pub(crate) fn identity(request: &proto::OrchestratorRequest, sender: Address) -> Value {
    json!({ "address": sender.to_checksum(None), "signature": format!("0x{}", hex::encode(&request.sig)) })
}

async fn sign_orchestrator_info(State(service): State<Arc<Service>>) -> Json<Value> {
    metrics::answered(200);
    Json(service.identity.clone())
}

async fn generate_live_payment(State(service): State<Arc<Service>>, request: Request) -> Response {
    let response = match pay(&service, request).await {
        Ok(Answer::Paid { payment, seg_creds, state }) => {
            service.payments.fetch_add(1, Ordering::Relaxed);
            Json(json!({ "payment": payment, "segCreds": seg_creds, "state": signed(&state) })).into_response()
        }
        Ok(Answer::NoTickets { state, seg_creds }) => {
            let mut body = json!({ "error": { "message": "no tickets" }, "state": signed(&state) });
            if let Some(seg_creds) = seg_creds {
                body["segCreds"] = seg_creds.into();
            }
            (StatusCode::from_u16(NO_TICKETS).unwrap_or_default(), Json(body)).into_response()
        }
        Err(refusal) => refusal.into_response(),
    };
    metrics::answered(response.status().as_u16());
    response
}

#[tracing::instrument(name = "payment", skip_all)]
async fn pay(service: &Service, request: Request) -> Result<Answer, Refusal> {
    let _permit = service.requests.try_acquire().map_err(|_| Refusal::Busy)?;
    let (parts, body) = request.into_parts();
    let reading = timeout(service.desk.config.body_timeout, read(body));
    let body = reading.await.map_err(|_| Refusal::TooSlow)??;
    // Bytes that are no text are no JSON either, and are told so.
    service.desk.pay(&parts.headers, &String::from_utf8_lossy(&body)).await
}

/// A body that breaks off is read as what has come of it.
async fn read(body: Body) -> Result<Vec<u8>, Refusal> {
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(Ok(chunk)) = stream.next().await {
        if bytes.len() + chunk.len() > MAX_BODY {
            return Err(Refusal::TooLarge(MAX_BODY));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn signed(state: &SignedState) -> Value {
    json!({ "State": STANDARD.encode(&state.state), "Sig": STANDARD.encode(&state.sig) })
}

async fn discover_orchestrators(State(service): State<Arc<Service>>, RawQuery(query): RawQuery) -> Response {
    let Some(discovery) = &service.discovery else { return error_body(404, "not found") };
    let query = query.unwrap_or_default();
    let wanted: Vec<String> = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, value)| name == "caps" && !value.is_empty())
        .map(|(_, value)| value.into_owned())
        .collect();
    match discovery.find(&wanted).await {
        Some(found) => Json(found).into_response(),
        None => error_body(503, "Service Unavailable Error"),
    }
}

async fn document() -> Response {
    ([(CONTENT_TYPE, "application/json")], openapi::DOCUMENT).into_response()
}
