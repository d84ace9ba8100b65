//! The worker processes of a pool: as many as run jobs, and one that waits to take the place of one that fails.
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{Mutex as AsyncMutex, Notify, oneshot},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    PoolConfig, PoolError,
    child::{Duty, Registry, Worker},
};
use crate::{
    metrics,
    worker::{Limits, Request},
};

/// Time between two tries to start a worker.
const AGAIN: Duration = Duration::from_secs(1);
/// A segment that is ending for so many times as long as it took until then, and for this long, keeps nobody waiting any more. A small
/// rendition may be done when others have most of their work before them, and share the cores with the segment that follows.
const PATIENCE_TIMES: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(1);

/// Worker processes between two jobs.
#[derive(Debug)]
pub(super) struct Crew {
    config: Arc<PoolConfig>,
    /// Those that had a job, or were there from the start.
    free: Mutex<Free>,
    /// Those that never had a job.
    spare: Mutex<Vec<Worker>>,
    /// Told when there is one more of either.
    more: Notify,
    /// Only one is started at a time, so that there are never too many.
    starting: AsyncMutex<()>,
    registry: Arc<Registry>,
}

impl Crew {
    /// Starts every worker and hears a hello from each.
    pub(super) async fn start(config: Arc<PoolConfig>) -> Result<Arc<Self>, PoolError> {
        let crew = Arc::new(Self {
            free: Mutex::default(),
            spare: Mutex::default(),
            more: Notify::new(),
            starting: AsyncMutex::default(),
            registry: Arc::default(),
            config,
        });
        for _ in 0..crew.config.workers {
            let worker = crew.ready().await?;
            crew.take_back(worker);
        }
        Ok(crew)
    }

    /// Keeps a spare worker ready until it is aborted.
    pub(super) fn keep_complete(self: &Arc<Self>) -> JoinHandle<()> {
        let crew = self.clone();
        tokio::spawn(async move {
            loop {
                crew.registry.lacks(crew.config.workers + 1).await;
                if let Err(error) = crew.complete().await {
                    tracing::error!(%error, "media worker cannot be replaced; tried again");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        })
    }

    async fn complete(&self) -> Result<(), PoolError> {
        let _one = self.starting.lock().await;
        // Somebody who could not wait may have started one meanwhile.
        if self.registry.crew() <= self.config.workers {
            let worker = self.ready().await?;
            lock(&self.spare).push(worker);
            self.more.notify_waiters();
        }
        Ok(())
    }

    /// A worker for a job, rather one that used this device last, as it keeps it open. Where all have one, the job follows
    /// another: its order, if it is known, is sent ahead, and what ends that worker is told as the job's own fault. When the
    /// one in front does not end, whatever other worker is free first is taken.
    pub(super) async fn worker(&self, device: Option<u32>, mut order: Option<Ahead>) -> Result<Next, PoolError> {
        loop {
            let seat = {
                let mut free = lock(&self.free);
                if let Some(worker) = pop(&mut free.idle, device) {
                    return Ok(Next::Ready(worker));
                }
                free.seats.pop()
            };
            let Some(Seat { patient, follower, .. }) = seat else { return self.fresh().await.map(Next::Ready) };
            let (worker, coming) = oneshot::channel();
            // Its holder drops it before it goes.
            let _ = follower.send(Follower { order: order.clone(), worker });
            let came = tokio::select! { biased;
                came = coming => came,
                // Who was to come has an order that nobody wants, and ends.
                worker = self.another(device, patient) => return Ok(Next::Ready(worker)),
            };
            match (came, &order) {
                (Ok(Ok(worker)), Some(_)) => return Ok(Next::Ordered(worker)),
                (Ok(Ok(worker)), None) => return Ok(Next::Ready(worker)),
                // It was the time of the one in front. Should it have been this one's doing, it takes no other with it.
                (Ok(Err(PoolError::WorkerHung { .. })), Some(_)) => order = None,
                (Ok(Err(error)), Some(_)) => return Err(error),
                // It says nothing of who only waited.
                (Ok(Err(_)), None) | (Err(_), _) => {}
            }
        }
    }

    /// The next that is free from then on. May be cancelled.
    async fn another(&self, device: Option<u32>, from: Instant) -> Worker {
        sleep_until(from).await;
        loop {
            let more = self.more.notified();
            let idle = pop(&mut lock(&self.free).idle, device);
            if let Some(worker) = idle {
                return worker;
            }
            let spare = pop(&mut lock(&self.spare), device);
            if let Some(worker) = spare {
                return worker;
            }
            more.await;
        }
    }

    /// A worker that never had a job.
    pub(super) async fn fresh(&self) -> Result<Worker, PoolError> {
        if let Some(worker) = pop(&mut lock(&self.spare), None) {
            return Ok(worker);
        }
        let _one = self.starting.lock().await;
        let spare = pop(&mut lock(&self.spare), None);
        match spare {
            Some(worker) => Ok(worker),
            None => self.ready_at_last().await,
        }
    }

    /// One that does not say hello, as on a machine that is short of everything, is no fault of the job that waits for it: a second
    /// is started.
    async fn ready_at_last(&self) -> Result<Worker, PoolError> {
        match self.ready().await {
            Err(error) if error.is_fault() => {
                tracing::warn!(%error, "media worker did not get ready; another is started")
            }
            done => return done,
        }
        self.ready().await.map_err(|error| if error.is_fault() { PoolError::NotReady(Box::new(error)) } else { error })
    }

    /// Offers the place after a job that took so long until it was ending: its worker is soon free.
    pub(super) fn offer(self: &Arc<Self>, took: Duration) -> Offer {
        let (sender, follower) = oneshot::channel();
        let mut free = lock(&self.free);
        free.offers += 1;
        let number = free.offers;
        free.seats.push(Seat {
            number,
            patient: Instant::now() + (PATIENCE_TIMES * took).max(PATIENCE),
            follower: sender,
        });
        Offer { crew: self.clone(), number, follower }
    }

    /// A worker that did its job goes on to the next.
    pub(super) fn take_back(&self, worker: Worker) {
        worker.set(Duty::Idle);
        lock(&self.free).idle.push(worker);
        self.more.notify_waiters();
    }

    /// Starts a worker for other work than that of the crew. Its work has no end that is known, so its CPU time has none.
    pub(super) fn hire(&self) -> Result<Hired, PoolError> {
        let limits = Limits { memory: self.config.worker_memory, cpu: None };
        Ok(Hired { worker: self.spawn(false)?, limits, deadline: self.config.start_deadline })
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Ends the processes that have no job.
    pub(super) async fn retire(&self) {
        let _nobody_starts = self.starting.lock().await;
        let idle = std::mem::take(&mut lock(&self.free).idle);
        let spare = std::mem::take(&mut *lock(&self.spare));
        for worker in idle.into_iter().chain(spare) {
            worker.retire(self.config.start_deadline).await;
        }
    }

    /// Starts a worker and hears a hello from it.
    async fn ready(&self) -> Result<Worker, PoolError> {
        let limits = Limits { memory: self.config.worker_memory, cpu: Some(self.config.job_cpu) };
        Hired { worker: self.spawn(true)?, limits, deadline: self.config.start_deadline }.ready().await
    }

    fn spawn(&self, crew: bool) -> Result<Worker, PoolError> {
        let PoolConfig { program, args, .. } = &*self.config;
        Worker::spawn(program, args, crew, &self.registry).map_err(|error| PoolError::Spawn(Arc::new(error)))
    }
}

/// Workers without a job, and places after jobs.
#[derive(Debug, Default)]
struct Free {
    idle: Vec<Worker>,
    seats: Vec<Seat>,
    /// Numbers given to offers.
    offers: u64,
}

/// The place after a job.
#[derive(Debug)]
struct Seat {
    number: u64,
    /// Until when whoever takes it waits for nobody else.
    patient: Instant,
    follower: oneshot::Sender<Follower>,
}

/// An order that may be sent before its worker is free.
pub(super) type Ahead = (Request, Vec<Bytes>);

/// A worker for a job.
pub(super) enum Next {
    Ready(Worker),
    /// It has the order.
    Ordered(Worker),
}

/// Who gets a worker after the job that it has.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) order: Option<Ahead>,
    worker: oneshot::Sender<Result<Worker, PoolError>>,
}

/// The place after a job, until somebody takes it or the job ends.
#[derive(Debug)]
pub(super) struct Offer {
    crew: Arc<Crew>,
    number: u64,
    follower: oneshot::Receiver<Follower>,
}

impl Offer {
    /// Who takes it. May be cancelled.
    pub(super) async fn taken(&mut self) -> Follower {
        match (&mut self.follower).await {
            Ok(follower) => follower,
            // Nobody else takes it back.
            Err(_) => std::future::pending().await,
        }
    }

    /// Gives the worker to who took the place, else back. `follower` is known if [`Self::taken`] has told it; its order was
    /// sent, if it has one.
    pub(super) fn end(mut self, follower: Option<Follower>, mut worker: Worker) {
        let mut free = lock(&self.crew.free);
        free.seats.retain(|seat| seat.number != self.number);
        let late = self.follower.try_recv().ok();
        drop(free);
        match (follower, late) {
            (Some(Follower { order, worker: next }), _) => {
                if order.is_some() {
                    worker.go_on();
                }
                match (next.send(Ok(worker)), order) {
                    (Err(Ok(worker)), None) => self.crew.take_back(worker),
                    // Who does not wait any more leaves a worker with an order that nobody wants.
                    (Err(Ok(worker)), Some(_)) => {
                        metrics::worker_restarted();
                        let pid = worker.pid();
                        tracing::warn!(pid, "media worker replaced: it has an order that nobody wants any more");
                    }
                    _ => {}
                }
            }
            // One that came too late to be told tries again, and finds the worker.
            (None, _) => self.crew.take_back(worker),
        }
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        lock(&self.crew.free).seats.retain(|seat| seat.number != self.number);
    }
}

impl Follower {
    /// Its worker is gone. Who was not told of a failure tries again.
    pub(super) fn tell(self, error: &PoolError) {
        if error.is_fault() {
            let _ = self.worker.send(Err(error.clone()));
        }
    }
}

/// A worker process of its own that has not said hello.
#[derive(Debug)]
pub(super) struct Hired {
    worker: Worker,
    limits: Limits,
    deadline: Duration,
}

impl Hired {
    pub(super) async fn ready(mut self) -> Result<Worker, PoolError> {
        match self.worker.hello(self.limits, self.deadline).await {
            Ok(()) => Ok(self.worker),
            Err(broken) => Err(self.worker.bury(broken).await),
        }
    }
}

/// The last that is alive, rather one that used this device.
fn pop(workers: &mut Vec<Worker>, device: Option<u32>) -> Option<Worker> {
    loop {
        let fits = workers.iter().rposition(|worker| worker.device == device);
        let last = workers.len().checked_sub(1)?;
        let mut worker = workers.remove(fits.unwrap_or(last));
        let Some(ended) = worker.ended() else { return Some(worker) };
        metrics::worker_restarted();
        tracing::warn!(pid = worker.pid(), how = %ended, "media worker replaced: it ended without a job");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::worker::{Answer, Reply, head};

    /// Notes each start; the first of the processes ends without a hello, or all do.
    const SCRIPT: &str = r#"
        echo start >> "$0/starts"
        if [ "$1" = all ] || mkdir "$0/first" 2> /dev/null; then exit 1; fi
        cat "$0/hello"
        exec cat > /dev/null"#;

    /// A crew without anybody, whose workers are that script.
    async fn crew(directory: &Path, silent: &str) -> Arc<Crew> {
        let hello = Reply { job: 1, wall: Duration::ZERO, cpu: Duration::ZERO, answer: Answer::Ready };
        std::fs::write(directory.join("hello"), head(&hello, &[]).unwrap()).unwrap();
        let args = ["-c".into(), SCRIPT.into(), directory.as_os_str().to_owned(), silent.into()];
        Crew::start(Arc::new(PoolConfig { workers: 0, ..PoolConfig::new("/bin/sh", args) })).await.unwrap()
    }

    fn starts(directory: &Path) -> usize {
        std::fs::read_to_string(directory.join("starts")).unwrap().lines().count()
    }

    #[tokio::test]
    async fn a_worker_that_does_not_say_hello_is_followed_by_another() {
        let directory = tempfile::tempdir().unwrap();
        let crew = crew(directory.path(), "first").await;
        crew.fresh().await.unwrap();
        assert_eq!(starts(directory.path()), 2);
    }

    /// An order that is sent ahead, and nobody's.
    fn ahead() -> Option<Ahead> {
        Some((Request::Probe, Vec::new()))
    }

    #[tokio::test]
    async fn who_follows_one_that_hangs_is_not_blamed_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let crew = crew(directory.path(), "first").await;
        let mut offer = crew.offer(Duration::ZERO);
        let hung = async {
            let follower = offer.taken().await;
            assert!(follower.order.is_some());
            drop(offer);
            follower.tell(&PoolError::WorkerHung { deadline: Duration::ZERO });
        };
        let (next, ()) = tokio::join!(crew.worker(None, ahead()), hung);
        assert!(matches!(next, Ok(Next::Ready(_))));
    }

    #[tokio::test]
    async fn who_follows_one_that_does_not_end_takes_the_next_that_is_free() {
        let directory = tempfile::tempdir().unwrap();
        let crew = crew(directory.path(), "first").await;
        let (free, behind) = (crew.fresh().await.unwrap(), crew.fresh().await.unwrap());
        let pids = (free.pid(), behind.pid());
        let mut offer = crew.offer(Duration::ZERO);
        let came = async {
            let follower = offer.taken().await;
            crew.take_back(free);
            follower
        };
        let (next, follower) = tokio::join!(crew.worker(None, ahead()), came);
        match next {
            Ok(Next::Ready(worker)) => assert_eq!(worker.pid(), pids.0),
            _ => panic!("it waited for the other"),
        }
        offer.end(Some(follower), behind);
        assert_eq!(crew.registry.crew(), 0, "one whose order nobody wants is kept");
    }

    #[tokio::test]
    async fn workers_that_say_no_hello_are_no_fault_of_the_job() {
        let directory = tempfile::tempdir().unwrap();
        let crew = crew(directory.path(), "all").await;
        let error = crew.fresh().await.unwrap_err();
        assert!(!error.is_fault(), "{error}");
        assert!(
            matches!(&error, PoolError::NotReady(last) if matches!(**last, PoolError::WorkerDied { .. })),
            "{error:?}"
        );
        assert_eq!(starts(directory.path()), 2, "never a third");
    }
}
