//! Text of the playlists.
use std::{fmt::Write, time::Duration};

use crate::FrameRate;

/// One rendition in a master playlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Its media playlist, relative to the master.
    pub uri: String,
    /// Highest bit rate of any segment, sound and container included, in bits per second.
    pub bandwidth: u64,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames per second.
    pub fps: FrameRate,
    /// Codecs (RFC 6381); left out when empty.
    pub codecs: String,
}

/// The master playlist, best rendition first.
pub fn master_playlist(variants: &[Variant]) -> String {
    let mut sorted: Vec<_> = variants.iter().collect();
    sorted.sort_by_key(|variant| std::cmp::Reverse(variant.bandwidth));
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    for Variant { uri, bandwidth, width, height, fps, codecs } in sorted {
        let rate = fps.as_f64();
        line(
            &mut text,
            format_args!("#EXT-X-STREAM-INF:BANDWIDTH={bandwidth},RESOLUTION={width}x{height},FRAME-RATE={rate:.3}"),
        );
        if !codecs.is_empty() {
            text.insert_str(text.len() - 1, &format!(",CODECS=\"{codecs}\""));
        }
        line(&mut text, format_args!("{uri}"));
    }
    text
}

/// One segment in a media playlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) uri: String,
    pub(super) duration: Duration,
    /// A segment between the one before and this one is missing.
    pub(super) after_gap: bool,
    /// What decoders need first, where segments are MP4.
    pub(super) init: Option<String>,
}

/// Which segments a playlist shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// The last so many, while the stream runs.
    Live(usize),
    /// All so far, while the stream runs.
    Event,
    /// All, and an end.
    Ended,
}

pub(super) fn media_playlist(entries: &[Entry], target: Duration, which: Shown) -> String {
    let first = match which {
        Shown::Live(window) => entries.len().saturating_sub(window),
        Shown::Event | Shown::Ended => 0,
    };
    let (gone, shown) = entries.split_at(first);
    let longest = entries.iter().map(|entry| entry.duration).fold(target, Duration::max);
    // A player takes the target rounded up as the longest segment it may meet.
    let target = longest.as_secs() + u64::from(longest.subsec_nanos() > 0);
    let gaps = gone.iter().filter(|entry| entry.after_gap).count();
    let version = if entries.iter().any(|entry| entry.init.is_some()) { 7 } else { 6 };
    let mut text =
        format!("#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:{target}\n#EXT-X-MEDIA-SEQUENCE:{first}\n");
    if entries.iter().any(|entry| entry.after_gap) {
        line(&mut text, format_args!("#EXT-X-DISCONTINUITY-SEQUENCE:{gaps}"));
    }
    match which {
        Shown::Live(_) => {}
        Shown::Event => text.push_str("#EXT-X-PLAYLIST-TYPE:EVENT\n"),
        Shown::Ended => text.push_str("#EXT-X-PLAYLIST-TYPE:VOD\n"),
    }
    text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    let mut known: Option<&String> = None;
    for Entry { uri, duration, after_gap, init } in shown {
        // Another encoder's pictures, or a hole in time.
        if *after_gap || (known.is_some() && init.as_ref() != known) {
            text.push_str("#EXT-X-DISCONTINUITY\n");
        }
        if let Some(init) = init.as_ref().filter(|init| Some(*init) != known) {
            line(&mut text, format_args!("#EXT-X-MAP:URI=\"{init}\""));
        }
        known = init.as_ref();
        line(&mut text, format_args!("#EXTINF:{:.6},\n{uri}", duration.as_secs_f64()));
    }
    if which == Shown::Ended {
        text.push_str("#EXT-X-ENDLIST\n");
    }
    text
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{content}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(count: usize) -> Vec<Entry> {
        let entry =
            |i| Entry { uri: format!("{i}.ts"), duration: Duration::from_millis(2000), after_gap: false, init: None };
        (0..count).map(entry).collect()
    }

    #[test]
    fn live_window_slides_and_the_end_shows_everything() {
        let live = media_playlist(&entries(8), Duration::from_secs(2), Shown::Live(6));
        assert_eq!(
            live,
            "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:2\n#EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXTINF:2.000000,\n2.ts\n#EXTINF:2.000000,\n3.ts\n#EXTINF:2.000000,\n4.ts\n#EXTINF:2.000000,\n5.ts\n\
             #EXTINF:2.000000,\n6.ts\n#EXTINF:2.000000,\n7.ts\n"
        );
        let ended = media_playlist(&entries(8), Duration::from_secs(2), Shown::Ended);
        assert!(ended.contains("#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n"));
        let event = media_playlist(&entries(8), Duration::from_secs(2), Shown::Event);
        assert!(event.contains("#EXT-X-PLAYLIST-TYPE:EVENT\n") && !event.contains("ENDLIST"));
        assert_eq!((event.matches("#EXTINF").count(), ended.matches("#EXTINF").count()), (8, 8));
        assert!(ended.ends_with("#EXT-X-ENDLIST\n"));
    }

    #[test]
    fn gaps_are_counted_when_they_leave_the_window() {
        let mut entries = entries(8);
        (entries[1].after_gap, entries[5].after_gap) = (true, true);
        let live = media_playlist(&entries, Duration::from_secs(2), Shown::Live(6));
        assert!(live.contains("#EXT-X-DISCONTINUITY-SEQUENCE:1\n"));
        assert!(live.contains("#EXT-X-DISCONTINUITY\n#EXTINF:2.000000,\n5.ts\n"));
    }

    #[test]
    fn mp4_segments_name_what_decoders_need_first() {
        let mut entries = entries(8);
        for (index, entry) in entries.iter_mut().enumerate() {
            entry.init = Some(if index < 5 { "init-0.mp4" } else { "init-1.mp4" }.into());
        }
        let live = media_playlist(&entries, Duration::from_secs(2), Shown::Live(6));
        assert!(live.starts_with("#EXTM3U\n#EXT-X-VERSION:7\n"), "{live}");
        assert!(live.contains("#EXT-X-MAP:URI=\"init-0.mp4\"\n#EXTINF:2.000000,\n2.ts\n"), "{live}");
        let change = "#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"init-1.mp4\"\n#EXTINF:2.000000,\n5.ts\n";
        assert!(live.contains(change) && live.matches("EXT-X-MAP").count() == 2, "{live}");
    }

    #[test]
    fn target_covers_the_longest_segment() {
        let mut entries = entries(2);
        entries[0].duration = Duration::from_millis(2002);
        assert!(media_playlist(&entries, Duration::from_secs(2), Shown::Live(6)).contains("TARGETDURATION:3\n"));
    }

    #[test]
    fn master_lists_the_best_rendition_first() {
        let variant = |uri: &str, bandwidth, codecs: &str| Variant {
            uri: uri.into(),
            bandwidth,
            width: 640,
            height: 360,
            fps: FrameRate::new(30_000, 1001),
            codecs: codecs.into(),
        };
        let text = master_playlist(&[variant("a", 1, ""), variant("b", 2, "avc1.64001f,mp4a.40.2")]);
        let lines: Vec<_> = text.lines().skip(3).collect();
        assert_eq!(
            lines,
            [
                "#EXT-X-STREAM-INF:BANDWIDTH=2,RESOLUTION=640x360,FRAME-RATE=29.970,CODECS=\"avc1.64001f,mp4a.40.2\"",
                "b",
                "#EXT-X-STREAM-INF:BANDWIDTH=1,RESOLUTION=640x360,FRAME-RATE=29.970",
                "a",
            ]
        );
    }
}
