//! What the kernel lets a worker process use: what it is fed is not trusted.
use std::{fs, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::cpu_time;
use crate::MediaError;

/// The first process that the kernel ends when the machine runs out of memory, rather than the node: 1000 is the most.
const END_ME_FIRST: &str = "900";

/// What a worker may use.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// Bytes that it may write to: heap, stacks, buffers. Code and what is shared do not count.
    pub(crate) memory: u64,
    /// CPU time of all threads for one job; without it as much as it takes.
    pub(crate) cpu: Option<Duration>,
}

impl Limits {
    /// Sets what holds as long as the process lives. The process leaves no dump of its memory when it crashes: whoever
    /// makes it crash could fill the disk.
    pub(super) fn apply(&self) -> Result<(), MediaError> {
        let refused = |error: rustix::io::Errno| MediaError::Limits { reason: error.to_string() };
        lower(Resource::Data, self.memory).map_err(refused)?;
        lower(Resource::Core, 0).map_err(refused)?;
        // Where /proc is not mounted, the kernel chooses as it likes.
        let _ = fs::write("/proc/self/oom_score_adj", END_ME_FIRST);
        Ok(())
    }

    /// Begins the CPU time of a job. The kernel counts in whole seconds, and ends the process with SIGXCPU.
    pub(super) fn begin_job(&self) {
        let Some(cpu) = self.cpu else { return };
        let until = (cpu_time() + cpu).as_secs() + 1;
        let Rlimit { maximum, .. } = getrlimit(Resource::Cpu);
        let current = Some(maximum.map_or(until, |maximum| until.min(maximum)));
        let _ = setrlimit(Resource::Cpu, Rlimit { current, maximum });
    }
}

/// Lowers a limit for good; one that is lower already stays.
fn lower(resource: Resource, limit: u64) -> Result<(), rustix::io::Errno> {
    let Rlimit { maximum, .. } = getrlimit(resource);
    let limit = Some(maximum.map_or(limit, |maximum| limit.min(maximum)));
    setrlimit(resource, Rlimit { current: limit, maximum: limit })
}
