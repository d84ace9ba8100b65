//! Video: probe, segment, transcode, HLS; libav in supervised worker processes.
mod avc;
mod demux;
mod encode;
mod error;
mod inspect;
mod mux;
mod rate;
mod settings;
mod size;
mod source;
mod transcode;

pub use error::MediaError;
pub use inspect::{Inspection, SegmentInfo, inspect, probe, ticks_to_duration};
pub use rate::{FrameRate, TICKS_PER_SECOND};
pub use settings::{
    Encoder, MAX_RENDITIONS, MAX_SEGMENT_BYTES, MAX_SEGMENT_MILLIS, MAX_SIDE, MIN_SIDE, TranscodeSettings,
    devnet_ladder, ffmpeg_args,
};
pub use size::rendition_size;
pub use source::{SourceSegment, SourceSettings, play};
pub use transcode::{Rendition, SourceReport, Transcoded, transcode};
