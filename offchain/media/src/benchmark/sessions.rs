//! Streams side by side, live or at full speed.
use std::{ops::ControlFlow, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{BenchmarkError, Clip, LadderRun, Spread, Work, process::Meter, ts};
use crate::{Feed, Made, PoolError, WorkerPool};

/// From the order to start until the first session sends: time to start them all.
const GETTING_READY: Duration = Duration::from_millis(100);

/// How sessions send their segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pacing {
    /// Each picture at its time, as an encoder that works in real time sends it.
    Live,
    /// Each segment whole, as soon as all renditions of the one before it are back.
    FlatOut,
}

/// What sessions took, and how long they waited.
#[derive(Clone, Debug)]
pub struct SessionsRun {
    /// All sessions together; the renditions are those of the first. A latency ends with the last byte of the last
    /// rendition. It begins when the last source byte is due, or at full speed when the segment is handed over.
    pub ladder: LadderRun,
    /// From the first source byte, which is when it is due, to the first rendition's first picture, for each segment.
    pub first_bytes: Vec<Duration>,
    /// Segments that the pool did not take, for which it had no room left.
    pub refused: u64,
    /// Whether this many sessions can go on for ever: nothing is refused, 99 of 100 segments are done within the duration
    /// of a segment, and those at the end do not wait longer than those at the beginning. True only of [`Pacing::Live`].
    pub real_time: bool,
}

/// Plays the clip in `sessions` sessions at a time, out of step, through a pool that does nothing else.
///
/// # Errors
/// A segment cannot be transcoded, or a worker is lost.
pub async fn run_sessions(
    pool: &WorkerPool,
    clip: &Clip,
    work: &Work,
    sessions: usize,
    pacing: Pacing,
) -> Result<SessionsRun, BenchmarkError> {
    let meter = Meter::start(pool)?;
    let begin = Instant::now() + GETTING_READY;
    let sources: Arc<[Source]> = clip.segments().iter().map(|segment| Source::new(segment, pacing)).collect();
    let step = clip.segments().first().map_or(Duration::ZERO, |segment| segment.duration);
    let mut running = JoinSet::new();
    for number in 0..sessions {
        let offset = step.mul_f64(number as f64 / sessions as f64);
        let session = Session { pool: pool.clone(), work: work.clone(), sources: sources.clone() };
        running.spawn(async move {
            let served = match pacing {
                Pacing::Live => session.live(begin + offset).await,
                Pacing::FlatOut => session.flat_out(begin).await,
            };
            served.map(|served| (number, served))
        });
    }
    let mut served = Vec::with_capacity(sessions);
    while let Some(done) = running.join_next().await {
        served.push(done??);
    }
    let (wall, usage) = (begin.elapsed(), meter.stop(pool)?);
    served.sort_by_key(|(number, _)| *number);
    let served: Vec<_> = served.into_iter().map(|(_, segments)| segments).collect();
    let refused = served.iter().flatten().filter(|segment| segment.is_none()).count() as u64;
    let real_time = pacing == Pacing::Live && refused == 0 && keeps_up(&served, step);
    let mut first_bytes = Vec::new();
    let mut ladder = LadderRun { wall, cpu: usage.cpu, peak_memory: usage.peak, ..LadderRun::default() };
    ladder.renditions = vec![Vec::new(); work.profiles.len()];
    for (number, segments) in served.into_iter().enumerate() {
        for segment in segments.into_iter().flatten() {
            ladder.source_frames += segment.frames;
            ladder.latencies.push(segment.last_byte);
            first_bytes.push(segment.first_byte);
            if number == 0 {
                ladder.renditions.iter_mut().zip(segment.renditions).for_each(|(all, made)| all.push(made));
            }
        }
    }
    Ok(SessionsRun { ladder, first_bytes, refused, real_time })
}

/// Whether segments are done within the duration of one, at the end as at the beginning.
fn keeps_up(sessions: &[Vec<Option<Served>>], segment: Duration) -> bool {
    let latencies = |part: &dyn Fn(usize) -> std::ops::Range<usize>| {
        let parts = sessions.iter().flat_map(|served| &served[part(served.len())]);
        Spread::of(&parts.flatten().map(|segment| segment.last_byte).collect::<Vec<_>>())
    };
    let all = latencies(&|count| 0..count);
    let (first, last) =
        (latencies(&|count| 0..count.div_ceil(3)), latencies(&|count| count - count.div_ceil(3)..count));
    // What waits for ever longer is late in the end, however long the clip.
    all.p99 < segment && last.p50 < first.p50 + segment / 4
}

/// A segment and when its pieces are sent.
#[derive(Debug)]
struct Source {
    pieces: Vec<(Duration, Bytes)>,
    duration: Duration,
}

impl Source {
    fn new(segment: &super::ClipSegment, pacing: Pacing) -> Self {
        let pieces = match pacing {
            Pacing::Live => ts::paced(&segment.bytes),
            Pacing::FlatOut => vec![(Duration::ZERO, segment.bytes.clone())],
        };
        Self { pieces, duration: segment.duration }
    }

    fn last(&self) -> Duration {
        self.pieces.last().map_or(Duration::ZERO, |(at, _)| *at)
    }
}

/// What became of a segment.
#[derive(Debug)]
struct Served {
    frames: u64,
    first_byte: Duration,
    last_byte: Duration,
    renditions: Vec<Bytes>,
}

/// One stream. Its segments are `None` where the pool had no room for them.
#[derive(Clone)]
struct Session {
    pool: WorkerPool,
    work: Work,
    sources: Arc<[Source]>,
}

impl Session {
    async fn live(self, begin: Instant) -> Result<Vec<Option<Served>>, BenchmarkError> {
        let mut segments = JoinSet::new();
        let mut start = begin;
        for index in 0..self.sources.len() {
            sleep_until(start).await;
            let session = self.clone();
            segments.spawn(async move { session.serve(index, start).await.map(|served| (index, served)) });
            start += self.sources[index].duration;
        }
        let mut served = Vec::with_capacity(self.sources.len());
        while let Some(done) = segments.join_next().await {
            served.push(done??);
        }
        served.sort_by_key(|(index, _)| *index);
        Ok(served.into_iter().map(|(_, served)| served).collect())
    }

    async fn flat_out(self, begin: Instant) -> Result<Vec<Option<Served>>, BenchmarkError> {
        sleep_until(begin).await;
        let mut served = Vec::with_capacity(self.sources.len());
        for index in 0..self.sources.len() {
            served.push(self.serve(index, Instant::now()).await?);
        }
        Ok(served)
    }

    /// Times count from when bytes are due: a pool that takes them late makes its caller wait.
    async fn serve(&self, index: usize, start: Instant) -> Result<Option<Served>, BenchmarkError> {
        let source = &self.sources[index];
        let (feed, mut stream) =
            match self.pool.transcode_stream(self.work.profiles.clone(), self.work.settings.clone(), None) {
                Err(PoolError::QueueFull { .. }) => return Ok(None),
                opened => opened?,
            };
        let taking = async {
            let mut taken = Taken::new(self.work.profiles.len());
            while let Some(made) = stream.next().await {
                if let ControlFlow::Break(frames) = taken.take(made?) {
                    return Ok(Served {
                        frames,
                        first_byte: taken.first.map_or(Duration::ZERO, |at| at.saturating_duration_since(start)),
                        last_byte: Instant::now().saturating_duration_since(start + source.last()),
                        renditions: taken.renditions.into_iter().map(Bytes::from).collect(),
                    });
                }
            }
            Err(BenchmarkError::CutOff)
        };
        let (_, served) = tokio::join!(send(feed, &source.pieces, start), taking);
        served.map(Some)
    }
}

/// Ends early where nobody takes the pieces; the stream says why.
async fn send(feed: Feed, pieces: &[(Duration, Bytes)], start: Instant) {
    for (at, piece) in pieces {
        sleep_until(start + *at).await;
        if !feed.send(piece.clone()).await {
            return;
        }
    }
    feed.finish().await;
}

/// Renditions as far as they have come.
#[derive(Debug)]
pub(super) struct Taken {
    renditions: Vec<Vec<u8>>,
    /// When the first picture came: a transport stream begins with tables, which tell nothing of the work.
    pub(super) first: Option<Instant>,
}

impl Taken {
    pub(super) fn new(renditions: usize) -> Self {
        Self { renditions: vec![Vec::new(); renditions], first: None }
    }

    /// Breaks at the end, with the number of source frames.
    pub(super) fn take(&mut self, made: Made) -> ControlFlow<u64> {
        match made {
            Made::Piece(piece) => {
                if let Some(rendition) = self.renditions.get_mut(piece.rendition) {
                    rendition.extend_from_slice(&piece.bytes);
                    if self.first.is_none() && ts::pictures(rendition).next().is_some() {
                        self.first = Some(Instant::now());
                    }
                }
                ControlFlow::Continue(())
            }
            Made::Again => {
                *self = Self::new(self.renditions.len());
                ControlFlow::Continue(())
            }
            Made::Done(done) => ControlFlow::Break(done.output.source.frames),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(latencies: impl IntoIterator<Item = u64>) -> Vec<Option<Served>> {
        let served = |latency| Served {
            frames: 50,
            first_byte: Duration::ZERO,
            last_byte: Duration::from_millis(latency),
            renditions: Vec::new(),
        };
        latencies.into_iter().map(|latency| Some(served(latency))).collect()
    }

    #[test]
    fn sessions_keep_up_only_if_segments_do_not_wait_ever_longer() {
        let segment = Duration::from_secs(2);
        assert!(keeps_up(&[session([400; 9]), session([900; 9])], segment));
        assert!(!keeps_up(&[session([400; 9]), session([2100; 9])], segment), "late");
        assert!(!keeps_up(&[session((0..9).map(|index| 100 * index))], segment), "a second later after nine segments");
    }
}
