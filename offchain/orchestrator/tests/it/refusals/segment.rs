//! What is wrong with the headers and the body of a segment.
use base64::{Engine, engine::general_purpose::STANDARD};
use streamflow_orchestrator::{LimitsConfig, MaxSessions, OrchestratorConfig};
use streamflow_wire::{
    Code, SegmentRequest, header,
    proto::{
        self, SegParameters,
        capabilities::{CapabilityConstraints, Constraints},
    },
};

use super::{expect, of_response};
use crate::{
    checks::{BODY, Case},
    fixture::{Draft, START, World, config},
    refusals::results::Stuck,
};

pub(super) async fn provoke() -> Vec<Code> {
    let case = Case::new().await;
    let mut met = headers(&case).await;
    met.extend(profiles(&case).await);
    met.extend(jobs(&case).await);
    met.extend(tokens(&case).await);
    met.extend(bodies(&case).await);
    met.extend(bounds().await);
    met.extend(urls(&case).await);
    met
}

async fn with_data(case: &Case, change: impl FnOnce(&mut proto::SegData)) -> Option<streamflow_wire::Refusal> {
    let mut data = case.request().to_proto();
    change(&mut data);
    case.refusal(&Draft { segment: header::encode_segment(&data), ..case.good() }, BODY).await
}

async fn with_request(case: &Case, change: impl FnOnce(&mut SegmentRequest)) -> Option<streamflow_wire::Refusal> {
    let mut request = case.request();
    change(&mut request);
    case.broadcaster.sign(&mut request);
    case.refusal(&case.draft(&case.broadcaster.pay(&case.offer, 1), &request), BODY).await
}

async fn headers(case: &Case) -> Vec<Code> {
    let payment = async |payment: String| case.refusal(&Draft { payment, ..case.good() }, BODY).await;
    let segment = async |segment: String| case.refusal(&Draft { segment, ..case.good() }, BODY).await;
    let long = payment("A".repeat(header::MAX_LEN + 4)).await;
    let not_protobuf = payment(STANDARD.encode([0xff; 9])).await;
    assert_eq!(not_protobuf.map(|refusal| refusal.code), Some(Code::PaymentHeaderUnreadable));
    let field = Code::SegmentFieldInvalid;
    vec![
        expect(payment("***".into()).await, Code::PaymentHeaderUnreadable, "Invalid symbol 42, offset 0.", "base64"),
        expect(long, Code::PaymentHeaderTooLong, "131076 bytes", "131072 bytes"),
        expect(
            segment("!".into()).await,
            Code::SegmentHeaderUnreadable,
            "no base64, or too much",
            "131072 bytes of base64",
        ),
        expect(with_data(case, |d| d.seq = -1).await, field, "seq -1", "seq 0 or more"),
        expect(with_data(case, |d| d.hash.truncate(31)).await, field, "hash of 31 bytes", "hash of 32 bytes"),
        expect(with_data(case, |d| d.manifest_id = vec![0xff]).await, field, "manifestId is not text", "UTF-8"),
        expect(
            with_data(case, |d| d.duration = 300_001).await,
            Code::DurationOutOfRange,
            "300001 ms",
            "0 to 300000 ms",
        ),
        expect(
            with_data(case, |d| d.seq += 1).await,
            Code::SegmentNotSignedBySender,
            "no signature of the sender",
            "the sender of the payment",
        ),
    ]
}

async fn profiles(case: &Case) -> Vec<Code> {
    let first = |change: fn(&mut proto::VideoProfile)| with_data(case, move |data| change(&mut data.full_profiles[0]));
    let many = |count: usize| with_data(case, move |d| d.full_profiles = vec![d.full_profiles[0].clone(); count]);
    let (unknown, counts) = (Code::ProfileFeatureUnknown, Code::ProfileCountOutOfRange);
    vec![
        expect(first(|p| p.format = 9).await, unknown, "format 9", "format 0 to 1"),
        expect(first(|p| p.profile = -3).await, unknown, "profile -3", "profile 0 to 4"),
        expect(first(|p| p.encoder = 4).await, unknown, "encoder 4", "encoder 0 to 3"),
        expect(
            first(|p| p.width = 427).await,
            Code::ProfileUnusable,
            "profile size 427x240 is not even or not within 16 to 8192",
            "a profile that can be encoded",
        ),
        expect(first(|p| p.height = -2).await, Code::ProfileUnusable, "negative height", "0 or more"),
        expect(many(2).await, Code::ProfileNameRepeated, "\"240p\" twice", "once each"),
        expect(many(33).await, counts, "33 profiles", "1 to 32 profiles"),
        expect(many(0).await, counts, "0 profiles", "1 to 32 profiles"),
    ]
}

async fn jobs(case: &Case) -> Vec<Code> {
    let bit = |bit: u32| with_request(case, move |r| r.capabilities.as_mut().unwrap().bitstring[0] |= 1 << bit);
    let constrained = |constraints: Constraints| {
        with_request(case, |r| r.capabilities.as_mut().unwrap().constraints = Some(constraints))
    };
    let model = CapabilityConstraints { models: [("m".to_owned(), Default::default())].into() };
    let models = Constraints { per_capability: [(27, model)].into(), ..Default::default() };
    let newer = Constraints { min_version: "99.0.0".into(), ..Default::default() };
    let offered = "offered: bits 0 1 2 3 4 7 8 9 10 11 12 26";
    let old =
        with_request(case, |r| r.capabilities = Some(proto::Capabilities { bitstring: vec![3], ..Default::default() }));
    let part = with_request(case, |r| r.clip = Some(SegParameters { from: 100, to: 900 }));
    let store = with_request(case, |r| r.storage = vec![proto::OsInfo { storage_type: 1, s3info: None }]);
    vec![
        expect(bit(16).await, Code::CapabilityMissing, "bits 16", offered),
        // MPEG-7 signatures are not made, and so not offered.
        expect(bit(14).await, Code::CapabilityMissing, "bits 14", offered),
        expect(old.await, Code::MandatoryCapabilityMissing, "bits 0 1", "bits 12"),
        expect(constrained(newer).await, Code::VersionTooOld, env!("CARGO_PKG_VERSION"), "99.0.0 or newer"),
        expect(constrained(models).await, Code::ModelNotOffered, "model \"m\" of bit 27", "0 models of bit 27"),
        expect(part.await, Code::SlicingNotOffered, "100 to 900 ms", "whole segments"),
        expect(store.await, Code::StorageNotOffered, "store type 1: not offered here", "0 (direct) or 1 (S3)"),
    ]
}

async fn tokens(case: &Case) -> Vec<Code> {
    let forge = |r: &mut SegmentRequest| r.auth_token.as_mut().unwrap().session_id = "00000000".into();
    let missing = with_request(case, |r| r.auth_token = None).await;
    let forged = with_request(case, forge).await;
    case.world.time.fetch_add(1_801, std::sync::atomic::Ordering::SeqCst);
    let late = with_request(case, |_| ()).await;
    case.world.time.fetch_sub(1_801, std::sync::atomic::Ordering::SeqCst);
    let (until, now) = ((START + 1_800).to_string(), (START + 1_801).to_string());
    vec![
        expect(missing, Code::AuthTokenMissing, "0 tokens", "1 token"),
        expect(forged, Code::AuthTokenInvalid, "a token of another node", "a token of this node"),
        expect(late, Code::AuthTokenExpired, &until, &now),
    ]
}

async fn bodies(case: &Case) -> Vec<Code> {
    use alloy_primitives::keccak256;
    let other = case.refusal(&case.good(), "other bytes").await;
    let (got, signed) = (keccak256("other bytes").to_string(), keccak256(BODY).to_string());
    vec![expect(other, Code::SegmentHashMismatch, &got, &signed)]
}

async fn bounds() -> Vec<Code> {
    let limits = LimitsConfig { max_segment_bytes: 10, ..Default::default() };
    let case = Case::with(OrchestratorConfig { limits, ..config() }).await;
    let large = case.refusal(&case.good(), BODY).await;
    let limits = LimitsConfig { body_idle_timeout: std::time::Duration::from_millis(100), ..Default::default() };
    let case = Case::with(OrchestratorConfig { limits, ..config() }).await;
    let silent = futures::stream::pending::<Result<bytes::Bytes, std::convert::Infallible>>();
    let slow = case.refusal(&case.good(), reqwest::Body::wrap_stream(silent)).await;
    let (max_segment_bytes, max_buffered_bytes) = (60, 60);
    let limits = LimitsConfig { max_segment_bytes, max_buffered_bytes, ..Default::default() };
    let world = World { local: Some(std::sync::Arc::new(Stuck)), ..World::new().await };
    let case = Case::of(world, OrchestratorConfig { limits, max_sessions: MaxSessions::AtMost(1), ..config() }).await;
    let other = case.broadcaster.offer(&case.orchestrator).await;
    let held = case.broadcaster.start(&case.good(), BODY).await;
    let full = case.refusal(&case.good(), BODY).await;
    let draft = case.broadcaster.request_of("other", &other, 1, BODY);
    let capped = case.refusal(&case.draft(&case.broadcaster.pay(&other, 1), &draft), BODY).await;
    drop(held);
    vec![
        expect(large, Code::SegmentTooLarge, "more than 10 bytes", "10 bytes"),
        expect(slow, Code::SegmentTooSlow, "a body that is not over", "100ms for a piece, 60s for all"),
        expect(full, Code::MemoryFull, "no room for the body", "60 bytes"),
        expect(capped, Code::OrchestratorCapped, "1 sessions", "1 sessions"),
    ]
}

async fn urls(closed: &Case) -> Vec<Code> {
    let open = Case::with(OrchestratorConfig { fetch_segments_by_url: true, ..config() }).await;
    let send = async |case: &Case, url: String| {
        let draft = case.good();
        let request = case.broadcaster.http.post(&draft.url).header(header::PAYMENT, &draft.payment);
        let request = request.header(header::SEGMENT, &draft.segment).header("Content-Type", header::SEGMENT_URI);
        of_response(&request.body(url).send().await.unwrap())
    };
    let broken = broken_origin().await;
    vec![
        expect(
            send(closed, "http://127.0.0.1:9/".into()).await,
            Code::UrlNotTaken,
            "application/vnd+livepeer.uri",
            "video/MP2T",
        ),
        expect(
            send(&open, "file:///etc/hostname".into()).await,
            Code::UrlUnusable,
            "another text",
            "an http or https URL",
        ),
        expect(
            send(&open, "http://127.0.0.1:9/".into()).await,
            Code::UrlNotFetched,
            "no segment",
            "status 200 and the segment within 8 s",
        ),
        expect(send(&open, broken).await, Code::SegmentCutOff, "a part of the body", "all of the body"),
    ]
}

/// Promises more than it sends.
async fn broken_origin() -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/segment.ts", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 1024];
        let _ = stream.read(&mut head).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\npart").await.unwrap();
    });
    url
}
