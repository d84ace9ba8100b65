//! The pool's end of one worker process.
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use rustix::process::Signal;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::watch,
    time::timeout,
};

use super::{PoolError, WorkerStatus, stderr::StderrLog};
use crate::{
    MediaError,
    worker::{Answer, Limits, Order, ProtocolError, Reply, Request, head, parse_head, parse_len},
};

/// How long a dead worker's exit status and last words are waited for.
const BURIAL: Duration = Duration::from_secs(2);

/// What frames need is kept by the worker (`worker::heap`); what is large beside them goes back to the system as soon as nobody
/// uses it, so that no holes are left. Allocators other than that of glibc ignore these.
const ALLOCATOR: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "131072"), ("MALLOC_TRIM_THRESHOLD_", "131072")];

/// Keeps glibc from functions with fused multiply-add, whose results differ from those of processors without:
/// deterministic renditions are the same on all. An encoder calls them too seldom to be slower for it.
fn tunables() -> OsString {
    let mut tunables = std::env::var_os("GLIBC_TUNABLES").unwrap_or_default();
    if !tunables.is_empty() {
        tunables.push(":");
    }
    tunables.push("glibc.cpu.hwcaps=-FMA,-FMA4");
    tunables
}

/// Devices have the numbers that `nvidia-smi` gives them; CUDA on its own puts the fastest first.
const DEVICE_ORDER: (&str, &str) = ("CUDA_DEVICE_ORDER", "PCI_BUS_ID");

/// A worker that has no memory for a job has none to look up the names of functions with: it would wait for itself.
const BACKTRACES: [(&str, &str); 2] = [("RUST_BACKTRACE", "0"), ("RUST_LIB_BACKTRACE", "0")];

/// What a worker process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// Waits to take the place of another.
    Spare,
    Idle,
    Busy,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    duty: Duty,
    /// Runs jobs of the pool's queue.
    crew: bool,
}

/// The worker processes alive, for [`super::WorkerPool::workers`].
#[derive(Debug, Default)]
pub(super) struct Registry {
    entries: Mutex<BTreeMap<u32, Entry>>,
    /// Workers of the crew.
    crew: watch::Sender<usize>,
}

impl Registry {
    pub(super) fn list(&self) -> Vec<WorkerStatus> {
        let at_work = |(pid, entry): (&u32, &Entry)| {
            (entry.duty != Duty::Spare).then_some(WorkerStatus { pid: *pid, busy: entry.duty == Duty::Busy })
        };
        self.lock().iter().filter_map(at_work).collect()
    }

    /// Workers of the crew.
    pub(super) fn crew(&self) -> usize {
        *self.crew.borrow()
    }

    /// Waits until the crew is smaller than `size`.
    pub(super) async fn lacks(&self, size: usize) {
        let _ = self.crew.subscribe().wait_for(|crew| *crew < size).await;
    }

    fn enter(&self, pid: u32, crew: bool) {
        let duty = if crew { Duty::Spare } else { Duty::Idle };
        self.lock().insert(pid, Entry { duty, crew });
        self.crew.send_modify(|size| *size += usize::from(crew));
    }

    fn leave(&self, pid: u32) {
        let left = self.lock().remove(&pid);
        self.crew.send_modify(|size| *size -= usize::from(left.is_some_and(|entry| entry.crew)));
    }

    fn set(&self, pid: u32, duty: Duty) {
        if let Some(entry) = self.lock().get_mut(&pid) {
            entry.duty = duty;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a worker is of no use any more.
#[derive(Debug)]
pub(super) enum Broken {
    Pipe,
    Garbage(String),
    Hung(Duration),
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self::Pipe
    }
}

impl From<ProtocolError> for Broken {
    fn from(error: ProtocolError) -> Self {
        match error {
            ProtocolError::Io(_) => Self::Pipe,
            other => Self::Garbage(other.to_string()),
        }
    }
}

/// Writes one frame about `job`. A frame that was begun must be ended before the worker gets another.
pub(super) async fn write_order(
    stdin: &mut ChildStdin,
    job: u64,
    request: Request,
    blobs: &[Bytes],
) -> Result<(), Broken> {
    stdin.write_all(&head(&Order { job, request }, blobs)?).await?;
    for blob in blobs {
        stdin.write_all(blob).await?;
    }
    Ok(stdin.flush().await?)
}

/// A running worker process; killed when dropped.
#[derive(Debug)]
pub(super) struct Worker {
    child: Child,
    /// `None` once the process has been asked to end.
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    stderr: StderrLog,
    pid: u32,
    jobs: u64,
    /// CPU time it has for each job.
    cpu: Option<Duration>,
    registry: Arc<Registry>,
    /// The device that its last transcoding used.
    pub(super) device: Option<u32>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.registry.leave(self.pid);
    }
}

impl Worker {
    /// Starts a process; `crew` says whether it is one of those that run the pool's jobs.
    pub(super) fn spawn(program: &Path, args: &[OsString], crew: bool, registry: &Arc<Registry>) -> io::Result<Self> {
        let mut child = Command::new(program)
            .args(args)
            .envs(ALLOCATOR)
            .env(DEVICE_ORDER.0, DEVICE_ORDER.1)
            .env("GLIBC_TUNABLES", tunables())
            .envs(BACKTRACES)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            // a Ctrl-C in the terminal is for the node: its workers finish what they have
            .process_group(0)
            .spawn()?;
        let no_pipe = || io::Error::other("child has no pipe");
        let stdin = Some(child.stdin.take().ok_or_else(no_pipe)?);
        let stdout = BufReader::new(child.stdout.take().ok_or_else(no_pipe)?);
        let stderr = child.stderr.take().ok_or_else(no_pipe)?;
        let pid = child.id().unwrap_or(0);
        registry.enter(pid, crew);
        let stderr = StderrLog::follow(pid, stderr);
        Ok(Self { child, stdin, stdout, stderr, pid, jobs: 0, cpu: None, registry: registry.clone(), device: None })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// How the process ended, if it did.
    pub(super) fn ended(&mut self) -> Option<String> {
        let ended = self.child.try_wait().transpose()?;
        Some(ended.map_or_else(|error| error.to_string(), |status| status.to_string()))
    }

    /// The first order: it tells the worker its limits.
    pub(super) async fn hello(&mut self, limits: Limits, deadline: Duration) -> Result<(), Broken> {
        self.cpu = limits.cpu;
        self.jobs += 1;
        let greeted = timeout(deadline, async {
            let stdin = self.stdin.as_mut().ok_or(Broken::Pipe)?;
            write_order(stdin, self.jobs, Request::Hello(limits), &[]).await?;
            match read_reply(&mut self.stdout, self.jobs).await?.0.answer {
                Answer::Ready => Ok(()),
                _ => Err(Broken::Garbage("no hello".into())),
            }
        });
        greeted.await.unwrap_or(Err(Broken::Hung(deadline)))
    }

    pub(super) async fn order(&mut self, request: Request, blobs: &[Bytes]) -> Result<(), Broken> {
        self.jobs += 1;
        self.set(Duty::Busy);
        let stdin = self.stdin.as_mut().ok_or(Broken::Pipe)?;
        write_order(stdin, self.jobs, request, blobs).await
    }

    /// Both pipes and the number of the last order, for an exchange in which both sides speak at once.
    pub(super) fn pipes(&mut self) -> Result<(&mut ChildStdin, &mut BufReader<ChildStdout>, u64), Broken> {
        Ok((self.stdin.as_mut().ok_or(Broken::Pipe)?, &mut self.stdout, self.jobs))
    }

    /// Goes on to the order that was sent ahead.
    pub(super) fn go_on(&mut self) {
        self.jobs += 1;
        self.set(Duty::Busy);
    }

    /// The next answer to the last order.
    pub(super) async fn reply(&mut self) -> Result<(Reply, Vec<Bytes>), Broken> {
        let (mut reply, blobs) = read_reply(&mut self.stdout, self.jobs).await?;
        if let Answer::Failed(error) = &mut reply.answer {
            self.explain(error).await;
        }
        Ok((reply, blobs))
    }

    pub(super) fn set(&self, duty: Duty) {
        self.registry.set(self.pid, duty);
    }

    /// libav gives its callers a code and tells standard error what happened: puts the latter into the error.
    pub(super) async fn explain(&self, error: &mut MediaError) {
        if let MediaError::EncoderUnavailable { reason, .. }
        | MediaError::Libav { reason, .. }
        | MediaError::Gpu { reason, .. } = error
        {
            let said = self.stderr.said_about(self.jobs).await;
            if !said.is_empty() {
                *reason = said.join("; ");
            }
        }
    }

    /// Kills the process if it still runs, and says what the caller is to be told.
    pub(super) async fn bury(mut self, broken: Broken) -> PoolError {
        // A closed pipe means that the process ends: its own exit status tells more than our kill.
        if matches!(broken, Broken::Pipe) {
            let _ = timeout(BURIAL, self.child.wait()).await;
        }
        let _ = self.child.start_kill();
        let status = timeout(BURIAL, self.child.wait()).await.ok().and_then(Result::ok);
        let signal = status.and_then(|status| status.signal());
        match (broken, self.cpu) {
            (Broken::Pipe, Some(limit)) if signal == Some(Signal::XCPU.as_raw()) => PoolError::WorkerCpu { limit },
            (Broken::Pipe, _) => PoolError::WorkerDied {
                signal,
                exit: status.and_then(|status| status.code()),
                stderr: self.stderr.last_words().await,
            },
            (Broken::Garbage(reason), _) => PoolError::WorkerGarbage { reason },
            (Broken::Hung(deadline), _) => PoolError::WorkerHung { deadline },
        }
    }

    /// Asks the process to end by closing its input, and kills it after `grace`.
    pub(super) async fn retire(mut self, grace: Duration) {
        self.stdin = None;
        let _ = timeout(grace, self.child.wait()).await;
        let _ = self.child.start_kill();
        let _ = timeout(BURIAL, self.child.wait()).await;
    }
}

/// One answer to `job`.
pub(super) async fn read_reply(stdout: &mut (impl AsyncRead + Unpin), job: u64) -> Result<(Reply, Vec<Bytes>), Broken> {
    let mut len = [0; 4];
    stdout.read_exact(&mut len).await?;
    let mut bytes = vec![0; parse_len(len)?];
    stdout.read_exact(&mut bytes).await?;
    let (reply, lengths) = parse_head::<Reply>(&bytes)?;
    if reply.job != job {
        return Err(Broken::Garbage(format!("answer to job {} instead of {job}", reply.job)));
    }
    let mut blobs = Vec::with_capacity(lengths.len());
    for len in lengths {
        let mut blob = vec![0; len];
        stdout.read_exact(&mut blob).await?;
        blobs.push(blob.into());
    }
    Ok((reply, blobs))
}
