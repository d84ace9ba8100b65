//! A pool at full speed.
use tokio::{task::JoinSet, time::Instant};

use super::{BenchmarkError, Clip, LadderRun, Work, process::Meter};
use crate::{TranscodeJob, WorkerPool};

/// Makes the ladder of every segment in a pool that does nothing else, `in_flight` segments at a time.
///
/// # Errors
/// A segment is refused, or a worker is lost.
pub async fn run_pool(
    pool: &WorkerPool,
    clip: &Clip,
    work: &Work,
    in_flight: usize,
) -> Result<LadderRun, BenchmarkError> {
    let meter = Meter::start(pool)?;
    let started = Instant::now();
    let mut jobs = JoinSet::new();
    let mut waiting = clip.segments().iter().enumerate();
    let mut made = Vec::with_capacity(clip.segments().len());
    loop {
        while jobs.len() < in_flight.max(1) {
            let Some((index, segment)) = waiting.next() else { break };
            let job = TranscodeJob {
                segment: segment.bytes.clone(),
                profiles: work.profiles.clone(),
                settings: work.settings.clone(),
                deadline: None,
            };
            let pool = pool.clone();
            jobs.spawn(async move {
                let handed_over = Instant::now();
                let done = pool.transcode(job).await?.output;
                Ok::<_, BenchmarkError>((index, handed_over.elapsed(), done))
            });
        }
        let Some(done) = jobs.join_next().await else { break };
        made.push(done??);
    }
    let (wall, usage) = (started.elapsed(), meter.stop(pool)?);
    made.sort_by_key(|(index, _, _)| *index);
    let mut run = LadderRun {
        wall,
        cpu: usage.cpu,
        peak_memory: usage.peak,
        renditions: vec![Vec::new(); work.profiles.len()],
        ..LadderRun::default()
    };
    for (_, latency, transcoded) in made {
        run.source_frames += transcoded.source.frames;
        run.latencies.push(latency);
        for (all, rendition) in run.renditions.iter_mut().zip(transcoded.renditions) {
            all.push(rendition.bytes);
        }
    }
    Ok(run)
}
