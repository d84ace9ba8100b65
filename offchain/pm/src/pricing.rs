//! Prices: the overhead of redemption, the sender's guard, the estimate of a segment's pixels (payments.md §1.8, §1.9).
use alloy_primitives::U256;
use streamflow_types::{Price, Profile};

/// Prices are adjusted to three decimals.
const SCALE: u64 = 1000;
/// Decimals of a base token amount in [`base_token_to_fixed`], and of the chain's token.
const FIXED_DECIMALS: u8 = 5;
const TOKEN_DECIMALS: u8 = 18;

/// Thousandths of a wei per pixel, rounded down; the greatest `i64` if there are more.
pub fn price_to_fixed(price: Price) -> i64 {
    let scaled = u128::from(price.wei_per_unit()) * u128::from(SCALE) / u128::from(price.pixels_per_unit());
    i64::try_from(scaled).unwrap_or(i64::MAX)
}

/// Hundred-thousandths of a token for an amount in its smallest unit, rounded down; the greatest `i64` if there are more.
pub fn base_token_to_fixed(amount: U256) -> i64 {
    let unit = U256::from(10).pow(U256::from(TOKEN_DECIMALS - FIXED_DECIMALS));
    i64::try_from(amount / unit).unwrap_or(i64::MAX)
}

/// The price with the cost of redemption on top, base · (1 + `tx_cost` / `face_value`), rounded down to thousandths.
///
/// A price too small for thousandths, or one that would not fit the wire, stays as it is: it must become neither free nor
/// wrong.
pub fn with_redemption_overhead(base: Price, tx_cost: U256, face_value: U256) -> Price {
    let share = |wei: U256| wei.checked_mul(U256::from(base.wei_per_unit()))?.checked_mul(U256::from(SCALE));
    let adjusted = face_value
        .checked_add(tx_cost)
        .and_then(share)
        .zip(face_value.checked_mul(U256::from(base.pixels_per_unit())))
        .and_then(|(wei, pixels)| wei.checked_div(pixels))
        .and_then(|thousandths| u64::try_from(thousandths).ok())
        .filter(|thousandths| *thousandths > 0)
        .and_then(|thousandths| Price::new(thousandths, SCALE).ok());
    adjusted.unwrap_or(base)
}

/// Pixels that the renditions of a segment will about have: Σ width · height · ⌈frames per second⌉ · ⌈seconds⌉.
pub fn estimated_pixels<'a>(profiles: impl IntoIterator<Item = &'a Profile>, duration_ms: u64) -> u64 {
    let seconds = duration_ms.div_ceil(1000);
    let pixels = profiles.into_iter().map(|p| {
        let frame = u64::from(p.width) * u64::from(p.height);
        frame.saturating_mul(u64::from(p.fps_estimate())).saturating_mul(seconds)
    });
    pixels.fold(0, u64::saturating_add)
}

/// Two percent more, rounded up: what a sender pays ahead for an estimate.
pub fn with_estimate_margin(pixels: u64) -> u64 {
    pixels.saturating_add(pixels.div_ceil(50))
}

/// Whether a bill may be true for work estimated at `estimate` pixels: at most twice as many. A frame rate or a length
/// that was guessed explains that much; more is a lie of whoever counted the pixels, or told the length.
pub fn is_credible_bill(estimate: u64, billed: u64) -> bool {
    billed <= most_credible_bill(estimate)
}

/// The largest of those bills.
pub fn most_credible_bill(estimate: u64) -> u64 {
    estimate.saturating_mul(2)
}

/// Stops a session whose orchestrator raises its price.
#[derive(Clone, Copy, Debug)]
pub struct PriceGuard {
    first: Price,
    max: Option<Price>,
}

/// The price is not paid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceGuardError {
    /// Twice the session's first price is the limit.
    #[error("Orchestrator price has more than doubled, orchestrator price: {current}, session price: {first}")]
    MoreThanDoubled {
        /// Now.
        current: Price,
        /// When the session began.
        first: Price,
    },
    /// Above what is configured.
    #[error("orchestrator price {current} is more than the maximum {max}")]
    AboveMax {
        /// Now.
        current: Price,
        /// Configured.
        max: Price,
    },
}

impl PriceGuard {
    /// For a session that begins at `first`; `max` is the highest price ever paid.
    pub fn new(first: Price, max: Option<Price>) -> Self {
        Self { first, max }
    }

    /// The price that the session began at.
    pub fn first(&self) -> Price {
        self.first
    }

    /// Whether to pay `current`.
    pub fn check(&self, current: Price) -> Result<(), PriceGuardError> {
        match self.max {
            Some(max) if current > max => Err(PriceGuardError::AboveMax { current, max }),
            _ if current.exceeds_multiple_of(self.first, 2) => {
                Err(PriceGuardError::MoreThanDoubled { current, first: self.first })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(wei: u64, pixels: u64) -> Price {
        Price::new(wei, pixels).unwrap()
    }

    /// A multiplier of `numerator / denominator` is a face value of so many transaction costs.
    fn adjusted(base: Price, numerator: u64, denominator: u64) -> Price {
        with_redemption_overhead(base, U256::from(denominator), U256::from(numerator))
    }

    #[test]
    fn overhead_vectors() {
        assert_eq!(adjusted(price(1, 1), 100, 1), price(101, 100));
        assert_eq!(adjusted(price(10, 1), 100, 1), price(1010, 100));
        assert_eq!(adjusted(price(1, 10), 100, 1), price(101, 1000));
        assert_eq!(adjusted(price(25, 10), 100, 1), price(2525, 1000));
        assert_eq!(adjusted(price(10, 1), 10, 1), price(11, 1));
        assert_eq!(adjusted(price(10, 1), 1, 10), price(110, 1));
        assert_eq!(adjusted(price(10, 1), 1, 1), price(20, 1));
    }

    #[test]
    fn a_tiny_price_does_not_become_free() {
        let tiny = price(1, 1_000_000);
        assert_eq!(adjusted(tiny, 100, 1), tiny);
        assert_eq!(adjusted(tiny, 0, 1), tiny);
        let huge = price(i64::MAX as u64, 1);
        assert_eq!(adjusted(huge, 1, 1), huge);
        assert_eq!(with_redemption_overhead(huge, U256::MAX, U256::MAX), huge);
    }

    #[test]
    fn fixed_point_vectors() {
        assert_eq!(price_to_fixed(price(1, 10)), 100);
        assert_eq!(price_to_fixed(price(500, 1)), 500_000);
        assert_eq!(price_to_fixed(price(125, 100)), 1250);
        assert_eq!(price_to_fixed(price(1, 5000)), 0);
        assert_eq!(price_to_fixed(price(i64::MAX as u64, 1)), i64::MAX);
        let amount = U256::from(1_844_486_980_754_712_220_549_592_u128);
        assert_eq!(base_token_to_fixed(amount), 184_448_698_075);
        assert_eq!(base_token_to_fixed(U256::MAX), i64::MAX);
    }

    #[test]
    fn estimate_vectors() {
        let [p144, p240] = ["P144p30fps16x9", "P240p30fps16x9"].map(|name| Profile::preset(name).unwrap());
        let passthrough = Profile { fps: 0, ..p144.clone() };
        assert_eq!(estimated_pixels([&p144], 2000), 2_211_840);
        assert_eq!(estimated_pixels([&p144, &p240], 2000), 8_346_240);
        assert_eq!(estimated_pixels([&p144, &p240], 2001), 12_519_360);
        assert_eq!(estimated_pixels([&passthrough, &p240], 3000), 15_837_120);
        assert_eq!(with_estimate_margin(2_211_840), 2_256_077); // 2256076.8
        assert_eq!(with_estimate_margin(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_doubled_price_is_paid_and_no_more() {
        let guard = PriceGuard::new(price(5, 1), None);
        assert_eq!(guard.check(price(10, 1)), Ok(()));
        let error = guard.check(price(101, 10)).unwrap_err();
        assert!(error.to_string().starts_with("Orchestrator price has more than doubled"));
        let capped = PriceGuard::new(price(5, 1), Some(price(6, 1)));
        assert!(matches!(capped.check(price(7, 1)), Err(PriceGuardError::AboveMax { .. })));
        assert_eq!(capped.check(price(6, 1)), Ok(()));
    }
}
