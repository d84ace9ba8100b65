//! Segments of the fixture clip and what they are transcoded to.
use std::{collections::HashMap, ops::ControlFlow, path::PathBuf, process::Command, sync::OnceLock, time::Duration};

use bytes::Bytes;
use streamflow_media::{SourceSegment, SourceSettings, TranscodeSettings, play, transcode};
use streamflow_types::Profile;

pub(crate) fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures/bbb-720p25-5s.mp4")
}

/// Two renditions, small enough to be made often.
pub(crate) fn profiles() -> Vec<Profile> {
    vec![Profile::new("180p", 320, 180, 200_000).unwrap(), Profile::new("90p", 160, 90, 100_000).unwrap()]
}

/// Six seconds of the clip; encoded once for all tests.
pub(crate) fn segments() -> &'static [SourceSegment] {
    static SEGMENTS: OnceLock<Vec<SourceSegment>> = OnceLock::new();
    SEGMENTS.get_or_init(|| {
        let mut segments = Vec::new();
        let settings =
            SourceSettings { preset: "ultrafast".into(), ..SourceSettings::new(path(), Duration::from_secs(6)) };
        play(&settings, &mut |segment| {
            segments.push(segment);
            ControlFlow::Continue(())
        })
        .unwrap();
        segments
    })
}

pub(crate) fn segment(index: usize) -> Bytes {
    segments()[index].bytes.clone()
}

/// A rendition as an orchestrator makes it.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) bytes: Bytes,
    pub(crate) pixels: u64,
}

/// Renditions of a segment; made once for all tests.
pub(crate) fn renditions(segment: &Bytes, profiles: &[Profile]) -> Vec<Made> {
    type Known = HashMap<(Bytes, Vec<Profile>), Vec<Made>>;
    static MADE: OnceLock<std::sync::Mutex<Known>> = OnceLock::new();
    let mut made = MADE.get_or_init(Default::default).lock().unwrap();
    made.entry((segment.clone(), profiles.to_vec()))
        .or_insert_with(|| {
            let done = transcode(segment, profiles, &TranscodeSettings::default()).unwrap();
            done.renditions.into_iter().map(|r| Made { bytes: r.bytes, pixels: r.pixels }).collect()
        })
        .clone()
}

/// Frames that ffprobe counts in a playlist or segment; panics when ffmpeg complains about it.
pub(crate) fn frames(file: &std::path::Path) -> u64 {
    let decoded = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(file)
        .args(["-map", "0", "-f", "null", "-"])
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&decoded.stderr);
    assert!(decoded.status.success() && complaints.is_empty(), "{}: {complaints}", file.display());
    let counted = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-select_streams", "v:0"])
        .args(["-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"])
        .arg(file)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&counted.stdout);
    text.lines().find_map(|line| line.trim_end_matches(',').parse().ok()).unwrap()
}
