//! Scaling on a device.
use ffmpeg_next::{Error, error::EAGAIN, ffi, frame};

use super::device::{Device, fault};
use crate::{
    MediaError,
    filters::{Avfilter, Chain, Source},
};

/// Where scaled frames go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// They stay on the device, as its encoder takes them.
    Device,
    /// They come to memory, as encoders on the CPU take them.
    Memory,
}

/// What frames must have in common to go through one chain. They may be of several decoders: all are on one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    width: u32,
    height: u32,
    /// How the device keeps pixels, as libav numbers it.
    format: i32,
}

impl Shape {
    #[allow(unsafe_code)] // the library has no getter
    fn of(frame: &frame::Video) -> Self {
        // SAFETY: the frame lives, and so does the context that it has, whose data is what libav says it is.
        let format = unsafe {
            let context = (*frame.as_ptr()).hw_frames_ctx.as_ref();
            context.map_or(-1, |context| (*context.data.cast::<ffi::AVHWFramesContext>()).sw_format as i32)
        };
        Self { width: frame.width(), height: frame.height(), format }
    }
}

/// Brings frames of a device to one size and 8 bits in 4:2:0, whatever size they have.
#[derive(Debug)]
pub(super) struct Scaler {
    device: Device,
    width: u32,
    height: u32,
    target: Target,
    chain: Option<(Shape, Chain)>,
}

impl Scaler {
    /// Whether it scales to this.
    pub(super) fn makes(&self, width: u32, height: u32, target: Target) -> bool {
        (self.width, self.height, self.target) == (width, height, target)
    }

    /// Scales to `width` × `height` pixels.
    pub(super) fn new(device: &Device, width: u32, height: u32, target: Target) -> Self {
        Self { device: device.clone(), width, height, target, chain: None }
    }

    /// All that is set up; what stays has to be set up anew.
    pub(super) fn take(&mut self) -> Self {
        Self { chain: self.chain.take(), ..Self::new(&self.device, self.width, self.height, self.target) }
    }

    /// A copy of the frame in the right size, with its time stamp.
    ///
    /// # Errors
    /// [`MediaError::Gpu`]
    pub(super) fn scale(&mut self, source: &frame::Video) -> Result<frame::Video, MediaError> {
        let device = self.device.number();
        let shape = Shape::of(source);
        let chain = match &mut self.chain {
            Some((known, chain)) if *known == shape => chain,
            slot => {
                let steps = steps(self.width, self.height, self.target);
                let made = Chain::open(Avfilter::load()?, Source::Like(source), &steps);
                &mut slot.insert((shape, made.map_err(fault(device, "set up the scaler"))?)).1
            }
        };
        let mut scale = || {
            chain.feed(Some(source))?;
            chain.next(frame::Video::empty)?.ok_or(Error::Other { errno: EAGAIN })
        };
        scale().map_err(fault(device, "scale a frame"))
    }
}

/// The device's encoder takes luma and interleaved chroma as its decoder makes them; libx264 takes three planes.
fn steps(width: u32, height: u32, target: Target) -> Vec<String> {
    let format = match target {
        Target::Device => "nv12",
        Target::Memory => "yuv420p",
    };
    // Frames that have the size already are copied as well: surfaces of the decoder must not wait for an encoder.
    let scale = format!("scale_cuda=w={width}:h={height}:format={format}:interp_algo=bicubic:passthrough=0");
    let mut steps = vec![scale];
    if target == Target::Memory {
        steps.push("hwdownload".into());
        steps.push(format!("format=pix_fmts={format}"));
    }
    steps
}

#[cfg(test)]
mod tests {
    use ffmpeg_next::format::Pixel;

    use super::*;
    use crate::gpu::{
        Coding,
        decoder::open_decoder,
        device::is_on_device,
        testing::{decode, device_or_skip, sample},
    };

    #[test]
    fn frames_are_scaled_where_they_are_and_fetched_if_asked() {
        let Some(device) = device_or_skip() else { return };
        let sample = sample(Coding::H264);
        let decoder = open_decoder(sample.parameters.clone(), Coding::H264, &device).unwrap();
        let frames = decode(decoder, &sample.packets);
        let mut there = Scaler::new(&device, 128, 72, Target::Device);
        let mut here = Scaler::new(&device, 128, 72, Target::Memory);
        for frame in &frames {
            let (kept, fetched) = (there.scale(frame).unwrap(), here.scale(frame).unwrap());
            assert!(is_on_device(&kept));
            assert_eq!(fetched.format(), Pixel::YUV420P);
            for scaled in [kept, fetched] {
                assert_eq!((scaled.width(), scaled.height(), scaled.pts()), (128, 72, frame.pts()));
            }
        }
    }
}
