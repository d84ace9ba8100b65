//! A job of the protocol of 2018.
use alloy_primitives::{Address, U256};

/// What `contracts/JobsManager.sol` knows of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Number, from 1.
    pub id: u64,
    /// Whose stream it is.
    pub broadcaster: Address,
    /// Who is to transcode it.
    pub orchestrator: Address,
    /// First block in which the job runs.
    pub creation_block: u64,
    /// Last block in which it runs.
    pub end_block: u64,
    /// Most that the broadcaster would pay, wei per pixel.
    pub max_price_per_unit: U256,
    /// Name of the stream, as its segments are signed.
    pub stream_id: String,
    /// Names of the presets wanted, separated by commas.
    pub transcoding_options: String,
}
