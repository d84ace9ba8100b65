//! Small inputs of every kind, made by the ffmpeg program: each of them once in a test process.
use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    sync::{Arc, Mutex, OnceLock},
};

use bytes::Bytes;

use crate::clip;

/// Ten frames, 160 x 90.
pub(crate) const PICTURE: &str = "-f lavfi -i testsrc2=s=160x90:r=25:d=0.4";
/// As long, with sound.
pub(crate) const PICTURE_AND_SOUND: &str = "-f lavfi -i testsrc2=s=160x90:r=25:d=0.4 -f lavfi -i sine=r=48000:d=0.4";
pub(crate) const H264: &str = "-c:v libx264 -preset ultrafast";
pub(crate) const HEVC: &str = "-c:v libx265 -preset ultrafast -x265-params log-level=error";
pub(crate) const VP9: &str = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8";
pub(crate) const AV1: &str = "-c:v libsvtav1 -preset 12";

/// What ffmpeg makes of `options`, which spaces separate; `file` says by its extension which container.
pub(crate) fn made(options: &[&str], file: &str) -> Bytes {
    type Made = BTreeMap<String, Arc<OnceLock<Bytes>>>;
    static MADE: Mutex<Made> = Mutex::new(BTreeMap::new());
    let options = options.join(" ");
    let slot = MADE.lock().unwrap().entry(format!("{options} {file}")).or_default().clone();
    let make = || {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(file);
        let mut args = vec!["-nostdin", "-v", "error", "-y"];
        args.extend(options.split_whitespace());
        args.push(path.to_str().unwrap());
        clip::output("ffmpeg", &args);
        std::fs::read(path).unwrap().into()
    };
    slot.get_or_init(make).clone()
}

/// What ffmpeg makes of some bytes.
pub(crate) fn remade(input: &Bytes, file: &str, options: &[&str], made: &str) -> Bytes {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join(file), dir.path().join(format!("made-{made}")));
    std::fs::write(&from, input).unwrap();
    let mut args = vec!["-nostdin", "-v", "error", "-y", "-copyts", "-i", from.to_str().unwrap()];
    args.extend(options);
    args.push(to.to_str().unwrap());
    clip::output("ffmpeg", &args);
    std::fs::read(to).unwrap().into()
}

/// Brightness of every pixel of every frame, as a player shows them, after `filter` and at a size of 64 x 64.
pub(crate) fn shown(bytes: &Bytes, filter: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shown");
    std::fs::write(&path, bytes).unwrap();
    raw(&path, &format!("{filter}scale=64:64:flags=area,format=gray"))
}

fn raw(path: &Path, filter: &str) -> Vec<u8> {
    let args = ["-nostdin", "-v", "fatal", "-i", path.to_str().unwrap(), "-vf", filter, "-fps_mode", "passthrough"];
    let output = Command::new("ffmpeg").args(args).args(["-f", "rawvideo", "-"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// By how much the pixels of two series of frames differ on average, in steps of 255.
pub(crate) fn difference(one: &[u8], other: &[u8]) -> f64 {
    assert_eq!(one.len(), other.len(), "as many frames");
    let sum: u64 = one.iter().zip(other).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / one.len() as f64
}
