//! Segments of the fixture clip and what they are transcoded to.
use std::{collections::HashMap, ops::ControlFlow, path::PathBuf, process::Command, sync::OnceLock, time::Duration};

use bytes::Bytes;
use streamflow_media::{SourceSegment, SourceSettings, TranscodeSettings, play, transcode};
use streamflow_types::Profile;

pub(crate) fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures/bbb-720p25-5s.mp4")
}

/// Two renditions, small enough to be made often.
pub(crate) fn profiles() -> Vec<Profile> {
    vec![Profile::new("180p", 320, 180, 200_000).unwrap(), Profile::new("90p", 160, 90, 100_000).unwrap()]
}

/// Six seconds of the clip; encoded once for all tests.
pub(crate) fn segments() -> &'static [SourceSegment] {
    static SEGMENTS: OnceLock<Vec<SourceSegment>> = OnceLock::new();
    SEGMENTS.get_or_init(|| {
        let mut segments = Vec::new();
        let settings =
            SourceSettings { preset: "ultrafast".into(), ..SourceSettings::new(path(), Duration::from_secs(6)) };
        play(&settings, &mut |segment| {
            segments.push(segment);
            ControlFlow::Continue(())
        })
        .unwrap();
        segments
    })
}

pub(crate) fn segment(index: usize) -> Bytes {
    segments()[index].bytes.clone()
}

/// Two seconds of HEVC.
pub(crate) fn hevc() -> Bytes {
    let source =
        "-nostdin -v error -f lavfi -i testsrc2=s=320x180:r=25:d=2 -pix_fmt yuv420p -c:v libx265 -preset ultrafast";
    let target = "-x265-params log-level=error -f mpegts -";
    let made = Command::new("ffmpeg").args(source.split(' ')).args(target.split(' ')).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout.into()
}

/// The same without its sound.
pub(crate) fn silent(segment: &Bytes) -> Bytes {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source.ts");
    std::fs::write(&source, segment).unwrap();
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-copyts", "-i"]).arg(source);
    let made = ffmpeg.args(["-map", "0:v", "-c", "copy", "-muxdelay", "0", "-f", "mpegts", "-"]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout.into()
}

/// A rendition as an orchestrator makes it.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) bytes: Bytes,
    pub(crate) pixels: u64,
}

/// Renditions of a segment; made once for all tests.
pub(crate) fn renditions(segment: &Bytes, profiles: &[Profile]) -> Vec<Made> {
    type Known = HashMap<(Bytes, String), Vec<Made>>;
    static MADE: OnceLock<std::sync::Mutex<Known>> = OnceLock::new();
    let mut made = MADE.get_or_init(Default::default).lock().unwrap();
    made.entry((segment.clone(), format!("{profiles:?}")))
        .or_insert_with(|| {
            let done = transcode(segment, profiles, &TranscodeSettings::default()).unwrap();
            done.renditions.into_iter().map(|r| Made { bytes: r.bytes, pixels: r.pixels }).collect()
        })
        .clone()
}

/// Frames that ffprobe counts in a playlist or segment; panics when ffmpeg complains about it.
pub(crate) fn frames(file: &std::path::Path) -> u64 {
    let decoded = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(file)
        .args(["-map", "0", "-f", "null", "-"])
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&decoded.stderr);
    assert!(decoded.status.success() && complaints.is_empty(), "{}: {complaints}", file.display());
    let counted = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-select_streams", "v:0"])
        .args(["-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"])
        .arg(file)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&counted.stdout);
    text.lines().find_map(|line| line.trim_end_matches(',').parse().ok()).unwrap()
}

/// How pictures are faked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Cheat {
    BlackFrames,
    /// The first picture, over and over.
    FrozenFrames,
    /// A quarter of the pixels, scaled up.
    ScaledUp,
    /// Black from the middle on.
    HalfBlack,
    /// The source, in another wrapping.
    SourceReturned,
}

impl Cheat {
    fn arguments(self, profile: &Profile) -> Vec<String> {
        let (width, height) = (profile.width, profile.height);
        let scale = format!("scale={width}:{height}");
        let filter = match self {
            Self::SourceReturned => return ["-c", "copy", "-output_ts_offset", "3"].map(Into::into).to_vec(),
            Self::BlackFrames => format!("{scale},drawbox=c=black:t=fill"),
            Self::HalfBlack => format!("{scale},drawbox=c=black:t=fill:enable='gte(n,25)'"),
            Self::FrozenFrames => format!("{scale},loop=49:1,trim=end_frame=50,setpts=N/25/TB"),
            Self::ScaledUp => format!("scale={}:{},{scale}", width / 4 * 2, height / 4 * 2),
        };
        let rate = profile.bitrate.to_string();
        let rest = ["-c:v", "libx264", "-preset", "veryfast", "-c:a", "copy", "-b:v", &rate, "-maxrate", &rate];
        let rest = rest.into_iter().chain(["-bufsize", &rate]).map(Into::into);
        ["-vf".to_owned(), filter].into_iter().chain(rest).collect()
    }
}

/// What a cheat delivers: decodable, of the right size, and billed as it is.
pub(crate) fn cheated(segment: &Bytes, profiles: &[Profile], cheat: Cheat) -> Vec<Made> {
    let dir = tempfile::tempdir().unwrap();
    let (source, made) = (dir.path().join("source.ts"), dir.path().join("made.ts"));
    std::fs::write(&source, segment).unwrap();
    let one = |profile: &Profile| {
        let output = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-y", "-copyts", "-i"])
            .arg(&source)
            .args(cheat.arguments(profile))
            .args(["-f", "mpegts"])
            .arg(&made)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let bytes = Bytes::from(std::fs::read(&made).unwrap());
        let pixels = streamflow_media::inspect(&bytes).unwrap().pixels;
        Made { bytes, pixels }
    };
    profiles.iter().map(one).collect()
}
