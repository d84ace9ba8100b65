//! `streamflow transcoder`: no chain, no key.
use streamflow_transcoder::RemoteTranscoder;

use super::{Node, media};

pub(super) async fn run(node: &mut Node) -> anyhow::Result<()> {
    let local = media::start_transcoder(&node.config.transcoding, &node.readiness).await?;
    let remote = RemoteTranscoder::new(node.config.transcoder.clone(), local.clone()).await?;
    node.not_ready_from_stop();
    let outcome = remote.run(node.stop.clone()).await;
    local.shutdown().await;
    Ok(outcome?)
}
