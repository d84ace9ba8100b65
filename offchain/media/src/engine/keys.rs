//! Which frames of a rendition are key frames.
use streamflow_types::Gop;

use crate::rate::TICKS_PER_SECOND;

/// Decides which frames must be key frames: the first one, then one per period by time.
#[derive(Debug)]
pub(super) struct KeyClock {
    period: Option<i64>,
    next: Option<i64>,
}

impl KeyClock {
    pub(super) fn new(gop: Gop) -> Self {
        let period = match gop {
            Gop::Millis(ms) => Some(i64::from(ms.max(1)) * TICKS_PER_SECOND / 1000),
            Gop::EncoderDefault | Gop::IntraOnly => None,
        };
        Self { period, next: None }
    }

    pub(super) fn is_key(&mut self, pts: i64) -> bool {
        let Some(next) = self.next else {
            self.next = Some(self.period.map_or(i64::MAX, |period| pts + period));
            return true;
        };
        let due = pts >= next;
        if let (true, Some(period)) = (due, self.period) {
            self.next = Some(next + ((pts - next) / period + 1) * period);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_frames_follow_the_clock_not_the_count() {
        let mut keys = KeyClock::new(Gop::Millis(1000));
        let due: Vec<_> = (0..60).filter(|i| keys.is_key(1234 + i * 3600)).collect();
        assert_eq!(due, [0, 25, 50]);
        assert!(keys.is_key(1234 + 1000 * 3600), "a gap asks for one key frame");
        assert!(!keys.is_key(1234 + 1001 * 3600));
    }

    #[test]
    fn only_the_first_frame_is_forced_without_a_period() {
        let mut keys = KeyClock::new(Gop::EncoderDefault);
        assert_eq!((0..1000).filter(|i| keys.is_key(i * 3600)).count(), 1);
    }
}
