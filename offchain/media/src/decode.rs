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

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use bytes::Bytes;
    use proptest::prelude::*;
    use streamflow_types::Profile;

    use super::*;
    use crate::{
        TranscodeSettings,
        demux::{self, Segment},
        source::a_second,
        transcode,
    };

    /// A start code of H.264.
    const START: [u8; 3] = [0, 0, 1];

    /// A second of the clip, small.
    fn segment() -> Segment {
        static BYTES: OnceLock<Bytes> = OnceLock::new();
        let bytes = BYTES.get_or_init(|| {
            let small = Profile::new("small", 160, 90, 100_000).unwrap();
            let settings = TranscodeSettings { deterministic: true, ..TranscodeSettings::default() };
            transcode(&a_second(), &[small], &settings).unwrap().renditions.remove(0).bytes
        });
        demux::segment(bytes).unwrap()
    }

    /// Turns a bit over in the slice of a packet, near its begin.
    fn damage(packet: &mut Packet, at: usize, bit: u8) {
        let data = packet.data_mut().unwrap();
        let slice = data.windows(START.len()).rposition(|bytes| bytes == START).unwrap() + START.len();
        let at = (slice + at).min(data.len() - 1);
        data[at] ^= 1 << bit;
    }

    /// What is seen of each frame. All are kept until the last is there, or none is, so that later ones get their buffers.
    fn shown(segment: Segment, keep: bool) -> Vec<Vec<u8>> {
        let mut frames =
            Frames::new(segment.video_decoder, segment.video.packets.into_iter().map(Ok), segment.fps, segment.turn);
        let mut kept = Vec::new();
        let mut shown = Vec::new();
        while let Ok(Some(frame)) = frames.next_frame() {
            let lines = frame.data(0).chunks(frame.stride(0)).take(frame.height() as usize);
            shown.push(lines.flat_map(|line| &line[..frame.width() as usize]).copied().collect());
            if keep {
                kept.push(frame);
            }
        }
        shown
    }

    proptest! {
        #![proptest_config(streamflow_fuzz::config(256))]

        /// Of fifty such segments one differs where buffers are not blank.
        #[test]
        fn damage_looks_the_same_whichever_buffers_there_are(
            hits in prop::collection::vec((any::<prop::sample::Index>(), 0..60_usize, 0..8_u8), 1..24),
        ) {
            let [kept, dropped] = [true, false].map(|keep| {
                let mut segment = segment();
                let packets = &mut segment.video.packets;
                for (packet, at, bit) in &hits {
                    let packet = packet.index(packets.len());
                    damage(&mut packets[packet], *at, *bit);
                }
                shown(segment, keep)
            });
            prop_assert!(kept == dropped);
        }
    }
}
