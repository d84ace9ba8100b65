//! Who may send a segment, and has it been paid for: all that is looked at before its first byte (node.md §2.4).
use alloy_primitives::Address;
use axum::http::{HeaderMap, header::CONTENT_ENCODING, request::Parts};
use streamflow_pm::{Payment, estimated_pixels};
use streamflow_wire::{Offer, SegmentRequest, WireError, proto};
use tonic::transport::server::TcpConnectInfo;

use super::{Headers, read_headers};
use crate::{
    payments::{Hold, PaymentError, Payments},
    quotas::{Sender, Upload},
    refusal::{Refusal, Refused},
    service::{Service, demand},
    sessions::Claim,
};

/// How a segment comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// In one piece, with its hash in the head.
    Whole,
    /// In frames, with its hash in the trailer.
    Streamed,
}

/// A segment that may come.
pub(super) struct Admitted {
    pub(super) sender: Address,
    /// The same as quotas and sessions know it.
    pub(super) owner: Sender,
    pub(super) token: proto::AuthToken,
    pub(super) segment: SegmentRequest,
    /// The payment header, which the head of a stream is signed with.
    pub(super) payment_text: String,
    pub(super) upload: Upload,
    /// None without a chain.
    pub(super) hold: Option<Hold>,
}

impl Admitted {
    pub(super) fn claim(&self) -> Claim<'_> {
        claim(&self.token, self.owner, &self.segment)
    }

    /// Refuses it after all, with terms for another try.
    pub(super) async fn refuse(&self, service: &Service, refusal: Refusal) -> Refused {
        let (offer, _) = terms(service, self.sender, &self.token).await;
        Refused::with(refusal, Some(&offer))
    }
}

fn claim<'a>(token: &'a proto::AuthToken, owner: Sender, segment: &'a SegmentRequest) -> Claim<'a> {
    Claim { session: &token.session_id, owner, stream: segment.manifest_id.as_str() }
}

/// Steps 1 to 10, and a place for the segment. What the payment won is stored when this returns.
pub(super) async fn admit(service: &Service, parts: &Parts, manner: Manner) -> Result<Admitted, Refused> {
    let headers = &parts.headers;
    service.check_open()?;
    refuse_encoded(headers)?;
    let read = read_headers(headers, SegmentRequest::from_proto)?;
    name_span(&read.segment);
    let owner = sender_of(read.sender, parts);
    let token = match manner {
        Manner::Whole => service.check_segment(&read.segment, read.sender, owner)?,
        Manner::Streamed => service.check_stream(&read.segment, &read.payment_text, read.sender, owner)?,
    };
    let claim = claim(&token, owner, &read.segment);
    // A session that goes on was let in when it began.
    if !service.sessions().is_open(claim) {
        service.gatekeeper().check(read.sender).await.map_err(Refusal::from)?;
    }
    let upload = service.quotas().upload(owner)?;
    pay(service, read.payment, read.sender, &token.session_id, &token).await?;
    let gate = |payments: &Payments| payments.gate(read.sender, &token.session_id, estimate(&read.segment));
    let hold = match service.payments().map(gate).transpose() {
        Ok(hold) => hold,
        Err(error) => {
            let (offer, no_terms) = terms(service, read.sender, &token).await;
            // Who gets no terms cannot pay: that is the reason, not the balance.
            return Err(Refused::with(no_terms.unwrap_or(error), Some(&offer)));
        }
    };
    let Headers { payment_text, sender, segment, .. } = read;
    let admitted = Admitted { sender, owner, token, segment, payment_text, upload, hold };
    let segment = &admitted.segment;
    match service.sessions().hold(admitted.claim(), demand(segment), &segment.profiles) {
        Ok(()) => Ok(admitted),
        Err(full) => Err(admitted.refuse(service, full.into()).await),
    }
}

/// Which segment the log lines from here on are about.
fn name_span(segment: &SegmentRequest) {
    let span = tracing::Span::current();
    span.record("stream", tracing::field::display(&segment.manifest_id)).record("seq", segment.seq);
    if let Some(token) = &segment.auth_token {
        span.record("session", token.session_id.as_str());
    }
}

/// A compressed body would be larger than its length says, and its hash is that of what comes out.
pub(super) fn refuse_encoded(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get(CONTENT_ENCODING) {
        Some(encoding) if encoding.as_bytes() != b"identity" => {
            let shown: String = String::from_utf8_lossy(encoding.as_bytes()).chars().take(32).collect();
            Err(Refusal::ContentEncoding(shown))
        }
        _ => Ok(()),
    }
}

/// Whose quota a segment is on, and whose session it belongs to.
pub(super) fn sender_of(account: Address, parts: &Parts) -> Sender {
    let peer = parts.extensions.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
    Sender::of(account, peer.map(|peer| peer.ip()))
}

/// Pixels that the segment will about have, if it is as long as its sender says.
pub(super) fn estimate(segment: &SegmentRequest) -> u64 {
    estimated_pixels(&segment.profiles, segment.duration_ms.into())
}

/// Takes the tickets for a session or a manifest. Work that is paid for is done, whether or not the sender can pay for more.
pub(super) async fn pay(
    service: &Service,
    payment: Result<Payment, streamflow_wire::PaymentError>,
    sender: Address,
    account: &str,
    token: &proto::AuthToken,
) -> Result<(), Refused> {
    let Some(payments) = service.payments() else { return Ok(()) };
    let paid = match payment {
        Ok(payment) => payments.receive(payment, account).await.map_err(Refusal::from),
        Err(malformed) => Err(WireError::from(malformed).into()),
    };
    match paid {
        Ok(()) => Ok(()),
        Err(refusal) => Err(Refused::with(refusal, service.offer(sender, token).await.ok().as_ref())),
    }
}

/// Terms for the next payment. Where none can be offered they come without params, and with the reason.
pub(super) async fn terms(
    service: &Service,
    sender: Address,
    token: &proto::AuthToken,
) -> (Offer, Option<PaymentError>) {
    match service.offer(sender, token).await {
        Ok(offer) => (offer, None),
        Err(error) => {
            tracing::info!(%sender, %error, "no terms for the next payment");
            (service.offer_without_params(sender, token), Some(error))
        }
    }
}
