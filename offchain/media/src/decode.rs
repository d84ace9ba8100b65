//! Packets in, frames out, one at a time.
use ffmpeg_next::{
    Packet,
    codec::Id,
    error::{EAGAIN, ENOMEM},
    frame, picture,
};

use crate::{
    MediaError,
    demux::VideoDecoder,
    error::libav,
    gpu,
    rate::FrameRate,
    upright::{Turn, Upright},
};

/// Damaged frames of one segment after which decoding ends.
const MAX_DECODE_ERRORS: u64 = 100_000;

/// libav shows each field of H.265 as a picture of half the height.
const HEVC_FIELDS: &str = "hevc in fields";

/// What one decoder run produced.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) frames: u64,
    pub(crate) pixels: u64,
    pub(crate) errors: u64,
}

/// Decodes packets one frame at a time; frames come whole and upright, with rising times and no picture type.
pub(crate) struct Frames<P> {
    decoder: VideoDecoder,
    /// Where it decodes, unless that is the CPU.
    device: Option<u32>,
    packets: P,
    upright: Upright,
    flushing: bool,
    step: i64,
    last: Option<i64>,
    totals: Totals,
}

impl<P: Iterator<Item = Result<Packet, MediaError>>> Frames<P> {
    /// Of packets as they come; `fps` is for frames without a time, and `turn` what their container says.
    pub(crate) fn new(decoder: VideoDecoder, packets: P, fps: FrameRate, turn: Turn) -> Self {
        let (step, totals, upright) = (fps.frame_ticks(), Totals::default(), Upright::new(turn));
        Self { decoder, device: None, packets, upright, flushing: false, step, last: None, totals }
    }

    /// With a decoder that uses this device.
    pub(crate) fn on_device(mut self, device: Option<u32>) -> Self {
        self.device = device;
        self
    }

    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    pub(crate) fn next_frame(&mut self) -> Result<Option<frame::Video>, MediaError> {
        while self.upright.is_empty() {
            let mut frame = frame::Video::empty();
            match self.decoder.receive_frame(&mut frame) {
                Ok(()) => {
                    let frame = self.accept(frame)?;
                    self.upright.push(frame, self.device)?;
                }
                Err(ffmpeg_next::Error::Other { errno: EAGAIN }) if !self.flushing => self.feed()?,
                Err(ffmpeg_next::Error::Eof | ffmpeg_next::Error::Other { errno: EAGAIN }) => {
                    self.upright.finish()?;
                    break;
                }
                Err(error @ ffmpeg_next::Error::Other { errno: ENOMEM }) => {
                    return Err(libav("decode a frame")(error));
                }
                Err(error) => {
                    self.blame(error)?;
                    self.totals.errors += 1;
                    if self.totals.errors > MAX_DECODE_ERRORS {
                        return Err(libav("decode a frame")(error));
                    }
                }
            }
        }
        Ok(self.upright.next())
    }

    fn feed(&mut self) -> Result<(), MediaError> {
        match self.packets.next().transpose()? {
            Some(packet) => match self.decoder.send_packet(&packet) {
                Ok(()) => Ok(()),
                Err(ffmpeg_next::Error::InvalidData) => {
                    self.totals.errors += 1;
                    Ok(())
                }
                Err(error) => self.blame(error).and(Err(libav("decode a packet")(error))),
            },
            None => {
                self.flushing = true;
                self.decoder.send_eof().map_err(libav("flush the decoder"))
            }
        }
    }

    /// An error of the device is no damage of the segment.
    fn blame(&self, error: ffmpeg_next::Error) -> Result<(), MediaError> {
        match self.device {
            Some(device) if gpu::is_fault(error) => Err(gpu::fault(device, "decode a frame")(error)),
            _ => Ok(()),
        }
    }

    fn accept(&mut self, mut frame: frame::Video) -> Result<frame::Video, MediaError> {
        if self.decoder.id() == Id::HEVC && frame.is_interlaced() {
            return Err(MediaError::UnsupportedVideo { codec: HEVC_FIELDS.into() });
        }
        let told = frame.timestamp().or(frame.pts());
        let pts = match (told, self.last) {
            (Some(pts), Some(last)) => pts.max(last + 1),
            (None, Some(last)) => last + self.step,
            (pts, None) => pts.unwrap_or(0),
        };
        self.last = Some(pts);
        self.totals.frames += 1;
        self.totals.pixels += u64::from(frame.width()) * u64::from(frame.height());
        self.totals.errors += u64::from(frame.has_decode_errors() || frame.is_corrupt());
        frame.set_pts(Some(pts));
        frame.set_kind(picture::Type::None);
        Ok(frame)
    }
}
