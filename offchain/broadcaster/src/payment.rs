//! Paying for segments with tickets (payments.md §1.6, §1.9).
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Instant,
};

use alloy_primitives::{Address, B256, U256};
use streamflow_pm::{
    AccountLimits, Outcome, Payment, ReceiptDomain, Sender, SenderError, SenderLimits, SessionBalance, Spending, Stage,
    TicketEv, TicketSigner, unlocks_soon,
};
use streamflow_store::{Store, StoreError};
use streamflow_types::{ChainView, Price, Profile, SenderFunds, TicketParams};
use tokio::sync::watch;

use crate::{
    budget::{Clock, DayBudget, StreamBudget, Taken},
    config::{BroadcasterConfig, BudgetConfig, PaymentConfig},
    error::{BadTerms, Cure, PaymentError, Refusal},
    metrics,
    remote::RemoteSigner,
    status::BudgetStatus,
    top_up::{DepositTopUp, TopUp},
};

/// Balances that the status lists at most.
const LISTED_BALANCES: usize = 256;
/// By how many blocks an orchestrator's view of the chain may be ahead of ours.
const SOON_BLOCKS: u64 = 5;

/// Whether orchestrators are paid.
#[derive(Debug)]
pub enum Payments {
    /// No chain, no tickets, nothing signed (node.md §2.2).
    OffChain,
    /// Tickets from this account.
    OnChain(Funding),
    /// Tickets that a signer makes; no key here, and no chain.
    Remote(RemoteSigner),
}

/// What paying needs.
pub struct Funding {
    /// Signs tickets, segments and requests for quotes.
    pub signer: Arc<dyn TicketSigner>,
    /// The chain; `None` until it is known.
    pub chain: watch::Receiver<Option<ChainView>>,
    /// The signer's funds in TicketBroker; `None` until they are known.
    pub funds: watch::Receiver<Option<SenderFunds>>,
    /// Keeps the nonces used.
    pub store: Store,
    /// Tag that tickets are bound to where an orchestrator takes such; none if the contract does not.
    pub deployment: Option<B256>,
    /// Where receipts of orchestrators count; none while nobody judges challenges.
    pub receipts: Option<ReceiptDomain>,
    /// Tells the day that a budget is for.
    pub clock: Clock,
    /// Adds to the deposit where the settings ask for it; none if nobody can.
    pub top_up: Option<Arc<dyn DepositTopUp>>,
}

impl fmt::Debug for Funding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Funding").field("sender", &self.signer.address()).finish_non_exhaustive()
    }
}

/// Pays for all streams from one account.
#[derive(Debug)]
pub(crate) struct Payer {
    funding: Funding,
    sender: Sender,
    spending: Spending,
    limits: RwLock<PaymentConfig>,
    budget: DayBudget,
    sent: Mutex<Sent>,
}

/// Tickets that left, all sessions together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) tickets: u64,
    /// Expected, wei.
    pub(crate) value: U256,
}

/// What a session charges, and how it takes tickets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charge<'a> {
    pub(crate) recipient: Address,
    pub(crate) session: &'a str,
    pub(crate) price: Price,
    /// Commitment of its newest params.
    pub(crate) commitment: B256,
}

/// A payment ready to leave.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) payment: Payment,
    pub(crate) stage: Stage,
    /// Expected value of its tickets, wei, rounded down.
    pub(crate) value: U256,
    taken: Taken,
}

impl Payer {
    pub(crate) fn new(funding: Funding, config: &PaymentConfig, budget: &BudgetConfig) -> Self {
        let (account, clock) = (funding.signer.address(), funding.clock.clone());
        let budget = DayBudget::new(budget, account, funding.store.clone(), clock);
        let sender = Sender::new(funding.signer.clone(), sender_limits(config)).bound_to(funding.deployment);
        let spending = Spending::new(AccountLimits::default());
        Self { funding, sender, spending, limits: RwLock::new(config.clone()), budget, sent: Mutex::default() }
    }

    /// Changes what is paid at most, from the next payment on.
    pub(crate) fn set_limits(&self, config: &PaymentConfig, budget: &BudgetConfig) {
        self.sender.set_limits(sender_limits(config));
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = config.clone();
        self.budget.set_limit(budget.per_day);
    }

    pub(crate) fn signer(&self) -> &dyn TicketSigner {
        &*self.funding.signer
    }

    /// The same for what goes on by itself.
    pub(crate) fn shared_signer(&self) -> Arc<dyn TicketSigner> {
        self.funding.signer.clone()
    }

    /// Where receipts count.
    pub(crate) fn receipts(&self) -> Option<ReceiptDomain> {
        self.funding.receipts
    }

    pub(crate) fn store(&self) -> &Store {
        &self.funding.store
    }

    /// Unix seconds.
    pub(crate) fn now(&self) -> u64 {
        (self.funding.clock)()
    }

    pub(crate) fn chain(&self) -> Result<ChainView, Refusal> {
        (*self.funding.chain.borrow()).ok_or(Refusal::ChainUnknown)
    }

    pub(crate) fn funds(&self) -> Result<SenderFunds, Refusal> {
        (*self.funding.funds.borrow()).ok_or(Refusal::FundsUnknown)
    }

    /// Whether paying is possible at all.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        use streamflow_pm::FundsError;
        let (chain, funds) = (self.chain()?, self.funds()?);
        if unlocks_soon(&funds, chain.round) {
            return Err(Refusal::Funds(FundsError::UnlockingSoon { withdraw_round: funds.withdraw_round }));
        }
        if funds.reserve.is_zero() && funds.committed.is_zero() {
            return Err(Refusal::Funds(FundsError::NoReserve));
        }
        if funds.deposit.is_zero() {
            return Err(Refusal::Funds(FundsError::NoDeposit));
        }
        Ok(())
    }

    /// Takes params into use. If tickets were signed on them before, perhaps by an earlier run, goes on after those.
    pub(crate) async fn accept(&self, params: TicketParams, now: Instant) -> Result<B256, PaymentError> {
        let used = self.funding.store.last_nonce(params.recipient_rand_hash).await?.unwrap_or(0);
        Ok(self.sender.start_session_with_nonce(params, used, now)?)
    }

    /// Signs the tickets for a segment that is about to be sent. Their nonces are on the disk when this returns.
    pub(crate) async fn prepare(
        &self,
        charge: Charge<'_>,
        stream: &StreamBudget,
        profiles: &[Profile],
        millis: u64,
        now: Instant,
    ) -> Result<Prepared, PaymentError> {
        let (chain, funds) = (self.chain()?, self.funds()?);
        let pixels = streamflow_pm::with_estimate_margin(streamflow_pm::estimated_pixels(profiles, millis));
        let ev = self.sender.ticket_ev(charge.commitment).unwrap_or(TicketEv::ZERO);
        let stage = self.spending.stage(charge.recipient, charge.session, charge.price, pixels, ev)?;
        let count = stage.tickets();
        let value = ev.times(count);
        let taken = match self.budget.take(stream, value.ceil_wei()).await {
            Ok(taken) => taken,
            Err(error) => {
                self.spending.complete(stage, Outcome::NotSent, now);
                return Err(error);
            }
        };
        let signed = async {
            let payment = self.sender.pay(charge.commitment, count, charge.price, &funds, &chain, now);
            let payment = payment.map_err(|error| self.explain(error, charge.commitment, &funds, &chain))?;
            self.persist(&payment).await?;
            Ok(payment)
        };
        match signed.await {
            Ok(payment) => {
                tracing::debug!(tickets = payment.tickets.len(), value = %value.floor_wei(), "tickets signed");
                Ok(Prepared { payment, stage, value: value.floor_wei(), taken })
            }
            Err(error) => {
                self.spending.complete(stage, Outcome::NotSent, now);
                self.budget.give_back(taken).await;
                Err(error)
            }
        }
    }

    /// Says what would help against terms that are not accepted.
    fn explain(&self, error: SenderError, session: B256, funds: &SenderFunds, chain: &ChainView) -> PaymentError {
        match error {
            SenderError::Params(error) => {
                let face_value = self.sender.params(session).map(|params| params.face_value).unwrap_or_default();
                let multiplier = self.limits.read().unwrap_or_else(PoisonError::into_inner).deposit_multiplier;
                let needs = face_value.saturating_mul(U256::from(multiplier));
                let cure = Cure::new(&error, needs, funds, chain);
                metrics::refused_terms(error.remedy());
                PaymentError::Terms(Box::new(BadTerms { error, cure }))
            }
            other => other.into(),
        }
    }

    /// Tops the deposit up, if that is wanted and can be done.
    pub(crate) fn top_up(&self, config: &BroadcasterConfig) -> Option<(TopUp, Clock)> {
        let (config, hook) = (config.top_up.clone()?, self.funding.top_up.clone()?);
        let top_up = TopUp::new(hook, config, self.funding.store.clone(), self.signer().address());
        Some((top_up, self.funding.clock.clone()))
    }

    /// What is spent, and how long the deposit lasts.
    pub(crate) fn budget_status(&self, config: &BudgetConfig, now: Instant) -> BudgetStatus {
        let deposit = (*self.funding.funds.borrow()).map(|funds| funds.deposit);
        self.budget.status(config, deposit, now)
    }

    /// Keeps the highest number used.
    async fn persist(&self, payment: &Payment) -> Result<(), StoreError> {
        let (Some(params), Some(last)) = (payment.params, payment.last_nonce()) else { return Ok(()) };
        self.funding.store.record_nonce(params.recipient_rand_hash, params.expiration_block, last).await
    }

    /// Counts tickets that left, and their expected value in wei.
    pub(crate) fn sent(&self, tickets: u64, value: U256) {
        self.budget.left(value, Instant::now());
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.tickets += tickets;
        sent.value = sent.value.saturating_add(value);
    }

    pub(crate) fn total_sent(&self) -> Sent {
        *self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes a payment. `outcome` says what the orchestrator holds for us (node.md §2.5); tickets that may have left are
    /// spent from the budgets even if it holds nothing.
    pub(crate) async fn complete(&self, prepared: Prepared, outcome: Outcome, may_have_left: bool, now: Instant) {
        self.spending.complete(prepared.stage, outcome, now);
        if !may_have_left {
            self.budget.give_back(prepared.taken).await;
        }
    }

    /// Credit with orchestrators, by session.
    pub(crate) fn balances(&self) -> Vec<SessionBalance> {
        self.spending.balances(LISTED_BALANCES)
    }

    /// Forgets a session that is over, with what it had left.
    pub(crate) fn end_session(&self, recipient: Address, session: &str) {
        self.spending.end_session(recipient, session);
    }

    /// Whether a refusal of these params as expired leaves open why: they are about to expire by the chain as it is seen here.
    /// Refused long before, the orchestrator has lost its memory, and our credit with it.
    pub(crate) fn expires_soon(&self, commitment: B256) -> bool {
        let (Ok(chain), Some(params)) = (self.chain(), self.sender.params(commitment)) else { return true };
        params.expiration_block <= chain.block.saturating_add(SOON_BLOCKS)
    }

    /// Forgets what no orchestrator takes any more.
    pub(crate) async fn prune(&self, now: Instant) -> Result<(), StoreError> {
        self.spending.prune(now);
        let Ok(chain) = self.chain() else { return Ok(()) };
        self.sender.prune(now, chain.block);
        self.funding.store.prune_nonces(chain.block).await?;
        Ok(())
    }
}

fn sender_limits(config: &PaymentConfig) -> SenderLimits {
    SenderLimits {
        max_ticket_ev: config.max_ticket_ev,
        max_total_ev: config.max_total_ev,
        deposit_multiplier: config.deposit_multiplier,
        ..SenderLimits::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use streamflow_pm::{FundsError, KeySigner};
    use streamflow_types::{Expiration, Round, WinProb};

    use super::*;

    const CHAIN: ChainView = ChainView {
        block: 100,
        round: Round(7),
        round_block_hash: B256::repeat_byte(3),
        round_initialized: true,
        pool_size: 2,
        base_fee: 1,
    };

    fn funds() -> SenderFunds {
        SenderFunds {
            deposit: U256::from(1_000_000_u64),
            reserve: U256::from(1_000_000_u64),
            pool_size: 2,
            ..SenderFunds::default()
        }
    }

    fn params() -> TicketParams {
        TicketParams {
            recipient: Address::repeat_byte(9),
            face_value: U256::from(1000_u64),
            win_prob: WinProb(U256::MAX / U256::from(4_u64)),
            recipient_rand_hash: B256::repeat_byte(5),
            seed: U256::from(1_u64),
            expiration_block: 140,
            expiration: Expiration { creation_round: Round(7), creation_round_block_hash: B256::repeat_byte(3) },
            deployment: None,
        }
    }

    fn payer(store: Store, chain: Option<ChainView>, funds: Option<SenderFunds>) -> Payer {
        let signer = Arc::new(KeySigner::from_bytes([1; 32]).unwrap());
        let (_, chain) = watch::channel(chain);
        let (_, funds) = watch::channel(funds);
        let (deployment, clock, top_up) = (None, Arc::new(|| 0_u64) as Clock, None);
        let funding = Funding { signer, chain, funds, store, deployment, receipts: None, clock, top_up };
        Payer::new(funding, &PaymentConfig::default(), &BudgetConfig::default())
    }

    fn charge(commitment: B256) -> Charge<'static> {
        let price = Price::new(1, 10_000).unwrap();
        Charge { recipient: Address::repeat_byte(9), session: "s", price, commitment }
    }

    fn profiles() -> Vec<Profile> {
        vec![Profile { fps: 25, ..Profile::new("a", 200, 100, 1).unwrap() }]
    }

    #[tokio::test]
    async fn restart_goes_on_after_the_nonces_used() {
        let store = Store::in_memory().await.unwrap();
        let now = Instant::now();
        let mut seen = Vec::new();
        for _ in 0..3 {
            let payer = payer(store.clone(), Some(CHAIN), Some(funds()));
            let commitment = payer.accept(params(), now).await.unwrap();
            let mut charge = charge(commitment);
            // 1,000,000 pixels of 2 s and 2 % cost 10,200 wei: 41 tickets of 250 wei less a rounding.
            charge.price = Price::new(1, 100).unwrap();
            let paid = payer.prepare(charge, &StreamBudget::default(), &profiles(), 2000, now).await.unwrap();
            seen.extend(paid.payment.tickets.iter().map(|ticket| ticket.sender_nonce));
            payer.complete(paid, Outcome::Lost, true, now).await;
        }
        assert!(seen.len() > 100, "{}", seen.len());
        assert_eq!(seen, (1..=u32::try_from(seen.len()).unwrap()).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn change_pays_for_the_next_segment() {
        let payer = payer(Store::in_memory().await.unwrap(), Some(CHAIN), Some(funds()));
        let now = Instant::now();
        let commitment = payer.accept(params(), now).await.unwrap();
        let first = payer.prepare(charge(commitment), &StreamBudget::default(), &profiles(), 2000, now).await.unwrap();
        assert_eq!(first.payment.tickets.len(), 1); // 102 wei cost, one ticket is worth 249
        payer.complete(first, Outcome::Served { pixels: 1_000_000 }, true, now).await;
        let second = payer.prepare(charge(commitment), &StreamBudget::default(), &profiles(), 2000, now).await.unwrap();
        assert_eq!(second.payment.tickets.len(), 1); // the orchestrator wants one ticket's worth
        payer.complete(second, Outcome::Served { pixels: 1_000 }, true, now).await;
        let third = payer.prepare(charge(commitment), &StreamBudget::default(), &profiles(), 2000, now).await.unwrap();
        assert_eq!(third.payment.tickets.len(), 0);
        assert_eq!(third.value, U256::ZERO);
    }

    #[tokio::test]
    async fn expired_params_ask_for_a_new_quote_and_are_not_signed() {
        let payer = payer(Store::in_memory().await.unwrap(), Some(ChainView { block: 139, ..CHAIN }), Some(funds()));
        let now = Instant::now();
        let commitment = payer.accept(params(), now).await.unwrap();
        let refused =
            payer.prepare(charge(commitment), &StreamBudget::default(), &profiles(), 2000, now).await.unwrap_err();
        assert!(refused.wants_new_quote(), "{refused}");
        assert_eq!(payer.funding.store.last_nonce(params().recipient_rand_hash).await.unwrap(), None);
    }

    #[tokio::test]
    async fn new_limits_hold_from_the_next_payment_on() {
        let payer = payer(Store::in_memory().await.unwrap(), Some(CHAIN), Some(funds()));
        let now = Instant::now();
        let commitment = payer.accept(params(), now).await.unwrap();
        let pay = async || payer.prepare(charge(commitment), &StreamBudget::default(), &profiles(), 2000, now).await;
        let paid = pay().await.unwrap();
        payer.complete(paid, Outcome::Lost, true, now).await;
        let config = PaymentConfig { max_ticket_ev: U256::from(10_u64), ..PaymentConfig::default() };
        payer.set_limits(&config, &BudgetConfig::default());
        let refused = pay().await.unwrap_err().to_string();
        assert!(refused.contains("max_ticket_ev"), "{refused}");
        let poor = BudgetConfig { per_day: Some(U256::from(1_u64)), ..BudgetConfig::default() };
        payer.set_limits(&PaymentConfig::default(), &poor);
        assert!(matches!(pay().await.unwrap_err(), PaymentError::Budget(_)), "what was spent before counts");
    }

    #[tokio::test]
    async fn unusable_funds_are_named() {
        let store = Store::in_memory().await.unwrap();
        let check = |chain, funds| payer(store.clone(), chain, funds).check();
        assert_eq!(check(None, Some(funds())), Err(Refusal::ChainUnknown));
        assert_eq!(check(Some(CHAIN), None), Err(Refusal::FundsUnknown));
        let empty = SenderFunds { deposit: U256::ZERO, ..funds() };
        assert_eq!(check(Some(CHAIN), Some(empty)), Err(Refusal::Funds(FundsError::NoDeposit)));
        assert_eq!(check(Some(CHAIN), Some(funds())), Ok(()));
    }

    #[tokio::test]
    async fn only_params_near_their_end_may_have_expired() {
        let payer = payer(Store::in_memory().await.unwrap(), Some(CHAIN), Some(funds()));
        for (left, soon) in [(SOON_BLOCKS + 1, false), (SOON_BLOCKS, true)] {
            let params = TicketParams { expiration_block: CHAIN.block + left, ..params() };
            let params = TicketParams { recipient_rand_hash: B256::repeat_byte(left as u8), ..params };
            let commitment = payer.accept(params, Instant::now()).await.unwrap();
            assert_eq!(payer.expires_soon(commitment), soon, "{left} blocks left");
        }
        assert!(payer.expires_soon(B256::repeat_byte(99)), "params that nobody knows");
    }

    #[tokio::test]
    async fn pruning_keeps_live_params() {
        let store = Store::in_memory().await.unwrap();
        let payer = payer(store.clone(), Some(CHAIN), Some(funds()));
        store.record_nonce(B256::repeat_byte(1), 100, 3).await.unwrap();
        store.record_nonce(B256::repeat_byte(2), 101, 3).await.unwrap();
        payer.prune(Instant::now() + Duration::from_secs(1)).await.unwrap();
        assert_eq!(store.last_nonce(B256::repeat_byte(1)).await.unwrap(), None);
        assert_eq!(store.last_nonce(B256::repeat_byte(2)).await.unwrap(), Some(3));
    }
}
