//! Damaged segments and streams. libav works in worker processes (docs/designs/035-fuzzing.md); here it works in the test's own,
//! so that a crash is seen.
use std::{io::Cursor, ops::ControlFlow, sync::OnceLock};

use bytes::Bytes;
use proptest::prelude::*;
use streamflow_fuzz::damaged;
use streamflow_media::{
    IngestContainer, IngestSettings, Sampling, TranscodeSettings, compare, fragment, ingest, inspect, probe, transcode,
};
use streamflow_types::{Container, Profile};

use crate::clip;

/// A second of small pictures with sound, in some container.
fn small(format: &str, options: &[&str]) -> Vec<u8> {
    let picture = ["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=64x48:r=10:d=1"];
    let sound = ["-f", "lavfi", "-i", "sine=f=440:r=48000:d=1"];
    let codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "5", "-c:a", "aac", "-b:a", "16k", "-shortest"];
    let mut command = std::process::Command::new("ffmpeg");
    let output =
        command.args(picture).args(sound).args(codecs).args(options).args(["-f", format, "-"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn profile(format: Container) -> Vec<Profile> {
    vec![Profile { format, ..Profile::new("a", 64, 48, 100_000).unwrap() }]
}

fn settings() -> TranscodeSettings {
    TranscodeSettings { preset: "ultrafast".into(), encoder_threads: 1, ..TranscodeSettings::default() }
}

/// Transport streams and MP4, whole and fragmented.
fn segments() -> &'static [Vec<u8>] {
    static SEGMENTS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SEGMENTS.get_or_init(|| {
        let ts = Bytes::from(small("mpegts", &[]));
        let made = transcode(&ts, &profile(Container::Mp4), &settings()).unwrap().renditions.remove(0);
        let pieces = fragment(&ts).unwrap();
        let fragmented = [&pieces.init[..], &pieces.media].concat();
        vec![ts.to_vec(), made.bytes.to_vec(), fragmented]
    })
}

/// As encoders and pipes bring them.
fn streams() -> &'static [Vec<u8>] {
    static STREAMS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    STREAMS.get_or_init(|| vec![small("flv", &[]), small("matroska", &[]), small("mpegts", &[])])
}

/// Three damages of a stream in a row: more of its packets are hit.
fn badly_damaged(inputs: &[Vec<u8>]) -> impl Strategy<Value = Vec<u8>> + use<> {
    damaged(inputs.to_vec()).prop_flat_map(|once| damaged(vec![once]))
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
    fn segments_transcoded(bytes in badly_damaged(segments())) {
        let _ = transcode(&Bytes::from(bytes), &profile(Container::MpegTs), &settings());
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
        assert_eq!(inspect(&segment.clone().into()).unwrap().decode_errors, 0);
    }
    assert!(probe(&clip::segment(0)).is_ok());
}
