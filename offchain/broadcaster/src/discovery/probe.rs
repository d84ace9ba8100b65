//! Quotes asked for in the background, so that streams start on candidates that answered a moment ago.
//!
//! A quote holds no session at the orchestrator. Few are asked at a time; one that keeps us waiting makes room for the next
//! question, so that the dead do not stand before the living.
use std::{sync::Arc, time::Duration};

use streamflow_types::with_causes;
use streamflow_wire::proto::OrchestratorRequest;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::Candidate;
use crate::broadcaster::Core;

/// Questions under way that were asked a moment ago.
const FRESH: usize = 8;
/// Questions under way in all.
const MOST: usize = 32;
/// What takes longer is not waited for.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often it is looked whose quote is due.
const TICK: Duration = Duration::from_millis(200);

/// Keeps the shortlist warm.
pub(crate) async fn keep_warm(core: Arc<Core>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asked: JoinSet<()> = JoinSet::new();
    let mut begun: Vec<Instant> = Vec::new();
    loop {
        tokio::select! { biased;
            () = stop.cancelled() => return asked.shutdown().await,
            Some(_) = asked.join_next(), if !asked.is_empty() => {}
            _ = tick.tick() => {}
        }
        let now = Instant::now();
        begun.retain(|start| now.duration_since(*start) < PATIENCE);
        let room = FRESH.saturating_sub(begun.len().min(asked.len())).min(MOST.saturating_sub(asked.len()));
        if room == 0 || core.payer.as_ref().is_some_and(|payer| payer.check().is_err()) {
            continue;
        }
        let due = core.orchestrators.due(room, now);
        if due.is_empty() {
            continue;
        }
        let request = match core.job_request().await {
            Ok(request) => request,
            Err(error) => {
                tracing::warn!(error = with_causes(&error), "no request for quotes");
                core.orchestrators.put_off(&due, now);
                continue;
            }
        };
        for candidate in due {
            begun.push(now);
            let (core, request) = (core.clone(), request.clone());
            asked.spawn(async move { probe(&core, &candidate, request).await });
        }
    }
}

async fn probe(core: &Core, candidate: &Candidate, request: OrchestratorRequest) {
    if let Err(error) = core.quote(candidate, request).await {
        tracing::info!(url = %candidate.url, error = with_causes(&error), "no quote");
        core.orchestrators.no_quote(&candidate.url, &error, Instant::now());
    }
}
