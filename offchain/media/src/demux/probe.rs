//! What streams an input has, learned from its first packets.
use std::{ffi::c_int, ptr};

use ffmpeg_next::{
    Dictionary, Error, Packet, codec,
    error::ENOMEM,
    ffi,
    format::context::{Input, StreamIo},
};

use crate::{MediaError, codecs, error::libav};

/// How much is read ahead to learn what the streams are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// The first packets: decoders find out the rest.
    Little,
    /// As much as libav likes, which is all of a segment: muxers want to know everything.
    Much,
}

/// Opens the bytes as one format and as nothing else: a playlist or a script in their place must not make libav
/// open files or connections, and only the decoders named here may look into the streams.
pub(super) fn open(io: StreamIo, format: &str, ahead: Ahead, otherwise: MediaError) -> Result<Input, MediaError> {
    let mut options = Dictionary::new();
    options.set("format_whitelist", format);
    options.set("protocol_whitelist", "none");
    options.set("codec_whitelist", codecs::DECODERS);
    options.set("correct_ts_overflow", "0");
    if ahead == Ahead::Little {
        options.set("analyzeduration", "1");
        options.set("fpsprobesize", "0");
    }
    let opened = begin(io, options).and_then(|input| find_streams(input, ahead));
    opened.map_err(|error| match libav("open the segment")(error) {
        no_memory @ MediaError::OutOfMemory { .. } => no_memory,
        _ => otherwise,
    })
}

/// Reads the head of the input.
#[allow(unsafe_code)] // the library looks for streams in the same breath, and takes no options for that
fn begin(mut io: StreamIo, options: Dictionary) -> Result<Input, Error> {
    // SAFETY: takes nothing, and gives a context that nobody else has, or null.
    let mut context = unsafe { ffi::avformat_alloc_context() };
    // SAFETY: null, or as said.
    let Some(fresh) = (unsafe { context.as_mut() }) else { return Err(Error::Other { errno: ENOMEM }) };
    fresh.pb = io.as_mut_ptr();
    fresh.flags |= ffi::AVFMT_FLAG_CUSTOM_IO;
    // SAFETY: the options are freed below, with what libav leaves of them. Where it fails it frees the context, but not what it
    // reads from.
    let (opened, _) = unsafe {
        let mut options = options.disown();
        let opened = ffi::avformat_open_input(&raw mut context, ptr::null(), ptr::null(), &raw mut options);
        (opened, Dictionary::own(options))
    };
    if opened < 0 {
        return Err(Error::from(opened));
    }
    // SAFETY: an open context, and what it reads from, both of which nobody else has.
    Ok(unsafe { Input::wrap_with_custom_io(context, io) })
}

/// Width and height as the parameter sets before a picture in H.264 tell them, in pixels; 0 where there are none.
#[allow(unsafe_code)] // the library has parsers, its bindings have none
pub(super) fn told_before(picture: &Packet, parameters: &codec::Parameters) -> Result<(u32, u32), MediaError> {
    let Some(data) = picture.data() else { return Ok((0, 0)) };
    let mut context = codec::Context::from_parameters(parameters.clone()).map_err(libav("set up the parser"))?;
    let (mut made, mut len) = (ptr::null_mut(), 0);
    let of = c_int::try_from(data.len()).unwrap_or(0);
    // SAFETY: takes a number, and gives a parser that nobody else has, or null.
    let parser = unsafe { ffi::av_parser_init(ffi::AVCodecID::AV_CODEC_ID_H264 as c_int) };
    // SAFETY: null, or as said.
    let Some(open) = (unsafe { parser.as_mut() }) else { return Ok((0, 0)) };
    open.flags |= ffi::PARSER_FLAG_COMPLETE_FRAMES as c_int;
    let (none, from) = (ffi::AV_NOPTS_VALUE, data.as_ptr());
    // SAFETY: the bytes of a packet are followed by the zeros that parsers read, and what is made of them is one of them.
    unsafe {
        ffi::av_parser_parse2(parser, context.as_mut_ptr(), &raw mut made, &raw mut len, from, of, none, none, 0);
    }
    let told = (open.width.unsigned_abs(), open.height.unsigned_abs());
    // SAFETY: nobody has it any more.
    unsafe { ffi::av_parser_close(parser) };
    Ok(told)
}

/// Learns what the streams are. Of H.264 libav would decode the first picture, the dearest of a segment, for what the decoder finds
/// out anyway.
#[allow(unsafe_code)] // the call into the library
fn find_streams(mut input: Input, ahead: Ahead) -> Result<Input, Error> {
    let is_skipped = |id| ahead == Ahead::Little && id == codec::Id::H264;
    let options = input.streams().map(|stream| {
        let skip = is_skipped(stream.parameters().id()).then_some(("skip_frame", "all"));
        skip.into_iter().collect::<Dictionary>()
    });
    // SAFETY: each is owned again below.
    let mut options: Vec<_> = options.map(|options| unsafe { options.disown() }).collect();
    // SAFETY: one place for each stream that there is.
    let found = unsafe { ffi::avformat_find_stream_info(input.as_mut_ptr(), options.as_mut_ptr()) };
    for options in options {
        // SAFETY: what libav left of it is nobody else's.
        drop(unsafe { Dictionary::own(options) });
    }
    if found < 0 { Err(Error::from(found)) } else { Ok(input) }
}
