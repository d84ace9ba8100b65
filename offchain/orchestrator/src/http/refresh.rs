//! POST /refresh-payment: terms for the next payment ahead of work (node.md §2.6).
use alloy_primitives::Address;
use axum::{
    Json,
    body::Bytes,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use streamflow_types::ManifestId;
use streamflow_wire::header;

use crate::{
    refusal::{Refusal, Refused},
    service::Service,
};

/// Longest question, bytes.
const MAX_BYTES: usize = 4096;

#[derive(Debug, Deserialize)]
struct Question {
    sender: Address,
    manifest_id: String,
}

/// What a sender needs for its next tickets.
#[derive(Debug, Serialize)]
struct Challenge {
    sender: Address,
    manifest_id: String,
    /// Price and fresh ticket params: base64 of OrchestratorInfo, as it stands in the answers to payments.
    orchestrator_info: String,
}

pub(super) async fn post(State(service): State<Service>, request: Request) -> Response {
    let mut body = request.into_body().into_data_stream();
    let read = service.intake().text(&mut body, MAX_BYTES).await;
    let challenge = match read {
        Ok(text) => challenge(&service, text.into()).await,
        Err(error) => Err(Refusal::from(error).into()),
    };
    match challenge {
        Ok(challenge) => Json(challenge).into_response(),
        Err(refused) => refused.answer(body, &service),
    }
}

async fn challenge(service: &Service, body: Bytes) -> Result<Challenge, Refused> {
    service.check_open()?;
    let Json(Question { sender, manifest_id }) =
        Json::from_bytes(&body).map_err(|_| Refusal::Unreadable("not the expected JSON"))?;
    let manifest = ManifestId::new(manifest_id).map_err(|_| Refusal::Unreadable("manifest_id is not usable"))?;
    let payments = service.payments().ok_or(Refusal::NotPinned)?;
    let price = payments.pinned_price(sender, manifest.as_str()).ok_or(Refusal::NotPinned)?;
    let params = payments.quote(sender, price).await.map_err(Refusal::from)?;
    let mut offer = service.offer_at(price, None);
    offer.params = Some(params);
    Ok(Challenge {
        sender,
        manifest_id: manifest.to_string(),
        orchestrator_info: header::encode_info(&offer.to_proto()),
    })
}
