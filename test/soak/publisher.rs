//! The encoder: ffmpeg, which sends a clip in a loop and in real time.
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::time::{Instant, sleep};

/// How long it may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pixels of what is published: small, since three orchestrators share the machine's cores.
pub(crate) const SIZE: (u32, u32) = (426, 240);

#[derive(Debug)]
pub(crate) struct Publisher {
    child: Child,
    progress: PathBuf,
    log: PathBuf,
}

impl Publisher {
    /// Makes a small clip of the large one first, so that sending costs next to nothing: a key frame each second.
    pub(crate) fn start(dir: &Path, url: &str) -> Self {
        let large = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures/bbb-720p25-5s.mp4");
        let clip = dir.join("clip.mp4");
        let (width, height) = SIZE;
        let made = Command::new("ffmpeg")
            .args(["-v", "error", "-i"])
            .arg(&large)
            .args(["-vf", &format!("scale={width}:{height}"), "-c:v", "libx264", "-preset", "veryfast", "-bf", "0"])
            .args(["-g", "25", "-keyint_min", "25", "-sc_threshold", "0", "-c:a", "aac", "-ac", "2"])
            .arg(&clip)
            .status();
        assert!(made.unwrap().success());
        let (progress, log) = (dir.join("ffmpeg.progress"), dir.join("ffmpeg.log"));
        let child = Command::new("ffmpeg")
            .args(["-v", "warning", "-nostats", "-stats_period", "0.1", "-progress"])
            .arg(&progress)
            .args(["-stream_loop", "-1", "-re", "-i"])
            .arg(&clip)
            .args(["-c", "copy", "-f", "flv", url])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, progress, log }
    }

    pub(crate) fn check(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert_eq!(ended, None, "the encoder ended: {}", fs::read_to_string(&self.log).unwrap_or_default());
    }

    /// Sends nothing more until it is ended.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Ends it as Ctrl-C would. Returns the time of what it has sent.
    pub(crate) async fn end(mut self) -> Duration {
        self.check();
        // One that is frozen takes the first when it wakes up, before it sends anything.
        self.signal("-INT");
        self.signal("-CONT");
        let end = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "the encoder does not end");
            sleep(Duration::from_millis(50)).await;
        }
        let text = fs::read_to_string(&self.progress).unwrap();
        let last = text.lines().rev().find_map(|line| line.strip_prefix("out_time_us=")?.parse().ok());
        Duration::from_micros(last.unwrap())
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
