//! A running service, a sender that signs winners, and raw callers.
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use alloy_primitives::{Address, B256, U256, keccak256};
use streamflow_pm::{KeySigner, TicketSigner, commitment, sign_ticket, ticket_hash};
use streamflow_redeemer::{
    Floats, FundsFuture, FundsSource, LinkConfig, Outbox, Redeemer, RedeemerConfig, RedeemerDeps, RedeemerLink, Terms,
};
use streamflow_store::Store;
use streamflow_testkit::Database;
use streamflow_types::{ChainView, Round, Secret, SenderFunds, Ticket, WinProb, WinningTicket};
use streamflow_wire::{AnyCertificate, proto, proto::ticket_redeemer_client::TicketRedeemerClient, winner_to_proto};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status,
    transport::{Channel, ClientTlsConfig, Endpoint},
};

pub(crate) const RECIPIENT: Address = Address::repeat_byte(0xaa);
pub(crate) const TOKEN: &str = "swordfish";
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn view() -> ChainView {
    ChainView {
        block: 1_000,
        round: Round(10),
        round_block_hash: B256::repeat_byte(7),
        round_initialized: true,
        pool_size: 2,
        base_fee: 1,
    }
}

pub(crate) fn sender() -> KeySigner {
    KeySigner::from_bytes([0x0b; 32]).unwrap()
}

/// A winner of 1,000 wei, the `n`th of its sender.
pub(crate) fn winner(n: u32) -> WinningTicket {
    winner_with(n, |_| ())
}

pub(crate) fn winner_with(n: u32, change: impl FnOnce(&mut Ticket)) -> WinningTicket {
    let recipient_rand = U256::from_be_bytes(keccak256(n.to_be_bytes()).0);
    let mut ticket = Ticket {
        recipient: RECIPIENT,
        sender: sender().address(),
        face_value: U256::from(1_000),
        win_prob: WinProb::MAX,
        sender_nonce: n,
        recipient_rand_hash: commitment(recipient_rand),
        creation_round: Round(10),
        creation_round_block_hash: B256::repeat_byte(7),
        deployment: None,
    };
    change(&mut ticket);
    let signed = sign_ticket(ticket, &sender()).unwrap();
    WinningTicket { signed, recipient_rand, params_expiration_block: 1_040 }
}

pub(crate) fn hash(winner: &WinningTicket) -> B256 {
    ticket_hash(&winner.signed.ticket)
}

/// Funds that a test sets; none are known while there are none.
#[derive(Clone, Debug)]
pub(crate) struct Funds(Arc<Mutex<SenderFunds>>);

impl Funds {
    pub(crate) fn set(&self, change: impl FnOnce(&mut SenderFunds)) {
        change(&mut self.0.lock().unwrap());
    }
}

impl FundsSource for Funds {
    fn funds(&self, _sender: Address) -> FundsFuture<'_> {
        Box::pin(async { Ok(*self.0.lock().unwrap()) })
    }
}

/// What outlives a service's process.
pub(crate) struct World {
    dir: tempfile::TempDir,
    pub(crate) database: Database,
    pub(crate) store: Store,
    pub(crate) chain: watch::Sender<Option<ChainView>>,
    pub(crate) funds: Funds,
}

pub(crate) fn config() -> RedeemerConfig {
    RedeemerConfig {
        listen: "127.0.0.1:0".parse().ok(),
        refresh: Duration::from_millis(50),
        heartbeat: Duration::from_secs(3_600),
        ..RedeemerConfig::default()
    }
}

impl World {
    /// The sender has 3,000 wei of reserve for two orchestrators, and a deposit of 1 wei.
    pub(crate) async fn new() -> Self {
        Self::on(Database::sqlite().unwrap()).await
    }

    /// The same with a database of the engine of `desk`, which is an orchestrator's.
    pub(crate) async fn beside(desk: &Database) -> Self {
        let database = if desk.is_postgres() { Database::postgres() } else { Database::sqlite() };
        Self::on(database.unwrap()).await
    }

    /// The same with its tickets in this database.
    pub(crate) async fn on(database: Database) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open_url(database.url()).await.unwrap();
        let funds =
            SenderFunds { deposit: U256::from(1), reserve: U256::from(6_000), pool_size: 2, ..SenderFunds::default() };
        Self {
            dir,
            database,
            store,
            chain: watch::Sender::new(Some(view())),
            funds: Funds(Arc::new(Mutex::new(funds))),
        }
    }

    pub(crate) async fn start(&self) -> Running {
        self.start_with(config()).await
    }

    pub(crate) async fn start_with(&self, config: RedeemerConfig) -> Running {
        let deps = RedeemerDeps {
            view: self.chain.subscribe(),
            funds: Arc::new(self.funds.clone()),
            terms: Terms { recipient: RECIPIENT, deployment: None, validity: 2 },
            store: self.store.clone(),
            token: Secret::new(TOKEN),
            data_dir: self.dir.path().to_owned(),
        };
        let redeemer = Redeemer::bind(config, deps).await.unwrap();
        let (address, stop) = (redeemer.local_addr(), CancellationToken::new());
        let task = tokio::spawn(redeemer.run(stop.clone()));
        Running { address, stop, task: Some(task) }
    }

    pub(crate) fn certificate(&self) -> Vec<u8> {
        std::fs::read(self.dir.path().join("redeemer.cert.pem")).unwrap()
    }

    pub(crate) async fn count(&self) -> usize {
        self.store.tickets(None, 10_000).await.unwrap().len()
    }
}

/// A running service; stops when dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    task: Option<JoinHandle<Result<(), streamflow_redeemer::StartError>>>,
}

impl Running {
    pub(crate) async fn stopped(mut self) {
        self.stop.cancel();
        let task = self.task.take().unwrap();
        tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap().unwrap();
    }

    /// A caller without a token of its own.
    pub(crate) async fn caller(&self) -> Result<TicketRedeemerClient<Channel>, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("https://{}", self.address)).unwrap();
        let tls = Arc::new(AnyCertificate::default());
        let endpoint = endpoint.tls_config_with_verifier(ClientTlsConfig::new(), tls)?;
        Ok(TicketRedeemerClient::new(endpoint.connect().await?))
    }

    pub(crate) async fn queue(&self, winner: &WinningTicket) -> Result<(), Status> {
        let mut caller = self.caller().await.unwrap();
        caller.queue_ticket(with_token(winner_to_proto(winner))).await.map(drop)
    }

    pub(crate) async fn max_float(&self) -> U256 {
        let answer = self.caller().await.unwrap().max_float(with_token(request())).await.unwrap();
        streamflow_wire::max_float_from_proto(answer.get_ref()).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) fn request() -> proto::MaxFloatReq {
    proto::MaxFloatReq { sender: sender().address().to_vec() }
}

pub(crate) fn with_token<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    request
}

pub(crate) fn link(address: SocketAddr, certificate: Option<Vec<u8>>) -> RedeemerLink {
    let url = format!("https://{address}").parse().unwrap();
    RedeemerLink::new(&LinkConfig { url, token: Secret::new(TOKEN), certificate }).unwrap()
}

/// An orchestrator's end: its database, and the task that hands over what is in it.
pub(crate) struct Desk {
    pub(crate) store: Store,
    pub(crate) floats: Floats,
    pub(crate) stop: CancellationToken,
    pub(crate) chain: watch::Sender<Option<ChainView>>,
    pub(crate) oldest: watch::Sender<Option<Round>>,
    task: JoinHandle<()>,
}

impl Desk {
    /// `database` is what the store is opened with.
    pub(crate) async fn start(database: &str, link: RedeemerLink) -> Self {
        let store = Store::open_url(database).await.unwrap();
        let (stop, chain) = (CancellationToken::new(), watch::Sender::new(Some(view())));
        let (floats, oldest) = (Floats::new(link.clone(), stop.clone()), watch::Sender::new(None));
        let outbox = Outbox::new(store.clone(), link, floats.clone(), chain.subscribe(), oldest.subscribe());
        let task = tokio::spawn(outbox.run(stop.clone()));
        Self { store, floats, stop, chain, oldest, task }
    }

    pub(crate) async fn left(&self) -> usize {
        self.store.tickets(None, 10_000).await.unwrap().len()
    }

    pub(crate) async fn stopped(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
        self.floats.drain().await;
        self.store.close().await;
    }
}

pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !done().await {
        assert!(tokio::time::Instant::now() < end, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
