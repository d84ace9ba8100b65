//! Segments of the fixture clip, and what ffprobe and ffmpeg say of a file.
use std::{ops::ControlFlow, path::PathBuf, process::Command, sync::OnceLock, time::Duration};

use bytes::Bytes;
use streamflow_media::{SourceSegment, SourceSettings, play};

pub(crate) fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures/bbb-720p25-5s.mp4")
}

/// Nine seconds of the clip, looped and cut; encoded once for all tests.
pub(crate) fn segments() -> &'static [SourceSegment] {
    static SEGMENTS: OnceLock<Vec<SourceSegment>> = OnceLock::new();
    SEGMENTS.get_or_init(|| play_all(&SourceSettings::new(path(), Duration::from_secs(9))))
}

pub(crate) fn play_all(settings: &SourceSettings) -> Vec<SourceSegment> {
    let mut segments = Vec::new();
    play(settings, &mut |segment| {
        segments.push(segment);
        ControlFlow::Continue(())
    })
    .unwrap();
    segments
}

pub(crate) fn segment(index: usize) -> Bytes {
    segments()[index].bytes.clone()
}

/// Output of a program that must succeed.
pub(crate) fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What `ffmpeg -v warning` complains about while decoding everything in a file.
pub(crate) fn complaints(file: &std::path::Path) -> String {
    let args = ["-nostdin", "-v", "warning", "-i"];
    let output = Command::new("ffmpeg").args(args).arg(file).args(["-f", "null", "-"]).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

/// Lines of one ffprobe table.
pub(crate) fn probe_rows(bytes: &[u8], stream: &str, args: &[&str]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("probe.ts");
    std::fs::write(&file, bytes).unwrap();
    let mut all = vec!["-v", "error", "-select_streams", stream, "-of", "csv=p=0"];
    all.extend(args);
    all.push(file.to_str().unwrap());
    output("ffprobe", &all)
        .lines()
        .map(|line| line.trim_end_matches(',').to_owned())
        .filter(|l| !l.is_empty())
        .collect()
}

/// Times of the packets of a stream.
pub(crate) fn times(bytes: &[u8], stream: &str, what: &str) -> Vec<i64> {
    let rows = probe_rows(bytes, stream, &["-show_entries", &format!("packet={what}")]);
    rows.iter().map(|row| row.parse().unwrap()).collect()
}

/// A segment made by the ffmpeg program: `args` stand between `ffmpeg` and the output.
pub(crate) fn made_by_ffmpeg(args: &[&str]) -> Bytes {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("made.ts");
    let mut all = vec!["-nostdin", "-v", "error", "-y"];
    all.extend(args);
    all.extend(["-f", "mpegts", file.to_str().unwrap()]);
    output("ffmpeg", &all);
    std::fs::read(file).unwrap().into()
}
