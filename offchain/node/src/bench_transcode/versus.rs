//! The pool and two ways to use ffmpeg, by turns.
use std::path::Path;

use anyhow::bail;
use bytes::Bytes;
use serde::Serialize;
use streamflow_media::{
    TranscodeSettings,
    benchmark::{
        Ffmpeg, LadderRun, RenditionQuality, Spread, Work, measure_quality, measure_restart, run_pool,
    },
};

use super::{Bench, PEER, csv::Row, median, mib, millis};

/// One preset, everything made of the clip with it. Ratios are medians of those of each round.
#[derive(Debug, Serialize)]
pub(super) struct PresetReport {
    pub(super) preset: String,
    pub(super) settings: TranscodeSettings,
    pub(super) streamflow: Side,
    pub(super) ffmpeg_segment: Side,
    pub(super) ffmpeg_stream: Side,
    /// Frames per second over those of one ffmpeg for each segment.
    pub(super) throughput_ratio_segment: f64,
    /// Frames per second over those of one ffmpeg over the whole clip.
    pub(super) throughput_ratio_stream: f64,
    /// CPU time over that of one ffmpeg over the whole clip; the frames are the same.
    pub(super) cpu_ratio: f64,
    /// Peak memory over that of one ffmpeg over the whole clip.
    pub(super) rss_ratio: f64,
    pub(super) restart_ms: f64,
    pub(super) renditions: Vec<RenditionReport>,
}

/// Medians over all rounds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Side {
    pub(super) frames_per_second: f64,
    pub(super) wall_s: f64,
    pub(super) cpu_s: f64,
    /// CPU time for each frame of the source, in milliseconds.
    pub(super) cpu_ms_per_frame: f64,
    pub(super) peak_mib: f64,
}

/// A rendition beside that of one ffmpeg for each segment; quality against the source, of all frames.
#[derive(Debug, Serialize)]
pub(super) struct RenditionReport {
    pub(super) name: String,
    /// With what the transport stream adds.
    pub(super) bitrate_bps: f64,
    pub(super) ffmpeg_bitrate_bps: f64,
    pub(super) ssim: f64,
    pub(super) ffmpeg_ssim: f64,
    pub(super) psnr_db: f64,
    pub(super) ffmpeg_psnr_db: f64,
}

/// One after the other, so that all meet the same disturbances.
struct Round {
    ours: Measured,
    segment: Measured,
    stream: Measured,
}

/// A run, without what came of it.
#[derive(Clone, Copy)]
struct Measured {
    source_frames: u64,
    encoded_frames: u64,
    frames_per_second: f64,
    wall_s: f64,
    cpu_s: f64,
    peak_mib: f64,
    /// Milliseconds, where the clip went in by segments.
    latency: Option<[f64; 3]>,
}

impl Measured {
    fn of(run: &LadderRun) -> Self {
        let Spread { p50, p95, p99 } = Spread::of(&run.latencies);
        Self {
            source_frames: run.source_frames,
            encoded_frames: run.encoded_frames(),
            frames_per_second: run.frames_per_second(),
            wall_s: run.wall.as_secs_f64(),
            cpu_s: run.cpu.as_secs_f64(),
            peak_mib: mib(run.peak_memory),
            latency: (!run.latencies.is_empty()).then(|| [p50, p95, p99].map(millis)),
        }
    }

    fn row(&self, work: &'static str, preset: &str, round: u32) -> Row {
        Row {
            work,
            preset: preset.to_owned(),
            round: Some(round),
            source_frames: Some(self.source_frames),
            encoded_frames: Some(self.encoded_frames),
            frames_per_second: Some(self.frames_per_second),
            wall_s: Some(self.wall_s),
            cpu_s: Some(self.cpu_s),
            peak_mib: Some(self.peak_mib),
            p50_ms: self.latency.map(|latency| latency[0]),
            p95_ms: self.latency.map(|latency| latency[1]),
            p99_ms: self.latency.map(|latency| latency[2]),
            ..Row::default()
        }
    }
}

impl Bench<'_> {
    /// One preset.
    pub(super) async fn versus(&mut self, preset: &str) -> anyhow::Result<PresetReport> {
        let note = |line: std::fmt::Arguments<'_>| self.context.output.note(line);
        let (settings, ffmpeg) = (self.settings(preset), Ffmpeg::prepare(Path::new(PEER), &self.clip)?);
        let work = self.work(settings.clone());
        let pool = self.workers().await?;
        note(format_args!("{preset}: warming up"));
        // Workers that live take their memory and code pages once.
        let made = run_pool(&pool, &self.clip, &work, self.in_flight).await?.renditions;
        let (mut rounds, mut theirs) = (Vec::new(), Vec::new());
        for number in 1..=self.rounds {
            note(format_args!("{preset}: round {number} of {}", self.rounds));
            let ours = run_pool(&pool, &self.clip, &work, self.in_flight).await?;
            let segment = ffmpeg.run_segments(&work).await?;
            let stream = ffmpeg.run_stream(&work).await?;
            let round = Round {
                ours: Measured::of(&ours),
                segment: Measured::of(&segment),
                stream: Measured::of(&stream),
            };
            round.same_frames()?;
            let sides =
                [("streamflow", round.ours), ("ffmpeg_segment", round.segment), ("ffmpeg_stream", round.stream)];
            self.rows.extend(sides.map(|(work, side)| side.row(work, preset, number)));
            rounds.push(round);
            theirs = segment.renditions;
        }
        note(format_args!("{preset}: quality of the renditions"));
        let mut quality = Vec::new();
        for renditions in [&made, &theirs] {
            quality.push(measure_quality(&pool, &self.clip, renditions, self.in_flight).await?);
        }
        pool.shutdown().await;
        let restart_ms = self.restart(preset).await?;
        let of_rounds = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
        let [ours, peers] = &quality[..] else { bail!("the quality of one side is missing") };
        Ok(PresetReport {
            preset: preset.to_owned(),
            settings,
            streamflow: Side::of(&rounds, |round| round.ours),
            ffmpeg_segment: Side::of(&rounds, |round| round.segment),
            ffmpeg_stream: Side::of(&rounds, |round| round.stream),
            throughput_ratio_segment: of_rounds(|round| {
                round.ours.frames_per_second / round.segment.frames_per_second
            }),
            throughput_ratio_stream: of_rounds(|round| round.ours.frames_per_second / round.stream.frames_per_second),
            cpu_ratio: of_rounds(|round| round.ours.cpu_s / round.stream.cpu_s),
            rss_ratio: of_rounds(|round| round.ours.peak_mib / round.stream.peak_mib),
            restart_ms,
            renditions: self.renditions((&made, ours), (&theirs, peers)),
        })
    }
}
