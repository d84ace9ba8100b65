//! What is no segment at all, and jobs that nobody can do.
use bytes::Bytes;
use proptest::prelude::*;
use streamflow_media::{
    Encoder, MAX_SEGMENT_BYTES, MediaError, TranscodeSettings, inspect, probe, probe_encoder, transcode,
};
use streamflow_types::{Container, Profile};

use crate::{
    clip,
    made::{PICTURE, made},
    outcome::{profile, refused, settings, transcoded, transcoded_with},
    surgery::PACKET,
};

#[test]
fn empty_and_oversized_segments_are_refused() {
    assert_eq!(refused(Bytes::new()), MediaError::SegmentSize { len: 0, max: MAX_SEGMENT_BYTES });
    let len = MAX_SEGMENT_BYTES + 1;
    let error = transcode(&vec![0x47; len].into(), &[profile(Container::MpegTs)], &settings()).unwrap_err();
    assert_eq!(error, MediaError::SegmentSize { len, max: MAX_SEGMENT_BYTES });
}

#[test]
fn text_playlists_and_damaged_mp4_are_refused() {
    let playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n".repeat(100);
    assert_eq!(refused(playlist), MediaError::NotTransportStream);
    let mp4 = [&b"\0\0\0\x10ftypisom\0\0\x02\0"[..], &[7; 10_000]].concat();
    assert_eq!(refused(mp4), MediaError::Truncated { len: 10_016 });
}

#[test]
fn other_video_codecs_are_refused() {
    for (codec, name) in [("mpeg2video", "mpeg2video"), ("mpeg4", "mpeg4")] {
        let source = made(&[PICTURE, "-c:v", codec], "other.ts");
        assert_eq!(refused(source), MediaError::UnsupportedVideo { codec: name.into() });
    }
}

#[test]
fn impossible_jobs_are_refused() {
    let segment = clip::segment(0);
    let refused = |profiles: &[Profile]| transcoded(&segment, profiles).unwrap_err();
    assert_eq!(refused(&[]), MediaError::RenditionCount { count: 0, max: 10 });
    assert_eq!(refused(&vec![profile(Container::MpegTs); 11]), MediaError::RenditionCount { count: 11, max: 10 });
    let settings = TranscodeSettings { preset: "warp".into(), ..TranscodeSettings::default() };
    let error = transcoded_with(&segment, &[profile(Container::MpegTs)], &settings).unwrap_err();
    assert!(matches!(error, MediaError::EncoderUnavailable { encoder: Encoder::X264, .. }), "{error}");
}

#[test]
fn x264_works_everywhere() {
    probe_encoder(&TranscodeSettings::default()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        prop_assert!(probe(&bytes.into()).is_err());
    }

    #[test]
    fn random_packets_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 188 * 4..188 * 40)) {
        bytes.truncate(bytes.len() / PACKET * PACKET);
        bytes.chunks_mut(PACKET).for_each(|packet| packet[0] = 0x47);
        let _ = inspect(&bytes.into());
    }

    #[test]
    fn flipped_bytes_never_panic(at in prop::collection::vec((0usize..100_000, any::<u8>()), 1..40)) {
        let mut bytes = clip::segment(4).to_vec();
        let len = bytes.len();
        at.into_iter().for_each(|(index, value)| bytes[index % len] = value);
        let _ = transcode(&bytes.into(), &[profile(Container::MpegTs)], &settings());
    }
}
