//! The way to an orchestrator and back, by our own measurements.
use std::time::Duration;

/// Share of the newest measurement.
const NEWEST: f64 = 0.25;

/// Moving averages; none before the first measurement.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Link {
    /// Seconds for a quote, connection included.
    latency: Option<f64>,
    /// Bytes a second.
    up: Option<f64>,
    down: Option<f64>,
}

impl Link {
    pub(crate) fn quoted(&mut self, took: Duration) {
        average(&mut self.latency, took.as_secs_f64());
    }

    pub(crate) fn uploaded(&mut self, bytes: u64, took: Duration) {
        average(&mut self.up, rate(bytes, took));
    }

    pub(crate) fn downloaded(&mut self, bytes: u64, took: Duration) {
        average(&mut self.down, rate(bytes, took));
    }

    /// Time for an upload, if it was measured.
    pub(crate) fn upload(&self, bytes: u64) -> Option<Duration> {
        self.up.map(|rate| self.time(bytes, rate))
    }

    /// Time for a download, if it was measured.
    pub(crate) fn download(&self, bytes: u64) -> Option<Duration> {
        self.down.map(|rate| self.time(bytes, rate))
    }

    fn time(&self, bytes: u64, rate: f64) -> Duration {
        let seconds = self.latency.unwrap_or(0.0) + bytes as f64 / rate;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

/// At least one byte a second, so that a time can be told.
fn rate(bytes: u64, took: Duration) -> f64 {
    (bytes as f64 / took.as_secs_f64().max(1e-6)).max(1.0)
}

fn average(known: &mut Option<f64>, measured: f64) {
    *known = Some(known.map_or(measured, |known| known + NEWEST * (measured - known)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_follow_bytes_bandwidth_and_latency() {
        let mut link = Link::default();
        assert_eq!(link.upload(1000), None);
        link.uploaded(1_000_000, Duration::from_secs(1));
        assert_eq!(link.upload(500_000), Some(Duration::from_millis(500)));
        assert_eq!(link.download(1), None);
        link.quoted(Duration::from_millis(100));
        link.downloaded(0, Duration::ZERO);
        assert_eq!(link.upload(500_000), Some(Duration::from_millis(600)));
        link.uploaded(500_000, Duration::from_secs(1));
        assert_eq!(link.upload(875_000), Some(Duration::from_millis(1100)), "a quarter of the way to the newest");
    }
}
