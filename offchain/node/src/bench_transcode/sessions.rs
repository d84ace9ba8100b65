//! How many streams the machine bears.
use std::time::Duration;

use serde::Serialize;
use streamflow_media::{
    TranscodeSettings,
    benchmark::{Pacing, SessionsRun, Spread, measure_quality, run_sessions},
};

use super::{Bench, csv::Row, mib, millis};
use crate::cli::SessionPacing;

/// Of the clip, before anything is counted: workers that live take their memory and code pages once.
const WARM_UP: Duration = Duration::from_secs(4);

/// One preset, from one session up.
#[derive(Debug, Serialize)]
pub(super) struct SessionsReport {
    pub(super) preset: String,
    pub(super) settings: TranscodeSettings,
    pub(super) pacing: SessionPacing,
    /// Largest number that can go on for ever; 0 if not even one can; not flat out.
    pub(super) realtime_sessions: Option<usize>,
    /// More were not tried.
    pub(super) limit: usize,
    pub(super) counts: Vec<Count>,
}

/// So many sessions, all together.
#[derive(Debug, Serialize)]
pub(super) struct Count {
    pub(super) sessions: usize,
    pub(super) real_time: bool,
    pub(super) frames_per_second: f64,
    pub(super) cpu_s: f64,
    /// Of all workers.
    pub(super) peak_mib: f64,
    /// Half of the segments have their first picture by then, after their first source byte.
    pub(super) first_byte_ms: f64,
    /// After the last source byte.
    pub(super) p50_ms: f64,
    pub(super) p95_ms: f64,
    pub(super) p99_ms: f64,
    /// Segments that found no room.
    pub(super) refused: u64,
    /// Pictures of all renditions of the first session. This and what follows is not known where segments found no
    /// room.
    pub(super) bitrate_bps: Option<f64>,
    /// Of the rendition with the lowest.
    pub(super) psnr_db: Option<f64>,
    /// Of the rendition with the lowest.
    pub(super) ssim: Option<f64>,
}

impl Bench<'_> {
    /// From one session up to `most`, or in real time to the first number that is too large.
    pub(super) async fn sessions(
        &mut self,
        preset: &str,
        most: usize,
        paced: SessionPacing,
    ) -> anyhow::Result<SessionsReport> {
        let pacing = match paced {
            SessionPacing::Live => Pacing::Live,
            SessionPacing::Stream => Pacing::Stream,
            SessionPacing::FlatOut => Pacing::FlatOut,
        };
        let settings = self.settings(preset);
        let work = self.work(settings.clone());
        let in_flight = self.in_flight(self.context.config.transcoding.workers);
        let mut counts: Vec<Count> = Vec::new();
        for sessions in 1..=most {
            self.context.output.note(format_args!("{preset}: {sessions} of {most} sessions"));
            let pool = self.workers().await?;
            run_sessions(&pool, &self.clip.within(WARM_UP), &work, sessions.min(in_flight), Pacing::FlatOut).await?;
            let run = run_sessions(&pool, &self.clip, &work, sessions, pacing).await?;
            let mut count = Count::of(sessions, &run);
            if run.refused == 0 {
                let found = measure_quality(&pool, &self.clip, &run.ladder.renditions, in_flight).await?;
                let bits = run.ladder.video_bytes().iter().sum::<u64>() as f64 * 8.0;
                count.bitrate_bps = Some(bits / self.clip.duration().as_secs_f64());
                count.psnr_db = found.iter().map(|rendition| rendition.psnr).reduce(f64::min);
                count.ssim = found.iter().map(|rendition| rendition.ssim).reduce(f64::min);
            }
            pool.shutdown().await;
            self.rows.push(count.row(preset, paced, &run));
            counts.push(count);
            if paced != SessionPacing::FlatOut && !run.real_time {
                break;
            }
        }
        let most_live = counts.iter().filter(|count| count.real_time).map(|count| count.sessions).max().unwrap_or(0);
        Ok(SessionsReport {
            preset: preset.to_owned(),
            settings,
            pacing: paced,
            realtime_sessions: (paced != SessionPacing::FlatOut).then_some(most_live),
            limit: most,
            counts,
        })
    }
}

impl Count {
    /// Without what must be measured in the renditions.
    fn of(sessions: usize, run: &SessionsRun) -> Self {
        let Spread { p50, p95, p99 } = Spread::of(&run.ladder.latencies);
        Self {
            sessions,
            real_time: run.real_time,
            frames_per_second: run.ladder.frames_per_second(),
            cpu_s: run.ladder.cpu.as_secs_f64(),
            peak_mib: mib(run.ladder.peak_memory),
            first_byte_ms: millis(Spread::of(&run.first_bytes).p50),
            p50_ms: millis(p50),
            p95_ms: millis(p95),
            p99_ms: millis(p99),
            refused: run.refused,
            bitrate_bps: None,
            psnr_db: None,
            ssim: None,
        }
    }

    fn row(&self, preset: &str, paced: SessionPacing, run: &SessionsRun) -> Row {
        Row {
            work: match paced {
                SessionPacing::Live => "sessions_live",
                SessionPacing::Stream => "sessions_stream",
                SessionPacing::FlatOut => "sessions_flat_out",
            },
            preset: preset.to_owned(),
            sessions: Some(self.sessions),
            round: None,
            source_frames: Some(run.ladder.source_frames),
            encoded_frames: None,
            frames_per_second: Some(self.frames_per_second),
            wall_s: Some(run.ladder.wall.as_secs_f64()),
            cpu_s: Some(self.cpu_s),
            peak_mib: Some(self.peak_mib),
            first_byte_ms: Some(self.first_byte_ms),
            p50_ms: Some(self.p50_ms),
            p95_ms: Some(self.p95_ms),
            p99_ms: Some(self.p99_ms),
            bitrate_bps: self.bitrate_bps,
            psnr_db: self.psnr_db,
            ssim: self.ssim,
        }
    }
}
