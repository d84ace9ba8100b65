//! The media workers of this process, started from its own binary.
use std::{ops::ControlFlow, sync::Arc};

use anyhow::Context as _;
use futures::FutureExt;
use streamflow_media::{Encoder, PoolConfig, TranscodeSettings, WorkerPool, gpu::Fallback};
use streamflow_orchestrator::{
    Live, LiveFuture, Rendition, Transcode, TranscodeError, TranscodeFuture, TranscodeJob, deadline, live_deadline,
};
use streamflow_transcoder::{LiveEvent, LocalError, LocalTranscoder};
use streamflow_wire::capability::Capability;

use crate::{admin::Readiness, config::TranscodingConfig, gpu};

/// Name of the encoder among the needs of a role.
const NEED: &str = "encoder";
/// Hidden command of this binary that runs one worker.
const WORKER_COMMAND: &str = "media-worker";

/// Starts workers.
pub(crate) async fn start_workers(config: &TranscodingConfig) -> anyhow::Result<WorkerPool> {
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    let pool = PoolConfig {
        workers: config.workers,
        queue: config.queue,
        job_deadline: config.job_deadline,
        job_cpu: config.job_cpu,
        worker_memory: config.worker_memory,
        quarantine: config.quarantine.for_pool(),
        ..PoolConfig::new(program, [WORKER_COMMAND])
    };
    WorkerPool::start(pool).await.context("cannot start media workers")
}

/// Starts workers and gives them the devices that the configuration wants.
pub(crate) async fn start_transcoding_workers(config: &TranscodingConfig) -> anyhow::Result<WorkerPool> {
    let pool = start_workers(config).await?;
    match gpu::use_devices(&pool, config).await {
        Ok(()) => Ok(pool),
        Err(e) => {
            pool.shutdown().await;
            Err(e)
        }
    }
}

/// Whether segments may be encoded on the CPU.
pub(crate) fn needs_cpu_encoder(config: &TranscodingConfig) -> bool {
    config.encode.encoder != Encoder::Nvenc || config.gpu.fallback == Fallback::Cpu
}

/// Starts workers, tries devices and encoder. One that does not work is told in `/readyz`; it keeps the role from starting.
pub(super) async fn start_transcoder(
    config: &TranscodingConfig,
    readiness: &Readiness,
) -> anyhow::Result<LocalTranscoder> {
    let pool = match start_transcoding_workers(config).await {
        Ok(pool) => pool,
        Err(e) => {
            readiness.missing(NEED, format_args!("{e:#}"));
            return Err(e);
        }
    };
    let on_cpu = TranscodeSettings { encoder: Encoder::X264, ..config.encode.clone() };
    if needs_cpu_encoder(config)
        && let Err(e) = pool.probe_encoder(&on_cpu).await
    {
        readiness.missing(NEED, &e);
        pool.shutdown().await;
        return Err(e).context("the encoder on the CPU does not work here: `streamflow doctor` says more");
    }
    readiness.met(NEED);
    Ok(LocalTranscoder::new(pool, config.encode.clone()))
}

/// The workers of this process, as an orchestrator uses them.
#[derive(Clone, Debug)]
pub(super) struct LocalWorkers {
    local: LocalTranscoder,
    /// Segments that are done side by side.
    workers: usize,
}

impl LocalWorkers {
    pub(super) fn new(local: LocalTranscoder, workers: usize) -> Arc<Self> {
        Arc::new(Self { local, workers })
    }
}

impl Transcode for LocalWorkers {
    fn transcode(&self, job: TranscodeJob) -> TranscodeFuture<'_> {
        async move {
            let limit = deadline(job.duration);
            let done = self.local.transcode(job.input, job.profiles, limit).await.map_err(told_peers)?;
            let renditions = done.renditions.into_iter();
            Ok(renditions.map(|made| Rendition { data: made.bytes, pixels: made.pixels }).collect())
        }
        .boxed()
    }

    fn transcode_live(&self, job: TranscodeJob, live: Live) -> LiveFuture<'_> {
        let Live { input, output } = live;
        let put = move |event| {
            let put = match event {
                LiveEvent::Piece { rendition, bytes, pixels } => output.put(rendition, &bytes, pixels),
                LiveEvent::Again => {
                    output.again();
                    Ok(())
                }
            };
            // The orchestrator knows why it takes no more.
            if put.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        async move {
            let (limit, mut put) = (live_deadline(job.duration), put);
            let done = self
                .local
                .transcode_live(input.into_stream(), job.profiles, limit, &mut put)
                .await
                .map_err(told_peers)?;
            Ok(done.renditions.iter().map(|made| made.pixels).collect())
        }
        .boxed()
    }

    fn offers(&self, codec: Capability) -> bool {
        self.local.offers(codec)
    }

    fn end_session(&self, _session_id: &str) {
        // a worker keeps nothing between segments
    }

    fn lanes(&self) -> usize {
        self.workers
    }
}

/// The error as peers know it.
fn told_peers(error: LocalError) -> TranscodeError {
    match error {
        LocalError::Busy => TranscodeError::TranscoderBusy,
        LocalError::Stopped => TranscodeError::TranscoderStopped,
        LocalError::TimedOut { .. } => TranscodeError::TranscoderTimeout,
        error @ (LocalError::BrokenOff | LocalError::GivenUp) => TranscodeError::Other(error.to_string()),
        LocalError::Media(e) => TranscodeError::Other(e.to_string()),
        LocalError::NoDevice(e) => {
            tracing::warn!(err = %e, "no device takes a segment");
            TranscodeError::TranscoderUnavailable
        }
        LocalError::Worker(e) => {
            tracing::warn!(err = %e, "media workers cannot do a segment");
            TranscodeError::TranscoderUnavailable
        }
    }
}
