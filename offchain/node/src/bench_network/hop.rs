//! What a hop adds to the time of the encoder.
use tokio::time::Duration;

use super::{
    media::Media,
    site::{Network, Workers},
};

/// Time that the workers take.
const ENCODE: Duration = Duration::from_millis(100);
const SEGMENTS: u64 = 200;
/// Before anything is counted.
const WARM_UP: u64 = 10;

/// Beyond the time of the encoder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop {
    pub(super) p50: Duration,
    pub(super) p99: Duration,
}

pub(super) async fn measure(network: &mut Network, media: &Media) -> anyhow::Result<Hop> {
    let set = &media.full;
    let site = network.open(Workers { stored: set.stored.path(), encode: ENCODE, count: 1 }).await?;
    let caller = network.callers()?.swap_remove(0);
    let mut session = caller.open(&site.url, "hop").await?;
    let mut added = Vec::new();
    for seq in 0..WARM_UP + SEGMENTS {
        let took = caller.segment(&mut session, &set.profiles, set.segment(seq)).await?;
        if seq >= WARM_UP {
            added.push(took.saturating_sub(ENCODE));
        }
    }
    added.sort();
    let at = |percent: usize| added[(added.len() - 1) * percent / 100];
    Ok(Hop { p50: at(50), p99: at(99) })
}
