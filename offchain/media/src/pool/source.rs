//! A file played by a worker process of its own.
use std::time::Duration;

use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use super::{PoolError, child::Broken, crew::Hired, unexpected};
use crate::{
    SourceSegment, SourceSettings,
    worker::{Answer, Request},
};

/// Segments encoded ahead of the reader, beside the one the worker holds.
const AHEAD: usize = 1;

/// Segments of a file as a live encoder would send them, as fast as they are taken. Dropping it ends the encoder.
#[derive(Debug)]
pub struct SourceStream {
    segments: mpsc::Receiver<Result<SourceSegment, PoolError>>,
    task: JoinHandle<()>,
}

impl Drop for SourceStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SourceStream {
    pub(super) fn start(worker: Hired, settings: SourceSettings, deadline: Duration) -> Self {
        let (sender, segments) = mpsc::channel(AHEAD);
        Self { segments, task: tokio::spawn(pump(worker, settings, deadline, sender)) }
    }

    /// The next segment; `None` after the last one or after an error. May be cancelled.
    pub async fn next(&mut self) -> Option<Result<SourceSegment, PoolError>> {
        self.segments.recv().await
    }
}

async fn pump(
    worker: Hired,
    settings: SourceSettings,
    deadline: Duration,
    segments: mpsc::Sender<Result<SourceSegment, PoolError>>,
) {
    let mut worker = match worker.ready().await {
        Ok(worker) => worker,
        Err(error) => return drop(segments.send(Err(error)).await),
    };
    let mut next =
        timeout(deadline, worker.order(Request::Play(settings), &[])).await.unwrap_or(Err(Broken::Hung(deadline)));
    while let Ok(()) = next {
        let reply = timeout(deadline, worker.reply()).await.unwrap_or(Err(Broken::Hung(deadline)));
        let item = match reply.map(|(reply, blobs)| (reply.answer, blobs.into_iter().next())) {
            Ok((Answer::Source(head), Some(bytes))) => Ok(SourceSegment {
                seq: head.seq,
                bytes,
                duration: head.duration,
                frames: head.frames,
                start_pts: head.start_pts,
            }),
            Ok((Answer::Played, _)) => return worker.retire(deadline).await,
            Ok((Answer::Failed(error), _)) => Err(error.into()),
            Ok(_) => Err(unexpected()),
            Err(broken) => {
                next = Err(broken);
                break;
            }
        };
        let last = item.is_err();
        if segments.send(item).await.is_err() || last {
            return worker.retire(deadline).await;
        }
    }
    if let Err(broken) = next {
        let _ = segments.send(Err(worker.bury(broken).await)).await;
    }
}
