//! An orchestrator made of the wire's own types, that can be told to misbehave.
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use alloy_primitives::{Address, B256, U256, keccak256};
use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use futures::StreamExt as _;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use prost::Message as _;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use streamflow_pm::{KeySigner, TRANSCODING_H264, TicketSigner as _, WorkReceipt, signed_from_params, ticket_signer};
use streamflow_types::{Expiration, Price, Round, TicketParams, VideoCodec, WinProb};
use streamflow_wire::{
    Code, Offer, Refusal as Coded, SegmentRequest, capability, encode_receipt, header, payment_from_proto,
    proto::{
        AuthToken, Capabilities, EndTranscodingSessionRequest, EndTranscodingSessionResponse, OrchestratorInfo,
        OrchestratorRequest, PingPong, TranscodeData, TranscodeResult, TranscodedSegmentData,
        orchestrator_server::{Orchestrator, OrchestratorServer},
        transcode_result,
    },
    result_hash, settings_id, sign_ping, sign_result, software_id,
    stream::{
        DownFrame, FrameReader, StreamFailure, StreamHead, StreamResult, StreamTrailer, StreamedRendition, UpFrame,
        sign_stream_result, verify_stream_head,
    },
    verify_request, verify_segment,
};
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};
use tokio_rustls::TlsAcceptor;
use tonic::{Request, Status};
use url::Url;

use crate::{
    clip::{self, Cheat, Made},
    fixture::{DEPLOYMENT, RECEIPTS},
};

/// How an orchestrator behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conduct {
    Honest,
    /// Breaks the connection while the segment is coming in.
    HangsUp,
    /// Signs with another key.
    WrongSignature,
    /// Signs other renditions than it serves.
    OtherMedia,
    /// Signs nothing.
    Unsigned,
    /// Sends no receipt, as deployed peers do.
    NoReceipt,
    /// Sends a receipt of another segment.
    FalseReceipt,
    /// Tells what it can do: what every node of ours can, and HEVC.
    TakesHevc,
    /// The same without HEVC.
    TakesH264,
    /// Cheats with the pictures.
    Cheats(Cheat),
    /// Bills more than it encoded.
    WrongPixels,
    /// Delivers one rendition too few.
    Incomplete,
    /// Delivers the small rendition twice.
    WrongSize,
    /// Delivers garbage, signed.
    Garbage,
    /// Answers with an error after the upload.
    Fails(&'static str),
    /// Refuses the segment.
    Refuses(u16, &'static str),
    /// Refuses the first segment with this code, and with a text that means nothing.
    RefusesOnceWith(Code),
    /// Sends viewers elsewhere.
    LinksElsewhere,
    /// Sends no status line.
    Stalls,
    /// Sends the status line after so many milliseconds.
    Delays(u64),
    /// Sends the status line at once, and the result after so many milliseconds.
    Lingers(u64),
    /// Cheats with the pictures, and takes its time.
    CheatsLate(Cheat, u64),
    /// Quotes, but nobody listens where it wants segments.
    ServesNowhere,
    /// Refuses quotes.
    NoQuote,
    /// Claims to be another account in its quotes.
    Impostor,
    /// Its first quote expires at once.
    ShortLivedQuote,
    /// Refuses the first payment because its params are too old.
    ExpiredOnce,
    /// The same, and sends new ones along.
    ExpiredOnceWithTerms,
    /// Asks ten times as much from its third quote on.
    RaisesPrice,
    /// What it does to a stream once it has all of it. To whole segments it is honest.
    Streams(Break),
}

/// How a stream is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    /// Something else than frames.
    Garbage,
    /// All renditions, and a result of others.
    OtherBytes,
    /// All renditions, and no result.
    NoEnd,
    /// All renditions, and then nothing.
    Stalls,
    /// A rendition without end.
    Endless,
    /// A rendition more than was asked for.
    OneMore,
    /// All renditions, and then a failure that costs nothing.
    Fails,
    /// A result before the end of the segment.
    Hasty,
    /// All renditions, and then a charge for a trailer that was right.
    DeniesTrailer,
    /// Renditions that are void, and then the true ones.
    Again,
    /// The same, on and on.
    AgainAndAgain,
    /// The result this much later than the renditions, milliseconds.
    Lingers(u64),
}

/// What it saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Requests with a segment, answered or not.
    pub(crate) requests: usize,
    pub(crate) segments: Vec<u64>,
    /// Of them, those that were streamed, with their pieces answered.
    pub(crate) streamed: usize,
    /// Bytes of segments in streams, as they came.
    pub(crate) coming: usize,
    /// Streams without a trailer.
    pub(crate) cut_off: usize,
    /// Renditions that somebody came for.
    pub(crate) fetched: usize,
    /// (commitment, nonce) of every ticket.
    pub(crate) tickets: Vec<(B256, u32)>,
    pub(crate) payments: Vec<usize>,
    pub(crate) ended: Vec<String>,
    pub(crate) empty_headers: usize,
    /// Whether a fresh decoder was asked for, segment by segment.
    pub(crate) fresh_decoders: Vec<bool>,
    /// What the segments were said to be coded in.
    pub(crate) codecs: Vec<VideoCodec>,
}

#[derive(Debug)]
struct Inner {
    signer: KeySigner,
    conduct: Mutex<Conduct>,
    url: Url,
    paid: bool,
    streams: bool,
    price: Price,
    quotes: AtomicU32,
    refused: AtomicU32,
    block: AtomicU64,
    seen: Mutex<Seen>,
    made: Mutex<Vec<(String, Bytes)>>,
    hang_up: Notify,
}

/// A running orchestrator; stops when dropped.
#[derive(Debug)]
pub(crate) struct FakeOrchestrator {
    inner: Arc<Inner>,
    server: JoinHandle<()>,
}

impl Drop for FakeOrchestrator {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeOrchestrator {
    /// One that knows the deployed wire alone.
    pub(crate) async fn start(key: u8, conduct: Conduct, paid: bool) -> Self {
        Self::speaking(key, conduct, paid, false).await
    }

    /// One that takes streams too.
    pub(crate) async fn streaming(key: u8, conduct: Conduct, paid: bool) -> Self {
        Self::speaking(key, conduct, paid, true).await
    }

    async fn speaking(key: u8, conduct: Conduct, paid: bool, streams: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            signer: KeySigner::from_bytes([key; 32]).unwrap(),
            conduct: Mutex::new(conduct),
            url: url_of(address),
            paid,
            streams,
            price: Price::new(1, 1000).unwrap(),
            quotes: AtomicU32::new(0),
            refused: AtomicU32::new(0),
            block: AtomicU64::new(100),
            seen: Mutex::default(),
            made: Mutex::default(),
            hang_up: Notify::new(),
        });
        let server = tokio::spawn(serve(listener, inner.clone()));
        Self { inner, server }
    }

    pub(crate) fn url(&self) -> Url {
        self.inner.url.clone()
    }

    pub(crate) fn account(&self) -> Address {
        self.inner.signer.address()
    }

    pub(crate) fn seen(&self) -> Seen {
        self.inner.seen.lock().unwrap().clone()
    }

    pub(crate) fn quotes(&self) -> u32 {
        self.inner.quotes.load(Ordering::SeqCst)
    }

    pub(crate) fn behave(&self, conduct: Conduct) {
        *self.inner.conduct.lock().unwrap() = conduct;
    }
}

fn url_of(address: SocketAddr) -> Url {
    format!("https://{address}").parse().unwrap()
}

async fn serve(listener: TcpListener, inner: Arc<Inner>) {
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let tls = TlsAcceptor::from(Arc::new(tls));
    let grpc = tonic::service::Routes::new(OrchestratorServer::new(Service(inner.clone()))).into_axum_router();
    let http = Router::new()
        .route("/segment", post(segment))
        .route("/segment/stream", post(streamed))
        .route("/stream/{session}/{profile}/{file}", get(rendition))
        .with_state(inner.clone());
    let router = http.fallback_service(grpc);
    loop {
        let Ok((tcp, _)) = listener.accept().await else { return };
        let (tls, router, inner) = (tls.clone(), router.clone(), inner.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(tcp).await else { return };
            let builder = Builder::new(TokioExecutor::new());
            let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
            tokio::select! {
                _ = connection => {}
                () = inner.hang_up.notified() => {}
            }
        });
    }
}

struct Service(Arc<Inner>);

#[tonic::async_trait]
impl Orchestrator for Service {
    async fn get_orchestrator(
        &self,
        request: Request<OrchestratorRequest>,
    ) -> Result<tonic::Response<OrchestratorInfo>, Status> {
        let inner = &self.0;
        if inner.conduct() == Conduct::NoQuote {
            return Err(Status::unknown("insufficient sender reserve"));
        }
        let request = request.into_inner();
        if inner.paid && verify_request(&request).is_none() {
            return Err(Status::unknown("Invalid orchestrator request: orchestrator req sig check failed"));
        }
        Ok(tonic::Response::new(inner.info(None)))
    }

    async fn end_transcoding_session(
        &self,
        request: Request<EndTranscodingSessionRequest>,
    ) -> Result<tonic::Response<EndTranscodingSessionResponse>, Status> {
        let token = request.into_inner().auth_token.unwrap_or_default();
        self.0.seen.lock().unwrap().ended.push(token.session_id);
        Ok(tonic::Response::new(EndTranscodingSessionResponse {}))
    }

    async fn ping(&self, request: Request<PingPong>) -> Result<tonic::Response<PingPong>, Status> {
        let answer = sign_ping(&request.into_inner().value, &self.0.signer);
        answer.map(tonic::Response::new).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Inner {
    fn conduct(&self) -> Conduct {
        *self.conduct.lock().unwrap()
    }

    /// A fresh quote; with a token of its own unless it goes with a result.
    fn info(&self, token: Option<AuthToken>) -> OrchestratorInfo {
        let number = self.quotes.fetch_add(1, Ordering::SeqCst);
        let raised = self.conduct() == Conduct::RaisesPrice && number >= 2;
        let price = if raised { Price::new(10, 1000).unwrap() } else { self.price };
        let account = match self.conduct() {
            Conduct::Impostor => Address::repeat_byte(0xee),
            _ => self.signer.address(),
        };
        let life = if self.conduct() == Conduct::ShortLivedQuote && number < 2 { 1 } else { 40 };
        let params = TicketParams {
            recipient: account,
            face_value: U256::from(10_000_u64),
            win_prob: WinProb(U256::MAX / U256::from(4_u64)),
            recipient_rand_hash: keccak256(format!("{} {number}", self.url)),
            seed: U256::from(number),
            expiration_block: self.block.load(Ordering::SeqCst) + life,
            expiration: Expiration { creation_round: Round(7), creation_round_block_hash: B256::repeat_byte(3) },
            deployment: Some(DEPLOYMENT),
        };
        let token = token.unwrap_or_else(|| AuthToken {
            token: vec![1; 32],
            session_id: format!("{number:08x}"),
            expiration: 4_000_000_000,
        });
        Offer {
            service_uri: match self.conduct() {
                Conduct::ServesNowhere => "https://127.0.0.1:1/".to_owned(),
                _ => self.url.to_string(),
            },
            params: self.paid.then_some(params),
            price: self.paid.then_some(price),
            address: if self.paid { account } else { Address::ZERO },
            capabilities: self.capabilities(),
            auth_token: Some(token),
            storage: Vec::new(),
            nodes: Vec::new(),
            stream_version: u32::from(self.streams),
        }
        .to_proto()
    }

    fn capabilities(&self) -> Option<Capabilities> {
        let with_hevc = match self.conduct() {
            Conduct::TakesHevc => true,
            Conduct::TakesH264 => false,
            _ => return None,
        };
        Some(capability::describe(&capability::offered(|_| with_hevc), 1, "0.1.0"))
    }

    fn check_payment(
        &self,
        headers: &HeaderMap,
        request: &SegmentRequest,
        is_signed: impl FnOnce(&str, Address) -> bool,
    ) -> Result<(), (u16, String)> {
        let text = headers.get(header::PAYMENT).unwrap().to_str().unwrap();
        if !self.paid {
            let mut seen = self.seen.lock().unwrap();
            seen.empty_headers += usize::from(text.is_empty() && request.sig.is_empty());
            return Ok(());
        }
        let payment = header::decode_payment(text).map_err(|error| (402, error.to_string()))?;
        let payment = payment_from_proto(&payment).map_err(|error| (400, error.to_string()))?;
        if !is_signed(text, payment.sender) {
            return Err((403, "ErrSegSig".into()));
        }
        if payment.expected_price != Some(self.price) {
            return Err((400, "invalid expected price".into()));
        }
        let mut seen = self.seen.lock().unwrap();
        seen.payments.push(payment.tickets.len());
        for ticket in &payment.tickets {
            let params = payment.params.unwrap();
            if params.deployment != Some(DEPLOYMENT) {
                return Err((400, "ticket is not bound".into()));
            }
            let signed = signed_from_params(&params, payment.sender, ticket);
            if ticket_signer(&signed) != Ok(payment.sender) {
                return Err((400, "invalid ticket signature".into()));
            }
            let number = (params.recipient_rand_hash, ticket.sender_nonce);
            if seen.tickets.contains(&number) {
                return Err((400, format!("invalid ticket senderNonce: already seen {}", number.1)));
            }
            seen.tickets.push(number);
        }
        Ok(())
    }

    fn result(&self, request: &SegmentRequest, media: &Bytes) -> TranscodeResult {
        let info = Some(self.info(request.auth_token.clone()));
        let seq = i64::try_from(request.seq).unwrap();
        if let Conduct::Fails(text) = self.conduct() {
            let result = Some(transcode_result::Result::Error(text.into()));
            return TranscodeResult { seq, info, result, ..Default::default() };
        }
        let made = match self.conduct() {
            Conduct::Cheats(cheat) | Conduct::CheatsLate(cheat, _) => clip::cheated(media, &request.profiles, cheat),
            _ => self.misrepresent(clip::renditions(media, &request.profiles)),
        };
        let mut signed: Vec<Bytes> = made.iter().map(|made| made.bytes.clone()).collect();
        if self.conduct() == Conduct::OtherMedia {
            signed.reverse();
        }
        let hash = result_hash(signed.iter().map(|bytes| &bytes[..]));
        let other = KeySigner::from_bytes([0x7f; 32]).unwrap();
        let signer = if self.conduct() == Conduct::WrongSignature { &other } else { &self.signer };
        let session = &request.auth_token.as_ref().unwrap().session_id;
        let segments = request.profiles.iter().zip(&made).map(|(profile, made)| {
            let path = format!("{session}/{}/{}.ts", profile.name, request.seq);
            self.made.lock().unwrap().push((path.clone(), made.bytes.clone()));
            let base = match self.conduct() {
                Conduct::LinksElsewhere => "http://169.254.169.254/".to_owned(),
                _ => self.url.to_string(),
            };
            TranscodedSegmentData {
                url: format!("{base}stream/{path}"),
                pixels: i64::try_from(made.pixels).unwrap(),
                perceptual_hash_url: String::new(),
            }
        });
        let segments = segments.collect();
        let signs = self.paid && self.conduct() != Conduct::Unsigned;
        let sig = if signs { sign_result(hash, signer).unwrap().as_bytes().to_vec() } else { Vec::new() };
        let data = TranscodeData { segments, sig };
        let receipt = self.receipt(request, &signed);
        TranscodeResult { seq, info, result: Some(transcode_result::Result::Data(data)), receipt, ..Default::default() }
    }

    /// What it stands for, as it tells.
    fn receipt(&self, request: &SegmentRequest, made: &[Bytes]) -> Vec<u8> {
        if !self.paid || self.conduct() == Conduct::NoReceipt {
            return Vec::new();
        }
        let receipt = WorkReceipt {
            orchestrator: self.signer.address(),
            sender: KeySigner::from_bytes([0x11; 32]).unwrap().address(),
            service: TRANSCODING_H264,
            manifest: keccak256(request.manifest_id.as_str()),
            sequence: request.seq + u64::from(self.conduct() == Conduct::FalseReceipt),
            source_hash: request.hash,
            settings: settings_id(&request.profiles),
            software: software_id("test"),
            result_hashes: made.iter().map(keccak256).collect(),
            round: 7,
            deterministic: false,
        };
        encode_receipt(&receipt.sign(&RECEIPTS, &self.signer).unwrap())
    }

    fn misrepresent(&self, mut made: Vec<Made>) -> Vec<Made> {
        match self.conduct() {
            Conduct::WrongPixels => made[0].pixels += 1,
            Conduct::Incomplete => drop(made.pop()),
            Conduct::WrongSize => made[0] = made[1].clone(),
            Conduct::Garbage => made[0].bytes = Bytes::from(vec![0x47; 188 * 10]),
            _ => {}
        }
        made
    }
}

/// What it answers to a segment that it does not want, whichever way it comes.
async fn unwilling(inner: &Inner, headers: &HeaderMap) -> Option<Response> {
    inner.seen.lock().unwrap().requests += 1;
    let answer = match inner.conduct() {
        Conduct::Delays(millis) => {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            return None;
        }
        Conduct::HangsUp => {
            inner.hang_up.notify_waiters();
            return std::future::pending().await;
        }
        Conduct::Stalls => return std::future::pending().await,
        Conduct::Refuses(status, text) => refusal(status, text),
        Conduct::RefusesOnceWith(code) if inner.refused.fetch_add(1, Ordering::SeqCst) == 0 => {
            let mut refusal = refusal(403, "a text of tomorrow");
            let header = Coded::new(code, 1, 2).to_header().parse().unwrap();
            refusal.headers_mut().insert(streamflow_wire::refusal::HEADER, header);
            refusal
        }
        Conduct::ExpiredOnce if inner.refused.fetch_add(1, Ordering::SeqCst) == 0 => {
            refusal(400, "TicketParams expired")
        }
        Conduct::ExpiredOnceWithTerms if inner.refused.fetch_add(1, Ordering::SeqCst) == 0 => {
            let token =
                header::decode_segment(headers.get(header::SEGMENT).unwrap().to_str().unwrap()).unwrap().auth_token;
            let mut refusal = refusal(400, "TicketParams expired");
            let info = header::encode_info(&inner.info(token)).parse().unwrap();
            refusal.headers_mut().insert("streamflow-orchestrator-info", info);
            refusal
        }
        _ => return None,
    };
    Some(answer)
}

async fn segment(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Body) -> Response {
    if let Some(answer) = unwilling(&inner, &headers).await {
        return answer;
    }
    let data = header::decode_segment(headers.get(header::SEGMENT).unwrap().to_str().unwrap()).unwrap();
    let request = SegmentRequest::from_proto(data).unwrap();
    let is_signed = |_: &str, sender| verify_segment(&request, sender);
    if let Err((status, text)) = inner.check_payment(&headers, &request, is_signed) {
        return refusal(status, &text);
    }
    let media = axum::body::to_bytes(body, 100_000_000).await.unwrap();
    if keccak256(&media) != request.hash {
        return refusal(403, "Forbidden");
    }
    {
        let mut seen = inner.seen.lock().unwrap();
        seen.segments.push(request.seq);
        seen.fresh_decoders.push(request.force_session_reinit);
        seen.codecs.push(capability::source(request.capabilities.as_ref()));
    }
    // As the real one does: the status line says that the upload is accepted, the result comes when it is done.
    let lingers = match inner.conduct() {
        Conduct::Lingers(millis) | Conduct::CheatsLate(_, millis) => millis,
        _ => 0,
    };
    let result = async move {
        tokio::time::sleep(Duration::from_millis(lingers)).await;
        let result = tokio::task::spawn_blocking(move || inner.result(&request, &media)).await.unwrap();
        Ok::<_, Infallible>(Bytes::from(result.encode_to_vec()))
    };
    Body::from_stream(futures::stream::once(result)).into_response()
}

/// The same in frames. The whole stream is read before any frame is answered.
async fn streamed(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Body) -> Response {
    if let Some(answer) = unwilling(&inner, &headers).await {
        return answer;
    }
    let text = |name: &str| headers.get(name).unwrap().to_str().unwrap().to_owned();
    let request = SegmentRequest::from_proto(header::decode_segment(&text(header::SEGMENT)).unwrap()).unwrap();
    let is_signed = |payment: &str, sender| verify_stream_head(&request, payment, sender);
    if let Err((status, text)) = inner.check_payment(&headers, &request, is_signed) {
        return refusal(status, &text);
    }
    let head = StreamHead::new(&request, &text(header::PAYMENT));
    let answer = async move {
        if inner.conduct() == Conduct::Streams(Break::Hasty) {
            let result = DownFrame::Result(Box::default()).to_bytes();
            return futures::stream::once(async { Ok(result) }).boxed();
        }
        let Some((media, trailer)) = read_stream(&inner, body).await else {
            inner.seen.lock().unwrap().cut_off += 1;
            let failure = StreamFailure { text: "the segment did not come".into(), ..StreamFailure::default() };
            let failure = DownFrame::Failure(Box::new(failure)).to_bytes();
            return futures::stream::once(async { Ok(failure) }).boxed();
        };
        inner.end_of(request, head, media, trailer).await
    };
    Body::from_stream(futures::stream::once(answer).flatten()).into_response()
}

type Frames = futures::stream::BoxStream<'static, Result<Bytes, Infallible>>;

impl Inner {
    /// What is answered to a stream that ended well.
    async fn end_of(
        self: Arc<Self>,
        request: SegmentRequest,
        head: StreamHead,
        media: Bytes,
        trailer: StreamTrailer,
    ) -> Frames {
        let inner = self;
        assert_eq!((trailer.length, trailer.hash), (media.len() as u64, keccak256(&media)));
        let sender = KeySigner::from_bytes([0x11; 32]).unwrap().address();
        assert_eq!(trailer.is_signed_by(&head, sender), inner.paid);
        let request = SegmentRequest { hash: trailer.hash, ..request };
        let made = {
            let (media, profiles) = (media.clone(), request.profiles.clone());
            tokio::task::spawn_blocking(move || clip::renditions(&media, &profiles)).await.unwrap()
        };
        let (frames, result) = inner.answer(&request, &head, &trailer, made);
        let (then, lingers, stalls) = match inner.conduct() {
            Conduct::Streams(Break::Lingers(millis)) => (result, millis, false),
            Conduct::Streams(Break::Stalls) => (None, 0, true),
            Conduct::Streams(Break::NoEnd) => (None, 0, false),
            _ => (result, 0, false),
        };
        let seen = inner.clone();
        let first = futures::stream::iter(frames.into_iter().map(Ok::<_, Infallible>));
        let last = async move {
            {
                let mut seen = seen.seen.lock().unwrap();
                seen.segments.push(request.seq);
                seen.streamed += 1;
            }
            tokio::time::sleep(Duration::from_millis(lingers)).await;
            if stalls {
                std::future::pending::<()>().await;
            }
            Ok(then.unwrap_or_default())
        };
        first.chain(futures::stream::once(last)).boxed()
    }
}

/// None of a stream without a trailer.
async fn read_stream(inner: &Inner, body: Body) -> Option<(Bytes, StreamTrailer)> {
    let (mut reader, mut body, mut media) = (FrameReader::default(), body.into_data_stream(), Vec::new());
    loop {
        match reader.next_up().unwrap() {
            Some(UpFrame::Media(bytes)) => {
                inner.seen.lock().unwrap().coming += bytes.len();
                media.extend_from_slice(&bytes);
            }
            Some(UpFrame::Trailer(trailer)) => return Some((media.into(), trailer)),
            None => reader.push(&body.next().await?.ok()?),
        }
    }
}

impl Inner {
    /// Pieces, and how it ends.
    fn answer(
        &self,
        request: &SegmentRequest,
        head: &StreamHead,
        trailer: &StreamTrailer,
        made: Vec<Made>,
    ) -> (Vec<Bytes>, Option<Bytes>) {
        let info = Some(self.info(request.auth_token.clone()));
        let pieces = |made: &[Made]| -> Vec<Bytes> {
            let all = made.iter().enumerate();
            all.flat_map(|(index, made)| DownFrame::pieces(index, made.bytes.clone())).map(|f| f.to_bytes()).collect()
        };
        let mut frames = pieces(&made);
        let mut told: Vec<_> = made.iter().map(|made| made.bytes.clone()).collect();
        match self.conduct() {
            Conduct::Streams(Break::Garbage) => frames = vec![Bytes::from_static(b"HTTP/1.1 200 OK")],
            Conduct::Streams(Break::OtherBytes) => told.reverse(),
            Conduct::Streams(Break::Endless) => {
                let more = DownFrame::pieces(0, vec![0; 16 << 20].into()).map(|frame| frame.to_bytes());
                frames.extend(more);
            }
            Conduct::Streams(Break::OneMore) => {
                frames.extend(DownFrame::pieces(made.len(), Bytes::from_static(b"x")).map(|frame| frame.to_bytes()));
            }
            Conduct::Streams(Break::Again) => {
                let void = [frames.clone(), vec![DownFrame::Again.to_bytes()]].concat();
                frames.splice(0..0, void);
            }
            Conduct::Streams(Break::AgainAndAgain) => frames = vec![DownFrame::Again.to_bytes(); 100],
            Conduct::Streams(Break::Fails) => {
                let failure = StreamFailure { text: "TranscoderBusy".into(), charged: 0, info, refusal: None };
                return (frames, Some(DownFrame::Failure(Box::new(failure)).to_bytes()));
            }
            Conduct::Streams(Break::DeniesTrailer) => {
                let refusal = Some(Coded::new(Code::StreamTrailerWrong, "one hash", "another"));
                let failure = StreamFailure { text: "no".into(), charged: 1000, info, refusal };
                return (frames, Some(DownFrame::Failure(Box::new(failure)).to_bytes()));
            }
            _ => {}
        }
        let told_of = |(bytes, made): (&Bytes, &Made)| StreamedRendition {
            hash: keccak256(bytes),
            length: bytes.len() as u64,
            pixels: made.pixels,
        };
        let renditions: Vec<_> = told.iter().zip(&made).map(told_of).collect();
        let other = KeySigner::from_bytes([0x7f; 32]).unwrap();
        let signer = if self.conduct() == Conduct::WrongSignature { &other } else { &self.signer };
        let signature = self.paid.then(|| sign_stream_result(head, trailer, &renditions, signer).unwrap());
        let result = StreamResult { renditions, signature, receipt: self.receipt(request, &told), info };
        (frames, Some(DownFrame::Result(Box::new(result)).to_bytes()))
    }
}

fn refusal(status: u16, text: &str) -> Response {
    (StatusCode::from_u16(status).unwrap(), format!("{text}\n")).into_response()
}

async fn rendition(
    State(inner): State<Arc<Inner>>,
    Path((session, profile, file)): Path<(String, String, String)>,
) -> Response {
    let path = format!("{session}/{profile}/{file}");
    inner.seen.lock().unwrap().fetched += 1;
    let made = inner.made.lock().unwrap();
    match made.iter().rev().find(|(known, _)| *known == path) {
        Some((_, bytes)) => bytes.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
