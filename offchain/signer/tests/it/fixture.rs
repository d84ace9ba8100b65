//! A running signer on loopback, and what its clients send.
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use alloy_primitives::{Address, B256, U256, eip191_hash_message};
use axum::{Json, Router, extract::State, routing::post};
use base64::{Engine, engine::general_purpose::STANDARD};
use prost::Message;
use serde_json::{Value, json};
use streamflow_pm::{KeySigner, Payment, SignError, TicketSigner};
use streamflow_signer::{Deps, Handle, Registered, Roster, Signer, SignerConfig};
use streamflow_types::{ChainView, Expiration, Price, Round, SenderFunds, Signature65, TicketParams, WinProb};
use streamflow_wire::{Offer, header, payment_from_proto, proto};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use url::Url;

pub(crate) const START: u64 = 1_700_000_000;
pub(crate) const ORCHESTRATOR: Address = Address::repeat_byte(9);
pub(crate) const SERVICE_URI: &str = "https://o.example:8935";

pub(crate) fn view() -> ChainView {
    ChainView {
        block: 1000,
        round: Round(10),
        round_block_hash: B256::repeat_byte(0x77),
        round_initialized: true,
        pool_size: 1,
        base_fee: 1000,
    }
}

pub(crate) fn funds() -> SenderFunds {
    let wei = U256::from(1_000_000_000_000_u64);
    SenderFunds { deposit: wei, reserve: wei, pool_size: 1, ..SenderFunds::default() }
}

pub(crate) fn active(orchestrators: &[Address]) -> Arc<Roster> {
    let known = Registered { service_uri: Some(SERVICE_URI.parse().unwrap()), active: true };
    Arc::new(orchestrators.iter().map(|address| (*address, known.clone())).collect())
}

/// Counts what it signs.
pub(crate) struct CountingKey {
    key: KeySigner,
    signed: AtomicUsize,
}

impl CountingKey {
    pub(crate) fn signed(&self) -> usize {
        self.signed.load(Ordering::SeqCst)
    }
}

impl TicketSigner for CountingKey {
    fn address(&self) -> Address {
        self.key.address()
    }

    fn sign_hash(&self, hash: B256) -> Result<Signature65, SignError> {
        self.signed.fetch_add(1, Ordering::SeqCst);
        self.key.sign_hash(hash)
    }
}

/// What a signer is started with.
pub(crate) struct Setup {
    pub(crate) config: SignerConfig,
    pub(crate) chain: Option<ChainView>,
    pub(crate) funds: Option<SenderFunds>,
    pub(crate) roster: Option<Arc<Roster>>,
}

impl Default for Setup {
    fn default() -> Self {
        let config = SignerConfig { listen: "127.0.0.1:0".parse().unwrap(), ..SignerConfig::default() };
        Self { config, chain: Some(view()), funds: Some(funds()), roster: Some(active(&[ORCHESTRATOR])) }
    }
}

impl Setup {
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(crate) async fn start(self) -> Running {
        let key = Arc::new(CountingKey { key: KeySigner::from_bytes([0x11; 32]).unwrap(), signed: Default::default() });
        let nanos = Arc::new(AtomicU64::new(Duration::from_secs(START).as_nanos() as u64));
        let (chain, chain_view) = watch::channel(self.chain);
        let (funds, funds_view) = watch::channel(self.funds);
        let (roster, roster_view) = watch::channel(self.roster);
        let time = nanos.clone();
        let deps = Deps {
            signer: key.clone(),
            chain: chain_view,
            funds: funds_view,
            roster: roster_view,
            deployment: None,
            fence: None,
            clock: Arc::new(move || Duration::from_nanos(time.load(Ordering::SeqCst))),
        };
        let signer = Signer::bind(self.config, deps).await.unwrap();
        let (url, handle) = (format!("http://{}", signer.local_addr()), signer.handle());
        let stop = CancellationToken::new();
        let task = tokio::spawn(signer.run(stop.clone()));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Running { url, handle, key, nanos, chain, funds, roster, http, stop, task }
    }
}

pub(crate) struct Running {
    pub(crate) url: String,
    pub(crate) handle: Handle,
    pub(crate) key: Arc<CountingKey>,
    nanos: Arc<AtomicU64>,
    pub(crate) chain: watch::Sender<Option<ChainView>>,
    pub(crate) funds: watch::Sender<Option<SenderFunds>>,
    pub(crate) roster: watch::Sender<Option<Arc<Roster>>>,
    pub(crate) http: reqwest::Client,
    stop: CancellationToken,
    task: JoinHandle<Result<(), streamflow_signer::SignerError>>,
}

impl Running {
    pub(crate) fn advance(&self, time: Duration) {
        self.nanos.fetch_add(time.as_nanos() as u64, Ordering::SeqCst);
    }

    /// Unix seconds.
    pub(crate) fn now(&self) -> i64 {
        (self.nanos.load(Ordering::SeqCst) / 1_000_000_000) as i64
    }

    pub(crate) async fn pay(&self, body: &Value) -> Reply {
        self.pay_as(body, &[]).await
    }

    pub(crate) async fn pay_as(&self, body: &Value, headers: &[(&str, &str)]) -> Reply {
        let mut request = self.http.post(format!("{}/generate-live-payment", self.url)).body(body.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Reply::read(request.send().await.unwrap()).await
    }

    /// A state of this signer's making.
    pub(crate) fn state(&self, blob: &Value) -> Value {
        let bytes = blob.to_string().into_bytes();
        let sig = self.key.key.sign_hash(eip191_hash_message(&bytes)).unwrap();
        json!({ "State": STANDARD.encode(bytes), "Sig": STANDARD.encode(sig.as_bytes()) })
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(30), self.task).await.unwrap().unwrap().unwrap();
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: axum::http::HeaderMap,
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) async fn read(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, body: response.json().await.unwrap() }
    }

    pub(crate) fn ok(&self) -> &Self {
        assert_eq!(self.status, 200, "{}", self.body);
        self
    }

    pub(crate) fn refused(&self) -> (u16, &str) {
        let message = self.body["error"]["message"].as_str();
        (self.status, message.unwrap_or_else(|| panic!("answered {}, not refused", self.status)))
    }

    pub(crate) fn state(&self) -> &Value {
        &self.body["state"]
    }

    /// The state in clear.
    pub(crate) fn blob(&self) -> Value {
        serde_json::from_slice(&STANDARD.decode(self.state()["State"].as_str().unwrap()).unwrap()).unwrap()
    }

    pub(crate) fn payment(&self) -> Payment {
        let text = self.ok().body["payment"].as_str().unwrap();
        payment_from_proto(&header::decode_payment(text).unwrap()).unwrap()
    }

    pub(crate) fn nonces(&self) -> Vec<u32> {
        self.payment().tickets.iter().map(|ticket| ticket.sender_nonce).collect()
    }

    /// Tickets and the balance after them.
    pub(crate) fn outcome(&self) -> (usize, String) {
        (self.payment().tickets.len(), self.blob()["Balance"].as_str().unwrap().to_owned())
    }
}

/// Terms whose tickets are worth `ev` wei each, exactly: 2^256 − 1 is a multiple of 3.
pub(crate) fn params(ev: u64) -> TicketParams {
    TicketParams {
        recipient: ORCHESTRATOR,
        face_value: U256::from(3 * ev),
        win_prob: WinProb(U256::MAX / U256::from(3)),
        recipient_rand_hash: B256::repeat_byte(5),
        seed: U256::from(1),
        expiration_block: view().block + 40,
        expiration: Expiration { creation_round: Round(10), creation_round_block_hash: B256::repeat_byte(0x77) },
        deployment: None,
    }
}

pub(crate) fn info(price: (u64, u64), ev: u64) -> proto::OrchestratorInfo {
    Offer {
        service_uri: SERVICE_URI.into(),
        params: Some(params(ev)),
        price: Some(Price::new(price.0, price.1).unwrap()),
        address: ORCHESTRATOR,
        capabilities: None,
        auth_token: Some(proto::AuthToken {
            token: vec![1; 32],
            session_id: "deadbeef".into(),
            expiration: START as i64 + 24 * 3600,
        }),
        storage: Vec::new(),
        nodes: Vec::new(),
        stream_version: 0,
    }
    .to_proto()
}

pub(crate) fn encoded(message: &impl Message) -> Value {
    STANDARD.encode(message.encode_to_vec()).into()
}

/// A first request.
pub(crate) fn request(info: &proto::OrchestratorInfo, job: &str) -> Value {
    json!({
        "state": { "State": null, "Sig": null },
        "orchestrator": encoded(info),
        "ManifestID": "stream",
        "type": job,
    })
}

/// The next one of a session.
pub(crate) fn next(mut request: Value, reply: &Reply) -> Value {
    request["state"] = reply.state().clone();
    request
}

/// A state as the first request of a session leaves it.
pub(crate) fn blob(balance: &str, price: (u64, u64)) -> Value {
    json!({
        "StateID": "0123", "PMSessionID": "", "LastUpdate": "2023-11-14T22:13:19Z",
        "OrchestratorAddress": ORCHESTRATOR, "App": "", "AuthExpiry": 0, "SenderNonce": 0, "Balance": balance,
        "InitialPricePerUnit": price.0, "InitialPixelsPerUnit": price.1, "Type": "", "SequenceNumber": 0, "AuthID": "",
    })
}

/// A webhook that answers as it is told and remembers what it was asked.
#[derive(Clone)]
pub(crate) struct FakeWebhook {
    answer: Arc<Mutex<(u16, Value)>>,
    asked: Arc<Mutex<Vec<(axum::http::HeaderMap, Value)>>>,
    pub(crate) url: Url,
}

impl FakeWebhook {
    pub(crate) async fn start(answer: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let webhook = Self { answer: Arc::new(Mutex::new((200, answer))), asked: Default::default(), url };
        let router = Router::new().route("/", post(hook)).with_state(webhook.clone());
        tokio::spawn(axum::serve(listener, router).into_future());
        webhook
    }

    pub(crate) fn answer(&self, status: u16, answer: Value) {
        *self.answer.lock().unwrap() = (status, answer);
    }

    pub(crate) fn asked(&self) -> Vec<(axum::http::HeaderMap, Value)> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) async fn signer(&self) -> Running {
        Setup::default().with(|setup| setup.config.auth.webhook = Some(self.url.clone())).start().await
    }
}

async fn hook(
    State(webhook): State<FakeWebhook>,
    headers: axum::http::HeaderMap,
    Json(question): Json<Value>,
) -> (axum::http::StatusCode, Json<Value>) {
    webhook.asked.lock().unwrap().push((headers, question));
    let (status, answer) = webhook.answer.lock().unwrap().clone();
    (axum::http::StatusCode::from_u16(status).unwrap(), Json(answer))
}
