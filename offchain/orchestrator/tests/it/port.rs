//! The port itself: protocols, bounds, stopping.
use std::time::Duration;

use axum::http::Version;
use bytes::Bytes;
use futures::StreamExt;
use streamflow_orchestrator::{Deps, LimitsConfig, Orchestrator, OrchestratorConfig, StartError};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    clip,
    fixture::{Broadcaster, World, config},
};

const BODY: Bytes = Bytes::from_static(b"body");

#[tokio::test]
async fn one_port_speaks_both_versions_and_grpc() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let version = async |client: reqwest::ClientBuilder| {
        client.build().unwrap().get(orchestrator.url("/")).send().await.unwrap().version()
    };
    assert_eq!(version(orchestrator.http()).await, Version::HTTP_2);
    assert_eq!(version(orchestrator.http().http1_only()).await, Version::HTTP_11);
    Broadcaster::new(&orchestrator).offer(&orchestrator).await;
}

#[tokio::test]
async fn segment_goes_over_http_1_too() {
    let world = World::with_video().await;
    let orchestrator = world.start().await;
    let http = orchestrator.http().http1_only().build().unwrap();
    let broadcaster = Broadcaster { http, ..Broadcaster::new(&orchestrator) };
    let offer = broadcaster.offer(&orchestrator).await;
    let reply = broadcaster.segment(&orchestrator, &offer, 2, 0, &clip::segment(0)).await;
    assert_eq!(reply.data().segments.len(), 2);
    // A large body that is refused at the first check still gets its answer.
    let draft = broadcaster.draft(&orchestrator, &broadcaster.pay(&offer, 1), &broadcaster.request(&offer, 1, &BODY));
    let draft = crate::fixture::Draft { payment: "!".into(), ..draft };
    assert_eq!(broadcaster.send(&draft, vec![0; 8_000_000]).await.status, 402);
}

#[tokio::test]
async fn silent_peer_is_hung_up_on() {
    let world = World::new().await;
    let limits = LimitsConfig { header_timeout: Duration::from_millis(300), ..Default::default() };
    let orchestrator = world.start_with(OrchestratorConfig { limits, ..config() }).await;
    let mut silent = TcpStream::connect(orchestrator.address).await.unwrap();
    let closed = timeout(Duration::from_secs(5), silent.read(&mut [0; 1])).await.unwrap();
    assert_eq!(closed.unwrap_or(0), 0);
    let mut plain = TcpStream::connect(orchestrator.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: o\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let ended = timeout(Duration::from_secs(5), plain.read_to_end(&mut answer)).await.unwrap();
    assert!(ended.is_err() || !answer.starts_with(b"HTTP"), "not without TLS");
}

#[tokio::test]
async fn connections_over_the_limit_are_closed() {
    let world = World::new().await;
    let limits = LimitsConfig { max_connections_per_ip: 2, ..Default::default() };
    let orchestrator = world.start_with(OrchestratorConfig { limits, ..config() }).await;
    let connect = || TcpStream::connect(orchestrator.address);
    let (first, _second) = (connect().await.unwrap(), connect().await.unwrap());
    let mut third = connect().await.unwrap();
    assert_eq!(timeout(Duration::from_secs(5), third.read(&mut [0; 1])).await.unwrap().unwrap_or(0), 0);
    drop(first);
    for _ in 0..50 {
        if orchestrator.http().build().unwrap().get(orchestrator.url("/")).send().await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the free place is not given away");
}

#[tokio::test]
async fn upload_that_stalls_is_given_up() {
    let world = World::new().await;
    let limits = LimitsConfig { body_idle_timeout: Duration::from_millis(300), ..Default::default() };
    let orchestrator = world.start_with(OrchestratorConfig { limits, ..config() }).await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let draft = broadcaster.draft(&orchestrator, &broadcaster.pay(&offer, 1), &broadcaster.request(&offer, 0, &BODY));
    let stalled = futures::stream::once(async { Ok::<_, std::io::Error>(BODY) }).chain(futures::stream::pending());
    let reply = broadcaster.start(&draft, reqwest::Body::wrap_stream(stalled)).await;
    assert_eq!(reply.status(), 500);
}

#[tokio::test]
async fn stopping_finishes_what_was_taken_and_takes_no_more() {
    let world = World::with_video().await;
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let segment = clip::segment(0);
    let drafts: Vec<_> = (0..2)
        .map(|seq| {
            let payment = broadcaster.pay(&offer, 2);
            broadcaster.draft(&orchestrator, &payment, &broadcaster.request(&offer, seq, &segment))
        })
        .collect();
    let taken = broadcaster.start(&drafts[0], segment.clone()).await;
    assert_eq!(taken.status(), 200);
    let url = orchestrator.url("");
    let stopping = tokio::spawn(orchestrator.stopped());
    tokio::time::sleep(Duration::from_millis(20)).await;
    if let Ok(refused) = broadcaster.http.post(format!("{url}/segment")).send().await {
        assert_eq!(refused.status(), 503);
        assert_eq!(refused.text().await.unwrap(), "TranscoderStopped");
    }
    let result = taken.bytes().await.unwrap();
    let reply = crate::fixture::Reply { status: 200, body: result };
    let data = reply.data();
    assert_eq!(data.segments.len(), 2);
    // Its renditions are still there.
    for segment in data.segments {
        assert_eq!(broadcaster.http.get(&segment.url).send().await.unwrap().status(), 200);
    }
    timeout(Duration::from_secs(3), stopping).await.unwrap().unwrap();
    assert!(broadcaster.http.post(&drafts[1].url).send().await.is_err(), "the port is closed");
}

#[tokio::test]
async fn taken_port_is_named() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let deps = Deps {
        chain: None,
        local: None,
        secret: [1; 32],
        data_dir: dir.path().into(),
        clock: std::sync::Arc::new(|| 0),
    };
    let config = OrchestratorConfig { listen: taken.local_addr().unwrap(), ..config() };
    let error = Orchestrator::bind(config, deps).await.unwrap_err();
    assert!(matches!(error, StartError::Bind { .. }));
    assert!(error.to_string().contains("setting `listen`"));
}
