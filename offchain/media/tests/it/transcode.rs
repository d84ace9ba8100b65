use std::collections::BTreeSet;

use bytes::Bytes;
use streamflow_media::{
    FrameRate, TranscodeSettings, devnet_ladder,
    hls::{HlsConfig, HlsWriter},
    inspect, probe, ticks_to_duration, transcode,
};
use streamflow_types::{Container, Gop, H264Profile, Profile};

use crate::clip;

fn settings() -> TranscodeSettings {
    TranscodeSettings { preset: "ultrafast".into(), encoder_threads: 1, ..TranscodeSettings::default() }
}

fn small(name: &str) -> Profile {
    Profile { gop: Gop::Millis(1000), ..Profile::new(name, 320, 180, 300_000).unwrap() }
}

#[test]
fn every_frame_in_comes_out_at_its_time() {
    let source = clip::segment(1);
    let made = transcode(&source, &devnet_ladder(), &TranscodeSettings::default()).unwrap();
    assert_eq!((made.source.frames, made.source.width, made.source.decode_errors), (50, 1280, 0));
    let shown = |bytes: &[u8]| clip::times(bytes, "v", "pts").into_iter().collect::<BTreeSet<_>>();
    for (rendition, size) in made.renditions.iter().zip([(1280, 720), (640, 360), (426, 240)]) {
        assert_eq!((rendition.width, rendition.height, rendition.frames), (size.0, size.1, 50));
        assert_eq!(rendition.pixels, 50 * u64::from(size.0 * size.1));
        assert_eq!(shown(&rendition.bytes), shown(&source), "{}", rendition.name);
        let seen = inspect(&rendition.bytes).unwrap();
        assert_eq!((seen.frames, seen.pixels, seen.decode_errors), (50, rendition.pixels, 0));
        assert!(seen.info.starts_with_idr);
        assert_eq!(seen.info.codecs, rendition.codecs);
        assert!(
            rendition.codecs.starts_with("avc1.6400") && rendition.codecs.ends_with(",mp4a.40.2"),
            "{}",
            rendition.codecs
        );
        // The bit rate is held: the buffer is one second.
        let bits = rendition.bytes.len() as u64 * 8 / 2;
        let asked = u64::from(devnet_ladder().iter().find(|p| p.name == rendition.name).unwrap().bitrate);
        assert!(bits < asked * 3 / 2 + 500_000, "{} makes {bits} bit/s", rendition.name);
    }
}

#[test]
fn sound_is_passed_through_byte_for_byte() {
    let source = clip::segment(0);
    let made = transcode(&source, &[small("a")], &settings()).unwrap();
    let hashes = |bytes: &[u8]| {
        clip::probe_rows(bytes, "a", &["-show_packets", "-show_data_hash", "MD5", "-show_entries", "packet=data_hash"])
    };
    assert!(hashes(&source).len() > 90);
    assert_eq!(hashes(&made.renditions[0].bytes), hashes(&source));
    let (before, after) = (clip::times(&source, "a", "pts"), clip::times(&made.renditions[0].bytes, "a", "pts"));
    assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() <= 1));
}

#[test]
fn silent_segment_has_silent_renditions() {
    let silent = clip::made_by_ffmpeg(&["-f", "lavfi", "-i", "testsrc2=s=640x360:r=25:d=1", "-c:v", "libx264"]);
    assert!(!probe(&silent).unwrap().has_audio());
    let made = transcode(&silent, &[small("a")], &settings()).unwrap();
    assert!(!probe(&made.renditions[0].bytes).unwrap().has_audio());
    assert_eq!(made.renditions[0].frames, 25);
}

#[test]
fn sound_that_begins_after_the_pictures_is_carried() {
    let args = ["-f", "lavfi", "-i", "testsrc2=s=160x90:r=25:d=2", "-itsoffset", "1", "-f", "lavfi", "-i", "sine=d=1"];
    let late = clip::made_by_ffmpeg(&[&args[..], &["-c:v", "libx264", "-c:a", "aac"]].concat());
    let heard = probe(&late).unwrap().audio_packets;
    for format in [Container::MpegTs, Container::Mp4] {
        let made = transcode(&late, &[Profile { format, ..small("a") }], &settings()).unwrap();
        let seen = probe(&made.renditions[0].bytes).unwrap();
        assert_eq!((seen.frames, seen.audio_packets), (50, heard), "{format:?}");
    }
}

#[tokio::test]
async fn renditions_of_all_segments_play_as_one_stream() {
    let dir = tempfile::tempdir().unwrap();
    let profiles =
        [small("320"), Profile { h264_profile: H264Profile::Main, ..Profile::new("160", 160, 90, 100_000).unwrap() }];
    let settings = settings();
    let mut writers = Vec::new();
    for profile in &profiles {
        writers.push(HlsWriter::create(dir.path(), &profile.name, HlsConfig::default()).await.unwrap());
    }
    let mut joined = vec![Vec::new(); profiles.len()];
    for segment in clip::segments() {
        let made = transcode(&segment.bytes, &profiles, &settings).unwrap();
        for ((writer, joined), rendition) in writers.iter_mut().zip(&mut joined).zip(&made.renditions) {
            assert_eq!(rendition.frames, segment.frames);
            assert_eq!(ticks_to_duration(made.source.duration), segment.duration);
            writer.publish(segment.seq, &rendition.bytes, segment.duration).await.unwrap();
            joined.extend_from_slice(&rendition.bytes);
        }
    }
    for (writer, joined) in writers.iter_mut().zip(&joined) {
        writer.finish().await.unwrap();
        assert_eq!(clip::complaints(&writer.playlist()), "");
        let whole = dir.path().join("whole.ts");
        std::fs::write(&whole, joined).unwrap();
        assert_eq!(clip::complaints(&whole), "");
        let decode_times = clip::times(joined, "v", "dts");
        assert_eq!(decode_times.len(), 225);
        assert!(decode_times.iter().is_sorted_by(|a, b| a < b));
        assert!(clip::times(joined, "a", "dts").iter().is_sorted_by(|a, b| a < b));
    }
}

#[test]
fn another_frame_rate_has_its_own_frame_count() {
    let profile = |name: &str, fps, fps_den| Profile { fps, fps_den, ..small(name) };
    let profiles = [profile("half", 25, 2), profile("same", 25, 1), profile("more", 30, 1)];
    let mut totals = [0; 3];
    let mut ends = [None; 3];
    for segment in &clip::segments()[..2] {
        let made = transcode(&segment.bytes, &profiles, &settings()).unwrap();
        for (index, rendition) in made.renditions.iter().enumerate() {
            totals[index] += rendition.frames;
            let mut times = clip::times(&rendition.bytes, "v", "pts");
            times.sort_unstable();
            let step = [7200, 3600, 3000][index];
            assert!(times.windows(2).all(|pair| pair[1] - pair[0] == step), "{} {times:?}", rendition.name);
            assert!(ends[index].is_none_or(|end| end == times[0]), "no gap between segments");
            ends[index] = times.last().map(|last| last + step);
        }
    }
    assert_eq!(totals, [50, 100, 120]);
}

#[test]
fn key_frames_come_once_a_period() {
    let made = transcode(&clip::segment(0), &[small("a")], &settings()).unwrap();
    let rows = clip::probe_rows(&made.renditions[0].bytes, "v", &["-show_entries", "packet=pts,flags"]);
    let keys: Vec<_> = rows.iter().filter(|row| row.contains('K')).filter_map(|row| row.split(',').next()).collect();
    assert!(keys.contains(&"126000") && keys.contains(&"216000"), "{keys:?}");
}

#[test]
fn intra_only_and_every_h264_profile_encode() {
    let profile = |name: &str, h264_profile| Profile { h264_profile, ..small(name) };
    let profiles = [
        Profile { gop: Gop::IntraOnly, ..small("intra") },
        profile("baseline", H264Profile::Baseline),
        profile("main", H264Profile::Main),
        profile("constrained", H264Profile::ConstrainedHigh),
    ];
    let made = transcode(&clip::segment(4), &profiles, &TranscodeSettings::default()).unwrap();
    let named = |index: usize| made.renditions[index].codecs.get(5..7).unwrap().to_owned();
    assert_eq!([named(1), named(2), named(3)], ["42", "4d", "64"]);
    let keys = clip::probe_rows(&made.renditions[0].bytes, "v", &["-show_entries", "packet=flags"]);
    assert!(keys.iter().all(|flags| flags.contains('K')));
    for index in [1, 3] {
        let (pts, dts) = ("pts", "dts");
        let bytes = &made.renditions[index].bytes;
        assert_eq!(clip::times(bytes, "v", pts), clip::times(bytes, "v", dts), "no reordering");
    }
}

#[test]
fn upright_source_gives_upright_renditions() {
    let upright = clip::made_by_ffmpeg(&["-f", "lavfi", "-i", "testsrc2=s=360x640:r=25:d=1", "-c:v", "libx264"]);
    let made = transcode(&upright, &[small("a")], &settings()).unwrap();
    assert_eq!((made.renditions[0].width, made.renditions[0].height), (180, 320));
    assert_eq!(inspect(&made.renditions[0].bytes).unwrap().info.width, 180);
}

#[test]
fn stream_that_starts_at_zero_has_no_negative_times() {
    let args = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=320x180:r=25:d=1",
        "-c:v",
        "libx264",
        "-bf",
        "0",
        "-muxdelay",
        "0",
        "-muxpreload",
        "0",
    ];
    let segment = clip::made_by_ffmpeg(&args);
    assert_eq!(probe(&segment).unwrap().start_pts, 0);
    let made = transcode(&segment, &[small("a")], &TranscodeSettings::default()).unwrap();
    let bytes = &made.renditions[0].bytes;
    assert_eq!(clip::times(bytes, "v", "pts"), (0..25).map(|i| i * 3600).collect::<Vec<_>>());
    assert_eq!(clip::times(bytes, "v", "dts"), clip::times(bytes, "v", "pts"));
}

#[test]
fn time_stamps_that_wrap_inside_a_segment_are_followed() {
    // 2^33 ticks are 95443.7 s.
    let args = ["-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=2", "-c:v", "libx264", "-output_ts_offset", "95442.7"];
    let segment = clip::made_by_ffmpeg(&args);
    let info = probe(&segment).unwrap();
    assert_eq!((info.frames, info.fps, info.duration.as_secs()), (50, FrameRate::new(25, 1), 2));
    let made = transcode(&segment, &[small("a")], &settings()).unwrap();
    let raw = |bytes: &[u8]| {
        clip::times(bytes, "v", "pts").into_iter().map(|pts| pts.rem_euclid(1 << 33)).collect::<BTreeSet<_>>()
    };
    assert_eq!(raw(&made.renditions[0].bytes), raw(&segment));
    assert_eq!(probe(&made.renditions[0].bytes).unwrap().frames, 50);
}

#[test]
fn one_encoder_thread_makes_the_same_bytes_every_time() {
    let made = || transcode(&clip::segment(0), &[small("a")], &settings()).unwrap().renditions.remove(0).bytes;
    let one: Bytes = made();
    assert_eq!(one, made());
}
