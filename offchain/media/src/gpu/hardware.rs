//! What a job uses of its device, and what a worker keeps of it for the next one.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ffmpeg_next::{codec, encoder, frame};
use streamflow_types::VideoCodec;

use super::{
    Coding,
    decoder::open_decoder,
    device::Device,
    encoder::{open, restart},
    fleet::Assignment,
    scaler::{Scaler, Target},
};
use crate::{
    MediaError,
    demux::VideoDecoder,
    encode::{Plan, VideoEncoder},
};

/// The context of the device that a worker was last given, with what can be used again: opening a context or an encoder takes
/// longer than some segments.
#[derive(Default)]
pub(crate) struct Kept {
    device: Option<Device>,
    store: Store,
}

#[derive(Default)]
struct Store {
    scalers: Vec<Scaler>,
    sessions: Vec<(Plan, encoder::video::Encoder)>,
}

impl Kept {
    /// Does a job with the device that it is given, if any. What a job has not used is closed after it, so that an idle
    /// worker holds no more encoders than its last job; after a fault of the device everything is.
    pub(crate) fn run<T>(
        &mut self,
        assignment: Option<&Assignment>,
        job: impl FnOnce(Option<&Hardware>) -> Result<T, MediaError>,
    ) -> Result<T, MediaError> {
        let Some(Assignment { device: number, decodes, encodes }) = assignment else { return job(None) };
        let device = match self.device.take().filter(|device| device.number() == *number) {
            Some(device) => device,
            None => {
                *self = Self::default();
                Device::open(*number)?
            }
        };
        let shelf = Shelf { spare: std::mem::take(&mut self.store), done: Store::default() };
        let hardware = Hardware {
            device: device.clone(),
            decodes: decodes.clone(),
            encodes: encodes.clone(),
            shelf: SharedShelf(Arc::new(Mutex::new(shelf))),
        };
        let done = job(Some(&hardware));
        if !matches!(done, Err(MediaError::Gpu { .. })) {
            self.device = Some(device);
            self.store = std::mem::take(&mut hardware.shelf.lock().done);
        }
        done
    }
}

/// What is left of the job before, and what this job gives back.
struct Shelf {
    spare: Store,
    done: Store,
}

#[derive(Clone)]
struct SharedShelf(Arc<Mutex<Shelf>>);

impl SharedShelf {
    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The device of one job.
#[derive(Clone)]
pub(crate) struct Hardware {
    device: Device,
    decodes: Vec<Coding>,
    encodes: Vec<VideoCodec>,
    shelf: SharedShelf,
}

impl Hardware {
    /// Its number.
    pub(crate) fn device(&self) -> u32 {
        self.device.number()
    }

    /// Opens a decoder there; `None` for streams that are decoded on the CPU.
    ///
    /// # Errors
    /// [`MediaError::Gpu`]
    pub(crate) fn decoder(&self, parameters: &codec::Parameters) -> Result<Option<VideoDecoder>, MediaError> {
        let coding = Coding::of(parameters.id()).filter(|coding| self.decodes.contains(coding));
        coding.map(|coding| open_decoder(parameters.clone(), coding, &self.device)).transpose()
    }

    /// A scaler to this size, whose frames stay there for an encoder or come to memory; given back when it is dropped.
    pub(crate) fn scaler(&self, width: u32, height: u32, target: Target) -> LentScaler {
        let mut shelf = self.shelf.lock();
        let spare = &mut shelf.spare.scalers;
        let found = spare.iter().position(|scaler| scaler.makes(width, height, target));
        let scaler = found.map(|index| spare.swap_remove(index));
        let scaler = scaler.unwrap_or_else(|| Scaler::new(&self.device, width, height, target));
        LentScaler { scaler, shelf: self.shelf.clone() }
    }

    /// Whether renditions of this codec are encoded there.
    pub(crate) fn encodes(&self, codec: VideoCodec) -> bool {
        self.encodes.contains(&codec)
    }

    /// An encoder there, for frames like `first`: one that was kept, or a new one.
    ///
    /// # Errors
    /// [`MediaError::Gpu`]
    pub(crate) fn encoder(&self, plan: &Plan, first: &frame::Video) -> Result<VideoEncoder, MediaError> {
        let kept = {
            let mut shelf = self.shelf.lock();
            let spare = &mut shelf.spare.sessions;
            let fits =
                |(of, session): &(Plan, encoder::video::Encoder)| of == plan && session.format() == first.format();
            let found = spare.iter().position(fits);
            found.map(|index| spare.swap_remove(index).1)
        };
        let session = match kept {
            Some(session) => session,
            None => open(plan, &self.device, first)?,
        };
        Ok(VideoEncoder::on_device(session, self.device.number()))
    }

    /// Keeps an encoder that has given its last packet, where the library can start it again.
    pub(crate) fn keep(&self, plan: Plan, encoder: VideoEncoder) {
        let mut session = encoder.into_session();
        if restart(&mut session) {
            self.shelf.lock().done.sessions.push((plan, session));
        }
    }
}

/// A scaler of the device, in use.
pub(crate) struct LentScaler {
    scaler: Scaler,
    shelf: SharedShelf,
}

impl LentScaler {
    /// A copy of the frame in the right size, with its time stamp.
    ///
    /// # Errors
    /// [`MediaError::Gpu`]
    pub(crate) fn scale(&mut self, source: &frame::Video) -> Result<frame::Video, MediaError> {
        self.scaler.scale(source)
    }
}

impl Drop for LentScaler {
    fn drop(&mut self) {
        self.shelf.lock().done.scalers.push(self.scaler.take());
    }
}

#[cfg(test)]
mod tests {
    use std::{ops::ControlFlow, path::Path, time::Duration};

    use bytes::Bytes;
    use streamflow_types::Profile;

    use super::*;
    use crate::{
        Encoder, SourceSettings, TranscodeSettings,
        engine::Place,
        gpu::testing::{device_or_skip, encodes_or_skip},
        play,
        transcode::transcode_on,
    };

    fn segments() -> Vec<Bytes> {
        let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures/bbb-720p25-5s.mp4");
        let mut segments = Vec::new();
        play(&SourceSettings::new(clip, Duration::from_secs(4)), &mut |segment| {
            segments.push(segment.bytes);
            ControlFlow::Continue(())
        })
        .unwrap();
        segments
    }

    fn ladder() -> Vec<Profile> {
        [("a", 640, 360), ("b", 320, 180)]
            .map(|(name, width, height)| Profile::new(name, width, height, 500_000).unwrap())
            .into()
    }

    /// Two segments through the device, which makes the same frames of each as the CPU does.
    fn transcode_there(kept: &mut Kept, encoder: Encoder) {
        let encodes = if encoder == Encoder::Nvenc { vec![VideoCodec::H264] } else { Vec::new() };
        let assignment = Assignment { device: 0, decodes: vec![Coding::H264], encodes };
        let settings = TranscodeSettings { encoder, ..TranscodeSettings::default() };
        for segment in segments() {
            let here = crate::transcode(&segment, &ladder(), &TranscodeSettings::default()).unwrap();
            let there = kept.run(Some(&assignment), |hardware| {
                transcode_on(&segment, &ladder(), &settings, Place { hardware, ..Place::default() })
            });
            let there = there.unwrap();
            assert_eq!(there.source, here.source);
            for (there, here) in there.renditions.iter().zip(&here.renditions) {
                assert_eq!((there.frames, there.pixels), (here.frames, here.pixels));
            }
        }
    }

    #[test]
    fn segments_stay_on_a_device_and_its_encoders_and_scalers_are_kept() {
        let Some(device) = device_or_skip() else { return };
        if !encodes_or_skip(&device) {
            return;
        }
        let mut kept = Kept::default();
        transcode_there(&mut kept, Encoder::Nvenc);
        assert_eq!((kept.store.scalers.len(), kept.store.sessions.len()), (2, 2));
    }

    #[test]
    fn a_chip_decodes_and_scales_for_an_encoder_on_the_cpu() {
        let Some(_device) = device_or_skip() else { return };
        let mut kept = Kept::default();
        transcode_there(&mut kept, Encoder::X264);
        assert_eq!((kept.store.scalers.len(), kept.store.sessions.len()), (2, 0));
    }

    #[test]
    fn a_job_without_device_has_none_and_one_that_is_not_there_is_told() {
        let mut kept = Kept::default();
        assert!(kept.run(None, |hardware| Ok(hardware.is_none())).unwrap());
        let missing = Assignment { device: 4242, decodes: Vec::new(), encodes: Vec::new() };
        let told = kept.run(Some(&missing), |_| Ok(()));
        assert!(matches!(told, Err(MediaError::Gpu { device: 4242, .. })));
    }
}
