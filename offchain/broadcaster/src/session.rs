//! One stream's session with one orchestrator: who it is, what it charges, and its token (node.md §2.3, §2.5).
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use alloy_primitives::{Address, B256};
use streamflow_pm::{Outcome, PriceGuard};
use streamflow_types::{Price, Profile};
use streamflow_wire::{
    Offer, TOKEN_LIFE_SECS, TOKEN_RENEWAL_SECS, header, payment_to_proto,
    proto::{AuthToken, OrchestratorInfo},
};
use tokio::time::Instant;
use url::Url;

use crate::{
    budget::StreamBudget,
    error::{AttemptError, PaymentError, QuoteError},
    orchestrators::Candidate,
    payment::{Charge, Payer, Prepared},
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
}

/// What the newest answer says.
#[derive(Clone, Copy, Debug, Default)]
struct Terms {
    price: Option<Price>,
    /// Who is paid, and the commitment of the params.
    tickets: Option<(Address, B256)>,
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
        payer: Option<&Payer>,
        max_price: Option<Price>,
        first: Option<Price>,
    ) -> Result<Self, AttemptError> {
        let Quote { offer, service, account } = quote;
        let token = offer.auth_token.ok_or(QuoteError::NoToken)?;
        let now = Instant::now();
        let (mut guard, mut terms) = (None, Terms::default());
        if let Some(payer) = payer {
            let price = offer.price.ok_or(QuoteError::NoPrice)?;
            let known = PriceGuard::new(first.unwrap_or(price), max_price);
            known.check(price).map_err(QuoteError::from)?;
            guard = Some(known);
            terms.price = Some(price);
            match offer.params {
                Some(params) => terms.tickets = Some((params.recipient, payer.accept(params, now.into_std()).await?)),
                None if price.is_free() => {}
                None => return Err(QuoteError::NoParams.into()),
            }
        }
        Ok(Self { url: candidate.url.clone(), service, account, token, opened: now, guard, terms: Mutex::new(terms) })
    }

    /// The price that the stream's first session with this orchestrator began at.
    pub(crate) fn first_price(&self) -> Option<Price> {
        self.guard.map(|guard| guard.first())
    }

    /// Whether the token should not be used any more.
    pub(crate) fn is_stale(&self, now: Instant) -> bool {
        now.duration_since(self.opened) > TOKEN_USE
    }

    /// The payment header for a segment, and what is to be completed once the answer is there.
    pub(crate) async fn pay(
        &self,
        payer: Option<&Payer>,
        budget: &StreamBudget,
        profiles: &[Profile],
        millis: u64,
    ) -> Result<(String, Option<Prepared>), PaymentError> {
        let Some(payer) = payer else { return Ok((String::new(), None)) };
        let terms = *self.terms();
        let Some(price) = terms.price else { return Ok((String::new(), None)) };
        if let Some(guard) = &self.guard {
            guard.check(price)?;
        }
        let (recipient, commitment) = terms.tickets.unwrap_or_default();
        let charge = Charge { recipient, session: &self.token.session_id, price, commitment };
        let prepared = payer.prepare(charge, budget, profiles, millis, Instant::now().into_std()).await?;
        Ok((header::encode_payment(&payment_to_proto(&prepared.payment)), Some(prepared)))
    }

    /// Takes the params and price that came with a result into use for the next payment.
    pub(crate) async fn renew(&self, payer: &Payer, info: OrchestratorInfo) -> Result<(), AttemptError> {
        let offer = Offer::from_proto(info).map_err(QuoteError::from)?;
        let tickets = match offer.params {
            Some(params) => Some((params.recipient, payer.accept(params, Instant::now().into_std()).await?)),
            None => None,
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

/// Closes a payment.
pub(crate) async fn complete(payer: Option<&Payer>, prepared: Option<Prepared>, outcome: Outcome) {
    if let (Some(payer), Some(prepared)) = (payer, prepared) {
        payer.complete(prepared, outcome, Instant::now().into_std()).await;
    }
}
