//! Where the figures were taken.
use std::{fmt, fs, num::NonZero, thread};

use serde::Serialize;

/// Figures are of one machine; ratios hold on others more or less.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    cpu: String,
    cores: usize,
    /// Release of Linux.
    system: String,
    /// Version of the yardstick, if it ran.
    ffmpeg: Option<String>,
}

impl Machine {
    pub(super) fn here(ffmpeg: Option<String>) -> Self {
        let unknown = || "unknown".to_owned();
        let said = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let cpus = said("/proc/cpuinfo");
        let cpu = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let system = said("/proc/sys/kernel/osrelease").trim().to_owned();
        Self {
            cpu: cpu.map_or_else(unknown, |(_, name)| name.trim().to_owned()),
            cores: thread::available_parallelism().map_or(1, NonZero::get),
            system: if system.is_empty() { unknown() } else { system },
            ffmpeg,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} cores, Linux {}", self.cpu, self.cores, self.system)?;
        self.ffmpeg.iter().try_for_each(|version| write!(f, "\nffmpeg {version}"))
    }
}
