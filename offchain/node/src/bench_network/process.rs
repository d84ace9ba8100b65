//! What the system knows of a process.
use std::{fs, time::Duration};

use anyhow::Context as _;

/// User and system time of a process so far.
pub(super) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("cannot read the CPU time of a process")?;
    // The name, in brackets, may contain anything; what follows it does not.
    let (_, fields) = stat.rsplit_once(')').context("the system's account of a process is not understood")?;
    let ticks = |index: usize| fields.split_whitespace().nth(index).and_then(|field| field.parse::<u64>().ok());
    let ticks = ticks(11).zip(ticks(12)).context("the system's account of a process is not understood")?;
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs_f64((ticks.0 + ticks.1) as f64 / per_second as f64))
}

/// Memory of a process that is in RAM, in KiB.
pub(super) fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("cannot read the memory of a process")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.context("the system does not tell the memory of a process")
}
