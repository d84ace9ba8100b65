//! Peers that mean harm to the HTTP port: other streams notice nothing.
use std::{net::SocketAddr, time::Duration};

use streamflow_wire::{Code, Refusal, refusal::HEADER};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};

use crate::{
    fixture::{Running, Setup, client},
    orchestrator::{Conduct, FakeOrchestrator},
};

const PATIENCE: Duration = Duration::from_secs(20);

async fn running(change: impl FnOnce(&mut Setup)) -> (FakeOrchestrator, Running) {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).with(change).start().await;
    (orchestrator, running)
}

/// Sends bytes and returns the first line of the answer; empty where the connection was closed without one.
async fn answer(address: SocketAddr, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    // The other side may have hung up already.
    let _ = socket.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("neither answered nor closed");
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

/// Repeats bytes until the other side hangs up, and returns how many it was sent.
fn drip(address: SocketAddr, head: String, piece: Vec<u8>, pause: Duration) -> JoinHandle<u64> {
    tokio::spawn(async move {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut sent = 0;
        while socket.write_all(&piece).await.is_ok() {
            sent += piece.len() as u64;
            tokio::time::sleep(pause).await;
        }
        sent
    })
}

#[tokio::test]
async fn many_headers_and_long_ones_are_refused() {
    let (_orchestrator, running) = running(|_| {}).await;
    let many: String = (0..10_000).map(|number| format!("X-{number}: a\r\n")).collect();
    let long = format!("X-Long: {}\r\n", "a".repeat(200_000));
    for headers in [many, long] {
        let request = format!("POST /live/movie/0.ts HTTP/1.1\r\nHost: b\r\n{headers}Connection: close\r\n\r\n");
        let told = answer(running.address, request.as_bytes()).await;
        assert!(told.is_empty() || told.contains(" 431 "), "{told}");
    }
    let nothing = answer(running.address, &[0xff; 100_000]).await;
    assert!(nothing.is_empty() || nothing.contains(" 400 "), "{nothing}");
    running.push_clip("movie", 0).await;
    running.stop().await;
}

#[tokio::test]
async fn a_peer_that_is_slow_with_its_headers_is_hung_up_on() {
    let (_orchestrator, running) = running(|setup| setup.config.header_timeout = Duration::from_millis(300)).await;
    let silent = answer(running.address, b"").await;
    let slow = drip(running.address, "GET / HTTP/1.1\r\nX-A: ".into(), b"a".to_vec(), Duration::from_millis(50));
    assert!(silent.is_empty() || silent.contains(" 408 "), "{silent}");
    let sent = timeout(PATIENCE, slow).await.expect("one byte at a time goes on for ever").unwrap();
    assert!(sent < 100, "{sent} bytes");
    running.stop().await;
}

#[tokio::test]
async fn bodies_without_end_one_byte_at_a_time_and_half_sent_leave_other_streams_untouched() {
    let large = |setup: &mut Setup| setup.config.max_segment_bytes = 4_000_000;
    let (_orchestrator, running) = running(large).await;
    let head = |name: &str, headers: &str| format!("PUT /live/{name}/0.ts HTTP/1.1\r\nHost: b\r\n{headers}\r\n");
    let address = running.address;
    let chunk = [b"10000\r\n".to_vec(), vec![0x47; 0x10000], b"\r\n".to_vec()].concat();
    let chunked = "Transfer-Encoding: chunked\r\n";
    let endless = drip(address, head("endless", chunked), chunk, Duration::ZERO);
    let slow: Vec<_> = (0..20)
        .map(|number| {
            let head = head(&format!("slow{number}"), "Content-Length: 1000000\r\n");
            drip(address, head, b"G".to_vec(), Duration::from_secs(1))
        })
        .collect();
    // Half-open: announced, and then silence.
    let mut half = Vec::new();
    for number in 0..20 {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let head = head(&format!("half{number}"), "Content-Length: 1000000\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        half.push(socket);
    }
    for seq in 0..3 {
        let pushed = timeout(PATIENCE, running.push_clip("movie", seq));
        pushed.await.expect("others are held up");
    }
    let sent = timeout(PATIENCE, endless).await.expect("a body without end is taken for ever").unwrap();
    assert!(sent < 50_000_000, "{sent} bytes were taken, 4000000 are allowed");
    for seq in 0..3 {
        assert_eq!(running.get(&format!("/stream/movie/180p/{seq}.ts")).await.status(), 200);
    }
    let status = running.handle.status();
    assert_eq!((status.segments.received, status.segments.failed, status.streams.len()), (3, 0, 1));
    slow.iter().for_each(JoinHandle::abort);
    drop(half);
    running.stop().await;
}

#[tokio::test]
async fn a_gzip_bomb_is_bytes_that_are_no_video() {
    let (_orchestrator, running) = running(|_| {}).await;
    // What counts is that nobody unpacks it.
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    packed.extend(std::iter::repeat_n([0xec, 0xc1, 0x01, 0x0d, 0, 0, 0, 0xc2], 20_000).flatten());
    let push = client().post(running.url("/live/bomb/0.ts")).header("Content-Encoding", "gzip").body(packed);
    let refused = push.send().await.unwrap();
    assert_eq!(refused.status(), 422);
    let coded = Refusal::from_header(refused.headers()[HEADER].to_str().unwrap()).unwrap();
    assert_eq!(coded.code, Code::SegmentFormatDidntMatchJobInputParams);
    running.push_clip("movie", 0).await;
    running.stop().await;
}

#[tokio::test]
async fn connections_of_one_address_are_limited_and_given_back() {
    let few = |setup: &mut Setup| setup.config.max_connections_per_address = 2;
    let (_orchestrator, running) = running(few).await;
    let idle = [TcpStream::connect(running.address).await.unwrap(), TcpStream::connect(running.address).await.unwrap()];
    let third = answer(running.address, b"GET /healthz HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n").await;
    assert_eq!(third, "");
    drop(idle);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let healthy = answer(running.address, b"GET /healthz HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n").await;
    assert_eq!(healthy, "HTTP/1.1 200 OK");
    running.stop().await;
}
