//! One CUDA context, and the errors that speak of the device.
use std::{
    ffi::CString,
    ptr::{self, NonNull},
    sync::Arc,
};

use ffmpeg_next::{error::EIO, ffi, format::Pixel, frame};

use crate::{MediaError, error::no_memory, library};

/// A counted reference that libav hands around.
#[derive(Debug)]
struct BufferRef(NonNull<ffi::AVBufferRef>);

// SAFETY: libav counts references atomically; the contexts behind them are not written after they are made, and CUDA
// contexts may be used from every thread.
#[allow(unsafe_code)]
unsafe impl Send for BufferRef {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for BufferRef {}

impl Drop for BufferRef {
    #[allow(unsafe_code)] // the library has no wrapper
    fn drop(&mut self) {
        let mut pointer = self.0.as_ptr();
        // SAFETY: this is one counted reference, given back once.
        unsafe { ffi::av_buffer_unref(&mut pointer) };
    }
}

/// The context of one device, shared by whatever decodes, scales and encodes on it. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Device {
    number: u32,
    context: Arc<BufferRef>,
}

impl Device {
    /// Opens device `number`, as `nvidia-smi` counts.
    ///
    /// # Errors
    /// [`MediaError::Gpu`]; in this process the reason is a code of libav, whose words go to standard error.
    #[allow(unsafe_code)] // the library has no wrapper
    pub(super) fn open(number: u32) -> Result<Self, MediaError> {
        library::prepare();
        let failed = fault(number, "open the device");
        let name = CString::new(number.to_string()).map_err(|_| failed(ffmpeg_next::Error::InvalidData))?;
        let mut context = ptr::null_mut();
        // SAFETY: the place for the reference and the name live through the call; options may be null.
        let code = unsafe {
            let cuda = ffi::AVHWDeviceType::AV_HWDEVICE_TYPE_CUDA;
            ffi::av_hwdevice_ctx_create(&mut context, cuda, name.as_ptr(), ptr::null_mut(), 0)
        };
        if code < 0 {
            return Err(failed(code.into()));
        }
        let context = NonNull::new(context).ok_or_else(|| failed(ffmpeg_next::Error::External))?;
        Ok(Self { number, context: Arc::new(BufferRef(context)) })
    }

    /// Its number.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Another reference, for libav to own.
    ///
    /// # Errors
    /// [`MediaError::OutOfMemory`]
    #[allow(unsafe_code)] // the library has no wrapper
    pub(super) fn reference(&self) -> Result<NonNull<ffi::AVBufferRef>, MediaError> {
        // SAFETY: the reference counted here is live.
        let reference = unsafe { ffi::av_buffer_ref(self.context.0.as_ptr()) };
        NonNull::new(reference).ok_or_else(|| no_memory("share the device"))
    }
}

/// Whether the pixels of a frame are on a device.
pub(crate) fn is_on_device(frame: &frame::Video) -> bool {
    frame.format() == Pixel::CUDA
}

/// A copy of a device's frame in memory, with its time and its marks.
///
/// # Errors
/// [`MediaError::Gpu`]
#[allow(unsafe_code)] // the library has no wrapper
pub(crate) fn in_memory(frame: &frame::Video, device: u32) -> Result<frame::Video, MediaError> {
    let mut copy = frame::Video::empty();
    // SAFETY: both pointers are of live frames; the first is empty, as libav wants it, and owned here alone.
    let code = unsafe {
        match ffi::av_hwframe_transfer_data(copy.as_mut_ptr(), frame.as_ptr(), 0) {
            0 => ffi::av_frame_copy_props(copy.as_mut_ptr(), frame.as_ptr()),
            failed => failed,
        }
    };
    if code < 0 { Err(fault(device, "fetch a frame")(code.into())) } else { Ok(copy) }
}

/// Names device and step in an error of libav.
pub(crate) fn fault(device: u32, step: &str) -> impl Fn(ffmpeg_next::Error) -> MediaError {
    move |error| MediaError::Gpu { device, step: step.into(), reason: error.to_string() }
}

/// Whether libav blames the device rather than what it was given: what CUDA, NVDEC and NVENC answer is `External`, and
/// what a device that fell off the bus answers is an I/O error.
pub(crate) fn is_fault(error: ffmpeg_next::Error) -> bool {
    use ffmpeg_next::Error::{Bug, Bug2, External, Other, Unknown};
    matches!(error, External | Unknown | Bug | Bug2 | Other { errno: EIO })
}

#[cfg(test)]
mod tests {
    use ffmpeg_next::{Error, error::EAGAIN};

    use super::*;
    use crate::gpu::testing::device_or_skip;

    #[test]
    fn bad_input_is_no_fault_of_the_device() {
        assert!(is_fault(Error::External) && is_fault(Error::Other { errno: EIO }));
        for innocent in [Error::InvalidData, Error::Eof, Error::Other { errno: EAGAIN }, Error::PatchWelcome] {
            assert!(!is_fault(innocent), "{innocent}");
        }
    }

    #[test]
    fn a_context_lives_as_long_as_its_last_holder() {
        let Some(device) = device_or_skip() else { return };
        let clone = device.clone();
        drop(device);
        assert_eq!(clone.number(), 0);
        let reference = clone.reference().unwrap();
        drop(BufferRef(reference));
    }

    #[test]
    fn a_device_that_is_not_there_is_an_error() {
        assert!(matches!(Device::open(4242), Err(MediaError::Gpu { device: 4242, .. })));
    }
}
