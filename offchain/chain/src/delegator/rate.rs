//! Exact ratios of amounts.
use alloy::primitives::U256;
use num_bigint::BigUint;
use num_rational::Ratio;
use serde::{Serialize, Serializer};
use streamflow_types::Ppm;

/// Denominator in which ratios are shown: 10^27, as the contracts' factors.
const ONE: u128 = 1_000_000_000_000_000_000_000_000_000;

/// A ratio of two amounts, without rounding; serialised as [`Rate::scaled`], decimal text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(Ratio<BigUint>);

impl Rate {
    /// `numerator / denominator`; `None` for nothing.
    pub fn new(numerator: U256, denominator: U256) -> Option<Self> {
        if denominator.is_zero() {
            return None;
        }
        Some(Self(Ratio::new(big(numerator), big(denominator))))
    }

    /// `value / 1`.
    pub fn whole(value: U256) -> Self {
        Self(Ratio::from_integer(big(value)))
    }

    /// This rate times `value`.
    #[must_use]
    pub fn times(&self, value: U256) -> Self {
        Self(&self.0 * Ratio::from_integer(big(value)))
    }

    /// This rate times another.
    #[must_use]
    pub fn times_rate(&self, other: &Self) -> Self {
        Self(&self.0 * &other.0)
    }

    /// This share of it.
    #[must_use]
    pub fn share(&self, share: Ppm) -> Self {
        Self(&self.0 * Ratio::new(BigUint::from(share.get()), BigUint::from(Ppm::WHOLE.get())))
    }

    /// Sum over count; `None` without any.
    pub fn mean(rates: &[Self]) -> Option<Self> {
        if rates.is_empty() {
            return None;
        }
        let sum = rates.iter().fold(Ratio::from_integer(BigUint::ZERO), |sum, rate| sum + &rate.0);
        Some(Self(sum / Ratio::from_integer(BigUint::from(rates.len()))))
    }

    /// The middle one by size, or the mean of the two in the middle; `None` without any.
    pub fn median(rates: &[Self]) -> Option<Self> {
        let mut sorted: Vec<&Self> = rates.iter().collect();
        sorted.sort();
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        if sorted.len() % 2 == 1 {
            return Some(upper.clone());
        }
        let lower = *sorted.get(middle.checked_sub(1)?)?;
        Self::mean(&[lower.clone(), upper.clone()])
    }

    /// floor(self · 10^27), and the largest integer of 256 bits if that is more.
    pub fn scaled(&self) -> U256 {
        integer(&(&self.0 * Ratio::from_integer(BigUint::from(ONE))).to_integer())
    }

    /// floor(self), and the largest integer of 256 bits if that is more.
    pub fn floor(&self) -> U256 {
        integer(&self.0.to_integer())
    }

    /// The least integer that is not below it, and the largest of 256 bits if that is more.
    pub fn ceil(&self) -> U256 {
        integer(&self.0.ceil().to_integer())
    }

    /// This less `other`; `None` if `other` is more.
    pub fn less(&self, other: &Self) -> Option<Self> {
        if other > self { None } else { Some(Self(&self.0 - &other.0)) }
    }

    /// This over `other`; `None` if that is nothing.
    pub fn over(&self, other: &Self) -> Option<Self> {
        if *other.0.numer() == BigUint::ZERO { None } else { Some(Self(&self.0 / &other.0)) }
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.scaled())
    }
}

fn big(value: U256) -> BigUint {
    BigUint::from_bytes_be(&value.to_be_bytes::<32>())
}

fn integer(value: &BigUint) -> U256 {
    U256::try_from_be_slice(&value.to_bytes_be()).unwrap_or(U256::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(numerator: u64, denominator: u64) -> Rate {
        Rate::new(U256::from(numerator), U256::from(denominator)).unwrap()
    }

    #[test]
    fn a_ratio_needs_a_denominator_and_rounds_down_only_when_shown() {
        assert_eq!(Rate::new(U256::ONE, U256::ZERO), None);
        assert_eq!(rate(2, 3).scaled(), U256::from(666_666_666_666_666_666_666_666_666_u128));
        assert_eq!(rate(2, 3).times(U256::from(3)), Rate::whole(U256::from(2)), "nothing was lost on the way");
        assert_eq!(
            (rate(7, 2).floor(), rate(7, 2).ceil(), rate(8, 2).ceil()),
            (U256::from(3), U256::from(4), U256::from(4))
        );
        assert_eq!(Rate::whole(U256::MAX).scaled(), U256::MAX, "what does not fit stands at the end");
    }

    #[test]
    fn thirds_add_up_to_one() {
        let thirds = vec![rate(1, 3); 3];
        assert_eq!(Rate::mean(&thirds).unwrap().times(U256::from(3)), Rate::whole(U256::ONE));
        assert_eq!((Rate::mean(&[]), Rate::median(&[])), (None, None));
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Rate::median(&[rate(9, 1), rate(1, 2), rate(3, 1)]), Some(rate(3, 1)));
        assert_eq!(Rate::median(&[rate(9, 1), rate(1, 2), rate(3, 1), rate(4, 1)]), Some(rate(7, 2)));
    }

    #[test]
    fn half_of_a_third_is_a_sixth() {
        assert_eq!(rate(1, 3).share(Ppm::new(500_000).unwrap()), rate(1, 6));
        assert_eq!(rate(1, 3).times_rate(&rate(1, 2)), rate(1, 6));
        assert_eq!(rate(1, 3).over(&rate(2, 1)), Some(rate(1, 6)));
        assert_eq!(rate(1, 3).less(&rate(1, 6)), Some(rate(1, 6)));
        assert_eq!((rate(1, 6).less(&rate(1, 3)), rate(1, 6).over(&rate(0, 1))), (None, None));
    }

    proptest! {
        /// Against plain integers: with a common denominator the mean is the sum over count, the median the middle numerator.
        #[test]
        fn mean_and_median_equal_those_of_integers(numerators in prop::collection::vec(any::<u32>(), 1..91), below in 1u32..) {
            let rates: Vec<Rate> = numerators.iter().map(|&above| rate(above.into(), below.into())).collect();
            let count = numerators.len() as u64;
            let sum: u64 = numerators.iter().map(|&above| u64::from(above)).sum();
            let mean = Rate::mean(&rates).unwrap();
            prop_assert_eq!(&mean, &rate(sum, u64::from(below) * count));
            let scaled = U256::from(sum) * U256::from(ONE) / U256::from(u64::from(below) * count);
            prop_assert_eq!(mean.scaled(), scaled);

            let mut sorted = numerators.clone();
            sorted.sort_unstable();
            let (lower, upper) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
            let median = Rate::median(&rates).unwrap();
            prop_assert_eq!(median, rate(u64::from(lower) + u64::from(upper), u64::from(below) * 2));
        }

        /// Whatever the denominators: as many are at most the median as are at least the median, mean lies between the extremes.
        #[test]
        fn median_halves_and_mean_lies_within(pairs in prop::collection::vec((any::<u64>(), 1u64..), 1..40)) {
            let rates: Vec<Rate> = pairs.iter().map(|&(above, below)| rate(above, below)).collect();
            let (mean, median) = (Rate::mean(&rates).unwrap(), Rate::median(&rates).unwrap());
            let (least, most) = (rates.iter().min().unwrap(), rates.iter().max().unwrap());
            prop_assert!(*least <= mean && mean <= *most);
            let at_most = rates.iter().filter(|rate| **rate <= median).count();
            let at_least = rates.iter().filter(|rate| **rate >= median).count();
            prop_assert!(2 * at_most >= rates.len() && 2 * at_least >= rates.len());
        }

        /// A share of a ratio, floored once, is what an integer division says.
        #[test]
        fn a_share_rounds_once(fees in any::<u64>(), stake in 1u64.., parts in 0u32..=1_000_000) {
            let share = Ppm::new(parts).unwrap();
            let wanted = U256::from(fees) * U256::from(parts) * U256::from(ONE) / (U256::from(stake) * U256::from(1_000_000));
            prop_assert_eq!(rate(fees, stake).share(share).scaled(), wanted);
        }
    }
}
