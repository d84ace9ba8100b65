//! What a segment is: from its headers, or by decoding all of it.
use std::time::Duration;

use bytes::Bytes;
use ffmpeg_next::frame;
use serde::{Deserialize, Serialize};
use streamflow_types::Container;

use crate::{
    MediaError, codecs,
    decode::Frames,
    demux::{self, Segment},
    rate::{FrameRate, TICKS_PER_SECOND},
};

/// What the headers of a segment say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentInfo {
    /// libav's name of the container.
    pub container: String,
    /// libav's name of the video codec.
    pub video_codec: String,
    /// Of the first picture, as it is to be shown: turned, if the segment says so. Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Coded frames.
    pub frames: u64,
    /// Measured over the segment.
    pub fps: FrameRate,
    /// Time of the first shown frame, in ticks of 1/90000 s.
    pub start_pts: i64,
    /// From the first frame shown to the end of the last.
    pub duration: Duration,
    /// Whether the first coded picture can be decoded on its own.
    pub starts_with_idr: bool,
    /// libav's name of the audio codec; `None` without sound.
    pub audio_codec: Option<String>,
    /// Audio packets.
    pub audio_packets: u64,
    /// Codecs as a playlist names them (RFC 6381).
    pub codecs: String,
}

impl SegmentInfo {
    /// Whether there is sound.
    pub fn has_audio(&self) -> bool {
        self.audio_codec.is_some()
    }

    /// The first picture tells its size better than headers do, which are those of another one if it changes.
    pub(crate) fn begins_with(&mut self, first: &frame::Video) {
        (self.width, self.height) = (first.width(), first.height());
    }
}

/// What decoding every frame showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// From the headers.
    pub info: SegmentInfo,
    /// Frames decoded.
    pub frames: u64,
    /// Σ width × height of the decoded frames: what a verifier compares with the bill (node.md §6).
    pub pixels: u64,
    /// Damaged packets and frames.
    pub decode_errors: u64,
}

/// Reads the headers of a segment in this process, and decodes its first picture.
pub fn probe(segment: &Bytes) -> Result<SegmentInfo, MediaError> {
    let segment = demux::segment(segment)?;
    let mut info = describe(&segment);
    let Segment { video, video_decoder, fps, turn, .. } = segment;
    // What cannot be decoded has the size that it says.
    if let Ok(Some(first)) = Frames::new(video_decoder, video.packets.into_iter().map(Ok), fps, turn).next_frame() {
        info.begins_with(&first);
    }
    Ok(info)
}

/// Decodes a segment in this process.
pub fn inspect(segment: &Bytes) -> Result<Inspection, MediaError> {
    let segment = demux::segment(segment)?;
    let mut info = describe(&segment);
    let Segment { video, video_decoder, fps, turn, damaged, .. } = segment;
    let mut frames = Frames::new(video_decoder, video.packets.into_iter().map(Ok), fps, turn);
    let first = frames.next_frame()?.ok_or(MediaError::NoFrames)?;
    demux::check_size(first.width(), first.height())?;
    info.begins_with(&first);
    while frames.next_frame()?.is_some() {}
    let totals = frames.totals();
    Ok(Inspection { info, frames: totals.frames, pixels: totals.pixels, decode_errors: damaged + totals.errors })
}

pub(crate) fn describe(segment: &Segment) -> SegmentInfo {
    let audio = segment.audio.as_ref();
    let audio_id = audio.map(|track| track.parameters.id());
    let (parameters, packets) = (&segment.video.parameters, &segment.video.packets);
    let codecs =
        [codecs::video_name(parameters, segment.fps, packets), audio_id.and_then(codecs::audio_codec).map(Into::into)];
    SegmentInfo {
        container: match segment.container {
            Container::MpegTs => "mpegts".into(),
            Container::Mp4 => "mp4".into(),
        },
        video_codec: parameters.id().name().into(),
        width: segment.video_decoder.width(),
        height: segment.video_decoder.height(),
        frames: packets.len() as u64,
        fps: segment.fps,
        start_pts: segment.start_pts,
        duration: ticks_to_duration(segment.duration),
        starts_with_idr: packets.first().is_some_and(|first| codecs::is_entry(parameters.id(), first)),
        audio_codec: audio_id.map(|id| id.name().into()),
        audio_packets: audio.map_or(0, |track| track.packets.len() as u64),
        codecs: codecs.into_iter().flatten().collect::<Vec<_>>().join(","),
    }
}

/// Ticks of 1/90000 s as a duration; a negative count is zero.
pub fn ticks_to_duration(ticks: i64) -> Duration {
    let ticks = u64::try_from(ticks).unwrap_or(0);
    let second = TICKS_PER_SECOND.unsigned_abs();
    Duration::from_secs(ticks / second) + Duration::from_nanos(ticks % second * 1_000_000_000 / second)
}
