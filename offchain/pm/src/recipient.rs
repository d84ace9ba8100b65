//! The orchestrator's side: quotes params, checks tickets, keeps balances (payments.md §1.4, §1.7, §1.8).
use std::{
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use alloy_primitives::{Address, B256, U256};
use rand::CryptoRng;
use streamflow_types::{ChainView, Expiration, Price, Round, SenderFunds, TicketParams, WinningTicket};

use crate::{
    AccountLimits, Backing, Balance, DepositDivisor, MAX_TICKETS, NoTerms, Payment, QuoteDomain, QuoteError,
    QuoteSecrets, RecoveryQuota, SessionBalance, Shortfall, Slot, Terms, TicketError, TicketEv, TicketPolicy,
    TicketSig,
    accounts::Accounts,
    commitment,
    nonces::{NonceMemory, Refusal},
    payment::signed_from_params,
    quota::Recoveries,
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
    /// Signatures checked for one sender.
    pub recoveries: RecoveryQuota,
    /// Part of a sender's deposit that is counted on beside the share of its reserve.
    pub deposit_divisor: DepositDivisor,
    /// Blocks after the expiry of params for which their winners are still kept. The keeper shows their secrets to the chain
    /// no earlier; from then on anybody can make up winners on them.
    pub late_blocks: u64,
    /// Tag that tickets may be bound to; none if the contract takes no bound tickets.
    pub deployment: Option<B256>,
}

impl RecipientConfig {
    /// The usual bounds.
    pub fn new(recipient: Address, domain: QuoteDomain, policy: TicketPolicy) -> Self {
        Self {
            recipient,
            domain,
            policy,
            accounts: AccountLimits::default(),
            max_quotes: 65_536,
            recoveries: RecoveryQuota::default(),
            deposit_divisor: DepositDivisor::default(),
            late_blocks: 10,
            deployment: None,
        }
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
    secrets: RwLock<QuoteSecrets>,
    /// What the policy reckons with in place of its own.
    redeem_gas: AtomicU64,
    max_face_value: RwLock<Option<U256>>,
    /// Part of every seed that this process quotes.
    epoch: OnceLock<u64>,
    books: Mutex<Books>,
}

#[derive(Debug)]
struct Books {
    nonces: NonceMemory,
    accounts: Accounts,
    recoveries: Recoveries,
}

impl Recipient {
    /// An empty desk.
    pub fn new(config: RecipientConfig, secrets: impl Into<QuoteSecrets>) -> Self {
        let nonces = NonceMemory::new(config.max_quotes);
        let accounts = Accounts::new(config.accounts);
        let recoveries = Recoveries::new(config.recoveries);
        Self {
            secrets: RwLock::new(secrets.into()),
            redeem_gas: AtomicU64::new(config.policy.redeem_gas),
            max_face_value: RwLock::new(config.policy.max_face_value),
            epoch: OnceLock::new(),
            books: Mutex::new(Books { nonces, accounts, recoveries }),
            config,
        }
    }

    /// Quotes no face value above this from now on, wei; `None` sets no limit.
    pub fn set_max_face_value(&self, wei: Option<U256>) {
        *self.max_face_value.write().unwrap_or_else(PoisonError::into_inner) = wei;
    }

    /// Quotes under other secrets from now on. Those made under the one that was in use stay valid if it is the previous
    /// one of these.
    pub fn set_secrets(&self, secrets: QuoteSecrets) {
        *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = secrets;
    }

    /// Reckons with this gas for the redemption of a ticket, in quotes from now on.
    pub fn set_redeem_gas(&self, gas: u64) {
        self.redeem_gas.store(gas, Ordering::Relaxed);
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
        let secret = self.secrets.read().unwrap_or_else(PoisonError::into_inner).current.clone();
        let rand = secret.recipient_rand(&self.config.domain, request.sender, &params, request.price);
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
        let redeem_gas = self.redeem_gas.load(Ordering::Relaxed);
        let max_face_value = *self.max_face_value.read().unwrap_or_else(PoisonError::into_inner);
        let policy = TicketPolicy { redeem_gas, max_face_value, ..self.config.policy.clone() };
        let backing = Backing { funds: *request.funds, pending: request.pending };
        let divisor = self.config.deposit_divisor;
        policy.terms(request.gas_price, backing.float(divisor)).map_err(|error| match error {
            NoTerms::Capped { needed, max } => QuoteError::FaceValueCapped { needed, max },
            NoTerms::Float { needed } => {
                // The float is below what is needed, or there would be terms.
                QuoteError::LowPmBalance(Box::new(backing.shortfall(needed, divisor).unwrap_or_default()))
            }
        })
    }

    /// Checks a payment for a session, and credits the tickets before the first error.
    ///
    /// What costs little comes first: a payment that was not quoted costs some HMACs, a number that was seen a look-up, and
    /// only the rest a signature each. The first credited ticket opens the session and pins its price. Winners are returned
    /// even when the payment is refused for a repeated number, expired params or a sender whose funds are used up, unless
    /// the params expired so long ago that their secret may be known.
    ///
    /// Tickets earn credit while the sender's float covers one more winner, those of this payment counted. So the winners
    /// among what is credited are never worth more than the share of the reserve and the part of the deposit, whatever
    /// else was quoted to the sender meanwhile.
    pub fn receive(
        &self,
        payment: &Payment,
        session: &str,
        backing: impl Into<Backing>,
        chain: &ChainView,
        now: Instant,
    ) -> Receipt {
        self.take(payment, session, &backing.into(), chain, now, Credit::Given)
    }

    /// The winners of a payment that is refused because the chain is out of sight: its params may have expired unseen.
    /// Nothing is credited and no number counts as seen, so the sender may send the same tickets again.
    pub fn salvage(
        &self,
        payment: &Payment,
        session: &str,
        backing: impl Into<Backing>,
        chain: &ChainView,
        now: Instant,
    ) -> Receipt {
        self.take(payment, session, &backing.into(), chain, now, Credit::Withheld)
    }

    fn take(
        &self,
        payment: &Payment,
        session: &str,
        backing: &Backing,
        chain: &ChainView,
        now: Instant,
        credit: Credit,
    ) -> Receipt {
        let Some(params) = &payment.params else {
            return Receipt::nothing();
        };
        let (price, recipient_rand) = match self.admit(payment, params, session, &backing.funds, chain.round) {
            Ok(admitted) => admitted,
            Err(error) => return Receipt::refused(error),
        };
        let ev = TicketEv::new(params.face_value, params.win_prob);
        if ev.is_zero() {
            // Tickets for free work: remembering them would let anybody fill the memory at no cost.
            return Receipt::nothing();
        }
        let (block, seen) = match self.look_up(payment, params, chain.block, now) {
            Ok(looked_up) => looked_up,
            Err(error) => return Receipt::refused(error),
        };
        let remembered = self.is_of_this_process(params);
        let mut receipt = Receipt::nothing();
        let examined: Vec<_> = payment
            .tickets
            .iter()
            .zip(seen)
            .map(|(own, seen)| (!seen).then(|| signed_from_params(params, payment.sender, own)))
            .map(|signed| signed.map(|signed| (signed, ticket_signer(&signed) == Ok(payment.sender))))
            .collect();
        let mut exposure = Exposure::new(backing, params.face_value, self.config.deposit_divisor);
        let mut books = self.books();
        for (own, examined) in payment.tickets.iter().zip(examined) {
            let Some((signed, authentic)) = examined else {
                receipt.error = Some(TicketError::NonceSeen { nonce: own.sender_nonce });
                continue;
            };
            if !authentic {
                receipt.error = Some(TicketError::Signature);
                continue;
            }
            let covered = exposure.covers_one_more();
            if wins(&signed, recipient_rand) {
                let params_expiration_block = params.expiration_block;
                receipt.winners.push(WinningTicket { signed, recipient_rand, params_expiration_block });
                exposure.won();
            }
            if credit == Credit::Withheld {
                continue;
            }
            let checked = match (remembered, covered) {
                (false, _) => Err(TicketError::ParamsExpired),
                (true, Err(shortfall)) => Err(TicketError::LowPmBalance(shortfall)),
                (true, Ok(())) => books.check_nonce(payment.sender, params, signed.ticket.sender_nonce, block),
            };
            match checked {
                Ok(()) if receipt.error.is_none() => receipt.credited += 1,
                Ok(()) => {}
                Err(error) => receipt.error = Some(error),
            }
        }
        if receipt.credited > 0 {
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

    /// Which numbers were seen before, and the newest block ever given. Takes the signatures of the rest off the sender's
    /// quota.
    fn look_up(
        &self,
        payment: &Payment,
        params: &TicketParams,
        block: u64,
        now: Instant,
    ) -> Result<(u64, Vec<bool>), TicketError> {
        let mut books = self.books();
        let block = books.nonces.prune(block);
        if !self.is_secret(params, block) {
            // They are expired too, so nothing could come of these signatures.
            return Err(TicketError::ParamsExpired);
        }
        let is_seen = |own: &TicketSig| books.nonces.contains(params.recipient_rand_hash, own.sender_nonce);
        let seen: Vec<bool> = payment.tickets.iter().map(is_seen).collect();
        let got = seen.iter().filter(|seen| !**seen).count();
        if got > 0 {
            books.recoveries.take(payment.sender, got, now).map_err(|left| TicketError::TooFast { got, left })?;
        }
        Ok((block, seen))
    }

    /// Whether nobody else can know the secret number of these params yet.
    fn is_secret(&self, params: &TicketParams, block: u64) -> bool {
        block < params.expiration_block.saturating_add(self.config.late_blocks)
    }

    /// The checks that void a whole payment. Nothing here costs more than two HMACs under each secret.
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
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        let quoted = secrets.quoted_rand(&self.config.domain, sender, params, price);
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

    /// What senders have left by session, that used last first, at most `max`.
    pub fn balances(&self, max: usize) -> Vec<SessionBalance> {
        self.books().accounts.newest(max)
    }

    /// What a session holds beside what is held for work under way; none if there is no such session.
    pub fn available(&self, sender: Address, session: &str) -> Option<Balance> {
        self.books().accounts.get(sender, session).map(|account| account.available())
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
        books.recoveries.prune(now);
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

/// Whether tickets earn credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Credit {
    Given,
    Withheld,
}

/// What a sender owes while its tickets are drawn.
struct Exposure {
    backing: Backing,
    face_value: U256,
    divisor: DepositDivisor,
    shortfall: Option<Shortfall>,
}

impl Exposure {
    fn new(backing: &Backing, face_value: U256, divisor: DepositDivisor) -> Self {
        Self { backing: *backing, face_value, divisor, shortfall: backing.shortfall(face_value, divisor) }
    }

    fn covers_one_more(&self) -> Result<(), Box<Shortfall>> {
        self.shortfall.map_or(Ok(()), |shortfall| Err(Box::new(shortfall)))
    }

    fn won(&mut self) {
        self.backing.pending = self.backing.pending.saturating_add(self.face_value);
        self.shortfall = self.backing.shortfall(self.face_value, self.divisor);
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
