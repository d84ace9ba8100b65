//! POST /segment: check, charge, queue; answer 200 at once and the result when it is there (node.md §2.4).
use std::{convert::Infallible, time::Duration};

use alloy_primitives::{Address, B256, keccak256};
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
use streamflow_pm::{Payment, SignError, TRANSCODING_H264, WorkReceipt, estimated_pixels, is_credible_bill};
use streamflow_types::{Profile, with_causes};
use streamflow_wire::{
    Code, Offer, Refusal as Coded, SegmentRequest, TranscodeError, WireError, encode_receipt, header, proto,
    refusal::scrub, result_hash_of, settings_id, sign_result, software_id,
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};
use tonic::transport::server::TcpConnectInfo;
use tracing::Instrument as _;

use super::read_headers;
use crate::{
    intake::Received,
    metrics,
    payments::{Hold, PaymentError, Payments},
    quotas::{Sender, Upload},
    refusal::{Refusal, Refused, UrlError, of_transcode},
    service::{Service, demand},
    sessions::{Claim, Outcome},
    transcode::{Rendition, TranscodeJob, deadline},
    upload::{SenderStore, UploadError},
};

/// Longest URL taken as a body.
const MAX_URL_BYTES: usize = 4096;
/// Time for a segment behind a URL (node.md §2.4, step 12).
const FETCH_TIMEOUT: Duration = Duration::from_secs(8);

/// A segment that was paid for and uploaded.
struct Accepted {
    sender: Address,
    /// The same as quotas and sessions know it.
    owner: Sender,
    token: proto::AuthToken,
    segment: SegmentRequest,
    received: Received,
    /// None without a chain.
    hold: Option<Hold>,
}

#[tracing::instrument(name = "segment", skip_all, fields(stream, seq, session))]
pub(super) async fn post(State(service): State<Service>, request: Request) -> Response {
    // A node that stops waits for segments that it has begun to take.
    let _in_hand = service.deliveries().token();
    let (parts, body) = request.into_parts();
    let mut body = body.into_data_stream();
    match accept(&service, &parts, &mut body).await {
        Ok(accepted) => queue(service.clone(), accepted),
        Err(refusal) => refusal.answer(body, &service),
    }
}

/// Steps 1 to 13. What the payment won is stored when this returns.
async fn accept(service: &Service, parts: &Parts, body: &mut BodyDataStream) -> Result<Accepted, Refused> {
    let headers = &parts.headers;
    service.check_open()?;
    refuse_encoded(headers)?;
    let read = read_headers(headers, SegmentRequest::from_proto)?;
    name_span(&read.segment);
    let owner = sender_of(read.sender, parts);
    let token = service.check_segment(&read.segment, read.sender, owner)?;
    // A session that goes on was let in when it began.
    let claim = Claim { session: &token.session_id, owner, stream: read.segment.manifest_id.as_str() };
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
    match take(service, &read.segment, claim, &upload, headers, body).await {
        Ok(received) => Ok(Accepted { sender: read.sender, owner, token, segment: read.segment, received, hold }),
        Err(refusal) => {
            let (offer, _) = terms(service, read.sender, &token).await;
            Err(Refused::with(refusal, Some(&offer)))
        }
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
fn estimate(segment: &SegmentRequest) -> u64 {
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

/// Steps 10 to 13: keeps room for the segment, and takes it.
async fn take(
    service: &Service,
    segment: &SegmentRequest,
    claim: Claim<'_>,
    upload: &Upload,
    headers: &HeaderMap,
    body: &mut BodyDataStream,
) -> Result<Received, Refusal> {
    service.sessions().hold(claim, demand(segment), &segment.profiles)?;
    // Later than that nobody waits for it.
    let within = deadline(Duration::from_millis(segment.duration_ms.into()));
    let received = receive(service, headers, body, within, upload).await?;
    match received.hash == segment.hash {
        true => Ok(received),
        false => Err(WireError::WrongHash { got: received.hash, signed: segment.hash }.into()),
    }
}

async fn receive(
    service: &Service,
    headers: &HeaderMap,
    body: &mut BodyDataStream,
    within: Duration,
    upload: &Upload,
) -> Result<Received, Refusal> {
    let is_url = headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes() == header::SEGMENT_URI.as_bytes());
    if is_url {
        return fetch(service, body, upload).await.map_err(Refusal::Url);
    }
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    Ok(service.intake().segment(&mut upload.counting(body), declared, within).await?)
}

/// Where a body says that the segment is.
pub(crate) fn source(text: &str) -> Result<reqwest::Url, UrlError> {
    let url = reqwest::Url::parse(text.trim()).map_err(|_| UrlError::Unusable)?;
    if matches!(url.scheme(), "http" | "https") { Ok(url) } else { Err(UrlError::Unusable) }
}

/// Takes the segment from where the body says it is.
async fn fetch(service: &Service, body: &mut BodyDataStream, upload: &Upload) -> Result<Received, UrlError> {
    if !service.config().fetch_segments_by_url {
        return Err(UrlError::Off);
    }
    let url = service.intake().text(body, MAX_URL_BYTES).await?;
    let url = source(&url)?;
    let fetch = async {
        let response = service.http().get(url).send().await?;
        if !response.status().is_success() {
            return Err(UrlError::Status(response.status()));
        }
        let declared = response.content_length();
        let mut bytes = upload.counting(response.bytes_stream());
        Ok(service.intake().segment(&mut bytes, declared, FETCH_TIMEOUT).await?)
    };
    timeout(FETCH_TIMEOUT, fetch).await.map_err(|_| UrlError::TimedOut)?
}

/// Step 14: the head of the answer leaves now, the result follows when the segment is done. That goes on when the peer
/// has left.
fn queue(service: Service, accepted: Accepted) -> Response {
    let started = Instant::now();
    let Accepted { sender, owner, token, segment, received, hold } = accepted;
    let job = TranscodeJob {
        manifest_id: segment.manifest_id.clone(),
        session_id: token.session_id.clone(),
        seq: segment.seq,
        duration: Duration::from_millis(segment.duration_ms.into()),
        input: received.data,
        profiles: segment.profiles.clone(),
    };
    let queued = service.sessions().submit(job, owner, received.share);
    let (reply, result) = oneshot::channel::<Bytes>();
    let deliveries = service.deliveries().clone();
    let work = async move {
        let outcome = match queued {
            Ok(outcome) => outcome.await.unwrap_or(Err(TranscodeError::TranscoderStopped)),
            Err(error) => Err(error),
        };
        let delivery = Delivery { service, sender, token, segment };
        let result = delivery.result(outcome, hold, started).await;
        // Nobody may be listening any more.
        drop(reply.send(result.encode_to_vec().into()));
    };
    deliveries.spawn(work.in_current_span());
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
}

impl Delivery {
    async fn result(self, outcome: Outcome, hold: Option<Hold>, started: Instant) -> proto::TranscodeResult {
        use proto::transcode_result::Result as Answer;
        let delivered = match outcome {
            Ok(renditions) => self.deliver(renditions, hold).await,
            Err(error) => Err(error.into()),
        };
        metrics::segment_done(delivered.is_ok(), started.elapsed());
        let (session, seq) = (&self.token.session_id, self.segment.seq);
        let (answer, refusal, receipt) = match delivered {
            Ok((data, hashes)) => {
                tracing::info!(session, seq, took = ?started.elapsed(), "segment done");
                (Answer::Data(data), None, self.receipt(hashes))
            }
            Err(error) => {
                tracing::warn!(session, seq, error = with_causes(&error), "segment failed");
                let refusal = error.coded(&self.service, &self.segment);
                (Answer::Error(scrub(&error.to_string())), Some(refusal.to_proto()), Vec::new())
            }
        };
        // The first terms of this segment: blocks went by since its upload, and the next payment needs terms that last.
        let (offer, _) = terms(&self.service, self.sender, &self.token).await;
        proto::TranscodeResult {
            // It came as a number of this kind.
            seq: i64::try_from(seq).unwrap_or(i64::MAX),
            info: Some(offer.to_proto()),
            result: Some(answer),
            refusal,
            receipt,
        }
    }

    /// What this node stands for with its stake: that these results are of this segment. Empty where nobody judges challenges,
    /// or where the round is not known.
    ///
    /// Never deterministic: nothing here pins the encoder, its threads and its build for ever.
    fn receipt(&self, result_hashes: Vec<B256>) -> Vec<u8> {
        let Some((payments, domain)) = self.service.payments().and_then(|p| Some((p, p.receipt_domain()?))) else {
            return Vec::new();
        };
        let Some(round) = payments.round() else { return Vec::new() };
        let receipt = WorkReceipt {
            orchestrator: payments.address(),
            sender: self.sender,
            service: TRANSCODING_H264,
            manifest: keccak256(self.segment.manifest_id.as_str()),
            sequence: self.segment.seq,
            source_hash: self.segment.hash,
            settings: settings_id(&self.segment.profiles),
            software: software_id(env!("CARGO_PKG_VERSION")),
            result_hashes,
            round: round.0,
            deterministic: false,
        };
        match receipt.sign(&domain, payments.signer()) {
            Ok(signed) => encode_receipt(&signed),
            Err(error) => {
                tracing::warn!(%error, "result leaves without a receipt");
                Vec::new()
            }
        }
    }

    /// Signs, keeps and charges for the renditions. All or nothing: what cannot be fetched is not charged.
    ///
    /// Nobody is trusted for the work's size: the sender names the length that was paid for ahead, and a remote
    /// transcoder counts the pixels that are charged.
    async fn deliver(
        &self,
        renditions: Vec<Rendition>,
        hold: Option<Hold>,
    ) -> Result<(proto::TranscodeData, Vec<B256>), Undelivered> {
        let pixels = renditions.iter().fold(0_u64, |sum, rendition| sum.saturating_add(rendition.pixels));
        let estimate = estimate(&self.segment);
        if hold.is_some() && !is_credible_bill(estimate, pixels) {
            return Err(Undelivered::Pixels { got: pixels, estimate });
        }
        let mut hashes = Vec::new();
        let sig = match self.service.payments() {
            None => Vec::new(),
            Some(payments) => {
                hashes = renditions.iter().map(|rendition| keccak256(&rendition.data)).collect();
                sign_result(result_hash_of(hashes.iter().copied()), payments.signer())?.as_bytes().to_vec()
            }
        };
        let store = self.segment.storage.first().and_then(|info| SenderStore::read(info).ok());
        let placed = renditions.into_iter().zip(&self.segment.profiles).map(|(rendition, profile)| {
            let store = store.as_ref();
            async move {
                let pixels = i64::try_from(rendition.pixels).unwrap_or(i64::MAX);
                let url = match store {
                    None => self.keep(rendition.data, profile)?,
                    Some(store) => {
                        let file = format!("{}.{}", self.segment.seq, profile.format.extension());
                        store.put(self.service.http(), &profile.name, &file, profile.format, &rendition.data).await?
                    }
                };
                Ok(proto::TranscodedSegmentData { url, pixels, perceptual_hash_url: String::new() })
            }
        });
        // All at once: there are no more than profiles may be.
        let segments = futures::future::try_join_all(placed).await.map_err(|error: Undelivered| error)?;
        metrics::encoded_pixels(pixels);
        if let Some(hold) = hold {
            hold.debit(pixels);
        }
        Ok((proto::TranscodeData { segments, sig }, hashes))
    }

    /// Keeps a rendition until the sender fetches it, and returns where it is.
    fn keep(&self, data: Bytes, profile: &Profile) -> Result<String, Undelivered> {
        let directory = format!("{}/{}", self.token.session_id, profile.name);
        let file = format!("{}.{}", self.segment.seq, profile.format.extension());
        let url = format!("{}/stream/{directory}/{file}", self.service.service_uri());
        let bytes = data.len();
        match self.service.cache().insert(&directory, &file, data) {
            true => Ok(url),
            false => Err(Undelivered::TooLarge { bytes, max: self.service.config().storage.max_bytes }),
        }
    }
}

/// Why a segment that was taken is not delivered.
#[derive(Debug, thiserror::Error)]
enum Undelivered {
    #[error(transparent)]
    Transcode(#[from] TranscodeError),
    #[error("{got} pixels are too many for the segment's length")]
    Pixels { got: u64, estimate: u64 },
    #[error("result cannot be signed")]
    Sign(#[from] SignError),
    /// Peers match on the text.
    #[error("Missing local storage")]
    TooLarge { bytes: usize, max: u64 },
    #[error("renditions cannot be uploaded to the sender's store")]
    Upload(#[from] UploadError),
}

impl Undelivered {
    fn coded(&self, service: &Service, segment: &SegmentRequest) -> Coded {
        match self {
            Self::Transcode(error) => {
                let duration = Duration::from_millis(segment.duration_ms.into());
                of_transcode(error, service, segment.profiles.len(), duration)
            }
            Self::Pixels { got, estimate } => {
                Coded::new(Code::PixelsBeyondEstimate, format!("{got} pixels"), format!("{estimate} pixels"))
            }
            Self::Sign(_) => Coded::new(Code::TranscoderFailed, "a result that cannot be signed", "a signed result"),
            Self::TooLarge { bytes, max } => {
                Coded::new(Code::RenditionTooLargeToKeep, format!("{bytes} bytes"), format!("{max} bytes"))
            }
            Self::Upload(_) => Coded::new(Code::OutputUploadFailed, "an upload that failed", "status 2xx within 8 s"),
        }
    }
}
