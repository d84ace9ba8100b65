//! Frames brought to the size and pixel format of a rendition.
use std::sync::Arc;

use ffmpeg_next::{ffi, format::Pixel, frame, software::scaling};

use crate::{
    MediaError,
    error::libav,
    gpu::{Hardware, LentScaler, Target, is_on_device},
};

/// Pixel format of every rendition.
pub(crate) const PIXELS: Pixel = Pixel::YUV420P;

/// Frames that nobody uses and that are kept beside the one that is used next.
const SPARE_FRAMES: usize = 1;

/// Another handle of the same picture: its buffers are counted, not copied, and its time and type are its own.
#[allow(unsafe_code)] // the library's clone copies the pixels
pub(crate) fn share(frame: &frame::Video) -> Result<frame::Video, MediaError> {
    let mut shared = frame::Video::empty();
    // SAFETY: both pointers are of live frames; the second is empty, as `av_frame_ref` wants it, and owned here alone.
    let code = unsafe { ffi::av_frame_ref(shared.as_mut_ptr(), frame.as_ptr()) };
    if code < 0 { Err(libav("share a frame")(ffmpeg_next::Error::from(code))) } else { Ok(shared) }
}

/// Whether nobody else holds the picture.
#[allow(unsafe_code)] // the library has no getter
fn is_alone(frame: &mut frame::Video) -> bool {
    // SAFETY: the pointer is that of a live frame which nobody else can reach.
    unsafe { ffi::av_frame_is_writable(frame.as_mut_ptr()) > 0 }
}

/// Brings frames of any size and pixel format to one size and [`PIXELS`].
pub(crate) struct Scaler {
    width: u32,
    height: u32,
    flags: scaling::Flags,
    context: Option<scaling::Context>,
    /// For frames on a device.
    device: Option<LentScaler>,
    /// Frames that were handed out, to be used again when all who got them are done.
    pool: Vec<Arc<frame::Video>>,
}

impl Scaler {
    /// Bicubic, rounded as it is fastest here.
    pub(crate) fn new(width: u32, height: u32) -> Self {
        Self { width, height, flags: scaling::Flags::BICUBIC, context: None, device: None, pool: Vec::new() }
    }

    /// Bicubic, rounded alike by every processor.
    pub(crate) fn exact(width: u32, height: u32) -> Self {
        let flags = scaling::Flags::BICUBIC | scaling::Flags::ACCURATE_RND | scaling::Flags::BITEXACT;
        Self { flags, ..Self::new(width, height) }
    }

    /// Takes frames of a device as well, and scales them there.
    pub(crate) fn with_device(mut self, hardware: Option<&Hardware>, target: Target) -> Self {
        self.device = hardware.map(|hardware| hardware.scaler(self.width, self.height, target));
        self
    }

    pub(crate) fn makes(&self, width: u32, height: u32) -> bool {
        (self.width, self.height) == (width, height)
    }

    /// Whether a frame already is what is wanted.
    pub(crate) fn passes(&self, frame: &frame::Video) -> bool {
        frame.width() == self.width && frame.height() == self.height && frame.format() == PIXELS
    }

    /// The frame in the right size: itself if it has it, else a copy without a time.
    pub(crate) fn scale(&mut self, source: &Arc<frame::Video>) -> Result<Arc<frame::Video>, MediaError> {
        if let Some(device) = self.device.as_mut().filter(|_| is_on_device(source)) {
            return device.scale(source).map(Arc::new);
        }
        if self.passes(source) {
            return Ok(source.clone());
        }
        let mut scaled = self.blank();
        let target = Arc::get_mut(&mut scaled).ok_or(MediaError::OutOfMemory { step: "scale a frame".into() })?;
        self.run(source, target)?;
        self.pool.push(scaled.clone());
        Ok(scaled)
    }

    /// The same for one frame that is not shared.
    pub(crate) fn copy(&mut self, source: &frame::Video) -> Result<frame::Video, MediaError> {
        if self.passes(source) {
            return share(source);
        }
        let mut scaled = frame::Video::empty();
        self.run(source, &mut scaled)?;
        Ok(scaled)
    }

    /// A frame of the pool that nobody uses any more, or an empty one.
    fn blank(&mut self) -> Arc<frame::Video> {
        let mut free = self.pool.extract_if(.., |frame| Arc::get_mut(frame).is_some_and(is_alone));
        let next = free.next();
        let mut spare: Vec<_> = free.collect();
        // Those that waited for an encoder are more than are needed when it runs.
        spare.truncate(SPARE_FRAMES);
        self.pool.extend(spare);
        next.unwrap_or_else(|| Arc::new(frame::Video::empty()))
    }

    fn run(&mut self, source: &frame::Video, target: &mut frame::Video) -> Result<(), MediaError> {
        let wanted =
            scaling::context::Definition { format: source.format(), width: source.width(), height: source.height() };
        let context = match &mut self.context {
            Some(context) if *context.input() == wanted => context,
            slot => {
                let made = scaling::Context::get(
                    wanted.format,
                    wanted.width,
                    wanted.height,
                    PIXELS,
                    self.width,
                    self.height,
                    self.flags,
                );
                slot.insert(made.map_err(libav("set up the scaler"))?)
            }
        };
        context.run(source, target).map_err(libav("scale a frame"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_used_again_and_those_that_waited_are_given_back() {
        let source = Arc::new(frame::Video::new(PIXELS, 256, 144));
        let mut scaler = Scaler::new(128, 72);
        let waiting: Vec<_> = (0..10).map(|_| scaler.scale(&source).unwrap()).collect();
        assert_eq!(scaler.pool.len(), 10, "all are in use");
        let first = waiting[0].data(0).as_ptr();
        drop(waiting);
        assert_eq!(scaler.scale(&source).unwrap().data(0).as_ptr(), first);
        assert_eq!(scaler.pool.len(), 1 + SPARE_FRAMES);
    }
}
