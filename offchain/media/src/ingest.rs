//! A live input, cut at its key frames into segments without touching its pictures.
use std::{io::Read, ops::ControlFlow, time::Duration};

use ffmpeg_next::{
    Dictionary, Packet, Rational, codec, format,
    format::context::{Input, StreamIo},
    media,
};
use serde::{Deserialize, Serialize};

use crate::{
    MediaError, SourceSegment, codecs,
    demux::{Decoding, JUMP_AHEAD, JUMP_BACK, TICKS, Track, check_size, open_decoder, sane},
    inspect::ticks_to_duration,
    library,
    mux::{self, AUDIO_STREAM, VIDEO_STREAM},
    rate::TICKS_PER_SECOND,
    settings::Audio,
};

/// Unreadable packets in a row after which the input is given up.
const MAX_BAD_PACKETS: u32 = 1000;
/// A key frame that comes this much too early still ends a segment: encoders round.
const EARLY: i64 = TICKS_PER_SECOND / 20;
/// Length of a picture where nothing tells it.
const FALLBACK_FRAME: i64 = TICKS_PER_SECOND / 25;

/// What a live input is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IngestContainer {
    /// What RTMP carries.
    #[default]
    Flv,
    /// Whatever a pipe may carry: FLV, a transport stream, Matroska or MP4 with its index first.
    Any,
}

impl IngestContainer {
    fn formats(self) -> &'static str {
        match self {
            Self::Flv => "flv",
            Self::Any => "flv,mpegts,matroska,webm,mov,mp4",
        }
    }
}

/// How a live input is cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestSettings {
    /// What comes in.
    pub container: IngestContainer,
    /// A key frame this long after the last cut makes the next one.
    pub segment: Duration,
    /// Longest time without a key frame.
    pub max_segment: Duration,
    /// Most bytes of one segment.
    pub max_bytes: u64,
    /// Number of the first segment.
    pub first_seq: u64,
    /// Time of the first picture, in ticks of 1/90000 s: where the input before this one ended.
    pub start_ticks: i64,
}

/// Time of the first picture of a stream, in ticks: room for reordered pictures, and what other muxers start at.
const START: i64 = 126_000;

impl Default for IngestSettings {
    fn default() -> Self {
        Self {
            container: IngestContainer::Flv,
            segment: Duration::from_secs(2),
            max_segment: Duration::from_secs(20),
            max_bytes: 64 << 20,
            first_seq: 0,
            start_ticks: START,
        }
    }
}

/// Cuts `input` in this process, handing out each segment as soon as the next one begins, until the end or a break.
pub fn ingest(
    settings: &IngestSettings,
    input: impl Read + Send + 'static,
    emit: &mut dyn FnMut(SourceSegment) -> ControlFlow<()>,
) -> Result<(), MediaError> {
    library::prepare();
    let mut input = open(settings.container, input)?;
    let mut cutter = Cutter::new(settings, &input)?;
    let mut bad = 0;
    loop {
        let mut packet = Packet::empty();
        match packet.read(&mut input) {
            Ok(()) => bad = 0,
            Err(ffmpeg_next::Error::Eof) => break,
            Err(ffmpeg_next::Error::InvalidData) if bad < MAX_BAD_PACKETS => {
                bad += 1;
                continue;
            }
            Err(error) => return Err(unreadable(settings.container, error)),
        }
        if packet.size() == 0 {
            continue;
        }
        if packet.stream() == cutter.video.index {
            if cutter.see(packet, emit)?.is_break() {
                return Ok(());
            }
        } else {
            cutter.hear(packet, &input)?;
        }
    }
    cutter.finish(emit)
}

fn unreadable(container: IngestContainer, error: ffmpeg_next::Error) -> MediaError {
    MediaError::LiveInput { expected: container.formats().into(), reason: error.to_string() }
}

/// Opens the input as one of its formats and as nothing else. Little is read ahead: viewers wait for it.
fn open(container: IngestContainer, input: impl Read + Send + 'static) -> Result<Input, MediaError> {
    let mut options = Dictionary::new();
    options.set("format_whitelist", container.formats());
    options.set("protocol_whitelist", "none");
    options.set("codec_whitelist", "h264,aac,mp3float,mp3,ac3");
    options.set("analyzeduration", "1000000");
    options.set("fpsprobesize", "0");
    let io = StreamIo::from_read(input).map_err(|error| unreadable(container, error))?;
    format::input_from_stream(io, None, Some(options)).map_err(|error| unreadable(container, error))
}

struct Selected {
    index: usize,
    time_base: Rational,
    parameters: codec::Parameters,
}

impl Selected {
    fn first(input: &Input, kind: media::Type) -> Option<Self> {
        let stream = input.streams().find(|stream| stream.parameters().medium() == kind)?;
        Some(Self { index: stream.index(), time_base: stream.time_base(), parameters: stream.parameters() })
    }
}

/// Collects packets until the next cut.
struct Cutter {
    segment: i64,
    max_segment: i64,
    max_bytes: u64,
    video: Selected,
    audio: Option<Selected>,
    /// Added to the times of the input; known with the first key frame.
    shift: Option<i64>,
    start: i64,
    last_dts: Option<i64>,
    last_sound: Option<i64>,
    /// Time of the first picture of all, in the input's clock: how long a key frame has been waited for.
    waiting_since: Option<i64>,
    pictures: Vec<Packet>,
    sound: Vec<Packet>,
    bytes: u64,
    seq: u64,
}

impl Cutter {
    fn new(settings: &IngestSettings, input: &Input) -> Result<Self, MediaError> {
        let video = Selected::first(input, media::Type::Video).ok_or(MediaError::NoVideoStream)?;
        if video.parameters.id() != codec::Id::H264 {
            return Err(MediaError::UnsupportedVideo { codec: video.parameters.id().name().into() });
        }
        let decoder = open_decoder(video.parameters.clone(), Decoding::Threads(1))?;
        check_size(decoder.width(), decoder.height())?;
        let audio = Selected::first(input, media::Type::Audio);
        if let Some(audio) = &audio {
            codecs::check_audio(audio.parameters.id(), Audio::Copy)?;
        }
        let ticks = |time: Duration| {
            i64::try_from(time.as_millis()).unwrap_or(i64::MAX / TICKS_PER_SECOND) * (TICKS_PER_SECOND / 1000)
        };
        Ok(Self {
            segment: ticks(settings.segment),
            max_segment: ticks(settings.max_segment),
            max_bytes: settings.max_bytes,
            video,
            audio,
            shift: None,
            start: settings.start_ticks,
            last_dts: None,
            last_sound: None,
            waiting_since: None,
            pictures: Vec::new(),
            sound: Vec::new(),
            bytes: 0,
            seq: settings.first_seq,
        })
    }

    fn see(
        &mut self,
        mut packet: Packet,
        emit: &mut dyn FnMut(SourceSegment) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, MediaError> {
        packet.rescale_ts(self.video.time_base, TICKS);
        let told = sane(packet.dts()).or(sane(packet.pts())).unwrap_or(0);
        let Some(shift) = self.shift else { return self.begin(packet, told) };
        let expected = self.last_dts.map_or(self.start, |last| last + 1);
        let mut dts = told + shift;
        if dts < expected - JUMP_BACK || dts > expected + JUMP_AHEAD {
            self.shift = Some(expected + FALLBACK_FRAME - told);
            dts = expected + FALLBACK_FRAME;
        }
        let offset = sane(packet.pts()).map_or(0, |pts| (pts - told).clamp(0, JUMP_BACK));
        dts = dts.max(expected);
        let first = self.pictures.first().and_then(Packet::dts).unwrap_or(dts);
        let cut = packet.is_key() && dts - first + EARLY >= self.segment;
        let more = if cut { self.hand_out(Some(dts + offset), emit)? } else { ControlFlow::Continue(()) };
        if !cut && dts - first > self.max_segment {
            return Err(self.too_far(dts - first));
        }
        self.take_picture(packet, dts, dts + offset)?;
        Ok(more)
    }

    /// Waits for the first key frame.
    fn begin(&mut self, packet: Packet, told: i64) -> Result<ControlFlow<()>, MediaError> {
        let waited = told - *self.waiting_since.get_or_insert(told);
        if waited > self.max_segment {
            return Err(self.too_far(waited));
        }
        if packet.is_key() {
            self.shift = Some(self.start - told);
            let offset = sane(packet.pts()).map_or(0, |pts| (pts - told).clamp(0, JUMP_BACK));
            self.take_picture(packet, self.start, self.start + offset)?;
        }
        Ok(ControlFlow::Continue(()))
    }

    fn too_far(&self, ticks: i64) -> MediaError {
        let millis = |ticks: i64| u64::try_from(ticks / (TICKS_PER_SECOND / 1000)).unwrap_or(0);
        MediaError::KeyFramesTooFar { waited_ms: millis(ticks), max_ms: millis(self.max_segment) }
    }

    fn take_picture(&mut self, mut packet: Packet, dts: i64, pts: i64) -> Result<(), MediaError> {
        packet.set_dts(Some(dts));
        packet.set_pts(Some(pts));
        packet.set_stream(VIDEO_STREAM);
        packet.set_position(usize::MAX as isize);
        self.last_dts = Some(dts);
        self.weigh(packet.size())?;
        self.pictures.push(packet);
        Ok(())
    }

    fn weigh(&mut self, bytes: usize) -> Result<(), MediaError> {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.bytes > self.max_bytes {
            return Err(MediaError::LiveSegmentSize { bytes: self.bytes, max: self.max_bytes });
        }
        Ok(())
    }

    /// Takes sound; a sound stream may turn up after the pictures.
    fn hear(&mut self, mut packet: Packet, input: &Input) -> Result<(), MediaError> {
        if self.audio.is_none()
            && let Some(audio) = Selected::first(input, media::Type::Audio)
        {
            codecs::check_audio(audio.parameters.id(), Audio::Copy)?;
            self.audio = Some(audio);
        }
        let (Some(audio), Some(shift)) = (&self.audio, self.shift) else { return Ok(()) };
        if audio.index != packet.stream() {
            return Ok(());
        }
        packet.rescale_ts(audio.time_base, TICKS);
        let time = sane(packet.dts()).or(sane(packet.pts())).unwrap_or(0) + shift;
        let near = self.last_dts.is_none_or(|last| (time - last).abs() <= JUMP_AHEAD);
        // Sound from before the first picture has nothing to go with, nor has sound of another clock.
        if time < self.start || !near {
            return Ok(());
        }
        let time = self.last_sound.map_or(time, |last| time.max(last + 1));
        self.last_sound = Some(time);
        packet.set_dts(Some(time));
        packet.set_pts(Some(time));
        packet.set_stream(AUDIO_STREAM);
        packet.set_position(usize::MAX as isize);
        self.weigh(packet.size())?;
        self.sound.push(packet);
        Ok(())
    }

    /// Hands out what was collected; `next` is when the picture after it is shown.
    fn hand_out(
        &mut self,
        next: Option<i64>,
        emit: &mut dyn FnMut(SourceSegment) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, MediaError> {
        let pictures = std::mem::take(&mut self.pictures);
        let Some((start, last)) = shown(&pictures) else { return Ok(ControlFlow::Continue(())) };
        let frames = pictures.len() as i64;
        let frame = if frames > 1 { (last - start) / (frames - 1) } else { FALLBACK_FRAME };
        let end = next.unwrap_or(last + frame).max(last + 1);
        let sound = std::mem::take(&mut self.sound);
        let audio = self.audio.as_ref().filter(|_| !sound.is_empty());
        let audio = audio.map(|audio| Track { parameters: audio.parameters.clone(), packets: sound });
        let frames = pictures.len() as u64;
        let video = Track { parameters: self.video.parameters.clone(), packets: pictures };
        let segment = SourceSegment {
            seq: self.seq,
            bytes: mux::segment(&video, audio.as_ref())?,
            duration: ticks_to_duration(end - start),
            frames,
            start_pts: start,
        };
        self.bytes = 0;
        self.seq += 1;
        Ok(emit(segment))
    }

    fn finish(mut self, emit: &mut dyn FnMut(SourceSegment) -> ControlFlow<()>) -> Result<(), MediaError> {
        if self.shift.is_none() {
            return Err(MediaError::NoKeyFrame);
        }
        self.hand_out(None, emit).map(|_| ())
    }
}

/// When the first and the last of some pictures are shown.
fn shown(pictures: &[Packet]) -> Option<(i64, i64)> {
    let times = || pictures.iter().filter_map(Packet::pts);
    Some((times().min()?, times().max()?))
}
