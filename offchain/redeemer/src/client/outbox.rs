//! Winners on their way to a redeemer. The orchestrator's own store is the outbox: a winner is in it before anybody is answered,
//! and is removed only once the redeemer says that it has it. A kill in between hands it over twice, which the redeemer does not
//! mind.
use std::{ops::ControlFlow, time::Duration};

use rand::Rng;
use streamflow_store::{Store, StoreError, TicketOutcome, TicketRecord};
use streamflow_types::{ChainView, Round, with_causes};
use streamflow_wire::winner_to_proto;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::{Floats, RedeemerLink};
use crate::metrics;

/// Time between two looks at the store.
const LOOK: Duration = Duration::from_millis(500);
/// Winners read at a time.
const BATCH: u32 = 100;
/// First and longest pause after a failure that concerns them all.
const MIN_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Blocks before a winner that was refused by itself is offered again.
const RETRY_BLOCKS: u64 = 20;

/// Hands winners over, one after the other, lowest key first.
#[derive(Debug)]
pub struct Outbox {
    store: Store,
    link: RedeemerLink,
    floats: Floats,
    view: watch::Receiver<Option<ChainView>>,
    oldest: watch::Receiver<Option<Round>>,
    pause: Duration,
}

/// A failure that the next winner would meet too.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the redeemer is not reached or refuses us")]
    Redeemer(#[source] Status),
    #[error("the outbox cannot be read or written")]
    Store(#[from] StoreError),
}

impl Outbox {
    /// An outbox that rests until it runs. Tickets created before `oldest` are given up: it must be known for good.
    pub fn new(
        store: Store,
        link: RedeemerLink,
        floats: Floats,
        view: watch::Receiver<Option<ChainView>>,
        oldest: watch::Receiver<Option<Round>>,
    ) -> Self {
        Self { store, link, floats, view, oldest, pause: MIN_PAUSE }
    }

    /// Hands over what is won until `stop`. What is left then waits for the next start.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let pause = match self.pass(&stop).await {
                Ok(ControlFlow::Continue(())) => {
                    self.pause = MIN_PAUSE;
                    continue;
                }
                Ok(ControlFlow::Break(())) => {
                    self.pause = MIN_PAUSE;
                    LOOK
                }
                Err(failure) => {
                    tracing::warn!(err = with_causes(&failure), "winners wait for the redeemer");
                    self.back_off()
                }
            };
            tokio::select! { biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Hands over what there is now; continues if there may be more.
    async fn pass(&self, stop: &CancellationToken) -> Result<ControlFlow<()>, Failure> {
        let block = self.view.borrow().map_or(0, |view| view.block);
        let oldest = *self.oldest.borrow();
        if let Some(oldest) = oldest {
            self.give_up_expired(oldest, block).await?;
        }
        let winners = self.store.undelivered(block, BATCH).await?;
        metrics::waiting(winners.len());
        for winner in &winners {
            if stop.is_cancelled() {
                return Ok(ControlFlow::Break(()));
            }
            self.deliver(winner, block).await?;
        }
        Ok(if winners.len() == BATCH as usize { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    }

    async fn deliver(&self, winner: &TicketRecord, block: u64) -> Result<(), Failure> {
        let ticket = &winner.ticket.signed.ticket;
        match self.link.client().queue_ticket(winner_to_proto(&winner.ticket)).await {
            Ok(_) => {
                // Before it leaves our own books: no quote may see it in neither.
                self.floats.lower(ticket.sender, ticket.face_value);
                self.store.delivered(winner.hash).await?;
                tracing::info!(ticket = %winner.hash, "the redeemer has the winner");
                metrics::delivered();
                Ok(())
            }
            // Only this one: the others need not wait, nor those for another recipient. It is kept, since who answers need not be
            // right.
            Err(status)
                if matches!(
                    status.code(),
                    Code::InvalidArgument | Code::FailedPrecondition | Code::PermissionDenied
                ) =>
            {
                let reason = format!("the redeemer refuses it: {}", status.message());
                tracing::error!(ticket = %winner.hash, reason, "winner is not taken");
                metrics::put_off();
                let not_before = block.saturating_add(RETRY_BLOCKS);
                let outcome = TicketOutcome::Waiting { reason, not_before };
                Ok(self.store.settle(&[(winner.hash, outcome)], None, block).await?)
            }
            Err(status) => Err(Failure::Redeemer(status)),
        }
    }

    async fn give_up_expired(&self, oldest: Round, block: u64) -> Result<(), StoreError> {
        let expired = self.store.expire_before(oldest, block).await?;
        if !expired.is_empty() {
            tracing::error!(tickets = expired.len(), "winners expired before the redeemer took them");
        }
        Ok(())
    }

    /// Twice the last pause, give or take a quarter: many orchestrators must not come back in step.
    fn back_off(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(MAX_PAUSE);
        pause.mul_f64(rand::rng().random_range(0.75..1.25))
    }
}
