//! The orchestrator's side: quotes params, checks tickets, keeps balances (payments.md §1.4, §1.7, §1.8).
use std::{
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};

use alloy_primitives::{Address, B256, U256};
use rand::CryptoRng;
use streamflow_types::{ChainView, Expiration, Price, Round, SenderFunds, TicketParams, WinningTicket};

use crate::{
    AccountLimits, Balance, MAX_TICKETS, Payment, QuoteDomain, QuoteError, QuoteSecret, Slot, Terms, TicketError,
    TicketEv, TicketPolicy,
    accounts::Accounts,
    commitment, max_float,
    nonces::{NonceMemory, Refusal},
    payment::signed_from_params,
    seed::Seed,
    ticket_signer, unlocks_soon, wins,
};

/// An ordered ticket has this much room for its face value, in wei.
const MAX_FACE_VALUE_BITS: usize = 96;

/// Who is paid, where, and on what terms.
#[derive(Clone, Debug)]
pub struct RecipientConfig {
    /// Account of the orchestrator.
    pub recipient: Address,
    /// Chain and contract.
    pub domain: QuoteDomain,
    /// What each ticket should be worth.
    pub policy: TicketPolicy,
    /// Sessions kept.
    pub accounts: AccountLimits,
    /// Quotes whose tickets are remembered at a time; one sender gets at most a quarter.
    pub max_quotes: usize,
    /// Blocks after the expiry of params for which their winners are still kept. The keeper shows their secrets to the chain
    /// no earlier; from then on anybody can make up winners on them.
    pub late_blocks: u64,
    /// Tag that tickets may be bound to; none if the contract takes no bound tickets.
    pub deployment: Option<B256>,
}

impl RecipientConfig {
    /// The usual bounds.
    pub fn new(recipient: Address, domain: QuoteDomain, policy: TicketPolicy) -> Self {
        let accounts = AccountLimits::default();
        Self { recipient, domain, policy, accounts, max_quotes: 65_536, late_blocks: 10, deployment: None }
    }
}

/// What a quote depends on.
#[derive(Clone, Copy, Debug)]
pub struct QuoteRequest<'a> {
    /// Who will pay.
    pub sender: Address,
    /// The price that the tickets will be for; bound to the quote.
    pub price: Price,
    /// The sender's funds.
    pub funds: &'a SenderFunds,
    /// Face value of the sender's winners not redeemed yet, wei.
    pub pending: U256,
    /// Wei per gas that a redemption is expected to pay.
    pub gas_price: u128,
    /// Block and round.
    pub chain: &'a ChainView,
}

/// What came of a payment.
#[derive(Debug)]
pub struct Receipt {
    /// Tickets that earned credit: those before the first error.
    pub credited: usize,
    /// Their expected value, already added to the session's balance.
    pub credit: TicketEv,
    /// Tickets that won, whether or not they earned credit. To be stored before the answer.
    pub winners: Vec<WinningTicket>,
    /// The last error. Any error means that the request must be refused.
    pub error: Option<TicketError>,
}

impl Receipt {
    fn refused(error: TicketError) -> Self {
        Self { error: Some(error), ..Self::nothing() }
    }

    fn nothing() -> Self {
        Self { credited: 0, credit: TicketEv::ZERO, winners: Vec::new(), error: None }
    }
}

/// An orchestrator's payment desk. Shared by all requests; holds its lock for bookkeeping only, never for curve
/// arithmetic.
///
/// Quotes need no memory: every term is bound to the secret number, so a payment whose terms differ from what was quoted
/// in any bit does not match its own commitment. Numbers seen are forgotten with the process, so tickets on quotes of an
/// earlier one earn no credit: their sender is told that the params have expired, and asks for new ones. Winners among
/// them count all the same, the store keeps each once.
#[derive(Debug)]
pub struct Recipient {
    config: RecipientConfig,
    secret: QuoteSecret,
    /// Part of every seed that this process quotes.
    epoch: OnceLock<u64>,
    books: Mutex<Books>,
}

#[derive(Debug)]
struct Books {
    nonces: NonceMemory,
    accounts: Accounts,
}

impl Recipient {
    /// An empty desk.
    pub fn new(config: RecipientConfig, secret: QuoteSecret) -> Self {
        let nonces = NonceMemory::new(config.max_quotes);
        let accounts = Accounts::new(config.accounts);
        Self { config, secret, epoch: OnceLock::new(), books: Mutex::new(Books { nonces, accounts }) }
    }

    /// Account of the orchestrator.
    pub fn address(&self) -> Address {
        self.config.recipient
    }

    /// What each ticket should be worth.
    pub fn policy(&self) -> &TicketPolicy {
        &self.config.policy
    }

    /// Params for a sender. The seed takes 32 bytes of `rng`, which must be the operating system's or seeded from it.
    ///
    /// With a place in the order, the params say the round and the expiration block that go with it, and their winners are
    /// redeemed in order. A place that has no meaning for them is left unused: one of another round, or for tickets whose
    /// face value has no room in an ordered ticket.
    pub fn quote(
        &self,
        request: &QuoteRequest<'_>,
        slot: Option<Slot>,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<TicketParams, QuoteError> {
        let chain = request.chain;
        let expiration = Expiration { creation_round: chain.round, creation_round_block_hash: chain.round_block_hash };
        if expiration.is_missing() {
            return Err(QuoteError::NoRound);
        }
        let terms = self.terms(request)?;
        let slot = slot.filter(|slot| slot.round == chain.round && terms.face_value.bit_len() <= MAX_FACE_VALUE_BITS);
        let (serial, expiration_block) = match slot {
            Some(slot) => (slot.serial, slot.expiration_block),
            None => (Seed::NO_SERIAL, chain.block.saturating_add(self.config.policy.params_life_blocks)),
        };
        let mut random = [0; 32];
        rng.fill_bytes(&mut random);
        let random = U256::from_be_bytes(random);
        let epoch = *self.epoch.get_or_init(|| Seed(random).epoch());
        let mut params = TicketParams {
            recipient: self.config.recipient,
            face_value: terms.face_value,
            win_prob: terms.win_prob,
            recipient_rand_hash: Default::default(),
            seed: Seed::new(epoch, serial, random).0,
            expiration_block,
            expiration,
            deployment: self.config.deployment,
        };
        let rand = self.secret.recipient_rand(&self.config.domain, request.sender, &params, request.price);
        params.recipient_rand_hash = commitment(rand);
        Ok(params)
    }

    fn terms(&self, request: &QuoteRequest<'_>) -> Result<Terms, QuoteError> {
        if request.price.is_free() {
            return Ok(Terms::FREE);
        }
        if unlocks_soon(request.funds, request.chain.round) {
            return Err(QuoteError::UnlockingSoon { sender: request.sender });
        }
        self.config.policy.terms(request.gas_price, max_float(request.funds, request.pending))
    }

    /// Checks a payment for a session, in the documented order, and credits the tickets before the first error.
    ///
    /// The first credited ticket opens the session and pins its price. Winners are returned even when the payment is
    /// refused for a repeated number or expired params, unless those expired so long ago that their secret may be known.
    pub fn receive(
        &self,
        payment: &Payment,
        session: &str,
        funds: &SenderFunds,
        chain: &ChainView,
        now: Instant,
    ) -> Receipt {
        self.take(payment, session, funds, chain, Some(now))
    }

    /// The winners of a payment that is refused because the chain is out of sight: its params may have expired unseen.
    /// Nothing is credited and no number counts as seen, so the sender may send the same tickets again.
    pub fn salvage(&self, payment: &Payment, session: &str, funds: &SenderFunds, chain: &ChainView) -> Receipt {
        self.take(payment, session, funds, chain, None)
    }

    /// Credits the tickets if `credited_at` says when.
    fn take(
        &self,
        payment: &Payment,
        session: &str,
        funds: &SenderFunds,
        chain: &ChainView,
        credited_at: Option<Instant>,
    ) -> Receipt {
        let Some(params) = &payment.params else {
            return Receipt::nothing();
        };
        let (price, recipient_rand) = match self.admit(payment, params, session, funds, chain.round) {
            Ok(admitted) => admitted,
            Err(error) => return Receipt::refused(error),
        };
        let ev = TicketEv::new(params.face_value, params.win_prob);
        if ev.is_zero() {
            // Tickets for free work: remembering them would let anybody fill the memory at no cost.
            return Receipt::nothing();
        }
        let remembered = self.is_of_this_process(params);
        let mut receipt = Receipt::nothing();
        let signed: Vec<_> = payment
            .tickets
            .iter()
            .map(|own| signed_from_params(params, payment.sender, own))
            .map(|signed| (signed, ticket_signer(&signed) == Ok(payment.sender)))
            .collect();
        let mut books = self.books();
        let block = books.nonces.prune(chain.block);
        let is_secret = block < params.expiration_block.saturating_add(self.config.late_blocks);
        for (signed, authentic) in signed {
            if !authentic {
                receipt.error = Some(TicketError::Signature);
                continue;
            }
            if is_secret && wins(&signed, recipient_rand) {
                let params_expiration_block = params.expiration_block;
                receipt.winners.push(WinningTicket { signed, recipient_rand, params_expiration_block });
            }
            if credited_at.is_none() {
                continue;
            }
            let checked = match remembered {
                true => books.check_nonce(payment.sender, params, signed.ticket.sender_nonce, block),
                false => Err(TicketError::ParamsExpired),
            };
            match checked {
                Ok(()) if receipt.error.is_none() => receipt.credited += 1,
                Ok(()) => {}
                Err(error) => receipt.error = Some(error),
            }
        }
        if let Some(now) = credited_at.filter(|_| receipt.credited > 0) {
            match books.accounts.open(payment.sender, session, price, now) {
                Some(account) => {
                    receipt.credit = ev.times(receipt.credited);
                    account.balance.credit(receipt.credit);
                }
                None => {
                    receipt.credited = 0;
                    receipt.error = Some(TicketError::TooManySessions);
                }
            }
        }
        receipt
    }

    /// The checks that void a whole payment. Cheap first: nothing here costs more than two HMACs.
    fn admit(
        &self,
        payment: &Payment,
        params: &TicketParams,
        session: &str,
        funds: &SenderFunds,
        last_round: Round,
    ) -> Result<(Price, U256), TicketError> {
        let sender = payment.sender;
        if payment.tickets.len() > MAX_TICKETS {
            return Err(TicketError::TooManyTickets { got: payment.tickets.len(), max: MAX_TICKETS });
        }
        let price = payment.expected_price.ok_or(TicketError::NoPrice)?;
        match self.pinned_price(sender, session) {
            Some(pinned) if price < pinned => return Err(TicketError::PriceBelowPinned { got: price, pinned }),
            _ => {}
        }
        if unlocks_soon(funds, last_round) {
            return Err(TicketError::UnlockingSoon { sender });
        }
        if params.recipient != self.config.recipient {
            return Err(TicketError::Recipient);
        }
        if sender.is_zero() {
            return Err(TicketError::Sender);
        }
        // Bound or not is the sender's choice, and no part of the quote: peers of the deployed network know no tag.
        if params.deployment.is_some() && params.deployment != self.config.deployment {
            return Err(TicketError::Deployment);
        }
        let quoted = self.secret.quoted_rand(&self.config.domain, sender, params, price);
        Ok((price, quoted.ok_or(TicketError::NotQuoted)?))
    }

    /// Whether the numbers of tickets on these params, which are ours, would be known here.
    fn is_of_this_process(&self, params: &TicketParams) -> bool {
        self.epoch.get().is_some_and(|epoch| *epoch == Seed(params.seed).epoch())
    }

    /// Price that the session was opened at; everything is debited at it.
    pub fn pinned_price(&self, sender: Address, session: &str) -> Option<Price> {
        self.books().accounts.get(sender, session).map(|account| account.price)
    }

    /// What the session has left; may be negative. None before the first credited ticket.
    pub fn balance(&self, sender: Address, session: &str) -> Option<Balance> {
        self.books().accounts.get(sender, session).map(|account| account.balance)
    }

    /// The gate before work of about `pixels` that is not free: whether the session, besides what is held for other
    /// work under way, has the worth of one ticket and the cost of this work. If so, that cost is held until
    /// [`Recipient::debit`] gives it back.
    ///
    /// A sender pays as much ahead for each segment (payments.md §1.9). Without it, any number of segments could be under
    /// way on the credit for one.
    #[must_use = "work that is not paid for must not begin"]
    pub fn hold(&self, sender: Address, session: &str, pixels: u64, now: Instant) -> bool {
        let one = TicketEv::from_wei(self.config.policy.ev);
        let mut books = self.books();
        let Some(account) = books.accounts.touch(sender, session, now) else { return false };
        let available = account.available();
        let covered = available.covers(one) && available.covers_pixels(account.price, pixels);
        if covered {
            account.held = account.held.saturating_add(pixels);
        }
        covered
    }

    /// Gives back the pixels `held` for work and takes what was done, none if it failed, at the session's own price.
    /// Returns what is left. None if there is no such session: then nothing was paid for.
    pub fn debit(&self, sender: Address, session: &str, held: u64, pixels: u64, now: Instant) -> Option<Balance> {
        let mut books = self.books();
        let account = books.accounts.touch(sender, session, now)?;
        account.held = account.held.saturating_sub(held);
        account.balance.debit(account.price, pixels);
        Some(account.balance)
    }

    /// Takes credit back that turned out to be undeserved; may leave a debt.
    pub fn take_back(&self, sender: Address, session: &str, credit: TicketEv) {
        if let Some(account) = self.books().accounts.get_mut(sender, session) {
            account.balance.take_back(credit);
        }
    }

    /// Forgets a session and what it had left.
    pub fn end_session(&self, sender: Address, session: &str) -> Option<Balance> {
        self.books().accounts.remove(sender, session).map(|account| account.balance)
    }

    /// Forgets idle sessions and expired quotes. To be called now and then.
    pub fn prune(&self, now: Instant, block: u64) {
        let mut books = self.books();
        books.accounts.prune(now);
        books.nonces.prune(block);
    }

    /// Sessions and quotes remembered, for metrics.
    pub fn sizes(&self) -> (usize, usize) {
        let books = self.books();
        (books.accounts.len(), books.nonces.len())
    }

    /// No code panics while it holds the lock with the books half written, so a poisoned lock is as good.
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    /// Whether the number is new under these params, and the params alive.
    fn check_nonce(
        &mut self,
        sender: Address,
        params: &TicketParams,
        nonce: u32,
        block: u64,
    ) -> Result<(), TicketError> {
        let quote = params.recipient_rand_hash;
        // Numbers under expired params are not taken up: the params are refused from now on.
        if params.expiration_block <= block {
            return Err(match self.nonces.contains(quote, nonce) {
                true => TicketError::NonceSeen { nonce },
                false => TicketError::ParamsExpired,
            });
        }
        self.nonces.insert(quote, sender, params.expiration_block, nonce).map_err(|refusal| match refusal {
            Refusal::Seen => TicketError::NonceSeen { nonce },
            Refusal::Full => TicketError::TooManyNonces { nonce },
        })
    }
}
