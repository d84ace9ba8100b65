//! What comes instead of renditions, when a segment was taken.
use std::sync::Arc;

use bytes::Bytes;
use streamflow_orchestrator::{
    OrchestratorConfig, Rendition, StorageConfig, Transcode, TranscodeError, TranscodeFuture, TranscodeJob,
};
use streamflow_wire::{Code, Refusal, proto};

use super::expect;
use crate::{
    checks::{BODY, Case},
    fixture::{World, config},
};

/// Never done, like a segment that takes long.
#[derive(Debug)]
pub(crate) struct Stuck;

impl Transcode for Stuck {
    fn transcode(&self, _job: TranscodeJob) -> TranscodeFuture<'_> {
        Box::pin(std::future::pending())
    }

    fn end_session(&self, _session_id: &str) {}
}

/// A transcoder that fails in one way.
#[derive(Debug)]
pub(crate) struct Failing(pub(crate) TranscodeError);

impl Transcode for Failing {
    fn transcode(&self, _job: TranscodeJob) -> TranscodeFuture<'_> {
        Box::pin(std::future::ready(Err(self.0.clone())))
    }

    fn end_session(&self, _session_id: &str) {}
}

/// A transcoder that says how many pixels it made of anything.
#[derive(Debug)]
pub(crate) struct Claiming(pub(crate) u64);

impl Transcode for Claiming {
    fn transcode(&self, job: TranscodeJob) -> TranscodeFuture<'_> {
        let rendition = Rendition { data: Bytes::from_static(&[7; 100]), pixels: self.0 };
        Box::pin(std::future::ready(Ok(vec![rendition; job.profiles.len()])))
    }

    fn end_session(&self, _session_id: &str) {}
}

pub(super) async fn provoke() -> Vec<Code> {
    let mut met = failures().await;
    met.push(nobody().await);
    met.push(busy().await);
    met.extend(kept().await);
    met.push(uploaded_nowhere().await);
    met.extend(streamed().await);
    met
}

pub(crate) async fn with_local(local: impl Transcode + 'static, config: OrchestratorConfig) -> Case {
    Case::of(World { local: Some(Arc::new(local)), ..World::new().await }, config).await
}

pub(super) fn refusal_of(result: &proto::TranscodeResult) -> Option<Refusal> {
    result.refusal.as_ref().and_then(Refusal::from_proto)
}

async fn refusal(case: &Case) -> Option<Refusal> {
    refusal_of(&case.broadcaster.send(&case.good(), BODY).await.result())
}

async fn failures() -> Vec<Code> {
    let format = Code::SegmentFormatDidntMatchJobInputParams;
    let cases = [
        (TranscodeError::MismatchedSegments, Code::RenditionCountWrong, "another number of renditions", "2 renditions"),
        (TranscodeError::ZeroSegments, Code::RenditionEmpty, "less than 25 bytes", "25 bytes"),
        (
            TranscodeError::TranscoderUnavailable,
            Code::TranscoderLeft,
            "0 connected",
            "1 connected until the segment is done",
        ),
        (TranscodeError::NoCapableTranscoder, Code::NoCapableTranscoder, "0 of 0 connected", "1 that can do the job"),
        (TranscodeError::TranscoderTimeout, Code::TranscoderTooSlow, "no result in time", "8000 ms"),
        (TranscodeError::TranscoderBusy, Code::TranscoderBusy, "no room", "room for one session"),
        (TranscodeError::TranscoderStopped, Code::TranscoderStopped, "stopped", "running until the segment is done"),
        (
            TranscodeError::Other("segment is not an mpeg transport stream".into()),
            format,
            "segment is not an mpeg transport stream",
            "MPEG-TS with decodable video",
        ),
        (
            TranscodeError::Other("Decoder not found".into()),
            format,
            "Decoder not found",
            "MPEG-TS with decodable video",
        ),
        (TranscodeError::Other("out of memory".into()), Code::TranscoderFailed, "out of memory", "renditions"),
    ];
    let mut met = Vec::new();
    for (error, code, got, limit) in cases {
        let text = error.to_string();
        let case = with_local(Failing(error), config()).await;
        let result = case.broadcaster.send(&case.good(), BODY).await.result();
        assert_eq!(result.result, Some(proto::transcode_result::Result::Error(text)), "what deployed peers match on");
        met.push(expect(refusal_of(&result), code, got, limit));
    }
    met
}

async fn nobody() -> Code {
    expect(refusal(&Case::new().await).await, Code::NoTranscoders, "0 connected, 0 with room", "1 with room")
}

async fn busy() -> Code {
    let case = with_local(Stuck, OrchestratorConfig { session_queue: 1, ..config() }).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(case.broadcaster.start(&case.good(), BODY).await);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    expect(refusal(&case).await, Code::OrchestratorBusy, "1 segments wait", "1 segments")
}

async fn kept() -> Vec<Code> {
    let storage = StorageConfig { max_bytes: 600, ..Default::default() };
    let small = with_local(Claiming(1), OrchestratorConfig { storage, ..config() }).await;
    let liar = with_local(Claiming(1_000_000_000), config()).await;
    vec![
        expect(refusal(&small).await, Code::RenditionTooLargeToKeep, "100 bytes", "600 bytes"),
        expect(refusal(&liar).await, Code::PixelsBeyondEstimate, "2000000000 pixels", "19180800 pixels"),
    ]
}

async fn uploaded_nowhere() -> Code {
    let case = with_local(Claiming(1), OrchestratorConfig { deliver_to_sender_stores: true, ..config() }).await;
    let mut request = case.request();
    request.storage = vec![crate::uploads::store("http://127.0.0.1:9")];
    case.broadcaster.sign(&mut request);
    let draft = case.draft(&case.broadcaster.pay(&case.offer, 1), &request);
    let result = case.broadcaster.send(&draft, BODY).await.result();
    let text = "renditions cannot be uploaded to the sender's store".to_owned();
    assert_eq!(result.result, Some(proto::transcode_result::Result::Error(text)));
    expect(refusal_of(&result), Code::OutputUploadFailed, "an upload that failed", "status 2xx within 8 s")
}

/// In the last frame of a stream.
async fn streamed() -> Vec<Code> {
    let case = with_local(Stuck, config()).await;
    let unreadable = case.stream_bytes(vec![9; 5]).await.failure().refusal.clone();
    let trailer = case.stream_with(|trailer| trailer.signature = None).await.failure().refusal.clone();
    vec![
        expect(unreadable, Code::StreamUnreadable, "frame of unknown kind 9", "frames of version 1 of the stream"),
        expect(trailer, Code::StreamTrailerWrong, "no signature of the sender", "the sender of the payment"),
    ]
}
