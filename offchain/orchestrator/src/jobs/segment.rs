//! POST /segment of a job: check, take, transcode, and only then answer.
use std::time::Duration;

use axum::{
    body::BodyDataStream,
    extract::Request,
    http::{
        HeaderMap,
        header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use streamflow_types::{ManifestId, VideoCodec};
use streamflow_wire::{
    TranscodeError, header,
    jobs::{AUTH_TYPE, JobSegment, read_credentials},
};
use tokio::{sync::oneshot, time::Instant};

use super::{
    desk::{Jobs, Running, demand},
    refusal::JobRefusal,
};
use crate::{
    intake::{Received, answer_and_drain},
    metrics,
    quotas::Sender,
    refusal::coded,
    service::Service,
    sessions::Outcome,
    transcode::{TranscodeJob, deadline},
};

/// How long a segment is taken to be: its header does not say. It gets the least time that any segment gets.
pub(super) const DURATION: Duration = Duration::from_secs(2);
/// Longest part of a header that is told, bytes.
const MAX_TOLD: usize = 64;

pub(super) async fn post(jobs: Jobs, request: Request) -> Response {
    // A node that stops waits for segments that it has begun to take.
    let _in_hand = jobs.service().deliveries().token();
    let (parts, body) = request.into_parts();
    let mut body = body.into_data_stream();
    let done = match accept(&jobs, &parts.headers, &mut body).await {
        Ok((running, segment, received)) => transcode(jobs.service().clone(), running, segment, received).await,
        Err(refusal) => Err(refusal),
    };
    match done {
        Ok(()) => "OK".into_response(),
        Err(refusal) => {
            refusal.note();
            let service = jobs.service();
            let text = answer_and_drain(refusal.to_string(), body, *service.intake().limits());
            coded(refusal.status(), &refusal.coded(service), text)
        }
    }
}

/// Credentials, job, signature, body, hash: in this order.
async fn accept(
    jobs: &Jobs,
    headers: &HeaderMap,
    body: &mut BodyDataStream,
) -> Result<(Running, JobSegment, Received), JobRefusal> {
    let service = jobs.service();
    if service.intake_closed().is_cancelled() {
        return Err(JobRefusal::Stopping);
    }
    let value = |name: &str| headers.get(name).map(|value| value.as_bytes()).unwrap_or_default();
    let auth_type = value(AUTHORIZATION.as_str());
    if auth_type != AUTH_TYPE.as_bytes() {
        return Err(JobRefusal::AuthType { got: told(auth_type) });
    }
    let id = read_credentials(value(header::CREDENTIALS), jobs.payments().address())?;
    let job = jobs.running(id, None).await?;
    let segment = JobSegment::from_header(value(header::SEGMENT))?;
    let (signer, broadcaster) = (segment.signer(&job.stream_id), job.broadcaster);
    if signer != Some(broadcaster) {
        return Err(JobRefusal::SegmentSignature { job: job.id, seq: segment.seq, signer, broadcaster });
    }
    let running = jobs.admit(job)?;
    let content_type = value(CONTENT_TYPE.as_str());
    if !content_type.eq_ignore_ascii_case(header::SEGMENT_BYTES.as_bytes()) {
        return Err(JobRefusal::ContentType { got: told(content_type) });
    }
    let upload = service.quotas().upload(Sender::Account(broadcaster))?;
    service.sessions().hold(running.claim(), demand(&running.profiles), &running.profiles)?;
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let received = service.intake().segment(&mut upload.counting(body), declared, deadline(DURATION)).await?;
    if received.hash != segment.hash {
        return Err(JobRefusal::Hash { got: received.hash, signed: segment.hash });
    }
    Ok((running, segment, received))
}

fn told(header: &[u8]) -> String {
    String::from_utf8_lossy(&header[..header.len().min(MAX_TOLD)]).into_owned()
}

/// Transcodes and keeps the renditions. That goes on when the peer has left.
async fn transcode(
    service: Service,
    running: Running,
    segment: JobSegment,
    received: Received,
) -> Result<(), JobRefusal> {
    let seq = segment.seq;
    let renditions = running.profiles.len();
    let failed = |source| JobRefusal::Transcode { seq, renditions, source };
    // The name is of the alphabet of manifests; the stream's own need not be.
    let manifest_id = ManifestId::new(running.session.clone());
    let job = TranscodeJob {
        manifest_id: manifest_id.map_err(|error| failed(TranscodeError::Other(error.to_string())))?,
        session_id: running.session.clone(),
        seq,
        duration: DURATION,
        // Nothing says it.
        source: VideoCodec::H264,
        input: received.data,
        profiles: running.profiles.clone(),
    };
    let owner = Sender::Account(running.job.broadcaster);
    let queued = service.sessions().submit(job, owner, received.share).map_err(failed)?;
    let (reply, done) = oneshot::channel();
    let deliveries = service.deliveries().clone();
    deliveries.spawn(async move {
        let started = Instant::now();
        let outcome = queued.await.unwrap_or(Err(TranscodeError::TranscoderStopped));
        let kept = keep(&service, &running, seq, outcome);
        metrics::segment_done(kept.is_ok(), started.elapsed());
        tracing::info!(job = running.job.id, seq, ok = kept.is_ok(), took = ?started.elapsed(), "segment of a job done");
        // Nobody may be listening any more.
        drop(reply.send(kept));
    });
    done.await.unwrap_or(Err(TranscodeError::TranscoderStopped)).map_err(failed)
}

/// Puts the renditions where the names of their streams say.
fn keep(service: &Service, running: &Running, seq: u64, outcome: Outcome) -> Result<(), TranscodeError> {
    let renditions = outcome?;
    crate::transcode::check_renditions(&renditions, running.profiles.len())?;
    let pixels = renditions.iter().fold(0_u64, |sum, rendition| sum.saturating_add(rendition.pixels));
    for (rendition, profile) in renditions.into_iter().zip(&running.profiles) {
        let directory = format!("{}/{}", running.session, profile.name);
        let file = format!("{seq}.{}", profile.format.extension());
        if !service.cache().insert(&directory, &file, rendition.data) {
            return Err(TranscodeError::MissingStorage);
        }
    }
    metrics::encoded_pixels(pixels);
    Ok(())
}
