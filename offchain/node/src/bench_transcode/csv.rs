//! Every single measurement, for a spreadsheet.
use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
};

use anyhow::Context as _;

/// Names of the columns, in the order of [`Row`].
const HEADINGS: &str = "work,preset,sessions,round,source_frames,encoded_frames,frames_per_second,wall_s,cpu_s,\
peak_mib,first_byte_ms,p50_ms,p95_ms,p99_ms,bitrate_bps,psnr_db,ssim";

/// One measurement; what it has no figure for stays empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    /// Such as `ffmpeg_stream`.
    pub(super) work: &'static str,
    pub(super) preset: String,
    pub(super) sessions: Option<usize>,
    pub(super) round: Option<u32>,
    pub(super) source_frames: Option<u64>,
    pub(super) encoded_frames: Option<u64>,
    pub(super) frames_per_second: Option<f64>,
    pub(super) wall_s: Option<f64>,
    pub(super) cpu_s: Option<f64>,
    pub(super) peak_mib: Option<f64>,
    pub(super) first_byte_ms: Option<f64>,
    pub(super) p50_ms: Option<f64>,
    pub(super) p95_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    /// All renditions of a session together.
    pub(super) bitrate_bps: Option<f64>,
    /// Of the rendition with the lowest.
    pub(super) psnr_db: Option<f64>,
    /// Of the rendition with the lowest.
    pub(super) ssim: Option<f64>,
}

impl Row {
    fn line(&self) -> String {
        fn cell(value: Option<impl ToString>) -> String {
            value.map(|value| value.to_string()).unwrap_or_default()
        }
        let figure = |value: Option<f64>| cell(value.map(|value| format!("{value:.4}")));
        [
            self.work.to_owned(),
            self.preset.clone(),
            cell(self.sessions),
            cell(self.round),
            cell(self.source_frames),
            cell(self.encoded_frames),
            figure(self.frames_per_second),
            figure(self.wall_s),
            figure(self.cpu_s),
            figure(self.peak_mib),
            figure(self.first_byte_ms),
            figure(self.p50_ms),
            figure(self.p95_ms),
            figure(self.p99_ms),
            figure(self.bitrate_bps),
            figure(self.psnr_db),
            figure(self.ssim),
        ]
        .join(",")
    }
}

/// Empties or makes the file: one that cannot be written is found before anything is measured.
pub(super) fn create(path: &Path) -> anyhow::Result<File> {
    File::create(path).with_context(|| format!("cannot write --csv {}", path.display()))
}

pub(super) fn write(file: File, rows: &[Row]) -> anyhow::Result<()> {
    let mut file = BufWriter::new(file);
    writeln!(file, "{HEADINGS}")?;
    rows.iter().try_for_each(|row| writeln!(file, "{}", row.line()))?;
    file.flush().context("cannot write the file of --csv")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_a_cell_for_each_heading() {
        let row = Row { work: "sessions", preset: "medium".into(), ssim: Some(0.98), ..Row::default() };
        assert_eq!(row.line().split(',').count(), HEADINGS.split(',').count());
        assert!(row.line().starts_with("sessions,medium,,") && row.line().ends_with(",0.9800"));
    }
}
