//! One segment in, every rendition of it out: decoded once, one encoding thread per rendition.
use std::{
    io::Read,
    ops::ControlFlow,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use bytes::Bytes;
use ffmpeg_next::{
    Packet,
    error::{EAGAIN, ENOMEM},
    frame, picture,
};
use serde::{Deserialize, Serialize};
use streamflow_types::{Container, Gop, Profile};

use crate::{
    MediaError, avc,
    demux::{self, Segment, Track, VideoDecoder},
    encode::{Look, Plan, VideoEncoder},
    error::libav,
    mux::{self, AUDIO_STREAM},
    rate::{FrameRate, Grid, TICKS_PER_SECOND},
    settings::{EncoderInput, MAX_RENDITIONS, TranscodeSettings, check_profile, encoder_options},
    size::rendition_size,
};

/// Decoded frames that may wait for one encoder.
const QUEUED_FRAMES: usize = 16;
/// Encoded frames per decoded one above which a job is refused (node.md §9.3).
const MAX_FRAMES_PER_FRAME: u64 = 25;
/// Damaged frames of one segment after which decoding ends.
const MAX_DECODE_ERRORS: u64 = 100_000;
/// Frames by which an encoder may delay its output.
const REORDER_FRAMES: i64 = 4;

/// One encoded segment of one profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendition {
    /// Name of the profile.
    pub name: String,
    /// Transport stream.
    pub bytes: Bytes,
    /// Delivered size in pixels; see [`rendition_size`].
    pub width: u32,
    /// Delivered size in pixels.
    pub height: u32,
    /// Frames that left the encoder.
    pub frames: u64,
    /// `frames` × `width` × `height`: what is billed (node.md §9.3).
    pub pixels: u64,
    /// Codecs as a playlist names them (RFC 6381).
    pub codecs: String,
}

/// What the source segment was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames decoded.
    pub frames: u64,
    /// Σ width × height of the decoded frames.
    pub pixels: u64,
    /// Damaged packets and frames; they were concealed, not dropped.
    pub decode_errors: u64,
    /// Ticks of 1/90000 s, from the first frame to the end of the last.
    pub duration: i64,
}

/// Renditions in the order of the profiles, and what they were made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcoded {
    /// One per profile.
    pub renditions: Vec<Rendition>,
    /// The source.
    pub source: SourceReport,
}

/// The next bytes of one rendition; pieces of one rendition come in the order of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Index of its profile.
    pub rendition: usize,
    /// Never empty.
    pub bytes: Bytes,
}

/// A rendition apart from its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenditionReport {
    /// Name of the profile.
    pub name: String,
    /// Delivered size in pixels; see [`rendition_size`].
    pub width: u32,
    /// Delivered size in pixels.
    pub height: u32,
    /// Frames that left the encoder.
    pub frames: u64,
    /// `frames` × `width` × `height`: what is billed (node.md §9.3).
    pub pixels: u64,
    /// Codecs as a playlist names them (RFC 6381).
    pub codecs: String,
}

/// What a segment was made into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TranscodeReport {
    /// One per profile.
    pub renditions: Vec<RenditionReport>,
    /// The source.
    pub source: SourceReport,
}

/// Transcodes a segment while it comes in. `emit` gets renditions piece by piece, on the calling thread, and ends the work
/// with [`ControlFlow::Break`].
///
/// The same bytes as [`transcode`] makes of the whole segment.
pub fn transcode_live(
    mut input: impl Read + Send,
    profiles: &[Profile],
    settings: &TranscodeSettings,
    emit: &mut dyn FnMut(Piece) -> ControlFlow<()>,
) -> Result<TranscodeReport, MediaError> {
    let mut segment = Vec::new();
    input.read_to_end(&mut segment).map_err(|error| MediaError::Source { reason: error.to_string() })?;
    let Transcoded { renditions, source } = transcode(&segment.into(), profiles, settings)?;
    let mut reports = Vec::new();
    for (index, made) in renditions.into_iter().enumerate() {
        let Rendition { name, bytes, width, height, frames, pixels, codecs } = made;
        let _ = emit(Piece { rendition: index, bytes });
        reports.push(RenditionReport { name, width, height, frames, pixels, codecs });
    }
    Ok(TranscodeReport { renditions: reports, source })
}

/// Transcodes a segment in this process. Nodes do this in a [`crate::WorkerPool`], where a crash costs one job.
pub fn transcode(
    segment: &Bytes,
    profiles: &[Profile],
    settings: &TranscodeSettings,
) -> Result<Transcoded, MediaError> {
    if profiles.is_empty() || profiles.len() > MAX_RENDITIONS {
        return Err(MediaError::RenditionCount { count: profiles.len(), max: MAX_RENDITIONS });
    }
    profiles.iter().try_for_each(check_profile)?;
    let Segment { video, audio, video_decoder, fps, start_pts, duration, damaged, .. } =
        demux::segment(segment, settings.decoder_threads)?;
    let audio = audio.map(|track| with_index(track, AUDIO_STREAM));
    let audio_codec = audio.as_ref().and_then(|track| avc::audio_codec(track.parameters.id()));
    let mut frames = Frames::new(video_decoder, video.packets, fps);
    let first = frames.next_frame()?.ok_or(MediaError::NoFrames)?;
    let (width, height) = (first.width(), first.height());
    demux::check_size(width, height)?;
    let look = Look::of(&first);
    let plan = |profile: &Profile| {
        let out_fps = FrameRate::of_profile(profile).filter(|asked| !same_rate(*asked, fps));
        let rate = out_fps.unwrap_or(fps);
        let may_reorder = start_pts >= REORDER_FRAMES * rate.frame_ticks();
        let (width, height) = rendition_size(profile, (width, height));
        let options = encoder_options(settings, profile, EncoderInput { fps: rate, may_reorder });
        let plan = Plan { encoder: settings.encoder, width, height, fps: rate, look, options };
        RenditionJob { profile: profile.clone(), plan, grid: out_fps.map(Grid), keys: KeyClock::new(profile.gop) }
    };
    let (encoded, totals) = thread::scope(|scope| {
        let mut queues = Vec::with_capacity(profiles.len());
        let mut threads = Vec::with_capacity(profiles.len());
        for job in profiles.iter().map(plan) {
            let (queue, inbox) = sync_channel(QUEUED_FRAMES);
            queues.push(queue);
            threads.push(scope.spawn(move || job.run(inbox)));
        }
        let decoded = frames.send_all(first, queues);
        let encoded: Vec<_> =
            threads.into_iter().map(|thread| thread.join().unwrap_or(Err(MediaError::Panicked))).collect();
        (encoded, decoded)
    });
    let totals = totals?;
    let renditions = encoded.into_iter().map(|encoded| encoded?.finish(audio.as_ref(), audio_codec));
    Ok(Transcoded {
        renditions: renditions.collect::<Result<_, _>>()?,
        source: SourceReport {
            width,
            height,
            frames: totals.frames,
            pixels: totals.pixels,
            decode_errors: damaged + totals.errors,
            duration,
        },
    })
}

/// A rate asked for that the source already has is no conversion.
fn same_rate(one: FrameRate, other: FrameRate) -> bool {
    (one.frame_ticks() - other.frame_ticks()).abs() <= 1
}

fn with_index(mut track: Track, index: usize) -> Track {
    track.packets.iter_mut().for_each(|packet| packet.set_stream(index));
    track
}

/// A decoded frame and the time at which the next one is shown, in ticks.
struct Shown {
    frame: Arc<frame::Video>,
    until: i64,
}

/// What one decoder run produced.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) frames: u64,
    pub(crate) pixels: u64,
    pub(crate) errors: u64,
}

/// Decodes packets one frame at a time; frames come with rising times and no picture type.
pub(crate) struct Frames {
    decoder: VideoDecoder,
    packets: std::vec::IntoIter<Packet>,
    flushing: bool,
    step: i64,
    last: Option<i64>,
    totals: Totals,
}

impl Frames {
    pub(crate) fn new(decoder: VideoDecoder, packets: Vec<Packet>, fps: FrameRate) -> Self {
        Self {
            decoder,
            packets: packets.into_iter(),
            flushing: false,
            step: fps.frame_ticks(),
            last: None,
            totals: Totals::default(),
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    pub(crate) fn next_frame(&mut self) -> Result<Option<frame::Video>, MediaError> {
        loop {
            let mut frame = frame::Video::empty();
            match self.decoder.receive_frame(&mut frame) {
                Ok(()) => return Ok(Some(self.accept(frame))),
                Err(ffmpeg_next::Error::Eof) => return Ok(None),
                Err(ffmpeg_next::Error::Other { errno: EAGAIN }) if !self.flushing => self.feed()?,
                Err(ffmpeg_next::Error::Other { errno: EAGAIN }) => return Ok(None),
                Err(error @ ffmpeg_next::Error::Other { errno: ENOMEM }) => {
                    return Err(libav("decode a frame")(error));
                }
                Err(error) => {
                    self.totals.errors += 1;
                    if self.totals.errors > MAX_DECODE_ERRORS {
                        return Err(libav("decode a frame")(error));
                    }
                }
            }
        }
    }

    fn feed(&mut self) -> Result<(), MediaError> {
        match self.packets.next() {
            Some(packet) => match self.decoder.send_packet(&packet) {
                Ok(()) => Ok(()),
                Err(ffmpeg_next::Error::InvalidData) => {
                    self.totals.errors += 1;
                    Ok(())
                }
                Err(error) => Err(libav("decode a packet")(error)),
            },
            None => {
                self.flushing = true;
                self.decoder.send_eof().map_err(libav("flush the decoder"))
            }
        }
    }

    fn accept(&mut self, mut frame: frame::Video) -> frame::Video {
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
        frame
    }

    /// Sends `first` and every frame after it to all queues; an encoder that failed has closed its own.
    fn send_all(&mut self, first: frame::Video, queues: Vec<SyncSender<Arc<Shown>>>) -> Result<Totals, MediaError> {
        let mut queues: Vec<_> = queues.into_iter().map(Some).collect();
        let mut send = |frame: frame::Video, until: i64| {
            let shown = Arc::new(Shown { frame: Arc::new(frame), until });
            for slot in &mut queues {
                if slot.as_ref().is_some_and(|queue| queue.send(shown.clone()).is_err()) {
                    *slot = None;
                }
            }
            queues.iter().any(Option::is_some)
        };
        let mut held = first;
        held.set_kind(picture::Type::I);
        while let Some(frame) = self.next_frame()? {
            let until = frame.pts().unwrap_or(0);
            if !send(std::mem::replace(&mut held, frame), until) {
                return Ok(self.totals);
            }
        }
        let end = held.pts().unwrap_or(0) + self.step;
        send(held, end);
        Ok(self.totals)
    }
}

/// Decides which frames must be key frames: the first one, then one per period by time.
struct KeyClock {
    period: Option<i64>,
    next: Option<i64>,
}

impl KeyClock {
    fn new(gop: Gop) -> Self {
        let period = match gop {
            Gop::Millis(ms) => Some(i64::from(ms.max(1)) * TICKS_PER_SECOND / 1000),
            Gop::EncoderDefault | Gop::IntraOnly => None,
        };
        Self { period, next: None }
    }

    fn is_key(&mut self, pts: i64) -> bool {
        let Some(next) = self.next else {
            self.next = Some(self.period.map_or(i64::MAX, |period| pts + period));
            return true;
        };
        let due = pts >= next;
        if let (true, Some(period)) = (due, self.period) {
            self.next = Some(next + ((pts - next) / period + 1) * period);
        }
        due
    }
}

/// Everything one encoding thread needs.
struct RenditionJob {
    profile: Profile,
    plan: Plan,
    grid: Option<Grid>,
    keys: KeyClock,
}

impl RenditionJob {
    fn run(mut self, inbox: Receiver<Arc<Shown>>) -> Result<Encoded, MediaError> {
        let mut encoder = VideoEncoder::open(&self.plan)?;
        let mut decoded = 0;
        for shown in inbox {
            decoded += 1;
            self.encode(&mut encoder, &shown)?;
            if encoder.submitted() > MAX_FRAMES_PER_FRAME * decoded {
                return Err(MediaError::FramesRunaway { decoded, encoded: encoder.submitted() });
            }
        }
        let (track, submitted) = encoder.into_track()?;
        let got = track.packets.len() as u64;
        if got != submitted {
            return Err(MediaError::FramesLost { name: self.profile.name, submitted, got });
        }
        if got == 0 {
            return Err(MediaError::NoFrames);
        }
        let (name, container) = (self.profile.name, self.profile.format);
        Ok(Encoded { name, container, width: self.plan.width, height: self.plan.height, track })
    }

    fn encode(&mut self, encoder: &mut VideoEncoder, shown: &Shown) -> Result<(), MediaError> {
        let pts = shown.frame.pts().unwrap_or(0);
        let Some(grid) = self.grid else {
            return encoder.push(&shown.frame, pts, self.keys.is_key(pts));
        };
        for pts in grid.times(pts, shown.until) {
            encoder.push(&shown.frame, pts, self.keys.is_key(pts))?;
            if encoder.submitted() > MAX_SUBMITTED {
                break;
            }
        }
        Ok(())
    }
}

/// The pictures of one rendition, before sound joins them.
struct Encoded {
    name: String,
    container: Container,
    width: u32,
    height: u32,
    track: Track,
}

impl Encoded {
    fn finish(self, audio: Option<&Track>, audio_codec: Option<&str>) -> Result<Rendition, MediaError> {
        let video_codec = avc::codec_of(&self.track.packets);
        let codecs: Vec<_> = video_codec.as_deref().into_iter().chain(audio_codec).collect();
        let frames = self.track.packets.len() as u64;
        Ok(Rendition {
            bytes: mux::contained(self.container, &self.track, audio)?,
            frames,
            pixels: frames * u64::from(self.width) * u64::from(self.height),
            codecs: codecs.join(","),
            name: self.name,
            width: self.width,
            height: self.height,
        })
    }
}

/// Frames of one rendition above which a gap in the source is not filled any further: 300 s at 480 frames a second.
const MAX_SUBMITTED: u64 = 300 * 480;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_frames_follow_the_clock_not_the_count() {
        let mut keys = KeyClock::new(Gop::Millis(1000));
        let due: Vec<_> = (0..60).filter(|i| keys.is_key(1234 + i * 3600)).collect();
        assert_eq!(due, [0, 25, 50]);
        assert!(keys.is_key(1234 + 1000 * 3600), "a gap asks for one key frame");
        assert!(!keys.is_key(1234 + 1001 * 3600));
    }

    #[test]
    fn only_the_first_frame_is_forced_without_a_period() {
        let mut keys = KeyClock::new(Gop::EncoderDefault);
        assert_eq!((0..1000).filter(|i| keys.is_key(i * 3600)).count(), 1);
    }
}
