//! What a worker says on standard error: into the log, and the last lines kept for error messages.
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

use crate::worker::{BEGIN_MARK, JOB_MARK};

/// Lines kept.
const KEPT_LINES: usize = 20;
/// Longest line kept, in bytes; what is longer is broken in two.
const MAX_LINE: usize = 1024;
/// How long words that must have been written are waited for: only on a busy machine it takes any time.
const PATIENCE: Duration = Duration::from_secs(2);

/// Follows one pipe until it ends or this is dropped.
#[derive(Debug)]
pub(super) struct StderrLog {
    lines: Arc<Mutex<VecDeque<Line>>>,
    /// Last job of which all was said; `u64::MAX` once the pipe has ended.
    finished: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Drop for StderrLog {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StderrLog {
    pub(super) fn follow(pid: u32, pipe: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let lines = Arc::default();
        let (mark, finished) = watch::channel(0);
        let reader = Reader { pid, lines: Arc::clone(&lines), mark, rest: Vec::new(), open: Vec::new(), begun: 0 };
        Self { lines, finished, task: tokio::spawn(reader.run(pipe)) }
    }

    /// What libav said about a job that has been answered. What it said while the process was at another as well may be of
    /// that one, which is not for the same eyes.
    pub(super) async fn said_about(&self, job: u64) -> Vec<String> {
        self.said(job, |line| line.job == Some(job)).await
    }

    /// The last lines of a process that has ended.
    pub(super) async fn last_words(&self) -> Vec<String> {
        self.said(u64::MAX, |_| true).await
    }

    async fn said(&self, job: u64, which: impl Fn(&Line) -> bool) -> Vec<String> {
        let _ = timeout(PATIENCE, self.finished.clone().wait_for(|finished| *finished >= job)).await;
        lock(&self.lines).iter().filter(|line| which(line)).map(|line| without_context(&line.said).to_owned()).collect()
    }
}

/// What was said.
#[derive(Debug)]
struct Line {
    said: String,
    /// The job that it is about, where there was one.
    job: Option<u64>,
    /// The job that began last.
    begun: u64,
}

/// libav starts its lines with `[name @ 0x55…]`, which says nothing to a reader.
fn without_context(line: &str) -> &str {
    line.strip_prefix('[').and_then(|rest| rest.split_once("] ")).map_or(line, |(_, said)| said)
}

/// A trace of calls as Rust prints it (`RUST_BACKTRACE`) is long, and comes after what it is the trace of. libav tells in such
/// a line how often it said the one before.
fn is_of_a_trace(line: &str) -> bool {
    line == "stack backtrace:" || line.starts_with("  ") || line.starts_with("note: ")
}

fn lock(lines: &Mutex<VecDeque<Line>>) -> MutexGuard<'_, VecDeque<Line>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Reader {
    pid: u32,
    lines: Arc<Mutex<VecDeque<Line>>>,
    mark: watch::Sender<u64>,
    rest: Vec<u8>,
    /// Jobs that the process is at.
    open: Vec<u64>,
    /// The last of them that began.
    begun: u64,
}

impl Reader {
    async fn run(mut self, mut pipe: impl AsyncRead + Unpin) {
        let mut chunk = [0; MAX_LINE];
        while let Ok(read @ 1..) = pipe.read(&mut chunk).await {
            self.rest.extend_from_slice(&chunk[..read]);
            while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                self.take(&line);
            }
            if self.rest.len() >= MAX_LINE {
                let line = std::mem::take(&mut self.rest);
                self.take(&line);
            }
        }
        self.mark.send_replace(u64::MAX);
    }

    fn take(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        if let Some(job) = line.strip_prefix(BEGIN_MARK).and_then(|job| job.parse().ok()) {
            return self.begin(job);
        }
        if let Some(job) = line.strip_prefix(JOB_MARK).and_then(|job| job.parse().ok()) {
            self.open.retain(|open| *open != job);
            self.mark.send_replace(job);
            return;
        }
        if line.is_empty() {
            return;
        }
        tracing::debug!(pid = self.pid, line, "media worker said");
        if is_of_a_trace(line) {
            return;
        }
        let job = match self.open.as_slice() {
            [job] => Some(*job),
            _ => None,
        };
        let mut lines = lock(&self.lines);
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(Line { said: line.to_owned(), job, begun: self.begun });
    }

    /// Forgets what was said before the oldest job that the process is at.
    fn begin(&mut self, job: u64) {
        lock(&self.lines).retain(|line| self.open.contains(&line.begun));
        self.open.push(job);
        self.begun = job;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Once the process has ended.
    async fn all_of(said: &str) -> StderrLog {
        let log = StderrLog::follow(1, std::io::Cursor::new(said.to_owned()));
        log.finished.clone().wait_for(|finished| *finished == u64::MAX).await.unwrap();
        log
    }

    #[tokio::test]
    async fn lines_of_an_earlier_job_are_forgotten() {
        let log =
            all_of("\x1d1\n[a @ 0x1] one\n\x1e1\n\x1d2\n[h264_nvenc @ 0x2] Cannot load libcuda.so.1\n\x1e2\n").await;
        assert_eq!(log.said_about(2).await, ["Cannot load libcuda.so.1"]);
        assert_eq!(log.last_words().await, ["Cannot load libcuda.so.1"]);
    }

    #[tokio::test]
    async fn what_may_be_of_another_job_explains_none() {
        let both = "\x1d1\nof one\n\x1d2\nof either\n\x1e1\nof two\n";
        let log = all_of(both).await;
        assert_eq!(log.said_about(1).await, ["of one"]);
        assert_eq!(log.said_about(2).await, ["of two"]);
        let log = all_of(&format!("{both}\x1d3\nof two or three\n\x1e2\nof three\n")).await;
        assert_eq!(log.said_about(3).await, ["of three"]);
        assert_eq!(log.last_words().await, ["of either", "of two", "of two or three", "of three"]);
    }

    #[tokio::test]
    async fn what_happened_is_not_lost_behind_a_trace() {
        let frames =
            "   0: std::alloc::rust_oom\n             at /rustc/library/std/src/alloc.rs:381:9\n".repeat(KEPT_LINES);
        let note = "note: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.\n";
        let said = format!("memory allocation of 16777216 bytes failed\nstack backtrace:\n{frames}{note}");
        let log = StderrLog::follow(1, std::io::Cursor::new(said));
        assert_eq!(log.last_words().await, ["memory allocation of 16777216 bytes failed"]);
    }

    #[tokio::test]
    async fn endless_line_is_bounded() {
        let log = StderrLog::follow(1, tokio::io::repeat(b'x').take(1 << 20));
        let words = log.last_words().await;
        assert!(words.len() <= KEPT_LINES && words.iter().all(|line| line.len() <= 2 * MAX_LINE));
    }
}
