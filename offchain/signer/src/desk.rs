//! One payment: from the request and its state to tickets, and nothing beside them (payments.md §2.4).
//!
//! Everything up to the signatures is a function of the request, its state, the chain and the time. The webhook, the fence
//! and the budget are asked between that and the first signature.
use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Instant,
};

use alloy_primitives::{Address, U256, keccak256};
use axum::http::HeaderMap;
use rand::Rng as _;
use streamflow_pm::{Balance, MAX_NONCES, ParamsError, Sender, SenderLimits, SignError, TicketEv, TicketSigner};
use streamflow_types::{ChainView, ManifestId, Price, SenderFunds, TicketParams};
use streamflow_wire::{
    SegmentRequest, capability, header, needs_renewal, params_from_proto, payment_to_proto, price_from_proto, proto,
    sign_segment,
};
use tokio::sync::watch;

use crate::{
    auth::{self, Webhook},
    billing::JobType,
    budget::Budget,
    ceiling::Ceiling,
    config::{PriceConfig, SignerConfig},
    fence::{Claim, Fence},
    metrics,
    refusal::Refusal,
    request::PaymentRequest,
    signer::{Clock, Roster},
    state::{self, SessionState, SignedState},
};

/// Most tickets of one payment.
const MAX_TICKETS: usize = 100;

/// Makes payments.
pub(crate) struct Desk {
    pub(crate) config: SignerConfig,
    /// Takes the place of `config.price`, as it may change.
    pub(crate) prices: RwLock<PriceConfig>,
    pub(crate) signer: Arc<dyn TicketSigner>,
    pub(crate) chain: watch::Receiver<Option<ChainView>>,
    pub(crate) funds: watch::Receiver<Option<SenderFunds>>,
    pub(crate) roster: watch::Receiver<Option<Arc<Roster>>>,
    pub(crate) sender: SenderTerms,
    pub(crate) webhook: Option<Webhook>,
    pub(crate) budget: Budget,
    pub(crate) fence: Option<Arc<dyn Fence>>,
    pub(crate) clock: Clock,
}

/// What every payment is made with.
#[derive(Clone, Debug)]
pub(crate) struct SenderTerms {
    pub(crate) limits: SenderLimits,
    pub(crate) deployment: Option<alloy_primitives::B256>,
}

/// What a request is answered with.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Header values and the session's new state.
    Paid { payment: String, seg_creds: String, state: SignedState },
    /// Enough was paid before. The time that passed is billed in the state all the same, so that a session that is often
    /// told so neither starves nor owes a great sum at once (go-livepeer#4077).
    NoTickets { state: SignedState, seg_creds: Option<String> },
}

/// A payment that only lacks permission and signatures.
struct Draft {
    params: TicketParams,
    price: Price,
    ev: TicketEv,
    count: usize,
    /// Number of the last ticket before.
    last_nonce: u32,
    job: JobType,
    manifest_id: ManifestId,
    capabilities: Option<proto::Capabilities>,
    token: proto::AuthToken,
    segment: Option<SegmentRequest>,
    /// As it will be.
    state: SessionState,
    /// Whether the session began with this request.
    is_new: bool,
    funds: SenderFunds,
    chain: ChainView,
}

/// Who is paid, and on what terms.
struct Quote {
    orchestrator: Address,
    price: Price,
    params: TicketParams,
    token: Option<proto::AuthToken>,
    url: String,
}

impl Desk {
    /// Answers `POST /generate-live-payment`.
    pub(crate) async fn pay(&self, headers: &HeaderMap, body: &str) -> Result<Answer, Refusal> {
        let mut draft = self.draft(PaymentRequest::parse(body)?)?;
        if draft.count == 0 {
            return self.no_tickets(headers, draft).await;
        }
        self.authorise(headers, &mut draft).await?;
        let claim = Claim { session: draft.state.id.clone(), sequence: draft.state.sequence, at: (self.clock)() };
        if let Some(fence) = &self.fence
            && !fence.claim(claim.clone()).await?
        {
            return Err(Refusal::Replayed);
        }
        let answer = self.spend(&draft);
        if let (Some(fence), Err(_)) = (&self.fence, &answer) {
            fence.release(claim).await?;
        }
        answer
    }

    /// Signs what the client's budget allows.
    fn spend(&self, draft: &Draft) -> Result<Answer, Refusal> {
        let (client, value) = (&draft.state.auth_id, rounded_up(draft.ev.times(draft.count)));
        self.budget.charge(client, value, (self.clock)())?;
        let answer = self.issue(draft);
        match &answer {
            Ok(_) => {
                metrics::tickets_signed(draft.count as u64);
                tracing::info!(
                    session = draft.state.id,
                    is_new = draft.is_new,
                    orchestrator = %draft.state.orchestrator,
                    manifest = %draft.manifest_id,
                    sequence = draft.state.sequence,
                    tickets = draft.count,
                    balance = %draft.state.balance,
                    client,
                    "payment signed",
                );
            }
            Err(_) => self.budget.refund(client, value),
        }
        answer
    }

    /// Steps 2 to 15 of payments.md §2.4, short of every signature.
    fn draft(&self, request: PaymentRequest<'_>) -> Result<Draft, Refusal> {
        let now = (self.clock)();
        let quote = read_quote(&request.info)?;
        let before = self.session(&request, &quote)?;
        let manifest_id = match (request.manifest_id.as_str(), &before) {
            ("", Some(_)) => return Err(Refusal::NoManifest),
            ("", None) => ManifestId::new(random_id())?,
            (given, _) => ManifestId::new(given)?,
        };
        let capabilities = request.capabilities()?;
        let segment = read_segment(&request, &manifest_id, quote.token.as_ref())?;
        let last_nonce = before
            .as_ref()
            .filter(|state| state.pm_session == Some(quote.params.recipient_rand_hash))
            .map_or(0, |state| state.sender_nonce);
        let chain = (*self.chain.borrow()).ok_or(Refusal::Unknown("chain"))?;
        let funds = (*self.funds.borrow()).ok_or(Refusal::Unknown("deposit"))?;
        let token = self.check_fresh(&quote, &funds, &chain)?;
        self.check_recipient(quote.params.recipient)?;

        let job = JobType::parse(&request.job)?;
        let elapsed = before.as_ref().map(|state| now.saturating_sub(state.last_update));
        let units = job.units(elapsed, request.in_pixels)?;
        let initial_price = before.as_ref().map(|state| state.initial_price);
        self.check_price(&request, job, quote.price, initial_price, capabilities.as_ref())?;

        let is_new = before.is_none();
        let mut state = match before {
            Some(state) => SessionState { sequence: state.sequence.saturating_add(1), ..state },
            None => new_session(&request, &quote),
        };
        let ev = TicketEv::new(quote.params.face_value, quote.params.win_prob);
        let needed = state.balance.missing_tickets(ev, state.initial_price, units);
        let count = usize::try_from(needed).ok().filter(|count| *count <= MAX_TICKETS);
        let count = count.ok_or(Refusal::TooManyTickets { got: needed, max: MAX_TICKETS })?;
        if count > 0 {
            self.validator().validate(Some(&quote.params), count, &funds, &chain).map_err(refusal_of)?;
        }
        let numbers = u32::try_from(count).unwrap_or(u32::MAX);
        let sender_nonce = last_nonce.saturating_add(numbers);
        if sender_nonce as usize > MAX_NONCES {
            return Err(Refusal::Refresh { url: quote.url });
        }
        state.balance.credit(ev.times(count));
        state.balance.debit(state.initial_price, units);
        state.last_update = now;
        state.job = request.job;
        if count > 0 {
            state.pm_session = Some(quote.params.recipient_rand_hash);
            state.sender_nonce = sender_nonce;
        } else if !is_new {
            // No payment, no number: this state and the one before it can both be paid on, but only once.
            state.sequence -= 1;
        }
        if state.initial_price != quote.price {
            metrics::price_diverged();
            tracing::warn!(session = state.id, billed = %state.initial_price, asked = %quote.price, "prices differ");
        }
        let Quote { params, price, .. } = quote;
        Ok(Draft {
            params,
            price,
            ev,
            count,
            last_nonce,
            job,
            manifest_id,
            capabilities,
            token,
            segment,
            state,
            is_new,
            funds,
            chain,
        })
    }

    /// The session that the request goes on with.
    fn session(&self, request: &PaymentRequest<'_>, quote: &Quote) -> Result<Option<SessionState>, Refusal> {
        let Some(signed) = &request.state else { return Ok(None) };
        let state = state::verify(signed, self.signer.address())?;
        if state.orchestrator != quote.orchestrator {
            return Err(Refusal::OtherOrchestrator);
        }
        if state.app != request.app {
            return Err(Refusal::OtherApp);
        }
        if !state.job.is_empty() && state.job != request.job {
            return Err(Refusal::OtherJob);
        }
        Ok(Some(state))
    }

    /// Whether token and params can still be used.
    fn check_fresh(&self, quote: &Quote, funds: &SenderFunds, chain: &ChainView) -> Result<proto::AuthToken, Refusal> {
        let token = quote.token.clone().ok_or(Refusal::NoToken)?;
        let now = i64::try_from((self.clock)().as_secs()).unwrap_or(i64::MAX);
        if needs_renewal(&token, now) {
            return Err(Refusal::Refresh { url: quote.url.clone() });
        }
        match self.validator().validate(Some(&quote.params), 1, funds, chain) {
            Ok(()) => Ok(token),
            Err(error) if error.wants_refresh() => Err(Refusal::Refresh { url: quote.url.clone() }),
            Err(error) => Err(Refusal::Unchecked(error)),
        }
    }

    /// Nobody signs what an orchestrator says to the signer, so the chain must know whom it pays.
    fn check_recipient(&self, recipient: Address) -> Result<(), Refusal> {
        if !self.config.require_active {
            return Ok(());
        }
        let roster = self.roster.borrow();
        let roster = roster.as_ref().ok_or(Refusal::Unknown("set of active orchestrators"))?;
        if roster.is_active(recipient) { Ok(()) } else { Err(Refusal::NotActive(recipient)) }
    }

    fn check_price(
        &self,
        request: &PaymentRequest<'_>,
        job: JobType,
        price: Price,
        initial: Option<Price>,
        capabilities: Option<&proto::Capabilities>,
    ) -> Result<(), Refusal> {
        let wanted = |bit: &str| {
            let bit = bit.parse().ok();
            bit.zip(capabilities).is_some_and(|(bit, wanted)| capability::has_bit(&wanted.bitstring, bit))
        };
        let config = self.prices.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut configured: Vec<Price> =
            config.capabilities.iter().filter(|(bit, _)| wanted(bit)).map(|(_, price)| *price).collect();
        if configured.is_empty() {
            configured.extend(config.max);
        }
        for max in configured {
            below("configured", max.into(), price)?;
        }
        if let Some(fields) = &request.max_price {
            below("request", Ceiling::read(fields, job)?, price)?;
        }
        initial.map_or(Ok(()), |initial| below("initial session price", initial.into(), price))
    }

    /// Asks the webhook, unless its last word still holds.
    async fn authorise(&self, headers: &HeaderMap, draft: &mut Draft) -> Result<(), Refusal> {
        let named = auth::named_client(headers)?;
        let now = i64::try_from((self.clock)().as_secs()).unwrap_or(i64::MAX);
        let asked = match &self.webhook {
            Some(webhook) if draft.state.auth_expiry == 0 || now > draft.state.auth_expiry => {
                let state = serde_json::from_str(&draft.state.to_json()?)?;
                Some(webhook.ask(headers, state, draft.job).await?)
            }
            _ => None,
        };
        let client = match &asked {
            Some(grant) if !grant.auth_id.is_empty() => grant.auth_id.as_str(),
            _ => named,
        };
        draft.state.auth_id = auth::settle_client(&draft.state.auth_id, client)?;
        if let Some(grant) = asked {
            draft.state.auth_expiry = grant.expiry;
            if let Some(max) = grant.max_price {
                below("webhook", max, draft.price)?;
            }
        }
        Ok(())
    }

    async fn no_tickets(&self, headers: &HeaderMap, mut draft: Draft) -> Result<Answer, Refusal> {
        // A signature for a segment is worth something even when nothing has to be paid.
        let seg_creds = match draft.segment.is_some() {
            true => {
                self.authorise(headers, &mut draft).await?;
                Some(self.credentials(&draft)?)
            }
            false => None,
        };
        Ok(Answer::NoTickets { state: state::sign(draft.state.to_json()?, &*self.signer)?, seg_creds })
    }

    /// The signatures.
    fn issue(&self, draft: &Draft) -> Result<Answer, Refusal> {
        let now = Instant::now();
        let sender = self.validator();
        let session = sender.start_session_with_nonce(draft.params, draft.last_nonce, now)?;
        let payment = sender.pay(session, draft.count, draft.price, &draft.funds, &draft.chain, now)?;
        Ok(Answer::Paid {
            payment: header::encode_payment(&payment_to_proto(&payment)),
            seg_creds: self.credentials(draft)?,
            state: state::sign(draft.state.to_json()?, &*self.signer)?,
        })
    }

    /// Credentials for the segment of the request, or for an empty one.
    fn credentials(&self, draft: &Draft) -> Result<String, SignError> {
        let mut segment = draft.segment.clone().unwrap_or_else(|| SegmentRequest {
            capabilities: draft.capabilities.clone(),
            auth_token: Some(draft.token.clone()),
            ..SegmentRequest::new(draft.manifest_id.clone(), 0, keccak256([]), Vec::new(), 0)
        });
        sign_segment(&mut segment, &*self.signer)?;
        Ok(header::encode_segment(&segment.to_proto()))
    }

    /// Holds one request's tickets and is dropped with it: nothing is remembered between requests.
    fn validator(&self) -> Sender {
        Sender::new(Arc::clone(&self.signer), self.sender.limits.clone()).bound_to(self.sender.deployment)
    }
}

fn read_quote(info: &proto::OrchestratorInfo) -> Result<Quote, Refusal> {
    let price = info.price_info.as_ref().and_then(|price| price_from_proto(price).ok());
    let price = price.filter(|price| !price.is_free()).ok_or(Refusal::NoPrice)?;
    let params = params_from_proto(info.ticket_params.as_ref().ok_or(Refusal::NoParams)?).map_err(Refusal::Params)?;
    let orchestrator = match info.address.len() {
        0 => Address::ZERO,
        20 => Address::from_slice(&info.address),
        other => return Err(Refusal::Address(other)),
    };
    // Orchestrators without an account of their own are known by the one that is paid.
    let orchestrator = if orchestrator.is_zero() { params.recipient } else { orchestrator };
    Ok(Quote { orchestrator, price, params, token: info.auth_token.clone(), url: info.transcoder.clone() })
}

/// The segment to sign for, if it belongs to this stream and session.
fn read_segment(
    request: &PaymentRequest<'_>,
    manifest_id: &ManifestId,
    token: Option<&proto::AuthToken>,
) -> Result<Option<SegmentRequest>, Refusal> {
    let Some(segment) = request.segment()? else { return Ok(None) };
    let segment = SegmentRequest::from_proto(segment)?;
    if segment.manifest_id != *manifest_id {
        return Err(Refusal::OtherSegment("manifestID"));
    }
    if segment.auth_token.as_ref() != token {
        return Err(Refusal::OtherSegment("auth token"));
    }
    Ok(Some(segment))
}

fn new_session(request: &PaymentRequest<'_>, quote: &Quote) -> SessionState {
    SessionState {
        id: random_id(),
        pm_session: None,
        last_update: Default::default(),
        orchestrator: quote.orchestrator,
        app: request.app.clone(),
        auth_expiry: 0,
        sender_nonce: 0,
        balance: Balance::zero(quote.price),
        initial_price: quote.price,
        job: String::new(),
        sequence: 0,
        auth_id: String::new(),
    }
}

fn random_id() -> String {
    hex::encode(rand::rng().random::<[u8; 16]>())
}

fn below(source_name: &'static str, ceiling: Ceiling, price: Price) -> Result<(), Refusal> {
    match ceiling.is_exceeded_by(price) {
        true => Err(Refusal::TooDear { price, source_name, ceiling }),
        false => Ok(()),
    }
}

/// The terms were fit for one ticket, so it is the number of them that is too much.
fn refusal_of(error: ParamsError) -> Refusal {
    Refusal::Sender(error.into())
}

/// Whole wei, never less than the expected value.
fn rounded_up(ev: TicketEv) -> U256 {
    let floor = ev.floor_wei();
    if ev > TicketEv::from_wei(floor) { floor.saturating_add(U256::ONE) } else { floor }
}

impl Desk {
    /// Why nothing can be signed now.
    pub(crate) fn refusing(&self) -> Option<String> {
        let (chain, funds) = (*self.chain.borrow(), *self.funds.borrow());
        let Some((chain, funds)) = chain.zip(funds) else {
            return Some("chain or deposit is not known yet: the Ethereum RPC has not answered".to_owned());
        };
        if self.config.require_active && self.roster.borrow().is_none() {
            return Some("the active orchestrators are not known yet".to_owned());
        }
        if streamflow_pm::unlocks_soon(&funds, chain.round) {
            return Some("deposit and reserve unlock soon: `streamflow fund` stops that".to_owned());
        }
        let no_reserve = funds.reserve.is_zero() && funds.committed.is_zero();
        (funds.deposit.is_zero() || no_reserve)
            .then(|| "no deposit or no reserve: `streamflow fund` adds to both".to_owned())
    }
}
