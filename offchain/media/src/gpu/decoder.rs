//! Decoding on a device: frames stay there unless they are asked for.
use std::ptr;

use ffmpeg_next::{Codec, codec, ffi};

use super::{
    Coding,
    device::{Device, fault},
};
use crate::{
    MediaError,
    demux::{self, VideoDecoder},
};

/// Decoded frames that may be held outside the decoder at a time: one that is scaled, two that wait for it, one that waits
/// to be sent, and two to spare. Each takes one of the 32 surfaces that NVDEC has, of which a stream may need 17.
const HELD_FRAMES: i32 = 6;

/// Opens a decoder on the device. A stream that the chip cannot decode (H.264 in 4:2:2, say) is decoded on the CPU where
/// libav knows how, so every frame says itself where it is: see [`super::is_on_device`].
///
/// # Errors
/// [`MediaError::Gpu`] where the library has no decoder for the device or cannot open it.
#[allow(unsafe_code)] // the library has no setters for these fields
pub(super) fn open_decoder(
    parameters: codec::Parameters,
    coding: Coding,
    device: &Device,
) -> Result<VideoDecoder, MediaError> {
    let failed = |step| fault(device.number(), step);
    let codec = hardware_decoder(coding).ok_or_else(|| MediaError::Gpu {
        device: device.number(),
        step: format!("decode {coding}"),
        reason: "this libavcodec decodes it on the CPU alone".into(),
    })?;
    let mut context = codec::Context::from_parameters(parameters).map_err(failed("set up the decoder"))?;
    // The device decodes frames one by one; threads would only add surfaces and delay.
    context.set_threading(codec::threading::Config { count: 1, ..codec::threading::Config::default() });
    let reference = device.reference()?;
    // SAFETY: the context is not open yet, which is when these are to be set; it owns the reference from now on.
    unsafe {
        let context = context.as_mut_ptr();
        (*context).hw_device_ctx = reference.as_ptr();
        (*context).extra_hw_frames = HELD_FRAMES;
        (*context).get_format = Some(prefer_device);
    }
    demux::open(context.decoder(), codec).map_err(failed("open the decoder"))
}

/// Takes the device's format where it is offered. libav asks again without it when the device refuses the stream.
#[allow(unsafe_code)] // called by libav
unsafe extern "C" fn prefer_device(
    context: *mut ffi::AVCodecContext,
    offered: *const ffi::AVPixelFormat,
) -> ffi::AVPixelFormat {
    let mut next = offered;
    // SAFETY: libav gives a list that ends with NONE, and the loop stops there.
    unsafe {
        while *next != ffi::AVPixelFormat::AV_PIX_FMT_NONE {
            if *next == ffi::AVPixelFormat::AV_PIX_FMT_CUDA {
                return *next;
            }
            next = next.add(1);
        }
    }
    // SAFETY: both pointers are those that libav gave.
    unsafe { ffi::avcodec_default_get_format(context, offered) }
}

/// A decoder of libav that can use a CUDA device; the first is the one that can decode on the CPU as well.
#[allow(unsafe_code)] // the library has no wrapper
fn hardware_decoder(coding: Coding) -> Option<Codec> {
    let mut place = ptr::null_mut();
    loop {
        // SAFETY: the place belongs to this loop; codecs are static data of libavcodec.
        let codec = unsafe { ffi::av_codec_iterate(&mut place) };
        if codec.is_null() {
            return None;
        }
        // SAFETY: not null, hence a codec.
        let fits = unsafe { (*codec).id == coding.id().into() && ffi::av_codec_is_decoder(codec) != 0 };
        if fits && takes_device(codec) {
            // SAFETY: a codec as above, which lives for ever.
            return Some(unsafe { Codec::wrap(codec) });
        }
    }
}

#[allow(unsafe_code)] // the library has no wrapper
fn takes_device(codec: *const ffi::AVCodec) -> bool {
    let by_device = ffi::AV_CODEC_HW_CONFIG_METHOD_HW_DEVICE_CTX as i32;
    // SAFETY: libav answers every index, with null after the last; what it answers is static data.
    let configs = (0..).map_while(|index| unsafe { ffi::avcodec_get_hw_config(codec, index).as_ref() });
    let cuda = ffi::AVHWDeviceType::AV_HWDEVICE_TYPE_CUDA;
    configs.into_iter().any(|config| config.device_type == cuda && config.methods & by_device != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{
        is_on_device,
        testing::{frames_on_device_or_skip, sample},
    };

    #[test]
    fn the_library_knows_a_decoder_with_a_device_for_every_coding() {
        for coding in Coding::ALL {
            let codec = hardware_decoder(coding).unwrap_or_else(|| panic!("no decoder for {coding}"));
            assert_eq!(codec.id(), coding.id());
            assert!(!codec.name().contains("cuvid"), "{} cannot fall back to the CPU", codec.name());
        }
        assert_eq!(Coding::of(codec::Id::MPEG2VIDEO), None);
    }

    #[test]
    #[allow(unsafe_code)] // what libav calls
    fn a_stream_that_the_chip_refuses_is_decoded_on_the_cpu() {
        use ffi::AVPixelFormat::{AV_PIX_FMT_CUDA, AV_PIX_FMT_NONE, AV_PIX_FMT_YUV422P};
        let mut context = codec::Context::new();
        for (offered, chosen) in [
            (&[AV_PIX_FMT_CUDA, AV_PIX_FMT_YUV422P, AV_PIX_FMT_NONE][..], AV_PIX_FMT_CUDA),
            (&[AV_PIX_FMT_YUV422P, AV_PIX_FMT_NONE], AV_PIX_FMT_YUV422P),
        ] {
            // SAFETY: a context of our own, and a list that ends as libav's do.
            assert_eq!(unsafe { prefer_device(context.as_mut_ptr(), offered.as_ptr()) }, chosen);
        }
    }

    #[test]
    fn frames_stay_on_the_device() {
        let Some(frames) = frames_on_device_or_skip() else { return };
        assert_eq!(frames.len(), sample(Coding::H264).packets.len());
        assert!(frames.iter().all(|frame| is_on_device(frame) && (frame.width(), frame.height()) == (256, 144)));
    }
}
