//! POST /segment: check, charge, queue; answer 200 at once and the result when it is there (node.md §2.4).
use std::{convert::Infallible, time::Duration};

use axum::{
    body::{Body, BodyDataStream},
    extract::{Request, State},
    http::{
        HeaderMap,
        header::{CONTENT_LENGTH, CONTENT_TYPE},
        request::Parts,
    },
    response::Response,
};
use bytes::Bytes;
use prost::Message;
use streamflow_wire::{TranscodeError, WireError, capability, header};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};
use tracing::Instrument as _;

use super::{
    admit::{Admitted, Manner, admit},
    delivery::Delivery,
};
use crate::{
    intake::Received,
    quotas::Upload,
    refusal::{Refusal, Refused, UrlError},
    service::Service,
    transcode::{TranscodeJob, deadline},
};

/// Longest URL taken as a body.
const MAX_URL_BYTES: usize = 4096;
/// Time for a segment behind a URL (node.md §2.4, step 12).
const FETCH_TIMEOUT: Duration = Duration::from_secs(8);

#[tracing::instrument(name = "segment", skip_all, fields(stream, seq, session))]
pub(super) async fn post(State(service): State<Service>, request: Request) -> Response {
    // A node that stops waits for segments that it has begun to take.
    let _in_hand = service.deliveries().token();
    let (parts, body) = request.into_parts();
    let mut body = body.into_data_stream();
    match accept(&service, &parts, &mut body).await {
        Ok((admitted, received)) => queue(service.clone(), admitted, received),
        Err(refusal) => refusal.answer(body, &service),
    }
}

/// Steps 1 to 13. What the payment won is stored when this returns.
async fn accept(service: &Service, parts: &Parts, body: &mut BodyDataStream) -> Result<(Admitted, Received), Refused> {
    let admitted = admit(service, parts, Manner::Whole).await?;
    match take(service, &admitted, &parts.headers, body).await {
        Ok(received) => Ok((admitted, received)),
        Err(refusal) => Err(admitted.refuse(service, refusal).await),
    }
}

/// Steps 11 to 13.
async fn take(
    service: &Service,
    admitted: &Admitted,
    headers: &HeaderMap,
    body: &mut BodyDataStream,
) -> Result<Received, Refusal> {
    let segment = &admitted.segment;
    // Later than that nobody waits for it.
    let within = deadline(Duration::from_millis(segment.duration_ms.into()));
    let received = receive(service, headers, body, within, &admitted.upload).await?;
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
fn queue(service: Service, admitted: Admitted, received: Received) -> Response {
    let started = Instant::now();
    let Admitted { sender, owner, token, segment, hold, .. } = admitted;
    let job = TranscodeJob {
        manifest_id: segment.manifest_id.clone(),
        session_id: token.session_id.clone(),
        seq: segment.seq,
        duration: Duration::from_millis(segment.duration_ms.into()),
        source: capability::source(segment.capabilities.as_ref()),
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
