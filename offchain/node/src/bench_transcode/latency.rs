//! How far one live stream is behind its source.
use std::time::Duration;

use serde::Serialize;
use streamflow_media::{
    TranscodeSettings,
    benchmark::{Pacing, Spread, run_sessions},
};

use super::{Bench, csv::Row, median, mib, millis};

/// Preset that answers soonest of those that are used.
const PRESET: &str = "veryfast";
/// Of the clip, in each round.
const LENGTH: Duration = Duration::from_secs(10);

/// One session alone, in real time; medians over the rounds of their slowest segments.
#[derive(Debug, Serialize)]
pub(super) struct LatencyReport {
    pub(super) settings: TranscodeSettings,
    /// From the first source byte to the first picture of a rendition.
    pub(super) first_byte_ms: f64,
    /// From the last source byte to the last byte of the last rendition.
    pub(super) last_byte_ms: f64,
}

impl Bench<'_> {
    pub(super) async fn latency(&mut self) -> anyhow::Result<LatencyReport> {
        let settings = TranscodeSettings { low_latency: true, ..self.settings(PRESET) };
        let (work, clip) = (self.work(settings.clone()), self.clip.within(LENGTH));
        let pool = self.workers().await?;
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for number in 1..=self.rounds {
            self.context.output.note(format_args!("latency: round {number} of {}", self.rounds));
            let run = run_sessions(&pool, &clip, &work, 1, Pacing::Stream).await?;
            let slowest = |times: &[Duration]| millis(times.iter().max().copied().unwrap_or_default());
            let Spread { p50, p95, p99 } = Spread::of(&run.ladder.latencies);
            first.push(slowest(&run.first_bytes));
            last.push(slowest(&run.ladder.latencies));
            self.rows.push(Row {
                work: "stream",
                preset: PRESET.into(),
                sessions: Some(1),
                round: Some(number),
                source_frames: Some(run.ladder.source_frames),
                encoded_frames: Some(run.ladder.encoded_frames()),
                frames_per_second: Some(run.ladder.frames_per_second()),
                wall_s: Some(run.ladder.wall.as_secs_f64()),
                cpu_s: Some(run.ladder.cpu.as_secs_f64()),
                peak_mib: Some(mib(run.ladder.peak_memory)),
                first_byte_ms: Some(slowest(&run.first_bytes)),
                p50_ms: Some(millis(p50)),
                p95_ms: Some(millis(p95)),
                p99_ms: Some(millis(p99)),
                ..Row::default()
            });
        }
        pool.shutdown().await;
        Ok(LatencyReport { settings, first_byte_ms: median(first), last_byte_ms: median(last) })
    }
}
