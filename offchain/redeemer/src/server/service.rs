//! The three calls. A ticket is on the disk before its caller gets an answer.
use std::{pin::Pin, sync::Arc, time::Duration};

use alloy_primitives::{Address, I256};
use futures::{Stream, StreamExt, stream};
use streamflow_pm::{max_float, ticket_hash};
use streamflow_types::{ChainView, SenderFunds, WinningTicket};
use streamflow_wire::{
    max_float_to_proto, proto,
    proto::{MaxFloatReq, MaxFloatUpdate, QueueTicketRes, ticket_redeemer_server::TicketRedeemer},
    winner_from_proto,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Response, Status};

use super::RedeemerDeps;
use crate::{RedeemerConfig, Refusal, check, metrics};

/// What the last word on a stream is. Peers match on it.
const CLOSED: &str = "subscription closed";
/// How long a ticket waits for a place among those that are checked.
const PLACE_TIMEOUT: Duration = Duration::from_secs(3);
/// Time to learn a sender's funds.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// What a stream carries.
type Update = Result<MaxFloatUpdate, Status>;

/// Answers calls. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Service(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: RedeemerConfig,
    deps: RedeemerDeps,
    /// Tickets that may be checked now.
    tickets: Semaphore,
    subscribers: Arc<Semaphore>,
    /// Counts the tickets stored: who waits for a change of what is pending looks again.
    stored: watch::Sender<u64>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Service {
    pub(crate) fn new(config: RedeemerConfig, deps: RedeemerDeps, stop: CancellationToken) -> Self {
        Self(Arc::new(Inner {
            tickets: Semaphore::new(config.max_tickets),
            subscribers: Arc::new(Semaphore::new(config.max_subscribers)),
            stored: watch::Sender::new(0),
            tasks: TaskTracker::new(),
            config,
            deps,
            stop,
        }))
    }

    /// Returns when every ticket that was begun is stored and every stream has ended.
    pub(crate) async fn drain(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    fn view(&self) -> Option<ChainView> {
        *self.0.deps.view.borrow()
    }

    async fn funds(&self, sender: Address) -> Option<SenderFunds> {
        match timeout(LOOKUP_TIMEOUT, self.0.deps.funds.funds(sender)).await {
            Ok(Ok(funds)) => Some(funds),
            Ok(Err(error)) => {
                tracing::warn!(%sender, err = streamflow_types::with_causes(&error), "funds are not known");
                None
            }
            Err(_) => {
                tracing::warn!(%sender, "funds are not known in time");
                None
            }
        }
    }

    /// Checks and stores. It goes on though the caller gives up: the answer is lost then, not the ticket.
    async fn take(self, winner: WinningTicket) -> Result<(), Status> {
        let sender = winner.signed.ticket.sender;
        check(&winner, &self.0.deps.terms, self.view().as_ref())?;
        let hash = ticket_hash(&winner.signed.ticket);
        let internal = |error: streamflow_store::StoreError| {
            tracing::error!(ticket = %hash, err = streamflow_types::with_causes(&error), "ticket cannot be stored");
            Status::internal("ticket cannot be stored")
        };
        if self.0.deps.store.ticket(hash).await.map_err(internal)?.is_some() {
            metrics::ticket("known");
            return Ok(());
        }
        // A ticket of nobody's money is not worth a row. What a sender that has something lacks may still come; and if the
        // chain does not tell, losing a good ticket is worse than keeping a bad one.
        if self.funds(sender).await.is_some_and(|funds| has_nothing(&funds)) {
            return Err(Refusal::NoFunds(sender).into());
        }
        let new = self.0.deps.store.insert_winners(&[winner]).await.map_err(internal)?;
        self.0.stored.send_modify(|count| *count += new);
        metrics::ticket("new");
        tracing::info!(ticket = %hash, %sender, face_value = %winner.signed.ticket.face_value, "ticket taken");
        Ok(())
    }

    /// What is sure to be paid of the sender's next winner, wei; may be negative. What is pending is read before the funds: a
    /// payout in between then counts twice rather than not at all.
    async fn float(&self, sender: Address) -> Result<I256, Status> {
        let pending = self.0.deps.store.outstanding(sender).await.map_err(|error| {
            tracing::error!(err = streamflow_types::with_causes(&error), "pending tickets cannot be read");
            Status::internal("pending tickets cannot be read")
        })?;
        let funds = self.funds(sender).await;
        let funds = funds.ok_or_else(|| Status::internal("funds of the sender are not known"))?;
        Ok(max_float(&funds, pending))
    }

    /// Tells the float whenever it changes, until the reader goes, stops reading, or the service stops.
    async fn tell(self, sender: Address, updates: mpsc::Sender<Update>, place: OwnedSemaphorePermit) {
        let (mut view, mut stored) = (self.0.deps.view.clone(), self.0.stored.subscribe());
        let mut look = tokio::time::interval(self.0.config.refresh);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut told: Option<(MaxFloatUpdate, Instant)> = None;
        loop {
            let update = self.float(sender).await.map(max_float_to_proto);
            let news = match (&update, &told) {
                (Ok(update), Some((last, at))) => update != last || at.elapsed() >= self.0.config.heartbeat,
                _ => true,
            };
            if news {
                told = update.as_ref().ok().map(|update| (update.clone(), Instant::now()));
                // An error is the last word.
                if !self.hand_over(&updates, update).await || told.is_none() {
                    break;
                }
            }
            tokio::select! { biased;
                () = self.0.stop.cancelled() => break,
                () = updates.closed() => break,
                changed = view.changed() => if changed.is_err() { break },
                changed = stored.changed() => if changed.is_err() { break },
                _ = look.tick() => {}
            }
        }
        drop(place);
        metrics::subscribers(self.open_streams());
    }

    /// Whether the reader took it, or at least had room for it.
    async fn hand_over(&self, updates: &mpsc::Sender<Update>, update: Update) -> bool {
        let sent = tokio::select! { biased;
            () = self.0.stop.cancelled() => return false,
            sent = timeout(self.0.config.subscriber_idle, updates.send(update)) => sent,
        };
        if sent.is_err() {
            metrics::idle_subscriber();
        }
        matches!(sent, Ok(Ok(())))
    }

    fn open_streams(&self) -> usize {
        self.0.config.max_subscribers.saturating_sub(self.0.subscribers.available_permits())
    }
}

#[tonic::async_trait]
impl TicketRedeemer for Service {
    async fn queue_ticket(&self, request: Request<proto::Ticket>) -> Result<Response<QueueTicketRes>, Status> {
        let winner = winner_from_proto(request.get_ref()).map_err(|e| Status::invalid_argument(e.to_string()))?;
        let place = timeout(PLACE_TIMEOUT, self.0.tickets.acquire()).await;
        // The semaphore is never closed.
        let _place = place.map_err(|_| Status::resource_exhausted("too many tickets at a time"))?.ok();
        let taken = self.0.tasks.spawn(self.clone().take(winner)).await;
        let taken = taken.unwrap_or_else(|_| Err(Status::internal("the service is stopping")));
        taken.inspect_err(|status| {
            metrics::ticket("refused");
            tracing::warn!(sender = %winner.signed.ticket.sender, reason = status.message(), "ticket refused");
        })?;
        Ok(Response::new(QueueTicketRes {}))
    }

    async fn max_float(&self, request: Request<MaxFloatReq>) -> Result<Response<MaxFloatUpdate>, Status> {
        let float = self.float(sender(&request)?).await?;
        Ok(Response::new(max_float_to_proto(float)))
    }

    type MonitorMaxFloatStream = Pin<Box<dyn Stream<Item = Update> + Send>>;

    async fn monitor_max_float(
        &self,
        request: Request<MaxFloatReq>,
    ) -> Result<Response<Self::MonitorMaxFloatStream>, Status> {
        let sender = sender(&request)?;
        let place = Arc::clone(&self.0.subscribers).try_acquire_owned();
        let place = place.map_err(|_| Status::resource_exhausted("too many subscriptions"))?;
        metrics::subscribers(self.open_streams());
        let (updates, told) = mpsc::channel(1);
        self.0.tasks.spawn(self.clone().tell(sender, updates, place));
        let closed = stream::once(std::future::ready(Err(Status::cancelled(CLOSED))));
        Ok(Response::new(ReceiverStream::new(told).chain(closed).boxed()))
    }
}

fn sender(request: &Request<MaxFloatReq>) -> Result<Address, Status> {
    let bytes = request.get_ref().sender.as_slice();
    Address::try_from(bytes).map_err(|_| Status::invalid_argument("sender is not an address"))
}

fn has_nothing(funds: &SenderFunds) -> bool {
    funds.deposit.is_zero() && funds.reserve.is_zero() && funds.committed.is_zero()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use alloy_primitives::U256;
    use streamflow_store::Store;
    use streamflow_types::Secret;

    use super::*;
    use crate::{FundsFuture, FundsSource, Terms};

    #[derive(Debug)]
    struct Rich;

    impl FundsSource for Rich {
        fn funds(&self, _sender: Address) -> FundsFuture<'_> {
            let funds = SenderFunds { reserve: U256::from(10), pool_size: 1, ..SenderFunds::default() };
            Box::pin(async move { Ok(funds) })
        }
    }

    /// Its reader never takes anything. Room on the way to a real one would only hide it for longer.
    #[tokio::test]
    async fn a_stream_whose_reader_sleeps_is_closed() {
        let config = RedeemerConfig {
            subscriber_idle: Duration::from_millis(50),
            heartbeat: Duration::from_millis(1),
            refresh: Duration::from_millis(1),
            ..RedeemerConfig::default()
        };
        let (_view, receiver) = watch::channel(None);
        let deps = RedeemerDeps {
            view: receiver,
            funds: Arc::new(Rich),
            terms: Terms { recipient: Address::ZERO, deployment: None, validity: 2 },
            store: Store::in_memory().await.unwrap(),
            token: Secret::default(),
            data_dir: PathBuf::new(),
        };
        let service = Service::new(config, deps, CancellationToken::new());
        let request = Request::new(MaxFloatReq { sender: vec![1; 20] });
        let updates = service.monitor_max_float(request).await.unwrap().into_inner();
        assert_eq!(service.open_streams(), 1);
        tokio::time::timeout(Duration::from_secs(10), async {
            while service.open_streams() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .unwrap();
        let told: Vec<Update> = updates.collect().await;
        let last = told.last().unwrap().as_ref().unwrap_err();
        assert_eq!((told.len(), last.message()), (2, CLOSED));
    }
}
