//! No encoder that does its work is convicted, whatever its settings; every cheat is.
use std::{path::Path, process::Command};

use streamflow_media::{compare, transcode};

use super::*;

const RATES: [&str; 2] = ["350k", "120k"];

fn ffmpeg(input: &[&str], output: &[&str]) -> Bytes {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("made.ts");
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-y"]).args(input).args(output).args(["-f", "mpegts"]).arg(&file);
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    std::fs::read(file).unwrap().into()
}

/// One second, 640 x 360, 25 frames a second.
fn source(kind: &str) -> Bytes {
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures/bbb-720p25-5s.mp4");
    let clip = clip.to_str().unwrap();
    let (input, filter) = match kind {
        "clip" => (vec!["-i", clip], "null"),
        "dark" => (vec!["-i", clip], "eq=brightness=-0.35:contrast=0.3"),
        "noise" => (vec!["-i", clip], "noise=alls=40:allf=t"),
        "still" => (vec!["-f", "lavfi", "-i", "smptebars=s=640x360:r=25"], "null"),
        _ => (vec!["-f", "lavfi", "-i", "testsrc2=s=640x360:r=25"], "null"),
    };
    let filter = format!("{filter},scale=640:360,format=yuv420p");
    let encoder = ["-vf", &filter, "-t", "1", "-an", "-c:v", "libx264", "-preset", "veryfast", "-b:v", "2500k"];
    ffmpeg(&input, &encoder)
}

struct Bench {
    source: Bytes,
    file: tempfile::NamedTempFile,
}

impl Bench {
    fn new(kind: &str) -> Self {
        let (source, file) = (source(kind), tempfile::NamedTempFile::new().unwrap());
        std::fs::write(file.path(), &source).unwrap();
        Self { source, file }
    }

    /// What somebody makes of the source at a bitrate.
    fn encoded(&self, filter: &str, rate: &str, options: &[&str]) -> Bytes {
        let input = ["-copyts", "-i", self.file.path().to_str().unwrap()];
        let rate = ["-b:v", rate, "-maxrate", rate, "-bufsize", rate];
        ffmpeg(&input, &[&["-vf", filter, "-c:v", "libx264"][..], options, &rate].concat())
    }

    fn compared(&self, rendition: Bytes) -> Comparison {
        let sampling = Sampling { seed: 7, frames: 6 };
        compare(&self.source, &[rendition], sampling).unwrap().remove(0).unwrap()
    }

    /// As the broadcaster judges: a second look only at what is odd.
    fn judged(&self, rendition: Bytes, rate: &str, fps: u32, size: (u32, u32)) -> Option<Evidence> {
        let seen = self.compared(rendition);
        judge::doubt(&seen, &VerificationConfig::default())?;
        if let Some(evidence) = judge::proof(&seen) {
            return Some(evidence);
        }
        let bitrate = rate.trim_end_matches('k').parse::<u32>().unwrap() * 1000;
        let profile = Profile { fps, fps_den: 1, ..Profile::new("x", size.0, size.1, bitrate).unwrap() };
        let made = transcode(&self.source, &[profile], &reference_settings()).unwrap();
        let honest = self.compared(made.renditions[0].bytes.clone());
        let evidence = judge::convict(&seen, &honest, &streamflow_media::probe(&self.source).unwrap());
        if evidence.is_some() {
            eprintln!("seen {seen:?}\nhonest {honest:?}");
        }
        evidence
    }
}

/// Presets, no B-frames, constant bitrate as hardware has it, other scalers, other frame rates.
const HONEST: [(&str, u32, &[&str]); 9] = [
    ("scale=320:180", 0, &["-preset", "ultrafast"]),
    ("scale=320:180:flags=bilinear", 0, &["-preset", "veryfast"]),
    ("scale=320:180:flags=lanczos", 0, &["-preset", "medium", "-bf", "3"]),
    ("scale=320:180:flags=area", 0, &["-preset", "fast", "-g", "10"]),
    (
        "scale=320:180:flags=bilinear",
        0,
        &["-preset", "superfast", "-tune", "zerolatency", "-bf", "0", "-nal-hrd", "cbr"],
    ),
    ("scale=320:180", 0, &["-preset", "veryfast", "-profile:v", "baseline", "-g", "1000"]),
    ("fps=30,scale=320:180", 30, &["-preset", "veryfast"]),
    ("fps=50,scale=320:180", 50, &["-preset", "superfast"]),
    ("fps=15,scale=320:180", 15, &["-preset", "veryfast"]),
];

fn honest_work_passes(kind: &str) {
    let bench = Bench::new(kind);
    for (filter, fps, options) in HONEST {
        for rate in RATES {
            let verdict = bench.judged(bench.encoded(filter, rate, options), rate, fps, (320, 180));
            assert_eq!(verdict, None, "{kind} {filter} {rate} {options:?}");
        }
    }
    for (rate, options) in [("1500k", ["-preset", "veryfast"]), ("500k", ["-preset", "ultrafast"])] {
        let verdict = bench.judged(bench.encoded("null", rate, &options), rate, 0, (640, 360));
        assert_eq!(verdict, None, "{kind} in its own size at {rate}");
    }
}

#[test]
fn honest_work_on_the_clip_raises_no_alarm() {
    honest_work_passes("clip");
}

#[test]
fn honest_work_on_dark_pictures_raises_no_alarm() {
    honest_work_passes("dark");
}

#[test]
fn honest_work_on_noise_raises_no_alarm() {
    honest_work_passes("noise");
}

#[test]
fn honest_work_on_drawings_raises_no_alarm() {
    honest_work_passes("testsrc2");
}

#[test]
fn honest_work_on_a_still_raises_no_alarm() {
    honest_work_passes("still");
}

#[test]
fn cheats_are_convicted_of_what_they_did() {
    type Is = fn(&Evidence) -> bool;
    let cheats: [(&str, Is); 6] = [
        ("scale=320:180,drawbox=c=black:t=fill", |e| matches!(e, Evidence::Black { .. })),
        ("scale=320:180,drawbox=c=white:t=fill:enable='gte(n,20)'", |e| matches!(e, Evidence::Flat { .. })),
        ("fps=4,fps=25,scale=320:180", |e| matches!(e, Evidence::Frozen { .. })),
        ("hflip,scale=320:180", |e| matches!(e, Evidence::Foreign { .. })),
        ("scale=160:90,scale=320:180:flags=lanczos", |e| matches!(e, Evidence::Upscaled { .. })),
        ("boxblur=12,scale=320:180", |e| matches!(e, Evidence::Upscaled { .. })),
    ];
    let bench = Bench::new("clip");
    for (filter, is) in cheats {
        let rendition = bench.encoded(filter, RATES[0], &["-preset", "veryfast"]);
        let evidence = bench.judged(rendition, RATES[0], 0, (320, 180)).expect(filter);
        assert!(is(&evidence), "{filter}: {evidence}");
    }
    let scaled_up = bench.encoded("scale=320:180,scale=640:360", "1500k", &["-preset", "veryfast"]);
    let evidence = bench.judged(scaled_up, "1500k", 0, (640, 360));
    assert!(matches!(evidence, Some(Evidence::Upscaled { .. })), "{evidence:?}");
    let returned = bench.judged(bench.source.clone(), RATES[0], 0, (640, 360));
    assert_eq!(returned, Some(Evidence::SourceReturned { copied: 1000, most: 500 }));
}
