//! Small unit types, so that a round is never passed where a block number or a percentage is meant.
use std::fmt;

use alloy_primitives::U256;
use serde::{Deserialize, Serialize};

/// Probability that a ticket wins, as a numerator over 2^256 − 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WinProb(pub U256);

impl WinProb {
    /// Never wins.
    pub const ZERO: Self = Self(U256::ZERO);
    /// The denominator itself. A ticket of this probability always wins, but for one hash in 2^256.
    pub const MAX: Self = Self(U256::MAX);
}

impl fmt::Display for WinProb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/(2^256-1)", self.0)
    }
}

impl From<U256> for WinProb {
    fn from(numerator: U256) -> Self {
        Self(numerator)
    }
}

/// Number of a protocol round (RoundsManager).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Round(pub u64);

impl Round {
    /// The following round; stays at the last representable one.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The round `n` rounds earlier; stops at round 0.
    pub const fn saturating_sub(self, n: u64) -> Self {
        Self(self.0.saturating_sub(n))
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<u64> for Round {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

/// Parts per million, at most 1,000,000: reward cut, fee share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Ppm(u32);

/// More than the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} parts per million is more than 1000000")]
pub struct PpmError(pub u32);

impl Ppm {
    /// One million parts.
    pub const WHOLE: Self = Self(1_000_000);
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Refuses more than one million parts.
    pub const fn new(parts: u32) -> Result<Self, PpmError> {
        if parts > Self::WHOLE.0 { Err(PpmError(parts)) } else { Ok(Self(parts)) }
    }

    /// Parts of one million.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// This share of `amount`, rounded down. Exact for every amount.
    pub fn of(self, amount: U256) -> U256 {
        let whole = U256::from(Self::WHOLE.0);
        let parts = U256::from(self.0);
        // Split so that no product leaves 256 bits: both terms are at most `amount`.
        amount / whole * parts + amount % whole * parts / whole
    }
}

impl TryFrom<u32> for Ppm {
    type Error = PpmError;

    fn try_from(parts: u32) -> Result<Self, Self::Error> {
        Self::new(parts)
    }
}

impl From<Ppm> for u32 {
    fn from(share: Ppm) -> Self {
        share.0
    }
}

impl fmt::Display for Ppm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ppm", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_whole_is_refused() {
        assert_eq!(Ppm::new(1_000_000), Ok(Ppm::WHOLE));
        assert_eq!(Ppm::new(1_000_001), Err(PpmError(1_000_001)));
        assert!(serde_json::from_str::<Ppm>("1000001").is_err());
    }

    #[test]
    fn share_of_the_largest_amount_does_not_overflow() {
        assert_eq!(Ppm::WHOLE.of(U256::MAX), U256::MAX);
        assert_eq!(Ppm::new(500_000).unwrap().of(U256::MAX), U256::MAX >> 1);
        assert_eq!(Ppm::new(333_333).unwrap().of(U256::from(10)), U256::from(3));
    }

    #[test]
    fn round_arithmetic_stops_at_the_ends() {
        assert_eq!(Round(1).saturating_sub(2), Round(0));
        assert_eq!(Round(u64::MAX).next(), Round(u64::MAX));
    }
}
