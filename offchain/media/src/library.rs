//! libav as a whole: what it may print, and whether an encoder works here.
use std::sync::Once;

use ffmpeg_next::{Packet, encoder, format::Pixel, frame, log};
use streamflow_types::{Gop, Profile, VideoCodec};

use crate::{
    MediaError,
    encode::{Look, Plan, VideoEncoder},
    rate::FrameRate,
    settings::{Encoder, EncoderInput, TranscodeSettings, encoder_options},
};

/// Sides of the picture a new encoder is tried with: the smallest that hardware takes (node.md §9.5).
const PROBE_SIDE: u32 = 146;
const PROBE_FRAMES: i64 = 4;

/// Makes libav print errors only; on its own it reports every encoder's statistics. Fetches the words of its error codes,
/// without which they read as nothing.
pub(crate) fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_level(log::Level::Error);
        ffmpeg_next::util::error::register_all();
    });
}

/// Whether this libavcodec has an encoder of the codec, on the device or on the CPU as the first one says.
pub fn encodes(codec: VideoCodec, encoder: Encoder) -> bool {
    encoder.libav_name_for(codec).is_some_and(|name| encoder::find_by_name(name).is_some())
}

/// Opens the configured encoder and encodes a few frames with it.
///
/// # Errors
/// [`MediaError::EncoderUnavailable`] with the reason in libav's words. In this process that is only its error code; the
/// sentence behind it ("Cannot load libcuda.so.1") goes to standard error, and [`crate::WorkerPool::probe_encoder`]
/// reads it there.
pub fn probe_encoder(settings: &TranscodeSettings) -> Result<(), MediaError> {
    try_encoder(settings).map(|_| ())
}

/// What the configured encoder makes of a few black frames.
pub(crate) fn try_encoder(settings: &TranscodeSettings) -> Result<Vec<Packet>, MediaError> {
    prepare();
    let unavailable = |reason: String| MediaError::EncoderUnavailable { encoder: settings.encoder, reason };
    let fps = FrameRate::new(25, 1);
    let profile = Profile::new("probe", PROBE_SIDE, PROBE_SIDE, 1_000_000).map_err(|e| unavailable(e.to_string()))?;
    let profile = Profile { gop: Gop::Millis(2000), ..profile };
    let mut black = frame::Video::new(Pixel::YUV420P, PROBE_SIDE, PROBE_SIDE);
    (0..black.planes()).for_each(|plane| black.data_mut(plane).fill(if plane == 0 { 16 } else { 128 }));
    let plan = Plan {
        encoder: settings.encoder,
        codec: profile.encoder,
        width: PROBE_SIDE,
        height: PROBE_SIDE,
        fps,
        look: Look::of(&black),
        options: encoder_options(settings, &profile, EncoderInput { fps, may_reorder: false }),
    };
    let mut encoder = VideoEncoder::open(&plan)?;
    for index in 0..PROBE_FRAMES {
        encoder.push(&black, index * fps.frame_ticks(), index == 0)?;
    }
    let (track, submitted) = encoder.into_track()?;
    if track.packets.len() as u64 == submitted { Ok(track.packets) } else { Err(unavailable("it loses frames".into())) }
}
