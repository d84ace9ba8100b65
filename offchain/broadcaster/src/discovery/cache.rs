//! What was learnt, kept in the database for the next start.
use std::{fmt, sync::Arc, time::Duration};

use streamflow_store::{KnownConviction, KnownOrchestrator, Store};
use streamflow_types::with_causes;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::Candidate;
use crate::{
    broadcaster::Core,
    budget::Clock,
    config::BroadcasterConfig,
    orchestrators::{MOST_CONVICTED, Orchestrators, Remembered},
    verification::{Conviction, Verdict},
};

/// Orchestrators that are read at the start.
const MOST: u32 = 1000;
/// How often what was learnt is written.
const INTERVAL: Duration = Duration::from_secs(30);
/// Who has not answered for so long is forgotten.
const KEPT_SECONDS: u64 = 7 * 24 * 3600;
const MILLION: f64 = 1e6;
/// Convictions that are stored, and read at the start.
const MOST_STORED: u32 = MOST_CONVICTED as u32;

/// Where it is kept. Clones are the same.
#[derive(Clone)]
pub struct OrchestratorCache {
    /// The database.
    pub store: Store,
    /// Says how old what is kept is.
    pub clock: Clock,
}

impl fmt::Debug for OrchestratorCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrchestratorCache").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Takes over what earlier runs learnt. A database that does not answer costs the warm start, not the start.
pub(crate) async fn recall(cache: &OrchestratorCache, orchestrators: &Orchestrators, config: &BroadcasterConfig) {
    recall_convictions(cache, orchestrators, config).await;
    let known: Vec<_> = match cache.store.known_orchestrators(MOST).await {
        Ok(known) => known.iter().filter_map(recalled).collect(),
        Err(error) => {
            return tracing::warn!(error = with_causes(&error), "what is known of orchestrators cannot be read");
        }
    };
    tracing::info!(orchestrators = known.len(), "orchestrators are remembered");
    // Candidates before there is a list are only those that the chain or the signer may name again.
    let as_candidates = config.wants_market() && config.discovery.webhook.is_none();
    orchestrators.remember(known, as_candidates, Instant::now());
}

/// A database that does not answer lets those back in whom the last run caught, which is told.
async fn recall_convictions(cache: &OrchestratorCache, orchestrators: &Orchestrators, config: &BroadcasterConfig) {
    let (now, moment, longest) = ((cache.clock)(), Instant::now(), config.verification.suspension);
    // Those that are over count when one is caught again.
    let known = match cache.store.convictions(now.saturating_sub(longest.as_secs()), MOST_STORED).await {
        Ok(known) => known,
        Err(error) => {
            return tracing::warn!(
                error = with_causes(&error),
                "who was convicted cannot be read, and may get work again"
            );
        }
    };
    let known: Vec<_> = known.into_iter().filter_map(|one| convicted(one, now, moment, longest)).collect();
    tracing::info!(orchestrators = known.len(), "convictions are remembered");
    orchestrators.recall_convictions(known);
}

/// Writes what is learnt, once in a while and at the end; convictions at once.
pub(crate) async fn keep(core: Arc<Core>, stop: CancellationToken) {
    let Some(cache) = &core.cache else { return };
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.tick().await;
    loop {
        let ends = tokio::select! { biased;
            () = stop.cancelled() => true,
            () = core.orchestrators.somebody_caught() => {
                keep_convictions(&core, cache).await;
                continue;
            }
            _ = tick.tick() => false,
        };
        keep_convictions(&core, cache).await;
        let learnt = core.orchestrators.learnt();
        if !learnt.is_empty() {
            let now = (cache.clock)();
            let known: Vec<KnownOrchestrator> = learnt.into_iter().map(|one| known(one, now)).collect();
            if let Err(error) = cache.store.remember_orchestrators(&known, now.saturating_sub(KEPT_SECONDS)).await {
                tracing::warn!(error = with_causes(&error), "what was learnt of orchestrators is not stored");
            }
        }
        if ends {
            return;
        }
    }
}

async fn keep_convictions(core: &Core, cache: &OrchestratorCache) {
    let unkept = core.orchestrators.unkept_convictions();
    if unkept.is_empty() {
        return;
    }
    let (now, moment) = ((cache.clock)(), Instant::now());
    let rows: Vec<KnownConviction> = unkept.iter().map(|(url, one)| kept(url, one, now, moment)).collect();
    match cache.store.keep_convictions(&rows, MOST_STORED).await {
        Ok(()) => core.orchestrators.kept_convictions(&unkept),
        Err(error) => {
            tracing::warn!(error = with_causes(&error), "convictions are not stored, and would not outlive a restart");
        }
    }
}

/// Ends are told by the clock of the wall. None rests for longer than convictions do by the settings of today.
fn convicted(known: KnownConviction, now: u64, moment: Instant, longest: Duration) -> Option<(Url, Conviction)> {
    let left = Duration::from_secs(known.ends_at.saturating_sub(now)).min(longest);
    let until = (moment + left).checked_sub(Duration::from_secs(now.saturating_sub(known.ends_at)))?;
    let verdict = Verdict::from_label(&known.verdict)?;
    Some((known.url.parse().ok()?, Conviction { verdict, why: known.why, until, relapses: known.relapses }))
}

/// Ends are rounded up to a whole second.
fn kept(url: &Url, conviction: &Conviction, now: u64, moment: Instant) -> KnownConviction {
    let left = conviction.until.saturating_duration_since(moment);
    let over = moment.saturating_duration_since(conviction.until);
    let left = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    KnownConviction {
        url: url.to_string(),
        verdict: conviction.verdict.label().to_owned(),
        why: conviction.why.clone(),
        ends_at: now.saturating_add(left).saturating_sub(over.as_secs()),
        relapses: conviction.relapses,
    }
}

fn recalled(known: &KnownOrchestrator) -> Option<(Candidate, Remembered)> {
    let candidate = Candidate { stake: known.stake, ..Candidate::of_market(known.url.parse().ok()?, known.account) };
    let ratio = |ppm: u64| ppm as f64 / MILLION;
    let latency = known.latency_ppm.map(|(mean, deviation)| (ratio(mean), ratio(deviation)));
    Some((candidate, Remembered { price: known.price, latency, served: known.served, failed: known.failed }))
}

fn known((candidate, learnt): (Candidate, Remembered), now: u64) -> KnownOrchestrator {
    // Rounded to millionths; a time beyond all measure is as good as the longest.
    let ppm = |ratio: f64| (ratio * MILLION).round().clamp(0.0, i64::MAX as f64 / 2.0) as u64;
    KnownOrchestrator {
        url: candidate.url.into(),
        account: candidate.address,
        stake: candidate.stake,
        price: learnt.price,
        latency_ppm: learnt.latency.map(|(mean, deviation)| (ppm(mean), ppm(deviation))),
        served: learnt.served,
        failed: learnt.failed,
        seen_at: now,
    }
}
