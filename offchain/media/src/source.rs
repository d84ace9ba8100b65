//! A media file played like a live encoder would send it: looped, encoded once, cut into short segments.
use std::{collections::VecDeque, ops::ControlFlow, path::PathBuf, time::Duration};

use bytes::Bytes;
use ffmpeg_next::{
    Dictionary, Packet, Rational, codec, error::EAGAIN, format, format::context::Input, frame, media, picture,
};
use serde::{Deserialize, Serialize};
use streamflow_types::{Gop, H264Profile, Profile};

use crate::{
    MediaError,
    demux::{Decoding, TICKS, Track, VideoDecoder, check_size, open_decoder},
    encode::{Look, Plan, VideoEncoder},
    error::libav,
    inspect::ticks_to_duration,
    library,
    mux::{self, AUDIO_STREAM},
    rate::{FrameRate, Grid, TICKS_PER_SECOND},
    scale::Scaler,
    settings::{Encoder, EncoderInput, TranscodeSettings, encoder_options},
};

/// Time of the first frame, in ticks: room for reordered frames, and what other muxers start at.
const START: i64 = 126_000;

/// What to play and how to encode it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSettings {
    /// A local media file with any video that libav decodes, and AAC sound if any.
    pub path: PathBuf,
    /// How long to play; the file is looped or cut to it.
    pub duration: Duration,
    /// Distance of key frames and length of a segment.
    pub segment: Duration,
    /// Bits per second.
    pub bitrate: u32,
    /// Preset of libx264.
    pub preset: String,
    /// Threads of libx264; 0 lets it choose.
    pub encoder_threads: u32,
}

impl SourceSettings {
    /// Two-second segments at 4 Mbit/s.
    pub fn new(path: impl Into<PathBuf>, duration: Duration) -> Self {
        Self {
            path: path.into(),
            duration,
            segment: Duration::from_secs(2),
            bitrate: 4_000_000,
            preset: "veryfast".into(),
            encoder_threads: 1,
        }
    }
}

fn unplayable(reason: impl Into<String>) -> MediaError {
    MediaError::Source { reason: reason.into() }
}

/// One segment as a live encoder would push it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSegment {
    /// Counts from 0.
    pub seq: u64,
    /// Transport stream.
    pub bytes: Bytes,
    /// Shown time; the last segment may be shorter than the others.
    pub duration: Duration,
    /// Video frames.
    pub frames: u64,
    /// Time of the first frame, in ticks of 1/90000 s.
    pub start_pts: i64,
}

/// Plays a file in this process, handing out each segment as soon as it is complete, until the end or a break.
pub fn play(
    settings: &SourceSettings,
    emit: &mut dyn FnMut(SourceSegment) -> ControlFlow<()>,
) -> Result<(), MediaError> {
    library::prepare();
    let mut player: Option<Player> = None;
    loop {
        let mut file = File::open(settings)?;
        let player = match &mut player {
            Some(player) => player,
            slot => slot.insert(Player::new(settings, &file)?),
        };
        let before = player.next_frame;
        if file.play_once(player, emit)?.is_break() {
            return Ok(());
        }
        if player.next_frame == before {
            return Err(unplayable("no video frame can be decoded"));
        }
    }
}

/// One pass through the file.
struct File {
    input: Input,
    decoder: VideoDecoder,
    video: Selected,
    audio: Option<Selected>,
    fps: FrameRate,
}

struct Selected {
    index: usize,
    time_base: Rational,
    parameters: codec::Parameters,
}

impl File {
    fn open(settings: &SourceSettings) -> Result<Self, MediaError> {
        let mut options = Dictionary::new();
        options.set("protocol_whitelist", "file");
        let input =
            format::input_with_dictionary(&settings.path, options).map_err(|error| unplayable(error.to_string()))?;
        let select = |kind| {
            input.streams().find(|stream| stream.parameters().medium() == kind).map(|stream| {
                let rate = [stream.avg_frame_rate(), stream.rate()].into_iter().find_map(frame_rate);
                let selected =
                    Selected { index: stream.index(), time_base: stream.time_base(), parameters: stream.parameters() };
                (selected, rate)
            })
        };
        let (video, fps) = select(media::Type::Video).ok_or(MediaError::NoVideoStream)?;
        let audio = select(media::Type::Audio).map(|(audio, _)| audio);
        if let Some(audio) = audio.as_ref().filter(|audio| audio.parameters.id() != codec::Id::AAC) {
            return Err(MediaError::UnsupportedAudio { codec: audio.parameters.id().name().into() });
        }
        let decoder = open_decoder(video.parameters.clone(), Decoding::Threads(1))?;
        let fps = fps.ok_or_else(|| unplayable("frame rate is not known"))?;
        Ok(Self { decoder, video, audio, fps, input })
    }

    fn play_once(
        &mut self,
        player: &mut Player,
        emit: &mut dyn FnMut(SourceSegment) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, MediaError> {
        player.start_loop();
        loop {
            let mut packet = Packet::empty();
            match packet.read(&mut self.input) {
                Ok(()) => {}
                Err(ffmpeg_next::Error::InvalidData) => continue,
                Err(_) => break,
            }
            if packet.stream() == self.video.index {
                packet.rescale_ts(self.video.time_base, TICKS);
                // A damaged packet costs its frame, not the stream.
                let _ = self.decoder.send_packet(&packet);
                if self.drain(player, emit)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            } else if let Some(audio) = self.audio.as_ref().filter(|audio| audio.index == packet.stream()) {
                packet.rescale_ts(audio.time_base, TICKS);
                player.hear(packet);
            }
        }
        self.decoder.send_eof().map_err(libav("flush the decoder"))?;
        if self.drain(player, emit)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        player.end_loop(emit)
    }

    fn drain(
        &mut self,
        player: &mut Player,
        emit: &mut dyn FnMut(SourceSegment) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, MediaError> {
        loop {
            let mut frame = frame::Video::empty();
            match self.decoder.receive_frame(&mut frame) {
                Ok(()) => {
                    if player.see(frame, emit)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Err(ffmpeg_next::Error::Other { errno: EAGAIN } | ffmpeg_next::Error::Eof) => {
                    return Ok(ControlFlow::Continue(()));
                }
                Err(_) => {}
            }
        }
    }
}

fn frame_rate(rate: Rational) -> Option<FrameRate> {
    let (num, den) = (u32::try_from(rate.0).ok()?, u32::try_from(rate.1).ok()?);
    (num > 0 && den > 0 && num / den < 1000).then(|| FrameRate::new(num, den))
}

/// A frame of the file that waits to learn how long it is shown.
struct Held {
    frame: frame::Video,
    /// Since the first frame of the file, in ticks.
    at: i64,
}

/// Encodes the endless stream of frames and cuts it.
struct Player {
    encoder: VideoEncoder,
    scaler: Scaler,
    fps: FrameRate,
    segment_frames: u64,
    total_frames: u64,
    next_frame: u64,
    held: Option<Held>,
    /// Time of the first frame of this pass in the file, in ticks.
    file_start: Option<i64>,
    /// Number of the first frame of this pass.
    loop_frame: u64,
    audio: Option<AudioClock>,
    pictures: Vec<Packet>,
    cut: Cut,
}

/// Progress of the segments handed out.
#[derive(Default)]
struct Cut {
    seq: u64,
    frames: u64,
}

impl Player {
    fn new(settings: &SourceSettings, file: &File) -> Result<Self, MediaError> {
        let fps = file.fps;
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (width, height) = (file.decoder.width(), file.decoder.height());
        check_size(width, height)?;
        let (width, height) = (width & !1, height & !1);
        let profile =
            Profile::new("source", width, height, settings.bitrate).map_err(|error| unplayable(error.to_string()))?;
        let gop = Gop::Millis(u32::try_from(millis(settings.segment)).unwrap_or(u32::MAX).max(1));
        let profile = Profile { gop, h264_profile: H264Profile::High, ..profile };
        let encoding = TranscodeSettings {
            preset: settings.preset.clone(),
            encoder_threads: settings.encoder_threads,
            ..TranscodeSettings::default()
        };
        let segment_frames = fps.frames_in_millis(millis(settings.segment)).max(1);
        let mut options = encoder_options(&encoding, &profile, EncoderInput { fps, may_reorder: true });
        // Key frames exactly where segments begin, as live encoders are set up.
        options.push(("sc_threshold", "0".into()));
        options.push(("keyint_min", segment_frames.to_string()));
        let look = Look::told_by(&file.decoder);
        let plan = Plan { encoder: Encoder::X264, codec: profile.encoder, width, height, fps, look, options };
        Ok(Self {
            encoder: VideoEncoder::open(&plan)?,
            scaler: Scaler::new(width, height),
            fps,
            segment_frames,
            total_frames: fps.frames_in_millis(millis(settings.duration)).max(1),
            next_frame: 0,
            held: None,
            file_start: None,
            loop_frame: 0,
            audio: file.audio.as_ref().map(|audio| AudioClock::new(&audio.parameters)).transpose()?,
            pictures: Vec::new(),
            cut: Cut::default(),
        })
    }

    fn start_loop(&mut self) {
        self.loop_frame = self.next_frame;
        self.file_start = None;
    }

    /// Takes the next frame of the file; shows the one before it until then.
    fn see(
        &mut self,
        mut frame: frame::Video,
        emit: &mut dyn FnMut(SourceSegment) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, MediaError> {
        let told = frame.timestamp().unwrap_or(0);
        let at = told - *self.file_start.get_or_insert(told);
        frame.set_kind(picture::Type::None);
        match self.held.replace(Held { frame, at }) {
            Some(held) => self.show(&held, at, emit),
            None => Ok(ControlFlow::Continue(())),
        }
    }

    fn end_loop(
        &mut self,
        emit: &mut dyn FnMut(SourceSegment) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, MediaError> {
        match self.held.take() {
            Some(held) => self.show(&held, held.at + self.fps.frame_ticks(), emit),
            None => Ok(ControlFlow::Continue(())),
        }
    }

    fn show(
        &mut self,
        held: &Held,
        until: i64,
        emit: &mut dyn FnMut(SourceSegment) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, MediaError> {
        let picture = self.scaler.copy(&held.frame)?;
        for _ in Grid(self.fps).times(held.at, until) {
            let key = self.next_frame.is_multiple_of(self.segment_frames);
            self.encoder.push(&picture, self.frame_time(self.next_frame), key)?;
            self.next_frame += 1;
            if self.next_frame == self.total_frames {
                self.encoder.finish()?;
                let more = self.collect(emit)?;
                return Ok(if more.is_break() { more } else { self.hand_out(emit).map(|_| ControlFlow::Break(()))? });
            }
        }
        self.collect(emit)
    }

    /// Takes finished packets; a key frame closes the segment before it.
    fn collect(
        &mut self,
        emit: &mut dyn FnMut(SourceSegment) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, MediaError> {
        let packets: Vec<_> = self.encoder.drain().collect();
        for packet in packets {
            if packet.is_key() && !self.pictures.is_empty() && self.hand_out(emit)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            self.pictures.push(packet);
        }
        Ok(ControlFlow::Continue(()))
    }

    fn hand_out(
        &mut self,
        emit: &mut dyn FnMut(SourceSegment) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, MediaError> {
        let packets = std::mem::take(&mut self.pictures);
        let (first, frames) = (self.cut.frames, packets.len() as u64);
        let (start, end) = (self.frame_time(first), self.frame_time(first + frames));
        let sound = self.audio.as_mut().map(|audio| audio.take_until(end));
        let video = Track { parameters: self.encoder.parameters(), packets };
        let segment = SourceSegment {
            seq: self.cut.seq,
            bytes: mux::segment(&video, sound.as_ref().filter(|sound| !sound.packets.is_empty()))?,
            duration: ticks_to_duration(end - start),
            frames,
            start_pts: start,
        };
        self.cut = Cut { seq: self.cut.seq + 1, frames: first + frames };
        Ok(emit(segment))
    }

    fn frame_time(&self, index: u64) -> i64 {
        START + self.fps.grid_ticks(i64::try_from(index).unwrap_or(i64::MAX))
    }

    fn hear(&mut self, packet: Packet) {
        let loop_start = self.frame_time(self.loop_frame);
        // Sound that comes before the first picture was decoded starts with the file.
        let at = packet.pts().unwrap_or(0) - self.file_start.unwrap_or(0);
        if let Some(audio) = self.audio.as_mut().filter(|_| at >= 0) {
            audio.push(packet, loop_start + at);
        }
    }
}

/// Lays audio packets end to end, so that loops join without a gap and without drifting from the picture: a packet that
/// would start more than half its length late is left out, one that comes after a real gap keeps its place.
struct AudioClock {
    parameters: codec::Parameters,
    samples_per_second: i64,
    /// Samples since [`START`] that are laid.
    laid: i64,
    packets: VecDeque<Packet>,
}

impl AudioClock {
    fn new(parameters: &codec::Parameters) -> Result<Self, MediaError> {
        let context = codec::Context::from_parameters(parameters.clone()).map_err(libav("set up the decoder"))?;
        let rate = context.decoder().audio().map_err(libav("open the audio decoder"))?.rate();
        Ok(Self {
            parameters: parameters.clone(),
            samples_per_second: i64::from(rate.max(1)),
            laid: 0,
            packets: VecDeque::new(),
        })
    }

    fn push(&mut self, mut packet: Packet, at: i64) {
        let samples = |ticks: i64| (ticks * self.samples_per_second + TICKS_PER_SECOND / 2) / TICKS_PER_SECOND;
        let (length, place) = (samples(packet.duration().max(1)), samples(at - START));
        if self.laid - place > length / 2 {
            return;
        }
        if place - self.laid > length / 2 {
            self.laid = place;
        }
        let pts = START + self.laid * TICKS_PER_SECOND / self.samples_per_second;
        self.laid += length;
        packet.set_pts(Some(pts));
        packet.set_dts(Some(pts));
        packet.set_stream(AUDIO_STREAM);
        self.packets.push_back(packet);
    }

    fn take_until(&mut self, end: i64) -> Track {
        let count = self.packets.iter().take_while(|packet| packet.pts().is_some_and(|pts| pts < end)).count();
        Track { parameters: self.parameters.clone(), packets: self.packets.drain(..count).collect() }
    }
}

/// The first second of the clip, as a segment.
#[cfg(test)]
pub(crate) fn a_second() -> Bytes {
    let clip = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures/bbb-720p25-5s.mp4");
    let mut first = None;
    let played = play(&SourceSettings::new(clip, Duration::from_secs(1)), &mut |segment| {
        first.get_or_insert(segment.bytes);
        ControlFlow::Continue(())
    });
    played.unwrap();
    first.unwrap()
}
