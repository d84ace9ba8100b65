//! Damaged requests, answers and messages of everybody who talks to an orchestrator: whatever is said of them is said by
//! returning, with a code, and nothing is held afterwards.
use std::{cell::OnceCell, time::Duration};

use alloy_primitives::Address;
use axum::http::{HeaderMap, StatusCode};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use streamflow_fuzz::{damaged, damaged_text};
use streamflow_nats::{Hello, NatsConfig, State};
use streamflow_types::{Container, Profile, VideoCodec};
use streamflow_wire::{
    capability::{self, OFFERED},
    header,
    jobs::{GET_TRANSCODER, sign_request as sign_job_request},
    proto::{self, OsInfo, RegisterRequest, S3osInfo, os_info::StorageType},
    sign_request,
};
use tower::ServiceExt as _;

use crate::{
    admission::Demand,
    gatekeeper::verdict,
    http::source,
    pool::{NatsLink, Notice},
    transcode::TranscodeJob,
    upload::SenderStore,
};
use desk::{Answer, Desk, Kind, MANIFEST, SECRET, SESSION, headers, job_headers, nothing_more, request, segment};

mod desk;

/// A segment, as far as an orchestrator looks into one.
const SEGMENT: &[u8] = &[0x47; 188];
/// Calls of gRPC.
const CALLS: [&str; 5] = [
    "/net.Orchestrator/GetOrchestrator",
    "/net.Orchestrator/EndTranscodingSession",
    "/net.Orchestrator/Ping",
    "/net.Transcoder/RegisterTranscoder",
    GET_TRANSCODER,
];

/// On the desk of this thread, which is made once and stays: every test has its own thread.
fn on<T>(kind: Kind, look: impl AsyncFnOnce(&'static Desk) -> T) -> T {
    thread_local! { static DESKS: [OnceCell<&'static Desk>; 3] = const { [const { OnceCell::new() }; 3] } }
    let desk = DESKS.with(|desks| *desks[kind as usize].get_or_init(|| Box::leak(Box::new(Desk::new(kind)))));
    desk.runtime.block_on(look(desk))
}

/// Whole half of the time: what follows the hash is reached by undamaged bodies alone.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(SEGMENT.to_vec()), damaged(vec![SEGMENT.to_vec(), b"https://127.0.0.1/segment.ts".to_vec()])]
}

fn maybe(inputs: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let whole = prop::sample::select(inputs.clone());
    prop_oneof![whole, damaged(inputs)]
}

fn others() -> impl Strategy<Value = String> {
    damaged_text(&[
        "",
        "Content-Length: 188\nContent-Type: video/MP2T\nExpect: 100-continue\nTransfer-Encoding: chunked",
        "Content-Length: 400000000\nContent-Type: application/vnd+livepeer.uri\nContent-Encoding: gzip",
    ])
}

/// Posts what a broadcaster sends for a segment, or to pay ahead.
async fn paid(
    desk: &Desk,
    path: &str,
    segment: &[u8],
    payment: &[u8],
    others: &str,
    body: &[u8],
    piece: usize,
) -> Answer {
    let mut all = headers(others);
    let named = [(header::SEGMENT, STANDARD.encode(segment)), (header::PAYMENT, STANDARD.encode(payment))];
    all.extend(named.map(|(name, value)| (name.parse().ok(), value.parse().unwrap())));
    desk.post(path, all, body, piece).await
}

fn is_as_it_should_be(path: &str, answer: &Answer) -> bool {
    let is_readable = match path {
        "/segment" => proto::TranscodeResult::decode(&answer.body[..]).is_ok(),
        _ => proto::PaymentResult::decode(&answer.body[..]).is_ok(),
    };
    answer.is_taken_or_coded() && (answer.status != StatusCode::OK || is_readable)
}

fn able(capacity: i64) -> RegisterRequest {
    RegisterRequest { secret: SECRET.into(), capacity, capabilities: Some(capability::describe(&OFFERED, 1, "0.1.0")) }
}

/// Messages that the port takes.
fn calls() -> Vec<Vec<u8>> {
    let key = streamflow_pm::KeySigner::from_bytes([0x0b; 32]).unwrap();
    let token = proto::SegData::decode(&segment(SEGMENT)[..]).unwrap().auth_token;
    vec![
        sign_request(&key, None).unwrap().encode_to_vec(),
        proto::EndTranscodingSessionRequest { auth_token: token }.encode_to_vec(),
        proto::PingPong { value: vec![1; 32] }.encode_to_vec(),
        able(4).encode_to_vec(),
        able(i64::MAX).encode_to_vec(),
        sign_job_request(7, 1000, &key).unwrap().encode_to_vec(),
    ]
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat()
}

fn job() -> TranscodeJob {
    TranscodeJob {
        manifest_id: MANIFEST.parse().unwrap(),
        session_id: SESSION.into(),
        seq: 3,
        duration: Duration::from_secs(2),
        source: VideoCodec::H264,
        input: Bytes::from_static(SEGMENT),
        profiles: vec![Profile::preset("P240p30fps16x9").unwrap(), Profile::preset("P144p30fps16x9").unwrap()],
    }
}

/// Two renditions of 40 bytes.
fn renditions() -> Vec<u8> {
    let part = |pixels, name: &str| {
        let (head, data) = (format!("Content-Disposition: attachment; filename={name}\r\n"), "x".repeat(40));
        format!("--b\r\n{head}Content-Type: video/mp2t\r\nContent-Length: 40\r\nPixels: {pixels}\r\n\r\n{data}\r\n")
    };
    format!("{}{}--b--\r\n", part(100, "0.ts"), part(50, "1.ts")).into_bytes()
}

fn store() -> OsInfo {
    let s3info = S3osInfo {
        host: "https://bucket.s3.example/b".into(),
        key: "movie/0a0b0c0d".into(),
        policy: "e30=".into(),
        signature: "5160".into(),
        credential: "KEY/20260101/eu/s3/aws4_request".into(),
        x_amz_date: "20260101T000000Z".into(),
    };
    OsInfo { storage_type: StorageType::S3.into(), s3info: Some(s3info) }
}

fn hello(state: State) -> Vec<u8> {
    let id = "0123456789abcdef0123456789abcdef".into();
    let capabilities = Some(capability::describe(&OFFERED, 4, "0.1.0"));
    Hello { id, capacity: 4, running: 1, state: state.into(), capabilities, every_ms: 1000 }.encode_to_vec()
}

proptest! {
    #![proptest_config(streamflow_fuzz::config(128))]

    #[test]
    fn segments_of_those_who_do_not_pay(
        segment in maybe(vec![segment(SEGMENT)]), others in others(), body in bodies(), piece in 1..400_usize,
    ) {
        on(Kind::Free, async |desk| {
            let answer = paid(desk, "/segment", &segment, &[], &others, &body, piece).await;
            prop_assert!(is_as_it_should_be("/segment", &answer), "{:?}", answer);
            prop_assert!(desk.holds_nothing().await);
            Ok(())
        })?;
    }

    #[test]
    fn segments_and_payments(
        segment in maybe(vec![segment(SEGMENT)]), payment in maybe(vec![on(Kind::Paid, async |desk| desk.payment.clone()), nothing_more()]),
        others in others(), body in bodies(), piece in 1..400_usize, ahead: bool,
    ) {
        on(Kind::Paid, async |desk| {
            let path = if ahead { "/payment" } else { "/segment" };
            let answer = paid(desk, path, &segment, &payment, &others, &body, piece).await;
            prop_assert!(is_as_it_should_be(path, &answer), "{:?}", answer);
            prop_assert!(desk.holds_nothing().await);
            Ok(())
        })?;
    }

    #[test]
    fn questions_for_terms(body in damaged_text(&[
        &format!(r#"{{"sender":"{}","manifest_id":"{MANIFEST}"}}"#, broadcaster()),
    ]), others in others(), piece in 1..100_usize) {
        on(Kind::Paid, async |desk| {
            let answer = desk.post("/refresh-payment", headers(&others), body.as_bytes(), piece).await;
            prop_assert!(answer.is_taken_or_coded(), "{:?}", answer);
            if answer.status == StatusCode::OK {
                let told: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
                let info = header::decode_info(told["orchestrator_info"].as_str().unwrap());
                prop_assert!(info.is_some_and(|info| info.ticket_params.is_some()));
            }
            Ok(())
        })?;
    }

    #[test]
    fn segments_of_jobs(head in damaged_text(&[&job_headers(SEGMENT)]), body in bodies(), piece in 1..400_usize) {
        on(Kind::Paid, async |desk| {
            let answer = desk.post("/segment", headers(&head), &body, piece).await;
            prop_assert!(answer.is_taken_or_coded(), "{:?}", answer);
            prop_assert!(desk.holds_nothing().await);
            Ok(())
        })?;
    }

    #[test]
    fn calls_of_peers(message in damaged(calls()), frame in damaged(calls().iter().map(|call| framed(call)).collect()),
        in_a_frame: bool, call in 0..CALLS.len(), piece in 1..400_usize,
    ) {
        on(Kind::Paid, async |desk| {
            let body = if in_a_frame { framed(&message) } else { frame };
            let head = headers("Content-Type: application/grpc\nTE: trailers");
            // Three transcoders stay, whatever they say of themselves.
            let mut kept = Vec::new();
            for _ in 0..3 {
                let answer = desk.grpc.clone().oneshot(request(CALLS[call], head.clone(), &body, piece)).await.unwrap();
                prop_assert_eq!(answer.status(), StatusCode::OK, "what gRPC has to say is in its status");
                let refused = answer.headers().get("grpc-status").is_some_and(|status| status != "0");
                prop_assert!(answer.headers().len() < 16);
                if !refused {
                    kept.push(answer);
                }
            }
            let (pool, sessions) = (desk.service.pool(), desk.service.sessions());
            let room = (pool.spare(), pool.room(Demand::NONE).map_err(|overload| overload.to_string()), sessions.spare());
            prop_assert!(room.0 <= 3 * usize::from(u16::MAX), "{:?}", room);
            drop(kept);
            prop_assert_eq!(pool.connected(), 0, "who closes its stream is gone");
            Ok(())
        })?;
    }

    #[test]
    fn results_of_transcoders(
        head in damaged_text(&[
            "Authorization: Livepeer-Transcoder-1.0\nCredentials: swordfish\nTaskId: <task>\nPixels: 100\n\
             Content-Type: multipart/mixed; boundary=b",
            "Authorization: Livepeer-Transcoder-1.0\nCredentials: swordfish\nTaskId: <task>\nStreamflow-Member: <member>\n\
             Streamflow-State: leaving\nContent-Type: livepeer/transcoding-error",
        ]),
        body in maybe(vec![renditions(), b"OrchestratorBusy".to_vec()]), piece in 1..400_usize, says_state: bool,
    ) {
        on(Kind::OfTranscoders, async |desk| {
            let pool = desk.service.pool();
            let mut member = pool.join(4, capability::describe(&OFFERED, 4, "0.1.0")).unwrap();
            let waiting = tokio::spawn({
                let pool = pool.clone();
                async move { crate::Transcode::transcode(&pool, job()).await }
            });
            let task = loop {
                if let Some(Notice::Segment(task, _)) = member.inbox.recv().await {
                    break task;
                }
            };
            let head = head.replace("<task>", &task.0.to_string()).replace("<member>", &member.token.to_text());
            let path = if says_state { "/transcoderState" } else { "/transcodeResults" };
            let answer = desk.post(path, headers(&head), &body, piece).await;
            prop_assert!(answer.is_taken_or_coded(), "{:?}", answer);
            drop(member);
            if let Ok(renditions) = waiting.await.unwrap() {
                prop_assert_eq!(renditions.len(), job().profiles.len());
                prop_assert!(renditions.iter().map(|rendition| rendition.data.len()).sum::<usize>() <= body.len());
                prop_assert_eq!(answer.status, StatusCode::OK);
            }
            prop_assert_eq!(pool.connected(), 0);
            prop_assert!(desk.holds_nothing().await);
            Ok(())
        })?;
    }

    #[test]
    fn words_of_transcoders_of_the_pool(
        words in prop::collection::vec(damaged(vec![hello(State::Alive), hello(State::Leaving), hello(State::Gone)]), 1..8),
    ) {
        on(Kind::OfTranscoders, async |desk| {
            // Nobody is there: a client that waits for its server.
            let (config, url) = (NatsConfig::default(), "nats://127.0.0.1:9".parse().unwrap());
            let client = streamflow_nats::connect(&config, &url, "fuzz").await.unwrap();
            let mut link = NatsLink::new(desk.service.clone(), client, &config);
            for word in &words {
                if let Ok(hello) = Hello::decode(&word[..]) {
                    link.hear(hello);
                }
            }
            let pool = desk.service.pool();
            prop_assert!(pool.connected() <= words.len());
            prop_assert!(pool.spare() <= words.len() * usize::from(u16::MAX));
            let _ = pool.room(Demand::NONE).map_err(|overload| overload.to_string());
            drop(link);
            for _ in 0..1000 {
                tokio::task::yield_now().await;
                if pool.connected() == 0 {
                    break;
                }
            }
            prop_assert_eq!(pool.connected(), 0);
            Ok(())
        })?;
    }

    #[test]
    fn answers_of_the_webhook(
        text in damaged_text(&["", r#"{"priceInfo":{"pricePerUnit":1,"pixelsPerUnit":1000}}"#, "no credit\u{7} é"]), code in 100..1000_u16,
    ) {
        for status in [StatusCode::OK, StatusCode::from_u16(code).unwrap()] {
            match verdict(status, text.as_bytes()) {
                Ok(Ok(Some(price))) => prop_assert!(price.pixels_per_unit() > 0),
                Ok(Err(reason)) => {
                    prop_assert!((1..=200).contains(&reason.chars().count()) && !reason.contains(char::is_control), "{:?}", reason);
                }
                Ok(Ok(None)) => {}
                Err(error) => prop_assert!(!streamflow_types::with_causes(&error).is_empty()),
            }
        }
    }

    #[test]
    fn stores_of_senders(message in damaged(vec![store().encode_to_vec()]), profile in damaged_text(&["P240p30fps16x9"])) {
        let Ok(info) = OsInfo::decode(&message[..]) else { return Ok(()) };
        if let Ok(read) = SenderStore::read(&info) {
            let policy = info.s3info.unwrap_or_default();
            let host: reqwest::Url = policy.host.parse().unwrap();
            let file = format!("7.{}", Container::MpegTs.extension());
            if let Ok(address) = read.address(&format!("{}/{profile}", policy.key), &file) {
                let address: reqwest::Url = address.parse().unwrap();
                prop_assert_eq!(address.origin(), host.origin());
                prop_assert!(address.path().starts_with(host.path().trim_end_matches('/')), "{} {}", address, host);
            }
        }
    }

    #[test]
    fn addresses_of_segments(text in damaged_text(&["https://a.example:8443/x.ts?y=z", " http://[::1]/\n", "file:///etc"])) {
        if let Ok(url) = source(&text) {
            prop_assert!(matches!(url.scheme(), "http" | "https") && url.has_host());
        }
    }
}

fn broadcaster() -> Address {
    streamflow_pm::TicketSigner::address(&streamflow_pm::KeySigner::from_bytes([0x0b; 32]).unwrap())
}

#[test]
fn a_transcoder_that_claims_no_end_of_room_breaks_no_sums() {
    on(Kind::OfTranscoders, async |desk| {
        let pool = desk.service.pool();
        let able = || capability::describe(&OFFERED, 4, "0.1.0");
        let members: Vec<_> = (0..4).map(|_| pool.join(i64::MAX, able()).unwrap()).collect();
        assert_eq!(pool.spare(), members.len() * usize::from(u16::MAX));
        assert!(pool.room(Demand::NONE).is_ok());
    });
}

#[test]
fn undamaged_requests_get_as_far_as_they_can() {
    on(Kind::Paid, async |desk| {
        let nothing = nothing_more();
        for (path, payment, status) in
            [("/payment", &nothing, 200), ("/segment", &nothing, 200), ("/payment", &desk.payment, 400)]
        {
            let answer = paid(desk, path, &segment(SEGMENT), payment, "", SEGMENT, 50).await;
            assert_eq!(answer.status, status, "{path} {answer:?}");
            assert!(is_as_it_should_be(path, &answer));
        }
        let question = format!(r#"{{"sender":"{}","manifest_id":"{MANIFEST}"}}"#, broadcaster());
        assert_eq!(desk.post("/refresh-payment", HeaderMap::new(), question.as_bytes(), 9).await.status, 200);
        assert_eq!(desk.post("/segment", headers(&job_headers(SEGMENT)), SEGMENT, 9).await.status, 200);
    });
    on(Kind::Free, async |desk| {
        let answer = paid(desk, "/segment", &segment(SEGMENT), &[], "", SEGMENT, 50).await;
        let result = proto::TranscodeResult::decode(&answer.body[..]).unwrap();
        assert!(matches!(result.result, Some(proto::transcode_result::Result::Data(data)) if data.segments.len() == 2));
    });
}
