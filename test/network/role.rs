//! The roles: processes of the real binary, each with a directory, a configuration and a log.
use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rand::Rng;

/// A role that can be killed and started again.
#[derive(Debug)]
pub(crate) struct Role {
    name: &'static str,
    /// What starts it; may be put behind another program that does.
    pub(crate) command: Vec<OsString>,
    log: PathBuf,
    pub(crate) child: Option<Child>,
}

impl Role {
    /// Writes its configuration; `name` is that of the command. `key` is in hexadecimal, empty for a role that signs nothing.
    pub(crate) fn new(dir: &Path, name: &'static str, config: &str, key: &str) -> Self {
        fs::create_dir_all(dir).unwrap();
        let (path, key_file) = (dir.join(format!("{name}.toml")), dir.join(format!("{name}.key")));
        let mut text = config.to_owned();
        if !key.is_empty() {
            write_secret(&key_file, key);
            text += &format!("\n[keys]\nkey_file = {key_file:?}\n");
        }
        if !text.contains("[admin]") {
            text += "\n[admin]\nlisten = \"127.0.0.1:0\"\n";
        }
        fs::write(&path, text).unwrap();
        let command = [env!("CARGO_BIN_EXE_streamflow").into(), "--config".into(), path.into(), name.into()];
        Self { name, command: command.into(), log: dir.join(format!("{name}.log")), child: None }
    }

    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none());
        let log = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let child = Command::new(&self.command[0])
            .args(&self.command[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// Nothing of it runs any more when this returns.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            assert_eq!(child.try_wait().unwrap(), None, "the {} ended by itself\n{}", self.name, self.log());
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// The end of its log.
    pub(crate) fn log(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        format!("{}:\n{}", self.name, lines[lines.len().saturating_sub(40)..].join("\n"))
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

/// Readable by its owner only.
pub(crate) fn write_secret(path: &Path, text: &str) {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut file: File = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// A port that was free just now. A role keeps its port when it starts again: it is below those that the system gives to
/// connections, or one of them might have it while the role is down.
pub(crate) fn free_port() -> u16 {
    let mut ports = std::iter::repeat_with(|| rand::rng().random_range(16_384..32_768));
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}
