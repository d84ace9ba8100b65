//! Stopping: the first signal drains, the second ends at once.
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code of a process that a second signal ended: 128 + SIGINT, as shells report it.
const INTERRUPTED: i32 = 130;

/// Watches SIGINT and SIGTERM from now on. The returned token is cancelled by the first; the second ends the process
/// without draining.
///
/// # Errors
/// When the signal handlers cannot be installed.
pub fn on_signals() -> anyhow::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch SIGTERM")?;
    let stop = CancellationToken::new();
    let first = stop.clone();
    tokio::spawn(async move {
        wait(&mut interrupt, &mut terminate).await;
        tracing::info!("stopping: no new work is taken, running work is finished; signal again to end at once");
        first.cancel();
        wait(&mut interrupt, &mut terminate).await;
        tracing::warn!("second signal: ending without draining");
        // let the log line leave before the process does
        tokio::time::sleep(Duration::from_millis(10)).await;
        end_process();
    });
    Ok(stop)
}

#[allow(clippy::disallowed_methods, reason = "the operator asked twice")]
fn end_process() -> ! {
    std::process::exit(INTERRUPTED)
}

async fn wait(interrupt: &mut tokio::signal::unix::Signal, terminate: &mut tokio::signal::unix::Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
