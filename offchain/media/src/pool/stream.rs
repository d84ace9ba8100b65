//! A segment transcoded by a worker of the pool while it comes in.
use std::{sync::Arc, time::Duration};

use tokio::{
    io::AsyncRead,
    process::ChildStdin,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{
    Inner, JobReport, PoolError, Reported,
    child::{Broken, Worker, read_reply, write_order},
    due::Due,
    feeder::{End, Feed, Feeder, Next, feed},
    queue::{Place, Slot},
    trail::Trail,
};
use crate::{
    MAX_SEGMENT_BYTES, Piece, TranscodeReport, metrics,
    worker::{Answer, Request},
};

/// What it is called in metrics and in names of files.
const KIND: &str = "transcode_stream";
/// Pieces of renditions that wait for whoever asked for them.
const MADE: usize = 8;
/// What has come of a segment before a worker is taken for it, unless that is all of it.
const FIRST_BYTES: usize = 16 << 10;
/// How long a worker waits for a segment in all, if other jobs wait for a worker.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time between two looks whether they do.
const LOOK: Duration = Duration::from_millis(50);
/// Most bytes of renditions, as for a job whose answer is one frame.
const MAX_MADE_BYTES: usize = 4 * MAX_SEGMENT_BYTES;

/// What a worker makes of a segment that is fed to it.
#[derive(Clone, Debug)]
pub enum Made {
    /// Provisional until [`Made::Done`].
    Piece(Piece),
    /// The worker failed, and another one begins anew: all pieces so far are void.
    Again,
    /// All was made. Nothing comes after it.
    Done(Reported<TranscodeReport>),
}

/// Renditions as they are made. Dropping it abandons the job: its worker is killed and replaced.
#[derive(Debug)]
pub struct MadeStream {
    made: mpsc::Receiver<Result<Made, PoolError>>,
    task: JoinHandle<()>,
    deadline: Duration,
    ended: bool,
}

impl Drop for MadeStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl MadeStream {
    /// The next piece, and in the end the report; `None` after it or after an error. May be cancelled.
    pub async fn next(&mut self) -> Option<Result<Made, PoolError>> {
        if self.ended {
            return None;
        }
        let next = self.made.recv().await.unwrap_or(Err(PoolError::NotTaken { deadline: self.deadline }));
        self.ended = matches!(next, Ok(Made::Done(_)) | Err(_));
        Some(next)
    }
}

type Output = mpsc::Sender<Result<Made, PoolError>>;

/// Starts a job that has its place in the queue; `count` renditions are asked for.
pub(super) fn start(pool: Arc<Inner>, request: Request, count: usize, due: Due, place: Place) -> (Feed, MadeStream) {
    let (feed, feeder) = feed(due.left());
    let (output, made) = mpsc::channel(MADE);
    let deadline = pool.config.job_deadline;
    let job = StreamJob {
        pool,
        request,
        count,
        due,
        feeder,
        output,
        deadline,
        beginnings: Beginnings::default(),
        yielded: false,
    };
    (feed, MadeStream { made, task: tokio::spawn(job.run(place)), deadline, ended: false })
}

struct StreamJob {
    pool: Arc<Inner>,
    request: Request,
    count: usize,
    due: Due,
    feeder: Feeder,
    output: Output,
    /// Longest that one piece may wait to be taken.
    deadline: Duration,
    beginnings: Beginnings,
    /// The last worker was taken away, as it had to wait.
    yielded: bool,
}

/// Whoever takes pieces hears once at most that they are void.
#[derive(Clone, Copy, Debug, Default)]
struct Beginnings {
    /// A piece has left since the last worker began.
    emitted: bool,
    /// Pieces were void already.
    voided: bool,
}

impl Beginnings {
    /// Whether no other worker may begin.
    fn is_last(self) -> bool {
        self.emitted && self.voided
    }

    /// Another worker begins; true if there are pieces that are void for it.
    fn again(&mut self) -> bool {
        let voids = std::mem::take(&mut self.emitted);
        self.voided |= voids;
        voids
    }
}

type Transcoded = Reported<TranscodeReport>;

impl StreamJob {
    async fn run(mut self, place: Place) {
        let started = Instant::now();
        let done = self.transcode(place).await;
        metrics::job(KIND, done.as_ref().err(), started.elapsed());
        match done {
            // There is no room for one more word: the stream says it itself.
            Err(PoolError::NotTaken { .. }) => {}
            done => {
                let _ = self.output.send(done.map(Made::Done)).await;
            }
        }
    }

    async fn transcode(&mut self, place: Place) -> Result<Transcoded, PoolError> {
        let pool = self.pool.clone();
        let mut first = self.failed_before().await?;
        let known = first.is_some();
        // Who sends slowly keeps no worker from others.
        if let Some(End::Cut(error)) = self.feeder.at_least(FIRST_BYTES).await {
            return Err(error);
        }
        let mut slot = self.slot(&place).await?;
        let asked = self.request.clone();
        let mut trail = Trail::new(pool.fleet.get(), &asked);
        loop {
            self.request = trail.next()?;
            let worker = match self.due.wait(pool.worker(first.is_some(), trail.device())).await.and_then(|next| next) {
                Ok(worker) => worker,
                Err(error) => {
                    self.request = asked;
                    drop(slot);
                    return Err(self.no_second(first.filter(|_| !known), error).await);
                }
            };
            let ended = self.attempt(worker, &place).await;
            if std::mem::take(&mut self.yielded) {
                drop(slot);
                if self.beginnings.again() && !taken(&self.output, Made::Again, self.deadline).await {
                    return Err(PoolError::NotTaken { deadline: self.deadline });
                }
                self.request = asked.clone();
                self.whole().await?;
                slot = match self.slot(&place).await {
                    Ok(slot) => slot,
                    Err(error) => return Err(self.no_second(first.filter(|_| !known), error).await),
                };
                trail = Trail::new(pool.fleet.get(), &asked);
                continue;
            }
            trail.ended(ended.as_ref().err());
            let again = !(self.feeder.is_cut() || self.due.left().is_zero() || self.beginnings.is_last());
            let moved = matches!(&ended, Err(error) if again && trail.leaves(error));
            let error = match ended {
                Err(error) if moved || error.is_fault() => error,
                ended => return ended,
            };
            if !moved {
                self.request = asked.clone();
                if first.is_some() || !again {
                    trail.blame();
                    drop(slot);
                    return Err(self.give_up(first, error).await);
                }
            }
            if self.beginnings.again() && !taken(&self.output, Made::Again, self.deadline).await {
                return Err(PoolError::NotTaken { deadline: self.deadline });
            }
            if !moved {
                metrics::retried();
                first = Some(error);
            }
        }
    }

    /// Waits for a worker's turn. A segment that is still coming leaves it to jobs that wait.
    async fn slot(&mut self, place: &Place) -> Result<Slot, PoolError> {
        loop {
            let slot = {
                let slot = self.due.wait(place.slot(self.due.at()));
                tokio::pin!(slot);
                tokio::select! { biased;
                    slot = &mut slot => slot?,
                    end = self.feeder.rest() => match end {
                        End::Whole => slot.await?,
                        End::Cut(error) => return Err(error),
                    },
                }
            };
            if !self.feeder.is_coming() || !place.is_wanted() {
                return Ok(slot);
            }
            drop(slot);
            self.whole().await?;
        }
    }

    async fn whole(&mut self) -> Result<(), PoolError> {
        match self.feeder.rest().await {
            End::Whole => Ok(()),
            End::Cut(error) => Err(error),
        }
    }

    /// A segment that begins like one on which workers failed is known when it is whole, and held back until then.
    async fn failed_before(&mut self) -> Result<Option<PoolError>, PoolError> {
        let pool = self.pool.clone();
        if pool.record.is_empty() {
            return Ok(None);
        }
        let head = self.feeder.head().await;
        if !pool.record.suspects(&self.request, &[head]) {
            return Ok(None);
        }
        match self.feeder.rest().await {
            End::Whole => pool.failed_before(&self.request, &[self.feeder.segment()]).await,
            End::Cut(error) => Err(error),
        }
    }

    /// What a job ends with that gets no second worker: how it failed on the first.
    async fn no_second(&mut self, failed: Option<PoolError>, error: PoolError) -> PoolError {
        match failed {
            Some(failed) => self.give_up(None, failed).await,
            None => error,
        }
    }

    /// The job is remembered by all of its segment, which may still have to come.
    async fn give_up(&mut self, first: Option<PoolError>, error: PoolError) -> PoolError {
        match self.feeder.rest().await {
            End::Whole => {
                let segment = self.feeder.segment();
                self.pool.give_up(KIND, &self.request, &[segment], first, error).await
            }
            End::Cut(_) => error,
        }
    }

    async fn attempt(&mut self, mut worker: Worker, place: &Place) -> Result<Transcoded, PoolError> {
        match self.exchange(&mut worker, place).await {
            Ok(Ok(done)) => {
                self.pool.crew.take_back(worker);
                metrics::transcoded(&done.output);
                Ok(done)
            }
            Ok(Err(error @ PoolError::NotTaken { .. })) => Err(error),
            Ok(Err(mut error)) => {
                if let PoolError::Media(error) = &mut error {
                    worker.explain(error).await;
                }
                Err(self.pool.release(worker, error, None, None))
            }
            Err(broken) => Err(self.pool.bury(worker, broken, self.due).await),
        }
    }

    /// Feeds and reads at once, so that neither side waits for the other. A worker that did not break is ready for its next
    /// order, unless the pieces were not taken.
    async fn exchange(&mut self, worker: &mut Worker, place: &Place) -> Result<Result<Transcoded, PoolError>, Broken> {
        let Self { request, count, due, feeder, output, deadline, beginnings, yielded, .. } = self;
        let deadline = *deadline;
        let ordered = timeout(deadline, worker.order(request.clone(), &[])).await;
        ordered.unwrap_or(Err(Broken::Hung(deadline)))?;
        let (stdin, stdout, job) = worker.pipes()?;
        let (end, ended) = watch::channel(None);
        let (stop, stopped) = watch::channel(false);
        // Pieces can be void but once.
        let yields = (!beginnings.voided).then_some((place, yielded));
        let feeding = async {
            let fed = feed_all(feeder, stopped, stdin, job, deadline, yields).await;
            end.send_replace(Some((Instant::now(), due.left())));
            fed
        };
        let emitted = &mut beginnings.emitted;
        let reading = Reader { ended, deadline, count: *count, output, emitted }.run(stdout, job);
        tokio::pin!(feeding, reading);
        let mut fed = None;
        let made = loop {
            tokio::select! { biased;
                made = &mut reading => break made?,
                end = &mut feeding, if fed.is_none() => fed = Some(end?),
            }
        };
        // What was made of a segment that never became whole is not the segment's.
        let end = match (fed, &made) {
            (Some(end), _) => end,
            (None, Err(PoolError::NotTaken { .. })) => End::Whole,
            (None, _) => {
                stop.send_replace(made.is_err());
                feeding.await?
            }
        };
        Ok(match end {
            End::Whole => made,
            End::Cut(error) => Err(error),
        })
    }
}

/// Feeds a worker until the end of the segment, or until it wants no more; how the segment ended is known in the first case. One
/// that waits for the segment for long while others wait for a worker is given up to them, and told so, if there is a place to.
async fn feed_all(
    feeder: &mut Feeder,
    mut stopped: watch::Receiver<bool>,
    stdin: &mut ChildStdin,
    job: u64,
    deadline: Duration,
    mut yields: Option<(&Place, &mut bool)>,
) -> Result<End, Broken> {
    let (mut fed, mut waited) = (0, Duration::ZERO);
    loop {
        let since = Instant::now();
        let next = loop {
            tokio::select! { biased;
                Ok(_) = stopped.wait_for(|stopped| *stopped) => return Ok(End::Whole),
                next = feeder.piece(fed) => break next,
                () = tokio::time::sleep(LOOK), if yields.is_some() => {
                    let long = waited + since.elapsed() >= PATIENCE;
                    if let Some((_, yielded)) = yields.as_mut().filter(|(place, _)| long && place.is_wanted()) {
                        **yielded = true;
                        break Next::End(End::Cut(PoolError::FeedAborted));
                    }
                }
            }
        };
        waited += since.elapsed();
        let (request, blobs, last) = match next {
            Next::Piece(piece) => {
                fed += piece.len();
                (Request::Feed, vec![piece], None)
            }
            Next::End(end @ End::Whole) => (Request::FeedEnd, vec![], Some(end)),
            Next::End(end @ End::Cut(_)) => (Request::FeedAbort, vec![], Some(end)),
        };
        match (timeout(deadline, write_order(stdin, job, request, &blobs)).await, last) {
            (Err(_), _) => return Err(Broken::Hung(deadline)),
            (Ok(Ok(())), None) => {}
            (Ok(Ok(())), Some(end)) => return Ok(end),
            // A worker that reads no more has said why, or dies: its answer tells.
            (Ok(Err(_)), _) => return Ok(End::Whole),
        }
    }
}

/// When a worker had been fed everything, and what it may take from then on.
type Ended = watch::Receiver<Option<(Instant, Duration)>>;

struct Reader<'a> {
    ended: Ended,
    deadline: Duration,
    count: usize,
    output: &'a Output,
    emitted: &'a mut bool,
}

impl Reader<'_> {
    /// Passes pieces on until the report. Time in which nobody takes them is not the worker's.
    async fn run(
        self,
        stdout: &mut (impl AsyncRead + Unpin),
        job: u64,
    ) -> Result<Result<Transcoded, PoolError>, Broken> {
        let Self { ended, deadline, count, output, emitted } = self;
        let (mut used, mut bytes) = (Duration::ZERO, 0);
        loop {
            let since = Instant::now();
            let (reply, blobs) = tokio::select! { biased;
                reply = read_reply(stdout, job) => reply?,
                limit = hung(ended.clone(), since, used) => return Err(Broken::Hung(limit)),
            };
            if let Some((end, _)) = *ended.borrow() {
                used += since.max(end).elapsed();
            }
            match (reply.answer, blobs.into_iter().next()) {
                (Answer::Piece { rendition, pixels }, Some(piece)) if rendition < count => {
                    bytes += piece.len();
                    if bytes > MAX_MADE_BYTES {
                        return Err(Broken::Garbage(format!("renditions of more than {MAX_MADE_BYTES} bytes")));
                    }
                    *emitted = true;
                    if !taken(output, Made::Piece(Piece { rendition, bytes: piece, pixels }), deadline).await {
                        return Ok(Err(PoolError::NotTaken { deadline }));
                    }
                }
                (Answer::Transcoded(output), None) if output.renditions.len() == count => {
                    let report = JobReport { wall: reply.wall, cpu: reply.cpu };
                    return Ok(Ok(Reported { output, report }));
                }
                (Answer::Failed(error), None) => return Ok(Err(error.into())),
                _ => return Err(Broken::Garbage("answer to another request".into())),
            }
        }
    }
}

async fn taken(output: &Output, made: Made, deadline: Duration) -> bool {
    matches!(timeout(deadline, output.send(Ok(made))).await, Ok(Ok(())))
}

/// Ends when the worker has had everything for as long as it may take, of which it has `used` some before `since`.
async fn hung(mut ended: Ended, since: Instant, used: Duration) -> Duration {
    let ended = ended.wait_for(Option::is_some).await.map(|ended| *ended);
    match ended {
        Ok(Some((end, limit))) => {
            tokio::time::sleep_until(since.max(end) + limit.saturating_sub(used)).await;
            limit
        }
        _ => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_void_once_at_most() {
        let mut beginnings = Beginnings::default();
        for _device in 0..3 {
            assert!(!beginnings.is_last() && !beginnings.again(), "nobody has anything yet");
        }
        beginnings.emitted = true;
        assert!(!beginnings.is_last() && beginnings.again());
        assert!(!beginnings.is_last() && !beginnings.again(), "one that made nothing voids nothing");
        beginnings.emitted = true;
        assert!(beginnings.is_last());
    }
}
