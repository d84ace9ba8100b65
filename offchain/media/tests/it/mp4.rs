use std::{fs, time::Duration};

use streamflow_media::{
    MediaError, SourceSettings, TranscodeSettings, fragment,
    hls::{HlsConfig, HlsWriter},
    inspect, probe, transcode,
};
use streamflow_types::{Container, Profile};

use crate::clip;

fn small(format: Container) -> Vec<Profile> {
    vec![Profile { format, ..Profile::new("small", 320, 180, 300_000).unwrap() }]
}

#[test]
fn mp4_goes_in_and_comes_out_as_transport_streams_do() {
    let settings = TranscodeSettings { preset: "ultrafast".into(), encoder_threads: 1, ..TranscodeSettings::default() };
    let made = transcode(&clip::segment(0), &small(Container::Mp4), &settings).unwrap().renditions.remove(0);
    assert_eq!(&made.bytes[4..8], b"ftyp");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("made.mp4");
    fs::write(&file, &made.bytes).unwrap();
    assert_eq!(clip::complaints(&file), "");
    let seen = inspect(&made.bytes).unwrap();
    assert_eq!((seen.frames, seen.decode_errors, seen.info.container.as_str()), (50, 0, "mp4"));
    assert!(seen.info.has_audio() && seen.info.starts_with_idr && seen.info.codecs.starts_with("avc1."));
    let again = transcode(&made.bytes, &small(Container::MpegTs), &settings).unwrap();
    assert_eq!((again.renditions[0].frames, again.renditions[0].bytes[0]), (50, 0x47));
    let plain = SourceSettings::new(clip::path(), Duration::from_secs(2));
    assert!(probe(&fs::read(&plain.path).unwrap().into()).unwrap().frames >= 50, "a file with its index last");
}

#[test]
fn broken_mp4_is_refused() {
    let whole = fragment(&clip::segment(0)).unwrap();
    let joined = [&whole.init[..], &whole.media].concat();
    assert!(matches!(probe(&whole.init), Err(MediaError::NoFrames | MediaError::NotMp4)));
    assert!(probe(&whole.media).is_err());
    for cut in [9, 100, whole.init.len() + 20] {
        assert!(probe(&joined[..cut].to_vec().into()).is_err(), "{cut}");
    }
    let mut wild = joined;
    wild[0] = 0xff;
    assert!(probe(&wild.into()).is_err());
}

#[tokio::test]
async fn fragments_join_into_a_stream_without_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = HlsWriter::create(dir.path(), "source", HlsConfig::default()).await.unwrap();
    let mut inits = Vec::new();
    for segment in clip::segments() {
        let made = fragment(&segment.bytes).unwrap();
        inits.push(made.init.clone());
        writer.publish_fragment(segment.seq, &made, segment.duration).await.unwrap();
    }
    writer.finish().await.unwrap();
    inits.dedup();
    assert_eq!(inits.len(), 1, "the same encoder has one beginning");
    let text = fs::read_to_string(writer.playlist()).unwrap();
    assert!(text.contains("#EXT-X-VERSION:7\n") && text.contains("#EXT-X-MAP:URI=\"init-0.mp4\"\n"), "{text}");
    assert!(text.contains("\n0.m4s\n") && !text.contains("DISCONTINUITY"), "{text}");
    assert_eq!(clip::complaints(&writer.playlist()), "");
    let joined = inits
        .iter()
        .map(|init| init.to_vec())
        .chain((0..5).map(|seq| fs::read(dir.path().join(format!("source/{seq}.m4s"))).unwrap()));
    let joined: Vec<u8> = joined.flatten().collect();
    let file = dir.path().join("joined.mp4");
    fs::write(&file, joined).unwrap();
    let rows = clip::output(
        "ffprobe",
        &[
            "-v",
            "error",
            "-select_streams",
            "v",
            "-show_entries",
            "packet=pts_time",
            "-of",
            "csv=p=0",
            file.to_str().unwrap(),
        ],
    );
    let mut shown: Vec<i64> = rows
        .lines()
        .filter_map(|row| row.trim_end_matches(',').parse::<f64>().ok())
        .map(|seconds| (seconds * 90_000.0).round() as i64)
        .collect();
    shown.sort_unstable();
    assert_eq!(shown, (0..225).map(|frame| 126_000 + frame * 3600).collect::<Vec<_>>());
}
