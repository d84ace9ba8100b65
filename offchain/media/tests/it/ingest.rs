use std::{io::Cursor, ops::ControlFlow, process::Command, time::Duration};

use bytes::Bytes;
use streamflow_media::{
    IngestContainer, IngestSettings, MediaError, PoolError, SourceSegment, WorkerPool, ingest, inspect,
};

use crate::{clip, pool};

/// Five and a half seconds (138 frames) of a test picture with a key frame each second, in the container asked for.
fn encoded(format: &str, options: &[&str]) -> Vec<u8> {
    let args = ["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=5.5"];
    let sound = ["-f", "lavfi", "-i", "sine=f=440:r=48000:d=5.5"];
    let video = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-sc_threshold", "0"];
    let command = Command::new("ffmpeg")
        .args(args)
        .args(sound)
        .args(video)
        .args(options)
        .args(["-f", format, "-"])
        .output()
        .unwrap();
    assert!(command.status.success(), "{}", String::from_utf8_lossy(&command.stderr));
    command.stdout
}

const SOUND: [&str; 4] = ["-c:a", "aac", "-map", "0:v"];

fn cut(settings: &IngestSettings, bytes: Vec<u8>) -> Result<Vec<SourceSegment>, MediaError> {
    let mut segments = Vec::new();
    ingest(settings, Cursor::new(bytes), &mut |segment| {
        segments.push(segment);
        ControlFlow::Continue(())
    })?;
    Ok(segments)
}

/// Whole segments without a gap, each of which can be decoded on its own.
fn check(segments: &[SourceSegment], sound: bool) {
    let frames: Vec<_> = segments.iter().map(|segment| segment.frames).collect();
    assert_eq!(frames.iter().sum::<u64>(), 138);
    assert_eq!(frames[..2], [50, 50]);
    let mut next = None;
    for (index, segment) in segments.iter().enumerate() {
        assert_eq!(segment.seq, index as u64);
        let seen = inspect(&segment.bytes).unwrap();
        assert_eq!((seen.frames, seen.decode_errors), (segment.frames, 0));
        assert!(seen.info.starts_with_idr && seen.info.has_audio() == sound, "{:?}", seen.info);
        assert!(next.is_none_or(|next: i64| (segment.start_pts - next).abs() <= 90), "gap before {index}");
        next = Some(segment.start_pts + i64::try_from(segment.duration.as_millis()).unwrap() * 90);
    }
}

#[test]
fn flv_with_and_without_sound_and_reordered_pictures_is_cut_at_key_frames() {
    for (reordered, sound) in [("0", true), ("0", false), ("2", true), ("2", false)] {
        let sound_options: &[&str] = if sound { &["-map", "0:v", "-map", "1:a", "-c:a", "aac"] } else { &["-an"] };
        let options = [&["-bf", reordered], sound_options].concat();
        let segments = cut(&IngestSettings::default(), encoded("flv", &options)).unwrap();
        check(&segments, sound);
        let joined: Vec<u8> = segments.iter().flat_map(|segment| segment.bytes.to_vec()).collect();
        let dts = clip::times(&joined, "v", "dts");
        assert!(dts.is_sorted_by(|a, b| a < b), "{dts:?}");
        if sound {
            let heard = clip::times(&joined, "a", "pts");
            let frame = 1024 * 90_000 / 48_000;
            // FLV counts in milliseconds.
            assert!(heard.windows(2).all(|pair| (pair[1] - pair[0] - frame).abs() <= 90), "sound has a gap");
        }
    }
}

#[test]
fn a_pipe_may_carry_other_containers() {
    let any = IngestSettings { container: IngestContainer::Any, ..IngestSettings::default() };
    for format in ["mpegts", "matroska"] {
        let segments = cut(&any, encoded(format, &SOUND[..2])).unwrap();
        check(&segments, true);
    }
    let refused = cut(&IngestSettings::default(), encoded("mpegts", &SOUND[..2]));
    assert!(matches!(refused, Err(MediaError::LiveInput { .. })), "{refused:?}");
}

#[test]
fn a_second_input_goes_on_where_the_first_ended() {
    let settings = IngestSettings { first_seq: 7, start_ticks: 900_000, ..IngestSettings::default() };
    let segments = cut(&settings, encoded("flv", &["-an"])).unwrap();
    assert_eq!((segments[0].seq, segments[1].seq, segments[0].start_pts), (7, 8, 900_000));
}

#[test]
fn what_cannot_be_cut_is_refused_with_both_figures() {
    let sparse = ["-an", "-g", "1000", "-keyint_min", "1000"];
    let short = IngestSettings { max_segment: Duration::from_secs(3), ..IngestSettings::default() };
    let error = cut(&short, encoded("flv", &sparse)).unwrap_err();
    assert!(matches!(error, MediaError::KeyFramesTooFar { waited_ms: 3001..3100, max_ms: 3000 }), "{error:?}");
    let small = IngestSettings { max_bytes: 10_000, ..IngestSettings::default() };
    let error = cut(&small, encoded("flv", &["-an"])).unwrap_err();
    assert!(matches!(error, MediaError::LiveSegmentSize { bytes: 10_001.., max: 10_000 }), "{error:?}");
    let error = cut(&IngestSettings::default(), encoded("flv", &["-an", "-c:v", "flv1"])).unwrap_err();
    assert!(matches!(error, MediaError::UnsupportedVideo { .. }), "{error:?}");
    let error = cut(&IngestSettings::default(), encoded("flv", &["-vn", "-c:a", "aac"])).unwrap_err();
    assert_eq!(error, MediaError::NoVideoStream);
    for garbage in [vec![], vec![0x46; 100_000], b"FLV\x01\x05\x00\x00\x00\x09".repeat(1000)] {
        assert!(cut(&IngestSettings::default(), garbage).is_err());
    }
}

#[tokio::test]
async fn a_worker_cuts_while_it_is_fed_and_ends_with_its_input() {
    let pool = WorkerPool::start(pool::config(1)).await.unwrap();
    let (feed, mut segments) = pool.ingest(IngestSettings::default()).unwrap();
    let input = Bytes::from(encoded("flv", &["-c:a", "aac"]));
    let feeding = tokio::spawn(async move {
        for start in (0..input.len()).step_by(1000) {
            assert!(feed.send(input.slice(start..input.len().min(start + 1000))).await);
        }
    });
    let mut cut = Vec::new();
    while let Some(segment) = segments.next().await {
        cut.push(segment.unwrap());
    }
    feeding.await.unwrap();
    check(&cut, true);
    let (feed, mut segments) = pool.ingest(IngestSettings::default()).unwrap();
    feed.send(Bytes::from(vec![7; 200_000])).await;
    drop(feed);
    let refused = segments.next().await.unwrap();
    assert!(matches!(refused, Err(PoolError::Media(MediaError::LiveInput { .. }))), "{refused:?}");
    assert!(segments.next().await.is_none());
    drop(segments);
    pool.shutdown().await;
}
