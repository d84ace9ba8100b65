//! What the benchmark prints.
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{
    Bench, figures::Figures, latency::LatencyReport, machine::Machine, sessions::SessionsReport, soak::SoakReport,
    versus::PresetReport,
};
use crate::{
    cli::SessionPacing,
    output::{Report, Table},
};

#[derive(Debug, Serialize)]
pub(super) struct TranscodeReport {
    /// With the comparison.
    #[serde(flatten)]
    pub(super) figures: Option<Figures>,
    machine: Machine,
    input: PathBuf,
    seconds: f64,
    segments: usize,
    source_frames: u64,
    renditions: Vec<String>,
    /// Segments of a stream in the workers at a time, if it was told.
    in_flight: Option<usize>,
    rounds: u32,
    pub(super) presets: Vec<PresetReport>,
    pub(super) latency: Option<LatencyReport>,
    pub(super) sessions: Vec<SessionsReport>,
    pub(super) soaks: Vec<SoakReport>,
}

impl TranscodeReport {
    pub(super) fn new(bench: &Bench<'_>, machine: Machine, input: &Path) -> Self {
        Self {
            figures: None,
            machine,
            input: input.to_owned(),
            seconds: bench.clip.duration().as_secs_f64(),
            segments: bench.clip.segments().len(),
            source_frames: bench.clip.frames(),
            renditions: bench.ladder.iter().map(ToString::to_string).collect(),
            in_flight: bench.in_flight,
            rounds: bench.rounds,
            presets: Vec::new(),
            latency: None,
            sessions: Vec::new(),
            soaks: Vec::new(),
        }
    }
}

impl Report for TranscodeReport {
    fn text(&self) -> String {
        let mut parts = vec![format!(
            "{:.0} s of {} in {} segments: {}\n{}",
            self.seconds,
            self.input.display(),
            self.segments,
            self.renditions.join(", "),
            self.machine,
        )];
        if let Some(figures) = &self.figures {
            parts.push(format!("medians of {} rounds, the worse of all presets\n\n{}", self.rounds, figures.table()));
        }
        for preset in &self.presets {
            parts.push(format!("preset {}\n\n{}\n\n{}", preset.preset, sides(preset), renditions(preset)));
        }
        parts.extend(self.sessions.iter().map(sessions));
        parts.extend(self.soaks.iter().map(soak));
        parts.join("\n\n")
    }
}

fn sides(preset: &PresetReport) -> Table {
    let mut table = Table::new(["", "frames/s", "wall s", "CPU s", "CPU ms/frame", "peak MiB"]);
    let sides = [
        ("streamflow", preset.streamflow),
        ("one ffmpeg per segment", preset.ffmpeg_segment),
        ("one long ffmpeg", preset.ffmpeg_stream),
    ];
    for (name, side) in sides {
        table.row([
            name.to_owned(),
            format!("{:.1}", side.frames_per_second),
            format!("{:.2}", side.wall_s),
            format!("{:.2}", side.cpu_s),
            format!("{:.2}", side.cpu_ms_per_frame),
            format!("{:.0}", side.peak_mib),
        ]);
    }
    table
}

fn renditions(preset: &PresetReport) -> Table {
    let mut table = Table::new(["", "Mb/s", "ffmpeg", "SSIM", "ffmpeg", "PSNR dB", "ffmpeg"]);
    for made in &preset.renditions {
        table.row([
            made.name.clone(),
            format!("{:.3}", made.bitrate_bps / 1e6),
            format!("{:.3}", made.ffmpeg_bitrate_bps / 1e6),
            format!("{:.5}", made.ssim),
            format!("{:.5}", made.ffmpeg_ssim),
            format!("{:.2}", made.psnr_db),
            format!("{:.2}", made.ffmpeg_psnr_db),
        ]);
    }
    table
}

fn sessions(report: &SessionsReport) -> String {
    let mut table =
        Table::new(["n", "fps", "CPU s", "MiB", "p50", "p95", "p99", "first", "Mb/s", "PSNR", "SSIM", "live"]);
    for count in &report.counts {
        let whole = |figure: f64| format!("{figure:.0}");
        let known = |figure: Option<f64>, digits| figure.map_or_else(|| "-".to_owned(), |at| format!("{at:.digits$}"));
        table.row([
            count.sessions.to_string(),
            whole(count.frames_per_second),
            format!("{:.1}", count.cpu_s),
            whole(count.peak_mib),
            whole(count.p50_ms),
            whole(count.p95_ms),
            whole(count.p99_ms),
            whole(count.first_byte_ms),
            known(count.bitrate_bps.map(|bits| bits / 1e6), 2),
            known(count.psnr_db, 1),
            known(count.ssim, 4),
            match (report.pacing, count.real_time) {
                (SessionPacing::FlatOut, _) => "-",
                (_, true) => "yes",
                (_, false) => "no",
            }
            .to_owned(),
        ]);
    }
    let found = match report.realtime_sessions {
        None => "each session sends the next segment when the last is done".to_owned(),
        Some(most) if most == report.limit => {
            format!("{most} sessions in real time, and perhaps more: raise --sessions")
        }
        Some(most) => format!("{most} sessions in real time"),
    };
    format!("sessions, preset {}; times in ms, quality of the worst rendition\n\n{table}\n\n{found}", report.preset)
}

fn soak(report: &SoakReport) -> String {
    format!(
        "soak, preset {}: {} segments of 320x180, 5 to 50 frames, in {:.0} s\nworkers had {:.1} MiB early and {:.1} MiB late: \
         {:.3} (must be within 0.05 of 1)",
        report.preset, report.segments, report.wall_s, report.early_mib, report.late_mib, report.rss_ratio
    )
}
