//! Sound decoded and encoded again as AAC.
use ffmpeg_next::{ChannelLayout, Packet, Rational, codec, decoder, encoder, error::EAGAIN, format, frame};

use crate::{
    MediaError,
    demux::TICKS,
    error::libav,
    filters::{Avfilter, Chain, Source},
};

/// Samples a second of each channel, of which there are two: what every player knows.
const RATE: i32 = 48_000;
/// Bits a second.
const BIT_RATE: usize = 128_000;
/// Time base of samples.
const SAMPLES: Rational = Rational(1, RATE);
/// Samples that the encoder takes at a time.
const FRAME: i64 = 1024;

/// Makes AAC of sound, packet by packet.
pub(super) struct Recoder {
    decoder: decoder::Audio,
    /// With what it was opened for.
    resampler: Option<(Heard, Chain)>,
    encoder: encoder::Audio,
    /// Time of the first sample: the encoder begins before it, with silence.
    start: Option<i64>,
    /// Time of the sample that comes next.
    next: Option<i64>,
}

impl Recoder {
    pub(super) fn open(parameters: &codec::Parameters) -> Result<Self, MediaError> {
        let failed = || libav("set up sound");
        let mut context = codec::Context::from_parameters(parameters.clone()).map_err(failed())?.decoder();
        context.set_packet_time_base(TICKS);
        let codec = encoder::find(codec::Id::AAC).ok_or(ffmpeg_next::Error::EncoderNotFound).map_err(failed())?;
        let mut aac = codec::Context::new_with_codec(codec).encoder().audio().map_err(failed())?;
        aac.set_rate(RATE);
        aac.set_channel_layout(ChannelLayout::STEREO);
        aac.set_format(format::Sample::F32(format::sample::Type::Planar));
        aac.set_bit_rate(BIT_RATE);
        aac.set_time_base(SAMPLES);
        Ok(Self {
            decoder: context.audio().map_err(failed())?,
            resampler: None,
            encoder: aac.open_as(codec).map_err(failed())?,
            start: None,
            next: None,
        })
    }

    /// What muxers need to know.
    pub(super) fn parameters(&self) -> codec::Parameters {
        codec::Parameters::from(&self.encoder)
    }

    /// Takes a packet; gives those that are finished, with times in ticks.
    pub(super) fn push(&mut self, packet: &Packet) -> Result<Vec<Packet>, MediaError> {
        // Damage costs its own packet.
        let _ = self.decoder.send_packet(packet);
        self.encode()
    }

    /// What is held back.
    pub(super) fn finish(&mut self) -> Result<Vec<Packet>, MediaError> {
        let failed = || libav("encode sound");
        self.decoder.send_eof().map_err(failed())?;
        let mut made = self.encode()?;
        made.extend(self.drain()?);
        self.encoder.send_eof().map_err(failed())?;
        made.extend(self.take()?);
        Ok(made)
    }

    fn encode(&mut self) -> Result<Vec<Packet>, MediaError> {
        let (mut made, mut heard) = (Vec::new(), frame::Audio::empty());
        while self.decoder.receive_frame(&mut heard).is_ok() {
            let input = Heard::like(&heard);
            if self.resampler.as_ref().is_none_or(|(of, _)| *of != input) {
                made.extend(self.drain()?);
                let resampler = Chain::open(Avfilter::load()?, Source::Sound(input.told()), &input.filters());
                self.resampler = Some((input, resampler.map_err(libav("set up filters"))?));
            }
            if let Some((_, resampler)) = &mut self.resampler {
                let resampled =
                    resampler.run(Some(&heard), frame::Audio::empty, SAMPLES).map_err(libav("filter a frame"))?;
                made.extend(self.encode_all(resampled)?);
            }
        }
        Ok(made)
    }

    /// What the resampler holds back.
    fn drain(&mut self) -> Result<Vec<Packet>, MediaError> {
        let Some((_, mut resampler)) = self.resampler.take() else { return Ok(Vec::new()) };
        let rest = resampler.run(None, frame::Audio::empty, SAMPLES).map_err(libav("filter a frame"))?;
        self.encode_all(rest)
    }

    /// Sound follows on what came before it, however its source counts, by up to a frame; later sound leaves a gap, and earlier
    /// sound was there already.
    fn encode_all(&mut self, frames: Vec<frame::Audio>) -> Result<Vec<Packet>, MediaError> {
        let mut made = Vec::new();
        for mut frame in frames {
            let told = frame.pts().or(self.next).unwrap_or(0);
            let at = self.next.filter(|next| (told - next).abs() <= FRAME).unwrap_or(told);
            if self.next.is_some_and(|next| at < next) {
                continue;
            }
            frame.set_pts(Some(at));
            self.start = self.start.or(Some(at));
            self.next = Some(at + FRAME);
            self.encoder.send_frame(&frame).map_err(libav("encode sound"))?;
            made.extend(self.take()?);
        }
        Ok(made)
    }

    fn take(&mut self) -> Result<Vec<Packet>, MediaError> {
        let mut made = Vec::new();
        loop {
            let mut packet = Packet::empty();
            match self.encoder.receive_packet(&mut packet) {
                Ok(()) => {
                    // Before the first sample there is nothing, and the segment before has its own end.
                    if packet.pts() >= self.start {
                        packet.rescale_ts(SAMPLES, TICKS);
                        made.push(packet);
                    }
                }
                Err(ffmpeg_next::Error::Other { errno: EAGAIN } | ffmpeg_next::Error::Eof) => return Ok(made),
                Err(error) => return Err(libav("encode sound")(error)),
            }
        }
    }
}

/// What decoded sound is like.
#[derive(PartialEq)]
struct Heard {
    rate: u32,
    format: format::Sample,
    layout: ChannelLayout,
}

impl Heard {
    fn like(heard: &frame::Audio) -> Self {
        let told = heard.channel_layout();
        let layout = if told.is_empty() { ChannelLayout::default(i32::from(heard.channels())) } else { told };
        Self { rate: heard.rate(), format: heard.format(), layout }
    }

    /// What libav must know of it.
    fn told(&self) -> String {
        let (rate, format, layout) = (self.rate, self.format.name(), self.layout.bits());
        let clock = format!("time_base={}/{}", TICKS.0, TICKS.1);
        format!("{clock}:sample_rate={rate}:sample_fmt={format}:channel_layout=0x{layout:x}")
    }

    /// libav's filters that bring it into the form and the portions that the encoder takes; the last is filled with silence.
    fn filters(&self) -> Vec<String> {
        // By itself libav makes one channel softer.
        let both = (self.layout.channels() == 1).then(|| "pan=stereo|c0=c0|c1=c0".into());
        let encoded = "aformat=sample_fmts=fltp:channel_layouts=stereo".into();
        both.into_iter().chain([format!("aresample={RATE}"), encoded, format!("asetnsamples=n={FRAME}:p=1")]).collect()
    }
}
