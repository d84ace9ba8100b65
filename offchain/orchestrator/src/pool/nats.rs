//! Transcoders that other orchestrators share, through NATS: each is a member of the pool like one that is connected.
use std::{collections::HashMap, time::Duration};

use futures::StreamExt;
use streamflow_nats::{
    Client, Hello, NatsConfig, Order, State as Told, Subscriber, TAKEN, hello_subject, open, order_subject, seal,
};
use streamflow_wire::TranscodeError;
use tokio::time::{Instant, interval, sleep};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{MemberToken, Membership, Notice, State, TaskId, TranscoderPool};
use crate::{grpc, service::Service};

/// A transcoder that was not heard of for this time is no member any more. Long before, it gets no work.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);
/// Pause before subscribing again after the client ended a subscription.
const PAUSE: Duration = Duration::from_secs(1);

/// The link to the pool's transcoders.
pub(crate) struct NatsLink {
    service: Service,
    client: Client,
    pool: String,
    members: HashMap<String, Known>,
    orders: TaskTracker,
}

/// A transcoder that was heard of.
struct Known {
    token: MemberToken,
    heard: Instant,
    gone: CancellationToken,
    /// Takes it out of the pool.
    _leave: DropGuard,
}

impl NatsLink {
    pub(crate) fn new(service: Service, client: Client, config: &NatsConfig) -> Self {
        Self { service, client, pool: config.subject.clone(), members: HashMap::new(), orders: TaskTracker::new() }
    }

    /// Takes transcoders into the pool and gives them its orders, until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.client.subscribe(hello_subject(&self.pool)).await {
                Ok(hellos) => self.follow(hellos, &stop).await,
                Err(error) => tracing::warn!(%error, "cannot hear of transcoders"),
            }
            tokio::select! { biased;
                () = stop.cancelled() => {}
                () = sleep(PAUSE) => {}
            }
        }
        self.members.clear();
        self.orders.close();
        self.orders.wait().await;
    }

    async fn follow(&mut self, mut hellos: Subscriber, stop: &CancellationToken) {
        let mut tick = interval(FORGOTTEN_AFTER / 10);
        loop {
            tokio::select! { biased;
                () = stop.cancelled() => return,
                _ = tick.tick() => {
                    self.members.retain(|_, known| known.heard.elapsed() < FORGOTTEN_AFTER && !known.gone.is_cancelled());
                }
                message = hellos.next() => match message {
                    Some(message) => match open(self.service.transcoder_secret(), &message.payload) {
                        Some(hello) => self.hear(hello),
                        None => tracing::debug!("a transcoder's word is not made with our secret"),
                    },
                    None => return,
                },
            }
        }
    }

    /// Notes what a transcoder says of itself.
    pub(crate) fn hear(&mut self, hello: Hello) {
        if MemberToken::from_text(&hello.id).is_none() {
            return;
        }
        let state = match hello.state() {
            Told::Alive => State::Alive,
            Told::Leaving => State::Leaving,
            Told::Gone => return drop(self.members.remove(&hello.id)),
        };
        if self.members.get(&hello.id).is_some_and(|known| known.gone.is_cancelled()) {
            self.members.remove(&hello.id);
        }
        if let Some(known) = self.members.get_mut(&hello.id) {
            known.heard = Instant::now();
            let pool = self.service.pool();
            pool.hear(known.token, state);
            pool.hear_load(known.token, hello.running as usize, tells_every(&hello));
        } else if state == State::Alive {
            self.join(hello);
        }
    }

    fn join(&mut self, hello: Hello) {
        let (every, capabilities) = (tells_every(&hello), hello.capabilities.unwrap_or_default());
        let membership = match self.service.pool().join(hello.capacity.into(), capabilities) {
            Ok(membership) => membership,
            Err(error) => return tracing::warn!(transcoder = hello.id, %error, "transcoder is not taken into the pool"),
        };
        tracing::info!(transcoder = hello.id, capacity = hello.capacity, "transcoder heard of");
        let pool = self.service.pool();
        pool.hear(membership.token, State::Alive);
        pool.hear_load(membership.token, hello.running as usize, every);
        let stop = CancellationToken::new();
        let (token, gone) = (membership.token, membership.gone.clone());
        let orders = Orders {
            service: self.service.clone(),
            client: self.client.clone(),
            subject: order_subject(&self.pool, &hello.id),
            tasks: self.orders.clone(),
        };
        self.orders.spawn(orders.forward(membership, stop.clone()));
        self.members.insert(hello.id, Known { token, heard: Instant::now(), gone, _leave: stop.drop_guard() });
    }
}

/// How often it tells, believed up to what still lets it be missed before it is forgotten.
fn tells_every(hello: &Hello) -> Duration {
    Duration::from_millis(hello.every_ms.into()).min(FORGOTTEN_AFTER / 6)
}

/// Passes a member's notices on.
struct Orders {
    service: Service,
    client: Client,
    subject: String,
    tasks: TaskTracker,
}

impl Orders {
    async fn forward(self, membership: Membership, stop: CancellationToken) {
        let Membership { mut inbox, gone, token, leave } = membership;
        loop {
            let notice = tokio::select! { biased;
                () = stop.cancelled() => break,
                () = gone.cancelled() => break,
                notice = inbox.recv() => match notice {
                    Some(notice) => notice,
                    None => break,
                },
            };
            self.send(notice, token);
        }
        drop(leave);
    }

    fn send(&self, notice: Notice, token: MemberToken) {
        let task = match &notice {
            Notice::Segment(task, _) => Some(*task),
            Notice::EndSession(_) => None,
        };
        let order = Order {
            notice: Some(grpc::task(&self.service, notice).to_proto()),
            orchestrator: self.service.service_uri().to_owned(),
            member: token.to_text(),
        };
        let sealed = seal(self.service.transcoder_secret(), &order).into();
        let (client, subject, pool) = (self.client.clone(), self.subject.clone(), self.service.pool().clone());
        self.tasks.spawn(async move {
            let Some(task) = task else { return drop(client.publish(subject, sealed).await) };
            match client.request(subject, sealed).await {
                Ok(answer) => answered(&pool, task, &answer.payload),
                // The lease runs out, and meanwhile a second transcoder is asked: the first may have heard all the same.
                Err(error) => tracing::warn!(%error, "a transcoder does not say that it takes a segment"),
            }
        });
    }
}

/// A transcoder that does not take a segment says why.
fn answered(pool: &TranscoderPool, task: TaskId, answer: &[u8]) {
    if answer != TAKEN.as_bytes() {
        let reason = TranscodeError::from_text(&String::from_utf8_lossy(&answer[..answer.len().min(256)]));
        pool.complete(task, Err(reason));
    }
}
