//! The figures of a rendition beside those of ffmpeg's `psnr` and `ssim` filters.
use std::{fs, process::Command};

use bytes::Bytes;
use streamflow_media::{
    MediaError, Planes, PoolError, Quality, TranscodeSettings, WorkerPool, devnet_ladder, inspect, quality, transcode,
};
use streamflow_types::Profile;

use crate::clip::{self, made_by_ffmpeg};

/// How far our figures may be from ffmpeg's, which it prints with six digits.
const NEAR: f64 = 1e-4;
/// What ffmpeg does to our reference before it compares, where only the size differs.
const SCALED: &str = "scale=W:H:flags=bicubic+accurate_rnd+bitexact";
/// What it does to the rendition: nothing, if that is of 8 bits and 4:2:0 already.
const PLAIN: &str = "scale=flags=bicubic+accurate_rnd+bitexact,format=yuv420p";

/// What ffmpeg's filters say of a rendition, PSNR and SSIM. Without SIMD: its SSIM of some widths is wrong with it.
/// Without `shortest` the last frame would count again for each later one of the reference.
fn by_ffmpeg(reference: &Bytes, rendition: &Bytes, filter: &str) -> (Planes, Planes) {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &Bytes| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let (reference, rendition) = (file("reference.ts", reference), file("rendition.ts", rendition));
    let size = clip::output(
        "ffprobe",
        &["-v", "error", "-select_streams", "v", "-show_entries", "stream=width,height", "-of", "csv=p=0:s=x"]
            .into_iter()
            .chain([rendition.to_str().unwrap()])
            .collect::<Vec<_>>(),
    );
    let (width, height) = size.lines().next().unwrap().trim_end_matches('x').split_once('x').unwrap();
    let filter = filter.replace('W', width).replace('H', height);
    let graph =
        format!("[0:v]{PLAIN},split[a][b];[1:v]{filter},split[c][d];[a][c]psnr=shortest=1;[b][d]ssim=shortest=1");
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "info", "-cpuflags", "0", "-copyts", "-i"]).arg(rendition);
    command.arg("-i").arg(reference).args(["-lavfi", &graph, "-f", "null", "-"]);
    let said = command.output().unwrap();
    let said = String::from_utf8(said.stderr).unwrap();
    let figures = |name: &str, keys: [&str; 4]| {
        let line = said.lines().find_map(|line| line.split_once(name)).unwrap_or_else(|| panic!("{said}")).1;
        let [y, u, v, all] = keys.map(|key| {
            let text = line.split_whitespace().find_map(|word| word.strip_prefix(key)).unwrap();
            text.parse().unwrap_or_else(|_| panic!("{key}{text}"))
        });
        Planes { y, u, v, all }
    };
    (figures("PSNR ", ["y:", "u:", "v:", "average:"]), figures("SSIM ", ["Y:", "U:", "V:", "All:"]))
}

fn assert_near(ours: Planes, theirs: Planes, what: &str) {
    let pairs = [(ours.y, theirs.y), (ours.u, theirs.u), (ours.v, theirs.v), (ours.all, theirs.all)];
    let near = |(ours, theirs): &(f64, f64)| ours == theirs || (ours - theirs).abs() < NEAR;
    assert!(pairs.iter().all(near), "{what}: {ours:?}, ffmpeg: {theirs:?}");
}

/// Measures with both, and returns what both say.
fn agreed(reference: &Bytes, rendition: &Bytes, filter: &str, what: &str) -> Quality {
    let ours = quality(reference, rendition).unwrap();
    let (psnr, ssim) = by_ffmpeg(reference, rendition, filter);
    assert_near(ours.psnr(), psnr, what);
    assert_near(ours.ssim, ssim, what);
    ours
}

fn profile(name: &str, width: u32, height: u32, fps: u32, fps_den: u32) -> Profile {
    Profile { fps, fps_den, ..Profile::new(name, width, height, 600_000).unwrap() }
}

/// What ffmpeg makes of a segment whose times it keeps.
fn made(source: &Bytes, args: &[&str]) -> Bytes {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("source.ts");
    fs::write(&file, source).unwrap();
    let mut all = vec!["-copyts", "-i", file.to_str().unwrap(), "-an", "-c:v", "libx264", "-preset", "ultrafast"];
    all.extend(["-muxdelay", "0", "-fps_mode", "passthrough"]);
    all.extend(args);
    made_by_ffmpeg(&all)
}

#[test]
fn every_size_and_half_the_frames_are_as_ffmpeg_measures_them() {
    let source = clip::segment(4);
    let profiles = [
        profile("720p", 1280, 720, 0, 1),
        profile("480p", 854, 480, 0, 1),
        profile("360p", 640, 360, 0, 1),
        profile("240p", 426, 240, 0, 1),
        profile("half", 640, 360, 25, 2),
    ];
    let settings = TranscodeSettings { preset: "ultrafast".into(), encoder_threads: 1, ..TranscodeSettings::default() };
    let made = transcode(&source, &profiles, &settings).unwrap();
    for rendition in &made.renditions {
        let measured = agreed(&source, &rendition.bytes, SCALED, &rendition.name);
        assert_eq!(measured.frames, rendition.frames);
        assert!(measured.psnr().all > 25.0 && measured.ssim.all > 0.8, "{}: {measured:?}", rendition.name);
    }
}

#[test]
fn a_missing_frame_shifts_none_of_the_others() {
    let source = clip::segment(4);
    let whole = quality(&source, &made(&source, &["-vf", "scale=426:240", "-qp", "20"])).unwrap();
    let without = made(&source, &["-vf", "select='not(eq(n,20)+between(n,10,13))',scale=426:240", "-qp", "20"]);
    let measured = agreed(&source, &without, SCALED, "without five frames");
    assert_eq!((whole.frames, measured.frames), (25, 20));
    assert!((measured.psnr().all - whole.psnr().all).abs() < 0.5, "{measured:?}, all frames: {whole:?}");
}

#[test]
fn a_converted_rate_is_measured_by_the_frames_that_it_shows() {
    let source = clip::segment(4);
    for rate in ["60", "30", "15", "5"] {
        let converted = made(&source, &["-vf", &format!("fps={rate},scale=320:180"), "-qp", "20"]);
        let measured = agreed(&source, &converted, &format!("fps={rate},{SCALED}"), rate);
        assert_eq!(measured.frames, inspect(&converted).unwrap().frames, "{rate}");
        assert!(measured.psnr().all > 35.0, "{rate}: {measured:?}");
    }
}

#[test]
fn another_clock_is_the_same_quality() {
    let source = clip::segment(4);
    let args = ["-vf", "scale=320:180", "-qp", "20"];
    let (own, other) = (made(&source, &args), made(&source, &[&args[..], &["-output_ts_offset", "100"]].concat()));
    assert_eq!(quality(&source, &own).unwrap(), quality(&source, &other).unwrap());
}

#[test]
fn a_segment_is_all_that_it_is() {
    let source = clip::segment(4);
    let same = quality(&source, &source).unwrap();
    assert_eq!((same.frames, same.mse, same.psnr().all), (25, Planes::default(), f64::INFINITY));
    assert_eq!(same.ssim, Planes { y: 1.0, u: 1.0, v: 1.0, all: 1.0 });
}

#[test]
fn other_pixel_formats_are_measured_as_renditions_have_them() {
    let source = clip::segment(4);
    for format in ["yuv422p", "yuv444p10", "yuvj420p"] {
        let other = made(&source, &["-vf", &format!("scale=320:180,format={format}"), "-qp", "20"]);
        agreed(&source, &other, SCALED, format);
    }
}

#[tokio::test]
async fn a_worker_measures_what_this_process_measures() {
    let pool = WorkerPool::start(crate::pool::config(1)).await.unwrap();
    let source = clip::segment(4);
    let settings = TranscodeSettings { preset: "ultrafast".into(), ..TranscodeSettings::default() };
    let made = transcode(&source, &devnet_ladder()[2..], &settings).unwrap();
    let rendition = made.renditions[0].bytes.clone();
    let (there, here) =
        (pool.quality(source.clone(), rendition.clone()).await.unwrap(), quality(&source, &rendition).unwrap());
    assert_eq!(there.frames, 25);
    assert_near(there.mse, here.mse, "error");
    assert_near(there.ssim, here.ssim, "similarity");
    let refused = pool.quality(source, vec![0x47; 188].into()).await.unwrap_err();
    assert!(matches!(refused, PoolError::Media(MediaError::NotTransportStream)), "{refused}");
    pool.shutdown().await;
}
