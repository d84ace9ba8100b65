//! Prices that must not be exceeded, as exact decimals (payments.md §2.2).
use std::fmt;

use alloy_primitives::U256;
use streamflow_types::Price;

use crate::{
    billing::JobType,
    json::{FieldError, Fields},
};

/// Digits and exponent of a decimal that is read: 10^38 · 2^63 fits 256 bits by far.
const MAX_DIGITS: usize = 38;
/// Longest text of a decimal.
const MAX_TEXT: usize = 64;
/// Longest name of a currency or unit.
const MAX_NAME: usize = 64;

/// Highest price, wei per unit, as a ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ceiling {
    above: U256,
    below: U256,
}

/// Why a ceiling cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CeilingError {
    /// Not a decimal of reasonable size above 0.
    #[error("maxPrice price is not a positive decimal number")]
    Price,
    /// Only wei are understood.
    #[error("maxPrice currency {0:?} is not wei")]
    Currency(String),
    /// The price would be of something else.
    #[error("maxPrice unit {got:?} does not go with job type {job:?}")]
    Unit {
        /// As sent.
        got: String,
        /// Type of the job.
        job: &'static str,
    },
    /// Pixels have no unit of their own.
    #[error("maxPrice needs a job type")]
    NoUnit,
    /// Not an object of the expected fields.
    #[error("maxPrice is malformed")]
    Malformed,
}

impl Ceiling {
    /// Reads `101.2` as 506/5, without rounding.
    ///
    /// # Errors
    /// The text is no positive JSON number of at most 38 digits on either side of the point.
    pub(crate) fn from_decimal(text: &str) -> Result<Self, CeilingError> {
        if text.len() > MAX_TEXT {
            return Err(CeilingError::Price);
        }
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| CeilingError::Price)?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(CeilingError::Price);
        }
        let places = i32::try_from(fraction.len()).map_err(|_| CeilingError::Price)?;
        let scale = exponent.checked_sub(places).ok_or(CeilingError::Price)?;
        if scale.unsigned_abs() as usize > MAX_DIGITS {
            return Err(CeilingError::Price);
        }
        let digits = U256::from_str_radix(&digits, 10).map_err(|_| CeilingError::Price)?;
        if digits.is_zero() {
            return Err(CeilingError::Price);
        }
        let power = U256::from(10).pow(U256::from(scale.unsigned_abs()));
        let (above, below) = if scale < 0 { (digits, power) } else { (digits.saturating_mul(power), U256::ONE) };
        let divisor = above.gcd(below);
        Ok(Self { above: above / divisor, below: below / divisor })
    }

    /// Reads `{price, currency, unit}` for a job.
    pub(crate) fn read(fields: &Fields<'_>, job: JobType) -> Result<Self, CeilingError> {
        let name = |name: &'static str| fields.text(name, MAX_NAME).map_err(|_: FieldError| CeilingError::Malformed);
        let (currency, unit) = (name("currency")?, name("unit")?);
        let expected = job.price_unit().ok_or(CeilingError::NoUnit)?;
        if !currency.eq_ignore_ascii_case("wei") {
            return Err(CeilingError::Currency(currency));
        }
        if unit != expected {
            return Err(CeilingError::Unit { got: unit, job: job.name() });
        }
        Self::from_decimal(fields.raw("price").ok_or(CeilingError::Price)?)
    }

    /// Whether `price` is above.
    pub(crate) fn is_exceeded_by(&self, price: Price) -> bool {
        // At most 63 bits · 253 bits.
        let left = U256::from(price.wei_per_unit()).widening_mul::<256, 4, 512, 8>(self.below);
        left > U256::from(price.pixels_per_unit()).widening_mul::<256, 4, 512, 8>(self.above)
    }
}

impl From<Price> for Ceiling {
    fn from(price: Price) -> Self {
        let price = price.reduced();
        Self { above: U256::from(price.wei_per_unit()), below: U256::from(price.pixels_per_unit()) }
    }
}

impl fmt::Display for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.above, self.below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> String {
        Ceiling::from_decimal(text).map_or_else(|error| error.to_string(), |ceiling| ceiling.to_string())
    }

    #[test]
    fn decimals_are_exact() {
        assert_eq!(decimal("101.2"), "506/5");
        assert_eq!(decimal("3"), "3/1");
        assert_eq!(decimal("0.1"), "1/10");
        assert_eq!(decimal("1.5e3"), "1500/1");
        assert_eq!(decimal("25E-2"), "1/4");
    }

    #[test]
    fn what_is_no_positive_decimal_is_refused() {
        let refused = CeilingError::Price.to_string();
        let long = "9".repeat(39);
        for text in ["0", "0.0", "-1", "", ".", "1e400", "1e-400", "\"3\"", "1/2", "NaN", &long, "1e99999999999"] {
            assert_eq!(decimal(text), refused, "{text}");
        }
    }

    #[test]
    fn only_a_higher_price_exceeds() {
        let ceiling = Ceiling::from_decimal("101.2").unwrap();
        assert!(!ceiling.is_exceeded_by(Price::new(506, 5).unwrap()));
        assert!(ceiling.is_exceeded_by(Price::new(507, 5).unwrap()));
        let tiny = Ceiling::from_decimal("1e-38").unwrap();
        assert!(tiny.is_exceeded_by(Price::new(1, i64::MAX as u64).unwrap()));
        assert!(!Ceiling::from(Price::new(2, 4).unwrap()).is_exceeded_by(Price::new(1, 2).unwrap()));
    }

    #[test]
    fn the_unit_goes_with_the_job() {
        let read = |text: &str, job| Ceiling::read(&Fields::parse(text).unwrap(), job);
        let ok = r#"{"Price":101.2,"Currency":"wei","unit":"720p-pixel-seconds"}"#;
        assert_eq!(read(ok, JobType::LiveVideo).unwrap().to_string(), "506/5");
        assert!(matches!(read(ok, JobType::Live), Err(CeilingError::Unit { .. })));
        assert_eq!(read(ok, JobType::Pixels), Err(CeilingError::NoUnit));
        let usd = r#"{"price":1,"currency":"usd","unit":"fixed"}"#;
        assert_eq!(read(usd, JobType::Fixed), Err(CeilingError::Currency("usd".into())));
        assert_eq!(read(r#"{"currency":"wei","unit":"fixed"}"#, JobType::Fixed), Err(CeilingError::Price));
    }
}
