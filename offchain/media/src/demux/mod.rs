//! A segment taken apart, without trusting it: a transport stream, or MP4.
mod boxes;
mod clock;
mod framing;
mod handed;
mod probe;
mod reader;

use std::{
    ffi::c_int,
    io::{Cursor, Read},
    ptr,
};

use bytes::Bytes;
use ffmpeg_next::{
    Codec, Dictionary, Packet, Rational, codec, decoder, ffi,
    format::context::{Input, StreamIo},
};
use streamflow_types::Container;

use self::reader::{ChosenStream, PacketReader, Streams};
pub(crate) use self::{
    clock::{JUMP_AHEAD, JUMP_BACK, sane},
    handed::handed,
    probe::Ahead,
    reader::{Live, Taken},
};
use crate::{
    MediaError, codecs,
    error::libav,
    library, mux,
    rate::{FrameRate, TICKS_PER_SECOND},
    settings::{Audio, MAX_SEGMENT_BYTES, MAX_SIDE, MIN_SIDE},
    upright::Turn,
};

/// Frame rate assumed where one frame says nothing.
const FALLBACK_RATE: FrameRate = FrameRate::new(25, 1);
/// Bytes that tell the container.
const HEAD_BYTES: u64 = 8;

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
    /// What the container says of the way pictures are to be turned.
    pub(crate) turn: Turn,
    pub(crate) fps: FrameRate,
    /// Time of the first shown frame, in ticks.
    pub(crate) start_pts: i64,
    /// From the first frame shown to the end of the last, in ticks.
    pub(crate) duration: i64,
    /// Packets that libav found damaged.
    pub(crate) damaged: u64,
}

/// How the CPU decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decoding {
    /// By so many threads. What a damaged picture shows where nothing was decoded depends on what its buffer held before, and so
    /// on who was done with which frame when.
    Threads(u32),
    /// By one thread, in buffers that are blank: damage looks the same in every run, in a worker, where all other memory is blank
    /// as well then.
    Repeatable,
}

/// An opened decoder; its size is known before the first frame if the stream says it.
pub(crate) type VideoDecoder = decoder::Video;

/// Takes a whole segment apart. What is told of one is a verdict: it is to be the same in every run.
pub(crate) fn segment(bytes: &Bytes) -> Result<Segment, MediaError> {
    let container = container_of(bytes);
    let mut live = whole(bytes, Ahead::Much, Audio::Copy)?;
    live.rate()?;
    let (mut pictures, mut sound) = (Vec::new(), Vec::new());
    while let Some(taken) = live.next()? {
        match taken {
            Taken::Picture(packet) => pictures.push(packet),
            Taken::Sound(packet) => sound.push(packet),
        }
    }
    let video_decoder = open_decoder(live.video.clone(), Decoding::Repeatable)?;
    Ok(Segment {
        container,
        fps: live.span.rate(),
        start_pts: live.span.first(),
        duration: live.span.ticks(),
        damaged: live.damaged(),
        turn: live.turn,
        audio: live.audio.filter(|_| !sound.is_empty()).map(|parameters| Track { parameters, packets: sound }),
        video: Track { parameters: live.video, packets: pictures },
        video_decoder,
    })
}

/// Opens a segment that is there, all of it.
pub(crate) fn whole(bytes: &Bytes, ahead: Ahead, audio: Audio) -> Result<Live, MediaError> {
    library::prepare();
    if container_of(bytes) == Container::Mp4 {
        boxes::check(bytes)?;
        return mp4(bytes, ahead, audio);
    }
    framing::check(bytes)?;
    Live::open(Cursor::new(bytes.clone()), ahead, audio)
}

fn mp4(bytes: &Bytes, ahead: Ahead, becomes: Audio) -> Result<Live, MediaError> {
    let (input, streams) = mp4_streams(bytes)?;
    if !codecs::goes_into_transport_streams(streams.video.parameters.id()) {
        return Ok(Live::of(input, streams, None, becomes));
    }
    // Everything after this knows pictures as transport streams carry them.
    let turn = streams.video.turn;
    let (video, audio) = tracks(input, streams, becomes)?;
    let mut live = Live::open(Cursor::new(mux::segment(&video, audio.as_ref())?), ahead, becomes)?;
    live.turn = turn;
    Ok(live)
}

/// Opens a segment that is still coming in. A transport stream is read as it comes; MP4 may say at its end what is in it, and
/// is gathered first.
pub(crate) fn coming_in(mut input: impl Read + Send + 'static, audio: Audio) -> Result<Live, MediaError> {
    library::prepare();
    let gather = |input: &mut dyn Read, limit: u64| {
        let mut bytes = Vec::new();
        let read = input.take(limit).read_to_end(&mut bytes);
        read.map(|_| bytes).map_err(|error| MediaError::Source { reason: error.to_string() })
    };
    let mut head = gather(&mut input, HEAD_BYTES)?;
    if container_of(&head) == Container::Mp4 {
        head.extend(gather(&mut input, MAX_SEGMENT_BYTES as u64)?);
        return whole(&head.into(), Ahead::Little, audio);
    }
    Live::open(Cursor::new(head).chain(input), Ahead::Little, audio)
}

/// What the first bytes say; whatever is no MP4 is taken for a transport stream, and checked.
pub(crate) fn container_of(bytes: &[u8]) -> Container {
    match bytes.get(4..8) {
        Some(b"ftyp" | b"styp" | b"moov" | b"moof" | b"sidx" | b"free") => Container::Mp4,
        _ => Container::MpegTs,
    }
}

fn mp4_streams(bytes: &Bytes) -> Result<(Input, Streams), MediaError> {
    let io = StreamIo::from_read_seek(Cursor::new(bytes.clone())).map_err(libav("read from memory"))?;
    let input = probe::open(io, "mov", Ahead::Much, MediaError::NotMp4)?;
    let streams = Streams::choose(&input)?;
    Ok((input, streams))
}

/// Pictures and sound of MP4, as it carries them.
pub(crate) fn mp4_tracks(bytes: &Bytes) -> Result<(Track, Option<Track>), MediaError> {
    let (input, streams) = mp4_streams(bytes)?;
    tracks(input, streams, Audio::Copy)
}

fn tracks(input: Input, streams: Streams, becomes: Audio) -> Result<(Track, Option<Track>), MediaError> {
    let mut reader = PacketReader::new(input, &streams);
    let (mut pictures, mut sound) = (Vec::new(), Vec::new());
    while let Some(taken) = reader.next()? {
        match taken {
            Taken::Picture(packet) => pictures.push(numbered(packet, mux::VIDEO_STREAM)),
            Taken::Sound(packet) => sound.push(numbered(packet, mux::AUDIO_STREAM)),
        }
    }
    if pictures.is_empty() {
        return Err(MediaError::NoFrames);
    }
    let track = |stream: ChosenStream, packets| Track { parameters: stream.parameters, packets };
    let audio = match streams.audio {
        Some(stream) if !sound.is_empty() => {
            codecs::check_audio(stream.parameters.id(), becomes)?;
            Some(track(stream, sound))
        }
        _ => None,
    };
    Ok((track(streams.video, pictures), audio))
}

fn numbered(mut packet: Packet, index: usize) -> Packet {
    packet.set_stream(index);
    packet
}

/// Opens a decoder on the CPU.
pub(crate) fn open_decoder(parameters: codec::Parameters, decoding: Decoding) -> Result<VideoDecoder, MediaError> {
    let id = parameters.id();
    let codec = decoder::find(id).ok_or_else(|| MediaError::UnsupportedVideo { codec: id.name().into() })?;
    let mut context = codec::Context::from_parameters(parameters).map_err(libav("set up the decoder"))?;
    let one = codec::threading::Config::count(1);
    match decoding {
        Decoding::Threads(threads @ 2..) => {
            let threading = codec::threading::Config::kind(codec::threading::Type::Frame);
            context.set_threading(codec::threading::Config { count: threads as usize, ..threading });
        }
        Decoding::Threads(_) => context.set_threading(one),
        Decoding::Repeatable => {
            context.set_threading(one);
            decode_into_blank(&mut context);
        }
    }
    open(context.decoder(), codec).map_err(libav("open the decoder"))
}

/// Has a decoder that is not open yet decode into buffers that hold nothing of an earlier picture.
#[allow(unsafe_code)] // the library has no setter
fn decode_into_blank(context: &mut codec::Context) {
    // SAFETY: the context is live and not open yet, which is when this is to be set.
    unsafe { (*context.as_mut_ptr()).get_buffer2 = Some(blank_buffers) }
}

/// Buffers as libav takes them, blank. Decoders that have buffers of their own (libdav1d, libaom) show no picture of which a part was
/// not decoded.
#[allow(unsafe_code)] // called by libav
unsafe extern "C" fn blank_buffers(context: *mut ffi::AVCodecContext, frame: *mut ffi::AVFrame, flags: c_int) -> c_int {
    // SAFETY: the pointers are those that libav gave.
    let taken = unsafe { ffi::avcodec_default_get_buffer2(context, frame, flags) };
    if taken >= 0 {
        // SAFETY: the frame is live and has its buffers now, each null or of that size; nothing else reads or writes them yet.
        unsafe {
            for buffer in (*frame).buf.into_iter().filter(|buffer| !buffer.is_null()) {
                ptr::write_bytes((*buffer).data, 0, (*buffer).size);
            }
        }
    }
    taken
}

/// Opens a decoder that is set up; one that refuses pictures larger than any this crate takes.
pub(crate) fn open(mut decoder: decoder::Decoder, codec: Codec) -> Result<VideoDecoder, ffmpeg_next::Error> {
    decoder.set_packet_time_base(TICKS);
    let mut options = Dictionary::new();
    options.set("max_pixels", &(u64::from(MAX_SIDE) * u64::from(MAX_SIDE)).to_string());
    if may_reorder_untold(&decoder) {
        options.set("strict", "strict");
    }
    decoder.open_as_with(codec, options)?.video()
}

/// An H.264 stream need not tell how many pictures come late. libav then guesses from the first ones, and loses one that comes later than
/// that, unless it is to be strict: it waits for as many as the level allows. Where nothing is reordered, that would be for nothing.
#[allow(unsafe_code)] // the library has no getter
fn may_reorder_untold(decoder: &decoder::Decoder) -> bool {
    // SAFETY: the pointer is that of a live context, and the field is a plain number.
    let profile = unsafe { (*decoder.as_ptr()).profile };
    decoder.id() == codec::Id::H264 && profile & !ffi::FF_PROFILE_H264_CONSTRAINED != ffi::FF_PROFILE_H264_BASELINE
}

/// Width and height as the container or the first pictures have it, in pixels; 0 where they do not say.
#[allow(unsafe_code)] // the library has no getter
pub(crate) fn told_size(parameters: &codec::Parameters) -> (u32, u32) {
    // SAFETY: the pointer is that of live parameters, and the fields are plain numbers.
    let (width, height) = unsafe { ((*parameters.as_ptr()).width, (*parameters.as_ptr()).height) };
    (width.unsigned_abs(), height.unsigned_abs())
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
