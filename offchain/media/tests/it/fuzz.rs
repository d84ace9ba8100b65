//! Damaged segments and streams. libav works in worker processes (docs/designs/035-fuzzing.md); here it works in the test's own,
//! so that a crash is seen.
use std::{io::Cursor, ops::ControlFlow, sync::OnceLock};

use bytes::Bytes;
use proptest::{prelude::*, test_runner::TestCaseError};
use streamflow_fuzz::damaged;
use streamflow_media::{
    Audio, IngestContainer, IngestSettings, MediaError, Sampling, SourceReport, TranscodeSettings, Transcoded, compare,
    fragment, ingest, inspect, probe, transcode,
};
use streamflow_types::{Container, Profile};

use crate::{
    clip,
    made::{AV1, H264, HEVC, VP9, made},
    outcome::{piece_by_piece, settings},
};

const PICTURE_AND_SOUND: &str = "-f lavfi -i testsrc2=s=64x64:r=10:d=1 -f lavfi -i sine=f=440:r=48000:d=1 -shortest";
const SOUND: &str = "-c:a aac -b:a 16k";

/// A second of small pictures with sound, in some container.
fn small(file: &str, options: &str) -> Vec<u8> {
    made(&[PICTURE_AND_SOUND, options, SOUND], file).to_vec()
}

fn h264(file: &str) -> Vec<u8> {
    small(file, &[H264, "-g 5"].join(" "))
}

fn profile(format: Container) -> Vec<Profile> {
    vec![Profile { format, ..Profile::new("a", 64, 48, 100_000).unwrap() }]
}

/// Transport streams and MP4, whole and fragmented, of every codec.
fn segments() -> &'static [Vec<u8>] {
    static SEGMENTS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SEGMENTS.get_or_init(|| {
        let ts = Bytes::from(h264("small.ts"));
        let made = transcode(&ts, &profile(Container::Mp4), &settings()).unwrap().renditions.remove(0);
        let pieces = fragment(&ts).unwrap();
        let fragmented = [&pieces.init[..], &pieces.media].concat();
        let fields = [H264, "-flags +ildct+ilme -top 1"].join(" ");
        let reordered = "-c:v libx264 -preset veryfast -g 5 -bf 2";
        vec![
            ts.to_vec(),
            made.bytes.to_vec(),
            fragmented,
            small("reordered.ts", reordered),
            small("fields.ts", &fields),
            small("deep.ts", &[H264, "-pix_fmt yuv422p10le"].join(" ")),
            small("full.ts", &[H264, "-pix_fmt yuvj420p"].join(" ")),
            small("small-hevc.ts", HEVC),
            small("small-hevc.mp4", HEVC),
            small("small-vp9.mp4", VP9),
            small("small-av1.mp4", AV1),
            small("index-last.mp4", reordered),
            small("fragments.mp4", &[reordered, "-movflags +frag_keyframe+empty_moov"].join(" ")),
        ]
    })
}

/// With sound of every kind that is decoded.
fn sounding() -> &'static [Vec<u8>] {
    static SOUNDING: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SOUNDING.get_or_init(|| {
        let with = |codec: &str, file: &str| made(&[PICTURE_AND_SOUND, H264, "-c:a", codec], file).to_vec();
        let kinds = ["aac", "libmp3lame", "mp2", "ac3", "eac3", "libopus"];
        kinds.iter().map(|codec| with(codec, "sounding.ts")).chain([with("libopus", "sounding.mp4")]).collect()
    })
}

/// As encoders and pipes bring them.
fn streams() -> &'static [Vec<u8>] {
    static STREAMS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    STREAMS.get_or_init(|| vec![h264("small.flv"), h264("small.mkv"), h264("small.ts")])
}

/// Two damages of a stream in a row: more of its packets are hit.
fn badly_damaged(inputs: &[Vec<u8>]) -> impl Strategy<Value = Vec<u8>> + use<> {
    damaged(inputs.to_vec()).prop_flat_map(|once| damaged(vec![once]))
}

fn outline(outcome: &Result<Transcoded, MediaError>) -> Result<SourceReport, &MediaError> {
    outcome.as_ref().map(|made| made.source)
}

/// Damaged twice, a segment may be refused for either; but not taken once and refused once.
fn either_way(
    bytes: &Bytes,
    profiles: &[Profile],
    settings: &TranscodeSettings,
    first: usize,
) -> Result<(), TestCaseError> {
    let whole = transcode(bytes, profiles, settings);
    let live = piece_by_piece(bytes, profiles, settings, first);
    prop_assert!(live == whole || live.is_err() && whole.is_err(), "{:?} {:?}", outline(&live), outline(&whole));
    Ok(())
}

proptest! {
    #![proptest_config(streamflow_fuzz::config(48))]

    #[test]
    fn segment_containers(bytes in badly_damaged(segments())) {
        let bytes = Bytes::from(bytes);
        let probed = probe(&bytes);
        if let Ok(seen) = inspect(&bytes) {
            let info = probed.unwrap();
            prop_assert!(info.width <= 4 * 4096 && info.height <= 4 * 4096);
            prop_assert!(seen.frames <= 100_000);
        }
    }

    #[test]
    fn segments_transcoded(bytes in badly_damaged(segments()), first in 0..6_usize, mp4: bool) {
        let profiles = profile(if mp4 { Container::Mp4 } else { Container::MpegTs });
        either_way(&bytes.into(), &profiles, &settings(), first)?;
    }

    #[test]
    fn sound_made_anew(bytes in badly_damaged(sounding()), first in 0..6_usize, mp4: bool) {
        let profiles = profile(if mp4 { Container::Mp4 } else { Container::MpegTs });
        let anew = TranscodeSettings { audio: Audio::Aac, ..settings() };
        either_way(&bytes.into(), &profiles, &anew, first)?;
    }

    #[test]
    fn segments_made_into_fragments(bytes in badly_damaged(segments())) {
        let _ = fragment(&Bytes::from(bytes));
    }

    #[test]
    fn renditions_compared(bytes in badly_damaged(&segments()[..1])) {
        let source = Bytes::from(segments()[0].clone());
        let _ = compare(&source, &[Bytes::from(bytes)], Sampling { seed: 1, frames: 2 });
    }

    #[test]
    fn live_streams(bytes in badly_damaged(streams()), any: bool) {
        let container = if any { IngestContainer::Any } else { IngestSettings::default().container };
        let settings = IngestSettings { container, max_bytes: 4 << 20, ..IngestSettings::default() };
        let mut cut = 0_u64;
        let _ = ingest(&settings, Cursor::new(bytes), &mut |segment| {
            cut += segment.bytes.len() as u64;
            ControlFlow::Continue(())
        });
        prop_assert!(cut <= 64 << 20, "{} bytes", cut);
    }
}

#[test]
fn the_inputs_are_whole_before_they_are_damaged() {
    for segment in segments() {
        let seen = inspect(&segment.clone().into()).unwrap();
        assert_eq!((seen.frames, seen.decode_errors, seen.info.has_audio()), (10, 0, true));
    }
    assert!(probe(&clip::segment(0)).is_ok());
}
