//! The one place that reads the wall clock.
use std::time::SystemTime;

/// Seconds since 1970. A clock set before that reads 0.
#[allow(clippy::disallowed_methods, reason = "every other crate is passed the time")]
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
