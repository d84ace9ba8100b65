//! A stream over three orchestrators, one of which stands still at any time.
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    task::JoinSet,
    time::{Duration, Instant, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    media::{Media, SEGMENT},
    site::{Network, Site, Workers},
};

/// Time that the workers take.
const ENCODE: Duration = Duration::from_millis(200);
/// How long an orchestrator stands still, and goes on, in milliseconds.
const STALL: std::ops::Range<u64> = 1_000..8_000;
const PAUSE: std::ops::Range<u64> = 500..4_000;
/// Segments before the first stall.
const WARM_UP: u64 = 3;

/// What became of the segments.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stall {
    pub(super) segments: u64,
    /// Not published.
    pub(super) lost: u64,
    /// Published more than the duration of a segment after they were complete.
    pub(super) late: u64,
    pub(super) stalls: u64,
}

pub(super) async fn measure(
    network: &mut Network,
    media: &Media,
    duration: Duration,
    seed: u64,
) -> anyhow::Result<Stall> {
    let set = &media.full;
    let mut sites = Vec::new();
    for _ in 0..3 {
        sites.push(network.open(Workers { stored: set.stored.path(), encode: ENCODE, count: 2 }).await?);
    }
    let base = network.broadcaster(&sites, "").await?;
    let client = reqwest::Client::new();
    let start = Instant::now();
    let segments = WARM_UP + u64::try_from(duration.as_millis() / SEGMENT.as_millis()).unwrap_or(u64::MAX);
    let stalls = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let begin = start + SEGMENT * u32::try_from(WARM_UP).unwrap_or(u32::MAX);
    let counted = stalls.clone();
    let troubles = AbortOnDropHandle::new(tokio::spawn(async move { stall(sites, begin, seed, &counted).await }));
    let mut pushes = JoinSet::new();
    for seq in 0..segments {
        sleep_until(start + SEGMENT * u32::try_from(seq).unwrap_or(u32::MAX)).await;
        let url = base.join(&format!("live/stall/{seq}.ts"))?;
        let (segment, _) = set.segment(seq);
        let request = client.post(url).header("Content-Duration", SEGMENT.as_millis().to_string()).body(segment);
        pushes.spawn(async move {
            let sent = Instant::now();
            let published = match request.send().await {
                Ok(answer) if answer.status().is_success() => true,
                Ok(answer) => {
                    let status = answer.status();
                    tracing::warn!("segment {seq}: {status} {}", answer.text().await.unwrap_or_default());
                    false
                }
                Err(error) => {
                    tracing::warn!("segment {seq}: {error}");
                    false
                }
            };
            (seq, published, sent.elapsed())
        });
    }
    let mut outcome = Stall::default();
    while let Some(push) = pushes.join_next().await {
        let (seq, published, took) = push?;
        if seq < WARM_UP {
            continue;
        }
        outcome.segments += 1;
        outcome.lost += u64::from(!published);
        outcome.late += u64::from(published && took > SEGMENT);
        tracing::debug!("segment {seq} published {published} after {took:?}");
    }
    drop(troubles);
    outcome.stalls = stalls.load(std::sync::atomic::Ordering::Relaxed);
    Ok(outcome)
}

/// Stops one after the other, for a while each, until dropped; then all go on.
async fn stall(sites: Vec<Site>, begin: Instant, seed: u64, count: &std::sync::atomic::AtomicU64) {
    let mut draws = StdRng::seed_from_u64(seed);
    let mut next = begin;
    loop {
        sleep_until(next).await;
        let site = &sites[draws.random_range(0..sites.len())];
        let stopped = Stopped::new(site.pid);
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        sleep_until(next + Duration::from_millis(draws.random_range(STALL))).await;
        drop(stopped);
        next = Instant::now() + Duration::from_millis(draws.random_range(PAUSE));
    }
}

/// A process that stands still until this is dropped.
struct Stopped(Option<Pid>);

impl Stopped {
    fn new(pid: u32) -> Self {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::STOP);
        }
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill_process(pid, Signal::CONT);
        }
    }
}
