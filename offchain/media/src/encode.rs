//! One encoder.
use ffmpeg_next::{Dictionary, Packet, Rational, codec, color, encoder, error::EAGAIN, frame, picture};

use streamflow_types::VideoCodec;

use crate::{
    MediaError,
    demux::{TICKS, Track, VideoDecoder},
    error::libav,
    gpu,
    mux::VIDEO_STREAM,
    rate::FrameRate,
    scale::{PIXELS, share},
    settings::{Encoder, EncoderOptions},
};

/// Colours and pixel shape of a stream, carried from source to rendition.
#[derive(Clone, Copy, Debug, PartialEq)]
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
            space: match frame.color_space() {
                // What scalers make of RGB.
                color::Space::RGB => color::Space::SMPTE170M,
                space => space,
            },
            primaries: frame.color_primaries(),
            transfer: frame.color_transfer_characteristic(),
        }
    }

    /// Has an encoder write it into its headers.
    pub(crate) fn tell(&self, video: &mut encoder::video::Video) {
        video.set_aspect_ratio(self.aspect);
        video.set_colorspace(self.space);
        video.set_color_primaries(self.primaries);
        video.set_color_transfer_characteristic(self.transfer);
    }
}

/// What an encoder is opened for.
#[derive(Clone, PartialEq)]
pub(crate) struct Plan {
    pub(crate) encoder: Encoder,
    pub(crate) codec: VideoCodec,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) fps: FrameRate,
    pub(crate) look: Look,
    pub(crate) options: EncoderOptions,
}

/// An open encoder; collects its packets.
pub(crate) struct VideoEncoder {
    encoder: encoder::video::Encoder,
    /// Where it encodes, unless that is the CPU.
    device: Option<u32>,
    packets: Vec<Packet>,
    submitted: u64,
}

impl VideoEncoder {
    pub(crate) fn open(plan: &Plan) -> Result<Self, MediaError> {
        let name = plan.encoder.libav_name_for(plan.codec).unwrap_or_default();
        let unavailable = |reason: String| match plan.codec {
            VideoCodec::H264 => MediaError::EncoderUnavailable { encoder: plan.encoder, reason },
            _ => MediaError::EncoderUnavailable { encoder: plan.encoder, reason: format!("{name}: {reason}") },
        };
        let codec = encoder::find_by_name(name).ok_or_else(|| unavailable("not part of this libavcodec".into()))?;
        let context = codec::Context::new_with_codec(codec).encoder();
        let mut video = context.video().map_err(libav("set up the encoder"))?;
        video.set_width(plan.width);
        video.set_height(plan.height);
        video.set_format(PIXELS);
        video.set_time_base(TICKS);
        video.set_frame_rate(Some(rational(plan.fps)));
        plan.look.tell(&mut video);
        let options: Dictionary<'_> = plan.options.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let encoder = video.open_as_with(codec, options).map_err(|error| unavailable(error.to_string()))?;
        Ok(Self { encoder, device: None, packets: Vec::new(), submitted: 0 })
    }

    /// One that is open on a device and has been given nothing yet.
    pub(crate) fn on_device(encoder: encoder::video::Encoder, device: u32) -> Self {
        Self { encoder, device: Some(device), packets: Vec::new(), submitted: 0 }
    }

    /// The session of an encoder that is finished.
    pub(crate) fn into_session(self) -> encoder::video::Encoder {
        self.encoder
    }

    fn failed(&self, step: &'static str, error: ffmpeg_next::Error) -> MediaError {
        self.device.map_or_else(|| libav(step)(error), |device| gpu::fault(device, step)(error))
    }

    /// Encodes a picture of the encoder's own size as the frame shown at `pts` ticks, later than every frame before it.
    pub(crate) fn push(&mut self, picture: &frame::Video, pts: i64, key: bool) -> Result<(), MediaError> {
        let mut frame = share(picture)?;
        frame.set_pts(Some(pts));
        frame.set_kind(if key { picture::Type::I } else { picture::Type::None });
        self.encoder.send_frame(&frame).map_err(|error| self.failed("encode a frame", error))?;
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
        self.encoder.send_eof().map_err(|error| self.failed("flush the encoder", error))?;
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
                Err(error) => return Err(self.failed("encode a frame", error)),
            }
        }
    }
}

pub(crate) fn rational(fps: FrameRate) -> Rational {
    Rational(i32::try_from(fps.num).unwrap_or(i32::MAX), i32::try_from(fps.den).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use streamflow_types::Profile;

    use super::*;
    use crate::{
        TranscodeSettings,
        decode::Frames,
        demux,
        scale::Scaler,
        settings::{EncoderInput, encoder_options},
        source::a_second,
    };

    const SIZE: (u32, u32) = (854, 480);
    const FPS: FrameRate = FrameRate::new(25, 1);

    /// Pictures of the clip, one second of them.
    fn pictures() -> Vec<frame::Video> {
        let segment = demux::segment(&a_second()).unwrap();
        let mut frames =
            Frames::new(segment.video_decoder, segment.video.packets.into_iter().map(Ok), segment.fps, segment.turn);
        let mut scaler = Scaler::exact(SIZE.0, SIZE.1);
        std::iter::from_fn(|| frames.next_frame().unwrap()).map(|frame| scaler.copy(&frame).unwrap()).collect()
    }

    fn options(settings: &TranscodeSettings) -> EncoderOptions {
        let profile = Profile::new("480p", SIZE.0, SIZE.1, 1_000_000).unwrap();
        encoder_options(settings, &profile, EncoderInput { fps: FPS, may_reorder: true })
    }

    fn opened(options: EncoderOptions, first: &frame::Video) -> VideoEncoder {
        let (width, height) = SIZE;
        let plan = Plan {
            encoder: Encoder::X264,
            codec: VideoCodec::H264,
            width,
            height,
            fps: FPS,
            look: Look::of(first),
            options,
        };
        VideoEncoder::open(&plan).unwrap()
    }

    /// The coded pictures, with assembly of libx264 up to a level.
    #[cfg(target_arch = "x86_64")]
    fn encoded(pictures: &[frame::Video], settings: &TranscodeSettings, assembly: &str) -> Vec<Vec<u8>> {
        let mut options = options(settings);
        let params = options.iter_mut().find(|(name, _)| *name == "x264-params").unwrap();
        params.1 = format!("{}:asm={assembly}", params.1);
        let mut encoder = opened(options, &pictures[0]);
        for (index, picture) in pictures.iter().enumerate() {
            encoder.push(picture, index as i64 * FPS.frame_ticks(), index == 0).unwrap();
        }
        let (track, submitted) = encoder.into_track().unwrap();
        assert_eq!((track.packets.len() as u64, pictures.len()), (submitted, 25));
        track.packets.iter().map(|packet| packet.data().unwrap().to_vec()).collect()
    }

    #[test]
    fn with_low_latency_each_frame_leaves_before_the_next_comes() {
        for threads in [1, 2] {
            let low = TranscodeSettings { low_latency: true, encoder_threads: threads, ..TranscodeSettings::default() };
            let usual = TranscodeSettings { encoder_threads: threads, ..TranscodeSettings::default() };
            let pictures = pictures();
            let left = |settings: &TranscodeSettings| {
                let mut encoder = opened(options(settings), &pictures[0]);
                let pushed = pictures.iter().enumerate().map(|(index, picture)| {
                    encoder.push(picture, index as i64 * FPS.frame_ticks(), index == 0).unwrap();
                    encoder.drain().map(|packet| (packet.pts(), packet.dts())).collect::<Vec<_>>()
                });
                pushed.collect::<Vec<_>>()
            };
            for (index, packets) in left(&low).into_iter().enumerate() {
                let time = Some(index as i64 * FPS.frame_ticks());
                assert_eq!(packets, [(time, time)], "{threads} threads");
            }
            assert!(left(&usual)[0].is_empty());
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn deterministic_pictures_are_the_same_at_every_level_of_assembly() {
        use std::arch::is_x86_feature_detected;

        let levels = [
            ("MMX2,SSE2", true),
            ("MMX2,SSE2,SSE3,SSSE3,SSE4.2", is_x86_feature_detected!("sse4.2")),
            ("MMX2,SSE2,SSE3,SSSE3,SSE4.2,AVX", is_x86_feature_detected!("avx")),
            ("MMX2,SSE2,SSE3,SSSE3,SSE4.2,AVX,FMA3,BMI2,AVX2", is_x86_feature_detected!("avx2")),
            ("auto", true),
        ];
        let pictures = pictures();
        for preset in ["medium", "veryfast"] {
            let settings =
                TranscodeSettings { preset: preset.into(), deterministic: true, ..TranscodeSettings::default() };
            let plain = encoded(&pictures, &settings, "none");
            for (level, _) in levels.iter().filter(|(_, here)| *here) {
                assert!(encoded(&pictures, &settings, level) == plain, "{preset}: {level} differs");
            }
        }
    }
}
