//! How soon the pool encodes again after a crash.
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, timeout};

use super::{BenchmarkError, Clip, Work, sessions::Taken, ts};
use crate::WorkerPool;

/// Pictures that the worker gets before it dies: it is in the middle of a segment then.
const PICTURES: usize = 10;
/// Without a byte from it, all that it can make of those has come.
const QUIET: Duration = Duration::from_millis(200);

/// Kills the worker of a pool of one in the middle of a segment (`SIGKILL`); the time from then to the first picture that
/// another one makes of the same segment, the rest of which comes at once.
///
/// # Errors
/// The segment is refused, or the worker cannot be killed.
pub async fn measure_restart(pool: &WorkerPool, clip: &Clip, work: &Work) -> Result<Duration, BenchmarkError> {
    let segment = clip.segments().first().ok_or(BenchmarkError::CutOff)?;
    let (feed, mut stream) = pool.transcode_stream(work.profiles.clone(), work.settings.clone(), None)?;
    let mut pieces = ts::paced(&segment.bytes).into_iter().map(|(_, piece)| piece);
    for piece in pieces.by_ref().take(PICTURES) {
        feed.send(piece).await;
    }
    while let Ok(made) = timeout(QUIET, stream.next()).await {
        made.ok_or(BenchmarkError::CutOff)??;
    }
    let busy = pool.workers().into_iter().find(|worker| worker.busy);
    let busy = busy.and_then(|worker| Pid::from_raw(worker.pid.cast_signed())).ok_or(BenchmarkError::CutOff)?;
    kill_process(busy, Signal::KILL).map_err(|error| BenchmarkError::Process(error.into()))?;
    let killed = Instant::now();
    let feeding = async {
        for piece in pieces {
            feed.send(piece).await;
        }
        feed.finish().await;
    };
    let taking = async {
        // What the dead worker made is taken back, and no longer counts as the first.
        let mut taken = Taken::new(work.profiles.len());
        while let Some(made) = stream.next().await {
            if taken.take(made?).is_break() {
                return taken.first.ok_or(BenchmarkError::CutOff);
            }
        }
        Err(BenchmarkError::CutOff)
    };
    let ((), first) = tokio::join!(feeding, taking);
    Ok(first?.saturating_duration_since(killed))
}
