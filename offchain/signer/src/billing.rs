//! What a request is billed for (payments.md §2.5).
use std::time::Duration;

/// Pixels of a second of 1280×720 at 30 frames.
const LIVE_VIDEO_RATE: u128 = 1280 * 720 * 30;
/// Seconds paid ahead by the first request of live video.
const LIVE_VIDEO_START: Duration = Duration::from_secs(60);
/// Seconds paid ahead by the first request of a job by the second.
const LIVE_START: u64 = 10;

/// What the units of a price are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobType {
    /// Seconds.
    Live,
    /// Pixels at the rate of live video, by time.
    LiveVideo,
    /// One piece of work.
    Fixed,
    /// Pixels that the request counts.
    Pixels,
}

/// Why nothing can be billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BillingError {
    #[error("invalid job type")]
    JobType,
    #[error("missing billable unit or job type")]
    NoUnits,
}

impl JobType {
    pub(crate) fn parse(name: &str) -> Result<Self, BillingError> {
        [Self::Live, Self::LiveVideo, Self::Fixed, Self::Pixels]
            .into_iter()
            .find(|job| job.name() == name)
            .ok_or(BillingError::JobType)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::LiveVideo => "lv2v",
            Self::Fixed => "fixed",
            Self::Pixels => "",
        }
    }

    /// How a ceiling names the units.
    pub(crate) const fn price_unit(self) -> Option<&'static str> {
        match self {
            Self::Live => Some("seconds"),
            Self::LiveVideo => Some("720p-pixel-seconds"),
            Self::Fixed => Some("fixed"),
            Self::Pixels => None,
        }
    }

    /// Units to pay for. `elapsed` is the time since the last request; none on the first, zero if clocks disagree.
    pub(crate) fn units(self, elapsed: Option<Duration>, in_pixels: i64) -> Result<u64, BillingError> {
        let units = match self {
            Self::Live => elapsed.map_or(LIVE_START, whole_seconds),
            Self::LiveVideo => live_video(elapsed.filter(|e| !e.is_zero()).unwrap_or(LIVE_VIDEO_START)),
            Self::Fixed => 1,
            Self::Pixels => u64::try_from(in_pixels).unwrap_or(0),
        };
        // A job by the second that is asked twice at once owes nothing the second time.
        match units {
            0 if self != Self::Live => Err(BillingError::NoUnits),
            units => Ok(units),
        }
    }
}

/// Rounded up.
fn whole_seconds(elapsed: Duration) -> u64 {
    elapsed.as_secs().saturating_add(u64::from(elapsed.subsec_nanos() > 0))
}

/// Rounded down, at least 1.
fn live_video(elapsed: Duration) -> u64 {
    let pixels = elapsed.as_nanos().saturating_mul(LIVE_VIDEO_RATE) / 1_000_000_000;
    u64::try_from(pixels).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_requests_pay_ahead() {
        assert_eq!(JobType::LiveVideo.units(None, 0), Ok(1_658_880_000));
        assert_eq!(JobType::LiveVideo.units(Some(Duration::ZERO), 0), Ok(1_658_880_000));
        assert_eq!(JobType::Live.units(None, 0), Ok(10));
        assert_eq!(JobType::Fixed.units(None, 0), Ok(1));
    }

    #[test]
    fn later_ones_pay_for_the_time_that_passed() {
        let millis = |ms| Some(Duration::from_millis(ms));
        assert_eq!(JobType::LiveVideo.units(millis(2500), 0), Ok(69_120_000));
        assert_eq!(JobType::Live.units(millis(12_000), 0), Ok(12));
        assert_eq!(JobType::Live.units(millis(12_001), 0), Ok(13));
        assert_eq!(JobType::Live.units(millis(0), 0), Ok(0));
        assert_eq!(JobType::Fixed.units(millis(60_000), 0), Ok(1));
        assert_eq!(JobType::LiveVideo.units(Some(Duration::MAX), 0), Ok(u64::MAX));
    }

    #[test]
    fn without_a_type_the_request_counts() {
        assert_eq!(JobType::Pixels.units(None, 2500), Ok(2500));
        for none in [0, -1] {
            assert_eq!(JobType::Pixels.units(None, none), Err(BillingError::NoUnits));
        }
        assert_eq!(JobType::parse("lv2v"), Ok(JobType::LiveVideo));
        assert_eq!(JobType::parse("LV2V"), Err(BillingError::JobType));
    }
}
