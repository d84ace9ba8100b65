//! POST /payment: credit ahead of work (node.md §2.6).
use axum::{
    extract::{Request, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use prost::Message;
use streamflow_wire::proto;

use super::read_headers;
use crate::{refusal::Refusal, service::Service};

pub(super) async fn post(State(service): State<Service>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match receive(&service, &parts.headers).await {
        Ok(result) => result.encode_to_vec().into_response(),
        Err(refusal) => refusal.answer(body.into_data_stream(), *service.intake().limits()),
    }
}

/// Credits (sender, manifest).
async fn receive(service: &Service, headers: &HeaderMap) -> Result<proto::PaymentResult, Refusal> {
    service.check_open()?;
    let read = read_headers(headers)?;
    let token = service.check_segment(&read.segment, read.sender)?;
    let offer = service.offer(read.sender, &token).await;
    super::segment::pay(service, read.payment, read.segment.manifest_id.as_str(), offer)
        .await
        .map(|offer| proto::PaymentResult { info: Some(offer.to_proto()) })
}
