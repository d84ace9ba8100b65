//! When the result of a job is due.
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::PoolError;

/// When a job came, and when its result is of no use any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    arrived: Instant,
    /// Where whoever gave the job said it.
    told: Option<Instant>,
    /// Longest a worker may take.
    each: Duration,
}

impl Due {
    pub(super) fn new(told: Option<Instant>, each: Duration) -> Self {
        Self { arrived: Instant::now(), told, each }
    }

    /// By what jobs are put in order.
    pub(super) fn at(&self) -> Instant {
        self.told.unwrap_or(self.arrived + self.each)
    }

    /// What a worker may take that starts now.
    pub(super) fn left(&self) -> Duration {
        let left = self.told.map_or(self.each, |told| told.saturating_duration_since(Instant::now()));
        left.min(self.each)
    }

    /// Waits for `work` as long as the result may be of use.
    pub(super) async fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, PoolError> {
        match self.told {
            Some(told) => timeout_at(told, work).await.map_err(|_| self.late()),
            None => Ok(work.await),
        }
    }

    /// A worker that had less than half of a job's time has not hung: it was given the job too late.
    pub(super) fn judge(&self, error: PoolError) -> PoolError {
        match (error, self.told) {
            (PoolError::WorkerHung { deadline }, Some(told))
                if deadline < self.each && deadline * 2 < told.saturating_duration_since(self.arrived) =>
            {
                self.late()
            }
            (error, _) => error,
        }
    }

    fn late(&self) -> PoolError {
        let limit = self.at().saturating_duration_since(self.arrived);
        PoolError::Late { limit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn hung(deadline: Duration) -> PoolError {
        PoolError::WorkerHung { deadline }
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_without_a_deadline_waits_as_long_as_need_be_and_runs_no_longer_than_others() {
        let due = Due::new(None, 30 * SECOND);
        due.wait(tokio::time::sleep(100 * SECOND)).await.unwrap();
        assert_eq!(due.left(), 30 * SECOND);
        assert!(matches!(due.judge(hung(30 * SECOND)), PoolError::WorkerHung { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_with_a_deadline_waits_and_runs_until_it() {
        let due = Due::new(Some(Instant::now() + 8 * SECOND), 30 * SECOND);
        due.wait(tokio::time::sleep(3 * SECOND)).await.unwrap();
        assert_eq!(due.left(), 5 * SECOND);
        assert!(matches!(due.judge(hung(5 * SECOND)), PoolError::WorkerHung { .. }));
        assert!(matches!(due.judge(hung(3 * SECOND)), PoolError::Late { limit } if limit == 8 * SECOND));
        let late = due.wait(tokio::time::sleep(6 * SECOND)).await;
        assert!(matches!(late, Err(PoolError::Late { limit }) if limit == 8 * SECOND));
        assert_eq!(due.left(), Duration::ZERO);
    }
}
