//! Frames brought to the size and pixel format of a rendition.
#[cfg(target_arch = "x86_64")]
mod bicubic;

#[cfg(target_arch = "x86_64")]
use std::slice;
use std::sync::Arc;

use ffmpeg_next::{ffi, format::Pixel, frame, software::scaling};

use crate::{
    MediaError,
    error::{libav, no_memory},
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

/// A frame of [`PIXELS`] that shows nothing yet.
#[allow(unsafe_code)] // the library does not tell
fn allocated(width: u32, height: u32) -> Result<frame::Video, MediaError> {
    let frame = frame::Video::new(PIXELS, width, height);
    // SAFETY: the frame is live.
    let lacks_memory = unsafe { frame.is_empty() };
    if lacks_memory { Err(no_memory("scale a frame")) } else { Ok(frame) }
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
    #[cfg(target_arch = "x86_64")]
    planes: Option<Planes>,
    /// For frames on a device.
    device: Option<LentScaler>,
    /// Frames that were handed out, to be used again when all who got them are done.
    pool: Vec<Arc<frame::Video>>,
}

impl Scaler {
    /// Bicubic, rounded as it is fastest here.
    pub(crate) fn new(width: u32, height: u32) -> Self {
        Self {
            width,
            height,
            flags: scaling::Flags::BICUBIC,
            context: None,
            #[cfg(target_arch = "x86_64")]
            planes: None,
            device: None,
            pool: Vec::new(),
        }
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
        let target = Arc::get_mut(&mut scaled).ok_or_else(|| no_memory("scale a frame"))?;
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
        if target.width() == 0 {
            *target = allocated(self.width, self.height)?;
        }
        #[cfg(target_arch = "x86_64")]
        if self.flags == scaling::Flags::BICUBIC && self.run_planes(source, target) {
            return Ok(());
        }
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

    /// Without libswscale. False where there is another pixel format, or a size that [`bicubic`] is not made for.
    #[cfg(target_arch = "x86_64")]
    fn run_planes(&mut self, source: &frame::Video, target: &mut frame::Video) -> bool {
        let from = (source.width(), source.height());
        let planes = match &mut self.planes {
            Some(planes) if planes.from == from => planes,
            slot => slot.insert(Planes::new(from, (self.width, self.height))),
        };
        if source.format() != PIXELS {
            return false;
        }
        let Some(scalers) = &mut planes.scalers else { return false };
        (0..3).all(|index| {
            let scaler = &mut scalers[index.min(1)];
            let lines = plane(source, index).zip(plane_mut(target, index));
            lines.map(|(source, target)| scaler.scale(source, target)).is_some()
        })
    }
}

/// What scales the planes of [`PIXELS`].
#[cfg(target_arch = "x86_64")]
struct Planes {
    from: (u32, u32),
    /// Luma, and both of chroma.
    scalers: Option<[bicubic::Plane; 2]>,
}

#[cfg(target_arch = "x86_64")]
impl Planes {
    fn new(from: (u32, u32), to: (u32, u32)) -> Self {
        let [luma, chroma] = [1, 2].map(|step| {
            let side = |pixels: u32| pixels.div_ceil(step) as usize;
            bicubic::Plane::new((side(from.0), side(from.1)), (side(to.0), side(to.1)))
        });
        Self { from, scalers: luma.zip(chroma).map(|(luma, chroma)| [luma, chroma]) }
    }
}

/// The lines of a plane of bytes from its first to its last pixel, and the bytes from one line to the next. [`None`] for pictures that
/// stand upside down in memory.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // the library's slices begin at the first line even where the others come before it
fn plane(frame: &frame::Video, index: usize) -> Option<(&[u8], usize)> {
    let (width, height) = (frame.plane_width(index) as usize, frame.plane_height(index) as usize);
    // SAFETY: the pointer is that of a live frame, whose planes have as many lines, a stride apart, each as wide.
    unsafe {
        let stride = usize::try_from((*frame.as_ptr()).linesize[index]).ok().filter(|stride| *stride >= width)?;
        let len = height.checked_sub(1)? * stride + width;
        Some((slice::from_raw_parts((*frame.as_ptr()).data[index], len), stride))
    }
}

/// The same of a frame that nobody else holds.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // as above
fn plane_mut(frame: &mut frame::Video, index: usize) -> Option<(&mut [u8], usize)> {
    let (len, stride) = plane(frame, index).map(|(lines, stride)| (lines.len(), stride))?;
    // SAFETY: as above, and the frame is borrowed for as long as the lines are.
    let lines = unsafe { slice::from_raw_parts_mut((*frame.as_mut_ptr()).data[index], len) };
    Some((lines, stride))
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

    /// Something to see: waves of all lengths, and an edge.
    fn picture(width: u32, height: u32) -> frame::Video {
        let mut frame = frame::Video::new(PIXELS, width, height);
        for index in 0..3 {
            let (width, height) = (frame.plane_width(index) as usize, frame.plane_height(index) as usize);
            let stride = frame.stride(index);
            for (y, line) in frame.data_mut(index).chunks_mut(stride).take(height).enumerate() {
                for (x, pixel) in line[..width].iter_mut().enumerate() {
                    let wave = ((x * x + 3 * y * y) as f64 / (20.0 * (x + y + 9) as f64) + index as f64).sin();
                    *pixel = if 3 * x > 2 * width && 2 * y > height { 250 } else { (120.0 + 110.0 * wave) as u8 };
                }
            }
        }
        frame
    }

    /// What the pixels of a plane differ by from those of the exact scaler: squared, on average.
    fn difference(made: &frame::Video, exact: &frame::Video, index: usize) -> f64 {
        let (width, height) = (made.plane_width(index) as usize, made.plane_height(index) as usize);
        let lines = |frame: &'_ frame::Video| {
            let lines = frame.data(index).chunks(frame.stride(index)).take(height);
            lines.flat_map(|line| line[..width].to_vec()).collect::<Vec<_>>()
        };
        let pixels = lines(made).into_iter().zip(lines(exact));
        pixels.map(|(a, b)| f64::from(a.abs_diff(b)).powi(2)).sum::<f64>() / (width * height) as f64
    }

    fn assert_alike(made: &frame::Video, exact: &frame::Video, what: &str) {
        for index in 0..3 {
            let difference = difference(made, exact, index);
            assert!(difference < 0.1, "{difference}, plane {index}, {what}");
        }
    }

    #[test]
    fn fast_pictures_are_those_of_the_exact_scaler_but_for_rounding() {
        let sizes = [
            ((1280, 720), (854, 480)),
            ((1280, 720), (640, 360)),
            ((1920, 1080), (1280, 720)),
            ((641, 361), (426, 240)),
            ((320, 180), (640, 360)),
            ((720, 576), (768, 432)),
            ((1280, 720), (160, 90)),
            ((352, 288), (64, 48)),
            ((64, 48), (32, 32)),
        ];
        for (from, to) in sizes {
            let source = picture(from.0, from.1);
            let [made, exact] =
                [Scaler::new(to.0, to.1), Scaler::exact(to.0, to.1)].map(|mut to| to.copy(&source).unwrap());
            assert_alike(&made, &exact, &format!("{from:?} to {to:?}"));
        }
    }

    #[test]
    #[allow(unsafe_code)] // the library has no such frames
    fn a_picture_that_stands_upside_down_in_memory_is_scaled() {
        let (upright, mut hanging) = (picture(128, 96), picture(128, 96));
        for index in 0..3 {
            let (stride, height) = (upright.stride(index), upright.plane_height(index) as usize);
            for (line, below) in upright.data(index).chunks(stride).zip((0..height).rev()) {
                hanging.data_mut(index)[below * stride..][..stride].copy_from_slice(line);
            }
            // SAFETY: the frame is alone; the pointer goes to its last line, and the lines before it follow it.
            unsafe {
                let frame = &mut *hanging.as_mut_ptr();
                frame.data[index] = frame.data[index].add(stride * (height - 1));
                frame.linesize[index] = -frame.linesize[index];
            }
        }
        let made = Scaler::new(64, 48).copy(&hanging).unwrap();
        assert_alike(&made, &Scaler::exact(64, 48).copy(&upright).unwrap(), "upside down");
    }
}
