//! What a segment may consist of (docs/inputs.md): every kind is made into renditions that look like it, frame by frame.
use std::collections::BTreeSet;

use bytes::Bytes;
use streamflow_media::{MediaError, Rendition, SourceReport, inspect, probe};
use streamflow_types::{Container, Profile};

use crate::{
    clip,
    made::{AV1, H264, HEVC, PICTURE, PICTURE_AND_SOUND, VP9, difference, made, remade, shown},
    outcome::{profile, refused, transcoded},
    surgery,
};

/// Least that tells two pictures of the test clip apart; coding alone makes less.
const ALIKE: f64 = 1.2;

/// Makes both containers of a segment of ten frames, and compares them with it. `filter` is what a viewer expects to be
/// done to the source's pictures, and ends with a comma unless there is nothing to do.
#[track_caller]
fn looks_right(source: &Bytes, filter: &str) -> (SourceReport, Vec<Rendition>) {
    let made = transcoded(source, &[profile(Container::MpegTs), profile(Container::Mp4)]).unwrap();
    assert_eq!((made.source.frames, made.source.decode_errors), (10, 0));
    let expected = shown(source, filter);
    for rendition in &made.renditions {
        let seen = inspect(&rendition.bytes).unwrap();
        assert_eq!((seen.frames, seen.pixels, seen.decode_errors), (10, rendition.pixels, 0));
        assert_eq!((seen.info.width, seen.info.height), (rendition.width, rendition.height));
        let apart = difference(&expected, &shown(&rendition.bytes, ""));
        assert!(apart < ALIKE, "{}: {apart}", rendition.codecs);
    }
    (made.source, made.renditions)
}

/// What ffprobe says of the pictures.
fn told(bytes: &Bytes, entry: &str) -> String {
    clip::probe_rows(bytes, "v", &["-show_entries", &format!("stream={entry}")]).remove(0)
}

fn formats_of(codec: &str, options: &str, formats: &[&str], file: &str) {
    for format in formats {
        let source = made(&[PICTURE, options, "-pix_fmt", format], file);
        let info = probe(&source).unwrap();
        assert_eq!((info.video_codec.as_str(), info.frames, info.starts_with_idr), (codec, 10, true), "{format}");
        let (report, renditions) = looks_right(&source, "");
        assert_eq!((report.width, report.height, report.pixels), (160, 90, 10 * 160 * 90), "{format}");
        for made in &renditions {
            assert_eq!(told(&made.bytes, "pix_fmt"), "yuv420p", "{format}: what every player decodes");
        }
    }
}

#[test]
fn h264_of_every_depth_and_chroma_format() {
    let formats = ["yuv420p", "yuv420p10le", "yuv422p", "yuv422p10le", "yuv444p", "yuv444p10le", "gray", "gray10le"];
    formats_of("h264", H264, &formats, "h264.ts");
    formats_of("h264", H264, &formats[..2], "h264.mp4");
}

#[test]
fn hevc_of_every_depth_and_chroma_format() {
    let formats = ["yuv420p", "yuv420p10le", "yuv422p", "yuv422p10le", "yuv444p", "yuv444p10le", "yuv420p12le", "gray"];
    formats_of("hevc", HEVC, &formats, "hevc.ts");
    formats_of("hevc", HEVC, &formats[..2], "hevc.mp4");
}

#[test]
fn vp9_of_every_depth_and_chroma_format() {
    let formats = ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"];
    formats_of("vp9", VP9, &formats, "vp9.mp4");
}

#[test]
fn av1_of_every_depth_and_chroma_format() {
    formats_of("av1", AV1, &["yuv420p", "yuv420p10le"], "av1.mp4");
    let formats = ["yuv422p", "yuv422p10le", "yuv444p", "yuv444p10le", "yuv420p12le"];
    formats_of("av1", "-c:v libaom-av1 -cpu-used 8", &formats, "aom.mp4");
}

#[test]
fn rgb_becomes_what_players_decode() {
    let source = made(&[PICTURE, "-c:v libx264rgb -preset ultrafast"], "rgb.ts");
    let (_, renditions) = looks_right(&source, "");
    assert_ne!(told(&renditions[0].bytes, "color_space"), "gbr", "it is no longer RGB");
}

#[test]
fn brightness_of_full_range_sources_is_kept() {
    for (options, format, file) in [
        (H264, "yuvj420p", "full.ts"),
        (H264, "yuv420p10le", "full-10.ts"),
        (HEVC, "yuv420p10le", "full-hevc.mp4"),
        (VP9, "yuv420p", "full.mp4"),
        (AV1, "yuv420p", "full-av1.mp4"),
    ] {
        let range = "-vf scale=out_range=pc -color_range pc -pix_fmt";
        looks_right(&made(&[PICTURE, options, range, format], file), "");
    }
}

#[test]
fn mp4_may_be_fragmented_or_whole_with_its_index_first_or_last() {
    let reordered = [PICTURE_AND_SOUND, "-c:v libx264 -bf 2 -c:a aac"].join(" ");
    let layouts = ["", "-movflags +faststart", "-movflags +frag_keyframe+empty_moov", "-frag_duration 100000"];
    for (index, layout) in layouts.into_iter().enumerate() {
        let source = made(&[&reordered, layout], &format!("{index}.mp4"));
        let info = probe(&source).unwrap();
        assert_eq!((info.container.as_str(), info.codecs.ends_with("mp4a.40.2")), ("mp4", true), "{layout}");
        let (_, renditions) = looks_right(&source, "");
        assert!(renditions.iter().all(|made| probe(&made.bytes).unwrap().has_audio()), "{layout}");
    }
}

#[test]
fn interlaced_pictures_come_out_whole_one_for_each() {
    // Fields of fifty moments a second, two of them in each of ten frames.
    let fields = "-f lavfi -i testsrc2=s=160x96:r=50:d=0.4 -vf tinterlace=interleave_top -flags +ildct+ilme -top 1";
    let times = |bytes: &Bytes| clip::times(bytes, "v", "pts").into_iter().collect::<BTreeSet<_>>();
    let whole = |source: &Bytes| {
        let (report, renditions) = looks_right(source, "bwdif=mode=send_frame,");
        assert_eq!((report.frames, report.pixels), (10, 10 * 160 * 96));
        for made in &renditions {
            let rows = clip::probe_rows(&made.bytes, "v", &["-show_entries", "frame=interlaced_frame"]);
            assert_eq!(rows, vec!["0"; 10], "progressive");
        }
        times(&renditions[0].bytes)
    };
    let source = made(&[fields, H264], "fields.ts");
    assert_eq!(whole(&source), times(&source));
    whole(&made(&[fields, H264], "fields.mp4"));
}

#[test]
fn hevc_with_a_picture_for_each_field_is_refused() {
    let fields = "-f lavfi -i testsrc2=s=160x96:r=50:d=0.2 -c:v libx265 -preset ultrafast \
                  -x265-params log-level=error:interlace=tff";
    assert_eq!(
        refused(made(&[fields], "fields-hevc.ts")),
        MediaError::UnsupportedVideo { codec: "hevc in fields".into() }
    );
}

#[test]
fn frames_at_uneven_times_keep_them_or_come_evenly_when_asked() {
    let uneven = "-vf select='not(eq(mod(n,3),1))' -fps_mode vfr";
    for file in ["uneven.ts", "uneven.mp4"] {
        let source = made(&["-f lavfi -i testsrc2=s=160x90:r=25:d=0.6", uneven, H264], file);
        let even = Profile { name: "even".into(), fps: 25, ..profile(Container::MpegTs) };
        let made = transcoded(&source, &[profile(Container::MpegTs), even]).unwrap();
        assert_eq!((made.source.frames, made.renditions[0].frames), (10, 10));
        let times = |bytes: &Bytes| clip::times(bytes, "v", "pts").into_iter().collect::<BTreeSet<_>>();
        let steps =
            |times: BTreeSet<i64>| times.iter().zip(times.iter().skip(1)).map(|(a, b)| b - a).collect::<BTreeSet<_>>();
        assert_eq!(steps(times(&made.renditions[0].bytes)), BTreeSet::from([3600, 7200]), "{file}");
        assert_eq!(steps(times(&made.renditions[1].bytes)), BTreeSet::from([3600]), "{file}");
        assert!((15..=16).contains(&made.renditions[1].frames), "{file}: {}", made.renditions[1].frames);
    }
}

/// Ten frames of which MP4 says that they are to be turned.
fn turned(degrees: &str) -> Bytes {
    let plain = made(&[PICTURE, H264], "plain.mp4");
    remade(&plain, "plain.mp4", &["-c", "copy", "-metadata:s:v", &format!("rotate={degrees}")], "turned.mp4")
}

#[test]
fn pictures_are_turned_as_the_file_says() {
    for (degrees, upright) in [("90", (90, 160)), ("180", (160, 90)), ("270", (90, 160))] {
        let source = turned(degrees);
        // ffmpeg, as the viewer here, turns the pictures of both sides as they say.
        let (report, renditions) = looks_right(&source, "");
        assert_eq!((report.width, report.height), upright, "{degrees}");
        assert_eq!((renditions[0].width, renditions[0].height), upright, "{degrees}: no turn is left to the player");
        let info = probe(&source).unwrap();
        assert_eq!((info.width, info.height), upright, "{degrees}");
    }
}

#[test]
fn pictures_are_turned_as_the_first_of_them_says() {
    let plain = made(&[PICTURE, H264], "plain.mp4");
    let insert = "h264_metadata=display_orientation=insert:rotate=90";
    let source = remade(&plain, "plain.mp4", &["-c", "copy", "-bsf:v", insert], "turned.ts");
    let made = transcoded(&source, &[profile(Container::MpegTs)]).unwrap();
    assert_eq!((made.source.width, made.source.height), (90, 160));
    // ffmpeg would turn that picture alone.
    assert!(difference(&shown(&turned("90"), ""), &shown(&made.renditions[0].bytes, "")) < ALIKE);
}

#[test]
fn mirrored_pictures_are_mirrored_back() {
    let plain = made(&[PICTURE, H264], "plain.mp4");
    for (way, filter) in [("horizontal", "hflip,"), ("vertical", "vflip,")] {
        let insert = format!("h264_metadata=display_orientation=insert:flip={way}");
        let source = remade(&plain, "plain.mp4", &["-c", "copy", "-bsf:v", &insert], "mirrored.ts");
        let made = transcoded(&source, &[profile(Container::MpegTs)]).unwrap();
        assert!(difference(&shown(&plain, filter), &shown(&made.renditions[0].bytes, "")) < ALIKE, "{way}");
    }
}

#[test]
fn shape_of_pixels_goes_along_and_turns_with_the_picture() {
    let wide = made(&[PICTURE, H264, "-vf setsar=4/3"], "wide.mp4");
    let turned = remade(&wide, "wide.mp4", &["-c", "copy", "-metadata:s:v", "rotate=90"], "turned.mp4");
    for (source, shape) in [(wide, "4:3"), (turned, "3:4")] {
        let (_, renditions) = looks_right(&source, "");
        assert_eq!(told(&renditions[0].bytes, "sample_aspect_ratio"), shape);
    }
}

#[test]
fn sides_may_be_odd() {
    let source = made(&["-f lavfi -i testsrc=s=161x91:r=25:d=0.4", VP9], "odd.mp4");
    let (report, renditions) = looks_right(&source, "");
    assert_eq!((report.width, report.height), (161, 91));
    assert_eq!((renditions[0].width, renditions[0].height), (160, 90));
}

#[test]
fn another_size_inside_a_segment_leaves_the_renditions_at_theirs() {
    let two = |codec: &str| {
        let first = made(&["-f lavfi -i testsrc2=s=160x90:r=25:d=0.2", codec], "first.ts");
        let second = made(&["-f lavfi -i testsrc2=s=320x180:r=25:d=0.2", codec, "-output_ts_offset 0.2"], "second.ts");
        (surgery::joined(&[first.clone(), second.clone()]), [first, second])
    };
    let (both, parts) = two(H264);
    let in_mp4 = remade(&both, "both.ts", &["-c", "copy"], "both.mp4");
    // Times of the second part follow those of the first where no picture waits for a later one.
    let (hevc, hevc_parts) = two(&format!("{HEVC}:bframes=0"));
    for (source, [first, second]) in [(both, parts.clone()), (in_mp4, parts), (hevc, hevc_parts)] {
        let info = probe(&source).unwrap();
        assert_eq!((info.frames, info.width, info.height), (10, 160, 90), "those of the first picture");
        let made = transcoded(&source, &[profile(Container::MpegTs)]).unwrap();
        assert_eq!((made.source.width, made.source.frames), (160, 10));
        assert_eq!((made.source.pixels, made.source.decode_errors), (5 * 160 * 90 + 5 * 320 * 180, 0));
        let rendition = &made.renditions[0];
        assert_eq!((rendition.width, rendition.height, rendition.frames), (160, 90, 10));
        let expected = [shown(&first, ""), shown(&second, "")].concat();
        let apart = difference(&expected, &shown(&rendition.bytes, ""));
        assert!(apart < ALIKE, "{}: {apart}", info.video_codec);
    }
}

#[test]
fn other_parameters_inside_a_segment_are_followed() {
    let first = made(&["-f lavfi -i testsrc2=s=160x90:r=25:d=0.2", H264], "first.ts");
    let second = "-f lavfi -i testsrc2=s=160x90:r=25:d=0.2 -c:v libx264 -pix_fmt yuv444p -output_ts_offset 0.2";
    let source = surgery::joined(&[first, made(&[second], "second.ts")]);
    looks_right(&source, "");
}

#[test]
fn each_segment_stands_for_itself() {
    // Another codec, size and rate in every segment of a stream: nothing is remembered of the one before.
    let rate = "-f lavfi -i testsrc2=s=320x180:r=50:d=0.2";
    let segments = [made(&[PICTURE, H264], "a.ts"), made(&[PICTURE, HEVC], "b.ts"), made(&[rate, H264], "c.ts")];
    let alone: Vec<_> = segments.iter().map(|s| transcoded(s, &[profile(Container::MpegTs)]).unwrap()).collect();
    for (segment, alone) in segments.iter().zip(&alone).rev() {
        assert_eq!(transcoded(segment, &[profile(Container::MpegTs)]).as_ref(), Ok(alone));
    }
}

#[test]
fn only_the_first_pictures_and_the_first_sound_are_taken() {
    let two = "-f lavfi -i testsrc2=s=160x90:r=25:d=0.4 -f lavfi -i testsrc=s=80x44:r=25:d=0.4 -f lavfi -i sine=d=0.4 \
               -map 0 -map 1 -map 2 -map 2 -c:a aac";
    let (report, renditions) = looks_right(&made(&[two, H264], "two.ts"), "");
    assert_eq!((report.width, report.height), (160, 90));
    let sounds: BTreeSet<_> =
        clip::probe_rows(&renditions[0].bytes, "a", &["-show_entries", "stream=index"]).into_iter().collect();
    assert_eq!(sounds.len(), 1);
}

#[test]
fn a_cover_picture_is_no_video() {
    let cover = "-f lavfi -i color=s=64x64:d=0.04:r=25 -map 1 -map 0 -c:v:0 mjpeg -disposition:v:0 attached_pic \
                 -c:v:1 libx264 -preset:v:1 ultrafast";
    let source = made(&[PICTURE, cover], "cover.mp4");
    assert_eq!(probe(&source).unwrap().width, 160);
    looks_right(&source, "");
}
