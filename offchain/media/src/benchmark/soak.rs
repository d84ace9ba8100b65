//! Very many short segments through the same workers.
use std::time::Duration;

use bytes::Bytes;
use tokio::{task::JoinSet, time::Instant};

use super::{BenchmarkError, Work, process};
use crate::{TranscodeJob, WorkerPool};

/// What became of the memory of the workers, all of them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoakRun {
    /// Segments that were transcoded.
    pub segments: u64,
    /// From the first to the last.
    pub wall: Duration,
    /// The most memory in RAM between segments in the second tenth of the run, in bytes: by then caches are full.
    pub early: u64,
    /// The same of the last tenth.
    pub late: u64,
}

/// Transcodes `segments` segments, taken from `sources` by turns, `in_flight` at a time, in a pool that does nothing
/// else. `progress` hears after each how many are done.
///
/// # Errors
/// A segment is refused, or a worker is lost: nothing that lives so long may end.
pub async fn run_soak(
    pool: &WorkerPool,
    sources: &[Bytes],
    work: &Work,
    segments: u64,
    in_flight: usize,
    mut progress: impl FnMut(u64),
) -> Result<SoakRun, BenchmarkError> {
    let workers: Vec<u32> = pool.workers().into_iter().map(|worker| worker.pid).collect();
    let started = Instant::now();
    let mut running = JoinSet::new();
    let mut waiting = sources.iter().cycle().take(usize::try_from(segments).unwrap_or(usize::MAX));
    let mut run = SoakRun { segments: 0, wall: Duration::ZERO, early: 0, late: 0 };
    loop {
        while running.len() < in_flight.max(1) {
            let Some(segment) = waiting.next().cloned() else { break };
            let (profiles, settings) = (work.profiles.clone(), work.settings.clone());
            let job = TranscodeJob { segment, profiles, settings, deadline: None };
            let pool = pool.clone();
            running.spawn(async move { pool.transcode(job).await });
        }
        let Some(done) = running.join_next().await else { break };
        done??;
        run.segments += 1;
        let used = memory(&workers)?;
        match run.segments * 10 / segments.max(1) {
            1 => run.early = run.early.max(used),
            9.. => run.late = run.late.max(used),
            _ => {}
        }
        progress(run.segments);
    }
    Ok(SoakRun { wall: started.elapsed(), ..run })
}

/// The system tells no memory of a process that ended, be it only a moment ago.
fn memory(workers: &[u32]) -> Result<u64, BenchmarkError> {
    let each =
        workers.iter().map(|pid| process::resident(*pid).map_err(|_| BenchmarkError::WorkerReplaced { pid: *pid }));
    each.sum()
}
