//! The broadcaster's side: validates params, counts, signs (payments.md §1.6).
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};

use alloy_primitives::{Address, B256, U256};
use streamflow_types::{ChainView, Expiration, Price, SenderFunds, TicketParams};

use crate::{
    FundsError, MAX_NONCES, MAX_TICKETS, ParamsError, Payment, Remedy, SignError, TicketEv, TicketSig, TicketSigner,
    payment::ticket_from_params, sign_ticket, unlocks_soon,
};

/// Params that live for more blocks are not used: what was signed on them is remembered until they expire.
const MAX_LIFE_BLOCKS: u64 = 50_000;

/// What a sender is ready to risk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderLimits {
    /// Highest expected value of one ticket, wei.
    pub max_ticket_ev: U256,
    /// Highest expected value of the tickets of one payment, wei.
    pub max_total_ev: U256,
    /// A face value may be at most the deposit divided by this; 0 counts as 1.
    pub deposit_multiplier: u64,
    /// Sessions kept at a time.
    pub max_sessions: usize,
    /// A session idle for longer may be forgotten.
    pub idle: Duration,
}

impl Default for SenderLimits {
    fn default() -> Self {
        Self {
            max_ticket_ev: U256::from(3_000_000_000_000_u64),
            max_total_ev: U256::from(20_000_000_000_000_u64),
            deposit_multiplier: 1,
            max_sessions: 65_536,
            idle: Duration::from_secs(3600),
        }
    }
}

/// Why no payment was made.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    /// The terms are not acceptable.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// No session of this commitment was started, or it was idle for too long.
    #[error("no ticket session {0}")]
    UnknownSession(B256),
    /// The orchestrator remembers only so many tickets per quote; it must be asked for new params.
    #[error("ticket session {session} has {left} of {max} tickets left, {wanted} wanted", max = MAX_NONCES)]
    UsedUp {
        /// The session.
        session: B256,
        /// Tickets left.
        left: usize,
        /// Tickets wanted.
        wanted: usize,
    },
    /// Every slot is taken by a session that is in use.
    #[error("too many ticket sessions")]
    TooManySessions,
    /// The key did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl SenderError {
    /// What would help; none if the fault is in this process.
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::Params(error) => Some(error.remedy()),
            Self::UnknownSession(_) | Self::UsedUp { .. } => Some(Remedy::Refresh),
            Self::TooManySessions | Self::Sign(_) => None,
        }
    }

    /// Whether the same orchestrator should be asked for new params.
    pub fn wants_refresh(&self) -> bool {
        self.remedy() == Some(Remedy::Refresh)
    }
}

/// A broadcaster's ticket book. Sessions are known by the commitment of their params.
pub struct Sender {
    signer: Arc<dyn TicketSigner>,
    limits: RwLock<SenderLimits>,
    deployment: Option<B256>,
    sessions: Mutex<HashMap<B256, Session>>,
}

#[derive(Clone, Copy)]
struct Session {
    params: TicketParams,
    last_nonce: u32,
    touched: Instant,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("address", &self.address())
            .field("limits", &self.limits())
            .finish_non_exhaustive()
    }
}

impl Sender {
    /// An empty book.
    pub fn new(signer: Arc<dyn TicketSigner>, limits: SenderLimits) -> Self {
        Self { signer, limits: RwLock::new(limits), deployment: None, sessions: Mutex::default() }
    }

    /// Changes what is risked, from the next payment on.
    pub fn set_limits(&self, limits: SenderLimits) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    fn limits(&self) -> SenderLimits {
        self.limits.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Binds tickets to this deployment, if any, wherever the recipient takes such tickets.
    #[must_use]
    pub fn bound_to(self, deployment: Option<B256>) -> Self {
        Self { deployment, ..self }
    }

    /// Account that pays.
    pub fn address(&self) -> Address {
        self.signer.address()
    }

    /// Whether to sign `count` tickets on these terms.
    pub fn validate(
        &self,
        params: Option<&TicketParams>,
        count: usize,
        funds: &SenderFunds,
        chain: &ChainView,
    ) -> Result<(), ParamsError> {
        let params = params.ok_or(ParamsError::Missing)?;
        let face_value = params.face_value;
        if params.expiration_block == 0 {
            return Err(ParamsError::NoExpirationBlock);
        }
        if params.expiration_block <= chain.block.saturating_add(1) {
            return Err(ParamsError::Expired);
        }
        if params.expiration_block > chain.block.saturating_add(MAX_LIFE_BLOCKS) {
            return Err(ParamsError::TooLongLived { expiration_block: params.expiration_block });
        }
        if self.deployment.zip(params.deployment).is_some_and(|(own, other)| own != other) {
            return Err(ParamsError::OtherDeployment);
        }
        let ev = TicketEv::new(face_value, params.win_prob);
        if ev.is_zero() {
            return Ok(());
        }
        if ev >= TicketEv::from_wei(face_value) {
            return Err(ParamsError::FaceValueTooLow { face_value });
        }
        let limits = self.limits();
        if ev > TicketEv::from_wei(limits.max_ticket_ev) {
            return Err(ParamsError::TicketEv { ev: ev.floor_wei(), max: limits.max_ticket_ev });
        }
        check_funds(funds, chain)?;
        let total = ev.times(count);
        if total > TicketEv::from_wei(limits.max_total_ev) {
            return Err(ParamsError::TotalEv { ev: total.floor_wei(), count, max: limits.max_total_ev });
        }
        let max = funds.deposit / U256::from(limits.deposit_multiplier.max(1));
        if face_value > max {
            return Err(ParamsError::FaceValueTooHigh { face_value, max });
        }
        Ok(())
    }

    /// Begins to count under new params, or goes on if they are known. The first ticket has number 1.
    pub fn start_session(&self, params: TicketParams, now: Instant) -> Result<B256, SenderError> {
        self.start_session_with_nonce(params, 0, now)
    }

    /// The same after a restart: `last_nonce` is the last number that may have been sent. Never counts backwards.
    pub fn start_session_with_nonce(
        &self,
        params: TicketParams,
        last_nonce: u32,
        now: Instant,
    ) -> Result<B256, SenderError> {
        let id = params.recipient_rand_hash;
        let mut sessions = self.sessions();
        if let Some(session) = sessions.get_mut(&id) {
            // Tickets staged on the old terms would be signed on the new ones.
            if session.params != params {
                return Err(ParamsError::Changed.into());
            }
            *session = Session { params, last_nonce: session.last_nonce.max(last_nonce), touched: now };
            return Ok(id);
        }
        let limits = self.limits();
        if sessions.len() >= limits.max_sessions {
            forget_idle(&mut sessions, limits.idle, now);
        }
        if sessions.len() >= limits.max_sessions {
            return Err(SenderError::TooManySessions);
        }
        sessions.insert(id, Session { params, last_nonce, touched: now });
        Ok(id)
    }

    /// Params of a session.
    pub fn params(&self, session: B256) -> Option<TicketParams> {
        self.sessions().get(&session).map(|s| s.params)
    }

    /// Expected value of one ticket of a session.
    pub fn ticket_ev(&self, session: B256) -> Option<TicketEv> {
        self.params(session).map(|params| TicketEv::new(params.face_value, params.win_prob))
    }

    /// Validates and signs `count` tickets for `price`. Store [`Payment::last_nonce`] before the payment is sent: a number
    /// used twice is refused by the orchestrator.
    pub fn pay(
        &self,
        session: B256,
        count: usize,
        price: Price,
        funds: &SenderFunds,
        chain: &ChainView,
        now: Instant,
    ) -> Result<Payment, SenderError> {
        let sender = self.address();
        if count == 0 {
            return Ok(Payment::without_tickets(sender, Some(price)));
        }
        let mut params = self.params(session).ok_or(SenderError::UnknownSession(session))?;
        self.validate(Some(&params), count, funds, chain)?;
        params.deployment = params.deployment.and(self.deployment);
        if params.expiration.is_missing() {
            params.expiration =
                Expiration { creation_round: chain.round, creation_round_block_hash: chain.round_block_hash };
        }
        let first = self.take_nonces(session, count, now)?;
        let tickets = (first..).take(count).map(|sender_nonce| {
            let ticket = ticket_from_params(&params, sender, sender_nonce);
            Ok(TicketSig { sender_nonce, sig: sign_ticket(ticket, &*self.signer)?.sig })
        });
        let tickets = tickets.collect::<Result<_, SignError>>()?;
        Ok(Payment { sender, expected_price: Some(price), params: Some(params), tickets })
    }

    /// First of `count` numbers that no other payment will use.
    fn take_nonces(&self, id: B256, count: usize, now: Instant) -> Result<u32, SenderError> {
        let mut sessions = self.sessions();
        let session = sessions.get_mut(&id).ok_or(SenderError::UnknownSession(id))?;
        let left = MAX_TICKETS.saturating_sub(session.last_nonce as usize);
        let wanted = match u32::try_from(count) {
            Ok(wanted) if count <= left => wanted,
            _ => return Err(SenderError::UsedUp { session: id, left, wanted: count }),
        };
        let first = session.last_nonce + 1;
        session.last_nonce += wanted;
        session.touched = now;
        Ok(first)
    }

    /// Forgets sessions whose params have expired, and idle ones.
    pub fn prune(&self, now: Instant, block: u64) {
        let mut sessions = self.sessions();
        sessions.retain(|_, session| session.params.expiration_block > block);
        forget_idle(&mut sessions, self.limits().idle, now);
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<B256, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget_idle(sessions: &mut HashMap<B256, Session>, idle: Duration, now: Instant) {
    sessions.retain(|_, session| now.saturating_duration_since(session.touched) <= idle);
}

/// Whether the funds can back tickets at all.
fn check_funds(funds: &SenderFunds, chain: &ChainView) -> Result<(), FundsError> {
    if unlocks_soon(funds, chain.round) {
        return Err(FundsError::UnlockingSoon { withdraw_round: funds.withdraw_round });
    }
    if funds.reserve.is_zero() && funds.committed.is_zero() {
        return Err(FundsError::NoReserve);
    }
    if funds.deposit.is_zero() {
        return Err(FundsError::NoDeposit);
    }
    Ok(())
}
