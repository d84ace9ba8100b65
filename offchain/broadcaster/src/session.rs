//! One stream's session with one orchestrator: who it is, what it charges, and its token (node.md §2.3, §2.5).
use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use alloy_primitives::{Address, B256, U256};
use streamflow_pm::{Outcome, PriceGuard, estimated_pixels, with_estimate_margin};
use streamflow_types::{Price, VideoCodec};
use streamflow_wire::{
    Offer, SegmentRequest, TOKEN_LIFE_SECS, TOKEN_RENEWAL_SECS,
    capability::{self, has_bit},
    header, payment_to_proto,
    proto::{AuthToken, OrchestratorInfo},
};
use tokio::time::Instant;
use url::Url;

use crate::{
    budget::StreamBudget,
    discovery::Candidate,
    error::{AttemptError, PaymentError, QuoteError},
    payment::{Charge, Payer, Prepared},
    remote::{RemotePaid, RemotePayer, RemoteSession},
    webhook::StreamOrders,
};

/// A token is renewed in the last tenth of its life. Counted from its arrival, so that no clock has to agree with ours.
const TOKEN_USE: Duration = Duration::from_secs((TOKEN_LIFE_SECS - TOKEN_RENEWAL_SECS).unsigned_abs());

/// A session, opened by a quote.
#[derive(Debug)]
pub(crate) struct Session {
    /// Where it was quoted.
    pub(crate) url: Url,
    /// Where segments go.
    pub(crate) service: Url,
    /// Account of the orchestrator; `None` off-chain.
    pub(crate) account: Option<Address>,
    pub(crate) token: AuthToken,
    opened: Instant,
    guard: Option<PriceGuard>,
    terms: Mutex<Terms>,
    /// With a remote signer.
    remote: Option<RemoteSession>,
    /// What is ordered for the stream.
    orders: StreamOrders,
    /// Whether nobody can tell what the orchestrator still holds for us.
    doubtful: AtomicBool,
    /// Whether segments are streamed to it.
    pub(crate) streams: bool,
    /// Bits of what the orchestrator says it can do.
    offered: Vec<u64>,
}

/// What the newest answer says.
#[derive(Clone, Copy, Debug, Default)]
struct Terms {
    price: Option<Price>,
    /// Who is paid, and the commitment of the params.
    tickets: Option<(Address, B256)>,
}

/// Who makes payments.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purse<'a> {
    /// Nobody: off-chain.
    Empty,
    /// We do.
    Own(&'a Payer),
    /// A signer does.
    Remote(&'a RemotePayer),
}

/// What was paid for a segment.
#[derive(Debug)]
pub(crate) enum Paid {
    Nothing,
    Own(Box<Prepared>),
    Remote(RemotePaid),
}

impl Paid {
    /// Tickets and their expected value in wei, rounded down.
    pub(crate) fn worth(&self) -> (u64, U256) {
        match self {
            Self::Nothing => (0, U256::ZERO),
            Self::Own(prepared) => (prepared.payment.tickets.len() as u64, prepared.value),
            Self::Remote(paid) => (paid.tickets, paid.value),
        }
    }
}

/// A checked quote, before tickets are made on it.
#[derive(Debug)]
pub(crate) struct Quote {
    pub(crate) offer: Offer,
    pub(crate) service: Url,
    pub(crate) account: Option<Address>,
}

impl Quote {
    /// Checks what an orchestrator answered to GetOrchestrator. `paid` is false off-chain, where nobody has an account.
    pub(crate) fn check(candidate: &Candidate, info: OrchestratorInfo, paid: bool) -> Result<Self, QuoteError> {
        let offer = Offer::from_proto(info)?;
        if offer.service_uri.is_empty() {
            return Err(QuoteError::NoServiceUrl);
        }
        let unusable = || QuoteError::ServiceUrl(offer.service_uri.clone());
        let service: Url = offer.service_uri.parse().map_err(|_| unusable())?;
        if !matches!(service.scheme(), "http" | "https") || service.host().is_none() {
            return Err(unusable());
        }
        let account = if paid { Some(check_account(candidate, &offer)?) } else { None };
        Ok(Self { offer, service, account })
    }
}

fn check_account(candidate: &Candidate, offer: &Offer) -> Result<Address, QuoteError> {
    let account = offer.result_signer();
    if account.is_zero() {
        return Err(QuoteError::NoAccount);
    }
    // The chain lists the account that is paid.
    let paid = offer.params.as_ref().map_or(account, |params| params.recipient);
    match candidate.address {
        Some(listed) if listed != paid => Err(QuoteError::OtherAccount { got: paid, listed }),
        _ => Ok(account),
    }
}

impl Session {
    /// Opens a session on a quote. `first` is the price of the stream's first session there: a new session is no way to
    /// raise it.
    pub(crate) async fn open(
        candidate: &Candidate,
        quote: Quote,
        purse: Purse<'_>,
        max_price: Option<Price>,
        first: Option<Price>,
    ) -> Result<Self, AttemptError> {
        let Quote { offer, service, account } = quote;
        let remote = matches!(purse, Purse::Remote(_)).then(|| RemoteSession::new(offer.to_proto()));
        // A remote signer signs for whole segments alone.
        let streams = offer.speaks_streams() && remote.is_none();
        let token = offer.auth_token.ok_or(QuoteError::NoToken)?;
        let offered = offer.capabilities.map(|node| node.bitstring).unwrap_or_default();
        let now = Instant::now();
        let (mut guard, mut terms) = (None, Terms::default());
        if !matches!(purse, Purse::Empty) {
            let price = offer.price.ok_or(QuoteError::NoPrice)?;
            let known = PriceGuard::new(first.unwrap_or(price), max_price);
            known.check(price).map_err(QuoteError::from)?;
            guard = Some(known);
            terms.price = Some(price);
            match (offer.params, purse) {
                (Some(params), Purse::Own(payer)) => {
                    terms.tickets = Some((params.recipient, payer.accept(params, now.into_std()).await?));
                }
                (Some(_), _) => {}
                (None, _) if price.is_free() => {}
                (None, _) => return Err(QuoteError::NoParams.into()),
            }
        }
        let (url, terms) = (candidate.url.clone(), Mutex::new(terms));
        let (orders, doubtful) = (StreamOrders::default(), AtomicBool::default());
        Ok(Self { url, service, account, token, opened: now, guard, terms, remote, orders, doubtful, streams, offered })
    }

    /// With what is ordered for the stream.
    pub(crate) fn under(self, orders: StreamOrders) -> Self {
        Self { orders, ..self }
    }

    /// What the orchestrator is told that a source is coded in. One that does not name the codec would refuse a job that
    /// does, and may decode it all the same.
    pub(crate) fn told(&self, codec: VideoCodec) -> VideoCodec {
        if has_bit(&self.offered, capability::decoding(codec).bit()) { codec } else { VideoCodec::H264 }
    }

    /// One result in so many is compared with its source, by the orders or else by the setting.
    pub(crate) fn compared_one_in(&self, setting: u32) -> u32 {
        self.orders.verification_freq.unwrap_or(setting)
    }

    /// The price that the stream's first session with this orchestrator began at.
    pub(crate) fn first_price(&self) -> Option<Price> {
        self.guard.map(|guard| guard.first())
    }

    /// Whether the session goes on after an attempt that failed so. An orchestrator that says that it failed keeps its
    /// session; one that does not keep to the rules does not. New params that come with a refusal do for our own tickets, but
    /// a remote signer counts on the balance that was there before the refusal, and the orchestrator may have forgotten it.
    /// Neither do they where it is open whether it has: the books of both sides must agree.
    pub(crate) fn outlives(&self, error: &AttemptError) -> bool {
        let doubtful = self.remote.is_some() || self.doubtful.load(Ordering::Relaxed);
        error.is_an_answer() || (!doubtful && error.brought_new_params())
    }

    /// Takes note of a refusal, before its new params are taken into use.
    pub(crate) fn refused(&self, purse: Purse<'_>, error: &AttemptError) {
        if let (Purse::Own(payer), Some((_, commitment))) = (purse, self.terms().tickets)
            && error.brought_new_params()
            && payer.expires_soon(commitment)
        {
            self.doubtful.store(true, Ordering::Relaxed);
        }
    }

    /// Forgets what is left of it, when it is over.
    pub(crate) fn write_off(&self, payer: &Payer) {
        if let Some((recipient, _)) = self.terms().tickets {
            payer.end_session(recipient, &self.token.session_id);
        }
    }

    /// Whether the token should not be used any more.
    pub(crate) fn is_stale(&self, now: Instant) -> bool {
        now.duration_since(self.opened) > TOKEN_USE
    }

    /// The payment header for a segment, and what is to be completed once the answer is there. The segment gets what is
    /// ordered for its stream, and with a remote signer its signature.
    #[tracing::instrument(name = "payment", skip_all, fields(recipient = ?self.account))]
    pub(crate) async fn pay(
        &self,
        purse: Purse<'_>,
        budget: &StreamBudget,
        segment: &mut SegmentRequest,
    ) -> Result<(String, Paid), PaymentError> {
        // Its signature does not cover this (node.md §2.2).
        segment.force_session_reinit = self.orders.force_session_reinit;
        let terms = *self.terms();
        let Some(price) = terms.price else { return Ok((String::new(), Paid::Nothing)) };
        if let Some(guard) = &self.guard {
            guard.check(price)?;
        }
        let millis = u64::from(segment.duration_ms);
        match (purse, &self.remote) {
            (Purse::Own(payer), _) => {
                let (recipient, commitment) = terms.tickets.unwrap_or_default();
                let charge = Charge { recipient, session: &self.token.session_id, price, commitment };
                let now = Instant::now().into_std();
                let prepared = payer.prepare(charge, budget, &segment.profiles, millis, now).await?;
                Ok((header::encode_payment(&payment_to_proto(&prepared.payment)), Paid::Own(Box::new(prepared))))
            }
            (Purse::Remote(signer), Some(remote)) => {
                let estimate = with_estimate_margin(estimated_pixels(&segment.profiles, millis));
                let (header, paid) = remote.pay(signer, segment, estimate, price).await?;
                Ok((header, Paid::Remote(paid)))
            }
            _ => Ok((String::new(), Paid::Nothing)),
        }
    }

    /// Who gets the tickets, or would sign the results where none are sent; `None` off-chain.
    pub(crate) fn paid_account(&self) -> Option<Address> {
        self.terms().tickets.map(|(recipient, _)| recipient).or(self.account)
    }

    /// Takes the params and price that came with a result into use for the next payment.
    pub(crate) async fn renew(&self, purse: Purse<'_>, info: OrchestratorInfo) -> Result<(), AttemptError> {
        let offer = Offer::from_proto(info).map_err(QuoteError::from)?;
        if let Some(remote) = &self.remote
            && offer.params.is_some()
        {
            remote.renew(offer.to_proto());
        }
        let tickets = match (offer.params, purse) {
            (Some(params), Purse::Own(payer)) => {
                Some((params.recipient, payer.accept(params, Instant::now().into_std()).await?))
            }
            _ => None,
        };
        let mut terms = self.terms();
        terms.price = offer.price.or(terms.price);
        terms.tickets = tickets.or(terms.tickets);
        Ok(())
    }

    fn terms(&self) -> MutexGuard<'_, Terms> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes a payment. If its tickets surely did not leave, the budgets get them back.
pub(crate) async fn complete(purse: Purse<'_>, session: &Session, paid: Paid, outcome: Outcome, may_have_left: bool) {
    match (purse, paid, &session.remote) {
        (Purse::Own(payer), Paid::Own(prepared), _) => {
            payer.complete(*prepared, outcome, may_have_left, Instant::now().into_std()).await;
        }
        (_, Paid::Remote(paid), Some(remote)) => remote.complete(paid, outcome),
        _ => {}
    }
}
