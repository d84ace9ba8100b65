//! Status codes, headers and the multipart reply of a push (node.md §4.3).
use std::time::Duration;

use reqwest::StatusCode;
use streamflow_types::{ManifestId, VideoCodec};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    clip,
    fixture::{Setup, VIEW, client, funds, until},
    orchestrator::{Conduct, FakeOrchestrator},
};

#[tokio::test]
async fn renditions_come_back_in_the_order_of_the_profiles() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    let reply = running.push("/live/movie/7.ts", clip::segment(0)).await;
    assert_eq!(reply.status(), StatusCode::OK);
    let kind = reply.headers()["content-type"].to_str().unwrap().to_owned();
    let boundary = kind.strip_prefix("multipart/mixed; boundary=").unwrap();
    assert_eq!(boundary.len(), 20);
    let body = reply.bytes().await.unwrap();
    let made = clip::renditions(&clip::segment(0), &clip::profiles());
    let mut expected = Vec::new();
    for (profile, made) in clip::profiles().iter().zip(&made) {
        let (name, length) = (&profile.name, made.bytes.len());
        let line_end = if expected.is_empty() { "" } else { "\r\n" };
        expected.extend_from_slice(
            format!(
                "{line_end}--{boundary}\r\nContent-Disposition: attachment; filename=\"{name}_7.ts\"\r\n\
                 Content-Length: {length}\r\nContent-Type: video/mp2t; name=\"{name}_7.ts\"\r\n\
                 Rendition-Name: {name}\r\n\r\n"
            )
            .as_bytes(),
        );
        expected.extend_from_slice(&made.bytes);
    }
    expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    assert!(body == expected, "{} bytes instead of {}", body.len(), expected.len());
    running.stop().await;
}

#[tokio::test]
async fn without_multipart_the_reply_is_empty_and_put_works_too() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    let url = running.url("/live/movie/camera/0.ts");
    let reply = client().put(url).header("Content-Duration", "2000").body(clip::segment(0)).send().await.unwrap();
    assert_eq!(reply.status(), StatusCode::OK);
    assert_eq!(reply.bytes().await.unwrap().len(), 0);
    running.stop().await;
}

#[tokio::test]
async fn an_encoder_that_does_not_wait_for_the_answer_loses_nothing() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    for seq in 0..3_usize {
        let segment = clip::segment(seq);
        let mut encoder = TcpStream::connect(running.address).await.unwrap();
        let head = format!("POST /live/movie/{seq}.ts HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        encoder.write_all(head.as_bytes()).await.unwrap();
        for chunk in segment.chunks(32 * 1024) {
            encoder.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await.unwrap();
            encoder.write_all(chunk).await.unwrap();
            encoder.write_all(b"\r\n").await.unwrap();
        }
        encoder.write_all(b"0\r\n\r\n").await.unwrap();
    }
    until("three segments", || running.handle.status().segments.transcoded == 3).await;
    running.stop().await;
}

#[tokio::test]
async fn bad_requests_get_their_codes() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let only = |setup: &mut Setup| setup.config.streams = vec![ManifestId::new("movie").unwrap()];
    let running = Setup::new(&[orchestrator.url()]).with(only).start().await;
    let code = async |path: &str| running.push(path, clip::segment(0)).await.status().as_u16();
    assert_eq!(running.get("/live/movie/0.ts").await.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(code("/live/movie/0.webm").await, 400);
    assert_eq!(code("/live/movie/x.ts").await, 400);
    assert_eq!(code("/live/movie").await, 400);
    assert_eq!(code("/live/.hidden/0.ts").await, 400);
    assert_eq!(code("/live/%2e%2e%2f%2e%2e/0.ts").await, 400);
    assert_eq!(code("/live/other/0.ts").await, 403);
    let with = async |name: &str, value: &str| {
        let url = running.url("/live/movie/0.ts");
        client().post(url).header(name, value).body(clip::segment(0)).send().await.unwrap().status().as_u16()
    };
    assert_eq!(with("Content-Resolution", "big").await, 400);
    assert_eq!(with("Content-Slice-From", "0").await, 400);
    assert_eq!(with("Content-Slice-To", "1000").await, 400);
    assert_eq!(with("Origin", "https://evil.example").await, 403);
    assert_eq!(with("Sec-Fetch-Site", "cross-site").await, 403);
    assert!(orchestrator.seen().segments.is_empty());
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_video_is_unprocessable_and_makes_no_stream() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    let whole = clip::segment(0);
    let truncated = whole.slice(..whole.len() / 2 - whole.len() / 2 % 188 + 100);
    for bad in [bytes::Bytes::from_static(b"not video"), bytes::Bytes::new(), truncated] {
        let reply = running.push("/live/movie/0.ts", bad).await;
        assert_eq!(reply.status(), StatusCode::UNPROCESSABLE_ENTITY, "{}", reply.text().await.unwrap());
    }
    assert!(running.handle.status().streams.is_empty());
    assert!(orchestrator.seen().segments.is_empty());
    running.stop().await;
}

#[tokio::test]
async fn a_body_of_400_megabytes_is_refused_before_it_is_sent() {
    let running = Setup::new(&["https://127.0.0.1:1".parse().unwrap()]).start().await;
    let mut socket = TcpStream::connect(running.address).await.unwrap();
    let head = "POST /live/movie/0.ts HTTP/1.1\r\nHost: x\r\nContent-Length: 400000000\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    tokio::time::timeout(Duration::from_secs(5), socket.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    drop(socket);
    running.stop().await;
}

#[tokio::test]
async fn a_body_without_length_is_cut_at_the_limit() {
    let small = |setup: &mut Setup| setup.config.max_segment_bytes = 100_000;
    let running = Setup::new(&["https://127.0.0.1:1".parse().unwrap()]).with(small).start().await;
    let chunks = (0..10).map(|_| Ok::<_, std::io::Error>(vec![0_u8; 20_000]));
    let body = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    assert_eq!(running.push("/live/movie/0.ts", body).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    running.stop().await;
}

#[tokio::test]
async fn nobody_to_ask_or_nothing_to_pay_with_is_unavailable_with_its_cause() {
    let nobody = Setup::new(&[]).start().await;
    let reply = nobody.push("/live/movie/0.ts", clip::segment(0)).await;
    assert_eq!(reply.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(reply.text().await.unwrap().contains("No sessions available"));
    nobody.stop().await;

    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let poor = |setup: &mut Setup| setup.funds = Some(streamflow_types::SenderFunds::default());
    let running = Setup::new(&[orchestrator.url()]).with(poor).start().await;
    let reply = running.push("/live/movie/0.ts", clip::segment(0)).await;
    assert_eq!(reply.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(reply.text().await.unwrap().contains("no sender reserve"));
    running.stop().await;
}

#[tokio::test]
async fn with_the_rpc_down_segments_are_refused_until_it_is_back() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let down = |setup: &mut Setup| (setup.chain, setup.funds) = (None, None);
    let running = Setup::new(&[orchestrator.url()]).with(down).start().await;
    let reply = running.push("/live/movie/0.ts", clip::segment(0)).await;
    assert_eq!(reply.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(reply.text().await.unwrap().contains("Ethereum RPC"));
    assert!(running.handle.status().refusing.unwrap().contains("Ethereum RPC"));
    running.chain.send_replace(Some(VIEW));
    running.funds.send_replace(Some(funds()));
    running.push_clip("movie", 0).await;
    assert_eq!(running.handle.status().refusing, None);
    running.stop().await;
}

#[tokio::test]
async fn the_same_segment_is_not_taken_twice() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    running.push_clip("movie", 0).await;
    running.push_clip("movie", 1).await;
    let again = running.push("/live/movie/1.ts", clip::segment(1)).await;
    assert_eq!(again.status(), StatusCode::BAD_REQUEST);
    assert_eq!(orchestrator.seen().segments, [0, 1]);
    running.stop().await;
}

#[tokio::test]
async fn the_codec_of_the_source_is_told_to_who_names_it() {
    let conducts = [
        (Conduct::TakesHevc, VideoCodec::H265),
        (Conduct::TakesH264, VideoCodec::H264),
        (Conduct::Honest, VideoCodec::H264),
    ];
    for (conduct, told) in conducts {
        let orchestrator = FakeOrchestrator::start(1, conduct, true).await;
        let running = Setup::new(&[orchestrator.url()]).start().await;
        assert_eq!(running.push("/live/movie/0.ts", clip::hevc()).await.status(), StatusCode::OK, "{conduct:?}");
        assert_eq!(running.push("/live/movie/1.ts", clip::segment(1)).await.status(), StatusCode::OK);
        assert_eq!(orchestrator.seen().codecs, [told, VideoCodec::H264], "{conduct:?}");
        running.stop().await;
    }
}

#[tokio::test]
async fn a_push_whose_sender_goes_away_is_published_all_the_same() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    let media = clip::segment(0);
    let mut socket = TcpStream::connect(running.address).await.unwrap();
    let head = format!("POST /live/movie/0.ts HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", media.len());
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&media).await.unwrap();
    until("the segment to be received", || running.handle.status().segments.received == 1).await;
    drop(socket);
    until("the segment to be transcoded", || running.handle.status().segments.transcoded == 1).await;
    running.stop().await;
}

#[tokio::test]
async fn page_and_status_are_served() {
    let running = Setup::new(&[]).start().await;
    let page = running.get("/").await;
    assert!(page.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    let html = page.text().await.unwrap();
    for asset in ["/assets/app.js", "/assets/app.css"] {
        assert!(html.contains(asset), "{html}");
        assert_eq!(running.get(asset).await.status(), StatusCode::OK);
    }
    let status: serde_json::Value = running.get("/status").await.json().await.unwrap();
    assert_eq!(status["payments"], "on_chain");
    assert_eq!(status["funds"]["deposit"], "1000000000");
    assert_eq!(status["tickets"]["sent"], 0);
    running.stop().await;
}
