//! How many signatures are recovered for one sender: each takes thirty microseconds of a core, and costs its sender a
//! third of that, or nothing at all if it is made up.
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use alloy_primitives::Address;

/// Signatures checked for one sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryQuota {
    /// In the long run, each second.
    pub per_second: u32,
    /// At once, after a pause.
    pub burst: u32,
}

impl Default for RecoveryQuota {
    /// A sixteenth of a core: a hundred times what a hundred streams pay for.
    fn default() -> Self {
        Self { per_second: 2_000, burst: 12_000 }
    }
}

/// What is left to each sender. Those who have all of it are not remembered.
#[derive(Debug)]
pub(crate) struct Recoveries {
    quota: RecoveryQuota,
    senders: HashMap<Address, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// In thousandths of a signature, so that a millisecond gives whole ones.
    left: u64,
    at: Instant,
}

impl Recoveries {
    pub(crate) fn new(quota: RecoveryQuota) -> Self {
        Self { quota, senders: HashMap::new() }
    }

    /// Takes `count` off what the sender has left; none if that is fewer, and then how many it has.
    pub(crate) fn take(&mut self, sender: Address, count: usize, now: Instant) -> Result<(), u64> {
        let full = u64::from(self.quota.burst) * 1000;
        let bucket = self.senders.entry(sender).or_insert(Bucket { left: full, at: now });
        *bucket = bucket.refilled(self.quota, now);
        match bucket.left.checked_sub((count as u64).saturating_mul(1000)) {
            Some(left) => {
                bucket.left = left;
                Ok(())
            }
            None => Err(bucket.left / 1000),
        }
    }

    /// Forgets senders who have all of it again.
    pub(crate) fn prune(&mut self, now: Instant) {
        let quota = self.quota;
        self.senders.retain(|_, bucket| bucket.refilled(quota, now).left < u64::from(quota.burst) * 1000);
    }
}

impl Bucket {
    fn refilled(self, quota: RecoveryQuota, now: Instant) -> Self {
        let millis = u64::try_from(now.saturating_duration_since(self.at).as_millis()).unwrap_or(u64::MAX);
        let full = u64::from(quota.burst) * 1000;
        let left = self.left.saturating_add(millis.saturating_mul(quota.per_second.into())).min(full);
        // Less than a millisecond is not lost: it counts with the next.
        Self { left, at: self.at + Duration::from_millis(millis) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Address = Address::repeat_byte(1);
    const BOB: Address = Address::repeat_byte(2);

    #[test]
    fn a_burst_is_served_and_then_the_rate() {
        let start = Instant::now();
        let mut recoveries = Recoveries::new(RecoveryQuota { per_second: 100, burst: 600 });
        assert_eq!(recoveries.take(ALICE, 600, start), Ok(()));
        assert_eq!(recoveries.take(ALICE, 1, start), Err(0));
        assert_eq!(recoveries.take(BOB, 600, start), Ok(()), "another sender has its own");
        let later = start + Duration::from_millis(155);
        assert_eq!(recoveries.take(ALICE, 16, later), Err(15));
        assert_eq!(recoveries.take(ALICE, 15, later), Ok(()));
        assert_eq!(recoveries.take(ALICE, 601, start + Duration::from_secs(3600)), Err(600));
    }

    #[test]
    fn those_who_ask_often_get_as_much() {
        let start = Instant::now();
        let mut recoveries = Recoveries::new(RecoveryQuota { per_second: 100, burst: 1 });
        let taken = (0..1_000_000_u64)
            .step_by(300)
            .filter(|micros| recoveries.take(ALICE, 1, start + Duration::from_micros(*micros)).is_ok());
        assert!((90..=101).contains(&taken.count()));
    }

    #[test]
    fn who_pauses_is_forgotten() {
        let start = Instant::now();
        let mut recoveries = Recoveries::new(RecoveryQuota { per_second: 100, burst: 600 });
        recoveries.take(ALICE, 600, start).unwrap();
        recoveries.prune(start + Duration::from_secs(5));
        assert_eq!(recoveries.senders.len(), 1);
        recoveries.prune(start + Duration::from_secs(6));
        assert_eq!(recoveries.senders.len(), 0);
    }
}
