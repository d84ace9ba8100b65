//! The worker processes of a pool: as many as run jobs, and one that waits to take the place of one that fails.
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Mutex as AsyncMutex, task::JoinHandle};

use super::{
    PoolConfig, PoolError,
    child::{Duty, Registry, Worker},
};
use crate::{metrics, worker::Limits};

/// Time between two tries to start a worker.
const AGAIN: Duration = Duration::from_secs(1);

/// Worker processes between two jobs.
#[derive(Debug)]
pub(super) struct Crew {
    config: Arc<PoolConfig>,
    /// Those that had a job, or were there from the start.
    idle: Mutex<Vec<Worker>>,
    /// Those that never had a job.
    spare: Mutex<Vec<Worker>>,
    /// Only one is started at a time, so that there are never too many.
    starting: AsyncMutex<()>,
    registry: Arc<Registry>,
}

impl Crew {
    /// Starts every worker and hears a hello from each.
    pub(super) async fn start(config: Arc<PoolConfig>) -> Result<Arc<Self>, PoolError> {
        let crew = Arc::new(Self {
            idle: Mutex::default(),
            spare: Mutex::default(),
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
        }
        Ok(())
    }

    /// A worker for a job, rather one that used this device last, as it keeps it open.
    pub(super) async fn worker(&self, device: Option<u32>) -> Result<Worker, PoolError> {
        match self.pop(&self.idle, device) {
            Some(worker) => Ok(worker),
            None => self.fresh().await,
        }
    }

    /// A worker that never had a job.
    pub(super) async fn fresh(&self) -> Result<Worker, PoolError> {
        if let Some(worker) = self.pop(&self.spare, None) {
            return Ok(worker);
        }
        let _one = self.starting.lock().await;
        match self.pop(&self.spare, None) {
            Some(worker) => Ok(worker),
            None => self.ready().await,
        }
    }

    /// A worker that did its job goes on to the next.
    pub(super) fn take_back(&self, worker: Worker) {
        worker.set(Duty::Idle);
        lock(&self.idle).push(worker);
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
        let idle = std::mem::take(&mut *lock(&self.idle));
        let spare = std::mem::take(&mut *lock(&self.spare));
        for worker in idle.into_iter().chain(spare) {
            worker.retire(self.config.start_deadline).await;
        }
    }

    fn pop(&self, workers: &Mutex<Vec<Worker>>, device: Option<u32>) -> Option<Worker> {
        loop {
            let mut worker = {
                let mut workers = lock(workers);
                let fits = workers.iter().rposition(|worker| worker.device == device);
                let last = workers.len().checked_sub(1)?;
                workers.remove(fits.unwrap_or(last))
            };
            if worker.is_alive() {
                return Some(worker);
            }
            metrics::worker_restarted();
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

fn lock(workers: &Mutex<Vec<Worker>>) -> MutexGuard<'_, Vec<Worker>> {
    workers.lock().unwrap_or_else(PoisonError::into_inner)
}
