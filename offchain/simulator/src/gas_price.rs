//! What gas costs over time.
use rand::Rng;

/// Blocks for which a price holds: ten minutes.
pub(crate) const STEP_BLOCKS: u64 = 50;
/// Steps of a day.
pub(crate) const STEPS_PER_DAY: usize = 144;
/// Where the price returns to, wei per gas.
const USUAL: u64 = 100_000_000;

/// A price that wanders about the usual one, and multiplies for some hours now and then. In integers, so that a seed gives the
/// same path on every machine.
pub(crate) fn path(steps: usize, rng: &mut impl Rng) -> Vec<u128> {
    let (mut price, mut factor, mut left) = (USUAL, 1_u64, 0_u32);
    let step = |_| {
        // A twentieth of the way back, and up to 12 % up or down.
        let returned = price - price / 20 + USUAL / 20;
        price = returned * rng.random_range(880..=1_120_u64) / 1_000;
        match left.checked_sub(1) {
            Some(rest) => left = rest,
            None if rng.random_ratio(1, 100) => {
                factor = rng.random_range(10..=60);
                left = rng.random_range(6..=36);
            }
            None => factor = 1,
        }
        u128::from(price) * u128::from(factor)
    };
    (0..steps).map(step).collect()
}

/// The price in the middle of those of the day before `step`, that step's included.
pub(crate) fn median_of_day(path: &[u128], step: usize) -> u128 {
    let mut day = path[(step + 1).saturating_sub(STEPS_PER_DAY)..=step].to_vec();
    day.sort_unstable();
    day[day.len() / 2]
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    #[test]
    fn a_path_stays_about_the_usual_price_and_has_spikes() {
        let path = path(5_000, &mut ChaCha20Rng::seed_from_u64(1));
        let median = median_of_day(&path, path.len() - 1);
        assert!((50_000_000..200_000_000).contains(&median), "{median}");
        assert!(path.iter().any(|price| *price > 1_000_000_000), "no spike");
        let spikes = path.iter().filter(|price| **price > 500_000_000).count();
        assert!(spikes < path.len() / 3, "{spikes} of {} steps are spikes", path.len());
    }
}
