//! POST /payment: credit ahead of work (node.md §2.6).
use axum::{
    extract::{Request, State},
    http::request::Parts,
    response::{IntoResponse, Response},
};
use prost::Message;
use streamflow_wire::{SegmentRequest, proto};

use super::{admit, read_headers};
use crate::{refusal::Refused, service::Service};

pub(super) async fn post(State(service): State<Service>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match receive(&service, &parts).await {
        Ok(result) => result.encode_to_vec().into_response(),
        Err(refusal) => refusal.answer(body.into_data_stream(), &service),
    }
}

/// Credits (sender, manifest).
async fn receive(service: &Service, parts: &Parts) -> Result<proto::PaymentResult, Refused> {
    service.check_open()?;
    admit::refuse_encoded(&parts.headers)?;
    let read = read_headers(&parts.headers, SegmentRequest::of_payment)?;
    let owner = admit::sender_of(read.sender, parts);
    let token = service.check_segment(&read.segment, read.sender, owner)?;
    let manifest = read.segment.manifest_id.as_str();
    admit::pay(service, read.payment, read.sender, manifest, &token).await?;
    let (offer, _) = admit::terms(service, read.sender, &token).await;
    Ok(proto::PaymentResult { info: Some(offer.to_proto()) })
}
