//! Broadcasters that pay, whatever happens to the orchestrator. They remember what was acknowledged: that is owed.
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use alloy::{
    primitives::{B256, U256, keccak256},
    signers::local::PrivateKeySigner,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use streamflow_pm::{KeySigner, Payment, Sender, SenderLimits, ticket_from_params, ticket_hash};
use streamflow_types::{Profile, SenderFunds, VideoCodec};
use streamflow_wire::{
    AnyCertificate, Offer, SegmentRequest, capability, header, payment_to_proto,
    proto::orchestrator_client::OrchestratorClient, sign_request, sign_segment,
};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::{ClientTlsConfig, Endpoint};

use crate::network::chain::{Chain, ether};

/// An orchestrator that is down must not hold up the schedule.
const REQUEST: Duration = Duration::from_secs(5);

/// Face values of tickets whose payment was acknowledged.
pub(crate) type Owed = Arc<Mutex<BTreeMap<B256, U256>>>;

/// The senders, at work in the background.
#[derive(Debug)]
pub(crate) struct Payers {
    pub(crate) owed: Owed,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Payers {
    pub(crate) fn start(chain: &Arc<Chain>, port: u16, seed: u64) -> Self {
        let (owed, stop) = (Owed::default(), CancellationToken::new());
        let tasks = (0_u64..).zip(&chain.senders).map(|(index, key)| {
            let payer = Payer::new(Arc::clone(chain), key, port, Arc::clone(&owed));
            let rng = ChaCha12Rng::seed_from_u64(seed ^ (index + 1) << 32);
            tokio::spawn(payer.run(rng, stop.clone()))
        });
        Self { tasks: tasks.collect(), owed, stop }
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.owed.lock().unwrap().len()
    }

    /// Returns when no payment is on its way any more.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        for task in self.tasks.drain(..) {
            task.await.unwrap();
        }
    }
}

struct Payer {
    chain: Arc<Chain>,
    key: Arc<KeySigner>,
    sender: Sender,
    http: reqwest::Client,
    port: u16,
    owed: Owed,
}

impl Payer {
    fn new(chain: Arc<Chain>, key: &PrivateKeySigner, port: u16, owed: Owed) -> Self {
        let key = Arc::new(KeySigner::from_bytes(key.to_bytes().0).unwrap());
        let limits = SenderLimits { max_ticket_ev: U256::MAX, max_total_ev: U256::MAX, ..SenderLimits::default() };
        let http = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).no_proxy().timeout(REQUEST);
        Self { sender: Sender::new(key.clone(), limits), key, http: http.build().unwrap(), chain, port, owed }
    }

    /// Pays now and then. Whatever fails is tried with a new quote.
    async fn run(self, mut rng: ChaCha12Rng, stop: CancellationToken) {
        let mut offer = None;
        while !stop.is_cancelled() {
            tokio::time::sleep(Duration::from_millis(rng.random_range(40..400))).await;
            if offer.is_none() {
                offer = timeout(REQUEST, self.quote()).await.ok().flatten();
            }
            if let Some(quoted) = &offer
                && !self.pay(quoted, rng.random_range(1..4)).await
            {
                offer = None;
            }
        }
    }

    async fn quote(&self) -> Option<Offer> {
        let tls = Arc::new(AnyCertificate::default());
        let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{}", self.port)).unwrap();
        let channel = endpoint.tls_config_with_verifier(ClientTlsConfig::new(), tls).unwrap().connect().await.ok()?;
        let request = sign_request(self.key.as_ref(), None).unwrap();
        let info = OrchestratorClient::new(channel).get_orchestrator(request).await.ok()?;
        Offer::from_proto(info.into_inner()).ok().filter(|offer| offer.params.is_some())
    }

    /// Whether the payment was acknowledged.
    async fn pay(&self, offer: &Offer, tickets: usize) -> bool {
        let Some(payment) = self.sign(offer, tickets).await else { return false };
        let mut request = SegmentRequest {
            auth_token: offer.auth_token.clone(),
            capabilities: Some(capability::job(VideoCodec::H264, &profiles(), false)),
            ..SegmentRequest::new("faults".parse().unwrap(), 0, keccak256([]), profiles(), 2_000)
        };
        sign_segment(&mut request, self.key.as_ref()).unwrap();
        let sent = self
            .http
            .post(format!("https://127.0.0.1:{}/payment", self.port))
            .header(header::PAYMENT, header::encode_payment(&payment_to_proto(&payment)))
            .header(header::SEGMENT, header::encode_segment(&request.to_proto()))
            .send()
            .await;
        let acknowledged = sent.is_ok_and(|answer| answer.status() == 200);
        if acknowledged {
            let params = payment.params.unwrap();
            let tickets = payment.tickets.iter().map(|ticket| {
                let ticket = ticket_from_params(&params, payment.sender, ticket.sender_nonce);
                (ticket_hash(&ticket), ticket.face_value)
            });
            self.owed.lock().unwrap().extend(tickets);
        }
        acknowledged
    }

    async fn sign(&self, offer: &Offer, tickets: usize) -> Option<Payment> {
        let rich = SenderFunds { deposit: ether(1_000), reserve: ether(1_000), pool_size: 1, ..SenderFunds::default() };
        let view = self.chain.view().await?;
        let session = self.sender.start_session(offer.params?, Instant::now()).ok()?;
        self.sender.pay(session, tickets, offer.price?, &rich, &view, Instant::now()).ok()
    }
}

fn profiles() -> Vec<Profile> {
    vec![Profile::new("240p", 426, 240, 300_000).unwrap()]
}
