//! How far a rendition's pictures are from its source's: PSNR and SSIM of all frames, as ffmpeg's filters of these
//! names measure them.
mod plane;

use std::{iter::Map, vec::IntoIter};

use bytes::Bytes;
use ffmpeg_next::{Packet, frame};
use plane::{Figures, Plane};
use serde::{Deserialize, Serialize};

use crate::{
    MediaError, compare,
    decode::Frames,
    demux::{self, Segment},
    rate::FrameRate,
    scale::Scaler,
};

/// Ticks by which containers that count in other units may misplace a frame.
const ROUNDING: i64 = 2;
/// Planes of a picture: luma and two of chroma.
const PLANES: usize = 3;

/// One figure for each plane of a picture, and for all of them by their pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Planes {
    /// Luma.
    pub y: f64,
    /// Chroma, blue.
    pub u: f64,
    /// Chroma, red.
    pub v: f64,
    /// All planes, each by its part of the pixels.
    pub all: f64,
}

impl Planes {
    fn map(self, figure: impl Fn(f64) -> f64) -> Self {
        Self { y: figure(self.y), u: figure(self.u), v: figure(self.v), all: figure(self.all) }
    }

    fn add(&mut self, other: Self) {
        self.y += other.y;
        self.u += other.u;
        self.v += other.v;
        self.all += other.all;
    }
}

/// The quality of a rendition, all its frames on average.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Frames compared.
    pub frames: u64,
    /// Mean squared error, in squared levels of 256.
    pub mse: Planes,
    /// Structural similarity, 1 for equal pictures (Wang et al. 2004; windows of 8 x 8 at steps of 4).
    pub ssim: Planes,
}

impl Quality {
    /// Peak signal-to-noise ratio of the mean errors, in decibels; infinite for equal pictures.
    pub fn psnr(&self) -> Planes {
        self.mse.map(|mse| 10.0 * (255.0 * 255.0 / mse).log10())
    }
}

/// Measures each frame of a rendition against the frame of the reference that it shows, in this process. The reference
/// is scaled to the rendition's size by the exact bicubic scaler, so that the figures are the same on every machine.
///
/// # Errors
/// Those of reading either segment; [`MediaError::NoFrames`] also where no two frames are of the same time.
pub fn quality(reference: &Bytes, rendition: &Bytes) -> Result<Quality, MediaError> {
    let (reference, rendition) = (demux::segment(reference)?, demux::segment(rendition)?);
    let reach = reach(&rendition.video.packets, rendition.fps);
    let shift = compare::clock_shift(
        (reference.start_pts, reference.fps.frame_ticks()),
        (rendition.start_pts, rendition.fps.frame_ticks()),
    );
    let to_reference = reference.start_pts + shift - rendition.start_pts;
    let mut shown = Shown::new(reference);
    let mut measured = Quality { frames: 0, mse: Planes::default(), ssim: Planes::default() };
    // Makes 8 bits and 4:2:0 of what is neither.
    let mut plain = Scaler::exact(0, 0);
    let mut frames = decoded(rendition);
    while let Some(frame) = frames.next_frame()? {
        let time = frame.pts().unwrap_or(0) + to_reference;
        let size = (frame.width(), frame.height());
        if let Some(reference) = shown.before(time + reach, size)? {
            if !plain.makes(size.0, size.1) {
                plain = Scaler::exact(size.0, size.1);
            }
            let (mse, ssim) = measure(reference, &plain.copy(&frame)?);
            measured.frames += 1;
            measured.mse.add(mse);
            measured.ssim.add(ssim);
        }
    }
    if measured.frames == 0 {
        return Err(MediaError::NoFrames);
    }
    let mean = |sum: f64| sum / measured.frames as f64;
    Ok(Quality { frames: measured.frames, mse: measured.mse.map(mean), ssim: measured.ssim.map(mean) })
}

/// The frames of a segment that is there, all of it.
type Decoded = Frames<Map<IntoIter<Packet>, fn(Packet) -> Result<Packet, MediaError>>>;

fn decoded(segment: Segment) -> Decoded {
    let packets = segment.video.packets.into_iter().map(Ok as fn(_) -> _);
    Frames::new(segment.video_decoder, packets, segment.fps, segment.turn)
}

/// How long after a frame's time the frame that it shows may begin, in ticks: never this long or longer.
///
/// Frames at even times may come of a conversion, which shows what begins within half a frame of its own
/// ([`crate::rate::Grid`]). Frames at uneven times were passed through, and have the times of what they show.
fn reach(packets: &[Packet], fps: FrameRate) -> i64 {
    let mut times: Vec<i64> = packets.iter().filter_map(Packet::pts).collect();
    times.sort_unstable();
    let gaps = || times.windows(2).map(|pair| pair[1] - pair[0]);
    let (least, most) = (gaps().min().unwrap_or(0), gaps().max().unwrap_or(0));
    if most - least <= ROUNDING { (fps.frame_ticks() + 1) / 2 } else { ROUNDING }
}

/// The reference, which is read as far as it was asked for.
struct Shown {
    frames: Decoded,
    current: Option<frame::Video>,
    next: Option<frame::Video>,
    /// `current` in the size of the rendition.
    scaled: Option<frame::Video>,
    scaler: Scaler,
}

impl Shown {
    fn new(reference: Segment) -> Self {
        Self { frames: decoded(reference), current: None, next: None, scaled: None, scaler: Scaler::exact(0, 0) }
    }

    /// The last frame that begins before `end`, in that size.
    fn before(&mut self, end: i64, (width, height): (u32, u32)) -> Result<Option<&frame::Video>, MediaError> {
        loop {
            if self.next.is_none() {
                self.next = self.frames.next_frame()?;
            }
            match self.next.take_if(|next| next.pts().unwrap_or(0) < end) {
                Some(next) => (self.current, self.scaled) = (Some(next), None),
                None => break,
            }
        }
        if !self.scaler.makes(width, height) {
            (self.scaler, self.scaled) = (Scaler::exact(width, height), None);
        }
        if let (Some(current), None) = (&self.current, &self.scaled) {
            self.scaled = Some(self.scaler.copy(current)?);
        }
        Ok(self.scaled.as_ref())
    }
}

/// Mean squared error and structural similarity of two pictures of one size.
fn measure(reference: &frame::Video, rendition: &frame::Video) -> (Planes, Planes) {
    let of = |index| plane::figures(Plane::of(reference, index), Plane::of(rendition, index));
    let planes: [Figures; PLANES] = std::array::from_fn(of);
    let pixels: u64 = planes.iter().map(|plane| plane.pixels).sum();
    let all = |figure: fn(&Figures) -> f64| {
        let [y, u, v] = std::array::from_fn(|index| figure(&planes[index]));
        let weighed = planes.iter().map(|plane| figure(plane) * plane.pixels as f64).sum::<f64>();
        Planes { y, u, v, all: weighed / pixels as f64 }
    };
    (all(Figures::mse), all(|plane| plane.ssim))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach_of(times: &[i64], fps: FrameRate) -> i64 {
        let packets = times.iter().map(|time| {
            let mut packet = Packet::copy(&[0]);
            packet.set_pts(Some(*time));
            packet
        });
        reach(&packets.collect::<Vec<_>>(), fps)
    }

    #[test]
    fn a_conversion_reaches_half_a_frame_ahead_and_what_was_passed_through_a_rounding() {
        assert_eq!(reach_of(&[7200, 0, 14_400], FrameRate::new(25, 2)), 3600);
        assert_eq!(reach_of(&[0, 3003, 6007, 9010], FrameRate::new(30_000, 1001)), 1502);
        assert_eq!(reach_of(&[0, 3600, 10_800, 90_000], FrameRate::new(3, 1)), ROUNDING);
        assert_eq!(reach_of(&[5], FrameRate::new(25, 1)), 1800);
    }
}
