//! What the system knows of a process.
use std::{fs, io, time::Duration};

use super::BenchmarkError;
use crate::{WorkerPool, worker};

/// User and system time of a process so far, to the system's tick (10 ms).
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in brackets, may contain anything; what follows it does not.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = |index: usize| fields.split_whitespace().nth(index).and_then(|field| field.parse::<u64>().ok());
    let (user, system) = ticks(11).zip(ticks(12)).ok_or_else(not_understood)?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Ok(Duration::from_nanos((user + system).saturating_mul(1_000_000_000 / per_second)))
}

/// Memory of a process that is in RAM, in bytes.
pub fn resident(pid: u32) -> io::Result<u64> {
    memory(pid, "VmRSS:")
}

/// The most memory of a process that ever was in RAM at a time, in bytes.
pub(super) fn peak(pid: u32) -> io::Result<u64> {
    memory(pid, "VmHWM:")
}

fn memory(pid: u32, key: &str) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let kib: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.map(|kib| kib * 1024).ok_or_else(not_understood)
}

fn not_understood() -> io::Error {
    io::Error::other("the system's account of a process is not understood")
}

/// What processes used over a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// User and system time.
    pub(super) cpu: Duration,
    /// Bytes.
    pub(super) peak: u64,
}

/// Follows the workers of a pool that does nothing else.
#[derive(Debug)]
pub(super) struct Meter {
    workers: Vec<(u32, Duration)>,
    own: Duration,
}

impl Meter {
    /// Forgets the memory that workers had before.
    pub(super) fn start(pool: &WorkerPool) -> Result<Self, BenchmarkError> {
        let mut workers = Vec::new();
        for worker in pool.workers() {
            fs::write(format!("/proc/{}/clear_refs", worker.pid), "5").map_err(BenchmarkError::Process)?;
            workers.push((worker.pid, cpu_time(worker.pid).map_err(BenchmarkError::Process)?));
        }
        Ok(Self { workers, own: worker::cpu_time() })
    }

    /// CPU time of all workers and of this process, which feeds them; the sum of the workers' peaks.
    pub(super) fn stop(&self, pool: &WorkerPool) -> Result<Usage, BenchmarkError> {
        let mut usage = Usage { cpu: worker::cpu_time().saturating_sub(self.own), peak: 0 };
        let alive = pool.workers();
        for (pid, before) in &self.workers {
            if !alive.iter().any(|worker| worker.pid == *pid) {
                return Err(BenchmarkError::WorkerReplaced { pid: *pid });
            }
            usage.cpu += cpu_time(*pid).map_err(BenchmarkError::Process)?.saturating_sub(*before);
            usage.peak += peak(*pid).map_err(BenchmarkError::Process)?;
        }
        Ok(usage)
    }
}
