//! The pool's end of one worker process.
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::{PoolError, WorkerStatus, stderr::StderrLog};
use crate::{
    MediaError,
    worker::{Answer, Order, ProtocolError, Reply, Request, head, parse_head, parse_len},
};

/// How long a dead worker's exit status and last words are waited for.
const BURIAL: Duration = Duration::from_secs(2);

/// Keeps the memory of one job for the next, where glibc would give it back: encoders are opened anew for every segment,
/// and taking fresh pages each time costs one twentieth of all CPU time. Other allocators ignore these.
const ALLOCATOR: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "33554432"), ("MALLOC_TRIM_THRESHOLD_", "1073741824")];

/// The worker processes alive, for [`super::WorkerPool::workers`].
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<BTreeMap<u32, bool>>);

impl Registry {
    pub(super) fn list(&self) -> Vec<WorkerStatus> {
        self.lock().iter().map(|(pid, busy)| WorkerStatus { pid: *pid, busy: *busy }).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    registry: Arc<Registry>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.registry.lock().remove(&self.pid);
    }
}

impl Worker {
    pub(super) fn spawn(program: &Path, args: &[OsString], registry: &Arc<Registry>) -> io::Result<Self> {
        let mut command = std::process::Command::new(program);
        // A group of its own: Ctrl-C in a terminal is for the node, which lets running jobs finish.
        command
            .args(args)
            .envs(ALLOCATOR.map(|(k, v)| (k, std::env::var(format!("X_{k}")).unwrap_or(v.into()))))
            .process_group(0);
        let mut child = Command::from(command)
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
        registry.lock().insert(pid, false);
        let stderr = StderrLog::follow(pid, stderr);
        Ok(Self { child, stdin, stdout, stderr, pid, jobs: 0, registry: registry.clone() })
    }

    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends an order and takes the answer to it.
    pub(super) async fn exchange(
        &mut self,
        request: Request,
        blobs: &[Bytes],
        deadline: Duration,
    ) -> Result<(Reply, Vec<Bytes>), Broken> {
        let answered = timeout(deadline, async {
            self.order(request, blobs).await?;
            self.reply().await
        });
        answered.await.unwrap_or(Err(Broken::Hung(deadline)))
    }

    pub(super) async fn order(&mut self, request: Request, blobs: &[Bytes]) -> Result<(), Broken> {
        self.jobs += 1;
        self.registry.lock().insert(self.pid, true);
        let stdin = self.stdin.as_mut().ok_or(Broken::Pipe)?;
        write_order(stdin, self.jobs, request, blobs).await
    }

    /// Both pipes and the number of the last order, for an exchange in which both sides speak at once.
    pub(super) fn pipes(&mut self) -> Result<(&mut ChildStdin, &mut BufReader<ChildStdout>, u64), Broken> {
        Ok((self.stdin.as_mut().ok_or(Broken::Pipe)?, &mut self.stdout, self.jobs))
    }

    /// The next answer to the last order.
    pub(super) async fn reply(&mut self) -> Result<(Reply, Vec<Bytes>), Broken> {
        let (mut reply, blobs) = read_reply(&mut self.stdout, self.jobs).await?;
        if let Answer::Failed(error) = &mut reply.answer {
            self.explain(error).await;
        }
        if !matches!(reply.answer, Answer::Source(_)) {
            self.rest();
        }
        Ok((reply, blobs))
    }

    /// The last order has been answered.
    pub(super) fn rest(&self) {
        self.registry.lock().insert(self.pid, false);
    }

    /// libav gives its callers a code and tells standard error what happened: puts the latter into the error.
    pub(super) async fn explain(&self, error: &mut MediaError) {
        if let MediaError::EncoderUnavailable { reason, .. } | MediaError::Libav { reason, .. } = error {
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
        match broken {
            Broken::Pipe => PoolError::WorkerDied {
                signal: status.and_then(|status| status.signal()),
                exit: status.and_then(|status| status.code()),
                stderr: self.stderr.last_words().await,
            },
            Broken::Garbage(reason) => PoolError::WorkerGarbage { reason },
            Broken::Hung(deadline) => PoolError::WorkerHung { deadline },
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
pub(super) async fn read_reply(stdout: &mut BufReader<ChildStdout>, job: u64) -> Result<(Reply, Vec<Bytes>), Broken> {
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
