//! What renditions may be (docs/inputs.md), as ffprobe and ffmpeg see them.
use std::collections::BTreeSet;

use bytes::Bytes;
use streamflow_media::{MediaError, Rendition, TranscodeSettings, inspect, probe};
use streamflow_types::{Container, Gop, Profile, VideoCodec};

use crate::{
    clip,
    made::{H264, PICTURE, PICTURE_AND_SOUND, VP9, difference, made, shown},
    outcome::{profile, settings, transcoded, transcoded_with},
};

/// Twenty frames with sound.
fn source() -> Bytes {
    let picture = "-f lavfi -i testsrc2=s=320x180:r=25:d=0.8 -f lavfi -i sine=r=48000:d=0.8";
    made(&[picture, H264, "-c:a aac"], "source.ts")
}

fn coded(encoder: VideoCodec, format: Container) -> Profile {
    Profile { encoder, ..profile(format) }
}

fn one(source: &Bytes, profile: Profile) -> Rendition {
    transcoded(source, &[profile]).unwrap().renditions.remove(0)
}

/// What ffprobe says of the pictures.
fn told(rendition: &Rendition, entry: &str) -> String {
    clip::probe_rows(&rendition.bytes, "v", &["-show_entries", &format!("stream={entry}")]).remove(0)
}

/// Whether each picture is a key frame, in the order of the file.
fn keys(rendition: &Rendition) -> Vec<bool> {
    let rows = clip::probe_rows(&rendition.bytes, "v", &["-show_entries", "packet=flags"]);
    rows.iter().map(|flags| flags.contains('K')).collect()
}

#[test]
fn every_codec_in_every_container_that_has_a_place_for_it() {
    use Container::{Mp4, MpegTs};
    let expected = shown(&source(), "");
    for (codec, container, name, begins) in [
        (VideoCodec::H264, MpegTs, "h264", "avc1.4d40"),
        (VideoCodec::H264, Mp4, "h264", "avc1.4d40"),
        (VideoCodec::H265, MpegTs, "hevc", "hvc1.1.6.L"),
        (VideoCodec::H265, Mp4, "hevc", "hvc1.1.6.L"),
        (VideoCodec::Vp9, Mp4, "vp9", "vp09.00.10.08,"),
    ] {
        let made = one(&source(), coded(codec, container));
        assert_eq!((made.width, made.height, made.frames, made.pixels), (160, 90, 20, 20 * 160 * 90), "{name}");
        assert_eq!((told(&made, "codec_name"), told(&made, "pix_fmt").as_str()), (name.into(), "yuv420p"));
        assert!(made.codecs.starts_with(begins) && made.codecs.ends_with(",mp4a.40.2"), "{}", made.codecs);
        let seen = inspect(&made.bytes).unwrap();
        assert_eq!((seen.frames, seen.decode_errors, &seen.info.codecs), (20, 0, &made.codecs), "{name}");
        assert!(seen.info.starts_with_idr && seen.info.has_audio(), "{name}");
        let apart = difference(&expected, &shown(&made.bytes, ""));
        assert!(apart < 2.0, "{} {container:?}: {apart}", made.codecs);
        let shown_at = |bytes: &Bytes| clip::times(bytes, "v", "pts").into_iter().collect::<BTreeSet<_>>();
        if container == MpegTs {
            assert_eq!(shown_at(&made.bytes), shown_at(&source()), "{name}");
        }
    }
}

#[test]
fn vp9_in_mp4_says_its_level() {
    let made = one(&source(), coded(VideoCodec::Vp9, Container::Mp4));
    let at = made.bytes.windows(4).position(|window| window == b"vpcC").unwrap();
    // After version and flags: profile 0, level 1.
    assert_eq!(made.bytes[at + 8..at + 10], [0, 10]);
}

#[test]
fn hevc_in_mp4_has_its_parameter_sets_before_the_pictures() {
    let made = one(&source(), coded(VideoCodec::H265, Container::Mp4));
    assert_eq!(told(&made, "codec_tag_string"), "hvc1", "what players on Apple's systems take");
}

#[test]
fn what_no_container_has_a_place_for_is_refused_before_any_work() {
    for (codec, container, why) in [
        (VideoCodec::Vp9, Container::MpegTs, "VP9 goes into MP4 only, transport streams have no place for it"),
        (VideoCodec::Vp8, Container::Mp4, "no encoder for Vp8 beside libx264"),
        (VideoCodec::Vp8, Container::MpegTs, "no encoder for Vp8 beside libx264"),
    ] {
        let error = transcoded(&source(), &[profile(Container::MpegTs), coded(codec, container)]).unwrap_err();
        assert_eq!(error, MediaError::UnsupportedProfile { name: "made".into(), reason: why.into() });
    }
}

#[test]
fn bit_rates_are_held_by_every_codec() {
    let busy = made(&["-f lavfi -i testsrc2=s=640x360:r=25:d=2,noise=alls=20:allf=t", H264, "-b:v 20M"], "busy.ts");
    let profiles = [
        (VideoCodec::H264, Container::MpegTs),
        (VideoCodec::H265, Container::MpegTs),
        (VideoCodec::Vp9, Container::Mp4),
    ]
    .map(|(codec, container)| Profile { width: 640, height: 360, bitrate: 500_000, ..coded(codec, container) });
    for made in transcoded(&busy, &profiles).unwrap().renditions {
        let bits = made.bytes.len() as u64 * 8 / 2;
        assert!((250_000..1_000_000).contains(&bits), "{} makes {bits} bit/s", made.codecs);
    }
}

#[test]
fn key_frames_come_by_time_or_with_every_frame() {
    let gop = |gop, codec, container| keys(&one(&source(), Profile { gop, ..coded(codec, container) }));
    for (codec, container) in [
        (VideoCodec::H264, Container::MpegTs),
        (VideoCodec::H265, Container::MpegTs),
        (VideoCodec::Vp9, Container::Mp4),
    ] {
        let by_time = gop(Gop::Millis(400), codec, container);
        assert!(by_time[0] && by_time[10] && by_time.iter().filter(|key| **key).count() == 2, "{codec:?} {by_time:?}");
        assert!(gop(Gop::IntraOnly, codec, container).into_iter().all(|key| key), "{codec:?}");
        let first = gop(Gop::EncoderDefault, codec, container);
        assert!(first[0] && !first[1..].contains(&true), "{codec:?} {first:?}");
    }
}

#[test]
fn groups_of_pictures_are_closed_in_every_codec() {
    // What comes after the second key frame decodes without what came before it.
    for (codec, container) in [(VideoCodec::H264, Container::MpegTs), (VideoCodec::H265, Container::MpegTs)] {
        let medium = TranscodeSettings { preset: "medium".into(), ..settings() };
        let profile = Profile { gop: Gop::Millis(400), ..coded(codec, container) };
        let made = transcoded_with(&source(), &[profile], &medium).unwrap().renditions.remove(0);
        let rows = clip::probe_rows(&made.bytes, "v", &["-show_entries", "packet=pts,flags"]);
        let at = rows.iter().skip(1).position(|row| row.contains('K')).unwrap() + 1;
        let time = |row: &String| row.split(',').next().unwrap().parse::<i64>().unwrap();
        assert!(rows[at..].iter().all(|row| time(row) >= time(&rows[at])), "{codec:?} {rows:?}");
    }
}

#[test]
fn frames_come_at_exactly_the_rate_asked_for() {
    let asked = |fps, fps_den, codec, container| {
        let made = one(&source(), Profile { fps, fps_den, ..coded(codec, container) });
        let mut times = clip::times(&made.bytes, "v", "pts");
        times.sort_unstable();
        (made.frames, times.windows(2).map(|pair| pair[1] - pair[0]).collect::<BTreeSet<_>>())
    };
    for (codec, container) in [
        (VideoCodec::H264, Container::MpegTs),
        (VideoCodec::H265, Container::MpegTs),
        (VideoCodec::Vp9, Container::Mp4),
    ] {
        assert_eq!(asked(25, 2, codec, container), (10, BTreeSet::from([7200])), "{codec:?}");
        assert_eq!(asked(50, 1, codec, container), (40, BTreeSet::from([1800])), "{codec:?}");
        assert_eq!(asked(25, 1, codec, container), (20, BTreeSet::from([3600])), "{codec:?}");
        let (frames, steps) = asked(30_000, 1001, codec, container);
        assert!((23..=25).contains(&frames) && steps == BTreeSet::from([3003]), "{codec:?} {frames} {steps:?}");
    }
}

#[test]
fn shape_is_kept_with_even_sides() {
    for (size, made_size) in
        [("320x180", (160, 90)), ("180x320", (90, 160)), ("322x138", (160, 68)), ("150x150", (160, 160))]
    {
        let source = made(&[&format!("-f lavfi -i testsrc2=s={size}:r=25:d=0.08"), H264], "shape.ts");
        let made = one(&source, profile(Container::MpegTs));
        assert_eq!((made.width, made.height), made_size, "{size}");
    }
}

#[test]
fn sound_that_players_know_is_passed_through_from_and_to_both_containers() {
    for (codec, name) in [("aac", "mp4a.40.2"), ("libmp3lame", "mp4a.40.34"), ("ac3", "ac-3")] {
        for file in ["sound.ts", "sound.mp4"] {
            let source = made(&[PICTURE_AND_SOUND, H264, "-c:a", codec], file);
            let made = transcoded(&source, &[profile(Container::MpegTs), profile(Container::Mp4)]).unwrap();
            let packets = probe(&source).unwrap().audio_packets;
            for rendition in made.renditions {
                let info = probe(&rendition.bytes).unwrap();
                assert_eq!((info.audio_packets, info.codecs.ends_with(name)), (packets, true), "{codec} {file}");
                assert!(rendition.codecs.ends_with(name));
            }
        }
    }
}

#[test]
fn sound_of_vp9_sources_goes_along() {
    let source = made(&[PICTURE_AND_SOUND, VP9, "-c:a aac"], "vp9.mp4");
    let made = transcoded(&source, &[profile(Container::MpegTs), coded(VideoCodec::Vp9, Container::Mp4)]).unwrap();
    for rendition in made.renditions {
        let info = probe(&rendition.bytes).unwrap();
        assert_eq!((info.frames, info.audio_packets), (10, probe(&source).unwrap().audio_packets));
    }
}

#[test]
fn other_sound_is_refused() {
    for (codec, name) in [("libopus", "opus"), ("mp2", "mp2")] {
        let source = made(&[PICTURE_AND_SOUND, H264, "-c:a", codec], "other.ts");
        let error = transcoded(&source, &[profile(Container::MpegTs)]).unwrap_err();
        assert_eq!(error, MediaError::UnsupportedAudio { codec: name.into() });
    }
    assert!(probe(&made(&[PICTURE, H264], "silent.ts")).is_ok());
}
