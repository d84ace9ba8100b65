//! Who gets the next free worker: the job that is due first.
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

use super::PoolError;

/// Jobs that run and jobs that wait.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Jobs that run or wait.
    places: watch::Sender<usize>,
    limit: usize,
}

#[derive(Debug)]
struct State {
    closed: bool,
    /// Workers that no job has.
    free: usize,
    waiting: BTreeMap<Turn, oneshot::Sender<Slot>>,
    arrived: u64,
}

/// Jobs due at the same time come in the order of their arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    due: Instant,
    arrived: u64,
}

impl Queue {
    /// Room for `workers` jobs that run and `waiting` that wait.
    pub(super) fn new(workers: usize, waiting: usize) -> Arc<Self> {
        let state = State { closed: false, free: workers, waiting: BTreeMap::new(), arrived: 0 };
        let limit = workers.saturating_add(waiting);
        Arc::new(Self { state: Mutex::new(state), places: watch::Sender::new(0), limit })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a job in, to run or to wait.
    pub(super) fn enter(self: &Arc<Self>) -> Result<Place, PoolError> {
        let state = self.lock();
        if state.closed {
            return Err(PoolError::Closed);
        }
        let entered = self.places.send_if_modified(|places| {
            let room = *places < self.limit;
            *places += usize::from(room);
            room
        });
        if entered { Ok(Place(self.clone())) } else { Err(PoolError::QueueFull { limit: self.limit }) }
    }

    /// Lets nobody in any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Waits until all who came in have left.
    pub(super) async fn drained(&self) {
        let _ = self.places.subscribe().wait_for(|places| *places == 0).await;
    }

    fn release(self: &Arc<Self>) {
        let next = {
            let mut state = self.lock();
            let next = state.waiting.pop_first();
            state.free += usize::from(next.is_none());
            next
        };
        if let Some((_, caller)) = next {
            // One that has just gone leaves the slot behind, which is released in turn.
            let _ = caller.send(Slot(self.clone()));
        }
    }
}

/// Room for one job; given back when dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Queue>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.places.send_modify(|places| *places -= 1);
    }
}

impl Place {
    /// Whether somebody waits for a worker.
    pub(super) fn is_wanted(&self) -> bool {
        !self.0.lock().waiting.is_empty()
    }

    /// Waits for a worker; of those who wait, the one that is due first gets the next.
    pub(super) async fn slot(&self, due: Instant) -> Slot {
        let queue = &self.0;
        loop {
            let (waiting, called) = {
                let mut state = queue.lock();
                if state.free > 0 {
                    state.free -= 1;
                    return Slot(queue.clone());
                }
                state.arrived += 1;
                let turn = Turn { due, arrived: state.arrived };
                let (caller, called) = oneshot::channel();
                state.waiting.insert(turn, caller);
                (Waiting { queue, turn }, called)
            };
            let called = called.await;
            drop(waiting);
            if let Ok(slot) = called {
                return slot;
            }
        }
    }
}

/// A job in the queue; leaves it when dropped.
struct Waiting<'a> {
    queue: &'a Queue,
    turn: Turn,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let caller = self.queue.lock().waiting.remove(&self.turn);
        drop(caller);
    }
}

/// The right to use one worker; goes to the next in the queue when dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<Queue>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.release();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;

    fn after(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    /// Jobs that wait, one for each number of seconds they are due in; they tell it when they get their worker.
    async fn wait_in_order(queue: &Arc<Queue>, due: &[u64]) -> mpsc::UnboundedReceiver<u64> {
        let (served, order) = mpsc::unbounded_channel();
        for seconds in due.iter().copied() {
            let (place, served) = (queue.enter().unwrap(), served.clone());
            tokio::spawn(async move {
                let _slot = place.slot(after(seconds)).await;
                served.send(seconds).unwrap();
            });
            tokio::task::yield_now().await;
        }
        order
    }

    #[tokio::test(start_paused = true)]
    async fn the_job_due_first_goes_first_and_equals_go_as_they_came() {
        let queue = Queue::new(1, 10);
        let place = queue.enter().unwrap();
        let slot = place.slot(after(1)).await;
        let mut order = wait_in_order(&queue, &[9, 3, 7, 3, 1]).await;
        assert!(order.try_recv().is_err(), "nobody overtakes the one who works");
        drop(slot);
        for expected in [1, 3, 3, 7, 9] {
            assert_eq!(order.recv().await, Some(expected));
        }
    }

    #[tokio::test]
    async fn many_streams_share_the_workers_evenly() {
        let queue = Queue::new(1, 100);
        let place = queue.enter().unwrap();
        let slot = place.slot(after(1)).await;
        let (served, mut order) = mpsc::unbounded_channel();
        // One stream asks for ten at once, the other comes later with one, which is due as soon as its first.
        for (stream, due) in (0..10).map(|job| ("greedy", 2 * job + 3)).chain([("late", 4)]) {
            let (place, served) = (queue.enter().unwrap(), served.clone());
            tokio::spawn(async move {
                let _slot = place.slot(after(due)).await;
                served.send(stream).unwrap();
            });
            tokio::task::yield_now().await;
        }
        drop(slot);
        assert_eq!(order.recv().await, Some("greedy"));
        assert_eq!(order.recv().await, Some("late"));
    }

    #[tokio::test]
    async fn one_more_than_the_limit_is_refused_until_somebody_leaves() {
        let queue = Queue::new(1, 1);
        let places = [queue.enter().unwrap(), queue.enter().unwrap()];
        assert!(matches!(queue.enter(), Err(PoolError::QueueFull { limit: 2 })));
        drop(places);
        queue.enter().unwrap();
    }

    #[tokio::test]
    async fn who_gives_up_waiting_costs_no_worker() {
        let queue = Queue::new(1, 10);
        let place = queue.enter().unwrap();
        let slot = place.slot(after(1)).await;
        let waiting = queue.enter().unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(10), waiting.slot(after(0))).await.is_err());
        // Called, but gone before it could hear it.
        let called = queue.enter().unwrap();
        let mut gone = Box::pin(called.slot(after(0)));
        assert!(waits(gone.as_mut()));
        drop(slot);
        drop(gone);
        drop(place.slot(after(1)).await);
    }

    /// Polls once; true if it waits.
    fn waits(future: std::pin::Pin<&mut impl Future>) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        future.poll(&mut context).is_pending()
    }

    #[tokio::test]
    async fn a_closed_queue_lets_those_inside_finish() {
        let queue = Queue::new(1, 10);
        let place = queue.enter().unwrap();
        let mut order = wait_in_order(&queue, &[2]).await;
        queue.close();
        assert!(matches!(queue.enter(), Err(PoolError::Closed)));
        assert!(tokio::time::timeout(Duration::from_millis(10), queue.drained()).await.is_err());
        drop(place.slot(after(1)).await);
        drop(place);
        queue.drained().await;
        assert_eq!(order.recv().await, Some(2));
    }
}
