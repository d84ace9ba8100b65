//! The one place that reads the wall clock.
use std::time::{Duration, SystemTime};

/// Seconds since 1970. A clock set before that reads 0.
pub fn unix_seconds() -> u64 {
    since_epoch().as_secs()
}

/// Time since 1970, as [`unix_seconds`].
#[allow(clippy::disallowed_methods, reason = "every other crate is passed the time")]
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
