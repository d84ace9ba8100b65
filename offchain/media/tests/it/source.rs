use std::time::Duration;

use streamflow_media::{MediaError, SourceSettings, inspect, play};

use crate::clip;

#[test]
fn clip_is_looped_into_whole_segments() {
    let segments = clip::segments();
    let frames: Vec<_> = segments.iter().map(|segment| segment.frames).collect();
    assert_eq!(frames, [50, 50, 50, 50, 25]);
    for (index, segment) in segments.iter().enumerate() {
        assert_eq!(segment.seq, index as u64);
        assert_eq!(segment.start_pts, 126_000 + 180_000 * index as i64);
        assert_eq!(segment.duration, Duration::from_millis(if index == 4 { 1000 } else { 2000 }));
        let seen = inspect(&segment.bytes).unwrap();
        assert_eq!((seen.frames, seen.decode_errors, seen.info.starts_with_idr), (segment.frames, 0, true));
        assert_eq!((seen.info.width, seen.info.height, seen.info.start_pts), (1280, 720, segment.start_pts));
        assert_eq!(seen.info.duration, segment.duration);
        assert!(seen.info.has_audio());
    }
}

#[test]
fn loops_join_without_a_gap_in_picture_or_sound() {
    let joined: Vec<u8> = clip::segments().iter().flat_map(|segment| segment.bytes.to_vec()).collect();
    let mut shown = clip::times(&joined, "v", "pts");
    shown.sort_unstable();
    assert_eq!(shown, (0..225).map(|frame| 126_000 + frame * 3600).collect::<Vec<_>>());
    assert!(clip::times(&joined, "v", "dts").iter().is_sorted_by(|a, b| a < b));
    let heard = clip::times(&joined, "a", "pts");
    let frame = 1024 * 90_000 / 48_000;
    assert!(heard.windows(2).all(|pair| (pair[1] - pair[0] - frame).abs() <= 1), "sound has a gap");
    // Sound ends with the picture, give or take one of its frames.
    assert!((heard.last().unwrap() + frame - (126_000 + 225 * 3600)).abs() <= frame);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("joined.ts");
    std::fs::write(&file, joined).unwrap();
    assert_eq!(clip::complaints(&file), "");
}

#[test]
fn only_the_first_frame_of_a_segment_is_a_key_frame() {
    for segment in clip::segments() {
        let flags = clip::probe_rows(&segment.bytes, "v", &["-show_entries", "packet=flags"]);
        let keys: Vec<_> = flags.iter().enumerate().filter(|(_, f)| f.contains('K')).map(|(index, _)| index).collect();
        assert_eq!(keys, [0]);
    }
}

#[test]
fn silent_file_of_another_rate_plays() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("silent.mp4");
    let args = ["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=30000/1001:d=1", "-c:v", "libx264"];
    clip::output("ffmpeg", &[&args[..], &[file.to_str().unwrap()]].concat());
    let segments = clip::play_all(&SourceSettings::new(file, Duration::from_secs(3)));
    assert_eq!(segments.iter().map(|segment| segment.frames).collect::<Vec<_>>(), [60, 30]);
    let shown = |index: usize| inspect(&segments[index].bytes).unwrap().info.duration;
    assert_eq!(shown(0), segments[0].duration);
}

#[test]
fn files_that_cannot_be_played_say_so() {
    let refused = |path: &std::path::Path| {
        play(&SourceSettings::new(path, Duration::from_secs(1)), &mut |_| panic!("no segment")).unwrap_err()
    };
    assert!(matches!(refused("/nonexistent.mp4".as_ref()), MediaError::Source { .. }));
    assert_eq!(refused(env!("CARGO_MANIFEST_PATH").as_ref()), MediaError::NoVideoStream);
    assert!(matches!(refused("http://127.0.0.1:9/x.mp4".as_ref()), MediaError::Source { .. }));
    let dir = tempfile::tempdir().unwrap();
    let sound = dir.path().join("sound.mp4");
    let args = ["-v", "error", "-f", "lavfi", "-i", "sine=d=1", "-c:a", "aac", sound.to_str().unwrap()];
    clip::output("ffmpeg", &args);
    assert_eq!(refused(&sound), MediaError::NoVideoStream);
}
