//! Many sessions at a time at one orchestrator.
use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use streamflow_media::benchmark::cpu_time;
use tokio::{
    task::JoinSet,
    time::{Duration, Instant, sleep_until},
};

use super::{
    media::{Media, SEGMENT},
    site::{Network, Workers},
};

/// Sessions that are opened at the same time.
const AT_ONCE: usize = 8;

/// What became of the segments, and what they cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sessions {
    pub(super) segments: u64,
    /// Later than the duration of a segment after they were sent, or not at all.
    pub(super) missed: u64,
    pub(super) cpu_pct: f64,
}

pub(super) async fn measure(
    network: &mut Network,
    media: &Media,
    count: usize,
    duration: Duration,
) -> anyhow::Result<Sessions> {
    let set = &media.small;
    let site = network.open(Workers { stored: set.stored.path(), encode: Duration::ZERO, count: 2 }).await?;
    let callers = network.callers()?;
    let open = |number: usize| {
        let (caller, url) = (callers[number % callers.len()].clone(), &site.url);
        async move {
            let session = caller.open(url, &format!("session-{number}")).await?;
            anyhow::Ok((number, caller, session))
        }
    };
    let sessions: Vec<_> = stream::iter(0..count).map(open).buffer_unordered(AT_ONCE).try_collect().await?;
    let each = u64::try_from(duration.as_millis() / SEGMENT.as_millis()).unwrap_or(u64::MAX).max(1);
    let start = Instant::now() + Duration::from_millis(200);
    let mut tasks = JoinSet::new();
    for (number, caller, mut session) in sessions {
        let (profiles, segments) = (set.profiles.clone(), set.segments.clone());
        // Encoders are not in step.
        let offset = SEGMENT.mul_f64(number as f64 / count as f64);
        tasks.spawn(async move {
            let mut missed = 0;
            for seq in 0..each {
                sleep_until(start + offset + SEGMENT * u32::try_from(seq).unwrap_or(u32::MAX)).await;
                let segment = segments[(seq % segments.len().max(1) as u64) as usize].clone();
                match caller.segment(&mut session, &profiles, segment).await {
                    Ok(took) if took <= SEGMENT => {}
                    Ok(_) => missed += 1,
                    Err(error) => {
                        tracing::warn!("segment {seq} of session {number}: {error:#}");
                        missed += 1;
                    }
                }
            }
            missed
        });
    }
    let cpu_so_far = || cpu_time(site.pid).context("cannot read the CPU time of the orchestrator");
    let before = cpu_so_far()?;
    let began = Instant::now();
    let mut missed = 0;
    while let Some(done) = tasks.join_next().await {
        missed += done.context("a session ended early")?;
    }
    let (cpu, wall) = (cpu_so_far()?.saturating_sub(before), began.elapsed());
    let segments = each * count as u64;
    Ok(Sessions { segments, missed, cpu_pct: cpu.as_secs_f64() * 100.0 / wall.as_secs_f64() })
}
