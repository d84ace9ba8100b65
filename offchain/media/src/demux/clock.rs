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

/// Puts packets of one stream on a time line: 33-bit wrap undone, missing times filled in, decode times strictly rising.
#[derive(Debug)]
pub(crate) struct Clock {
    time_base: Rational,
    last_dts: Option<i64>,
    next: i64,
}

impl Clock {
    const WRAP: i64 = 1 << 33;

    pub(crate) fn new(time_base: Rational) -> Self {
        Self { time_base, last_dts: None, next: 0 }
    }

    pub(crate) fn set(&mut self, packet: &mut Packet) {
        packet.rescale_ts(self.time_base, TICKS);
        let (pts, dts) = (sane(packet.pts()), sane(packet.dts()));
        let pts = self.unwrap(pts.or(dts).unwrap_or(self.next));
        let mut dts = dts.map_or(pts, |dts| self.unwrap(dts)).min(pts);
        if let Some(last) = self.last_dts {
            dts = dts.max(last + 1);
        }
        packet.set_pts(Some(pts.max(dts)));
        packet.set_dts(Some(dts));
        packet.set_position(usize::MAX as isize);
        self.last_dts = Some(dts);
        self.next = (dts + packet.duration().clamp(1, FARTHEST)).min(FARTHEST);
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
            clock.set(&mut packet);
            span.add(&packet);
            times.push((packet.dts().unwrap_or(0), packet.pts().unwrap_or(0)));
        }
        assert_eq!(times[0], (3600, 7200));
        assert!(times.windows(2).all(|pair| pair[0].0 < pair[1].0), "{times:?}");
        assert!(times.iter().all(|(dts, pts)| dts <= pts && *pts <= 2 * FARTHEST), "{times:?}");
        assert_eq!(span.rate(), FrameRate::new(25, 1));
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
