//! What was learnt, kept in the database for the next start.
use std::{fmt, sync::Arc, time::Duration};

use streamflow_store::{KnownOrchestrator, Store};
use streamflow_types::with_causes;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Candidate;
use crate::{
    broadcaster::Core,
    budget::Clock,
    config::BroadcasterConfig,
    orchestrators::{Orchestrators, Remembered},
};

/// Orchestrators that are read at the start.
const MOST: u32 = 1000;
/// How often what was learnt is written.
const INTERVAL: Duration = Duration::from_secs(30);
/// Who has not answered for so long is forgotten.
const KEPT_SECONDS: u64 = 7 * 24 * 3600;
const MILLION: f64 = 1e6;

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
pub(crate) async fn recall(store: &Store, orchestrators: &Orchestrators, config: &BroadcasterConfig) {
    let known: Vec<_> = match store.known_orchestrators(MOST).await {
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

/// Writes what is learnt, once in a while and at the end.
pub(crate) async fn keep(core: Arc<Core>, stop: CancellationToken) {
    let Some(cache) = &core.cache else { return };
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.tick().await;
    loop {
        let ends = tokio::select! { biased;
            () = stop.cancelled() => true,
            _ = tick.tick() => false,
        };
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
