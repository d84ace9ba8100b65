//! POST /segment: check, charge, queue; answer 200 at once and the result when it is there (node.md §2.4).
use std::{convert::Infallible, time::Duration};

use alloy_primitives::Address;
use axum::{
    body::{Body, BodyDataStream},
    extract::{Request, State},
    http::{
        HeaderMap,
        header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
        request::Parts,
    },
    response::Response,
};
use bytes::Bytes;
use prost::Message;
use streamflow_pm::{Payment, estimated_pixels, is_credible_bill};
use streamflow_wire::{Offer, SegmentRequest, TranscodeError, WireError, header, proto, result_hash, sign_result};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};
use tonic::transport::server::TcpConnectInfo;

use super::read_headers;
use crate::{
    intake::Received,
    metrics,
    payments::{Hold, PaymentError, Payments},
    quotas::Sender,
    refusal::{Refusal, Refused, UrlError},
    service::{Service, demand},
    sessions::Outcome,
    transcode::{Rendition, TranscodeJob, deadline},
};

/// Longest URL taken as a body.
const MAX_URL_BYTES: usize = 4096;
/// Time for a segment behind a URL (node.md §2.4, step 12).
const FETCH_TIMEOUT: Duration = Duration::from_secs(8);

/// A segment that was paid for and uploaded.
struct Accepted {
    sender: Address,
    token: proto::AuthToken,
    segment: SegmentRequest,
    /// Terms at the time of the upload.
    offer: Offer,
    received: Received,
    /// None without a chain.
    hold: Option<Hold>,
}

pub(super) async fn post(State(service): State<Service>, request: Request) -> Response {
    // A node that stops waits for segments that it has begun to take.
    let _in_hand = service.deliveries().token();
    let (parts, body) = request.into_parts();
    let mut body = body.into_data_stream();
    match accept(&service, &parts, &mut body).await {
        Ok(accepted) => queue(service.clone(), accepted),
        Err(refusal) => refusal.answer(body, *service.intake().limits()),
    }
}

/// Steps 1 to 13. What the payment won is stored when this returns.
async fn accept(service: &Service, parts: &Parts, body: &mut BodyDataStream) -> Result<Accepted, Refused> {
    let headers = &parts.headers;
    service.check_open()?;
    refuse_encoded(headers)?;
    let read = read_headers(headers, SegmentRequest::from_proto)?;
    let token = service.check_segment(&read.segment, read.sender)?;
    // A session that goes on was let in when it began.
    if !service.sessions().is_open(&token.session_id) {
        service.gatekeeper().check(read.sender).await.map_err(Refusal::from)?;
    }
    let upload = service.quotas().upload(sender_of(read.sender, parts))?;
    let Paid { offer, no_terms } = pay(service, read.payment, read.sender, &token.session_id, &token).await?;
    let gate = |payments: &Payments| payments.gate(read.sender, &token.session_id, estimate(&read.segment));
    let hold = service.payments().map(gate).transpose();
    // Who gets no terms cannot pay: that is the reason, not the balance.
    let hold = hold.map_err(|error| Refused::with(no_terms.unwrap_or(error), Some(&offer)))?;
    let kept = service.sessions().hold(&token.session_id, demand(&read.segment), &read.segment.profiles);
    kept.map_err(|overload| Refused::with(overload, Some(&offer)))?;
    // Later than that nobody waits for it.
    let within = deadline(Duration::from_millis(read.segment.duration_ms.into()));
    let received = receive(service, headers, body, within).await.map_err(|error| Refused::with(error, Some(&offer)))?;
    upload.took(received.data.len());
    if received.hash != read.segment.hash {
        return Err(Refused::with(WireError::WrongHash, Some(&offer)));
    }
    Ok(Accepted { sender: read.sender, token, segment: read.segment, offer, received, hold })
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

/// Whose quota a segment is on: the account that signed, or the address where none signs.
fn sender_of(account: Address, parts: &Parts) -> Sender {
    let peer = parts.extensions.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
    match peer {
        Some(peer) if account.is_zero() => Sender::Peer(peer.ip()),
        _ => Sender::Account(account),
    }
}

/// Pixels that the segment will about have, if it is as long as its sender says.
fn estimate(segment: &SegmentRequest) -> u64 {
    estimated_pixels(&segment.profiles, segment.duration_ms.into())
}

/// A payment that was taken.
pub(super) struct Paid {
    /// Terms for the next one.
    pub(super) offer: Offer,
    /// Why they are without params.
    no_terms: Option<PaymentError>,
}

/// Takes the tickets for a session or a manifest. That comes even when no fresh terms can be offered, because they may have
/// won; and work that is paid for is done, whether or not the sender can pay for more.
pub(super) async fn pay(
    service: &Service,
    payment: Result<Payment, streamflow_wire::PaymentError>,
    sender: Address,
    account: &str,
    token: &proto::AuthToken,
) -> Result<Paid, Refused> {
    let offer = service.offer(sender, token).await;
    let Some(payments) = service.payments() else { return Ok(Paid { offer: offer?, no_terms: None }) };
    let paid = match payment {
        Ok(payment) => payments.receive(payment, account).await.map_err(Refusal::from),
        Err(malformed) => Err(WireError::from(malformed).into()),
    };
    paid.map_err(|refusal| Refused::with(refusal, offer.as_ref().ok()))?;
    match offer {
        Ok(offer) => Ok(Paid { offer, no_terms: None }),
        Err(error) => {
            tracing::info!(%sender, %error, "no terms for the next payment");
            Ok(Paid { offer: service.offer_without_params(sender, token), no_terms: Some(error) })
        }
    }
}

async fn receive(
    service: &Service,
    headers: &HeaderMap,
    body: &mut BodyDataStream,
    within: Duration,
) -> Result<Received, Refusal> {
    let is_url = headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes() == header::SEGMENT_URI.as_bytes());
    if is_url {
        return fetch(service, body).await.map_err(Refusal::Url);
    }
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    Ok(service.intake().segment(body, declared, within).await?)
}

/// Takes the segment from where the body says it is.
async fn fetch(service: &Service, body: &mut BodyDataStream) -> Result<Received, UrlError> {
    if !service.config().fetch_segments_by_url {
        return Err(UrlError::Off);
    }
    let url = service.intake().text(body, MAX_URL_BYTES).await?;
    let url = reqwest::Url::parse(url.trim()).map_err(|_| UrlError::Unusable)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(UrlError::Unusable);
    }
    let fetch = async {
        let response = service.http().get(url).send().await?;
        if !response.status().is_success() {
            return Err(UrlError::Status(response.status()));
        }
        let declared = response.content_length();
        Ok(service.intake().segment(&mut response.bytes_stream(), declared, FETCH_TIMEOUT).await?)
    };
    timeout(FETCH_TIMEOUT, fetch).await.map_err(|_| UrlError::TimedOut)?
}

/// Step 14: the head of the answer leaves now, the result follows when the segment is done. That goes on when the peer
/// has left.
fn queue(service: Service, accepted: Accepted) -> Response {
    let started = Instant::now();
    let Accepted { sender, token, segment, offer, received, hold } = accepted;
    let job = TranscodeJob {
        manifest_id: segment.manifest_id.clone(),
        session_id: token.session_id.clone(),
        seq: segment.seq,
        duration: Duration::from_millis(segment.duration_ms.into()),
        input: received.data,
        profiles: segment.profiles.clone(),
    };
    let queued = service.sessions().submit(job, received.share);
    let (reply, result) = oneshot::channel::<Bytes>();
    let deliveries = service.deliveries().clone();
    deliveries.spawn(async move {
        let outcome = match queued {
            Ok(outcome) => outcome.await.unwrap_or(Err(TranscodeError::TranscoderStopped)),
            Err(error) => Err(error),
        };
        let delivery = Delivery { service, sender, token, segment, offer };
        let result = delivery.result(outcome, hold, started).await;
        // Nobody may be listening any more.
        drop(reply.send(result.encode_to_vec().into()));
    });
    // An empty body is a result without data or error: peers take it as a failure.
    let body = async move { Ok::<_, Infallible>(result.await.unwrap_or_default()) };
    Response::new(Body::from_stream(futures::stream::once(body)))
}

/// What is left to do when a segment is transcoded.
struct Delivery {
    service: Service,
    sender: Address,
    token: proto::AuthToken,
    segment: SegmentRequest,
    offer: Offer,
}

impl Delivery {
    async fn result(self, outcome: Outcome, hold: Option<Hold>, started: Instant) -> proto::TranscodeResult {
        use proto::transcode_result::Result as Answer;
        let delivered = outcome.and_then(|renditions| self.deliver(renditions, hold));
        metrics::segment_done(delivered.is_ok(), started.elapsed());
        let (session, seq) = (&self.token.session_id, self.segment.seq);
        let answer = match delivered {
            Ok(data) => {
                tracing::info!(session, seq, took = ?started.elapsed(), "segment done");
                Answer::Data(data)
            }
            Err(error) => {
                tracing::warn!(session, seq, %error, "segment failed");
                Answer::Error(error.to_string())
            }
        };
        // Blocks went by meanwhile: the next payment needs terms that last.
        let offer = self.service.offer(self.sender, &self.token).await.unwrap_or(self.offer);
        proto::TranscodeResult {
            // It came as a number of this kind.
            seq: i64::try_from(seq).unwrap_or(i64::MAX),
            info: Some(offer.to_proto()),
            result: Some(answer),
        }
    }

    /// Signs, keeps and charges for the renditions. All or nothing: what cannot be fetched is not charged.
    ///
    /// Nobody is trusted for the work's size: the sender names the length that was paid for ahead, and a remote
    /// transcoder counts the pixels that are charged.
    fn deliver(&self, renditions: Vec<Rendition>, hold: Option<Hold>) -> Result<proto::TranscodeData, TranscodeError> {
        let pixels = renditions.iter().fold(0_u64, |sum, rendition| sum.saturating_add(rendition.pixels));
        if hold.is_some() && !is_credible_bill(estimate(&self.segment), pixels) {
            return Err(TranscodeError::Other(format!("{pixels} pixels are too many for the segment's length")));
        }
        let sig = match self.service.payments() {
            None => Vec::new(),
            Some(payments) => {
                let hash = result_hash(renditions.iter().map(|rendition| rendition.data.as_ref()));
                let signed = sign_result(hash, payments.signer());
                let sig = signed.map_err(|error| TranscodeError::Other(error.to_string()))?;
                sig.as_bytes().to_vec()
            }
        };
        let mut segments = Vec::with_capacity(renditions.len());
        for (rendition, profile) in renditions.into_iter().zip(&self.segment.profiles) {
            let directory = format!("{}/{}", self.token.session_id, profile.name);
            let file = format!("{}.{}", self.segment.seq, profile.format.extension());
            let url = format!("{}/stream/{directory}/{file}", self.service.service_uri());
            if !self.service.cache().insert(&directory, &file, rendition.data) {
                return Err(TranscodeError::MissingStorage);
            }
            segments.push(proto::TranscodedSegmentData {
                url,
                pixels: i64::try_from(rendition.pixels).unwrap_or(i64::MAX),
                perceptual_hash_url: String::new(),
            });
        }
        metrics::encoded_pixels(pixels);
        if let Some(hold) = hold {
            hold.debit(pixels);
        }
        Ok(proto::TranscodeData { segments, sig })
    }
}
