//! A few encoded pictures, to try a decoder with.
use ffmpeg_next::{Packet, codec, format::Pixel, frame};

use super::Coding;
use crate::{
    MediaError,
    demux::TICKS,
    encode::{Look, rational},
    error::libav,
    rate::FrameRate,
};

/// The smallest that every decoder of every chip takes, in 16 by 9.
pub(super) const WIDTH: u32 = 256;
pub(super) const HEIGHT: u32 = 144;
pub(super) const FPS: FrameRate = FrameRate::new(25, 1);
const FRAMES: i64 = 4;

/// What a demuxer would give.
pub(super) struct Sample {
    pub(super) parameters: codec::Parameters,
    pub(super) packets: Vec<Packet>,
}

/// The encoder on the CPU, and what makes it quick and quiet.
const fn encoder(coding: Coding) -> (&'static str, &'static [(&'static str, &'static str)]) {
    match coding {
        Coding::H264 => ("libx264", &[("preset", "ultrafast")]),
        Coding::Hevc => ("libx265", &[("preset", "ultrafast"), ("x265-params", "log-level=none")]),
        Coding::Vp9 => ("libvpx-vp9", &[("deadline", "realtime"), ("cpu-used", "8")]),
        Coding::Av1 => ("libaom-av1", &[("usage", "realtime"), ("cpu-used", "8")]),
    }
}

/// A grey picture in memory.
pub(super) fn grey(width: u32, height: u32) -> frame::Video {
    let mut grey = frame::Video::new(Pixel::YUV420P, width, height);
    (0..grey.planes()).for_each(|plane| grey.data_mut(plane).fill(128));
    grey
}

/// Four grey pictures, encoded on the CPU.
pub(super) fn make(coding: Coding) -> Result<Sample, MediaError> {
    let (name, options) = encoder(coding);
    let codec = ffmpeg_next::encoder::find_by_name(name).ok_or_else(|| MediaError::Libav {
        step: format!("make a sample of {coding}"),
        reason: format!("this libavcodec has no {name}"),
    })?;
    let failed = libav("make a sample");
    let mut grey = grey(WIDTH, HEIGHT);
    let mut video = codec::Context::new_with_codec(codec).encoder().video().map_err(&failed)?;
    video.set_width(WIDTH);
    video.set_height(HEIGHT);
    video.set_format(Pixel::YUV420P);
    video.set_time_base(TICKS);
    video.set_frame_rate(Some(rational(FPS)));
    Look::of(&grey).tell(&mut video);
    let mut encoder = video.open_as_with(codec, options.iter().copied().collect()).map_err(&failed)?;
    let mut packets = Vec::new();
    for index in 0..FRAMES {
        grey.set_pts(Some(index * FPS.frame_ticks()));
        encoder.send_frame(&grey).map_err(&failed)?;
        collect(&mut encoder, &mut packets);
    }
    encoder.send_eof().map_err(&failed)?;
    collect(&mut encoder, &mut packets);
    Ok(Sample { parameters: codec::Parameters::from(&encoder), packets })
}

fn collect(encoder: &mut ffmpeg_next::encoder::video::Encoder, packets: &mut Vec<Packet>) {
    let mut packet = Packet::empty();
    while encoder.receive_packet(&mut packet).is_ok() {
        packets.push(std::mem::replace(&mut packet, Packet::empty()));
    }
}

/// Decodes all packets.
pub(super) fn decode(
    mut decoder: ffmpeg_next::decoder::Video,
    packets: &[Packet],
) -> Result<Vec<frame::Video>, ffmpeg_next::Error> {
    let mut frames = Vec::new();
    for packet in packets {
        decoder.send_packet(packet)?;
        take(&mut decoder, &mut frames);
    }
    decoder.send_eof()?;
    take(&mut decoder, &mut frames);
    Ok(frames)
}

fn take(decoder: &mut ffmpeg_next::decoder::Video, frames: &mut Vec<frame::Video>) {
    let mut frame = frame::Video::empty();
    while decoder.receive_frame(&mut frame).is_ok() {
        frames.push(std::mem::replace(&mut frame, frame::Video::empty()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library;

    #[test]
    fn every_sample_has_its_frames() {
        library::prepare();
        for coding in Coding::ALL {
            let sample = make(coding).unwrap();
            let decoder = codec::Context::from_parameters(sample.parameters).unwrap().decoder().video().unwrap();
            let frames = decode(decoder, &sample.packets).unwrap();
            assert_eq!(frames.len(), 4, "{coding}");
            assert!(frames.iter().all(|frame| (frame.width(), frame.height()) == (WIDTH, HEIGHT)), "{coding}");
        }
    }
}
