//! Whose fault a segment is that no worker could make renditions of: the worker knows, and peers read it off its text.
use streamflow_media::{Encoder, MAX_SEGMENT_BYTES, MediaError};
use streamflow_orchestrator::LimitsConfig;
use streamflow_wire::refusal::is_bad_input;

const KINDS: usize = 28;

/// One of each kind, with texts of libav that peers take for bad input.
fn kinds() -> Vec<MediaError> {
    let reason = || String::from("Invalid argument");
    vec![
        MediaError::SegmentSize { len: MAX_SEGMENT_BYTES + 1, max: MAX_SEGMENT_BYTES },
        MediaError::NotTransportStream,
        MediaError::NotMp4,
        MediaError::Truncated { len: 100 },
        MediaError::Encrypted,
        MediaError::NoVideoStream,
        MediaError::UnsupportedVideo { codec: "av1".into() },
        MediaError::UnsupportedAudio { codec: "opus".into() },
        MediaError::NoKeyFrame,
        MediaError::NoFrames,
        MediaError::Dimensions { width: 1, height: 1, min: 16, max: 8192 },
        MediaError::TooLong { millis: 300_001, max: 300_000 },
        MediaError::RenditionCount { count: 0, max: 10 },
        MediaError::UnsupportedProfile { name: "a".into(), reason: "its size".into() },
        MediaError::FramesRunaway { decoded: 1, encoded: 26 },
        MediaError::FramesLost { name: "a".into(), submitted: 2, got: 1 },
        MediaError::EncoderUnavailable { encoder: Encoder::X264, reason: "no".into() },
        MediaError::NoDriver { reason: "no".into() },
        MediaError::Gpu { device: 0, step: "encode a frame".into(), reason: "no".into() },
        MediaError::KeyFramesTooFar { waited_ms: 2, max_ms: 1 },
        MediaError::LiveSegmentSize { bytes: 2, max: 1 },
        MediaError::LiveInput { expected: "flv".into(), reason: "no".into() },
        MediaError::Source { reason: "no".into() },
        MediaError::Libav { step: "set up the encoder".into(), reason: reason() },
        MediaError::OutOfMemory { step: "decode a frame".into(), limit: Some(4 << 30) },
        MediaError::Abandoned,
        MediaError::Limits { reason: "no".into() },
        MediaError::Panicked,
    ]
}

/// Its place among them. A kind that is new is to be added there as well.
fn place(error: &MediaError) -> usize {
    match error {
        MediaError::SegmentSize { .. } => 0,
        MediaError::NotTransportStream => 1,
        MediaError::NotMp4 => 2,
        MediaError::Truncated { .. } => 3,
        MediaError::Encrypted => 4,
        MediaError::NoVideoStream => 5,
        MediaError::UnsupportedVideo { .. } => 6,
        MediaError::UnsupportedAudio { .. } => 7,
        MediaError::NoKeyFrame => 8,
        MediaError::NoFrames => 9,
        MediaError::Dimensions { .. } => 10,
        MediaError::TooLong { .. } => 11,
        MediaError::RenditionCount { .. } => 12,
        MediaError::UnsupportedProfile { .. } => 13,
        MediaError::FramesRunaway { .. } => 14,
        MediaError::FramesLost { .. } => 15,
        MediaError::EncoderUnavailable { .. } => 16,
        MediaError::NoDriver { .. } => 17,
        MediaError::Gpu { .. } => 18,
        MediaError::KeyFramesTooFar { .. } => 19,
        MediaError::LiveSegmentSize { .. } => 20,
        MediaError::LiveInput { .. } => 21,
        MediaError::Source { .. } => 22,
        MediaError::Libav { .. } => 23,
        MediaError::OutOfMemory { .. } => 24,
        MediaError::Abandoned => 25,
        MediaError::Limits { .. } => 26,
        MediaError::Panicked => KINDS - 1,
    }
}

#[test]
fn what_workers_blame_on_a_segment_is_told_so_that_peers_know_it() {
    let kinds = kinds();
    assert_eq!(kinds.iter().map(place).collect::<Vec<_>>(), (0..KINDS).collect::<Vec<_>>());
    let steps = MediaError::OF_THE_SEGMENT.map(|step| MediaError::Libav { step: step.into(), reason: "no".into() });
    for error in kinds.iter().chain(&steps) {
        assert_eq!(is_bad_input(&error.to_string()), error.blames_segment(), "{error}");
    }
    assert!(steps.iter().all(MediaError::blames_segment));
}

#[test]
fn no_segment_is_taken_that_workers_refuse_for_its_size() {
    assert_eq!(LimitsConfig::default().max_segment_bytes, MAX_SEGMENT_BYTES as u64);
}
