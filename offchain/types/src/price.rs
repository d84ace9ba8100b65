//! Price of work as an exact ratio.
use std::{cmp::Ordering, fmt, num::NonZeroU64, str::FromStr};

use serde::{Deserialize, Serialize};

/// Wei per pixel as a ratio of integers, `wei_per_unit / pixels_per_unit` (`PriceInfo`, payments.md §1.2).
///
/// Both numbers fit the wire's `int64`. Two prices are equal when their ratios are, whatever their terms: 1/10 = 10/100.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(try_from = "Terms", into = "Terms")]
pub struct Price {
    wei_per_unit: u64,
    pixels_per_unit: NonZeroU64,
}

/// Why two numbers are not a price.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// The wording is matched by peers (payments.md §1.8).
    #[error("pixels per unit is 0")]
    ZeroPixelsPerUnit,
    /// The wire carries signed 64-bit numbers.
    #[error("price term {0} is more than a signed 64-bit integer")]
    TooLarge(u64),
    /// Neither `wei` nor `wei/pixels`.
    #[error("price {0:?} is not written as wei or wei/pixels")]
    Malformed(String),
}

impl Price {
    /// No payment needed.
    pub const FREE: Self = Self { wei_per_unit: 0, pixels_per_unit: NonZeroU64::MIN };

    /// `wei_per_unit` for each `pixels_per_unit` pixels.
    pub const fn new(wei_per_unit: u64, pixels_per_unit: u64) -> Result<Self, PriceError> {
        let Some(divisor) = NonZeroU64::new(pixels_per_unit) else {
            return Err(PriceError::ZeroPixelsPerUnit);
        };
        if wei_per_unit > i64::MAX as u64 {
            return Err(PriceError::TooLarge(wei_per_unit));
        }
        if pixels_per_unit > i64::MAX as u64 {
            return Err(PriceError::TooLarge(pixels_per_unit));
        }
        Ok(Self { wei_per_unit, pixels_per_unit: divisor })
    }

    /// Numerator, in wei.
    pub const fn wei_per_unit(self) -> u64 {
        self.wei_per_unit
    }

    /// Denominator, in pixels; never 0.
    pub const fn pixels_per_unit(self) -> u64 {
        self.pixels_per_unit.get()
    }

    /// Whether the numerator is 0.
    pub const fn is_free(self) -> bool {
        self.wei_per_unit == 0
    }

    /// The same ratio in lowest terms. Free is 0/1.
    pub fn reduced(self) -> Self {
        let (mut divisor, mut rest) = (self.pixels_per_unit(), self.wei_per_unit);
        while rest != 0 {
            (divisor, rest) = (rest, divisor % rest);
        }
        let pixels_per_unit = NonZeroU64::new(self.pixels_per_unit() / divisor).unwrap_or(NonZeroU64::MIN);
        Self { wei_per_unit: self.wei_per_unit / divisor, pixels_per_unit }
    }

    /// Whether this price is more than `factor` times `other`.
    pub fn exceeds_multiple_of(self, other: Self, factor: u32) -> bool {
        // At most 2^63 · 2^63 on the left; the right may be 2^32 times that and saturates, which keeps the order.
        let right = u128::from(other.wei_per_unit) * u128::from(self.pixels_per_unit());
        u128::from(self.wei_per_unit) * u128::from(other.pixels_per_unit()) > right.saturating_mul(factor.into())
    }
}

impl PartialEq for Price {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Price {}

impl PartialOrd for Price {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Price {
    fn cmp(&self, other: &Self) -> Ordering {
        let left = u128::from(self.wei_per_unit) * u128::from(other.pixels_per_unit());
        left.cmp(&(u128::from(other.wei_per_unit) * u128::from(self.pixels_per_unit())))
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} wei per pixel", self.wei_per_unit, self.pixels_per_unit)
    }
}

/// Reads `1200` (wei per pixel) or `1/1000` (wei per pixels).
impl FromStr for Price {
    type Err = PriceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (wei, pixels) = text.split_once('/').unwrap_or((text, "1"));
        let term = |t: &str| t.trim().parse().map_err(|_| PriceError::Malformed(text.to_owned()));
        Self::new(term(wei)?, term(pixels)?)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Terms {
    wei_per_unit: u64,
    pixels_per_unit: u64,
}

impl TryFrom<Terms> for Price {
    type Error = PriceError;

    fn try_from(terms: Terms) -> Result<Self, Self::Error> {
        Self::new(terms.wei_per_unit, terms.pixels_per_unit)
    }
}

impl From<Price> for Terms {
    fn from(price: Price) -> Self {
        Self { wei_per_unit: price.wei_per_unit, pixels_per_unit: price.pixels_per_unit() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn price(wei: u64, pixels: u64) -> Price {
        Price::new(wei, pixels).unwrap()
    }

    #[test]
    fn zero_denominator_is_refused() {
        assert_eq!(Price::new(1, 0), Err(PriceError::ZeroPixelsPerUnit));
        assert!(serde_json::from_str::<Price>(r#"{"wei_per_unit":1,"pixels_per_unit":0}"#).is_err());
    }

    #[test]
    fn terms_beyond_the_wire_are_refused() {
        assert_eq!(Price::new(1 << 63, 1), Err(PriceError::TooLarge(1 << 63)));
        assert_eq!(Price::new(1, 1 << 63), Err(PriceError::TooLarge(1 << 63)));
    }

    #[test]
    fn equal_ratios_are_equal() {
        assert_eq!(price(1, 10), price(10, 100));
        assert!(price(1, 3) < price(3334, 10_000));
        assert_eq!(price(0, 7), Price::FREE);
    }

    #[test]
    fn text_is_read_both_ways() {
        assert_eq!("1200".parse(), Ok(price(1200, 1)));
        assert_eq!("1 / 1000".parse(), Ok(price(1, 1000)));
        assert_eq!("1/0".parse::<Price>(), Err(PriceError::ZeroPixelsPerUnit));
        assert!(matches!("-1".parse::<Price>(), Err(PriceError::Malformed(_))));
    }

    #[test]
    fn doubling_is_not_more_than_double() {
        assert!(!price(2, 10).exceeds_multiple_of(price(1, 10), 2));
        assert!(price(21, 100).exceeds_multiple_of(price(1, 10), 2));
        assert!(price(1, 1).exceeds_multiple_of(Price::FREE, 2));
        let huge = price(i64::MAX as u64, 1);
        assert!(!huge.exceeds_multiple_of(huge, u32::MAX));
    }

    proptest! {
        #[test]
        fn reduction_keeps_the_ratio(wei in 0..=i64::MAX as u64, pixels in 1..=i64::MAX as u64) {
            let reduced = price(wei, pixels).reduced();
            prop_assert_eq!(reduced, price(wei, pixels));
            prop_assert_eq!(reduced.reduced().wei_per_unit(), reduced.wei_per_unit());
        }

        #[test]
        fn comparison_agrees_with_the_larger_numerator(a in 0..1_000_u64, b in 0..1_000_u64, pixels in 1..1_000_u64) {
            prop_assert_eq!(price(a, pixels).cmp(&price(b, pixels)), a.cmp(&b));
        }

        #[test]
        fn serde_keeps_the_terms(wei in 0..=i64::MAX as u64, pixels in 1..=i64::MAX as u64) {
            let back: Price = serde_json::from_str(&serde_json::to_string(&price(wei, pixels)).unwrap()).unwrap();
            prop_assert_eq!((back.wei_per_unit(), back.pixels_per_unit()), (wei, pixels));
        }
    }
}
