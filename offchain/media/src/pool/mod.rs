//! Supervised worker processes: a crash or a hang in libav costs one job, never the node.
mod child;
mod ingest;
mod source;
mod stderr;
mod stream;

use std::{
    ffi::OsString,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use child::{Registry, Worker};
pub use ingest::{IngestFeed, IngestStream};
pub use source::SourceStream;
use stream::StreamJob;
pub use stream::{Feed, Made, MadeStream};
use streamflow_types::Profile;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::{
    Comparison, Fragment, IngestSettings, Inspection, MediaError, Quality, Rendition, Sampling, SegmentInfo,
    SourceSettings, TranscodeReport, TranscodeSettings, Transcoded, metrics,
    worker::{Answer, Reply, Request},
};

/// How a pool starts and bounds its workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Program of a worker: the node's own binary.
    pub program: PathBuf,
    /// Arguments that make it call [`crate::worker::run`].
    pub args: Vec<OsString>,
    /// Worker processes, at least 1.
    pub workers: usize,
    /// Jobs that may wait for a worker; one more is refused.
    pub queue: usize,
    /// Longest a worker may take for one job, and for one segment of a source.
    pub job_deadline: Duration,
    /// Longest a worker may take to say hello, and to end when asked to.
    pub start_deadline: Duration,
}

impl PoolConfig {
    /// Two workers of `program`, eight waiting jobs, half a minute for each.
    pub fn new(program: impl Into<PathBuf>, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            workers: 2,
            queue: 8,
            job_deadline: Duration::from_secs(30),
            start_deadline: Duration::from_secs(10),
        }
    }
}

/// Why a job got no result.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The job itself cannot be done; another worker would say the same.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The worker process ended in the middle of the job.
    #[error("media worker died: {}", describe_end(*signal, *exit))]
    WorkerDied {
        /// Number of the signal that killed it.
        signal: Option<i32>,
        /// Its exit code.
        exit: Option<i32>,
        /// Last lines it wrote to standard error.
        stderr: Vec<String>,
    },
    /// The worker process did not answer in time and was killed.
    #[error("media worker hung: no answer within {deadline:?}")]
    WorkerHung {
        /// The time it had.
        deadline: Duration,
    },
    /// The worker process answered something that is no answer and was killed.
    #[error("media worker answered garbage: {reason}")]
    WorkerGarbage {
        /// What was wrong with it.
        reason: String,
    },
    /// No worker process could be started.
    #[error("media worker cannot be started")]
    Spawn(#[source] std::io::Error),
    /// More jobs wait than the configuration allows.
    #[error("media queue is full at {limit} jobs")]
    QueueFull {
        /// Jobs running and waiting.
        limit: usize,
    },
    /// What was fed of a segment ended before the segment did; it was dropped unfinished.
    #[error("segment was not fed to its end")]
    FeedAborted,
    /// A segment was fed too slowly.
    #[error("segment was not fed within {deadline:?}")]
    FeedLate {
        /// The time there was, from the first worker's start on it.
        deadline: Duration,
    },
    /// Pieces of renditions were made and not taken.
    #[error("renditions were not taken within {deadline:?}")]
    NotTaken {
        /// The time there was for each piece.
        deadline: Duration,
    },
    /// The pool is shut down.
    #[error("media pool is shut down")]
    Closed,
}

fn describe_end(signal: Option<i32>, exit: Option<i32>) -> String {
    match (signal, exit) {
        (Some(signal), _) => format!("signal {signal}"),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => "its end is not known".into(),
    }
}

/// A segment and what to make of it.
#[derive(Clone, Debug)]
pub struct TranscodeJob {
    /// Transport stream.
    pub segment: Bytes,
    /// One rendition each.
    pub profiles: Vec<Profile>,
    /// How to encode.
    pub settings: TranscodeSettings,
}

/// What a job cost its worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobReport {
    /// From the order's arrival to its answer.
    pub wall: Duration,
    /// CPU time of the worker process, all threads.
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

/// One worker process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Process id.
    pub pid: u32,
    /// Whether it works on a job.
    pub busy: bool,
}

/// Worker processes and the jobs waiting for them. Clones share one pool.
///
/// A job whose future is dropped is abandoned: its worker is killed and replaced.
#[derive(Clone, Debug)]
pub struct WorkerPool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: PoolConfig,
    /// One per job that runs or waits.
    places: Arc<Semaphore>,
    /// One per worker.
    slots: Semaphore,
    idle: Mutex<Vec<Worker>>,
    registry: Arc<Registry>,
}

impl WorkerPool {
    /// Starts every worker and hears a hello from each, so that a wrong program or argument is found now.
    pub async fn start(mut config: PoolConfig) -> Result<Self, PoolError> {
        config.workers = config.workers.max(1);
        let limit = config.workers.saturating_add(config.queue).min(Semaphore::MAX_PERMITS);
        let pool = Self {
            inner: Arc::new(Inner {
                places: Arc::new(Semaphore::new(limit)),
                slots: Semaphore::new(config.workers),
                idle: Mutex::new(Vec::with_capacity(config.workers)),
                registry: Arc::default(),
                config,
            }),
        };
        for _ in 0..pool.inner.config.workers {
            let mut worker = pool.inner.spawn()?;
            match worker.exchange(Request::Hello, &[], pool.inner.config.start_deadline).await {
                Ok(_) => pool.inner.idle().push(worker),
                Err(broken) => return Err(worker.bury(broken).await),
            }
        }
        Ok(pool)
    }

    /// Makes every rendition of a segment.
    pub async fn transcode(&self, job: TranscodeJob) -> Result<Reported<Transcoded>, PoolError> {
        let TranscodeJob { segment, profiles, settings } = job;
        let done = self.run("transcode", Request::Transcode { profiles, settings }, &[segment]).await?;
        let Answer::Transcoded(made) = done.reply.answer else { return Err(unexpected()) };
        if made.renditions.len() != done.blobs.len() {
            return Err(PoolError::WorkerGarbage { reason: "renditions without bytes".into() });
        }
        metrics::transcoded(&made);
        let TranscodeReport { renditions, source } = made;
        let renditions = renditions.into_iter().zip(done.blobs).map(|(report, bytes)| Rendition {
            name: report.name,
            bytes,
            width: report.width,
            height: report.height,
            frames: report.frames,
            pixels: report.pixels,
            codecs: report.codecs,
        });
        let output = Transcoded { renditions: renditions.collect(), source };
        Ok(Reported { output, report: JobReport { wall: done.reply.wall, cpu: done.reply.cpu } })
    }

    /// Makes every rendition of a segment while it comes in. The feed is to be filled while the stream is emptied: each
    /// waits for the other.
    pub fn transcode_stream(
        &self,
        profiles: Vec<Profile>,
        settings: TranscodeSettings,
    ) -> Result<(Feed, MadeStream), PoolError> {
        let count = profiles.len();
        let place = self.inner.place()?;
        let job = StreamJob { request: Request::Transcode { profiles, settings }, count, place };
        Ok(stream::start(self.inner.clone(), job))
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
        if output.len() != renditions.len() {
            return Err(PoolError::WorkerGarbage { reason: "another number of comparisons".into() });
        }
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
            Answer::EncoderWorks => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// Plays a file like a live encoder, in a worker process of its own beside those of the pool.
    pub fn source(&self, settings: SourceSettings) -> Result<SourceStream, PoolError> {
        if self.inner.places.is_closed() {
            return Err(PoolError::Closed);
        }
        let worker = self.inner.spawn()?;
        Ok(SourceStream::start(worker, settings, self.inner.config.job_deadline))
    }

    /// Cuts a live input into segments, in a worker process of its own beside those of the pool: the input is not trusted.
    pub fn ingest(&self, settings: IngestSettings) -> Result<(IngestFeed, IngestStream), PoolError> {
        if self.inner.places.is_closed() {
            return Err(PoolError::Closed);
        }
        let worker = self.inner.spawn()?;
        Ok(ingest::start(worker, settings, self.inner.config.job_deadline))
    }

    /// The worker processes alive now.
    pub fn workers(&self) -> Vec<WorkerStatus> {
        self.inner.registry.list()
    }

    /// Refuses new jobs, lets those running and waiting finish, then ends the workers.
    pub async fn shutdown(&self) {
        let inner = &self.inner;
        inner.places.close();
        let all = u32::try_from(inner.config.workers).unwrap_or(u32::MAX);
        let _all = inner.slots.acquire_many(all).await;
        let idle = std::mem::take(&mut *inner.idle());
        for worker in idle {
            worker.retire(inner.config.start_deadline).await;
        }
        inner.slots.close();
    }

    async fn run(&self, kind: &'static str, request: Request, blobs: &[Bytes]) -> Result<Done, PoolError> {
        let started = Instant::now();
        let result = self.run_once(request, blobs).await;
        metrics::job(kind, result.as_ref().err(), started.elapsed());
        result
    }

    async fn run_once(&self, request: Request, blobs: &[Bytes]) -> Result<Done, PoolError> {
        let inner = &self.inner;
        let _place = inner.place()?;
        let _slot = inner.slots.acquire().await.map_err(|_| PoolError::Closed)?;
        let mut worker = inner.worker()?;
        match worker.exchange(request, blobs, inner.config.job_deadline).await {
            Ok((reply, blobs)) => {
                inner.idle().push(worker);
                match reply.answer {
                    Answer::Failed(error) => Err(error.into()),
                    _ => Ok(Done { reply, blobs }),
                }
            }
            Err(broken) => {
                let error = worker.bury(broken).await;
                inner.replace(&error);
                Err(error)
            }
        }
    }
}

impl Inner {
    /// Room to run or to wait.
    fn place(&self) -> Result<OwnedSemaphorePermit, PoolError> {
        let limit = self.config.workers + self.config.queue;
        self.places.clone().try_acquire_owned().map_err(|error| match error {
            tokio::sync::TryAcquireError::Closed => PoolError::Closed,
            tokio::sync::TryAcquireError::NoPermits => PoolError::QueueFull { limit },
        })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Worker>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self) -> Result<Worker, PoolError> {
        Worker::spawn(&self.config.program, &self.config.args, &self.registry).map_err(PoolError::Spawn)
    }

    /// A live idle worker, or a new one.
    fn worker(&self) -> Result<Worker, PoolError> {
        loop {
            let Some(mut worker) = self.idle().pop() else { return self.spawn() };
            if worker.is_alive() {
                return Ok(worker);
            }
            metrics::worker_restarted();
        }
    }

    fn replace(&self, error: &PoolError) {
        metrics::worker_restarted();
        tracing::warn!(%error, "media worker replaced");
        match self.spawn() {
            Ok(worker) => self.idle().push(worker),
            Err(error) => tracing::error!(%error, "media worker cannot be replaced; tried again with the next job"),
        }
    }
}

/// The end of a job.
#[derive(Debug)]
struct Done {
    reply: Reply,
    blobs: Vec<Bytes>,
}

fn unexpected() -> PoolError {
    PoolError::WorkerGarbage { reason: "answer to another request".into() }
}
