//! Clocks as encoders and networks leave them (docs/inputs.md).
use std::collections::BTreeSet;

use bytes::Bytes;
use streamflow_media::{FrameRate, MediaError, TranscodeSettings, probe};
use streamflow_types::{Container, Gop, Profile};

use crate::{
    clip,
    made::{H264, PICTURE_AND_SOUND, made},
    outcome::{profile, refused, settings, transcoded, transcoded_with},
    surgery::{PICTURES, SOUND, Times, retimed},
};

/// One frame at 25 a second, in ticks.
const STEP: i64 = 3600;
/// Where 33 bits begin anew.
const WRAP: i64 = 1 << 33;

/// Twenty frames with sound; with B frames, so that decode times differ from those of showing.
fn source() -> Bytes {
    let picture = "-f lavfi -i testsrc2=s=160x90:r=25:d=0.8 -f lavfi -i sine=r=48000:d=0.8";
    made(&[picture, "-c:v libx264 -preset veryfast -bf 2 -b_strategy 0 -g 10 -c:a aac"], "times.ts")
}

fn shown_at(bytes: &Bytes, stream: &str) -> Vec<i64> {
    let mut times = clip::times(bytes, stream, "pts");
    times.sort_unstable();
    times
}

/// Times of the pictures of the transport stream made of a segment that has twenty.
fn pictures_of(segment: &Bytes) -> Vec<i64> {
    let made = transcoded(segment, &[profile(Container::MpegTs), profile(Container::Mp4)]).unwrap();
    assert_eq!(made.source.frames, 20);
    for rendition in &made.renditions {
        assert_eq!(rendition.frames, 20, "one for one");
        let dts = clip::times(&rendition.bytes, "v", "dts");
        assert!(dts.is_sorted_by(|a, b| a < b), "{dts:?}");
    }
    shown_at(&made.renditions[0].bytes, "v")
}

/// Steps between times, each kind once.
fn steps(times: &[i64]) -> BTreeSet<i64> {
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn missing_decode_times_are_made_up() {
    let segment = retimed(&source(), PICTURES, |_, times| Times { dts: None, ..times });
    assert_eq!(pictures_of(&segment), shown_at(&source(), "v"));
}

#[test]
fn pictures_without_any_time_follow_each_other_at_their_rate() {
    let plain = made(&["-f lavfi -i testsrc2=s=160x90:r=25:d=0.8", H264], "plain.ts");
    let segment =
        retimed(&plain, PICTURES, |index, times| if index == 0 { times } else { Times { pts: None, dts: None } });
    assert_eq!(pictures_of(&segment), shown_at(&plain, "v"));
}

#[test]
fn repeated_decode_times_are_told_apart() {
    let mut last = None;
    let segment = retimed(&source(), PICTURES, |index, times| {
        let dts = if index % 3 == 2 { last } else { times.dts.or(times.pts) };
        last = dts;
        Times { dts: times.dts.and(dts), ..times }
    });
    assert_ne!(segment, source());
    assert_eq!(pictures_of(&segment), shown_at(&source(), "v"), "when they are shown is not touched");
}

#[test]
fn pictures_shown_at_one_time_are_shown_one_after_the_other() {
    let plain = made(&["-f lavfi -i testsrc2=s=160x90:r=25:d=0.8", H264], "plain.ts");
    let segment = retimed(&plain, PICTURES, |index, times| {
        let back = if index % 4 == 3 { STEP } else { 0 };
        Times { pts: times.pts.map(|pts| pts - back), dts: None }
    });
    let times = pictures_of(&segment);
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    assert!(times.iter().zip(shown_at(&plain, "v")).all(|(a, b)| (b - a).abs() <= STEP), "{times:?}");
}

#[test]
fn decode_times_after_those_of_showing_are_moved() {
    let segment = retimed(&source(), PICTURES, |_, times| Times { dts: times.dts.map(|dts| dts + 4 * STEP), ..times });
    let times = pictures_of(&segment);
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
}

#[test]
fn decode_times_equal_to_those_of_showing_do_not_move_pictures() {
    let segment = retimed(&source(), PICTURES, |_, times| Times { dts: times.dts.and(times.pts), ..times });
    assert_eq!(pictures_of(&segment), shown_at(&source(), "v"));
}

#[test]
fn one_wild_time_costs_nothing_but_its_own_picture() {
    for wild in [3600 * 90_000, -60 * 90_000] {
        let segment = retimed(&source(), PICTURES, |index, times| {
            let by = if index == 7 { wild } else { 0 };
            Times { pts: times.pts.map(|pts| pts + by), ..times }
        });
        let (times, untouched) = (pictures_of(&segment), shown_at(&source(), "v"));
        let moved = times.iter().zip(&untouched).filter(|(a, b)| a != b).count();
        assert!(times.is_sorted_by(|a, b| a < b) && moved <= 3, "{wild}: {times:?}");
    }
}

#[test]
fn times_that_wrap_inside_a_segment_are_followed() {
    let start = shown_at(&source(), "v")[0];
    let late = |times: Times| {
        let late = |ticks: i64| ticks - start + WRAP - 10 * STEP;
        Times { pts: times.pts.map(late), dts: times.dts.map(late) }
    };
    let segment = retimed(&retimed(&source(), PICTURES, |_, times| late(times)), SOUND, |_, times| late(times));
    let info = probe(&segment).unwrap();
    assert_eq!((info.frames, info.fps, info.duration.as_millis()), (20, FrameRate::new(25, 1), 800));
    let sharp = Profile { gop: Gop::Millis(200), ..profile(Container::MpegTs) };
    let made = transcoded(&segment, &[sharp]).unwrap().renditions.remove(0);
    let around = |bytes: &Bytes, stream| {
        shown_at(bytes, stream).into_iter().map(|pts| pts.rem_euclid(WRAP)).collect::<BTreeSet<_>>()
    };
    for stream in ["v", "a"] {
        assert_eq!(around(&made.bytes, stream), around(&segment, stream), "{stream}");
    }
}

/// Pictures from the tenth on, and the sound from that moment, `by` ticks later.
fn jumping(by: i64) -> Bytes {
    let source = source();
    let moment = shown_at(&source, "v")[10];
    let later = |times: Times, jumps: bool| {
        let later = |ticks: i64| ticks + if jumps { by } else { 0 };
        Times { pts: times.pts.map(later), dts: times.dts.map(later) }
    };
    let pictures = retimed(&source, PICTURES, |index, times| later(times, index >= 10));
    retimed(&pictures, SOUND, |_, times| later(times, times.pts >= Some(moment)))
}

#[test]
fn a_small_gap_stays_a_gap() {
    let by = 2 * 90_000;
    let times = pictures_of(&jumping(by));
    assert_eq!(steps(&times), BTreeSet::from([STEP, STEP + by]));
}

#[test]
fn a_clock_that_is_set_does_not_tear_the_segment_apart() {
    for by in [3600 * 90_000, 31 * 90_000, -2 * 90_000, -3600 * 90_000] {
        let segment = jumping(by);
        let times = pictures_of(&segment);
        assert_eq!(steps(&times), BTreeSet::from([STEP]), "{by}: pictures go on as before");
        let info = probe(&segment).unwrap();
        assert_eq!((info.frames, info.duration.as_millis()), (20, 800), "{by}");
        let made = transcoded(&segment, &[profile(Container::MpegTs)]).unwrap().renditions.remove(0);
        let (sound, untouched) = (shown_at(&made.bytes, "a"), shown_at(&source(), "a"));
        assert!(sound.iter().zip(&untouched).all(|(a, b)| (a - b).abs() <= STEP), "{by}: with their sound");
    }
}

#[test]
fn slides_that_stand_for_long_are_no_jump() {
    let slides = made(&["-f lavfi -i testsrc2=s=160x90:r=1/20:d=80", H264], "slides.ts");
    let made = transcoded(&slides, &[profile(Container::MpegTs)]).unwrap();
    assert_eq!((made.source.frames, made.source.duration), (4, 80 * 90_000));
    assert_eq!(steps(&shown_at(&made.renditions[0].bytes, "v")), BTreeSet::from([20 * 90_000]));
}

#[test]
fn segments_longer_than_five_minutes_are_refused() {
    let long = made(&["-f lavfi -i color=s=32x32:r=1:d=310", H264], "long.ts");
    assert_eq!(refused(long), MediaError::TooLong { millis: 310_000, max: 300_000 });
}

#[test]
fn a_stream_that_starts_at_zero_has_no_negative_times() {
    let reordering = TranscodeSettings { preset: "veryfast".into(), ..settings() };
    for file in ["zero.ts", "zero.mp4"] {
        let zero = made(&[PICTURE_AND_SOUND, H264, "-c:a aac -muxdelay 0 -muxpreload 0"], file);
        let made = transcoded_with(&zero, &[profile(Container::MpegTs)], &reordering).unwrap().renditions.remove(0);
        let times = shown_at(&made.bytes, "v");
        assert!(times[0] < STEP && steps(&times) == BTreeSet::from([STEP]), "{file} {times:?}");
        assert_eq!(clip::times(&made.bytes, "v", "dts"), times, "{file}: there is no room for reordering");
    }
}
