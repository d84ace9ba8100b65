//! How long segments take, seen from their tail.
use std::time::Duration;

/// Times that half, 19 of 20 and 99 of 100 segments stay within.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// Half.
    pub p50: Duration,
    /// 95 of 100.
    pub p95: Duration,
    /// 99 of 100.
    pub p99: Duration,
}

impl Spread {
    /// Of no times at all, zeros.
    pub fn of(times: &[Duration]) -> Self {
        let mut times = times.to_vec();
        times.sort();
        let within = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100);
            times.get(rank.saturating_sub(1)).copied().unwrap_or_default()
        };
        Self { p50: within(50), p95: within(95), p99: within(99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_time_that_was_seen() {
        let ms = |times: std::ops::RangeInclusive<u64>| times.map(Duration::from_millis).collect::<Vec<_>>();
        let of = |times: &[Duration]| {
            let Spread { p50, p95, p99 } = Spread::of(times);
            [p50, p95, p99].map(|time| time.as_millis())
        };
        assert_eq!(of(&ms(1..=200)), [100, 190, 198]);
        assert_eq!(of(&ms(1..=3)), [2, 3, 3]);
        assert_eq!(of(&[]), [0, 0, 0]);
    }
}
