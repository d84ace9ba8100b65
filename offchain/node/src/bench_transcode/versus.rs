//! The pool and two ways to use ffmpeg, by turns.
use std::path::Path;

use anyhow::bail;
use serde::Serialize;
use streamflow_media::{
    TranscodeSettings, WorkerPool,
    benchmark::{Ffmpeg, LadderRun, Spread, measure_quality, measure_restart, run_pool},
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
    /// Of its pictures, in transport packets.
    pub(super) bitrate_bps: f64,
    pub(super) ffmpeg_bitrate_bps: f64,
    pub(super) ssim: f64,
    pub(super) ffmpeg_ssim: f64,
    pub(super) psnr_db: f64,
    pub(super) ffmpeg_psnr_db: f64,
}

/// One after the other, so that all meet the same disturbances: ours in the middle, and in the next round the other way round, so that a
/// machine that becomes slower or faster is nobody's advantage.
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
        let output = self.context.output;
        let (settings, ffmpeg) = (self.settings(preset), Ffmpeg::prepare(Path::new(PEER), &self.clip)?);
        let (work, in_flight) = (self.work(settings.clone()), self.in_flight(1));
        let pool = self.one_worker().await?;
        output.note(format_args!("{preset}: warming up"));
        // Workers that live take their memory and code pages once.
        let made = run_pool(&pool, &self.clip, &work, in_flight).await?;
        let (mut rounds, mut theirs) = (Vec::new(), LadderRun::default());
        for number in 1..=self.rounds {
            output.note(format_args!("{preset}: round {number} of {}", self.rounds));
            let (segment, ours, stream);
            if number % 2 == 1 {
                segment = ffmpeg.run_segments(&work).await?;
                ours = run_pool(&pool, &self.clip, &work, in_flight).await?;
                stream = ffmpeg.run_stream(&work).await?;
            } else {
                stream = ffmpeg.run_stream(&work).await?;
                ours = run_pool(&pool, &self.clip, &work, in_flight).await?;
                segment = ffmpeg.run_segments(&work).await?;
            }
            let round =
                Round { ours: Measured::of(&ours), segment: Measured::of(&segment), stream: Measured::of(&stream) };
            round.same_frames()?;
            let sides =
                [("streamflow", round.ours), ("ffmpeg_segment", round.segment), ("ffmpeg_stream", round.stream)];
            self.rows.extend(sides.map(|(work, side)| side.row(work, preset, number)));
            rounds.push(round);
            theirs = segment;
        }
        output.note(format_args!("{preset}: quality of the renditions"));
        let renditions = self.renditions(&pool, &made, &theirs).await?;
        pool.shutdown().await;
        let restart_ms = self.restart(preset).await?;
        let of_rounds = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
        Ok(PresetReport {
            preset: preset.to_owned(),
            settings,
            streamflow: Side::of(&rounds, |round| round.ours),
            ffmpeg_segment: Side::of(&rounds, |round| round.segment),
            ffmpeg_stream: Side::of(&rounds, |round| round.stream),
            throughput_ratio_segment: of_rounds(|round| round.ours.frames_per_second / round.segment.frames_per_second),
            throughput_ratio_stream: of_rounds(|round| round.ours.frames_per_second / round.stream.frames_per_second),
            cpu_ratio: of_rounds(|round| round.ours.cpu_s / round.stream.cpu_s),
            rss_ratio: of_rounds(|round| round.ours.peak_mib / round.stream.peak_mib),
            restart_ms,
            renditions,
        })
    }

    /// The crash of a worker that is alone, again and again; milliseconds.
    async fn restart(&self, preset: &str) -> anyhow::Result<f64> {
        let work = self.work(TranscodeSettings { low_latency: true, ..self.settings(preset) });
        let pool = self.one_worker().await?;
        let mut times = Vec::new();
        for number in 1..=self.rounds {
            self.context.output.note(format_args!("{preset}: crash {number} of {}", self.rounds));
            times.push(millis(measure_restart(&pool, &self.clip, &work).await?));
        }
        pool.shutdown().await;
        Ok(median(times))
    }

    async fn renditions(
        &self,
        pool: &WorkerPool,
        ours: &LadderRun,
        theirs: &LadderRun,
    ) -> anyhow::Result<Vec<RenditionReport>> {
        let seconds = self.clip.duration().as_secs_f64();
        let mut sides = Vec::new();
        for run in [ours, theirs] {
            let quality = measure_quality(pool, &self.clip, &run.renditions, self.in_flight(1)).await?;
            let bitrates = run.video_bytes().into_iter().map(|bytes| bytes as f64 * 8.0 / seconds);
            sides.push(bitrates.zip(quality).collect::<Vec<_>>());
        }
        let reports = self.ladder.iter().enumerate().filter_map(|(index, profile)| {
            let [(bitrate_bps, quality), (ffmpeg_bitrate_bps, ffmpeg)] = [sides[0].get(index)?, sides[1].get(index)?];
            Some(RenditionReport {
                name: profile.name.clone(),
                bitrate_bps: *bitrate_bps,
                ffmpeg_bitrate_bps: *ffmpeg_bitrate_bps,
                ssim: quality.ssim,
                ffmpeg_ssim: ffmpeg.ssim,
                psnr_db: quality.psnr,
                ffmpeg_psnr_db: ffmpeg.psnr,
            })
        });
        Ok(reports.collect())
    }
}

impl Round {
    /// Otherwise nothing that follows means anything.
    fn same_frames(&self) -> anyhow::Result<()> {
        let sides = [self.ours, self.segment, self.stream].map(|side| (side.source_frames, side.encoded_frames));
        let [ours, segment, stream] = sides.map(|(_, encoded)| encoded);
        if sides.iter().any(|side| *side != sides[0]) {
            bail!("streamflow encoded {ours} frames, ffmpeg per segment {segment}, ffmpeg over the clip {stream}");
        }
        Ok(())
    }
}

impl Side {
    fn of(rounds: &[Round], side: fn(&Round) -> Measured) -> Self {
        let of = |figure: fn(Measured) -> f64| median(rounds.iter().map(|round| figure(side(round))).collect());
        Self {
            frames_per_second: of(|run| run.frames_per_second),
            wall_s: of(|run| run.wall_s),
            cpu_s: of(|run| run.cpu_s),
            cpu_ms_per_frame: of(|run| run.cpu_s * 1e3 / run.source_frames.max(1) as f64),
            peak_mib: of(|run| run.peak_mib),
        }
    }
}
