//! Encoding on a device.
use ffmpeg_next::{Dictionary, Packet, codec, encoder, error::EAGAIN, ffi, format::Pixel, frame};

use super::device::{Device, fault, is_on_device};
use crate::{
    MediaError,
    demux::TICKS,
    encode::{Plan, rational},
    mux::VIDEO_STREAM,
    settings::Encoder as Kind,
};

/// An open session of NVENC. Between two segments it is flushed and kept: opening one takes longer than some segments.
pub(crate) struct Encoder {
    encoder: encoder::video::Encoder,
    device: u32,
    submitted: u64,
}

impl Encoder {
    /// Opens a session for frames like `first`: on the device, where all must come from one scaler, or in memory.
    ///
    /// # Errors
    /// [`MediaError::Gpu`]; no session is left, or the chip has no encoder.
    #[allow(unsafe_code)] // the library has no setters for these fields
    pub(crate) fn open(plan: &Plan, device: &Device, first: &frame::Video) -> Result<Self, MediaError> {
        let failed = fault(device.number(), "open the encoder");
        let name = Kind::Nvenc.libav_name();
        let codec = encoder::find_by_name(name).ok_or_else(|| failed(ffmpeg_next::Error::EncoderNotFound))?;
        let mut video = codec::Context::new_with_codec(codec).encoder().video().map_err(&failed)?;
        video.set_width(plan.width);
        video.set_height(plan.height);
        video.set_time_base(TICKS);
        video.set_frame_rate(Some(rational(plan.fps)));
        plan.look.tell(&mut video);
        if is_on_device(first) {
            video.set_format(Pixel::CUDA);
            // SAFETY: the frame is live and on a device, so it has a context; the encoder, which is not open yet, owns the
            // reference that is made here.
            unsafe { (*video.as_mut_ptr()).hw_frames_ctx = ffi::av_buffer_ref((*first.as_ptr()).hw_frames_ctx) };
        } else {
            video.set_format(first.format());
            // SAFETY: the encoder is not open yet and owns the reference from now on.
            unsafe { (*video.as_mut_ptr()).hw_device_ctx = device.reference()?.as_ptr() };
        }
        let options: Dictionary<'_> = plan.options.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let encoder = video.open_as_with(codec, options).map_err(failed)?;
        Ok(Self { encoder, device: device.number(), submitted: 0 })
    }

    /// Takes one frame and gives the packets that are ready.
    ///
    /// # Errors
    /// [`MediaError::Gpu`]
    pub(crate) fn send(&mut self, frame: &frame::Video, packets: &mut Vec<Packet>) -> Result<(), MediaError> {
        self.encoder.send_frame(frame).map_err(fault(self.device, "encode a frame"))?;
        self.submitted += 1;
        self.receive(packets)
    }

    /// Gives what is left of this segment. True when the session can take another one, which must begin with a key frame;
    /// false where the library cannot flush.
    ///
    /// # Errors
    /// [`MediaError::Gpu`]
    #[allow(unsafe_code)] // the library has no wrapper
    pub(crate) fn finish(&mut self, packets: &mut Vec<Packet>) -> Result<bool, MediaError> {
        self.encoder.send_eof().map_err(fault(self.device, "flush the encoder"))?;
        self.receive(packets)?;
        self.submitted = 0;
        let flushes = self.encoder.codec().is_some_and(|codec| {
            // SAFETY: a codec is static data of libavcodec.
            let capabilities = unsafe { (*codec.as_ptr()).capabilities };
            capabilities & ffi::AV_CODEC_CAP_ENCODER_FLUSH as i32 != 0
        });
        if !flushes {
            return Ok(false);
        }
        // SAFETY: the encoder is open and has given its last packet.
        unsafe { ffi::avcodec_flush_buffers(self.encoder.as_mut_ptr()) };
        Ok(true)
    }

    /// Frames given since the session was opened or flushed.
    pub(crate) fn submitted(&self) -> u64 {
        self.submitted
    }

    /// What the muxer needs to know of the stream.
    pub(crate) fn parameters(&self) -> codec::Parameters {
        codec::Parameters::from(&self.encoder)
    }

    fn receive(&mut self, packets: &mut Vec<Packet>) -> Result<(), MediaError> {
        loop {
            let mut packet = Packet::empty();
            match self.encoder.receive_packet(&mut packet) {
                Ok(()) => {
                    packet.set_stream(VIDEO_STREAM);
                    packets.push(packet);
                }
                Err(ffmpeg_next::Error::Other { errno: EAGAIN } | ffmpeg_next::Error::Eof) => return Ok(()),
                Err(error) => return Err(fault(self.device, "encode a frame")(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ffmpeg_next::picture;

    use super::*;
    use crate::gpu::{
        Coding,
        decoder::open_decoder,
        scaler::{Scaler, Target},
        testing::{decode, device_or_skip, encodes_or_skip, plan, sample},
    };

    #[test]
    fn a_session_is_kept_between_segments_and_each_begins_with_a_key_frame() {
        let Some(device) = device_or_skip() else { return };
        if !encodes_or_skip(&device) {
            return;
        }
        let sample = sample(Coding::H264);
        let mut scaler = Scaler::new(&device, 192, 108, Target::Device);
        let mut session = None;
        for _segment in 0..3 {
            let decoder = open_decoder(sample.parameters.clone(), Coding::H264, &device).unwrap();
            let mut packets = Vec::new();
            for (index, frame) in decode(decoder, &sample.packets).iter().enumerate() {
                let mut frame = scaler.scale(frame).unwrap();
                frame.set_kind(if index == 0 { picture::Type::I } else { picture::Type::None });
                let session = match &mut session {
                    Some(session) => session,
                    none => none.insert(Encoder::open(&plan(192, 108), &device, &frame).unwrap()),
                };
                session.send(&frame, &mut packets).unwrap();
            }
            assert!(session.as_mut().unwrap().finish(&mut packets).unwrap());
            assert_eq!(packets.len(), sample.packets.len());
            assert!(packets[0].is_key());
        }
    }
}
