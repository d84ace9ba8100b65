//! How like its source a rendition is: figures from frames that its maker could not foresee (docs/designs/028-verification.md).
//!
//! Both are decoded once, one frame at a time. Every frame leaves a thumbnail, which tells black, frozen and foreign pictures;
//! a few frames drawn by the caller's seed are compared in full size, which tells lost detail.
mod picture;
mod timeline;

use std::{collections::HashSet, rc::Rc};

use bytes::Bytes;
use ffmpeg_next::{Packet, frame};
use picture::{Crop, Reader, Scores, Thumb};
use serde::{Deserialize, Serialize};
use timeline::Timeline;

use crate::{
    Inspection, MAX_RENDITIONS, MediaError,
    decode::Frames,
    demux::{self, Segment},
    inspect::describe,
};

/// Most frames of one rendition compared in full size.
pub const MAX_COMPARED_FRAMES: u32 = 32;
/// A packet below this size may be equal by chance: a frame that only says "as before".
const TELLING_PACKET_BYTES: usize = 64;

/// Frames of the source that one drawn may be away from.
const MOST_APART: i64 = 6;

/// Which frames are looked at in full size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sampling {
    /// Drawn anew for each comparison, by whoever wants to know; nobody else can tell which frames it means.
    pub seed: u64,
    /// Frames of each rendition; at most [`MAX_COMPARED_FRAMES`] are taken.
    pub frames: u32,
}

/// What the comparison of one rendition with its source showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Of the rendition, as [`crate::inspect`] has it.
    pub inspection: Inspection,
    /// Frames compared in full size; 0 when no frame of the source is shown at the same time.
    pub compared: u32,
    /// Peak signal-to-noise ratio of their luma, decibels, at most 99: all of them as one picture.
    pub psnr: f64,
    /// Structural similarity of their luma, windows of 8 x 8, on average.
    pub ssim: f64,
    /// Part of the source's finest detail that the rendition has too, 0 to about 1. `None` where the source has none.
    pub detail: Option<f64>,
    /// Moments at which thumbnails were compared.
    pub steps: u32,
    /// Of these, such whose picture differs from the source's.
    pub foreign: u32,
    /// Of these, such where the source shows something.
    pub textured: u32,
    /// Of the textured ones, such where the rendition shows one colour.
    pub flat: u32,
    /// Of the flat ones, such where that colour is black.
    pub black: u32,
    /// Steps in which the source moves.
    pub moving: u32,
    /// Of the moving ones, such in which the rendition does not.
    pub frozen: u32,
    /// Bytes of coded pictures that are the source's own, of a thousand.
    pub copied_permille: u32,
}

/// Compares renditions with the segment that they were made of, in this process. An error in one rendition is its own.
pub fn compare(
    source: &Bytes,
    renditions: &[Bytes],
    sampling: Sampling,
) -> Result<Vec<Result<Comparison, MediaError>>, MediaError> {
    if renditions.is_empty() || renditions.len() > MAX_RENDITIONS {
        return Err(MediaError::RenditionCount { count: renditions.len(), max: MAX_RENDITIONS });
    }
    let source = demux::segment(source)?;
    let own: HashSet<&[u8]> = telling(&source.video.packets).collect();
    let source_step = source.fps.frame_ticks();
    let mut looks: Vec<_> =
        renditions.iter().map(|bytes| Look::take(bytes, &own, (source.start_pts, source_step), sampling)).collect();
    drop(own);
    let Segment { video, video_decoder, fps, turn, duration, .. } = source;
    let mut timeline = Timeline::new(duration, source_step);
    let mut reader = Reader::default();
    let mut frames = Frames::new(video_decoder, video.packets.into_iter().map(Ok), fps, turn);
    let mut first = None;
    while let Some(frame) = frames.next_frame()? {
        let pts = frame.pts().unwrap_or(0);
        let time = pts - *first.get_or_insert(pts);
        let frame = reader.plain(frame)?;
        let thumb = Thumb::of(&frame);
        timeline.push(time, thumb);
        let frame = Rc::new(frame);
        for look in looks.iter_mut().flatten() {
            look.offer(time, &frame, &thumb)?;
        }
    }
    if first.is_none() {
        return Err(MediaError::NoFrames);
    }
    Ok(looks.into_iter().map(|look| look.and_then(|look| look.finish(&timeline))).collect())
}

/// How much later than its source a rendition begins, in ticks; of each, its start and its time from frame to frame.
/// Other muxers start from another time, which says nothing, but a frame or two are the frame rate's doing.
pub(crate) fn clock_shift(source: (i64, i64), rendition: (i64, i64)) -> i64 {
    let apart = rendition.0 - source.0;
    if apart.abs() <= 2 * source.1.max(rendition.1) { apart } else { 0 }
}

/// Coded pictures that no other encoder would make by chance.
fn telling(packets: &[Packet]) -> impl Iterator<Item = &[u8]> {
    packets.iter().filter_map(Packet::data).filter(|data| data.len() >= TELLING_PACKET_BYTES)
}

/// SplitMix64: spreads a seed, nothing more. What is unpredictable is the seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`, which counts as 1 when it is 0.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

/// One rendition, decoded: its thumbnails, and the frames drawn, which wait for those of the source.
struct Look {
    inspection: Inspection,
    copied_permille: u32,
    timeline: Timeline,
    samples: Vec<Sample>,
    /// How far in time a frame of the source may be and still be the one meant.
    tolerance: i64,
    scores: Scores,
    reader: Reader,
}

/// A frame of the rendition, and the frame of the source that is most like it so far.
struct Sample {
    time: i64,
    thumb: Thumb,
    crop: Crop,
    best: Option<(u32, Rc<frame::Video>)>,
}

impl Look {
    fn take(
        bytes: &Bytes,
        source: &HashSet<&[u8]>,
        (source_start, source_step): (i64, i64),
        sampling: Sampling,
    ) -> Result<Self, MediaError> {
        // The same for each, so that two renditions of one profile are judged by the same frames.
        let mut random = Random(sampling.seed);
        let segment = demux::segment(bytes)?;
        let mut info = describe(&segment);
        let Segment { video, video_decoder, fps, turn, duration, start_pts, damaged, .. } = segment;
        let (mut all, mut copied) = (0_u64, 0_u64);
        for data in telling(&video.packets) {
            all += data.len() as u64;
            copied += if source.contains(data) { data.len() as u64 } else { 0 };
        }
        let step = fps.frame_ticks();
        // A rendition names its own frame rate: it must not make us hold more frames of the source than these.
        let tolerance = (step.max(source_step) + step.min(source_step) / 2).min(MOST_APART * source_step);
        let shift = clock_shift((source_start, source_step), (start_pts, step));
        let mut due =
            draw(sampling.frames.min(MAX_COMPARED_FRAMES), duration - step, &mut random).into_iter().peekable();
        let mut timeline = Timeline::new(duration, step);
        let (mut samples, mut reader, mut first) = (Vec::new(), Reader::default(), None);
        let mut frames = Frames::new(video_decoder, video.packets.into_iter().map(Ok), fps, turn);
        while let Some(frame) = frames.next_frame()? {
            let pts = frame.pts().unwrap_or(0);
            if first.is_none() {
                info.begins_with(&frame);
            }
            let since = pts - *first.get_or_insert(pts);
            let frame = reader.plain(frame)?;
            let thumb = Thumb::of(&frame);
            timeline.push(since + shift, thumb);
            if due.next_if(|due| *due <= since).is_some() {
                while due.next_if(|due| *due <= since).is_some() {}
                let crop = Crop::of(&frame, random.next());
                samples.push(Sample { time: since + shift, thumb, crop, best: None });
            }
        }
        let totals = frames.totals();
        if totals.frames == 0 {
            return Err(MediaError::NoFrames);
        }
        let decode_errors = damaged + totals.errors;
        Ok(Self {
            inspection: Inspection { info, frames: totals.frames, pixels: totals.pixels, decode_errors },
            copied_permille: u32::try_from(copied * 1000 / all.max(1)).unwrap_or(1000),
            timeline,
            samples,
            tolerance,
            scores: Scores::default(),
            reader,
        })
    }

    /// Takes the next frame of the source.
    fn offer(&mut self, time: i64, frame: &Rc<frame::Video>, thumb: &Thumb) -> Result<(), MediaError> {
        while self.samples.first().is_some_and(|sample| sample.time + self.tolerance < time) {
            let sample = self.samples.remove(0);
            self.score(sample)?;
        }
        for sample in self.samples.iter_mut().take_while(|sample| sample.time - self.tolerance <= time) {
            let distance = sample.thumb.distance(thumb);
            if sample.best.as_ref().is_none_or(|(least, _)| distance < *least) {
                sample.best = Some((distance, frame.clone()));
            }
        }
        Ok(())
    }

    fn score(&mut self, sample: Sample) -> Result<(), MediaError> {
        let Some((_, source)) = sample.best else { return Ok(()) };
        let source = self.reader.sized(&source, sample.crop.size())?;
        self.scores.add(&sample.crop.same_of(&source), &sample.crop);
        Ok(())
    }

    fn finish(mut self, source: &Timeline) -> Result<Comparison, MediaError> {
        for sample in std::mem::take(&mut self.samples) {
            self.score(sample)?;
        }
        let counts = timeline::compare(source, &self.timeline);
        Ok(Comparison {
            inspection: self.inspection,
            compared: self.scores.frames(),
            psnr: self.scores.psnr(),
            ssim: self.scores.ssim(),
            detail: self.scores.detail(),
            steps: counts.steps,
            foreign: counts.foreign,
            textured: counts.textured,
            flat: counts.flat,
            black: counts.black,
            moving: counts.moving,
            frozen: counts.frozen,
            copied_permille: self.copied_permille,
        })
    }
}

/// Times up to `end`, one in each of `count` equal parts, ascending.
fn draw(count: u32, end: i64, random: &mut Random) -> Vec<i64> {
    let part = u64::try_from(end).unwrap_or(0) / u64::from(count.max(1));
    let drawn = (0..u64::from(count)).map(|index| index * part + random.below(part));
    drawn.map(|time| i64::try_from(time).unwrap_or(i64::MAX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_drawn_from_the_whole_segment_and_differ_with_the_seed() {
        let of = |seed| draw(6, 180_000, &mut Random(seed));
        let times = of(1);
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]) && times[5] < 180_000, "{times:?}");
        assert!((0..6).all(|index| times[index] / 30_000 == index as i64), "{times:?}");
        assert_ne!(of(1), of(2));
        assert_eq!(of(1), of(1));
        assert_eq!(draw(3, -5, &mut Random(1)), [0, 0, 0]);
    }
}
