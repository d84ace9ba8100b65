//! The processes of the network: started, watched, restarted when they die, stopped in order.
use std::{
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long a role may drain before it is killed.
const DRAIN: Duration = Duration::from_secs(45);
/// Pause before a role that died is started again.
const RESTART_PAUSE: Duration = Duration::from_millis(500);
/// A role that dies more often than this in one run is given up.
const RESTARTS: usize = 5;

/// Process id of a role by its name.
pub(crate) type PidOf<'a> = dyn Fn(&str) -> Option<u32> + 'a;

type OnRestart = Box<dyn Fn(&PidOf<'_>) + Send>;

/// All processes of one network. Each is in a group of its own, so that Ctrl-C in a terminal reaches devnet alone and the
/// network stops in order; and each ends with devnet, however that ends.
pub(crate) struct Processes {
    logs: PathBuf,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    running: Vec<Running>,
}

struct Running {
    name: &'static str,
    stop: CancellationToken,
    ended: tokio::sync::oneshot::Receiver<()>,
}

#[derive(Default)]
struct Shared {
    pids: Mutex<Vec<(&'static str, u32)>>,
    /// First process that ended for good though it should not have.
    failed: Mutex<Option<String>>,
    on_restart: Mutex<Option<OnRestart>>,
}

impl std::fmt::Debug for Processes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Processes").field("pids", &self.shared.pids).finish_non_exhaustive()
    }
}

impl Processes {
    pub(crate) fn new(logs: PathBuf) -> Self {
        Self { logs, shared: Arc::default(), tasks: TaskTracker::new(), running: Vec::new() }
    }

    /// Starts a program that must run to the end; it is not restarted.
    pub(crate) fn start_tool(&mut self, name: &'static str, command: Command) -> anyhow::Result<()> {
        self.start(name, command, 0)
    }

    /// Starts a role of this binary. When it dies it is started again, as a service manager would.
    pub(crate) fn start_role(&mut self, name: &'static str, command: Command) -> anyhow::Result<()> {
        self.start(name, command, RESTARTS)
    }

    fn start(&mut self, name: &'static str, command: Command, restarts: usize) -> anyhow::Result<()> {
        let log = self.logs.join(format!("{name}.log"));
        let mut command = tied_to_us(&command);
        let child = spawn(name, &mut command, &log)?;
        self.shared.set_pid(name, child.id());
        let stop = CancellationToken::new();
        let (done, ended) = tokio::sync::oneshot::channel();
        let watch = Watch { name, command, log, restarts, shared: self.shared.clone(), stop: stop.clone() };
        self.tasks.spawn(async move {
            watch.run(child).await;
            let _ = done.send(());
        });
        self.running.push(Running { name, stop, ended });
        Ok(())
    }

    /// Process id of a role.
    pub(crate) fn pid(&self, name: &str) -> Option<u32> {
        self.shared.pid(name)
    }

    /// Calls `tell` with a look-up of process ids whenever a role was started again.
    pub(crate) fn on_restart(&self, tell: impl Fn(&PidOf<'_>) + Send + 'static) {
        *self.shared.on_restart.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(tell));
    }

    /// # Errors
    /// When a process has ended for good.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        match self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(why) => bail!("{why}"),
            None => Ok(()),
        }
    }

    /// Stops everything, the latest started first; the chain goes last, because the others still need it.
    pub(crate) async fn stop(&mut self) {
        while let Some(running) = self.running.pop() {
            running.stop.cancel();
            if running.ended.await.is_err() {
                tracing::warn!("the watch of {} ended early", running.name);
            }
        }
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Shared {
    fn pid(&self, name: &str) -> Option<u32> {
        let pids = self.pids.lock().unwrap_or_else(PoisonError::into_inner);
        pids.iter().find(|(known, _)| *known == name).map(|(_, pid)| *pid)
    }

    fn set_pid(&self, name: &'static str, pid: Option<u32>) {
        let mut pids = self.pids.lock().unwrap_or_else(PoisonError::into_inner);
        pids.retain(|(known, _)| *known != name);
        pids.extend(pid.map(|pid| (name, pid)));
    }

    fn fail(&self, why: String) {
        tracing::error!("{why}");
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
    }
}

/// Keeps one process alive.
struct Watch {
    name: &'static str,
    command: Command,
    log: PathBuf,
    restarts: usize,
    shared: Arc<Shared>,
    stop: CancellationToken,
}

impl Watch {
    async fn run(mut self, mut child: Child) {
        loop {
            let status = tokio::select! { biased;
                () = self.stop.cancelled() => return end(self.name, child).await,
                status = child.wait() => status,
            };
            self.shared.set_pid(self.name, None);
            let ended = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            let log = self.log.display();
            if self.restarts == 0 {
                return self.shared.fail(format!("{} ended ({ended}); see {log}", self.name));
            }
            tracing::warn!("{} ended ({ended}), it is started again; see {log}", self.name);
            self.restarts -= 1;
            sleep(RESTART_PAUSE).await;
            child = match spawn(self.name, &mut self.command, &self.log) {
                Ok(child) => child,
                Err(error) => return self.shared.fail(format!("{error:#}")),
            };
            self.shared.set_pid(self.name, child.id());
            if let Some(tell) = self.shared.on_restart.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
                tell(&|name| self.shared.pid(name));
            }
        }
    }
}

/// The same command under `setpriv`, which makes the kernel kill it when devnet is gone, even by SIGKILL.
fn tied_to_us(command: &Command) -> Command {
    let inner = command.as_std();
    let mut tied = Command::new("setpriv");
    tied.args(["--pdeathsig", "KILL", "--"]).arg(inner.get_program()).args(inner.get_args());
    tied
}

fn spawn(name: &str, command: &mut Command, log: &Path) -> anyhow::Result<Child> {
    let out = append(log)?;
    let copy = out.try_clone().context("cannot share a log file")?;
    command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(copy)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {name}"))
}

fn append(log: &Path) -> anyhow::Result<File> {
    OpenOptions::new().create(true).append(true).open(log).with_context(|| format!("cannot write {}", log.display()))
}

/// Asks a process to drain and waits for it; kills it when it takes too long.
async fn end(name: &str, mut child: Child) {
    let asked = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(rustix::process::Pid::from_raw)
        .map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::TERM));
    if let Some(Err(error)) = asked {
        tracing::debug!("{name} cannot be signalled: {error}");
    }
    match timeout(DRAIN, child.wait()).await {
        Ok(Ok(status)) if !status.success() => tracing::debug!("{name} ended with {status}"),
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!("{name} cannot be waited for: {error}"),
        Err(_) => {
            tracing::warn!("{name} did not stop in {DRAIN:?} and is killed");
            if let Err(error) = child.kill().await {
                tracing::warn!("{name} cannot be killed: {error}");
            }
        }
    }
}
