//! How soon the pool encodes again after a crash.
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, timeout};

use super::{BenchmarkError, Clip, Work, sessions::Taken, ts};
use crate::WorkerPool;

/// Pictures that the worker which is to die gets: it is in the middle of a segment then.
const PICTURES: usize = 10;
/// Without a byte from it, all that it can make of those has come.
const QUIET: Duration = Duration::from_millis(200);

/// Kills the worker of a pool of one in the middle of a segment (`SIGKILL`); the time from then to the first picture of the
/// next job, which is handed over at once.
///
/// # Errors
/// A segment is refused, or the worker cannot be killed.
pub async fn measure_restart(pool: &WorkerPool, clip: &Clip, work: &Work) -> Result<Duration, BenchmarkError> {
    let segment = &clip.segments().first().ok_or(BenchmarkError::CutOff)?.bytes;
    let open = || pool.transcode_stream(work.profiles.clone(), work.settings.clone(), None);
    let (feed, mut dying) = open()?;
    for (_, piece) in ts::paced(segment).into_iter().take(PICTURES) {
        feed.send(piece).await;
    }
    while let Ok(Some(made)) = timeout(QUIET, dying.next()).await {
        made?;
    }
    let busy = pool.workers().into_iter().find(|worker| worker.busy);
    let busy = busy.and_then(|worker| Pid::from_raw(worker.pid.cast_signed())).ok_or(BenchmarkError::CutOff)?;
    kill_process(busy, Signal::KILL).map_err(|error| BenchmarkError::Process(error.into()))?;
    let killed = Instant::now();
    // Nobody waits for the rest of the segment that was lost.
    drop(feed);
    let (feed, mut next) = open()?;
    let feeding = async {
        feed.send(segment.clone()).await;
        feed.finish().await;
    };
    let taking = async {
        let mut taken = Taken::new(work.profiles.len());
        while let Some(made) = next.next().await {
            if taken.take(made?).is_break() {
                return taken.first.ok_or(BenchmarkError::CutOff);
            }
        }
        Err(BenchmarkError::CutOff)
    };
    let ((), first) = tokio::join!(feeding, taking);
    Ok(first?.saturating_duration_since(killed))
}
