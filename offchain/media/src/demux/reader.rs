//! A transport stream read while it comes in.
use std::{collections::VecDeque, io::Read};

use ffmpeg_next::{
    Packet, Rational, Stream, codec,
    format::{
        context::{Input, StreamIo},
        stream::Disposition,
    },
    media,
};

use super::{
    check_size,
    clock::{Clock, Span, measured_rate, told_rate},
    framing::Framing,
    probe::{self, Ahead},
    told_size,
};
use crate::{
    MediaError, codecs,
    error::libav,
    rate::FrameRate,
    settings::{Audio, MAX_SEGMENT_MILLIS},
    upright::Turn,
};

/// Unreadable packets in a row after which reading ends.
const MAX_BAD_PACKETS: u32 = 1000;
/// Pictures over which the rate is measured where a stream does not tell it.
const MEASURED_PICTURES: usize = 3;

/// The streams taken of a segment: the first video and the first audio stream.
pub(super) struct Streams {
    pub(super) video: ChosenStream,
    pub(super) audio: Option<ChosenStream>,
}

pub(super) struct ChosenStream {
    pub(super) index: usize,
    pub(super) time_base: Rational,
    pub(super) parameters: codec::Parameters,
    pub(super) turn: Turn,
}

impl Streams {
    pub(super) fn choose(input: &Input) -> Result<Self, MediaError> {
        let first = |kind| {
            let of_kind = |stream: &Stream<'_>| {
                stream.parameters().medium() == kind && !stream.disposition().contains(Disposition::ATTACHED_PIC)
            };
            input.streams().find(of_kind).map(|stream| ChosenStream::of(&stream))
        };
        let video = first(media::Type::Video).ok_or(MediaError::NoVideoStream)?;
        codecs::check_video(video.parameters.id())?;
        let (width, height) = told_size(&video.parameters);
        check_size(width, height)?;
        Ok(Self { video, audio: first(media::Type::Audio) })
    }
}

impl ChosenStream {
    fn of(stream: &Stream<'_>) -> Self {
        let (time_base, parameters) = (stream.time_base(), stream.parameters());
        Self { index: stream.index(), time_base, parameters, turn: Turn::of_stream(stream) }
    }
}

/// One packet of a stream taken, in the order of the input; times in ticks, decode times rising.
pub(crate) enum Taken {
    Picture(Packet),
    Sound(Packet),
}

/// Reads packets of any input.
pub(super) struct PacketReader {
    input: Input,
    video: (usize, Clock),
    audio: Option<(usize, Clock)>,
    sound: codec::Id,
    /// Packets that libav found damaged.
    pub(super) damaged: u64,
}

impl PacketReader {
    pub(super) fn new(input: Input, streams: &Streams) -> Self {
        let clocked = |stream: &ChosenStream| (stream.index, Clock::new(stream.time_base));
        let sound = streams.audio.as_ref().map_or(codec::Id::None, |audio| audio.parameters.id());
        Self { input, video: clocked(&streams.video), audio: streams.audio.as_ref().map(clocked), sound, damaged: 0 }
    }

    pub(super) fn next(&mut self) -> Result<Option<Taken>, MediaError> {
        let mut bad = 0;
        loop {
            let mut packet = Packet::empty();
            match packet.read(&mut self.input) {
                Ok(()) => bad = 0,
                Err(ffmpeg_next::Error::Eof) => return Ok(None),
                Err(ffmpeg_next::Error::InvalidData) if bad < MAX_BAD_PACKETS => {
                    (bad, self.damaged) = (bad + 1, self.damaged + 1);
                    continue;
                }
                Err(error) => return Err(libav("read a packet")(error)),
            }
            self.damaged += u64::from(packet.is_corrupt());
            if packet.size() == 0 {
                continue;
            }
            if packet.stream() == self.video.0 {
                let sound = self.audio.as_ref().map_or(0, |(_, clock)| clock.shift());
                self.video.1.set(&mut packet, sound, None);
                return Ok(Some(Taken::Picture(packet)));
            }
            if let Some((_, clock)) = self.audio.as_mut().filter(|(index, _)| packet.stream() == *index) {
                let lasts = codecs::sound_ticks(self.sound, &packet);
                clock.set(&mut packet, self.video.1.shift(), lasts);
                return Ok(Some(Taken::Sound(packet)));
            }
        }
    }
}

/// A segment that may still be coming in.
pub(crate) struct Live {
    reader: PacketReader,
    /// Of a transport stream; MP4 was checked before.
    framing: Option<Framing>,
    pub(crate) video: codec::Parameters,
    /// Sound that the segment announces; there may be none of it.
    pub(crate) audio: Option<codec::Parameters>,
    /// What the container says of the way pictures are to be turned.
    pub(crate) turn: Turn,
    /// What becomes of sound: some kinds of it are refused where it is copied.
    becomes: Audio,
    pub(crate) span: Span,
    /// Read to learn the rate, not yet taken.
    ahead: VecDeque<Taken>,
}

impl Live {
    /// Waits for the first pictures of a transport stream.
    pub(crate) fn open(input: impl Read + Send + 'static, ahead: Ahead, audio: Audio) -> Result<Self, MediaError> {
        let framing = Framing::default();
        let io = StreamIo::from_read(framing.watch(input)).map_err(libav("read from memory"))?;
        let opened = probe::open(io, "mpegts", ahead, MediaError::NotTransportStream);
        let input = opened.map_err(|error| framing.explain(error))?;
        let streams = Streams::choose(&input).map_err(|error| framing.explain(error))?;
        Ok(Self::of(input, streams, Some(framing), audio))
    }

    /// Of the streams chosen of an input.
    pub(super) fn of(input: Input, streams: Streams, framing: Option<Framing>, becomes: Audio) -> Self {
        let reader = PacketReader::new(input, &streams);
        let Streams { video, audio } = streams;
        Self {
            reader,
            framing,
            turn: video.turn,
            becomes,
            video: video.parameters,
            audio: audio.map(|audio| audio.parameters),
            span: Span::default(),
            ahead: VecDeque::new(),
        }
    }

    /// The error, or what was wrong with the bytes before libav saw them.
    fn explain(&self, error: MediaError) -> MediaError {
        self.framing.as_ref().map_or_else(|| error.clone(), |framing| framing.explain(error.clone()))
    }

    /// Packets that libav found damaged so far.
    pub(crate) fn damaged(&self) -> u64 {
        self.reader.damaged
    }

    /// Waits for a key frame, and for what tells the rate of the pictures: encoders must know it before the first one.
    pub(crate) fn rate(&mut self) -> Result<FrameRate, MediaError> {
        let (mut key, mut told, mut decoded) = (false, None, Vec::new());
        while !key || (told.is_none() && decoded.len() < MEASURED_PICTURES) {
            let Some(taken) = self.read()? else { break };
            if let Taken::Picture(packet) = &taken {
                key |= packet.is_key();
                told = told.or_else(|| told_rate(packet.duration()));
                decoded.extend(packet.dts());
            }
            self.ahead.push_back(taken);
        }
        if decoded.is_empty() {
            return Err(self.explain(MediaError::NoFrames));
        }
        if !key {
            return Err(self.explain(MediaError::NoKeyFrame));
        }
        Ok(told.or_else(|| measured_rate(&decoded)).unwrap_or_else(|| self.span.rate()))
    }

    /// The next packet; `None` once the input has ended, as a whole segment ends.
    pub(crate) fn next(&mut self) -> Result<Option<Taken>, MediaError> {
        match self.ahead.pop_front() {
            Some(taken) => Ok(Some(taken)),
            None => self.read(),
        }
    }

    fn read(&mut self) -> Result<Option<Taken>, MediaError> {
        let read = self.reader.next().map_err(|error| self.explain(error))?;
        match &read {
            None => self.end()?,
            Some(Taken::Picture(packet)) => {
                if self.span.is_empty() && self.video.id() == codec::Id::H264 {
                    let (width, height) = probe::told_before(packet, &self.video)?;
                    check_size(width, height)?;
                }
                self.span.add(packet);
            }
            Some(Taken::Sound(packet)) => {
                codecs::check_sound(self.audio.as_ref().map(codec::Parameters::id), packet, self.becomes)?
            }
        }
        if self.span.millis() > MAX_SEGMENT_MILLIS {
            return Err(self.too_long()?);
        }
        Ok(read)
    }

    fn end(&self) -> Result<(), MediaError> {
        self.framing.as_ref().map_or(Ok(()), Framing::verdict)
    }

    /// How long it is, all of it.
    fn too_long(&mut self) -> Result<MediaError, MediaError> {
        while let Some(taken) = self.reader.next()? {
            if let Taken::Picture(packet) = &taken {
                self.span.add(packet);
            }
        }
        Ok(MediaError::TooLong { millis: self.span.millis(), max: MAX_SEGMENT_MILLIS })
    }
}
