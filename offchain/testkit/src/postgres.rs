//! A Postgres server of our own, from the Debian package, on a socket that only we reach.
use std::{
    ffi::OsString,
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

/// Where Debian puts each version.
const INSTALLED: &str = "/usr/lib/postgresql";
/// Directory with `initdb` and `postgres`, if they are elsewhere.
const VARIABLE: &str = "STREAMFLOW_POSTGRES_BIN";
const PATIENCE: Duration = Duration::from_secs(60);
/// Owner of the databases; may do everything and needs no password.
const OWNER: &str = "streamflow";

/// Waits until the test program is gone, however it ends, and takes the server along.
const KEEP: &str = r#"exec 3<&0; "$0" "$@" </dev/null & server=$!; cat <&3 >/dev/null; kill -QUIT $server; wait $server; rm -rf "$SERVER_DIRECTORY""#;

/// A running server without TCP port. It flushes nothing to the disk: it outlives its clients and not the machine.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    directory: PathBuf,
    account: Option<Account>,
    /// Ends the server when its input closes.
    keeper: Mutex<Child>,
}

/// Whom the server runs as: it refuses to run as root.
#[derive(Clone, Copy, Debug)]
struct Account {
    user: u32,
    group: u32,
}

impl Postgres {
    /// The server of this test program, started when first asked for. It ends with the program.
    ///
    /// # Errors
    /// When Postgres is not installed or does not start.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Postgres, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| Self::start().map_err(|e| format!("{e:#}")));
        shared.as_ref().map_err(|e| anyhow::anyhow!("{e}"))
    }

    /// A server that may be stopped.
    ///
    /// # Errors
    /// When Postgres is not installed or does not start.
    pub fn start() -> Result<Self> {
        let programs = programs()?;
        let account = Account::if_root()?;
        let scratch = TempDir::with_prefix("streamflow-pg-")?;
        let directory = scratch.path().to_owned();
        if let Some(Account { user, group }) = account {
            chown(&directory, Some(user), Some(group))?;
        }
        let prepare = |program: &str| command(&programs.join(program), account, &directory);
        let data = directory.join("data");
        let mut initdb = prepare("initdb");
        initdb.arg("-D").arg(&data).args(["-U", OWNER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
        finish(initdb).context("cannot prepare a Postgres server")?;
        let access = data.join("pg_hba.conf");
        let rules = fs::read_to_string(&access)?;
        fs::write(&access, format!("local all locked scram-sha-256\n{rules}"))?;

        let log = fs::File::create(directory.join("log"))?;
        let mut keeper = Command::new("/bin/sh");
        become_account(&mut keeper, account, &directory);
        keeper.args(["-c", KEEP]).arg(programs.join("postgres")).arg("-D").arg(&data);
        for setting in ["listen_addresses=", "fsync=off", "max_connections=300", "shared_buffers=32MB"] {
            keeper.args(["-c", setting]);
        }
        keeper.arg("-c").arg(format!("unix_socket_directories={}", directory.display()));
        // Ctrl-C is for the tests: the server ends after them.
        keeper.process_group(0).stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        let keeper = Mutex::new(keeper.spawn().context("cannot start a Postgres server")?);
        // From here on whoever waits for our end removes it.
        let _ = scratch.keep();
        let server = Self { programs, directory, account, keeper };
        server.wait()?;
        Ok(server)
    }

    fn wait(&self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let mut ask = command(&self.programs.join("pg_isready"), self.account, &self.directory);
            if ask.arg("-q").arg("-h").arg(&self.directory).status()?.success() {
                return Ok(());
            }
            if Instant::now() > end {
                let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
                bail!("the Postgres server does not start:\n{log}");
            }
            #[allow(clippy::disallowed_methods)] // the tests of a program wait for it together
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// URL of a new, empty database.
    ///
    /// # Errors
    /// When the server does not make one.
    pub fn database(&self) -> Result<String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.run_sql(&format!("CREATE DATABASE {name}"))?;
        Ok(self.url(OWNER, &name))
    }

    /// URL of a database, for this user (`NAME` or `NAME:PASSWORD`).
    pub fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@localhost/{database}?host={}", self.directory.display())
    }

    /// Runs SQL as the owner, outside of any test's database.
    ///
    /// # Errors
    /// What the server says.
    pub fn run_sql(&self, sql: &str) -> Result<()> {
        let mut psql = command(&self.programs.join("psql"), self.account, &self.directory);
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", OWNER, "-d", "postgres", "-c", sql]);
        psql.arg("-h").arg(&self.directory);
        finish(psql).with_context(|| format!("Postgres refuses {sql}"))
    }

    /// Ends the server at once: its clients lose their connections.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&self) -> Result<()> {
        let mut keeper = self.keeper.lock().map_err(|_| anyhow::anyhow!("an earlier stop failed"))?;
        drop(keeper.stdin.take());
        ensure!(keeper.wait()?.success(), "the Postgres server did not end well");
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

impl Account {
    /// The account of Debian's package, if we are root.
    fn if_root() -> Result<Option<Self>> {
        let id = Command::new("id").arg("-u").output()?;
        if id.stdout.trim_ascii() != b"0" {
            return Ok(None);
        }
        let accounts = fs::read_to_string("/etc/passwd")?;
        let ours = accounts.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let ours = ours.filter_map(|fields| match fields.as_slice() {
            ["postgres", _, user, group, ..] => Some(Self { user: user.parse().ok()?, group: group.parse().ok()? }),
            _ => None,
        });
        let found = { ours }.next();
        Ok(Some(found.context("Postgres does not run as root, and there is no account postgres: run script/setup")?))
    }
}

/// The directory with the newest server that is installed.
fn programs() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE) {
        return Ok(named.into());
    }
    let versions = fs::read_dir(INSTALLED).into_iter().flatten().flatten();
    let version = |name: OsString| name.to_str().and_then(|name| name.parse::<u32>().ok());
    let newest = versions.filter_map(|entry| version(entry.file_name())).max();
    let programs = newest.map(|version| Path::new(INSTALLED).join(version.to_string()).join("bin"));
    programs.filter(|programs| programs.join("initdb").is_file()).with_context(|| {
        format!("no Postgres server is installed: run script/setup, or set {VARIABLE} to the directory of initdb and postgres")
    })
}

fn command(program: &Path, account: Option<Account>, home: &Path) -> Command {
    let mut command = Command::new(program);
    become_account(&mut command, account, home);
    command.stdin(Stdio::null());
    command
}

fn become_account(command: &mut Command, account: Option<Account>, home: &Path) {
    command.current_dir(home).env("HOME", home).env("LC_ALL", "C").env("SERVER_DIRECTORY", home);
    if let Some(Account { user, group }) = account {
        command.uid(user).gid(group);
    }
}

fn finish(mut command: Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
