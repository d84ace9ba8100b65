//! What tests of several files share. Without a device they pass with a line that says why.
use super::{
    Coding,
    decoder::open_decoder,
    device::Device,
    driver,
    sample::{self, Sample},
    trial,
};
use ffmpeg_next::{Packet, frame};
use streamflow_types::VideoCodec;

/// The first device, or a line that says why there is none.
pub(super) fn device_or_skip() -> Option<Device> {
    match driver::ask().and_then(|_| Device::open(0)) {
        Ok(device) => Some(device),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}

/// Whether the device has an encoder, or a line that says why not.
pub(super) fn encodes_or_skip(device: &Device) -> bool {
    match trial::attempt(trial::Trial::Encode(device.number(), VideoCodec::H264)) {
        Ok(_) => true,
        Err(error) => {
            eprintln!("skipped: no encoder: {error}");
            false
        }
    }
}

/// Frames as a decoder of the first device leaves them there, or nothing and a line that says why.
pub(crate) fn frames_on_device_or_skip() -> Option<Vec<frame::Video>> {
    let device = device_or_skip()?;
    let sample = sample(Coding::H264);
    let decoder = open_decoder(sample.parameters.clone(), Coding::H264, &device).unwrap();
    Some(decode(decoder, &sample.packets))
}

pub(super) fn sample(coding: Coding) -> Sample {
    sample::make(coding).unwrap()
}

pub(super) fn decode(decoder: ffmpeg_next::decoder::Video, packets: &[Packet]) -> Vec<frame::Video> {
    sample::decode(decoder, packets).unwrap()
}
