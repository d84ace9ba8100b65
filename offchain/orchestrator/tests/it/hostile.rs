//! Hostile peers at the real port, over raw sockets. Each does its worst while the segments of another session go on.
use std::{convert::Infallible, io::Write as _, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::stream;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use streamflow_orchestrator::{LimitsConfig, MaxSessions, OrchestratorConfig, QuotaConfig};
use streamflow_wire::{Offer, header};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    fixture::{Broadcaster, Draft, Reply, Running, World, config},
    paid::Liar,
};

static BODY: Bytes = Bytes::from_static(b"body");
/// An honest segment is done in this time, whatever others do.
const SOON: Duration = Duration::from_secs(5);

/// An orchestrator, an honest session at it, and a sender who means no good.
struct Siege {
    _world: World,
    orchestrator: Running,
    honest: Broadcaster,
    offer: Offer,
    seq: u64,
    hostile: Broadcaster,
    terms: Offer,
}

impl Siege {
    async fn with(config: OrchestratorConfig) -> Self {
        let world = World { local: Some(Arc::new(Liar(100))), ..World::new().await };
        let orchestrator = world.start_with(config).await;
        let (honest, hostile) = (Broadcaster::new(&orchestrator), Broadcaster::with_key(&orchestrator, 0x66));
        let (offer, terms) = (honest.offer(&orchestrator).await, hostile.offer(&orchestrator).await);
        Self { _world: world, orchestrator, honest, offer, seq: 0, hostile, terms }
    }

    /// Bounds that are reached in a test's time.
    async fn new() -> Self {
        let limits = LimitsConfig {
            header_timeout: Duration::from_millis(500),
            body_idle_timeout: Duration::from_secs(2),
            max_segment_bytes: 1_000_000,
            ..Default::default()
        };
        Self::with(OrchestratorConfig { limits, ..config() }).await
    }

    /// The honest session's next segment.
    async fn goes_on(&mut self) {
        let sent = self.honest.segment(&self.orchestrator, &self.offer, 1, self.seq, &BODY);
        let reply = timeout(SOON, sent).await.expect("an honest segment waits for a hostile peer");
        assert_eq!(reply.data().segments.len(), 2);
        self.seq += 1;
    }

    async fn tls(&self, protocol: &[u8]) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&self.orchestrator.certificate).unwrap()).unwrap();
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let tcp = TcpStream::connect(self.orchestrator.address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
    }

    fn draft(&self, seq: u64) -> Draft {
        let payment = self.hostile.pay(&self.terms, 1);
        self.hostile.draft(&self.orchestrator, &payment, &self.hostile.request(&self.terms, seq, &BODY))
    }

    /// The head of a segment that is paid for, with these fields besides.
    fn head(&self, seq: u64, more: &str) -> String {
        let Draft { payment, segment, .. } = self.draft(seq);
        format!(
            "POST /segment HTTP/1.1\r\nHost: o\r\n{}: {payment}\r\n{}: {segment}\r\n{more}\r\n",
            header::PAYMENT,
            header::SEGMENT
        )
    }
}

/// What the orchestrator says until it hangs up, or for as long as nobody could want to wait.
async fn answer(stream: &mut TlsStream<TcpStream>, within: Duration) -> String {
    let mut text = Vec::new();
    let mut piece = [0; 4096];
    let read = async {
        while let Ok(count @ 1..) = stream.read(&mut piece).await {
            text.extend_from_slice(&piece[..count]);
        }
    };
    drop(timeout(within, read).await);
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn one_byte_per_second_holds_nobody_up_and_is_cut_off() {
    let mut siege = Siege::new().await;
    let mut slow = Vec::new();
    for seq in 0..8 {
        let mut stream = siege.tls(b"http/1.1").await;
        stream.write_all(siege.head(seq, "Content-Length: 1000\r\n").as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let before = tokio::time::Instant::now();
    for _ in 0..9 {
        for stream in &mut slow {
            // Cut off, in the end.
            drop(stream.write_all(b"x").await);
        }
        siege.goes_on().await;
        sleep(Duration::from_secs(1)).await;
    }
    for mut stream in slow {
        let told = answer(&mut stream, SOON).await;
        assert!(told.starts_with("HTTP/1.1 500"), "{told}");
    }
    assert!(before.elapsed() < Duration::from_secs(20), "a segment of 2 s is not waited for longer than 8 s");
}

#[tokio::test]
async fn slow_heads_and_silent_handshakes_are_cut_off() {
    let mut siege = Siege::new().await;
    let mut trickling = siege.tls(b"http/1.1").await;
    let mut silent = TcpStream::connect(siege.orchestrator.address).await.unwrap();
    trickling.write_all(b"POST /segment HTTP/1.1\r\nHost:").await.unwrap();
    for _ in 0..8 {
        drop(trickling.write_all(b" ").await);
        siege.goes_on().await;
        sleep(Duration::from_millis(100)).await;
    }
    let mut told = Vec::new();
    // How the connection ends is no matter.
    drop(timeout(SOON, trickling.read_to_end(&mut told)).await.expect("still open"));
    let told = String::from_utf8_lossy(&told);
    assert!(told.is_empty() || told.starts_with("HTTP/1.1 408"), "{told}");
    assert_eq!(timeout(SOON, silent.read(&mut [0; 1])).await.expect("still open").unwrap_or(0), 0);
}

#[tokio::test]
async fn endless_body_is_refused_at_the_limit() {
    let mut siege = Siege::new().await;
    let mut stream = siege.tls(b"http/1.1").await;
    stream.write_all(siege.head(0, "Transfer-Encoding: chunked\r\n").as_bytes()).await.unwrap();
    let mut chunk = b"10000\r\n".to_vec();
    chunk.extend(std::iter::repeat_n(7, 0x1_0000));
    chunk.extend(b"\r\n");
    let mut sent = 0;
    while sent < 64_000_000 && stream.write_all(&chunk).await.is_ok() {
        sent += 0x1_0000;
        if sent % 0x10_0000 == 0 {
            siege.goes_on().await;
        }
    }
    assert!(sent < 64_000_000, "it is still read");
    siege.goes_on().await;
}

#[tokio::test]
async fn ten_thousand_headers_are_refused_in_both_versions() {
    let mut siege = Siege::new().await;
    let many: String = (0..10_000).map(|number| format!("x-{number}: 1\r\n")).collect();
    let mut stream = siege.tls(b"http/1.1").await;
    drop(stream.write_all(siege.head(0, &many).as_bytes()).await);
    let told = answer(&mut stream, SOON).await;
    assert!(told.is_empty() || told.starts_with("HTTP/1.1 431"), "{told}");
    siege.goes_on().await;
    for count in [101_usize, 10_000] {
        let mut request = siege.hostile.http.post(siege.orchestrator.url("/segment"));
        for number in 0..count {
            request = request.header(format!("x-{number}"), "1");
        }
        let refused = request.send().await;
        assert!(refused.map_or(true, |answer| answer.status() == 431), "{count} headers");
        siege.goes_on().await;
    }
}

#[tokio::test]
async fn compressed_bodies_are_refused_unread() {
    let mut siege = Siege::new().await;
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..512 {
        bomb.write_all(&[0; 1 << 16]).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    let draft = siege.draft(0);
    for path in ["/segment", "/payment"] {
        let request = siege.hostile.http.post(siege.orchestrator.url(path)).header(header::PAYMENT, &draft.payment);
        let request = request.header(header::SEGMENT, &draft.segment).header("Content-Encoding", "gzip");
        let refused = request.body(bomb.clone()).send().await.unwrap();
        assert_eq!(refused.status(), 415);
        let told = refused.text().await.unwrap();
        assert_eq!(told, "Content-Encoding \"gzip\" is not accepted: send the body as it is");
        siege.goes_on().await;
    }
    // As a gRPC message: compressed ones are not taken at all.
    let mut message = vec![1];
    message.extend((bomb.len() as u32).to_be_bytes());
    message.extend(&bomb);
    let call = siege.hostile.http.post(siege.orchestrator.url("/net.Orchestrator/GetOrchestrator"));
    let call = call.header("content-type", "application/grpc").header("grpc-encoding", "gzip").header("te", "trailers");
    let answer = call.body(message).send().await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "12", "unimplemented");
    siege.goes_on().await;
}

#[tokio::test]
async fn oversize_messages_are_refused_by_their_length_alone() {
    let mut siege = Siege::new().await;
    for method in
        ["Orchestrator/GetOrchestrator", "Orchestrator/EndTranscodingSession", "Transcoder/RegisterTranscoder"]
    {
        let mut message = vec![0];
        message.extend((1_u32 << 31).to_be_bytes());
        message.extend([0; 1024]);
        let call = siege.hostile.http.post(siege.orchestrator.url(&format!("/net.{method}")));
        let call = call.header("content-type", "application/grpc").header("te", "trailers").body(message);
        let answer = timeout(SOON, call.send()).await.unwrap().unwrap();
        assert_eq!(answer.headers()["grpc-status"], "11", "{method}: out of range");
        siege.goes_on().await;
    }
    // A segment's header that is longer than any.
    let long = Draft { segment: "A".repeat(200_000), ..siege.draft(0) };
    assert_eq!(siege.hostile.send(&long, BODY.clone()).await.status, 403);
    siege.goes_on().await;
}

/// Frames of HTTP/2, by hand.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

#[tokio::test]
async fn half_open_streams_end_and_hold_nobody_up() {
    let mut siege = Siege::new().await;
    let mut stream = siege.tls(b"h2").await;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    // POST https, a path and a type as literals: a call without its message, as often as streams are allowed.
    let path = b"/net.Orchestrator/GetOrchestrator";
    let kind = b"application/grpc";
    let mut block = vec![0x83, 0x87, 0x04, path.len() as u8];
    block.extend(path);
    block.extend([0x01, 1, b'o', 0x0f, 0x10, kind.len() as u8]);
    block.extend(kind);
    for number in 0..100_u32 {
        bytes.extend(frame(1, 4, 2 * number + 1, &block));
    }
    stream.write_all(&bytes).await.unwrap();
    siege.goes_on().await;
    // Each gets its answer though it never ends its request: HEADERS with a status of gRPC.
    let mut answered = std::collections::HashSet::new();
    let read = async {
        while answered.len() < 100 {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; length];
            stream.read_exact(&mut payload).await.unwrap();
            match head[3] {
                1 | 3 => drop(answered.insert(u32::from_be_bytes([head[5], head[6], head[7], head[8]]))),
                // Alive all the while: settings and pings are answered.
                4 if head[4] == 0 => stream.write_all(&frame(4, 1, 0, &[])).await.unwrap(),
                6 if head[4] == 0 => stream.write_all(&frame(6, 1, 0, &payload)).await.unwrap(),
                _ => {}
            }
        }
    };
    timeout(Duration::from_secs(10), read).await.expect("half-open streams are kept");
    siege.goes_on().await;
}

#[tokio::test]
async fn who_sends_too_much_is_told_so_with_figures_and_others_go_on() {
    let quotas = QuotaConfig { segments_per_second: 1, segment_burst: 3, ..Default::default() };
    let mut siege = Siege::with(OrchestratorConfig { quotas, ..config() }).await;
    for seq in 0..3 {
        let reply = siege.hostile.segment(&siege.orchestrator, &siege.terms, 1, seq, &BODY).await;
        assert_eq!(reply.status, 200);
    }
    let refused: Reply = siege.hostile.segment(&siege.orchestrator, &siege.terms, 1, 3, &BODY).await;
    assert_eq!(refused.status, 429);
    let told = refused.text();
    let start = format!("{} asks for 1 segments and has 0 left; 1 a second are allowed", siege.hostile.address());
    assert!(told.starts_with(&start) && told.contains("orchestrator.quotas.segments_per_second"), "{told}");
    siege.goes_on().await;
}

/// A body that is cut off was read as well.
#[tokio::test]
async fn bytes_of_uploads_that_fail_count_against_the_quota() {
    let limits = LimitsConfig { max_segment_bytes: 50_000, ..Default::default() };
    let quotas = QuotaConfig { bytes_per_second: 1, byte_burst: 40_000, ..Default::default() };
    let mut siege = Siege::with(OrchestratorConfig { limits, quotas, ..config() }).await;
    let chunks = stream::iter((0..100).map(|_| Ok::<_, Infallible>(Bytes::from_static(&[7; 1000]))));
    let endless = siege.hostile.send(&siege.draft(0), reqwest::Body::wrap_stream(chunks)).await;
    assert_eq!((endless.status, endless.text()), (500, "Internal Server Error"));
    let refused = siege.hostile.segment(&siege.orchestrator, &siege.terms, 1, 1, &BODY).await;
    assert_eq!(refused.status, 429);
    assert!(refused.text().contains("orchestrator.quotas.bytes_per_second"), "{}", refused.text());
    siege.goes_on().await;
}

#[tokio::test]
async fn quotes_are_bounded_by_address() {
    let quotas = QuotaConfig { quotes_per_second: 1, quote_burst: 3, ..Default::default() };
    let mut siege = Siege::with(OrchestratorConfig { quotas, ..config() }).await;
    let request = || streamflow_wire::sign_request(siege.hostile.key.as_ref(), None).unwrap();
    // Two were for the two sessions.
    siege.orchestrator.grpc().await.get_orchestrator(request()).await.unwrap();
    let refused = siege.orchestrator.grpc().await.get_orchestrator(request()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    assert!(refused.message().contains("orchestrator.quotas.quotes_per_second"), "{refused}");
    siege.goes_on().await;
}

#[tokio::test]
async fn probes_take_no_place_and_sessions_beyond_the_bound_are_refused() {
    let mut siege = Siege::with(OrchestratorConfig { max_sessions: MaxSessions::AtMost(2), ..config() }).await;
    for _ in 0..20 {
        siege.hostile.offer(&siege.orchestrator).await;
    }
    assert_eq!(siege.orchestrator.handle.active_sessions(), 0);
    siege.goes_on().await;
    let reply = siege.hostile.segment(&siege.orchestrator, &siege.terms, 1, 0, &BODY).await;
    assert_eq!(reply.status, 200);
    let third = Broadcaster::with_key(&siege.orchestrator, 0x67);
    let refused = third.job_offer(&siege.orchestrator).await.unwrap_err();
    assert_eq!(refused.message(), "Invalid orchestrator request: OrchestratorCapped");
    // Both are quiet for a while: their sessions are kept, their places are not.
    let free = async {
        while siege.orchestrator.handle.active_sessions() > 0 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(10), free).await.unwrap();
    assert_eq!(siege.orchestrator.handle.open_sessions(), 2);
    third.job_offer(&siege.orchestrator).await.unwrap();
    siege.goes_on().await;
}
