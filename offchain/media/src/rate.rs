//! Frame rates and the conversion between them.
use std::fmt;

use serde::{Deserialize, Serialize};
use streamflow_types::Profile;

/// Ticks per second of every time stamp in this crate (MPEG-TS).
pub const TICKS_PER_SECOND: i64 = 90_000;

/// Frames per second as a ratio; both parts at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameRate {
    /// Numerator.
    pub num: u32,
    /// Denominator.
    pub den: u32,
}

impl FrameRate {
    /// `num / den`; a zero counts as 1.
    pub const fn new(num: u32, den: u32) -> Self {
        Self { num: if num == 0 { 1 } else { num }, den: if den == 0 { 1 } else { den } }
    }

    /// The rate a profile asks for; `None` keeps the source's.
    pub fn of_profile(profile: &Profile) -> Option<Self> {
        (profile.fps != 0).then(|| Self::new(profile.fps, profile.fps_den))
    }

    /// The rate of frames that last `ticks / frames` on average.
    pub(crate) fn from_spacing(ticks: i64, frames: u64) -> Option<Self> {
        let ticks = u128::try_from(ticks).ok().filter(|ticks| *ticks > 0)?;
        let (frames, second) = (u128::from(frames), u128::from(TICKS_PER_SECOND.unsigned_abs()));
        for (num, den) in [(24, 1), (25, 1), (30, 1), (50, 1), (60, 1), (24_000, 1001), (30_000, 1001), (60_000, 1001)]
        {
            // Time stamps are rounded to ticks: a standard rate within 1/2000 is meant.
            let (asked, found) = (ticks * num, frames * second * den);
            if asked.abs_diff(found) * 2000 < found {
                return Some(Self::new(u32::try_from(num).ok()?, u32::try_from(den).ok()?));
            }
        }
        Some(Self::new(u32::try_from(TICKS_PER_SECOND).ok()?, u32::try_from(ticks / frames.max(1)).ok()?))
    }

    /// Duration of one frame in ticks, rounded, at least 1.
    pub fn frame_ticks(self) -> i64 {
        ((TICKS_PER_SECOND * i64::from(self.den) + i64::from(self.num) / 2) / i64::from(self.num)).max(1)
    }

    /// Whole frames in `ms`, rounded to the nearest.
    pub(crate) fn frames_in_millis(self, ms: u64) -> u64 {
        let den = u128::from(self.den) * 1000;
        u64::try_from((u128::from(ms) * u128::from(self.num) + den / 2) / den).unwrap_or(u64::MAX)
    }

    /// Time of the `index`th frame of a grid that starts at 0, in ticks.
    pub(crate) fn grid_ticks(self, index: i64) -> i64 {
        let ticks = i128::from(index) * i128::from(TICKS_PER_SECOND) * i128::from(self.den);
        div_round(ticks, i128::from(self.num))
    }

    /// The frame of that grid nearest to a time.
    fn grid_index(self, ticks: i64) -> i64 {
        let scaled = i128::from(ticks) * i128::from(self.num);
        div_round(scaled, i128::from(TICKS_PER_SECOND) * i128::from(self.den))
    }

    /// Frames per second, for display and playlists only.
    pub fn as_f64(self) -> f64 {
        f64::from(self.num) / f64::from(self.den)
    }
}

impl fmt::Display for FrameRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.num, self.den)
    }
}

fn div_round(value: i128, by: i128) -> i64 {
    let rounded = (value + by / 2).div_euclid(by);
    i64::try_from(rounded).unwrap_or(if rounded < 0 { i64::MIN } else { i64::MAX })
}

/// The output times that one input frame fills.
///
/// A grid anchored at time 0, so that segments converted apart continue each other: a frame fills the grid points from
/// its own up to that of the frame after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid(pub(crate) FrameRate);

impl Grid {
    /// Times in ticks for a frame shown from `from` until `until`.
    pub(crate) fn times(self, from: i64, until: i64) -> impl Iterator<Item = i64> {
        (self.0.grid_index(from)..self.0.grid_index(until)).map(move |index| self.0.grid_ticks(index))
    }
}

/// The output times of frames that should come at this rate already: even steps from the first frame on.
///
/// Frames that come evenly keep their times exactly; what is missing between two is filled with the earlier one, and a frame
/// that comes too early is left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Even {
    rate: FrameRate,
    /// Time of the first frame, in ticks, and the step that was filled last.
    begun: Option<(i64, i64)>,
}

impl Even {
    pub(crate) fn new(rate: FrameRate) -> Self {
        Self { rate, begun: None }
    }

    /// Times in ticks that are filled now that a frame is shown from `from`: the last one is its own.
    pub(crate) fn times(&mut self, from: i64) -> impl DoubleEndedIterator<Item = i64> + use<> {
        let (first, filled) = self.begun.unwrap_or((from, -1));
        let step = self.rate.grid_index(from - first);
        self.begun = Some((first, step.max(filled)));
        let rate = self.rate;
        (filled + 1..=step).map(move |step| first + rate.grid_ticks(step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spacing_snaps_to_standard_rates() {
        assert_eq!(FrameRate::from_spacing(3600 * 49, 49), Some(FrameRate::new(25, 1)));
        assert_eq!(FrameRate::from_spacing(3003 * 59, 59), Some(FrameRate::new(30_000, 1001)));
        assert_eq!(FrameRate::from_spacing(3754, 1), Some(FrameRate::new(24_000, 1001)));
        assert_eq!(FrameRate::from_spacing(6000 * 10, 10), Some(FrameRate::new(90_000, 6000)));
        assert_eq!(FrameRate::from_spacing(0, 1), None);
    }

    #[test]
    fn halving_the_rate_keeps_every_second_frame() {
        let grid = Grid(FrameRate::new(25, 2));
        let kept: Vec<_> = (0..10).flat_map(|i| grid.times(126_000 + i * 3600, 126_000 + (i + 1) * 3600)).collect();
        assert_eq!(kept.len(), 5);
        assert!(kept.windows(2).all(|pair| pair[1] - pair[0] == 7200));
    }

    #[test]
    fn even_frames_stay_where_they_are_and_gaps_are_filled() {
        let mut even = Even::new(FrameRate::new(30_000, 1001));
        let mut times = |from: i64| even.times(from).collect::<Vec<_>>();
        assert_eq!([times(128_090), times(131_093)], [vec![128_090], vec![131_093]]);
        // Two are missing, and one comes twice.
        assert_eq!(times(140_102), [134_096, 137_099, 140_102]);
        assert!(times(140_200).is_empty());
        assert_eq!(times(143_000), [143_105], "a little early");
    }

    #[test]
    fn segments_converted_apart_continue_each_other() {
        let (grid, step) = (Grid(FrameRate::new(30, 1)), 3600);
        let whole: Vec<_> = (0..100).flat_map(|i| grid.times(i * step, (i + 1) * step)).collect();
        assert_eq!(whole.len(), 120);
        assert!(whole.windows(2).all(|pair| pair[1] - pair[0] == 3000));
    }
}
