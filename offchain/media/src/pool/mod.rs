//! Supervised worker processes: a crash or a hang in libav costs one job, never the node.
mod attempt;
mod child;
mod config;
mod crew;
mod due;
mod error;
mod feeder;
mod ingest;
mod quarantine;
mod queue;
mod record;
mod source;
mod stderr;
mod stream;
mod trail;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use attempt::Done;
use bytes::Bytes;
pub use config::{PoolConfig, QuarantineConfig};
use crew::{Crew, Hired};
use due::Due;
pub use error::PoolError;
pub use feeder::Feed;
pub use ingest::{IngestFeed, IngestStream};
use quarantine::Quarantine;
use queue::Queue;
use record::Record;
pub use source::SourceStream;
pub use stream::{Made, MadeStream};
use streamflow_types::Profile;
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    Comparison, Fragment, IngestSettings, Inspection, MediaError, Quality, Sampling, SegmentInfo, SourceSettings,
    TranscodeSettings, Transcoded,
    gpu::{Finding, Fleet, Trial},
    metrics,
    worker::{Answer, Request, TranscodeOrder},
};

/// Longest deadline that is reckoned with.
const MAX_DEADLINE: Duration = Duration::from_secs(24 * 3600);

/// A segment and what to make of it.
#[derive(Clone, Debug)]
pub struct TranscodeJob {
    /// Transport stream.
    pub segment: Bytes,
    /// One rendition each.
    pub profiles: Vec<Profile>,
    /// How to encode.
    pub settings: TranscodeSettings,
    /// When the result is of no use any more. Jobs get workers in the order of it. Without it a job waits for as long as
    /// need be, as if it were due [`PoolConfig::job_deadline`] after it came.
    pub deadline: Option<Instant>,
}

/// What a job cost its worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobReport {
    /// From the order's arrival to its answer, which waits for that of the job before.
    pub wall: Duration,
    /// CPU time of the worker process, all threads. What two jobs took together is counted to the one that ends first.
    pub cpu: Duration,
}

/// A result and what it cost.
#[derive(Clone, Debug)]
pub struct Reported<T> {
    /// The result.
    pub output: T,
    /// Its cost.
    pub report: JobReport,
}

/// One worker process. The one that waits to take the place of another does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Process id.
    pub pid: u32,
    /// Whether it works on a job.
    pub busy: bool,
}

/// Worker processes and the jobs waiting for them. Clones share one pool.
///
/// A job whose future is dropped is abandoned: its worker is killed and replaced. One on which a worker fails is given to
/// another; when that fails too, the job is refused, and for a while whenever it comes again.
#[derive(Clone, Debug)]
pub struct WorkerPool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Arc<PoolConfig>,
    queue: Arc<Queue>,
    crew: Arc<Crew>,
    keeper: JoinHandle<()>,
    record: Record,
    quarantine: Option<Arc<Quarantine>>,
    fleet: OnceLock<Fleet>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl WorkerPool {
    /// Starts every worker and hears a hello from each, so that a wrong program or argument is found now.
    pub async fn start(mut config: PoolConfig) -> Result<Self, PoolError> {
        config.workers = config.workers.max(1);
        config.job_deadline = config.job_deadline.min(MAX_DEADLINE);
        let config = Arc::new(config);
        let crew = Crew::start(config.clone()).await?;
        let inner = Inner {
            queue: Queue::new(config.workers, config.queue),
            keeper: crew.keep_complete(),
            crew,
            record: Record::default(),
            quarantine: config.quarantine.clone().map(Quarantine::new),
            fleet: OnceLock::new(),
            config,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Has segments transcoded with these devices from now on. Only the first call counts.
    pub fn use_devices(&self, fleet: Fleet) {
        let _ = self.inner.fleet.set(fleet);
    }

    /// Makes every rendition of a segment.
    pub async fn transcode(&self, job: TranscodeJob) -> Result<Reported<Transcoded>, PoolError> {
        let TranscodeJob { segment, profiles, settings, deadline } = job;
        let request = transcoding(profiles, settings);
        let done = self.run_until(deadline, "transcode", request, &[segment]).await?;
        let Answer::Transcoded(made) = done.reply.answer else { return Err(unexpected()) };
        metrics::transcoded(&made);
        let output = made.with_bytes(done.blobs);
        Ok(Reported { output, report: JobReport { wall: done.reply.wall, cpu: done.reply.cpu } })
    }

    /// Makes every rendition of a segment while it comes in, until `deadline` as in [`TranscodeJob`]. The feed is to be
    /// filled while the stream is emptied: each waits for the other.
    pub fn transcode_stream(
        &self,
        profiles: Vec<Profile>,
        settings: TranscodeSettings,
        deadline: Option<Instant>,
    ) -> Result<(Feed, MadeStream), PoolError> {
        let due = Due::new(deadline, self.inner.config.job_deadline);
        let place = self.inner.queue.enter()?;
        let count = profiles.len();
        Ok(stream::start(self.inner.clone(), transcoding(profiles, settings), count, due, place))
    }

    /// Reads the headers of a segment.
    pub async fn probe(&self, segment: Bytes) -> Result<SegmentInfo, PoolError> {
        let done = self.run("probe", Request::Probe, &[segment]).await?;
        match done.reply.answer {
            Answer::Probed(info) => Ok(info),
            _ => Err(unexpected()),
        }
    }

    /// Decodes a segment and counts what is in it.
    pub async fn inspect(&self, segment: Bytes) -> Result<Inspection, PoolError> {
        let done = self.run("inspect", Request::Inspect, &[segment]).await?;
        match done.reply.answer {
            Answer::Inspected(inspection) => Ok(inspection),
            _ => Err(unexpected()),
        }
    }

    /// Compares renditions of a segment with it; one answer for each, in their order.
    pub async fn compare(
        &self,
        source: Bytes,
        renditions: &[Bytes],
        sampling: Sampling,
    ) -> Result<Reported<Vec<Result<Comparison, MediaError>>>, PoolError> {
        let blobs: Vec<Bytes> = std::iter::once(source).chain(renditions.iter().cloned()).collect();
        let done = self.run("compare", Request::Compare(sampling), &blobs).await?;
        let Answer::Compared(output) = done.reply.answer else { return Err(unexpected()) };
        Ok(Reported { output, report: JobReport { wall: done.reply.wall, cpu: done.reply.cpu } })
    }

    /// Measures a rendition against the segment that it was made of.
    pub async fn quality(&self, reference: Bytes, rendition: Bytes) -> Result<Quality, PoolError> {
        let done = self.run("quality", Request::Quality, &[reference, rendition]).await?;
        match done.reply.answer {
            Answer::Measured(quality) => Ok(quality),
            _ => Err(unexpected()),
        }
    }

    /// Makes a segment into the fragment that HLS serves as MP4.
    pub async fn fragment(&self, segment: Bytes) -> Result<Fragment, PoolError> {
        let done = self.run("fragment", Request::Fragment, &[segment]).await?;
        match (done.reply.answer, <[Bytes; 2]>::try_from(done.blobs)) {
            (Answer::Fragmented, Ok([init, media])) => Ok(Fragment { init, media }),
            _ => Err(unexpected()),
        }
    }

    /// Opens the configured encoder in a worker and encodes a few frames with it.
    ///
    /// # Errors
    /// [`MediaError::EncoderUnavailable`] says why in libav's words, such as `Cannot load libcuda.so.1`.
    pub async fn probe_encoder(&self, settings: &TranscodeSettings) -> Result<(), PoolError> {
        let done = self.run("probe_encoder", Request::ProbeEncoder(settings.clone()), &[]).await?;
        match done.reply.answer {
            Answer::Works => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// Loads libavfilter in a worker, which then keeps it. Segments that are interlaced or turned need it, sound made anew, and
    /// devices.
    ///
    /// # Errors
    /// [`MediaError::Libav`] in the words of the dynamic loader.
    pub async fn probe_filters(&self) -> Result<(), PoolError> {
        match self.run("probe_filters", Request::ProbeFilters, &[]).await?.reply.answer {
            Answer::Works => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// One trial of a device; see [`Self::probe_devices`] for all.
    pub(crate) async fn attempt(&self, trial: Trial) -> Result<Finding, PoolError> {
        let done = self.run("probe_device", Request::TryDevice(trial), &[]).await?;
        match done.reply.answer {
            Answer::Tried(finding) => Ok(finding),
            _ => Err(unexpected()),
        }
    }

    /// Plays a file like a live encoder, in a worker process of its own beside those of the pool.
    pub fn source(&self, settings: SourceSettings) -> Result<SourceStream, PoolError> {
        Ok(SourceStream::start(self.hire()?, settings, self.inner.config.job_deadline))
    }

    /// Cuts a live input into segments, in a worker process of its own beside those of the pool: the input is not trusted.
    pub fn ingest(&self, settings: IngestSettings) -> Result<(IngestFeed, IngestStream), PoolError> {
        Ok(ingest::start(self.hire()?, settings, self.inner.config.job_deadline))
    }

    fn hire(&self) -> Result<Hired, PoolError> {
        if self.inner.queue.is_closed() {
            return Err(PoolError::Closed);
        }
        self.inner.crew.hire()
    }

    /// The worker processes alive now.
    pub fn workers(&self) -> Vec<WorkerStatus> {
        self.inner.crew.registry().list()
    }

    /// Refuses new jobs, lets those running and waiting finish, then ends the workers.
    pub async fn shutdown(&self) {
        self.inner.queue.close();
        self.inner.queue.drained().await;
        self.inner.keeper.abort();
        self.inner.crew.retire().await;
    }

    async fn run(&self, kind: &'static str, request: Request, blobs: &[Bytes]) -> Result<Done, PoolError> {
        self.run_until(None, kind, request, blobs).await
    }

    async fn run_until(
        &self,
        deadline: Option<Instant>,
        kind: &'static str,
        request: Request,
        blobs: &[Bytes],
    ) -> Result<Done, PoolError> {
        let started = Instant::now();
        let due = Due::new(deadline, self.inner.config.job_deadline);
        let result = self.inner.run(kind, &request, blobs, due).await;
        metrics::job(kind, result.as_ref().err(), started.elapsed());
        result
    }
}

/// Without a device: each attempt gets its own.
fn transcoding(profiles: Vec<Profile>, settings: TranscodeSettings) -> Request {
    Request::Transcode(TranscodeOrder { profiles, settings, device: None })
}

fn unexpected() -> PoolError {
    PoolError::WorkerGarbage { reason: "answer to another request".into() }
}
