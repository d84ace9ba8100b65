//! The loop: wakes on every new view of the chain and on a timer, and starts the duties that are due.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use futures::{
    FutureExt, StreamExt, TryFutureExt,
    future::{BoxFuture, try_join, try_join_all},
    stream::FuturesUnordered,
};
use streamflow_chain::{Chain, TxError, TxHandle, TxManager};
use streamflow_store::{Store, TicketStatus};
use streamflow_types::{ChainView, Round};
use tokio::{
    sync::{Mutex, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    DryRun, Journal, KeeperConfig, KeeperError, Rewarder,
    dry_run::Ledger,
    duty::{Duty, Progress},
    fees::FeeHistory,
    metrics,
    preflight::{Bounds, Preflight},
    redeem::Redeemer,
    rounds::RoundInitializer,
    snapshot::Snapshot,
};

/// What a keeper needs of the chain.
#[derive(Clone, Debug)]
pub struct KeeperChain {
    /// Node and contracts.
    pub chain: Chain,
    /// The chain as the follower sees it.
    pub view: watch::Receiver<Option<ChainView>>,
    /// Pays the gas of redemptions and round initialisation. Its manager must keep its records in [`crate::Journal`] of
    /// the same store, or transactions are forgotten at a restart.
    pub tx: TxHandle,
    /// Orchestrators to call `reward` for, each with a key that may.
    pub rewarders: Vec<Rewarder>,
    /// Wei per gas on top of the base fee (`chain.tx.priority_fee_per_gas`).
    pub priority_fee: u128,
}

/// Redeems tickets, calls `reward` and initialises rounds. Where several may run for one account, each is the work of a
/// [`crate::Candidate`], and its store is the one that leads.
#[derive(Debug)]
pub struct Keeper {
    config: KeeperConfig,
    store: Store,
    chain: KeeperChain,
    view: watch::Receiver<Option<ChainView>>,
    preflight: Preflight,
    fees: Arc<Mutex<FeeHistory>>,
}

/// Winners that a dry run lists at most.
pub const MOST_LISTED: u32 = 10_000;

impl Keeper {
    /// A keeper that does nothing until it runs.
    pub fn new(config: KeeperConfig, store: Store, chain: KeeperChain) -> Self {
        let view = chain.view.clone();
        let preflight = Preflight::new(chain.chain.clone(), Bounds::default());
        Self { config, store, chain, view, preflight, fees: Arc::default() }
    }

    /// What one pass over the winners would do now. Reads store and chain, changes neither, sends nothing. At most `limit`
    /// winners are listed.
    ///
    /// # Errors
    /// Store or chain cannot be read.
    pub async fn dry_run(&self, limit: u32) -> Result<DryRun, KeeperError> {
        let ledger = Ledger::default();
        let redeemer = Redeemer { dry: Some(ledger.clone()), ..self.redeemer(&CancellationToken::new()) };
        let snapshot = Snapshot::newest(&self.chain.chain).await?;
        let situation = redeemer.situation(&snapshot).await?;
        let (gas_price, account) = (redeemer.gas_price(&snapshot.head), self.chain.tx.address());
        redeemer.clone().pass().await?;
        let usual_gas_price = redeemer.usual_gas_price().await;
        let mut tickets = Vec::new();
        for status in [TicketStatus::Submitted, TicketStatus::Pending] {
            let records = self.store.tickets(Some(status), limit.min(MOST_LISTED)).await?;
            tickets.extend(records.iter().map(|record| ledger.ticket(record, &situation, &self.config)));
        }
        tickets.truncate(limit as usize);
        Ok(DryRun {
            block: situation.block,
            round: situation.round,
            account,
            gas_price,
            usual_gas_price,
            batches: ledger.batches(),
            unlisted: self.store.unpaid().await?.saturating_sub(tickets.len() as u64),
            tickets,
        })
    }

    /// Works until `stop`; then starts nothing more and waits, for a bounded time, for what is under way. What is not
    /// known by then is picked up by the next run.
    ///
    /// # Errors
    /// [`KeeperError::FollowerStopped`] when the chain follower ends first. Other failures are logged and tried again.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), KeeperError> {
        let mut desk = Desk::default();
        loop {
            let view = *self.view.borrow_and_update();
            if let Some(view) = view {
                self.start_due(&mut desk, view, &stop);
            }
            let wake = desk.next_wake(Instant::now() + self.config.sweep_interval);
            tokio::select! { biased;
                () = stop.cancelled() => {
                    self.drain(desk).await;
                    return Ok(());
                }
                Some((duty, result)) = desk.running.next() => desk.finish(duty, result, &self.config),
                changed = self.view.changed() => match changed {
                    Ok(()) => desk.look_again(),
                    // The same stop may have ended the follower between two looks at it.
                    Err(_) if stop.is_cancelled() => {}
                    Err(_) => return Err(KeeperError::FollowerStopped),
                },
                () = tokio::time::sleep_until(wake) => desk.look_again(),
            }
        }
    }

    /// As [`Keeper::run`], together with the managers that it sends through. They go on until it has ended.
    ///
    /// # Errors
    /// As [`Keeper::run`], and when the journal cannot tell what is under way.
    pub async fn run_with(
        self,
        managers: impl IntoIterator<Item = TxManager<Journal>>,
        stop: CancellationToken,
    ) -> Result<(), KeeperError> {
        let end = CancellationToken::new();
        let sending = try_join_all(managers.into_iter().map(|manager| manager.run(end.clone())));
        let working = self.run(stop).inspect(|_| end.cancel());
        try_join(working, sending.map_err(KeeperError::from)).await.map(drop)
    }

    /// Starts what is due at this view: the round first, then rewards, and redemptions only once rewards are called.
    fn start_due(&self, desk: &mut Desk, view: ChainView, stop: &CancellationToken) {
        desk.enter(view.round);
        // Beside the redemptions: one that is stuck, or an endpoint that is slow, holds up only its own.
        if desk.may_start(Duty::Decide) {
            desk.start(Duty::Decide, self.redeemer(stop).decide().boxed());
        }
        if !view.round_initialized {
            if self.config.initialize_rounds && desk.may_start(Duty::Initialize) {
                let attempt = desk.attempt(Duty::Initialize);
                let initializer = RoundInitializer::new(&self.chain.chain, &self.chain.tx, &self.config);
                desk.start(Duty::Initialize, initializer.pass(view, attempt).boxed());
            }
            return;
        }
        if self.config.reward {
            for rewarder in &self.chain.rewarders {
                let duty = Duty::Reward(rewarder.orchestrator);
                if desk.may_start(duty) {
                    let attempt = desk.attempt(duty);
                    let pass = rewarder.clone().pass(self.chain.chain.clone(), self.store.clone(), view, attempt);
                    desk.start(duty, pass.boxed());
                }
            }
        }
        if !desk.reward_goes_first(self.config.reward_head_start) && desk.may_start(Duty::Redeem) {
            desk.start(Duty::Redeem, self.redeemer(stop).pass().boxed());
        }
        if desk.may_start(Duty::Forget) {
            let pass = forget(self.chain.chain.clone(), self.store.clone(), self.config.log_lookback_blocks);
            desk.start(Duty::Forget, pass.boxed());
        }
    }

    fn redeemer(&self, stop: &CancellationToken) -> Redeemer {
        Redeemer {
            config: self.config.clone(),
            store: self.store.clone(),
            chain: self.chain.chain.clone(),
            view: self.view.clone(),
            tx: self.chain.tx.clone(),
            priority_fee: self.chain.priority_fee,
            preflight: self.preflight.clone(),
            fees: self.fees.clone(),
            dry: None,
            stop: stop.clone(),
        }
    }

    async fn drain(&self, mut desk: Desk) {
        let end = Instant::now() + self.config.drain_timeout;
        while let Ok(Some((duty, result))) = tokio::time::timeout_at(end, desk.running.next()).await {
            desk.finish(duty, result, &self.config);
        }
        if !desk.running.is_empty() {
            tracing::info!(under_way = desk.running.len(), "keeper stops; the next start picks up what is under way");
        }
    }
}

/// Forgets transactions that nobody will ask for again. Their blocks are the node's own, which are not the contracts' on
/// Arbitrum.
async fn forget(chain: Chain, store: Store, keep_blocks: u64) -> Result<Progress, KeeperError> {
    let before = chain.rpc.head().await?.number.saturating_sub(keep_blocks);
    let forgotten = store.prune_transactions(before).await?;
    tracing::debug!(forgotten, before, "pruned the transaction journal");
    Ok(Progress::Settled)
}

/// A round without reward cannot be made up for, so what looked settled is looked at again: a node that lags may have shown
/// us as inactive, and a reorganisation may take the call back.
const REWARD_RECHECK: Duration = Duration::from_secs(600);

/// When a duty that is not running is looked at again.
#[derive(Clone, Copy, Debug)]
enum Rest {
    /// With the next view or tick.
    NextLook,
    /// In the next round.
    NextRound,
    /// After a failure.
    Until(Instant),
}

/// Which duties run, rest, or failed.
#[derive(Default)]
struct Desk {
    running: FuturesUnordered<BoxFuture<'static, (Duty, Result<Progress, KeeperError>)>>,
    /// Since when each of them runs.
    busy: HashMap<Duty, Instant>,
    resting: HashMap<Duty, Rest>,
    /// Reverted calls in this round: a call after one needs a new name.
    attempts: HashMap<Duty, u32>,
    round: Option<Round>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("busy", &self.busy).field("resting", &self.resting).finish_non_exhaustive()
    }
}

impl Desk {
    /// A new round, or another branch of the chain: everything is open again.
    fn enter(&mut self, round: Round) {
        if self.round.replace(round) != Some(round) {
            self.resting.clear();
            self.attempts.clear();
        }
    }

    fn may_start(&self, duty: Duty) -> bool {
        let rested = match self.resting.get(&duty) {
            None => true,
            Some(Rest::Until(end)) => *end <= Instant::now(),
            Some(Rest::NextLook | Rest::NextRound) => false,
        };
        rested && !self.busy.contains_key(&duty)
    }

    fn attempt(&self, duty: Duty) -> u32 {
        self.attempts.get(&duty).copied().unwrap_or_default()
    }

    fn start(&mut self, duty: Duty, pass: BoxFuture<'static, Result<Progress, KeeperError>>) {
        self.resting.remove(&duty);
        self.busy.insert(duty, Instant::now());
        self.running.push(pass.map(move |result| (duty, result)).boxed());
    }

    /// Whether a reward call is under way that redemptions still wait for. A stuck one must not let tickets expire.
    fn reward_goes_first(&self, head_start: Duration) -> bool {
        self.busy.iter().any(|(duty, since)| matches!(duty, Duty::Reward(_)) && since.elapsed() < head_start)
    }

    fn finish(&mut self, duty: Duty, result: Result<Progress, KeeperError>, config: &KeeperConfig) {
        self.busy.remove(&duty);
        let rest = match result {
            Ok(Progress::More) => return,
            // nobody waits for it
            Ok(Progress::NotYet) if duty == Duty::Decide => Rest::Until(Instant::now() + config.retry_interval),
            Ok(Progress::NotYet) => Rest::NextLook,
            // the view shows a new round soon
            Ok(Progress::Settled) if duty == Duty::Initialize => Rest::NextLook,
            Ok(Progress::Settled) if matches!(duty, Duty::Reward(_)) => Rest::Until(Instant::now() + REWARD_RECHECK),
            Ok(Progress::Settled) => Rest::NextRound,
            Err(err) => {
                if let KeeperError::Tx(TxError::Reverted { .. }) = err {
                    *self.attempts.entry(duty).or_default() += 1;
                }
                tracing::warn!(duty = duty.as_str(), err = error_chain(&err), "duty failed, trying again");
                metrics::failed(duty);
                Rest::Until(Instant::now() + config.retry_interval)
            }
        };
        self.resting.insert(duty, rest);
    }

    /// A new view or a tick: what rested until then may start.
    fn look_again(&mut self) {
        self.resting.retain(|_, rest| !matches!(rest, Rest::NextLook));
    }

    /// The end of the first pause that is not over, at most `latest`. A duty whose pause is over may be one that is not due now.
    fn next_wake(&self, latest: Instant) -> Instant {
        let now = Instant::now();
        let ends = self.resting.values().filter_map(|rest| match rest {
            Rest::Until(end) => Some(*end).filter(|end| *end > now),
            Rest::NextLook | Rest::NextRound => None,
        });
        ends.fold(latest, Instant::min)
    }
}

/// The error with its causes, on one line.
fn error_chain(err: &KeeperError) -> String {
    let causes = std::iter::successors(std::error::Error::source(err), |cause| cause.source());
    causes.fold(err.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use alloy::primitives::Address;
    use streamflow_chain::{Revert, TxOutcome};

    use super::*;

    const REWARD: Duty = Duty::Reward(Address::ZERO);

    fn reverted() -> KeeperError {
        let outcome = TxOutcome {
            hash: Default::default(),
            block: 1,
            block_hash: Default::default(),
            gas_used: 1,
            gas_price: 1,
            logs: Vec::new(),
            status: false,
        };
        let reason = Revert::default();
        KeeperError::Tx(TxError::Reverted { label: "reward".to_owned(), outcome: Box::new(outcome), reason })
    }

    /// A desk at round 7 on which the duty has just ended like this.
    fn after(duty: Duty, result: Result<Progress, KeeperError>) -> Desk {
        let mut desk = Desk::default();
        desk.enter(Round(7));
        desk.start(duty, std::future::pending().boxed());
        assert!(!desk.may_start(duty), "once at a time");
        desk.finish(duty, result, &KeeperConfig::default());
        desk
    }

    #[tokio::test(start_paused = true)]
    async fn a_settled_duty_rests_until_the_next_round() {
        for duty in [REWARD, Duty::Forget] {
            let mut desk = after(duty, Ok(Progress::Settled));
            desk.look_again();
            desk.enter(Round(7));
            assert!(!desk.may_start(duty));
            desk.enter(Round(8));
            assert!(desk.may_start(duty));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reward_that_looked_settled_is_looked_at_again() {
        let mut desk = after(REWARD, Ok(Progress::Settled));
        tokio::time::advance(REWARD_RECHECK).await;
        desk.enter(Round(7));
        assert!(desk.may_start(REWARD));
    }

    #[tokio::test(start_paused = true)]
    async fn a_duty_with_more_to_do_goes_on_and_one_without_waits_for_the_next_look() {
        assert!(after(Duty::Redeem, Ok(Progress::More)).may_start(Duty::Redeem));
        let mut desk = after(Duty::Redeem, Ok(Progress::NotYet));
        assert!(!desk.may_start(Duty::Redeem));
        desk.look_again();
        assert!(desk.may_start(Duty::Redeem));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_duty_is_tried_again_after_a_pause() {
        let mut desk = after(Duty::Redeem, Err(KeeperError::FollowerStopped));
        desk.look_again();
        assert!(!desk.may_start(Duty::Redeem));
        let far = Instant::now() + Duration::from_secs(3_600);
        let pause = KeeperConfig::default().retry_interval;
        assert_eq!(desk.next_wake(far), Instant::now() + pause);
        tokio::time::advance(pause).await;
        assert!(desk.may_start(Duty::Redeem));
        assert_eq!(desk.attempt(Duty::Redeem), 0);
        assert_eq!(desk.next_wake(far), far, "not at once again and again, if it is not due now");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reverted_call_gets_a_new_name_in_its_round() {
        let mut desk = after(REWARD, Err(reverted()));
        assert_eq!(desk.attempt(REWARD), 1);
        desk.enter(Round(8));
        assert_eq!(desk.attempt(REWARD), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn redemptions_wait_for_a_reward_but_not_for_ever() {
        let head_start = Duration::from_secs(60);
        let mut desk = Desk::default();
        assert!(!desk.reward_goes_first(head_start));
        desk.start(REWARD, std::future::pending().boxed());
        assert!(desk.reward_goes_first(head_start));
        tokio::time::advance(head_start).await;
        assert!(!desk.reward_goes_first(head_start));
    }
}
