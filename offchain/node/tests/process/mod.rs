//! A role of the real binary, with its admin server on a free port.
use std::{
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use alloy::hex;
use streamflow_testkit::key;
use tokio::time::{Instant, sleep};

use crate::logged::{PATIENCE, address};

/// A role with its admin server on a free port.
pub(crate) struct Role {
    pub(crate) child: Child,
    pub(crate) admin: String,
    home: tempfile::TempDir,
}

impl Role {
    /// `settings` are environment variables without their prefix.
    pub(crate) fn start(name: &str, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_streamflow"));
        command.arg(name);
        Self::spawn(command, settings)
    }

    /// The same with a home of 8 MiB, that can be filled at [`Role::home`].
    pub(crate) fn start_on_a_small_disk(name: &str, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new("unshare");
        let script = "mount -t tmpfs -o size=8m streamflow \"$HOME\" && exec \"$0\" \"$@\"";
        command.args(["--map-root-user", "--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_streamflow"), name]);
        Self::spawn(command, settings)
    }

    /// The home directory, as the role sees it.
    pub(crate) fn home(&self) -> PathBuf {
        let home = self.home.path().strip_prefix("/").unwrap();
        PathBuf::from(format!("/proc/{}/root", self.child.id())).join(home)
    }

    fn spawn(mut command: Command, settings: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        command
            .env("HOME", home.path())
            .env("TEST_KEY", hex::encode(key(1).unwrap().to_bytes()))
            .env("STREAMFLOW_KEYS__PRIVATE_KEY_ENV", "TEST_KEY")
            .env("STREAMFLOW_ADMIN__LISTEN", "127.0.0.1:0")
            .env("STREAMFLOW_LOG__FORMAT", "json")
            .env("STREAMFLOW_CHAIN__POLL_INTERVAL", "100ms")
            .stderr(Stdio::piped());
        for (setting, value) in settings {
            command.env(format!("STREAMFLOW_{setting}"), value);
        }
        let mut child = command.spawn().unwrap();
        let admin = format!("http://{}", address(&mut child, "admin server listens"));
        Self { child, admin, home }
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let reply = reqwest::get(format!("{}{path}", self.admin)).await.unwrap();
        (reply.status().as_u16(), reply.text().await.unwrap())
    }

    /// Waits until `/readyz` answers with `status` and a body that `fits`.
    pub(crate) async fn ready(&self, status: u16, fits: impl Fn(&str) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            let (now, body) = self.get("/readyz").await;
            if now == status && fits(&body) {
                return;
            }
            assert!(Instant::now() < end, "waited for {status}, got {now}: {body}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }

    pub(crate) async fn ends(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("the role does not end");
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
