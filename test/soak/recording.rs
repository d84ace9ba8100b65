//! The stream as it was recorded: without a gap, and every segment of every rendition decodes.
use std::{fmt, fs, path::Path, time::Duration};

use bytes::Bytes;
use streamflow_media::{TICKS_PER_SECOND, inspect};

/// Between the end of a segment and the first frame of the next, in ticks: two frames.
const SEAM: i64 = 2 * TICKS_PER_SECOND / 25;
/// What the encoder may have begun to send when it was ended, and the rest of the last frames.
const CUT_OFF: Duration = Duration::from_millis(1_500);

#[derive(Debug)]
pub(crate) struct Entry {
    number: u64,
    micros: u64,
    file: String,
}

/// What was found to be right.
#[derive(Debug)]
pub(crate) struct Recorded {
    segments: usize,
    renditions: usize,
    frames: u64,
    duration: Duration,
}

impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segments, renditions, frames, duration } = self;
        write!(f, "{segments} segments of {duration:?} in {renditions} renditions, {frames} frames decoded")
    }
}

/// The segments of a media playlist that has ended and tells of no gap.
pub(crate) fn entries(playlist: &str) -> Vec<Entry> {
    for tag in ["#EXT-X-DISCONTINUITY", "#EXT-X-GAP"] {
        assert!(!playlist.contains(tag), "{playlist}");
    }
    assert!(playlist.contains("#EXT-X-ENDLIST"), "{playlist}");
    let lines: Vec<_> = playlist.lines().collect();
    let entries = lines.windows(2).filter_map(|pair| {
        let seconds = pair[0].strip_prefix("#EXTINF:")?.trim_end_matches(',');
        let (whole, part) = seconds.split_once('.').unwrap();
        let micros = whole.parse::<u64>().unwrap() * 1_000_000 + part.parse::<u64>().unwrap();
        let file = pair[1].rsplit('/').next().unwrap().to_owned();
        Some(Entry { number: file.strip_suffix(".ts").unwrap().parse().unwrap(), micros, file })
    });
    entries.collect()
}

/// Whether these are `count` segments from `first` on, none left out and none twice.
fn is_whole(list: &[Entry], first: u64, count: usize) -> bool {
    list.iter().map(|entry| entry.number).eq(first..first + count as u64)
}

/// `playlists` are those of the source and of the renditions with their sizes, the source first; the segments lie in `dir`.
pub(crate) fn check(dir: &Path, playlists: &[(&str, String, (u32, u32))], sent: Duration) -> Recorded {
    let lists: Vec<_> = playlists.iter().map(|(_, text, _)| entries(text)).collect();
    let source = &lists[0];
    let first = source[0].number;
    for (list, (name, text, _)) in lists.iter().zip(playlists) {
        assert!(is_whole(list, first, source.len()), "{name}:\n{text}");
        assert!(list.iter().zip(source).all(|(one, other)| one.micros == other.micros), "{name}:\n{text}");
    }
    let duration = Duration::from_micros(source.iter().map(|entry| entry.micros).sum());
    assert!(duration.abs_diff(sent) <= CUT_OFF, "{duration:?} were recorded, {sent:?} sent");
    let mut decoded = 0;
    let mut in_source = Vec::new();
    for (list, (name, _, size)) in lists.iter().zip(playlists) {
        let mut end: Option<i64> = None;
        for (index, entry) in list.iter().enumerate() {
            let segment = Bytes::from(fs::read(dir.join(name).join(&entry.file)).unwrap());
            let found = inspect(&segment).unwrap_or_else(|error| panic!("{name} {}: {error}", entry.number));
            let what = format!("{name} {}: {found:?}", entry.number);
            assert_eq!(found.decode_errors, 0, "{what}");
            assert_eq!((found.info.width, found.info.height), *size, "{what}");
            assert!(found.info.starts_with_idr, "{what}");
            if in_source.len() == index {
                in_source.push(found.frames);
            }
            assert_eq!(found.frames, in_source[index], "{what}");
            let seam = end.map_or(0, |end| found.info.start_pts - end);
            assert!(seam.abs() <= SEAM, "{seam} ticks between segments: {what}");
            let ticks = found.info.duration.as_micros() as i64 * TICKS_PER_SECOND / 1_000_000;
            end = Some(found.info.start_pts + ticks);
            decoded += found.frames;
        }
    }
    Recorded { segments: source.len(), renditions: lists.len(), frames: decoded, duration }
}

#[test]
fn a_segment_that_is_left_out_is_missed() {
    let text = "#EXTINF:2.000000,\na/3.ts\n#EXTINF:1.040000,\na/5.ts\n#EXT-X-ENDLIST\n";
    let found: Vec<_> = entries(text).into_iter().map(|entry| (entry.number, entry.micros)).collect();
    assert_eq!(found, [(3, 2_000_000), (5, 1_040_000)]);
    assert!(!is_whole(&entries(text), 3, 2) && !is_whole(&entries(text), 3, 3));
    assert!(is_whole(&entries(&text.replace("a/5", "a/4")), 3, 2));
}

#[test]
#[should_panic(expected = "EXT-X-DISCONTINUITY")]
fn a_gap_that_players_are_told_of_is_seen() {
    entries("#EXTINF:2.000000,\n0.ts\n#EXT-X-DISCONTINUITY\n#EXTINF:2.000000,\n2.ts\n#EXT-X-ENDLIST\n");
}
