//! `streamflow transcoder`: no chain, no key.
use streamflow_transcoder::{RemoteTranscoder, Standing};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Node, media};
use crate::admin::Readiness;

/// Name of the orchestrator among the needs of the role.
const NEED: &str = "orchestrator";

pub(super) async fn run(node: &mut Node) -> anyhow::Result<()> {
    let local = media::start_transcoder(&node.config.transcoding, &node.readiness).await?;
    let remote = RemoteTranscoder::new(node.config.transcoder.clone(), local.clone()).await?;
    node.spawn_quiet("registration", watch_registration(remote.standing(), node.readiness.clone(), node.end.clone()));
    node.works();
    let outcome = remote.run(node.stop.clone()).await;
    local.shutdown().await;
    Ok(outcome?)
}

/// Without an orchestrator there is no work.
async fn watch_registration(mut standing: watch::Receiver<Standing>, readiness: Readiness, end: CancellationToken) {
    loop {
        match &*standing.borrow_and_update() {
            Standing::Registered => readiness.met(NEED),
            Standing::Away(reason) => readiness.missing(NEED, reason),
        }
        tokio::select! { biased;
            () = end.cancelled() => return,
            changed = standing.changed() => if changed.is_err() { return end.cancelled().await },
        }
    }
}
