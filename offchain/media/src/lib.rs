//! Video: probe, segment, transcode, HLS; libav in supervised worker processes.
pub mod benchmark;
mod codecs;
mod compare;
mod decode;
mod demux;
mod encode;
mod engine;
mod error;
mod evidence;
mod filters;
mod fragment;
pub mod gpu;
pub mod hls;
mod ingest;
mod inspect;
mod library;
mod loader;
mod metrics;
mod mux;
mod pool;
mod quality;
mod rate;
mod scale;
mod settings;
mod size;
mod source;
mod transcode;
mod upright;
pub mod worker;

pub use compare::{Comparison, MAX_COMPARED_FRAMES, Sampling, compare};
pub use error::MediaError;
pub use evidence::{Evidence, SettingsId, settings_id};
pub use fragment::{Fragment, fragment};
pub use ingest::{IngestContainer, IngestSettings, ingest};
pub use inspect::{Inspection, SegmentInfo, inspect, probe, ticks_to_duration};
pub use library::{encodes, probe_encoder};
pub use pool::{
    Feed, IngestFeed, IngestStream, JobReport, Made, MadeStream, PoolConfig, PoolError, QuarantineConfig, Reported,
    SourceStream, TranscodeJob, WorkerPool, WorkerStatus,
};
pub use quality::{Planes, Quality, quality};
pub use rate::{FrameRate, TICKS_PER_SECOND};
pub use settings::{
    Audio, Encoder, MAX_RENDITIONS, MAX_SEGMENT_BYTES, MAX_SEGMENT_MILLIS, MAX_SIDE, MIN_SIDE, TranscodeSettings,
    devnet_ladder,
};
pub use size::rendition_size;
pub use source::{SourceSegment, SourceSettings, play};
pub use transcode::{
    Piece, Rendition, RenditionReport, SourceReport, TranscodeReport, Transcoded, transcode, transcode_live,
};
