//! Sessions of NVENC.
use ffmpeg_next::{Dictionary, codec, encoder, ffi, format::Pixel, frame};

use super::device::{Device, fault, is_on_device};
use crate::{
    MediaError,
    demux::TICKS,
    encode::{Plan, rational},
    settings::Encoder,
};

/// Opens a session for frames like `first`: on the device, where all must come from one scaler, or in memory.
///
/// # Errors
/// [`MediaError::Gpu`]: no session is left, or the chip has no encoder.
#[allow(unsafe_code)] // the library has no setters for these fields
pub(super) fn open(plan: &Plan, device: &Device, first: &frame::Video) -> Result<encoder::video::Encoder, MediaError> {
    let failed = fault(device.number(), "open the encoder");
    let name = Encoder::Nvenc.libav_name();
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
        let reference = device.reference()?;
        // SAFETY: the encoder is not open yet and owns the reference from now on.
        unsafe { (*video.as_mut_ptr()).hw_device_ctx = reference.as_ptr() };
    }
    let options: Dictionary<'_> = plan.options.iter().map(|(key, value)| (*key, value.as_str())).collect();
    video.open_as_with(codec, options).map_err(failed)
}

/// Makes a session that has given its last packet ready for another segment. False where the library cannot.
#[allow(unsafe_code)] // the library has no wrapper
pub(super) fn restart(encoder: &mut encoder::video::Encoder) -> bool {
    let flushes = encoder.codec().is_some_and(|codec| {
        // SAFETY: a codec is static data of libavcodec.
        let capabilities = unsafe { (*codec.as_ptr()).capabilities };
        capabilities & ffi::AV_CODEC_CAP_ENCODER_FLUSH as i32 != 0
    });
    if flushes {
        // SAFETY: the encoder is open.
        unsafe { ffi::avcodec_flush_buffers(encoder.as_mut_ptr()) };
    }
    flushes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_flushed_is_not_used_again() {
        let codec = encoder::find_by_name("libx264").unwrap();
        let closed = codec::Context::new_with_codec(codec).encoder().video().unwrap();
        assert!(!restart(&mut encoder::video::Encoder(closed)));
    }

    #[test]
    #[allow(unsafe_code)] // the library has no getter
    fn the_library_flushes_nvenc() {
        let codec = encoder::find_by_name("h264_nvenc").unwrap();
        // SAFETY: a codec is static data of libavcodec.
        let capabilities = unsafe { (*codec.as_ptr()).capabilities };
        assert_ne!(capabilities & ffi::AV_CODEC_CAP_ENCODER_FLUSH as i32, 0);
    }
}
