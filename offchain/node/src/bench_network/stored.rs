//! A transcoder whose workers answer with stored renditions.
use std::path::Path;

use anyhow::Context as _;
use streamflow_media::{PoolConfig, WorkerPool, worker::run_stored};
use streamflow_transcoder::{LocalTranscoder, RemoteTranscoder};

use crate::{
    cli::{StoredTranscoderArgs, StoredWorkerArgs},
    commands::Context,
    stop,
};

/// Hidden command of one worker.
const WORKER_COMMAND: &str = "stored-worker";

/// Works for the orchestrator of the configuration until a signal.
///
/// # Errors
/// The orchestrator refuses it, or its workers do not start.
pub async fn transcoder(context: &Context, args: &StoredTranscoderArgs) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    let arguments = ["bench", WORKER_COMMAND, "--encode-ms"].map(Into::into);
    let rest = [args.encode_ms.to_string().into(), args.stored.clone().into_os_string()];
    let config = &context.config.transcoding;
    let pool = PoolConfig {
        workers: config.workers,
        queue: config.queue,
        ..PoolConfig::new(program, arguments.into_iter().chain(rest))
    };
    let pool = WorkerPool::start(pool).await.context("cannot start the workers")?;
    let local = LocalTranscoder::new(pool, config.encode.clone());
    let remote = RemoteTranscoder::new(context.config.transcoder.clone(), local.clone()).await?;
    let ended = remote.run(stop::on_signals()?).await;
    local.shutdown().await;
    Ok(ended?)
}

/// Runs one worker on stdin and stdout until stdin ends.
///
/// # Errors
/// The renditions cannot be read, or the transcoder is gone.
pub fn worker(args: &StoredWorkerArgs) -> anyhow::Result<()> {
    let encode = std::time::Duration::from_millis(args.encode_ms);
    run_stored(Path::new(&args.stored), encode, std::io::stdin(), std::io::stdout().lock())
        .context("worker with stored renditions failed")
}
