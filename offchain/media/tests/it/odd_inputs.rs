//! Segments that nobody would send on purpose, or somebody would (docs/inputs.md).
use bytes::Bytes;
use streamflow_media::{MediaError, inspect, probe};
use streamflow_types::Container;

use crate::{
    clip,
    made::{AV1, H264, HEVC, PICTURE, PICTURE_AND_SOUND, VP9, difference, made, remade, shown},
    outcome::{profile, refused, transcoded},
    surgery::{PACKET, PICTURES, changed, kept, pid, shown_at, without_reordering},
};

fn plain() -> Bytes {
    made(&[PICTURE, H264], "plain.ts")
}

/// Twenty frames, a key frame at every tenth.
fn two_groups() -> Bytes {
    made(&["-f lavfi -i testsrc2=s=160x90:r=25:d=0.8 -c:v libx264 -preset ultrafast -g 10"], "groups.ts")
}

#[test]
fn sound_alone_is_refused() {
    for file in ["sound.ts", "sound.mp4"] {
        assert_eq!(refused(made(&["-f lavfi -i sine=d=0.4 -c:a aac"], file)), MediaError::NoVideoStream);
    }
}

#[test]
fn segment_without_sound_has_renditions_without() {
    for file in ["silent.ts", "silent.mp4"] {
        let made = transcoded(&made(&[PICTURE, H264], file), &[profile(Container::MpegTs), profile(Container::Mp4)]);
        for rendition in made.unwrap().renditions {
            assert_eq!((rendition.frames, probe(&rendition.bytes).unwrap().has_audio()), (10, false));
        }
    }
}

#[test]
fn announced_sound_that_never_comes_is_no_sound() {
    let source = made(&[PICTURE_AND_SOUND, H264, "-c:a aac"], "av.ts");
    let mute = kept(&source, |_, packet| pid(packet) != crate::surgery::SOUND);
    let made = transcoded(&mute, &[profile(Container::MpegTs)]).unwrap();
    assert!(!probe(&made.renditions[0].bytes).unwrap().has_audio());
}

#[test]
fn tables_without_a_frame_are_refused() {
    assert_eq!(refused(kept(&plain(), |_, packet| pid(packet) != PICTURES)), MediaError::NoFrames);
    let sound_only = kept(&made(&[PICTURE_AND_SOUND, H264, "-c:a aac"], "av.ts"), |_, packet| pid(packet) != PICTURES);
    assert_eq!(refused(sound_only), MediaError::NoFrames);
}

#[test]
fn pictures_without_parameter_sets_are_refused() {
    for kinds in ["7", "8", "7-8"] {
        let drop = format!("filter_units=remove_types={kinds}");
        let source = remade(&plain(), "plain.ts", &["-c", "copy", "-bsf:v", &drop], "none.ts");
        assert_eq!(refused(source), MediaError::NoFrames, "{kinds}");
    }
    let drop = ["-c", "copy", "-bsf:v", "filter_units=remove_types=32-34"];
    assert_eq!(refused(remade(&made(&[PICTURE, HEVC], "a.ts"), "a.ts", &drop, "none.ts")), MediaError::NoFrames);
}

#[test]
fn mp4_that_keeps_no_parameter_sets_is_refused() {
    let whole = made(&[PICTURE, H264], "plain.mp4");
    let at = whole.windows(4).position(|word| word == b"avcC").unwrap();
    let bare: Bytes = [&whole[..at], b"none", &whole[at + 4..]].concat().into();
    assert_eq!(refused(bare), MediaError::NotMp4);
}

#[test]
fn decoding_begins_with_the_first_key_frame_that_has_its_parameter_sets() {
    // Five pictures without their key frame, and the second group whole.
    let late = made(
        &["-f lavfi -i testsrc2=s=160x90:r=25:d=0.8 -c:v libx264 -preset ultrafast -g 10 -bsf:v noise=drop='lt(n,5)'"],
        "late.ts",
    );
    let made = transcoded(&late, &[profile(Container::MpegTs)]).unwrap();
    assert_eq!((made.source.frames, made.renditions[0].frames), (10, 10));
    let second: Vec<_> = shown(&two_groups(), "").split_off(10 * 64 * 64);
    assert!(difference(&second, &shown(&made.renditions[0].bytes, "")) < 0.5);
    let source_times = clip::times(&two_groups(), "v", "pts");
    assert_eq!(clip::times(&made.renditions[0].bytes, "v", "pts").iter().min(), source_times.get(10));
}

#[test]
fn segment_without_a_key_frame_is_refused() {
    let no_key = "-f lavfi -i testsrc2=s=160x90:r=25:d=0.8 -c:v libx264 -g 100 -sc_threshold 0 -bsf:v noise=drop=key";
    assert_eq!(refused(made(&[no_key], "no-key.ts")), MediaError::NoKeyFrame);
}

#[test]
fn pictures_that_refresh_bit_by_bit_are_taken_from_where_they_are_whole() {
    let refresh = "-f lavfi -i testsrc2=s=160x90:r=25:d=1.6 -c:v libx264 -x264-params intra-refresh=1:keyint=10:bframes=0 \
                   -bsf:v noise=drop='lt(n,5)'";
    let made = transcoded(&made(&[refresh], "refresh.ts"), &[profile(Container::MpegTs)]).unwrap();
    assert!((10..35).contains(&made.source.frames), "{:?}", made.source);
    assert_eq!(made.renditions[0].frames, made.source.frames);
}

#[test]
fn segment_cut_inside_a_packet_is_refused() {
    let segment = plain();
    for len in [segment.len() - 1, segment.len() / 2 / PACKET * PACKET + 100] {
        assert_eq!(refused(segment.slice(..len)), MediaError::Truncated { len });
    }
}

#[test]
fn segment_cut_between_packets_keeps_the_frames_it_has() {
    let segment = plain();
    let half = segment.slice(..segment.len() / 2 / PACKET * PACKET);
    let made = transcoded(&half, &[profile(Container::MpegTs)]).unwrap();
    assert!((1..10).contains(&made.source.frames), "{:?}", made.source);
    assert_eq!(made.renditions[0].frames, made.source.frames);
}

#[test]
fn mp4_cut_short_is_refused() {
    for options in ["", "-movflags +faststart", "-movflags +frag_keyframe+empty_moov"] {
        let whole = made(&[PICTURE, H264, options], "whole.mp4");
        for len in [whole.len() - 1, whole.len() / 2, 200, 20] {
            let cut = whole.slice(..len);
            assert!(matches!(refused(cut), MediaError::Truncated { .. } | MediaError::NotMp4), "{options} {len}");
        }
    }
}

#[test]
fn packets_lost_on_the_way_are_counted_and_concealed() {
    let made = transcoded(&without_packet(2), &[profile(Container::MpegTs)]).unwrap();
    assert!(made.source.decode_errors > 0, "{:?}", made.source);
    assert_eq!((made.source.frames, made.renditions[0].frames), (20, 20), "every picture is shown");
    assert_eq!(inspect(&made.renditions[0].bytes).unwrap().decode_errors, 0, "the renditions are whole");
}

#[test]
fn what_needs_a_lost_key_frame_is_left_out() {
    let lossy = kept(&two_groups(), |_, packet| !begins_second_group(packet));
    let made = transcoded(&lossy, &[profile(Container::MpegTs)]).unwrap();
    assert!((10..20).contains(&made.source.frames), "{:?}", made.source);
    assert_eq!(made.renditions[0].frames, made.source.frames);
}

/// Whether the second key frame begins in this packet of two groups.
fn begins_second_group(packet: &[u8]) -> bool {
    let first = clip::times(&two_groups(), "v", "pts")[0];
    pid(packet) == PICTURES && packet[1] & 0x40 != 0 && shown_at(packet) == Some(first + 10 * 3600)
}

/// Two groups, of whose fifth picture the packet at this place is missing.
fn without_packet(place: usize) -> Bytes {
    let (mut picture, mut at) = (0, 0);
    let lossy = kept(&two_groups(), |_, packet| {
        if pid(packet) == PICTURES {
            (picture, at) = if packet[1] & 0x40 != 0 { (picture + 1, 0) } else { (picture, at + 1) };
        }
        !(pid(packet) == PICTURES && picture == 5 && at == place)
    });
    assert_eq!(lossy.len() + PACKET, two_groups().len());
    lossy
}

#[test]
fn no_picture_is_lost_where_it_is_not_told_how_many_come_late() {
    let pyramid = "-f lavfi -i testsrc2=size=640x360:rate=25:duration=2 -c:v libx264 -preset medium -bf 3 \
                   -x264-params b-pyramid=2:keyint=50";
    let told = made(&[pyramid], "pyramid.ts");
    let silent = without_reordering(&told);
    let made = [told, silent].map(|segment| transcoded(&segment, &[profile(Container::MpegTs)]).unwrap());
    assert_eq!(made[1].source.frames, 50);
    assert!(made[0] == made[1]);
}

#[test]
fn a_single_frame_makes_a_single_frame() {
    for file in ["one.ts", "one.mp4"] {
        let one = made(&["-f lavfi -i testsrc2=s=160x90:r=25:d=0.04", H264], file);
        let made = transcoded(&one, &[profile(Container::MpegTs), profile(Container::Mp4)]).unwrap();
        assert_eq!((made.source.frames, made.source.duration), (1, 3600), "{file}");
        assert!(made.renditions.iter().all(|rendition| rendition.frames == 1));
    }
}

#[test]
fn a_minute_is_taken() {
    let minute = made(&["-f lavfi -i testsrc2=s=64x48:r=5:d=60", H264], "minute.ts");
    let made = transcoded(&minute, &[profile(Container::MpegTs)]).unwrap();
    assert_eq!((made.source.frames, made.source.duration, made.renditions[0].frames), (300, 60 * 90_000, 300));
}

#[test]
fn pictures_of_extreme_shape_keep_it_as_far_as_players_go() {
    for (size, made_size) in [("16x4000", (50, 4096)), ("4000x16", (4096, 50))] {
        let extreme = made(&[&format!("-f lavfi -i testsrc2=s={size}:r=25:d=0.08"), H264], "extreme.ts");
        let made = transcoded(&extreme, &[profile(Container::MpegTs)]).unwrap();
        let rendition = &made.renditions[0];
        assert_eq!((rendition.width, rendition.height), made_size);
        assert_eq!(rendition.pixels, 2 * u64::from(made_size.0 * made_size.1));
    }
}

#[test]
fn pictures_above_the_limit_are_refused_before_they_are_decoded() {
    let limits = |width, height| MediaError::Dimensions { width, height, min: 16, max: 4096 };
    for codec in [VP9, AV1] {
        let source = "-f lavfi -i testsrc2=s=4224x64:r=25:d=0.04";
        assert_eq!(refused(made(&[source, codec], "large.mp4")), limits(4224, 64), "{codec}");
    }
    for (size, width, height) in [("7680x4320", 7680, 4320), ("4224x64", 4224, 64)] {
        let source = format!("-f lavfi -i testsrc2=s={size}:r=25:d=0.04");
        assert_eq!(refused(made(&[&source, H264], "large.ts")), limits(width, height));
        assert_eq!(refused(made(&[&source, HEVC], "large.mp4")), limits(width, height));
    }
}

#[test]
fn pictures_below_the_limit_are_refused() {
    let tiny = made(&["-f lavfi -i testsrc2=s=64x14:r=25:d=0.08", H264], "tiny.ts");
    assert_eq!(refused(tiny), MediaError::Dimensions { width: 64, height: 14, min: 16, max: 4096 });
}

#[test]
fn what_a_file_is_called_does_not_matter() {
    // The names are those of temporary files; nobody is told of them. The first bytes decide.
    let (ts, mp4) = (made(&[PICTURE, H264, "-f mpegts"], "named.mp4"), made(&[PICTURE, H264, "-f mp4"], "named.ts"));
    for (segment, container) in [(ts, "mpegts"), (mp4, "mp4")] {
        assert_eq!(probe(&segment).unwrap().container, container);
        assert_eq!(transcoded(&segment, &[profile(Container::MpegTs)]).unwrap().source.frames, 10);
    }
}

#[test]
fn other_containers_are_refused() {
    for file in ["other.mkv", "other.flv", "other.avi", "other.h264"] {
        assert_eq!(refused(made(&[PICTURE, H264], file)), MediaError::NotTransportStream, "{file}");
    }
    for (options, file) in
        [("-c:v libvpx-vp9", "other.webm"), ("-frames:v 1", "other.jpg"), ("-frames:v 1", "other.png")]
    {
        assert_eq!(refused(made(&[PICTURE, options], file)), MediaError::NotTransportStream, "{file}");
    }
}

#[test]
fn scrambled_transport_streams_are_refused() {
    let scrambled = changed(&plain(), |packet| {
        if pid(packet) == PICTURES {
            packet[3] |= 0x80;
            packet[20..].iter_mut().for_each(|byte| *byte ^= 0x5a);
        }
    });
    assert_eq!(refused(scrambled), MediaError::Encrypted);
}

#[test]
fn protected_mp4_is_refused() {
    let keys = "-encryption_scheme cenc-aes-ctr -encryption_key 76a6c65c5ea762046bd749a2e632ccbb \
                -encryption_kid a7e61c373e219033c21091fa607bf3b8";
    for layout in ["", "-movflags +frag_keyframe+empty_moov"] {
        assert_eq!(refused(made(&[PICTURE, H264, keys, layout], "protected.mp4")), MediaError::Encrypted, "{layout}");
    }
}

#[test]
fn bytes_encrypted_as_a_whole_are_refused_as_noise() {
    let mut state = 7_u64;
    let noise = plain().into_iter().map(|byte| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        byte ^ (state >> 56) as u8
    });
    assert_eq!(refused(noise.collect::<Bytes>()), MediaError::NotTransportStream);
}
