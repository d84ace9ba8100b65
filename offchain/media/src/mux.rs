//! Packets of one rendition, written as a transport stream in memory.
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use ffmpeg_next::{
    Codec, Dictionary, Packet, codec, format,
    format::context::{Output, StreamIo},
};

use crate::{
    MediaError,
    demux::{TICKS, Track},
    error::libav,
};

pub(crate) const VIDEO_STREAM: usize = 0;
pub(crate) const AUDIO_STREAM: usize = 1;

/// Writes one segment: a video stream and, unless there is no sound, an audio stream beside it.
///
/// Packets must be in order of decode time, in ticks, and carry their stream's index. Times are written as they are:
/// nothing is shifted to make a segment start at zero, and each segment says itself that its counters start anew.
pub(crate) fn segment(video: &Track, audio: Option<&Track>) -> Result<Bytes, MediaError> {
    let buffer = Buffer::default();
    let io = StreamIo::from_write(buffer.clone()).map_err(libav("write to memory"))?;
    let mut output = format::output_to_stream(io, None, Some("mpegts")).map_err(libav("open the muxer"))?;
    add_stream(&mut output, &video.parameters)?;
    if let Some(audio) = audio {
        add_stream(&mut output, &audio.parameters)?;
    }
    let mut options = Dictionary::new();
    options.set("mpegts_flags", "+initial_discontinuity");
    options.set("avoid_negative_ts", "disabled");
    output.write_header_with(options).map_err(libav("write the header"))?;
    let mut sound = audio.map(|audio| audio.packets.iter()).unwrap_or_default().peekable();
    for picture in &video.packets {
        while let Some(packet) = sound.next_if(|packet| packet.dts() <= picture.dts()) {
            write(&mut output, packet)?;
        }
        write(&mut output, picture)?;
    }
    sound.try_for_each(|packet| write(&mut output, packet))?;
    output.write_trailer().map_err(libav("write the trailer"))?;
    drop(output);
    Ok(buffer.take())
}

fn add_stream(output: &mut Output, parameters: &codec::Parameters) -> Result<(), MediaError> {
    let mut stream = output.add_stream(None::<Codec>).map_err(libav("add a stream"))?;
    stream.set_parameters(parameters.clone());
    stream.set_time_base(TICKS);
    Ok(())
}

fn write(output: &mut Output, packet: &Packet) -> Result<(), MediaError> {
    packet.write(output).map(|_| ()).map_err(libav("write a packet"))
}

/// A buffer that outlives the muxer writing to it.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

impl io::Write for Buffer {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
