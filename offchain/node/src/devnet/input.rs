//! Whether a file that a person named can be played at all: known in a second, not after the chain is up.
use std::{path::Path, time::Duration};

use streamflow_media::SourceSettings;

use crate::{config::TranscodingConfig, exit::Usage, roles::start_workers};

/// The shortest that a source plays: one segment.
const PROBE: Duration = Duration::from_secs(2);

/// # Errors
/// [`Usage`] when no segment can be made of `input`.
pub(super) async fn require_playable(config: &TranscodingConfig, input: &Path) -> anyhow::Result<()> {
    let pool = start_workers(&TranscodingConfig { workers: 1, ..config.clone() }).await?;
    let mut source = pool.source(SourceSettings::new(input, PROBE))?;
    let first = source.next().await;
    drop(source);
    pool.shutdown().await;
    let why = match first {
        Some(Ok(_)) => return Ok(()),
        Some(Err(error)) => format!("{:#}", anyhow::Error::new(error)),
        None => "it is empty".to_owned(),
    };
    Err(Usage(format!("--input {} must be a video that libav decodes: {why}", input.display())).into())
}
