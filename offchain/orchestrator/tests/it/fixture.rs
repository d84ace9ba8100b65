//! A running orchestrator and a broadcaster that knows how to pay it.
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use alloy_primitives::{Address, B256, U256, keccak256};
use bytes::Bytes;
use prost::Message;
use streamflow_orchestrator::{
    ChainDeps, Deps, FundsFuture, FundsUnavailable, Handle, Orchestrator, OrchestratorConfig, SenderFundsSource,
    TicketConfig, Transcode,
};
use streamflow_pm::{
    KeySigner, Payment, QuoteDomain, QuoteSecret, QuoteSecrets, ReceiptDomain, Sender, SenderLimits, TicketSigner,
};
use streamflow_store::Store;
use streamflow_types::{ChainView, Price, Profile, Round, Secret, SenderFunds, VideoCodec};
use streamflow_wire::{
    Offer, SegmentRequest, capability, header, payment_to_proto,
    proto::{self, orchestrator_client::OrchestratorClient, transcode_result::Result as Answer},
    sign_request, sign_segment,
};
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{
    Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::{clip, jobs::Jobs};

pub(crate) const SECRET: &str = "swordfish";
pub(crate) const START: u64 = 1_700_000_000;

/// Tag of the contract that tickets are for.
pub(crate) const DEPLOYMENT: B256 = B256::repeat_byte(0xd0);

/// Where receipts of this node count.
pub(crate) const RECEIPTS: ReceiptDomain = ReceiptDomain { chain_id: 31337, contract: Address::repeat_byte(0x5a) };

/// Funds that a test sets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Funds(Arc<Mutex<SenderFunds>>, Arc<AtomicBool>);

impl Funds {
    pub(crate) fn set(&self, change: impl FnOnce(&mut SenderFunds)) {
        change(&mut self.0.lock().unwrap());
    }

    /// The chain does not tell them any more.
    pub(crate) fn silence(&self) {
        self.1.store(true, Ordering::SeqCst);
    }

    pub(crate) fn get(&self) -> SenderFunds {
        *self.0.lock().unwrap()
    }
}

impl SenderFundsSource for Funds {
    fn funds(&self, _sender: Address) -> FundsFuture<'_> {
        Box::pin(async {
            match self.1.load(Ordering::SeqCst) {
                true => Err(FundsUnavailable("no answer of postgres://user:pw@10.0.0.7:5432/chain".into())),
                false => Ok(self.get()),
            }
        })
    }
}

/// What outlives an orchestrator's process: its disk, its chain, its keys.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) store: Store,
    pub(crate) chain: watch::Sender<Option<ChainView>>,
    pub(crate) active: watch::Sender<bool>,
    pub(crate) funds: Funds,
    pub(crate) secrets: watch::Sender<QuoteSecrets>,
    pub(crate) time: Arc<AtomicU64>,
    pub(crate) local: Option<Arc<dyn Transcode>>,
    pub(crate) with_chain: bool,
    pub(crate) jobs: Jobs,
}

pub(crate) fn view() -> ChainView {
    ChainView {
        block: 1000,
        round: Round(10),
        round_block_hash: B256::repeat_byte(0x77),
        round_initialized: true,
        pool_size: 1,
        base_fee: 10_000_000,
    }
}

pub(crate) fn ether(amount: u64) -> U256 {
    U256::from(amount) * U256::from(1_000_000_000_000_000_000_u64)
}

pub(crate) fn orchestrator_key() -> KeySigner {
    KeySigner::from_bytes([0x0a; 32]).unwrap()
}

/// Nine of ten tickets win; one is worth 3.15e14 wei, which is four segments and a bit.
pub(crate) fn config() -> OrchestratorConfig {
    OrchestratorConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        price: Price::new(10_000_000, 1).unwrap(),
        tickets: TicketConfig { ev: U256::from(315_000_000_000_000_u64), ..Default::default() },
        transcoder_secret: Secret::new(SECRET),
        ..Default::default()
    }
}

impl World {
    /// Remote transcoders only.
    pub(crate) async fn new() -> Self {
        let funds = Funds::default();
        funds.set(|funds| {
            *funds = SenderFunds { deposit: ether(1), reserve: ether(1), pool_size: 1, ..SenderFunds::default() };
        });
        Self {
            dir: tempfile::tempdir().unwrap(),
            store: Store::in_memory().await.unwrap(),
            chain: watch::Sender::new(Some(view())),
            active: watch::Sender::new(true),
            funds,
            secrets: watch::Sender::new(QuoteSecret::new([7; 32]).into()),
            time: Arc::new(AtomicU64::new(START)),
            local: None,
            with_chain: true,
            jobs: Jobs::default(),
        }
    }

    /// A worker process of this machine.
    pub(crate) async fn with_video() -> Self {
        let local: Arc<dyn Transcode> = Arc::new(clip::InProcess(clip::local_transcoder().await));
        Self { local: Some(local), ..Self::new().await }
    }

    pub(crate) async fn start(&self) -> Running {
        self.start_with(config()).await
    }

    pub(crate) async fn start_with(&self, config: OrchestratorConfig) -> Running {
        let chain = self.with_chain.then(|| ChainDeps {
            view: self.chain.subscribe(),
            active: self.active.subscribe(),
            funds: Arc::new(self.funds.clone()),
            signer: Arc::new(orchestrator_key()),
            domain: QuoteDomain { chain_id: 31337, broker: Address::repeat_byte(0xbb) },
            secrets: self.secrets.subscribe(),
            deployment: Some(DEPLOYMENT),
            late_blocks: 10,
            receipts: Some(RECEIPTS),
            store: self.store.clone(),
            rpc: "http://rpc.example:8545".into(),
        });
        let time = Arc::clone(&self.time);
        let deps = Deps {
            chain,
            local: self.local.clone(),
            secret: [7; 32],
            data_dir: self.dir.path().to_owned(),
            clock: Arc::new(move || time.load(Ordering::SeqCst)),
        };
        let with_jobs = config.jobs_2018.enabled;
        let mut orchestrator = Orchestrator::bind(config, deps).await.unwrap();
        if with_jobs {
            orchestrator = orchestrator.with_jobs(Arc::new(self.jobs.clone())).unwrap();
        }
        let (address, handle, stop) = (orchestrator.local_addr(), orchestrator.handle(), CancellationToken::new());
        let task = tokio::spawn(orchestrator.run(stop.clone()));
        let certificate = std::fs::read(self.dir.path().join("127.0.0.1.cert.pem")).unwrap();
        Running { address, handle, stop, task: Some(task), certificate }
    }

    pub(crate) async fn winners(&self) -> u64 {
        self.store.ticket_total(streamflow_store::TicketStatus::Pending).await.unwrap().count
    }
}

/// A running orchestrator; stops when dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) handle: Handle,
    pub(crate) stop: CancellationToken,
    task: Option<JoinHandle<()>>,
    pub(crate) certificate: Vec<u8>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Running {
    pub(crate) async fn stopped(mut self) {
        self.stop.cancel();
        let task = self.task.take().unwrap();
        tokio::time::timeout(Duration::from_secs(60), task).await.unwrap().unwrap();
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// Trusts this orchestrator's certificate and no other.
    pub(crate) fn http(&self) -> reqwest::ClientBuilder {
        reqwest::Client::builder().tls_certs_only([reqwest::Certificate::from_pem(&self.certificate).unwrap()])
    }

    pub(crate) async fn channel(&self) -> Channel {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.certificate));
        let endpoint = Endpoint::from_shared(self.url("")).unwrap().tls_config(tls).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub(crate) async fn grpc(&self) -> OrchestratorClient<Channel> {
        OrchestratorClient::new(self.channel().await)
    }

    pub(crate) async fn wait_for_transcoders(&self, count: usize) {
        for _ in 0..600 {
            if self.handle.transcoders() == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{} transcoders instead of {count}", self.handle.transcoders());
    }
}

/// An answer to POST /segment or /payment.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

impl Reply {
    /// All of it, when it is there.
    pub(crate) async fn of(response: reqwest::Response) -> Self {
        Self { status: response.status().as_u16(), body: response.bytes().await.unwrap() }
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The result of a segment that was taken.
    pub(crate) fn result(&self) -> proto::TranscodeResult {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        proto::TranscodeResult::decode(self.body.clone()).unwrap()
    }

    pub(crate) fn data(&self) -> proto::TranscodeData {
        match self.result().result.unwrap() {
            Answer::Data(data) => data,
            Answer::Error(error) => panic!("{error}"),
        }
    }

    pub(crate) fn error(&self) -> String {
        match self.result().result.unwrap() {
            Answer::Error(error) => error,
            Answer::Data(_) => panic!("the segment was transcoded"),
        }
    }
}

/// A broadcaster.
pub(crate) struct Broadcaster {
    pub(crate) key: Arc<KeySigner>,
    pub(crate) sender: Sender,
    pub(crate) http: reqwest::Client,
    pub(crate) profiles: Vec<Profile>,
}

impl Broadcaster {
    pub(crate) fn new(orchestrator: &Running) -> Self {
        Self::with_key(orchestrator, 0x0b)
    }

    pub(crate) fn with_key(orchestrator: &Running, byte: u8) -> Self {
        let key = Arc::new(KeySigner::from_bytes([byte; 32]).unwrap());
        let limits = SenderLimits { max_ticket_ev: U256::MAX, max_total_ev: U256::MAX, ..Default::default() };
        Self {
            sender: Sender::new(key.clone(), limits),
            key,
            http: orchestrator.http().build().unwrap(),
            profiles: clip::profiles(),
        }
    }

    /// What the orchestrator is and costs.
    pub(crate) async fn offer(&self, orchestrator: &Running) -> Offer {
        let request = sign_request(self.key.as_ref(), None).unwrap();
        let info = orchestrator.grpc().await.get_orchestrator(request).await.unwrap().into_inner();
        Offer::from_proto(info).unwrap()
    }

    /// The same, with the job that it is asked for.
    pub(crate) async fn job_offer(&self, orchestrator: &Running) -> Result<Offer, Status> {
        let job = capability::job(VideoCodec::H264, &self.profiles, false);
        let request = sign_request(self.key.as_ref(), Some(job)).unwrap();
        let info = orchestrator.grpc().await.get_orchestrator(request).await?.into_inner();
        Ok(Offer::from_proto(info).unwrap())
    }

    pub(crate) fn pay(&self, offer: &Offer, tickets: usize) -> Payment {
        let funds = SenderFunds { deposit: ether(100), reserve: ether(100), pool_size: 1, ..Default::default() };
        let session = self.sender.start_session(offer.params.unwrap(), Instant::now()).unwrap();
        self.sender.pay(session, tickets, offer.price.unwrap(), &funds, &view(), Instant::now()).unwrap()
    }

    /// What goes into the segment header, signed.
    pub(crate) fn request(&self, offer: &Offer, seq: u64, body: &[u8]) -> SegmentRequest {
        let mut request = SegmentRequest {
            auth_token: offer.auth_token.clone(),
            capabilities: Some(capability::job(VideoCodec::H264, &self.profiles, false)),
            ..SegmentRequest::new("clip".parse().unwrap(), seq, keccak256(body), self.profiles.clone(), 2000)
        };
        self.sign(&mut request);
        request
    }

    /// The same of another stream: terms that are renewed take over the place of the stream that they are used for.
    pub(crate) fn request_of(&self, stream: &str, offer: &Offer, seq: u64, body: &[u8]) -> SegmentRequest {
        let mut request = SegmentRequest { manifest_id: stream.parse().unwrap(), ..self.request(offer, seq, body) };
        self.sign(&mut request);
        request
    }

    pub(crate) fn sign(&self, request: &mut SegmentRequest) {
        sign_segment(request, self.key.as_ref()).unwrap();
    }

    /// The request as it leaves, for tests that change it.
    pub(crate) fn draft(&self, orchestrator: &Running, payment: &Payment, request: &SegmentRequest) -> Draft {
        Draft {
            url: orchestrator.url("/segment"),
            payment: header::encode_payment(&payment_to_proto(payment)),
            segment: header::encode_segment(&request.to_proto()),
        }
    }

    pub(crate) async fn send(&self, draft: &Draft, body: impl Into<reqwest::Body>) -> Reply {
        Reply::of(self.start(draft, body).await).await
    }

    /// Returns when the head of the answer is there.
    pub(crate) async fn start(&self, draft: &Draft, body: impl Into<reqwest::Body>) -> reqwest::Response {
        let request = self.http.post(&draft.url).header(header::PAYMENT, &draft.payment);
        request.header(header::SEGMENT, &draft.segment).body(body).send().await.unwrap()
    }

    /// Pays with `tickets` and sends a segment.
    pub(crate) async fn segment(&self, at: &Running, offer: &Offer, tickets: usize, seq: u64, body: &Bytes) -> Reply {
        Reply::of(self.begin(at, offer, tickets, seq, body).await).await
    }

    /// The same, until the head of the answer is there.
    pub(crate) async fn begin(
        &self,
        at: &Running,
        offer: &Offer,
        tickets: usize,
        seq: u64,
        body: &Bytes,
    ) -> reqwest::Response {
        let draft = self.draft(at, &self.pay(offer, tickets), &self.request(offer, seq, body));
        self.start(&draft, body.clone()).await
    }

    pub(crate) fn address(&self) -> Address {
        self.key.address()
    }
}

/// A request to /segment or /payment.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) url: String,
    pub(crate) payment: String,
    pub(crate) segment: String,
}
