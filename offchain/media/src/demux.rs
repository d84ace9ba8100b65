//! A segment taken apart, without trusting it: a transport stream, or MP4.
use std::io::Cursor;

use bytes::Bytes;
use ffmpeg_next::{
    Dictionary, Packet, Rational, Stream, codec, decoder, format,
    format::context::{Input, StreamIo},
    media,
};

use streamflow_types::Container;

use crate::{
    MediaError, avc,
    error::libav,
    library, mux,
    rate::{FrameRate, TICKS_PER_SECOND},
    settings::{MAX_SEGMENT_BYTES, MAX_SEGMENT_MILLIS, MAX_SIDE, MIN_SIDE},
};

/// Bytes of one transport packet, each starting with the sync byte.
const PACKET_BYTES: usize = 188;
const SYNC_BYTE: u8 = 0x47;
/// Unreadable packets in a row after which reading ends.
const MAX_BAD_PACKETS: u32 = 1000;
/// Frame rate assumed where one frame says nothing.
const FALLBACK_RATE: FrameRate = FrameRate::new(25, 1);

/// Largest time taken for one, in ticks: twenty-five thousand years. Sums and differences of such times stay within 64 bits.
const FARTHEST: i64 = 1 << 56;

/// Time base of everything here.
pub(crate) const TICKS: Rational = Rational(1, TICKS_PER_SECOND as i32);

/// One elementary stream: packets in decoding order, times in ticks, rising decode times.
pub(crate) struct Track {
    pub(crate) parameters: codec::Parameters,
    pub(crate) packets: Vec<Packet>,
}

/// A segment in memory, demuxed.
pub(crate) struct Segment {
    pub(crate) container: Container,
    pub(crate) video: Track,
    pub(crate) audio: Option<Track>,
    pub(crate) video_decoder: VideoDecoder,
    pub(crate) fps: FrameRate,
    /// Time of the first shown frame, in ticks.
    pub(crate) start_pts: i64,
    /// From the first frame shown to the end of the last, in ticks.
    pub(crate) duration: i64,
    /// Packets that libav found damaged.
    pub(crate) damaged: u64,
}

/// An opened H.264 decoder; its size is known before the first frame if the stream says it.
pub(crate) type VideoDecoder = decoder::Video;

/// Takes a segment apart.
pub(crate) fn segment(bytes: &Bytes, decoder_threads: u32) -> Result<Segment, MediaError> {
    library::prepare();
    if container_of(bytes) == Container::Mp4 {
        // Everything after this knows pictures as transport streams carry them.
        let mut segment = transport_stream(&mp4_as_transport_stream(bytes)?, decoder_threads)?;
        segment.container = Container::Mp4;
        return Ok(segment);
    }
    transport_stream(bytes, decoder_threads)
}

/// What the first bytes say; whatever is no MP4 is taken for a transport stream, and checked.
pub(crate) fn container_of(bytes: &[u8]) -> Container {
    match bytes.get(4..8) {
        Some(b"ftyp" | b"styp" | b"moov" | b"moof" | b"sidx" | b"free") => Container::Mp4,
        _ => Container::MpegTs,
    }
}

fn mp4_as_transport_stream(bytes: &Bytes) -> Result<Bytes, MediaError> {
    let (video, audio) = mp4_tracks(bytes)?;
    mux::segment(&video, audio.as_ref())
}

/// Pictures and sound of MP4, as it carries them.
pub(crate) fn mp4_tracks(bytes: &Bytes) -> Result<(Track, Option<Track>), MediaError> {
    if bytes.len() > MAX_SEGMENT_BYTES {
        return Err(MediaError::SegmentSize { len: bytes.len(), max: MAX_SEGMENT_BYTES });
    }
    let mut input = open(bytes.clone(), "mov", MediaError::NotMp4)?;
    let streams = Streams::choose(&input)?;
    let mut reader = PacketReader::new(streams.video.time_base, streams.audio.as_ref().map(|a| a.time_base));
    reader.read(&mut input, streams.video.index, streams.audio.as_ref().map(|a| a.index))?;
    let PacketReader { video, audio, .. } = reader;
    if video.packets.is_empty() {
        return Err(MediaError::NoFrames);
    }
    let track = |stream: ChosenStream, queue: PacketQueue, index| Track {
        parameters: stream.parameters,
        packets: queue.packets.into_iter().map(|packet| numbered(packet, index)).collect(),
    };
    let audio = match streams.audio {
        Some(stream) if !audio.packets.is_empty() => {
            avc::check_audio(stream.parameters.id())?;
            Some(track(stream, audio, mux::AUDIO_STREAM))
        }
        _ => None,
    };
    Ok((track(streams.video, video, mux::VIDEO_STREAM), audio))
}

fn numbered(mut packet: Packet, index: usize) -> Packet {
    packet.set_stream(index);
    packet
}

fn transport_stream(bytes: &Bytes, decoder_threads: u32) -> Result<Segment, MediaError> {
    check_framing(bytes)?;
    let mut input = open(bytes.clone(), "mpegts", MediaError::NotTransportStream)?;
    let streams = Streams::choose(&input)?;
    let mut reader = PacketReader::new(streams.video.time_base, streams.audio.as_ref().map(|a| a.time_base));
    reader.read(&mut input, streams.video.index, streams.audio.as_ref().map(|a| a.index))?;
    let PacketReader { video, audio, damaged } = reader;
    if video.packets.is_empty() {
        return Err(MediaError::NoFrames);
    }
    if !video.packets.iter().any(Packet::is_key) {
        return Err(MediaError::NoKeyFrame);
    }
    let span = Span::of(&video.packets);
    if span.millis() > MAX_SEGMENT_MILLIS {
        return Err(MediaError::TooLong { millis: span.millis(), max: MAX_SEGMENT_MILLIS });
    }
    let video_decoder = open_decoder(streams.video.parameters.clone(), decoder_threads)?;
    check_size(video_decoder.width(), video_decoder.height())?;
    let audio = match streams.audio {
        Some(stream) if !audio.packets.is_empty() => {
            avc::check_audio(stream.parameters.id())?;
            Some(Track { parameters: stream.parameters, packets: audio.packets })
        }
        _ => None,
    };
    Ok(Segment {
        container: Container::MpegTs,
        video: Track { parameters: streams.video.parameters, packets: video.packets },
        audio,
        video_decoder,
        fps: span.fps,
        start_pts: span.first,
        duration: span.ticks(),
        damaged,
    })
}

/// Whole packets, each with its sync byte.
fn check_framing(bytes: &[u8]) -> Result<(), MediaError> {
    if bytes.is_empty() || bytes.len() > MAX_SEGMENT_BYTES {
        return Err(MediaError::SegmentSize { len: bytes.len(), max: MAX_SEGMENT_BYTES });
    }
    let (packets, rest) = bytes.as_chunks::<PACKET_BYTES>();
    if packets.first().is_none_or(|first| first[0] != SYNC_BYTE) {
        return Err(MediaError::NotTransportStream);
    }
    let in_sync = packets.iter().filter(|packet| packet[0] == SYNC_BYTE).count();
    if in_sync * 10 < packets.len() * 9 {
        return Err(MediaError::NotTransportStream);
    }
    if rest.is_empty() { Ok(()) } else { Err(MediaError::Truncated { len: bytes.len() }) }
}

/// Opens the bytes as one format and as nothing else: a playlist or a script in their place must not make libav
/// open files or connections, and only the decoders named here may look into the streams.
fn open(bytes: Bytes, format: &str, otherwise: MediaError) -> Result<Input, MediaError> {
    let mut options = Dictionary::new();
    options.set("format_whitelist", format);
    options.set("protocol_whitelist", "none");
    options.set("codec_whitelist", "h264,aac,mp3float,mp3,ac3");
    options.set("correct_ts_overflow", "0");
    let io = StreamIo::from_read_seek(Cursor::new(bytes)).map_err(libav("read from memory"))?;
    format::input_from_stream(io, None, Some(options)).map_err(|error| match libav("open the segment")(error) {
        no_memory @ MediaError::OutOfMemory { .. } => no_memory,
        _ => otherwise,
    })
}

/// The streams taken of a segment.
struct Streams {
    video: ChosenStream,
    audio: Option<ChosenStream>,
}

struct ChosenStream {
    index: usize,
    time_base: Rational,
    parameters: codec::Parameters,
}

impl Streams {
    /// The first video and the first audio stream.
    fn choose(input: &Input) -> Result<Self, MediaError> {
        let first = |kind| input.streams().find(|s| s.parameters().medium() == kind).map(|s| ChosenStream::of(&s));
        let video = first(media::Type::Video).ok_or(MediaError::NoVideoStream)?;
        if video.parameters.id() != codec::Id::H264 {
            return Err(MediaError::UnsupportedVideo { codec: video.parameters.id().name().into() });
        }
        Ok(Self { video, audio: first(media::Type::Audio) })
    }
}

impl ChosenStream {
    fn of(stream: &Stream<'_>) -> Self {
        Self { index: stream.index(), time_base: stream.time_base(), parameters: stream.parameters() }
    }
}

/// Collects the packets of two streams.
struct PacketReader {
    video: PacketQueue,
    audio: PacketQueue,
    damaged: u64,
}

impl PacketReader {
    fn new(video: Rational, audio: Option<Rational>) -> Self {
        Self { video: PacketQueue::new(video), audio: PacketQueue::new(audio.unwrap_or(TICKS)), damaged: 0 }
    }

    fn read(&mut self, input: &mut Input, video: usize, audio: Option<usize>) -> Result<(), MediaError> {
        let mut bad = 0;
        loop {
            let mut packet = Packet::empty();
            match packet.read(input) {
                Ok(()) => bad = 0,
                Err(ffmpeg_next::Error::Eof) => return Ok(()),
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
            if packet.stream() == video {
                self.video.push(packet);
            } else if Some(packet.stream()) == audio {
                self.audio.push(packet);
            }
        }
    }
}

/// A time, unless no clock shows it: MP4 can say any 64-bit number.
pub(crate) fn sane(ticks: Option<i64>) -> Option<i64> {
    ticks.filter(|ticks| (-FARTHEST..=FARTHEST).contains(ticks))
}

/// Packets of one stream on a time line without gaps in numbering: 33-bit wrap undone, decode times strictly rising.
struct PacketQueue {
    time_base: Rational,
    packets: Vec<Packet>,
    last_dts: Option<i64>,
    next: i64,
}

impl PacketQueue {
    const WRAP: i64 = 1 << 33;

    fn new(time_base: Rational) -> Self {
        Self { time_base, packets: Vec::new(), last_dts: None, next: 0 }
    }

    fn push(&mut self, mut packet: Packet) {
        packet.rescale_ts(self.time_base, TICKS);
        let (pts, dts) = (sane(packet.pts()), sane(packet.dts()));
        let pts = self.unwrap(pts.or(dts).unwrap_or(self.next));
        let mut dts = dts.map_or(pts, |dts| self.unwrap(dts)).min(pts);
        if let Some(last) = self.last_dts {
            dts = dts.max(last + 1);
        }
        packet.set_pts(Some(pts.max(dts)));
        packet.set_dts(Some(dts));
        packet.set_position(usize::MAX as isize);
        self.last_dts = Some(dts);
        self.next = (dts + packet.duration().clamp(1, FARTHEST)).min(FARTHEST);
        self.packets.push(packet);
    }

    /// The time nearest to the one before it, of those that 33 bits cannot tell apart.
    fn unwrap(&self, ticks: i64) -> i64 {
        match self.last_dts {
            Some(last) if ticks < last - Self::WRAP / 2 => {
                ticks + (last - ticks + Self::WRAP / 2) / Self::WRAP * Self::WRAP
            }
            _ => ticks,
        }
    }
}

/// What the shown times of a stream say.
struct Span {
    first: i64,
    last: i64,
    fps: FrameRate,
}

impl Span {
    fn of(packets: &[Packet]) -> Self {
        let times = || packets.iter().filter_map(Packet::pts);
        let (first, last) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
        let gaps = (packets.len() as u64).saturating_sub(1);
        let measured = if gaps > 0 { FrameRate::from_spacing(last - first, gaps) } else { None };
        let told = packets.first().map(Packet::duration).and_then(|ticks| FrameRate::from_spacing(ticks, 1));
        Self { first, last, fps: measured.or(told).unwrap_or(FALLBACK_RATE) }
    }

    fn ticks(&self) -> i64 {
        self.last - self.first + self.fps.frame_ticks()
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.ticks() / (TICKS_PER_SECOND / 1000)).unwrap_or(0)
    }
}

/// Opens a decoder that refuses pictures larger than any this crate takes.
pub(crate) fn open_decoder(parameters: codec::Parameters, threads: u32) -> Result<VideoDecoder, MediaError> {
    let id = parameters.id();
    let codec = decoder::find(id).ok_or_else(|| MediaError::UnsupportedVideo { codec: id.name().into() })?;
    let mut context = codec::Context::from_parameters(parameters).map_err(libav("set up the decoder"))?;
    if threads > 1 {
        let threading = codec::threading::Config::kind(codec::threading::Type::Frame);
        context.set_threading(codec::threading::Config { count: threads as usize, ..threading });
    } else {
        context.set_threading(codec::threading::Config::count(1));
    }
    let mut decoder = context.decoder();
    decoder.set_packet_time_base(TICKS);
    let mut options = Dictionary::new();
    options.set("max_pixels", &(u64::from(MAX_SIDE) * u64::from(MAX_SIDE)).to_string());
    let opened = decoder.open_as_with(codec, options).map_err(libav("open the decoder"))?;
    opened.video().map_err(libav("open the decoder"))
}

/// Refuses pictures that no rendition can be made of.
pub(crate) fn check_size(width: u32, height: u32) -> Result<(), MediaError> {
    let taken = MIN_SIDE..=MAX_SIDE;
    // Zero: not known before the first frame.
    if (width, height) == (0, 0) || (taken.contains(&width) && taken.contains(&height)) {
        return Ok(());
    }
    Err(MediaError::Dimensions { width, height, min: MIN_SIDE, max: MAX_SIDE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_no_clock_shows_count_as_missing() {
        let mut queue = PacketQueue::new(TICKS);
        let packet = |pts, dts, duration| {
            let mut packet = Packet::copy(&[0]);
            packet.set_pts(Some(pts));
            packet.set_dts(Some(dts));
            packet.set_duration(duration);
            packet
        };
        for (pts, dts, duration) in [
            (7200, 3600, 3600),
            (i64::MAX - 1, i64::MIN + 1, i64::MAX),
            (i64::MIN + 1, i64::MAX - 1, i64::MIN),
            (-FARTHEST, -FARTHEST, 3600),
            (FARTHEST, FARTHEST, i64::MAX),
            (i64::MAX, i64::MAX, 0),
        ] {
            queue.push(packet(pts, dts, duration));
        }
        let times: Vec<_> = queue.packets.iter().filter_map(|packet| Some((packet.dts()?, packet.pts()?))).collect();
        assert_eq!(times[0], (3600, 7200));
        assert!(times.windows(2).all(|pair| pair[0].0 < pair[1].0), "{times:?}");
        assert!(times.iter().all(|(dts, pts)| dts <= pts && *pts <= 2 * FARTHEST), "{times:?}");
        assert_eq!(Span::of(&queue.packets).fps, FALLBACK_RATE);
    }
}
