//! A devnet run as a user runs it: the `streamflow` binary, real ports, a data directory of its own.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// How long a whole run may take on a busy two-core machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// A network transcodes in real time, so two at once would starve each other on a small machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(crate) struct Devnet {
    child: Child,
    data: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Devnet {
    /// Starts `streamflow devnet --json` on ports of its own, with `args` added.
    pub(crate) fn start(port_offset: u16, args: &[&str]) -> Self {
        Self::start_with(port_offset, args, &[])
    }

    /// The same with settings for every role, which are environment variables without their prefix.
    pub(crate) fn start_with(port_offset: u16, args: &[&str], settings: &[(&str, &str)]) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let data = tempfile::tempdir().unwrap();
        let stdout = File::create(data.path().join("stdout")).unwrap();
        let stderr = File::create(data.path().join("stderr")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_streamflow"))
            .args(["--port-offset", &port_offset.to_string(), "devnet", "--json", "--data-dir"])
            .arg(data.path().join("net"))
            .args(args)
            .envs(settings.iter().map(|(name, value)| (format!("STREAMFLOW_{name}"), value)))
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap();
        Self { child, data, _turn: turn }
    }

    /// Directory with the roles' configurations, logs and streams.
    pub(crate) fn dir(&self) -> PathBuf {
        self.data.path().join("net")
    }

    /// The summary printed once the tickets are redeemed.
    pub(crate) fn summary(&mut self) -> Value {
        self.wait_for("the summary", |net| serde_json::from_str(&net.read("stdout")).ok())
    }

    /// What `devnet.json` says of the running network: the chain, the roles with their process ids and URLs.
    pub(crate) fn network(&mut self) -> Value {
        self.wait_for("devnet.json", |net| {
            let network: Value = serde_json::from_str(&net.read("net/devnet.json")).ok()?;
            network["roles"].is_object().then_some(network)
        })
    }

    /// Process id of a role.
    pub(crate) fn pid(&mut self, role: &str) -> u32 {
        let network = self.network();
        u32::try_from(network["roles"][role]["pid"].as_u64().unwrap()).unwrap()
    }

    /// Ends a role as a power cut would.
    pub(crate) fn kill(&mut self, role: &str) {
        let pid = self.pid(role).to_string();
        assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    }

    /// The broadcaster's `/status` document, once it answers.
    pub(crate) fn status(&mut self) -> Option<Value> {
        let network = self.network();
        let url = format!("{}status", network["page"].as_str()?);
        let output = Command::new("curl").args(["-sf", "--max-time", "5", &url]).output().unwrap();
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Runs another `streamflow` command with a role's configuration; returns its stdout, which must be JSON.
    pub(crate) fn command(&self, role: &str, args: &[&str]) -> Value {
        let output = Command::new(env!("CARGO_BIN_EXE_streamflow"))
            .arg("--config")
            .arg(self.dir().join(format!("{role}.toml")))
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?} failed: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits for the process to end by itself and returns its exit code.
    pub(crate) fn exit_code(&mut self) -> i32 {
        let status = self.wait_for("the end", |net| net.child.try_wait().unwrap());
        status.code().unwrap_or(-1)
    }

    /// Polls until `check` has an answer; panics with the log when it never comes.
    pub(crate) fn wait_for<T>(&mut self, what: &str, mut check: impl FnMut(&mut Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(answer) = check(self) {
                return answer;
            }
            let ended = self.child.try_wait().unwrap();
            if ended.is_some()
                && let Some(answer) = check(self)
            {
                return answer;
            }
            assert!(
                ended.is_none() && start.elapsed() < PATIENCE,
                "waited {:?} for {what}; ended: {ended:?}; log:\n{}",
                start.elapsed(),
                self.read("stderr")
            );
            thread::sleep(Duration::from_millis(250));
        }
    }

    fn read(&self, name: &str) -> String {
        let mut text = String::new();
        if let Ok(mut file) = File::open(self.data.path().join(name)) {
            let _ = file.read_to_string(&mut text);
        }
        text
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
            let asked = Instant::now();
            while self.child.try_wait().unwrap().is_none() && asked.elapsed() < Duration::from_secs(40) {
                thread::sleep(Duration::from_millis(100));
            }
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// What the reference decoder makes of a playlist.
pub(crate) struct Played {
    pub(crate) frames: u64,
    /// Of all frames.
    pub(crate) pixels: u64,
}

/// Plays a playlist to its end with the reference decoder.
pub(crate) fn play(playlist: &Path) -> Played {
    let decoded = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(playlist)
        .args(["-map", "0:v:0", "-map", "0:a?", "-f", "null", "-"])
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&decoded.stderr);
    assert!(decoded.status.success() && complaints.is_empty(), "{} does not play: {complaints}", playlist.display());
    let counted = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-select_streams", "v:0"])
        .args(["-show_entries", "stream=width,height,nb_read_frames", "-of", "csv=p=0"])
        .arg(playlist)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&counted.stdout);
    // Programs of a transport stream repeat the line, and end theirs with a comma.
    let numbers = text.lines().next().unwrap_or_default().trim_end_matches(',').split(',').map(str::parse);
    let numbers: Vec<u64> = numbers.collect::<Result<_, _>>().unwrap();
    let [width, height, frames] = numbers[..] else { panic!("{} has no pictures: {text}", playlist.display()) };
    Played { frames, pixels: width * height * frames }
}
