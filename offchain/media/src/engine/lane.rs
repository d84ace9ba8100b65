//! One rendition: encoded and written on a thread of its own.
use std::{
    collections::VecDeque,
    sync::{Arc, mpsc::SyncSender},
};

use bytes::Bytes;
use ffmpeg_next::{Packet, codec, frame};
use rustix::process::nice;
use streamflow_types::{Container, Keccak256, Profile};

use super::{
    queues::{Footprint, Queues},
    rung::Work,
    sound::Sound,
};
use crate::{
    MediaError, Piece, RenditionReport, codecs,
    demux::Track,
    encode::{Plan, VideoEncoder},
    gpu::Hardware,
    mux::{self, Writer},
};

/// By how much smaller encoders give way to the largest of their segment: with a level of 2 they have a third less of what they
/// contend for. It is done earlier then, and the next segment's is opened while they have work left for all cores.
const GIVES_WAY: i32 = 2;

/// What one lane is to make.
pub(super) struct LanePlan {
    /// Index of the profile.
    pub(super) rendition: usize,
    /// Whether a larger rendition is to be done first.
    pub(super) gives_way: bool,
    pub(super) footprint: Footprint,
    pub(super) profile: Profile,
    pub(super) encoder: Plan,
}

/// Encodes and writes one rendition.
pub(super) struct Lane {
    plan: LanePlan,
    /// Where it is encoded, unless that is the CPU.
    hardware: Option<Hardware>,
    sound: Arc<Sound>,
    pieces: SyncSender<Piece>,
    file: Option<File>,
    /// Encoded, but sound that comes before may be missing.
    waiting: VecDeque<Packet>,
    /// Packets of sound written.
    heard: usize,
    frames: u64,
    /// Pictures written since the last piece.
    written: u64,
    codec: Option<String>,
    /// Of all bytes handed on.
    hash: Keccak256,
}

/// The rendition being written.
enum File {
    TransportStream(Writer),
    /// Says first what only its end knows: pictures are kept until then.
    Mp4(Track),
}

impl File {
    fn begin(container: Container, video: codec::Parameters, sound: &Sound) -> Result<Self, MediaError> {
        Ok(match container {
            Container::MpegTs => Self::TransportStream(Writer::transport_stream(&video, sound.parameters().as_ref())?),
            Container::Mp4 => Self::Mp4(Track { parameters: video, packets: Vec::new() }),
        })
    }
}

impl Lane {
    pub(super) fn new(
        plan: LanePlan,
        hardware: Option<&Hardware>,
        sound: Arc<Sound>,
        pieces: SyncSender<Piece>,
    ) -> Self {
        let hardware = hardware.filter(|hardware| hardware.encodes(plan.encoder.codec)).cloned();
        Self {
            plan,
            hardware,
            sound,
            pieces,
            file: None,
            waiting: VecDeque::new(),
            heard: 0,
            frames: 0,
            written: 0,
            codec: None,
            hash: Keccak256::new(),
        }
    }

    /// Makes what is ordered.
    pub(super) fn run(self, queues: &Queues) -> Result<RenditionReport, MediaError> {
        let _ending = queues.ending(self.plan.rendition);
        if queues.begin(self.plan.rendition) { self.encode(queues) } else { Err(MediaError::Abandoned) }
    }

    fn encode(mut self, queues: &Queues) -> Result<RenditionReport, MediaError> {
        if self.plan.gives_way {
            // Of this thread, and of those that its encoder starts. Where it is refused, all are equal.
            let _ = nice(GIVES_WAY);
        }
        // On a device it depends on the pictures; elsewhere it is opened while they are decoded.
        let mut open = match self.hardware {
            Some(_) => None,
            None => Some(VideoEncoder::open(&self.plan.encoder)?),
        };
        loop {
            match queues.next(self.plan.rendition) {
                Some(Work::Show { picture, pts, key }) => {
                    let encoder = match &mut open {
                        Some(encoder) => encoder,
                        none => none.insert(self.encoder_for(&picture)?),
                    };
                    encoder.push(&picture, pts, key)?;
                    self.take(encoder)?;
                    self.write()?;
                }
                Some(Work::End) => break,
                None => return Err(MediaError::Abandoned),
            }
        }
        let mut encoder = open.ok_or(MediaError::NoFrames)?;
        encoder.finish()?;
        self.take(&mut encoder)?;
        let submitted = encoder.submitted();
        match &self.hardware {
            Some(hardware) => hardware.keep(self.plan.encoder.clone(), encoder),
            None => drop(encoder),
        }
        if self.frames != submitted {
            let name = self.plan.profile.name;
            return Err(MediaError::FramesLost { name, submitted, got: self.frames });
        }
        self.finish()
    }

    fn encoder_for(&self, first: &frame::Video) -> Result<VideoEncoder, MediaError> {
        match &self.hardware {
            Some(hardware) => hardware.encoder(&self.plan.encoder, first),
            None => VideoEncoder::open(&self.plan.encoder),
        }
    }

    /// Takes what the encoder has finished.
    fn take(&mut self, encoder: &mut VideoEncoder) -> Result<(), MediaError> {
        let parameters = encoder.parameters();
        for packet in encoder.drain() {
            self.frames += 1;
            if self.codec.is_none() {
                self.codec = codecs::video_name(&parameters, self.plan.encoder.fps, [&packet]);
            }
            self.waiting.push_back(packet);
        }
        if self.file.is_none() {
            self.file = Some(File::begin(self.plan.profile.format, parameters, &self.sound)?);
        }
        Ok(())
    }

    /// Writes what is known to come next.
    fn write(&mut self) -> Result<(), MediaError> {
        let writer = match &mut self.file {
            Some(File::TransportStream(writer)) => writer,
            Some(File::Mp4(track)) => {
                track.packets.extend(self.waiting.drain(..));
                return Ok(());
            }
            None => return Ok(()),
        };
        while let Some(picture) = self.waiting.front() {
            let (sound, all) = self.sound.due(self.heard, picture.dts());
            self.heard += sound.len();
            sound.iter().try_for_each(|packet| writer.write(packet))?;
            if !all {
                break;
            }
            writer.write(picture)?;
            self.waiting.pop_front();
            self.written += 1;
        }
        let bytes = writer.take();
        self.hand_on(bytes)
    }

    fn hand_on(&mut self, bytes: Bytes) -> Result<(), MediaError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.hash.update(&bytes);
        let pixels = std::mem::take(&mut self.written) * self.picture();
        self.pieces.send(Piece { rendition: self.plan.rendition, bytes, pixels }).map_err(|_| MediaError::Abandoned)
    }

    /// Pixels of one picture.
    fn picture(&self) -> u64 {
        u64::from(self.plan.encoder.width) * u64::from(self.plan.encoder.height)
    }

    fn finish(mut self) -> Result<RenditionReport, MediaError> {
        self.write()?;
        let end = match self.file.take().filter(|_| self.frames > 0).ok_or(MediaError::NoFrames)? {
            File::TransportStream(mut writer) => {
                self.sound.rest(self.heard).iter().try_for_each(|packet| writer.write(packet))?;
                writer.finish()?
            }
            File::Mp4(pictures) => {
                self.written = self.frames;
                mux::fragmented(&pictures, self.plan.encoder.fps, self.sound.track()?.as_ref())?
            }
        };
        self.hand_on(end)?;
        let pixels = self.frames * self.picture();
        let Plan { width, height, .. } = self.plan.encoder;
        let codecs: Vec<_> = self.codec.as_deref().into_iter().chain(self.sound.codec()).collect();
        Ok(RenditionReport {
            codecs: codecs.join(","),
            name: self.plan.profile.name,
            width,
            height,
            frames: self.frames,
            pixels,
            hash: self.hash.finalize(),
        })
    }
}
