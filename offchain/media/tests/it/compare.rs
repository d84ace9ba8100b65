//! What the figures of a comparison say of honest work and of cheats.
use std::sync::OnceLock;

use bytes::Bytes;
use streamflow_media::{Comparison, MediaError, Sampling, compare};

use crate::clip::{self, made_by_ffmpeg};

const SAMPLING: Sampling = Sampling { seed: 5, frames: 6 };

/// Two seconds of the clip, 640 x 360.
fn source() -> Bytes {
    static SOURCE: OnceLock<Bytes> = OnceLock::new();
    let make = || {
        let clip = clip::path();
        let clip = clip.to_str().unwrap();
        made_by_ffmpeg(&["-i", clip, "-t", "2", "-an", "-vf", "scale=640:360", "-c:v", "libx264", "-b:v", "2M"])
    };
    SOURCE.get_or_init(make).clone()
}

/// What ffmpeg makes of the source.
fn made(args: &[&str]) -> Bytes {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("source.ts");
    std::fs::write(&file, source()).unwrap();
    let mut all = vec!["-copyts", "-i", file.to_str().unwrap()];
    all.extend(args);
    made_by_ffmpeg(&all)
}

fn encoded(filter: &str) -> Bytes {
    let rate = ["-b:v", "300k", "-maxrate", "300k", "-bufsize", "300k"];
    made(&[&["-vf", filter, "-c:v", "libx264", "-preset", "veryfast"][..], &rate].concat())
}

fn compared(rendition: Bytes) -> Comparison {
    compare(&source(), &[rendition], SAMPLING).unwrap().remove(0).unwrap()
}

#[test]
fn honest_work_is_like_its_source_at_any_frame_rate() {
    for filter in ["scale=320:180", "fps=30,scale=320:180", "fps=15,scale=320:180", "fps=50,scale=320:180"] {
        let figures = compared(encoded(filter));
        assert_eq!((figures.foreign, figures.flat, figures.frozen, figures.copied_permille), (0, 0, 0, 0), "{filter}");
        assert!(figures.compared == 6 && figures.psnr > 32.0 && figures.ssim > 0.9, "{filter}: {figures:?}");
        assert!(figures.detail.unwrap() > 0.5, "{filter}: {figures:?}");
        let size = (figures.inspection.info.width, figures.inspection.info.height);
        assert_eq!((size, figures.inspection.pixels), ((320, 180), figures.inspection.frames * 320 * 180), "{filter}");
    }
}

#[test]
fn a_clock_of_its_own_is_no_fault() {
    let figures = compared(made(&["-output_ts_offset", "100", "-vf", "scale=320:180", "-c:v", "libx264"]));
    assert!(figures.foreign == 0 && figures.psnr > 32.0, "{figures:?}");
}

#[test]
fn pictures_that_are_not_the_source_show() {
    let black = compared(encoded("scale=320:180,drawbox=c=black:t=fill"));
    assert!(black.textured >= 45 && black.black == black.textured && black.flat == black.textured, "{black:?}");
    let half = compared(encoded("scale=320:180,drawbox=c=green:t=fill:enable='gt(n,24)'"));
    assert!((20..30).contains(&half.flat) && half.black == 0, "{half:?}");
    let upside_down = compared(encoded("vflip,scale=320:180"));
    assert!(upside_down.foreign > 45 && upside_down.psnr < 20.0, "{upside_down:?}");
}

#[test]
fn frames_that_stand_still_show() {
    let frozen = compared(encoded("select='eq(n,0)',loop=49:1,setpts=N/25/TB+1.48,scale=320:180"));
    assert!(frozen.moving > 40 && frozen.frozen * 10 > frozen.moving * 8, "{frozen:?}");
    let slow = compared(encoded("fps=5,fps=25,scale=320:180"));
    assert!(slow.frozen * 2 > slow.moving, "{slow:?}");
}

#[test]
fn detail_that_was_never_encoded_shows() {
    let honest = compared(encoded("scale=320:180")).detail.unwrap();
    let scaled_up = compared(encoded("scale=160:90,scale=320:180")).detail.unwrap();
    assert!(scaled_up < 0.4 * honest, "{scaled_up} of {honest}");
}

#[test]
fn the_source_itself_is_recognised_in_another_wrapping() {
    let wrapped = made(&["-c", "copy", "-output_ts_offset", "7"]);
    assert_ne!(wrapped, source());
    assert_eq!(compared(wrapped).copied_permille, 1000);
    assert_eq!(compared(source()).psnr, 99.0);
}

#[test]
fn an_undecodable_rendition_spoils_only_its_own_comparison() {
    let garbage = Bytes::from(vec![0x47; 188 * 10]);
    let both = compare(&source(), &[garbage.clone(), source()], SAMPLING).unwrap();
    assert!(both[0].is_err() && both[1].is_ok());
    assert!(compare(&garbage, &[source()], SAMPLING).is_err());
    let none = compare(&source(), &[], SAMPLING);
    assert!(matches!(none, Err(MediaError::RenditionCount { count: 0, .. })));
}

#[test]
fn another_seed_looks_at_other_frames() {
    let rendition = encoded("scale=320:180");
    let of = |seed| {
        compare(&source(), std::slice::from_ref(&rendition), Sampling { seed, frames: 2 }).unwrap()[0].clone().unwrap()
    };
    assert_eq!(of(1), of(1));
    assert_ne!(of(1).psnr, of(2).psnr);
}
