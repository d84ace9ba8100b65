//! The figures that are promised: what must be reached, what is aimed at, what was seen.
use serde::Serialize;

use super::{latency::LatencyReport, versus::PresetReport};
use crate::output::Table;

/// Each is the worse of all presets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Figures {
    /// Frames per second over those of one ffmpeg process for each segment.
    throughput_ratio_segment: f64,
    /// Frames per second over those of one ffmpeg process over the whole clip.
    throughput_ratio_stream: f64,
    /// CPU seconds for each frame over those of one ffmpeg process over the whole clip.
    cpu_ratio: f64,
    /// SSIM less that of one ffmpeg process for each segment, of the rendition that differs most.
    ssim_delta: f64,
    /// Bits over those of one ffmpeg process for each segment, of the rendition that differs most.
    bitrate_ratio: f64,
    /// First picture of a rendition after the first source byte, live, in milliseconds.
    first_byte_ms: f64,
    /// Last byte of the last rendition after the last source byte, live, in milliseconds.
    last_byte_ms: f64,
    /// First picture after the worker was killed, in milliseconds.
    restart_ms: f64,
    /// Peak memory of the workers over that of one ffmpeg process over the whole clip.
    rss_ratio: f64,
}

/// What a figure has to be.
#[derive(Clone, Copy, Debug)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
    /// As far from the first at most as the second.
    Around(f64, f64),
}

impl Bound {
    fn holds(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(least) => figure >= least,
            Self::AtMost(most) => figure <= most,
            Self::Below(end) => figure < end,
            Self::Around(middle, distance) => (figure - middle).abs() <= distance,
        }
    }

    fn show(self, digits: usize) -> String {
        match self {
            Self::AtLeast(least) => format!(">= {least:.digits$}"),
            Self::AtMost(most) => format!("<= {most:.digits$}"),
            Self::Below(end) => format!("< {end:.digits$}"),
            Self::Around(middle, distance) => format!("{middle:.digits$} ±{distance}"),
        }
    }
}

/// One line of the table.
struct Line {
    name: &'static str,
    must: Bound,
    aim: Option<Bound>,
    seen: f64,
    /// After the point.
    digits: usize,
}

impl Line {
    fn verdict(&self) -> &'static str {
        if !self.must.holds(self.seen) {
            "missed"
        } else if self.aim.is_some_and(|aim| aim.holds(self.seen)) {
            "aim"
        } else {
            "met"
        }
    }
}

impl Figures {
    /// The worse of all presets; `None` without any.
    pub(super) fn worst(presets: &[PresetReport], latency: &LatencyReport) -> Option<Self> {
        let least = |figure: fn(&PresetReport) -> f64| presets.iter().map(figure).reduce(f64::min);
        let most = |figure: fn(&PresetReport) -> f64| presets.iter().map(figure).reduce(f64::max);
        let renditions = || presets.iter().flat_map(|preset| &preset.renditions);
        let ssim = renditions().map(|made| made.ssim - made.ffmpeg_ssim);
        let bitrate = renditions().map(|made| made.bitrate_bps / made.ffmpeg_bitrate_bps);
        Some(Self {
            throughput_ratio_segment: least(|preset| preset.throughput_ratio_segment)?,
            throughput_ratio_stream: least(|preset| preset.throughput_ratio_stream)?,
            cpu_ratio: most(|preset| preset.cpu_ratio)?,
            ssim_delta: furthest_from(0.0, ssim)?,
            bitrate_ratio: furthest_from(1.0, bitrate)?,
            first_byte_ms: latency.first_byte_ms,
            last_byte_ms: latency.last_byte_ms,
            restart_ms: most(|preset| preset.restart_ms)?,
            rss_ratio: most(|preset| preset.rss_ratio)?,
        })
    }

    fn lines(&self) -> [Line; 9] {
        use Bound::{Around, AtLeast, AtMost, Below};
        let line = |name, must, aim, seen, digits| Line { name, must, aim, seen, digits };
        [
            line(
                "frames/s over ffmpeg per segment",
                AtLeast(1.18),
                Some(AtLeast(1.24)),
                self.throughput_ratio_segment,
                3,
            ),
            line("frames/s over one long ffmpeg", AtLeast(1.0), Some(AtLeast(1.05)), self.throughput_ratio_stream, 3),
            line("CPU s/frame over one long ffmpeg", AtMost(1.03), Some(AtMost(0.97)), self.cpu_ratio, 3),
            line("SSIM less ffmpeg per segment", Around(0.0, 0.002), None, self.ssim_delta, 4),
            line("bits over ffmpeg per segment", Around(1.0, 0.02), None, self.bitrate_ratio, 3),
            line("first byte, live, ms", Below(500.0), Some(Below(200.0)), self.first_byte_ms, 0),
            line("last byte, live, ms", Below(300.0), Some(Below(100.0)), self.last_byte_ms, 0),
            line("restart after a crash, ms", Below(300.0), Some(Below(100.0)), self.restart_ms, 0),
            line("peak memory over one long ffmpeg", AtMost(0.7), Some(AtMost(0.45)), self.rss_ratio, 3),
        ]
    }

    pub(super) fn table(&self) -> Table {
        let mut table = Table::new(["", "must", "aim", "seen", ""]);
        for line in self.lines() {
            table.row([
                line.name.to_owned(),
                line.must.show(line.digits.min(2)),
                line.aim.map_or_else(String::new, |aim| aim.show(line.digits.min(2))),
                format!("{:.*}", line.digits, line.seen),
                line.verdict().to_owned(),
            ]);
        }
        table
    }
}

fn furthest_from(middle: f64, figures: impl Iterator<Item = f64>) -> Option<f64> {
    figures.max_by(|one, other| (one - middle).abs().total_cmp(&(other - middle).abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_says_what_is_reached_and_lines_fit_a_terminal() {
        let figures = Figures {
            throughput_ratio_segment: 1.2,
            throughput_ratio_stream: 0.999,
            cpu_ratio: 0.97,
            ssim_delta: -0.0021,
            bitrate_ratio: 0.981,
            first_byte_ms: 199.9,
            last_byte_ms: 299.9,
            restart_ms: 300.0,
            rss_ratio: 0.7,
        };
        let verdicts = figures.lines().map(|line| line.verdict());
        assert_eq!(verdicts, ["met", "missed", "aim", "missed", "met", "aim", "met", "missed", "met"]);
        let text = figures.table().to_string();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn the_worst_is_the_one_that_is_furthest_off() {
        assert_eq!(furthest_from(1.0, [1.01, 0.985, 1.0].into_iter()), Some(0.985));
        assert_eq!(furthest_from(0.0, [].into_iter()), None);
    }
}
