//! A live input cut by a worker process of its own.
use std::time::Duration;

use bytes::Bytes;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use super::{
    PoolError,
    child::{Broken, Worker, read_reply, write_order},
    crew::Hired,
    unexpected,
};
use crate::{
    IngestSettings, SourceSegment,
    worker::{Answer, Request},
};

/// Pieces of the input that wait for the worker.
const FED: usize = 8;
/// Segments that wait for the reader.
const AHEAD: usize = 2;

/// Takes a live input, piece by piece; dropping it ends the input.
#[derive(Clone, Debug)]
pub struct IngestFeed(mpsc::Sender<Bytes>);

impl IngestFeed {
    /// Hands over the next bytes, and waits while the worker is busy. False once nobody takes them any more; the stream
    /// says why.
    pub async fn send(&self, bytes: Bytes) -> bool {
        self.0.send(bytes).await.is_ok()
    }
}

/// Segments of a live input as they are cut. Dropping it ends the worker.
#[derive(Debug)]
pub struct IngestStream {
    segments: mpsc::Receiver<Result<SourceSegment, PoolError>>,
    task: JoinHandle<()>,
}

impl Drop for IngestStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl IngestStream {
    /// The next segment; `None` after the last one or after an error. May be cancelled.
    pub async fn next(&mut self) -> Option<Result<SourceSegment, PoolError>> {
        self.segments.recv().await
    }
}

pub(super) fn start(worker: Hired, settings: IngestSettings, deadline: Duration) -> (IngestFeed, IngestStream) {
    let (feed, food) = mpsc::channel(FED);
    let (sender, segments) = mpsc::channel(AHEAD);
    let task = tokio::spawn(pump(worker, settings, deadline, food, sender));
    (IngestFeed(feed), IngestStream { segments, task })
}

type Segments = mpsc::Sender<Result<SourceSegment, PoolError>>;

async fn pump(
    worker: Hired,
    settings: IngestSettings,
    deadline: Duration,
    food: mpsc::Receiver<Bytes>,
    segments: Segments,
) {
    let mut worker = match worker.ready().await {
        Ok(worker) => worker,
        Err(error) => return drop(segments.send(Err(error)).await),
    };
    match exchange(&mut worker, settings, deadline, food, &segments).await {
        Ok(error) => {
            if let Some(mut error) = error {
                if let PoolError::Media(media) = &mut error {
                    worker.explain(media).await;
                }
                let _ = segments.send(Err(error)).await;
            }
            worker.retire(deadline).await;
        }
        Err(broken) => {
            let _ = segments.send(Err(worker.bury(broken).await)).await;
        }
    }
}

/// Feeds and reads at once, so that neither side waits for the other.
async fn exchange(
    worker: &mut Worker,
    settings: IngestSettings,
    deadline: Duration,
    mut food: mpsc::Receiver<Bytes>,
    segments: &Segments,
) -> Result<Option<PoolError>, Broken> {
    worker.order(Request::Ingest(settings), &[]).await?;
    let (stdin, stdout, job) = worker.pipes()?;
    let (end, ended) = watch::channel(false);
    let feeding = async {
        loop {
            let piece = food.recv().await;
            let request = if piece.is_some() { Request::Feed } else { Request::FeedEnd };
            let blobs: Vec<Bytes> = piece.into_iter().collect();
            match timeout(deadline, write_order(stdin, job, request, &blobs)).await {
                Err(_) => return Err(Broken::Hung(deadline)),
                // A worker that reads no more has said why, or dies: its answer tells.
                Ok(Err(_)) => return Ok(()),
                Ok(Ok(())) if blobs.is_empty() => return Ok(()),
                Ok(Ok(())) => {}
            }
        }
    };
    let reading = async {
        loop {
            let reply = tokio::select! { biased;
                reply = read_reply(stdout, job) => reply,
                () = hung(ended.clone(), deadline) => return Err(Broken::Hung(deadline)),
            };
            let (reply, blobs) = reply?;
            match (reply.answer, blobs.into_iter().next()) {
                (Answer::Source(head), Some(bytes)) => {
                    let segment = SourceSegment {
                        seq: head.seq,
                        bytes,
                        duration: head.duration,
                        frames: head.frames,
                        start_pts: head.start_pts,
                    };
                    if segments.send(Ok(segment)).await.is_err() {
                        return Ok(None);
                    }
                }
                (Answer::Played, _) => return Ok(None),
                (Answer::Failed(error), _) => return Ok(Some(error.into())),
                _ => return Ok(Some(unexpected())),
            }
        }
    };
    tokio::pin!(feeding, reading);
    tokio::select! { biased;
        done = &mut reading => done,
        fed = &mut feeding => {
            fed?;
            let _ = end.send(true);
            reading.await
        }
    }
}

/// A live input may be silent for as long as its taker allows; once it has ended, the worker has only so long.
async fn hung(mut ended: watch::Receiver<bool>, deadline: Duration) {
    if ended.wait_for(|ended| *ended).await.is_err() {
        return std::future::pending().await;
    }
    tokio::time::sleep(deadline).await;
}
