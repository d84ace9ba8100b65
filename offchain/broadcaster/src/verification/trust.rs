//! Whose results are looked at closely.
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use alloy_primitives::{B256, keccak256};
use rand::{TryRngCore, rngs::OsRng};
use url::Url;

use super::VerificationConfig;

/// Orchestrators remembered; one more makes all of them new.
const MOST: usize = 10_000;

/// Who has passed how often, and the chance by which the others are drawn.
#[derive(Debug)]
pub(crate) struct Trust {
    passed: Mutex<HashMap<Url, u32>>,
    /// Known to this process only: decides which frames are looked at.
    secret: B256,
}

impl Trust {
    pub(crate) fn new() -> Self {
        Self { passed: Mutex::default(), secret: B256::from(rand::random::<[u8; 32]>()) }
    }

    /// Whether the next result is compared with its source: one in `one_in` is.
    pub(super) fn draw(&self, url: &Url, config: &VerificationConfig, one_in: u32) -> bool {
        if one_in == 0 || config.trusted.contains(url) {
            return false;
        }
        let passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner).get(url).copied().unwrap_or(0);
        // A system that gives no randomness must not make us predictable.
        passed < config.probation || OsRng.try_next_u64().map_or(true, |random| hits(random, one_in))
    }

    /// The same frames for every attempt at one segment, so that they can be compared.
    pub(super) fn seed(&self, segment: B256) -> u64 {
        let hash = keccak256([self.secret.0, segment.0].concat());
        hash.iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte))
    }

    pub(super) fn passed(&self, url: &Url) {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        if passed.len() >= MOST && !passed.contains_key(url) {
            passed.clear();
        }
        let count = passed.entry(url.clone()).or_default();
        *count = count.saturating_add(1);
    }

    pub(super) fn forget(&self, url: &Url) {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).remove(url);
    }
}

/// One number in `one_in`, of all that there are.
fn hits(random: u64, one_in: u32) -> bool {
    random < u64::MAX / u64::from(one_in.max(1)) || one_in <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(port: u16) -> Url {
        format!("https://127.0.0.1:{port}").parse().unwrap()
    }

    #[test]
    fn a_new_one_is_looked_at_until_it_has_passed_often_enough() {
        let (trust, config) = (Trust::new(), VerificationConfig { one_in: u32::MAX, ..Default::default() });
        for _ in 0..config.probation {
            assert!(trust.draw(&url(1), &config, config.one_in));
            trust.passed(&url(1));
        }
        assert!(!trust.draw(&url(1), &config, config.one_in), "one in four thousand million");
        assert!(trust.draw(&url(2), &config, config.one_in));
        trust.forget(&url(1));
        assert!(trust.draw(&url(1), &config, config.one_in));
    }

    #[test]
    fn the_rate_is_one_in_so_many_and_can_be_all_or_none() {
        let trust = Trust::new();
        let drawn = |one_in| {
            let config = VerificationConfig { one_in, probation: 0, ..Default::default() };
            (0..8000).filter(|_| trust.draw(&url(1), &config, config.one_in)).count()
        };
        assert_eq!((drawn(1), drawn(0)), (8000, 0));
        // 2000 on average, with a standard deviation of 39: eight of them.
        let quarter = drawn(4);
        assert!((1690..2310).contains(&quarter), "{quarter}");
        let trusted = VerificationConfig { one_in: 1, trusted: vec![url(1)], ..Default::default() };
        assert!(!trust.draw(&url(1), &trusted, 1));
    }

    #[test]
    fn the_frames_are_the_same_for_one_segment_here_and_nowhere_else() {
        let (here, there) = (Trust::new(), Trust::new());
        let (one, other) = (B256::repeat_byte(1), B256::repeat_byte(2));
        assert_eq!(here.seed(one), here.seed(one));
        assert_ne!(here.seed(one), here.seed(other));
        assert_ne!(here.seed(one), there.seed(one));
    }
}
