//! Settings of the media workers.
use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use streamflow_media::{
    Encoder, QuarantineConfig, TranscodeSettings,
    gpu::{DeviceChoice, GpuConfig},
};

use crate::exit::Usage;

/// Memory without which a worker cannot even encode small pictures, in bytes.
const MIN_WORKER_MEMORY: u64 = 128 << 20;

/// `[transcoding]`: the media workers of this machine, and who transcodes for the orchestrator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TranscodingConfig {
    /// Where the orchestrator has segments transcoded.
    pub transcoders: Transcoders,
    /// Worker processes: segments transcoded at a time.
    pub workers: usize,
    /// Segments that may wait for a worker.
    pub queue: usize,
    /// Longest time for one segment; a worker that takes longer is replaced.
    #[serde(with = "humantime_serde")]
    pub job_deadline: Duration,
    /// CPU time that a worker may use for one segment, all its threads together; one that wants more is replaced.
    #[serde(with = "humantime_serde")]
    pub job_cpu: Duration,
    /// Bytes of memory that one worker may write to.
    pub worker_memory: u64,
    /// Where segments go on which two workers failed.
    pub quarantine: QuarantineSettings,
    /// How renditions are encoded.
    pub encode: TranscodeSettings,
    /// Devices of this machine.
    pub gpu: GpuConfig,
}

impl Default for TranscodingConfig {
    fn default() -> Self {
        Self {
            transcoders: Transcoders::Local,
            workers: 2,
            queue: 8,
            job_deadline: Duration::from_secs(30),
            job_cpu: Duration::from_secs(120),
            worker_memory: 4 << 30,
            quarantine: QuarantineSettings::default(),
            encode: TranscodeSettings::default(),
            gpu: GpuConfig::default(),
        }
    }
}

/// `[transcoding.quarantine]`: where segments go on which two workers failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuarantineSettings {
    /// Created when missing; without it such segments are refused and not kept.
    pub directory: Option<PathBuf>,
    /// Files kept; the oldest goes first.
    pub max_files: usize,
    /// Bytes kept.
    pub max_bytes: u64,
}

impl Default for QuarantineSettings {
    fn default() -> Self {
        Self { directory: None, max_files: 100, max_bytes: 1 << 30 }
    }
}

impl QuarantineSettings {
    pub(crate) fn for_pool(&self) -> Option<QuarantineConfig> {
        let Self { directory, max_files, max_bytes } = self.clone();
        directory.map(|directory| QuarantineConfig { directory, max_files, max_bytes })
    }
}

impl TranscodingConfig {
    /// Checks what the types cannot express.
    pub(super) fn validate(&self) -> Result<(), Usage> {
        let refuse = |what: &str| Err(Usage(format!("configuration: transcoding.{what}")));
        if self.workers == 0 {
            return refuse("workers must be at least 1");
        }
        if self.encode.deterministic && self.encode.encoder != Encoder::X264 {
            return refuse("encode.deterministic needs encoder = \"x264\"");
        }
        if self.encode.deterministic && self.gpu.devices != DeviceChoice::Auto {
            return refuse(
                "encode.deterministic needs gpu.devices = \"auto\": what devices scale differs from the CPU's",
            );
        }
        if self.job_deadline.is_zero() {
            return refuse("job_deadline must be more than 0s");
        }
        if self.job_cpu < Duration::from_secs(1) {
            return refuse("job_cpu must be at least 1s: the kernel counts in whole seconds");
        }
        if self.worker_memory < MIN_WORKER_MEMORY {
            return refuse(&format!("worker_memory must be at least {MIN_WORKER_MEMORY} bytes"));
        }
        if self.quarantine.max_files == 0 {
            return refuse("quarantine.max_files must be at least 1; to keep nothing, leave out quarantine.directory");
        }
        Ok(())
    }
}

/// Who transcodes for an orchestrator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transcoders {
    /// Workers of this machine.
    #[default]
    Local,
    /// Transcoders that register over the network.
    Remote,
}
