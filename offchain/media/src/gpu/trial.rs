//! What a device can do, found by doing it. Each trial is a job of a worker process: a driver that crashes costs one answer.
use serde::{Deserialize, Serialize};
use streamflow_types::{Gop, Profile, VideoCodec};

use super::{
    Coding, Driver,
    decoder::open_decoder,
    device::{Device, fault, is_on_device},
    driver, encoder, sample,
    scaler::{Scaler, Target},
};
use crate::{
    MediaError,
    encode::{Look, Plan, VideoEncoder},
    library,
    settings::{self, EncoderInput, TranscodeSettings, encoder_options},
};

/// Side of the picture that an encoder is tried with (node.md §9.5).
const ENCODED_SIDE: u32 = 146;
const ENCODED_FRAMES: i64 = 4;
/// Sessions opened at a time at most. Consumer chips stop at 2 to 8, the others where their memory ends.
pub(super) const MAX_TRIED_SESSIONS: u32 = 64;

/// One question about this machine or one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Trial {
    /// Which devices are there?
    Driver,
    /// Can libav use it?
    Open(u32),
    /// Does it decode this?
    Decode(u32, Coding),
    /// Does it scale?
    Scale(u32),
    /// Does it encode this?
    Encode(u32, VideoCodec),
    /// How many encoders may be open at a time?
    Sessions(u32),
}

/// What a trial found when it did not fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Finding {
    Driver(Driver),
    Works,
    /// So many could be opened; [`MAX_TRIED_SESSIONS`] means that there may be more.
    Sessions(u32),
}

/// Tries it, in this process.
///
/// # Errors
/// [`MediaError::NoDriver`] and [`MediaError::Gpu`] say what does not work.
pub(crate) fn attempt(trial: Trial) -> Result<Finding, MediaError> {
    library::prepare();
    let (number, done) = match trial {
        Trial::Driver => return driver::ask().map(Finding::Driver),
        Trial::Sessions(number) => return count_sessions(&Device::open(number)?).map(Finding::Sessions),
        Trial::Open(number) => (number, Device::open(number).map(drop)),
        Trial::Decode(number, coding) => (number, Device::open(number).and_then(|device| decode(&device, coding))),
        Trial::Scale(number) => (number, Device::open(number).and_then(|device| scale(&device))),
        Trial::Encode(number, codec) => (number, Device::open(number).and_then(|device| encode(&device, codec))),
    };
    tracing::debug!(device = number, ?trial, works = done.is_ok(), "device tried");
    done.map(|()| Finding::Works)
}

/// Decodes a few pictures, and sees that the chip did it.
fn decoded(device: &Device, coding: Coding) -> Result<Vec<ffmpeg_next::frame::Video>, MediaError> {
    let step = format!("decode {coding}");
    let sample = sample::make(coding)?;
    let decoder = open_decoder(sample.parameters, coding, device)?;
    let frames = sample::decode(decoder, &sample.packets).map_err(fault(device.number(), &step))?;
    let refused = |reason: &str| MediaError::Gpu { device: device.number(), step: step.clone(), reason: reason.into() };
    if frames.len() != sample.packets.len() {
        return Err(refused("it loses frames"));
    }
    if !frames.iter().all(is_on_device) {
        return Err(refused("the chip does not take it"));
    }
    Ok(frames)
}

fn decode(device: &Device, coding: Coding) -> Result<(), MediaError> {
    decoded(device, coding).map(drop)
}

fn scale(device: &Device) -> Result<(), MediaError> {
    let frames = decoded(device, Coding::H264)?;
    let (width, height) = (sample::WIDTH / 2, sample::HEIGHT / 2);
    for target in [Target::Device, Target::Memory] {
        let mut scaler = Scaler::new(device, width, height, target);
        for frame in &frames {
            let scaled = scaler.scale(frame)?;
            if (scaled.width(), scaled.height()) != (width, height) {
                return Err(fault(device.number(), "scale a frame")(ffmpeg_next::Error::Bug));
            }
        }
    }
    Ok(())
}

/// As small and as plain as hardware takes it.
fn plan(width: u32, height: u32, codec: VideoCodec) -> Result<Plan, MediaError> {
    let settings = TranscodeSettings { encoder: settings::Encoder::Nvenc, ..TranscodeSettings::default() };
    let profile = Profile::new("probe", width, height, 1_000_000)
        .map_err(|error| MediaError::UnsupportedProfile { name: "probe".into(), reason: error.to_string() })?;
    let profile = Profile { gop: Gop::Millis(2000), encoder: codec, ..profile };
    let input = EncoderInput { fps: sample::FPS, may_reorder: false };
    Ok(Plan {
        encoder: settings.encoder,
        codec,
        width,
        height,
        fps: sample::FPS,
        look: Look::of(&sample::grey(width, height)),
        options: encoder_options(&settings, &profile, input),
    })
}

fn encode(device: &Device, codec: VideoCodec) -> Result<(), MediaError> {
    let grey = sample::grey(ENCODED_SIDE, ENCODED_SIDE);
    let session = encoder::open(&plan(ENCODED_SIDE, ENCODED_SIDE, codec)?, device, &grey)?;
    let mut encoder = VideoEncoder::on_device(session, device.number());
    for index in 0..ENCODED_FRAMES {
        encoder.push(&grey, index * sample::FPS.frame_ticks(), index == 0)?;
    }
    let (track, submitted) = encoder.into_track()?;
    if track.packets.len() as u64 == submitted {
        Ok(())
    } else {
        let step = "encode a frame".into();
        Err(MediaError::Gpu { device: device.number(), step, reason: "it loses frames".into() })
    }
}

fn count_sessions(device: &Device) -> Result<u32, MediaError> {
    let plan = plan(ENCODED_SIDE, ENCODED_SIDE, VideoCodec::H264)?;
    let grey = sample::grey(ENCODED_SIDE, ENCODED_SIDE);
    let mut open = Vec::new();
    while open.len() < MAX_TRIED_SESSIONS as usize {
        match encoder::open(&plan, device, &grey) {
            Ok(session) => open.push(session),
            Err(error) if open.is_empty() => return Err(error),
            Err(_) => break,
        }
    }
    Ok(u32::try_from(open.len()).unwrap_or(MAX_TRIED_SESSIONS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::testing::{device_or_skip, encodes_or_skip};

    #[test]
    fn without_a_device_every_trial_says_so() {
        if Device::open(0).is_ok() {
            eprintln!("skipped: there is a device");
            return;
        }
        let trials = [
            Trial::Open(0),
            Trial::Decode(0, Coding::Av1),
            Trial::Scale(0),
            Trial::Encode(0, VideoCodec::H264),
            Trial::Sessions(0),
        ];
        for trial in trials {
            assert!(matches!(attempt(trial), Err(MediaError::Gpu { device: 0, .. })), "{trial:?}");
        }
    }

    #[test]
    fn a_chip_decodes_and_scales_h264() {
        let Some(_device) = device_or_skip() else { return };
        for trial in [Trial::Open(0), Trial::Decode(0, Coding::H264), Trial::Scale(0)] {
            assert_eq!(attempt(trial), Ok(Finding::Works), "{trial:?}");
        }
    }

    #[test]
    fn an_encoder_has_sessions_for_a_ladder() {
        let Some(device) = device_or_skip() else { return };
        if encodes_or_skip(&device) {
            let Ok(Finding::Sessions(sessions)) = attempt(Trial::Sessions(0)) else { panic!("no count") };
            assert!((1..=MAX_TRIED_SESSIONS).contains(&sessions));
        }
    }
}
