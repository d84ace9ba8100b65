//! A transcoder in a process of its own, which tests can kill: `transcoder worker`, or `transcoder remote <url>` with the
//! secret in the environment. The URL is an orchestrator's, or that of the NATS server of a pool.
use std::{env, io, path::Path};

use streamflow_media::{PoolConfig, TranscodeSettings, WorkerPool, worker};
use streamflow_nats::NatsConfig;
use streamflow_transcoder::{LocalTranscoder, RemoteTranscoder, TranscoderConfig};
use streamflow_types::Secret;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = env::args().collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "worker"] => Ok(worker::run(io::stdin(), io::stdout())?),
        [program, "remote", url] => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(remote(program, url))
        }
        _ => Err("usage: transcoder worker | remote <url>".into()),
    }
}

async fn remote(program: impl AsRef<Path>, url: &str) -> Result<(), Box<dyn std::error::Error>> {
    let pool = PoolConfig { workers: 1, ..PoolConfig::new(program.as_ref(), ["worker"]) };
    let local = LocalTranscoder::new(WorkerPool::start(pool).await?, TranscodeSettings::default());
    let config = TranscoderConfig {
        orchestrator: Some(url.parse()?).filter(|_| url.starts_with("https")),
        nats: NatsConfig { url: Some(url.parse()?).filter(|_| url.starts_with("nats")), ..Default::default() },
        secret: Secret::new(env::var("TRANSCODER_SECRET")?),
        ..Default::default()
    };
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let stopping = stop.clone();
    tokio::spawn(async move {
        terminate.recv().await;
        stopping.cancel();
    });
    Ok(RemoteTranscoder::new(config, local).await?.run(stop).await?)
}
