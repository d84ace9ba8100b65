//! What can be wrong with a segment, a profile or an encoder.
use ffmpeg_next::error::ENOMEM;
use serde::{Deserialize, Serialize};

use crate::settings::Encoder;

/// Why a media operation failed. Crosses the pipe between a worker process and its pool unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum MediaError {
    /// Nothing, or more than [`crate::MAX_SEGMENT_BYTES`].
    #[error("segment of {len} bytes is not within 1 to {max}")]
    SegmentSize {
        /// Bytes given.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// No MPEG transport stream: random bytes, text, another container.
    #[error("segment is not an mpeg transport stream")]
    NotTransportStream,
    /// It begins like MP4, but is not.
    #[error("segment is not mp4 that can be read")]
    NotMp4,
    /// A transport stream has whole packets of 188 bytes; this one was cut.
    #[error("segment is cut after {len} bytes, inside a transport packet")]
    Truncated {
        /// Bytes given.
        len: usize,
    },
    /// Scrambled transport packets, or MP4 whose pictures are protected: there is no key.
    #[error("segment is encrypted")]
    Encrypted,
    /// Audio or data only.
    #[error("segment has no video stream")]
    NoVideoStream,
    /// A video codec other than H.264.
    #[error("video codec {codec} is not supported")]
    UnsupportedVideo {
        /// libav's name of the codec.
        codec: String,
    },
    /// An audio codec that is not passed through.
    #[error("audio codec {codec} is not supported")]
    UnsupportedAudio {
        /// libav's name of the codec.
        codec: String,
    },
    /// There is video, but nothing a decoder could start from.
    #[error("segment has no key frame")]
    NoKeyFrame,
    /// There is a video stream, but not one frame could be decoded.
    #[error("segment has no video frame")]
    NoFrames,
    /// A picture too large or too small to be handled.
    #[error("video size {width}x{height} is not within {min} to {max} pixels a side")]
    Dimensions {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// Shortest side, pixels.
        min: u32,
        /// Longest side, pixels.
        max: u32,
    },
    /// Longer than peers accept (node.md §9.4).
    #[error("segment lasts {millis} ms, more than {max}")]
    TooLong {
        /// Its duration.
        millis: u64,
        /// The limit in milliseconds.
        max: u64,
    },
    /// No renditions, or more than [`crate::MAX_RENDITIONS`].
    #[error("{count} renditions asked, not within 1 to {max}")]
    RenditionCount {
        /// Asked for.
        count: usize,
        /// Allowed.
        max: usize,
    },
    /// A profile that this transcoder cannot produce.
    #[error("profile {name:?} is not supported: {reason}")]
    UnsupportedProfile {
        /// Name of the profile.
        name: String,
        /// What about it.
        reason: String,
    },
    /// More frames came out than a sane source can ask for (node.md §9.3).
    #[error("{encoded} frames encoded from {decoded}, runaway")]
    FramesRunaway {
        /// Frames decoded.
        decoded: u64,
        /// Frames submitted to the encoder.
        encoded: u64,
    },
    /// The encoder did not return every frame it was given.
    #[error("encoder returned {got} of {submitted} frames of {name:?}")]
    FramesLost {
        /// Name of the profile.
        name: String,
        /// Frames submitted.
        submitted: u64,
        /// Packets returned.
        got: u64,
    },
    /// The encoder cannot be opened on this machine.
    #[error("{encoder}: {reason}")]
    EncoderUnavailable {
        /// Which.
        encoder: Encoder,
        /// In the words of libav.
        reason: String,
    },
    /// No driver for NVIDIA devices that could be used.
    #[error("no NVIDIA driver: {reason}")]
    NoDriver {
        /// In the words of the loader or of the driver.
        reason: String,
    },
    /// A device failed at something that has nothing to do with what it was given, or cannot do it at all.
    #[error("device {device} cannot {step}: {reason}")]
    Gpu {
        /// Its number, as `nvidia-smi` counts.
        device: u32,
        /// What was tried.
        step: String,
        /// In the words of libav.
        reason: String,
    },
    /// A live input whose key frames are too far apart, or missing, to be cut into segments.
    #[error("no key frame within {waited_ms} ms, more than {max_ms} ms: set the encoder's key frame interval to 2 s")]
    KeyFramesTooFar {
        /// Since the last key frame, or since the first picture.
        waited_ms: u64,
        /// The limit.
        max_ms: u64,
    },
    /// A segment of a live input grew too large.
    #[error("segment grew to {bytes} bytes, more than {max}: lower the encoder's bit rate or its key frame interval")]
    LiveSegmentSize {
        /// Bytes so far.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// A live input that libav cannot make sense of.
    #[error("input is not readable as {expected}: {reason}")]
    LiveInput {
        /// What it was to be.
        expected: String,
        /// In the words of libav.
        reason: String,
    },
    /// A file that cannot be played as a live source; whoever named it knows which.
    #[error("no playable video: {reason}")]
    Source {
        /// What about it.
        reason: String,
    },
    /// A step of libav failed for a reason that has no variant of its own.
    #[error("libav cannot {step}: {reason}")]
    Libav {
        /// What was tried.
        step: String,
        /// In the words of libav.
        reason: String,
    },
    /// A step of libav found no memory, which is this machine's trouble.
    #[error("no memory: libav cannot {step}{}; raise transcoding.worker_memory", within(*limit))]
    OutOfMemory {
        /// What was tried.
        step: String,
        /// Bytes that a worker may write to, if one tried it.
        limit: Option<u64>,
    },
    /// Whoever asked for renditions does not take them any more.
    #[error("nobody takes the renditions")]
    Abandoned,
    /// A worker process cannot be held to what it may use.
    #[error("worker cannot be limited: {reason}")]
    Limits {
        /// In the words of the kernel.
        reason: String,
    },
    /// A thread of the transcoder panicked.
    #[error("media thread panicked")]
    Panicked,
}

impl MediaError {
    /// Steps of [`Self::Libav`] that depend on nothing but the segment.
    pub const OF_THE_SEGMENT: [&str; 11] = [
        "open the segment",
        "read a packet",
        "set up the decoder",
        "open the decoder",
        "decode a packet",
        "decode a frame",
        "flush the decoder",
        "scale a frame",
        "filter a frame",
        "set up sound",
        "encode sound",
    ];

    /// Whether the segment is to blame, so that nobody can transcode it.
    pub fn blames_segment(&self) -> bool {
        match self {
            Self::SegmentSize { .. }
            | Self::NotTransportStream
            | Self::NotMp4
            | Self::Truncated { .. }
            | Self::Encrypted
            | Self::NoVideoStream
            | Self::UnsupportedVideo { .. }
            | Self::UnsupportedAudio { .. }
            | Self::NoKeyFrame
            | Self::NoFrames
            | Self::Dimensions { .. }
            | Self::TooLong { .. }
            | Self::FramesRunaway { .. } => true,
            Self::Libav { step, .. } => Self::OF_THE_SEGMENT.contains(&step.as_str()),
            Self::RenditionCount { .. }
            | Self::UnsupportedProfile { .. }
            | Self::FramesLost { .. }
            | Self::EncoderUnavailable { .. }
            | Self::NoDriver { .. }
            | Self::Gpu { .. }
            | Self::KeyFramesTooFar { .. }
            | Self::LiveSegmentSize { .. }
            | Self::LiveInput { .. }
            | Self::Source { .. }
            | Self::OutOfMemory { .. }
            | Self::Abandoned
            | Self::Limits { .. }
            | Self::Panicked => false,
        }
    }
}

fn within(limit: Option<u64>) -> String {
    limit.map_or_else(String::new, |limit| format!(" within {} MiB", limit >> 20))
}

/// There was no memory in this process.
pub(crate) fn no_memory(step: &str) -> MediaError {
    MediaError::OutOfMemory { step: step.into(), limit: None }
}

/// Names the step in an error of libav.
pub(crate) fn libav(step: &'static str) -> impl Fn(ffmpeg_next::Error) -> MediaError {
    move |error| match error {
        ffmpeg_next::Error::Other { errno: ENOMEM } => no_memory(step),
        error => MediaError::Libav { step: step.into(), reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use ffmpeg_next::error::EINVAL;

    use super::*;

    #[test]
    fn what_a_worker_may_write_to_is_told() {
        let in_worker = MediaError::OutOfMemory { step: "decode a frame".into(), limit: Some(128 << 20) };
        for (error, within) in [(no_memory("decode a frame"), ""), (in_worker, " within 128 MiB")] {
            let told = format!("no memory: libav cannot decode a frame{within}; raise transcoding.worker_memory");
            assert_eq!(error.to_string(), told);
        }
    }

    #[test]
    fn no_memory_is_told_apart_from_bad_media() {
        let failed = |errno| libav("decode a frame")(ffmpeg_next::Error::Other { errno });
        assert_eq!(failed(ENOMEM), no_memory("decode a frame"));
        assert!(matches!(failed(EINVAL), MediaError::Libav { .. }));
    }
}
