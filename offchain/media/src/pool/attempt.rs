//! A job on a worker, and once more on another if that one fails.
use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::{
    Inner, PoolError,
    child::{Broken, Worker, read_reply, write_order},
    crew::{Follower, Next, Offer},
    due::Due,
    queue::Slot,
    record::Failures,
    trail::Trail,
};
use crate::{
    metrics,
    worker::{Answer, Reply, Request, TranscodeOrder},
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
        let known = first.is_some();
        let mut slot = None;
        let mut trail = Trail::new(self.fleet.get(), request);
        loop {
            if slot.is_none() {
                match due.wait(place.slot(due.at())).await {
                    Ok(next) => slot = Some(next),
                    Err(late) => {
                        return Err(self.no_second(kind, request, blobs, first.filter(|_| !known), late).await);
                    }
                }
            }
            let order = trail.next()?;
            let alone = first.is_some();
            let next = due.wait(self.next(alone, trail.device(), &order, blobs)).await;
            let ended = match next.and_then(|next| next) {
                Ok(next) => self.attempt(next, order, blobs, due, (!alone).then_some(&mut slot)).await,
                Err(error) => Err(error),
            };
            trail.ended(ended.as_ref().err());
            let error = match ended {
                Err(error) if trail.leaves(&error) && !due.left().is_zero() => continue,
                Err(error) if error.is_fault() && !blobs.is_empty() => error,
                Err(error @ (PoolError::Late { .. } | PoolError::NotReady(_) | PoolError::Spawn(_))) => {
                    return Err(self.no_second(kind, request, blobs, first.filter(|_| !known), error).await);
                }
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

    /// A worker for a job on this device, that has no other.
    pub(super) async fn worker(&self, fresh: bool, device: Option<u32>) -> Result<Worker, PoolError> {
        let mut worker = match fresh {
            true => self.crew.fresh().await?,
            false => match self.crew.worker(device, None).await? {
                Next::Ready(worker) | Next::Ordered(worker) => worker,
            },
        };
        worker.device = device.or(worker.device);
        Ok(worker)
    }

    /// A worker for a job, which may still be at the one before. Alone is what follows a worker's failure: what happens then
    /// is this job's own.
    async fn next(
        &self,
        alone: bool,
        device: Option<u32>,
        order: &Request,
        blobs: &[Bytes],
    ) -> Result<Next, PoolError> {
        match order {
            Request::Transcode(TranscodeOrder { device: None, .. }) if !alone => {
                self.crew.worker(None, Some((order.clone(), blobs.to_vec()))).await
            }
            _ => self.worker(alone, device).await.map(Next::Ready),
        }
    }

    /// One that leaves its slot to others when its segment is ending brings it.
    async fn attempt(
        &self,
        next: Next,
        request: Request,
        blobs: &[Bytes],
        due: Due,
        slot: Option<&mut Option<Slot>>,
    ) -> Result<Done, PoolError> {
        let (mut worker, ordered) = match next {
            Next::Ready(worker) => (worker, false),
            Next::Ordered(worker) => (worker, true),
        };
        let may_end = matches!(&request, Request::Transcode(TranscodeOrder { device: None, .. })) && !blobs.is_empty();
        let asked = (&request, blobs.len());
        let mut offer = None;
        let mut follower = None;
        let left = due.left();
        let began = Instant::now();
        let answered = timeout(left, async {
            if !ordered {
                worker.order(request.clone(), blobs).await?;
            }
            let (stdin, stdout, job) = worker.pipes()?;
            let (reply, made) = read_reply(stdout, job).await?;
            if !(may_end && matches!(reply.answer, Answer::Ending)) {
                return expected(asked, reply, made);
            }
            let reply = async {
                let (reply, made) = read_reply(stdout, job).await?;
                expected(asked, reply, made)
            };
            let Some(slot) = slot else { return reply.await };
            let offer = offer.insert(self.crew.offer(began.elapsed()));
            *slot = None;
            tokio::pin!(reply);
            loop {
                tokio::select! { biased;
                    reply = &mut reply => return reply,
                    taken = offer.taken(), if follower.is_none() => {
                        let Follower { order, .. } = follower.insert(taken);
                        if let Some((request, blobs)) = order {
                            write_order(stdin, job + 1, request.clone(), blobs).await?;
                        }
                    }
                }
            }
        });
        match answered.await.unwrap_or(Err(Broken::Hung(left))) {
            Ok(Done { reply: Reply { answer: Answer::Failed(mut error), .. }, .. }) => {
                worker.explain(&mut error).await;
                Err(self.release(worker, error.into(), offer, follower))
            }
            Ok(done) => {
                self.hand_on(worker, offer, follower);
                Ok(done)
            }
            Err(broken) => {
                let error = self.bury(worker, broken, due).await;
                follower.into_iter().for_each(|follower| follower.tell(&error));
                Err(error)
            }
        }
    }

    fn hand_on(&self, worker: Worker, offer: Option<Offer>, follower: Option<Follower>) {
        match offer {
            Some(offer) => offer.end(follower, worker),
            None => self.crew.take_back(worker),
        }
    }

    /// A worker that refused a job is as good as before, unless the error says that it is not.
    pub(super) fn release(
        &self,
        worker: Worker,
        error: PoolError,
        offer: Option<Offer>,
        follower: Option<Follower>,
    ) -> PoolError {
        if error.is_fault() {
            replaced(&error);
            follower.into_iter().for_each(|follower| follower.tell(&error));
        } else {
            self.hand_on(worker, offer, follower);
        }
        error
    }

    pub(super) async fn bury(&self, worker: Worker, broken: Broken, due: Due) -> PoolError {
        let error = due.judge(worker.bury(broken).await);
        replaced(&error);
        error
    }

    /// A job that has no second attempt, or none that tells anything, is told how its first one `failed`.
    async fn no_second(
        &self,
        kind: &'static str,
        request: &Request,
        blobs: &[Bytes],
        failed: Option<PoolError>,
        error: PoolError,
    ) -> PoolError {
        match failed {
            Some(failed) => self.give_up(kind, request, blobs, None, failed).await,
            None => error,
        }
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

/// A worker that answers anything else than the end of the job that it was asked for would leave the rest to the next job.
fn expected((request, given): (&Request, usize), reply: Reply, blobs: Vec<Bytes>) -> Result<Done, Broken> {
    let made = blobs.len();
    let is_end = match (&reply.answer, request) {
        (Answer::Failed(_), _)
        | (Answer::Probed(_), Request::Probe)
        | (Answer::Inspected(_), Request::Inspect)
        | (Answer::Measured(_), Request::Quality)
        | (Answer::Works, Request::ProbeEncoder(_) | Request::ProbeFilters)
        | (Answer::Tried(_), Request::TryDevice(_)) => made == 0,
        (Answer::Compared(all), Request::Compare(_)) => made == 0 && all.len() + 1 == given,
        (Answer::Fragmented, Request::Fragment) => made == 2,
        (Answer::Transcoded(report), Request::Transcode(order)) => {
            made == order.profiles.len() && made == report.renditions.len()
        }
        _ => false,
    };
    if is_end { Ok(Done { reply, blobs }) } else { Err(Broken::Garbage("answer to another request".into())) }
}

fn replaced(error: &PoolError) {
    metrics::worker_restarted();
    tracing::warn!(%error, "media worker replaced");
}
