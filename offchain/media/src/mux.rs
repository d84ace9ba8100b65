//! Packets of one rendition, written as a transport stream or as fragmented MP4 in memory.
use std::{
    io::{self, Cursor},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use ffmpeg_next::{
    Codec, Dictionary, Packet, codec, format,
    format::context::{Output, StreamIo},
};

use crate::{
    MediaError,
    demux::{self, TICKS, Track},
    error::libav,
};

pub(crate) const VIDEO_STREAM: usize = 0;
pub(crate) const AUDIO_STREAM: usize = 1;

/// Writes one segment as MP4: what decoders need first, then everything in one fragment with the times it has.
///
/// Packets are as for [`segment`].
pub(crate) fn fragmented(video: &Track, audio: Option<&Track>) -> Result<Bytes, MediaError> {
    // In a transport stream each packet of sound says itself what it is; in MP4 the file says it once. The muxer of whole
    // files knows how to turn one into the other, the muxer of fragments does not.
    let sound = audio.map(|audio| &audio.parameters);
    let whole = Writer::open("mp4", mp4_options(), &video.parameters, sound)?.write_all(video, audio)?;
    let (mut pictures, mut sound) = demux::mp4_tracks(&whole)?;
    // A whole file begins at zero.
    begin_like(&mut pictures, video);
    if let (Some(sound), Some(audio)) = (&mut sound, audio) {
        begin_like(sound, audio);
    }
    // What decoders need first must not depend on how many bytes this segment happens to have.
    for track in [Some(&mut pictures), sound.as_mut()].into_iter().flatten() {
        track.parameters.set_bit_rate(0);
    }
    let mut options = mp4_options();
    options.set("write_btrt", "0");
    options.set("movflags", "+delay_moov+default_base_moof+frag_discont+skip_trailer");
    let parameters = sound.as_ref().map(|sound| &sound.parameters);
    Writer::open("mp4", options, &pictures.parameters, parameters)?.write_all(&pictures, sound.as_ref())
}

fn mp4_options() -> Dictionary<'static> {
    let mut options = Dictionary::new();
    options.set("use_editlist", "0");
    // No name and version of the library.
    options.set("fflags", "+bitexact");
    options.set("avoid_negative_ts", "disabled");
    options
}

fn begin_like(track: &mut Track, other: &Track) {
    let first = |track: &Track| track.packets.first().and_then(Packet::dts).unwrap_or(0);
    let shift = first(other) - first(track);
    for packet in &mut track.packets {
        packet.set_dts(packet.dts().map(|dts| dts + shift));
        packet.set_pts(packet.pts().map(|pts| pts + shift));
    }
}

/// Writes one segment: a video stream and, unless there is no sound, an audio stream beside it.
///
/// Packets must be in order of decode time, in ticks, and carry their stream's index.
pub(crate) fn segment(video: &Track, audio: Option<&Track>) -> Result<Bytes, MediaError> {
    let writer = Writer::transport_stream(&video.parameters, audio.map(|audio| &audio.parameters))?;
    writer.write_all(video, audio)
}

/// Writes one file, packet by packet.
pub(crate) struct Writer {
    output: Output,
    buffer: Buffer,
}

impl Writer {
    /// Times are written as they are: nothing is shifted to make a segment start at zero, and each segment says itself that
    /// its counters start anew. Every packet is in the bytes as soon as it is written, but sound, which shares packets.
    pub(crate) fn transport_stream(
        video: &codec::Parameters,
        audio: Option<&codec::Parameters>,
    ) -> Result<Self, MediaError> {
        let mut options = Dictionary::new();
        options.set("mpegts_flags", "+initial_discontinuity");
        options.set("avoid_negative_ts", "disabled");
        options.set("flush_packets", "1");
        Self::open("mpegts", options, video, audio)
    }

    fn open(
        format: &str,
        options: Dictionary<'_>,
        video: &codec::Parameters,
        audio: Option<&codec::Parameters>,
    ) -> Result<Self, MediaError> {
        let buffer = Buffer::default();
        let io = StreamIo::from_write_seek(buffer.clone()).map_err(libav("write to memory"))?;
        let mut output = format::output_to_stream(io, None, Some(format)).map_err(libav("open the muxer"))?;
        add_stream(&mut output, video)?;
        if let Some(audio) = audio {
            add_stream(&mut output, audio)?;
        }
        output.write_header_with(options).map_err(libav("write the header"))?;
        Ok(Self { output, buffer })
    }

    /// The muxer chooses the clock of each stream.
    pub(crate) fn write(&mut self, packet: &Packet) -> Result<(), MediaError> {
        let clock = self.output.stream(packet.stream()).map_or(TICKS, |stream| stream.time_base());
        if clock == TICKS {
            return packet.write(&mut self.output).map(|_| ()).map_err(libav("write a packet"));
        }
        let mut packet = packet.clone();
        packet.rescale_ts(TICKS, clock);
        packet.write(&mut self.output).map(|_| ()).map_err(libav("write a packet"))
    }

    /// What was written since the last call; only for formats that never go back.
    pub(crate) fn take(&mut self) -> Bytes {
        self.buffer.take()
    }

    /// The rest of the file.
    pub(crate) fn finish(mut self) -> Result<Bytes, MediaError> {
        self.output.write_trailer().map_err(libav("write the trailer"))?;
        drop(self.output);
        Ok(self.buffer.take())
    }

    fn write_all(mut self, video: &Track, audio: Option<&Track>) -> Result<Bytes, MediaError> {
        let mut sound = audio.map(|audio| audio.packets.iter()).unwrap_or_default().peekable();
        for picture in &video.packets {
            while let Some(packet) = sound.next_if(|packet| packet.dts() <= picture.dts()) {
                self.write(packet)?;
            }
            self.write(picture)?;
        }
        sound.try_for_each(|packet| self.write(packet))?;
        self.finish()
    }
}

/// Without the mark that the container it comes from gives its codec: another one has another, and refuses it.
#[allow(unsafe_code)] // the library has no setter
fn untagged(parameters: &codec::Parameters) -> codec::Parameters {
    let mut parameters = parameters.clone();
    // SAFETY: the pointer is that of a live copy which nobody else holds, and the field is a plain number.
    unsafe { (*parameters.as_mut_ptr()).codec_tag = 0 };
    parameters
}

fn add_stream(output: &mut Output, parameters: &codec::Parameters) -> Result<(), MediaError> {
    let mut stream = output.add_stream(None::<Codec>).map_err(libav("add a stream"))?;
    stream.set_parameters(untagged(parameters));
    stream.set_time_base(TICKS);
    Ok(())
}

/// A buffer that outlives the muxer writing to it.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Cursor<Vec<u8>>>>);

impl Buffer {
    fn lock(&self) -> MutexGuard<'_, Cursor<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.lock()).into_inner().into()
    }
}

impl io::Write for Buffer {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut *self.lock(), data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl io::Seek for Buffer {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        io::Seek::seek(&mut *self.lock(), to)
    }
}
