//! The HTTP half of the port.
use axum::{
    Router,
    http::HeaderMap,
    routing::{get, post},
};
use streamflow_pm::Payment;
use streamflow_wire::{PaymentError, SegmentError, SegmentRequest, WireError, header, payment_from_proto, proto};

use crate::service::Service;

mod admit;
mod delivery;
mod payment;
mod refresh;
mod results;
mod segment;
mod stream;
mod streamed;

#[cfg(test)]
pub(crate) use segment::source;
pub(crate) use stream::INPUT_SUFFIX;

pub(crate) fn router(service: Service) -> Router {
    Router::new()
        .route("/segment", post(segment::post))
        .route(&format!("/{}", streamflow_wire::stream::PATH), post(streamed::post))
        .route("/payment", post(payment::post))
        .route("/refresh-payment", post(refresh::post))
        .route("/transcodeResults", post(results::post))
        .route("/transcoderState", post(results::state))
        .route("/stream/{session}/{profile}/{file}", get(stream::rendition))
        .route("/stream/{session}/{file}", get(stream::input))
        .with_state(service)
}

/// The two headers of a paid request.
struct Headers {
    payment: Result<Payment, PaymentError>,
    /// The header as it came; empty if there is none.
    payment_text: String,
    /// Zero if there is none, or none that could be an account.
    sender: alloy_primitives::Address,
    segment: SegmentRequest,
}

/// Reads the payment, then the segment by `read` (node.md §2.4, steps 1 to 3). What is wrong inside a payment is told later.
fn read_headers(
    headers: &HeaderMap,
    read: fn(proto::SegData) -> Result<SegmentRequest, SegmentError>,
) -> Result<Headers, WireError> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str());
    // Not text at all is not base64 either, and says so as such.
    let payment_text = text(header::PAYMENT).map_or("", |value| value.unwrap_or("\u{fffd}"));
    let payment = header::decode_payment(payment_text)?;
    let sender = payment.sender.as_slice().try_into().unwrap_or_default();
    let segment = text(header::SEGMENT).and_then(Result::ok).ok_or(WireError::SegmentEncoding)?;
    let segment = read(header::decode_segment(segment)?)?;
    let payment = payment_from_proto(&payment);
    Ok(Headers { payment, payment_text: payment_text.to_owned(), sender, segment })
}
