//! What an idle session keeps in the orchestrator's memory.
use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use streamflow_media::benchmark::resident;
use tokio::time::Duration;

use super::{
    load::{Caller, OpenSession},
    media::Media,
    site::{Network, Workers},
};

/// Sessions that are opened and left idle.
pub(super) const SESSIONS: usize = 1000;
/// Before them, so that what is set up once is not counted.
const WARM_UP: usize = 100;
/// Sessions that are opened at the same time.
const AT_ONCE: usize = 8;
const UNREADABLE: &str = "cannot read the memory of the orchestrator";
/// For buffers to be given back.
const SETTLE: Duration = Duration::from_secs(3);

/// KiB for each. A session paid for a segment and got it, and its connection stays open. The renditions that are kept for
/// download do not count: `orchestrator.storage` bounds them.
pub(super) async fn measure(network: &mut Network, media: &Media) -> anyhow::Result<f64> {
    let set = &media.small;
    let site = network.open(Workers { stored: set.stored.path(), encode: Duration::ZERO, count: 1 }).await?;
    let callers = network.callers()?;
    let serve = |number: usize| {
        let (callers, site) = (&callers, &site);
        async move {
            let caller = callers[number % callers.len()].apart()?;
            let mut session = caller.open(&site.url, &format!("idle-{number}")).await?;
            caller.segment(&mut session, &set.profiles, set.segment(0)).await?;
            anyhow::Ok((caller, session))
        }
    };
    let open = async |numbers: std::ops::Range<usize>| -> anyhow::Result<Vec<(Caller, OpenSession)>> {
        stream::iter(numbers).map(serve).buffer_unordered(AT_ONCE).try_collect().await
    };
    let _first = open(0..WARM_UP).await.context("no idle session could be opened")?;
    tokio::time::sleep(SETTLE).await;
    let before = resident(site.pid).context(UNREADABLE)?;
    let _idle = open(WARM_UP..WARM_UP + SESSIONS).await.context("too few idle sessions could be opened")?;
    tokio::time::sleep(SETTLE).await;
    let after = resident(site.pid).context(UNREADABLE)?;
    let each = after.saturating_sub(before) as f64 / SESSIONS as f64;
    Ok(((each - set.rendition_bytes as f64) / 1024.0).max(0.0))
}
