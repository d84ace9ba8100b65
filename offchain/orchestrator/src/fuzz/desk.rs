//! A service as a node has it, and requests as they reach it.
use std::{convert::Infallible, fmt, sync::Arc, time::Instant};

use alloy_primitives::{Address, B256, U256, keccak256};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
};
use bytes::Bytes;
use futures::stream;
use prost::Message as _;
use streamflow_pm::{KeySigner, QuoteDomain, QuoteSecret, Sender, SenderLimits, TicketSigner};
use streamflow_store::Store;
use streamflow_types::{ChainView, Job, Price, Profile, Round, Secret, SenderFunds, VideoCodec};
use streamflow_wire::{
    AuthTokens, Refusal, SegmentRequest, capability,
    jobs::{JobSegment, issue_credentials},
    payment_to_proto, proto, refusal, sign_segment,
};
use tokio::{runtime::Runtime, sync::watch};
use tower::ServiceExt as _;

use crate::{
    ChainDeps, Deps, FundsFuture, JobFuture, JobSource, JobsConfig, OrchestratorConfig, QuotaConfig, Rendition,
    SenderFundsSource, Transcode, TranscodeFuture, TranscodeJob, grpc, http,
    jobs::{Jobs, session_key},
    listener::Routes,
    orchestrator,
    service::{Service, token_key},
};

pub(super) const SECRET: &str = "swordfish";
/// What the job is called, and the manifest that is paid for.
pub(super) const MANIFEST: &str = "clip";
pub(super) const STREAM: &str = "a stream / of 2018";
/// Of the token of [`segment`].
pub(super) const SESSION: &str = "01010101";
/// Wei per pixel: the tickets for the session are worth thousands of segments.
const PRICE: u64 = 100;
const NOW: u64 = 1_700_000_000;
const NODE: [u8; 32] = [7; 32];
/// Longest answer that is looked at, and longest refusal that is told.
const MAX_ANSWER: usize = 1 << 20;
const MAX_REFUSAL: usize = 4096;

/// Renditions that are the segment itself.
#[derive(Debug)]
struct Echo;

impl Transcode for Echo {
    fn transcode(&self, job: TranscodeJob) -> TranscodeFuture<'_> {
        let rendition = |_| Rendition { data: job.input.clone(), pixels: 1 };
        let renditions = job.profiles.iter().map(rendition).collect();
        Box::pin(async move { Ok(renditions) })
    }

    fn end_session(&self, _session_id: &str) {}
}

/// Everybody has enough.
#[derive(Debug)]
struct Rich;

impl SenderFundsSource for Rich {
    fn funds(&self, _sender: Address) -> FundsFuture<'_> {
        Box::pin(async { Ok(funds()) })
    }
}

fn funds() -> SenderFunds {
    let ether = U256::from(100_000_000_000_000_000_000_u128);
    SenderFunds { deposit: ether, reserve: ether, pool_size: 1, ..SenderFunds::default() }
}

/// One job, number 7.
#[derive(Debug)]
struct OneJob;

impl JobSource for OneJob {
    fn job(&self, id: u64) -> JobFuture<'_> {
        let job = Job {
            id,
            broadcaster: broadcaster().address(),
            orchestrator: orchestrator_key().address(),
            creation_block: 900,
            end_block: 1100,
            max_price_per_unit: U256::from(10_000_000),
            stream_id: STREAM.into(),
            transcoding_options: "P240p30fps16x9".into(),
        };
        Box::pin(async move { Ok(Some(job).filter(|job| job.id == 7)) })
    }
}

fn view() -> ChainView {
    ChainView {
        block: 1000,
        round: Round(10),
        round_block_hash: B256::repeat_byte(0x77),
        round_initialized: true,
        pool_size: 1,
        base_fee: 10_000_000,
    }
}

fn broadcaster() -> KeySigner {
    KeySigner::from_bytes([0x0b; 32]).unwrap()
}

fn orchestrator_key() -> KeySigner {
    KeySigner::from_bytes([0x0a; 32]).unwrap()
}

/// An answer, read to its end.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// Taken, or refused with a code and no more text than a peer can use.
    pub(super) fn is_taken_or_coded(&self) -> bool {
        let coded = || {
            let header = self.headers.get(refusal::HEADER)?.to_str().ok()?;
            Refusal::from_header(header).filter(|_| self.body.len() <= MAX_REFUSAL)
        };
        self.status == StatusCode::OK || coded().is_some()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {:?}", self.status, self.headers, self.body)
    }
}

/// What a desk is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Transcodes by itself, and is paid.
    Paid,
    /// Transcodes by itself.
    Free,
    /// Its transcoders are remote.
    OfTranscoders,
}

/// A node without its port.
pub(super) struct Desk {
    pub(super) runtime: Runtime,
    pub(super) service: Service,
    pub(super) http: Router,
    pub(super) grpc: Router,
    /// A payment that this node quoted, and that it has taken if there is a chain.
    pub(super) payment: Vec<u8>,
}

impl Desk {
    pub(super) fn new(kind: Kind) -> Self {
        let local = (kind != Kind::OfTranscoders).then(|| Arc::new(Echo) as Arc<dyn Transcode>);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let config = OrchestratorConfig {
            price: Price::new(PRICE, 1).unwrap(),
            transcoder_secret: Secret::new(SECRET),
            jobs_2018: JobsConfig { enabled: true, broadcasters: vec![broadcaster().address()] },
            // They would stop what is under test.
            quotas: QuotaConfig {
                segments_per_second: u32::MAX,
                segment_burst: u32::MAX,
                bytes_per_second: u64::MAX,
                byte_burst: u64::MAX,
                max_uploads: usize::MAX,
                max_unfetched_bytes: u64::MAX,
                quotes_per_second: u32::MAX,
                quote_burst: u32::MAX,
            },
            ..OrchestratorConfig::default()
        };
        let (service, payment) = runtime.block_on(async {
            let chain = if kind == Kind::Paid { Some(chain().await) } else { None };
            let deps = Deps { chain, local, secret: NODE, data_dir: std::env::temp_dir(), clock: Arc::new(|| NOW) };
            let uri = "https://127.0.0.1:8935".parse().unwrap();
            let service = orchestrator::service(config, deps, Secret::new(SECRET), &uri).unwrap();
            let payment = pay(&service).await;
            (service, payment)
        });
        let (grpc, http) = (grpc::router(service.clone()), http::router(service.clone()));
        let mut routes = Routes { grpc, http, grpc_timeout: std::time::Duration::from_secs(10) };
        if let Some(jobs) = Jobs::new(service.clone(), Arc::new(OneJob), session_key(&NODE)) {
            routes = jobs.add_to(routes);
        }
        Self { runtime, service, http: routes.http, grpc: routes.grpc, payment }
    }

    /// Posts a body in pieces, and reads the answer.
    pub(super) async fn post(&self, path: &str, headers: HeaderMap, body: &[u8], piece: usize) -> Answer {
        let request = request(path, headers, body, piece);
        let (parts, body) = self.http.clone().oneshot(request).await.unwrap().into_parts();
        let body = to_bytes(body, MAX_ANSWER).await.expect("a bounded answer");
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Whether no request holds bytes any more.
    pub(super) async fn holds_nothing(&self) -> bool {
        let intake = self.service.intake();
        for _ in 0..1000 {
            if intake.budget().share().grow(intake.limits().max_buffered_bytes as usize).is_ok() {
                return true;
            }
            tokio::task::yield_now().await;
        }
        false
    }
}

/// A request whose body comes in pieces.
pub(super) fn request(path: &str, headers: HeaderMap, body: &[u8], piece: usize) -> Request {
    let pieces: Vec<_> = body.chunks(piece).map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece))).collect();
    let mut request = Request::post(path).body(Body::from_stream(stream::iter(pieces))).unwrap();
    *request.headers_mut() = headers;
    request
}

/// Lines of a head, as far as they can be such.
pub(super) fn headers(text: &str) -> HeaderMap {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    let pairs = pairs.filter_map(|(name, value)| {
        let name: HeaderName = name.trim().parse().ok()?;
        Some((name, HeaderValue::from_bytes(value.trim().as_bytes()).ok()?))
    });
    pairs.take(64).collect()
}

async fn chain() -> ChainDeps {
    ChainDeps {
        view: watch::Sender::new(Some(view())).subscribe(),
        active: watch::Sender::new(true).subscribe(),
        funds: Arc::new(Rich),
        signer: Arc::new(orchestrator_key()),
        domain: QuoteDomain { chain_id: 31337, broker: Address::repeat_byte(0xbb) },
        secrets: watch::Sender::new(QuoteSecret::new([7; 32]).into()).subscribe(),
        deployment: None,
        late_blocks: 10,
        receipts: None,
        store: Store::in_memory().await.unwrap(),
        rpc: "http://rpc.example".into(),
    }
}

/// A payment of two tickets for [`MANIFEST`], which the service has taken once; and one for the session of [`segment`].
async fn pay(service: &Service) -> Vec<u8> {
    let Some(payments) = service.payments() else { return Vec::new() };
    let (limits, price) = (
        SenderLimits { max_ticket_ev: U256::MAX, max_total_ev: U256::MAX, ..Default::default() },
        service.config().price,
    );
    let sender = Sender::new(Arc::new(broadcaster()), limits);
    let params = payments.quote(broadcaster().address(), price).await.unwrap();
    let session = sender.start_session(params, Instant::now()).unwrap();
    let pay = |tickets| sender.pay(session, tickets, price, &funds(), &view(), Instant::now()).unwrap();
    payments.receive(pay(100), SESSION).await.unwrap();
    let payment = pay(2);
    payments.receive(payment.clone(), MANIFEST).await.unwrap();
    payment_to_proto(&payment).encode_to_vec()
}

/// A payment without tickets: what was paid before is used.
pub(super) fn nothing_more() -> Vec<u8> {
    let expected_price =
        Some(proto::PriceInfo { price_per_unit: PRICE as i64, pixels_per_unit: 1, ..Default::default() });
    proto::Payment { sender: broadcaster().address().to_vec(), expected_price, ..Default::default() }.encode_to_vec()
}

/// What goes into the header of a segment with this body, signed.
pub(super) fn segment(body: &[u8]) -> Vec<u8> {
    let profiles = vec![Profile::preset("P240p30fps16x9").unwrap(), Profile::preset("P144p30fps16x9").unwrap()];
    let token = AuthTokens::new(token_key(&NODE)).issue([1; 4], NOW as i64);
    let mut request = SegmentRequest {
        auth_token: Some(token),
        capabilities: Some(capability::job(VideoCodec::H264, &profiles, false)),
        ..SegmentRequest::new(MANIFEST.parse().unwrap(), 7, keccak256(body), profiles, 2000)
    };
    sign_segment(&mut request, &broadcaster()).unwrap();
    request.to_proto().encode_to_vec()
}

/// Headers of a segment of job 7.
pub(super) fn job_headers(body: &[u8]) -> String {
    let segment = JobSegment::signed(STREAM, 3, keccak256(body), &broadcaster()).unwrap();
    let credentials = issue_credentials(7, &orchestrator_key()).unwrap();
    format!(
        "Authorization: Livepeer-Eth-1\nCredentials: {credentials}\nLivepeer-Segment: {}\nContent-Type: video/MP2T\n",
        segment.to_header()
    )
}
