//! A segment transcoded by a worker of the pool while it comes in.
use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, watch},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use super::{
    Inner, JobReport, PoolError, Reported,
    child::{Broken, Worker, read_reply, write_order},
};
use crate::{
    MAX_SEGMENT_BYTES, MediaError, Piece, TranscodeReport, metrics,
    worker::{Answer, Request},
};

/// Largest piece of a segment on its way to the worker, in bytes.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces of the segment that wait for the worker.
const FED: usize = 8;
/// Pieces of renditions that wait for whoever asked for them.
const MADE: usize = 8;
/// Most bytes of renditions, as for a job whose answer is one frame.
const MAX_MADE_BYTES: usize = 4 * MAX_SEGMENT_BYTES;

/// Takes a segment piece by piece. Dropping it before [`Feed::finish`] aborts the job.
#[derive(Debug)]
pub struct Feed(mpsc::Sender<Food>);

#[derive(Debug)]
enum Food {
    Piece(Bytes),
    End,
}

impl Feed {
    /// Hands over the next bytes, and waits while the worker is busy; the pieces made of what came before must be taken
    /// meanwhile. False once nobody takes them any more; the stream says why. Not to be cancelled: a part would be lost.
    pub async fn send(&self, mut bytes: Bytes) -> bool {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
            if self.0.send(Food::Piece(piece)).await.is_err() {
                return false;
            }
        }
        !self.0.is_closed()
    }

    /// The segment is whole. False if nobody took it; the stream says why.
    pub async fn finish(self) -> bool {
        self.0.send(Food::End).await.is_ok()
    }
}

/// What a worker makes of a segment that is fed to it.
#[derive(Clone, Debug)]
pub enum Made {
    /// Provisional until [`Made::Done`].
    Piece(Piece),
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
        self.ended = !matches!(next, Ok(Made::Piece(_)));
        Some(next)
    }
}

/// A job, before it has a worker.
#[derive(Debug)]
pub(super) struct StreamJob {
    pub(super) request: Request,
    /// Renditions asked for.
    pub(super) count: usize,
    pub(super) place: OwnedSemaphorePermit,
}

type Output = mpsc::Sender<Result<Made, PoolError>>;

pub(super) fn start(pool: Arc<Inner>, job: StreamJob) -> (Feed, MadeStream) {
    let (feed, food) = mpsc::channel(FED);
    let (sender, made) = mpsc::channel(MADE);
    let deadline = pool.config.job_deadline;
    let task = tokio::spawn(pump(pool, job, food, sender));
    (Feed(feed), MadeStream { made, task, deadline, ended: false })
}

async fn pump(pool: Arc<Inner>, job: StreamJob, food: mpsc::Receiver<Food>, made: Output) {
    let started = Instant::now();
    let done = run(&pool, job, food, &made).await;
    metrics::job("transcode_stream", done.as_ref().err(), started.elapsed());
    if let Err(PoolError::NotTaken { .. }) = done {
        return; // there is no room for one more word
    }
    let _ = made.send(done.map(Made::Done)).await;
}

async fn run(
    pool: &Inner,
    job: StreamJob,
    food: mpsc::Receiver<Food>,
    made: &Output,
) -> Result<Reported<TranscodeReport>, PoolError> {
    let StreamJob { request, count, place: _place } = job;
    let _slot = pool.slots.acquire().await.map_err(|_| PoolError::Closed)?;
    let mut worker = pool.worker()?;
    let deadline = pool.config.job_deadline;
    match exchange(&mut worker, request, count, deadline, food, made).await {
        Ok(mut done) => {
            if let Err(PoolError::Media(error)) = &mut done {
                worker.explain(error).await;
            }
            if !matches!(done, Err(PoolError::NotTaken { .. })) {
                worker.rest();
                pool.idle().push(worker);
            }
            let done = done?;
            metrics::transcoded(&done.output);
            Ok(done)
        }
        Err(broken) => {
            let error = worker.bury(broken).await;
            pool.replace(&error);
            Err(error)
        }
    }
}

/// Feeds and reads at once, so that neither side waits for the other. A worker that did not break is ready for its next
/// order, unless the pieces were not taken.
async fn exchange(
    worker: &mut Worker,
    request: Request,
    count: usize,
    deadline: Duration,
    food: mpsc::Receiver<Food>,
    made: &Output,
) -> Result<Result<Reported<TranscodeReport>, PoolError>, Broken> {
    timeout(deadline, worker.order(request, &[])).await.unwrap_or(Err(Broken::Hung(deadline)))?;
    let (stdin, stdout, job) = worker.pipes()?;
    let (end, ended) = watch::channel(None);
    let (stop, stopped) = watch::channel(false);
    let feeding = async {
        let mut feeder = Feeder { food, stopped, by: Instant::now() + deadline, deadline, bytes: 0 };
        let fed = loop {
            let (request, blobs, last) = match feeder.next().await {
                Next::Piece(piece) => (Request::Feed, vec![piece], None),
                Next::End => (Request::FeedEnd, vec![], Some(Ok(()))),
                Next::Cut(error) => (Request::FeedAbort, vec![], Some(Err(error))),
                Next::Stopped => break Ok(Ok(())),
            };
            match timeout(deadline, write_order(stdin, job, request, &blobs)).await {
                Err(_) => break Err(Broken::Hung(deadline)),
                // A worker that reads no more has said why, or dies: its answer tells.
                Ok(Err(_)) => break Ok(Ok(())),
                Ok(Ok(())) => {}
            }
            if let Some(last) = last {
                break Ok(last);
            }
        };
        end.send_replace(Some(Instant::now()));
        fed
    };
    let reading = async {
        let (mut left, mut bytes) = (deadline, 0);
        loop {
            let since = Instant::now();
            let (reply, blobs) = tokio::select! { biased;
                reply = read_reply(stdout, job) => reply?,
                () = hung(ended.clone(), since, left) => return Err(Broken::Hung(deadline)),
            };
            if let Some(end) = *ended.borrow() {
                left = left.saturating_sub(since.max(end).elapsed());
            }
            match (reply.answer, blobs.into_iter().next()) {
                (Answer::Piece { rendition }, Some(piece)) if rendition < count => {
                    bytes += piece.len();
                    if bytes > MAX_MADE_BYTES {
                        return Err(Broken::Garbage(format!("renditions of more than {MAX_MADE_BYTES} bytes")));
                    }
                    let piece = Ok(Made::Piece(Piece { rendition, bytes: piece }));
                    if !matches!(timeout(deadline, made.send(piece)).await, Ok(Ok(()))) {
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
    };
    tokio::pin!(feeding, reading);
    let mut fed = None;
    let made = loop {
        tokio::select! { biased;
            made = &mut reading => break made?,
            result = &mut feeding, if fed.is_none() => fed = Some(result?),
        }
    };
    // What was made of a segment that never became whole is not the segment's.
    let fed = match (fed, &made) {
        (Some(fed), _) => fed,
        (None, Err(PoolError::NotTaken { .. })) => return Ok(made),
        (None, _) => {
            stop.send_replace(made.is_err());
            feeding.await?
        }
    };
    Ok(fed.and(made))
}

enum Next {
    Piece(Bytes),
    End,
    /// The rest will not come.
    Cut(PoolError),
    /// The worker wants no more.
    Stopped,
}

struct Feeder {
    food: mpsc::Receiver<Food>,
    stopped: watch::Receiver<bool>,
    by: Instant,
    deadline: Duration,
    bytes: usize,
}

impl Feeder {
    async fn next(&mut self) -> Next {
        let food = tokio::select! { biased;
            Ok(_) = self.stopped.wait_for(|stopped| *stopped) => return Next::Stopped,
            food = timeout_at(self.by, self.food.recv()) => food,
        };
        match food {
            Err(_) => Next::Cut(PoolError::FeedLate { deadline: self.deadline }),
            Ok(None) => Next::Cut(PoolError::FeedAborted),
            Ok(Some(Food::End)) => Next::End,
            Ok(Some(Food::Piece(piece))) => {
                self.bytes += piece.len();
                if self.bytes > MAX_SEGMENT_BYTES {
                    return Next::Cut(MediaError::SegmentSize { len: self.bytes, max: MAX_SEGMENT_BYTES }.into());
                }
                Next::Piece(piece)
            }
        }
    }
}

/// Ends when the worker has had everything for as long as is `left`, of which it can use what comes after `since`.
async fn hung(mut ended: watch::Receiver<Option<Instant>>, since: Instant, left: Duration) {
    let ended = ended.wait_for(Option::is_some).await.map(|ended| *ended);
    match ended {
        Ok(Some(end)) => tokio::time::sleep_until(since.max(end) + left).await,
        _ => std::future::pending().await,
    }
}
