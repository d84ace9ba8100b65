//! The renditions of one segment, largest first: each is scaled from the source, or from a larger one.
use std::{
    num::NonZero,
    sync::{Arc, mpsc::Receiver},
    thread,
};

use ffmpeg_next::frame;
use streamflow_types::{Profile, VideoCodec};

use super::{
    keys::KeyClock,
    lane::LanePlan,
    queues::{Closing, DEEP, Footprint, Queues},
    rung::{Pace, Rung},
};
use crate::{
    MediaError, TranscodeSettings,
    encode::{Look, Plan},
    gpu::{Hardware, Target, is_on_device},
    rate::{Even, FrameRate, Grid},
    scale::Scaler,
    settings::{Encoder, EncoderInput, add_x264_params, encoder_options},
    size::rendition_size,
};

/// A rung is scaled from a larger one that has at least this many times its sides, else from the source. With less, the
/// pictures of nearly the same size that lie between cost what two bicubic steps blur.
const LEAST_STEP: u32 = 2;
/// Frames that libx264 keeps beside those it looks ahead over, as measured at 3.7 bytes a pixel with two threads. Each further
/// thread keeps two and a half, and a frame of sync-lookahead one, which are not counted.
const FRAMES_BESIDE_LOOKAHEAD: usize = 16;
/// Frames that the largest rendition's libx264 takes in while it decides on those before: without them its threads run dry at each
/// decision, and then all others wait. They change nothing that is made.
const SYNC_LOOKAHEAD: u32 = 2;
/// The same for one that looks ahead over most of a segment: it decides seldom, while many frames wait for it.
const SYNC_LOOKAHEAD_DEEP: u32 = 1;
/// Frames by which an encoder may delay its output.
const REORDER_FRAMES: i64 = 4;

/// Scales frames for every rendition and hands them on.
pub(super) struct Ladder<'a> {
    /// In the order of the profiles.
    rungs: Vec<Step>,
    /// Largest first, so that what a rung is made of is made before it.
    order: Vec<usize>,
    hardware: Option<&'a Hardware>,
    /// Whether pictures are scaled to the same bits on every processor.
    exact: bool,
}

struct Step {
    rung: Rung,
    size: (u32, u32),
    /// Where its pictures go when they come from a device.
    target: Target,
    /// The rung it is scaled from.
    above: Option<usize>,
    picture: Option<Arc<frame::Video>>,
}

impl<'a> Ladder<'a> {
    /// For sources that begin with `first`; with a plan for each encoder, in the order of the profiles.
    pub(super) fn new(
        profiles: &[Profile],
        settings: &TranscodeSettings,
        hardware: Option<&'a Hardware>,
        first: &frame::Video,
        fps: FrameRate,
    ) -> (Self, Vec<LanePlan>) {
        let source = (first.width(), first.height());
        let sizes: Vec<_> = profiles.iter().map(|profile| rendition_size(profile, source)).collect();
        let mut order: Vec<_> = (0..sizes.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(pixels(sizes[*index])));
        let largest = order.first().copied();
        let (mut rungs, mut plans) = (Vec::new(), Vec::new());
        for (index, (profile, size)) in profiles.iter().zip(&sizes).enumerate() {
            let (rate, pace) = match FrameRate::of_profile(profile) {
                None => (fps, Pace::Own),
                Some(asked) if same_rate(asked, fps) => (fps, Pace::Even(Even::new(asked))),
                Some(asked) => (asked, Pace::Grid(Grid(asked))),
            };
            let there = hardware.is_some_and(|hardware| hardware.encodes(profile.encoder));
            rungs.push(Step {
                rung: Rung::new(pace, KeyClock::new(profile.gop), index),
                size: *size,
                target: if there { Target::Device } else { Target::Memory },
                above: above(&sizes, *size),
                picture: None,
            });
            let may_reorder = first.pts().unwrap_or(0) >= REORDER_FRAMES * rate.frame_ticks();
            let is_largest = Some(index) == largest;
            let encoder_threads = encoder_threads(settings, is_largest);
            // What a device does not make, the CPU does.
            let encoder = if hardware.is_some() && !there { Encoder::X264 } else { settings.encoder };
            let settings = &TranscodeSettings { encoder, encoder_threads, ..settings.clone() };
            let mut options = encoder_options(settings, profile, EncoderInput { fps: rate, may_reorder });
            if settings.encoder == Encoder::X264 && profile.encoder == VideoCodec::H264 && !settings.low_latency {
                let ahead = match settings.lookahead_frames() {
                    _ if !is_largest => 0,
                    DEEP.. => SYNC_LOOKAHEAD_DEEP,
                    _ => SYNC_LOOKAHEAD,
                };
                add_x264_params(&mut options, &format!("sync-lookahead={ahead}"));
            }
            plans.push(LanePlan {
                rendition: index,
                gives_way: !is_largest && !settings.low_latency,
                footprint: footprint(settings, *size),
                profile: profile.clone(),
                encoder: Plan {
                    encoder: settings.encoder,
                    codec: profile.encoder,
                    width: size.0,
                    height: size.1,
                    fps: rate,
                    look: Look::of(first),
                    options,
                },
            });
        }
        (Self { rungs, order, hardware, exact: settings.deterministic }, plans)
    }

    /// Shows frames in every rendition until [`None`], which is their end; the last is shown for `step` ticks.
    pub(super) fn run(
        mut self,
        frames: Receiver<Option<frame::Video>>,
        step: i64,
        closing: Closing,
    ) -> Result<(), MediaError> {
        self.show_all(&frames, step, closing.queues())?;
        closing.complete();
        Ok(())
    }

    fn show_all(
        &mut self,
        frames: &Receiver<Option<frame::Video>>,
        step: i64,
        queues: &Queues,
    ) -> Result<(), MediaError> {
        let new = if self.exact { Scaler::exact } else { Scaler::new };
        let scaler = |step: &Step| new(step.size.0, step.size.1).with_device(self.hardware, step.target);
        let mut scalers: Vec<_> = self.rungs.iter().map(scaler).collect();
        loop {
            match frames.recv() {
                Ok(Some(frame)) => self.show(frame, &mut scalers, queues)?,
                Ok(None) => return self.rungs.iter_mut().try_for_each(|rung| rung.rung.finish(step, queues)),
                Err(_) => return Err(MediaError::Abandoned),
            }
        }
    }

    fn show(&mut self, frame: frame::Video, scalers: &mut [Scaler], queues: &Queues) -> Result<(), MediaError> {
        let pts = frame.pts().unwrap_or(0);
        let source = Arc::new(frame);
        for index in &self.order {
            let above = self.rungs[*index].above.and_then(|above| self.rungs[above].picture.clone());
            // What a device has scaled and handed over is not scaled again on the CPU.
            let above = above.filter(|above| is_on_device(above) == is_on_device(&source));
            let step = &mut self.rungs[*index];
            let picture = scalers[*index].scale(above.as_ref().unwrap_or(&source))?;
            step.picture = Some(picture.clone());
            step.rung.see(picture, pts, queues)?;
        }
        self.rungs.iter_mut().for_each(|step| step.picture = None);
        Ok(())
    }
}

/// Threads of an encoder: half as many again as are set, as libx264 itself takes one and a half for each core. With fewer it comes closer
/// to its rate, and makes more bits. With low latency they are slices, which cost bits: there the largest alone has more than one.
fn encoder_threads(settings: &TranscodeSettings, is_largest: bool) -> u32 {
    let threads = settings.encoder_threads;
    match (settings.deterministic, settings.low_latency, is_largest) {
        (true, ..) | (_, true, false) => 1,
        (_, true, true) => threads,
        _ => threads.saturating_add(threads / 2),
    }
}

fn pixels((width, height): (u32, u32)) -> u64 {
    u64::from(width) * u64::from(height)
}

/// What a lane takes: an encoder keeps the frames it looks ahead over, each with its planes halved and its motion.
fn footprint(settings: &TranscodeSettings, size: (u32, u32)) -> Footprint {
    let pixels = usize::try_from(pixels(size)).unwrap_or(usize::MAX);
    let lookahead = settings.lookahead_frames();
    let kept = lookahead + FRAMES_BESIDE_LOOKAHEAD;
    let threads = match usize::try_from(settings.encoder_threads).unwrap_or(usize::MAX) {
        // libx264 itself takes one and a half for each core.
        0 => thread::available_parallelism().map_or(1, NonZero::get).saturating_mul(3) / 2,
        threads => threads,
    };
    Footprint {
        encoder: pixels.saturating_mul(kept * 37) / 10,
        threads,
        lookahead,
        frame: pixels.saturating_mul(3) / 2,
    }
}

/// The smallest rung from which one of this size is scaled.
fn above(sizes: &[(u32, u32)], (width, height): (u32, u32)) -> Option<usize> {
    let large = |size: &(u32, u32)| size.0 >= LEAST_STEP * width && size.1 >= LEAST_STEP * height;
    let candidates = sizes.iter().enumerate().filter(|(_, size)| large(size));
    candidates.min_by_key(|(_, size)| pixels(**size)).map(|(index, _)| index)
}

/// A rate asked for that the source should already have is no conversion.
fn same_rate(one: FrameRate, other: FrameRate) -> bool {
    (one.frame_ticks() - other.frame_ticks()).abs() <= 1
}

#[cfg(test)]
mod tests {
    use ffmpeg_next::format::Pixel;

    use super::*;
    use crate::benchmark::benchmark_ladder;

    #[test]
    fn threads_are_more_than_cores_and_bytes_that_must_not_differ_have_one() {
        let threads = |deterministic, low_latency, encoder_threads| {
            let settings =
                TranscodeSettings { deterministic, low_latency, encoder_threads, ..TranscodeSettings::default() };
            [true, false].map(|is_largest| super::encoder_threads(&settings, is_largest))
        };
        assert_eq!([0, 1, 2, 4].map(|each| threads(false, false, each)), [[0, 0], [1, 1], [3, 3], [6, 6]]);
        assert_eq!((threads(false, true, 2), threads(true, false, 2)), ([2, 1], [1, 1]));
    }

    #[test]
    fn all_give_way_to_the_largest_which_decides_on_frames_in_a_thread_of_its_own() {
        let source = frame::Video::new(Pixel::YUV420P, 1280, 720);
        let plans = |preset: &str, low_latency| {
            let settings = TranscodeSettings { preset: preset.into(), low_latency, ..TranscodeSettings::default() };
            let (_, plans) = Ladder::new(&benchmark_ladder(), &settings, None, &source, FrameRate::new(25, 1));
            plans.iter().map(|plan| (plan.gives_way, sync_lookahead(plan))).collect::<Vec<_>>()
        };
        assert_eq!(plans("veryfast", false), [(false, 2), (true, 0), (true, 0)]);
        assert_eq!(plans("medium", false), [(false, 1), (true, 0), (true, 0)]);
        assert_eq!(plans("medium", true), [(false, 0); 3]);
    }

    /// Of what libx264 is told, the last counts.
    fn sync_lookahead(plan: &LanePlan) -> u32 {
        let options = plan.encoder.options.iter().flat_map(|(_, value)| value.split(':'));
        options.rev().find_map(|option| option.strip_prefix("sync-lookahead=")).unwrap().parse().unwrap()
    }

    #[test]
    fn rungs_are_made_of_the_smallest_that_has_twice_their_sides() {
        let sizes = [(1280, 720), (854, 480), (640, 360), (426, 240), (146, 82)];
        let above: Vec<_> = sizes.iter().map(|size| above(&sizes, *size)).collect();
        assert_eq!(above, [None, None, Some(0), Some(1), Some(3)]);
    }
}
