//! Paying through a remote signer, without a key (payments.md §2).
//!
//! The signer keeps nothing of us: its state of a session travels with each request, so one request of a session is under
//! way at a time. It bills the pixels that we ask for; what an orchestrator bills in the end is less, so the difference is
//! counted here and not asked for again.
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use alloy_primitives::{Address, U256};
use base64::{Engine, engine::general_purpose::STANDARD};
use prost::Message;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use streamflow_pm::{Outcome, Payment, TicketEv, is_credible_bill};
use streamflow_types::{Price, Secret, with_causes};
use streamflow_wire::{
    SegmentRequest, header, payment_from_proto, payment_to_proto,
    proto::{OrchestratorInfo, OrchestratorRequest},
    verify_request, verify_segment,
};
use tokio::sync::OnceCell;
use url::Url;

use crate::{
    client::collect,
    discovery::Candidate,
    error::{Refusal, SignerError},
    payment::Sent,
};

/// Time for one answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A hundred tickets and a state take some 20 KiB; a list of orchestrators is longer.
const MAX_ANSWER: usize = 1 << 20;
/// Fresh terms are needed.
const REFRESH: u16 = 480;
/// Nothing has to be paid now.
const NO_TICKETS: u16 = 482;

/// A signer that pays for us.
#[derive(Clone, Debug)]
pub struct RemoteSigner {
    /// Where it is.
    pub url: Url,
    /// Headers sent with every request, such as a credential.
    pub headers: BTreeMap<String, Secret>,
}

/// Pays for all streams through one signer.
pub(crate) struct RemotePayer {
    url: Url,
    http: reqwest::Client,
    /// The signer's own address, signed; it never changes.
    identity: OnceCell<(Address, OrchestratorRequest)>,
    failure: Mutex<Option<String>>,
    sent: Mutex<Sent>,
}

impl fmt::Debug for RemotePayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemotePayer").field("sender", &self.sender()).finish_non_exhaustive()
    }
}

/// What a session is to the signer, and what was asked for and not billed.
#[derive(Debug)]
pub(crate) struct RemoteSession {
    terms: Mutex<OrchestratorInfo>,
    /// As the signer gave it; held while a request is under way.
    state: tokio::sync::Mutex<Value>,
    unspent: Mutex<i128>,
}

/// A payment that the signer made, or found not to be needed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RemotePaid {
    pub(crate) tickets: u64,
    /// Expected value, wei, rounded down.
    pub(crate) value: U256,
    /// Pixels that the segment was estimated at.
    estimate: u64,
}

#[derive(Deserialize)]
struct Identity {
    address: Address,
    signature: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Answer {
    payment: String,
    seg_creds: String,
    state: Value,
    error: ErrorMessage,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorMessage {
    message: String,
}

#[derive(Deserialize)]
struct Discovered {
    address: Url,
}

impl RemotePayer {
    pub(crate) fn new(signer: RemoteSigner) -> Result<Self, SignerError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &signer.headers {
            let unusable = || SignerError::Header(name.clone());
            let name: HeaderName = name.parse().map_err(|_| unusable())?;
            let mut value = HeaderValue::from_str(value.expose()).map_err(|_| unusable())?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .default_headers(headers)
            .build()
            .map_err(SignerError::Call)?;
        let (failure, sent) = (Mutex::default(), Mutex::default());
        Ok(Self { url: signer.url, http, identity: OnceCell::new(), failure, sent })
    }

    /// Account that pays, once the signer has told it.
    pub(crate) fn sender(&self) -> Option<Address> {
        self.identity.get().map(|(address, _)| *address)
    }

    /// Whether paying is possible at all, as far as is known.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        match self.failure().clone() {
            Some(failure) => Err(Refusal::Signer(failure)),
            None if self.sender().is_none() => Err(Refusal::Signer("it has not answered yet".to_owned())),
            None => Ok(()),
        }
    }

    /// The signed request for a quote, asked for once.
    pub(crate) async fn request(&self) -> Result<OrchestratorRequest, SignerError> {
        let asked = self.identity.get_or_try_init(async || {
            let (status, body) = self.send(self.http.post(self.path("sign-orchestrator-info"))).await?;
            if status != 200 {
                return Err(refused(status, &body));
            }
            let (sender, request) = read_identity(&body)?;
            tracing::info!(%sender, "payments are made by a remote signer");
            Ok((sender, request))
        });
        let asked = asked.await.map(|(_, request)| request.clone());
        self.note(asked.as_ref().err());
        asked
    }

    /// Orchestrators that the signer knows.
    pub(crate) async fn discover(&self) -> Result<Vec<Candidate>, SignerError> {
        let (status, body) = self.send(self.http.get(self.path("discover-orchestrators"))).await?;
        if status != 200 {
            return Err(refused(status, &body));
        }
        read_list(&body)
    }

    /// Remembers that the signer fails for everybody, or that it does not any more.
    fn note(&self, error: Option<&SignerError>) {
        *self.failure() = error.filter(|error| error.is_for_everybody()).map(|error| with_causes(error));
    }

    fn failure(&self) -> MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, name: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/{name}", self.url.path().trim_end_matches('/')));
        url
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<(u16, Vec<u8>), SignerError> {
        // Its address may carry a credential.
        let reply = request.send().await.map_err(|error| SignerError::Call(error.without_url()))?;
        let status = reply.status().as_u16();
        let body =
            collect(reply.bytes_stream(), MAX_ANSWER).await.map_err(|error| SignerError::Receive(Box::new(error)))?;
        Ok((status, body.to_vec()))
    }

    /// Counts tickets that left, and their expected value in wei.
    pub(crate) fn sent(&self, tickets: u64, value: U256) {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.tickets += tickets;
        sent.value = sent.value.saturating_add(value);
    }

    pub(crate) fn total_sent(&self) -> Sent {
        *self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RemoteSession {
    pub(crate) fn new(terms: OrchestratorInfo) -> Self {
        Self { terms: Mutex::new(terms), state: Default::default(), unspent: Mutex::default() }
    }

    /// Takes the newest terms into use.
    pub(crate) fn renew(&self, terms: OrchestratorInfo) {
        *self.terms.lock().unwrap_or_else(PoisonError::into_inner) = terms;
    }

    /// Has the segment signed, and paid for as far as that is not done yet. Returns the payment header.
    pub(crate) async fn pay(
        &self,
        payer: &RemotePayer,
        segment: &mut SegmentRequest,
        estimate: u64,
        price: Price,
    ) -> Result<(String, RemotePaid), SignerError> {
        payer.request().await?;
        let sender = payer.sender().ok_or(SignerError::Identity)?;
        let mut state = self.state.lock().await;
        // At least one, so that the orchestrator holds the worth of a ticket.
        let pixels = i128::from(estimate).saturating_sub(*self.unspent()).clamp(1, i64::MAX.into());
        let orchestrator = self.terms.lock().unwrap_or_else(PoisonError::into_inner).encode_to_vec();
        let body = json!({
            "state": *state,
            "orchestrator": STANDARD.encode(orchestrator),
            "ManifestID": segment.manifest_id.as_str(),
            "inPixels": i64::try_from(pixels).unwrap_or(i64::MAX),
            "type": "",
            "segment": STANDARD.encode(segment.to_proto().encode_to_vec()),
        });
        let sent = payer.send(payer.http.post(payer.path("generate-live-payment")).json(&body)).await;
        payer.note(sent.as_ref().err());
        let (status, body) = sent?;
        let answer: Answer = match status {
            200 | NO_TICKETS => read_answer(&body)?,
            REFRESH => return Err(SignerError::Refresh),
            _ => {
                let error = refused(status, &body);
                payer.note(Some(&error));
                return Err(error);
            }
        };
        // A signer that keeps the state it had has billed nothing.
        if answer.state.is_object() {
            *state = answer.state;
            *self.unspent() += pixels;
        }
        drop(state);
        sign(segment, &answer.seg_creds, sender)?;
        let (header, tickets, value) = match status {
            200 => {
                let (tickets, value) = worth(&answer.payment, sender)?;
                (answer.payment, tickets, value)
            }
            _ => {
                let payment = Payment::without_tickets(sender, Some(price));
                (header::encode_payment(&payment_to_proto(&payment)), 0, U256::ZERO)
            }
        };
        *self.unspent() -= i128::from(estimate);
        Ok((header, RemotePaid { tickets, value, estimate }))
    }

    /// Closes a payment by what became of the segment.
    pub(crate) fn complete(&self, paid: RemotePaid, outcome: Outcome) {
        // What did not arrive, and a bill that cannot be true, stay counted as spent: the session ends with it.
        if let Outcome::Served { pixels } = outcome
            && is_credible_bill(paid.estimate, pixels)
        {
            *self.unspent() += i128::from(paid.estimate) - i128::from(pixels);
        }
    }

    fn unspent(&self) -> MutexGuard<'_, i128> {
        self.unspent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who pays, and the request that says so.
pub(crate) fn read_identity(body: &[u8]) -> Result<(Address, OrchestratorRequest), SignerError> {
    let identity: Identity = serde_json::from_slice(body).map_err(SignerError::Answer)?;
    let sig = alloy_primitives::hex::decode(identity.signature).map_err(|_| SignerError::Identity)?;
    let address = identity.address.to_vec();
    let request = OrchestratorRequest { address, sig, ..OrchestratorRequest::default() };
    let sender = verify_request(&request).ok_or(SignerError::Identity)?;
    Ok((sender, request))
}

/// Orchestrators that can be reached over TLS.
pub(crate) fn read_list(body: &[u8]) -> Result<Vec<Candidate>, SignerError> {
    let found: Vec<Discovered> = serde_json::from_slice(body).map_err(SignerError::Answer)?;
    let usable = found.into_iter().map(|found| found.address).filter(|url| url.scheme() == "https");
    Ok(usable.map(|url| Candidate::of_market(url, None)).collect())
}

pub(crate) fn read_answer(body: &[u8]) -> Result<Answer, SignerError> {
    serde_json::from_slice(body).map_err(SignerError::Answer)
}

/// Takes the signature that came back, if it is one of this segment.
fn sign(segment: &mut SegmentRequest, credentials: &str, sender: Address) -> Result<(), SignerError> {
    let signed = header::decode_segment(credentials).map_err(|_| SignerError::NotSigned)?;
    segment.sig = signed.sig;
    if verify_segment(segment, sender) { Ok(()) } else { Err(SignerError::NotSigned) }
}

/// Tickets of a payment header and their expected value in wei, rounded down.
fn worth(payment: &str, sender: Address) -> Result<(u64, U256), SignerError> {
    let payment = header::decode_payment(payment).map_err(|_| SignerError::Payment)?;
    let payment = payment_from_proto(&payment).map_err(|_| SignerError::Payment)?;
    if payment.sender != sender {
        return Err(SignerError::Payment);
    }
    let ev = payment.params.map_or(TicketEv::ZERO, |params| TicketEv::new(params.face_value, params.win_prob));
    let tickets = payment.tickets.len();
    Ok((tickets as u64, ev.times(tickets).floor_wei()))
}

fn refused(status: u16, body: &[u8]) -> SignerError {
    let text = serde_json::from_slice::<Answer>(body).unwrap_or_default().error.message;
    SignerError::Refused { status, text }
}
