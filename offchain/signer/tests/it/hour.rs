//! Acceptance: an hour of sessions for fifty clients, against desks that credit what really arrives.
use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::{Address, B256, Sign, U256};
use futures::future::join_all;
use serde_json::{Value, json};
use streamflow_pm::{
    AccountLimits, Balance, QuoteDomain, QuoteRequest, QuoteSecret, Recipient, RecipientConfig, TicketEv, TicketPolicy,
};
use streamflow_types::{ChainView, Price};
use streamflow_wire::{Offer, TOKEN_LIFE_SECS, proto};

use crate::fixture::{Reply, Running, SERVICE_URI, Setup, active, encoded, funds, view};

const CLIENTS: usize = 50;
const ORCHESTRATORS: usize = 5;
const HOUR: u64 = 3600;
/// Orchestrators bill each session every so many seconds.
const STEP: u64 = 5;
const BLOCK: u64 = 12;
/// Pixels of one second of live video.
const RATE: u64 = 27_648_000;
/// Wei; about 18 seconds of video.
const EV: u64 = 500_000;

fn price() -> Price {
    Price::new(1, 1000).unwrap()
}

/// An orchestrator: its desk, and the terms it quotes.
struct Orchestrator {
    address: Address,
    desk: Recipient,
    tokens: streamflow_wire::AuthTokens,
}

impl Orchestrator {
    fn new(number: usize) -> Self {
        let address = Address::repeat_byte(0xa0 + number as u8);
        let policy =
            TicketPolicy { ev: U256::from(EV), redeem_gas: 1000, tx_cost_multiplier: 100, ..TicketPolicy::default() };
        let domain = QuoteDomain { chain_id: 1, broker: Address::repeat_byte(0xbb) };
        let config = RecipientConfig {
            accounts: AccountLimits { idle: Duration::from_secs(2 * HOUR), ..AccountLimits::default() },
            ..RecipientConfig::new(address, domain, policy)
        };
        Self {
            address,
            desk: Recipient::new(config, QuoteSecret::new([7; 32])),
            tokens: streamflow_wire::AuthTokens::new([number as u8; 32]),
        }
    }

    fn quote(&self, signer: &Running, chain: &ChainView, client: usize) -> proto::OrchestratorInfo {
        let funds = funds();
        let request = QuoteRequest {
            sender: signer.handle.status().sender,
            price: price(),
            funds: &funds,
            pending: U256::ZERO,
            gas_price: chain.base_fee,
            chain,
        };
        Offer {
            service_uri: SERVICE_URI.into(),
            params: Some(self.desk.quote(&request, None, &mut rand::rng()).unwrap()),
            price: Some(price()),
            address: self.address,
            capabilities: None,
            auth_token: Some(self.tokens.issue((client as u32).to_be_bytes(), signer.now())),
            storage: Vec::new(),
            nodes: Vec::new(),
            stream_version: 0,
        }
        .to_proto()
    }
}

/// One session with one orchestrator.
struct Client {
    number: usize,
    /// Seconds between two payments; not the same for all.
    interval: u64,
    orchestrator: Arc<Orchestrator>,
    info: proto::OrchestratorInfo,
    state: Value,
    balance: String,
    refreshed: u32,
    waited: u32,
    paid: u32,
    /// Of this client's orchestrator: nobody else draws on its commitments.
    numbers: HashSet<(B256, u32)>,
    credited: TicketEv,
}

impl Client {
    fn session(&self) -> String {
        format!("session-{}", self.number)
    }

    fn body(&self) -> Value {
        json!({ "state": self.state, "orchestrator": encoded(&self.info), "ManifestID": self.session(), "type": "lv2v" })
    }

    fn keep(&mut self, reply: &Reply) {
        self.state = reply.state().clone();
        self.balance = reply.blob()["Balance"].as_str().unwrap().to_owned();
    }

    /// Pays for the time that passed, with new terms if the signer wants them.
    async fn pay(&mut self, signer: &Running, chain: &ChainView, now: Instant) {
        for _ in 0..2 {
            let reply = signer.pay(&self.body()).await;
            match reply.status {
                200 => {
                    self.keep(&reply);
                    return self.deliver(&reply, chain, now);
                }
                482 => {
                    self.waited += 1;
                    return self.keep(&reply);
                }
                480 => {
                    self.refreshed += 1;
                    self.info = self.orchestrator.quote(signer, chain, self.number);
                }
                _ => panic!("client {}: {} {}", self.number, reply.status, reply.body),
            }
        }
        panic!("client {}: new terms were not new enough", self.number);
    }

    fn deliver(&mut self, reply: &Reply, chain: &ChainView, now: Instant) {
        let payment = reply.payment();
        let commitment = payment.params.unwrap().recipient_rand_hash;
        for ticket in &payment.tickets {
            assert!(self.numbers.insert((commitment, ticket.sender_nonce)), "number {} repeats", ticket.sender_nonce);
        }
        let receipt = self.orchestrator.desk.receive(&payment, &self.session(), &funds(), chain, now);
        assert_eq!((receipt.error, receipt.credited), (None, payment.tickets.len()));
        let credited = self.credited.floor_wei() + receipt.credit.floor_wei();
        self.credited = TicketEv::from_wei(credited);
        self.paid += 1;
    }

    fn held(&self, signer: &Running) -> Balance {
        self.orchestrator.desk.balance(signer.handle.status().sender, &self.session()).unwrap()
    }
}

fn pixels(seconds: u64) -> u64 {
    seconds * RATE
}

#[tokio::test]
async fn fifty_clients_are_paid_for_an_hour_without_starving_overpaying_or_repeating_a_number() {
    let orchestrators: Vec<_> = (0..ORCHESTRATORS).map(|number| Arc::new(Orchestrator::new(number))).collect();
    let addresses: Vec<_> = orchestrators.iter().map(|orchestrator| orchestrator.address).collect();
    let signer = Setup::default().with(|setup| setup.roster = Some(active(&addresses))).start().await;
    let sender = signer.handle.status().sender;
    let mut chain = view();
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|number| {
            let orchestrator = orchestrators[number % ORCHESTRATORS].clone();
            let info = orchestrator.quote(&signer, &chain, number);
            Client {
                number,
                interval: STEP * (1 + number as u64 % 3),
                orchestrator,
                info,
                state: Value::Null,
                balance: String::new(),
                refreshed: 0,
                waited: 0,
                paid: 0,
                numbers: HashSet::new(),
                credited: TicketEv::ZERO,
            }
        })
        .collect();

    let began = Instant::now();
    // What a session may ever hold: the minute paid ahead, the time until its next payment, and not quite two tickets.
    let most = |interval: u64| {
        let mut most = Balance::zero(price());
        // A ticket is worth a trifle more than the policy asks.
        most.credit(TicketEv::from_wei(U256::from(2 * EV + 2 + (60 + interval) * RATE / 1000)));
        most
    };
    for elapsed in (0..=HOUR).step_by(STEP as usize) {
        let now = began + Duration::from_secs(elapsed);
        if elapsed > 0 {
            for client in &clients {
                let covered = client.held(&signer).covers_pixels(price(), pixels(STEP));
                assert!(covered, "client {} starves after {elapsed} s", client.number);
                client.orchestrator.desk.debit(sender, &client.session(), 0, pixels(STEP), now).unwrap();
            }
        }
        let due = clients.iter_mut().filter(|client| elapsed % client.interval == 0);
        join_all(due.map(|client| client.pay(&signer, &chain, now))).await;
        for client in &clients {
            let held = client.held(&signer);
            assert!(held <= most(client.interval), "client {} holds {held} after {elapsed} s", client.number);
        }
        signer.advance(Duration::from_secs(STEP));
        chain.block = view().block + (elapsed + STEP) / BLOCK;
        signer.chain.send_replace(Some(chain));
    }

    for client in &clients {
        // To the last fraction: the orchestrator holds what the state says, and the minute that was paid ahead.
        let mut expected = Balance::from_ratio(&client.balance, price()).unwrap();
        let mut ahead = Balance::zero(price());
        ahead.credit(TicketEv::from_wei(U256::from(60 * RATE / 1000)));
        expected.add(ahead);
        assert_eq!(client.held(&signer), expected, "client {}", client.number);
        let cost = U256::from(HOUR * RATE / 1000);
        assert!(client.credited.floor_wei() >= cost, "the whole hour is paid");
        assert_eq!(client.held(&signer).floor_wei().0, Sign::Positive);
        // Params live for 40 blocks of 12 s, tokens for half an hour: both are renewed in time, and not more often.
        let renewals = HOUR / (39 * BLOCK) + HOUR / TOKEN_LIFE_SECS as u64 + 1;
        assert!((2..=renewals as u32).contains(&client.refreshed), "{} renewals", client.refreshed);
        assert!(client.paid > 0 && client.waited > 0, "{} paid, {} waited", client.paid, client.waited);
    }
    signer.stop().await;
}
