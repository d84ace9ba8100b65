use bytes::Bytes;
use proptest::prelude::*;
use streamflow_media::{
    Encoder, MAX_SEGMENT_BYTES, MediaError, TranscodeSettings, inspect, probe, probe_encoder, transcode,
};
use streamflow_types::{Profile, VideoCodec};

use crate::clip;

const PACKET: usize = 188;

fn profiles() -> Vec<Profile> {
    vec![Profile::new("a", 320, 180, 300_000).unwrap()]
}

fn refused(segment: impl Into<Bytes>) -> MediaError {
    let segment = segment.into();
    let error = transcode(&segment, &profiles(), &TranscodeSettings::default()).unwrap_err();
    assert_eq!(inspect(&segment).unwrap_err(), error);
    error
}

#[test]
fn empty_and_oversized_segments_are_refused() {
    assert_eq!(refused(Bytes::new()), MediaError::SegmentSize { len: 0, max: MAX_SEGMENT_BYTES });
    let len = MAX_SEGMENT_BYTES + 1;
    assert_eq!(refused(vec![0x47; len]), MediaError::SegmentSize { len, max: MAX_SEGMENT_BYTES });
}

#[test]
fn text_playlists_and_other_containers_are_refused() {
    let playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n".repeat(100);
    assert_eq!(refused(playlist), MediaError::NotTransportStream);
    assert_eq!(refused(b"FLV\x01\x05\0\0\0\x09".repeat(1000)), MediaError::NotTransportStream);
    let mp4 = [&b"\0\0\0\x10ftypisom\0\0\x02\0"[..], &[7; 10_000]].concat();
    assert_eq!(refused(mp4), MediaError::Truncated { len: 10_016 });
}

#[test]
fn segment_cut_inside_a_packet_is_refused() {
    let segment = clip::segment(0);
    for len in [segment.len() - 1, segment.len() / 2 / PACKET * PACKET + 100] {
        assert_eq!(refused(segment.slice(..len)), MediaError::Truncated { len });
    }
    assert_eq!(refused(segment.slice(..100)), MediaError::NotTransportStream);
}

#[test]
fn segment_cut_between_packets_keeps_the_frames_it_has() {
    let segment = clip::segment(0);
    let half = segment.slice(..segment.len() / 2 / PACKET * PACKET);
    let made = transcode(&half, &profiles(), &TranscodeSettings::default()).unwrap();
    assert!((1..50).contains(&made.source.frames), "{:?}", made.source);
    assert_eq!(made.renditions[0].frames, made.source.frames);
}

#[test]
fn damage_inside_a_segment_is_counted() {
    let mut segment = clip::segment(0).to_vec();
    let middle = segment.len() / 2 / PACKET * PACKET;
    segment[middle..middle + 40 * PACKET].chunks_mut(PACKET).for_each(|packet| packet[8..].fill(0x55));
    let seen = inspect(&segment.into()).unwrap();
    assert!(seen.decode_errors > 0, "{seen:?}");
}

#[test]
fn sound_alone_is_refused() {
    let sound = clip::made_by_ffmpeg(&["-f", "lavfi", "-i", "sine=d=2", "-c:a", "aac"]);
    assert_eq!(refused(sound), MediaError::NoVideoStream);
}

#[test]
fn other_codecs_are_refused() {
    let mpeg2 = clip::made_by_ffmpeg(&["-f", "lavfi", "-i", "testsrc2=s=320x180:d=1", "-c:v", "mpeg2video"]);
    assert_eq!(refused(mpeg2), MediaError::UnsupportedVideo { codec: "mpeg2video".into() });
    let args = ["-f", "lavfi", "-i", "testsrc2=s=320x180:d=1", "-f", "lavfi", "-i", "sine=d=1:r=48000"];
    let mp2 = clip::made_by_ffmpeg(&[&args[..], &["-c:v", "libx264", "-c:a", "mp2"]].concat());
    assert_eq!(refused(mp2), MediaError::UnsupportedAudio { codec: "mp2".into() });
}

#[test]
fn tables_without_a_frame_are_refused() {
    let segment = clip::segment(0);
    // The first packets are the tables (PIDs 17, 0 and 4096); pictures come after them.
    let pid = |packet: &[u8]| u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
    let tables: Vec<u8> =
        segment.chunks(PACKET).filter(|p| [0, 17, 4096].contains(&pid(p))).flatten().copied().collect();
    assert_eq!(refused(tables), MediaError::NoFrames);
}

#[test]
fn segment_without_a_key_frame_is_refused() {
    let args =
        ["-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=2", "-c:v", "libx264", "-g", "100", "-sc_threshold", "0"];
    let no_key = [&args[..], &["-bsf:v", "noise=drop=key"]].concat();
    assert_eq!(refused(clip::made_by_ffmpeg(&no_key)), MediaError::NoKeyFrame);
}

#[test]
fn picture_larger_than_any_taken_is_refused() {
    let wide = ["-f", "lavfi", "-i", "testsrc2=s=4224x64:r=5:d=1", "-c:v", "libx264", "-preset", "ultrafast"];
    let expected = MediaError::Dimensions { width: 4224, height: 64, min: 16, max: 4096 };
    assert_eq!(refused(clip::made_by_ffmpeg(&wide)), expected);
}

#[test]
fn segment_longer_than_five_minutes_is_refused() {
    let args = ["-f", "lavfi", "-i", "color=s=32x32:r=1:d=310", "-c:v", "libx264", "-preset", "ultrafast"];
    assert_eq!(refused(clip::made_by_ffmpeg(&args)), MediaError::TooLong { millis: 310_000, max: 300_000 });
}

#[test]
fn impossible_jobs_are_refused() {
    let segment = clip::segment(0);
    let refused = |profiles: &[Profile]| transcode(&segment, profiles, &TranscodeSettings::default()).unwrap_err();
    assert_eq!(refused(&[]), MediaError::RenditionCount { count: 0, max: 10 });
    assert_eq!(refused(&vec![profiles().remove(0); 11]), MediaError::RenditionCount { count: 11, max: 10 });
    let vp9 = Profile { encoder: VideoCodec::Vp9, ..profiles().remove(0) };
    assert!(matches!(refused(&[vp9]), MediaError::UnsupportedProfile { .. }));
    let settings = TranscodeSettings { preset: "warp".into(), ..TranscodeSettings::default() };
    let error = transcode(&segment, &profiles(), &settings).unwrap_err();
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
        let _ = transcode(&bytes.into(), &profiles(), &TranscodeSettings { preset: "ultrafast".into(), ..TranscodeSettings::default() });
    }
}
