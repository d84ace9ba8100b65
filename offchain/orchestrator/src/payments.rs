//! Being paid: quotes, tickets, balances. Winners are on the disk before anybody gets an answer.
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};

use alloy_primitives::{Address, B256, Sign, U256};
use streamflow_pm::{
    AccountLimits, Backing, DepositDivisor, GasMeter, GasTotals, Payment, QuoteDomain, QuoteError, QuoteRequest,
    QuoteSecrets, Receipt, ReceiptDomain, Recipient, RecipientConfig, RecoveryQuota, SessionBalance, TicketError,
    TicketPolicy, TicketSigner, ticket_hash,
};
use streamflow_store::{Delivered, Store, StoreError};
use streamflow_types::{ChainView, Price, Round, SenderFunds, TicketParams, WinningTicket};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

use crate::{
    chain::{ChainDeps, ChainUnavailable, ChainWatch},
    closing::Closing,
    config::{OrchestratorConfig, TicketConfig},
    gatekeeper::Gatekeeper,
    metrics,
    outstanding::Outstanding,
    serials::Serials,
    turns::Turns,
};

/// Tickets of one payment that are checked where they arrive. Hundreds take milliseconds of curve arithmetic, and go to
/// another thread; a few take less time than handing them over.
const MOST_AT_ONCE: usize = 4;
/// Attempts to store winners, and the pause between them.
const STORE_ATTEMPTS: u32 = 5;
const STORE_PAUSE: Duration = Duration::from_millis(100);
/// Winners held in memory while the store fails.
const MAX_UNSAVED: usize = 10_000;
const UPKEEP_INTERVAL: Duration = Duration::from_secs(2);
/// Time between two looks at what redemption takes: it goes through all redemptions.
const GAS_INTERVAL: Duration = Duration::from_secs(600);

/// Balances that the status lists at most.
const LISTED_BALANCES: usize = 256;

/// In place of a chain that nothing is known of since the start. Every quote was made by an earlier run then, so nothing
/// earns credit.
const NOT_SEEN: ChainView = ChainView {
    block: 0,
    round: Round(0),
    round_block_hash: B256::ZERO,
    round_initialized: false,
    pool_size: 0,
    base_fee: 0,
};

/// Why a payment is refused, or terms are not offered.
#[derive(Debug, thiserror::Error)]
pub enum PaymentError {
    /// The chain is out of sight.
    #[error(transparent)]
    Chain(#[from] ChainUnavailable),
    /// Redemption would fail. The wording is matched by peers.
    #[error("orchestrator {orchestrator} is inactive in round {round}, cannot process payments")]
    Inactive {
        /// This node's account.
        orchestrator: Address,
        /// The last initialised round.
        round: Round,
    },
    /// Something is wrong with a ticket or its price.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// No terms for this sender.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// The worth of one ticket has to be there before work that is not free. The wording is matched by peers.
    #[error("Insufficient balance")]
    InsufficientBalance {
        /// Wei of the session that are not held for other work, rounded down.
        balance: String,
        /// Wei that the work will about cost, or one ticket's worth if that is more; rounded up.
        needed: U256,
    },
    /// The store has not taken notice of this node, so the keeper may pass over what it would win.
    #[error("no tickets are taken: the store has not heard of this node for {seconds} s")]
    Unheard {
        /// Since when.
        seconds: u64,
    },
    /// Winners could not be kept, or counted.
    #[error("tickets cannot be stored")]
    Store(#[from] StoreError),
    /// The task that stores winners was ended.
    #[error("the node is stopping")]
    Stopping,
}

/// The payment desk of a node with a chain. Clones share it.
#[derive(Clone)]
pub(crate) struct Payments(Arc<Inner>);

impl std::fmt::Debug for Payments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Payments").field("recipient", &self.0.recipient).finish_non_exhaustive()
    }
}

struct Inner {
    chain: ChainWatch,
    active: watch::Receiver<bool>,
    recipient: Recipient,
    serials: Serials,
    closing: Closing,
    signer: Arc<dyn TicketSigner>,
    store: Store,
    outstanding: Outstanding,
    domain: QuoteDomain,
    receipts: Option<ReceiptDomain>,
    price: RwLock<Price>,
    /// Of single accounts.
    prices: RwLock<BTreeMap<Address, Price>>,
    gatekeeper: Arc<Gatekeeper>,
    /// Whether quotes get serials. A redeemer elsewhere hears of winners late, and may pass a key before it has them all: for
    /// it there is no order.
    ordered: bool,
    secrets: watch::Receiver<QuoteSecrets>,
    turns: Turns,
    /// Winners that the store did not take.
    unsaved: Mutex<Vec<WinningTicket>>,
    /// Held while those are being stored: nobody else takes any out.
    catching_up: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
}

impl Payments {
    pub(crate) fn new(deps: &ChainDeps, config: &OrchestratorConfig, gatekeeper: Arc<Gatekeeper>) -> Self {
        let accounts = AccountLimits { idle: config.balance_idle, ..AccountLimits::default() };
        let recipient = RecipientConfig {
            accounts,
            recoveries: recovery_quota(&config.tickets),
            deposit_divisor: DepositDivisor::from(config.tickets.deposit_divisor),
            late_blocks: deps.late_blocks,
            deployment: deps.deployment,
            ..RecipientConfig::new(deps.signer.address(), deps.domain, policy(&config.tickets))
        };
        Self(Arc::new(Inner {
            chain: ChainWatch::new(deps, config.max_chain_age),
            active: deps.active.clone(),
            serials: Serials::new(deps.store.clone(), deps.domain, recipient.recipient),
            closing: Closing::new(deps.store.clone(), deps.domain, recipient.recipient),
            recipient: Recipient::new(recipient, deps.secrets.borrow().clone()),
            signer: Arc::clone(&deps.signer),
            store: deps.store.clone(),
            outstanding: Outstanding::new(deps.store.clone()),
            domain: deps.domain,
            receipts: deps.receipts,
            price: RwLock::new(config.price),
            prices: RwLock::new(config.prices.clone()),
            gatekeeper,
            ordered: config.redeemer.is_none(),
            secrets: deps.secrets.clone(),
            turns: Turns::default(),
            unsaved: Mutex::default(),
            catching_up: tokio::sync::Mutex::default(),
            tasks: TaskTracker::new(),
        }))
    }

    /// This node's account.
    pub(crate) fn address(&self) -> Address {
        self.0.recipient.address()
    }

    /// Where receipts count.
    pub(crate) fn receipt_domain(&self) -> Option<ReceiptDomain> {
        self.0.receipts
    }

    /// The round that work is done in, if the chain is in sight.
    pub(crate) fn round(&self) -> Option<Round> {
        self.0.chain.current().ok().map(|view| view.round)
    }

    pub(crate) fn signer(&self) -> &dyn TicketSigner {
        self.0.signer.as_ref()
    }

    /// The chain as it is seen now.
    pub(crate) fn chain_view(&self) -> Result<ChainView, ChainUnavailable> {
        self.0.chain.current()
    }

    /// Changes what sessions that begin from now on are asked.
    pub(crate) fn set_price(&self, price: Price) {
        *self.0.price.write().unwrap_or_else(PoisonError::into_inner) = price;
    }

    /// Asks these of single accounts from now on, in sessions that begin.
    pub(crate) fn set_prices(&self, prices: BTreeMap<Address, Price>) {
        *self.0.prices.write().unwrap_or_else(PoisonError::into_inner) = prices;
    }

    /// Quotes no face value above this from now on, wei; 0 sets no limit.
    pub(crate) fn set_max_face_value(&self, wei: U256) {
        self.0.recipient.set_max_face_value(Some(wei).filter(|wei| !wei.is_zero()));
    }

    /// What a session is asked: the price it began at, or today's; that is the webhook's for this sender, or the operator's for
    /// this sender, or that for everybody.
    pub(crate) fn price(&self, sender: Address, session: &str) -> Price {
        let everybody = || *self.0.price.read().unwrap_or_else(PoisonError::into_inner);
        let listed = || self.0.prices.read().unwrap_or_else(PoisonError::into_inner).get(&sender).copied();
        let own = || self.0.gatekeeper.price(sender).or_else(listed);
        let today = || own().unwrap_or_else(everybody);
        self.0.recipient.pinned_price(sender, session).unwrap_or_else(today)
    }

    /// What a session that was paid for is asked.
    pub(crate) fn pinned_price(&self, sender: Address, session: &str) -> Option<Price> {
        self.0.recipient.pinned_price(sender, session)
    }

    /// What senders have left, by session.
    pub(crate) fn balances(&self) -> Vec<SessionBalance> {
        self.0.recipient.balances(LISTED_BALANCES)
    }

    /// Terms for the sender's next tickets.
    pub(crate) async fn quote(&self, sender: Address, price: Price) -> Result<TicketParams, PaymentError> {
        let chain = self.0.chain.current()?;
        // Not before the store knows this desk: the keeper must wait for it to close what it quotes.
        if self.0.closing.unheard_for().is_some() {
            self.close_params(chain.block).await?;
        }
        let funds = match price.is_free() {
            true => SenderFunds::default(),
            false => self.0.chain.funds(sender).await?,
        };
        let pending = self.0.outstanding.of(sender).await?;
        let request = QuoteRequest { sender, price, funds: &funds, pending, gas_price: chain.base_fee, chain: &chain };
        // Free tickets never win, so they need no place in the order. A store that gives no serials would not take winners
        // either: then nothing is sold.
        let slot = match price.is_free() || !self.0.ordered {
            true => None,
            false => self.0.serials.draw(self.0.recipient.policy(), &chain).await?,
        };
        let ordered = slot.is_some();
        let params = self.0.recipient.quote(&request, slot, &mut rand::rng())?;
        metrics::quoted(ordered);
        Ok(params)
    }

    /// Takes a payment for a session. What it won is on the disk when this returns, whatever it returns, unless that
    /// is [`PaymentError::Store`]; and that is so even if the caller gives up waiting.
    #[tracing::instrument(name = "payment", skip_all, fields(sender = %payment.sender, tickets = payment.tickets.len()))]
    pub(crate) async fn receive(&self, payment: Payment, session: &str) -> Result<(), PaymentError> {
        if payment.params.is_none() {
            return self.check_price(&payment, session);
        }
        // The sender counts the tickets as spent whatever we answer. So what wins is kept even if the chain is out of
        // sight, or cannot be redeemed before the next round; the request is refused afterwards.
        let (chain, stale) = self.0.chain.newest().unwrap_or_else(|unknown| (NOT_SEEN, Some(unknown)));
        let inactive = || PaymentError::Inactive { orchestrator: self.address(), round: chain.round };
        let inactive = (chain != NOT_SEEN && !*self.0.active.borrow()).then(inactive);
        let (funds, unknown) = match self.0.chain.funds(payment.sender).await {
            Ok(funds) => (funds, None),
            Err(unavailable) => (SenderFunds::default(), Some(unavailable)),
        };
        // As before a quote: a node that has just started is known to the store before it takes what is owed to it.
        if self.0.closing.unheard_for().is_some()
            && chain != NOT_SEEN
            && let Err(error) = self.close_params(chain.block).await
        {
            tracing::warn!(%error, "the store has not heard of this node");
        }
        let unheard = self.0.closing.unheard_for();
        let earns = inactive.is_none() && stale.is_none() && unknown.is_none() && unheard.is_none();
        let task = self.clone().take(payment, session.to_owned(), funds, chain, earns);
        self.0.tasks.spawn(task.in_current_span()).await.unwrap_or(Err(PaymentError::Stopping))?;
        let unavailable = stale.or(unknown).map(PaymentError::from);
        let unheard = unheard.map(|silence| PaymentError::Unheard { seconds: silence.as_secs() });
        inactive.or(unavailable).or(unheard).map_or(Ok(()), Err)
    }

    /// A payment without tickets names a price too.
    fn check_price(&self, payment: &Payment, session: &str) -> Result<(), PaymentError> {
        let pinned = self.0.recipient.pinned_price(payment.sender, session);
        match payment.expected_price.zip(pinned) {
            Some((got, pinned)) if got < pinned => Err(TicketError::PriceBelowPinned { got, pinned }.into()),
            _ => Ok(()),
        }
    }

    async fn take(
        self,
        payment: Payment,
        session: String,
        funds: SenderFunds,
        chain: ChainView,
        earns: bool,
    ) -> Result<(), PaymentError> {
        let _under_way = self.0.closing.begin(chain.block);
        let _turn = self.0.turns.of(payment.sender).await;
        let (pending, unread) = match self.0.outstanding.of(payment.sender).await {
            Ok(pending) => (pending, None),
            Err(error) => (U256::MAX, Some(error)),
        };
        let backing = Backing { funds, pending };
        let earns = earns && unread.is_none();
        let desk = self.clone();
        let (sender, session_id) = (payment.sender, session.clone());
        let few = payment.tickets.len() <= MOST_AT_ONCE;
        let check = move || match earns {
            true => desk.0.recipient.receive(&payment, &session, backing, &chain, Instant::now()),
            false => desk.0.recipient.salvage(&payment, &session, backing, &chain, Instant::now()),
        };
        let receipt: Receipt = match few {
            true => check(),
            false => tokio::task::spawn_blocking(check).await.map_err(|_| PaymentError::Stopping)?,
        };
        metrics::tickets(receipt.credited as u64, receipt.winners.len() as u64);
        tracing::debug!(
            session = session_id,
            credited = receipt.credited,
            won = receipt.winners.len(),
            "tickets taken"
        );
        for winner in &receipt.winners {
            // The keeper tells of it under the same name.
            tracing::info!(ticket = %ticket_hash(&winner.signed.ticket), session = session_id, "ticket won");
        }
        if !receipt.winners.is_empty() && !self.keep(&receipt.winners).await?.late.is_empty() {
            self.0.recipient.take_back(sender, &session_id, receipt.credit);
            return Err(TicketError::ParamsExpired.into());
        }
        if let Some(unread) = unread {
            return Err(unread.into());
        }
        receipt.error.map_or(Ok(()), |error| Err(error.into()))
    }

    /// A winner that is never stored is lost, because its number counts as seen: what cannot be stored now is tried again
    /// later.
    async fn keep(&self, winners: &[WinningTicket]) -> Result<Delivered, StoreError> {
        let delivered = self.deliver(winners).await;
        self.0.outstanding.changed(winners.iter().map(|winner| winner.signed.ticket.sender));
        delivered
    }

    async fn deliver(&self, winners: &[WinningTicket]) -> Result<Delivered, StoreError> {
        let mut attempt = 1;
        loop {
            match self.0.store.deliver(&self.0.domain, winners).await {
                Err(error) if error.is_transient() && attempt < STORE_ATTEMPTS => {
                    tracing::warn!(%error, attempt, "winning tickets not stored yet");
                    tokio::time::sleep(STORE_PAUSE * attempt).await;
                    attempt += 1;
                }
                Err(error) => {
                    self.put_off(winners, &error);
                    return Err(error);
                }
                Ok(delivered) => {
                    if !delivered.late.is_empty() {
                        tracing::error!(tickets = ?delivered.late, "winning tickets came after their keys were passed");
                    }
                    return Ok(delivered);
                }
            }
        }
    }

    fn put_off(&self, winners: &[WinningTicket], error: &StoreError) {
        let mut unsaved = self.unsaved();
        let room = MAX_UNSAVED.saturating_sub(unsaved.len());
        unsaved.extend(winners.iter().take(room));
        let lost = winners.len().saturating_sub(room);
        tracing::error!(%error, waiting = unsaved.len(), lost, "winning tickets cannot be stored");
    }

    /// Stores what could not be stored before.
    async fn catch_up(&self) {
        let _alone = self.0.catching_up.lock().await;
        // They count as unsaved until they are on the disk.
        let waiting = self.unsaved().clone();
        if waiting.is_empty() {
            return;
        }
        match self.0.store.deliver(&self.0.domain, &waiting).await {
            Ok(Delivered { new, late }) if late.is_empty() => {
                self.unsaved().drain(..waiting.len());
                tracing::info!(new, "winning tickets stored late");
            }
            // They have earned their credit. A batch that passed them need not have been mined: the keeper finds out.
            Ok(Delivered { late, .. }) => match self.0.store.insert_winners(&waiting).await {
                Ok(_) => {
                    self.unsaved().drain(..waiting.len());
                    tracing::error!(tickets = ?late, "winning tickets were stored after a batch that passes them");
                }
                Err(error) => tracing::error!(%error, waiting = waiting.len(), "winning tickets cannot be stored"),
            },
            Err(error) => tracing::error!(%error, waiting = waiting.len(), "winning tickets cannot be stored"),
        }
        self.0.outstanding.changed(waiting.iter().map(|winner| winner.signed.ticket.sender));
    }

    fn unsaved(&self) -> MutexGuard<'_, Vec<WinningTicket>> {
        self.0.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether work of about `pixels` for the session may begin: it is free, or its cost and the worth of one ticket are
    /// there, besides what other work under way will cost.
    pub(crate) fn gate(&self, sender: Address, session: &str, pixels: u64) -> Result<Hold, PaymentError> {
        let free = self.price(sender, session).is_free();
        if !free && !self.0.recipient.hold(sender, session, pixels, Instant::now()) {
            return Err(self.insufficient(sender, session, pixels));
        }
        let pixels = if free { 0 } else { pixels };
        Ok(Hold { payments: self.clone(), sender, session: session.to_owned(), pixels })
    }

    fn insufficient(&self, sender: Address, session: &str, pixels: u64) -> PaymentError {
        let available = self.0.recipient.available(sender, session);
        let (sign, wei) = available.map_or((Sign::Positive, U256::ZERO), |balance| balance.floor_wei());
        let price = self.price(sender, session);
        let (wei_per_unit, unit) = (U256::from(price.wei_per_unit()), U256::from(price.pixels_per_unit()));
        // 64 bits times 64 bits do not overflow; a price has at least one pixel.
        let cost = (U256::from(pixels) * wei_per_unit).div_ceil(unit);
        PaymentError::InsufficientBalance {
            balance: format!("{}{wei}", if sign == Sign::Negative { "-" } else { "" }),
            needed: cost.max(self.0.recipient.policy().ev),
        }
    }

    /// Follows the chain and forgets what is old, until `stop`.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        let tasks =
            (self.0.chain.follow(stop.clone()), self.follow_secrets(stop.clone()), self.learn_gas(stop.clone()));
        tokio::join!(tasks.0, tasks.1, tasks.2, self.upkeep(stop));
    }

    /// Quotes under the newest secret.
    async fn follow_secrets(&self, stop: CancellationToken) {
        let mut secrets = self.0.secrets.clone();
        loop {
            let newest = secrets.borrow_and_update().clone();
            self.0.recipient.set_secrets(newest);
            tokio::select! { biased;
                () = stop.cancelled() => return,
                changed = secrets.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Quotes by what our own redemptions took.
    async fn learn_gas(&self, stop: CancellationToken) {
        let configured = self.0.recipient.policy().redeem_gas;
        let mut meter = GasMeter::default();
        let mut tick = tokio::time::interval(GAS_INTERVAL);
        loop {
            tokio::select! { biased;
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            match self.0.store.redemption_summary().await {
                Ok(sum) => {
                    meter.observe(GasTotals { tickets: sum.redeemed, gas: sum.gas_used });
                    let gas = meter.per_ticket(configured);
                    self.0.recipient.set_redeem_gas(gas);
                    metrics::redeem_gas(gas);
                    tracing::debug!(gas, tickets = sum.redeemed, "gas of a redemption");
                }
                Err(error) => tracing::warn!(%error, "cannot read what redemptions took"),
            }
        }
    }

    async fn upkeep(&self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            tokio::select! { biased;
                () = stop.cancelled() => return,
                _ = tick.tick() => {
                    self.0.turns.prune();
                    self.catch_up().await;
                    let block = self.0.chain.current().map_or(0, |chain| chain.block);
                    if let Err(error) = self.close_params(block).await {
                        tracing::warn!(%error, block, "cannot tell the keeper which params are closed");
                    }
                }
            }
        }
    }

    /// Forgets params that expired by `block`, and tells the keeper so.
    async fn close_params(&self, block: u64) -> Result<(), StoreError> {
        // First: nothing is credited on them from here on.
        self.0.recipient.prune(Instant::now(), block);
        let first_unsaved = self.unsaved().iter().map(|winner| winner.params_expiration_block).min();
        self.0.closing.tell(block, first_unsaved).await
    }

    /// Returns when every payment that was begun is stored.
    pub(crate) async fn drain(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.catch_up().await;
        if self.unsaved().is_empty()
            && let Err(error) = self.0.closing.leave().await
        {
            tracing::warn!(%error, "the keeper waits for this desk until its time is over");
        }
    }
}

/// Credit set aside for work under way. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    payments: Payments,
    sender: Address,
    session: String,
    pixels: u64,
}

impl Hold {
    /// Takes the cost of what was encoded, at the session's own price, in place of what was held.
    pub(crate) fn debit(mut self, pixels: u64) {
        self.give_back(pixels);
    }

    fn give_back(&mut self, pixels: u64) {
        let (session, held) = (self.session.as_str(), std::mem::take(&mut self.pixels));
        let left = self.payments.0.recipient.debit(self.sender, session, held, pixels, Instant::now());
        if let Some(balance) = left {
            tracing::debug!(sender = %self.sender, session, pixels, %balance, "debited");
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.pixels > 0 {
            self.give_back(0);
        }
    }
}

fn recovery_quota(config: &TicketConfig) -> RecoveryQuota {
    RecoveryQuota { per_second: config.max_per_second, burst: config.max_burst }
}

fn policy(config: &TicketConfig) -> TicketPolicy {
    TicketPolicy {
        ev: config.ev,
        redeem_gas: config.redeem_gas,
        tx_cost_multiplier: config.tx_cost_multiplier,
        min_gas_price: config.min_gas_price.into(),
        max_face_value: Some(config.max_face_value).filter(|wei| !wei.is_zero()),
        params_life_blocks: config.params_life_blocks,
    }
}
