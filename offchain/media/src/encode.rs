//! One encoder.
use ffmpeg_next::{Dictionary, Packet, Rational, codec, color, encoder, error::EAGAIN, frame, picture};

use crate::{
    MediaError,
    demux::{TICKS, Track, VideoDecoder},
    error::libav,
    mux::VIDEO_STREAM,
    rate::FrameRate,
    scale::{PIXELS, share},
    settings::{Encoder, EncoderOptions},
};

/// Colours and pixel shape of a stream, carried from source to rendition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    aspect: Rational,
    space: color::Space,
    primaries: color::Primaries,
    transfer: color::TransferCharacteristic,
}

impl Look {
    /// As the headers have it.
    pub(crate) fn told_by(decoder: &VideoDecoder) -> Self {
        Self {
            aspect: decoder.aspect_ratio(),
            space: decoder.color_space(),
            primaries: decoder.color_primaries(),
            transfer: decoder.color_transfer_characteristic(),
        }
    }

    pub(crate) fn of(frame: &frame::Video) -> Self {
        Self {
            aspect: frame.aspect_ratio(),
            space: frame.color_space(),
            primaries: frame.color_primaries(),
            transfer: frame.color_transfer_characteristic(),
        }
    }
}

/// What an encoder is opened for.
pub(crate) struct Plan {
    pub(crate) encoder: Encoder,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) fps: FrameRate,
    pub(crate) look: Look,
    pub(crate) options: EncoderOptions,
}

/// An open encoder; collects its packets.
pub(crate) struct VideoEncoder {
    encoder: encoder::video::Encoder,
    packets: Vec<Packet>,
    submitted: u64,
}

impl VideoEncoder {
    pub(crate) fn open(plan: &Plan) -> Result<Self, MediaError> {
        let unavailable = |reason: String| MediaError::EncoderUnavailable { encoder: plan.encoder, reason };
        let name = plan.encoder.libav_name();
        let codec = encoder::find_by_name(name).ok_or_else(|| unavailable("not part of this libavcodec".into()))?;
        let context = codec::Context::new_with_codec(codec).encoder();
        let mut video = context.video().map_err(libav("set up the encoder"))?;
        video.set_width(plan.width);
        video.set_height(plan.height);
        video.set_format(PIXELS);
        video.set_time_base(TICKS);
        video.set_frame_rate(Some(rational(plan.fps)));
        video.set_aspect_ratio(plan.look.aspect);
        video.set_colorspace(plan.look.space);
        video.set_color_primaries(plan.look.primaries);
        video.set_color_transfer_characteristic(plan.look.transfer);
        let options: Dictionary<'_> = plan.options.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let encoder = video.open_as_with(codec, options).map_err(|error| unavailable(error.to_string()))?;
        Ok(Self { encoder, packets: Vec::new(), submitted: 0 })
    }

    /// Encodes a picture of the encoder's own size as the frame shown at `pts` ticks, later than every frame before it.
    pub(crate) fn push(&mut self, picture: &frame::Video, pts: i64, key: bool) -> Result<(), MediaError> {
        let mut frame = share(picture)?;
        frame.set_pts(Some(pts));
        frame.set_kind(if key { picture::Type::I } else { picture::Type::None });
        self.encoder.send_frame(&frame).map_err(libav("encode a frame"))?;
        self.submitted += 1;
        self.receive()
    }

    /// Frames given so far.
    pub(crate) fn submitted(&self) -> u64 {
        self.submitted
    }

    /// Packets finished since the last call.
    pub(crate) fn drain(&mut self) -> std::vec::Drain<'_, Packet> {
        self.packets.drain(..)
    }

    /// What the muxer needs to know of the stream.
    pub(crate) fn parameters(&self) -> codec::Parameters {
        codec::Parameters::from(&self.encoder)
    }

    /// Ends the stream; what the encoder held back is in the packets after this.
    pub(crate) fn finish(&mut self) -> Result<(), MediaError> {
        self.encoder.send_eof().map_err(libav("flush the encoder"))?;
        self.receive()
    }

    /// The whole stream.
    pub(crate) fn into_track(mut self) -> Result<(Track, u64), MediaError> {
        self.finish()?;
        Ok((Track { parameters: self.parameters(), packets: self.packets }, self.submitted))
    }

    fn receive(&mut self) -> Result<(), MediaError> {
        loop {
            let mut packet = Packet::empty();
            match self.encoder.receive_packet(&mut packet) {
                Ok(()) => {
                    packet.set_stream(VIDEO_STREAM);
                    self.packets.push(packet);
                }
                Err(ffmpeg_next::Error::Other { errno: EAGAIN } | ffmpeg_next::Error::Eof) => return Ok(()),
                Err(error) => return Err(libav("encode a frame")(error)),
            }
        }
    }
}

fn rational(fps: FrameRate) -> Rational {
    Rational(i32::try_from(fps.num).unwrap_or(i32::MAX), i32::try_from(fps.den).unwrap_or(i32::MAX))
}
