//! The stages of a transcoder: one thread reads and decodes, one scales, and one for each rendition encodes and writes, all at the
//! same time, with short queues of shared frames between them.
mod keys;
mod ladder;
mod lane;
mod queues;
mod recode;
mod rung;
mod sound;

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread::{self, Builder, Scope, ScopedJoinHandle},
};

use ffmpeg_next::{Packet, codec};
use streamflow_types::Profile;

pub(crate) use self::queues::Encoders;
use self::{
    ladder::Ladder,
    lane::Lane,
    queues::{Closing, Queues},
    recode::Recoder,
    sound::Sound,
};
use crate::{
    MediaError, Piece, RenditionReport, SourceReport, TranscodeReport, TranscodeSettings, codecs,
    decode::Frames,
    demux::{self, Live, Taken},
    error::no_memory,
    evidence::Evidence,
    gpu::Hardware,
    settings::{Audio, MAX_RENDITIONS, check_profile},
};

/// Frames that may wait to be scaled: encoders have those that wait.
const DECODED_FRAMES: usize = 0;
/// Pieces of all renditions that may wait to be taken.
const QUEUED_PIECES: usize = 32;
/// Frames decoded from one call of [`Place::settle`] to the next: opening encoders and writing tables run much code once.
const SETTLE_FRAMES: u64 = 24;

/// Where a segment is made.
#[derive(Default)]
pub(crate) struct Place<'a> {
    /// The device, if there is one.
    pub(crate) hardware: Option<&'a Hardware>,
    /// Those of the process, all its segments'.
    pub(crate) encoders: Arc<Encoders>,
    /// Called when the input is open and its decoder runs, and now and then afterwards: what ran before is hardly needed for the rest.
    pub(crate) settle: Option<&'a (dyn Fn() + Sync)>,
    /// Called when the first encoder is done, all frames being decoded and scaled long since: another segment may begin.
    pub(crate) ending: Option<&'a (dyn Fn() + Sync)>,
}

/// Makes every rendition of the segment that `open` opens; `emit` gets them piece by piece on this thread.
pub(crate) fn run(
    open: impl FnOnce() -> Result<Live, MediaError> + Send,
    profiles: &[Profile],
    settings: &TranscodeSettings,
    place: Place<'_>,
    emit: &mut dyn FnMut(Piece) -> ControlFlow<()>,
) -> Result<TranscodeReport, MediaError> {
    if profiles.is_empty() || profiles.len() > MAX_RENDITIONS {
        return Err(MediaError::RenditionCount { count: profiles.len(), max: MAX_RENDITIONS });
    }
    profiles.iter().try_for_each(|profile| check_profile(profile, settings.encoder))?;
    // What a device decodes and scales is its own.
    let hardware = place.hardware.filter(|_| !settings.deterministic);
    let Place { encoders, settle, ending, .. } = place;
    thread::scope(|scope| {
        let (pieces, made) = sync_channel(QUEUED_PIECES);
        let job = Job { profiles, settings, hardware, encoders, settle, ending, pieces };
        let front = begin(scope, Builder::new(), move || job.run(scope, open))?;
        for piece in made {
            if emit(piece).is_break() {
                break;
            }
        }
        front.join().unwrap_or(Err(MediaError::Panicked))
    })
}

/// Starts a thread of a job. A worker whose memory has no room for its stack has no memory.
fn begin<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    thread: Builder,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, MediaError> {
    thread.spawn_scoped(scope, work).map_err(|_| no_memory("start a thread"))
}

/// What is to be made, and where it goes.
struct Job<'a> {
    profiles: &'a [Profile],
    settings: &'a TranscodeSettings,
    hardware: Option<&'a Hardware>,
    encoders: Arc<Encoders>,
    settle: Option<&'a (dyn Fn() + Sync)>,
    ending: Option<&'a (dyn Fn() + Sync)>,
    pieces: SyncSender<Piece>,
}

type LaneThread<'scope> = ScopedJoinHandle<'scope, Result<RenditionReport, MediaError>>;

impl<'a> Job<'a> {
    /// Reads and decodes, until all lanes have ended.
    fn run<'scope>(
        self,
        scope: &'scope Scope<'scope, '_>,
        open: impl FnOnce() -> Result<Live, MediaError>,
    ) -> Result<TranscodeReport, MediaError>
    where
        'a: 'scope,
    {
        let mut live = open()?;
        let fps = live.rate()?;
        let there = self.hardware.map(|hardware| hardware.decoder(&live.video)).transpose()?.flatten();
        let device = self.hardware.filter(|_| there.is_some()).map(Hardware::device);
        let decoder = match there {
            Some(decoder) => decoder,
            None => demux::open_decoder(live.video.clone(), self.settings.decoding())?,
        };
        // Sound that is not taken may be announced and never come.
        let taken = |sound: &&codec::Parameters| codecs::check_audio(sound.id(), self.settings.audio).is_ok();
        let recoder = match self.settings.audio {
            Audio::Aac => live.audio.as_ref().filter(taken).map(Recoder::open).transpose()?,
            Audio::Copy => None,
        };
        let told = recoder.as_ref().map(Recoder::parameters).or_else(|| live.audio.clone());
        let sound = Arc::new(Sound::new(told.as_ref()));
        let turn = live.turn;
        let pictures = Pictures { live: &mut live, sound: &sound, recoder };
        let mut frames = Frames::new(decoder, pictures, fps, turn).on_device(device);
        let first = frames.next_frame()?.ok_or(MediaError::NoFrames)?;
        let settle = || self.settle.into_iter().for_each(|settle| settle());
        settle();
        let size = (first.width(), first.height());
        demux::check_size(size.0, size.1)?;
        let (ladder, plans) = Ladder::new(self.profiles, self.settings, self.hardware, &first, fps);
        let queues =
            Arc::new(Queues::new(&self.encoders, plans.iter().map(|plan| plan.footprint), self.ending.is_some()));
        let closing = Closing::new(queues.clone());
        let run = |plan| {
            let (lane, queues) = (Lane::new(plan, self.hardware, sound.clone(), self.pieces.clone()), queues.clone());
            begin(scope, Builder::new(), move || lane.run(&queues))
        };
        let lanes = plans.into_iter().map(run).collect::<Result<Vec<LaneThread<'_>>, _>>()?;
        drop(self.pieces);
        let (decoded, to_scale) = sync_channel(DECODED_FRAMES);
        let scaling = begin(scope, Builder::new(), move || ladder.run(to_scale, fps.frame_ticks(), closing))?;
        let send = |frame| decoded.send(frame).map_err(|_| MediaError::Abandoned);
        let mut next = Some(first);
        let shown: Result<(), MediaError> = (|| {
            while let Some(frame) = next.take() {
                send(Some(frame))?;
                next = frames.next_frame()?;
                if frames.totals().frames.is_multiple_of(SETTLE_FRAMES) {
                    settle();
                }
            }
            send(None)
        })();
        let totals = frames.totals();
        drop((decoded, frames));
        let (damaged, duration) = (live.damaged(), live.span.ticks());
        drop(live);
        sound.end();
        let scaled = scaling.join().unwrap_or(Err(MediaError::Panicked));
        if let Some(ending) = self.ending {
            queues.first_end();
            ending();
        }
        let made: Vec<_> = lanes.into_iter().map(|lane| lane.join().unwrap_or(Err(MediaError::Panicked))).collect();
        // Whatever failed tells why; what stands beside it only knows that it ended.
        let ends = made.iter().map(|made| made.as_ref().err()).chain([shown.as_ref().err(), scaled.as_ref().err()]);
        if let Some(error) = ends.flatten().min_by_key(|error| **error == MediaError::Abandoned) {
            return Err(error.clone());
        }
        Ok(TranscodeReport {
            renditions: made.into_iter().collect::<Result<_, _>>()?,
            evidence: Evidence::of(self.settings, self.profiles)?,
            source: SourceReport {
                width: size.0,
                height: size.1,
                frames: totals.frames,
                pixels: totals.pixels,
                decode_errors: damaged + totals.errors,
                duration,
            },
        })
    }
}

/// The pictures of a segment; its sound goes past the decoder.
struct Pictures<'a> {
    live: &'a mut Live,
    sound: &'a Sound,
    /// For sound that does not stay as it is.
    recoder: Option<Recoder>,
}

impl Pictures<'_> {
    fn hear(&mut self, packet: Packet) -> Result<(), MediaError> {
        match &mut self.recoder {
            Some(recoder) => recoder.push(&packet)?.into_iter().for_each(|packet| self.sound.push(packet)),
            None => self.sound.push(packet),
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), MediaError> {
        if let Some(mut recoder) = self.recoder.take() {
            recoder.finish()?.into_iter().for_each(|packet| self.sound.push(packet));
        }
        self.sound.end();
        Ok(())
    }
}

impl Iterator for Pictures<'_> {
    type Item = Result<Packet, MediaError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.live.next() {
                Ok(Some(Taken::Picture(packet))) => return Some(Ok(packet)),
                Ok(Some(Taken::Sound(packet))) => match self.hear(packet) {
                    Ok(()) => {}
                    Err(error) => return Some(Err(error)),
                },
                Ok(None) => return self.end().err().map(Err),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_finds_no_room_is_no_memory() {
        thread::scope(|scope| {
            let begun = begin(scope, Builder::new().stack_size(usize::MAX / 4), || ());
            assert!(matches!(begun, Err(MediaError::OutOfMemory { .. })));
        });
    }
}
