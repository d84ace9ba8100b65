//! Times of packets: one line of ticks, whatever the container counts in.
use ffmpeg_next::{Packet, Rational};

use super::{FALLBACK_RATE, TICKS};
use crate::rate::{FrameRate, TICKS_PER_SECOND};

/// Largest time taken for one, in ticks: twenty-five thousand years. Sums and differences of such times stay within 64 bits.
const FARTHEST: i64 = 1 << 56;
/// Rates that a stream may claim for itself; beyond them its pictures are measured.
const TOLD_RATES: std::ops::RangeInclusive<i64> = TICKS_PER_SECOND / 240..=TICKS_PER_SECOND;

/// A time, unless no clock shows it: MP4 can say any 64-bit number.
pub(crate) fn sane(ticks: Option<i64>) -> Option<i64> {
    ticks.filter(|ticks| (-FARTHEST..=FARTHEST).contains(ticks))
}

/// Decode times that jump back by more than this, or ahead by more than [`JUMP_AHEAD`], are those of a clock that was set.
pub(crate) const JUMP_BACK: i64 = TICKS_PER_SECOND;
/// Less is a pause.
pub(crate) const JUMP_AHEAD: i64 = 30 * TICKS_PER_SECOND;

/// Puts packets of one stream on a time line: 33-bit wrap undone, jumps of the clock closed, missing times filled in, decode
/// times strictly rising. The times of showing are left as they are, even where they come before those of decoding.
#[derive(Debug)]
pub(crate) struct Clock {
    time_base: Rational,
    last_dts: Option<i64>,
    next: i64,
    shift: i64,
}

impl Clock {
    const WRAP: i64 = 1 << 33;

    pub(crate) fn new(time_base: Rational) -> Self {
        Self { time_base, last_dts: None, next: 0, shift: 0 }
    }

    /// What is added to the times of packets since the clock was set, in ticks.
    pub(crate) fn shift(&self) -> i64 {
        self.shift
    }

    /// `other` is the shift of the stream beside this one: where it fits, both go on together. `lasts` is for packets that do
    /// not say how long they last.
    pub(crate) fn set(&mut self, packet: &mut Packet, other: i64, lasts: Option<i64>) {
        packet.rescale_ts(self.time_base, TICKS);
        let (pts, dts) = (sane(packet.pts()), sane(packet.dts()));
        if let Some(told) = dts.or(pts) {
            self.follow(told, other);
        }
        let at = |told: i64| self.unwrap(told + self.shift);
        let (pts, dts) = (pts.map(at), dts.map(at));
        // A time of showing far from that of decoding is none.
        let near = |pts: &i64| dts.is_none_or(|dts| (dts - JUMP_BACK..=dts + JUMP_AHEAD).contains(pts));
        let shown = pts.filter(near).or(dts).unwrap_or(self.next);
        let decoded = dts.map_or(shown, |dts| dts.min(shown));
        let decoded = match self.last_dts {
            // Shown later than pictures decoded after it, perhaps.
            Some(last) if dts.is_none() && pts.is_some() => last + 1,
            Some(last) => decoded.max(last + 1),
            None => decoded,
        };
        packet.set_pts(Some(shown));
        packet.set_dts(Some(decoded));
        packet.set_position(usize::MAX as isize);
        self.last_dts = Some(decoded);
        if packet.duration() <= 0 {
            packet.set_duration(lasts.unwrap_or(0));
        }
        self.next = (decoded + packet.duration().clamp(1, FARTHEST)).min(FARTHEST);
    }

    /// Finds the shift with which the packet told for this time comes after the one before it.
    fn follow(&mut self, told: i64, other: i64) {
        let Some(last) = self.last_dts else {
            self.shift = other;
            return;
        };
        let fits = |shift| {
            let time = self.unwrap(told + shift);
            (last - JUMP_BACK..=self.next + JUMP_AHEAD).contains(&time)
        };
        if fits(self.shift) {
            return;
        }
        self.shift = if fits(other) { other } else { self.next - told };
    }

    /// The time nearest to the one before it, of those that 33 bits cannot tell apart.
    fn unwrap(&self, ticks: i64) -> i64 {
        match self.last_dts {
            Some(last) if ticks < last - Self::WRAP / 2 => {
                ticks + (last - ticks + Self::WRAP / 2) / Self::WRAP * Self::WRAP
            }
            _ => ticks,
        }
    }
}

/// The rate a packet of that duration claims for its stream, if it is one that streams have: some call the ticks of their clock
/// pictures.
pub(super) fn told_rate(duration: i64) -> Option<FrameRate> {
    TOLD_RATES.contains(&duration).then(|| FrameRate::from_spacing(duration, 1)).flatten()
}

/// The rate of pictures that are decoded at these times: unlike the times they are shown at, they come in order.
pub(super) fn measured_rate(decoded: &[i64]) -> Option<FrameRate> {
    let (first, last) = (decoded.first()?, decoded.last()?);
    let gaps = decoded.len() as u64 - 1;
    (gaps > 0).then(|| FrameRate::from_spacing(last - first, gaps)).flatten()
}

/// What the shown times of a stream say so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    /// When the first and the last picture are shown, in ticks.
    shown: Option<(i64, i64)>,
    pictures: u64,
    /// Duration of the first packet, in ticks.
    told: i64,
}

impl Span {
    pub(crate) fn add(&mut self, packet: &Packet) {
        let Some(pts) = packet.pts() else { return };
        if self.pictures == 0 {
            self.told = packet.duration();
        }
        let (first, last) = self.shown.unwrap_or((pts, pts));
        self.shown = Some((first.min(pts), last.max(pts)));
        self.pictures += 1;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pictures == 0
    }

    /// When the first picture is shown, in ticks.
    pub(crate) fn first(&self) -> i64 {
        self.shown.map_or(0, |(first, _)| first)
    }

    /// Measured over all pictures; where there is only one, what it says.
    pub(crate) fn rate(&self) -> FrameRate {
        let (first, last) = self.shown.unwrap_or_default();
        let gaps = self.pictures.saturating_sub(1);
        let measured = if gaps > 0 { FrameRate::from_spacing(last - first, gaps) } else { None };
        measured.or_else(|| FrameRate::from_spacing(self.told, 1)).unwrap_or(FALLBACK_RATE)
    }

    /// From the first picture to the end of the last, in ticks.
    pub(crate) fn ticks(&self) -> i64 {
        let (first, last) = self.shown.unwrap_or_default();
        last - first + self.rate().frame_ticks()
    }

    pub(crate) fn millis(&self) -> u64 {
        u64::try_from(self.ticks() / (TICKS_PER_SECOND / 1000)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(pts: i64, dts: i64, duration: i64) -> Packet {
        let mut packet = Packet::copy(&[0]);
        packet.set_pts(Some(pts));
        packet.set_dts(Some(dts));
        packet.set_duration(duration);
        packet
    }

    #[test]
    fn times_that_no_clock_shows_count_as_missing() {
        let (mut clock, mut span) = (Clock::new(TICKS), Span::default());
        let mut times = Vec::new();
        for (pts, dts, duration) in [
            (7200, 3600, 3600),
            (i64::MAX - 1, i64::MIN + 1, i64::MAX),
            (i64::MIN + 1, i64::MAX - 1, i64::MIN),
            (-FARTHEST, -FARTHEST, 3600),
            (FARTHEST, FARTHEST, i64::MAX),
            (i64::MAX, i64::MAX, 0),
        ] {
            let mut packet = packet(pts, dts, duration);
            clock.set(&mut packet, 0, None);
            span.add(&packet);
            times.push((packet.dts().unwrap_or(0), packet.pts().unwrap_or(0)));
        }
        assert_eq!(times[0], (3600, 7200));
        assert!(times.windows(2).all(|pair| pair[0].0 < pair[1].0), "{times:?}");
        assert!(times.iter().all(|(dts, pts)| (pts - dts).abs() <= JUMP_AHEAD && *pts <= 2 * FARTHEST), "{times:?}");
        assert_eq!(span.rate(), FrameRate::new(25, 1));
    }

    #[test]
    fn streams_that_jump_together_stay_together() {
        let mut clocks = [Clock::new(TICKS), Clock::new(TICKS)];
        let mut set = |stream: usize, dts: i64| {
            let other = clocks[1 - stream].shift();
            let mut packet = packet(dts, dts, 3600);
            clocks[stream].set(&mut packet, other, None);
            packet.dts()
        };
        let before = [set(0, 0), set(1, 1000), set(0, 3600), set(1, 4600)];
        assert_eq!(before, [Some(0), Some(1000), Some(3600), Some(4600)]);
        let hour = 3600 * TICKS_PER_SECOND;
        // The first that jumps goes on at its step, and the other keeps its distance.
        let after = [set(0, hour + 7500), set(1, hour + 8500), set(0, hour + 11_100)];
        assert_eq!(after, [Some(7200), Some(8200), Some(10_800)]);
        assert_eq!((set(0, 14_400), set(1, 15_400)), (Some(14_400), Some(15_400)), "and back");
    }

    #[test]
    fn a_claim_no_stream_can_make_is_not_believed() {
        assert_eq!(told_rate(3600), Some(FrameRate::new(25, 1)));
        assert_eq!(told_rate(2), None, "the ticks of a clock are not pictures");
        assert_eq!(told_rate(0), None);
        assert_eq!(measured_rate(&[0, 3003, 6006]), Some(FrameRate::new(30_000, 1001)));
        assert_eq!(measured_rate(&[7]), None);
    }
}
