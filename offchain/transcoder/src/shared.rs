//! Working for several orchestrators that share a pool through NATS.
use std::{pin::pin, sync::Arc, time::Duration};

use futures::StreamExt;
use streamflow_nats::{
    Client, Connection, Hello, Message, Order, State, Subscriber, TAKEN, hello_subject, open, order_subject, seal,
};
use streamflow_wire::{TranscoderTask, proto::NotifySegment};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{interval, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

use crate::{
    RemoteTranscoder, Standing, TranscoderError,
    error::TaskError,
    remote::SHORTEST_HEARTBEAT,
    task::{Task, TaskClient},
};

/// Pause before subscribing again after the client ended a subscription.
const PAUSE: Duration = Duration::from_secs(1);
/// Orchestrators hear of this transcoder at least so often: they forget who is not heard of for half a minute.
const LONGEST_SILENCE: Duration = Duration::from_secs(5);
/// Time for the last word to leave.
const LAST_WORD: Duration = Duration::from_secs(1);

/// This transcoder, as the orchestrators of a pool know it.
pub(crate) struct Shared<'a> {
    transcoder: &'a RemoteTranscoder,
    client: Client,
    pool: String,
    id: String,
    tasks: TaskTracker,
    /// Cancelled when there is no more time.
    abandoned: CancellationToken,
}

impl<'a> Shared<'a> {
    pub(crate) fn new(transcoder: &'a RemoteTranscoder, client: Client, pool: String) -> Self {
        let id = format!("{:032x}", rand::random::<u128>());
        Self { transcoder, client, pool, id, tasks: TaskTracker::new(), abandoned: CancellationToken::new() }
    }

    /// Works until `stop`; then takes no more segments, and returns when those in hand are delivered.
    pub(crate) async fn run(&self, stop: CancellationToken) -> Result<(), TranscoderError> {
        let mut last = None;
        while !stop.is_cancelled() {
            match self.client.subscribe(order_subject(&self.pool, &self.id)).await {
                Ok(mut orders) => {
                    self.follow(&mut orders, &stop).await;
                    last = Some(orders);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot hear of segments");
                    self.transcoder.stands(Standing::Away(format!("not subscribed (transcoder.nats): {error}")));
                }
            }
            tokio::select! { biased;
                () = stop.cancelled() => {}
                () = sleep(PAUSE) => {}
            }
        }
        // Who never heard of a segment has none in hand.
        if let Some(orders) = last {
            self.drain(orders).await;
        }
        Ok(())
    }

    async fn follow(&self, orders: &mut Subscriber, stop: &CancellationToken) {
        tracing::info!(id = self.id, "orchestrators of the pool may ask");
        let mut tick = interval(self.every());
        loop {
            tokio::select! { biased;
                () = stop.cancelled() => return,
                order = orders.next() => match order {
                    Some(order) => self.take(order),
                    None => return,
                },
                _ = tick.tick() => {
                    self.tell(State::Alive).await;
                    self.transcoder.stands(self.standing());
                }
            }
        }
    }

    /// How often orchestrators hear of us.
    fn every(&self) -> Duration {
        told_every(self.transcoder.config().keep_alive)
    }

    /// The client connects again by itself; meanwhile nobody can ask.
    fn standing(&self) -> Standing {
        match self.client.connection_state() {
            Connection::Connected => Standing::Registered,
            state => {
                Standing::Away(format!("the NATS server is away ({state}): look at it, or at transcoder.nats.url"))
            }
        }
    }

    /// Finishes what is in hand; orchestrators hear that no more is taken, and what they ask all the same is turned away.
    async fn drain(&self, mut orders: Subscriber) {
        self.tasks.close();
        let mut tick = interval(self.every());
        let mut patience = pin!(sleep(self.transcoder.config().drain_timeout));
        loop {
            tokio::select! { biased;
                () = self.tasks.wait() => break,
                () = &mut patience => break,
                Some(order) = orders.next() => self.turn_away(order).await,
                _ = tick.tick() => self.tell(State::Leaving).await,
            }
        }
        if !self.tasks.is_empty() {
            tracing::warn!(segments = self.tasks.len(), "segments are given up");
            self.abandoned.cancel();
            self.tasks.wait().await;
        }
        self.tell(State::Gone).await;
        // Those on their way before that was heard go to another transcoder at once.
        let last_words = async {
            drop(orders.unsubscribe().await);
            while let Some(order) = orders.next().await {
                self.turn_away(order).await;
            }
            drop(self.client.flush().await);
        };
        drop(timeout(LAST_WORD, last_words).await);
    }

    async fn turn_away(&self, order: Message) {
        let Some(reply) = order.reply else { return };
        if let Err(error) = self.client.publish(reply, TaskError::Stopped.to_string().into()).await {
            tracing::debug!(%error, "order is not turned away");
        }
    }

    async fn tell(&self, state: State) {
        let capacity = self.transcoder.config().capacity;
        let hello = Hello {
            id: self.id.clone(),
            capacity: u32::try_from(capacity).unwrap_or(u32::MAX),
            running: u32::try_from(capacity - self.transcoder.places().available_permits().min(capacity)).unwrap_or(0),
            state: state.into(),
            capabilities: Some(crate::remote::capabilities(capacity, self.transcoder.local())),
            every_ms: u32::try_from(self.every().as_millis()).unwrap_or(u32::MAX),
        };
        let sealed = seal(self.transcoder.secret(), &hello).into();
        if let Err(error) = self.client.publish(hello_subject(&self.pool), sealed).await {
            tracing::debug!(%error, "orchestrators do not hear of us");
        }
    }

    fn take(&self, message: Message) {
        let Some(order) = open::<Order>(self.transcoder.secret(), &message.payload) else {
            return tracing::warn!("an order is not made with our secret");
        };
        let Some((notice, url, member)) = asked(order) else { return };
        let task_id = notice.task_id;
        let place = Arc::clone(self.transcoder.places()).try_acquire_owned().map_err(|_| TaskError::Busy);
        let taken = place.and_then(|place| Ok((place, TranscoderTask::from_proto(notice)?)));
        let client = self.transcoder.client().at(&url, member);
        let (transcoder, nats, abandoned) = (self.transcoder.clone(), self.client.clone(), self.abandoned.clone());
        self.tasks.spawn(async move {
            let answer = taken.as_ref().map_or_else(ToString::to_string, |_| TAKEN.into());
            if let Some(reply) = message.reply
                && let Err(error) = nats.publish(reply, answer.into()).await
            {
                tracing::debug!(%error, "order is not answered");
            }
            tokio::select! { biased;
                () = abandoned.cancelled() => tracing::debug!(task_id, "segment abandoned"),
                () = work(taken, &transcoder, &client) => {}
            }
        });
    }
}

fn told_every(keep_alive: Duration) -> Duration {
    (keep_alive / 2).clamp(SHORTEST_HEARTBEAT, LONGEST_SILENCE)
}

async fn work(
    taken: Result<(OwnedSemaphorePermit, TranscoderTask), TaskError>,
    transcoder: &RemoteTranscoder,
    client: &TaskClient,
) {
    if let Ok((_place, TranscoderTask::Transcode { task_id, url, segment, .. })) = taken {
        Task { task_id, url, segment: *segment, local: transcoder.local(), client }.run().await;
    }
}

/// The segment that is asked for, where its results go, and our name there. None at the end of a session: nothing is kept
/// between segments.
pub(crate) fn asked(order: Order) -> Option<(NotifySegment, Url, String)> {
    let (notice, url) = order.notice.zip(origin(&order.orchestrator))?;
    (!notice.url.is_empty()).then_some((notice, url, order.member))
}

/// Where an orchestrator takes results, if that can be dialled.
fn origin(orchestrator: &str) -> Option<Url> {
    Url::parse(orchestrator).ok().filter(|url| url.scheme() == "https" && url.has_host())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orchestrators_hear_of_a_transcoder_before_they_forget_it() {
        let every = |millis| told_every(Duration::from_millis(millis)).as_millis();
        assert_eq!([2000, 10_000, 600_000, 1].map(every), [1000, 5000, 5000, 100]);
    }
}
