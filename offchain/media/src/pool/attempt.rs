//! A job on a worker, and once more on another if that one fails.
use bytes::Bytes;

use super::{
    Inner, PoolError,
    child::{Broken, Worker},
    due::Due,
    record::Failures,
    trail::Trail,
};
use crate::{
    metrics,
    worker::{Answer, Reply, Request},
};

/// The end of a job.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) reply: Reply,
    pub(super) blobs: Vec<Bytes>,
}

impl Inner {
    /// Has a job done. One without blobs is not about bad input, and is tried once.
    pub(super) async fn run(
        &self,
        kind: &'static str,
        request: &Request,
        blobs: &[Bytes],
        due: Due,
    ) -> Result<Done, PoolError> {
        let place = self.queue.enter()?;
        let mut first = self.failed_before(request, blobs).await?;
        let slot = due.wait(place.slot(due.at())).await?;
        let mut trail = Trail::new(self.fleet.get(), request);
        loop {
            let order = trail.next()?;
            let worker = self.worker(first.is_some(), trail.device()).await?;
            let ended = self.attempt(worker, order, blobs, due).await;
            trail.ended(ended.as_ref().err());
            let error = match ended {
                Err(error) if trail.leaves(&error) && !due.left().is_zero() => continue,
                Err(error) if error.is_fault() && !blobs.is_empty() => error,
                ended => return ended,
            };
            if first.is_some() || due.left().is_zero() {
                trail.blame();
                drop(slot);
                return Err(self.give_up(kind, request, blobs, first, error).await);
            }
            metrics::retried();
            first = Some(error);
        }
    }

    /// How a worker failed on this job before. One on which two did is refused.
    pub(super) async fn failed_before(
        &self,
        request: &Request,
        blobs: &[Bytes],
    ) -> Result<Option<PoolError>, PoolError> {
        match self.record.find(request, blobs).await {
            Some(Failures::Twice(first, second)) => Err(PoolError::Quarantined { first, second }),
            Some(Failures::Once(first)) => Ok(Some(*first)),
            None => Ok(None),
        }
    }

    /// A worker for a job on this device.
    pub(super) async fn worker(&self, fresh: bool, device: Option<u32>) -> Result<Worker, PoolError> {
        let mut worker = if fresh { self.crew.fresh().await? } else { self.crew.worker(device).await? };
        worker.device = device.or(worker.device);
        Ok(worker)
    }

    async fn attempt(
        &self,
        mut worker: Worker,
        request: Request,
        blobs: &[Bytes],
        due: Due,
    ) -> Result<Done, PoolError> {
        match worker.exchange(request, blobs, due.left()).await {
            Ok((Reply { answer: Answer::Failed(error), .. }, _)) => Err(self.release(worker, error.into())),
            Ok((reply, blobs)) => {
                self.crew.take_back(worker);
                Ok(Done { reply, blobs })
            }
            Err(broken) => Err(self.bury(worker, broken, due).await),
        }
    }

    /// A worker that refused a job is as good as before, unless the error says that it is not.
    pub(super) fn release(&self, worker: Worker, error: PoolError) -> PoolError {
        if error.is_fault() {
            replaced(&error);
        } else {
            self.crew.take_back(worker);
        }
        error
    }

    pub(super) async fn bury(&self, worker: Worker, broken: Broken, due: Due) -> PoolError {
        let error = due.judge(worker.bury(broken).await);
        replaced(&error);
        error
    }

    /// Remembers a job on which one worker failed, or the second one too, and says what the caller is told.
    pub(super) async fn give_up(
        &self,
        kind: &'static str,
        request: &Request,
        blobs: &[Bytes],
        first: Option<PoolError>,
        error: PoolError,
    ) -> PoolError {
        let Some(first) = first.map(Box::new) else {
            self.record.remember(request, blobs, Failures::Once(Box::new(error.clone()))).await;
            return error;
        };
        let second = Box::new(error);
        tracing::error!(kind, %first, %second, "two media workers failed on a job; it is refused from now on");
        self.record.remember(request, blobs, Failures::Twice(first.clone(), second.clone())).await;
        if let Some(quarantine) = &self.quarantine {
            quarantine.keep(kind, blobs, [&first, &second]).await;
        }
        PoolError::Quarantined { first, second }
    }
}

fn replaced(error: &PoolError) {
    metrics::worker_restarted();
    tracing::warn!(%error, "media worker replaced");
}
